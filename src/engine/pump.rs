//! A large file on its way: pieces are read ahead and written with many unacknowledged, and hashed meanwhile by the end
//! that reads or writes a disk of ours. Parts that the
//! destination has already are copied there, or left where they are ([`super::parts`]).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, future};
use tokio::sync::OwnedSemaphorePermit;

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::plan::parts::{self as plan, Runs};
use crate::sftp::wire::BoxFuture;
use crate::tree::{Answer, How, Sink, Source};
use crate::verify::parts::PART;

use super::copy::{Chosen, Sent, To, Trace, unchanged};
use super::deliver::FileItem;
use super::parts::{Over, Parts};
use super::proving::Proving;
use super::run::Run;
use super::{sparse, sums};

/// Pieces of one large file that are read ahead of their writing: from a disk, and from the far end, where the offered
/// window (8 MiB at distance, for each lane) is to be kept full. The byte budgets bound what they hold.
const READ_AHEAD: usize = 8;
const READ_AHEAD_REMOTE: usize = 128;

/// The same where parts are looked for, of which each is read whole before it is known what becomes of it.
const PARTS_AHEAD: usize = 3;

/// Pieces of one large file that are written and not acknowledged; above every channel's budget, so that those decide.
const WRITES: usize = 64;

/// Where a file begins, and what it may be made of.
pub struct Begin {
    /// What lies below is at the destination already, or may be: it is hashed, but not written.
    pub from: u64,
    pub over: Option<Over>,
    /// Which try it is, from 1.
    pub number: u32,
}

/// What is read, and decided about, together: a piece, or a part in its pieces.
struct Unit {
    /// The bytes' place in memory, given back when the last of them is acknowledged.
    held: Arc<OwnedSemaphorePermit>,
    len: usize,
    pieces: Vec<(usize, Answer<Bytes>)>,
}

