//! What a file has in common with the one that it replaces, wherever in it that lies. The far end tells the sums of its file's blocks
//! ([`crate::verify::blocks`]), and ours is searched for them ([`crate::plan::search`]): the new one where it is pushed, the old one where
//! it is pulled. [`crate::plan::delta`] decides whether to ask.
//!
//! Nothing is taken on trust: the file is proven whole afterwards, as any other, and a second try sends all of it. One that is pulled may be
//! proven by the sums of its blocks, which tell of all of it ([`crate::verify::of_blocks`]).

mod finder;
mod reading;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::entry::Meta;
use crate::fault::Fault;
use crate::job::Verify;
use crate::plan::delta::{Case, Layout, Segment, is_settled};
use crate::plan::search::Search;
use crate::tree::Source;
use crate::verify::blocks::{SPAN, length};
use crate::verify::{Algorithm, Digest, Hasher};

use self::finder::{Finder, SLACK};
use self::reading::{Asking, Ours};
use super::deliver::FileItem;
use super::run::Run;

/// What the round trip of a shared connection that leads far is taken for.
const FAR: Duration = Duration::from_millis(5);

/// What was found of stretches, and not taken yet.
const QUEUE: usize = 16;

/// An old file, and why it pays to look at it.
#[derive(Clone)]
pub struct Over {
    case: Case,
    /// What its source holds may be proven by what is told of its blocks ([`is_settled`]).
    settled: bool,
}

/// Whether any file of this run may be made of what the destination has.
pub fn may_be(run: &Run) -> bool {
    let options = &run.job.options;
    (run.push() || run.pull) && options.whole_file != Some(true) && options.verify == Verify::Auto && !options.sparse
}

