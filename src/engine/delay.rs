//! `--delay-updates`: proven files wait in a directory of their own beside their names, and are all renamed at the end. What
//! is kept meanwhile is one path for each directory, not for each file; with `--remove-source-files` each file's source too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use futures::stream::{self, StreamExt};

use crate::entry::Meta;
use crate::fault::{Cause, Fault};
use crate::tree::{join, split};

use super::brought::Origin;
use super::run::Run;

/// rsync's own name for it.
pub const DIR: &[u8] = b".~tmp~";

/// The directories that have files waiting.
#[derive(Default)]
pub struct Delayed(Mutex<HashMap<Vec<u8>, Arc<OnceCell<()>>>>, Mutex<HashMap<Vec<u8>, Source>>);

/// `--remove-source-files`: what goes once the file that it was delivered to is in its place.
pub struct Source {
    pub origin: Origin,
    pub meta: Meta,
    pub follow: bool,
    pub shown: Vec<u8>,
}

impl Delayed {
    /// The source of what waits for its name `dest_path` is to be removed then.
    pub fn remove_later(&self, dest_path: &[u8], source: Source) {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).insert(dest_path.to_vec(), source);
    }
}

/// Makes `path` another name of what waits for the name `first`. False if that does not wait: it is in its place.
pub async fn link(run: &Run, first: &[u8], path: &[u8]) -> Result<bool, Fault> {
    let waiting = {
        let (parent, name) = split(first);
        join(&if parent.is_empty() { DIR.to_vec() } else { join(parent, DIR) }, name)
    };
    if run.dest.stat(&waiting, false).await?.is_none() {
        return Ok(false);
    }
    let to = place(run, path).await?;
    run.dest.hard_link(&waiting, run.dest.as_ref(), &to).await.map(|()| true)
}

/// Where a file waits. The directory is made, or emptied of what an earlier run left: only what this one proved goes on.
pub async fn place(run: &Run, dest_path: &[u8]) -> Result<Vec<u8>, Fault> {
    let (parent, name) = split(dest_path);
    let dir = if parent.is_empty() { DIR.to_vec() } else { join(parent, DIR) };
    let ready = {
        let mut known = run.delayed.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(parent.to_vec()).or_default().clone()
    };
    ready.get_or_try_init(|| prepare(run, &dir)).await?;
    Ok(join(&dir, name))
}

async fn prepare(run: &Run, dir: &[u8]) -> Result<(), Fault> {
    let Err(fault) = run.dest.mkdir(dir, 0o700).await else { return Ok(()) };
    if !run.dest.stat(dir, false).await?.is_some_and(|meta| meta.is_dir()) {
        return Err(fault);
    }
    for entry in run.dest.list(dir, false).await?.entries {
        run.dest.remove(&join(dir, &entry.name)).await?;
    }
    Ok(())
}

/// Says of a run that is stopped what is not in its place, though it was counted as delivered.
pub fn tell_waiting(run: &Run) {
    let many = run.delayed.0.lock().unwrap_or_else(PoisonError::into_inner).len();
    if many > 0 {
        let dir = String::from_utf8_lossy(DIR);
        run.printer.error(&format!("--delay-updates: in {many} directories, files that had arrived stay in {dir}"));
    }
}

/// Directories whose files are renamed at once: at a distance each takes a round trip for its listing, for all its files, and for
/// its end.
const DIRECTORIES: usize = 64;

/// Renames everything that waits. A failure is told, and what it concerns stays where it is.
pub async fn release(run: &Run) {
    let directories: Vec<Vec<u8>> = {
        let known = run.delayed.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.keys().cloned().collect()
    };
    stream::iter(directories).for_each_concurrent(DIRECTORIES, |parent| release_one(run, parent)).await;
}

async fn release_one(run: &Run, parent: Vec<u8>) {
    let dir = if parent.is_empty() { DIR.to_vec() } else { join(&parent, DIR) };
    let released = async {
        let entries = run.dest.list(&dir, false).await?.entries;
        let moves = stream::iter(entries.iter().map(|entry| move_one(run, &dir, &parent, &entry.name)));
        // All of them, whatever becomes of one; each that stays is told.
        let moved: Vec<Result<(), Fault>> = moves.buffer_unordered(super::AT_ONCE).collect().await;
        let mut failed = moved.into_iter().filter_map(Result::err);
        if let Some(last) = failed.next() {
            failed.filter(|_| !run.is_over()).for_each(|fault| run.trouble(&fault, Some(&dir)));
            return Err(last);
        }
        match run.dest.rmdir(&dir).await {
            Err(fault) if fault.cause != Cause::NotFound => Err(fault),
            _ => Ok(()),
        }
    };
    if let Err(fault) = released.await
        && !run.is_over()
    {
        run.trouble(&fault, Some(&dir));
    }
}

async fn move_one(run: &Run, dir: &[u8], parent: &[u8], name: &[u8]) -> Result<(), Fault> {
    let path = if parent.is_empty() { name.to_vec() } else { join(parent, name) };
    super::backup::keep(run, &path).await?;
    run.dest.move_to(&join(dir, name), run.dest.as_ref(), &path).await?;
    let source = run.delayed.1.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
    if let Some(Source { origin, meta, follow, shown }) = source {
        super::removal::remove_file(run, &origin, &meta, follow, &path, &shown).await;
    }
    Ok(())
}
