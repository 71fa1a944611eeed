//! Listings before their turn: as soon as a directory is listed, so are those in it, in the order of the walk.
//!
//! The walk knows the directories in one only when it enters it. At a distance each would be entered a round trip later than
//! the one before (measured, 4,200 directories in three levels over 50 ms: 18 s pulled, where rsync takes 2.4). What is
//! listed here is what the walk would ask for itself, with the same rules; where it turns out to ask for something else,
//! nobody misses what was foretold.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::*;
use crate::engine::early::{self, place};

/// Directories that are listed, or being listed, before the turn of one that is begun: at least and at most (measured, 4,200 directories
/// over 50 ms: 1.5 s instead of 1.8 with 512).
const LEAST: usize = 16;
const MOST: usize = 2048;

/// As many before anything is known of how large they are, and as many more for each that was listed.
const FIRST: usize = 64;
const MORE: usize = 8;

/// Names in the listings that wait: what bounds memory where directories are large.
const NAMES: usize = 100_000;

/// Directories that are known and not listed yet. Of more, the walk asks for itself.
const KNOWN: usize = 65_536;

/// What is needed to list a directory at both ends.
#[derive(Clone)]
pub(in crate::engine) struct Ask {
    pub origins: Vec<Origin>,
    /// Where only some names are given, the directory may be a large one that does not concern us.
    pub names: Option<Vec<Vec<u8>>>,
    /// Whether the destination has it.
    pub exists: bool,
    pub dest_path: Vec<u8>,
    pub shown: Vec<u8>,
    /// The destination's rules of the directory that it lies in.
    pub protect: Arc<Filter>,
    /// The source's device, for `-x`; 0 where it is not known.
    pub dev: u64,
    /// What operands bring into it.
    pub given: Arc<Given>,
}

/// The directories that operands bring into one ([`Nodes`]), by their names.
#[derive(Default)]
pub(in crate::engine) struct Given(BTreeMap<Vec<u8>, GivenDirectory>);

struct GivenDirectory {
    contents: Vec<Origin>,
    names: Vec<Vec<u8>>,
    dev: u64,
    given: Arc<Given>,
}

impl Given {
    pub fn new(nodes: &Nodes) -> Arc<Given> {
        let directory = |node: &Node| GivenDirectory {
            contents: node.contents.clone(),
            names: node.children.keys().cloned().collect(),
            dev: node.entry.meta.dev,
            given: Given::new(&node.children),
        };
        let walked = |node: &Node| node.entry.meta.is_dir() && !(node.contents.is_empty() && node.children.is_empty());
        let directories = nodes.iter().filter(|(_, node)| walked(node));
        Arc::new(Given(directories.map(|(name, node)| (name.clone(), directory(node))).collect()))
    }
}

impl Ask {
    /// Whether the same is asked for.
    fn is(&self, other: &Ask) -> bool {
        let origins = || {
            self.origins.iter().zip(&other.origins).all(|(one, other)| {
                Arc::ptr_eq(&one.source, &other.source)
                    && one.path == other.path
                    && Arc::ptr_eq(&one.filter, &other.filter)
            })
        };
        self.names == other.names
            && self.exists == other.exists
            && self.shown == other.shown
            && Arc::ptr_eq(&self.protect, &other.protect)
            && self.origins.len() == other.origins.len()
            && origins()
    }
}

/// Asks for listings.
pub(in crate::engine) struct Foretold {
    pub run: Arc<Run>,
    pub bases: Vec<Arc<dyn Tree>>,
    /// Whether anything is listed before its turn.
    ahead: bool,
    /// Of the source, where that is far.
    early: Option<Arc<early::Early>>,
    /// For what is asked beside listings, in all directories together.
    pub questions: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By place in the walk ([`place`]), as everything here.
    known: BTreeMap<Vec<u8>, Ask>,
    begun: BTreeMap<Vec<u8>, Begun>,
    /// In all that is begun.
    names: usize,
    /// Directories that were listed, and the names in them.
    listed: (usize, usize),
}

