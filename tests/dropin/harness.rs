//! Runs the built binary, and reads what it reports.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hopsync::lab::bed::Bed;
use hopsync::lab::run::{Output, run_with};
use hopsync::lab::trees::{Aspects, differences, list};
use hopsync::plan::names::is_temp;
use serde_json::Value;

pub type Tried = Result<(), Box<dyn Error>>;

/// The longest that a run in a test may take.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// `hopsync` with `args`, its environment free of what could change its ways. Ready for more settings.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync"));
    command.args(args).env_remove("RSYNC_RSH").env_remove("SSH_AUTH_SOCK").env_remove("RUST_LOG");
    // A connection of its own, that ends with it. tests/share/ is about the shared one.
    command.env("HOPSYNC_SHARE", "0");
    command
}

/// A finished run and its report.
pub struct Ran {
    pub output: Output,
    pub report: Report,
}

/// The report's lines.
pub struct Report(pub Vec<Value>);

impl Report {
    pub fn read(path: &Path) -> Result<Report, Box<dyn Error>> {
        let text = fs::read_to_string(path)?;
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        Ok(Report(lines?))
    }

    pub fn events<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
        self.0.iter().filter(move |line| line["event"] == kind)
    }

    /// The last line.
    pub fn summary(&self) -> &Value {
        match self.0.last() {
            Some(line) if line["event"] == "summary" => line,
            other => panic!("the report does not end with a summary but with {other:?}"),
        }
    }

    pub fn count(&self, name: &str) -> u64 {
        self.summary()[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {}", self.summary()))
    }

    /// Attempts, connections and channels that were dropped.
    pub fn drops(&self) -> u64 {
        self.count("dropped-attempts") + self.count("dropped-connections") + self.count("dropped-channels")
    }

    /// The row of this hop, stage and cause.
    pub fn trouble(&self, hop: &str, stage: &str, cause: &str) -> Option<&Value> {
        let rows = self.summary()["troubles"].as_array()?;
        rows.iter().find(|t| t["hop"] == hop && t["stage"] == stage && t["cause"] == cause)
    }

    /// Every planned file is in one class and one only, and what failed is explained.
    fn check_sum(&self) {
        let classes: u64 =
            ["verified", "sent", "unchanged", "skipped", "failed"].map(|name| self.count(name)).iter().sum();
        assert_eq!(self.count("planned"), classes, "{}", self.summary());
        assert_eq!(self.summary()["miscounted"], Value::Null);
        assert_eq!(self.events("planned").count(), self.events("class").count());
        let explained: u64 = self.summary()["troubles"]
            .as_array()
            .map_or(0, |rows| rows.iter().filter_map(|row| row["files-failed"].as_u64()).sum());
        assert_eq!(self.count("failed"), explained, "{}", self.summary());
    }
}

impl Ran {
    pub fn code(&self) -> i32 {
        self.output.code
    }

    /// Everything that was said, for messages.
    pub fn said(&self) -> String {
        let Output { code, .. } = self.output;
        let summary = self.report.0.last().map(Value::to_string).unwrap_or_default();
        format!("exit {code}\n{}{}\n{summary}", self.output.out(), self.output.err())
    }

    /// Exit 0, and nothing failed.
    pub fn well(self) -> Result<Ran, Box<dyn Error>> {
        if self.code() != 0 || self.report.count("failed") + self.report.count("other-failures") > 0 {
            return Err(self.said().into());
        }
        Ok(self)
    }

    /// This exit, or all that was said.
    pub fn exits(self, code: i32) -> Result<Ran, Box<dyn Error>> {
        if self.code() == code { Ok(self) } else { Err(format!("not exit {code}: {}", self.said()).into()) }
    }
}

fn report_path(dir: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    dir.join(format!("report-{}.jsonl", NEXT.fetch_add(1, Relaxed)))
}

/// One run over a bed, not yet started.
pub struct Invocation {
    pub command: Command,
    report: PathBuf,
}

/// `hopsync -e 'ssh -F …' --report … ARGS`.
pub fn over<S: AsRef<OsStr>>(bed: &dyn Bed, args: impl IntoIterator<Item = S>) -> Invocation {
    let mut all: Vec<OsString> = vec!["-e".into(), bed.shell().into()];
    all.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    plain(bed, all)
}

/// The same without `-e`.
pub fn plain<S: AsRef<OsStr>>(bed: &dyn Bed, args: impl IntoIterator<Item = S>) -> Invocation {
    let report = report_path(bed.client().dir());
    let mut command = command(args);
    command.arg("--report").arg(&report).current_dir(bed.client().dir());
    Invocation { command, report }
}

impl Invocation {
    pub fn run(self) -> Result<Ran, Box<dyn Error>> {
        self.run_with(|_| {})
    }

    /// `meanwhile` is called once it runs. The sum rule is checked whenever there is a report to check.
    pub fn run_with(self, meanwhile: impl FnOnce(&Child)) -> Result<Ran, Box<dyn Error>> {
        let output = run_with(self.command, DEADLINE, meanwhile)?;
        assert!(!output.err().contains("panicked"), "{}", output.err());
        // A usage error ends before there is a job, and so before there is a report.
        let report = if self.report.exists() { Report::read(&self.report)? } else { Report(Vec::new()) };
        if !report.0.is_empty() {
            report.check_sum();
        }
        Ok(Ran { output, report })
    }
}

/// Runs `hopsync -e 'ssh -F …' ARGS` over the bed.
pub fn go<S: AsRef<OsStr>>(bed: &dyn Bed, args: impl IntoIterator<Item = S>) -> Result<Ran, Box<dyn Error>> {
    over(bed, args).run()
}

/// A path as an argument with a trailing slash.
pub fn slash(path: &Path) -> String {
    format!("{}/", path.display())
}

/// Fails with what differs.
pub fn same(left: &Path, right: &Path, aspects: Aspects) -> Tried {
    let found = differences(left, right, aspects)?;
    if found.is_empty() { Ok(()) } else { Err(found.join("\n").into()) }
}

/// What `-a` preserves, links' times too.
pub const ALL: Aspects = Aspects { link_times: true, ..Aspects::ARCHIVE };

/// Temporary files of ours below `top`.
pub fn temps(top: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let is_temp = |path: &PathBuf| is_temp(path.file_name().unwrap_or_default().as_encoded_bytes());
    Ok(list(top)?.into_keys().filter(is_temp).collect())
}

/// No file below `at` has other content than its namesake below `of`: each is whole, or not there.
pub fn no_partial(of: &Path, at: &Path) -> Tried {
    for (name, meta) in list(at)? {
        if meta.is_file() && fs::read(at.join(&name))? != fs::read(of.join(&name))? {
            return Err(format!("{} is not what it should be", name.display()).into());
        }
    }
    Ok(())
}
