//! Ending a bench on a signal: what runs now is told to tidy up, what does not is killed, and nothing more is started.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::schedule::Halt;
use crate::lab::demo::Signals;

/// How long interrupted programs may take to tidy up.
const GRACE: Duration = Duration::from_secs(10);

/// Shared between the bench and whoever listens to signals.
#[derive(Debug, Default)]
pub struct Stop(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    asked: bool,
    /// The process group that runs now.
    group: Option<Pid>,
}

impl Stop {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the bench is to end.
    pub fn asked(&self) -> bool {
        self.state().asked
    }

    /// # Errors
    /// If the bench is to end.
    pub fn check(&self) -> Result<(), Halt> {
        if self.asked() { Err(Halt::Interrupted) } else { Ok(()) }
    }

    /// From now on `group` is what a signal ends; at once, if one has come already.
    pub fn watch(&self, group: Pid) {
        let mut state = self.state();
        state.group = Some(group);
        if state.asked {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    pub fn unwatch(&self) {
        self.state().group = None;
    }

    pub(super) fn send(&self, signal: Signal) {
        let mut state = self.state();
        state.asked = true;
        if let Some(group) = state.group {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Waits for signals and does what they ask for; ends after the second step.
    pub async fn listen(&self, mut signals: Signals) {
        signals.next().await;
        self.send(Signal::TERM);
        let _ = tokio::time::timeout(GRACE, signals.next()).await;
        self.send(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_that_starts_after_the_signal_is_ended_too() -> std::io::Result<()> {
        let stop = Stop::default();
        stop.send(Signal::TERM);
        assert!(stop.asked());
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn()?;
        stop.watch(Pid::from_child(&child));
        assert_eq!(child.wait()?.signal(), Some(Signal::TERM.as_raw()));
        stop.unwatch();
        Ok(())
    }
}
