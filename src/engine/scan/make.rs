//! What an entry needs, started as a task of its own: a file, a directory, a link, a node, another name.

use std::sync::atomic::AtomicU64;

use tokio::sync::OwnedSemaphorePermit;

use super::*;
use crate::engine::backup::Of;
use crate::engine::delta;

impl Scan<'_> {
    /// Another name of a file that was found before.
    pub(super) async fn hard_link(
        &mut self,
        mut place: Place,
        entry: Entry,
        old: Option<Entry>,
        decision: Decision,
        first: Arc<First>,
    ) {
        let run = self.run.clone();
        let id = run.ledger.planned(&place.shown, entry.meta.size);
        place.planned = Some(id);
        if decision == Decision::Replace(MakeWay::EmptyDir) && !self.is_empty_dir(&mut place, &entry).await {
            return;
        }
        let dry_run = run.job.options.dry_run;
        if dry_run {
            let way = match (first.failure(), decision) {
                (Some(fault), _) => Err(fault),
                (None, Decision::Replace(way)) => {
                    delete::make_way(&run, &place.protect, &place.dest_path, &place.shown, way, Of::Deleted).await
                }
                _ => Ok(()),
            };
            if let Err(fault) = way {
                return self.never_sent(&place, &entry, fault);
            }
        }
        let same_kind = old.as_ref().filter(|old| old.meta.is_file());
        let is_same = same_kind.is_some_and(|old| first.is_same(&old.meta));
        let named: &[u8] = if is_same { b"" } else { &first.shown };
        if dry_run && !is_same && same_kind.is_some() {
            backup::would_keep(&run, &place.dest_path, Of::Replaced);
        }
        // A link is told of once it is there.
        let gate = if is_same || dry_run { place.directory.clone() } else { Directory::to_come() };
        self.print_link(&place, &entry, same_kind, named, &gate).await;
        let creates = matches!(decision, Decision::Create | Decision::Replace(_));
        if creates && dry_run {
            run.tally().stats.created.add(entry.meta.kind);
        }
        if is_same || dry_run {
            let class = if is_same { Class::Unchanged } else { Class::Skipped("dry run") };
            run.ledger.class(id, &place.shown, class);
            if run.job.options.remove_source_files && !dry_run {
                self.small_task(async move {
                    let (origin, follow) = (&place.origin, run.job.options.copy_links);
                    let path = &place.dest_path;
                    removal::remove_if_same(&run, origin, &entry.meta, follow, path, &place.shown).await;
                })
                .await;
            }
            return;
        }
        let filter = place.protect.clone();
        self.small_task(async move {
            let _making = gate.making();
            let linked = async {
                place.directory.ready().await?;
                let mut old = old.map(|old| old.meta);
                if let Decision::Replace(way) = decision {
                    delete::make_way(&run, &filter, &place.dest_path, &place.shown, way, Of::Deleted).await?;
                    old = None;
                }
                links::link(&run, &first, &place.dest_path, old.as_ref()).await
            };
            let linked = linked.await;
            gate.made(linked.as_ref().map(|_| ()).map_err(Fault::clone));
            match linked {
                Ok(class) => {
                    if creates {
                        run.tally().stats.created.add(entry.meta.kind);
                    }
                    let options = &run.job.options;
                    let (origin, path, follow) = (&place.origin, &place.dest_path, options.copy_links);
                    match class {
                        _ if !options.remove_source_files => {}
                        Class::Verified(_) => {
                            removal::remove_delivered(&run, origin, &entry.meta, follow, path, &place.shown).await;
                        }
                        // Its first name was there before, and nothing was proven of it.
                        _ => removal::remove_if_same(&run, origin, &entry.meta, follow, path, &place.shown).await,
                    }
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

    async fn print_link(&mut self, place: &Place, entry: &Entry, old: Option<&Entry>, first: &[u8], gate: &Directory) {
        let Some(context) = self.context(old.is_some()).await else { return };
        let new = context.shown(&entry.meta, old.map(|old| &old.meta));
        let item = Item {
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
            sum: None,
        };
        self.tell(place, entry, gate, item).await;
    }

    /// An entry that a basis has: linked, or left there.
    pub(super) async fn settle(
        &mut self,
        place: Place,
        entry: Entry,
        old: Option<Meta>,
        decision: Decision,
        kind: BasisKind,
        gate: Option<Directory>,
    ) {
        let run = self.run.clone();
        let id = entry.meta.is_file().then(|| run.ledger.planned(&place.shown, entry.meta.size));
        let done = move |class: Class, run: &Run, shown: &[u8]| {
            if let Some(id) = id {
                run.ledger.class(id, shown, class);
            }
        };
        if kind == BasisKind::Compare && old.is_none() || run.job.options.dry_run {
            if let Some(gate) = gate {
                gate.made(Ok(()));
            }
            if let Some(first) = &place.first {
                first.settled(&Class::Unchanged);
            }
            return done(Class::Unchanged, &run, &place.shown);
        }
        let filter = place.protect.clone();
        self.small_task(async move {
            let _making = gate.as_ref().map(Directory::making);
            let Some(found) = &place.basis else { return };
            let told = |class: &Class| {
                if let Some(first) = &place.first {
                    first.settled(class);
                }
            };
            let linked = async {
                place.directory.ready().await?;
                if let Decision::Replace(way) = decision {
                    let of = if entry.meta.is_file() { Of::Deleted } else { Of::Replaced };
                    delete::make_way(&run, &filter, &place.dest_path, &place.shown, way, of).await?;
                } else if old.is_some() {
                    return basis::replace(&run, found, kind, &place.dest_path).await;
                }
                if kind == BasisKind::Compare {
                    return Ok(true);
                }
                if basis::link(&run, found, &place.dest_path).await? {
                    return Ok(true);
                }
                match entry.meta.is_file() {
                    true => Ok(false),
                    false => make_link(&run, &filter, &place, &entry, Decision::Create).await.map(|()| true),
                }
            };
            let linked = linked.await;
            if let Some(gate) = &gate {
                gate.made(linked.as_ref().map(|_| ()).map_err(Fault::clone));
            }
            match linked {
                Ok(true) => {
                    told(&Class::Unchanged);
                    let options = &run.job.options;
                    // What only a --compare-dest has is not at the destination.
                    if options.remove_source_files && kind == BasisKind::Link && entry.meta.is_file() {
                        let (path, follow) = (&place.dest_path, options.copy_links || options.copy_unsafe_links);
                        removal::remove_if_same(&run, &place.origin, &entry.meta, follow, path, &place.shown).await;
                    }
                    done(Class::Unchanged, &run, &place.shown);
                }
                Ok(false) => {
                    let Some(id) = id else { return };
                    let item = FileItem {
                        spared: false,
                        id,
                        source: place.origin.source,
                        source_path: place.origin.path,
                        dest_path: place.dest_path,
                        shown: place.shown,
                        meta: entry.meta,
                        old,
                        like: None,
                        directory: place.directory,
                        follow: run.job.options.copy_links || run.job.options.copy_unsafe_links,
                        decision: Decision::Create,
                        told: true,
                        later: false,
                        copied: None,
                        matched: AtomicU64::new(0),
                        sum: sums::Slot::default(),
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

    pub(super) async fn file(&mut self, place: Place, entry: Entry, old: Option<Entry>, decision: Decision) {
        let run = self.run;
        let meta = entry.meta;
        let id = place.planned.unwrap_or_else(|| run.ledger.planned(&place.shown, meta.size));
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
            let told = place.basis.as_ref().is_some_and(|found| found.level >= basis::Level::Data);
            if decision.transfers() && !told {
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
        if let Some(remote) = &run.remote {
            if decision.transfers() {
                remote.traffic().expect(run.flow(), meta.size);
            }
            if self.files > FEW_FILES || self.bytes > FEW_BYTES {
                remote.want(run.channels_wanted());
            }
        }
        let mut item = FileItem {
            id,
            spared: false,
            told: place.basis.as_ref().is_some_and(|found| found.level >= basis::Level::Data),
            copied: place.basis.as_ref().and_then(|found| basis::copies(run, found)),
            matched: AtomicU64::new(0),
            sum: sums::Slot::default(),
            first: place.first,
            later: place.later,
            old: old.map(|old| old.meta),
            like: place.basis.filter(|found| found.level == basis::Level::There).map(|found| found.entry.meta),
            source: place.origin.source,
            source_path: place.origin.path,
            dest_path: place.dest_path,
            shown: place.shown,
            meta,
            directory: place.directory,
            follow: run.job.options.copy_links || run.job.options.copy_unsafe_links,
            decision,
        };
        if item.old.as_ref().is_some_and(|old| old.is_file()) {
            run.luck.meets(item.meta.size);
        }
        if let Some(remote) = &run.remote
            && item.decision.transfers()
            && delta::over(run, &item, &item.meta, 1, 0).is_some()
        {
            // How much of it has to be sent is told when it is known.
            item.spared = true;
            remote.traffic().spare(run.flow(), item.meta.size);
        }
        let permit = self.room_for_one().await;
        let run = run.clone();
        self.tasks.spawn(async move {
            run.under_way.fetch_add(1, Ordering::Relaxed);
            deliver::deliver(&run, item).await;
            run.under_way.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        });
        self.reap();
    }

    /// Waits until one more file may be under way.
    async fn room_for_one(&mut self) -> OwnedSemaphorePermit {
        loop {
            if let Some(one) = self.room.as_mut().and_then(|room| room.split(1)) {
                return one;
            }
            self.room = Some(self.run.budget.several_files().await);
        }
    }

    /// Takes out tasks that have ended, so that the set holds only what is under way.
    pub(super) fn reap(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }

    pub(super) async fn small_task(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
        self.reap();
        while self.tasks.len() > SMALL_TASKS {
            self.tasks.join_next().await;
        }
    }

    pub(super) async fn enter(&mut self, place: Place, entry: Entry, old: Option<Entry>, decision: Decision) {
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
            match old_meta.filter(|_| closed && !options.dry_run) {
                Some(old) => self.open(&place, old).await,
                None => Directory::there(),
            }
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
                place.protect.clone(),
                place.dest_path.clone(),
                place.shown.clone(),
                place.directory.clone(),
                directory.clone(),
                mode,
                way,
            );
            let counted = (!place.silent && place.basis.is_none()).then(|| (run.clone(), place.directory.clone()));
            self.small_task(async move {
                task.await;
                if let Some((run, _)) = counted.filter(|(_, parent)| parent.has_failed()) {
                    run.tally().stats.created.take_back(Kind::Dir);
                }
            })
            .await;
            directory
        };
        // What is put into a directory changes its time, so even one that needs nothing is set again if anything may.
        let touched = new || closed || matches!(decision, Decision::Attributes(_)) || options.times;
        if touched && !place.silent {
            self.left.directories.push(LeftDirectory {
                // Of a directory that is reached by a link (-K), what the link leads to.
                path: match old.as_ref().is_some_and(|old| old.target.is_some() && old.meta.is_dir()) {
                    true => below(&place.dest_path, b"."),
                    false => place.dest_path.clone(),
                },
                shown: place.shown.clone(),
                meta: entry.meta.clone(),
                old: old_meta.cloned(),
                directory: directory.clone(),
                needed: new || closed || matches!(decision, Decision::Attributes(_)),
            });
        }
        if !place.contents.is_empty() || !place.given.is_empty() {
            let listings = self.ahead.take();
            self.waiting.push(Next::Contents(Box::new(Waiting {
                origins: place.contents,
                given: place.given,
                dest_path: place.dest_path,
                shown: place.shown,
                protect: place.protect,
                exists: !new,
                directory,
                dev: entry.meta.dev,
                only_counted: false,
                listings,
            })));
        }
    }

    /// A directory that is there, and in which nothing can be done yet.
    async fn open(&mut self, place: &Place, old: &Meta) -> Directory {
        let (run, path, shown) = (self.run.clone(), place.dest_path.clone(), place.shown.clone());
        let (directory, mode) = (Directory::to_come(), old.mode);
        let opened = directory.clone();
        let open = async move {
            let _making = opened.making();
            let change = Change { mode: Some(mode | 0o700), ..Change::default() };
            if let Err(fault) = run.dest.set(&path, change, false).await
                && !run.is_over()
            {
                run.trouble(&fault, Some(&shown));
            }
            // What cannot be done in it then is told by whoever tries.
            opened.made(Ok(()));
        };
        // One that can be listed as it is keeps only those waiting that work in it.
        match self.run.push() && mode & 0o500 == 0o500 {
            true => self.small_task(open).await,
            false => open.await,
        }
        directory
    }

    /// `gate` is told how it went.
    pub(super) async fn node(
        &mut self,
        place: Place,
        entry: Entry,
        decision: Decision,
        old: Option<Meta>,
        gate: Option<Directory>,
    ) {
        let run = self.run.clone();
        if run.job.options.dry_run {
            return;
        }
        let filter = place.protect.clone();
        let creates = matches!(decision, Decision::Create | Decision::Replace(_)) && place.basis.is_none();
        self.small_task(async move {
            let _making = gate.as_ref().map(Directory::making);
            let made = async {
                let change = run.change(&entry.meta, old.as_ref()).await?;
                let names = (place.dest_path.as_slice(), place.shown.as_slice());
                node::make(&run, &filter, &place.origin, &place.directory, names, decision, change).await
            };
            let made = made.await;
            if let Some(gate) = gate {
                gate.made(made.clone());
            }
            match made {
                Ok(()) if creates => run.tally().stats.created.add(entry.meta.kind),
                Ok(()) => {}
                Err(_) if run.is_over() => {}
                Err(fault) => run.trouble(&fault, Some(&place.shown)),
            }
        })
        .await;
    }

    /// As [`Scan::node`].
    pub(super) async fn link(&mut self, place: Place, entry: Entry, decision: Decision, gate: Option<Directory>) {
        let run = self.run.clone();
        let unchanged = decision == Decision::Unchanged && !run.job.options.remove_source_files;
        if unchanged || run.job.options.dry_run {
            return;
        }
        let filter = place.protect.clone();
        let creates = matches!(decision, Decision::Create | Decision::Replace(_)) && place.basis.is_none();
        self.small_task(async move {
            let _making = gate.as_ref().map(Directory::making);
            let made = make_link(&run, &filter, &place, &entry, decision).await;
            if let Some(gate) = gate {
                gate.made(made.clone());
            }
            match made {
                Ok(()) => {
                    if creates {
                        run.tally().stats.created.add(entry.meta.kind);
                    }
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

#[expect(clippy::too_many_arguments, reason = "a task owns what it works on")]
async fn make_directory(
    run: Arc<Run>,
    filter: Arc<Filter>,
    path: Vec<u8>,
    shown: Vec<u8>,
    parent: Directory,
    directory: Directory,
    mode: u32,
    way: Option<crate::plan::quick_check::MakeWay>,
) {
    let _making = directory.making();
    let made = async {
        // Behind its parent's own request: at a distance a deep tree would else be made at a level a round trip.
        parent.asked().await;
        let early = match way {
            None if !parent.has_failed() => run.dest.mkdir_next(&path, mode).await?,
            _ => None,
        };
        directory.ask();
        parent.ready().await?;
        if let Some(way) = way {
            delete::make_way(&run, &filter, &path, &shown, way, Of::Deleted).await?;
        }
        let early = match early {
            Some(early) => Some(early.await),
            None => None,
        };
        let made = match early {
            // It did not come behind its parent's after all, or its channel went.
            None => run.dest.mkdir(&path, mode).await,
            Some(Err(fault)) if matches!(fault.cause, Cause::NotFound | Cause::Lost | Cause::Timeout) => {
                run.dest.mkdir(&path, mode).await
            }
            Some(made) => made,
        };
        match made {
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

async fn make_link(
    run: &Run,
    filter: &Arc<Filter>,
    place: &Place,
    entry: &Entry,
    decision: Decision,
) -> Result<(), Fault> {
    place.directory.ready().await?;
    let change = Change { mode: None, ..run.change(&entry.meta, None).await? };
    let path = &place.dest_path;
    let target = entry.target.as_deref().unwrap_or_default();
    match decision {
        Decision::Attributes(_) | Decision::Unchanged => {}
        Decision::Create => run.dest.symlink(target, path).await?,
        _ => {
            if let Decision::Replace(way) = decision {
                delete::make_way(run, filter, path, &place.shown, way, Of::Replaced).await?;
            }
            // Made beside the old one and renamed over it: the name never shows nothing.
            let temp = run.temps.name(path);
            run.dest.symlink(target, &temp).await?;
            if matches!(decision, Decision::Update(_)) {
                backup::keep(run, path).await?;
            }
            run.dest.commit(&temp, path, Change::default()).await?;
            run.temps.gone(&temp);
        }
    }
    if change.is_empty() { Ok(()) } else { run.dest.set(path, change, true).await }
}
