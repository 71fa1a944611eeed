//! Walks both ends directory by directory, in rsync's order, and starts what each entry needs.
//!
//! Listings run ahead of the decisions; decisions and printed lines come in order; files are delivered in any order, as
//! many at once as the budget allows. What is kept for the end is per directory, never per file.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::{JoinHandle, JoinSet};

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::ledger::{Class, Event};
use crate::output::{Item, Skip, Update};
use crate::plan::diff::diff_dir;
use crate::plan::filter::{Filter, Side};
use crate::plan::quick_check::{Context, Decision, Differs, Reason, decide};
use crate::tree::{Change, Listing, Tree};

use super::deliver::{self, FileItem};
use super::directory::Directory;
use super::finish::{self, Left, LeftDirectory, below};
use super::progress;
use super::run::Run;

/// Directories that are listed ahead of the one that is decided.
const LISTED_AHEAD: usize = 32;

/// Tasks for directories and links under way: they are small, but each waits for an answer.
const SMALL_TASKS: usize = 1024;

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

/// A directory that waits to be compared.
struct Waiting {
    source: Arc<dyn Tree>,
    source_path: Vec<u8>,
    dest_path: Vec<u8>,
    shown: Vec<u8>,
    /// Whether the destination has it already.
    exists: bool,
    directory: Directory,
    /// The source's device, for `-x`.
    dev: u64,
    listings: Option<JoinHandle<Listings>>,
}

/// Both ends' listings; none of the destination's where it is new.
type Listings = (Result<Listing, Fault>, Option<Result<Listing, Fault>>);

struct Scan<'a> {
    run: &'a Arc<Run>,
    filter: Filter,
    left: Left,
    /// Directories still to be compared; the next one is last.
    waiting: Vec<Waiting>,
    tasks: JoinSet<()>,
    files: u64,
    bytes: u64,
}

/// Walks all roots and waits until every file has its class. Returns what is left for the end.
pub async fn scan(run: &Arc<Run>, roots: Vec<Root>) -> Left {
    let options = &run.job.options;
    let filter = Filter::new(&options.rules).delete_excluded(options.delete.excluded);
    let left = Left { filter: filter.clone(), ..Left::default() };
    let mut scan = Scan { run, filter, left, waiting: Vec::new(), tasks: JoinSet::new(), files: 0, bytes: 0 };
    run.printer.heading();
    for root in roots {
        scan.root(root).await;
        while let Some(next) = scan.next() {
            scan.directory(next).await;
            if run.is_over() {
                return scan.left;
            }
        }
    }
    while scan.tasks.join_next().await.is_some() {}
    scan.left
}

