//! Drives the far end's hasher over one channel: names in, hashes out, in order.

mod driver;
mod lines;
#[cfg(test)]
mod tests;
mod window;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::entry::Entry;
use crate::fault::{Cause, Fault, Stage};
use crate::sftp::Attrs;
use crate::sftp::wire::Wire;

use super::below;
use super::commit;
use super::content;
use super::copied::Copying;
use super::digest::Digest;
use super::gmac::Key;
use super::ladder::{self, FarEnd, Introduction, Rung};
use super::listing;
use super::parts::Of;
use driver::Driver;
use lines::Lines;
use window::Window;

/// For the script's introduction. An SFTP server in its place hangs up at our knock; a slow login shell takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names that wait to be sent; callers wait beyond.
const QUEUE: usize = 1024;

/// Why no hash came for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoHash {
    /// The hasher gave none for this file (it cannot read it, or does not see it), but goes on.
    Skipped,
    /// The hasher is gone, or speaks nonsense: use the next rung.
    Gone(String),
}

/// The far end's hasher. Cheap to share; its channel ends when the last handle is dropped.
#[derive(Clone)]
pub struct RemoteHasher {
    pub rung: Rung,
    /// `None`: whoever holds the shared connection drives it, and is asked over SFTP ([`crate::share::digest`]).
    asks: Option<mpsc::Sender<Ask>>,
    told: Arc<Told>,
}

/// How the hasher does.
struct Told {
    window: Mutex<Window>,
    /// When anything came of it.
    heard: Mutex<Instant>,
}

impl Told {
    fn new() -> Arc<Told> {
        Arc::new(Told { window: Mutex::default(), heard: Mutex::new(Instant::now()) })
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn heard(&self) -> MutexGuard<'_, Instant> {
        self.heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A place in the window, given back when it is dropped.
struct Place<'a> {
    told: &'a Told,
    since: Instant,
    answered: bool,
}

impl Place<'_> {
    fn of(told: &Told) -> Option<Place<'_>> {
        let entered = told.window().enter();
        entered.then(|| Place { told, since: Instant::now(), answered: false })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let took = self.answered.then(|| self.since.elapsed());
        self.told.window().leave(took);
    }
}

struct Ask {
    /// As it is sent.
    path: Vec<u8>,
    size: u64,
    answer: Answer,
}

/// What became of a file that was to be given its name if its hash is right ([`commit`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It has its attributes and its name, having this hash.
    Done(Digest),
    /// This is its hash; it lies where it lay. (Some of its attributes may be set.)
    Left(Digest),
}

/// What a small file holds ([`content`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub data: Bytes,
    /// Of the data.
    pub digest: Digest,
    /// Of the file, after it was read.
    pub size: u64,
    /// Seconds.
    pub mtime: i64,
}

/// Who waits.
enum Answer {
    Whole(oneshot::Sender<Result<Digest, NoHash>>),
    Content(oneshot::Sender<Result<Content, NoHash>>),
    Commit(oneshot::Sender<Result<Committed, NoHash>>),
    /// With what has come so far, and how much that can be.
    Parts(oneshot::Sender<Result<Vec<Digest>, NoHash>>, Vec<Digest>, u64),
    /// Whether it is done.
    Copied(oneshot::Sender<Result<(), NoHash>>),
    /// The same of directories.
    Below(oneshot::Sender<Result<Vec<Vec<u8>>, NoHash>>, Vec<Vec<u8>>),
}

impl Answer {
    /// The name's own line has come: with a hash, or without.
    fn give(self, digest: Option<Digest>) {
        match self {
            Answer::Whole(waiter) => {
                let _ = waiter.send(digest.ok_or(NoHash::Skipped));
            }
            // Its bytes would have come in its stead.
            Answer::Content(waiter) => {
                let _ = waiter.send(Err(NoHash::Skipped));
            }
            Answer::Commit(waiter) => {
                let _ = waiter.send(digest.map(Committed::Left).ok_or(NoHash::Skipped));
            }
            Answer::Copied(waiter) => {
                let _ = waiter.send(digest.map(drop).ok_or(NoHash::Skipped));
            }
            Answer::Parts(waiter, parts, _) => {
                let _ = waiter.send(Ok(parts));
            }
            Answer::Below(waiter, directories) => {
                let _ = waiter.send(Ok(directories));
            }
        }
    }

    fn fail(self, why: NoHash) {
        match self {
            Answer::Whole(waiter) => {
                let _ = waiter.send(Err(why));
            }
            Answer::Content(waiter) => {
                let _ = waiter.send(Err(why));
            }
            Answer::Commit(waiter) => {
                let _ = waiter.send(Err(why));
            }
            Answer::Copied(waiter) => {
                let _ = waiter.send(Err(why));
            }
            Answer::Parts(waiter, ..) => {
                let _ = waiter.send(Err(why));
            }
            Answer::Below(waiter, _) => {
                let _ = waiter.send(Err(why));
            }
        }
    }
}

