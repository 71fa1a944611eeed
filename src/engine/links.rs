//! `-H`: names that are one file at the source become one file at the destination. The first name found is delivered like
//! any file; the others become links to it once it is there.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::ledger::Class;
use crate::tree::Change;

use super::run::Run;

/// The files with several names that are under way: a file is forgotten when as many names were seen as it has.
#[derive(Default)]
pub struct Links {
    groups: HashMap<(u64, u64), Group>,
    /// Links are followed, and lead to a file more often than it has names: none is forgotten.
    keeps: bool,
}

struct Group {
    /// None while all its names that were seen are left to a `--compare-dest`.
    first: Option<Arc<First>>,
    /// Names that were not seen yet.
    left: u64,
    /// What tells the file from another one that has its number by now.
    like: (u64, i64, u32),
}

fn like(meta: &Meta) -> (u64, i64, u32) {
    (meta.size, meta.mtime, meta.mtime_nsec)
}

/// The name that is delivered, and how that went.
pub struct First {
    /// At the destination.
    pub path: Vec<u8>,
    pub shown: Vec<u8>,
    /// What the destination had under it, if that stays the same file.
    kept: Option<(u64, u64)>,
    state: watch::Sender<Option<Result<bool, Fault>>>,
}

impl First {
    /// The first name has its class.
    fn settled(&self, class: &Class) {
        let how = match class {
            Class::Failed(fault) => Err(fault.clone()),
            class => Ok(matches!(class, Class::Verified(_))),
        };
        self.state.send_replace(Some(how));
    }

    /// Waits until it is there. Tells whether its delivery was proven.
    async fn ready(&self) -> Result<bool, Fault> {
        let mut watcher = self.state.subscribe();
        match watcher.wait_for(Option::is_some).await {
            Ok(state) => state.clone().unwrap_or(Ok(false)),
            Err(_) => Err(Fault::new("local", Stage::Rename, Cause::Cancelled, "the run was stopped")),
        }
    }

    /// Why it was not delivered, if that is known by now.
    pub fn failure(&self) -> Option<Fault> {
        self.state.borrow().as_ref().and_then(|how| how.as_ref().err().cloned())
    }

    /// Whether the destination has this file under another name too, and keeps it.
    pub fn is_same(&self, old: &Meta) -> bool {
        self.kept.is_some_and(|kept| old.ino != 0 && kept == (old.dev, old.ino))
    }
}

/// Whoever delivers the first name holds this: if it is given up, those who wait are told.
pub struct Promise(Arc<First>);

impl Promise {
    /// See [`First::settled`].
    pub fn settled(&self, class: &Class) {
        self.0.settled(class);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.state.send_if_modified(|state| {
            let open = state.is_none();
            if open {
                let text = format!(
                    "\"{}\", whose other name this is, was not delivered",
                    String::from_utf8_lossy(&self.0.shown)
                );
                *state = Some(Err(Fault::new("local", Stage::Rename, Cause::Cancelled, text)));
            }
            open
        });
    }
}

/// What a name is to its file.
pub enum Name {
    Only,
    /// Others may follow: what becomes of it has to be told.
    First(Promise),
    Other(Arc<First>),
}

impl Links {
    /// `follows`: links of the source are followed.
    pub fn new(follows: bool) -> Links {
        Links { keeps: follows, ..Links::default() }
    }

    /// Takes in a file's name. `stays` says whether the destination's file under it, `old`, is kept.
    pub fn name(&mut self, meta: &Meta, old: Option<&Meta>, stays: bool, path: &[u8], shown: &[u8]) -> Name {
        let Some((key, group)) = self.seen(meta) else { return Name::Only };
        if let Some(first) = &group.first {
            let first = first.clone();
            self.forget_whole(key);
            return Name::Other(first);
        }
        let kept = old.filter(|old| stays && old.ino != 0).map(|old| (old.dev, old.ino));
        let first =
            Arc::new(First { path: path.to_vec(), shown: shown.to_vec(), kept, state: watch::Sender::new(None) });
        group.first = Some(first.clone());
        self.forget_whole(key);
        Name::First(Promise(first))
    }

    /// Takes in a name under which there will be nothing at the destination, because a `--compare-dest` has it: none can be
    /// linked to it. True if another one is delivered, to which this one is linked instead.
    pub fn follows(&mut self, meta: &Meta) -> bool {
        let Some((key, group)) = self.seen(meta) else { return false };
        let follows = group.first.is_some();
        if follows {
            // It is taken in as what it then is.
            group.left += 1;
        } else {
            self.forget_whole(key);
        }
        follows
    }

