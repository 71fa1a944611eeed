//! The state of one run, and its course from the first connection to the last line.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, watch};

use crate::cli::exit::{self, Ended, Exit};
use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::job::{Job, Verify};
use crate::ledger::{Class, Ledger};
use crate::output::{Printer, Stats};
use crate::plan::delta::Luck;
use crate::plan::filter::{Filter, Side};
use crate::plan::quick_check::Context;
use crate::sftp::traffic::Flow;
use crate::share::own::Leave;
use crate::ssh::hop::BLAME_PATIENCE;
use crate::ssh::prompt::Prompt;
use crate::tree::remote::Remote;
use crate::tree::{Change, Identity, Tree, join, split};
use crate::verify::Algorithm;

use super::budget::Budget;
use super::deliver::FileItem;
use super::temps::Temps;
use super::{ends, finish, list, progress, scan};

/// Faults that are kept for the exit code: one of each kind is enough.
const KINDS: usize = 64;

/// How long cleaning up may take after a signal.
const CLEANUP: Duration = Duration::from_secs(5);

/// What a run is given beside its job.
pub struct Settings {
    pub ledger: Arc<Ledger>,
    pub printer: Arc<Printer>,
    pub prompt: Arc<Prompt>,
    /// Becomes true when a signal asks the run to stop.
    pub stop: watch::Receiver<bool>,
}

/// How a run ended.
pub enum Outcome {
    Ended(Exit),
    /// Nothing was done yet: there is much to pull over a shared connection, and leave to make one of its own for it.
    Large(Leave),
}

/// The state that all parts of a run share.
pub struct Run {
    pub job: Job,
    pub ledger: Arc<Ledger>,
    pub printer: Arc<Printer>,
    pub budget: Budget,
    pub temps: Temps,
    pub dest: Arc<dyn Tree>,
    /// The connection, if an end is remote.
    pub remote: Option<Arc<Remote>>,
    /// Leave for a connection of its own, for as long as the run lasts.
    pub leave: Option<Leave>,
    /// The source is the far end.
    pub pull: bool,
    identity: OnceCell<Identity>,
    /// The largest piece that both ends can take in one request.
    chunk: usize,
    tally: Mutex<Tally>,
    moved: AtomicU64,
    /// Files that are being delivered now.
    pub under_way: AtomicU64,
    /// The walk is still going on.
    pub scanning: AtomicBool,
    pub lines: progress::Lines,
    pub owners: super::owners::Owners,
    pub delayed: super::delay::Delayed,
    /// The destination's directory is not there (a dry run): its path from the closest one above it that is, whose tree
    /// `dest` is.
    pub missing: Option<Vec<u8>>,
    /// What `--max-delete` bounds.
    pub deletions: super::deletions::Deletions,
    /// `--remove-source-files`: what goes at the end.
    pub removals: super::removal::Waiting,
    /// Where `--backup-dir` keeps things, once it is known.
    pub backups: super::backup::Place,
    /// Where `--temp-dir` is, once it is known.
    pub stage: super::stage::Place,
    /// `-H` from a far source: which names are one file.
    pub far_links: super::far_links::FarLinks,
    /// What the sources have of the destination.
    pub inside: super::inside::Inside,
    /// How far it paid to look for what the destination has of a file.
    pub luck: Arc<Luck>,
    over: AtomicBool,
}

/// What only the end of a run asks for.
#[derive(Default)]
pub struct Tally {
    faults: Vec<Fault>,
    pub stats: Stats,
    pub vanished: bool,
    pub listing_errors: bool,
    pub max_delete: bool,
}