/// What came of starting the script.
pub struct Found {
    pub far: FarEnd,
    pub hasher: Option<RemoteHasher>,
}

/// Reads the introduction from a channel that runs [`ladder::script`], and takes the hasher into use.
///
/// # Errors
/// [`Stage::Hash`]: what speaks there is not the script, or says nothing. The channel is given up.
pub async fn start(mut wire: Wire, hop: Arc<str>) -> Result<Found, Fault> {
    let failed = |cause, text: String| Fault::new(hop.clone(), Stage::Hash, cause, text);
    let mut lines = Lines::default();
    let mut introduction = Introduction::new(Key::own());
    let mut nonsense = false;
    let reading = async {
        // Who does not take it says why in what we read.
        let _ = wire.tx.send(Bytes::from(ladder::knock(Key::own()))).await;
        loop {
            while let Some(line) = lines.next() {
                // An account that may run no commands is told so in a line of text.
                nonsense |= line.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace());
                match introduction.line(&line) {
                    Ok(false) => {}
                    Ok(true) => return Ok(()),
                    Err(text) => return Err(failed(Cause::Protocol, text)),
                }
            }
            match wire.rx.recv().await? {
                Some(data) if lines.feed(&data) => {}
                Some(_) => {
                    return Err(failed(Cause::Protocol, "garbage in place of the hasher's first line".to_owned()));
                }
                None if nonsense => return Err(failed(Cause::Protocol, "garbage in the hasher's place".to_owned())),
                None => return Err(failed(Cause::Unsupported, "no shell ran the hashing script".to_owned())),
            }
        }
    };
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(result) => result?,
        Err(_) => {
            wire.tx.finish().await;
            return Err(failed(Cause::Timeout, "the far end's shell did not answer the hashing script".to_owned()));
        }
    }
    let far = introduction.found;
    let hasher = match far.hasher {
        Some(rung) => {
            let (asks, queue) = mpsc::channel(QUEUE);
            let told = Told::new();
            tokio::spawn(Driver::new(rung, lines, told.clone()).run(wire, queue));
            Some(RemoteHasher { rung, asks: Some(asks), told })
        }
        None => {
            wire.tx.finish().await;
            None
        }
    };
    Ok(Found { far, hasher })
}

impl RemoteHasher {
    /// A hasher that somebody else drives.
    pub fn shared(rung: Rung) -> RemoteHasher {
        RemoteHasher { rung, asks: None, told: Told::new() }
    }

    pub fn is_shared(&self) -> bool {
        self.asks.is_none()
    }

