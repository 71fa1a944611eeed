//! `--remove-source-files`: a source goes once the destination is proven to have the same. What was only sent, or only
//! looked alike, stays.

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
    let removed = async {
        let now = origin.source.stat(&origin.path, follow).await?;
        apart(run, origin, now.as_ref(), dest_path, shown).await?;
        let same = now.is_some_and(|now| {
            (now.size, now.mtime, now.mtime_nsec, now.ino) == (meta.size, meta.mtime, meta.mtime_nsec, meta.ino)
        });
        if !same {
            let name = String::from_utf8_lossy(shown).into_owned();
            let text = format!("Skipping sender remove for changed file: {name}");
            return Err(Fault::new(origin.source.hop().clone(), Stage::Attributes, Cause::Changed, text));
        }
        origin.source.remove(&origin.path).await
    };
    tell(run, removed.await, shown);
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
    let removed = async {
        let (here, there) = (origin.source.read_link(&origin.path).await?, run.dest.read_link(dest_path).await?);
        if here != there || Some(&here) != entry.target.as_ref() {
            let text = "the two ends' links differ: the source's is not removed";
            return Err(Fault::new(origin.source.hop().clone(), Stage::Attributes, Cause::Mismatch, text));
        }
        apart(run, origin, Some(&entry.meta), dest_path, shown).await?;
        origin.source.remove(&origin.path).await
    };
    tell(run, removed.await, shown);
}

/// Two operands may lead to one place, and then the source's file is the destination's.
async fn apart(run: &Run, origin: &Origin, source: Option<&Meta>, dest_path: &[u8], shown: &[u8]) -> Result<(), Fault> {
    let (Some(source), Some(_), Some(_)) = (source, origin.source.as_local(), run.dest.as_local()) else {
        return Ok(());
    };
    match run.dest.stat(dest_path, false).await? {
        Some(dest) if (dest.dev, dest.ino) == (source.dev, source.ino) => {
            let name = String::from_utf8_lossy(shown);
            let text = format!("Skipping sender remove of destination file: {name}");
            Err(Fault::new(origin.source.hop().clone(), Stage::Attributes, Cause::Changed, text))
        }
        _ => Ok(()),
    }
}

fn tell(run: &Run, removed: Result<(), Fault>, shown: &[u8]) {
    match removed {
        Ok(()) => run.printer.removed_source(shown),
        Err(_) if run.is_over() => {}
        Err(fault) => run.trouble(&fault, Some(shown)),
    }
}
