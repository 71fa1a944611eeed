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
use super::route::Hop;

/// Known to every shell, and done at once.
const COMMAND: &str = "true";

/// For the command to end; a shell's start-up files, or a command that is forced, may take their time. Then the channel is closed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is noted of a session that OpenSSH does not open (serverloop.c, `server_input_channel_open`). The words for a tunnel that cannot be
/// made, with the same reason, are others: they say why.
pub const REFUSED: &str = "open failed (reason 2)";

/// Whether a jump at the end of such a path is woken, if its server is one that sleeps.
pub fn may_be(jump: &Hop, windows: Windows) -> bool {
    jump.runs_commands && windows.receive > Windows::NEAR
}

/// Whether a jump that has logged us in is to be woken.
pub fn is_worth_it(jump: &HopSession) -> bool {
    may_be(&jump.hop, jump.windows) && jump.fate.banner().is_some_and(|banner| ahead::bears(&banner))
}

/// Wakes a jump, on the session that was asked for with the login or on another one.
pub fn wake(jump: &Arc<HopSession>) {
    let (asked, opener) = (jump.asked_for(&Wanted::Session), jump.handle.opener());
    let (fate, asleep) = (jump.fate.clone(), jump.fate.clone());
    let running = async move {
        let opened = match asked {
            Some(asked) => asked.opened().await,
            None => Some(Wanted::Session.open(&opener).await),
        };
        let mut channel = match opened {
            Some(Ok(channel)) => channel,
            Some(Err(russh::Error::ChannelOpenFailure(_))) => {
                // These words are no tunnel's.
                let said = fate.open_failure().await;
                return tracing::debug!(hop = %fate.hop, ?said, "runs nothing");
            }
            _ => return,
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