    /// The hash of the far end's file `path`; `size` in bytes sets the patience.
    pub async fn digest(&self, path: &[u8], size: u64) -> Result<Digest, NoHash> {
        if !ladder::is_plain(path) {
            return Err(NoHash::Skipped);
        }
        let (answer, answered) = oneshot::channel();
        self.ask(Ask { path: ladder::handed_over(path), size, answer: Answer::Whole(answer) }).await?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// What the far end's file `path` holds, of `size` bytes.
    ///
    /// # Errors
    /// [`NoHash::Skipped`]: this hasher does not tell that, or not of such a name or so large a file, or cannot read it, or has too much to
    /// do, or has said nothing at all for as long as `patience`.
    pub async fn content(&self, path: &[u8], size: u64, patience: Duration) -> Result<Content, NoHash> {
        if size > content::MOST {
            return Err(NoHash::Skipped);
        }
        self.told(path, content::question, size, patience).await
    }

    /// What the far end's directory `path` holds, as [`listing`] has it.
    ///
    /// # Errors
    /// As [`RemoteHasher::content`]; also [`NoHash::Skipped`] for what is no such listing.
    pub async fn list(&self, path: &[u8], patience: Duration) -> Result<Vec<Entry>, NoHash> {
        let Content { data, digest, .. } = self.told(path, listing::question, content::MOST, patience).await?;
        let whole = Digest::of(self.rung.algorithm(), &data) == digest;
        listing::told(&data).filter(|_| whole).ok_or(NoHash::Skipped)
    }

    async fn told(
        &self,
        path: &[u8],
        question: fn(&[u8]) -> Vec<u8>,
        size: u64,
        patience: Duration,
    ) -> Result<Content, NoHash> {
        if !self.rung.tells_parts() || !ladder::is_plain(path) {
            return Err(NoHash::Skipped);
        }
        let mut place = Place::of(&self.told).ok_or(NoHash::Skipped)?;
        let (answer, mut answered) = oneshot::channel();
        self.ask(Ask { path: question(&ladder::handed_over(path)), size, answer: Answer::Content(answer) }).await?;
        loop {
            if let Ok(told) = tokio::time::timeout(patience, &mut answered).await {
                let told = told.unwrap_or_else(|_| Err(gone()));
                place.answered = told.is_ok();
                return told;
            }
            if self.told.heard().elapsed() >= patience {
                // It is late, too.
                place.answered = true;
                return Err(NoHash::Skipped);
            }
        }
    }

    /// If the far end's file `temp`, of `size` bytes, has the hash `wanted`, sets its attributes and calls it `name`, in its directory.
    ///
    /// # Errors
    /// [`NoHash::Skipped`]: this hasher does not do so, or not of such names, or cannot read the file, or was gone before it was asked;
    /// nothing has happened. After [`NoHash::Gone`] the file may have its name, or get it yet.
    pub async fn commit(
        &self,
        temp: &[u8],
        size: u64,
        wanted: &Digest,
        attrs: &Attrs,
        name: &[u8],
    ) -> Result<Committed, NoHash> {
        if !self.rung.tells_parts() || !ladder::is_plain(temp) || !ladder::is_plain(name) {
            return Err(NoHash::Skipped);
        }
        let (answer, answered) = oneshot::channel();
        let path = commit::question(wanted, attrs, &ladder::handed_over(temp), name);
        let asked = self.ask(Ask { path, size, answer: Answer::Commit(answer) }).await;
        asked.map_err(|_| NoHash::Skipped)?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Asks for the hashes of parts, or the sums of blocks ([`super::blocks::Sum::told`]), of the far end's file `path`: fewer at its
    /// end, none where it cannot be read. When this returns, the question is on its way; what it returns is the answer.
    ///
    /// # Errors
    /// [`NoHash::Skipped`]: this hasher does not tell parts, or not of such a name.
    pub async fn parts(
        &self,
        path: &[u8],
        of: Of,
    ) -> Result<impl Future<Output = Result<Vec<Digest>, NoHash>> + Send + 'static, NoHash> {
        if !self.rung.tells_parts() || !ladder::is_plain(path) {
            return Err(NoHash::Skipped);
        }
        let (answer, answered) = oneshot::channel();
        let path = of.question(&ladder::handed_over(path));
        self.ask(Ask { path, size: of.span(), answer: Answer::Parts(answer, Vec::new(), of.most()) }).await?;
        Ok(async { answered.await.unwrap_or_else(|_| Err(gone())) })
    }

    /// Has bytes of one of the far end's files written into another one, as [`copied`](super::copied) has it. When this returns, the question is
    /// on its way; what it returns is the answer.
    ///
    /// # Errors
    /// [`NoHash::Skipped`]: this hasher does not do so, or not with such names; as an answer, some of them may be written. After
    /// [`NoHash::Gone`] they may be written yet.
    pub async fn copy(
        &self,
        old: &[u8],
        new: &[u8],
        (from, at, len): (u64, u64, u64),
    ) -> Result<impl Future<Output = Result<(), NoHash>> + Send + 'static, NoHash> {
        if !self.copies(old, new) {
            return Err(NoHash::Skipped);
        }
        let (old, new) = (&ladder::handed_over(old), &ladder::handed_over(new));
        let (answer, answered) = oneshot::channel();
        let path = Copying { from, at, len, old, new }.question();
        self.ask(Ask { path, size: len, answer: Answer::Copied(answer) }).await?;
        Ok(async { answered.await.unwrap_or_else(|_| Err(gone())) })
    }

    /// Whether [`RemoteHasher::copy`] can be asked for.
    pub fn copies(&self, old: &[u8], new: &[u8]) -> bool {
        self.rung.tells_parts() && ladder::is_plain(old) && ladder::is_plain(new)
    }

    /// The directories below the far end's directory `path`, as [`below`] has them: some of them, in no order, or none.
    ///
    /// # Errors
    /// [`NoHash::Skipped`]: this hasher does not tell them, or not of such a name.
    pub async fn below(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, NoHash> {
        if !self.rung.tells_parts() || !ladder::is_plain(path) {
            return Err(NoHash::Skipped);
        }
        let (answer, answered) = oneshot::channel();
        let path = below::question(&ladder::handed_over(path));
        self.ask(Ask { path, size: 0, answer: Answer::Below(answer, Vec::new()) }).await?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn ask(&self, ask: Ask) -> Result<(), NoHash> {
        self.asks.as_ref().ok_or_else(gone)?.send(ask).await.map_err(|_| gone())
    }
}

fn gone() -> NoHash {
    NoHash::Gone("the hasher has ended".to_owned())
}
