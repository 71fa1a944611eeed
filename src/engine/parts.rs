//! What a file that is pushed has in common with the one that it replaces: the far end tells the hashes of that one's parts while
//! ours are read, and what is the same is not sent ([`crate::plan::parts`] decides whether to ask).
//!
//! Nothing is taken on trust: the file is proven whole afterwards, as any other, and a second try sends all of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::blocking;
use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::job::Verify;
use crate::plan::parts::Case;
use crate::tree::{Answer, Tree};
use crate::verify::parts::{ASKED, PART};
use crate::verify::{Algorithm, Digest, Hasher};

use super::deliver::FileItem;
use super::run::Run;

/// Questions under way: so much is hashed there in the round trip in which an answer comes (192 MiB in 50 ms are 4 GB/s).
const AHEAD: usize = 3;

/// An old file, and why it pays to look at it.
#[derive(Clone)]
pub struct Over {
    pub path: Vec<u8>,
    case: Case,
}

/// Whether any file of this run may be made of parts that the destination has.
pub fn may_be(run: &Run) -> bool {
    let options = &run.job.options;
    run.push() && options.whole_file != Some(true) && options.verify == Verify::Auto && !options.sparse
}

/// The file at the destination that this one, being pushed whole from the start in its first try, may share parts with.
pub fn over(run: &Run, item: &FileItem, meta: &Meta, number: u32, from: u64) -> Option<Over> {
    let options = &run.job.options;
    // A hole that is copied is none.
    if number > 1 || from > 0 || !run.push() || options.append_verify || options.sparse {
        return None;
    }
    let old = item.old.as_ref().filter(|old| old.is_file())?;
    let case = Case {
        whole: options.whole_file,
        proven: options.verify == Verify::Auto,
        old: old.size,
        new: meta.size,
        round_trip: run.remote.as_ref().and_then(|remote| remote.round_trip()),
        rate: options.bwlimit,
    };
    case.pays().then(|| Over { path: item.dest_path.clone(), case })
}

/// The hashes of an old file's parts, as they come.
pub struct Parts {
    tree: Arc<dyn Tree>,
    over: Over,
    algorithm: Algorithm,
    patience: Duration,
    /// Of the old file, as it was listed.
    count: u64,
    /// The first part that was not asked for yet.
    next: u64,
    asked: VecDeque<Answer<Vec<Digest>>>,
    /// What the last answer told, and the part that it begins with.
    told: (u64, Vec<Digest>),
    /// Whether it told of one that is the same, and how many before it did not.
    found: bool,
    fruitless: u32,
}

impl Parts {
    /// Asks for the first ones. `None` where the far end does not tell them.
    pub async fn ask(run: &Run, over: Over, algorithm: Algorithm) -> Result<Option<Parts>, Fault> {
        let mut parts = Parts {
            tree: run.dest.clone(),
            algorithm,
            patience: over.case.patience(),
            count: over.case.old.div_ceil(PART),
            over,
            next: 0,
            asked: VecDeque::new(),
            told: (0, Vec::new()),
            found: true,
            fruitless: 0,
        };
        parts.ask_ahead().await?;
        Ok((!parts.asked.is_empty()).then_some(parts))
    }

    async fn ask_ahead(&mut self) -> Result<(), Fault> {
        while self.next < self.count && self.asked.len() < AHEAD {
            match self.tree.parts(&self.over.path, self.next, self.algorithm).await? {
                Some(answer) => {
                    self.asked.push_back(answer);
                    self.next += ASKED;
                }
                None => self.count = self.next,
            }
        }
        Ok(())
    }

    /// Whether the old file has these bytes as its part `index`. To be asked of each in turn.
    ///
    /// # Errors
    /// The connection was lost; the hashing thread's work ended without an answer, which is a bug.
    pub async fn is_same(&mut self, index: u64, pieces: &[Bytes]) -> Result<bool, Fault> {
        let Some(there) = self.of(index).await? else { return Ok(false) };
        let (algorithm, pieces) = (self.algorithm, pieces.to_vec());
        let here = blocking::start(move || {
            let mut hasher = Hasher::new(algorithm);
            pieces.iter().for_each(|piece| hasher.update(piece));
            hasher.finish()
        });
        let here = here
            .await
            .map_err(|error| Fault::new("local", Stage::Hash, Cause::Io, format!("internal error: {error}")))?;
        self.found |= here == there;
        Ok(here == there)
    }

    /// The hash of the old file's part `index`, if there is one and it came in time.
    async fn of(&mut self, index: u64) -> Result<Option<Digest>, Fault> {
        while index >= self.told.0 + ASKED || self.told.1.is_empty() {
            let Some(answer) = self.asked.pop_front() else { return Ok(None) };
            self.fruitless = if std::mem::take(&mut self.found) { 0 } else { self.fruitless + 1 };
            // Of the part that is asked about: the answers come in their order, and none is passed over.
            let first = index - index % ASKED;
            match tokio::time::timeout(self.patience, answer).await {
                Ok(Ok(told)) if !told.is_empty() && self.over.case.goes_on(self.fruitless) => self.told = (first, told),
                answer => {
                    tracing::debug!(
                        index,
                        late = answer.is_err(),
                        fruitless = self.fruitless,
                        "the rest is sent whole"
                    );
                    self.asked.clear();
                    self.count = 0;
                    return Ok(None);
                }
            }
            self.ask_ahead().await?;
        }
        Ok(usize::try_from(index - self.told.0).ok().and_then(|at| self.told.1.get(at)).copied())
    }
}
