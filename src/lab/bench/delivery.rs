//! What is told of files that arrived and files that did not: one row for each program on each cell. Pure.

use std::collections::BTreeMap;

use super::attribute::{Missing, Why};
use super::schedule::Record;
use super::statistics::{Spread, aligned, name};

/// The table in Markdown; `None` if there is nothing to tell: no crowds, no limits, nothing missing, nothing dropped.
pub fn markdown(records: &[Record]) -> Option<String> {
    let counted: Vec<&Record> = records.iter().filter(|record| !record.warmup).collect();
    let telling = |record: &&&Record| {
        let (cell, sample) = (&record.cell, &record.sample);
        let crowd = cell.at_once.is_some() || cell.limits != super::cell::Limits::default();
        let amiss = sample.extra > 0 || sample.directories_missing > 0;
        crowd || amiss || !sample.missing.is_empty() || !sample.tried_again.is_empty()
    };
    counted.iter().find(telling)?;
    let mut rows = vec![
        ["work", "program", "delivered", "wall s", "logins", "lost: hop/stage/cause", "overcome"].map(str::to_owned),
    ];
    let mut told: Vec<&Record> = Vec::new();
    for &record in &counted {
        let alike = |other: &Record| other.cell == record.cell && other.program == record.program;
        if told.iter().any(|&other| alike(other)) {
            continue;
        }
        told.push(record);
        let same: Vec<&Record> = counted.iter().copied().filter(|&other| alike(other)).collect();
        rows.push(row(&same));
    }
    Some(aligned(&rows, 2))
}

fn row(same: &[&Record]) -> [String; 7] {
    let (cell, program) = (&same[0].cell, same[0].program);
    let samples = || same.iter().map(|record| &record.sample);
    let range = |values: &mut dyn Iterator<Item = f64>| Spread::of(values);
    let whole = range(&mut samples().map(|sample| sample.whole as f64));
    let delivered = whole.map_or_else(String::new, |whole| {
        let most = if whole.max > whole.min { format!("–{}", whole.max) } else { String::new() };
        format!("{}{most} of {}", whole.min, cell.workload.files)
    });
    let wall = range(&mut samples().map(|sample| sample.wall_s));
    let logins = range(&mut samples().filter_map(|sample| Some(sample.servers?.target_logins as f64)));
    let lost = samples().flat_map(|sample| sample.missing.iter().map(|row| (&row.why, row.files)));
    let overcome = samples().flat_map(|sample| sample.tried_again.iter().map(|row| (&row.why, row.times)));
    let mut causes = causes(lost, same.len());
    // What a program says of itself is worth a word where it is wrong.
    let silent: u64 = samples().map(|sample| sample.missing_with_exit_0).sum();
    if silent > 0 {
        causes += &format!(" (exit 0 for {silent} of them)");
    }
    let alarms: u64 = samples().map(|sample| sample.whole_with_exit_not_0).sum();
    if alarms > 0 {
        causes += &format!(" ({alarms} failed by exit code with their files whole)");
    }
    let directories: u64 = samples().map(|sample| sample.directories_missing).sum();
    if directories > 0 {
        causes += &format!(" ({directories} directories missing)");
    }
    let extra: u64 = samples().map(|sample| sample.extra).sum();
    if extra > 0 {
        causes += &format!(" ({extra} names that the source has not)");
    }
    [
        cell.to_string(),
        name(program, cell),
        delivered,
        wall.map_or_else(String::new, |wall| format!("{:.1}", wall.median)),
        logins.map_or_else(|| "–".to_owned(), |logins| logins.median.to_string()),
        causes,
        self::causes(overcome, same.len()),
    ]
}

