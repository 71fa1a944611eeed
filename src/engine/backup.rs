//! `--backup`: what is replaced or deleted at the destination is kept under another name, or in another directory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::fault::{Cause, Fault, Stage};
use crate::plan::names::NAME_MAX;
use crate::tree::{Tree, split};

use super::finish::{below, is_within};
use super::run::Run;

/// The directory of `--backup-dir`, found or made when the first backup is, and the directories in it: each is looked for, or made,
/// once.
#[derive(Default)]
pub struct Place {
    tree: OnceCell<Arc<dyn Tree>>,
    ready: Mutex<HashMap<Vec<u8>, Arc<OnceCell<()>>>>,
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
    run.dest.move_to(path, target.tree.as_ref(), &target.path).await?;
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

/// Keeps a copy of a file that is going to be written in place.
pub async fn copy(run: &Run, path: &[u8]) -> Result<(), Fault> {
    if run.job.options.backup.is_none() {
        return Ok(());
    }
    let Some(meta) = run.dest.stat(path, false).await?.filter(|meta| meta.is_file()) else { return Ok(()) };
    let Some(target) = target(run, path).await? else { return Ok(()) };
    clear(&target).await?;
    super::duplicate::duplicate(run, run.dest.as_ref(), path, &meta, target.tree.as_ref(), &target.path).await?;
    let change =
        crate::tree::Change { mode: Some(meta.mode), mtime: Some((meta.mtime, meta.mtime_nsec)), ..Default::default() };
    target.tree.set(&target.path, change, false).await?;
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
    let tree = run.backups.tree.get_or_try_init(|| async {
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
    // The directories on the way get the modes of those that they stand for.
    let mut at = 0;
    while let Some(slash) = path[at..].iter().position(|byte| *byte == b'/') {
        at += slash;
        let parent = &path[..at];
        let ready = {
            let mut known = run.backups.ready.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(parent.to_vec()).or_default().clone()
        };
        ready.get_or_try_init(|| prepare(run, tree.as_ref(), parent)).await?;
        at += 1;
    }
    Ok(Some(Target { tree, shown: crate::tree::join(dir, &name), path: name }))
}

async fn prepare(run: &Run, tree: &dyn Tree, parent: &[u8]) -> Result<(), Fault> {
    if tree.stat(parent, false).await?.is_none() {
        let mode = run.dest.stat(parent, false).await?.map_or(0o755, |meta| meta.mode);
        made(tree.mkdir(parent, 0o700).await, tree, parent).await?;
        let change = crate::tree::Change { mode: Some(mode), ..Default::default() };
        tree.set(parent, change, false).await?;
    }
    Ok(())
}

/// Whether it does not matter in which order things are moved to the backups: nothing that is deleted can be a backup, or lie
/// where one goes, and nothing is told of them.
pub async fn in_any_order(run: &Run) -> bool {
    let Some(dir) = run.job.options.backup.as_ref().and_then(|backup| backup.dir.as_ref()) else { return false };
    // Near by it costs nothing to keep the order.
    if run.job.options.info.backup >= 1 || run.dest.as_local().is_some() {
        return false;
    }
    let apart = async {
        let dest = run.dest.absolute().await?;
        let found = async {
            let tree = run.beside(dir).await?;
            let there = tree.stat(b"", true).await?.is_some();
            Ok::<Option<Vec<u8>>, Fault>(if there { Some(tree.absolute().await?) } else { None })
        };
        let place = match found.await {
            Err(fault) if fault.cause == Cause::NotFound => None,
            found => found?,
        };
        Ok::<_, Fault>(match place {
            Some(place) => !is_within(&place, &dest) && !is_within(&dest, &place),
            // It is going to be made: nothing in it was listed.
            None => dir.starts_with(b"../") || dir.starts_with(b"/") && !is_within(&dest, dir),
        })
    };
    // What is wrong with it is told when it is needed.
    apart.await.unwrap_or(false)
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
