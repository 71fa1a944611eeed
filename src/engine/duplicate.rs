//! A second copy of a file at the same end: made there, or piece by piece by way of us.

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::tree::Tree;

use super::run::Run;

/// Copies the file at `from`, described by `meta`, to `to`, which must not exist. Attributes are the caller's to set.
pub async fn duplicate(
    run: &Run,
    tree: &dyn Tree,
    from: &[u8],
    meta: &Meta,
    other: &dyn Tree,
    to: &[u8],
) -> Result<(), Fault> {
    if tree.copy_to(from, meta.size, other, to).await? {
        return Ok(());
    }
    // What may have come of it.
    match other.remove(to).await {
        Err(fault) if fault.cause != Cause::NotFound => return Err(fault),
        _ => {}
    }
    let source = tree.open_read(from, meta.size, false).await?;
    let sink = other.open_write(to, meta.size, 0o600, true).await?;
    let mut at = 0;
    while at < meta.size {
        let len = run.chunk().min((meta.size - at) as usize);
        let held = run.budget.bytes(len).await;
        let data = source.read_at(at, len).await?.await?;
        if data.is_empty() {
            let text = format!("\"{}\" ended early", String::from_utf8_lossy(from));
            return Err(Fault::new(tree.hop().clone(), Stage::Read, Cause::Changed, text));
        }
        let len = data.len() as u64;
        sink.write_at(at, data, Box::new(held)).await?.await?;
        at += len;
    }
    source.finish().await?;
    sink.finish(meta.size).await.map(|_| ())
}
