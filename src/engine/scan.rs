//! Walks both ends directory by directory, in rsync's order, and starts what each entry needs.
//!
//! Listings run ahead of the decisions; decisions and printed lines come in order; files are delivered in any order, as
//! many at once as the budget allows. What is kept for the end is per directory, never per file.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::{JoinHandle, JoinSet};

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::job::BasisKind;
use crate::ledger::{Class, Event};
use crate::output::{Item, Skip, Update};
use crate::plan::diff::{Step, diff_dir};
use crate::plan::filter::{Filter, Side};
use crate::plan::quick_check::{Context, Decision, Differs, MakeWay, Reason, decide};
use crate::tree::{Change, Listing, Tree};

use super::basis;
use super::brought::{self, Brought, Node, Origin};
use super::deliver::{self, FileItem};
use super::directory::Directory;
use super::finish::{self, Left, LeftDirectory, below};
use super::links::{self, First, Links, Name, Promise};
use super::node;
use super::progress;
use super::prune;
use super::removal;
use super::run::Run;

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
    pub source: Arc<dyn Tree>,
    /// The item's path in `source`; empty for the tree's own contents.
    pub name: Vec<u8>,
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
}

/// A directory that waits to be compared.
struct Waiting {
    /// The directories whose contents come here; none where only some names are given.
    origins: Vec<Origin>,
    given: Vec<Node>,
    dest_path: Vec<u8>,
    shown: Vec<u8>,
    /// Whether the destination has it already.
    exists: bool,
    directory: Directory,
    /// The source's device, for `-x`.
    dev: u64,
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

/// Both ends' listings; none of the destination's where it is new.
type Listings = (Vec<Result<Listing, Fault>>, Option<Result<Listing, Fault>>, basis::Listed);

struct Scan<'a> {
    run: &'a Arc<Run>,
    filter: Filter,
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
    let filter = Filter::new(&options.rules).delete_excluded(options.delete.excluded);
    let left = Left { filter: filter.clone(), ..Left::default() };
    let mut scan = Scan { run, filter, left, waiting: Vec::new(), ahead: None, bases: basis::open(run).await, links: Links::default(), tasks: JoinSet::new(), files: 0, bytes: 0 };
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
    /// The operands: what they bring to the top is one directory, in one order.
    async fn top(&mut self, roots: Roots) {
        let Roots { brought, renamed, dest_is_new } = roots;
        let Brought { items, contents, itself } = brought;
        let contents_wanted = !contents.is_empty();
        if let Some(dest_name) = renamed {
            // It is alone.
            for node in items {
                let Node { entry: Entry { name, meta, target }, origin, .. } = node;
                let root = Root { source: origin.source, name, dest_name, meta, target, dest_is_new };
                return self.root(root).await;
            }
            for (origin, meta) in contents {
                let root = Root { source: origin.source, name: origin.path, dest_name, meta, target: None, dest_is_new };
                return self.root(root).await;
            }
            return;
        }
        let mut contents = if contents_wanted { contents } else { itself.into_iter().collect() }.into_iter();
        if let Some((origin, meta)) = contents.next() {
            let (name, dest_name) = (origin.path, Vec::new());
            self.root(Root { source: origin.source, name, dest_name, meta, target: None, dest_is_new }).await;
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
                exists: !dest_is_new,
                directory: Directory::there(),
                dev: 0,
                listings: None,
            }))),
        }
    }

    /// An operand itself: a file, a link, or a directory to be walked.
    async fn root(&mut self, root: Root) {
        let Root { source, name, dest_name, meta, target, dest_is_new } = root;
        let shown = if name.is_empty() { b".".to_vec() } else { name.clone() };
        if meta.is_dir() && !self.run.job.options.recursive && !self.run.job.options.dirs {
            return self.skip(&shown, &meta, Reason::Directory);
        }
        if !name.is_empty() && self.filter.excludes(&name, meta.is_dir(), Side::Sender) {
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
        // The directory that the destination's root is was made for us, or is there.
        let made = dest_is_new && dest_name.is_empty();
        let same_target = old_entry.as_ref().map(|old| target.is_some() && old.target == target);
        let Some(context) = self.context(old_entry.is_some()).await else { return };
        let mut decision = decide(&context, &meta, old_entry.as_ref().map(|old| &old.meta), same_target);
        if made {
            decision = Decision::Create;
        }
        let entry = Entry { name: name.clone(), meta, target };
        let basis = if old_entry.is_none() || made { self.basis_of(&dest_name, &entry).await } else { None };
        let origin = Origin { source, path: name };
        let walked = self.run.job.options.recursive || shown == b".";
        let place = Place {
            contents: if walked { vec![origin.clone()] } else { Vec::new() },
            origin,
            first: None,
            basis,
            given: Vec::new(),
            silent: false,
            dest_path: dest_name,
            shown,
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
            let (listings, origins, given, exists, dest_path) = match next {
                Next::Contents(w) => (&mut w.listings, &w.origins, &w.given, w.exists, &w.dest_path),
                Next::Entry(p) if !p.is_sure() => continue,
                Next::Entry(p) => {
                    (&mut p.listings, &p.place.contents, &p.place.given, p.old.is_some(), &p.place.dest_path)
                }
            };
            if listings.is_none() {
                let origins = origins.clone();
                let (bases, basis_dir) = (self.bases.clone(), dest_path.clone());
                let dest = exists.then(|| (self.run.dest.clone(), dest_path.clone()));
                // Where only some names are given, the directory may be a large one that does not concern us.
                let names: Option<Vec<Vec<u8>>> =
                    origins.is_empty().then(|| given.iter().map(|node| node.entry.name.clone()).collect());
                *listings = Some(tokio::spawn(async move {
                    let there = async {
                        match (&dest, names) {
                            (Some((dest, path)), None) => Some(dest.list(path, false).await),
                            (Some((dest, path)), Some(names)) => Some(look_at(dest.as_ref(), path, names).await),
                            (None, _) => None,
                        }
                    };
                    let here = origins.iter().map(|origin| origin.source.list(&origin.path, follow));
                    tokio::join!(futures::future::join_all(here), there, basis::list(bases, basis_dir))
                }));
            }
        }
        self.waiting.pop()
    }

    async fn directory(&mut self, waiting: Waiting) {
        let run = self.run;
        let Waiting { origins, given, dest_path, shown, directory, dev, listings, .. } = waiting;
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
        for (origin, here) in origins.into_iter().zip(here) {
            if let Some(entries) = take(here) {
                listed.push((origin, entries));
            }
        }
        if listed.is_empty() && given.is_empty() {
            return;
        }
        let first = listed.first().map(|(origin, _)| origin.clone());
        let hop = first.as_ref().map_or_else(|| "local".into(), |origin| origin.source.hop().clone());
        let (mut entries, mut nodes) = brought::overlay(listed, given);
        if run.job.options.copy_links {
            entries.retain(|entry| has_referent(run, &hop, &shown_dir, entry));
        }
        if run.job.options.prune_empty_dirs {
            entries = prune::keep_filled(run, &self.filter, &shown_dir, entries, first.as_ref(), &nodes).await;
        }
        let old = match there {
            Some(listed) => match take(listed) {
                Some(entries) => Some(entries),
                // What is there is not known: nothing may be decided on it.
                None => return,
            },
            None => None,
        };
        let deletes = !named_only && (run.job.options.recursive || run.job.options.dirs);
        let compares = old.as_ref().is_some_and(|old| !old.is_empty()) || !self.bases.is_empty();
        let Some(context) = self.context(compares).await else { return };
        // What operands name was held against the filters already, and the way to it is not.
        let no_filter = Filter::default();
        let filter = if named_only { &no_filter } else { &self.filter };
        let mut plan = diff_dir(&shown_dir, entries, old, &context, filter, whole && deletes);
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
            self.left.extraneous.push((dest_path.clone(), shown_dir.clone(), plan.delete));
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

    fn skip(&mut self, shown: &[u8], meta: &Meta, reason: Reason) {
        let printer = &self.run.printer;
        match reason {
            Reason::NonRegular => printer.skipping_non_regular(shown),
            Reason::Directory => printer.skipping_directory(shown),
            Reason::Exists => printer.skipped(shown, Skip::Exists),
            Reason::NotExisting => printer.skipped(shown, Skip::NotCreating),
            Reason::Newer => printer.skipped(shown, Skip::Newer),
            Reason::TooBig => printer.skipped(shown, Skip::OverMax),
            Reason::TooSmall => printer.skipped(shown, Skip::UnderMin),
        }
        if meta.is_file() {
            let id = self.run.ledger.planned(shown, meta.size);
            self.run.ledger.class(id, shown, Class::Skipped(reason_name(reason)));
        }
    }

    /// What decisions depend on. Where there is nothing to compare with, nothing has to be known of the far end, and nobody
    /// waits for it.
    async fn context(&self, compares: bool) -> Option<Context<'_>> {
        let options = &self.run.job.options;
        let context = match compares {
            true => self.run.context().await,
            false => Context::new(options, 0)
                .map_err(|text| Fault::new("local", Stage::Attributes, Cause::Config, text))
                .map(|context| Context { dest_is_sftp: self.run.remote.is_some() && !self.run.pull, ..context }),
        };
        context.map_err(|fault| self.run.trouble(&fault, None)).ok()
    }

    /// Differences that cannot be set do not count: rsync skips them silently too.
    async fn settable(&self, decision: Decision, new: &Meta) -> Decision {
        let (Decision::Attributes(differs) | Decision::Update(differs) | Decision::NeedHash(differs)) = decision else {
            return decision;
        };
        let group = differs.group && self.run.may_chgrp(new.gid).await;
        let differs = Differs { group, ..differs };
        match decision {
            Decision::Attributes(_) if !differs.any() => Decision::Unchanged,
            Decision::Attributes(_) => Decision::Attributes(differs),
            Decision::Update(_) => Decision::Update(differs),
            _ => Decision::NeedHash(differs),
        }
    }

    async fn print(&self, place: &Place, entry: &Entry, old: Option<&Entry>, update: Update, content_differs: bool) {
        let options = &self.run.job.options;
        // Of what is new, `-i` shows no owner and no group.
        let (sets_owner, sets_group) = match old {
            None => (false, false),
            Some(_) => (
                options.owner && self.run.identity().await.uid == Some(0),
                options.group && self.run.may_chgrp(entry.meta.gid).await,
            ),
        };
        let Some(context) = self.context(old.is_some()).await else { return };
        // What a basis has is what is compared with, though it is at the destination that something is made.
        let found = place.basis.as_ref();
        let matched = found.is_some_and(|found| found.level >= basis::Level::Data);
        let update = if matched { Update::Create } else { update };
        let old = found.map(|found| &found.entry).or(old);
        let content_differs = content_differs && found.is_none();
        let linked = found.and_then(|found| basis::settles(self.run, found)) == Some(BasisKind::Link);
        let hard_link = (linked && !entry.meta.is_dir()).then_some(b"".as_slice());
        let new = context.shown(&entry.meta, old.map(|old| &old.meta));
        self.run.printer.item(&Item {
            path: &place.shown,
            new: &new,
            old: old.map(|old| &old.meta),
            target: entry.target.as_deref(),
            update,
            content_differs,
            push: self.run.push(),
            sets_owner,
            sets_group,
            source: (place.origin.source.root(), &place.origin.path),
            receives: self.run.pull,
            hard_link,
            matched,
        });
    }

    async fn entry(&mut self, place: Place, entry: Entry, old: Option<Entry>, decision: Decision) {
        let run = self.run;
        if place.silent {
            return self.enter(place, entry, old, decision).await;
        }
        let decision = self.settable(decision, &entry.meta).await;
        // A source is removed only if the destination is proven to have the same: looking alike does not do.
        let decision = match decision {
            Decision::Unchanged if run.job.options.remove_source_files && entry.meta.is_file() => {
                Decision::NeedHash(Differs::default())
            }
            Decision::Attributes(differs) if run.job.options.remove_source_files && entry.meta.is_file() => {
                Decision::NeedHash(differs)
            }
            other => other,
        };
        {
            let mut tally = run.tally();
            tally.stats.files.add(entry.meta.kind);
            if matches!(entry.meta.kind, Kind::File | Kind::Symlink) {
                tally.stats.total_size += entry.meta.size;
            }
            if matches!(decision, Decision::Create | Decision::Replace(_)) {
                tally.stats.created.add(entry.meta.kind);
            }
        }
        let mut place = place;
        if run.job.options.hard_links && entry.meta.is_file() && !matches!(decision, Decision::Skip(_)) {
            let stays = matches!(decision, Decision::Unchanged | Decision::Attributes(_));
            let there = old.as_ref().map(|old| &old.meta);
            match self.links.name(&entry.meta, there, stays, &place.dest_path, &place.shown) {
                Name::Only => {}
                Name::First(promise) => place.first = Some(promise),
                Name::Other(first) => return self.hard_link(place, entry, old, decision, first).await,
            }
        }
        let old_same_kind = old.as_ref().filter(|old| old.meta.kind == entry.meta.kind);
        let old_same_kind_meta = old_same_kind.map(|old| old.meta.clone());
        // Another device under the same name is another thing.
        let decision = match (entry.meta.kind, &decision) {
            (Kind::Device | Kind::Special, Decision::Unchanged | Decision::Attributes(_)) => {
                let same = run.dest.is_node_like(&place.dest_path, place.origin.source.as_ref(), &place.origin.path);
                if same.await.unwrap_or(true) { decision } else { Decision::Replace(MakeWay::Unlink) }
            }
            _ => decision,
        };
        let (update, content) = match decision {
            Decision::Skip(reason) => return self.skip(&place.shown, &entry.meta, reason),
            Decision::Create | Decision::Replace(_) if entry.meta.is_file() => (Update::Transfer, true),
            Decision::Create | Decision::Replace(_) => (Update::Create, true),
            Decision::Update(differs) if entry.meta.is_file() => (Update::Transfer, differs.content),
            Decision::Update(_) => (Update::Create, true),
            Decision::NeedHash(_) => (Update::Transfer, false),
            Decision::Attributes(_) | Decision::Unchanged => (Update::Attributes, false),
        };
        // Whether a file of equal size is sent is known only when both ends are hashed; its line comes then. With
        // `--progress`, a file's line comes with the one that says it is whole.
        let told = place.basis.as_ref().is_some_and(|found| found.level >= basis::Level::Data);
        let later = entry.meta.is_file() && !told && decision.transfers() && progress::by_file(run);
        if !later && !matches!(decision, Decision::NeedHash(_)) {
            self.print(&place, &entry, old_same_kind, update, content).await;
        }
        if let Some(found) = &place.basis
            && let Some(kind) = basis::settles(run, found)
            && !entry.meta.is_dir()
        {
            return self.settle(place, entry, kind).await;
        }
        match entry.meta.kind {
            Kind::File => self.file(place, entry, old, decision).await,
            Kind::Dir => self.enter(place, entry, old, decision).await,
            Kind::Symlink => self.link(place, entry, decision).await,
            Kind::Device | Kind::Special if decision == Decision::Unchanged => {}
            Kind::Device | Kind::Special if !node::is_possible(run, &place.origin) => {
                run.trouble(&node::refused(run), Some(&place.shown));
            }
            Kind::Device | Kind::Special => self.node(place, entry, decision, old_same_kind_meta).await,
        }
    }

    /// Another name of a file that was found before.
    async fn hard_link(&mut self, place: Place, entry: Entry, old: Option<Entry>, decision: Decision, first: Arc<First>) {
        let run = self.run.clone();
        let id = run.ledger.planned(&place.shown, entry.meta.size);
        let same_kind = old.as_ref().filter(|old| old.meta.is_file());
        let is_same = same_kind.is_some_and(|old| first.is_same(&old.meta));
        let named: &[u8] = if is_same { b"" } else { &first.shown };
        self.print_link(&place, &entry, same_kind, named).await;
        if is_same || run.job.options.dry_run {
            let class = if is_same { Class::Unchanged } else { Class::Skipped("dry run") };
            run.ledger.class(id, &place.shown, class);
            return;
        }
        let filter = self.filter.clone();
        self.small_task(async move {
            let linked = async {
                place.directory.ready().await?;
                let mut old = old.map(|old| old.meta);
                if let Decision::Replace(way) = decision {
                    finish::make_way(&run, &filter, &place.dest_path, &place.shown, way).await?;
                    old = None;
                }
                links::link(&run, &first, &place.dest_path, old.as_ref()).await
            };
            match linked.await {
                Ok(class) => {
                    run.ledger.class(id, &place.shown, class);
                }
                Err(_) if run.is_over() => {}
                Err(fault) => {
                    run.failed(&fault, &place.shown);
                    run.ledger.class(id, &place.shown, Class::Failed(fault));
                }
            }
        })
        .await;
    }

    async fn print_link(&self, place: &Place, entry: &Entry, old: Option<&Entry>, first: &[u8]) {
        let Some(context) = self.context(old.is_some()).await else { return };
        let new = context.shown(&entry.meta, old.map(|old| &old.meta));
        self.run.printer.item(&Item {
            path: &place.shown,
            new: &new,
            old: old.map(|old| &old.meta),
            target: None,
            update: Update::Create,
            content_differs: false,
            push: self.run.push(),
            sets_owner: self.run.job.options.owner && context.may_chown,
            sets_group: self.run.job.options.group && self.run.may_chgrp(entry.meta.gid).await,
            source: (place.origin.source.root(), &place.origin.path),
            receives: self.run.pull,
            hard_link: Some(first),
            matched: true,
        });
    }

    /// An entry that a basis has: linked, or left there.
    async fn settle(&mut self, place: Place, entry: Entry, kind: BasisKind) {
        let run = self.run.clone();
        let id = entry.meta.is_file().then(|| run.ledger.planned(&place.shown, entry.meta.size));
        let done = move |class: Class, run: &Run, shown: &[u8]| {
            if let Some(id) = id {
                run.ledger.class(id, shown, class);
            }
        };
        if kind == BasisKind::Compare || run.job.options.dry_run {
            return done(Class::Unchanged, &run, &place.shown);
        }
        let filter = self.filter.clone();
        self.small_task(async move {
            let Some(found) = &place.basis else { return };
            let told = |class: &Class| {
                if let Some(first) = &place.first {
                    first.settled(class);
                }
            };
            let linked = async {
                place.directory.ready().await?;
                if basis::link(&run, found, &place.dest_path).await? {
                    return Ok(true);
                }
                match entry.meta.is_file() {
                    true => Ok(false),
                    false => make_link(&run, &filter, &place, &entry, Decision::Create).await.map(|()| true),
                }
            };
            match linked.await {
                Ok(true) => {
                    told(&Class::Unchanged);
                    done(Class::Unchanged, &run, &place.shown);
                }
                Ok(false) => {
                    let Some(id) = id else { return };
                    let item = FileItem {
                        id,
                        source: place.origin.source,
                        source_path: place.origin.path,
                        dest_path: place.dest_path,
                        shown: place.shown,
                        meta: entry.meta,
                        old: None,
                        directory: place.directory,
                        follow: run.job.options.copy_links,
                        decision: Decision::Create,
                        told: true,
                        first: place.first,
                    };
                    let permit = run.budget.file().await;
                    deliver::deliver(&run, item).await;
                    drop(permit);
                }
                Err(fault) => {
                    if !run.is_over() {
                        run.failed(&fault, &place.shown);
                        done(Class::Failed(fault), &run, &place.shown);
                    }
                }
            }
        })
        .await;
    }

    async fn file(&mut self, place: Place, entry: Entry, old: Option<Entry>, decision: Decision) {
        let run = self.run;
        let meta = entry.meta;
        let id = run.ledger.planned(&place.shown, meta.size);
        let early = |class: Class| {
            if let Some(first) = &place.first {
                first.settled(&class);
            }
            run.ledger.class(id, &place.shown, class);
        };
        if decision == Decision::Unchanged {
            early(Class::Unchanged);
            return;
        }
        let hashes = matches!(decision, Decision::NeedHash(_));
        if run.job.options.dry_run && !hashes {
            if decision.transfers() {
                let mut tally = run.tally();
                tally.stats.transferred += 1;
                tally.stats.transferred_size += meta.size;
            }
            early(Class::Skipped("dry run"));
            return;
        }
        self.files += 1;
        self.bytes += meta.size;
        run.printer.watch().set_totals(self.files, self.bytes);
        if let Some(remote) = &run.remote
            && (self.files > FEW_FILES || self.bytes > FEW_BYTES)
        {
            remote.want(run.channels_wanted());
        }
        if let Decision::Replace(way) = decision
            && let Err(fault) = finish::make_way(run, &self.filter, &place.dest_path, &place.shown, way).await
        {
            run.failed(&fault, &place.shown);
            early(Class::Failed(fault));
            return;
        }
        let item = FileItem {
            id,
            told: place.basis.as_ref().is_some_and(|found| found.level >= basis::Level::Data),
            first: place.first,
            old: old.map(|old| old.meta),
            source: place.origin.source,
            source_path: place.origin.path,
            dest_path: place.dest_path,
            shown: place.shown,
            meta,
            directory: place.directory,
            follow: run.job.options.copy_links,
            decision,
        };
        let permit = run.budget.file().await;
        let run = run.clone();
        self.tasks.spawn(async move {
            run.under_way.fetch_add(1, Ordering::Relaxed);
            deliver::deliver(&run, item).await;
            run.under_way.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        });
        self.reap();
    }

    /// Takes out tasks that have ended, so that the set holds only what is under way.
    fn reap(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }

    async fn small_task(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
        self.reap();
        while self.tasks.len() > SMALL_TASKS {
            self.tasks.join_next().await;
        }
    }

    async fn enter(&mut self, place: Place, entry: Entry, old: Option<Entry>, decision: Decision) {
        let run = self.run;
        let options = &run.job.options;
        let new = matches!(decision, Decision::Create | Decision::Replace(_));
        let old_meta = old.as_ref().map(|old| &old.meta).filter(|old| old.is_dir());
        // Work in a directory needs write and search permission; the final mode comes last.
        let closed = match old_meta {
            Some(old) if old.mode & 0o300 != 0o300 => run.identity().await.uid != Some(0),
            _ => false,
        };
        let directory = if !new || options.dry_run {
            if closed && !options.dry_run {
                let open = Change { mode: Some(old_meta.map_or(0, |old| old.mode) | 0o700), ..Change::default() };
                if let Err(fault) = run.dest.set(&place.dest_path, open, false).await {
                    run.trouble(&fault, Some(&place.shown));
                }
            }
            Directory::there()
        } else if place.made {
            Directory::there()
        } else {
            let directory = Directory::to_come();
            let way = match decision {
                Decision::Replace(way) => Some(way),
                _ => None,
            };
            let mode = if place.silent { 0o777 } else { entry.meta.mode | 0o700 };
            let task = make_directory(
                run.clone(),
                self.filter.clone(),
                place.dest_path.clone(),
                place.shown.clone(),
                place.directory.clone(),
                directory.clone(),
                mode,
                way,
            );
            self.small_task(task).await;
            directory
        };
        // What is put into a directory changes its time, so even one that needs nothing is set again if anything may.
        let touched = new || closed || matches!(decision, Decision::Attributes(_)) || options.times;
        if touched && !place.silent {
            self.left.directories.push(LeftDirectory {
                path: place.dest_path.clone(),
                shown: place.shown.clone(),
                meta: entry.meta.clone(),
                old: old_meta.cloned(),
            });
        }
        if !place.contents.is_empty() || !place.given.is_empty() {
            let listings = self.ahead.take();
            self.waiting.push(Next::Contents(Box::new(Waiting {
                origins: place.contents,
                given: place.given,
                dest_path: place.dest_path,
                shown: place.shown,
                exists: !new,
                directory,
                dev: entry.meta.dev,
                listings,
            })));
        }
    }

    async fn node(&mut self, place: Place, entry: Entry, decision: Decision, old: Option<Meta>) {
        let run = self.run.clone();
        if run.job.options.dry_run {
            return;
        }
        let filter = self.filter.clone();
        self.small_task(async move {
            let made = async {
                let change = run.change(&entry.meta, old.as_ref()).await?;
                let names = (place.dest_path.as_slice(), place.shown.as_slice());
                node::make(&run, &filter, &place.origin, &place.directory, names, decision, change).await
            };
            if let Err(fault) = made.await
                && !run.is_over()
            {
                run.trouble(&fault, Some(&place.shown));
            }
        })
        .await;
    }

    async fn link(&mut self, place: Place, entry: Entry, decision: Decision) {
        let run = self.run.clone();
        let unchanged = decision == Decision::Unchanged && !run.job.options.remove_source_files;
        if unchanged || run.job.options.dry_run {
            return;
        }
        let filter = self.filter.clone();
        self.small_task(async move {
            let made = make_link(&run, &filter, &place, &entry, decision).await;
            match made {
                Ok(()) => {
                    let target = entry.target.as_deref().unwrap_or_default();
                    run.ledger.event(Event::SymlinkMade { path: &place.shown, target });
                    if run.job.options.remove_source_files {
                        removal::remove_link(&run, &place.origin, &entry, &place.dest_path, &place.shown).await;
                    }
                }
                Err(_) if run.is_over() => {}
                Err(fault) => run.trouble(&fault, Some(&place.shown)),
            }
        })
        .await;
    }
}

