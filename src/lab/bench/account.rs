//! From what a run left (exit codes, messages, reports, files) to what is told of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::attribute::messages::{self, Left, Way};
use super::attribute::{Logged, Loss, Missing, TriedAgain, Why, tally};
use super::ledger::{self, Names, Told};
use super::plan::{Cost, Ended, Plan};
use super::programs::Program;
use super::schedule::Crowd;

/// Bytes kept of the beginning and of the end of what one process wrote.
const KEPT: u64 = 4096;

/// A run that has ended.
pub struct Run<'a> {
    pub program: Program,
    pub plan: &'a Plan,
    pub cost: &'a Cost,
    /// The files, and which of them arrived whole.
    pub names: &'a [PathBuf],
    pub whole: &'a [bool],
    pub way: Way,
    pub hops: Names,
    /// Where hopsync's reports are.
    pub reports: &'a Path,
    /// What the servers dropped, where they are ours.
    pub logged: Option<Logged>,
}

/// What is told of it.
pub struct Account {
    pub missing: Vec<Missing>,
    pub tried_again: Vec<TriedAgain>,
    pub crowd: Option<Crowd>,
    pub missing_with_exit_0: u64,
    pub whole_with_exit_not_0: u64,
    pub message: String,
    /// Seconds since the start at which files were done, by hopsync's reports; of other programs nothing.
    pub landed: Vec<f64>,
}

/// One process, as it is kept.
#[derive(Serialize)]
struct Kept<'a> {
    /// The first of its files.
    file: Option<&'a Path>,
    files: u64,
    missing: u64,
    exit: Option<i32>,
    timed_out: bool,
    started_s: f64,
    ended_s: f64,
    said: &'a str,
}

/// Accounts for a run. `kept` is where every process gets a line.
pub fn account(run: &Run, kept: &Path) -> io::Result<Account> {
    let commands = run.plan.commands.len();
    let mut lines = BufWriter::new(File::create(kept)?);
    let mut told = Account {
        missing: Vec::new(),
        tried_again: Vec::new(),
        crowd: crowd(&run.cost.ended),
        missing_with_exit_0: 0,
        whole_with_exit_not_0: 0,
        message: String::new(),
        landed: Vec::new(),
    };
    let mut losses: Vec<Loss> = Vec::new();
    let mut reports: Vec<Told> = Vec::new();
    let preface = excerpt(&run.plan.preface())?;
    for command in 0..commands {
        let ended = run.cost.ended.get(command).copied().unwrap_or(Ended::NEVER);
        let own = || (command..run.names.len()).step_by(commands);
        let lost = own().filter(|&file| !run.whole[file]);
        let missing = lost.clone().count() as u64;
        let mut text = excerpt(&run.plan.output(command))?;
        if ended.exit.is_none() {
            text += &preface;
        }
        match (ended.exit, missing) {
            (Some(0), 1..) => told.missing_with_exit_0 += missing,
            (Some(1..), 0) => told.whole_with_exit_not_0 += 1,
            _ => {}
        }
        if told.message.is_empty() && ended.exit != Some(0) {
            told.message = tail(&text).to_owned();
        }
        let report = run.program.is_ours().then(|| report(run, command)).flatten();
        let left = Left { exit: ended.exit, timed_out: ended.timed_out, text: &text };
        match &report {
            Some(report) => {
                let only = own().nth(1).is_none();
                for file in lost {
                    let (why, example) = report.why(&run.names[file], only).cloned().unwrap_or_else(|| untold(&left));
                    losses.push(Loss { why, files: 1, example });
                }
                told.landed.extend(report.landed.iter().map(|t| ended.started_s + t));
            }
            None => {
                let (why, line) = messages::read(&left, &run.way);
                let refused = "Session open refused by peer";
                // A refused session is what sent ssh to connect anew: part of the story.
                let first = text.lines().find(|said| said.contains(refused) && !line.contains(refused));
                let example = first.map_or(line.clone(), |first| format!("{}; then {line}", first.trim()));
                losses.push(Loss { why, files: missing, example });
            }
        }
        reports.extend(report);
        let kept = Kept {
            file: own().next().map(|file| run.names[file].as_path()),
            files: own().count() as u64,
            missing,
            exit: ended.exit,
            timed_out: ended.timed_out,
            started_s: ended.started_s,
            ended_s: ended.ended_s,
            said: &text,
        };
        writeln!(lines, "{}", serde_json::to_string(&kept)?)?;
    }
    lines.flush()?;
    told.tried_again = ledger::tried_again(reports.iter());
    // hopsync names each drop itself, and outlives most of them: counts of drops explain none of its losses.
    told.missing = tally(losses, run.logged.filter(|_| !run.program.is_ours()));
    Ok(told)
}

