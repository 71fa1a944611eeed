//! `%C`: a file's checksum as rsync makes it, for its printed line. Made while the data is read, and by reading it where
//! nothing is sent; only where a format asks for it.

use std::sync::{Mutex, PoisonError};

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::tree::Tree;
use crate::verify::sums::Summing;

use super::deliver::FileItem;
use super::run::Run;

/// What was made of a file while it was sent.
#[derive(Default)]
pub struct Slot(Mutex<Option<Vec<u8>>>);

impl Slot {
    fn set(&self, sum: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sum);
    }

    fn get(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Begins one, for a file that is read in pieces.
pub fn begin(run: &Run) -> Option<Summing> {
    run.job.options.sums.then(|| Summing::new(run.job.options.sum()))
}

/// Of all that was read of a file.
pub fn of_all(run: &Run, item: &FileItem, data: &[u8]) {
    if let Some(mut sum) = begin(run) {
        sum.update(data);
        done(item, Some(sum));
    }
}

pub fn done(item: &FileItem, sum: Option<Summing>) {
    if let Some(sum) = sum {
        item.sum.set(sum.finish());
    }
}

/// What the line of a file shows that was sent: it was made meanwhile, as all of a file is read that is sent.
pub fn of_sent(run: &Run, item: &FileItem) -> Option<Vec<u8>> {
    if matters(run, true) { item.sum.get() } else { None }
}

/// What the line of a file shows before anything is done to it: it is read for that.
pub async fn of(run: &Run, item: &FileItem, transfers: bool) -> Result<Option<Vec<u8>>, Fault> {
    match matters(run, transfers) {
        true => read(run, item.source.as_ref(), &item.source_path, &item.meta, item.follow).await.map(Some),
        false => Ok(None),
    }
}

/// Whether a file's line needs one: in a dry run rsync knows none of what it would send.
pub fn matters(run: &Run, transfers: bool) -> bool {
    let options = &run.job.options;
    options.sums && (options.checksum || transfers && !options.dry_run)
}

/// Reads a source's file for it.
pub async fn read(run: &Run, source: &dyn Tree, path: &[u8], meta: &Meta, follow: bool) -> Result<Vec<u8>, Fault> {
    let mut sum = Summing::new(run.job.options.sum());
    let _held = run.budget.bytes(run.chunk()).await;
    let file = source.open_read(path, meta.size, follow).await?;
    let mut at = 0;
    while at < meta.size {
        let len = run.chunk().min(usize::try_from(meta.size - at).unwrap_or(usize::MAX));
        let piece = file.read_at(at, len).await?.await?;
        if piece.is_empty() {
            let text = format!("\"{}\" ended early", String::from_utf8_lossy(path));
            return Err(Fault::new(source.hop().clone(), Stage::Read, Cause::Changed, text));
        }
        at += piece.len() as u64;
        sum.update(&piece);
    }
    file.finish().await?;
    Ok(sum.finish())
}