/// `-L`: a link that leads nowhere cannot be followed, and is not sent.
pub fn has_referent(run: &Run, hop: &Arc<str>, dir: &[u8], entry: &Entry) -> bool {
    if entry.meta.kind != Kind::Symlink {
        return true;
    }
    let shown = below(dir, &entry.name);
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
    given: Vec<Node>,
    /// It is made if it is not there, and that is all.
    silent: bool,
    dest_path: Vec<u8>,
    shown: Vec<u8>,
    /// The directory that it goes into.
    directory: Directory,
    /// It is the destination's own root, made for this run.
    made: bool,
}

#[expect(clippy::too_many_arguments, reason = "a task owns what it works on")]
async fn make_directory(
    run: Arc<Run>,
    filter: Filter,
    path: Vec<u8>,
    shown: Vec<u8>,
    parent: Directory,
    directory: Directory,
    mode: u32,
    way: Option<crate::plan::quick_check::MakeWay>,
) {
    let made = async {
        parent.ready().await?;
        if let Some(way) = way {
            finish::make_way(&run, &filter, &path, &shown, way).await?;
        }
        match run.dest.mkdir(&path, mode).await {
            Ok(()) => Ok(()),
            // Somebody else may have been faster: many runs stage the same tree at once.
            Err(fault) => match run.dest.stat(&path, false).await {
                Ok(Some(found)) if found.is_dir() => Ok(()),
                _ => Err(fault),
            },
        }
    };
    let made = made.await;
    match &made {
        Ok(()) => run.ledger.event(Event::DirectoryMade { path: &shown }),
        Err(_) if run.is_over() => {}
        Err(fault) => run.trouble(fault, Some(&shown)),
    }
    directory.made(made);
}

