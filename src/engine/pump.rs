//! A large file on its way: pieces are read ahead and written with many unacknowledged, and hashed meanwhile by the end
//! that reads or writes a disk of ours. What the destination has of it already is copied there, or left where it is
//! ([`super::delta`]).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::copy::{Chosen, Meanwhile, Sent, To, Trace, unchanged};
use super::deliver::FileItem;
use super::delta::{Delta, Over};
use super::proving::Proving;
use super::run::Run;
use super::{sparse, sums};
use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::plan::delta::{self as plan, Runs, Segment};
use crate::sftp::wire::BoxFuture;
use crate::tree::{Answer, How, Sink};
use crate::verify::blocks::SPAN;

/// Pieces of one large file that are read ahead of their writing: from a disk, and from the far end, where the offered
/// window (8 MiB at distance, for each lane) is to be kept full. The byte budgets bound what they hold.
const READ_AHEAD: usize = 8;
const READ_AHEAD_REMOTE: usize = 128;

/// Pieces of one large file that are written and not acknowledged; above every channel's budget, so that those decide.
const WRITES: usize = 64;

/// Where a file begins, and what it may be made of.
pub struct Begin {
    /// What lies below is at the destination already, or may be: it is hashed, but not written.
    pub from: u64,
    pub over: Option<Over>,
    /// Told how a file that is pulled over an old one is to be proven, once that one is being asked about.
    pub proof: Option<oneshot::Sender<AtSource>>,
    /// Which try it is, from 1.
    pub number: u32,
}

/// Who hashes at its source what is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtSource {
    /// Whoever is asked for the whole file.
    Whole,
    /// It is proven by what is asked of it in any case ([`Meanwhile`]).
    Meanwhile,
}

/// A piece that is being read.
struct Unit {
    segment: Segment,
    /// Not what need not be read.
    data: Option<Data>,
}

struct Data {
    /// The bytes' place in memory, given back when they are acknowledged.
    held: Arc<OwnedSemaphorePermit>,
    bytes: Answer<Bytes>,
}

