//! Directories that are listed before the walk comes to them, and what they are then known to have in them.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt;
use tokio::task::JoinHandle;

use crate::entry::Entry;
use crate::fault::{Cause, Fault, Stage};
use crate::plan::filter::{Filter, Side};
use crate::tree::{Listing, Tree};

use crate::engine::early::Early;
use crate::engine::finish::below;
use crate::engine::rules;
use crate::engine::run::Run;

/// What is in a directory, and the rules that hold in it.
type Listed = Result<(Listing, Arc<Filter>), Fault>;

/// Where the walk goes.
pub struct Dest {
    tree: Arc<dyn Tree>,
    /// What is listed of it before it is known, where it is far.
    early: Option<Arc<Early>>,
}

impl Dest {
    pub fn of(run: &Run) -> Dest {
        let early = run.push() && Early::pays(run);
        Dest { tree: run.dest.clone(), early: early.then(|| Arc::new(Early::new(true))) }
    }

    /// The walk is going to empty these directories.
    pub fn goes(&self, dirs: &VecDeque<Ahead>, filter: &Arc<Filter>) {
        for (early, dir) in self.early.iter().flat_map(|early| dirs.iter().map(move |dir| (early, dir))) {
            let (filter, shown) = (filter.clone(), dir.shown.clone());
            let stays = move |path: &[u8]| filter.protects_within_deletion(&below(&shown, path), true);
            early.top(&self.tree, &dir.path, &dir.path, stays);
        }
    }

    fn list(&self, path: &[u8], shown: &[u8], filter: &Arc<Filter>) -> JoinHandle<Listed> {
        let begun = self.early.as_ref().and_then(|early| early.take(&self.tree, path));
        let (tree, path, shown, filter) = (self.tree.clone(), path.to_vec(), shown.to_vec(), filter.clone());
        tokio::spawn(async move {
            let begun = match begun {
                Some(begun) => begun.await.ok().flatten(),
                None => None,
            };
            let listing = match begun {
                Some(listing) => listing,
                None => tree.list(&path, false).await?,
            };
            let dir = rules::Dir { tree: tree.as_ref(), path: &path, listing: &listing };
            let filter = rules::enter(&filter, Side::Receiver, &shown, &[dir]).await?;
            Ok((listing, filter))
        })
    }
}

/// A directory that the walk will come to.
pub struct Ahead {
    pub path: Vec<u8>,
    pub shown: Vec<u8>,
    state: State,
}

enum State {
    Unasked,
    Asked(JoinHandle<Listed>),
    /// The directories in it that go, too, if it is known by now which do.
    Known(Listed, Option<VecDeque<Ahead>>),
}

impl Ahead {
    pub fn new(path: Vec<u8>, shown: Vec<u8>) -> Ahead {
        Ahead { path, shown, state: State::Unasked }
    }

    /// Whether its listing has come.
    pub fn is_known(&self) -> bool {
        matches!(self.state, State::Known(..))
    }

    fn look(&mut self, dest: &Dest, filter: &Arc<Filter>, room: &mut usize) {
        self.ask(dest, filter);
        if let State::Asked(listing) = &mut self.state
            && let Some(listed) = listing.now_or_never()
        {
            let listed = listed.unwrap_or_else(|_| Err(stopped()));
            let subs = listed.as_ref().ok().map(|(listing, filter)| {
                let mut dirs: Vec<&Entry> = listing.entries.iter().filter(|entry| entry.meta.is_dir()).collect();
                dirs.retain(|entry| may_go(filter, &self.shown, entry));
                dirs.sort_by(|a, b| crate::plan::order::compare(b, a));
                subs(&self.path, &self.shown, dirs.into_iter())
            });
            self.state = State::Known(listed, subs);
        }
        if let State::Known(Ok((_, filter)), Some(subs)) = &mut self.state {
            look(subs, dest, filter, room);
        }
    }

    /// Asks for its listing, if nobody has. `filter`: the rules where it lies.
    pub fn ask(&mut self, dest: &Dest, filter: &Arc<Filter>) {
        if let State::Unasked = self.state {
            self.state = State::Asked(dest.list(&self.path, &self.shown, filter));
        }
    }

    /// Waits until it is known what is in it. May be given up and called again.
    pub async fn listed(&mut self, dest: &Dest, filter: &Arc<Filter>) {
        self.ask(dest, filter);
        if let State::Asked(listing) = &mut self.state {
            let listed = listing.await.unwrap_or_else(|_| Err(stopped()));
            self.state = State::Known(listed, None);
        }
    }

    /// Its listing, and the directories in it as far as they were looked for ahead.
    pub fn into_known(self) -> (Vec<u8>, Vec<u8>, Listed, Option<VecDeque<Ahead>>) {
        let (listed, subs) = match self.state {
            State::Known(listed, subs) => (listed, subs),
            _ => (Err(stopped()), None),
        };
        (self.path, self.shown, listed, subs)
    }
}

/// Asks for the listings of directories, and where one has come for those of the directories in it: in the walk's order, and as
/// long as there is `room`.
pub fn look(dirs: &mut VecDeque<Ahead>, dest: &Dest, filter: &Arc<Filter>, room: &mut usize) {
    for dir in dirs {
        if *room == 0 {
            return;
        }
        *room -= 1;
        dir.look(dest, filter, room);
    }
}

fn stopped() -> Fault {
    Fault::new("local", Stage::List, Cause::Cancelled, "the run was stopped")
}

/// Whether no rule protects an entry of a directory that goes.
pub fn may_go(filter: &Filter, shown: &[u8], entry: &Entry) -> bool {
    !filter.protects_within_deletion(&below(shown, &entry.name), entry.meta.is_dir())
}

/// The directories among the entries of one.
pub fn subs<'e>(path: &[u8], shown: &[u8], entries: impl Iterator<Item = &'e Entry>) -> VecDeque<Ahead> {
    let dirs = entries.filter(|entry| entry.meta.is_dir());
    dirs.map(|entry| Ahead::new(below(path, &entry.name), below(shown, &entry.name))).collect()
}
