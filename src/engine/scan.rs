//! Walks both ends directory by directory, in rsync's order, and starts what each entry needs.
//!
//! Listings run ahead of the decisions; decisions and printed lines come in order; files are delivered in any order, as
//! many at once as the budget allows. What is kept for the end is per directory, never per file.
//!
//! - [`roots`]: where it begins; [`listings`]: both ends' listings, and the rules in each directory; [`foretold`]: before their
//!   turn.
//! - [`entry`]: one entry, decided and told ([`lines`]); [`make`]: what it needs, started; [`count`]: what is only counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::job::BasisKind;
use crate::ledger::{Class, Event, FileId};
use crate::output::{Item, Skip, Update};
use crate::plan::diff::{Filters, Step, diff_dir};
use crate::plan::filter::{Filter, Side};
use crate::plan::names::safe_name;
use crate::plan::quick_check::{Context, Decision, Differs, MakeWay, Reason, decide};
use crate::plan::safe_link::is_unsafe;
use crate::tree::{Change, Listing, Tree};

use super::backup;
use super::basis;
use super::brought::{self, Brought, Node, Nodes, Origin};
use super::delete;
use super::deliver::{self, FileItem};
use super::directory::Directory;
use super::finish::{Extraneous, Left, LeftDirectory, below};
use super::links::{self, First, Links, Name, Promise};
use super::node;
use super::owners;
use super::progress;
use super::prune;
use super::referents;
use super::removal;
use super::rules;
use super::run::Run;
use super::sums;

mod count;
mod entry;
mod foretold;
mod lines;
mod listings;
mod make;
mod roots;

pub(super) use foretold::{Ask, Foretold, Given};
use listings::Early;
pub(super) use listings::{Dir, Listings};
pub use roots::Roots;

/// Tasks under way, those of files included: as many again for directories and links as for files. With fewer, directories
/// would wait to be made until files have moved.
const SMALL_TASKS: usize = 4096;

/// Files and bytes from which on more than one channel is worth its process at the server.
const FEW_FILES: u64 = 4;
const FEW_BYTES: u64 = 8 << 20;

/// A directory that waits to be compared.
struct Waiting {
    /// The directories whose contents come here; none where only some names are given.
    origins: Vec<Origin>,
    given: Nodes,
    dest_path: Vec<u8>,
    shown: Vec<u8>,
    /// The destination's rules of the directory that it lies in.
    protect: Arc<Filter>,
    /// Whether the destination has it already.
    exists: bool,
    directory: Directory,
    /// The source's device, for `-x`.
    dev: u64,
    /// It is not transferred, but what is in it counts as found, as rsync's sender does it.
    only_counted: bool,
    listings: Option<JoinHandle<Listings>>,
}

/// What is done next: a directory's own entry, then its contents, then the next one beside it.
enum Next {
    Entry(Box<Pending>),
    Contents(Box<Waiting>),
}

/// A directory whose turn has not come; its listings may be under way already.
struct Pending {
    place: Place,
    entry: Entry,
    old: Option<Entry>,
    decision: Decision,
    listings: Option<JoinHandle<Listings>>,
}

impl Pending {
    /// Whether it is certain what will have to be listed: not where its place has to be opened first.
    fn is_sure(&self) -> bool {
        let walked = !self.place.contents.is_empty() || !self.place.given.is_empty();
        let open = self.old.as_ref().is_none_or(|old| !old.meta.is_dir() || old.meta.mode & 0o500 == 0o500);
        walked && open && !matches!(self.decision, Decision::Skip(_))
    }
}

struct Scan<'a> {
    run: &'a Arc<Run>,
    /// The destination's rules.
    protect: Arc<Filter>,
    left: Left,
    /// Directories still to be compared; the next one is last.
    waiting: Vec<Next>,
    /// The listings of the directory that is being entered.
    ahead: Option<JoinHandle<Listings>>,
    foretold: Arc<Foretold>,
    bases: Vec<Arc<dyn Tree>>,
    links: Links,
    lines: lines::Lines,
    tasks: JoinSet<()>,
    /// For files that are begun next.
    room: Option<OwnedSemaphorePermit>,
    files: u64,
    bytes: u64,
}

