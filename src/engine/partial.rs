//! `--partial-dir`: what came of a file that was not finished is kept in a directory of its own, and the next run goes on from
//! there. What is taken over is proven like everything else: the whole file's hash decides.

use std::sync::Arc;

use crate::entry::Meta;
use crate::fault::{Cause, Fault};
use crate::plan::names::collapse;
use crate::tree::{Tree, join, split};

use super::finish;
use super::run::Run;

/// Where the unfinished file is kept: in the partial directory, or under its own name (`--partial`). It starts with a slash
/// or `..` where that directory is outside of the tree.
pub fn path(run: &Run, dest_path: &[u8]) -> Vec<u8> {
    match &run.job.options.partial_dir {
        Some(dir) => beside(dir, dest_path),
        None => dest_path.to_vec(),
    }
}

/// The name that a file has in a partial directory.
fn beside(dir: &[u8], dest_path: &[u8]) -> Vec<u8> {
    let (parent, name) = split(dest_path);
    let dir = if parent.is_empty() || dir.starts_with(b"/") { dir.to_vec() } else { collapse(&join(parent, dir)) };
    if dir.is_empty() { name.to_vec() } else { join(&dir, name) }
}

fn is_outside(path: &[u8]) -> bool {
    path.starts_with(b"/") || path.starts_with(b"../")
}

/// With `..` in it, the partial directory may be one that other files belong in, which no rule protects: only what bears the
/// time of an unfinished file is taken for one, or replaced by one.
fn may_be_other(run: &Run, found: &Meta) -> bool {
    is_shared(run) && (!found.is_file() || found.mtime != 0)
}

fn is_shared(run: &Run) -> bool {
    run.job.options.partial_dir.as_ref().is_some_and(|dir| dir.starts_with(b".."))
}

/// The tree that such a path is in, and the path there.
async fn place<'a>(run: &Run, path: &'a [u8]) -> Result<(Arc<dyn Tree>, &'a [u8]), Fault> {
    if !is_outside(path) {
        return Ok((run.dest.clone(), path));
    }
    let (dir, name) = split(path);
    Ok((run.dest.beside(if dir.is_empty() { b"/" } else { dir }).await?, name))
}

/// Keeps `temp` as the unfinished file `path`.
pub async fn keep(run: &Run, temp: &[u8], path: &[u8]) -> Result<(), Fault> {
    let dir = split(path).0;
    if run.job.options.partial_dir.is_some() && !dir.is_empty() && split(dir).1 != b".." {
        let (tree, dir) = match is_outside(path) {
            true => {
                let (above, name) = split(dir);
                let above = if above.is_empty() && dir.starts_with(b"/") { b"/" } else { above };
                (run.dest.beside(above).await?, name)
            }
            false => (run.dest.clone(), dir),
        };
        if let Err(fault) = tree.mkdir(dir, 0o700).await
            && !tree.stat(dir, false).await?.is_some_and(|meta| meta.is_dir())
        {
            return Err(fault);
        }
    }
    let (tree, name) = place(run, path).await?;
    if tree.stat(name, false).await?.is_some_and(|found| may_be_other(run, &found)) {
        return super::stage::tree(run).await?.remove(temp).await;
    }
    if run.job.options.partial_dir.is_none()
        && let Err(fault) = super::backup::keep_first(run, path).await
    {
        // What is whole does not go for what is not.
        tracing::debug!(%fault, "an unfinished file is not kept");
        return super::stage::tree(run).await?.remove(temp).await;
    }
    if !is_outside(path) {
        return super::stage::commit(run, temp, path, finish::PARTIAL).await;
    }
    let stage = super::stage::tree(run).await?;
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
    let found = tree.stat(name, false).await?.filter(|found| found.is_file() && !may_be_other(run, found));
    let Some(found) = found else { return Ok(0) };
    if found.size == 0 || found.size > meta.size {
        // One that lies where other files do may be another's, and only looks unfinished.
        if !is_shared(run) {
            discard(run, &path).await?;
        }
        return Ok(0);
    }
    match tree.move_to(name, super::stage::tree(run).await?.as_ref(), temp).await {
        // It stays where it is, on another file system; or it was of another file of the same name, which has just taken it.
        Err(fault) if matches!(fault.cause, Cause::Io | Cause::NotFound) => return Ok(0),
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
        Some(found) if !may_be_other(run, &found) => discard(run, &path).await,
        _ => Ok(()),
    }
}

/// Removes an unfinished file, and its directory if that is empty then; not one that was named by all of its path (rsync).
async fn discard(run: &Run, path: &[u8]) -> Result<(), Fault> {
    let (tree, name) = place(run, path).await?;
    match tree.remove(name).await {
        Err(fault) if fault.cause != Cause::NotFound => return Err(fault),
        _ => {}
    }
    let dir = split(path).0;
    if path.starts_with(b"/") || dir.is_empty() || split(dir).1 == b".." {
        return Ok(());
    }
    let (tree, dir) = place(run, dir).await?;
    if let Err(fault) = tree.rmdir(dir).await {
        tracing::debug!(%fault, "the partial directory stays");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_file_lies_where_the_directory_leads_from_it() {
        let of = |dir: &str, path: &str| {
            String::from_utf8_lossy(&beside(&collapse(dir.as_bytes()), path.as_bytes())).into_owned()
        };
        assert_eq!([of(".parts", "f"), of(".parts", "a/f")], [".parts/f", "a/.parts/f"]);
        assert_eq!([of("/x", "f"), of("/x", "a/f")], ["/x/f", "/x/f"]);
        assert_eq!([of("../x", "f"), of("../x", "a/f"), of("../x", "a/b/f")], ["../x/f", "x/f", "a/x/f"]);
        assert_eq!([of("..", "f"), of("..", "a/f"), of("a/../b", "f")], ["../f", "f", "b/f"]);
        assert!(is_outside(b"../x/f") && is_outside(b"/x/f") && !is_outside(b"x/f") && !is_outside(b"..x/f"));
    }
}
