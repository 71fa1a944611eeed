//! Many processes at once: let go in one moment, each with an end, all reaped.
//!
//! A process that is starting others competes with those that it has started already: four hundred took half a minute here,
//! which is no longer at once. So those that are to start together are all made first, and wait at a gate.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::plan::{Before, Ended, Plan};
use crate::lab::run::descendants;

/// How long a connection may take to be warm.
const WARMING: Duration = Duration::from_secs(60);
/// Between two questions whether it is.
const ASKING: Duration = Duration::from_millis(50);
/// How long what ends the left-overs may take.
const TIDYING: Duration = Duration::from_secs(20);

/// What happened.
pub struct Storm {
    pub ended: Vec<Ended>,
    pub wall_s: f64,
    /// Seconds since the epoch.
    pub began: f64,
    /// User and system seconds that were used up before the clock was started.
    pub before: (f64, f64),
}

/// Carries `plan` out. This process has to be the one that its children's orphans go to. Needs a tokio runtime of one thread.
/// `stopped` tells when no more is to be started, and what runs is to end.
pub async fn carry_out(
    plan: &Plan,
    used: impl Fn() -> io::Result<(f64, f64)>,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<Storm> {
    let mut reaper = Reaper { ended: signal(SignalKind::child())?, codes: HashMap::new() };
    let mut held = Vec::new();
    let warmed = warm(plan, &mut reaper, &mut held).await;
    let mut storm = Storm { ended: vec![Ended::NEVER; plan.commands.len()], wall_s: 0.0, began: 0.0, before: used()? };
    let result = match warmed {
        Ok(()) => rush(plan, &mut reaper, &mut storm, &mut stopped).await,
        Err(error) => File::create(plan.preface())?.write_all(format!("not warm: {error}").as_bytes()),
    };
    for command in &plan.after {
        if let Ok(child) = start(command, plan, None) {
            let _ = timeout(TIDYING, reaper.wait_for(child.id())).await;
        }
    }
    for child in held {
        end([child], Signal::TERM);
        if timeout(TIDYING, reaper.wait_for(child)).await.is_err() {
            end([child], Signal::KILL);
        }
    }
    result.map(|()| storm)
}

async fn warm(plan: &Plan, reaper: &mut Reaper, held: &mut Vec<u32>) -> io::Result<()> {
    let all = async {
        for before in &plan.before {
            match before {
                Before::Run(command) => {
                    let child = start(command, plan, Some(&plan.preface()))?;
                    match reaper.wait_for(child.id()).await {
                        0 => {}
                        code => return Err(io::Error::other(format!("exit {code}: {}", said(&plan.preface())))),
                    }
                }
                Before::Hold { command, ready } => {
                    let holder = start(command, plan, Some(&plan.preface()))?.id();
                    held.push(holder);
                    loop {
                        let asked = start(ready, plan, None)?.id();
                        if reaper.wait_for(asked).await == 0 {
                            break;
                        }
                        if let Some(code) = reaper.codes.get(&holder) {
                            return Err(io::Error::other(format!("exit {code}: {}", said(&plan.preface()))));
                        }
                        tokio::time::sleep(ASKING).await;
                    }
                }
            }
        }
        Ok(())
    };
    timeout(WARMING, all).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The first processes, each held back until the gate opens; and the clock runs.
async fn rush(
    plan: &Plan,
    reaper: &mut Reaper,
    storm: &mut Storm,
    stopped: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    let mut running: HashMap<u32, usize> = HashMap::new();
    let first = plan.at_once.clamp(1, plan.commands.len().max(1));
    let mut next = 0;
    let gate = if first > 1 { Some(io::pipe()?) } else { None };
    if let Some((gate, _)) = &gate {
        while next < first.min(plan.commands.len()) && !*stopped.borrow() {
            let started = start_at(Some(gate), &plan.commands[next], plan, Some(&plan.output(next)));
            note(started, next, plan, &mut running, &mut storm.ended, 0.0)?;
            next += 1;
        }
    }
    storm.began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let clock = Instant::now();
    // Nobody writes: the end of the pipe is the word.
    drop(gate);
    let over = Duration::try_from_secs_f64(plan.limit_s).ok().and_then(|limit| clock.checked_add(limit));
    let late = || over.is_some_and(|over| Instant::now() >= over);
    let told = |storm: &mut Storm, which: usize, code: i32| {
        let ended = &mut storm.ended[which];
        (ended.exit, ended.ended_s) = (Some(code), clock.elapsed().as_secs_f64());
    };
    loop {
        while next < plan.commands.len() && running.len() < first && !late() && !*stopped.borrow() {
            let started_s = clock.elapsed().as_secs_f64();
            let started = start(&plan.commands[next], plan, Some(&plan.output(next)));
            note(started, next, plan, &mut running, &mut storm.ended, started_s)?;
            next += 1;
        }
        if running.is_empty() {
            break;
        }
        let left = over.map_or(Duration::MAX, |over| over.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = reaper.some() => {}
            () = tokio::time::sleep(left) => {}
            // Whoever asks tells the children too; this is for one that was started in that moment.
            Ok(()) = stopped.changed() => end(running.keys().copied(), Signal::TERM),
        }
        for (child, code) in reaper.codes.drain() {
            if let Some(which) = running.remove(&child) {
                told(storm, which, code);
            }
        }
        if late() {
            for &which in running.values() {
                storm.ended[which].timed_out = true;
            }
            end(running.keys().copied(), Signal::KILL);
            while let Some(&child) = running.keys().next() {
                let code = reaper.wait_for(child).await;
                if let Some(which) = running.remove(&child) {
                    told(storm, which, code);
                }
            }
            for never in &mut storm.ended[next..] {
                never.timed_out = true;
            }
            break;
        }
    }
    storm.wall_s = clock.elapsed().as_secs_f64();
    Ok(())
}

/// A command was started, or could not be: then its output says why.
fn note(
    started: io::Result<Child>,
    which: usize,
    plan: &Plan,
    running: &mut HashMap<u32, usize>,
    ended: &mut [Ended],
    started_s: f64,
) -> io::Result<()> {
    let told = &mut ended[which];
    *told = Ended { exit: None, started_s, ended_s: started_s, timed_out: false };
    match started {
        Ok(child) => drop(running.insert(child.id(), which)),
        Err(error) => {
            // As a shell says it.
            told.exit = Some(126);
            File::create(plan.output(which))?.write_all(error.to_string().as_bytes())?;
        }
    }
    Ok(())
}

/// Starts a command; what it writes goes to a file, for a pipe would have to be read from by somebody who takes CPU time.
fn start(command: &[OsString], plan: &Plan, output: Option<&Path>) -> io::Result<Child> {
    start_at(None, command, plan, output)
}

/// The same, if need be as a shell that waits for the end of `gate` and then becomes the command.
fn start_at(gate: Option<&PipeReader>, command: &[OsString], plan: &Plan, output: Option<&Path>) -> io::Result<Child> {
    let Some((program, arguments)) = command.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut starting = match gate {
        None => Command::new(program),
        Some(_) => Command::new("/bin/sh"),
    };
    match gate {
        None => drop(starting.args(arguments).stdin(Stdio::null())),
        Some(gate) => {
            let script = r#"read -r go; exec "$@" < /dev/null"#;
            starting.args(["-c", script, "sh"]).args(command).stdin(gate.try_clone()?);
        }
    }
    starting.envs(plan.environment.iter().map(|(name, value)| (name, value)));
    match output {
        Some(path) => {
            let file = File::options().append(true).create(true).open(path)?;
            starting.stdout(file.try_clone()?).stderr(file);
        }
        None => drop(starting.stdout(Stdio::null()).stderr(Stdio::null())),
    }
    starting
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("can not run {}: {error}", program.display())))
}

