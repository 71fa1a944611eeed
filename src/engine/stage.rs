//! Where files are written until they are proven: beside their names, or in `--temp-dir`.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::fault::{Cause, Fault};
use crate::tree::{Change, Tree};

use super::run::Run;

/// The directory of `--temp-dir`, once it was needed.
#[derive(Default)]
pub struct Place(OnceCell<Arc<dyn Tree>>);

/// The tree that temporary files are written to.
pub async fn tree(run: &Run) -> Result<Arc<dyn Tree>, Fault> {
    let Some(dir) = &run.job.options.temp_dir else { return Ok(run.dest.clone()) };
    run.stage.0.get_or_try_init(|| run.dest.beside(dir)).await.cloned()
}

/// Whether the directory of `--temp-dir` is one.
pub async fn is_there(run: &Run) -> Result<bool, Fault> {
    match tree(run).await {
        Ok(tree) => Ok(tree.stat(b"", true).await?.is_some_and(|meta| meta.is_dir())),
        Err(fault) if matches!(fault.cause, Cause::NotFound | Cause::Io) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// A name for a temporary file of `path`.
pub fn name(run: &Run, path: &[u8]) -> Vec<u8> {
    match run.job.options.temp_dir {
        Some(_) => run.temps.staged(path),
        None => run.temps.name(path),
    }
}

/// Gives what lies at `temp` its attributes and its name, at once.
pub async fn commit(run: &Run, temp: &[u8], path: &[u8], change: Change) -> Result<(), Fault> {
    if run.job.options.temp_dir.is_none() {
        return run.dest.commit(temp, path, change).await;
    }
    let stage = tree(run).await?;
    stage.set(temp, change, false).await?;
    stage.move_to(temp, run.dest.as_ref(), path).await.map_err(|mut fault| {
        if !matches!(fault.cause, Cause::Lost | Cause::Cancelled) {
            fault.text = format!("{}: --temp-dir must be on the file system of what it is for", fault.text);
        }
        fault
    })
}