/// Walks all roots and waits until every file has its class. Returns what is left for the end.
pub async fn scan(run: &Arc<Run>, roots: Roots) -> Left {
    let options = &run.job.options;
    let mut protect = Filter::new(&options.rules).delete_excluded(options.delete.excluded);
    if protect.asks_roots() && options.delete.enabled {
        match run.dest.absolute().await {
            Ok(root) => protect = protect.roots(b"", &root),
            Err(fault) => {
                run.tally().listing_errors = true;
                run.trouble(&fault, None);
            }
        }
    }
    if options.backup.is_some() && !options.dry_run {
        // Where backups lie is found out meanwhile.
        let run = run.clone();
        tokio::spawn(async move { backup::foresee(&run).await });
    }
    let bases = basis::open(run).await;
    let mut scan = Scan {
        run,
        protect: Arc::new(protect),
        left: Left::default(),
        waiting: Vec::new(),
        ahead: None,
        foretold: Arc::new(Foretold::new(run.clone(), bases.clone())),
        bases,
        links: Links::new(options.follows()),
        lines: lines::Lines::new(run.clone()),
        tasks: JoinSet::new(),
        room: None,
        files: 0,
        bytes: 0,
    };
    scan.top(roots).await;
    while let Some(next) = scan.next() {
        match next {
            Next::Entry(pending) => {
                let Pending { place, entry, old, decision, listings } = *pending;
                scan.ahead = listings;
                scan.entry(place, entry, old, decision).await;
                scan.ahead = None;
            }
            Next::Contents(waiting) => scan.directory(*waiting).await,
        }
        if run.is_over() {
            return scan.left;
        }
    }
    scan.lines.settle().await;
    run.scanning.store(false, Ordering::Relaxed);
    while scan.tasks.join_next().await.is_some() {}
    scan.left
}

