//! What the tests have in common: many invocations at once, and what they left.

use std::collections::HashSet;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use hopsync::lab::bed::{Bed, TARGET};
use hopsync::lab::run::{Output, run};
use hopsync::lab::trees::random_file;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

pub type Tried = Result<(), Box<dyn Error>>;

/// As long as the slowest storm may take on a loaded machine with two cores.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Enough to be dropped by MaxStartups many times over, few enough for a small machine.
pub const STORM: usize = 60;

/// The built `hopsync`, its environment free of what could change its ways.
pub fn hopsync<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync"));
    command.args(args);
    // Sharing is the default: nothing asks for it.
    for name in ["RSYNC_RSH", "SSH_AUTH_SOCK", "HOPSYNC_SHARE"] {
        command.env_remove(name);
    }
    command
}

/// Invocations that share: a run-time directory of their own, so that they share with nobody else; and no holder outlives
/// the value.
pub struct Crowd {
    pub runtime: tempfile::TempDir,
    pub shell: String,
    pub environment: Vec<(&'static str, String)>,
    /// Holders seen in reports.
    pub holders: Mutex<HashSet<u32>>,
}

impl Crowd {
    pub fn of(bed: &dyn Bed) -> io::Result<Crowd> {
        let runtime = tempfile::Builder::new().prefix("hopsync-run-").tempdir()?;
        Ok(Crowd { runtime, shell: bed.shell(), environment: Vec::new(), holders: Mutex::default() })
    }

    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = hopsync(["-a", "-e", &self.shell]);
        command.args(args).env("XDG_RUNTIME_DIR", self.runtime.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn one(&self, from: &Path, to: &str) -> io::Result<Output> {
        run(self.command([from.as_os_str(), to.as_ref()]), DEADLINE)
    }

    /// Runs `args(n)` for n from 0, all at once, each with a report; `meanwhile` beside them.
    pub fn storm(
        &self,
        count: usize,
        args: impl Fn(usize) -> Vec<String>,
        meanwhile: impl FnOnce(&Crowd),
    ) -> io::Result<Vec<Ran>> {
        thread::scope(|scope| {
            let running: Vec<_> = (0..count)
                .map(|n| {
                    let report = self.runtime.path().join(format!("report-{n}"));
                    let mut command = self.command(args(n));
                    command.arg(format!("--report={}", report.display()));
                    scope.spawn(move || {
                        let output = run(command, DEADLINE)?;
                        Ok(Ran { output, report: self.read(&report) })
                    })
                })
                .collect();
            meanwhile(self);
            running.into_iter().map(|handle| handle.join().map_err(|_| io::Error::other("panicked"))?).collect()
        })
    }

    pub fn read(&self, report: &Path) -> Vec<Value> {
        let text = fs::read_to_string(report).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut holders = self.holders.lock().unwrap();
        holders.extend(shared(&lines).filter_map(|line| line["holder"].as_u64()).map(|pid| pid as u32));
        lines
    }

    /// The holder's process id, as a run that is under way has it in its report.
    pub fn holder(&self) -> Option<Pid> {
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            for entry in fs::read_dir(self.runtime.path()).ok()?.flatten() {
                if entry.file_name().to_string_lossy().starts_with("report-") {
                    let lines = self.read(&entry.path());
                    let living = |pid: u64| Pid::from_raw(pid as i32).filter(|pid| test_kill_process(*pid).is_ok());
                    if let Some(pid) = shared(&lines).filter_map(|line| living(line["holder"].as_u64()?)).last() {
                        return Some(pid);
                    }
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }

    pub fn stop(&self) -> io::Result<Output> {
        let mut command = hopsync(["-e", &self.shell, "--share-stop", TARGET]);
        command.env("XDG_RUNTIME_DIR", self.runtime.path());
        run(command, DEADLINE)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.stop();
        for pid in self.holders.lock().unwrap().iter().filter_map(|pid| Pid::from_raw(*pid as i32)) {
            // Not one that only has the number by now.
            let name = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            if name.windows(14).any(|word| word == b"--share-holder") {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

pub struct Ran {
    pub output: Output,
    pub report: Vec<Value>,
}

pub fn shared(report: &[Value]) -> impl Iterator<Item = &Value> {
    report.iter().filter(|line| line["event"] == "shared")
}

/// `count` files of `size` bytes in `dir`.
pub fn files(dir: &Path, count: usize, size: u64) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)?;
    let paths: Vec<PathBuf> = (0..count).map(|n| dir.join(format!("f{n}"))).collect();
    for (n, path) in paths.iter().enumerate() {
        random_file(path, size, format!("{n}").as_bytes())?;
    }
    Ok(paths)
}

pub fn all_well(ran: &[Ran]) {
    for ran in ran {
        assert_eq!(ran.output.code, 0, "{}", ran.output.err());
    }
}

/// Whole, and nothing beside it.
pub fn same_files(from: &Path, to: &Path) -> Tried {
    let names = |dir: &Path| -> io::Result<HashSet<_>> { fs::read_dir(dir)?.map(|e| Ok(e?.file_name())).collect() };
    assert_eq!(names(from)?, names(to)?);
    for name in names(from)? {
        assert!(fs::read(from.join(&name))? == fs::read(to.join(&name))?, "{name:?} differs");
    }
    Ok(())
}

pub fn path(path: &Path) -> String {
    path.display().to_string()
}

/// How many shared connections were joined, and how many of its own were made.
pub fn ways(ran: &Ran) -> (usize, u64) {
    (shared(&ran.report).count(), ran.report.last().and_then(|summary| summary["connections"].as_u64()).unwrap_or(0))
}
