//! What a bench leaves: a dated folder with the machine and the tools, every run as a line of JSON, and the table.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::schedule::Record;
use crate::lab::run::run;

/// A tool that does not tell its version within this is left out.
const PATIENCE: Duration = Duration::from_secs(5);

/// The machine, the tools and what was asked for: what one needs to know to compare two results.
#[derive(Debug, Serialize)]
pub struct Environment {
    /// UTC, as in the folder's name.
    pub started: String,
    pub arguments: Vec<String>,
    pub servers: &'static str,
    /// What the head says of its software.
    pub banner: String,
    pub cpu: String,
    pub cpus: usize,
    pub memory_bytes: u64,
    pub system: String,
    pub hopsync: &'static str,
    /// Built with optimisations; without, its numbers mean nothing.
    pub optimised: bool,
    /// First lines of what the other tools say of themselves.
    pub tools: Vec<String>,
}

impl Environment {
    pub fn look(servers: &'static str, banner: String) -> Environment {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
        let uname = rustix::system::uname();
        let tools: [&[&str]; 3] = [&["rsync", "--version"], &["ssh", "-V"], &["tar", "--version"]];
        Environment {
            started: date(now()),
            arguments: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            servers,
            banner,
            cpu: cpu.map_or("unknown", |(_, name)| name).to_owned(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024,
            system: format!(
                "{} {} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy(),
                uname.machine().to_string_lossy()
            ),
            hopsync: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            tools: tools.iter().filter_map(|command| version(command)).collect(),
        }
    }
}

/// The first line that a tool says of its version; `ssh -V` says it on standard error.
fn version(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let mut asked = Command::new(program);
    asked.args(arguments);
    let output = run(asked, PATIENCE).ok()?;
    let text = output.out() + &output.err();
    text.lines().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

/// Whether a program is on the PATH.
pub fn installed(program: &str) -> bool {
    let asked = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `YYYY-MM-DD-HHMMSS`, UTC.
fn date(seconds: u64) -> String {
    // The civil calendar from days, in years that start in March so that leap days come last (Howard Hinnant, "chrono-
    // Compatible Low-Level Date Algorithms", civil_from_days).
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}{second:02}")
}

/// The folder.
#[derive(Debug)]
pub struct Folder {
    pub path: PathBuf,
    runs: File,
}

impl Folder {
    /// Creates `path`, or a dated folder in `bench-results`; there must be no results in it yet.
    pub fn create(path: Option<&Path>) -> io::Result<Folder> {
        let path = path.map_or_else(|| Path::new("bench-results").join(date(now())), Path::to_owned);
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        fs::create_dir_all(&path).map_err(told)?;
        let runs = File::create_new(path.join("runs.jsonl")).map_err(told)?;
        Ok(Folder { path, runs })
    }

    pub fn environment(&self, environment: &Environment) -> io::Result<()> {
        fs::write(self.path.join("environment.json"), serde_json::to_string_pretty(environment)? + "\n")
    }

    /// Adds a line. Each is whole on the disk before the next run starts.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        self.runs.write_all((serde_json::to_string(record)? + "\n").as_bytes())
    }

    pub fn table(&self, markdown: &str) -> io::Result<()> {
        fs::write(self.path.join("table.md"), markdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_the_date() {
        assert_eq!(date(0), "1970-01-01-000000");
        assert_eq!(date(951_782_400 + 86_399), "2000-02-29-235959");
        assert_eq!(date(1_735_689_599), "2024-12-31-235959");
        assert_eq!(date(4_107_542_400), "2100-03-01-000000");
    }

    #[test]
    fn results_are_not_written_over() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let first = Folder::create(Some(dir.path()))?;
        first.table("| a |\n")?;
        let Err(error) = Folder::create(Some(dir.path())) else { panic!("results were written over") };
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        Ok(())
    }

    #[test]
    fn tools_that_are_not_installed_are_left_out() {
        assert!(installed("sh") && !installed("no-such-program-at-all"));
        assert_eq!(version(&["no-such-program-at-all"]), None);
    }
}
