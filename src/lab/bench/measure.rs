//! What a run costs: wall time, CPU time and memory, of all its commands and of every process that descends from them.
//!
//! The commands run below a process of their own (`hopsync-lab measure`), which adopts what they leave behind: ssh does not
//! wait for the ssh of its ProxyJump, whose CPU time would be lost. What all of them used is then that process's
//! RUSAGE_CHILDREN, and nothing else is in it.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::plan::{Cost, Ended, Plan};
use super::stop::Stop;
use super::storm;
use crate::lab::print::{line, note};
use crate::lab::run::run_with;

/// What warming, tidying and waiting for what was left behind may take beyond a run's own limit, all together.
const BEYOND: Duration = Duration::from_secs(180);

/// `hopsync-lab measure`: for [`cost`] alone.
#[derive(Debug, clap::Args)]
pub struct Measured {
    /// A file with the plan
    plan: PathBuf,
}

/// Runs `plan` through `lab` (this program's file) in a process group of its own, which `stop` ends. `file` is where the plan
/// is written.
pub fn cost(lab: &Path, plan: &Plan, file: &Path, stop: &Stop) -> io::Result<Cost> {
    fs::write(file, serde_json::to_string(plan)?)?;
    let mut measured = Command::new(lab);
    measured.arg("measure").arg(file);
    let limit = Duration::try_from_secs_f64(plan.limit_s).unwrap_or(Duration::MAX).saturating_add(BEYOND);
    let ended = run_with(measured, limit, |child| stop.watch(Pid::from_child(child)));
    stop.unwatch();
    match ended {
        Ok(output) => serde_json::from_slice(&output.stdout)
            .map_err(|_| io::Error::other(format!("could not be measured: {}", output.err().trim_end()))),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let ended = vec![Ended { timed_out: true, ..Ended::NEVER }; plan.commands.len()];
            let wall_s = limit.as_secs_f64();
            Ok(Cost { wall_s, user_s: 0.0, system_s: 0.0, peak_rss: 0, began: 0.0, ended })
        }
        Err(error) => Err(error),
    }
}

/// Carries the plan out, and prints its [`Cost`] as JSON.
pub fn measure(measured: &Measured) -> ExitCode {
    let plan = fs::read(&measured.plan).and_then(|text| Ok(serde_json::from_slice::<Plan>(&text)?));
    let result = plan.and_then(|plan| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(&plan))
    });
    match result.and_then(|cost| Ok(serde_json::to_string(&cost)?)) {
        Ok(cost) => {
            line(cost);
            ExitCode::SUCCESS
        }
        Err(error) => {
            note(format_args!("hopsync-lab measure: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(plan: &Plan) -> io::Result<Cost> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let (stopped, stopping) = watch::channel(false);
    // Whoever ends the group wants the commands to tidy up; this process waits for that. Handlers, unlike an ignored signal,
    // are not inherited.
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<io::Result<Vec<_>>>()?;
    let listening = tokio::spawn(async move {
        futures::future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
        let _ = stopped.send(true);
        // The sender lives on: a closed channel would look like another word.
        std::future::pending::<()>().await;
    });
    let before = || children().map(|used| (seconds(used.ru_utime), seconds(used.ru_stime)));
    let storm = storm::carry_out(plan, before, stopping).await?;
    listening.abort();
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let used = children()?;
    // Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Ok(Cost {
        wall_s: storm.wall_s,
        user_s: seconds(used.ru_utime) - storm.before.0,
        system_s: seconds(used.ru_stime) - storm.before.1,
        peak_rss: u64::try_from(used.ru_maxrss).unwrap_or(0) * unit,
        began: storm.began,
        ended: storm.ended,
    })
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
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
