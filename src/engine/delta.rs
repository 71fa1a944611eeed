//! What a file has in common with the one that it replaces, wherever in it that lies. The far end tells the sums of its file's blocks
//! ([`crate::verify::blocks`]), and ours is searched for them ([`crate::plan::search`]): the new one where it is pushed, the old one where
//! it is pulled. [`crate::plan::delta`] decides whether to ask.
//!
//! Nothing is taken on trust: the file is proven whole afterwards, as any other, and a second try sends all of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::blocking;
use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::job::Verify;
use crate::plan::delta::{Case, Layout, Luck, Segment, is_enough};
use crate::plan::search::{Blocks, Found, Search};
use crate::tree::{Answer, Source, Tree};
use crate::verify::blocks::{Asked, SPAN, Sum, length, strong};
use crate::verify::parts::Of;
use crate::verify::{Algorithm, Digest, Hasher};

use super::deliver::FileItem;
use super::run::Run;

/// Questions under way: so much is hashed there in the round trip in which an answer comes (192 MiB in 50 ms are 4 GB/s).
const AHEAD: usize = 3;

/// Blocks are searched for so far before and behind where they would be if nothing more had been put in or taken out.
const SLACK: u64 = SPAN;

/// What the round trip of a shared connection that leads far is taken for.
const FAR: Duration = Duration::from_millis(5);

/// Bytes that are read and searched at one go.
const STRETCH: u64 = 1 << 20;

/// What was found of stretches, and not taken yet.
const QUEUE: usize = 16;

/// An old file, and why it pays to look at it.
#[derive(Clone)]
pub struct Over {
    case: Case,
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
    Some(Over { case }).filter(|over| over.case.pays() && over.lasts(run))
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
            turns: run.budget.searches(),
            tells,
            hasher: (!run.pull && new <= SPAN).then(|| Hasher::new(algorithm)),
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

    /// How many bytes are lacking, once that is known; and the hash of the new file, if all of it was read (one that is pushed, and not
    /// large).
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

/// Questions for the sums of the far end's file.
struct Asking {
    tree: Arc<dyn Tree>,
    path: Vec<u8>,
    algorithm: Algorithm,
    length: u64,
    size: u64,
    /// What lies behind cannot be in ours, which is so much shorter.
    until: u64,
    /// The first byte that was not asked about.
    next: u64,
    /// Only what is at its own place counts: it needs no weak sums.
    in_place: bool,
    late: bool,
    asked: VecDeque<Answer<Vec<Digest>>>,
}

impl Asking {
    /// Asks for the next ones, without waiting for the answers. False if nothing tells them.
    async fn ahead(&mut self) -> Result<bool, Fault> {
        while self.next < self.until && self.asked.len() < AHEAD {
            let of = Asked { length: self.length, at: self.next, weak: !self.in_place };
            let Some(answer) = self.tree.parts(&self.path, Of::Blocks(of), self.algorithm).await? else {
                return Ok(false);
            };
            self.asked.push_back(answer);
            self.next += SPAN;
        }
        Ok(true)
    }

    /// The next answer: none where it does not come in time, or tells of nothing.
    async fn told(&mut self, patience: Duration) -> Result<Option<Vec<Sum>>, Fault> {
        let Some(answer) = self.asked.pop_front() else { return Ok(None) };
        let Ok(told) = tokio::time::timeout(patience, answer).await else {
            self.late = true;
            return Ok(None);
        };
        let sums: Vec<Sum> = told?.iter().map(Sum::told).collect();
        Ok((!sums.is_empty()).then_some(sums))
    }
}

/// What one answer told, of blocks at `at` and behind of the far end's file.
struct Told {
    at: u64,
    sums: Vec<Sum>,
    /// Where ours has them, as far as it was found.
    ours: Vec<Option<u64>>,
    /// How many it was not found of.
    missing: usize,
}

/// Our file, as it is read.
struct Ours {
    file: Arc<dyn Source>,
    size: u64,
    /// Bytes read in one call.
    piece: u64,
    /// Where the next stretch begins.
    read: u64,
    /// The end was come to.
    ended: bool,
}

impl Ours {
    /// Whether all of it was, and searched, too.
    fn is_read(&self) -> bool {
        self.ended && self.read == self.size
    }

    /// The next stretch; none at the end.
    async fn next(&mut self) -> Result<Vec<Bytes>, Fault> {
        let from = self.read;
        self.ended = from == self.size;
        self.read = (from + STRETCH).min(self.size);
        let stretch = self.range(from, self.read).await?;
        if stretch.iter().map(Bytes::len).sum::<usize>() as u64 != self.read - from {
            // It ends early, being changed now.
            self.size = from;
            return Ok(Vec::new());
        }
        Ok(stretch)
    }

    /// The bytes between two places; fewer at the file's end.
    async fn range(&self, mut from: u64, to: u64) -> Result<Vec<Bytes>, Fault> {
        let mut asked = Vec::new();
        while from < to {
            let len = self.piece.min(to - from);
            asked.push(self.file.read_at(from, len as usize).await?);
            from += len;
        }
        future::try_join_all(asked).await
    }
}

/// Looks for the far end's blocks in our file.
struct Finder {
    case: Case,
    asking: Asking,
    /// What is searched for: blocks not far from where the search is.
    told: VecDeque<Told>,
    blocks: Arc<Blocks>,
    ours: Ours,
    search: Search,
    /// What was put in, less what was taken out, in ours before the last block that was found.
    drift: i64,
    pull: bool,
    /// A file that is as long as the old one, and not large: it is looked first at what is where it was.
    probing: bool,
    layout: Layout,
    /// Where the last block that was found ends, in ours.
    last: u64,
    /// Bytes that were found.
    matched: u64,
    luck: Arc<Luck>,
    turns: Arc<Semaphore>,
    tells: mpsc::Sender<Vec<Segment>>,
    /// Of ours, if it is to be made by the way.
    hasher: Option<Hasher>,
    tells_hash: oneshot::Sender<Digest>,
}

impl Finder {
    /// To the end of ours, or until nothing more can be found. Whatever goes wrong, the rest is sent.
    async fn run(mut self) {
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
        self.luck.had(self.search.at(), self.matched);
        if self.asking.late {
            self.luck.had_in_vain(SPAN);
        }
        if let Some(hash) = hash.or_else(|| self.hash()) {
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
        (self.search, self.layout) = (Search::default(), Layout::default());
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
                turn = self.turns.clone().acquire_owned().await.ok();
                self.search.make_room(self.ours.size.min(STRETCH + self.asking.length));
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