/// Sends the data of a large file.
pub async fn pump(
    run: &Run,
    item: &FileItem,
    meta: &Meta,
    (dest, temp): To<'_>,
    trace: &mut Trace,
    begin: Begin,
    algorithm: &Chosen,
) -> Result<Sent, Fault> {
    let (size, from) = (meta.size, begin.from);
    let started = tokio::time::Instant::now();
    let _open = (run.budget.large(size).await, item.source.room(size).await, dest.room(size).await);
    trace.waited += started.elapsed();
    let mut source = item.source.open_read(&item.source_path, size, item.follow).await?;
    let inplace = run.job.options.inplace;
    let over = begin.over.as_ref();
    let old = over.filter(|_| !inplace).map(|over| over.path.clone());
    let opening = match &old {
        Some(old) => dest.open_write_from(temp, size, 0o600, run.dest.as_ref(), old),
        None => dest.open_write(temp, size, 0o600, !inplace && from == 0),
    };
    let asking = async {
        match over {
            Some(over) => match algorithm.of(run).await {
                Some(algorithm) => Parts::ask(run, over.clone(), algorithm).await,
                None => Ok(None),
            },
            None => Ok(None),
        }
    };
    // Together: at a distance the first hashes are there soon after the file is open.
    let (mut sink, parts) = future::try_join(opening, asking).await?;
    trace.used = if sink.used().channel.is_some() { sink.used() } else { source.used() };
    let mut parts = parts.filter(|_| inplace || sink.copies());
    let mut algorithm = algorithm.of(run).await;
    // What is there already, in place or of an earlier try, may be other than zeros.
    let holes = run.job.options.sparse && from == 0 && !inplace;
    // Holes are not acknowledged.
    let proving = if holes { None } else { Proving::begin(run, (dest, temp), size, &begin, algorithm).await };
    algorithm = proving.as_ref().map(Proving::algorithm).or(algorithm);
    // What is pulled is hashed as it lies here, anything else as it is read.
    match algorithm {
        Some(algorithm) if run.pull => sink.hash_behind(algorithm),
        Some(algorithm) => source.hash_behind(algorithm),
        None => {}
    }
    let mut sum = sums::begin(run);
    let (chunk, ahead) = match (&parts, run.pull) {
        (Some(_), _) => (PART as usize, PARTS_AHEAD),
        (None, true) => (run.chunk(), READ_AHEAD_REMOTE),
        (None, false) => (run.chunk(), READ_AHEAD),
    };
    let (writes, runs) = (FuturesUnordered::new(), Runs::default());
    let mut out = Writing { run, trace, sink, writes, runs, holes, end: 0, proving };
    let mut units = VecDeque::new();
    let (mut asked, mut written) = (0u64, 0u64);
    while written < size {
        if run.job.options.partial && out.trace.done() > 0 {
            run.temps.keep(temp, &super::partial::path(run, &item.dest_path));
        }
        while asked < size && units.len() < ahead {
            let len = chunk.min(usize::try_from(size - asked).unwrap_or(usize::MAX));
            // Nobody waits for the budget while holding what others wait for. (Writes give theirs back by themselves.)
            let Some(held) = hold(run, len, parts.is_some(), units.is_empty()).await else { break };
            units.push_back(read(run, source.as_ref(), asked, len, held).await?);
            asked += len as u64;
        }
        let Some(Unit { held, len, pieces }) = units.pop_front() else { break };
        let mut data = Vec::with_capacity(pieces.len());
        let at = written;
        for (len, answer) in pieces {
            let piece = answer.await?;
            if piece.len() < len {
                unchanged(item, meta, &source.finish().await?.0, written + piece.len() as u64)?;
                let text = format!("\"{}\" ended early", String::from_utf8_lossy(&item.shown));
                return Err(Fault::new(item.source.hop().clone(), Stage::Read, Cause::Changed, text));
            }
            if let Some(sum) = &mut sum {
                sum.update(&piece);
            }
            written += len as u64;
            data.push(piece);
        }
        if written <= from {
            continue;
        }
        let same = match &mut parts {
            Some(parts) => parts.is_same(at / PART, &data).await?,
            None => false,
        };
        match same {
            true => out.have(at, len as u64).await?,
            false => out.write(at, data, &held, parts.is_some()).await?,
        }
        out.catch_up(WRITES).await?;
    }
    out.copy_run().await?;
    out.catch_up(1).await?;
    let Writing { sink, end, proving, .. } = out;
    let (found, read) = source.finish().await?;
    unchanged(item, meta, &found, written)?;
    if holes && end < size {
        dest.truncate(temp, size).await?;
    }
    let stored = sink.finish(size).await?;
    sums::done(item, sum);
    let digest = match (stored.or(read), algorithm) {
        (Some(digest), _) => Some(digest),
        (None, Some(algorithm)) if run.pull => Some(dest.digest(temp, size, How::Readback(algorithm)).await?.0),
        (None, Some(_)) => {
            let text = format!("internal error: \"{}\" was read and not hashed", String::from_utf8_lossy(&item.shown));
            return Err(Fault::new(item.source.hop().clone(), Stage::Hash, Cause::Io, text));
        }
        (None, None) => None,
    };
    Ok(Sent { digest, size, proving: proving.map(Box::new) })
}

/// Room for so many bytes. With `--bwlimit` a piece waits for its turn before it is read; a part, which may not have to be sent,
/// when its pieces are. `None`: there is none at once, and the caller, which holds some, must not wait for it.
async fn hold(run: &Run, len: usize, part: bool, may_wait: bool) -> Option<OwnedSemaphorePermit> {
    let free = if part { run.budget.free_memory(len) } else { run.budget.bytes_soon(len).await };
    match free {
        None if may_wait && part => Some(run.budget.memory(len).await),
        None if may_wait => Some(run.budget.bytes(len).await),
        free => free,
    }
}

/// Asks for a unit, in pieces that can be written with one request each.
async fn read(run: &Run, source: &dyn Source, at: u64, len: usize, held: OwnedSemaphorePermit) -> Result<Unit, Fault> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < len {
        let piece = run.chunk().min(len - done);
        pieces.push((piece, source.read_at(at + done as u64, piece).await?));
        done += piece;
    }
    Ok(Unit { held: Arc::new(held), len, pieces })
}

/// What became of some bytes: where they are, and how many.
#[derive(Clone, Copy)]
enum Done {
    Written(u64, u64),
    Copied(u64, u64),
}

