//! The search itself, in a task of its own: ahead of what is sent, and no further than that is waited for.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future;
use tokio::sync::{mpsc, oneshot};

use crate::blocking;
use crate::engine::budget::Searches;
use crate::fault::{Cause, Fault, Stage};
use crate::plan::delta::{Case, Layout, Luck, Segment, is_enough};
use crate::plan::search::{Blocks, Found, Search};
use crate::verify::blocks::{SPAN, Sum, strong};
use crate::verify::{Digest, Hasher};

use super::reading::{Asking, Ours, STRETCH, of_all};

/// Blocks are searched for so far before and behind where they would be if nothing more had been put in or taken out.
pub(super) const SLACK: u64 = SPAN;

/// What one answer told, of blocks at `at` and behind of the far end's file.
pub(super) struct Told {
    at: u64,
    sums: Vec<Sum>,
    /// Where ours has them, as far as it was found.
    ours: Vec<Option<u64>>,
    /// How many it was not found of.
    missing: usize,
}

/// Looks for the far end's blocks in our file.
pub(super) struct Finder {
    pub(super) case: Case,
    pub(super) asking: Asking,
    /// What is searched for: blocks not far from where the search is.
    pub(super) told: VecDeque<Told>,
    pub(super) blocks: Arc<Blocks>,
    pub(super) ours: Ours,
    pub(super) search: Search,
    /// What was put in, less what was taken out, in ours before the last block that was found.
    pub(super) drift: i64,
    pub(super) pull: bool,
    /// A file that is as long as the old one, and not large: it is looked first at what is where it was.
    pub(super) probing: bool,
    pub(super) layout: Layout,
    /// Where the last block that was found ends, in ours.
    pub(super) last: u64,
    /// Bytes that were found.
    pub(super) matched: u64,
    pub(super) luck: Arc<Luck>,
    pub(super) searches: Arc<Searches>,
    pub(super) tells: mpsc::Sender<Vec<Segment>>,
    /// Of ours, if it is to be made by the way.
    pub(super) hasher: Option<Hasher>,
    /// It is pulled, and the sums may prove it.
    pub(super) proves: bool,
    /// Of a pulled file, by its blocks, if all of them were told in one answer.
    pub(super) told_of_all: Option<Digest>,
    pub(super) tells_hash: oneshot::Sender<Digest>,
}

impl Finder {
    /// To the end of ours, or until nothing more can be found. Whatever goes wrong, the rest is sent.
    pub(super) async fn run(mut self) {
        let mut searched = self.search_all().await;
        let mut hash = None;
        if self.probing && searched.is_ok() && !self.asking.late && !is_enough(self.matched, self.asking.size) {
            hash = self.hash();
            self.look_everywhere();
            searched = self.search_all().await;
        }
        if let Err(fault) = searched {
            tracing::debug!(%fault, "the rest is sent whole");
        }
        let end = self.search.at();
        self.searches.give_back(std::mem::take(&mut self.search).into_room());
        self.luck.had(end, self.matched);
        if self.asking.late {
            self.luck.had_in_vain(SPAN);
        }
        if let Some(hash) = self.told_of_all.take().or(hash).or_else(|| self.hash()) {
            let _ = self.tells_hash.send(hash);
        }
        let segments = self.layout.take();
        let _ = self.tells.send(segments).await;
    }

    /// What all of ours hashes to, if that was to be found and it was read.
    fn hash(&mut self) -> Option<Digest> {
        self.hasher.take().filter(|_| self.ours.is_read()).map(Hasher::finish)
    }

    /// Begins anew: not much is where it was.
    fn look_everywhere(&mut self) {
        self.probing = false;
        (self.asking.in_place, self.asking.next) = (false, 0);
        self.asking.asked.clear();
        (self.ours.read, self.ours.ended) = (0, false);
        self.searches.give_back(std::mem::take(&mut self.search).into_room());
        self.layout = Layout::default();
        (self.drift, self.last, self.matched) = (0, 0, 0);
    }

    async fn search_all(&mut self) -> Result<(), Fault> {
        let searched = self.search().await;
        while let Some(told) = self.told.pop_front() {
            self.lay_out(&told);
        }
        searched
    }

    async fn search(&mut self) -> Result<(), Fault> {
        let (mut reading, mut turn) = (None, None);
        loop {
            if !self.look_ahead().await? {
                return Ok(());
            }
            // Not while the first sums are on their way.
            if turn.is_none() {
                turn = Some(self.searches.turn().await);
                let searches = &self.searches;
                self.search.make_room(self.ours.size.min(STRETCH + self.asking.length), || searches.room());
            }
            let stretch = match reading.take() {
                Some(stretch) => stretch,
                None => self.ours.next().await?,
            };
            if stretch.is_empty() {
                return self.last_block().await;
            }
            let (search, blocks, hasher) = (std::mem::take(&mut self.search), self.blocks.clone(), self.hasher.take());
            let algorithm = self.asking.algorithm;
            let searching = blocking::start(move || {
                let (mut search, mut hasher) = (search, hasher);
                for piece in &stretch {
                    search.feed(piece);
                    if let Some(hasher) = &mut hasher {
                        hasher.update(piece);
                    }
                }
                let found = search.go(&blocks, |window| strong(algorithm, window));
                (search, hasher, found)
            });
            let (found, more) = future::join(searching, self.ours.next()).await;
            let (search, hasher, found) = found
                .map_err(|error| Fault::new("local", Stage::Hash, Cause::Io, format!("internal error: {error}")))?;
            (self.search, self.hasher, reading) = (search, hasher, Some(more?));
            found.into_iter().for_each(|found| self.found(found));
            if !self.pull {
                // Of what was searched all is known.
                self.layout.lack(self.search.at());
            }
            if !self.case.goes_on(self.search.at().saturating_sub(self.last)) {
                return Ok(());
            }
            let segments = if self.probing { Vec::new() } else { self.layout.take() };
            if segments.is_empty() {
                continue;
            }
            let told = match self.tells.try_send(segments) {
                Err(mpsc::error::TrySendError::Full(segments)) => {
                    // Others take the turn while these are sent.
                    turn = None;
                    self.tells.send(segments).await.is_ok()
                }
                told => told.is_ok(),
            };
            if !told {
                return Ok(());
            }
        }
    }

