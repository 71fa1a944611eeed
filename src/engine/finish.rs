//! What comes last: deletions, once it is known that nothing was overlooked, and then the directories' attributes, which
//! everything before would have changed again.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;

use crate::entry::{Entry, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::ledger::Event;
use crate::plan::filter::{Filter, Side};
use crate::sftp::wire::BoxFuture;
use crate::tree::{Change, Listing};

use super::backup::Of;
use super::directory::Directory;
use super::rules;
use super::run::Run;

/// Requests of one kind under way at once.
const AT_ONCE: usize = 64;

/// What `--partial` leaves under the final name: a time that no quick check takes for the source's.
pub const PARTIAL: Change = Change { mode: None, mtime: Some((0, 0)), atime: None, owner: None, group: None };

/// What the scan leaves to be done at the end.
#[derive(Default)]
pub struct Left {
    /// Directories whose attributes are to be set.
    pub directories: Vec<LeftDirectory>,
    /// What `--delete` found.
    pub extraneous: Vec<Extraneous>,
    /// Whether `--delete` concerned any directory.
    pub deletes: bool,
    /// The directories that operands name, in order.
    pub tops: Vec<Vec<u8>>,
    /// `-K`: the directories that links led to. What was put there must not be deleted under their own names.
    pub led_to: Vec<Vec<u8>>,
}

/// What is to be deleted in one directory of the destination.
pub struct Extraneous {
    pub path: Vec<u8>,
    pub shown: Vec<u8>,
    pub entries: Vec<Entry>,
    /// The rules that hold in the directory.
    pub filter: Arc<Filter>,
    /// They were named, and are known to be missing: no listing says so.
    pub named: bool,
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
    /// Whether or not anything is done in it.
    pub needed: bool,
}

/// Whether a path is another one, or below it.
pub fn is_within(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

pub async fn finish(run: &Run, mut left: Left) {
    if run.is_over() {
        return;
    }
    if left.deletes || !left.extraneous.is_empty() {
        let disabled = run.tally().listing_errors && !run.job.options.ignore_errors;
        if disabled && left.deletes {
            run.printer.deletion_disabled();
        }
        left.extraneous.retain(|extraneous| extraneous.named || !disabled);
        for top in left.tops.iter().filter(|_| left.deletes && run.job.options.delete.apart) {
            run.printer.deleting_in(top);
        }
        let mut deleted = Deleted::default();
        for Extraneous { path, shown, entries, filter, .. } in &mut left.extraneous {
            entries.retain(|entry| {
                let path = below(path, &entry.name);
                let concerned = left.led_to.iter().any(|led| is_within(led, &path) || is_within(&path, led));
                if concerned {
                    run.printer.not_empty(&below(shown, &entry.name));
                }
                !concerned
            });
            delete_all(run, filter, path, shown, entries, &mut deleted).await;
        }
    }
    let skipped = run.deletions.skipped();
    if skipped > 0 {
        run.tally().max_delete = true;
        run.printer.max_delete_reached(skipped);
    }
    if run.job.options.dry_run {
        return;
    }
    super::delay::release(run).await;
    super::removal::release(run).await;
    // What is done in a directory changes its time: where nothing was, and nothing is to be changed, there is nothing to ask for.
    let emptied: HashSet<&[u8]> = left.extraneous.iter().map(|extraneous| extraneous.path.as_slice()).collect();
    left.directories.retain(|left| {
        // With what it leads to where it is reached by a link (-K).
        let path = left.path.strip_suffix(b"/.").unwrap_or(&left.path);
        left.needed || left.directory.is_used() || emptied.contains(path)
    });
    // The deepest first: setting a directory's time must come after everything below it.
    let set = left.directories.iter().rev().map(|directory| async move {
        // Told when it could not be made; it has nothing to be set.
        if directory.directory.known().await.is_err() {
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

#[derive(Default)]
struct Deleted {
    /// A backup was left in the directory that is being emptied.
    kept_beside: bool,
}

/// Deletes entries of one directory of the transfer, directories with all that is in them.
async fn delete_all(
    run: &Run,
    filter: &Arc<Filter>,
    path: &[u8],
    shown: &[u8],
    entries: &[Entry],
    deleted: &mut Deleted,
) -> bool {
    let mut all_gone = true;
    for entry in entries {
        if run.is_over() {
            return false;
        }
        let (path, shown) = (below(path, &entry.name), below(shown, &entry.name));
        all_gone &= match entry.meta.is_dir() {
            true => match empty(run, filter, &path, &shown, deleted).await {
                Emptied::No => false,
                emptied => delete(run, entry, &path, &shown, emptied, deleted).await,
            },
            false => delete(run, entry, &path, &shown, Emptied::Yes, deleted).await,
        };
    }
    all_gone
}

/// How a directory looks after all in it that may be deleted is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Emptied {
    Yes,
    /// Backups stay in it, beside what they were made of.
    ButForBackups,
    /// Something is protected or could not be deleted, which has been told.
    No,
}

/// Deletes one entry; a directory is known to be empty or not.
async fn delete(run: &Run, entry: &Entry, path: &[u8], shown: &[u8], emptied: Emptied, deleted: &mut Deleted) -> bool {
    let Some(leave) = run.deletions.one(run.job.options.max_delete) else { return false };
    let dry_run = run.job.options.dry_run;
    if emptied != Emptied::Yes && !(dry_run && emptied == Emptied::ButForBackups) {
        if !dry_run {
            run.printer.not_empty(shown);
        }
        return false;
    }
    let done = match entry.meta.is_dir() {
        _ if dry_run => Ok(()),
        true => run.dest.rmdir(path).await,
        false => match super::backup::instead_of_removal(run, path, Of::Deleted).await {
            Ok(false) => run.dest.remove(path).await,
            Ok(true) => {
                deleted.kept_beside |= run.job.options.backup.as_ref().is_some_and(|backup| backup.dir.is_none());
                Ok(())
            }
            Err(fault) => Err(fault),
        },
    };
    if let Err(fault) = &done
        && fault.cause != Cause::NotFound
    {
        run.trouble(fault, Some(shown));
        return false;
    }
    if dry_run && !entry.meta.is_dir() {
        super::backup::would_keep(run, path, Of::Deleted);
    }
    leave.used();
    run.printer.deleting(shown, entry.meta.is_dir());
    run.tally().stats.deleted.add(entry.meta.kind);
    if !dry_run && done.is_ok() {
        run.ledger.event(Event::Deleted { path: shown, directory: entry.meta.is_dir() });
    }
    true
}

/// Empties a directory that is to be deleted, and says so if something stays in it.
fn empty<'a>(
    run: &'a Run,
    filter: &'a Arc<Filter>,
    path: &'a [u8],
    shown: &'a [u8],
    deleted: &'a mut Deleted,
) -> BoxFuture<'a, Emptied> {
    Box::pin(async move {
        let listing = match run.dest.list(path, false).await {
            Ok(listing) if listing.faults.is_empty() => listing,
            Ok(listing) => {
                for fault in &listing.faults {
                    run.trouble(fault, Some(shown));
                }
                return Emptied::No;
            }
            Err(fault) => {
                run.trouble(&fault, Some(shown));
                return Emptied::No;
            }
        };
        let filter = match within(run, filter, path, shown, &listing).await {
            Ok(filter) => filter,
            Err(fault) => {
                run.trouble(&fault, Some(shown));
                return Emptied::No;
            }
        };
        let mut entries = listing.entries;
        let before = entries.len();
        entries.retain(|entry| !filter.protects_within_deletion(&below(shown, &entry.name), entry.meta.is_dir()));
        let mut all_gone = entries.len() == before;
        entries.sort_by(|a, b| crate::plan::order::compare(b, a));
        let kept_above = std::mem::take(&mut deleted.kept_beside);
        for entry in entries {
            if run.is_over() {
                return Emptied::No;
            }
            let (path, shown) = (below(path, &entry.name), below(shown, &entry.name));
            let emptied = match entry.meta.is_dir() {
                true => empty(run, &filter, &path, &shown, deleted).await,
                false => Emptied::Yes,
            };
            // Of a directory within one that goes, rsync tells a second time that it stays, when its removal fails.
            all_gone &= delete(run, &entry, &path, &shown, emptied, deleted).await;
        }
        let kept = std::mem::replace(&mut deleted.kept_beside, kept_above);
        match (all_gone, kept) {
            (false, _) => {
                run.printer.not_empty(shown);
                Emptied::No
            }
            (true, true) => Emptied::ButForBackups,
            (true, false) => Emptied::Yes,
        }
    })
}

/// The rules within a directory of the destination that is in the way of something; tells (-vv) what they say of its entries.
async fn within(
    run: &Run,
    filter: &Arc<Filter>,
    path: &[u8],
    shown: &[u8],
    listing: &Listing,
) -> Result<Arc<Filter>, Fault> {
    let dir = rules::Dir { tree: run.dest.as_ref(), path, listing };
    let filter = rules::enter(filter, Side::Receiver, shown, &[dir]).await?;
    // A far receiver of rsync's is given the rules only where it deletes or prunes by them.
    let options = &run.job.options;
    let tells = run.printer.tells_filters() && (!run.push() || options.delete.enabled || options.prune_empty_dirs);
    for entry in listing.entries.iter().filter(|_| tells) {
        let (path, is_dir) = (below(shown, &entry.name), entry.meta.is_dir());
        if let Some(verdict) = filter.verdict(&path, is_dir, Side::Receiver, true) {
            run.printer.judged(Side::Receiver, &path, is_dir, &verdict);
        }
    }
    Ok(filter)
}

/// What rsync says (-vv) of the rules in a directory that it cannot remove.
pub async fn tell_rules(run: &Run, filter: &Arc<Filter>, path: &[u8], shown: &[u8], listing: &Listing) {
    if run.printer.tells_filters()
        && let Err(fault) = within(run, filter, path, shown, listing).await
    {
        run.trouble(&fault, Some(shown));
    }
}

/// Makes way for an entry of another kind, or tells what that would be (a dry run): what is there is removed, a directory only
/// if it is empty or may be emptied.
pub async fn make_way(
    run: &Run,
    filter: &Arc<Filter>,
    path: &[u8],
    shown: &[u8],
    way: crate::plan::quick_check::MakeWay,
    of: Of,
) -> Result<(), Fault> {
    use crate::plan::quick_check::MakeWay;
    let dry_run = run.job.options.dry_run;
    match way {
        MakeWay::Unlink if dry_run => {
            super::backup::would_keep(run, path, of);
            Ok(())
        }
        MakeWay::Unlink if super::backup::instead_of_removal(run, path, of).await? => Ok(()),
        MakeWay::Unlink => run.dest.remove(path).await,
        MakeWay::Tree => match empty(run, filter, path, shown, &mut Deleted::default()).await {
            Emptied::No => Err(no_way(run, shown)),
            _ if dry_run => Ok(()),
            _ => rmdir(run, path, shown).await,
        },
        MakeWay::EmptyDir if dry_run => Ok(()),
        MakeWay::EmptyDir => rmdir(run, path, shown).await,
    }
}

async fn rmdir(run: &Run, path: &[u8], shown: &[u8]) -> Result<(), Fault> {
    run.dest.rmdir(path).await.map_err(|fault| {
        run.printer.not_empty(shown);
        Fault { text: no_way(run, shown).text, ..fault }
    })
}

fn no_way(run: &Run, shown: &[u8]) -> Fault {
    let text = format!("could not make way for \"{}\"", String::from_utf8_lossy(shown));
    Fault::new(run.dest.hop().clone(), Stage::Attributes, Cause::Io, text)
}

pub fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
