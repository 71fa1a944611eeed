//! Walks both ends directory by directory, in rsync's order, and starts what each entry needs.
//!
//! Listings run ahead of the decisions; decisions and printed lines come in order; files are delivered in any order, as
//! many at once as the budget allows. What is kept for the end is per directory, never per file.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::{JoinHandle, JoinSet};

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::job::BasisKind;
use crate::ledger::{Class, Event};
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
use super::deliver::{self, FileItem};
use super::directory::Directory;
use super::finish::{self, Extraneous, Left, LeftDirectory, below};
use super::links::{self, First, Links, Name, Promise};
use super::node;
use super::owners;
use super::progress;
use super::prune;
use super::referents;
use super::removal;
use super::rules;
use super::run::Run;

mod entry;
mod make;

/// Directories that are listed ahead of the one that is decided.
const LISTED_AHEAD: usize = 32;

/// Tasks for directories and links under way: they are small, but each waits for an answer.
const SMALL_TASKS: usize = 1024;

/// Names of one directory that are looked at together.
const LOOKS: usize = 64;

/// Files and bytes from which on more than one channel is worth its process at the server.
const FEW_FILES: u64 = 4;
const FEW_BYTES: u64 = 8 << 20;

/// One operand: what is walked, and where it goes.
pub struct Root {
    /// Where it is; its path is empty for a tree's own contents.
    pub origin: Origin,
    /// Its path in the destination's tree.
    pub dest_name: Vec<u8>,
    pub meta: Meta,
    pub target: Option<Vec<u8>>,
    /// The destination's directory was made by us: nothing below it needs a look.
    pub dest_is_new: bool,
}

/// All operands, and the destination's name of a single one that it renames.
pub struct Roots {
    pub brought: Brought,
    pub renamed: Option<Vec<u8>>,
    /// The destination's directory was made by us: nothing below it needs a look.
    pub dest_is_new: bool,
    /// `--delete-missing-args`: names of operands that are not there, and are to go at the destination too.
    pub absent: Vec<Vec<u8>>,
}

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
    /// Whether it is certain what will have to be listed: not where its place has to be made, or opened, first.
    fn is_sure(&self) -> bool {
        let walked = !self.place.contents.is_empty() || !self.place.given.is_empty();
        let open = self.old.as_ref().is_none_or(|old| old.meta.is_dir() && old.meta.mode & 0o700 == 0o700);
        walked && open && !matches!(self.decision, Decision::Skip(_))
    }
}

/// Both ends' listings, each with the rules that hold there; none of the destination's where it is new.
type Listings = (Vec<(Origin, Result<Listing, Fault>)>, Option<There>, basis::Listed);
type There = Result<(Listing, Arc<Filter>), Fault>;

struct Scan<'a> {
    run: &'a Arc<Run>,
    /// The destination's rules.
    protect: Arc<Filter>,
    left: Left,
    /// Directories still to be compared; the next one is last.
    waiting: Vec<Next>,
    /// The listings of the directory that is being entered.
    ahead: Option<JoinHandle<Listings>>,
    bases: Vec<Arc<dyn Tree>>,
    links: Links,
    tasks: JoinSet<()>,
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
    let mut scan = Scan {
        run,
        protect: Arc::new(protect),
        left: Left::default(),
        waiting: Vec::new(),
        ahead: None,
        bases: basis::open(run).await,
        links: Links::default(),
        tasks: JoinSet::new(),
        files: 0,
        bytes: 0,
    };
    run.printer.heading();
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
    while scan.tasks.join_next().await.is_some() {}
    scan.left
}

