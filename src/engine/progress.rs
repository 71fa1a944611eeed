//! `--progress` and `--info=progress2`: what is printed while files move.
//!
//! With many files under way, a file's name comes when it is whole, right before the line that says so: between the two no
//! other file speaks. A large file that is on its way alone is announced when it begins and told of once a second.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::output::Tally;

use super::deliver::FileItem;
use super::run::Run;

/// Files from this size on are told of while they move: smaller ones are over within the second.
const LARGE: u64 = 8 << 20;

/// rsync's own pace (progress.c).
const TICK: Duration = Duration::from_secs(1);

/// The lines of the files under way.
#[derive(Default)]
pub struct Lines {
    alone: Mutex<Option<Alone>>,
}

/// A file that was announced because nothing else was under way.
struct Alone {
    file: u32,
    size: u64,
    began: Instant,
    /// What the run had moved when it began.
    moved: u64,
}

impl Lines {
    fn alone(&self) -> MutexGuard<'_, Option<Alone>> {
        self.alone.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Whether each file's line has to wait for the file.
pub fn by_file(run: &Run) -> bool {
    run.job.options.info.progress == 1 && !run.job.options.dry_run
}

/// A file begins to move. True if its name is to be printed now.
pub fn begins(run: &Run, item: &FileItem) -> bool {
    if !by_file(run) || item.meta.size < LARGE || run.under_way.load(Ordering::Relaxed) > 1 {
        return false;
    }
    let moved = run.moved_bytes();
    let alone = Alone { file: item.id.number(), size: item.meta.size, began: Instant::now(), moved };
    *run.lines.alone() = Some(alone);
    true
}

/// A file is whole: `name` prints its line unless that was done when it began.
pub fn whole(run: &Run, item: &FileItem, elapsed: Duration, name: impl FnOnce()) {
    if !by_file(run) {
        return;
    }
    let mut alone = run.lines.alone();
    match &*alone {
        Some(announced) if announced.file == item.id.number() => *alone = None,
        _ => name(),
    }
    run.printer.file_done(item.meta.size, elapsed, &tally(run));
}

fn tally(run: &Run) -> Tally {
    let total = run.tally().stats.files.total();
    let counts = run.ledger.counts();
    Tally {
        transferred: counts.delivered() + u64::from(by_file(run)),
        left: counts.planned.saturating_sub(counts.done() + u64::from(by_file(run))),
        total,
        scanning: run.scanning.load(Ordering::Relaxed),
    }
}

/// Prints how far the run is, once a second. Never returns.
pub async fn tick(run: &Run) {
    let level = run.job.options.info.progress;
    if level == 0 || run.job.options.dry_run {
        return std::future::pending().await;
    }
    let began = Instant::now();
    loop {
        tokio::time::sleep(TICK).await;
        if level >= 2 {
            total(run, began.elapsed());
        } else if let Some(alone) = &*run.lines.alone() {
            let done = run.moved_bytes().saturating_sub(alone.moved).min(alone.size);
            let rate = done as f64 / alone.began.elapsed().as_secs_f64().max(0.001);
            run.printer.file_progress(done, alone.size, rate);
        }
        run.printer.flush();
    }
}

/// The line of `--info=progress2`.
pub fn total(run: &Run, elapsed: Duration) {
    let size = run.tally().stats.total_size;
    run.printer.total_progress(run.moved_bytes(), size, elapsed, &tally(run));
}
