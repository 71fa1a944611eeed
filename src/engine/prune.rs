//! `--prune-empty-dirs`: a directory comes only if something other than directories is found somewhere in it.

use std::collections::HashMap;

use crate::entry::Entry;
use crate::plan::filter::Side;

use super::brought::{Node, Origin};
use super::finish::below;
use super::rules;
use super::run::Run;

/// The entries of a directory without the directories that have nothing in them. Each is searched only until something is
/// found, so what is not empty costs one listing more.
pub async fn keep_filled(
    run: &Run,
    dir: &[u8],
    entries: Vec<Entry>,
    first: Option<&Origin>,
    nodes: &HashMap<Vec<u8>, Node>,
) -> Vec<Entry> {
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries {
        // rsync counts what is left out, too.
        let mut passed = 1;
        let filled = match (entry.meta.is_dir(), nodes.get(&entry.name), first) {
            (false, _, _) => true,
            (true, Some(node), _) if !node.children.is_empty() => true,
            (true, Some(node), _) => any(run, below(dir, &entry.name), node.contents.clone(), &mut passed).await,
            (true, None, Some(first)) => {
                let origin = first.below(&entry.name);
                any(run, below(dir, &entry.name), vec![origin], &mut passed).await
            }
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
async fn any(run: &Run, shown: Vec<u8>, origins: Vec<Origin>, passed: &mut u64) -> bool {
    if !run.job.options.recursive {
        return false;
    }
    let mut waiting: Vec<(Vec<u8>, Origin)> = origins.into_iter().map(|origin| (shown.clone(), origin)).collect();
    while let Some((shown, origin)) = waiting.pop() {
        if run.is_over() {
            return true;
        }
        let Ok(listing) = origin.source.list(&origin.path, run.job.options.copy_links).await else { return true };
        if !listing.faults.is_empty() {
            return true;
        }
        // What is wrong with a file of rules will be told where the directory itself is listed.
        let Ok(filter) = rules::hide(&origin, &shown, &listing).await else { return true };
        let origin = Origin { filter: filter.clone(), ..origin };
        for entry in listing.entries {
            let path = below(&shown, &entry.name);
            if filter.excludes(&path, entry.meta.is_dir(), Side::Sender) {
                continue;
            }
            if !entry.meta.is_dir() {
                return true;
            }
            waiting.push((path, origin.below(&entry.name)));
            *passed += 1;
        }
    }
    false
}