impl Scan<'_> {
    /// What is missing at the source and is to go at the destination; a directory only if deletion is asked for.
    async fn absent(&mut self, names: Vec<Vec<u8>>) {
        let deletes = self.run.job.options.delete.enabled || self.run.job.options.force;
        for path in names {
            match self.run.dest.stat(&path, false).await {
                Ok(Some(meta)) if !meta.is_dir() || deletes => {
                    let (dir, name) = crate::tree::split(&path);
                    let entry = Entry { name: name.to_vec(), meta, target: None };
                    let (path, shown, filter) = (dir.to_vec(), dir.to_vec(), self.protect.clone());
                    self.left.extraneous.push(Extraneous { path, shown, entries: vec![entry], filter });
                }
                Ok(_) => {}
                Err(fault) => self.run.trouble(&fault, Some(&path)),
            }
        }
    }

    /// The operands: what they bring to the top is one directory, in one order.
    async fn top(&mut self, roots: Roots) {
        let Roots { brought, renamed, dest_is_new, absent } = roots;
        self.absent(absent).await;
        let Brought { items, contents, itself } = brought;
        let contents_wanted = !contents.is_empty();
        if let Some(dest_name) = renamed {
            // It is alone.
            let mut items = items.into_values();
            let alone = match items.next() {
                Some(Node { entry: Entry { name, meta, target }, origin, .. }) => {
                    let origin = Origin { path: name, ..origin };
                    Some(Root { origin, dest_name, meta, target, dest_is_new })
                }
                None => contents.into_iter().next().map(|(origin, meta)| Root {
                    origin,
                    dest_name,
                    meta,
                    target: None,
                    dest_is_new,
                }),
            };
            if let Some(root) = alone {
                self.root(root).await;
            }
            return;
        }
        let mut contents = if contents_wanted { contents } else { itself.into_iter().collect() }.into_iter();
        if let Some((origin, meta)) = contents.next() {
            self.root(Root { origin, dest_name: Vec::new(), meta, target: None, dest_is_new }).await;
        }
        match self.waiting.last_mut() {
            Some(Next::Entry(_)) => {}
            Some(Next::Contents(top)) => {
                if !contents_wanted {
                    top.origins.clear();
                }
                top.origins.extend(contents.map(|(origin, _)| origin));
                top.given = items;
            }
            None if items.is_empty() => {}
            None => self.waiting.push(Next::Contents(Box::new(Waiting {
                origins: Vec::new(),
                given: items,
                dest_path: Vec::new(),
                shown: b".".to_vec(),
                protect: self.protect.clone(),
                exists: !dest_is_new,
                directory: Directory::there(),
                dev: 0,
                only_counted: false,
                listings: None,
            }))),
        }
    }

    /// An operand itself: a file, a link, or a directory to be walked.
    async fn root(&mut self, root: Root) {
        let Root { origin, dest_name, meta, target, dest_is_new } = root;
        let name = origin.path.clone();
        let mut entry = [Entry { name: Vec::new(), meta, target: None }];
        owners::translate(self.run, &mut entry).await;
        let [Entry { meta, .. }] = entry;
        let shown = if name.is_empty() { b".".to_vec() } else { name.clone() };
        if meta.is_dir() && !self.run.job.options.recursive && !self.run.job.options.dirs {
            return self.skip(&shown, &meta, Reason::Directory);
        }
        if !name.is_empty() && origin.filter.excludes(&name, meta.is_dir(), Side::Sender) {
            return;
        }
        let old = match dest_is_new {
            true => None,
            false => match self.run.dest.stat(&dest_name, false).await {
                Ok(old) => old,
                Err(fault) => {
                    self.run.tally().listing_errors = true;
                    return self.run.trouble(&fault, Some(&shown));
                }
            },
        };
        // The destination's own directory may be reached by a link; what it holds is what counts.
        let old = match old {
            Some(old) if dest_name.is_empty() && old.kind == Kind::Symlink => {
                self.run.dest.stat(&dest_name, true).await.ok().flatten()
            }
            old => old,
        };
        let mut old_entry = old.map(|meta| Entry { name: dest_name.clone(), meta, target: None });
        if let Some(old) = &mut old_entry
            && old.meta.kind == Kind::Symlink
        {
            old.target = self.run.dest.read_link(&dest_name).await.ok();
        }
        if let (Some(old), true) = (&mut old_entry, self.run.job.options.keep_dirlinks && meta.is_dir())
            && old.meta.kind == Kind::Symlink
        {
            referents::keep_dirlink(self.run, &dest_name, old).await;
        }
        // The directory that the destination's root is was made for us, or is there.
        let made = dest_is_new && dest_name.is_empty();
        let same_target = old_entry.as_ref().map(|old| target.is_some() && old.target == target);
        let Some(context) = self.context(old_entry.is_some()).await else { return };
        let mut decision = decide(&context, &meta, old_entry.as_ref().map(|old| &old.meta), same_target);
        if made {
            // In a dry run it is not there, and what is not there is not made with --existing.
            let lacks = self.run.job.options.existing && self.run.job.options.dry_run;
            decision = if lacks { Decision::Skip(Reason::NotExisting) } else { Decision::Create };
        }
        let entry = Entry { name: name.clone(), meta, target };
        let basis = if old_entry.is_none() || made { self.basis_of(&dest_name, &entry).await } else { None };
        let walked = self.run.job.options.recursive || shown == b".";
        let place = Place {
            contents: if walked { vec![origin.clone()] } else { Vec::new() },
            origin,
            first: None,
            basis,
            given: Nodes::new(),
            silent: false,
            dest_path: dest_name,
            shown,
            protect: self.protect.clone(),
            directory: Directory::there(),
            made,
        };
        self.entry(place, entry, old_entry, decision).await;
    }

    /// What a basis has for an operand by itself.
    async fn basis_of(&self, dest_name: &[u8], entry: &Entry) -> Option<basis::Found> {
        let mut listed = basis::Listed::new();
        for tree in &self.bases {
            let meta = tree.stat(dest_name, false).await.ok().flatten();
            let target = match &meta {
                Some(meta) if meta.kind == Kind::Symlink => tree.read_link(dest_name).await.ok(),
                _ => None,
            };
            let found = meta.map(|meta| (entry.name.clone(), Entry { name: entry.name.clone(), meta, target }));
            listed.push(found.into_iter().collect());
        }
        let context = self.context(true).await?;
        basis::find(&self.bases, &listed, dest_name, entry, &context)
    }

    /// The next directory, its listings and those of the ones after it being under way.
    fn next(&mut self) -> Option<Next> {
        let follow = self.run.job.options.copy_links;
        for next in self.waiting.iter_mut().rev().take(LISTED_AHEAD) {
            let (listings, origins, given, exists, dest_path, shown, protect) = match next {
                Next::Contents(w) => {
                    (&mut w.listings, &w.origins, &w.given, w.exists, &w.dest_path, &w.shown, &w.protect)
                }
                Next::Entry(p) if !p.is_sure() => continue,
                Next::Entry(pending) => {
                    let Pending { place, old, listings, .. } = pending.as_mut();
                    let Place { contents, given, dest_path, shown, protect, .. } = place;
                    (listings, &*contents, &*given, old.is_some(), &*dest_path, &*shown, &*protect)
                }
            };
            if listings.is_none() {
                let origins = origins.clone();
                let (shown, protect) = (shown.clone(), protect.clone());
                let transferred = self.run.job.options.delete.after && !self.run.job.options.dry_run;
                let (bases, basis_dir) = (self.bases.clone(), dest_path.clone());
                let dest = exists.then(|| (self.run.dest.clone(), dest_path.clone()));
                // Where only some names are given, the directory may be a large one that does not concern us.
                let names: Option<Vec<Vec<u8>>> = origins.is_empty().then(|| given.keys().cloned().collect());
                *listings = Some(tokio::spawn(async move {
                    let there = async {
                        match (&dest, names) {
                            (Some((dest, path)), None) => Some(dest.list(path, false).await),
                            (Some((dest, path)), Some(names)) => Some(look_at(dest.as_ref(), path, names).await),
                            (None, _) => None,
                        }
                    };
                    let here = origins.into_iter().map(|origin| rules::list(origin, &shown, follow));
                    let (here, there, bases) =
                        tokio::join!(futures::future::join_all(here), there, basis::list(bases, basis_dir));
                    let there = match (there, &dest) {
                        (Some(Ok(listing)), Some((dest, path))) => {
                            let from = here.first().filter(|_| transferred);
                            Some(protected(&protect, dest.as_ref(), path, &shown, listing, from).await)
                        }
                        (Some(Err(fault)), _) => Some(Err(fault)),
                        _ => None,
                    };
                    (here, there, bases)
                }));
            }
        }
        self.waiting.pop()
    }

    async fn directory(&mut self, waiting: Waiting) {
        let run = self.run;
        let Waiting { origins, given, dest_path, shown, protect, directory, dev, only_counted, listings, .. } = waiting;
        let Some(listings) = listings else { return };
        let Ok((here, there, bases)) = listings.await else { return };
        let shown_dir = if shown == b"." { Vec::new() } else { shown.clone() };
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
            if let Some(entries) = take(here) {
                listed.push((origin, entries));
            }
        }
        // Several directories' contents: each is held against its own rules.
        let several = listed.len() > 1;
        for (origin, entries) in listed.iter_mut().filter(|_| several) {
            entries.retain(|entry| {
                !origin.filter.excludes(&below(&shown_dir, &entry.name), entry.meta.is_dir(), Side::Sender)
            });
        }
        if listed.is_empty() && given.is_empty() {
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
            entries = referents::resolve(run, &shown_dir, entries, first.as_ref(), &mut nodes).await;
        }
        owners::translate(run, &mut entries).await;
        if run.job.options.prune_empty_dirs {
            entries = prune::keep_filled(run, &shown_dir, entries, first.as_ref(), &nodes).await;
        }
        if only_counted {
            return self.count(&shown_dir, entries, nodes, first.as_ref(), &hide);
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
            referents::keep_dirlinks(run, &dest_path, &entries, old).await;
        }
        let deletes = !named_only && (run.job.options.recursive || run.job.options.dirs);
        self.left.deletes |= deletes && run.job.options.delete.enabled;
        let compares = old.as_ref().is_some_and(|old| !old.is_empty()) || !self.bases.is_empty();
        let Some(context) = self.context(compares).await else { return };
        let filters = Filters { hide: &hide, protect: &protect };
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
        let mut found = basis::find_all(&context, &self.bases, &bases, &plan, &dest_path);
        for refused in &plan.refused {
            run.tally().listing_errors = true;
            let hop = if refused.side == Side::Sender { &hop } else { run.dest.hop() };
            let text = format!("listed {}: \"{}\"", refused.problem, String::from_utf8_lossy(&refused.name));
            run.trouble(&Fault::new(hop.clone(), Stage::List, Cause::Protocol, text), Some(&shown));
        }
        if !plan.delete.is_empty() {
            let (path, shown, filter) = (dest_path.clone(), shown_dir.clone(), protect.clone());
            self.left.extraneous.push(Extraneous { path, shown, entries: plan.delete, filter });
        }
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
                    match basis::by_hash(run, found, &node.origin, step.entry.meta.size).await {
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

impl Scan<'_> {
    /// Notes a directory that is left alone as one whose contents are to be counted.
    fn only_count(&mut self, place: Place) {
        if !place.contents.is_empty() || !place.given.is_empty() {
            self.waiting.push(Next::Contents(Box::new(Waiting {
                origins: place.contents,
                given: place.given,
                dest_path: place.dest_path,
                shown: place.shown,
                protect: place.protect,
                exists: false,
                directory: Directory::there(),
                dev: 0,
                only_counted: true,
                listings: self.ahead.take(),
            })));
        }
    }

    /// Counts what is in a directory that is left alone.
    fn count(
        &mut self,
        shown_dir: &[u8],
        mut entries: Vec<Entry>,
        mut nodes: HashMap<Vec<u8>, Node>,
        first: Option<&Origin>,
        hide: &Filter,
    ) {
        let options = &self.run.job.options;
        entries.retain(|entry| {
            let path = below(shown_dir, &entry.name);
            safe_name(&entry.name).is_ok() && !hide.excludes(&path, entry.meta.is_dir(), Side::Sender)
        });
        for entry in entries {
            self.run.tally().stats.found(&entry.meta);
            let node = nodes.remove(&entry.name).or_else(|| first.map(|first| brought::found(first, entry.clone())));
            let (Some(node), true) = (node, entry.meta.is_dir()) else { continue };
            let shown = below(shown_dir, &entry.name);
            let contents = if options.recursive { node.contents } else { Vec::new() };
            let mut place = Place::of(node.origin, shown, contents);
            place.given = node.children;
            self.only_count(place);
        }
    }
}

