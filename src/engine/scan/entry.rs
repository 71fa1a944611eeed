//! One entry: counted, told, and handed on to be made.

use super::*;
use crate::engine::backup::Of;

impl Scan<'_> {
    /// `named`: its path at the destination, by which rsync tells of some. `how`: of what is there, in what it
    /// differs (`--info=skip2`).
    pub(super) fn skip(&mut self, shown: &[u8], named: &[u8], meta: &Meta, reason: Reason, how: &'static str) {
        let printer = &self.run.printer;
        let named = if named.is_empty() { shown } else { named };
        match reason {
            Reason::NonRegular => printer.skipping_non_regular(shown),
            Reason::Directory => printer.skipping_directory(shown),
            Reason::Exists => printer.skipped(named, Skip::Exists { how }),
            Reason::NotExisting => printer.skipped(named, Skip::NotCreating { is_dir: meta.is_dir() }),
            Reason::Newer => printer.skipped(named, Skip::Newer),
            Reason::TooBig => printer.skipped(shown, Skip::OverMax),
            Reason::TooSmall => printer.skipped(shown, Skip::UnderMin),
            // rsync says nothing of it.
            Reason::NotShorter => {}
        }
        if meta.is_file() {
            let id = self.run.ledger.planned(shown, meta.size);
            self.run.ledger.class(id, shown, Class::Skipped(reason_name(reason)));
        }
    }

    /// What decisions depend on. Where there is nothing to compare with, nothing has to be known of the far end, and nobody
    /// waits for it.
    pub(super) async fn context(&self, compares: bool) -> Option<Context<'_>> {
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
    pub(super) async fn settable(&self, decision: Decision, new: &Meta) -> Decision {
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

    /// `gate`: what has to be made before its line is printed.
    pub(super) async fn print(
        &mut self,
        place: &Place,
        entry: &Entry,
        old: Option<&Entry>,
        (update, content_differs): (Update, bool),
        gate: &Directory,
    ) {
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
        let left = found.and_then(|found| basis::settles(self.run, found)) == Some(BasisKind::Compare);
        let basis = self.run.job.options.basis.as_ref();
        let copies = entry.meta.is_file() && basis.is_some_and(|basis| basis.kind == BasisKind::Copy);
        let update = match matched {
            true if left && !entry.meta.is_dir() => Update::Attributes,
            true => Update::Create,
            false => update,
        };
        let old = found.map(|found| &found.entry).or(old);
        let content_differs = match found {
            Some(found) if found.level == basis::Level::There => options.checksum || entry.meta.kind == Kind::Symlink,
            Some(_) => false,
            None => content_differs,
        };
        let linked = found.and_then(|found| basis::settles(self.run, found)) == Some(BasisKind::Link);
        let hard_link = (linked && !entry.meta.is_dir()).then_some(b"".as_slice());
        let new = context.shown(&entry.meta, old.map(|old| &old.meta));
        let item = Item {
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
            // A copy is one that was made now.
            matched: matched && !copies,
            sum: None,
        };
        self.tell(place, entry, gate, item).await;
    }

    /// Prints a line, with the file's checksum if it shows one.
    pub(super) async fn tell(&mut self, place: &Place, entry: &Entry, gate: &Directory, item: Item<'_>) {
        let run = self.run;
        let shown = entry.meta.is_file() && run.printer.shows(&item);
        if !shown || !sums::matters(run, item.update == Update::Transfer) {
            return self.lines.say(gate, &item).await;
        }
        let follow = run.job.options.copy_links || run.job.options.copy_unsafe_links;
        match sums::read(run, place.origin.source.as_ref(), &place.origin.path, &entry.meta, follow).await {
            Ok(sum) => self.lines.say(gate, &Item { sum: Some(&sum), ..item }).await,
            Err(fault) => run.trouble(&fault, Some(&place.shown)),
        }
    }

    pub(super) async fn entry(&mut self, place: Place, entry: Entry, old: Option<Entry>, decision: Decision) {
        let run = self.run;
        if place.silent {
            return self.enter(place, entry, old, decision).await;
        }
        let target = entry.target.as_deref().unwrap_or_default();
        if entry.meta.kind == Kind::Symlink && run.job.options.safe_links && is_unsafe(target, &place.shown) {
            run.tally().stats.found(&entry.meta);
            return run.printer.unsafe_link(&place.shown, target);
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
        run.tally().stats.found(&entry.meta);
        let mut place = place;
        if run.job.options.hard_links && entry.meta.is_file() && !matches!(decision, Decision::Skip(_)) {
            let stays = matches!(decision, Decision::Unchanged | Decision::Attributes(_));
            let there = old.as_ref().map(|old| &old.meta);
            let known = run.far_links.known(&place.origin, &entry.meta);
            let meta = known.as_ref().unwrap_or(&entry.meta);
            let settles = place.basis.as_ref().and_then(|found| basis::settles(run, found));
            let absent = settles == Some(BasisKind::Compare) && !self.links.follows(meta);
            let name = match absent {
                true => Name::Only,
                false => self.links.name(meta, there, stays, &place.dest_path, &place.shown),
            };
            match name {
                Name::Only => {}
                Name::First(promise) => place.first = Some(promise),
                Name::Other(first) => return self.hard_link(place, entry, old, decision, first).await,
            }
        }
        if decision == Decision::Replace(MakeWay::EmptyDir) && !self.is_empty_dir(&mut place, &entry).await {
            return;
        }
        let creates = matches!(decision, Decision::Create | Decision::Replace(_)) && place.basis.is_none();
        // Another device under the same name is another thing.
        let decision = match (entry.meta.kind, &decision) {
            (Kind::Device | Kind::Special, Decision::Unchanged | Decision::Attributes(_)) => {
                let same = run.dest.is_node_like(&place.dest_path, place.origin.source.as_ref(), &place.origin.path);
                if same.await.unwrap_or(true) { decision } else { Decision::Replace(MakeWay::Unlink) }
            }
            _ => decision,
        };
        let of = if entry.meta.is_file() || entry.meta.is_dir() { Of::Deleted } else { Of::Replaced };
        let settles = place.basis.as_ref().is_some_and(|found| basis::settles(run, found).is_some());
        let decision = match decision {
            Decision::Replace(way) if run.job.options.dry_run => match self.try_way(&mut place, way, of).await {
                Err(fault) if entry.meta.is_file() => return self.never_sent(&place, &entry, fault),
                Err(fault) => return run.trouble(&fault, Some(&place.shown)),
                Ok(()) => decision,
            },
            // A line that a file is sent means that there is room for it.
            Decision::Replace(way) if entry.meta.is_file() && !settles && !in_turn(run) => {
                self.clear(&mut place, way, of).await;
                Decision::Create
            }
            Decision::Replace(way) if entry.meta.is_file() && !settles => {
                place.planned = Some(run.ledger.planned(&place.shown, entry.meta.size));
                let made = async {
                    place.directory.ready().await?;
                    delete::make_way(run, &place.protect, &place.dest_path, &place.shown, way, of).await
                };
                if let Err(fault) = made.await {
                    return self.never_sent(&place, &entry, fault);
                }
                Decision::Create
            }
            decision => decision,
        };
        // Links and nodes count once they are there. Files and directories do as soon as there is a place for them, as in rsync;
        // if it turns out that there is none, they are taken back.
        if creates && (run.job.options.dry_run || entry.meta.is_file() || entry.meta.is_dir()) {
            run.tally().stats.created.add(entry.meta.kind);
        }
        if run.job.options.dry_run && matches!(decision, Decision::Update(_)) && entry.meta.kind == Kind::Symlink {
            backup::would_keep(run, &place.dest_path, Of::Replaced);
        }
        let old_same_kind = old.as_ref().filter(|old| old.meta.kind == entry.meta.kind);
        let old_same_kind_meta = old_same_kind.map(|old| old.meta.clone());
        let (update, content) = match decision {
            Decision::Skip(reason) => {
                let how = match reason {
                    Reason::Exists if run.job.options.info.skip >= 2 => self.how_it_differs(&entry, old.as_ref()).await,
                    _ => "",
                };
                self.skip(&place.shown, &place.dest_path, &entry.meta, reason, how);
                return if entry.meta.is_dir() {
                    self.only_count(place)
                };
            }
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
        let sent = entry.meta.is_file() && !told && decision.transfers();
        let summed = run.job.options.sums && !run.job.options.dry_run;
        place.later =
            sent && !progress::by_file(run) && (place.later || summed || self.tells_later(&place, &entry).await);
        let later = place.later || sent && progress::by_file(run);
        // A link or a node is told of once it is there.
        let makes = !run.job.options.dry_run && update == Update::Create && place.basis.is_none();
        // Likewise of what takes its place from a basis.
        let takes = !run.job.options.dry_run && settles && !entry.meta.is_dir();
        let gate = (makes && !entry.meta.is_file() && !entry.meta.is_dir() || takes).then(Directory::to_come);
        if !later
            && (settles || !matches!(decision, Decision::NeedHash(_)))
            && !place.directory.has_failed()
            && self.is_readable(&place, &entry, decision).await
        {
            self.print(&place, &entry, old_same_kind, (update, content), gate.as_ref().unwrap_or(&place.directory))
                .await;
        }
        if let Some(found) = &place.basis
            && let Some(kind) = basis::settles(run, found)
            && !entry.meta.is_dir()
        {
            let old = old.map(|old| old.meta);
            return self.settle(place, entry, old, decision, kind, gate).await;
        }
        match entry.meta.kind {
            Kind::File => self.file(place, entry, old, decision).await,
            Kind::Dir => self.enter(place, entry, old, decision).await,
            Kind::Symlink => self.link(place, entry, decision, gate).await,
            Kind::Device | Kind::Special if decision == Decision::Unchanged => {}
            Kind::Device | Kind::Special if !node::is_possible(run, &place.origin) => {
                let refused = node::refused(run);
                if let Some(gate) = gate {
                    gate.made(Err(refused.clone()));
                }
                run.trouble(&refused, Some(&place.shown));
            }
            Kind::Device | Kind::Special => self.node(place, entry, decision, old_same_kind_meta, gate).await,
        }
    }

    /// Has what is in a file's way removed. The file waits for that, as for a directory that is made for it, and the walk does not.
    async fn clear(&mut self, place: &mut Place, way: MakeWay, of: Of) {
        let run = self.run.clone();
        let cleared = Directory::to_come();
        let directory = std::mem::replace(&mut place.directory, cleared.clone());
        let (filter, path, shown) = (place.protect.clone(), place.dest_path.clone(), place.shown.clone());
        // Of what is no directory, nothing is told.
        let into = match way {
            MakeWay::Unlink => delete::Into::Told,
            MakeWay::EmptyDir | MakeWay::Tree => self.lines.deletions().await,
        };
        self.small_task(async move {
            let _making = cleared.making();
            let way = async {
                directory.ready().await?;
                delete::make_way_for(&run, &filter, (&path, &shown), way, of, &into).await
            };
            cleared.made(way.await);
        })
        .await;
    }

    /// Whether a far file's line has to wait until it has come: rsync tells of none that it could not open, and of this one
    /// it is not known that it can be.
    async fn tells_later(&self, place: &Place, entry: &Entry) -> bool {
        let run = self.run;
        let silent = !run.printer.tells_items();
        if !run.pull || run.job.options.dry_run || silent || entry.meta.mode & 0o444 == 0o444 {
            return false;
        }
        let login = place.origin.source.identity().await.unwrap_or_default();
        !login.may_read(&entry.meta)
    }

    /// What would be done to an entry that `--ignore-existing` leaves alone, in rsync's words.
    async fn how_it_differs(&self, entry: &Entry, old: Option<&Entry>) -> &'static str {
        let Some(context) = self.context(true).await else { return "" };
        let options = crate::job::Options { ignore_existing: false, ..context.opts.clone() };
        let context = Context { opts: &options, ..context.clone() };
        let same_target = old.map(|old| entry.target.is_some() && old.target == entry.target);
        let decision = decide(&context, &entry.meta, old.map(|old| &old.meta), same_target);
        match self.settable(decision, &entry.meta).await {
            Decision::Replace(_) => " (type change)",
            Decision::Update(_) if options.checksum => " (sum change)",
            Decision::Update(_) => " (file change)",
            Decision::Attributes(_) => " (attr change)",
            Decision::Unchanged => " (uptodate)",
            // Only hashes would tell.
            _ => "",
        }
    }

    /// False where it is known that a file cannot be sent: rsync tells of none that it could not open.
    async fn is_readable(&self, place: &Place, entry: &Entry, decision: Decision) -> bool {
        let open_to_all = entry.meta.mode & 0o444 == 0o444;
        match place.origin.source.as_local() {
            Some(local) if !open_to_all && entry.meta.is_file() && place.basis.is_none() => {
                let opens = decision.transfers() && !self.run.job.options.dry_run;
                !opens || local.may_read(&place.origin.path).await
            }
            _ => true,
        }
    }

    /// Looks, before their turn, into the directories that are in the way of what may only take the place of an empty one: at a
    /// distance each would else take a round trip.
    pub(super) fn look_in_way(
        &self,
        steps: &[Step],
        dir: &[u8],
        shown: &[u8],
        protect: &Arc<Filter>,
    ) -> HashMap<Vec<u8>, InWay> {
        let run = self.run;
        let at_once = Arc::new(Semaphore::new(crate::engine::AT_ONCE));
        let far = steps.iter().filter(|_| run.dest.as_local().is_none());
        let in_way = far.filter_map(|step| {
            let name = &step.entry.name;
            let (run, path, at_once) = (run.clone(), below(dir, name), at_once.clone());
            let in_way = match step.decision {
                Decision::Replace(MakeWay::EmptyDir) => InWay::Looked(tokio::spawn(async move {
                    let _asks = at_once.acquire().await;
                    is_empty(&run, &path).await
                })),
                Decision::Replace(MakeWay::Tree) if is_tried(&run, &step.entry) => {
                    let (filter, shown) = (protect.clone(), below(shown, name));
                    let (kept, lines) = unbounded_channel();
                    let tried = tokio::spawn(async move {
                        let _asks = at_once.acquire().await;
                        let (names, into) = ((&path[..], &shown[..]), delete::Into::Kept(kept));
                        delete::make_way_for(&run, &filter, names, MakeWay::Tree, Of::Deleted, &into).await
                    });
                    InWay::Tried(tried, lines)
                }
                _ => return None,
            };
            Some((name.clone(), in_way))
        });
        in_way.collect()
    }

    /// What making way would be (a dry run).
    async fn try_way(&mut self, place: &mut Place, way: MakeWay, of: Of) -> Result<(), Fault> {
        let run = self.run;
        let Some(InWay::Tried(tried, mut lines)) = place.in_way.take() else {
            return delete::make_way(run, &place.protect, &place.dest_path, &place.shown, way, of).await;
        };
        while let Some(line) = lines.recv().await {
            line.tell(run);
        }
        tried.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Whether the directory that is in an entry's way has nothing in it; else the entry has failed.
    pub(super) async fn is_empty_dir(&self, place: &mut Place, entry: &Entry) -> bool {
        let run = self.run;
        let looked = match place.in_way.take() {
            Some(InWay::Looked(look)) => look.await.unwrap_or_else(|_| Err(stopped())),
            _ => is_empty(run, &place.dest_path).await,
        };
        let fault = match looked {
            Ok(true) => return true,
            Ok(false) => {
                delete::tell_rules(run, &place.protect, &place.dest_path, &place.shown).await;
                run.printer.not_empty(&place.shown);
                let text = format!("could not make way for \"{}\"", String::from_utf8_lossy(&place.shown));
                Fault::new(run.dest.hop().clone(), Stage::Attributes, Cause::Io, text)
            }
            Err(fault) => fault,
        };
        if entry.meta.is_file() {
            self.never_sent(place, entry, fault);
        } else {
            run.trouble(&fault, Some(&place.shown));
        }
        false
    }

    /// A file that fails before anything is sent of it.
    pub(super) fn never_sent(&self, place: &Place, entry: &Entry, fault: Fault) {
        let run = self.run;
        let id = place.planned.unwrap_or_else(|| run.ledger.planned(&place.shown, entry.meta.size));
        run.failed(&fault, &place.shown);
        let class = Class::Failed(fault);
        if let Some(first) = &place.first {
            first.settled(&class);
        }
        run.ledger.class(id, &place.shown, class);
    }
}

/// Whether way is made in the walk itself: where it matters what was deleted before, and where it is told what is kept.
fn in_turn(run: &Run) -> bool {
    let options = &run.job.options;
    options.max_delete.is_some() || options.backup.is_some() && options.info.backup > 0
}

/// Whether a dry run is sure to come to trying to make way for an entry.
fn is_tried(run: &Run, entry: &Entry) -> bool {
    let options = &run.job.options;
    let left_out = if entry.meta.is_file() { options.hard_links } else { options.safe_links };
    options.dry_run && !in_turn(run) && !left_out
}

/// Whether there is nothing in a directory of the destination.
pub(super) async fn is_empty(run: &Run, path: &[u8]) -> Result<bool, Fault> {
    let listing = run.dest.list(path, false).await?;
    Ok(listing.entries.is_empty() && listing.faults.is_empty())
}

fn stopped() -> Fault {
    Fault::new("local", Stage::List, Cause::Cancelled, "the run was stopped")
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Exists => "exists",
        Reason::NotExisting => "not existing",
        Reason::Newer => "newer at the receiver",
        Reason::TooBig => "over --max-size",
        Reason::TooSmall => "under --min-size",
        Reason::NotShorter => "not shorter at the receiver",
        Reason::NonRegular => "no regular file",
        Reason::Directory => "a directory",
    }
}
