//! `hopsync-lab bench`: hopsync beside rsync and others, on servers that it starts itself or on somebody's cluster.
//!
//! - [`work`] and [`cell`]: what is measured; [`programs`]: side by side with what, as [`job`]s; [`experiments`]: both, with a
//!   name.
//! - [`schedule`]: who runs when; [`statistics`], [`beside`], [`delivery`]: what is told of it. All pure.
//! - [`site`]: where the far end is: [`own`] servers, or a [`host`]; [`ground`]: the files, and one run on them;
//!   [`make`] makes them, and [`check`] compares what arrived with them.
//! - [`plan`], [`mod@measure`], [`storm`]: many processes at once, and what they cost; [`stop`]: ending it all.
//! - [`account`]: which files were lost and why, by [`attribute`] and by hopsync's [`ledger`].
//! - [`files`]: the dated folder with the raw numbers.

#![expect(clippy::disallowed_methods, reason = "scratch trees and results, which are no delivery")]

mod account;
mod attribute;
mod beside;
mod cell;
mod check;
mod delivery;
mod experiments;
mod files;
mod ground;
mod host;
mod job;
mod ledger;
mod make;
mod measure;
mod own;
mod plan;
mod programs;
mod schedule;
mod site;
mod statistics;
mod stop;
mod storm;
mod work;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub use self::measure::{Measured, measure};
pub use self::statistics::Spread;
pub use self::work::Kind;

use self::cell::{Cell, Direction, Origin, cells, limits};
use self::experiments::Experiment;
use self::files::{Environment, Folder};
use self::ground::{Ground, workplace};
use self::host::Address;
use self::own::{Own, Servers};
use self::programs::Program;
use self::schedule::{Group, Halt, Record, Rounds, carry_out, total};
use self::site::Site;
use self::stop::Stop;
use self::work::Workload;
use super::demo::{INTERRUPTED, Signals};
use super::print::{line, note};

/// Threads of the relays. The servers have their own.
const THREADS: usize = 2;
/// Processes that one process at once means on this machine, with servers of our own: rsync, its ssh, the jump's ssh, two of
/// each sshd, rsync and its child there.
const PROCESSES: u64 = 10;
/// Runs of each program, where it is not said: of the table, and of an experiment.
const RUNS: (usize, usize) = (3, 3);
const WARMUPS: (usize, usize) = (1, 0);

/// `hopsync-lab bench`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[arg(long, value_delimiter = ',', default_value = work::TABLE, value_name = "WORK,…", help = work::HELP)]
    cells: Vec<Workload>,
    /// Round trips to the head in milliseconds [default: each work's own]
    #[arg(long, value_delimiter = ',', value_name = "MS,…")]
    rtt: Vec<u64>,
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["push", "pull"])]
    directions: Vec<Direction>,
    /// [default: those that tell something on each work and distance; with --at-once: hopsync,hopsync-each,rsync,rsync-each]
    #[arg(long, value_enum, value_delimiter = ',')]
    programs: Vec<Program>,
    /// Processes at the same time, for programs with a process for each file [default: one for each file]
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = clap::value_parser!(u64).range(1..))]
    at_once: Vec<u64>,
    /// MaxSessions of the head [default: sshd's own, as for the next three]
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = cell::sessions)]
    head_sessions: Vec<String>,
    /// MaxStartups of the head (10:30:100)
    #[arg(long, value_delimiter = ',', value_name = "LIMIT,…", value_parser = cell::startups)]
    head_startups: Vec<String>,
    /// MaxSessions of the target
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = cell::sessions)]
    target_sessions: Vec<String>,
    /// MaxStartups of the target
    #[arg(long, value_delimiter = ',', value_name = "LIMIT,…", value_parser = cell::startups)]
    target_startups: Vec<String>,
    /// Where the programs run; the head reaches the target without a jump
    #[arg(long, value_enum, default_value_t = Origin::Worker)]
    from: Origin,
    /// Experiments with a name, in place of the axes above
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,…", conflicts_with_all = AXES)]
    experiment: Vec<Experiment>,
    /// All of them
    #[arg(long, conflicts_with = "experiment", conflicts_with_all = AXES)]
    seeds: bool,
    /// Runs that count, of each program on each cell [default: 3]
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Runs before these, which do not count [default: 1; 0 for experiments]
    #[arg(long, value_name = "N")]
    warmups: Option<usize>,
    /// Makes the work smaller or larger: fewer files, or a smaller one where there is one
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    scale: f64,
    #[arg(long, value_enum, default_value_t = Servers::Auto)]
    servers: Servers,
    /// A real far end in place of servers of its own: HOST or USER@HOST. The load is told, and asked for, first
    #[arg(long, value_name = "HOST", conflicts_with_all = OURS)]
    host: Option<String>,
    /// The remote shell for --host: ssh, with -F, -J, -o or -i
    #[arg(short = 'e', long = "rsh", value_name = "COMMAND", default_value = "ssh", requires = "host")]
    rsh: String,
    /// Where the bench's own directory is made at --host [default: the home directory]
    #[arg(long, value_name = "DIR", default_value = "", requires = "host")]
    far_dir: String,
    /// Agrees to the load on --host without being asked
    #[arg(long, requires = "host")]
    yes: bool,
    /// Seconds that one run may take
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    limit: u64,
    /// Folder for the results [default: bench-results/YYYY-MM-DD-HHMMSS]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What an experiment decides.
