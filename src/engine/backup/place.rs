//! Where backups go: beside what they are made of, or into the directory of `--backup-dir`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::entry::{Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::plan::names::NAME_MAX;
use crate::tree::{Tree, split};

use super::claims::{Claims, Taken};
use crate::engine::finish::{below, is_within};
use crate::engine::run::Run;

/// What a run knows of its backups.
#[derive(Default)]
pub struct Place {
    /// The directory of `--backup-dir`, found or made when the first backup is.
    dir: OnceCell<Arc<dyn Tree>>,
    /// Or why it cannot be told: then nothing is backed up, and nothing replaced that would have to be.
    lies: OnceCell<Result<Lies, Fault>>,
    /// The directories in it that were found or made, but for those that were deleted since. Only where it is known where it lies.
    ready: Mutex<HashMap<Vec<u8>, Arc<Ready>>>,
    /// Files under way of which the old content is kept already. What is under their names now may be the new one, or half of it:
    /// a later try must not put that in the backup's place.
    kept: Mutex<HashSet<Vec<u8>>>,
    pub claims: Claims,
}

impl Place {
    pub(super) fn kept(&self) -> MutexGuard<'_, HashSet<Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more is tried with the file at `path`.
    pub fn settled(&self, path: &[u8]) {
        self.kept().remove(path);
    }

    /// A directory of the destination was deleted.
    pub fn gone(&self, path: &[u8]) {
        let Some(Ok(Lies::Within(dir))) = self.lies.get() else { return };
        if is_within(path, dir) || is_within(dir, path) {
            let mut known = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|parent, _| !is_within(&below(dir, parent), path));
        }
    }

    /// What is known of a directory for backups.
    fn ready(&self, parent: &[u8]) -> Arc<Ready> {
        let mut known = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(parent.to_vec()).or_default().clone()
    }
}

/// Where backups lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lies {
    /// Beside what they are made of.
    Beside,
    /// In a directory neither in the destination nor above it, and nothing that the run does changes that.
    Apart,
    /// In the destination, under this path there.
    Within(Vec<u8>),
    /// In a directory in which the destination has this path; none if it is the destination.
    Above(Vec<u8>),
    /// That is not to be foreseen.
    Elsewhere,
}

impl Lies {
    /// What the destination calls a path of the place for backups, if that lies in it.
    pub fn seen_from_dest(&self, name: &[u8]) -> Option<Vec<u8>> {
        match self {
            Lies::Beside => Some(name.to_vec()),
            Lies::Within(dir) => Some(below(dir, name)),
            Lies::Above(dest) if dest.is_empty() => Some(name.to_vec()),
            Lies::Above(dest) => name.strip_prefix(&dest[..])?.strip_prefix(b"/").map(<[u8]>::to_vec),
            Lies::Apart | Lies::Elsewhere => None,
        }
    }

    /// Whether a backup may go to this path of the destination's.
    pub fn holds(&self, path: &[u8], suffix: &[u8]) -> bool {
        match self {
            Lies::Beside | Lies::Above(_) => path.ends_with(suffix),
            Lies::Within(dir) => is_within(path, dir),
            Lies::Apart | Lies::Elsewhere => false,
        }
    }
}

/// A directory for backups.
#[derive(Default)]
struct Ready {
    found: OnceCell<Found>,
    made: OnceCell<()>,
}

/// What is where a directory for backups is to be.
#[derive(Debug, Clone, Copy)]
struct Found {
    there: There,
    /// The mode of the directory that it stands for.
    mode: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    /// The directory, or a file in its way.
    Something,
    /// A link, which backups do not go through: it may lead to what is nobody's to replace.
    Link,
    Nothing,
}

/// Where the backup of a path goes; until it is there.
pub struct Target {
    pub tree: Arc<dyn Tree>,
    pub path: Vec<u8>,
    /// As a person finds it.
    pub shown: Vec<u8>,
    _taken: Taken,
}

