//! A child process that can not hang its caller: its output captured, its time limited.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// What a finished child left.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; 128 + n if it died by signal n.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub wall: Duration,
}

impl Output {
    /// Standard output as text, for messages.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, for messages.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Runs `command` with nothing on standard input. See [`run_with`].
pub fn run(command: Command, deadline: Duration) -> io::Result<Output> {
    run_with(command, deadline, |_| {})
}

/// Runs `command` in its own process group, captures what it writes, and kills the group if it has not ended within
/// `deadline`: that is an error of kind `TimedOut` that holds what it had written. `meanwhile` is called once it runs.
pub fn run_with(mut command: Command, deadline: Duration, meanwhile: impl FnOnce(&Child)) -> io::Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let started = Instant::now();
    let mut child =
        command.spawn().map_err(|error| io::Error::new(error.kind(), format!("can not run {name}: {error}")))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let group = Pid::from_child(&child);
    let (sender, ended) = mpsc::channel::<io::Result<ExitStatus>>();
    meanwhile(&child);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = sender.send(child.wait());
        });
        let status = ended.recv_timeout(deadline);
        if status.is_err() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // The pipes close when the last process that holds them is gone: with the group, or with the child's children.
        let left = deadline.saturating_sub(started.elapsed()).max(Duration::from_secs(5));
        let (stdout, stderr) =
            (stdout.recv_timeout(left).unwrap_or_default(), stderr.recv_timeout(left).unwrap_or_default());
        let wall = started.elapsed();
        match status {
            Ok(status) => {
                let status = status?;
                let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
                Ok(Output { code, stdout, stderr, wall })
            }
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "{name} did not end within {} s and was killed; it wrote:\n{}{}",
                    deadline.as_secs_f32(),
                    String::from_utf8_lossy(&stdout),
                    String::from_utf8_lossy(&stderr)
                ),
            )),
        }
    })
}

fn collect(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut all);
        }
        let _ = sender.send(all);
    });
    receiver
}

/// The processes that descend from `ancestors`, by /proc; none where there is no /proc.
pub(crate) fn descendants(ancestors: &[u32]) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may contain anything; state and parent follow it.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = ancestors.to_vec();
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(ancestors.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_exit_code_are_captured() -> io::Result<()> {
        let output = run(shell("echo out; echo err >&2; exit 23"), Duration::from_secs(20))?;
        assert_eq!((output.code, output.out().as_str(), output.err().as_str()), (23, "out\n", "err\n"));
        Ok(())
    }

    #[test]
    fn a_child_that_hangs_is_killed_with_its_children_and_what_it_wrote_is_kept() {
        let Err(error) = run(shell("echo before; sleep 600 & sleep 600"), Duration::from_secs(2)) else {
            panic!("a sleep of 600 s ended at once");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("before"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let Err(error) = run(Command::new("/no/such/program"), Duration::from_secs(1)) else { panic!("it ran") };
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
