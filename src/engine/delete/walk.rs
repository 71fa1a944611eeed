//! The walk through what is to be deleted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec;

use futures::StreamExt;
use futures::stream::FuturesOrdered;

use crate::entry::Entry;
use crate::plan::filter::Filter;
use crate::sftp::wire::BoxFuture;

use super::ahead::{Ahead, Dest, look, may_go, subs};
use super::line::{Into, Line, judged};
use super::{Above, Doomed, Shut, Why, Within};
use crate::engine::deletions::Leave;
use crate::engine::finish::below;
use crate::engine::run::Run;

/// Steps under way, or done and waiting for their turn to be told. A directory's own step waits in it for those of what lies in it
/// (measured, 8,200 steps over 50 ms: 3.0 s with 1,024, 2.4 with 4,096).
const UNDER_WAY: usize = 4096;

/// Directories listed ahead of the walk: a round trip's worth of it (as `scan::foretold` has).
const LISTED_AHEAD: usize = 1024;

/// Directories that the walk goes through before it is looked again what can be listed ahead of it.
const LOOKED_FOR: usize = 32;

type Steps<'a> = FuturesOrdered<BoxFuture<'a, Vec<Line>>>;

pub struct Walk<'a> {
    run: &'a Run,
    dest: Dest,
    /// How many steps may be under way.
    width: usize,
    /// The directories that are being emptied, the innermost last.
    frames: Vec<Frame>,
    /// The directories of the transfer that come after them.
    later: VecDeque<Frame>,
    steps: Steps<'a>,
    into: Into,
    /// Directories that the walk may go through until it is looked ahead again.
    looked: usize,
}

/// A directory of which entries are deleted.
struct Frame {
    path: Vec<u8>,
    shown: Vec<u8>,
    filter: Arc<Filter>,
    /// Those still to come.
    entries: vec::IntoIter<Entry>,
    /// The directories among them.
    subs: VecDeque<Ahead>,
    /// Whoever is to remove an entry has one; when all are gone, so is what lay in it.
    above: Above,
    shut: Option<Arc<Shut>>,
    /// What is told before anything else of it.
    said: Vec<Line>,
    own: Option<Own>,
    /// It goes, or makes way: it is emptied for that.
    goes: bool,
}

/// A directory that goes itself once it is empty.
struct Own {
    doomed: Doomed,
    within: Within,
    nested: bool,
}

