//! What happened to each file, at which stage, on which hop: the one count that a run's words and its exit code rest on.
//!
//! The rule: *planned = verified + sent + unchanged + skipped + failed*. Each file is announced ([`Ledger::planned`]) before
//! anything is done to it and gets exactly one [`Class`]; a second one is refused and makes the count wrong, loudly. Each
//! failure and each drop names its hop, stage and cause, because it is a [`Fault`].
//!
//! Memory is one byte per file; every other list has a cap. All methods take `&self`, from any thread; none waits on a disk
//! unless a report is a whole buffer (1 MiB) behind, and then for 10 s at most.
//!
//! # The report
//! `--report FILE` holds one JSON object per line, each with `t` (seconds since the start, to the microsecond) and `event`.
//! The first is `start`, the last `summary`; `docs/report.md` shows every one. Paths are strings if they are UTF-8, else
//! `{"bytes": "hexadecimal"}`. Times are seconds. A fault is `{hop, stage, cause, text}`, with `lane` and `channel` where
//! they mean something. Files are named by `file`, their number from 0, and mostly by `path` too.
//!
//! `--metrics FILE` holds the totals alone (docs/metrics.md).

pub mod clock;
mod count;
mod escape;
mod event;
mod job_summary;
mod metrics;
mod report;
mod summary;

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use clock::Clock;
pub use escape::{escape, escape_cut};
pub use event::{Attempt, Class, Event, FileId, HolderDrops, HopFacts, Purpose, TextKind, What};
pub use job_summary::JobSummary;
pub use metrics::Renew;
pub use summary::{Counts, Limit, Logins, ServerWords, SkippedFor, Summary, Trouble, VerifiedBy};

use crate::fault::{Cause, Fault, Stage};
use count::Count;
use event::{Line, Own};
use metrics::Metrics;
use report::Report;

/// How a ledger is kept.
#[derive(Default)]
pub struct Settings {
    /// Where the JSON lines go; `None` writes none. An open file, usually, unbuffered.
    pub report: Option<Box<dyn Write + Send>>,
    /// Told in the report's first line.
    /// Where the metrics go, if anywhere: each time a whole new version.
    pub metrics: Option<Renew>,
    pub job: JobSummary,
    pub clock: Clock,
}

