//! `--partial-dir`: what came of a file that was not finished is kept in a directory of its own beside it, and the next run
//! goes on from there. What is taken over is proven like everything else: the whole file's hash decides.

use crate::entry::Meta;
use crate::fault::{Cause, Fault};
use crate::tree::{join, split};

use super::finish;
use super::run::Run;

/// Where the unfinished file is kept: in the partial directory, or under its own name (`--partial`).
pub fn path(run: &Run, dest_path: &[u8]) -> Vec<u8> {
    let Some(dir) = &run.job.options.partial_dir else { return dest_path.to_vec() };
    let (parent, name) = split(dest_path);
    let dir = if parent.is_empty() { dir.clone() } else { join(parent, dir) };
    join(&dir, name)
}

/// Keeps `temp` as the unfinished file `path`.
pub async fn keep(run: &Run, temp: &[u8], path: &[u8]) -> Result<(), Fault> {
    if run.job.options.partial_dir.is_some() {
        let dir = split(path).0;
        if let Err(fault) = run.dest.mkdir(dir, 0o700).await
            && !run.dest.stat(dir, false).await?.is_some_and(|meta| meta.is_dir())
        {
            return Err(fault);
        }
    }
    super::stage::commit(run, temp, path, finish::PARTIAL).await
}

/// Takes what an earlier run left of a file as `temp`. Returns how much of it may be right.
pub async fn resume(run: &Run, dest_path: &[u8], meta: &Meta, temp: &[u8]) -> Result<u64, Fault> {
    if run.job.options.partial_dir.is_none() {
        return Ok(0);
    }
    let path = path(run, dest_path);
    let Some(found) = run.dest.stat(&path, false).await?.filter(Meta::is_file) else { return Ok(0) };
    if found.size == 0 || found.size > meta.size {
        discard(run, &path).await?;
        return Ok(0);
    }
    run.dest.move_to(&path, super::stage::tree(run).await?.as_ref(), temp).await?;
    discard(run, &path).await?;
    Ok(found.size)
}

/// A file is whole: what an earlier try of this run kept of it goes.
pub async fn forget(run: &Run, dest_path: &[u8]) -> Result<(), Fault> {
    if run.job.options.partial_dir.is_none() {
        return Ok(());
    }
    let path = path(run, dest_path);
    match run.dest.stat(&path, false).await? {
        Some(_) => discard(run, &path).await,
        None => Ok(()),
    }
}

/// Removes an unfinished file, and its directory if that is empty then.
async fn discard(run: &Run, path: &[u8]) -> Result<(), Fault> {
    match run.dest.remove(path).await {
        Err(fault) if fault.cause != Cause::NotFound => return Err(fault),
        _ => {}
    }
    if let Err(fault) = run.dest.rmdir(split(path).0).await {
        tracing::debug!(%fault, "the partial directory stays");
    }
    Ok(())
}
