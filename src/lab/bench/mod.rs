//! `hopsync-lab bench`: hopsync beside rsync and others, on servers that it starts itself.
//!
//! - [`cell`]: what is measured; [`programs`]: side by side with what.
//! - [`schedule`]: who runs when; [`statistics`]: what is told of it. Both pure.
//! - [`ground`]: servers, distances and files; [`mod@measure`]: what one command costs; [`stop`]: ending it all.
//! - [`files`]: the dated folder with the raw numbers.

#![expect(clippy::disallowed_methods, reason = "scratch trees and results, which are no delivery")]

mod cell;
mod files;
mod ground;
mod measure;
mod programs;
mod schedule;
mod statistics;
mod stop;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub use self::measure::{Measured, measure};
pub use self::statistics::Spread;

use self::cell::{Direction, Workload, cells};
use self::files::{Environment, Folder};
use self::ground::{Ground, Servers};
use self::programs::Program;
use self::schedule::{Halt, Record, Rounds, carry_out, total};
use self::stop::Stop;
use super::demo::{INTERRUPTED, Signals};
use super::print::{line, note};

/// Threads of the relays. The servers have their own.
const THREADS: usize = 2;

/// `hopsync-lab bench`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Work: FILESxSIZE (900x1M), SIZE for one file (2G), or nothing (10,000 files that are there already)
    #[arg(long, value_delimiter = ',', default_value = cell::TABLE, value_name = "WORK,…")]
    cells: Vec<Workload>,
    /// Round trips to the head in milliseconds [default: each work's own]
    #[arg(long, value_delimiter = ',', value_name = "MS,…")]
    rtt: Vec<u64>,
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["push", "pull"])]
    directions: Vec<Direction>,
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["hopsync", "rsync", "tar", "parallel-rsync"])]
    programs: Vec<Program>,
    /// Runs that count, of each program on each cell
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: usize,
    /// Runs before these, which do not count
    #[arg(long, default_value_t = 1, value_name = "N")]
    warmups: usize,
    /// Makes the work smaller or larger: fewer files, or a smaller one where there is one
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    scale: f64,
    #[arg(long, value_enum, default_value_t = Servers::Auto)]
    servers: Servers,
    /// Seconds that one run may take
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    limit: u64,
    /// Folder for the results [default: bench-results/YYYY-MM-DD-HHMMSS]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the bench: success if in every run all that hopsync had to move arrived.
pub fn bench(options: &Options) -> ExitCode {
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Halt::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(Halt::Failed(error)) => {
            note(format_args!("hopsync-lab: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, Halt> {
    let programs = available(&options.programs);
    let cells = cells(&options.cells, &options.rtt, &options.directions, options.scale);
    let rounds = Rounds { warmups: options.warmups, runs: options.runs };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let stop = Arc::new(Stop::default());
    let signals = runtime.block_on(async { Signals::new() })?;
    runtime.spawn({
        let stop = stop.clone();
        async move { stop.listen(signals).await }
    });
    let distances: BTreeSet<u64> = cells.iter().map(|cell| cell.rtt_ms).collect();
    let limit = Duration::from_secs(options.limit);
    let mut ground = Ground::new(options.servers, distances.into_iter(), runtime, limit, stop)?;
    let mut folder = Folder::create(options.out.as_deref())?;
    let environment = Environment::look(ground.servers, ground.banner()?);
    folder.environment(&environment)?;
    note(format_args!(
        "servers: {} ({}), at their default limits; results: {}",
        ground.servers,
        environment.banner,
        folder.path.display()
    ));
    if !environment.optimised {
        note("this is a build without optimisations: its numbers mean nothing");
    }

    let all = total(&cells, &programs, rounds);
    let mut records: Vec<Record> = Vec::new();
    let ended = carry_out(&mut ground, &cells, &programs, rounds, |record| {
        folder.record(&record)?;
        records.push(record);
        if let Some(record) = records.last() {
            note(progress(records.len(), all, record));
        }
        Ok(())
    });
    drop(ground);
    let rows = statistics::rows(&records);
    if !rows.is_empty() {
        let table = statistics::markdown(&rows);
        folder.table(&table)?;
        line(table.trim_end());
    }
    ended?;
    Ok(records.iter().filter(|record| record.program.is_ours()).all(|record| record.sample.complete(&record.cell)))
}

/// Those whose tools are installed; the others are named.
fn available(programs: &[Program]) -> Vec<Program> {
    let mut available = Vec::new();
    for &program in programs {
        match program.needs().filter(|needed| !files::installed(needed)) {
            Some(needed) => note(format_args!("{} is left out: {needed} is not installed", program.title())),
            None => available.push(program),
        }
    }
    available
}

fn progress(number: usize, of: usize, record: &Record) -> String {
    let sample = &record.sample;
    let mut text = format!("[{number}/{of}] {}: {}: {:.2} s", record.cell, record.program.title(), sample.wall_s);
    if record.warmup {
        text += " (warm-up)";
    }
    if !sample.complete(&record.cell) {
        let (whole, files) = (sample.whole, record.cell.workload.files);
        text += &format!(", exit {}, {whole}/{files} whole, {} extra: {}", sample.exit, sample.extra, sample.message);
    }
    text
}