impl Run {
    pub fn new(
        job: Job,
        settings: &Settings,
        dest: Arc<dyn Tree>,
        sources: &[Arc<dyn Tree>],
        remote: Option<Arc<Remote>>,
    ) -> Run {
        let chunk = sources.iter().map(|source| source.chunk()).fold(dest.chunk(), usize::min);
        Run {
            budget: Budget::new(job.options.bwlimit),
            ledger: settings.ledger.clone(),
            printer: settings.printer.clone(),
            temps: Temps::default(),
            pull: sources.first().is_some_and(|_| job.sources.iter().any(|place| place.is_remote())),
            identity: OnceCell::new(),
            job,
            dest,
            remote,
            leave: None,
            chunk,
            tally: Mutex::default(),
            moved: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            scanning: AtomicBool::new(true),
            lines: progress::Lines::default(),
            owners: super::owners::Owners::default(),
            delayed: super::delay::Delayed::default(),
            deletions: super::deletions::Deletions::default(),
            removals: super::removal::Waiting::default(),
            missing: None,
            backups: super::backup::Place::default(),
            stage: super::stage::Place::default(),
            far_links: super::far_links::FarLinks::default(),
            inside: super::inside::Inside::default(),
            luck: Arc::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Which way file data goes.
    pub fn flow(&self) -> Flow {
        if self.pull { Flow::In } else { Flow::Out }
    }

    /// It has turned out that so many bytes of a file have to be sent that was looked at first.
    pub fn has_to_send(&self, bytes: u64) {
        if let Some(remote) = &self.remote {
            remote.traffic().expect(self.flow(), bytes);
        }
    }

    /// The hash in use; none with `--verify=off`. Waits until the far end has told which it makes best.
    pub async fn algorithm(&self) -> Option<Algorithm> {
        match self.job.options.verify {
            Verify::Off => None,
            Verify::Auto => Some(self.far_algorithm().await),
            Verify::Readback => Some(Algorithm::Blake3),
        }
    }

    /// The hash that the far end makes best, whether or not deliveries are verified.
    pub async fn far_algorithm(&self) -> Algorithm {
        match &self.remote {
            Some(remote) => remote.algorithm().await,
            None => Algorithm::Blake3,
        }
    }

    /// Another directory of the destination's end, relative to the destination's.
    pub async fn beside(&self, dir: &[u8]) -> Result<Arc<dyn Tree>, Fault> {
        let Some(missing) = self.missing.as_deref().filter(|_| !dir.starts_with(b"/")) else {
            return self.dest.beside(dir).await;
        };
        // A directory that is not made yet cannot be gone through (rsync, too, takes one step out of it for its parent).
        let path = match dir.strip_prefix(b"../") {
            Some(rest) => join(split(missing).0, rest),
            None => join(missing, dir),
        };
        self.dest.beside(&path).await
    }

    /// Who we are at the destination. Asked for only where owner, group or umask decide: a far end tells it late.
    pub async fn identity(&self) -> &Identity {
        self.identity.get_or_init(|| async { self.dest.identity().await.unwrap_or_default() }).await
    }

    /// What the plan's decisions depend on.
    ///
    /// # Errors
    /// A `--chmod` that makes no sense.
    pub async fn context(&self) -> Result<Context<'_>, Fault> {
        let options = &self.job.options;
        let wrong = |text| Fault::new("local", Stage::Attributes, Cause::Config, text);
        let needed = options.owner || options.group || !options.perms || options.chmod.is_some();
        let unknown = Identity::default();
        let identity = if needed { self.identity().await } else { &unknown };
        let over_sftp = self.remote.is_some() && !self.pull;
        let umask = identity.umask.unwrap_or_else(crate::tree::local::umask);
        let context = Context::new(options, umask).map_err(wrong)?;
        Ok(Context {
            may_chown: identity.uid == Some(0),
            may_chgrp: identity.uid.is_some(),
            may_set_links: !over_sftp || self.remote.as_ref().is_some_and(|remote| remote.sets_links()),
            dest_is_sftp: over_sftp,
            ..context
        })
    }

    /// Root may set any group, others one that they are in.
    pub async fn may_chgrp(&self, gid: u32) -> bool {
        self.identity().await.may_chgrp(gid)
    }

    /// What the destination has to show for a source's entry; `old` is what it has of the same kind.
    pub async fn change(&self, new: &Meta, old: Option<&Meta>) -> Result<Change, Fault> {
        let options = &self.job.options;
        let context = self.context().await?;
        let owner = (options.owner && context.may_chown).then_some(new.uid);
        let group = (options.group && self.may_chgrp(new.gid).await).then_some(new.gid);
        let times = context.sets_time(new);
        // SFTP sets owner and group together: the one that stays is told as what it is.
        let both = owner.is_some() || group.is_some();
        let (uid, gid) = if both { (self.identity().await.uid, self.identity().await.gid) } else { (None, None) };
        Ok(Change {
            mode: Some(context.target_mode(new, old)),
            mtime: times.then_some((new.mtime, new.mtime_nsec)),
            atime: (times && context.sets_atime(new)).then_some(new.atime),
            owner: owner.or(old.map(|old| old.uid).or(uid).filter(|_| both)),
            group: group.or(old.map(|old| old.gid).or(gid).filter(|_| both)),
        })
    }

    /// As [`Run::change`]; where there is no old file, the mode is kept as if `like` were it.
    pub async fn change_like(&self, new: &Meta, old: Option<&Meta>, like: Option<&Meta>) -> Result<Change, Fault> {
        let change = self.change(new, old).await?;
        match (old, like) {
            (None, Some(like)) => {
                Ok(Change { mode: Some(self.context().await?.target_mode(new, Some(like))), ..change })
            }
            _ => Ok(change),
        }
    }

    /// Tells what the filters say of an entry (`-vv`).
    pub fn judge(&self, filter: &Filter, path: &[u8], is_dir: bool, side: Side) {
        if self.printer.tells_filters()
            && let Some(verdict) = filter.verdict(path, is_dir, side, false)
        {
            self.printer.judged(side, path, is_dir, &verdict);
        }
    }

    /// The destination is the far end. Two ends on this machine are neither push nor pull.
    pub fn push(&self) -> bool {
        self.remote.is_some() && !self.pull
    }

    /// How many channels the work could use.
    pub fn channels_wanted(&self) -> usize {
        self.job.options.channels.unwrap_or(crate::tree::remote::pool::ENOUGH)
    }

    /// A file of at most this many bytes is small: it moves in one piece.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The run was asked to stop: nothing new is begun, and what fails now is not told file by file.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The far end was given up for good.
    pub fn gave_up(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.gave_up())
    }

