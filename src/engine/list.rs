//! `--list-only`: walks the source alone, and prints a line for each entry.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::entry::Entry;
use crate::fault::{Cause, Fault};
use crate::plan::filter::{Filter, Side};
use crate::plan::names::safe_name;
use crate::plan::order;
use crate::tree::Listing;

use super::brought::{self, Brought, Nodes, Origin};
use super::finish::below;
use super::run::Run;
use super::scan::{Ask, Foretold, Given, Listings};

/// Directories that are listed ahead of the one that is printed, those aside that lie in them.
const AHEAD: usize = 128;

/// What waits to be printed, the next one last.
enum Next {
    Entry { shown: Vec<u8>, entry: Entry },
    Directory { origins: Vec<Origin>, given: Nodes, shown: Vec<u8>, listings: Option<JoinHandle<Listings>> },
}

pub async fn list(run: &Arc<Run>, brought: Brought) {
    let mut waiting = Vec::new();
    if let Some((_, meta)) = brought.contents.first() {
        print(run, b".", &Entry { name: Vec::new(), meta: meta.clone(), target: None });
    }
    if let (None, Some((_, meta))) = (brought.contents.first(), &brought.itself) {
        print(run, b".", &Entry { name: Vec::new(), meta: meta.clone(), target: None });
    }
    let origins = brought.contents.into_iter().map(|(origin, _)| origin).collect();
    waiting.push(Next::Directory { origins, given: brought.items, shown: Vec::new(), listings: None });
    let foretold = Arc::new(Foretold::new(run.clone(), Vec::new()));
    loop {
        begin(&foretold, &mut waiting);
        match waiting.pop() {
            None => return,
            _ if run.is_over() => return,
            Some(Next::Entry { shown, entry }) => print(run, &shown, &entry),
            Some(Next::Directory { given, shown, listings, .. }) => {
                foretold.passed(&shown);
                let Listings { here, .. } = match listings {
                    Some(listings) => listings.await.unwrap_or_default(),
                    None => Listings::default(),
                };
                let listed = take(run, here, &shown);
                directory(run, listed, given, &shown, &mut waiting);
            }
        }
    }
}

/// Starts the listings of the next directories.
fn begin(foretold: &Arc<Foretold>, waiting: &mut [Next]) {
    let directories = waiting.iter_mut().rev().filter_map(|next| match next {
        Next::Directory { origins, given, shown, listings } => Some((origins, given, shown, listings)),
        Next::Entry { .. } => None,
    });
    for (origins, given, shown, listings) in directories.take(AHEAD) {
        if listings.is_none() {
            *listings = Some(foretold.listings(Ask {
                names: origins.is_empty().then(|| given.keys().cloned().collect()),
                origins: std::mem::take(origins),
                // There is no destination.
                exists: false,
                dest_path: shown.clone(),
                shown: shown.clone(),
                protect: Arc::default(),
                dev: 0,
                given: Given::new(given),
            }));
        }
    }
}

fn take(run: &Run, here: Vec<(Origin, Result<Listing, Fault>)>, shown: &[u8]) -> Vec<(Origin, Vec<Entry>)> {
    let mut listed = Vec::new();
    for (origin, listing) in here {
        let (entries, faults) = match listing {
            Ok(listing) => (Some(listing.entries), listing.faults),
            Err(fault) => (None, vec![fault]),
        };
        for fault in &faults {
            run.tally().listing_errors = true;
            if !run.is_over() {
                run.trouble(fault, Some(shown));
            }
        }
        listed.extend(entries.map(|entries| (origin, entries)));
    }
    listed
}

fn directory(run: &Run, listed: Vec<(Origin, Vec<Entry>)>, given: Nodes, shown: &[u8], waiting: &mut Vec<Next>) {
    let first = listed.first().map(|(origin, _)| origin.clone());
    let (mut entries, mut nodes) = brought::overlay(listed, given);
    // What operands name was held against the filters already.
    let no_filter = Filter::default();
    let filter = first.as_ref().map_or(&no_filter, |first| first.filter.as_ref());
    if run.job.options.copy_links {
        let hop = first.as_ref().map_or_else(|| "local".into(), |first| first.source.hop().clone());
        entries.retain(|entry| super::scan::has_referent(run, filter, &hop, shown, entry));
    }
    for entry in &entries {
        run.judge(filter, &below(shown, &entry.name), entry.meta.is_dir(), Side::Sender);
    }
    entries.retain(|entry| match safe_name(&entry.name) {
        Ok(()) => !filter.excludes(&below(shown, &entry.name), entry.meta.is_dir(), Side::Sender),
        Err(bad) => {
            let hop = first.as_ref().map_or_else(|| "local".into(), |first| first.source.hop().clone());
            run.tally().listing_errors = true;
            run.trouble(
                &Fault::new(hop, crate::fault::Stage::List, Cause::Protocol, format!("listed {bad}")),
                Some(shown),
            );
            false
        }
    });
    order::sort(&mut entries);
    for entry in entries.into_iter().rev() {
        let path = below(shown, &entry.name);
        if entry.meta.is_dir() {
            let (origins, given) = match (nodes.remove(&entry.name), &first) {
                // An operand is walked as far as it says; what a listing shows, with -r.
                (Some(node), None) => (node.contents, node.children),
                (Some(node), Some(_)) if run.job.options.recursive => (node.contents, node.children),
                (Some(node), Some(_)) => (Vec::new(), node.children),
                (None, Some(first)) if run.job.options.recursive => (vec![first.below(&entry.name)], Nodes::new()),
                (None, _) => (Vec::new(), Nodes::new()),
            };
            if !origins.is_empty() || !given.is_empty() {
                waiting.push(Next::Directory { origins, given, shown: path.clone(), listings: None });
            }
        }
        waiting.push(Next::Entry { shown: path, entry });
    }
}

fn print(run: &Run, shown: &[u8], entry: &Entry) {
    run.tally().stats.found(&entry.meta);
    run.printer.listed(shown, &entry.meta, entry.target.as_deref());
}