impl Scan<'_> {
    async fn directory(&mut self, waiting: Waiting) {
        let run = self.run;
        let Waiting { origins, given, dest_path, shown, protect, directory, dev, only_counted, listings, .. } = waiting;
        self.foretold.passed(&dest_path);
        let Some(listings) = listings else { return };
        let Ok(Listings { here, there, bases, early }) = listings.await else { return };
        let Early { referents, filled, mut same } = early;
        if run.dest.as_local().is_some() && run.printer.tells_items() {
            // Of what is in a directory that could not be made, rsync tells nothing. (How that went at a far end is known
            // later; nobody waits for it. Nor where nothing is told: each directory would wait for a thread of the disk's.)
            let _ = directory.known().await;
        }
        let shown_dir = if shown == b"." { Vec::new() } else { shown.clone() };
        // Where a dry run would make a directory, there is nothing to be deleted.
        let looked = there.is_some() || !run.job.options.dry_run;
        let mut whole = true;
        let mut take = |listed: Result<Listing, Fault>| match listed {
            Ok(listing) => {
                for fault in &listing.faults {
                    whole = false;
                    run.tally().listing_errors = true;
                    run.trouble(fault, Some(&shown));
                }
                Some(listing.entries)
            }
            Err(fault) => {
                whole = false;
                run.tally().listing_errors = true;
                if !run.is_over() {
                    run.trouble(&fault, Some(&shown));
                }
                None
            }
        };
        let named_only = origins.is_empty();
        let mut listed = Vec::with_capacity(origins.len());
        for (origin, here) in here {
            let here = run.inside.as_before(&origin, run.job.options.copy_links, here).await;
            if let Some(entries) = take(here) {
                listed.push((origin, entries));
            }
        }
        // Several directories' contents: each is held against its own rules.
        let several = listed.len() > 1;
        for (origin, entries) in listed.iter_mut().filter(|_| several) {
            entries.retain(|entry| {
                run.judge(&origin.filter, &below(&shown_dir, &entry.name), entry.meta.is_dir(), Side::Sender);
                !origin.filter.excludes(&below(&shown_dir, &entry.name), entry.meta.is_dir(), Side::Sender)
            });
        }
        if listed.is_empty() && given.is_empty() {
            self.left.deletes |= run.job.options.delete.enabled && looked;
            return;
        }
        let first = listed.first().map(|(origin, _)| origin.clone());
        let hop = first.as_ref().map_or_else(|| "local".into(), |origin| origin.source.hop().clone());
        // What operands name was held against the filters already, and the way to it is not.
        let no_filter = Arc::new(Filter::default());
        let hide = first.as_ref().filter(|_| !several).map_or(&no_filter, |first| &first.filter).clone();
        let (mut entries, mut nodes) = brought::overlay(listed, given);
        if run.job.options.copy_links {
            entries.retain(|entry| has_referent(run, &hide, &hop, &shown_dir, entry));
        }
        if referents::matter(run) {
            entries = referents::resolve(run, &shown_dir, entries, first.as_ref(), &mut nodes, referents).await;
        }
        run.inside.restore(&mut entries);
        owners::translate(run, &mut entries).await;
        if run.job.options.prune_empty_dirs {
            entries = prune::keep_filled(run, &shown_dir, entries, first.as_ref(), &nodes, &filled).await;
        }
        if only_counted {
            return self.count(&shown_dir, entries, nodes, first.as_ref(), &hide, (&dest_path, &protect));
        }
        let known = there.is_some();
        let (old, protect) = match there {
            Some(Ok((listing, filter))) => (take(Ok(listing)), filter),
            Some(Err(fault)) => (take(Err(fault)), protect),
            None => (None, protect),
        };
        if known && old.is_none() {
            // What is there is not known: nothing may be decided on it.
            return;
        }
        let mut old = old;
        if let (true, Some(old)) = (run.job.options.keep_dirlinks, &mut old) {
            self.left.led_to.extend(referents::keep_dirlinks(run, &dest_path, &mut entries, old).await);
        }
        let deletes = !named_only && (run.job.options.recursive || run.job.options.dirs);
        self.left.deletes |= deletes && looked && run.job.options.delete.enabled;
        let compares = old.as_ref().is_some_and(|old| !old.is_empty()) || !self.bases.is_empty();
        let Some(context) = self.context(compares).await else { return };
        let filters = Filters { hide: &hide, protect: &protect };
        if run.printer.tells_filters() {
            for entry in &entries {
                run.judge(&hide, &below(&shown_dir, &entry.name), entry.meta.is_dir(), Side::Sender);
            }
            let deleting = whole && deletes && run.job.options.delete.enabled;
            for entry in old.iter().flatten().filter(|_| deleting) {
                run.judge(&protect, &below(&shown_dir, &entry.name), entry.meta.is_dir(), Side::Receiver);
            }
        }
        let mut plan = diff_dir(&shown_dir, entries, old, &context, filters, whole && deletes);
        // The way to an operand is made without -r and -d too.
        for step in &mut plan.steps {
            let on_the_way = || nodes.get(&step.entry.name).is_some_and(|node| !node.children.is_empty());
            if step.decision == Decision::Skip(Reason::Directory) && on_the_way() {
                let options = crate::job::Options { dirs: true, ..context.opts.clone() };
                let context = Context { opts: &options, ..context.clone() };
                step.decision = decide(&context, &step.entry.meta, step.old.as_ref().map(|old| &old.meta), None);
            }
        }
        let mut found = match self.bases.is_empty() {
            true => HashMap::new(),
            false => basis::find_all(&context, run.identity().await, &self.bases, &bases, &plan, &dest_path),
        };
        let compares_only = run.job.options.basis.as_ref().is_some_and(|basis| basis.kind == BasisKind::Compare);
        if run.job.options.hard_links && !found.is_empty() && !compares_only {
            basis::lend(&plan, &mut found, |entry| {
                let origin = nodes.get(&entry.name).map(|node| node.origin.clone());
                let origin = origin.or_else(|| first.as_ref().map(|first| first.below(&entry.name)));
                let known = origin.and_then(|origin| run.far_links.known(&origin, &entry.meta));
                known.unwrap_or_else(|| entry.meta.clone())
            });
        }
        for refused in &plan.refused {
            run.tally().listing_errors = true;
            let hop = if refused.side == Side::Sender { &hop } else { run.dest.hop() };
            let text = format!("listed {}: \"{}\"", refused.problem, String::from_utf8_lossy(&refused.name));
            run.trouble(&Fault::new(hop.clone(), Stage::List, Cause::Protocol, text), Some(&shown));
        }
        run.backups.claims.claim(run, &dest_path, &mut plan.steps, &plan.delete).await;
        if !plan.delete.is_empty() {
            let (path, shown, filter) = (dest_path.clone(), shown_dir.clone(), protect.clone());
            self.left.extraneous.push(Extraneous { path, shown, entries: plan.delete, filter, named: false });
        }
        // On its way here, rsync tells of a file once there is where it can be written.
        let writes = run.pull && known && !run.job.options.dry_run;
        let shut = match run.dest.as_local() {
            Some(dest) if writes && run.printer.tells_items() => !dest.may_write_in(&dest_path).await,
            _ => false,
        };
        let mut in_way = self.look_in_way(&plan.steps, &dest_path, &shown_dir, &protect);
        let first_new = self.waiting.len();
        for step in plan.steps {
            if run.is_over() {
                return;
            }
            let name = &step.entry.name;
            let node = match (nodes.remove(name), &first) {
                (Some(node), _) => node,
                (None, Some(first)) => brought::found(first, step.entry.clone()),
                (None, None) => continue,
            };
            let decision = step.decision;
            let crossing = run.job.options.one_file_system && dev != 0 && dev != step.entry.meta.dev;
            // What an operand names is walked as far as the operand says; what a listing shows, with -r.
            let walks = named_only || run.job.options.recursive && !crossing;
            let contents = if walks { node.contents } else { Vec::new() };
            let path = below(&dest_path, name);
            let found = found.remove(name);
            let found = match found {
                Some(found) if run.job.options.checksum && step.entry.meta.is_file() => {
                    let early = if found.path == path { same.remove(name) } else { None };
                    let early = early.and_then(|mut early| early.remove(&basis::tree_of(&found, &self.bases)?));
                    match basis::by_hash(run, found, &node.origin, step.entry.meta.size, early).await {
                        Ok(found) => Some(found),
                        Err(fault) => {
                            run.trouble(&fault, Some(&below(&shown_dir, name)));
                            None
                        }
                    }
                }
                found => found,
            };
            let place = Place {
                first: None,
                basis: found,
                origin: node.origin,
                contents,
                given: node.children,
                silent: node.silent,
                dest_path: path,
                shown: below(&shown_dir, &step.entry.name),
                protect: protect.clone(),
                directory: directory.clone(),
                made: false,
                later: shut,
                planned: None,
                in_way: in_way.remove(name),
            };
            // Directories come after what is none, each followed at once by its contents.
            if step.entry.meta.is_dir() {
                let Step { entry, old, .. } = step;
                let pending = Pending { place, entry, old, decision, listings: None };
                self.waiting.push(Next::Entry(Box::new(pending)));
            } else {
                self.entry(place, step.entry, step.old, decision).await;
            }
        }
        // The first one found is the next one walked.
        self.waiting[first_new..].reverse();
    }
}

