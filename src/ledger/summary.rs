//! The count at a glance: what the last line of a run, its table, and the report's last line are made of.

use std::fmt::Write;
use std::time::Duration;

use super::escape::{escape, escape_cut};
use super::event::{TextKind, seconds};
use crate::fault::{Cause, Stage};

/// Totals that change while a run goes on; cheap to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Files announced, and what became of them: the others add up to it once the run is over.
    pub planned: u64,
    pub verified: u64,
    pub sent: u64,
    pub unchanged: u64,
    pub skipped: u64,
    pub failed: u64,
    /// Sizes of the files in the class of the same name.
    pub planned_bytes: u64,
    pub verified_bytes: u64,
    pub sent_bytes: u64,
    pub unchanged_bytes: u64,
    pub skipped_bytes: u64,
    pub failed_bytes: u64,
    /// Bytes of file data that all attempts moved, dropped ones too.
    pub moved_bytes: u64,
    /// Bytes of file data that all attempts found at the destination and did not send.
    pub matched_bytes: u64,
    pub attempts: u64,
    /// Attempts beyond a file's first.
    pub retries: u64,
    /// What was lost on the way and tried again: attempts at files, connections, channels.
    pub dropped_attempts: u64,
    pub dropped_connections: u64,
    pub dropped_channels: u64,
    /// Failures beside the files: a directory not listed or made, a deletion refused, …
    pub other_failures: u64,
    pub directories: u64,
    pub symlinks: u64,
    pub deleted: u64,
    /// TCP connections of our own that were logged in.
    pub connections: u64,
    /// Times that a connection held by another process was joined.
    pub shared: u64,
    /// Time until it could be used, all together.
    #[serde(serialize_with = "seconds")]
    pub shared_waited: Duration,
    pub channels_open: u64,
    /// Most channels that were open at once.
    pub channels_max: u64,
    /// Second classes refused: bugs, if there are any.
    pub refused: u64,
}

impl Counts {
    /// Files whose class is known.
    pub fn done(&self) -> u64 {
        self.verified + self.sent + self.unchanged + self.skipped + self.failed
    }

    pub fn delivered(&self) -> u64 {
        self.verified + self.sent
    }

    pub fn drops(&self) -> u64 {
        self.dropped_attempts + self.dropped_connections + self.dropped_channels
    }
}

/// All that went wrong at one stage of one hop for one cause.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trouble {
    pub hop: String,
    pub stage: Stage,
    pub cause: Cause,
    /// Files that ended here.
    pub files_failed: u64,
    /// Failures beside the files.
    pub other_failures: u64,
    /// Attempts at files that were dropped here and tried again.
    pub dropped_attempts: u64,
    pub dropped_connections: u64,
    pub dropped_channels: u64,
    /// The first failure's text, or the first drop's if nothing failed, as it came: escape it before showing.
    pub example: String,
    /// Its path, escaped and cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example_path: Option<String>,
}

impl Trouble {
    pub(super) fn new(hop: String, stage: Stage, cause: Cause) -> Trouble {
        Trouble {
            hop,
            stage,
            cause,
            files_failed: 0,
            other_failures: 0,
            dropped_attempts: 0,
            dropped_connections: 0,
            dropped_channels: 0,
            example: String::new(),
            example_path: None,
        }
    }

    pub fn failures(&self) -> u64 {
        self.files_failed + self.other_failures
    }

    pub fn drops(&self) -> u64 {
        self.dropped_attempts + self.dropped_connections + self.dropped_channels
    }
}

/// Files by the way that they were verified.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VerifiedBy {
    pub by: &'static str,
    /// Where, if a hasher was announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<String>,
    pub files: u64,
}

/// Files skipped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SkippedFor {
    pub reason: &'static str,
    pub files: u64,
}

/// A session limit that a server showed by refusing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Limit {
    pub hop: String,
    pub sessions: u32,
    /// Of these, used for files, and kept for hashing.
    pub files: u32,
    pub hashing: u32,
    /// Sessions that were refused, all connections together: how the limit was found, and no drops.
    pub refused: u64,
}

/// Logins at one hop.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Logins {
    pub hop: String,
    pub logins: u64,
}

/// Words of a server, and how often they came.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ServerWords {
    pub hop: String,
    pub kind: TextKind,
    /// As sent: escape it before showing.
    pub text: String,
    pub times: u64,
}

/// Everything that a run can say about itself; its lists are short whatever the run's size.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    #[serde(flatten)]
    pub counts: Counts,
    /// Whether the classes add up; if not, why, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miscounted: Option<String>,
    pub verified_by: Vec<VerifiedBy>,
    pub skipped_for: Vec<SkippedFor>,
    /// In the order of hop (first seen), stage, cause.
    pub troubles: Vec<Trouble>,
    pub limits: Vec<Limit>,
    pub logins: Vec<Logins>,
    pub server_texts: Vec<ServerWords>,
}

/// Rows of the table at most; the report has them all.
const ROWS: usize = 24;

/// Bytes of an example shown in a row, so that a row stays readable.
pub(super) const EXAMPLE: usize = 160;

impl Summary {
    /// Every file has its class, none failed, and nothing beside them did.
    pub fn is_well(&self) -> bool {
        self.counts.failed == 0 && self.counts.other_failures == 0 && self.miscounted.is_none()
    }

