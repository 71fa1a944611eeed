//! Starts a holder: this program again, in a session of its own, with the lock in its hands.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::Command;

use super::HOLDER;
use super::place::Lock;
use super::protocol::{self, Start, Word};
use crate::ssh::connection::Context;
use crate::ssh::route::First;

/// For a process to start and to listen. It does nothing else before.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a holder and returns when it listens: the line to it, on which it asks what only a person knows. `None` if it died
/// before: another may do better.
///
/// # Errors
/// A sentence on why there is no holder; our own connection is the way then.
pub async fn start(start: &Start, lock: Lock) -> Result<Option<UnixStream>, String> {
    let begun = async {
        let mut line = spawn(start, &lock).map_err(|e| format!("cannot start a holder: {e}"))?;
        if protocol::send(&mut line, start).await.is_err() {
            return Ok(None);
        }
        match protocol::receive(&mut line).await {
            Ok(Some(Word::Listening)) => Ok(Some(line)),
            Ok(Some(Word::Cannot(why))) => Err(why),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(e.to_string()),
            Ok(_) | Err(_) => Ok(None),
        }
    };
    let begun = tokio::time::timeout(PATIENCE, begun).await;
    // Not released but dropped: a holder that is still on its way keeps it.
    drop(lock);
    begun.unwrap_or_else(|_| Err(format!("the holder did not listen within {} s", PATIENCE.as_secs())))
}

fn spawn(start: &Start, lock: &Lock) -> io::Result<UnixStream> {
    let (ours, its) = StdStream::pair()?;
    let target = start.route.hops.last().map_or("", |hop| &hop.alias);
    let mut command = Command::new("/proc/self/exe");
    command
        // The name by which the lab's program knows that it is to be the drop-in.
        .arg0("hopsync")
        .args([HOLDER, target])
        .stdin(Stdio::from(OwnedFd::from(its)))
        .stdout(Stdio::from(lock.share()?))
        .stderr(Stdio::null())
        .kill_on_drop(false);
    if start.route.first == First::Tcp {
        // So as to keep no file system busy. A ProxyCommand may name files from here.
        command.current_dir("/");
    }
    // The child lives on without us; as long as we live, the runtime reaps it.
    drop(command.spawn()?);
    ours.set_nonblocking(true)?;
    UnixStream::from_std(ours)
}

/// Does what the holder asks for, until it has no more questions.
pub async fn assist(mut line: UnixStream, context: Context, start: Start) {
    while let Ok(Some(word)) = protocol::receive(&mut line).await {
        match word {
            Word::Ask(hop, question, echo) => {
                let answer = match start.route.hops.get(hop) {
                    Some(hop) => context.prompt.ask(hop, &question, echo).await,
                    None => None,
                };
                let answer = answer.as_deref().map(String::as_str);
                if protocol::send(&mut line, &answer).await.is_err() {
                    return;
                }
            }
            Word::Notice(text) => (context.notice)(&text),
            Word::Listening | Word::Cannot(_) => {}
        }
    }
}
