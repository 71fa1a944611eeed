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
pub struct Lines(Mutex<Told>);

#[derive(Default)]
struct Told {
    /// Files that were told to be whole: their numbers have neither gaps nor repeats, in whatever order they get their class.
    whole: u64,
    alone: Option<Alone>,
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
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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
    run.lines.told().alone = Some(alone);
    true
}

/// A file is whole: `name` prints its line unless that was done when it began.
pub fn whole(run: &Run, item: &FileItem, elapsed: Duration, name: impl FnOnce()) {
    if !by_file(run) {
        return;
    }
    let mut told = run.lines.told();
    match &told.alone {
        Some(announced) if announced.file == item.id.number() => told.alone = None,
        _ => name(),
    }
    told.whole += 1;
    run.printer.file_done(item.meta.size, elapsed, &tally(run, told.whole));
}

/// `whole` files are told of; their classes may come a moment later.
fn tally(run: &Run, whole: u64) -> Tally {
    let total = run.tally().stats.files.total();
    let counts = run.ledger.counts();
    let delivered = counts.delivered();
    let settled = counts.done() - delivered + delivered.max(whole);
    Tally {
        transferred: if by_file(run) { whole } else { delivered },
        left: counts.planned.saturating_sub(settled),
        total,
        // rsync has the whole list first where it does not make it piece by piece.
        scanning: run.job.options.incremental && run.scanning.load(Ordering::Relaxed),
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
        } else if let Some(alone) = &run.lines.told().alone {
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
    run.printer.total_progress(run.moved_bytes(), size, elapsed, &tally(run, 0));
}