/// What this file, being sent whole from the start in its first try, may have in common with the file at its destination.
pub fn over(run: &Run, item: &FileItem, meta: &Meta, number: u32, from: u64) -> Option<Over> {
    let options = &run.job.options;
    // A hole that is copied is none.
    if number > 1 || from > 0 || !(run.push() || run.pull) || options.append_verify || options.sparse {
        return None;
    }
    let old = item.old.as_ref().filter(|old| old.is_file())?;
    let case = Case {
        whole: options.whole_file,
        proven: options.verify == Verify::Auto,
        old: old.size,
        new: meta.size,
        company: run.luck.met(),
        // Who holds a shared connection tells only whether it leads far.
        round_trip: run.remote.as_ref().and_then(|remote| remote.round_trip().or(remote.leads_far().then_some(FAR))),
        rate: options.bwlimit,
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let settled = is_settled(meta.mtime, now.as_secs().cast_signed());
    Some(Over { case, settled }).filter(|over| over.case.pays() && over.lasts(run))
}

impl Over {
    /// Whether it still pays, others having been searched meanwhile.
    pub fn lasts(&self, run: &Run) -> bool {
        run.luck.lasts(&self.case)
    }
}

/// A new file's segments, as they become known.
pub struct Delta {
    found: mpsc::Receiver<Vec<Segment>>,
    ready: VecDeque<Segment>,
    /// Bytes that were taken, of so many.
    taken: u64,
    size: u64,
    ours: Arc<dyn Source>,
    /// Of the new file: of ours, read by the way, or of the far end's, by what it told of its blocks.
    hash: oneshot::Receiver<Digest>,
    finding: AbortHandle,
}

impl Delta {
    /// Begins to look; when it returns, the first questions are on their way. `None` where the far end tells no sums.
    pub async fn begin(run: &Run, item: &FileItem, over: &Over, algorithm: Algorithm) -> Result<Option<Delta>, Fault> {
        let Case { old, new, .. } = over.case;
        let inplace = run.job.options.inplace;
        // In place, what is too long has been cut off.
        let old = if inplace { old.min(new) } else { old };
        let probing = !inplace && old == new && new <= SPAN;
        let (far, path, size) = match run.pull {
            true => (&item.source, &item.source_path, new),
            false => (&run.dest, &item.dest_path, old),
        };
        let mut asking = Asking {
            tree: far.clone(),
            path: path.clone(),
            algorithm,
            length: length(size),
            size,
            until: size.min(old.min(new) + SLACK),
            next: 0,
            in_place: inplace || probing,
            late: false,
            asked: VecDeque::new(),
        };
        if !asking.ahead().await? {
            return Ok(None);
        }
        let opened = match run.pull {
            true => run.dest.open_read(&item.dest_path, old, false).await,
            false => item.source.open_read(&item.source_path, new, item.follow).await,
        };
        let ours: Arc<dyn Source> = match opened {
            Ok(ours) => ours.into(),
            Err(fault) => {
                tracing::debug!(%fault, "it is sent whole");
                return Ok(None);
            }
        };
        let (tells, found) = mpsc::channel(QUEUE);
        let (tells_hash, hash) = oneshot::channel();
        let finder = Finder {
            case: over.case,
            asking,
            told: VecDeque::new(),
            blocks: Arc::default(),
            ours: Ours {
                file: ours.clone(),
                size: if run.pull { old } else { new },
                piece: run.chunk().max(1) as u64,
                read: 0,
                ended: false,
            },
            search: Search::default(),
            drift: 0,
            pull: run.pull,
            probing,
            layout: Layout::default(),
            last: 0,
            matched: 0,
            luck: run.luck.clone(),
            searches: run.budget.searches(),
            tells,
            hasher: (!run.pull && new <= SPAN).then(|| Hasher::new(algorithm)),
            proves: run.pull && over.settled,
            told_of_all: None,
            tells_hash,
        };
        let finding = tokio::spawn(finder.run()).abort_handle();
        Ok(Some(Delta { found, ready: VecDeque::new(), taken: 0, size: new, ours, hash, finding }))
    }

    /// The next bytes, `most` of them at most. `None`, unless it is waited for, where it is not known yet what they are.
    pub async fn next(&mut self, most: u64, wait: bool) -> Option<Segment> {
        while self.ready.is_empty() {
            let found = match wait {
                true => self.found.recv().await,
                false => match self.found.try_recv() {
                    Ok(found) => Some(found),
                    Err(mpsc::error::TryRecvError::Empty) => return None,
                    Err(mpsc::error::TryRecvError::Disconnected) => None,
                },
            };
            match found {
                Some(found) => self.ready.extend(found),
                // Of the rest nothing is known.
                None => {
                    self.ready.push_back(Segment { at: self.taken, len: self.size - self.taken, from: None });
                }
            }
        }
        let Segment { at, len, from } = *self.ready.front()?;
        Some(Segment { at, len: len.min(most), from })
    }

    /// The file at our end that is searched.
    pub fn ours(&self) -> Arc<dyn Source> {
        self.ours.clone()
    }

    /// How many bytes are lacking, once that is known; and the hash of the new file, if it is not large: of one that is pushed, if all of
    /// it was read; of one that is pulled, if the far end told all of its blocks ([`Algorithm::Blocks`]).
    pub async fn lacking(&mut self) -> (u64, Option<Digest>) {
        while let Some(found) = self.found.recv().await {
            self.ready.extend(found);
        }
        let told: u64 = self.ready.iter().map(|segment| segment.len).sum();
        let at = self.taken + told;
        if at < self.size {
            self.ready.push_back(Segment { at, len: self.size - at, from: None });
        }
        let lacking = self.ready.iter().filter(|segment| segment.from.is_none()).map(|segment| segment.len).sum();
        (lacking, self.hash.try_recv().ok())
    }

    /// So many of the bytes that [`Delta::next`] told of were taken.
    pub fn take(&mut self, len: u64) {
        self.taken += len;
        if let Some(first) = self.ready.front_mut() {
            *first = Segment { at: first.at + len, len: first.len - len, from: first.from.map(|from| from + len) };
            if first.len == 0 {
                self.ready.pop_front();
            }
        }
    }
}

impl Drop for Delta {
    fn drop(&mut self) {
        self.finding.abort();
    }
}
