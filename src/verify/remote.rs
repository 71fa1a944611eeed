//! Drives the far end's hasher over one channel: names in, hashes out, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::fault::{Cause, Fault, Stage};
use crate::sftp::Attrs;
use crate::sftp::wire::{Receiver, Sender, Wire};

use super::below;
use super::commit;
use super::digest::Digest;
use super::gmac::Key;
use super::ladder::{self, BATCH, FarEnd, Introduction, Line, Rung, SENTINEL};
use super::parts::Of;

/// For the script's introduction. An SFTP server in its place hangs up at our knock; a slow login shell takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line of output at most: a hash and a path (Linux: 4,096 bytes).
const LINE: usize = 16 * 1024;

/// Names that wait to be sent; callers wait beyond.
const QUEUE: usize = 1024;

/// Batches at the far end: while one runs the next one waits there, so that the hasher never waits for us.
const BATCHES: usize = 2;

/// While a batch runs, names gather for this long, or until there are this many, before the next one goes.
const GATHER: Duration = Duration::from_millis(10);
const GATHERED: usize = 256;

/// A file is given up when its hash has not come within this time plus its size, and all before it, at 4 MB/s.
const SLOWEST: Duration = Duration::from_secs(120);
const SLOWEST_RATE: u64 = 4_000_000;

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

