//! `--remove-source-files`: a source goes once the destination is proven to have the same. What was only sent, or only
//! looked alike, stays. Where links are gone through it goes at the end of the run ([`waiting`]): another name may still lead
//! to it.

mod waiting;

pub use waiting::{Waiting, release};

use crate::entry::{Entry, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::tree::How;

use super::brought::Origin;
use super::delay::Source;
use super::deliver::FileItem;
use super::run::Run;

/// Removes a file whose delivery was verified, unless it has changed since it was listed. `waits`: what was delivered may not
/// be in its place yet.
pub async fn remove(run: &Run, item: &FileItem, waits: bool) {
    let origin = Origin {
        source: item.source.clone(),
        path: item.source_path.clone(),
        filter: std::sync::Arc::default(),
        rank: 0,
    };
    match waits {
        true => remove_delivered(run, &origin, &item.meta, item.follow, &item.dest_path, &item.shown).await,
        false => remove_file(run, &origin, &item.meta, item.follow, &item.dest_path, &item.shown).await,
    }
}

/// As [`remove_file`], of a file that was just delivered; with `--delay-updates` once that is in its place.
pub async fn remove_delivered(run: &Run, origin: &Origin, meta: &Meta, follow: bool, dest_path: &[u8], shown: &[u8]) {
    if !run.job.options.delay_updates {
        return remove_file(run, origin, meta, follow, dest_path, shown).await;
    }
    let source = Source { origin: origin.clone(), meta: meta.clone(), follow, shown: shown.to_vec() };
    run.delayed.remove_later(dest_path, source);
}

/// As [`remove`], of a file that is described by `meta`.
pub async fn remove_file(run: &Run, origin: &Origin, meta: &Meta, follow: bool, dest_path: &[u8], shown: &[u8]) {
    if run.job.options.follows() {
        return run.removals.file(origin, meta, follow, dest_path, shown);
    }
    let removed = async {
        match is_as_listed(run, origin, meta, follow, dest_path, shown).await? {
            true => take_away(origin).await,
            false => Ok(Gone::Before),
        }
    };
    tell(run, removed.await, shown);
}

/// How a source is gone that had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    Now,
    /// It was not there any more.
    Before,
}

/// Whether a file is there. That it is another than it was, or the destination's own, is a failure.
async fn is_as_listed(
    run: &Run,
    origin: &Origin,
    meta: &Meta,
    follow: bool,
    dest_path: &[u8],
    shown: &[u8],
) -> Result<bool, Fault> {
    let Some(now) = origin.source.stat(&origin.path, follow).await? else { return Ok(false) };
    apart(run, origin, &now, dest_path, shown).await?;
    if (now.size, now.mtime, now.mtime_nsec, now.ino) == (meta.size, meta.mtime, meta.mtime_nsec, meta.ino) {
        return Ok(true);
    }
    let text = format!("Skipping sender remove for changed file: {}", String::from_utf8_lossy(shown));
    Err(Fault::new(origin.source.hop().clone(), Stage::Attributes, Cause::Changed, text))
}

async fn take_away(origin: &Origin) -> Result<Gone, Fault> {
    match origin.source.remove(&origin.path).await {
        Err(fault) if fault.cause == Cause::NotFound => Ok(Gone::Before),
        removed => removed.map(|()| Gone::Now),
    }
}

/// As [`remove_file`], of a file that was not sent because the destination has it: only once that is proven.
pub async fn remove_if_same(run: &Run, origin: &Origin, meta: &Meta, follow: bool, dest_path: &[u8], shown: &[u8]) {
    let how = How::Best(run.far_algorithm().await);
    let (here, there) =
        tokio::join!(origin.source.digest(&origin.path, meta.size, how), run.dest.digest(dest_path, meta.size, how));
    match (here, there) {
        (Ok((here, _)), Ok((there, _))) if here == there => {
            remove_file(run, origin, meta, follow, dest_path, shown).await;
        }
        (Ok(_), Ok(_)) => {
            let name = String::from_utf8_lossy(shown);
            let text = format!("\"{name}\" only looks like what is at the destination: the source's is not removed");
            let fault = Fault::new(origin.source.hop().clone(), Stage::Attributes, Cause::Mismatch, text);
            tell(run, Err(fault), shown);
        }
        (Err(fault), _) | (_, Err(fault)) => tell(run, Err(fault), shown),
    }
}

/// Removes a link that the destination has now, too.
pub async fn remove_link(run: &Run, origin: &Origin, entry: &Entry, dest_path: &[u8], shown: &[u8]) {
    if run.job.options.follows() {
        return run.removals.link(origin, entry, dest_path, shown);
    }
    let removed = async {
        match is_same_link(run, origin, entry, dest_path, shown).await? {
            true => take_away(origin).await,
            false => Ok(Gone::Before),
        }
    };
    tell(run, removed.await, shown);
}

/// As [`is_as_listed`], of a link.
async fn is_same_link(
    run: &Run,
    origin: &Origin,
    entry: &Entry,
    dest_path: &[u8],
    shown: &[u8],
) -> Result<bool, Fault> {
    let here = match origin.source.read_link(&origin.path).await {
        Err(fault) if fault.cause == Cause::NotFound => return Ok(false),
        here => here?,
    };
    if here != run.dest.read_link(dest_path).await? || Some(&here) != entry.target.as_ref() {
        let text = "the two ends' links differ: the source's is not removed";
        return Err(Fault::new(origin.source.hop().clone(), Stage::Attributes, Cause::Mismatch, text));
    }
    apart(run, origin, &entry.meta, dest_path, shown).await.map(|()| true)
}

/// Two operands may lead to one place, and then the source's file is the destination's.
async fn apart(run: &Run, origin: &Origin, source: &Meta, dest_path: &[u8], shown: &[u8]) -> Result<(), Fault> {
    if origin.source.as_local().is_none() || run.dest.as_local().is_none() {
        return Ok(());
    }
    match run.dest.stat(dest_path, false).await? {
        Some(dest) if (dest.dev, dest.ino) == (source.dev, source.ino) => {
            let name = String::from_utf8_lossy(shown);
            let text = format!("Skipping sender remove of destination file: {name}");
            Err(Fault::new(origin.source.hop().clone(), Stage::Attributes, Cause::Changed, text))
        }
        _ => Ok(()),
    }
}

fn tell(run: &Run, removed: Result<Gone, Fault>, shown: &[u8]) {
    match removed {
        Ok(Gone::Now) => run.printer.removed_source(shown),
        Ok(Gone::Before) => run.printer.no_source_left(shown),
        Err(_) if run.is_over() => {}
        Err(fault) => run.trouble(&fault, Some(shown)),
    }
}
