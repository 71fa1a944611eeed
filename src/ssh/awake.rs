//! A far jump is woken: a short command there keeps its small packets from waiting for each other.
//!
//! OpenSSH sets TCP_NODELAY on a connection when it first runs something for it (packet.c, `ssh_packet_set_interactive`, called where
//! session.c has started a command), and a jump runs nothing. Until then Nagle's algorithm lets one small packet go to us in a round trip:
//! all that the target answers meanwhile waits at the head. So where the path is long a jump is asked to run [`COMMAND`], once for a
//! connection (measured at 40 ms to the head, see docs/performance.md).
//!
//! Nothing depends on it. A jump that opens no session or runs no commands is used as it is; one that forces a command runs that. OpenSSH marks
//! the connection's packets as bulk then (IPQoS), as it does the target's. `SessionType none` in ssh_config keeps a jump from being asked.

use std::sync::Arc;
use std::time::Duration;

use super::ahead::{self, Wanted};
use super::hop::{HopSession, Windows};

/// Known to every shell, and done at once.
const COMMAND: &str = "true";

/// For the command to end; a shell's start-up files, or a command that is forced, may take their time. Then the channel is closed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a jump that has logged us in is to be woken: it is far, and its server is one that sleeps.
pub fn is_worth_it(jump: &HopSession) -> bool {
    let far = jump.windows.receive > Windows::NEAR;
    far && jump.hop.runs_commands && jump.fate.banner().is_some_and(|banner| ahead::bears(&banner))
}

/// Wakes a jump. To be asked for behind a tunnel that is there: the words for a session that is refused would else be taken for those
/// for the tunnel.
pub fn wake(jump: &Arc<HopSession>) {
    let (opener, fate) = (jump.handle.opener(), jump.fate.clone());
    let asleep = fate.clone();
    let running = async move {
        let mut channel = match Wanted::Session.open(&opener).await {
            Ok(channel) => channel,
            Err(russh::Error::ChannelOpenFailure(_)) => {
                let said = fate.open_failure().await;
                return tracing::debug!(hop = %fate.hop, ?said, "runs nothing");
            }
            Err(_) => return,
        };
        if channel.exec(false, COMMAND).await.is_ok() && channel.eof().await.is_ok() {
            let ended = async { while channel.wait().await.is_some() {} };
            let _ = tokio::time::timeout(PATIENCE, ended).await;
        }
        let _ = channel.close().await;
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::time::timeout(2 * PATIENCE, running) => {}
            () = asleep.over() => {}
        }
    });
}
