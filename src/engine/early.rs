//! Directories of a far end that are listed before anything that was listed names them.
//!
//! Level by level a deep tree takes a round trip for each level, however many directories are listed at once. Where the far end has a
//! hasher it tells which directories there are ([`crate::verify::below`]), and they are listed together, the next in the walk first.
//! These are the listings that a walk would ask for itself; it takes them from here.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use crate::plan::names::safe_name;
use crate::tree::{Listing, Tree};
use crate::verify::below::ENTRIES;

use super::finish::below;
use super::run::Run;

/// Directories that are listed, or being listed, and not asked for yet: each has 1,000 names at most.
const MOST: usize = 512;

/// Directories below which it is asked what there is.
const TOPS: usize = 16;

/// A listing that was begun; nothing if it failed: what was listed before it was known to be there may not have been there yet.
pub type Begun = JoinHandle<Option<Listing>>;

/// The listings of one walk.
pub struct Early {
    /// The walk comes to the last names first.
    backwards: bool,
    tops: Mutex<Vec<Top>>,
}

/// A directory that a walk begins with, and what is below it.
struct Top {
    tree: Arc<dyn Tree>,
    path: Vec<u8>,
    /// What the walk calls it.
    name: Vec<u8>,
    /// By place in the walk of what is below: those that are known, and those that are being listed.
    known: BTreeMap<Vec<u8>, Vec<u8>>,
    begun: BTreeMap<Vec<u8>, Begun>,
    /// What was listed otherwise while the answer is on its way.
    asked: Option<HashSet<Vec<u8>>>,
}

/// A listing that is worth being kept: of as many entries as it was said to have at most.
async fn list(tree: Arc<dyn Tree>, path: Vec<u8>) -> Option<Listing> {
    tree.list(&path, false).await.ok().filter(|listing| listing.entries.len() <= ENTRIES)
}

/// A directory's place in the walk: within one, directories compare as if a `/` stood behind their names ([`crate::plan::order`]),
/// and so do their paths.
pub fn place(path: &[u8]) -> Vec<u8> {
    // The root comes before all that is in it, whatever its name begins with.
    if path.is_empty() { Vec::new() } else { [path, b"/"].concat() }
}

impl Early {
    pub fn new(backwards: bool) -> Early {
        Early { backwards, tops: Mutex::default() }
    }

    /// Whether it pays in this run.
    pub fn pays(run: &Run) -> bool {
        // Near by each level is answered in no time. What lies in another file system is not told apart.
        let far = || run.remote.as_ref().is_some_and(|remote| remote.leads_far());
        run.job.options.recursive && !run.job.options.one_file_system && far()
    }

    fn tops(&self) -> MutexGuard<'_, Vec<Top>> {
        self.tops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A walk that calls it `name` begins with this directory: asks what is below it, unless that was done or is too much. Of that
    /// nothing is listed of which `stays` tells, by its path below, that the walk does not enter it.
    pub fn top(
        self: &Arc<Self>,
        tree: &Arc<dyn Tree>,
        path: &[u8],
        name: &[u8],
        stays: impl Fn(&[u8]) -> bool + Send + 'static,
    ) {
        let mut tops = self.tops();
        if tops.len() >= TOPS || tops.iter().any(|top| top.within(tree, path).is_some()) {
            return;
        }
        tops.push(Top {
            tree: tree.clone(),
            path: path.to_vec(),
            name: name.to_vec(),
            known: BTreeMap::new(),
            begun: BTreeMap::new(),
            asked: Some(HashSet::new()),
        });
        let (early, tree, path, index) = (self.clone(), tree.clone(), path.to_vec(), tops.len() - 1);
        tokio::spawn(async move {
            let come = entered(tree.below(&path).await, stays);
            let mut tops = early.tops();
            if let Some(top) = tops.get_mut(index) {
                top.told(come);
            }
            early.begin(&mut tops);
        });
    }

    /// A directory is about to be listed: what was begun for it.
    pub fn take(&self, tree: &Arc<dyn Tree>, path: &[u8]) -> Option<Begun> {
        let mut tops = self.tops();
        let (top, within) = tops.iter_mut().find_map(|top| top.within(tree, path).map(|within| (top, within)))?;
        let at = place(within);
        top.known.remove(&at);
        if let Some(asked) = &mut top.asked {
            asked.insert(within.to_vec());
        }
        let begun = top.begun.remove(&at);
        self.begin(&mut tops);
        begun
    }

    /// The walk, which goes forwards, has come to the directory that it calls so: what lies before it is not going to be asked for.
    pub fn passed(&self, name: &[u8]) {
        let mut tops = self.tops();
        for top in tops.iter_mut() {
            let Some(within) = rest(&top.name, name) else { continue };
            let at = place(within);
            top.known = top.known.split_off(&at);
            top.begun = top.begun.split_off(&at);
        }
        self.begin(&mut tops);
    }