pub async fn target(run: &Run, path: &[u8]) -> Result<Option<Target>, Fault> {
    let Some(backup) = &run.job.options.backup else { return Ok(None) };
    let lies = lies(run).await.map_err(Clone::clone)?;
    let (name, taken) = run.backups.claims.name(lies, path, [path, &backup.suffix].concat(), &backup.suffix);
    if split(&name).1.len() > NAME_MAX {
        let text = format!("\"{}\": the backup's name would be too long", String::from_utf8_lossy(path));
        return Err(Fault::new(run.dest.hop().clone(), Stage::Rename, Cause::Io, text));
    }
    let Some(dir) = &backup.dir else {
        return Ok(Some(Target { tree: run.dest.clone(), shown: name.clone(), path: name, _taken: taken }));
    };
    let tree = run.backups.dir.get_or_try_init(|| async {
        make(run, run.dest.beside(b"").await?.as_ref(), dir).await?;
        let tree = run.dest.beside(dir).await?;
        let may_be = run.dest.as_local().is_some() || matches!(lies, Lies::Above(_) | Lies::Elsewhere);
        if backup.suffix.is_empty() && may_be && is_dest(run, tree.as_ref()).await? {
            // A file would be its own backup, and make way for itself.
            let text = "--backup-dir leads to the destination itself: give another one, or a --suffix";
            return Err(Fault::new(run.dest.hop().clone(), Stage::Rename, Cause::Io, text));
        }
        Ok(tree)
    });
    let tree = tree.await?.clone();
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let parents: Vec<&[u8]> = slashes.map(|(at, _)| &path[..at]).collect();
    // Near by, waiting for one answer after the other costs nothing.
    if matches!(lies, Lies::Apart | Lies::Within(_)) && run.dest.as_local().is_none() {
        // All are looked for together; what is missing is made one after the other.
        let ready: Vec<_> = parents.iter().map(|parent| run.backups.ready(parent)).collect();
        let looks = ready.iter().zip(&parents);
        let looks = looks.map(|(ready, parent)| ready.found.get_or_try_init(|| find(run, tree.as_ref(), parent)));
        let found = futures::future::try_join_all(looks).await?;
        let mut is_new = false;
        for ((ready, parent), found) in ready.iter().zip(parents).zip(found) {
            // What was found through a link is not in the directory that takes its place.
            let found = if is_new { Found { there: There::Nothing, ..*found } } else { *found };
            is_new = found.there != There::Something;
            ready.made.get_or_try_init(|| prepare(tree.as_ref(), parent, found)).await?;
        }
    } else {
        for parent in parents {
            prepare(tree.as_ref(), parent, find(run, tree.as_ref(), parent).await?).await?;
        }
    }
    Ok(Some(Target { tree, shown: crate::tree::join(dir, &name), path: name, _taken: taken }))
}

/// Looks for a directory for backups. It gets the mode of the one that it stands for.
async fn find(run: &Run, tree: &dyn Tree, parent: &[u8]) -> Result<Found, Fault> {
    let (there, like) = tokio::join!(tree.stat(parent, false), run.dest.stat(parent, false));
    let there = match there? {
        Some(Meta { kind: Kind::Symlink, .. }) => There::Link,
        Some(_) => There::Something,
        None => There::Nothing,
    };
    if there == There::Link && run.job.options.backup.as_ref().is_some_and(|backup| !backup.suffix.is_empty()) {
        // It may be a backup of this very run.
        let text = format!("a link is in the way of a directory for backups, \"{}\"", String::from_utf8_lossy(parent));
        return Err(Fault::new(run.dest.hop().clone(), Stage::Rename, Cause::Io, text));
    }
    Ok(Found { there, mode: like?.map_or(0o755, |meta| meta.mode) })
}

/// Makes a directory for backups where there is none.
async fn prepare(tree: &dyn Tree, parent: &[u8], found: Found) -> Result<(), Fault> {
    if found.there == There::Something {
        return Ok(());
    }
    if found.there == There::Link {
        match tree.remove(parent).await {
            // Somebody else may have been faster.
            Err(fault) if fault.cause != Cause::NotFound => {
                let there = tree.stat(parent, false).await?;
                return if there.is_some_and(|meta| meta.is_dir()) { Ok(()) } else { Err(fault) };
            }
            _ => {}
        }
    }
    made(tree.mkdir(parent, 0o700).await, tree, parent).await?;
    let change = crate::tree::Change { mode: Some(found.mode), ..Default::default() };
    tree.set(parent, change, false).await
}

/// Whether it does not matter in which order the things at these paths are moved to the backups: none of them can be a backup, or
/// lie where one goes (each goes under its own path), and nothing is told of them. Of backups beside what they are made of that depends
/// on what else is in the directory ([`super::is_one`]).
pub async fn in_any_order(run: &Run, mut paths: impl Iterator<Item = Vec<u8>>) -> bool {
    if run.job.options.info.backup > 0 || run.dest.as_local().is_some() {
        return false;
    }
    match lies(run).await {
        Ok(Lies::Beside | Lies::Apart) => true,
        Ok(Lies::Within(dir)) => !paths.any(|path| is_within(&path, dir) || is_within(dir, &path)),
        Ok(Lies::Above(_) | Lies::Elsewhere) | Err(_) => false,
    }
}

/// Where backups lie.
///
/// # Errors
/// The way there was lost for good when it was asked. It is not asked again: meanwhile names may have been passed that a backup must not
/// take.
pub async fn lies(run: &Run) -> Result<&Lies, &Fault> {
    let Some(dir) = run.job.options.backup.as_ref().and_then(|backup| backup.dir.as_ref()) else {
        return Ok(&Lies::Beside);
    };
    if run.job.options.keep_dirlinks {
        // A directory behind a link may lie anywhere.
        return Ok(&Lies::Elsewhere);
    }
    let lies = run.backups.lies.get_or_init(|| async {
        let (dest, place) = tokio::join!(run.dest.absolute(), leads_to(run, dir));
        match (dest, place) {
            (Ok(dest), Ok(Some(place))) => Ok(seen_from(&dest, &place)),
            (Err(fault), _) | (_, Err(fault)) if lost(&fault) => Err(fault),
            // What is wrong with it is told when it is needed.
            _ => Ok(Lies::Elsewhere),
        }
    });
    lies.await.as_ref()
}

