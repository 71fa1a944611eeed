//! `--log-file`: what a run does, each line with the time and the process, as rsync writes it.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::listing;

/// rsync's own format for updates.
pub const FORMAT: &[u8] = b"%i %n%L";

pub struct Log {
    out: Box<dyn Write + Send>,
    /// A line could not be written; nobody is told a second time.
    failed: bool,
}

impl Log {
    pub fn new(out: Box<dyn Write + Send>) -> Log {
        Log { out, failed: false }
    }

    /// Writes a line, at once: a log is read while the run goes on. False for the first that cannot be written.
    pub fn line(&mut self, text: &[u8]) -> bool {
        if self.failed {
            return true;
        }
        let head = format!("{} [{}] ", listing::local_time(now()), std::process::id());
        let line = [head.as_bytes(), text, b"\n"].concat();
        self.failed = self.out.write_all(&line).is_err();
        !self.failed
    }
}

/// Seconds since the epoch.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
