//! Experiments with a name: how many processes at once lose files, and where. Each is a question that somebody had of rsync
//! through a head node; docs/benchmarks.md tells what they show.

use super::cell::{Cell, Direction, Limits, Origin};
use super::programs::Program;
use super::schedule::Group;
use super::work::{Kind, Workload};

/// `--experiment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Experiment {
    /// 400 at once, sshd's default limits
    DefaultLimits,
    /// 400 at once: MaxSessions raised, then MaxStartups too; at the target, then at the head as well
    RaisedLimits,
    /// 500 at once from the head, the target's limits raised, there and back
    #[value(name = "500")]
    FiveHundred,
    /// 900 at once from the head, the target's limits raised; and through the head with both raised
    #[value(name = "900")]
    NineHundred,
    /// 9, 12 and 50 at once, straight from the head, default limits
    HeadToUser,
    /// 400 files by a worker, 9 and 400 at once, with and without a connection that stands already
    Warmed,
}

/// In the order in which they are run.
pub const ALL: [Experiment; 6] = [
    Experiment::DefaultLimits,
    Experiment::RaisedLimits,
    Experiment::FiveHundred,
    Experiment::NineHundred,
    Experiment::HeadToUser,
    Experiment::Warmed,
];

const SESSIONS: &str = "1000";
const STARTUPS: &str = "1000:30:6000";

impl Experiment {
    pub fn groups(self, scale: f64) -> Vec<Group> {
        use Program::*;
        let work = |files: u64| {
            Workload { name: format!("{files}x1M"), kind: Kind::Files, files, size: 1 << 20 }.scaled(scale)
        };
        let push = |files| Cell::new(work(files), Direction::Push, 0);
        let pair = vec![HopsyncEach, RsyncEach];
        let all_at_once = |cells: Vec<Cell>, programs: Vec<Program>| Group { cells, programs, at_once: Vec::new() };
        let sessions = || Some(SESSIONS.to_owned());
        let startups = || Some(STARTUPS.to_owned());
        let target = || Limits { target_sessions: sessions(), target_startups: startups(), ..Limits::default() };
        let both = || Limits { head_sessions: sessions(), head_startups: startups(), ..target() };
        let from_head = |cell: Cell| Cell { from: Origin::Head, ..cell };
        match self {
            Experiment::DefaultLimits => {
                let programs = vec![HopsyncEach, HopsyncEachUnshared, RsyncEach, ScpEach, Hopsync, Rsync];
                vec![all_at_once(vec![push(400)], programs)]
            }
            Experiment::RaisedLimits => {
                let limits = [
                    Limits { target_sessions: sessions(), ..Limits::default() },
                    Limits { head_sessions: sessions(), target_sessions: sessions(), ..Limits::default() },
                    target(),
                    both(),
                ];
                vec![all_at_once(limits.map(|limits| Cell { limits, ..push(400) }).into(), pair)]
            }
            Experiment::FiveHundred => {
                let there = from_head(Cell { limits: target(), ..push(500) });
                let back = Cell { direction: Direction::Pull, ..there.clone() };
                vec![all_at_once(vec![there, back], pair)]
            }
            Experiment::NineHundred => {
                let head = from_head(Cell { limits: target(), ..push(900) });
                vec![all_at_once(vec![head, Cell { limits: both(), ..push(900) }], pair)]
            }
            Experiment::HeadToUser => {
                vec![Group { cells: vec![from_head(push(50))], programs: pair, at_once: vec![9, 12, 50] }]
            }
            Experiment::Warmed => {
                let programs = vec![HopsyncEach, HopsyncEachWarm, RsyncEach, RsyncEachMuxCold, RsyncEachMux];
                vec![Group { cells: vec![push(400)], programs, at_once: vec![9, 400] }]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_experiment_has_ours_beside_rsync() {
        for experiment in ALL {
            for group in experiment.groups(1.0) {
                assert!(!group.cells.is_empty() && group.cells.iter().all(|cell| cell.rtt_ms == 0));
                assert!(group.programs.contains(&Program::HopsyncEach) && group.programs.contains(&Program::RsyncEach));
            }
        }
        let raised: Vec<_> = Experiment::RaisedLimits.groups(1.0)[0].cells.iter().map(ToString::to_string).collect();
        assert_eq!(raised[2], "400x1M push 0 ms, target MaxSessions 1000, target MaxStartups 1000:30:6000");
        assert_eq!(Experiment::FiveHundred.groups(0.02)[0].cells[1].workload.files, 10);
    }
}