const AXES: [&str; 10] = [
    "cells",
    "rtt",
    "directions",
    "programs",
    "at_once",
    "head_sessions",
    "head_startups",
    "target_sessions",
    "target_startups",
    "from",
];
/// What only servers of our own can be told.
const OURS: [&str; 9] = [
    "servers",
    "rtt",
    "head_sessions",
    "head_startups",
    "target_sessions",
    "target_startups",
    "from",
    "experiment",
    "seeds",
];

impl Options {
    fn groups(&self) -> io::Result<Vec<Group>> {
        let wrong = |sentence: &str| io::Error::new(io::ErrorKind::InvalidInput, sentence.to_owned());
        let experiments = if self.seeds { &experiments::ALL[..] } else { &self.experiment };
        if !experiments.is_empty() {
            let groups = experiments.iter().flat_map(|experiment| experiment.groups(self.scale));
            return Ok(groups.map(|group| Group { programs: available(&group.programs), ..group }).collect());
        }
        if self.from == Origin::Head && self.rtt.iter().any(|&rtt| rtt > 0) {
            return Err(wrong("--rtt is the distance to the head: with --from head there is none"));
        }
        let limits = limits((&self.head_sessions, &self.head_startups), (&self.target_sessions, &self.target_startups));
        let rtt = if self.host.is_some() || self.from == Origin::Head { &[0][..] } else { &self.rtt };
        let cells = cells(&self.cells, rtt, &self.directions, &limits, self.scale);
        let cells = cells.into_iter().map(|cell| Cell { from: self.from, ..cell }).collect();
        let programs: &[Program] = match (self.programs.is_empty(), self.at_once.is_empty()) {
            (false, _) => &self.programs,
            (true, true) => return Ok(table(cells)),
            (true, false) => &[Program::Hopsync, Program::HopsyncEach, Program::Rsync, Program::RsyncEach],
        };
        Ok(vec![Group { cells, programs: available(programs), at_once: self.at_once.clone() }])
    }
}