/// Who waits.
enum Answer {
    Whole(oneshot::Sender<Result<Digest, NoHash>>),
    Commit(oneshot::Sender<Result<Committed, NoHash>>),
    /// With what has come so far, and how much that can be.
    Parts(oneshot::Sender<Result<Vec<Digest>, NoHash>>, Vec<Digest>, u64),
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
            Answer::Commit(waiter) => {
                let _ = waiter.send(digest.map(Committed::Left).ok_or(NoHash::Skipped));
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
            Answer::Commit(waiter) => {
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

/// Reads the introduction from a channel that runs [`ladder::SCRIPT`], and takes the hasher into use.
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
            tokio::spawn(Driver::new(rung, lines).run(wire, queue));
            Some(RemoteHasher { rung, asks: Some(asks) })
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
        RemoteHasher { rung, asks: None }
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

    /// If the far end's file `temp`, of `size` bytes, has the hash `wanted`, sets its attributes and calls it `name`, in its directory.
    ///
    /// # Errors
    /// [`NoHash::Skipped`]: this hasher does not do so, or not of such names, or cannot read the file; nothing has happened. After
    /// [`NoHash::Gone`] the file may have its name or not.
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
        self.ask(Ask { path, size, answer: Answer::Commit(answer) }).await?;
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

struct Driver {
    rung: Rung,
    lines: Lines,
    /// Names to be sent with the next batch.
    gathered: Vec<Ask>,
    /// Since when the first of them waits.
    since: Instant,
    /// Sent and unanswered, in order; a batch's last one has nobody to answer.
    waiting: VecDeque<(Vec<u8>, Option<Answer>)>,
    /// Batches sent and not done.
    batches: usize,
    deadline: Instant,
}

impl Driver {
    fn new(rung: Rung, lines: Lines) -> Driver {
        let now = Instant::now();
        let (gathered, waiting) = (Vec::new(), VecDeque::new());
        Driver { rung, lines, gathered, since: now, waiting, batches: 0, deadline: now }
    }

    async fn run(mut self, wire: Wire, mut queue: mpsc::Receiver<Ask>) {
        let Wire { mut tx, mut rx } = wire;
        let why = loop {
            if let Some(message) = self.batch()
                && let Err(why) = self.send(message, tx.as_mut(), rx.as_mut()).await
            {
                break why;
            }
            let full = self.gathered.len() >= BATCH;
            let due = self.since + GATHER;
            tokio::select! {
                ask = queue.recv(), if !full => {
                    let Some(first) = ask else { break "no longer needed".to_owned() };
                    self.gather(first);
                    while self.gathered.len() < BATCH
                        && let Ok(more) = queue.try_recv()
                    {
                        self.gather(more);
                    }
                }
                received = rx.recv() => match received {
                    Ok(Some(data)) => if let Err(why) = self.take(&data) { break why },
                    Ok(None) => break "the hasher has exited".to_owned(),
                    Err(fault) => break fault.to_string(),
                },
                () = tokio::time::sleep_until(due), if !self.gathered.is_empty() && self.batches < BATCHES => {}
                () = tokio::time::sleep_until(self.deadline), if !self.waiting.is_empty() => {
                    break "the hasher no longer answers".to_owned();
                }
            }
        };
        // The queue first: whoever asks from now on learns it from the closed queue.
        queue.close();
        let rest = std::iter::from_fn(|| queue.try_recv().ok());
        let unsent = self.gathered.into_iter().chain(rest).map(|ask| ask.answer);
        for answer in self.waiting.into_iter().filter_map(|(_, answer)| answer).chain(unsent) {
            answer.fail(NoHash::Gone(why.clone()));
        }
        tx.finish().await;
        // Drained to its end, so that the channel closes in order and its session slot is free again.
        let _ =
            tokio::time::timeout(Duration::from_secs(5), async { while let Ok(Some(_)) = rx.recv().await {} }).await;
    }

    /// Sends a batch, and takes what the hasher prints meanwhile: one that waits for us to read reads nothing.
    async fn send(&mut self, message: Bytes, tx: &mut dyn Sender, rx: &mut dyn Receiver) -> Result<(), String> {
        let mut sending = tx.send(message);
        loop {
            tokio::select! {
                sent = &mut sending => return sent.map_err(|fault| fault.to_string()),
                received = rx.recv() => match received {
                    Ok(Some(data)) => self.take(&data)?,
                    Ok(None) => return Err("the hasher has exited".to_owned()),
                    Err(fault) => return Err(fault.to_string()),
                },
            }
        }
    }

    fn gather(&mut self, ask: Ask) {
        if self.gathered.is_empty() {
            self.since = Instant::now();
        }
        self.gathered.push(ask);
    }

    /// The next batch, if it is time for it: at once where nothing runs, else when enough has gathered.
    fn batch(&mut self) -> Option<Bytes> {
        let enough = self.gathered.len() >= GATHERED || self.since.elapsed() >= GATHER;
        let ready = match self.rung.batches() {
            false => true,
            true => self.batches == 0 || self.batches < BATCHES && enough,
        };
        if self.gathered.is_empty() || !ready {
            return None;
        }
        if self.waiting.is_empty() {
            self.deadline = Instant::now() + SLOWEST;
        }
        let end: &[u8] = if self.rung.batches() { b"\n" } else { b"\0" };
        let mut message = BytesMut::new();
        for ask in self.gathered.drain(..) {
            self.deadline += Duration::from_millis(ask.size / (SLOWEST_RATE / 1000));
            message.extend_from_slice(&ask.path);
            message.extend_from_slice(end);
            // This one is answered by the file's name alone.
            let name = commit::asked(&ask.path).map(|commit| commit.temp.to_vec());
            self.waiting.push_back((name.unwrap_or(ask.path), Some(ask.answer)));
        }
        if self.rung.batches() {
            message.extend_from_slice(SENTINEL);
            message.extend_from_slice(b"\n\n");
            self.waiting.push_back((SENTINEL.to_vec(), None));
            self.batches += 1;
        }
        Some(message.freeze())
    }

    /// Takes in output. A hasher skips what it cannot read (and complains on its standard error), so a line answers its
    /// name and ends all before it.
    fn take(&mut self, data: &Bytes) -> Result<(), String> {
        if !self.lines.feed(data) {
            return Err("the hasher printed a line without end".to_owned());
        }
        while let Some(line) = self.lines.next() {
            if let Some(directory) = below::told(&line) {
                self.directory(directory)?;
                continue;
            }
            let Some(Line { digest, name, committed }) = ladder::parse_line(self.rung.algorithm(), &line) else {
                return Err(format!("the hasher printed {:?}", String::from_utf8_lossy(&line[..line.len().min(80)])));
            };
            if name.is_empty() {
                self.part(digest)?;
                continue;
            }
            if committed {
                self.committed(name, digest)?;
                continue;
            }
            loop {
                let Some((waited_for, answer)) = self.waiting.pop_front() else {
                    return Err("the hasher printed a name that was not asked for".to_owned());
                };
                let hit = waited_for == name;
                match answer {
                    Some(answer) => {
                        self.deadline = self.deadline.max(Instant::now() + SLOWEST);
                        if hit { answer.give(digest) } else { answer.fail(NoHash::Skipped) }
                    }
                    None => self.batches -= 1,
                }
                if hit {
                    break;
                }
            }
        }
        Ok(())
    }

    /// It is asked for of hashers that answer each name.
    fn committed(&mut self, temp: &[u8], digest: Option<Digest>) -> Result<(), String> {
        match (self.waiting.pop_front(), digest) {
            (Some((name, Some(Answer::Commit(waiter)))), Some(digest)) if name == temp => {
                self.deadline = self.deadline.max(Instant::now() + SLOWEST);
                let _ = waiter.send(Ok(Committed::Done(digest)));
                Ok(())
            }
            (other, _) => {
                // Who is at its turn waits for an answer, too.
                self.waiting.extend(other);
                Err("the hasher named a file that was not asked for".to_owned())
            }
        }
    }

    fn directory(&mut self, path: &[u8]) -> Result<(), String> {
        match self.waiting.front_mut() {
            Some((_, Some(Answer::Below(_, directories)))) if directories.len() < below::MOST => {
                if path.len() <= below::LONGEST {
                    directories.push(path.to_vec());
                }
                Ok(())
            }
            _ => Err("the hasher printed a directory that was not asked for".to_owned()),
        }
    }

    /// A line without a name is the next part's of what was asked first.
    fn part(&mut self, digest: Option<Digest>) -> Result<(), String> {
        match (self.waiting.front_mut(), digest) {
            (Some((_, Some(Answer::Parts(_, parts, most)))), Some(digest)) if (parts.len() as u64) < *most => {
                parts.push(digest);
                Ok(())
            }
            _ => Err("the hasher printed a part that was not asked for".to_owned()),
        }
    }
}

/// Cuts output into lines of bounded length.
#[derive(Default)]
struct Lines {
    buffer: BytesMut,
    /// How much of the buffer is known to hold no newline.
    seen: usize,
}

impl Lines {
    /// False if a line grows beyond [`LINE`].
    fn feed(&mut self, data: &[u8]) -> bool {
        self.buffer.extend_from_slice(data);
        self.buffer.len() - self.seen <= LINE.max(data.len()) || self.buffer[self.seen..].contains(&b'\n')
    }

    fn next(&mut self) -> Option<Bytes> {
        match self.buffer[self.seen..].iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let line = self.buffer.split_to(self.seen + at + 1).freeze();
                self.seen = 0;
                Some(line.slice(..line.len() - 1))
            }
            None => {
                self.seen = self.buffer.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::wire;
    use crate::verify::digest::Algorithm;
    use crate::verify::parts::{self, ASKED};

    /// Plays the far end: introduces itself, then answers the names of each batch by `hash`, as the script would.
    async fn far_end(rung: &'static str, hash: impl Fn(&[u8]) -> Option<String> + Send + 'static) -> RemoteHasher {
        let (near, mut far) = wire::pair(64);
        tokio::spawn(async move {
            let hello = format!("hopsync-far 1\nids 0 0 0\numask 0022\nhasher {rung}\n");
            let knock = ladder::knock(Key::own());
            assert_eq!(far.rx.recv().await.unwrap().as_deref(), Some(knock.as_bytes()));
            far.tx.send(Bytes::from(hello)).await.unwrap();
            let mut input = Vec::new();
            let mut held: Vec<Vec<u8>> = Vec::new();
            while let Ok(Some(data)) = far.rx.recv().await {
                input.extend_from_slice(&data);
                while let Some(end) = input.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = input.drain(..=end).collect();
                    if line.len() > 1 {
                        held.push(line[..line.len() - 1].to_vec());
                        continue;
                    }
                    let out: String = held.drain(..).filter_map(|name| hash(&name)).collect();
                    if far.tx.send(Bytes::from(out)).await.is_err() {
                        return;
                    }
                }
            }
        });
        start(near, "far".into()).await.unwrap().hasher.unwrap()
    }

    fn line(name: &[u8]) -> String {
        let digest = Digest::of(Algorithm::Blake3, name).to_string();
        format!("{}  {}\n", &digest[7..], String::from_utf8_lossy(name))
    }

    #[tokio::test(start_paused = true)]
    async fn one_name_is_answered_without_waiting_for_a_full_batch() {
        let hasher = far_end("b3sum", |name| Some(line(name))).await;
        assert_eq!(hasher.digest(b"dir/file", 1).await, Ok(Digest::of(Algorithm::Blake3, b"./dir/file")));
        assert_eq!(hasher.digest(b"/abs", 1).await, Ok(Digest::of(Algorithm::Blake3, b"/abs")));
    }

    #[tokio::test(start_paused = true)]
    async fn hundreds_of_names_at_once_are_all_answered() {
        let hasher = far_end("b3sum", |name| Some(line(name))).await;
        let asks = (0..1000).map(|n| {
            let hasher = hasher.clone();
            async move { hasher.digest(format!("f{n}").as_bytes(), 1).await }
        });
        for (n, answer) in futures::future::join_all(asks).await.into_iter().enumerate() {
            assert_eq!(answer, Ok(Digest::of(Algorithm::Blake3, format!("./f{n}").as_bytes())));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_the_hasher_cannot_read_is_skipped_and_the_others_are_answered() {
        let hasher = far_end("b3sum", |name| (name != b"./gone").then(|| line(name))).await;
        let (gone, there) = tokio::join!(hasher.digest(b"gone", 1), hasher.digest(b"there", 1));
        assert_eq!(gone, Err(NoHash::Skipped));
        assert!(there.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_ends_the_hasher_for_everyone() {
        let hasher = far_end("sha256sum", |_| Some("Segmentation fault\n".to_owned())).await;
        assert!(matches!(hasher.digest(b"a", 1).await, Err(NoHash::Gone(_))));
        assert!(matches!(hasher.digest(b"b", 1).await, Err(NoHash::Gone(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hasher_that_falls_silent_is_given_up() {
        let hasher = far_end("sha256sum", |_| None).await;
        assert!(matches!(hasher.digest(b"a", 1).await, Err(NoHash::Gone(_))));
    }

    /// A far end that answers each name as it comes, by `answer`.
    async fn far_end_at_once(answer: impl Fn(&[u8]) -> String + Send + 'static) -> RemoteHasher {
        let (near, mut far) = wire::pair(64);
        tokio::spawn(async move {
            far.rx.recv().await.unwrap();
            far.tx.send(Bytes::from_static(b"hopsync-far 1\nhasher hopsync\n")).await.unwrap();
            let mut input = Vec::new();
            while let Ok(Some(data)) = far.rx.recv().await {
                input.extend_from_slice(&data);
                while let Some(end) = input.iter().position(|b| *b == 0) {
                    let name: Vec<u8> = input.drain(..=end).collect();
                    if far.tx.send(Bytes::from(answer(&name[..name.len() - 1]))).await.is_err() {
                        return;
                    }
                }
            }
        });
        start(near, "far".into()).await.unwrap().hasher.unwrap()
    }

    /// `many` parts, and the line that ends them.
    fn told(many: usize, name: &[u8]) -> String {
        let name = String::from_utf8_lossy(name);
        let part = |n| line(format!("{n} {name}").as_bytes())[..66].to_owned() + "\n";
        (0..many).map(part).collect::<String>() + &format!("{}  {name}\n", "-".repeat(64))
    }

    #[tokio::test(start_paused = true)]
    async fn parts_are_told_in_order_among_other_names() {
        let answer = |name: &[u8]| if parts::asked(name).is_some() { told(3, name) } else { line(name) };
        let hasher = far_end_at_once(answer).await;
        let (first, second) =
            (hasher.parts(b"f", Of::Parts(0)).await.unwrap(), hasher.parts(b"f", Of::Parts(64)).await.unwrap());
        let (first, whole, second) = tokio::join!(first, hasher.digest(b"f", 1), second);
        let of = |n, first| Digest::of(Algorithm::Blake3, format!("{n} b{first} ./f").as_bytes());
        assert_eq!(first, Ok((0..3).map(|n| of(n, 0)).collect()));
        assert_eq!(second, Ok((0..3).map(|n| of(n, 64)).collect()));
        assert_eq!(whole, Ok(Digest::of(Algorithm::Blake3, b"./f")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_committed_is_told_with_its_hash_and_nothing_else_is_believed() {
        let (wanted, attrs) = (Digest::of(Algorithm::Blake3, b"./f"), Attrs::default());
        let commit = |answer: &'static str| async move {
            let answer = move |name: &[u8]| match commit::asked(name) {
                Some(asked) => answer.replace("HASH", std::str::from_utf8(asked.wanted).unwrap()),
                None => line(name),
            };
            let hasher = far_end_at_once(answer).await;
            let (whole, committed) =
                tokio::join!(hasher.digest(b"g", 1), hasher.commit(b"f", 1, &wanted, &attrs, b"name"));
            assert!(whole.is_ok());
            (committed, hasher.digest(b"g", 1).await.is_ok())
        };
        assert_eq!(commit("HASH +./f\n").await, (Ok(Committed::Done(wanted)), true));
        assert_eq!(commit("HASH  ./f\n").await, (Ok(Committed::Left(wanted)), true));
        let unread = "----------------------------------------------------------------  ./f\n";
        assert_eq!(commit(unread).await, (Err(NoHash::Skipped), true));
        for nonsense in ["HASH +./g\n", "+./f\n", "HASH +./f\nHASH +./f\n"] {
            let (committed, goes_on) = commit(nonsense).await;
            assert!(!goes_on && (committed.is_err() || nonsense.matches('\n').count() == 2), "{nonsense:?}");
        }
        let batches = far_end("b3sum", |name| Some(line(name))).await;
        assert_eq!(batches.commit(b"f", 1, &wanted, &Attrs::default(), b"name").await, Err(NoHash::Skipped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hasher_that_knows_of_no_parts_tells_none() {
        let unread = |name: &[u8]| format!("{}  {}\n", "-".repeat(64), String::from_utf8_lossy(name));
        let hasher = far_end_at_once(unread).await;
        assert_eq!(hasher.parts(b"f", Of::Parts(0)).await.unwrap().await, Ok(Vec::new()));
        let batches = far_end("b3sum", |name| Some(line(name))).await;
        assert_eq!(batches.parts(b"f", Of::Parts(0)).await.err(), Some(NoHash::Skipped));
    }

    #[tokio::test(start_paused = true)]
    async fn parts_without_end_or_unasked_end_the_hasher_for_everyone() {
        for answer in
            [|name: &[u8]| told(ASKED as usize + 1, name), |_: &[u8]| told(1, b"b9 ./g"), |_: &[u8]| String::new()]
        {
            let hasher = far_end_at_once(answer).await;
            assert!(hasher.parts(b"f", Of::Parts(0)).await.unwrap().await.is_err());
            assert!(matches!(hasher.digest(b"f", 1).await, Err(NoHash::Gone(_))));
        }
        let hasher = far_end_at_once(|name| told(1, name)).await;
        assert!(matches!(hasher.digest(b"f", 1).await, Err(NoHash::Gone(_))));
    }

    #[tokio::test]
    async fn an_account_without_a_shell_is_told_apart() {
        let (near, mut far) = wire::pair(4);
        far.tx.finish().await;
        assert_eq!(start(near, "far".into()).await.err().map(|f| f.cause), Some(Cause::Unsupported));
    }
}
