//! Finds the holder of a route, or becomes its starter: see [the module](super) for the rules.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::net::UnixStream;

use super::place::Lock;
use super::protocol::{self, Facts, Start, Told, Want};
use super::{NotShared, start};
use crate::ssh::connection::Context;

/// A holder that says nothing for this long hangs. It says [`Told::Wait`] every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// How long it may be [`Told::Wait`] in all: longer than any back-off of the holder's.
const WAITING: Duration = Duration::from_secs(900);

/// For whoever holds the lock to let go: a starter's or a leaving holder's longest steps, and a queue of hundreds.
const LOCKED: Duration = Duration::from_secs(120);

/// Holders that may leave or die under us, one after another, before we give up on them.
const ROUNDS: usize = 8;

/// For what the holder told its starter to be read, once it has answered.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A virtual channel, ready for SFTP.
pub struct Joined {
    pub stream: UnixStream,
    pub facts: Facts,
    /// It was we who started the holder.
    pub started: bool,
}

/// A channel of the holder that there is, or of one that is started for it.
pub async fn join(start: &Start, want: &Want, context: &Context) -> Result<Joined, NotShared> {
    let mut started = false;
    for _ in 0..ROUNDS {
        if let Some(mut stream) = connect(&start.socket).await?
            && let Some(facts) = greet(&mut stream, want).await?
        {
            return Ok(Joined { stream, facts, started });
        }
        let lock = tokio::time::timeout(LOCKED, Lock::take(&start.lock)).await;
        let lock = lock.map_err(|_| alone("nobody lets go of the lock"))?.map_err(alone)?;
        // Whoever had the lock before us may have started one.
        if let Some(mut stream) = connect(&start.socket).await? {
            lock.release();
            if let Some(facts) = greet(&mut stream, want).await? {
                return Ok(Joined { stream, facts, started });
            }
            continue;
        }
        let Some(line) = start::start(start, lock).await.map_err(alone)? else { continue };
        started = true;
        let mut assisting = tokio::spawn(start::assist(line, context.clone(), start.clone()));
        let greeted = match connect(&start.socket).await {
            Ok(Some(mut stream)) => greet(&mut stream, want).await.map(|facts| facts.map(|facts| (stream, facts))),
            Ok(None) => Ok(None),
            Err(why) => Err(why),
        };
        // What the holder had to tell us came before its answer.
        let _ = tokio::time::timeout(LAST_WORDS, &mut assisting).await;
        assisting.abort();
        if let Some((stream, facts)) = greeted? {
            return Ok(Joined { stream, facts, started });
        }
    }
    Err(alone(format!("{ROUNDS} holders of the shared connection have died or left")))
}

fn alone(why: impl ToString) -> NotShared {
    NotShared::Alone(why.to_string())
}

/// `None` if nobody listens.
pub async fn connect(socket: &Path) -> Result<Option<UnixStream>, NotShared> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => {
                let peer = stream.peer_cred().map_err(alone)?;
                if peer.uid() != rustix::process::getuid().as_raw() {
                    return Err(alone("the shared connection's socket is another user's"));
                }
                return Ok(Some(stream));
            }
            Err(e) if nobody(e.kind()) => return Ok(None),
            // Hundreds are in the queue before us (connect(2), EAGAIN).
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && begun.elapsed() < LOCKED => {
                let pause = rand::rng().random_range(2..20);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Err(e) => return Err(alone(e)),
        }
    }
}

/// Nobody listens, or who did has died before it took us from its queue.
fn nobody(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
    matches!(kind, NotFound | ConnectionRefused | ConnectionReset)
}

/// Says what we want and waits for it. `None`: this holder is leaving, or has died, and there will be another.
pub async fn greet(stream: &mut UnixStream, want: &Want) -> Result<Option<Facts>, NotShared> {
    match ask(stream, want).await? {
        Some(Told::Ready(facts)) => Ok(Some(facts)),
        Some(Told::Failed(fault)) => Err(NotShared::Fault(fault)),
        Some(_) | None => Ok(None),
    }
}

/// Asks a holder and waits for its answer; `None` if it dies meanwhile.
pub async fn ask(stream: &mut UnixStream, want: &Want) -> Result<Option<Told>, NotShared> {
    let begun = Instant::now();
    // One that is leaving may have closed already: what it said before can still be read.
    let _ = protocol::send(stream, want).await;
    while begun.elapsed() < WAITING {
        match tokio::time::timeout(SILENCE, protocol::receive(stream)).await {
            Ok(Ok(Some(Told::Wait))) => {}
            Ok(Ok(told)) => return Ok(told),
            Ok(Err(e)) if e.kind() == io::ErrorKind::InvalidData => return Err(alone(e)),
            Ok(Err(_)) => return Ok(None),
            Err(_) => break,
        }
    }
    Err(alone("the shared connection's holder does not answer"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::Ledger;
    use crate::ssh::prompt::Prompt;
    use crate::ssh::route::{First, Hop, Route};

    #[tokio::test]
    async fn a_name_without_a_listener_is_nobody() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.sock");
        assert!(connect(&path).await.unwrap().is_none());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(connect(&path).await.unwrap().is_none());
    }

    /// Hundreds may be in its queue: each with a connection of its own would be what sharing is there to avoid.
    #[tokio::test]
    async fn a_listener_that_dies_with_us_in_its_queue_is_nobody() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut connecting = std::pin::pin!(connect(&path));
        // In the queue; that it is connected it learns from the runtime, which has not been asked yet.
        assert!(futures::poll!(&mut connecting).is_pending());
        drop(listener);
        assert!(connecting.await.unwrap().is_none());
    }

    /// The program that it starts is this test's own, which knows nothing of holders and ends at once.
    #[tokio::test]
    async fn a_holder_that_dies_before_it_listens_is_one_round_and_not_the_end() {
        let root = tempfile::tempdir().unwrap();
        let (socket, lock) = (root.path().join("a.sock"), root.path().join("a.lock"));
        let route = Route { first: First::Tcp, hops: vec![Hop::plain("user", 22, "me")] };
        let (patience, linger, person) = (None, Duration::ZERO, false);
        let start = Start { socket, lock, route, patience, linger, person };
        let begun = start::start(&start, Lock::wait(&start.lock).unwrap()).await;
        assert!(matches!(begun, Ok(None)), "{begun:?}");
        let context = Context {
            prompt: Arc::new(Prompt::nobody()),
            ledger: Arc::new(Ledger::new(Default::default())),
            patience: None,
            compress: false,
            sessions: 2,
            notice: Arc::new(|_| {}),
        };
        match join(&start, &Want::Stop, &context).await {
            Err(NotShared::Alone(why)) => assert!(why.contains(&format!("{ROUNDS} holders")), "{why}"),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("there is no holder"),
        }
    }

    #[tokio::test]
    async fn a_holder_that_dies_before_its_answer_is_gone_and_a_stranger_is_named() {
        let (mut ours, its) = UnixStream::pair().unwrap();
        drop(its);
        assert!(greet(&mut ours, &Want::Stop).await.unwrap().is_none());
        let (mut ours, mut its) = UnixStream::pair().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut its, b"HTTP/1.1 400").await.unwrap();
        match greet(&mut ours, &Want::Stop).await {
            Err(NotShared::Alone(why)) => assert!(why.contains("not hopsync"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