    /// The run in one line, such as `900 files delivered, all verified (b3sum at user); 1 connection, 10 channels (target
    /// allows 10 sessions: 9 used for files, 1 kept for hashing); 0 drops`. Safe to print.
    pub fn closing_line(&self) -> String {
        let c = &self.counts;
        let mut files = Vec::new();
        if c.delivered() == c.planned && c.planned > 0 {
            files.push(format!("{} delivered", count(c.planned, "file")));
        } else if c.delivered() > 0 {
            files.push(format!("{} of {} delivered", c.delivered(), count(c.planned, "file")));
        } else if c.unchanged == c.planned {
            return format!("{}, all up to date{}", count(c.planned, "file"), self.transport());
        } else {
            files.push(format!("{}, none delivered", count(c.planned, "file")));
        }
        let ways: Vec<String> = self
            .verified_by
            .iter()
            .map(|v| {
                let n = if self.verified_by.len() > 1 { format!("{} by ", v.files) } else { String::new() };
                let at = v.hop.as_ref().map_or(String::new(), |hop| format!(" at {}", escape(hop.as_bytes())));
                format!("{n}{}{at}", v.by)
            })
            .collect();
        if c.verified > 0 {
            let how_many = if c.sent == 0 { "all".to_owned() } else { c.verified.to_string() };
            files.push(format!("{how_many} verified ({})", ways.join(", ")));
        }
        if c.sent > 0 {
            files.push(format!("{} sent but not verified", c.sent));
        }
        for (n, what) in [(c.unchanged, "unchanged"), (c.skipped, "skipped"), (c.failed, "failed")] {
            if n > 0 {
                files.push(format!("{n} {what}"));
            }
        }
        if c.done() != c.planned {
            files.push(format!("{} UNACCOUNTED FOR", c.planned.saturating_sub(c.done())));
        }
        if c.other_failures > 0 {
            files.push(count(c.other_failures, "other failure"));
        }
        files.join(", ") + &self.transport()
    }

    /// `; 1 connection, 10 channels (…); 0 drops`.
    fn transport(&self) -> String {
        let c = &self.counts;
        let mut parts = vec![String::new()];
        if c.connections + c.shared > 0 {
            let mut ways = Vec::new();
            if c.connections > 0 {
                ways.push(count(c.connections, "connection"));
            }
            if c.shared > 0 {
                let waited = c.shared_waited.as_secs_f64();
                ways.push(format!("{} (waited {waited:.1} s)", count(c.shared, "shared connection")));
            }
            ways.push(count(c.channels_max, "channel"));
            let mut transport = ways.join(", ");
            if !self.limits.is_empty() {
                let limits: Vec<String> = self.limits.iter().map(limit).collect();
                let _ = write!(transport, " ({})", limits.join("; "));
            }
            parts.push(transport);
        }
        parts.push(count(c.drops(), "drop"));
        parts.join("; ")
    }

    /// Where and why: a row for each hop, stage and cause that cost something, then what servers said about it. Empty if
    /// there was neither failure nor drop. Safe to print; each line ends in a newline.
    pub fn table(&self) -> String {
        if self.troubles.is_empty() && self.miscounted.is_none() {
            return String::new();
        }
        let mut rows = vec![["hop", "stage", "cause", "failed", "dropped & retried", "example"].map(str::to_owned)];
        let mut worst: Vec<&Trouble> = self.troubles.iter().collect();
        // Stable: among equals the order of the connection's life remains.
        worst.sort_by_key(|t| std::cmp::Reverse(t.failures()));
        rows.extend(worst.iter().take(ROWS).map(|t| row(t)));
        let widths: [usize; 5] =
            std::array::from_fn(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or_default());
        let mut out = String::new();
        for row in &rows {
            for (cell, width) in row.iter().zip(widths) {
                let _ = write!(out, "{cell}{:pad$}  ", "", pad = width - cell.chars().count());
            }
            out.push_str(&row[5]);
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        if worst.len() > ROWS {
            let _ = writeln!(out, "… and {} more rows: see --report", worst.len() - ROWS);
        }
        for words in self.server_texts.iter().filter(|w| w.kind != TextKind::LoginBanner) {
            let text = escape_cut(words.text.trim_end().as_bytes(), EXAMPLE);
            let times = if words.times > 1 { format!(" ({} times)", words.times) } else { String::new() };
            let _ = writeln!(out, "{} said ({}): {text}{times}", escape(words.hop.as_bytes()), words.kind.name());
        }
        if let Some(why) = &self.miscounted {
            let _ = writeln!(out, "the count is wrong, please report this: {why}");
        }
        out
    }
}

fn row(t: &Trouble) -> [String; 6] {
    let cells = |parts: &[(u64, &str)]| {
        let said: Vec<String> = parts.iter().filter(|p| p.0 > 0).map(|p| count(p.0, p.1)).collect();
        if said.is_empty() { "-".to_owned() } else { said.join(", ") }
    };
    let text = escape_cut(t.example.as_bytes(), EXAMPLE);
    let example = match &t.example_path {
        Some(path) => format!("{path}: {text}"),
        None => text,
    };
    [
        escape(t.hop.as_bytes()),
        t.stage.name().to_owned(),
        t.cause.name().to_owned(),
        cells(&[(t.files_failed, "file"), (t.other_failures, "other")]),
        cells(&[
            (t.dropped_attempts, "attempt"),
            (t.dropped_connections, "connection"),
            (t.dropped_channels, "channel"),
        ]),
        example,
    ]
}

fn limit(l: &Limit) -> String {
    let hop = escape(l.hop.as_bytes());
    let mut text = format!("{hop} allows {}: {} used for files", count(l.sessions.into(), "session"), l.files);
    if l.hashing > 0 {
        let _ = write!(text, ", {} kept for hashing", l.hashing);
    }
    text
}

/// `1 file`, `2 files`.
fn count(n: u64, what: &str) -> String {
    if n == 1 || what == "other" { format!("{n} {what}") } else { format!("{n} {what}s") }
}
