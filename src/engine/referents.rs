//! Links that come as what they lead to: `--copy-dirlinks`, `--copy-unsafe-links`.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use futures::stream;

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::plan::safe_link::is_unsafe;

use super::brought::{Node, Origin};
use super::finish::below;
use super::run::Run;
use super::scan::Dir;

/// Whether any option asks for this.
pub fn matter(run: &Run) -> bool {
    let options = &run.job.options;
    options.copy_dirlinks || options.copy_unsafe_links
}

/// `-K`: of a destination's entries, links to directories become what they lead to where the source has a directory. What
/// may not be gone through is left out at both ends, and so left alone. Returns where the others lead to.
pub async fn keep_dirlinks(run: &Run, dir: &[u8], here: &mut Vec<Entry>, old: &mut Vec<Entry>) -> Vec<Vec<u8>> {
    let directories: HashSet<Vec<u8>> =
        here.iter().filter(|entry| entry.meta.is_dir()).map(|entry| entry.name.clone()).collect();
    let (mut leads, mut refused) = (Vec::new(), HashSet::new());
    let concerned = |entry: &&mut Entry| entry.meta.kind == Kind::Symlink && directories.contains(&entry.name);
    let concerned: Vec<&mut Entry> = old.iter_mut().filter(concerned).collect();
    // Looked at together, and told of in their turn.
    let paths: Vec<Vec<u8>> = concerned.iter().map(|entry| below(dir, &entry.name)).collect();
    let mut found = stream::iter(paths.iter().map(|path| dirlink(run, path))).buffered(super::AT_ONCE);
    for (entry, path) in concerned.into_iter().zip(&paths) {
        let Some(found) = found.next().await else { break };
        match keep(run, path, entry, found) {
            Ok(led) => leads.extend(led),
            Err(()) => {
                refused.insert(entry.name.clone());
            }
        }
    }
    drop(found);
    for entries in [here, old] {
        entries.retain(|entry| !refused.contains(&entry.name));
    }
    leads
}

/// As [`keep_dirlinks`], of one. It is told if it leads out of the destination.
pub async fn keep_dirlink(run: &Run, path: &[u8], old: &mut Entry) -> Result<Option<Vec<u8>>, ()> {
    keep(run, path, old, dirlink(run, path).await)
}

/// The directory that a link leads to, and where that is. None if it leads to no directory: it is replaced like any other link.
async fn dirlink(run: &Run, path: &[u8]) -> Result<Option<(Meta, Vec<u8>)>, Fault> {
    let Some(meta) = run.dest.stat(path, true).await?.filter(Meta::is_dir) else { return Ok(None) };
    match run.dest.leads_to(path).await? {
        Some(led) => Ok(Some((meta, led))),
        None => {
            let text = "the link leads out of the destination, and is not gone through (-K)";
            Err(Fault::new(run.dest.hop().clone(), Stage::List, Cause::Permission, text))
        }
    }
}

fn keep(
    run: &Run,
    path: &[u8],
    old: &mut Entry,
    found: Result<Option<(Meta, Vec<u8>)>, Fault>,
) -> Result<Option<Vec<u8>>, ()> {
    let found = found.map_err(|fault| run.trouble(&fault, Some(path)))?;
    Ok(found.map(|(meta, led)| {
        // The target stays: it tells that this is reached by a link.
        old.meta = meta;
        led
    }))
}

/// What links lead to, as it was looked at before their turn, by name.
pub type Looked = HashMap<Vec<u8>, Result<Option<Meta>, Fault>>;

/// Whether what a link leads to has to be known, and whether it leads out of the transfer.
fn is_wanted(run: &Run, dir: &[u8], entry: &Entry) -> (bool, bool) {
    let options = &run.job.options;
    if entry.meta.kind != Kind::Symlink {
        return (false, false);
    }
    let is_unsafe = is_unsafe(entry.target.as_deref().unwrap_or_default(), &below(dir, &entry.name));
    (options.copy_dirlinks || options.copy_unsafe_links && is_unsafe, is_unsafe)
}

/// Looks at what the links in a directory lead to.
pub async fn look(run: &Run, dir: &Dir<'_>) -> Looked {
    if !matter(run) {
        return Looked::new();
    }
    let wanted = dir.listing.entries.iter().filter(|entry| is_wanted(run, dir.shown, entry).0);
    let looks = wanted.map(|entry| async move {
        let origin = dir.origin.below(&entry.name);
        let _asks = dir.questions.acquire().await;
        (entry.name.clone(), origin.source.stat(&origin.path, true).await)
    });
    futures::future::join_all(looks).await.into_iter().collect()
}

/// Replaces links among a directory's entries.
pub async fn resolve(
    run: &Run,
    dir: &[u8],
    entries: Vec<Entry>,
    first: Option<&Origin>,
    nodes: &mut HashMap<Vec<u8>, Node>,
    mut early: Looked,
) -> Vec<Entry> {
    let options = &run.job.options;
    let looks = stream::iter(entries.into_iter().map(|entry| {
        let given = nodes.get(&entry.name).map(|node| node.origin.clone());
        let early = if given.is_none() { early.remove(&entry.name) } else { None };
        let origin = given.or_else(|| first.map(|first| first.below(&entry.name)));
        async move {
            let (wanted, is_unsafe) = is_wanted(run, dir, &entry);
            let found = match (wanted, early, origin) {
                (true, Some(found), _) => found,
                (true, None, Some(origin)) => origin.source.stat(&origin.path, true).await,
                _ => Ok(None),
            };
            (entry, found, is_unsafe)
        }
    }));
    let looked: Vec<(Entry, Result<Option<Meta>, Fault>, bool)> = looks.buffered(super::AT_ONCE).collect().await;
    let mut kept = Vec::with_capacity(looked.len());
    for (mut entry, found, is_unsafe) in looked {
        let shown = below(dir, &entry.name);
        let by_dirlinks = options.copy_dirlinks && matches!(&found, Ok(Some(meta)) if meta.is_dir());
        if let (true, Some(target)) = (options.copy_unsafe_links && is_unsafe && !by_dirlinks, &entry.target) {
            run.printer.copying_unsafe_link(&shown, target);
        }
        match found {
            Ok(Some(meta)) if meta.is_dir() && options.copy_dirlinks || options.copy_unsafe_links && is_unsafe => {
                entry.meta = meta;
                entry.target = None;
                if let Some(node) = nodes.get_mut(&entry.name) {
                    node.entry = entry.clone();
                    if entry.meta.is_dir() && node.contents.is_empty() {
                        node.contents = vec![node.origin.clone()];
                    }
                }
            }
            Ok(None) if options.copy_unsafe_links && is_unsafe => {
                let hop = first.map_or_else(|| "local".into(), |first| first.source.hop().clone());
                let text = format!("symlink has no referent: \"{}\"", String::from_utf8_lossy(&shown));
                run.tally().listing_errors = true;
                run.trouble(&Fault::new(hop, Stage::List, Cause::NotFound, text), Some(&shown));
                continue;
            }
            // A link that leads in circles leads to no directory, and stays what it is.
            Err(fault)
                if options.copy_unsafe_links && is_unsafe
                    || matches!(fault.cause, Cause::Lost | Cause::Timeout | Cause::Cancelled | Cause::Permission) =>
            {
                run.tally().listing_errors = true;
                run.trouble(&fault, Some(&shown));
                continue;
            }
            _ => {}
        }
        kept.push(entry);
    }
    kept
}
