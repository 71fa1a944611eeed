//! Where files were lost: each that did not arrive whole is put down to a hop, a stage and a cause, in the words of
//! hopsync's reports (docs/report.md), for every program alike. Pure: exit codes, messages and counts of log lines in, rows
//! out. What cannot be known is called unknown.
//!
//! - [`messages`]: what a program and its ssh wrote. What they leave open is closed here, by what the servers logged.
//! - [`tally`]: rows. They add up to the files that are missing because each file is counted once, in one row.

pub mod messages;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::fault::{Cause, Stage};

/// Characters kept of an example.
const EXAMPLE: usize = 300;

/// Where. The target is called as the lab's own is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hop {
    Head,
    #[serde(rename = "user-container")]
    Target,
    Local,
    Unknown,
}

impl Hop {
    pub fn name(self) -> &'static str {
        match self {
            Hop::Head => "head",
            Hop::Target => "user-container",
            Hop::Local => "local",
            Hop::Unknown => "unknown",
        }
    }
}

/// Why a file is missing, as far as it is known; `None` is unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Why {
    pub hop: Hop,
    #[serde(serialize_with = "or_unknown")]
    pub stage: Option<Stage>,
    #[serde(serialize_with = "or_unknown")]
    pub cause: Option<Cause>,
}

impl Why {
    pub const UNKNOWN: Why = Why { hop: Hop::Unknown, stage: None, cause: None };

    pub fn new(hop: Hop, stage: Stage, cause: Cause) -> Why {
        Why { hop, stage: Some(stage), cause: Some(cause) }
    }

    /// A connection that ended before the server's banner: ssh does not tell whether that was the start limit.
    fn is_open(&self) -> bool {
        self.stage == Some(Stage::Banner) && self.cause == Some(Cause::Lost)
    }
}

fn or_unknown<T: Serialize, S: Serializer>(value: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(s),
        None => s.serialize_str("unknown"),
    }
}

/// What one process lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub why: Why,
    /// Files that it had to move and that are not there, or not whole.
    pub files: u64,
    /// Words that tell it, for people.
    pub example: String,
}

/// Files missing for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    #[serde(flatten)]
    pub why: Why,
    pub files: u64,
    pub example: String,
}

/// Drops that were overcome, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TriedAgain {
    #[serde(flatten)]
    pub why: Why,
    pub times: u64,
    pub example: String,
}

/// Connections that the servers dropped by their start limits during the run, by their own logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Logged {
    pub head: u64,
    pub target: u64,
}

/// One row for each reason, most files first. The rows' files add up to the losses'.
pub fn tally(mut losses: Vec<Loss>, logged: Option<Logged>) -> Vec<Missing> {
    losses.retain(|loss| loss.files > 0);
    if let Some(logged) = logged {
        settle(&mut losses, logged);
    }
    let mut rows: BTreeMap<Why, Missing> = BTreeMap::new();
    for Loss { why, files, example } in losses {
        let row = rows.entry(why.clone()).or_insert_with(|| Missing { why, files: 0, example: short(&example) });
        row.files += files;
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.files));
    rows
}

/// Puts connections that ended before the banner down to the start limit, as many as the servers logged drops. Each drop
/// ended one connection, so it explains one process; which one, of several that saw the same, does not matter to a sum.
fn settle(losses: &mut [Loss], logged: Logged) {
    let limit = |hop| Why::new(hop, Stage::Banner, Cause::StartLimit);
    let told = |loss: &Loss, hop| loss.why == limit(hop);
    // What a message said outright needs no second explanation.
    let said = |losses: &[Loss], hop| losses.iter().filter(|loss| told(loss, hop)).count() as u64;
    let mut head = logged.head.saturating_sub(said(losses, Hop::Head));
    let mut target = logged.target.saturating_sub(said(losses, Hop::Target));
    let open = |losses: &[Loss], hop| -> Vec<usize> {
        let open = |loss: &Loss| loss.why.is_open() && loss.why.hop == hop;
        (0..losses.len()).filter(|&i| open(&losses[i])).collect()
    };
    for (hop, drops) in [(Hop::Head, &mut head), (Hop::Target, &mut target)] {
        let seen = open(losses, hop);
        *drops -= explain(losses, &seen, *drops, &limit(hop));
    }
    // Those whose hop is not known: each drop that is left must have hit one of them, but where both hops have some left
    // and there are fewer processes than drops, it is not told which.
    let seen = open(losses, Hop::Unknown);
    let count = seen.len() as u64;
    if head + target <= count {
        let done = explain(losses, &seen, head, &limit(Hop::Head)) as usize;
        explain(losses, &seen[done..], target, &limit(Hop::Target));
    } else if head == 0 || target == 0 {
        let hop = if head == 0 { Hop::Target } else { Hop::Head };
        explain(losses, &seen, head + target, &limit(hop));
    } else {
        explain(losses, &seen, count, &limit(Hop::Unknown));
    }
}

/// Gives `which` of the losses this reason, at most `drops` of them; returns how many. If not all are explained and they are
/// not alike, none is: it would matter which.
fn explain(losses: &mut [Loss], which: &[usize], drops: u64, why: &Why) -> u64 {
    let alike = which.windows(2).all(|pair| losses[pair[0]].files == losses[pair[1]].files);
    if drops < which.len() as u64 && !alike {
        return 0;
    }
    let some = which.iter().take(usize::try_from(drops).unwrap_or(usize::MAX));
    some.map(|&i| losses[i].why = why.clone()).count() as u64
}

/// The beginning of a text that may be long.
pub fn short(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(EXAMPLE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
