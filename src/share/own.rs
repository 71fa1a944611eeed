//! Which work keeps a connection of its own although sharing is on, and how many invocations may at once.
//!
//! What is shared passes through a second process: beside a login that is nothing for a small file, but gigabytes feel it. So
//! large work connects for itself. For each destination only [`PLACES`] invocations do so at a time: a hundred directories
//! staged together would else meet MaxStartups again. All others share.
//!
//! A push is known to be large before anything is connected. A directory that is not (`DIR`, `host:dir/`) shares only a connection
//! that stands already and leads far, where a login of its own (1.2 s at 50 ms, measured) would show. Any other pull joins
//! the shared connection to look, and leaves it only for what takes so long that another login does not show: near by that is
//! soon so, far away late ([`Bound`]).

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::place::{self, Lock};
use crate::entry::Meta;
use crate::job::{Job, Login, Place};
use crate::ssh::options;
use crate::tree::local;

/// Bytes from which on a push is large. Far above what a workflow stages by the hundred; below it a login of one's own costs
/// more than it brings.
pub const LARGE_PUSH: u64 = 32 << 20;

/// Bytes from which on a pull is. Measured: 500 MB took 1.75 s shared and 1.54 s not, 900 files of 1 MiB 5.1 s and 4.8 s.
const LARGE_PULL: u64 = 256 << 20;

/// Files from which on a pull is. Measured: 10,000 of 4 KiB took 2.2 s shared and 1.4 s not.
const MANY: usize = 1000;

/// The same where the shared connection leads far: 80 µs for each file against 1.2 s for a login at 50 ms (measured).
const MANY_FAR: usize = 8192;

/// Entries of a tree that is moved over a far connection which stands already. Measured at 50 ms: 2,000 files of 4 KiB took 1.1 s
/// shared and 1.9 s not (pull: 0.95 and 2.0).
pub const TREE: usize = 4096;

/// For counting what is in a tree. A disk that needs longer is slower than any login.
const LOOK: Duration = Duration::from_millis(100);

/// Invocations with a connection of their own, for a user and destination on this host. With the holder's own they stay
/// below the ten starts at which sshd begins to drop (MaxStartups 10:30:100).
const PLACES: usize = 4;

/// Leave to keep a connection of one's own, for as long as this lives.
#[derive(Debug)]
pub struct Leave {
    /// The place taken; none where nobody counts.
    taken: Option<(PathBuf, Lock)>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some((path, lock)) = self.taken.take() {
            place::remove(&[&path]);
            lock.release();
        }
    }
}

/// Whether this job could use a shared connection at all.
pub fn is_for_sharing(job: &Job) -> bool {
    // Several connections are asked for where one does not carry enough; what is no ssh has none to share.
    job.options.share && job.options.connections <= 1 && login(job).is_some() && options::parse(&job.shell).is_some()
}

fn login(job: &Job) -> Option<&Login> {
    job.sources.iter().chain(&job.dest).find_map(|place| match place {
        Place::Remote { login, .. } => Some(login),
        Place::Local(_) => None,
    })
}

/// What is known of a job before anything is connected.
pub enum Before {
    /// It is large, and there is a place for it.
    Own(Leave),
    /// A directory that is no more, or may be no more, than what a far connection that stands already moves sooner than a login
    /// of its own takes.
    Maybe,
    Shares,
}

/// Looks at what is to be pushed; of a pull only its names are known.
pub fn before(job: &Job) -> Before {
    let (mut bytes, mut entries, mut directory) = (0u64, 0usize, false);
    for place in &job.sources {
        match place {
            Place::Remote { path, .. } => directory |= path.ends_with(b"/") && job.options.recursive,
            Place::Local(path) => {
                let Some(meta) = local::look_at(path, true).ok().flatten() else { continue };
                bytes = bytes.saturating_add(size(&meta));
                if meta.is_dir() && job.options.recursive {
                    directory = true;
                    let found = local::weigh(path, TREE - entries.min(TREE), LARGE_PUSH.saturating_sub(bytes), LOOK);
                    let (more, size) = found.unwrap_or((TREE + 1, 0));
                    (entries, bytes) = (entries + more, bytes.saturating_add(size));
                }
            }
        }
        if bytes >= LARGE_PUSH || entries > TREE {
            return take(job).map_or(Before::Shares, Before::Own);
        }
    }
    if directory { Before::Maybe } else { Before::Shares }
}

/// Leave for a pull, if it is large and there is a place.
pub fn for_pull(job: &Job, weight: &Weight, bound: Bound) -> Option<Leave> {
    weight.is_large(bound).then(|| take(job)).flatten()
}