    /// Data was acknowledged by the destination.
    pub fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.printer.watch().advance(0, bytes);
    }

    pub fn moved_bytes(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// A try failed: what it moved has to be moved again.
    pub fn unmoved(&self, bytes: u64) {
        self.moved.fetch_sub(bytes.min(self.moved.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Remembers and prints a failure that no retry made good.
    pub fn failed(&self, fault: &Fault, shown: &[u8]) {
        self.note(fault);
        if fault.cause == Cause::Vanished {
            let name = crate::ledger::escape(shown);
            self.printer.error(&format!("file has vanished: \"{name}\""));
        } else {
            self.printer.fault(fault, Some(shown));
        }
    }

    /// A failure that is no file's: printed, counted, and part of the exit code.
    pub fn trouble(&self, fault: &Fault, shown: Option<&[u8]>) {
        self.note(fault);
        self.ledger.failure(fault, shown);
        self.printer.fault(fault, shown);
    }

    fn note(&self, fault: &Fault) {
        let mut tally = self.tally();
        tally.vanished |= fault.cause == Cause::Vanished;
        let known = tally.faults.iter().any(|f| (f.stage, f.cause) == (fault.stage, fault.cause));
        if !known && tally.faults.len() < KINDS && fault.cause != Cause::Vanished {
            tally.faults.push(fault.clone());
        }
    }

    /// Gives a file its class, once.
    pub fn finished(&self, item: &FileItem, class: Class) {
        let small = item.meta.size <= self.chunk as u64;
        let delivered = matches!(class, Class::Verified(_) | Class::Sent);
        if delivered && !item.told {
            let mut tally = self.tally();
            tally.stats.transferred += 1;
            tally.stats.transferred_size += item.meta.size;
            let matched = item.matched.load(Ordering::Relaxed).min(item.meta.size);
            tally.stats.matched += matched;
            tally.stats.literal += item.meta.size - matched;
        }
        if let Some(remote) = self.remote.as_ref().filter(|_| !matches!(class, Class::Failed(_))) {
            remote.progressed();
        }
        self.ledger.class(item.id, &item.shown, class);
        let shown = if delivered && small { item.meta.size } else { 0 };
        if shown > 0 {
            self.moved.fetch_add(shown, Ordering::Relaxed);
        }
        let watch = self.printer.watch();
        watch.advance(1, shown);
        watch.drops(self.ledger.counts().drops());
        if let Some(remote) = &self.remote {
            watch.channels(remote.channels() as u64);
        }
    }
}

/// Runs a job to its end. Everything is printed; the exit code is the caller's to return.
pub async fn run(job: Job, settings: Settings) -> Outcome {
    let started = Instant::now();
    let mut stop = settings.stop.clone();
    let found = tokio::select! {
        found = ends::find(&job, &settings) => found,
        _ = stopped(&mut stop) => {
            return end_early(&settings, Exit::Signal);
        }
    };
    let ends = match found {
        Ok(ends) => ends,
        Err(ends::Failed::Large(leave)) => return Outcome::Large(leave),
        Err(ends::Failed::Usage(error)) => {
            settings.printer.error(&format!("hopsync: {}", error.text));
            return end_early(&settings, Exit::from_code(error.code).unwrap_or(Exit::FileSelect));
        }
        Err(ends::Failed::Fault(fault)) => {
            settings.ledger.failure(&fault, None);
            settings.printer.fault(&fault, None);
            let exit = exit::decide([&fault], Ended::default());
            return end_early(&settings, exit);
        }
    };
    let ends::Ends { run, roots, missing, unsure } = ends;
    let run = Arc::new(run);
    run.tally().listing_errors |= unsure;
    for fault in &missing {
        run.trouble(fault, None);
    }
    if run.job.dest.is_some() {
        super::backup::announce(&run).await;
    }
    run.printer.delta(super::delta::may_be(&run));
    let work = async {
        if run.job.dest.is_none() {
            return list::list(&run, roots.brought).await;
        }
        let left = scan::scan(&run, roots).await;
        finish::finish(&run, left).await;
    };
    let interrupted = tokio::select! {
        () = work => false,
        () = progress::tick(&run) => false,
        _ = stopped(&mut stop) => true,
        fault = async { tokio::select! { fault = silence(&run) => fault, fault = time_limit(&run) => fault } } => {
            run.trouble(&fault, None);
            run.ledger.closing();
            run.over.store(true, Ordering::Relaxed);
            clean_up(&run).await;
            run.ledger.fail_rest(&fault);
            false
        }
    };
    if interrupted {
        run.ledger.closing();
        run.over.store(true, Ordering::Relaxed);
        clean_up(&run).await;
        let fault = Fault::new("local", Stage::Session, Cause::Cancelled, "the run was stopped by a signal");
        run.ledger.fail_rest(&fault);
    } else if !run.is_over() {
        clean_up(&run).await;
    }
    if run.is_over() {
        super::delay::tell_waiting(&run);
    }
    close(&run, interrupted, started.elapsed()).await
}

/// Returns when a stop is asked for; never, if nobody can ask any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// `--stop-after`: returns when the time is up.
async fn time_limit(run: &Run) -> Fault {
    let Some(limit) = run.job.options.stop_after else { return std::future::pending().await };
    tokio::time::sleep(limit).await;
    Fault::new(run.remote_hop(), Stage::Session, Cause::Timeout, "stopping at requested limit (--stop-after)")
}

/// `--timeout`: returns when nothing came from the far end for so long.
async fn silence(run: &Run) -> Fault {
    let (Some(limit), Some(remote)) = (run.job.options.timeout, &run.remote) else {
        return std::future::pending().await;
    };
    let (mut last, mut since) = (remote.traffic().received(), tokio::time::Instant::now());
    loop {
        tokio::time::sleep((limit / 8).max(Duration::from_millis(50))).await;
        let now = remote.traffic().received();
        if now != last {
            (last, since) = (now, tokio::time::Instant::now());
        } else if since.elapsed() >= limit {
            let text = format!("nothing was received for {} s (--timeout)", limit.as_secs());
            let fault = Fault::new(remote.hop(), Stage::Read, Cause::Timeout, text);
            return remote.blame(fault, BLAME_PATIENCE.min(limit / 2)).await;
        }
    }
}

/// Removes, or keeps as `--partial` asks, whatever temporary files there still are.
async fn clean_up(run: &Arc<Run>) {
    if run.is_over() && !run.gave_up() {
        // What was under way when the run was stopped must not make a file after its removal.
        let settle = async {
            while Arc::strong_count(run) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            run.dest.settle().await;
        };
        let _ = tokio::time::timeout(CLEANUP / 2, settle).await;
    }
    let left = run.temps.take();
    if left.is_empty() || run.gave_up() {
        return;
    }
    let removals = left.iter().map(|(temp, left)| async move {
        let done = match (&left.kept, left.staged) {
            (Some(path), _) => super::partial::keep(run, temp, path).await,
            (None, false) => run.dest.remove(temp).await,
            (None, true) => match super::stage::tree(run).await {
                Ok(stage) => stage.remove(temp).await,
                Err(fault) => Err(fault),
            },
        };
        if let Err(fault) = done
            && fault.cause != Cause::NotFound
        {
            run.printer.fault(&fault, Some(temp));
        }
    });
    let all = futures::future::join_all(removals);
    if tokio::time::timeout(CLEANUP, all).await.is_err() {
        let many = left.len();
        run.printer.error(&format!("{many} temporary files could not be removed: the far end did not answer"));
    }
}

/// The last words of a run that did not come to move anything.
fn end_early(settings: &Settings, exit: Exit) -> Outcome {
    settings.printer.watch().finish();
    let summary = settings.ledger.summary();
    // One failure has been told in its own sentence; what was tried before it is told here.
    if summary.counts.drops() > 0 {
        settings.printer.error(&summary.table());
    }
    let exit = finish_report(&settings.ledger, &settings.printer, exit);
    settings.printer.exit(exit);
    Outcome::Ended(exit)
}

async fn close(run: &Run, interrupted: bool, elapsed: Duration) -> Outcome {
    let printer = &run.printer;
    if let Some(remote) = &run.remote {
        let traffic = remote.traffic();
        let mut tally = run.tally();
        (tally.stats.sent, tally.stats.received) = (traffic.sent(), traffic.received());
    }
    run.tally().stats.elapsed = elapsed;
    if let Some(remote) = &run.remote {
        remote.close().await;
    }
    if run.job.options.info.progress >= 2 && !run.job.options.dry_run {
        progress::total(run, elapsed);
    }
    printer.watch().finish();
    let summary = run.ledger.summary();
    let tally = std::mem::take(&mut *run.tally());
    let ended = Ended {
        interrupted,
        connected: true,
        listing_errors: tally.listing_errors,
        vanished: tally.vanished,
        max_delete: tally.max_delete,
    };
    let mut exit = exit::decide(&tally.faults, ended);
    if let Err(why) = run.ledger.check() {
        // The count is what everything else rests on: a run that cannot account for its files has not succeeded.
        printer.error(&format!("internal error: the count does not add up: {why}"));
        exit = if exit == Exit::Ok { Exit::Partial } else { exit };
    }
    if !interrupted {
        printer.summary(&tally.stats);
    }
    if summary.is_well() {
        printer.remark(&summary.closing_line());
    } else {
        printer.error(&summary.table());
    }
    let exit = finish_report(&run.ledger, printer, exit);
    printer.exit(exit);
    Outcome::Ended(exit)
}

/// Writes the report's end and the last metrics; if they are not complete that is a failure of the run.
fn finish_report(ledger: &Ledger, printer: &Printer, exit: Exit) -> Exit {
    let failed = |exit: Exit, fault: &Fault| {
        printer.fault(fault, None);
        if exit == Exit::Ok { Exit::FileIo } else { exit }
    };
    let exit = ledger.finish().map_or_else(|fault| failed(exit, &fault), |()| exit);
    ledger.finish_metrics(exit.code()).map_or_else(|fault| failed(exit, &fault), |()| exit)
}

impl Run {
    /// The far end's name, or `local` where there is none.
    pub fn remote_hop(&self) -> Arc<str> {
        if self.pull {
            self.remote.as_ref().map_or_else(|| "local".into(), |r| r.hop())
        } else {
            self.dest.hop().clone()
        }
    }
}