impl Scan<'_> {
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
        let place = Place {
            source: source.clone(),
            source_path: name,
            dest_path: dest_name,
            shown,
            directory: Directory::there(),
            made,
            dev: 0,
        };
        self.entry(place, entry, old_entry, decision).await;
    }

    /// The next directory, its listings and those of the ones after it being under way.
    fn next(&mut self) -> Option<Waiting> {
        let follow = self.run.job.options.copy_links;
        for waiting in self.waiting.iter_mut().rev().take(LISTED_AHEAD) {
            if waiting.listings.is_none() {
                let (source, path) = (waiting.source.clone(), waiting.source_path.clone());
                let dest = waiting.exists.then(|| (self.run.dest.clone(), waiting.dest_path.clone()));
                waiting.listings = Some(tokio::spawn(async move {
                    let there = async {
                        match &dest {
                            Some((dest, path)) => Some(dest.list(path, false).await),
                            None => None,
                        }
                    };
                    tokio::join!(source.list(&path, follow), there)
                }));
            }
        }
        self.waiting.pop()
    }

    async fn directory(&mut self, waiting: Waiting) {
        let run = self.run;
        let Waiting { source, source_path, dest_path, shown, directory, dev, listings, .. } = waiting;
        let Some(listings) = listings else { return };
        let Ok((here, there)) = listings.await else { return };
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
        let Some(entries) = take(here) else { return };
        let old = match there {
            Some(listed) => match take(listed) {
                Some(entries) => Some(entries),
                // What is there is not known: nothing may be decided on it.
                None => return,
            },
            None => None,
        };
        let recursive = run.job.options.recursive || run.job.options.dirs;
        let compares = old.as_ref().is_some_and(|old| !old.is_empty());
        let Some(context) = self.context(compares).await else { return };
        let plan = diff_dir(&shown_dir, entries, old, &context, &self.filter, whole && recursive);
        for refused in &plan.refused {
            run.tally().listing_errors = true;
            let hop = if refused.side == Side::Sender { source.hop() } else { run.dest.hop() };
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
            let place = Place {
                source: source.clone(),
                source_path: below(&source_path, &step.entry.name),
                dest_path: below(&dest_path, &step.entry.name),
                shown: below(&shown_dir, &step.entry.name),
                directory: directory.clone(),
                made: false,
                dev,
            };
            self.entry(place, step.entry, step.old, step.decision).await;
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
        let new = context.shown(&entry.meta, old.map(|old| &old.meta));
        self.run.printer.item(&Item {
            path: &place.shown,
            new: &new,
            old: old.map(|old| &old.meta),
            target: entry.target.as_deref(),
            update,
            content_differs,
            push: !self.run.pull,
            sets_owner,
            sets_group,
        });
    }

    async fn entry(&mut self, place: Place, entry: Entry, old: Option<Entry>, decision: Decision) {
        let run = self.run;
        let decision = self.settable(decision, &entry.meta).await;
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
        let old_same_kind = old.as_ref().filter(|old| old.meta.kind == entry.meta.kind);
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
        let later = entry.meta.is_file() && decision.transfers() && progress::by_file(run);
        if !later && !matches!(decision, Decision::NeedHash(_)) {
            self.print(&place, &entry, old_same_kind, update, content).await;
        }
        match entry.meta.kind {
            Kind::File => self.file(place, entry, old, decision).await,
            Kind::Dir => self.enter(place, entry, old, decision).await,
            Kind::Symlink => self.link(place, entry, decision).await,
            Kind::Device | Kind::Special if decision == Decision::Unchanged => {}
            Kind::Device | Kind::Special => {
                let text = "devices and special files are not carried: SFTP has no request that makes them";
                let fault = Fault::new(run.dest.hop().clone(), Stage::Attributes, Cause::Unsupported, text);
                run.trouble(&fault, Some(&place.shown));
            }
        }
    }

    async fn file(&mut self, place: Place, entry: Entry, old: Option<Entry>, decision: Decision) {
        let run = self.run;
        let meta = entry.meta;
        let id = run.ledger.planned(&place.shown, meta.size);
        if decision == Decision::Unchanged {
            run.ledger.class(id, &place.shown, Class::Unchanged);
            return;
        }
        let hashes = matches!(decision, Decision::NeedHash(_));
        if run.job.options.dry_run && !hashes {
            if decision.transfers() {
                let mut tally = run.tally();
                tally.stats.transferred += 1;
                tally.stats.transferred_size += meta.size;
            }
            run.ledger.class(id, &place.shown, Class::Skipped("dry run"));
            return;
        }
        self.files += 1;
        self.bytes += meta.size;
        run.printer.watch().set_totals(self.files, self.bytes);
        if let Some(remote) = &run.remote {
            if decision.transfers() {
                remote.traffic().expect(meta.size);
            }
            if self.files > FEW_FILES || self.bytes > FEW_BYTES {
                remote.want(run.channels_wanted());
            }
        }
        if let Decision::Replace(way) = decision
            && let Err(fault) = finish::make_way(run, &self.filter, &place.dest_path, &place.shown, way).await
        {
            run.failed(&fault, &place.shown);
            run.ledger.class(id, &place.shown, Class::Failed(fault));
            return;
        }
        let item = FileItem {
            id,
            old: old.map(|old| old.meta),
            source: place.source,
            source_path: place.source_path,
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
            let mode = entry.meta.mode | 0o700;
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
        if touched {
            self.left.directories.push(LeftDirectory {
                path: place.dest_path.clone(),
                shown: place.shown.clone(),
                meta: entry.meta.clone(),
                old: old_meta.cloned(),
            });
        }
        let crossing = options.one_file_system && place.dev != 0 && place.dev != entry.meta.dev;
        if options.recursive && !crossing || place.shown == b"." {
            self.waiting.push(Waiting {
                source: place.source,
                source_path: place.source_path,
                dest_path: place.dest_path,
                shown: place.shown,
                exists: !new,
                directory,
                dev: entry.meta.dev,
                listings: None,
            });
        }
    }

    async fn link(&mut self, place: Place, entry: Entry, decision: Decision) {
        let run = self.run.clone();
        if decision == Decision::Unchanged || run.job.options.dry_run {
            return;
        }
        let filter = self.filter.clone();
        self.small_task(async move {
            let made = make_link(&run, &filter, &place, &entry, decision).await;
            match made {
                Ok(()) => {
                    let target = entry.target.as_deref().unwrap_or_default();
                    run.ledger.event(Event::SymlinkMade { path: &place.shown, target });
                }
                Err(_) if run.is_over() => {}
                Err(fault) => run.trouble(&fault, Some(&place.shown)),
            }
        })
        .await;
    }
}

/// Where an entry is, at both ends.
struct Place {
    source: Arc<dyn Tree>,
    source_path: Vec<u8>,
    dest_path: Vec<u8>,
    shown: Vec<u8>,
    /// The directory that it goes into.
    directory: Directory,
    /// It is the destination's own root, made for this run.
    made: bool,
    /// The parent's device.
    dev: u64,
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
        Decision::Attributes(_) => {}
        Decision::Create => run.dest.symlink(target, path).await?,
        _ => {
            if let Decision::Replace(way) = decision {
                finish::make_way(run, filter, path, &place.shown, way).await?;
            }
            // Made beside the old one and renamed over it: the name never shows nothing.
            let temp = run.temps.name(path);
            run.dest.symlink(target, &temp).await?;
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