/// From where on a pull is large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The shared connection that was joined to look is near: another login costs little.
    Near,
    /// It leads far.
    Far,
    /// It was joined only because it leads far, by a directory that would else have one of its own.
    IfFar,
}

impl Bound {
    /// `far`: the shared connection's way.
    pub fn of(job: &Job, far: bool) -> Bound {
        match far {
            _ if job.options.share_if_far => Bound::IfFar,
            true => Bound::Far,
            false => Bound::Near,
        }
    }

    /// Directories are looked into, however deep, before they are taken to be large: where nothing is lost by having come to look.
    pub fn looks_deeper(self) -> bool {
        self == Bound::IfFar
    }
}

/// What there is to pull, as far as it is known.
#[derive(Debug, Default)]
pub struct Weight {
    bytes: u64,
    entries: usize,
    /// A directory, of which nothing more is known.
    deep: bool,
}

impl Weight {
    pub fn add(&mut self, meta: &Meta) {
        self.bytes = self.bytes.saturating_add(size(meta));
        self.entries += 1;
        self.deep |= meta.is_dir();
    }

    /// What is in a directory that was only seen, and not looked into, is not known.
    pub fn looked_into(&mut self) {
        self.deep = false;
    }

    pub fn is_large(&self, bound: Bound) -> bool {
        let (bytes, entries) = match bound {
            Bound::Near => (LARGE_PULL, MANY),
            Bound::Far => (LARGE_PULL, MANY_FAR),
            Bound::IfFar => (LARGE_PUSH, TREE),
        };
        self.bytes >= bytes || self.entries >= entries || self.deep
    }
}

fn size(meta: &Meta) -> u64 {
    if meta.is_dir() { 0 } else { meta.size }
}

/// A place among those that have a connection of their own, if one is free.
pub fn take(job: &Job) -> Option<Leave> {
    let (shell, login) = (&job.shell, login(job)?);
    // Where nobody can share, nobody has to be counted.
    let Ok(place) = place::Place::find() else { return Some(Leave { taken: None }) };
    let mut hasher = blake3::Hasher::new_derive_key("hopsync 2026 a destination of connections of their own");
    let host = login.host.as_bytes();
    for part in shell.iter().map(|word| word.as_bytes()).chain([login.user.as_deref().unwrap_or("").as_bytes(), host]) {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    take_at(&place, &hasher.finalize().to_hex()[..32])
}

fn take_at(place: &place::Place, key: &str) -> Option<Leave> {
    for n in 0..PLACES {
        let path = place.file(key, &format!("own{n}"));
        match Lock::now(&path) {
            Ok(Some(lock)) => return Some(Leave { taken: Some((path, lock)) }),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "no place is counted");
                return Some(Leave { taken: None });
            }
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests' own scratch files")]
mod tests {
    use super::*;

    /// Of a file of 1 MiB.
    fn meta() -> Meta {
        Meta {
            kind: crate::entry::Kind::File,
            size: 1 << 20,
            mtime: 0,
            mtime_nsec: 0,
            atime: 0,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            dev: 0,
            ino: 0,
            links: 1,
        }
    }

    #[test]
    fn what_is_large_depends_on_what_a_login_costs() {
        let file = meta();
        let large = |files: usize, bound| {
            let mut weight = Weight::default();
            (0..files).for_each(|_| weight.add(&Meta { size: 1, ..file.clone() }));
            weight.is_large(bound)
        };
        assert!(!large(MANY - 1, Bound::Near) && large(MANY, Bound::Near));
        assert!(!large(TREE - 1, Bound::IfFar) && large(TREE, Bound::IfFar));
        assert!(!large(MANY_FAR - 1, Bound::Far) && large(MANY_FAR, Bound::Far));
        let mut weight = Weight::default();
        (0..LARGE_PUSH / file.size).for_each(|_| weight.add(&file));
        assert!(weight.is_large(Bound::IfFar) && !weight.is_large(Bound::Far) && !weight.is_large(Bound::Near));
        (0..LARGE_PULL / file.size).for_each(|_| weight.add(&file));
        assert!(weight.is_large(Bound::Far) && weight.is_large(Bound::Near));
    }

    #[test]
    fn a_place_is_free_again_when_its_leave_ends() {
        let root = tempfile::tempdir().unwrap();
        let place = place::Place::at(root.path().join("hopsync")).unwrap();
        let mut taken: Vec<Leave> = (0..PLACES).map(|_| take_at(&place, "k").unwrap()).collect();
        assert!(take_at(&place, "k").is_none());
        assert!(take_at(&place, "another").is_some());
        taken.pop();
        assert!(take_at(&place, "k").is_some());
        drop(taken);
        assert_eq!(std::fs::read_dir(root.path().join("hopsync")).unwrap().count(), 0);
    }
}
