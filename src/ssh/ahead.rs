//! A hop's first channel, asked for behind the request that logs in there.
//!
//! A server takes packets in order, and one that grants a login goes on with what came behind it; so the channel is there with the login
//! instead of a round trip later (two, where Nagle's algorithm holds its answer back behind what OpenSSH says after a login). One that
//! refuses may take the packet for a violation of the protocol: only of OpenSSH it is known that it says no more than that it does not
//! know it (`dispatch_protocol_error` in its auth2.c), so nobody else is asked in this way.

use std::collections::VecDeque;
use std::time::Duration;

use russh::Channel;
use russh::client::{Msg, Opener};
use tokio::sync::oneshot;

/// For the answer, before the channel is asked for once more: nothing is lost but this, if a server did not look at the packet.
const PATIENCE: Duration = Duration::from_secs(10);

/// The channel that is wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Session,
    /// A direct-tcpip channel to a host and its port.
    Tunnel(String, u16),
}

pub type Opened = Result<Channel<Msg>, russh::Error>;

impl Wanted {
    pub async fn open(self, opener: &Opener) -> Opened {
        match self {
            Wanted::Session => opener.channel_open_session().await,
            Wanted::Tunnel(host, port) => opener.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await,
        }
    }
}

/// Whether a server with this banner is known to bear it.
pub fn bears(banner: &str) -> bool {
    banner.starts_with("SSH-2.0-OpenSSH_")
}

/// A channel that was asked for. One that comes after this is gone is closed again.
#[derive(Debug)]
pub struct Ahead {
    pub wanted: Wanted,
    answer: oneshot::Receiver<Opened>,
}

impl Ahead {
    /// Asks, in this order; the login's request must have been submitted.
    pub fn ask(opener: Opener, wanted: &[Wanted]) -> VecDeque<Ahead> {
        let asked = wanted.iter().cloned().map(|wanted| {
            let (tell, answer) = oneshot::channel();
            (tell, Ahead { wanted, answer })
        });
        let (tell, asked): (Vec<_>, _) = asked.unzip();
        let wanted = wanted.to_vec();
        tokio::spawn(async move {
            let one = async |(wanted, tell): (Wanted, oneshot::Sender<Opened>)| {
                if let Err(Ok(unwanted)) = tell.send(wanted.open(&opener).await) {
                    let _ = unwanted.close().await;
                }
            };
            // These are begun in their order: where a server allows one channel, that is the first.
            futures::future::join_all(wanted.into_iter().zip(tell).map(one)).await;
        });
        asked
    }

    /// The answer; `None` if there is none.
    pub async fn opened(self) -> Option<Opened> {
        tokio::time::timeout(PATIENCE, self.answer).await.ok()?.ok()
    }
}
