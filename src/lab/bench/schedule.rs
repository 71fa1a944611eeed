//! Who runs when: on each cell the programs take turns (A B C A B C), so that what changes meanwhile befalls all alike.
//! Pure: the doing is an [`Executor`]'s, so that this is tested without processes and without time.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::attribute::{Missing, TriedAgain};
use super::cell::Cell;
use super::check::Found;
use super::programs::Program;

/// What one run of one program left.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Sample {
    pub wall_s: f64,
    /// CPU time of the client's processes, all descendants included.
    pub user_s: f64,
    pub system_s: f64,
    /// Largest resident set of any one of these processes, in bytes.
    #[serde(rename = "peak_rss_bytes")]
    pub peak_rss: u64,
    /// Exit code; 128 + n if it died by signal n. Of many processes the largest.
    pub exit: i32,
    /// Files at the destination whose hash is the source's, and links that point to the same.
    pub whole: u64,
    /// Directories of the source that the destination has not.
    pub directories_missing: u64,
    /// Names at the destination that the source has not.
    pub extra: u64,
    /// The end of what it wrote, for people. Of many processes, what the first to fail wrote.
    pub message: String,
    #[serde(flatten)]
    pub crowd: Option<Crowd>,
    /// Why files did not arrive whole; their sum is the number of these files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Drops that were overcome, where the program tells them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried_again: Vec<TriedAgain>,
    /// Files that did not arrive whole although their process said that all is well.
    pub missing_with_exit_0: u64,
    /// Processes that said that something failed although all their files are whole.
    pub whole_with_exit_not_0: u64,
    /// What the servers counted, where they are ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Served>,
    /// Seconds since the start at which each whole file had its final content under its name, where that is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arrivals: Vec<f64>,
}

/// Many processes of one program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crowd {
    pub processes: u64,
    /// How many ended with each exit code; `timeout` for those that were killed.
    pub exits: BTreeMap<String, u64>,
}

/// What the servers saw during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Served {
    pub head_connections: u64,
    pub head_logins: u64,
    pub head_start_drops: u64,
    pub target_connections: u64,
    pub target_logins: u64,
    pub target_start_drops: u64,
    pub refused_sessions: u64,
    /// Connections that this machine's kernel turned away because a listening socket's queue was full (sshd's holds 128): no
    /// server's log has them.
    pub listen_overflows: u64,
}

impl Sample {
    /// Everything is there, nothing else is, and the program says so.
    pub fn complete(&self, cell: &Cell) -> bool {
        let all = self.whole == cell.workload.files && self.directories_missing == 0;
        self.exit == 0 && all && self.extra == 0
    }

    /// The same with what a destination has.
    pub fn found(self, found: &Found) -> Sample {
        let whole = found.whole.iter().filter(|whole| **whole).count() as u64;
        Sample { whole, directories_missing: found.directories_missing, extra: found.extra, ..self }
    }
}

/// One run, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    #[serde(flatten)]
    pub cell: Cell,
    pub program: Program,
    /// Counted from 0 within the cell, warm-ups included.
    pub round: usize,
    pub warmup: bool,
    /// Seconds since the epoch.
    pub started: u64,
    #[serde(flatten)]
    pub sample: Sample,
}

/// Cells on which the same programs take turns.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    pub cells: Vec<Cell>,
    pub programs: Vec<Program>,
    /// For programs of which each file has one: how many at once. Without any, all.
    pub at_once: Vec<u64>,
}

impl Group {
    /// Who runs in one round on `cell`, which is told with what is the program's own.
    pub fn turns(&self, cell: &Cell) -> Vec<(Program, Cell)> {
        let mut turns = Vec::new();
        for &program in self.programs.iter().filter(|program| program.suits(&cell.workload)) {
            let cell = Cell { warm: program.is_warm(), ..cell.clone() };
            if !program.is_each() {
                turns.push((program, cell));
                continue;
            }
            let files = cell.workload.files;
            let all = if self.at_once.is_empty() { &[files][..] } else { &self.at_once };
            let mut counts: Vec<u64> = all.iter().map(|&count| count.clamp(1, files)).collect();
            counts.dedup();
            turns.extend(counts.into_iter().map(|count| (program, Cell { at_once: Some(count), ..cell.clone() })));
        }
        turns
    }
}

/// Does what the schedule says.
pub trait Executor {
    /// Called before the first run of each cell: makes the files.
    fn prepare(&mut self, cell: &Cell) -> Result<(), Halt>;

    /// One run into a fresh destination. A program that fails is a sample too.
    fn run(&mut self, cell: &Cell, program: Program) -> Result<Sample, Halt>;

    /// Seconds since the epoch.
    fn now(&self) -> u64;
}

/// Why a bench ends early.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// How often.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// Rounds that are run, kept, and left out of the table.
    pub warmups: usize,
    pub runs: usize,
}

