//! What a command costs: wall time, CPU time and memory, of itself and of every process that descends from it.
//!
//! The command runs below a process of its own (`hopsync-lab measure`), which adopts what the command leaves behind: ssh
//! does not wait for the ssh of its ProxyJump, whose CPU time would be lost. What all of them used is then that process's
//! RUSAGE_CHILDREN, and nothing else is in it.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::stop::Stop;
use crate::lab::print::{line, note};
use crate::lab::run::run_with;

/// `hopsync-lab measure`: for [`cost`] alone.
#[derive(Debug, clap::Args)]
pub struct Measured {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// What a command cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Until the command itself ended.
    pub wall_s: f64,
    pub user_s: f64,
    pub system_s: f64,
    /// Largest resident set of any one process. Some MB are this program's own, which each starts as a copy of.
    pub peak_rss: u64,
    /// Exit code; 128 + n if it died by signal n.
    pub exit: i32,
}

/// Runs `command` through `lab` (this program's file) in a process group of its own, which `stop` or `limit` ends. Returns
/// the cost and what the command wrote.
pub fn cost(lab: &Path, command: &[OsString], limit: Duration, stop: &Stop) -> io::Result<(Cost, String)> {
    let mut measured = Command::new(lab);
    measured.args(["measure", "--"]).args(command);
    let ended = run_with(measured, limit, |child| stop.watch(Pid::from_child(child)));
    stop.unwatch();
    match ended {
        Ok(output) => {
            let cost = serde_json::from_slice(&output.stdout)
                .map_err(|_| io::Error::other(format!("could not be measured: {}", output.err().trim_end())))?;
            Ok((cost, output.err()))
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let wall_s = limit.as_secs_f64();
            // As timeout(1) says it.
            Ok((Cost { wall_s, user_s: 0.0, system_s: 0.0, peak_rss: 0, exit: 124 }, error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Runs the command, and prints its [`Cost`] as JSON. What the command writes goes to standard error.
pub fn measure(measured: &Measured) -> ExitCode {
    let result = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        let _context = runtime.enter();
        // Whoever ends the group wants the command to tidy up; this process waits for that. Handlers, unlike an ignored
        // signal, are not inherited.
        let _handlers =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal).map(Result::ok);
        run(&measured.command)
    });
    match result.map(|cost| serde_json::to_string(&cost)) {
        Ok(Ok(cost)) => {
            line(cost);
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    note(format_args!("hopsync-lab measure: {error}"));
    ExitCode::FAILURE
}

fn run(command: &[OsString]) -> io::Result<Cost> {
    let Some((program, arguments)) = command.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .map_err(|error| io::Error::new(error.kind(), format!("can not run {}: {error}", program.display())))?;
    let wall_s = started.elapsed().as_secs_f64();
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let used = children()?;
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    // Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Ok(Cost {
        wall_s,
        user_s: seconds(used.ru_utime),
        system_s: seconds(used.ru_stime),
        peak_rss: u64::try_from(used.ru_maxrss).unwrap_or(0) * unit,
        exit: status.code().unwrap_or(128 + status.signal().unwrap_or(0)),
    })
}

/// What all children that were waited for have used, with theirs.
fn children() -> io::Result<libc::rusage> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is valid for the call, which fills all of it if it returns 0; only then is it read.
    unsafe {
        match libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) {
            0 => Ok(usage.assume_init()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