impl<'a> Walk<'a> {
    /// One after the other where it matters what was before.
    pub fn new(run: &'a Run, one_by_one: bool, into: Into) -> Walk<'a> {
        let width = if one_by_one { 1 } else { UNDER_WAY };
        let (frames, later, steps, dest) = (Vec::new(), VecDeque::new(), Steps::new(), Dest::of(run));
        Walk { run, dest, width, frames, later, steps, into, looked: 0 }
    }

    /// Entries of a directory of the transfer, which stays.
    pub fn later(&mut self, path: Vec<u8>, shown: Vec<u8>, filter: Arc<Filter>, entries: Vec<Entry>, said: Vec<Line>) {
        let (above, _) = super::entries();
        self.slow_down(&entries);
        let subs = subs(&path, &shown, entries.iter());
        if self.width > 1 {
            self.dest.goes(&subs, &filter);
        }
        let (entries, shut, own) = (entries.into_iter(), None, None);
        self.later.push_back(Frame { path, shown, filter, entries, subs, above, shut, said, own, goes: false });
    }

    /// A directory that is to be emptied.
    pub async fn enter(&mut self, path: Vec<u8>, shown: Vec<u8>, filter: &Arc<Filter>, above: Above) {
        self.open(Ahead::new(path, shown), filter, above, None).await;
    }

    /// Deletes all, and tells it. False if the run was stopped before.
    pub async fn through(mut self) -> bool {
        loop {
            if self.run.is_over() {
                return false;
            }
            let Some(frame) = self.frames.last_mut() else {
                let Some(frame) = self.later.pop_front() else { break };
                self.frames.push(frame);
                continue;
            };
            if !frame.said.is_empty() {
                let said = std::mem::take(&mut frame.said);
                self.step(std::future::ready(said)).await;
                continue;
            }
            let Some(entry) = frame.entries.next() else {
                let own = self.frames.pop().and_then(|frame| frame.own);
                if let Some(Own { doomed, within, nested }) = own {
                    let (run, leave) = (self.run, self.leave().await);
                    self.step(doomed.remove_dir(run, leave, within, nested)).await;
                }
                continue;
            };
            let doomed = Doomed {
                path: below(&frame.path, &entry.name),
                shown: below(&frame.shown, &entry.name),
                above: frame.above.clone(),
                shut: frame.shut.clone(),
                entry,
            };
            if !doomed.entry.meta.is_dir() {
                let (run, leave) = (self.run, self.leave().await);
                self.step(doomed.remove(run, leave)).await;
                continue;
            }
            let ahead = frame.subs.pop_front();
            let ahead = ahead.unwrap_or_else(|| Ahead::new(doomed.path.clone(), doomed.shown.clone()));
            let (nested, filter) = (frame.goes, frame.filter.clone());
            let (above, within) = super::entries();
            self.open(ahead, &filter, above, Some(Own { doomed, within, nested })).await;
        }
        while self.told().await {}
        true
    }

    /// Lists a directory, and goes on in it.
    async fn open(&mut self, mut ahead: Ahead, filter: &Arc<Filter>, above: Above, own: Option<Own>) {
        let run = self.run;
        if self.width == 1 {
            while self.told().await {}
        } else if self.looked == 0 || !ahead.is_known() {
            self.looked = LOOKED_FOR;
            ahead.ask(&self.dest, filter);
            self.look_ahead();
        }
        self.looked = self.looked.saturating_sub(1);
        loop {
            tokio::select! {
                () = ahead.listed(&self.dest, filter) => break,
                Some(said) = self.steps.next(), if !self.steps.is_empty() => self.into.tell(run, said),
            }
        }
        let (path, shown, listed, known) = ahead.into_known();
        let shut = match &own {
            Some(own) => Shut::of(run, &path, &own.doomed.entry.meta).await,
            None => None,
        };
        let trouble = |fault| Line::Trouble(fault, shown.clone());
        let mut frame = Frame {
            filter: filter.clone(),
            entries: Vec::new().into_iter(),
            subs: VecDeque::new(),
            said: Vec::new(),
            path,
            shown: shown.clone(),
            above,
            shut,
            own,
            goes: true,
        };
        let opened = match listed {
            Ok((listing, inner)) if listing.faults.is_empty() => {
                let said = judged(run, &inner, &shown, &listing);
                Ok((listing.entries, (inner, said)))
            }
            Ok((listing, _)) => Err(listing.faults.into_iter().map(trouble).collect()),
            Err(fault) => Err(vec![trouble(fault)]),
        };
        match opened {
            Ok((mut entries, (filter, said))) => {
                let before = entries.len();
                entries.retain(|entry| may_go(&filter, &shown, entry));
                if entries.len() < before {
                    frame.above.because(Why::Stays);
                }
                entries.sort_by(|a, b| crate::plan::order::compare(b, a));
                self.slow_down(&entries);
                frame.subs = known.unwrap_or_else(|| subs(&frame.path, &shown, entries.iter()));
                (frame.entries, frame.filter, frame.said) = (entries.into_iter(), filter, said);
            }
            Err(said) => {
                frame.above.because(Why::Unknown);
                frame.said = said;
            }
        }
        self.frames.push(frame);
    }

    /// What may be another's backup is deleted in its turn, and so is all that comes after it.
    fn slow_down(&mut self, entries: &[Entry]) {
        if entries.iter().any(|entry| crate::engine::backup::is_one(self.run, &entry.name)) {
            self.width = 1;
        }
    }

    /// Asks for the listings of the directories that come next.
    fn look_ahead(&mut self) {
        let mut room = LISTED_AHEAD;
        for frame in self.frames.iter_mut().rev().chain(&mut self.later) {
            if room == 0 {
                return;
            }
            // Looking costs something, too, where there are many directories in none of which one goes.
            room -= 1;
            look(&mut frame.subs, &self.dest, &frame.filter, &mut room);
        }
    }

    /// One more, once there is room for it.
    async fn step(&mut self, step: impl Future<Output = Vec<Line>> + Send + 'a) {
        while self.steps.len() >= self.width {
            self.told().await;
        }
        self.steps.push_back(Box::pin(step));
    }

    /// Leave to delete one more, if there is any once it is known what became of those before.
    async fn leave(&mut self) -> Option<Leave<'a>> {
        let run = self.run;
        let mut leave = std::pin::pin!(run.deletions.leave(run.job.options.max_delete));
        loop {
            tokio::select! {
                biased;
                leave = &mut leave => return leave,
                Some(said) = self.steps.next(), if !self.steps.is_empty() => self.into.tell(run, said),
            }
        }
    }

    /// Waits for the step whose turn it is, and tells of it. False if there is none.
    async fn told(&mut self) -> bool {
        let Some(said) = self.steps.next().await else { return false };
        self.into.tell(self.run, said);
        true
    }
}
