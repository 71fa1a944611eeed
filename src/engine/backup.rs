//! `--backup`: what is replaced or deleted at the destination is kept under another name, or in another directory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::entry::{Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::plan::names::NAME_MAX;
use crate::tree::{Tree, split};

use super::finish::{below, is_within};
use super::run::Run;

/// What a run knows of its backups.
#[derive(Default)]
pub struct Place {
    /// The directory of `--backup-dir`, found or made when the first backup is.
    dir: OnceCell<Arc<dyn Tree>>,
    /// Whether it is known to lie apart from the destination.
    apart: OnceCell<bool>,
    /// The directories in it that were found or made. Only where it lies apart: elsewhere they may be deleted meanwhile.
    ready: Mutex<HashMap<Vec<u8>, Arc<Ready>>>,
    /// Files under way of which the old content is kept already. What is under their names now may be the new one, or half of it:
    /// a later try must not put that in the backup's place.
    kept: Mutex<HashSet<Vec<u8>>>,
}

impl Place {
    fn kept(&self) -> MutexGuard<'_, HashSet<Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more is tried with the file at `path`.
    pub fn settled(&self, path: &[u8]) {
        self.kept().remove(path);
    }

    /// What is known of a directory for backups.
    fn ready(&self, parent: &[u8]) -> Arc<Ready> {
        let mut known = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(parent.to_vec()).or_default().clone()
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

/// Where the backup of a path goes.
struct Target {
    tree: Arc<dyn Tree>,
    path: Vec<u8>,
    /// As a person finds it.
    shown: Vec<u8>,
}

/// Tells where backups go, if there is a directory for them. One that cannot be looked at is told of when it is needed.
pub async fn announce(run: &Run) {
    let Some(dir) = run.job.options.backup.as_ref().and_then(|backup| backup.dir.as_ref()) else { return };
    if run.job.options.info.backup >= 1 {
        let there = async { run.beside(dir).await?.stat(b"", true).await };
        run.printer.backup_dir(dir, !matches!(there.await, Ok(Some(_))));
    }
}

/// Keeps what is at `path`, which stays there too where the end can make hard links: so the name never shows nothing.
/// Nothing to do without `--backup`.
pub async fn keep(run: &Run, path: &[u8]) -> Result<(), Fault> {
    if run.job.options.backup.is_none() || run.dest.stat(path, false).await?.is_none() {
        return Ok(());
    }
    let Some(target) = target(run, path).await? else { return Ok(()) };
    clear(&target).await?;
    match run.dest.hard_link(path, target.tree.as_ref(), &target.path).await {
        Err(fault) if matches!(fault.cause, Cause::Lost | Cause::Cancelled) => return Err(fault),
        Err(_) => run.dest.move_to(path, target.tree.as_ref(), &target.path).await?,
        Ok(()) => {}
    }
    run.printer.backed_up(path, &target.shown);
    Ok(())
}

/// As [`keep`], of a file that may be tried several times: only what was there before the first try is kept.
pub async fn keep_first(run: &Run, path: &[u8]) -> Result<(), Fault> {
    if run.job.options.backup.is_none() || run.backups.kept().contains(path) {
        return Ok(());
    }
    keep(run, path).await?;
    run.backups.kept().insert(path.to_vec());
    Ok(())
}

/// Whose place something is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Of what is deleted, or gives way to a file or a directory: a name that ends as backups do is one, and is not kept again.
    Deleted,
    /// Of what gives way to a link or a node: rsync keeps it whatever its name.
    Replaced,
}

/// Whether `--backup` keeps what is at `path`.
fn is_kept(run: &Run, path: &[u8], of: Of) -> bool {
    let backup = run.job.options.backup.as_ref();
    backup.is_some_and(|backup| of == Of::Replaced || backup.dir.is_some() || !path.ends_with(&backup.suffix))
}

/// Moves what is at `path` away: it was to be removed. False without `--backup`, and for what is a backup itself.
pub async fn instead_of_removal(run: &Run, path: &[u8], of: Of) -> Result<bool, Fault> {
    if !is_kept(run, path, of) {
        return Ok(false);
    }
    let Some(target) = target(run, path).await? else { return Ok(false) };
    clear(&target).await?;
    match run.dest.move_to(path, target.tree.as_ref(), &target.path).await {
        // It is not gone: where it was to go is.
        Err(fault) if fault.cause == Cause::NotFound && run.dest.stat(path, false).await?.is_some() => {
            return Err(Fault { cause: Cause::Io, ..fault });
        }
        moved => moved?,
    }
    run.printer.backed_up(path, &target.shown);
    Ok(true)
}

/// Tells, in a dry run, where what would be removed would be kept.
pub fn would_keep(run: &Run, path: &[u8], of: Of) {
    let Some(backup) = run.job.options.backup.as_ref().filter(|_| is_kept(run, path, of)) else { return };
    let name = [path, &backup.suffix].concat();
    match &backup.dir {
        Some(dir) => run.printer.backed_up(path, &crate::tree::join(dir, &name)),
        None => run.printer.backed_up(path, &name),
    }
}

/// Keeps a copy of a file that is going to be written in place: of what was there before the first try.
pub async fn copy(run: &Run, path: &[u8]) -> Result<(), Fault> {
    if run.job.options.backup.is_none() || run.backups.kept().contains(path) {
        return Ok(());
    }
    let Some(meta) = run.dest.stat(path, false).await?.filter(|meta| meta.is_file()) else { return Ok(()) };
    let Some(target) = target(run, path).await? else { return Ok(()) };
    clear(&target).await?;
    super::duplicate::duplicate(run, run.dest.as_ref(), path, &meta, target.tree.as_ref(), &target.path).await?;
    let change =
        crate::tree::Change { mode: Some(meta.mode), mtime: Some((meta.mtime, meta.mtime_nsec)), ..Default::default() };
    target.tree.set(&target.path, change, false).await?;
    run.backups.kept().insert(path.to_vec());
    run.printer.backed_up(path, &target.shown);
    Ok(())
}

/// An older backup makes way.
async fn clear(target: &Target) -> Result<(), Fault> {
    match target.tree.remove(&target.path).await {
        Err(fault) if fault.cause == Cause::NotFound => Ok(()),
        done => done,
    }
}

async fn target(run: &Run, path: &[u8]) -> Result<Option<Target>, Fault> {
    let Some(backup) = &run.job.options.backup else { return Ok(None) };
    let name = [path, &backup.suffix].concat();
    if split(&name).1.len() > NAME_MAX {
        let text = format!("\"{}\": the backup's name would be too long", String::from_utf8_lossy(path));
        return Err(Fault::new(run.dest.hop().clone(), Stage::Rename, Cause::Io, text));
    }
    let Some(dir) = &backup.dir else {
        return Ok(Some(Target { tree: run.dest.clone(), shown: name.clone(), path: name }));
    };
    let tree = run.backups.dir.get_or_try_init(|| async {
        make(run, run.dest.beside(b"").await?.as_ref(), dir).await?;
        let tree = run.dest.beside(dir).await?;
        if backup.suffix.is_empty() && is_dest(run, tree.as_ref()).await? {
            // A file would be its own backup, and make way for itself.
            let text = "--backup-dir leads to the destination itself: give another one, or a --suffix";
            return Err(Fault::new(run.dest.hop().clone(), Stage::Rename, Cause::Io, text));
        }
        Ok(tree)
    });
    let tree = tree.await?.clone();
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let parents: Vec<&[u8]> = slashes.map(|(at, _)| &path[..at]).collect();
    if lies_apart(run).await {
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
    Ok(Some(Target { tree, shown: crate::tree::join(dir, &name), path: name }))
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

/// Whether it does not matter in which order things are moved to the backups: nothing that is deleted can be a backup, or lie
/// where one goes (each goes under its own path), and nothing is told of them. Of backups beside what they are made of that depends on
/// what else is in the directory ([`is_one`]).
pub async fn in_any_order(run: &Run) -> bool {
    let beside = run.job.options.backup.as_ref().is_some_and(|backup| backup.dir.is_none());
    run.job.options.info.backup == 0 && (beside && run.dest.as_local().is_none() || lies_apart(run).await)
}

/// Whether something has the name of a backup that is made beside it.
pub fn is_one(run: &Run, name: &[u8]) -> bool {
    let beside = run.job.options.backup.as_ref().filter(|backup| backup.dir.is_none());
    beside.is_some_and(|backup| name.ends_with(&backup.suffix))
}

/// Whether the directory of `--backup-dir` is known to lie neither in the destination nor above it, nor to be going to.
/// Not asked near by: waiting for one answer after the other costs nothing there.
async fn lies_apart(run: &Run) -> bool {
    let dir = run.job.options.backup.as_ref().and_then(|backup| backup.dir.as_ref());
    // A directory behind a link may lie anywhere.
    let Some(dir) = dir.filter(|_| run.dest.as_local().is_none() && !run.job.options.keep_dirlinks) else {
        return false;
    };
    let apart = run.backups.apart.get_or_init(|| async {
        let (dest, place) = tokio::join!(run.dest.absolute(), leads_to(run, dir));
        // What is wrong with it is told when it is needed.
        matches!((dest, place), (Ok(dest), Ok(Some(place))) if are_apart(&dest, &place))
    });
    *apart.await
}

/// Whether neither of two directories, of which the whole paths are given, lies in the other.
fn are_apart(one: &[u8], other: &[u8]) -> bool {
    let within = |path: &[u8], dir: &[u8]| dir == b"/" || is_within(path, dir);
    !within(one, other) && !within(other, one)
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
        if above.is_empty() || name == b".." {
            return Ok(None);
        }
        there = above;
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
    fn backups_lie_apart_where_neither_directory_is_in_the_other() {
        for (dest, place, apart) in [
            ("/data/to", "/data/kept", true),
            ("/data/to", "/data/to-kept", true),
            ("/data/to", "/data/to/kept", false),
            ("/data/to", "/data/to", false),
            ("/data/to", "/data", false),
            ("/", "/kept", false),
            ("/data/to", "/", false),
        ] {
            assert_eq!(are_apart(dest.as_bytes(), place.as_bytes()), apart, "{dest} {place}");
        }
    }
}