async fn make_link(run: &Run, filter: &Filter, place: &Place, entry: &Entry, decision: Decision) -> Result<(), Fault> {
    place.directory.ready().await?;
    let change = Change { mode: None, ..run.change(&entry.meta, None).await? };
    let path = &place.dest_path;
    let target = entry.target.as_deref().unwrap_or_default();
    match decision {
        Decision::Attributes(_) | Decision::Unchanged => {}
        Decision::Create => run.dest.symlink(target, path).await?,
        _ => {
            if let Decision::Replace(way) = decision {
                finish::make_way(run, filter, path, &place.shown, way).await?;
            }
            // Made beside the old one and renamed over it: the name never shows nothing.
            let temp = run.temps.name(path);
            run.dest.symlink(target, &temp).await?;
            if matches!(decision, Decision::Update(_)) {
                super::backup::keep(run, path).await?;
            }
            run.dest.commit(&temp, path, Change::default()).await?;
            run.temps.gone(&temp);
        }
    }
    if change.is_empty() { Ok(()) } else { run.dest.set(path, change, true).await }
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Exists => "exists",
        Reason::NotExisting => "not existing",
        Reason::Newer => "newer at the receiver",
        Reason::TooBig => "over --max-size",
        Reason::TooSmall => "under --min-size",
        Reason::NonRegular => "no regular file",
        Reason::Directory => "a directory",
    }
}