/// Each cell with the programs that tell something on it.
fn table(cells: Vec<Cell>) -> Vec<Group> {
    let mut programs: Vec<Program> = Vec::new();
    for program in cells.iter().flat_map(Program::of_table) {
        if !programs.contains(&program) {
            programs.push(program);
        }
    }
    let there = available(&programs);
    let of = |cell: &Cell| Program::of_table(cell).into_iter().filter(|program| there.contains(program)).collect();
    cells.into_iter().map(|cell| Group { programs: of(&cell), cells: vec![cell], at_once: Vec::new() }).collect()
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
    let groups = options.groups()?;
    let named = usize::from(options.seeds || !options.experiment.is_empty());
    let or = |asked: Option<usize>, default: (usize, usize)| asked.unwrap_or([default.0, default.1][named]);
    let rounds = Rounds { warmups: or(options.warmups, WARMUPS), runs: or(options.runs, RUNS) };
    check_processes(&groups)?;
    let address = match &options.host {
        Some(host) => {
            let address = Address::new(host, &options.rsh, &options.far_dir).map_err(io::Error::other)?;
            address.agree(&address.load(&groups, rounds), options.yes)?;
            Some(address)
        }
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let stop = Arc::new(Stop::default());
    let signals = runtime.block_on(async { Signals::new() })?;
    runtime.spawn({
        let stop = stop.clone();
        async move { stop.listen(signals).await }
    });
    let work = workplace()?;
    let site: Box<dyn Site> = match address {
        // The runtime stays, for the signals.
        Some(address) => Box::new(address.open()?),
        None => Box::new(Own::start(options.servers, work.path(), runtime.handle().clone())?),
    };
    let mut folder = Folder::create(options.out.as_deref())?;
    let environment = Environment::look(site.servers(), site.banner()?);
    folder.environment(&environment)?;
    note(format_args!("servers: {} ({}); results: {}", environment.servers, environment.banner, folder.path.display()));
    if !environment.optimised {
        note("this is a build without optimisations: its numbers mean nothing");
    }
    let mut ground = Ground::new(site, work, &folder.path, Duration::from_secs(options.limit), stop)?;

    let all = total(&groups, rounds);
    let mut records: Vec<Record> = Vec::new();
    let ended = carry_out(&mut ground, &groups, rounds, |record| {
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
        let mut table = statistics::markdown(&rows);
        if let Some(beside) = beside::markdown(&rows) {
            table += &format!("\n{beside}");
        }
        if let Some(delivered) = delivery::markdown(&records) {
            table += &format!("\nDelivered and dropped:\n\n{delivered}");
        }
        folder.table(&table)?;
        line(table.trim_end());
    }
    ended?;
    Ok(records.iter().filter(|record| record.program.is_ours()).all(|record| record.sample.complete(&record.cell)))
}

/// So many processes are started only if this machine lets us have them.
fn check_processes(groups: &[Group]) -> io::Result<()> {
    let cells = groups.iter().flat_map(|group| group.cells.iter().map(move |cell| (group, cell)));
    let counts = cells.flat_map(|(group, cell)| group.turns(cell)).filter_map(|(_, cell)| cell.at_once);
    let Some(most) = counts.max() else { return Ok(()) };
    let own = rustix::process::getrlimit(rustix::process::Resource::Nproc).current.unwrap_or(u64::MAX);
    let all = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    let all = all.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(u64::MAX);
    if most.saturating_mul(PROCESSES) <= own.min(all) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "{most} at once are some {} processes, and this machine allows {}: use --at-once",
            most * PROCESSES,
            own.min(all)
        ),
    ))
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
    let name = statistics::name(record.program, &record.cell);
    let mut text = format!("[{number}/{of}] {}: {name}: {:.2} s", record.cell, sample.wall_s);
    if record.warmup {
        text += " (warm-up)";
    }
    if !sample.complete(&record.cell) {
        let (whole, files) = (sample.whole, record.cell.workload.files);
        text += &format!(", exit {}, {whole}/{files} whole, {} extra", sample.exit, sample.extra);
        if sample.directories_missing > 0 {
            text += &format!(", {} directories missing", sample.directories_missing);
        }
        text += ": ";
        text += &if sample.missing.is_empty() { sample.message.clone() } else { delivery::in_words(&sample.missing) };
    }
    text
}