struct Begun {
    ask: Ask,
    listings: JoinHandle<Listings>,
    /// Names in it, once they are known.
    names: usize,
    unwanted: Arc<AtomicBool>,
}

impl Begun {
    /// Nobody will ask for it. A listing ends by itself, since one that is broken off would leave a handle open at the server; what
    /// else is asked of the directory's entries is not any more.
    fn let_go(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

impl Foretold {
    pub fn new(run: Arc<Run>, bases: Vec<Arc<dyn Tree>>) -> Foretold {
        let ahead = run.remote.is_some();
        let questions = Semaphore::new(crate::engine::AT_ONCE);
        // What links lead to is not told.
        let early = run.pull && !run.job.options.copy_links && early::Early::pays(&run);
        let early = early.then(|| Arc::new(early::Early::new(false)));
        Foretold { run, bases, ahead, early, questions, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The walk wants these listings: those that were foretold, or new ones.
    pub fn listings(self: &Arc<Self>, ask: Ask) -> JoinHandle<Listings> {
        let mut state = self.state();
        let at = place(&ask.dest_path);
        state.known.remove(&at);
        if let Some(begun) = state.begun.remove(&at) {
            state.names -= begun.names;
            self.pump(state);
            if begun.ask.is(&ask) {
                return begun.listings;
            }
            begun.let_go();
        }
        self.begin(ask, Arc::default())
    }

    /// The walk has come to a directory: what lies before it, and was not asked for, is not going to be.
    pub fn passed(self: &Arc<Self>, dest_path: &[u8]) {
        let mut state = self.state();
        let at = place(dest_path);
        if let Some(early) = &self.early {
            early.passed(dest_path);
        }
        state.known = state.known.split_off(&at);
        let stay = state.begun.split_off(&at);
        let gone = std::mem::replace(&mut state.begun, stay);
        gone.values().for_each(Begun::let_go);
        state.names -= gone.values().map(|begun| begun.names).sum::<usize>();
        self.pump(state);
    }

    /// The listing of a directory of the source, if one was begun. Of the first ones it is asked what is below.
    pub(super) fn begun(&self, ask: &Ask, origin: &Origin) -> Option<early::Begun> {
        let early = self.early.as_ref()?;
        let begun = early.take(&origin.source, &origin.path);
        if begun.is_none() {
            let filter = origin.filter.clone();
            let shown = if ask.shown == b"." { Vec::new() } else { ask.shown.clone() };
            early.top(&origin.source, &origin.path, &ask.dest_path, move |path| {
                filter.excludes(&below(&shown, path), true, Side::Sender)
            });
        }
        begun
    }

    fn begin(self: &Arc<Self>, ask: Ask, unwanted: Arc<AtomicBool>) -> JoinHandle<Listings> {
        let foretold = self.clone();
        tokio::spawn(async move {
            let mut listings = listings::list(&foretold, &ask, &unwanted).await;
            if foretold.ahead {
                foretold.found(&ask, &listings);
            }
            listings::look_into(&foretold, &ask, &mut listings, &unwanted).await;
            listings
        })
    }

    /// A directory was listed: those in it are known.
    fn found(self: &Arc<Self>, ask: &Ask, Listings { here, there, early, .. }: &Listings) {
        let dest = match there {
            Some(Ok((listing, filter))) => Some((listing, filter)),
            Some(Err(_)) => return,
            None => None,
        };
        let mut state = self.state();
        let names = here.iter().filter_map(|(_, listed)| listed.as_ref().ok()).map(|listing| listing.entries.len());
        let names = names.sum::<usize>() + dest.map_or(0, |(listing, _)| listing.entries.len());
        let at = place(&ask.dest_path);
        state.listed.0 += 1;
        state.listed.1 += names;
        if let Some(begun) = state.begun.get_mut(&at) {
            begun.names = names;
            state.names += names;
        }
        let olds: HashMap<&[u8], &Meta> =
            dest.iter().flat_map(|(listing, _)| &listing.entries).map(|old| (&old.name[..], &old.meta)).collect();
        // Whether the destination has it; not known where it has to be opened first, or may be what a link leads to (-K).
        let exists = |name: &[u8]| match olds.get(name) {
            None => Some(false),
            Some(old) if old.is_dir() => (old.mode & 0o500 == 0o500).then_some(true),
            Some(old) if old.kind == Kind::Symlink && self.run.job.options.keep_dirlinks => None,
            Some(_) => Some(false),
        };
        let shown_dir = if ask.shown == b"." { b"".as_slice() } else { &ask.shown };
        let protect = dest.map_or(&ask.protect, |(_, filter)| filter);
        let mut know = |name: &[u8], child: Ask| {
            // What is near is listed in no time.
            let is_near = !self.run.pull && self.bases.is_empty();
            if state.known.len() < KNOWN && (child.exists || !is_near) && safe_name(name).is_ok() {
                state.known.insert(place(&child.dest_path), child);
            }
        };
        for (name, directory) in &ask.given.0 {
            let Some(exists) = exists(name) else { continue };
            let child = Ask {
                origins: directory.contents.clone(),
                names: directory.contents.is_empty().then(|| directory.names.clone()),
                exists,
                dest_path: below(&ask.dest_path, name),
                shown: below(shown_dir, name),
                protect: protect.clone(),
                dev: directory.dev,
                given: directory.given.clone(),
            };
            know(name, child);
        }
        // The walk does not enter another file system.
        let crosses = |entry: &Entry| self.run.job.options.one_file_system && ask.dev != 0 && ask.dev != entry.meta.dev;
        for (entry, origins) in self.directories(here, early, shown_dir) {
            if crosses(&entry) || ask.given.0.contains_key(&entry.name) {
                continue;
            }
            let Some(exists) = exists(&entry.name) else { continue };
            let child = Ask {
                origins,
                names: None,
                exists,
                dest_path: below(&ask.dest_path, &entry.name),
                shown: below(shown_dir, &entry.name),
                protect: protect.clone(),
                dev: entry.meta.dev,
                given: Arc::default(),
            };
            know(&entry.name, child);
        }
        self.pump(state);
    }

    /// The directories that come of what was listed, and where what is in each comes from.
    fn directories(
        &self,
        here: &[(Origin, Result<Listing, Fault>)],
        early: &Early,
        shown_dir: &[u8],
    ) -> Vec<(Entry, Vec<Origin>)> {
        // A link may come as what it leads to.
        let referent = |entry: &Entry| match early.referents.get(&entry.name) {
            Some(Ok(Some(meta))) => Entry { meta: meta.clone(), target: None, ..entry.clone() },
            _ => entry.clone(),
        };
        let comes = |origin: &Origin, entry: &Entry| {
            entry.meta.is_dir() && !origin.filter.excludes(&below(shown_dir, &entry.name), true, Side::Sender)
        };
        match here {
            _ if !self.run.job.options.recursive => Vec::new(),
            [(origin, Ok(listing))] => {
                let entries = listing.entries.iter().map(referent).filter(|entry| comes(origin, entry));
                entries.map(|entry| (entry.clone(), brought::found(origin, entry).contents)).collect()
            }
            // Several directories' contents, laid over each other.
            several => {
                let listed = several.iter().filter_map(|(origin, listing)| Some((origin, listing.as_ref().ok()?)));
                let listed = listed.map(|(origin, listing)| {
                    let entries = listing.entries.iter().filter(|entry| comes(origin, entry));
                    (origin.clone(), entries.cloned().collect())
                });
                let (_, nodes) = brought::overlay(listed.collect(), Nodes::new());
                nodes.into_values().map(|node| (node.entry, node.contents)).collect()
            }
        }
    }

    /// Begins what there is room for, the next ones first. Listings come in any order: what was found sooner, and comes later, must
    /// not keep the next ones waiting.
    fn pump(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        while let Some((at, ask)) = state.known.pop_first() {
            if !state.make_room(&at) || self.run.is_over() {
                state.known.insert(at, ask);
                return;
            }
            let unwanted = Arc::default();
            let listings = self.begin(ask.clone(), Arc::clone(&unwanted));
            state.begun.insert(at, Begun { ask, listings, names: 0, unwanted });
        }
    }
}

impl State {
    /// How many may be begun before another's turn: no more than would have all the names that may wait, if they are as large as those
    /// that were listed.
    fn most(&self) -> usize {
        let (listed, names) = self.listed;
        let usual = names.checked_div(listed).unwrap_or_default().max(1);
        (NAMES / usual).clamp(LEAST, MOST).min(FIRST + MORE * listed)
    }

    /// Whether one more may be begun: too few come before it, and where too many are begun, the last ones give way.
    fn make_room(&mut self, at: &[u8]) -> bool {
        let most = self.most();
        if self.begun.len() >= most
            && self.begun.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(at))).count() >= most
        {
            return false;
        }
        while self.begun.len() >= 2 * most || self.names >= NAMES {
            match self.begun.pop_last() {
                Some((last, begun)) if *last > *at => {
                    begun.let_go();
                    self.names -= begun.names;
                    self.known.insert(last, begun.ask);
                }
                Some((last, begun)) => {
                    self.begun.insert(last, begun);
                    return false;
                }
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str) -> Ask {
        let (dest_path, shown) = (path.into(), path.into());
        Ask {
            origins: Vec::new(),
            names: None,
            exists: true,
            dest_path,
            shown,
            protect: Arc::default(),
            dev: 0,
            given: Arc::default(),
        }
    }

    fn begin(state: &mut State, path: &str, names: usize) {
        let listings = tokio::spawn(std::future::pending());
        let begun = Begun { ask: ask(path), listings, names, unwanted: Arc::default() };
        state.begun.insert(place(path.as_bytes()), begun);
        state.names += names;
    }

    #[tokio::test]
    async fn the_next_ones_are_begun_whatever_else_is_and_the_last_ones_give_way() {
        let mut state = State { listed: (1_000, 10_000), ..State::default() };
        const BEGUN: usize = 2 * MOST;
        for n in 0..BEGUN {
            assert!(state.make_room(&place(format!("z{n:05}").as_bytes())) == (n < MOST), "{n}");
            begin(&mut state, &format!("z{n:05}"), 1);
        }
        let last = place(format!("z{:05}", BEGUN - 1).as_bytes());
        let unwanted = state.begun[&last].unwanted.clone();
        assert!(state.make_room(b"a/") && state.known.contains_key(&last) && !state.begun.contains_key(&last));
        assert_eq!((state.begun.len(), state.names), (BEGUN - 1, BEGUN - 1));
        assert!(unwanted.load(Ordering::Relaxed) && !state.begun.values().any(|b| b.unwanted.load(Ordering::Relaxed)));
        // One that has a great many names is the next: nothing gives way to those behind it.
        begin(&mut state, "a", NAMES);
        assert!(!state.make_room(b"b/"));
        assert!(state.begun.contains_key(&place(b"a")));
    }

    #[test]
    fn as_many_are_begun_as_their_names_may_wait() {
        let most = |directories, names| State { listed: (directories, names), ..State::default() }.most();
        // Of a few small ones nothing follows for the others.
        assert_eq!([most(0, 0), most(1, 1), most(10, 20)], [FIRST, FIRST + MORE, FIRST + 10 * MORE]);
        assert_eq!([most(1_000, 20_000), most(1_000, 48_000)], [MOST; 2]);
        assert_eq!([most(1_000, 100_000), most(1_000, 2_000_000), most(20, 40_000)], [1_000, 50, 50]);
        assert_eq!([most(1, 400_000), most(1_000, 1 << 40)], [LEAST; 2]);
    }

    #[test]
    fn places_are_in_the_order_of_the_walk() {
        let mut paths =
            ["", "-dash", ".dot", "foo/z", "foo0", "foo-bar/a", "foo", "foo-bar", "foo/a/b", "foo.d", "foo/a"];
        paths.sort_by_key(|path| place(path.as_bytes()));
        assert_eq!(
            paths,
            ["", "-dash", ".dot", "foo-bar", "foo-bar/a", "foo.d", "foo", "foo/a", "foo/a/b", "foo/z", "foo0"]
        );
    }
}
