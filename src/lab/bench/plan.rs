//! One run as `hopsync-lab measure` is told to do it, and what it tells of it afterwards: JSON, both ways.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Program and arguments.
pub type Command = Vec<OsString>;

/// Processes to be started, as many at once as allowed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// File number `i` is command `i % commands.len()`'s: all are one command's, or each has its own, or they are dealt like
    /// cards.
    pub commands: Vec<Command>,
    /// How many may run at the same time.
    pub at_once: usize,
    /// What stands before the clock is started.
    pub before: Vec<Before>,
    /// Ends what the commands leave running. Their failure is nobody's.
    pub after: Vec<Command>,
    pub environment: Vec<(String, OsString)>,
    /// Seconds from the first start after which whatever still runs is killed.
    pub limit_s: f64,
    /// An existing directory: command `i` writes both its streams to file `i` in it.
    pub outputs: PathBuf,
}

/// What warms a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// It has to succeed.
    Run(Command),
    /// It runs until the end; `ready` succeeds as soon as it can be used.
    Hold { command: Command, ready: Command },
}

impl Plan {
    pub fn new(commands: Vec<Command>, outputs: &Path) -> Plan {
        let (before, after, environment) = (Vec::new(), Vec::new(), Vec::new());
        let at_once = commands.len();
        Plan { commands, at_once, before, after, environment, limit_s: f64::INFINITY, outputs: outputs.to_owned() }
    }

    pub fn output(&self, command: usize) -> PathBuf {
        self.outputs.join(command.to_string())
    }

    /// Where it is said why nothing could be started.
    pub fn preface(&self) -> PathBuf {
        self.outputs.join("before")
    }
}

/// How one command ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Exit code; 128 + n if it died by signal n; `None` if it was never started.
    pub exit: Option<i32>,
    /// Seconds since the first start.
    pub started_s: f64,
    pub ended_s: f64,
    /// Killed because the run had taken too long.
    pub timed_out: bool,
}

impl Ended {
    pub const NEVER: Ended = Ended { exit: None, started_s: 0.0, ended_s: 0.0, timed_out: false };
}

/// What a run cost, of all processes together, and how each of its commands ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// From the first start until the last command had ended.
    pub wall_s: f64,
    pub user_s: f64,
    pub system_s: f64,
    /// Largest resident set of any one process. Some MB are this program's own, which each starts as a copy of.
    pub peak_rss: u64,
    /// When the clock was started: seconds since the epoch.
    pub began: f64,
    /// In the order of the commands.
    pub ended: Vec<Ended>,
}

impl Cost {
    /// What is told of all: the one exit code, or the worst.
    pub fn exit(&self) -> i32 {
        // As timeout(1) says it; what never started is no success either.
        let code = |ended: &Ended| if ended.timed_out { 124 } else { ended.exit.unwrap_or(125) };
        self.ended.iter().map(code).max().unwrap_or(0)
    }
}