    fn begin(&self, tops: &mut [Top]) {
        let mut room = MOST.saturating_sub(tops.iter().map(|top| top.begun.len()).sum());
        for top in tops {
            while room > 0
                && let Some((at, within)) = if self.backwards { top.known.pop_last() } else { top.known.pop_first() }
            {
                let (tree, path) = (top.tree.clone(), below(&top.path, &within));
                top.begun.insert(at, tokio::spawn(list(tree, path)));
                room -= 1;
            }
        }
    }
}

impl Top {
    /// Where a directory lies below this one, if it does.
    fn within<'a>(&self, tree: &Arc<dyn Tree>, path: &'a [u8]) -> Option<&'a [u8]> {
        rest(&self.path, path).filter(|_| Arc::ptr_eq(&self.tree, tree))
    }

    /// What the walk enters below it.
    fn told(&mut self, come: HashSet<Vec<u8>>) {
        let asked = self.asked.take().unwrap_or_default();
        self.known = come.into_iter().filter(|path| !asked.contains(path)).map(|path| (place(&path), path)).collect();
    }
}

/// The directories that a walk enters, of those that the far end tells: a path that no server may tell leads nowhere.
fn entered(mut paths: Vec<Vec<u8>>, stays: impl Fn(&[u8]) -> bool) -> HashSet<Vec<u8>> {
    // A directory behind the one that it lies in.
    paths.sort();
    let mut come: HashSet<Vec<u8>> = HashSet::new();
    for path in paths {
        let above = path.iter().rposition(|byte| *byte == b'/');
        let name = &path[above.map_or(0, |at| at + 1)..];
        let goes = above.is_none_or(|at| come.contains(&path[..at]));
        if goes && safe_name(name).is_ok() && !stays(&path) {
            come.insert(path);
        }
    }
    come
}

/// What is left of a path below another one; nothing of that one itself.
fn rest<'a>(top: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    match top {
        b"" => Some(path),
        _ => match path.strip_prefix(top)? {
            b"" => Some(b""),
            rest => rest.strip_prefix(b"/"),
        },
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests' own scratch files")]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn top() -> (tempfile::TempDir, Top) {
        let root = tempfile::tempdir().unwrap();
        for dir in ["a/b/c", "a-x", "d/e"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let tree = crate::tree::local::Local::open(root.path().as_os_str().as_bytes()).unwrap();
        let (tree, asked) = (Arc::new(tree) as Arc<dyn Tree>, Some(HashSet::new()));
        let (path, name) = (Vec::new(), b"there".to_vec());
        (root, Top { tree, path, name, known: BTreeMap::new(), begun: BTreeMap::new(), asked })
    }

    fn paths() -> Vec<Vec<u8>> {
        ["d", "a-x", "a", "d/e", "a/b", "a/b/c"].iter().map(|path| path.as_bytes().to_vec()).collect()
    }

    fn begun(early: &Early) -> Vec<Vec<u8>> {
        early.tops().iter().flat_map(|top| top.begun.keys().cloned()).collect()
    }

    #[tokio::test]
    async fn what_is_told_is_listed_but_for_what_stays_or_was_listed_meanwhile() {
        let (root, mut top) = top();
        top.asked = Some(HashSet::from([b"a".to_vec()]));
        top.told(entered(paths(), |path| path == b"d"));
        let tree = top.tree.clone();
        let early = Early { backwards: false, tops: Mutex::new(vec![top]) };
        early.begin(&mut early.tops());
        assert_eq!(begun(&early), [&b"a-x/"[..], b"a/b/", b"a/b/c/"]);
        let listed = early.take(&tree, b"a/b").unwrap().await.unwrap().unwrap();
        assert_eq!(listed.entries.iter().map(|entry| &entry.name[..]).collect::<Vec<_>>(), [b"c"]);
        assert!(early.take(&tree, b"a/b").is_none(), "each is taken once");
        early.passed(b"there/a/b/c");
        assert_eq!(begun(&early), [b"a/b/c/"], "what was passed is let go");
        early.passed(b"elsewhere");
        assert_eq!(begun(&early).len(), 1);
        drop(root);
    }

    #[test]
    fn no_path_that_is_told_leads_out_of_the_directory() {
        let paths = ["..", "../x", "a", "a/..", "a/../b", "/etc", "", "a//b", "a/.", "a/c"];
        let entered = entered(paths.iter().map(|path| path.as_bytes().to_vec()).collect(), |_| false);
        assert_eq!(entered, HashSet::from([b"a".to_vec(), b"a/c".to_vec()]));
    }

    #[test]
    fn a_path_is_within_another_only_at_a_slash() {
        assert_eq!(rest(b"", b"a/b"), Some(&b"a/b"[..]));
        assert_eq!(rest(b"a", b"a/b"), Some(&b"b"[..]));
        assert_eq!((rest(b"a", b"a"), rest(b"a", b"ab"), rest(b"a/b", b"a")), (Some(&b""[..]), None, None));
    }
}
