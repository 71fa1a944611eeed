//! `--delay-updates`: proven files wait in a directory of their own beside their names, and are all renamed at the end. What
//! is kept meanwhile is one path for each directory, not for each file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::fault::{Cause, Fault};
use crate::tree::{join, split};

use super::run::Run;

/// rsync's own name for it.
pub const DIR: &[u8] = b".~tmp~";

/// The directories that have files waiting.
#[derive(Default)]
pub struct Delayed(Mutex<HashMap<Vec<u8>, Arc<OnceCell<()>>>>);

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

/// Renames everything that waits. A failure is told, and what it concerns stays where it is.
pub async fn release(run: &Run) {
    let directories: Vec<Vec<u8>> = {
        let known = run.delayed.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.keys().cloned().collect()
    };
    for parent in directories {
        let dir = if parent.is_empty() { DIR.to_vec() } else { join(&parent, DIR) };
        let released = async {
            for entry in run.dest.list(&dir, false).await?.entries {
                let path = if parent.is_empty() { entry.name.clone() } else { join(&parent, &entry.name) };
                super::backup::keep(run, &path).await?;
                run.dest.move_to(&join(&dir, &entry.name), run.dest.as_ref(), &path).await?;
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
}