/// `337 head/banner/start-limit`, the mean over all runs where there are several.
fn causes<'a>(rows: impl Iterator<Item = (&'a Why, u64)>, runs: usize) -> String {
    let mut sums: BTreeMap<&Why, u64> = BTreeMap::new();
    for (why, count) in rows {
        *sums.entry(why).or_default() += count;
    }
    if sums.is_empty() {
        return "–".to_owned();
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let mean = |sum: u64| {
        let mean = sum as f64 / runs.max(1) as f64;
        if mean.fract() == 0.0 { mean.to_string() } else { format!("{mean:.1}") }
    };
    let told: Vec<_> = sums.into_iter().map(|(why, sum)| format!("{} {}", mean(sum), words(why))).collect();
    told.join(", ")
}

/// `head/banner/start-limit`, in the words of the raw numbers.
pub fn words(why: &Why) -> String {
    let word = |value: serde_json::Result<serde_json::Value>| match value {
        Ok(serde_json::Value::String(word)) => word,
        _ => "unknown".to_owned(),
    };
    let stage = why.stage.map_or_else(|| "unknown".to_owned(), |stage| word(serde_json::to_value(stage)));
    let cause = why.cause.map_or_else(|| "unknown".to_owned(), |cause| word(serde_json::to_value(cause)));
    format!("{}/{stage}/{cause}", why.hop.name())
}

/// The rows of one run in one line, for people who watch.
pub fn in_words(missing: &[Missing]) -> String {
    causes(missing.iter().map(|row| (&row.why, row.files)), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Cause, Stage};
    use crate::lab::bench::attribute::{Hop, TriedAgain};
    use crate::lab::bench::cell::{Cell, Direction};
    use crate::lab::bench::programs::Program;
    use crate::lab::bench::schedule::{Sample, Served};

    fn record(program: Program, lost: u64) -> Record {
        let workload: super::super::work::Workload = "400x1M".parse().expect("a work");
        let why = Why::new(Hop::Head, Stage::Banner, Cause::StartLimit);
        let missing = vec![Missing { why, files: lost, example: String::new() }];
        let servers = Some(Served { target_logins: 400 - lost, ..Served::default() });
        let missing = if lost == 0 { Vec::new() } else { missing };
        let sample = Sample { wall_s: 7.0, whole: 400 - lost, missing, servers, ..Sample::default() };
        let cell = Cell { at_once: Some(400), ..Cell::new(workload, Direction::Push, 0) };
        Record { cell, program, round: 0, warmup: false, started: 0, sample }
    }

    #[test]
    fn each_program_has_a_row_with_what_was_delivered_and_what_was_not() {
        let mut ours = record(Program::HopsyncEach, 0);
        let why = Why::new(Hop::Target, Stage::Session, Cause::SessionLimit);
        ours.sample.tried_again = vec![TriedAgain { why, times: 3, example: String::new() }];
        ours.sample.whole_with_exit_not_0 = 1;
        let text = markdown(&[record(Program::RsyncEach, 337), record(Program::RsyncEach, 330), ours]);
        let rsync = "| 400x1M push 0 ms | rsync per file, 400 at once | 63–70 of 400 | 7.0 | 66.5 | 333.5 head/banner/start-limit | – |";
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = text.expect("a table");
        let lines: Vec<_> = text.lines().map(squeeze).collect();
        assert_eq!(lines[2], rsync);
        assert!(
            lines[3].contains("| 400 of 400 | 7.0 | 400 | – (1 failed by exit code with their files whole) |"),
            "{text}"
        );
        assert!(lines[3].ends_with("| 3 user-container/session/session-limit |"), "{text}");
    }

    #[test]
    fn directories_that_are_missing_and_names_that_are_too_many_are_told() {
        let mut amiss = record(Program::Rsync, 0);
        amiss.cell.at_once = None;
        amiss.sample.directories_missing = 2;
        amiss.sample.extra = 3;
        let text = markdown(&[amiss]).expect("a table");
        assert!(text.contains("| – (2 directories missing) (3 names that the source has not)"), "{text}");
    }

    #[test]
    fn a_plain_table_of_times_has_nothing_to_tell() {
        let mut plain = record(Program::Rsync, 0);
        plain.cell.at_once = None;
        assert_eq!(markdown(&[plain.clone()]), None);
        plain.warmup = true;
        plain.cell.at_once = Some(2);
        assert_eq!(markdown(&[plain]), None);
    }
}