    /// Sees to it that what may come next is searched for, and what is too far behind no longer. False if that is nothing.
    async fn look_ahead(&mut self) -> Result<bool, Fault> {
        let here = self.search.at().saturating_add_signed(-self.drift);
        let mut changed = false;
        while let Some(first) = self.told.front()
            && (first.at + SPAN + SLACK <= here || self.pull && first.missing == 0)
        {
            if let Some(first) = self.told.pop_front() {
                self.lay_out(&first);
                changed = true;
            }
        }
        loop {
            let next = self.told.back().map_or(self.layout_end(), |last| last.at + SPAN);
            if next >= self.asking.until || next > here + SLACK {
                break;
            }
            if !self.asking.ahead().await? {
                return Ok(false);
            }
            let Some(sums) = self.asking.told(self.case.patience()).await? else { return Ok(false) };
            self.told_of_all = match self.proves && next == 0 {
                true => of_all(self.asking.size, self.asking.length, self.asking.algorithm, &sums),
                false => None,
            };
            self.told.push_back(Told { at: next, ours: vec![None; sums.len()], missing: sums.len(), sums });
            changed = true;
        }
        if changed {
            let whole = |(at, _): &(u64, Sum)| at + self.asking.length <= self.asking.size;
            let known = self.told.iter().flat_map(|told| {
                let places = (told.at..).step_by(self.asking.length as usize);
                places.zip(told.sums.iter().copied())
            });
            let known = known.filter(whole);
            self.blocks = Arc::new(match self.asking.in_place {
                true => Blocks::in_place(self.asking.length, known),
                false => Blocks::new(self.asking.length, known),
            });
        }
        Ok(!self.told.is_empty())
    }

    /// Where the first question that was not answered yet begins, when none that was is searched for.
    fn layout_end(&self) -> u64 {
        self.asking.next - SPAN * self.asking.asked.len() as u64
    }

    /// A block that ours has.
    fn found(&mut self, found: Found) {
        let Found { here, blocks } = found;
        let expected = here.saturating_add_signed(-self.drift);
        let Some(nearest) = blocks.iter().copied().min_by_key(|at| at.abs_diff(expected)) else { return };
        self.drift = here.cast_signed().saturating_sub(nearest.cast_signed());
        self.last = here + self.asking.length;
        if self.pull {
            blocks.iter().for_each(|at| self.have(*at, here));
            return;
        }
        self.matched += self.asking.length;
        self.layout.lack(here);
        self.layout.have(self.asking.length, nearest);
    }

    /// Ours, which is pulled over, has at `here` the new file's block at `at`.
    fn have(&mut self, at: u64, here: u64) {
        let told = self.told.iter_mut().find(|told| (told.at..told.at + SPAN).contains(&at));
        let Some(told) = told else { return };
        let block = ((at - told.at) / self.asking.length) as usize;
        if let Some(place @ None) = told.ours.get_mut(block) {
            *place = Some(here);
            told.missing -= 1;
            self.matched += self.asking.length.min(self.asking.size - at);
        }
    }

    /// The last block of the far end's file is shorter than others, and looked for only where it is to be expected: behind the one
    /// before it, or at the end.
    async fn last_block(&mut self) -> Result<(), Fault> {
        let len = self.asking.size % self.asking.length;
        let at = self.asking.size - len;
        let Some(sum) = self.told.back().filter(|told| len > 0 && told.at + SPAN >= self.asking.size) else {
            return Ok(());
        };
        let Some(sum) = sum.sums.get(((at - sum.at) / self.asking.length) as usize).copied() else { return Ok(()) };
        let here = match self.asking.in_place {
            true => at,
            false => at.saturating_add_signed(self.drift),
        };
        // Of what is pushed, what is laid out lies before it.
        if here + len > self.ours.size || !self.pull && here < self.layout.end() {
            return Ok(());
        }
        let data = self.ours.range(here, here + len).await?;
        let algorithm = self.asking.algorithm;
        let same = blocking::start(move || strong(algorithm, &data.concat()) == sum.strong).await;
        if same.unwrap_or_default() {
            match self.pull {
                true => self.have(at, here),
                false => {
                    self.matched += len;
                    self.layout.lack(here);
                    self.layout.have(len, at);
                }
            }
        }
        Ok(())
    }

    /// Lays out the part of a new file that these blocks are.
    fn lay_out(&mut self, told: &Told) {
        if !self.pull {
            return;
        }
        // Of a file that has changed fewer blocks or more may have been told than it had.
        self.layout.lack(told.at);
        let mut at = told.at;
        for ours in &told.ours {
            if at >= self.asking.size {
                break;
            }
            let end = (at + self.asking.length).min(self.asking.size);
            match ours {
                Some(here) => self.layout.have(end - at, *here),
                None => self.layout.lack(end),
            }
            at = end;
        }
    }
}