/// hopsync left a report that does not say why.
fn untold(left: &Left) -> (Why, String) {
    let cause = left.timed_out.then_some(crate::fault::Cause::Timeout);
    let example = match left.text.lines().last() {
        Some(line) => line.to_owned(),
        None => format!("its report does not tell (exit {:?})", left.exit),
    };
    (Why { cause, ..Why::UNKNOWN }, example)
}

fn report(run: &Run, command: usize) -> Option<Told> {
    let file = File::open(run.reports.join(format!("{command}.jsonl"))).ok()?;
    Some(ledger::read(BufReader::new(file), &run.hops))
}

fn crowd(ended: &[Ended]) -> Option<Crowd> {
    if ended.len() < 2 {
        return None;
    }
    let mut exits = BTreeMap::new();
    for one in ended {
        let code = match (one.timed_out, one.exit) {
            (true, _) => "timeout".to_owned(),
            (false, Some(code)) => code.to_string(),
            (false, None) => "not started".to_owned(),
        };
        *exits.entry(code).or_insert(0) += 1;
    }
    Some(Crowd { processes: ended.len() as u64, exits })
}

/// The beginning and the end of a file that may be long; nothing of one that is not there.
fn excerpt(path: &Path) -> io::Result<String> {
    let length = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(KEPT).read_to_end(&mut bytes)?;
    if length > 2 * KEPT {
        bytes.extend_from_slice(b"\n[...]\n");
    }
    file.seek(SeekFrom::Start(length.saturating_sub(KEPT).max(KEPT)))?;
    file.take(KEPT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// For people: the end says most.
fn tail(text: &str) -> &str {
    const MESSAGE: usize = 500;
    let text = text.trim_end();
    let start = text.char_indices().rev().nth(MESSAGE - 1).map_or(0, |(at, _)| at);
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_has_the_beginning_and_the_end_and_no_more() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("said");
        assert_eq!(excerpt(&file)?, "");
        for length in [0, 1, 4095, 4096, 4097, 8192] {
            fs::write(&file, "x".repeat(length))?;
            assert_eq!(excerpt(&file)?.len(), length);
        }
        fs::write(&file, format!("begin{}end", "x".repeat(1 << 20)))?;
        let said = excerpt(&file)?;
        assert!(said.starts_with("begin") && said.ends_with("end") && said.contains("[...]") && said.len() < 8300);
        Ok(())
    }

    #[test]
    fn one_process_is_no_crowd() {
        let ended = |exit| Ended { exit, started_s: 0.25, ended_s: 1.0, timed_out: false };
        assert_eq!(crowd(&[ended(Some(0))]), None);
        let all = [ended(Some(0)), ended(Some(255)), Ended::NEVER, Ended { timed_out: true, ..ended(Some(137)) }];
        let crowd = crowd(&all).expect("a crowd");
        let exits: Vec<_> = crowd.exits.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        assert_eq!(exits, ["0: 1", "255: 1", "not started: 1", "timeout: 1"]);
        assert_eq!(crowd.processes, 4);
    }
}
