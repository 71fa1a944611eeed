//! The task that has the channel: it sends the names in batches or as they come, and gives each answer to who waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::sftp::wire::{Receiver, Sender, Wire};
use crate::verify::content::{self, Head};
use crate::verify::digest::Digest;
use crate::verify::ladder::{self, BATCH, Line, Rung, SENTINEL};
use crate::verify::{below, commit};

use super::lines::Lines;
use super::{Answer, Ask, Committed, Content, NoHash, Told};

/// Batches at the far end: while one runs the next one waits there, so that the hasher never waits for us.
const BATCHES: usize = 2;

/// While a batch runs, names gather for this long, or until there are this many, before the next one goes.
const GATHER: Duration = Duration::from_millis(10);
const GATHERED: usize = 256;

/// A file is given up when its hash has not come within this time plus its size, and all before it, at 4 MB/s.
const SLOWEST: Duration = Duration::from_secs(120);
const SLOWEST_RATE: u64 = 4_000_000;

pub(super) struct Driver {
    rung: Rung,
    lines: Lines,
    told: Arc<Told>,
    /// Names to be sent with the next batch.
    gathered: Vec<Ask>,
    /// Since when the first of them waits.
    since: Instant,
    /// Sent and unanswered, in order; a batch's last one has nobody to answer.
    waiting: VecDeque<(Vec<u8>, Option<Answer>)>,
    /// What is said of the bytes that come now.
    head: Option<Head>,
    /// Batches sent and not done.
    batches: usize,
    deadline: Instant,
}

impl Driver {
    pub fn new(rung: Rung, lines: Lines, told: Arc<Told>) -> Driver {
        let now = Instant::now();
        let (gathered, waiting) = (Vec::new(), VecDeque::new());
        Driver { rung, lines, told, gathered, since: now, waiting, head: None, batches: 0, deadline: now }
    }

    pub async fn run(mut self, wire: Wire, mut queue: mpsc::Receiver<Ask>) {
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
        for answer in self.waiting.into_iter().filter_map(|(_, answer)| answer) {
            answer.fail(NoHash::Gone(why.clone()));
        }
        for Ask { answer, .. } in self.gathered.into_iter().chain(rest) {
            let nothing_happened = matches!(answer, Answer::Commit(_));
            answer.fail(if nothing_happened { NoHash::Skipped } else { NoHash::Gone(why.clone()) });
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
        *self.told.heard() = Instant::now();
        if !self.lines.feed(data) {
            return Err("the hasher printed a line without end".to_owned());
        }
        loop {
            if let Some(head) = self.head {
                let Some(data) = self.lines.bytes() else { break };
                self.head = None;
                self.content(head, data)?;
                continue;
            }
            let Some(line) = self.lines.next() else { break };
            if let Some(head) = content::told(self.rung.algorithm(), &line) {
                // And the newline that ends them.
                self.lines.expect(head.len + 1);
                self.head = Some(head);
                continue;
            }
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
    fn content(&mut self, head: Head, mut data: Bytes) -> Result<(), String> {
        match self.waiting.pop_front() {
            Some((_, Some(Answer::Content(waiter)))) if data.ends_with(b"\n") => {
                self.deadline = self.deadline.max(Instant::now() + SLOWEST);
                data.truncate(head.len);
                let Head { digest, size, mtime, .. } = head;
                let _ = waiter.send(Ok(Content { data, digest, size, mtime }));
                Ok(())
            }
            other => {
                // Who is at its turn waits for an answer, too.
                self.waiting.extend(other);
                Err("the hasher told a file that was not asked for".to_owned())
            }
        }
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
