//! What is measured: a work, its direction, its distance, and what the servers allow.

use std::fmt;

use serde::Serialize;

use super::work::Workload;
use crate::lab::server::MaxStartups;

/// Seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Push,
    Pull,
}

/// What the servers allow, in sshd_config's words; what is absent is sshd's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_sessions: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_startups: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_sessions: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_startups: Option<String>,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = [
            ("head MaxSessions", &self.head_sessions),
            ("head MaxStartups", &self.head_startups),
            ("target MaxSessions", &self.target_sessions),
            ("target MaxStartups", &self.target_startups),
        ];
        let told: Vec<_> =
            told.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
        f.write_str(if told.is_empty() { "default limits" } else { "" })?;
        f.write_str(&told.join(", "))
    }
}

/// Which host the programs run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A worker, which reaches the target through the head
    #[default]
    Worker,
    /// The head itself: straight to the target
    Head,
}

impl Origin {
    fn is_worker(&self) -> bool {
        *self == Origin::Worker
    }
}

/// One cell of the table: all programs are measured on it in turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    #[serde(flatten)]
    pub workload: Workload,
    pub direction: Direction,
    /// Milliseconds from the client to the head and back.
    pub rtt_ms: u64,
    #[serde(flatten)]
    pub limits: Limits,
    #[serde(skip_serializing_if = "Origin::is_worker")]
    pub from: Origin,
    /// Processes at the same time, each with a file of its own; absent for a program that moves all files itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u64>,
    /// A connection stood already when the clock started.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub warm: bool,
}

impl Cell {
    pub fn new(workload: Workload, direction: Direction, rtt_ms: u64) -> Cell {
        let (limits, from) = (Limits::default(), Origin::Worker);
        Cell { workload, direction, rtt_ms, limits, from, at_once: None, warm: false }
    }

    /// The cell without what is a program's own: programs are compared on the same ground.
    pub fn ground(&self) -> Cell {
        Cell { at_once: None, warm: false, ..self.clone() }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Push => "push",
            Direction::Pull => "pull",
        };
        write!(f, "{} {direction} {} ms", self.workload.name, self.rtt_ms)?;
        if self.from == Origin::Head {
            f.write_str(" from the head")?;
        }
        if self.limits != Limits::default() {
            write!(f, ", {}", self.limits)?;
        }
        Ok(())
    }
}

/// All cells: each work at each distance (without any, at its own ones) in each direction, under each of `limits`. Cells of
/// one work are neighbours, so that its files are made once.
pub fn cells(
    works: &[Workload],
    distances: &[u64],
    directions: &[Direction],
    limits: &[Limits],
    scale: f64,
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for work in works {
        let distances = if distances.is_empty() { work.distances() } else { distances };
        let workload = work.clone().scaled(scale);
        for limits in limits {
            for &rtt_ms in distances {
                cells.extend(directions.iter().map(|&direction| {
                    let cell = Cell::new(workload.clone(), direction, rtt_ms);
                    Cell { limits: limits.clone(), ..cell }
                }));
            }
        }
    }
    cells
}

/// Every combination of the values asked for; none for an axis means sshd's default.
pub fn limits(head: (&[String], &[String]), target: (&[String], &[String])) -> Vec<Limits> {
    let axis = |values: &[String]| {
        if values.is_empty() { vec![None] } else { values.iter().cloned().map(Some).collect::<Vec<_>>() }
    };
    let mut all = Vec::new();
    for head_sessions in axis(head.0) {
        for head_startups in axis(head.1) {
            for target_sessions in axis(target.0) {
                for target_startups in axis(target.1) {
                    let (head_sessions, head_startups) = (head_sessions.clone(), head_startups.clone());
                    let target_sessions = target_sessions.clone();
                    all.push(Limits { head_sessions, head_startups, target_sessions, target_startups });
                }
            }
        }
    }
    all
}

/// `MaxSessions` as sshd takes it.
pub fn sessions(text: &str) -> Result<String, String> {
    text.parse::<u32>().map(|n| n.to_string()).map_err(|_| format!("\"{text}\" is no MaxSessions: a number is"))
}

/// `MaxStartups` as sshd takes it: `FULL`, or `START:RATE:FULL`.
pub fn startups(text: &str) -> Result<String, String> {
    start_limit(text).map(|_| text.to_owned())
}

/// Start, rate and full of a `MaxStartups`; a single number drops everything beyond it.
pub fn start_limit(text: &str) -> Result<MaxStartups, String> {
    let wrong = || format!("\"{text}\" is no MaxStartups: START:RATE:FULL (10:30:100) or a number is");
    let numbers: Vec<u32> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    match numbers[..] {
        [full] if full > 0 => Ok(MaxStartups { start: full, rate: 100, full }),
        [start, rate @ 1..=100, full] if (1..=full).contains(&start) => Ok(MaxStartups { start, rate, full }),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bench::work::TABLE;

    fn work(name: &str) -> Workload {
        name.parse().expect("a work")
    }

    #[test]
    fn each_work_has_its_own_distances_unless_some_are_asked_for() {
        let works: Vec<_> = TABLE.split(',').map(work).collect();
        let both = [Direction::Push, Direction::Pull];
        assert_eq!(cells(&works, &[], &both, &[Limits::default()], 1.0).len(), 2 * (2 + 1 + 1 + 1 + 1 + 2 + 3));
        let asked = cells(&works[..2], &[0, 20], &both[..1], &[Limits::default()], 1.0);
        let asked: Vec<_> = asked.iter().map(ToString::to_string).collect();
        assert_eq!(asked, ["900x1M push 0 ms", "900x1M push 20 ms", "2G push 0 ms", "2G push 20 ms"]);
    }

    #[test]
    fn limits_are_combined_and_told_and_the_default_is_absent() {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let all = limits((&[], &list(&["10:30:100", "1000"])), (&list(&["1", "10"]), &[]));
        let told: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 4);
        assert_eq!(told[1], "head MaxStartups 10:30:100, target MaxSessions 10");
        assert_eq!(limits((&[], &[]), (&[], &[])), [Limits::default()]);
        let cell = Cell::new(work("2x1"), Direction::Push, 0);
        let plain = serde_json::to_string(&cell).expect("JSON");
        assert_eq!(plain, r#"{"name":"2x1","kind":"files","files":2,"size":1,"direction":"push","rtt_ms":0}"#);
        let json = serde_json::to_value(Cell { limits: all[1].clone(), at_once: Some(2), ..cell }).expect("JSON");
        assert_eq!((&json["head_startups"], &json["target_sessions"]), (&"10:30:100".into(), &"10".into()));
        assert_eq!((&json["at_once"], json.get("head_sessions")), (&2.into(), None));
    }

    #[test]
    fn what_sshd_would_not_take_is_refused_before_it_is_started() {
        for right in ["10", "10:30:100", "1000:30:6000"] {
            assert_eq!(startups(right).as_deref(), Ok(right));
        }
        for wrong in ["", "0", "x", "10:30", "10:0:100", "10:101:100", "20:30:10", "1:2:3:4", "-1", "10\nPort 1"] {
            assert!(startups(wrong).is_err(), "{wrong}");
        }
        assert!(sessions("0").is_ok() && sessions("ten").is_err());
    }
}
