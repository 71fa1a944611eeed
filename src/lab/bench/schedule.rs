//! Who runs when: on each cell the programs take turns (A B C A B C), so that what changes meanwhile befalls all alike.
//! Pure: the doing is an [`Executor`]'s, so that this is tested without processes and without time.

use std::io;

use serde::Serialize;

use super::cell::Cell;
use super::programs::Program;

/// What one run of one program left.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    pub wall_s: f64,
    /// CPU time of the client's processes, all descendants included.
    pub user_s: f64,
    pub system_s: f64,
    /// Largest resident set of any one of these processes, in bytes.
    #[serde(rename = "peak_rss_bytes")]
    pub peak_rss: u64,
    /// Exit code; 128 + n if it died by signal n.
    pub exit: i32,
    /// Files at the destination whose hash is the source's.
    pub whole: u64,
    /// Names at the destination that the source has not.
    pub extra: u64,
    /// The end of what it wrote, for people.
    pub message: String,
}

impl Sample {
    /// Everything is there, nothing else is, and the program says so.
    pub fn complete(&self, cell: &Cell) -> bool {
        self.exit == 0 && self.whole == cell.workload.files && self.extra == 0
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
pub fn total(cells: &[Cell], programs: &[Program], rounds: Rounds) -> usize {
    let suiting = |cell: &Cell| programs.iter().filter(|program| program.suits(&cell.workload)).count();
    cells.iter().map(suiting).sum::<usize>() * (rounds.warmups + rounds.runs)
}

/// Runs everything in order and hands each record to `keep` at once, so that what was measured outlives what comes after.
///
/// # Errors
/// The first [`Halt`], by the executor or by `keep`.
pub fn carry_out(
    executor: &mut impl Executor,
    cells: &[Cell],
    programs: &[Program],
    rounds: Rounds,
    mut keep: impl FnMut(Record) -> io::Result<()>,
) -> Result<(), Halt> {
    for cell in cells {
        executor.prepare(cell)?;
        for round in 0..rounds.warmups + rounds.runs {
            for &program in programs.iter().filter(|program| program.suits(&cell.workload)) {
                let started = executor.now();
                let sample = executor.run(cell, program)?;
                let warmup = round < rounds.warmups;
                keep(Record { cell: cell.clone(), program, round, warmup, started, sample })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bench::cell::{Direction, cells};

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
            Ok(Sample {
                wall_s: 1.0,
                user_s: 0.0,
                system_s: 0.0,
                peak_rss: 0,
                exit: 0,
                whole: cell.workload.files,
                extra: 0,
                message: String::new(),
            })
        }

        fn now(&self) -> u64 {
            self.log.len() as u64
        }
    }

    const ALL: [Program; 3] = [Program::Hopsync, Program::Rsync, Program::Tar];
    const ROUNDS: Rounds = Rounds { warmups: 1, runs: 1 };

    fn table() -> Vec<Cell> {
        cells(&["2x1".parse().expect("a work"), "nothing".parse().expect("a work")], &[0], &[Direction::Push], 1.0)
    }

    #[test]
    fn programs_take_turns_within_a_cell() -> Result<(), Halt> {
        let mut mock = Mock { log: Vec::new(), halt_after: usize::MAX };
        let mut records = Vec::new();
        carry_out(&mut mock, &table(), &ALL, ROUNDS, |record| {
            records.push(record);
            Ok(())
        })?;
        let round = ["hopsync -a", "rsync -a", "tar | ssh"];
        let expected =
            [&["prepare 2x1 push 0 ms"][..], &round, &round, &["prepare nothing push 0 ms"], &round[..2], &round[..2]];
        assert_eq!(mock.log, expected.concat());
        assert_eq!(records.len(), total(&table(), &ALL, ROUNDS));
        let first: Vec<_> = records[..6].iter().map(|record| (record.round, record.warmup)).collect();
        assert_eq!(first, [(0, true), (0, true), (0, true), (1, false), (1, false), (1, false)]);
        Ok(())
    }

    #[test]
    fn what_was_measured_before_a_halt_is_kept() {
        let mut mock = Mock { log: Vec::new(), halt_after: 4 };
        let mut kept = 0;
        let halt = carry_out(&mut mock, &table(), &ALL, ROUNDS, |_| {
            kept += 1;
            Ok(())
        });
        assert!(matches!(halt, Err(Halt::Interrupted)));
        assert_eq!(kept, 4);
    }

    #[test]
    fn results_that_cannot_be_kept_end_it() {
        let mut mock = Mock { log: Vec::new(), halt_after: usize::MAX };
        let halt = carry_out(&mut mock, &table(), &ALL, ROUNDS, |_| Err(io::ErrorKind::StorageFull.into()));
        assert!(matches!(halt, Err(Halt::Failed(_))));
        assert_eq!(mock.log.len(), 2);
    }
}
