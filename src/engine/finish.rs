//! What comes last: deletions, once it is known that nothing was overlooked, and then the directories' attributes, which
//! everything before would have changed again.

use futures::StreamExt;
use futures::stream;

use crate::entry::{Entry, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::ledger::Event;
use crate::plan::filter::Filter;
use crate::sftp::wire::BoxFuture;
use crate::tree::Change;

use super::directory::Directory;
use super::run::Run;

/// Requests of one kind under way at once.
const AT_ONCE: usize = 64;

/// What `--partial` leaves under the final name: a time that no quick check takes for the source's.
pub const PARTIAL: Change = Change { mode: None, mtime: Some((0, 0)), owner: None, group: None };

/// What the scan leaves to be done at the end.
#[derive(Default)]
pub struct Left {
    /// Directories whose attributes are to be set.
    pub directories: Vec<LeftDirectory>,
    /// What `--delete` found: the destination directory's path, as shown, and the entries.
    pub extraneous: Vec<(Vec<u8>, Vec<u8>, Vec<Entry>)>,
    pub filter: Filter,
}

/// A directory whose attributes come last.
pub struct LeftDirectory {
    /// At the destination.
    pub path: Vec<u8>,
    pub shown: Vec<u8>,
    /// The source's.
    pub meta: Meta,
    /// What the destination had before.
    pub old: Option<Meta>,
    pub directory: Directory,
}

pub async fn finish(run: &Run, left: Left) {
    if run.is_over() {
        return;
    }
    if !left.extraneous.is_empty() {
        if run.tally().listing_errors && !run.job.options.ignore_errors {
            run.printer.deletion_disabled();
        } else {
            let mut deleted = Deleted { count: 0, skipped: 0 };
            for (path, shown, entries) in &left.extraneous {
                delete_all(run, &left.filter, path, shown, entries, &mut deleted).await;
            }
            if deleted.skipped > 0 {
                run.tally().max_delete = true;
                run.printer.max_delete_reached(deleted.skipped);
            }
        }
    }
    if run.job.options.dry_run {
        return;
    }
    super::delay::release(run).await;
    // The deepest first: setting a directory's time must come after everything below it.
    let set = left.directories.iter().rev().map(|directory| async move {
        // Told when it could not be made; it has nothing to be set.
        if directory.directory.ready().await.is_err() {
            return;
        }
        let set = async {
            let change = run.change(&directory.meta, directory.old.as_ref()).await?;
            run.dest.set(&directory.path, change, false).await
        };
        if let Err(fault) = set.await
            && !run.is_over()
        {
            run.trouble(&fault, Some(&directory.shown));
        }
    });
    stream::iter(set).buffer_unordered(AT_ONCE).for_each(|()| std::future::ready(())).await;
}

struct Deleted {
    count: u64,
    /// Left in place by `--max-delete`.
    skipped: u64,
}

/// Deletes entries of one directory, directories with all that is in them. Returns whether all are gone.
fn delete_all<'a>(
    run: &'a Run,
    filter: &'a Filter,
    path: &'a [u8],
    shown: &'a [u8],
    entries: &'a [Entry],
    deleted: &'a mut Deleted,
) -> BoxFuture<'a, bool> {
    Box::pin(async move {
        let mut all_gone = true;
        for entry in entries {
            if run.is_over() {
                return false;
            }
            let (path, shown) = (below(path, &entry.name), below(shown, &entry.name));
            if entry.meta.is_dir() && !empty(run, filter, &path, &shown, deleted).await {
                run.printer.not_empty(&shown);
                all_gone = false;
                continue;
            }
            if run.job.options.max_delete.is_some_and(|most| deleted.count >= most) {
                deleted.skipped += 1;
                all_gone = false;
                continue;
            }
            deleted.count += 1;
            run.printer.deleting(&shown, entry.meta.is_dir());
            run.tally().stats.deleted.add(entry.meta.kind);
            if run.job.options.dry_run {
                continue;
            }
            let done = match entry.meta.is_dir() {
                true => run.dest.rmdir(&path).await,
                false => match super::backup::instead_of_removal(run, &path).await {
                    Ok(false) => run.dest.remove(&path).await,
                    Ok(true) => {
                        // Beside the others it stays in the directory.
                        all_gone &= run.job.options.backup.as_ref().is_some_and(|backup| backup.dir.is_some());
                        Ok(())
                    }
                    Err(fault) => Err(fault),
                },
            };
            match done {
                Ok(()) => run.ledger.event(Event::Deleted { path: &shown, directory: entry.meta.is_dir() }),
                Err(fault) if fault.cause == Cause::NotFound => {}
                Err(fault) => {
                    all_gone = false;
                    run.trouble(&fault, Some(&shown));
                }
            }
        }
        all_gone
    })
}

/// Empties a directory that is to be deleted; false if something stays in it.
async fn empty(run: &Run, filter: &Filter, path: &[u8], shown: &[u8], deleted: &mut Deleted) -> bool {
    let listing = match run.dest.list(path, false).await {
        Ok(listing) if listing.faults.is_empty() => listing,
        Ok(listing) => {
            for fault in &listing.faults {
                run.trouble(fault, Some(shown));
            }
            return false;
        }
        Err(fault) => {
            run.trouble(&fault, Some(shown));
            return false;
        }
    };
    let mut entries = listing.entries;
    let before = entries.len();
    entries.retain(|entry| !filter.protects_within_deletion(&below(shown, &entry.name), entry.meta.is_dir()));
    let protected = entries.len() < before;
    entries.sort_by(|a, b| crate::plan::order::compare(b, a));
    delete_all(run, filter, path, shown, &entries, deleted).await && !protected
}

/// Makes way for an entry of another kind: what is there is removed, a directory only if it is empty or may be emptied.
pub async fn make_way(
    run: &Run,
    filter: &Filter,
    path: &[u8],
    shown: &[u8],
    way: crate::plan::quick_check::MakeWay,
) -> Result<(), Fault> {
    use crate::plan::quick_check::MakeWay;
    match way {
        MakeWay::Unlink if super::backup::instead_of_removal(run, path).await? => Ok(()),
        MakeWay::Unlink => run.dest.remove(path).await,
        MakeWay::Tree if !empty(run, filter, path, shown, &mut Deleted { count: 0, skipped: 0 }).await => {
            let text = format!("could not make way for \"{}\"", String::from_utf8_lossy(shown));
            Err(Fault::new(run.dest.hop().clone(), Stage::Attributes, Cause::Io, text))
        }
        MakeWay::Tree | MakeWay::EmptyDir => run.dest.rmdir(path).await.map_err(|mut fault| {
            run.printer.not_empty(shown);
            fault.text = format!("could not make way for \"{}\"", String::from_utf8_lossy(shown));
            fault
        }),
    }
}

pub fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
