//! The built `hopsync`, run by the tests. Beds, trees and servers are in `hopsync::lab`.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use hopsync::lab::run::{Output, run};

/// The longest that a run in a test may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// `hopsync` with `args`, its environment free of what could change its ways. Ready for more settings.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync"));
    command.args(args).env_remove("RSYNC_RSH").env_remove("SSH_AUTH_SOCK").env_remove("RUST_LOG");
    // A connection of its own, that ends with it. Tests of the shared one ask for it (`--share`).
    command.env("HOPSYNC_SHARE", "0");
    command
}

/// Runs it; the test fails if it can not be run or does not end.
pub fn hopsync<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    run(command(args), DEADLINE).unwrap_or_else(|error| panic!("{error}"))
}
