//! `--metrics FILE`: the count in Prometheus' text exposition format (version 0.0.4), renewed while the run goes on.
//!
//! One file is one run: counters begin at nought with it. Labels are the ledger's own words, and of hops, stages and causes
//! there are as many as the summary keeps rows of: no number of files makes more.

use std::fmt::Write;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::count::Count;
use super::summary::{Summary, Trouble};
use crate::fault::{Cause, Stage};

/// Puts a new version in the old one's place.
pub type Renew = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

/// How often.
const PERIOD: Duration = Duration::from_secs(1);

/// For the last version to be written.
const STALL: Duration = Duration::from_secs(10);

/// The thread that renews the file. Dropping it ends it.
pub(super) struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when the run has ended, and when the last version is written.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The run has ended: with this exit, or nobody knows how.
    ended: Option<Option<u8>>,
    /// What came of the last version.
    last: Option<Result<(), String>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics {
    pub(super) fn start(mut renew: Renew, count: Arc<Mutex<Count>>, clock: Clock) -> Metrics {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let spawned = std::thread::Builder::new().name("metrics".into()).spawn(move || {
            loop {
                let ended = theirs.lock().ended;
                let summary = count.lock().unwrap_or_else(PoisonError::into_inner).summary(clock.elapsed());
                let exit = ended.flatten();
                let written = renew(text(&summary, clock.started_at(), exit).as_bytes()).map_err(|e| e.to_string());
                let state = theirs.lock();
                if ended.is_some() {
                    let mut state = state;
                    state.last = Some(written);
                    return theirs.changed.notify_all();
                }
                // A disk that is full now may not be in a second; what counts is the last version.
                drop(theirs.changed.wait_timeout_while(state, PERIOD, |state| state.ended.is_none()));
            }
        });
        if let Err(error) = spawned {
            shared.lock().last = Some(Err(format!("no thread to write them: {error}")));
        }
        Metrics { shared }
    }

    /// Writes the last version.
    ///
    /// # Errors
    /// Why it is not there, as a sentence.
    pub(super) fn finish(&self, exit: u8) -> Result<(), String> {
        let mut state = self.shared.lock();
        state.ended.get_or_insert(Some(exit));
        self.shared.changed.notify_all();
        let until = Instant::now() + STALL;
        while state.last.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("its disk accepted nothing for {} s", STALL.as_secs()));
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.last.clone().unwrap_or(Ok(()))
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.shared.lock().ended.get_or_insert(None);
        self.shared.changed.notify_all();
    }
}

/// A text in the making.
struct Text(String);

impl Text {
    /// One metric with its samples: labels and value of each. One without samples is left out.
    fn metric(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (String, String)>) {
        let mut head = false;
        for (labels, value) in samples {
            if !head {
                let _ = writeln!(self.0, "# HELP hopsync_{name} {help}\n# TYPE hopsync_{name} {kind}");
                head = true;
            }
            let _ = writeln!(self.0, "hopsync_{name}{labels} {value}");
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, "counter", help, [(String::new(), value.to_string())]);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.metric(name, "gauge", help, [(String::new(), value.to_string())]);
    }
}

/// `{a="1",b="2"}`, with backslash, double quote and newline escaped as the format has it.
fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (n, (name, value)) in pairs.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{}{name}=\"{value}\"", if n > 0 { "," } else { "" });
    }
    text + "}"
}

fn seconds(time: Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
}