/// A write or a copy that is under way.
type Acknowledged = BoxFuture<'static, (Done, Result<(), Fault>)>;

struct Writing<'a> {
    run: &'a Run,
    trace: &'a mut Trace,
    sink: Box<dyn Sink>,
    writes: FuturesUnordered<Acknowledged>,
    /// What is to be copied, and was not asked for yet.
    runs: Runs,
    /// Zeros are left out.
    holes: bool,
    /// Where the last bytes that were written end.
    end: u64,
    proving: Option<Proving>,
}

impl Writing<'_> {
    /// The destination has these bytes.
    async fn have(&mut self, at: u64, len: u64) -> Result<(), Fault> {
        self.end = at + len;
        if !self.sink.copies() {
            // They are where they have to be.
            self.took(Done::Copied(at, len));
            return Ok(());
        }
        match self.runs.same(at, len) {
            Some(run) => self.copy(run).await,
            None => Ok(()),
        }
    }

    /// Has what was gathered copied.
    async fn copy_run(&mut self) -> Result<(), Fault> {
        match self.runs.end() {
            Some(run) => self.copy(run).await,
            None => Ok(()),
        }
    }

    async fn copy(&mut self, run: plan::Run) -> Result<(), Fault> {
        if let Some(copied) = self.sink.copy_at(run.at, run.len).await? {
            self.writes.push(Box::pin(async move { (Done::Copied(run.at, run.len), copied.await) }));
        }
        Ok(())
    }

    /// Writes what the destination does not have; `paced`: by `--bwlimit`, which it has not waited for yet.
    async fn write(
        &mut self,
        mut at: u64,
        pieces: Vec<Bytes>,
        held: &Arc<OwnedSemaphorePermit>,
        paced: bool,
    ) -> Result<(), Fault> {
        self.copy_run().await?;
        for piece in pieces {
            if paced {
                self.run.budget.pace(piece.len()).await;
            }
            let len = piece.len() as u64;
            match self.holes {
                true => {
                    let mut zeros = len;
                    for (offset, piece) in sparse::pieces(at, &piece) {
                        zeros -= piece.len() as u64;
                        self.write_at(offset, piece, held).await?;
                    }
                    self.took(Done::Written(at, zeros));
                }
                false => self.write_at(at, piece, held).await?,
            }
            at += len;
        }
        Ok(())
    }

    async fn write_at(&mut self, at: u64, data: Bytes, held: &Arc<OwnedSemaphorePermit>) -> Result<(), Fault> {
        let len = data.len() as u64;
        let acknowledged = self.sink.write_at(at, data, Box::new(held.clone())).await?;
        self.end = at + len;
        self.writes.push(Box::pin(async move { (Done::Written(at, len), acknowledged.await) }));
        Ok(())
    }

    /// Waits until fewer than `most` are unacknowledged; takes what else has come, without waiting.
    async fn catch_up(&mut self, most: usize) -> Result<(), Fault> {
        loop {
            let next = match self.writes.len() >= most {
                true => self.writes.next().await,
                false => self.writes.next().now_or_never().flatten(),
            };
            let Some((done, result)) = next else { break };
            if let Err(fault) = result {
                self.trace.refused = matches!(done, Done::Copied(..))
                    && !matches!(fault.cause, Cause::Lost | Cause::Cancelled | Cause::Timeout);
                return Err(fault);
            }
            self.took(done);
        }
        match &mut self.proving {
            Some(proving) => proving.ask().await,
            None => Ok(()),
        }
    }

    /// These bytes are at the destination.
    fn arrived(&mut self, at: u64, len: u64) {
        if let Some(proving) = &mut self.proving {
            proving.arrived(at, len);
        }
    }

    fn took(&mut self, done: Done) {
        let (at, bytes) = match done {
            Done::Written(at, bytes) => {
                self.trace.bytes += bytes;
                (at, bytes)
            }
            Done::Copied(at, bytes) => {
                self.trace.matched += bytes;
                if let Some(remote) = &self.run.remote {
                    remote.traffic().spare(bytes);
                }
                (at, bytes)
            }
        };
        self.arrived(at, bytes);
        self.run.moved(bytes);
    }
}