/// The destination's listing of a directory, and its rules there: with `--delete-after` those that will have been
/// transferred by then.
async fn protected(
    protect: &Arc<Filter>,
    dest: &dyn Tree,
    path: &[u8],
    shown: &[u8],
    listing: Listing,
    from: Option<&(Origin, Result<Listing, Fault>)>,
) -> There {
    let mut dirs = Vec::new();
    let visible;
    if let Some((origin, Ok(listed))) = from {
        let hidden = |name: &[u8]| origin.filter.excludes(&below(shown, name), false, Side::Sender);
        let entries = listed.entries.iter().filter(|entry| !hidden(&entry.name)).cloned().collect();
        visible = Listing { entries, faults: Vec::new() };
        dirs.push(rules::Dir { tree: origin.source.as_ref(), path: &origin.path, listing: &visible });
    }
    dirs.push(rules::Dir { tree: dest, path, listing: &listing });
    let filter = rules::enter(protect, Side::Receiver, shown, &dirs).await?;
    drop(dirs);
    Ok((listing, filter))
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

/// What the destination has under some names of a directory.
async fn look_at(dest: &dyn Tree, dir: &[u8], names: Vec<Vec<u8>>) -> Result<Listing, Fault> {
    use futures::StreamExt;
    let looks = futures::stream::iter(names.into_iter().map(|name| async move {
        let path = below(dir, &name);
        let Some(meta) = dest.stat(&path, false).await? else { return Ok(None) };
        let target = if meta.kind == Kind::Symlink { Some(dest.read_link(&path).await?) } else { None };
        Ok(Some(Entry { name, meta, target }))
    }));
    let found: Vec<Result<Option<Entry>, Fault>> = looks.buffered(LOOKS).collect().await;
    let entries: Result<Vec<Option<Entry>>, Fault> = found.into_iter().collect();
    Ok(Listing { entries: entries?.into_iter().flatten().collect(), faults: Vec::new() })
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
}

impl Place {
    /// Somewhere at the source, of which the destination has nothing.
    fn of(origin: Origin, shown: Vec<u8>, contents: Vec<Origin>) -> Place {
        Place {
            origin,
            contents,
            first: None,
            basis: None,
            given: Nodes::new(),
            silent: false,
            dest_path: Vec::new(),
            shown,
            protect: Arc::default(),
            directory: Directory::there(),
            made: false,
        }
    }
}