fn lost(fault: &Fault) -> bool {
    matches!(fault.cause, Cause::Lost | Cause::Timeout | Cause::Cancelled)
}

/// Where a directory lies, seen from another, both given by their whole paths.
fn seen_from(dest: &[u8], place: &[u8]) -> Lies {
    let within = |path: &[u8], dir: &[u8]| dir == b"/" || is_within(path, dir);
    let rest = |path: &[u8], dir: &[u8]| path[dir.len()..].strip_prefix(b"/").unwrap_or(&path[dir.len()..]).to_vec();
    match (within(dest, place), within(place, dest)) {
        (true, _) => Lies::Above(rest(dest, place)),
        (false, true) => Lies::Within(rest(place, dest)),
        (false, false) => Lies::Apart,
    }
}

/// Where a directory is, or will be made, without links on the way to it. None if that is not to be foreseen.
async fn leads_to(run: &Run, dir: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut there = dir;
    loop {
        let tree = run.beside(there).await?;
        match tree.stat(b"", true).await {
            Ok(Some(_)) => {
                let missing = dir[there.len()..].split(|byte| *byte == b'/');
                let missing = missing.filter(|name| !name.is_empty() && *name != b".");
                return Ok(Some(missing.fold(tree.absolute().await?, |path, name| crate::tree::join(&path, name))));
            }
            Err(fault) if fault.cause != Cause::NotFound => return Err(fault),
            _ => {}
        }
        let (above, name) = split(there);
        if there.is_empty() || name == b".." {
            return Ok(None);
        }
        there = if above.is_empty() && there.starts_with(b"/") { b"/" } else { above };
    }
}

/// Whether a tree is the destination's, however it was named.
async fn is_dest(run: &Run, tree: &dyn Tree) -> Result<bool, Fault> {
    if tree.as_local().is_none() {
        return Ok(tree.absolute().await? == run.dest.absolute().await?);
    }
    let (there, dest) = (tree.stat(b"", true).await?, run.dest.stat(b"", true).await?);
    Ok(there.zip(dest).is_some_and(|(there, dest)| (there.dev, there.ino) == (dest.dev, dest.ino)))
}

/// Makes a directory that is relative to `from`, or absolute, with those above it.
async fn make(run: &Run, from: &dyn Tree, dir: &[u8]) -> Result<(), Fault> {
    let mut so_far = if dir.starts_with(b"/") { b"/".to_vec() } else { Vec::new() };
    for name in dir.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        let parent = from.beside(&so_far).await?;
        so_far = if so_far == b"/" { [b"/", name].concat() } else { below(&so_far, name) };
        if name == b".." || parent.stat(name, true).await?.is_some_and(|meta| meta.is_dir()) {
            continue;
        }
        made(parent.mkdir(name, 0o777).await, parent.as_ref(), name).await?;
        run.ledger.event(crate::ledger::Event::DirectoryMade { path: &so_far });
    }
    Ok(())
}

/// Somebody else may have been faster.
async fn made(made: Result<(), Fault>, tree: &dyn Tree, path: &[u8]) -> Result<(), Fault> {
    match made {
        Err(fault) if !tree.stat(path, true).await?.is_some_and(|meta| meta.is_dir()) => Err(fault),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_for_backups_lies_apart_or_in_the_destination_or_above_it() {
        let within = |path: &str| Lies::Within(path.as_bytes().to_vec());
        let above = |path: &str| Lies::Above(path.as_bytes().to_vec());
        for (dest, place, lies) in [
            ("/data/to", "/data/kept", Lies::Apart),
            ("/data/to", "/data/to-kept", Lies::Apart),
            ("/data/to", "/data/to/.old/kept", within(".old/kept")),
            ("/data/to", "/data/to", above("")),
            ("/data/to", "/data", above("to")),
            ("/", "/kept", within("kept")),
            ("/data/to", "/", above("data/to")),
        ] {
            assert_eq!(seen_from(dest.as_bytes(), place.as_bytes()), lies, "{dest} {place}");
        }
    }

    #[test]
    fn a_directory_for_backups_that_was_deleted_is_looked_for_again() {
        let place = Place::default();
        place.lies.set(Ok(Lies::Within(b".old".to_vec()))).expect("it is not known yet");
        let known = |place: &Place, parent: &[u8]| place.ready.lock().expect("no panic").contains_key(parent);
        for (gone, stays) in [("a", true), (".old/b", true), (".old/a/c", true), (".old/a", false), (".old", false)] {
            place.ready(b"a");
            place.ready(b"b");
            place.gone(gone.as_bytes());
            assert_eq!(known(&place, b"a"), stays, "{gone}");
        }
    }
}