    /// Counts a name; `None` for a file's only one. Of one whose other names were removed meanwhile
    /// (`--remove-source-files`), it is known that it had them.
    fn seen(&mut self, meta: &Meta) -> Option<((u64, u64), &mut Group)> {
        let key = (meta.dev, meta.ino);
        let is_known = || self.groups.get(&key).is_some_and(|group| group.like == like(meta));
        if meta.ino == 0 || meta.links < 2 && !is_known() {
            return None;
        }
        let new = || Group { first: None, left: meta.links, like: like(meta) };
        let group = self.groups.entry(key).or_insert_with(new);
        group.left = group.left.saturating_sub(1);
        Some((key, group))
    }

    fn forget_whole(&mut self, key: (u64, u64)) {
        if !self.keeps && self.groups.get(&key).is_some_and(|group| group.left == 0) {
            self.groups.remove(&key);
        }
    }
}

/// Makes `path` another name of the first. What was there is replaced at once.
pub async fn link(run: &Run, first: &First, path: &[u8], old: Option<&Meta>) -> Result<Class, Fault> {
    let proven = first.ready().await?;
    let class = if proven { Class::Verified("hard link") } else { Class::Sent };
    if run.job.options.delay_updates && super::delay::link(run, &first.path, path).await? {
        return Ok(class);
    }
    match old {
        None => run.dest.hard_link(&first.path, run.dest.as_ref(), path).await?,
        Some(_) => {
            super::backup::keep(run, path).await?;
            let temp = run.temps.name(path);
            run.dest.hard_link(&first.path, run.dest.as_ref(), &temp).await?;
            run.dest.commit(&temp, path, Change::default()).await?;
            // Renaming one name of a file onto another does nothing (rename(2)): then the temporary one is still there.
            match run.dest.remove(&temp).await {
                Err(fault) if fault.cause != Cause::NotFound => return Err(fault),
                _ => run.temps.gone(&temp),
            }
        }
    }
    Ok(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Kind;

    fn meta(ino: u64, links: u64) -> Meta {
        Meta {
            kind: Kind::File,
            size: 1,
            mtime: 1,
            mtime_nsec: 0,
            atime: 0,
            mode: 0o644,
            uid: 0,
            gid: 0,
            dev: 1,
            ino,
            links,
        }
    }

    #[test]
    fn the_first_name_is_delivered_and_a_file_is_forgotten_with_its_last() {
        let mut links = Links::default();
        let mut name = |ino, many, path: &str| links.name(&meta(ino, many), None, false, path.as_bytes(), b"");
        assert!(matches!(name(7, 1, "only"), Name::Only));
        assert!(matches!(name(0, 2, "untold"), Name::Only));
        assert!(matches!(name(8, 3, "a"), Name::First(_)));
        assert!(matches!(name(8, 3, "b"), Name::Other(first) if first.path == b"a"));
        assert!(matches!(name(8, 3, "c"), Name::Other(_)));
        assert!(links.groups.is_empty());
    }

    #[test]
    fn a_name_is_known_though_the_others_were_removed_meanwhile() {
        let mut links = Links::default();
        let mut name = |meta: &Meta| links.name(meta, None, false, b"x", b"x");
        assert!(matches!(name(&meta(8, 3)), Name::First(_)));
        assert!(matches!(name(&meta(8, 1)), Name::Other(_)));
        assert!(matches!(name(&Meta { mtime: 2, ..meta(8, 1) }), Name::Only));
        assert!(matches!(name(&meta(8, 1)), Name::Other(_)));
        assert!(matches!(name(&meta(8, 1)), Name::Only));
    }

    #[test]
    fn a_file_that_links_lead_to_has_more_names_than_it_tells() {
        let mut links = Links::new(true);
        let mut name = || links.name(&meta(8, 2), None, false, b"x", b"x");
        assert!(matches!(name(), Name::First(_)));
        assert!(matches!((name(), name(), name()), (Name::Other(_), Name::Other(_), Name::Other(_))));
    }

    #[test]
    fn no_name_follows_one_that_is_left_to_a_basis() {
        let mut links = Links::default();
        assert!(!links.follows(&meta(8, 4)));
        assert!(matches!(links.name(&meta(8, 4), None, false, b"b", b"b"), Name::First(_)));
        assert!(links.follows(&meta(8, 4)));
        assert!(matches!(links.name(&meta(8, 4), None, false, b"c", b"c"), Name::Other(first) if first.path == b"b"));
        assert!(matches!(links.name(&meta(8, 4), None, false, b"d", b"d"), Name::Other(_)));
        assert!(!links.follows(&meta(9, 2)) && !links.follows(&meta(9, 2)));
        assert!(links.groups.is_empty());
    }

    #[test]
    fn what_the_destination_keeps_is_known_by_its_inode() {
        let mut links = Links::default();
        let Name::First(first) = links.name(&meta(8, 2), Some(&meta(30, 2)), true, b"a", b"a") else { panic!("first") };
        assert!(first.0.is_same(&meta(30, 2)) && !first.0.is_same(&meta(31, 2)));
    }
}