fn said(output: &Path) -> String {
    std::fs::read(output).map_or_else(|_| String::new(), |text| String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// With what descends from them: an rsync's ssh, and that one's jump.
fn end(children: impl IntoIterator<Item = u32>, how: Signal) {
    let children: Vec<u32> = children.into_iter().collect();
    let below = descendants(&children);
    // From the top: nobody is left to say that its child was killed.
    for process in children.into_iter().chain(below) {
        if let Some(pid) = Pid::from_raw(process as i32) {
            let _ = kill_process(pid, how);
        }
    }
}

/// Waits for children, adopted ones too.
struct Reaper {
    ended: Listener,
    /// Exit codes of those that have ended and were not asked for yet.
    codes: HashMap<u32, i32>,
}

impl Reaper {
    /// Takes in whoever has ended; returns at once.
    fn look(&mut self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => drop(self.codes.insert(pid.as_raw_nonzero().get() as u32, code(status))),
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// Returns when at least one has ended.
    async fn some(&mut self) {
        loop {
            self.look();
            if !self.codes.is_empty() {
                return;
            }
            self.ended.recv().await;
        }
    }

    async fn wait_for(&mut self, child: u32) -> i32 {
        loop {
            self.look();
            if let Some(code) = self.codes.remove(&child) {
                return code;
            }
            self.ended.recv().await;
        }
    }
}

fn code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