/// Sends the data of a large file.
pub async fn pump(
    run: &Run,
    item: &FileItem,
    meta: &Meta,
    (dest, temp): To<'_>,
    trace: &mut Trace,
    mut begin: Begin,
    algorithm: &Chosen,
) -> Result<Sent, Fault> {
    let (size, from) = (meta.size, begin.from);
    let started = tokio::time::Instant::now();
    let _open = run.budget.large(size).await;
    trace.waited += started.elapsed();
    let over = begin.over.as_ref();
    let mut delta = delta(run, item, over, algorithm).await?;
    // Of what is not large it is known before it is opened how little of it is to be sent: many of them may be open at once.
    let (to_send, hashed) = match &mut delta {
        Some(delta) if size <= SPAN => delta.lacking().await,
        _ => (size, None),
    };
    let started = tokio::time::Instant::now();
    let _room = (item.source.room(to_send).await, dest.room(to_send).await);
    trace.waited += started.elapsed();
    let mut source = item.source.open_read(&item.source_path, size, item.follow).await?;
    let inplace = run.job.options.inplace;
    let copies = delta.is_some() && run.push() && !inplace;
    let mut sink = match copies {
        true => dest.open_write_from(temp, size, 0o600, run.dest.as_ref(), &item.dest_path).await?,
        false => dest.open_write(temp, size, 0o600, !inplace && from == 0).await?,
    };
    if copies && !sink.copies() {
        delta = None;
        run.luck.had_in_vain(size);
    }
    if over.is_some() && delta.is_none() {
        run.has_to_send(size);
    }
    trace.used = if sink.used().channel.is_some() { sink.used() } else { source.used() };
    let old = delta.as_ref().filter(|_| run.pull).map(Delta::ours);
    let mut algorithm = algorithm.of(run).await;
    // What is there already, in place or of an earlier try, may be other than zeros.
    let holes = run.job.options.sparse && from == 0 && !inplace;
    // Holes are not acknowledged.
    let proving = match (&delta, holes) {
        (_, true) => None,
        (Some(_), _) if run.pull => Proving::begin_at_source(item, size, algorithm).await,
        _ => Proving::begin(run, (dest, temp), size, &begin, algorithm).await,
    };
    let told = match (hashed, algorithm) {
        (Some(told), Some(algorithm)) if run.pull => item.source.tells_parts(algorithm).await.map(|by| (told, by)),
        _ => None,
    };
    let hashed = hashed.filter(|_| !run.pull);
    if let Some(proof) = begin.proof.take() {
        let meanwhile = proving.is_some() || told.is_some();
        let _ = proof.send(if meanwhile { AtSource::Meanwhile } else { AtSource::Whole });
    }
    algorithm = proving.as_ref().map(Proving::algorithm).or(told.map(|(told, _)| told.algorithm)).or(algorithm);
    // What is pulled is hashed as it lies here, anything else as it is read.
    match algorithm {
        Some(algorithm) if run.pull => sink.hash_behind(algorithm),
        Some(algorithm) if hashed.is_none() => source.hash_behind(algorithm),
        _ => {}
    }
    let mut sum = sums::begin(run);
    // What is there, and has been hashed, need not be read again.
    let read_all = hashed.is_none() || sum.is_some();
    let (chunk, ahead) = (run.chunk() as u64, if run.pull { READ_AHEAD_REMOTE } else { READ_AHEAD });
    let (writes, runs) = (FuturesUnordered::new(), Runs::default());
    let mut out = Writing { run, trace, sink, writes, runs, holes, end: 0, proving };
    let mut units = VecDeque::new();
    let (mut asked, mut written) = (0u64, 0u64);
    while written < size {
        if run.job.options.partial && out.trace.done() > 0 {
            run.temps.keep(temp, &super::partial::path(run, &item.dest_path));
        }
        while asked < size && units.len() < ahead {
            let next = match &mut delta {
                Some(delta) => delta.next(chunk, units.is_empty()).await,
                None => Some(Segment { at: asked, len: chunk.min(size - asked), from: None }),
            };
            let Some(segment) = next else { break };
            let reads = read_all || segment.from.is_none();
            // Nobody waits for the budget while holding what others wait for. (Writes give theirs back by themselves.)
            let held = match reads {
                true => Some(hold(run, &segment, units.is_empty()).await),
                false => None,
            };
            if let Some(None) = held {
                break;
            }
            if let Some(delta) = &mut delta {
                delta.take(segment.len);
                if segment.from.is_none() {
                    run.has_to_send(segment.len);
                }
            }
            let (source, at) = match (&old, segment.from) {
                (Some(old), Some(from)) => (old.as_ref(), from),
                _ => (source.as_ref(), segment.at),
            };
            let data = match held.flatten() {
                Some(held) => {
                    Some(Data { held: Arc::new(held), bytes: source.read_at(at, segment.len as usize).await? })
                }
                None => None,
            };
            units.push_back(Unit { segment, data });
            asked += segment.len;
        }
        let Some(Unit { segment, data }) = units.pop_front() else { break };
        let Segment { at, len, from: have } = segment;
        let Some(Data { held, bytes }) = data else {
            written += len;
            match have {
                Some(from) if !inplace => out.have(plan::Run { from, at, len }).await?,
                _ => out.took(Done::Copied(at, len)),
            }
            out.catch_up(WRITES).await?;
            continue;
        };
        let data = match bytes.await {
            Ok(data) if data.len() as u64 == len => data,
            // The old file is not what it was: all is sent. (In place it is no other file, and must not go.)
            found if old.is_some() && have.is_some() && !inplace => {
                out.trace.refused = true;
                let text = format!("\"{}\" changed while it was read", String::from_utf8_lossy(&item.dest_path));
                return Err(found
                    .err()
                    .unwrap_or_else(|| Fault::new(run.dest.hop().clone(), Stage::Read, Cause::Changed, text)));
            }
            Err(fault) => return Err(fault),
            Ok(data) => {
                unchanged(item, meta, &source.finish().await?.0, at + data.len() as u64)?;
                let text = format!("\"{}\" ended early", String::from_utf8_lossy(&item.shown));
                return Err(Fault::new(item.source.hop().clone(), Stage::Read, Cause::Changed, text));
            }
        };
        if let Some(sum) = &mut sum {
            sum.update(&data);
        }
        written += len;
        if written <= from {
            continue;
        }
        match have {
            Some(_) if inplace => out.took(Done::Copied(at, len)),
            Some(_) if run.pull => out.put(at, data, &held).await?,
            Some(from) => out.have(plan::Run { from, at, len }).await?,
            None => out.write(at, data, &held).await?,
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
    let digest = match (stored.or(hashed).or(read), algorithm) {
        (Some(digest), _) => Some(digest),
        (None, Some(algorithm)) if run.pull => Some(dest.digest(temp, size, How::Readback(algorithm)).await?.0),
        (None, Some(_)) => {
            let text = format!("internal error: \"{}\" was read and not hashed", String::from_utf8_lossy(&item.shown));
            return Err(Fault::new(item.source.hop().clone(), Stage::Hash, Cause::Io, text));
        }
        (None, None) => None,
    };
    let proving = proving.map(|proving| Meanwhile::ByParts(Box::new(proving)));
    Ok(Sent { digest, size, meanwhile: proving.or(told.map(|told| Meanwhile::Told(Box::new(told)))) })
}

/// Begins to look for what the destination has, if that may be something.
async fn delta(run: &Run, item: &FileItem, over: Option<&Over>, algorithm: &Chosen) -> Result<Option<Delta>, Fault> {
    let Some(over) = over.filter(|over| over.lasts(run)) else { return Ok(None) };
    match algorithm.of(run).await {
        Some(algorithm) => Delta::begin(run, item, over, algorithm).await,
        None => Ok(None),
    }
}

/// Room for a piece's bytes. With `--bwlimit` one that is sent waits for its turn before it is read. `None`: there is no room at once, and
/// the caller, which holds some, must not wait for it.
async fn hold(run: &Run, piece: &Segment, may_wait: bool) -> Option<OwnedSemaphorePermit> {
    let len = piece.len as usize;
    match (piece.from, may_wait) {
        (Some(_), true) => Some(run.budget.memory(len).await),
        (Some(_), false) => run.budget.free_memory(len),
        (None, true) => Some(run.budget.bytes(len).await),
        (None, false) => run.budget.bytes_soon(len).await,
    }
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
    /// The far end has these bytes.
    async fn have(&mut self, run: plan::Run) -> Result<(), Fault> {
        self.end = run.at + run.len;
        match self.runs.next(run) {
            Some(run) => self.copy(run).await,
            None => Ok(()),
        }
    }

    /// Writes what was read of our old file.
    async fn put(&mut self, at: u64, data: Bytes, held: &Arc<OwnedSemaphorePermit>) -> Result<(), Fault> {
        self.end = at + data.len() as u64;
        let (done, written) =
            (Done::Copied(at, data.len() as u64), self.sink.write_at(at, data, Box::new(held.clone())).await?);
        self.writes.push(Box::pin(async move { (done, written.await) }));
        Ok(())
    }

    /// Has what was gathered copied.
    async fn copy_run(&mut self) -> Result<(), Fault> {
        match self.runs.end() {
            Some(run) => self.copy(run).await,
            None => Ok(()),
        }
    }

    async fn copy(&mut self, run: plan::Run) -> Result<(), Fault> {
        if let Some(copied) = self.sink.copy(run).await? {
            self.writes.push(Box::pin(async move { (Done::Copied(run.at, run.len), copied.await) }));
        }
        Ok(())
    }

    /// Writes what the destination does not have.
    async fn write(&mut self, at: u64, data: Bytes, held: &Arc<OwnedSemaphorePermit>) -> Result<(), Fault> {
        self.copy_run().await?;
        if !self.holes {
            return self.write_at(at, data, held).await;
        }
        let mut zeros = data.len() as u64;
        for (offset, piece) in sparse::pieces(at, &data) {
            zeros -= piece.len() as u64;
            self.write_at(offset, piece, held).await?;
        }
        self.took(Done::Written(at, zeros));
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
                (at, bytes)
            }
        };
        self.arrived(at, bytes);
        self.run.moved(bytes);
    }
}