/// The number of runs that [`carry_out`] makes.
pub fn total(groups: &[Group], rounds: Rounds) -> usize {
    let turns = |group: &Group| group.cells.iter().map(|cell| group.turns(cell).len()).sum::<usize>();
    groups.iter().map(turns).sum::<usize>() * (rounds.warmups + rounds.runs)
}

/// Runs everything, in order, and gives each record to `keep` at once, so that what was measured outlives what comes after.
///
/// # Errors
/// The first [`Halt`], by the executor or by `keep`.
pub fn carry_out(
    executor: &mut impl Executor,
    groups: &[Group],
    rounds: Rounds,
    mut keep: impl FnMut(Record) -> io::Result<()>,
) -> Result<(), Halt> {
    for (group, cell) in groups.iter().flat_map(|group| group.cells.iter().map(move |cell| (group, cell))) {
        executor.prepare(cell)?;
        for round in 0..rounds.warmups + rounds.runs {
            for (program, cell) in group.turns(cell) {
                let started = executor.now();
                let sample = executor.run(&cell, program)?;
                let warmup = round < rounds.warmups;
                keep(Record { cell, program, round, warmup, started, sample })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bench::cell::{Direction, Limits, cells};

    /// Writes down what it is asked for, and halts after a number of runs.
    struct Mock {
        log: Vec<String>,
        halt_after: usize,
    }

    impl Executor for Mock {
        fn prepare(&mut self, cell: &Cell) -> Result<(), Halt> {
            self.log.push(format!("prepare {cell}"));
            Ok(())
        }

        fn run(&mut self, cell: &Cell, program: Program) -> Result<Sample, Halt> {
            if self.halt_after == 0 {
                return Err(Halt::Interrupted);
            }
            self.halt_after -= 1;
            self.log.push(program.title().to_owned());
            Ok(Sample { wall_s: 1.0, whole: cell.workload.files, ..Sample::default() })
        }

        fn now(&self) -> u64 {
            self.log.len() as u64
        }
    }

    const ALL: [Program; 3] = [Program::Hopsync, Program::Rsync, Program::Tar];
    const ROUNDS: Rounds = Rounds { warmups: 1, runs: 1 };

    fn table() -> Vec<Group> {
        let works = ["2x1".parse().expect("a work"), "nothing".parse().expect("a work")];
        let cells = cells(&works, &[0], &[Direction::Push], &[Limits::default()], 1.0);
        vec![Group { cells, programs: ALL.to_vec(), at_once: Vec::new() }]
    }

    #[test]
    fn programs_take_turns_within_a_cell() -> Result<(), Halt> {
        let mut mock = Mock { log: Vec::new(), halt_after: usize::MAX };
        let mut records = Vec::new();
        carry_out(&mut mock, &table(), ROUNDS, |record| {
            records.push(record);
            Ok(())
        })?;
        let round = ["hopsync -a", "rsync -a", "tar | ssh"];
        let expected =
            [&["prepare 2x1 push 0 ms"][..], &round, &round, &["prepare nothing push 0 ms"], &round[..2], &round[..2]];
        assert_eq!(mock.log, expected.concat());
        assert_eq!(records.len(), total(&table(), ROUNDS));
        let first: Vec<_> = records[..6].iter().map(|record| (record.round, record.warmup)).collect();
        assert_eq!(first, [(0, true), (0, true), (0, true), (1, false), (1, false), (1, false)]);
        Ok(())
    }

    #[test]
    fn what_was_measured_before_a_halt_is_kept() {
        let mut mock = Mock { log: Vec::new(), halt_after: 4 };
        let mut kept = 0;
        let halt = carry_out(&mut mock, &table(), ROUNDS, |_| {
            kept += 1;
            Ok(())
        });
        assert!(matches!(halt, Err(Halt::Interrupted)));
        assert_eq!(kept, 4);
    }

    #[test]
    fn results_that_cannot_be_kept_end_it() {
        let mut mock = Mock { log: Vec::new(), halt_after: usize::MAX };
        let halt = carry_out(&mut mock, &table(), ROUNDS, |_| Err(io::ErrorKind::StorageFull.into()));
        assert!(matches!(halt, Err(Halt::Failed(_))));
        assert_eq!(mock.log.len(), 2);
    }

    #[test]
    fn only_programs_with_a_process_for_each_file_know_how_many_run_at_once() {
        let mut group = table().remove(0);
        group.programs = vec![Program::Rsync, Program::RsyncEach, Program::RsyncEachMux];
        let told = |group: &Group| -> Vec<_> {
            group.turns(&group.cells[0]).iter().map(|(p, cell)| (p.title(), cell.at_once, cell.warm)).collect()
        };
        let warm = Program::RsyncEachMux.title();
        assert_eq!(
            told(&group),
            [("rsync -a", None, false), ("rsync per file", Some(2), false), (warm, Some(2), true)]
        );
        group.at_once = vec![1, 2, 400];
        let counts: Vec<_> = told(&group).iter().map(|turn| turn.1).collect();
        assert_eq!(counts, [None, Some(1), Some(2), Some(1), Some(2)], "never more than there are files");
    }
}