/// `-L`: a link that leads nowhere cannot be followed, and is not sent.
pub fn has_referent(run: &Run, hide: &Filter, hop: &Arc<str>, dir: &[u8], entry: &Entry) -> bool {
    if entry.meta.kind != Kind::Symlink {
        return true;
    }
    let shown = below(dir, &entry.name);
    // What is left out anyway is not told of, whatever it would have led to.
    if hide.excludes(&shown, false, Side::Sender) || hide.excludes(&shown, true, Side::Sender) {
        return false;
    }
    let text = format!("symlink has no referent: \"{}\"", String::from_utf8_lossy(&shown));
    run.tally().listing_errors = true;
    run.trouble(&Fault::new(hop.clone(), Stage::List, Cause::NotFound, text), Some(&shown));
    false
}

/// A directory in the way of an entry.
enum InWay {
    /// Whether it is empty.
    Looked(JoinHandle<Result<bool, Fault>>),
    /// What making way would be, in a dry run, and what is told of it.
    Tried(JoinHandle<Result<(), Fault>>, UnboundedReceiver<delete::Line>),
}

/// Where an entry is, at both ends.
struct Place {
    origin: Origin,
    /// The directories to be walked as this one.
    contents: Vec<Origin>,
    /// `-H`: it is the first name of its file.
    first: Option<Promise>,
    /// What `--link-dest` and its kin have of it.
    basis: Option<basis::Found>,
    /// What operands bring into it.
    given: Nodes,
    /// It is made if it is not there, and that is all.
    silent: bool,
    dest_path: Vec<u8>,
    shown: Vec<u8>,
    /// The destination's rules of the directory that it goes into.
    protect: Arc<Filter>,
    /// The directory that it goes into.
    directory: Directory,
    /// It is the destination's own root, made for this run.
    made: bool,
    /// A file's line comes once it is there.
    later: bool,
    /// A file that was announced already.
    planned: Option<FileId>,
    /// What is in its way, where that was looked into before its turn.
    in_way: Option<InWay>,
}