/// As the report names them.
fn word<T: serde::Serialize>(value: T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// One row's samples, by what was hit.
fn rows<const N: usize>(
    troubles: &[Trouble],
    of: impl Fn(&Trouble) -> [(&'static str, u64); N],
) -> Vec<(String, String)> {
    let one = |trouble: &Trouble| {
        let (stage, cause): (Stage, Cause) = (trouble.stage, trouble.cause);
        let (stage, cause) = (word(stage), word(cause));
        let counted = of(trouble).into_iter().filter(|(_, times)| *times > 0);
        let sample = |(what, times): (&str, u64)| {
            let pairs = [("hop", trouble.hop.as_str()), ("stage", &stage), ("cause", &cause), ("what", what)];
            (labels(&pairs), times.to_string())
        };
        counted.map(sample).collect::<Vec<_>>()
    };
    troubles.iter().flat_map(one).collect()
}

/// The whole file. `started` is in seconds since 1970; `exit` is there once the run has ended.
fn text(summary: &Summary, started: f64, exit: Option<u8>) -> String {
    let (c, mut text) = (&summary.counts, Text(String::new()));
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.metric("info", "gauge", "The program.", [(labels(&version), "1".to_owned())]);
    text.gauge("start_time_seconds", "When the run began, in seconds since 1970.", format_args!("{started:.3}"));
    text.gauge("elapsed_seconds", "How long the run has lasted.", seconds(summary.elapsed));
    if let Some(exit) = exit {
        text.gauge("exit_code", "The exit code of the run; not there before it has ended.", exit);
    }
    text.counter("planned_files_total", "Files announced; each is in one class in the end.", c.planned);
    let classes = [
        ("verified", c.verified, c.verified_bytes),
        ("sent", c.sent, c.sent_bytes),
        ("unchanged", c.unchanged, c.unchanged_bytes),
        ("skipped", c.skipped, c.skipped_bytes),
        ("failed", c.failed, c.failed_bytes),
    ];
    let by_class = |value: fn(&(&str, u64, u64)) -> u64| {
        classes.iter().map(move |class| (labels(&[("class", class.0)]), value(class).to_string()))
    };
    text.metric("files_total", "counter", "Files by what became of them.", by_class(|class| class.1));
    text.counter("planned_file_bytes_total", "Sizes of the files announced.", c.planned_bytes);
    text.metric("file_bytes_total", "counter", "Sizes of the files by what became of them.", by_class(|class| class.2));
    text.counter("moved_bytes_total", "File data that all tries moved, those that were dropped too.", c.moved_bytes);
    text.counter("matched_bytes_total", "File data that tries did not send: the destination had it.", c.matched_bytes);
    let throughput = c.moved_bytes as f64 / summary.elapsed.as_secs_f64().max(1e-6);
    text.gauge("throughput_bytes_per_second", "File data moved, over the whole run.", format_args!("{throughput:.0}"));
    text.counter("attempts_total", "Tries at files.", c.attempts);
    text.counter("retries_total", "Tries at files beyond each one's first.", c.retries);
    let drops = rows(&summary.troubles, |trouble| {
        [
            ("attempt", trouble.dropped_attempts),
            ("connection", trouble.dropped_connections),
            ("channel", trouble.dropped_channels),
        ]
    });
    text.metric("drops_total", "counter", "What was lost and tried again, by where and why.", drops);
    let failures =
        rows(&summary.troubles, |trouble| [("file", trouble.files_failed), ("other", trouble.other_failures)]);
    text.metric("failures_total", "counter", "What failed for good, by where and why.", failures);
    text.counter("directories_total", "Directories made.", c.directories);
    text.counter("symlinks_total", "Symbolic links made.", c.symlinks);
    text.counter("deletions_total", "Entries deleted.", c.deleted);
    text.counter("connections_total", "TCP connections of our own that were logged in.", c.connections);
    text.counter("shared_connections_total", "Times that a connection of another process was joined.", c.shared);
    let by_hop = |hop: &str, value: u64| (labels(&[("hop", hop)]), value.to_string());
    let logins = summary.logins.iter().map(|login| by_hop(&login.hop, login.logins));
    text.metric("logins_total", "counter", "Logins, by hop.", logins);
    text.gauge("channels_open", "Channels that are open now.", c.channels_open);
    text.gauge("channels_max", "Most channels that were open at once.", c.channels_max);
    let limits = summary.limits.iter().map(|limit| by_hop(&limit.hop, limit.sessions.into()));
    text.metric("session_limit", "gauge", "Sessions that a server was found to allow on one connection.", limits);
    let refused = summary.limits.iter().map(|limit| by_hop(&limit.hop, limit.refused));
    text.metric("sessions_refused_total", "counter", "Sessions refused at that limit, which are no drops.", refused);
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::ledger::What;

    #[test]
    fn labels_are_escaped_and_what_did_not_happen_has_no_samples() {
        let mut count = Count::default();
        let odd = "a\"b\\c\nd";
        count.drop_counted(&Fault::new(odd, Stage::HostKey, Cause::StartLimit, ""), What::Connection);
        let text = text(&count.summary(Duration::from_millis(1500)), 0.0, None);
        let line = r#"hopsync_drops_total{hop="a\"b\\c\nd",stage="host-key",cause="start-limit",what="connection"} 1"#;
        assert!(text.lines().any(|found| found == line), "{text}");
        assert!(!text.contains("failures_total") && !text.contains("exit_code"), "{text}");
        assert!(text.contains("\nhopsync_elapsed_seconds 1.500000\n"), "{text}");
    }

    #[test]
    fn a_disk_that_is_full_at_the_end_is_told() {
        let (clock, _) = Clock::manual(std::time::UNIX_EPOCH);
        let full = |_: &[u8]| Err(io::ErrorKind::StorageFull.into());
        let metrics = Metrics::start(Box::new(full), Arc::default(), clock);
        assert!(metrics.finish(0).is_err());
    }
}