/// The count of one run. Share it in an [`Arc`].
pub struct Ledger {
    count: Arc<Mutex<Count>>,
    report: Option<Report>,
    metrics: Option<Metrics>,
    clock: Clock,
    /// The run has ended and only tidies up.
    closing: AtomicBool,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Ledger {
    pub fn new(settings: Settings) -> Ledger {
        let Settings { report, metrics, job, clock } = settings;
        let count = Arc::default();
        let metrics = metrics.map(|renew| Metrics::start(renew, Arc::clone(&count), clock.clone()));
        let report = report.map(Report::new);
        let ledger = Ledger { count, report, metrics, clock, closing: AtomicBool::new(false) };
        let started = ledger.clock.started();
        ledger.write(Own::Start { version: env!("CARGO_PKG_VERSION"), started, job: &job });
        ledger
    }

    /// Announces a file of `size` bytes, before anything is done to it.
    pub fn planned(&self, path: &[u8], size: u64) -> FileId {
        let id = self.count().planned(size);
        self.write(Own::Planned { file: id.index, path, size });
        id
    }

    /// Counts one try, told when it ends. A failed one counts as a drop, unless the file's class turns out to be
    /// [`Class::Failed`] for the same hop, stage and cause: then it is that failure.
    pub fn attempt(&self, attempt: Attempt<'_>) {
        self.count().attempt(&attempt);
        let Attempt { file, path, number, lane, channel, bytes, matched, elapsed, waited, result } = attempt;
        let (file, fault) = (file.index, result.err());
        self.write(Own::Attempt { file, path, number, lane, channel, bytes, matched, elapsed, waited, fault });
    }

    /// Counts something that was lost and is tried again, and that was no attempt at a file.
    pub fn drop_counted(&self, fault: &Fault, what: What) {
        if self.closing.load(Ordering::Relaxed) {
            return;
        }
        self.count().drop_counted(fault, what);
        self.write(Own::Drop { what, fault });
    }

    /// The run was ended by a failure or a signal, and only tidies up: nothing that is lost from now on is tried again, and so
    /// nothing is a drop.
    pub fn closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Counts a failure that is no file's: a directory not listed or not made, a deletion refused, an attribute not set.
    /// The run is not well after it.
    pub fn failure(&self, fault: &Fault, path: Option<&[u8]>) {
        self.count().failure(fault, path);
        self.write(Own::Failure { path, fault });
    }

    /// Says what became of a file; exactly once for each. `false` if it was refused, because the file has a class already:
    /// the first class stays, and [`Ledger::check`] fails from then on.
    pub fn class(&self, id: FileId, path: &[u8], class: Class) -> bool {
        self.classify(id, Some(path), &class)
    }

    /// Ends every file that has no class yet as failed for one reason, such as a run that was cut short. Returns how many.
    pub fn fail_rest(&self, fault: &Fault) -> u64 {
        let open: Vec<u32> = self.count().open().collect();
        let class = Class::Failed(fault.clone());
        // The sizes are not kept: what was planned and is in no other class is these files'.
        let counts = self.counts();
        let known = [counts.verified_bytes, counts.sent_bytes, counts.unchanged_bytes, counts.skipped_bytes];
        let mut size = counts.planned_bytes.saturating_sub(known.iter().sum::<u64>() + counts.failed_bytes);
        let mut ended = 0;
        for index in open {
            ended += u64::from(self.classify(FileId { index, size }, None, &class));
            size = 0;
        }
        ended
    }

    /// Counts and writes anything else.
    pub fn event(&self, event: Event<'_>) {
        self.count().event(&event);
        self.write(event);
    }

    /// The totals so far, for a progress line.
    pub fn counts(&self) -> Counts {
        self.count().counts
    }

    /// The whole count. Meant for the end of a run: before it, files without a class make it [miscounted](Summary).
    pub fn summary(&self) -> Summary {
        let elapsed = self.clock.elapsed();
        self.count().summary(elapsed)
    }

    /// The invariant, for a run that is over.
    ///
    /// # Errors
    /// What does not add up, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        self.count().check()
    }

    /// Writes the report's last line and waits for the disk, 10 s at most. Lines told later are not written.
    ///
    /// # Errors
    /// The first failure to write the report; the count itself is not touched by it.
    pub fn finish(&self) -> Result<(), Fault> {
        let Some(report) = &self.report else { return Ok(()) };
        let summary = self.summary();
        let t = self.clock.elapsed();
        report.last_line(|out| serde_json::to_writer(out, &Line { t, body: Own::Summary(&summary) }));
        report
            .close()
            .map_err(|why| Fault::new("local", Stage::Write, Cause::Io, format!("the report is not complete: {why}")))
    }

    /// Writes the metrics for the last time, with the run's exit code, and waits for the disk, 10 s at most.
    ///
    /// # Errors
    /// They could not be written; what was written before may still be there.
    pub fn finish_metrics(&self, exit: u8) -> Result<(), Fault> {
        let Some(metrics) = &self.metrics else { return Ok(()) };
        metrics
            .finish(exit)
            .map_err(|why| Fault::new("local", Stage::Write, Cause::Io, format!("the metrics are not complete: {why}")))
    }

    fn classify(&self, id: FileId, path: Option<&[u8]>, class: &Class) -> bool {
        // Bound first: a lock taken in a match's head is held to its end, and writing may wait.
        let counted = self.count().class(id, path, class);
        if let Err(why) = counted {
            tracing::error!(file = id.index, "ledger: {why}");
            self.write(Own::Refused { file: id.index, why: &why });
            return false;
        }
        let (mut by, mut reason, mut fault) = (None, None, None);
        match class {
            Class::Verified(how) => by = Some(*how),
            Class::Skipped(why) => reason = Some(*why),
            Class::Failed(why) => fault = Some(why),
            Class::Sent | Class::Unchanged => {}
        }
        self.write(Own::Class { file: id.index, path, class: class.name(), by, reason, fault });
        true
    }

    fn write<T: serde::Serialize>(&self, body: T) {
        if let Some(report) = &self.report {
            // The time is taken while the buffer is held, so that lines are in the order of their times.
            report.line(|out| serde_json::to_writer(out, &Line { t: self.clock.elapsed(), body }));
        }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
