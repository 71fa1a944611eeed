//! `--backup`: what is replaced or deleted at the destination is kept under another name, or in another directory.

mod claims;
mod place;

use crate::fault::{Cause, Fault};

use super::run::Run;

pub use place::{Place, in_any_order};
use place::{Target, target};

/// Finds out where backups lie, for whoever will ask.
pub async fn foresee(run: &Run) {
    let _ = place::lies(run).await;
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

/// Whether something has the name of a backup that is made beside it.
pub fn is_one(run: &Run, name: &[u8]) -> bool {
    let beside = run.job.options.backup.as_ref().filter(|backup| backup.dir.is_none());
    beside.is_some_and(|backup| name.ends_with(&backup.suffix))
}
