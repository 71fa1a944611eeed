//! What comes last: deletions, once it is known that nothing was overlooked, and then the directories' attributes, which
//! everything before would have changed again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;

use crate::entry::{Entry, Meta};
use crate::plan::filter::Filter;
use crate::tree::Change;

use super::delete;
use super::directory::Directory;
use super::run::Run;

/// The mode bit without which an owner cannot reach what lies in a directory.
const SEARCH: u32 = 0o100;

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
    let mut emptied = HashSet::new();
    if left.deletes || !left.extraneous.is_empty() {
        let disabled = run.tally().listing_errors && !run.job.options.ignore_errors;
        if disabled && left.deletes {
            run.printer.deletion_disabled();
        }
        left.extraneous.retain(|extraneous| extraneous.named || !disabled);
        for top in left.tops.iter().filter(|_| left.deletes && run.job.options.delete.apart) {
            run.printer.deleting_in(top);
        }
        emptied.extend(left.extraneous.iter().map(|extraneous| extraneous.path.clone()));
        delete::delete(run, std::mem::take(&mut left.extraneous), &left.led_to).await;
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
    left.directories.retain(|left| {
        // With what it leads to where it is reached by a link (-K).
        let path = left.path.strip_suffix(b"/.").unwrap_or(&left.path);
        left.needed || left.directory.is_used() || emptied.contains(path)
    });
    set_attributes(run, &left.directories).await;
}

/// Sets the directories' attributes. That changes nothing of the directories above, so only those wait that would close the way to
/// others ([`rounds`]).
async fn set_attributes(run: &Run, directories: &[LeftDirectory]) {
    // Where there is none, each directory tells why.
    let context = run.context().await.ok();
    let stays_open = |left: &LeftDirectory| {
        context.as_ref().is_none_or(|context| context.target_mode(&left.meta, left.old.as_ref()) & SEARCH != 0)
    };
    for round in rounds(directories.iter().map(|left| (left.path.as_slice(), stays_open(left)))) {
        let set = round.into_iter().filter_map(|at| directories.get(at)).map(|left| set(run, left));
        stream::iter(set).buffer_unordered(super::AT_ONCE).for_each(|()| std::future::ready(())).await;
    }
}

async fn set(run: &Run, left: &LeftDirectory) {
    // Told when it could not be made; it has nothing to be set.
    if left.directory.known().await.is_err() {
        return;
    }
    let set = async {
        let change = run.change(&left.meta, left.old.as_ref()).await?;
        run.dest.set(&left.path, change, false).await
    };
    if let Err(fault) = set.await
        && !run.is_over()
    {
        run.trouble(&fault, Some(&left.shown));
    }
}

/// Which directories may be set together, by their places: those first that can be searched afterwards; then those that cannot,
/// level by level, the deepest first, because nobody but root reaches what lies below them any more.
fn rounds<'a>(directories: impl Iterator<Item = (&'a [u8], bool)>) -> Vec<Vec<usize>> {
    let (mut open, mut closed) = (Vec::new(), BTreeMap::<usize, Vec<usize>>::new());
    for (at, (path, stays_open)) in directories.enumerate() {
        if stays_open {
            open.push(at);
        } else {
            closed.entry(depth(path)).or_default().push(at);
        }
    }
    std::iter::once(open).chain(closed.into_values().rev()).filter(|round| !round.is_empty()).collect()
}

/// How many directories lead to a path. What is reached by a link (`-K`) has `.` for its last name.
fn depth(path: &[u8]) -> usize {
    let names = path.split(|byte| *byte == b'/');
    names.filter(|name| !name.is_empty() && *name != b".").count()
}

pub fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_closed_to_us_is_set_after_all_that_lies_below_it() {
        let directories: [(&[u8], bool); 8] = [
            (b"", false),
            (b"a", false),
            (b"a/b", true),
            (b"a/b/c", false),
            (b"a/b/c/d", true),
            (b"a/link/.", false),
            (b"a/link/e", false),
            (b"z", true),
        ];
        let rounds = rounds(directories.into_iter());
        let round_of = |at: usize| rounds.iter().position(|round| round.contains(&at)).expect("each is set");
        assert_eq!(rounds.iter().map(Vec::len).sum::<usize>(), directories.len(), "each is set once: {rounds:?}");
        for (at, (path, stays_open)) in directories.iter().enumerate() {
            let dir = path.strip_suffix(b"/.").unwrap_or(path);
            for (other, (below, _)) in directories.iter().enumerate().filter(|(other, _)| *other != at) {
                if !stays_open && (dir.is_empty() || is_within(below, dir)) {
                    assert!(round_of(other) < round_of(at), "{other} lies below {at}: {rounds:?}");
                }
            }
        }
    }

    #[test]
    fn directories_that_stay_open_are_set_together_whatever_lies_in_them() {
        let directories: [(&[u8], bool); 4] = [(b"", true), (b"a", true), (b"a/b", true), (b"a/b/c", true)];
        assert_eq!(rounds(directories.into_iter()), [[0, 1, 2, 3]]);
        assert!(rounds(std::iter::empty()).is_empty());
    }
}
