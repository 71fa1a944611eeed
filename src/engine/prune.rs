//! `--prune-empty-dirs`: a directory comes only if something other than directories is found somewhere in it.

use std::collections::HashMap;

use tokio::sync::Semaphore;

use crate::entry::Entry;
use crate::plan::filter::Side;

use super::brought::{Node, Origin};
use super::finish::below;
use super::rules;
use super::run::Run;
use super::scan::Dir;

/// Directories that are looked into at once, for each that may be empty.
const AT_ONCE: usize = 64;

/// What was found of directories before their turn, by name: whether there is anything in each, and what was passed in it.
pub type Looked = HashMap<Vec<u8>, (bool, u64)>;

/// Looks into all directories in one.
pub async fn look(run: &Run, dir: &Dir<'_>) -> Looked {
    if !run.job.options.prune_empty_dirs {
        return Looked::new();
    }
    let comes = |entry: &&Entry| {
        let shown = below(dir.shown, &entry.name);
        entry.meta.is_dir() && !dir.origin.filter.excludes(&shown, true, Side::Sender)
    };
    let looks = dir.listing.entries.iter().filter(comes).map(|entry| async move {
        let mut passed = 1;
        let origins = vec![dir.origin.below(&entry.name)];
        let filled = any(run, below(dir.shown, &entry.name), origins, &mut passed, dir.questions).await;
        (entry.name.clone(), (filled, passed))
    });
    futures::future::join_all(looks).await.into_iter().collect()
}

/// The entries of a directory without the directories that have nothing in them. Each is searched only until something is
/// found, so what is not empty costs one listing more.
pub async fn keep_filled(
    run: &Run,
    dir: &[u8],
    entries: Vec<Entry>,
    first: Option<&Origin>,
    nodes: &HashMap<Vec<u8>, Node>,
    looked: &Looked,
) -> Vec<Entry> {
    let questions = Semaphore::new(AT_ONCE);
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries {
        // rsync counts what is left out, too.
        let mut passed = 1;
        let filled = match (entry.meta.is_dir(), nodes.get(&entry.name), first) {
            (false, _, _) => true,
            (true, Some(node), _) if !node.children.is_empty() => true,
            (true, Some(node), _) => {
                any(run, below(dir, &entry.name), node.contents.clone(), &mut passed, &questions).await
            }
            (true, None, Some(first)) => match looked.get(&entry.name) {
                Some((filled, found)) => {
                    passed = *found;
                    *filled
                }
                None => {
                    let origin = first.below(&entry.name);
                    any(run, below(dir, &entry.name), vec![origin], &mut passed, &questions).await
                }
            },
            (true, None, None) => true,
        };
        if filled {
            kept.push(entry);
        } else {
            run.tally().stats.files.dir += passed;
        }
    }
    kept
}

/// Whether anything but directories is to be found; `passed` counts these. What cannot be listed is taken for filled: its listing will tell why.
async fn any(run: &Run, shown: Vec<u8>, origins: Vec<Origin>, passed: &mut u64, questions: &Semaphore) -> bool {
    if !run.job.options.recursive {
        return false;
    }
    let mut waiting: Vec<(Vec<u8>, Origin)> = origins.into_iter().map(|origin| (shown.clone(), origin)).collect();
    // Most directories have something in the first one that is looked into; the others are looked into more and more at once.
    let mut many = 1;
    while !waiting.is_empty() {
        let now = waiting.split_off(waiting.len().saturating_sub(many));
        many = AT_ONCE.min(2 * many);
        let looks = now.into_iter().map(|(shown, origin)| directories(run, shown, origin, questions));
        for within in futures::future::join_all(looks).await {
            let Some(within) = within else { return true };
            *passed += within.len() as u64;
            waiting.extend(within);
        }
    }
    false
}

/// The directories in one; `None` if there is anything else in it, or may be.
async fn directories(
    run: &Run,
    shown: Vec<u8>,
    origin: Origin,
    questions: &Semaphore,
) -> Option<Vec<(Vec<u8>, Origin)>> {
    let _asks = questions.acquire().await.ok()?;
    if run.is_over() {
        return None;
    }
    let listing = origin.source.list(&origin.path, run.job.options.copy_links).await.ok()?;
    if !listing.faults.is_empty() {
        return None;
    }
    // What is wrong with a file of rules will be told where the directory itself is listed.
    let filter = rules::hide(&origin, &shown, &listing).await.ok()?;
    let origin = Origin { filter: filter.clone(), ..origin };
    let mut found = Vec::new();
    for entry in listing.entries {
        let path = below(&shown, &entry.name);
        if filter.excludes(&path, entry.meta.is_dir(), Side::Sender) {
            continue;
        }
        if !entry.meta.is_dir() {
            return None;
        }
        found.push((path, origin.below(&entry.name)));
    }
    Some(found)
}
