//! `--partial-dir`: what came of a file that was not finished is kept in a directory of its own, and the next run goes on from
//! there. What is taken over is proven like everything else: the whole file's hash decides.

use std::sync::Arc;

use crate::entry::Meta;
use crate::fault::{Cause, Fault};
use crate::tree::{Tree, join, split};

use super::finish;
use super::run::Run;

/// Where the unfinished file is kept: in the partial directory, or under its own name (`--partial`). It starts with a slash
/// where that directory is outside of the tree.
pub fn path(run: &Run, dest_path: &[u8]) -> Vec<u8> {
    let Some(dir) = &run.job.options.partial_dir else { return dest_path.to_vec() };
    let (parent, name) = split(dest_path);
    let dir = if parent.is_empty() || dir.starts_with(b"/") { dir.clone() } else { join(parent, dir) };
    join(&dir, name)
}

/// The tree that such a path is in, and the path there.
async fn place<'a>(run: &Run, path: &'a [u8]) -> Result<(Arc<dyn Tree>, &'a [u8]), Fault> {
    if !path.starts_with(b"/") {
        return Ok((run.dest.clone(), path));
    }
    let (dir, name) = split(path);
    Ok((run.dest.beside(if dir.is_empty() { b"/" } else { dir }).await?, name))
}

/// Keeps `temp` as the unfinished file `path`.
pub async fn keep(run: &Run, temp: &[u8], path: &[u8]) -> Result<(), Fault> {
    if run.job.options.partial_dir.is_some() {
        let (tree, dir) = place(run, split(path).0).await?;
        if let Err(fault) = tree.mkdir(dir, 0o700).await
            && !tree.stat(dir, false).await?.is_some_and(|meta| meta.is_dir())
        {
            return Err(fault);
        }
    }
    if !path.starts_with(b"/") {
        return super::stage::commit(run, temp, path, finish::PARTIAL).await;
    }
    let ((tree, name), stage) = (place(run, path).await?, super::stage::tree(run).await?);
    stage.set(temp, finish::PARTIAL, false).await?;
    let moved = stage.move_to(temp, tree.as_ref(), name).await;
    if moved.is_err() {
        // Most likely another file system.
        stage.remove(temp).await?;
    }
    moved
}

/// Takes what an earlier run left of a file as `temp`. Returns how much of it may be right.
pub async fn resume(run: &Run, dest_path: &[u8], meta: &Meta, temp: &[u8]) -> Result<u64, Fault> {
    if run.job.options.partial_dir.is_none() {
        return Ok(0);
    }
    let path = path(run, dest_path);
    let (tree, name) = match place(run, &path).await {
        Err(fault) if fault.cause == Cause::NotFound => return Ok(0),
        place => place?,
    };
    let Some(found) = tree.stat(name, false).await?.filter(Meta::is_file) else { return Ok(0) };
    if found.size == 0 || found.size > meta.size {
        discard(run, &path).await?;
        return Ok(0);
    }
    match tree.move_to(name, super::stage::tree(run).await?.as_ref(), temp).await {
        // It stays where it is, on another file system.
        Err(fault) if fault.cause == Cause::Io => return Ok(0),
        moved => moved?,
    }
    discard(run, &path).await?;
    Ok(found.size)
}

/// A file is whole: what an earlier try of this run kept of it goes.
pub async fn forget(run: &Run, dest_path: &[u8]) -> Result<(), Fault> {
    if run.job.options.partial_dir.is_none() {
        return Ok(());
    }
    let path = path(run, dest_path);
    let (tree, name) = place(run, &path).await?;
    match tree.stat(name, false).await? {
        Some(_) => discard(run, &path).await,
        None => Ok(()),
    }
}

/// Removes an unfinished file, and its directory if that is empty then; not one that was named by all of its path (rsync).
async fn discard(run: &Run, path: &[u8]) -> Result<(), Fault> {
    let (tree, name) = place(run, path).await?;
    match tree.remove(name).await {
        Err(fault) if fault.cause != Cause::NotFound => return Err(fault),
        _ => {}
    }
    if !path.starts_with(b"/")
        && let Err(fault) = tree.rmdir(split(path).0).await
    {
        tracing::debug!(%fault, "the partial directory stays");
    }
    Ok(())
}
