//! From lines to pages: that the ledger's own lines are counted as the ledger counted, and that nothing in a file gets out of
//! its place.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::document::Document;
use super::read::Found;
use super::runs::Runs;
use super::{document, html, tables};
use crate::fault::{Cause, Fault, Stage};
use crate::ledger::{Attempt, Class, Clock, JobSummary, Ledger, Settings, Summary, What};

fn read(lines: &str) -> Result<Runs, String> {
    let mut runs = Runs::default();
    for line in lines.lines() {
        runs.line(line)?;
    }
    runs.end();
    Ok(runs)
}

#[test]
fn every_documented_line_is_understood() {
    let documented = include_str!("../../../docs/report.md");
    let lines: Vec<&str> = documented.lines().filter(|line| line.starts_with('{')).collect();
    let runs = read(&lines.join("\n")).expect("the documentation's lines");
    assert_eq!((runs.runs, runs.unfinished, runs.counts.planned), (1, 0, 3));
    assert_eq!(runs.counts.files, [1, 0, 0, 1, 1]);
    assert_eq!((runs.tally.lost(), runs.tally.drops(), runs.doubts.rows.len()), (1, 2, 1), "{:?}", runs.doubts);
    assert_eq!((runs.connections, runs.shared, runs.channels_max, runs.texts.rows.len()), (1, 1, 1, 1));
    // The one try that copied there what it had.
    assert_eq!(runs.matched_bytes, 1_044_480);
}

#[test]
fn a_newer_programs_events_and_fields_are_passed_over() {
    let start = r#"{"t":0,"event":"start","version":"9","started":"2026-03-01T00:00:00.250Z","mood":"good"}"#;
    let runs = read(&format!("{start}\n{{\"t\":1,\"event\":\"yawn\",\"file\":\"none\"}}\n")).expect("it is read");
    assert_eq!((runs.runs, runs.unfinished), (1, 1));
    assert!(read(&format!("{start}\n{{\"t\":1,\"event\":\"class\",\"file\":0,\"class\":\"eaten\"}}\n")).is_err());
}

/// What is written to it, for all who hold it.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Plan(u16),
    Try(usize, Option<u8>),
    Class(usize, u8),
    Drop(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<u16>().prop_map(Step::Plan),
        (0usize..20, proptest::option::of(0u8..3)).prop_map(|(file, fault)| Step::Try(file, fault)),
        (0usize..20, 0u8..7).prop_map(|(file, class)| Step::Class(file, class)),
        (0u8..3).prop_map(Step::Drop),
    ];
    proptest::collection::vec(step, 0..120)
}

fn fault(which: u8) -> Fault {
    match which {
        0 => Fault::new("head", Stage::Banner, Cause::StartLimit, "Exceeded MaxStartups"),
        1 => Fault::new("user", Stage::Write, Cause::Lost, "the channel was closed"),
        _ => Fault::new("user", Stage::Open, Cause::Permission, "Permission denied"),
    }
}

/// A ledger's report of these steps, and its summary.
fn keep(steps: Vec<Step>) -> (String, Summary) {
    let paper = Paper::default();
    let (clock, hand) = Clock::manual(std::time::UNIX_EPOCH);
    let settings = Settings { report: Some(Box::new(paper.clone())), metrics: None, job: JobSummary::default(), clock };
    let ledger = Ledger::new(settings);
    let mut files = Vec::new();
    let mut classed = Vec::new();
    for step in steps {
        hand.advance(Duration::from_millis(70));
        match step {
            Step::Plan(size) => {
                files.push(ledger.planned(b"f", size.into()));
                classed.push(false);
            }
            Step::Try(file, fails) if classed.get(file) == Some(&false) => {
                let fault = fails.map(fault);
                ledger.attempt(Attempt {
                    file: files[file],
                    path: b"f",
                    number: 1,
                    lane: None,
                    channel: None,
                    bytes: 7,
                    matched: 0,
                    elapsed: Duration::from_millis(20),
                    waited: Duration::ZERO,
                    result: fault.as_ref().map_or(Ok(()), Err),
                });
            }
            Step::Class(file, class) if classed.get(file) == Some(&false) => {
                let class = match class {
                    0 => Class::Verified("b3sum"),
                    1 => Class::Sent,
                    2 => Class::Unchanged,
                    3 => Class::Skipped("newer"),
                    which => Class::Failed(fault(which - 4)),
                };
                ledger.class(files[file], b"f", class);
                classed[file] = true;
            }
            Step::Drop(which) => ledger.drop_counted(&fault(which), What::Connection),
            _ => {}
        }
    }
    ledger.fail_rest(&fault(1));
    ledger.finish().expect("paper");
    let bytes = paper.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (String::from_utf8(bytes).expect("UTF-8"), ledger.summary())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_lines_are_counted_as_the_ledger_counted_them(steps in steps()) {
        let (lines, summary) = keep(steps);
        let runs = read(&lines).expect("the ledger's own lines");
        prop_assert_eq!(runs.doubts.rows.len(), 0, "{:?}", runs.doubts);
        let counts = summary.counts;
        prop_assert_eq!(runs.counts.planned, counts.planned);
        prop_assert_eq!(
            runs.counts.files,
            [counts.verified, counts.sent, counts.unchanged, counts.skipped, counts.failed]
        );
        prop_assert_eq!(runs.tally.lost(), counts.failed);
        for trouble in &summary.troubles {
            let stage = serde_json::to_value(trouble.stage).expect("a word");
            let cause = serde_json::to_value(trouble.cause).expect("a word");
            let same = |row: &&super::tally::Row| {
                row.place.hop == trouble.hop && stage == row.place.stage.as_str() && cause == row.place.cause.as_str()
            };
            let row = runs.tally.rows().iter().find(same).expect("the same rows");
            prop_assert_eq!(
                (row.lost, row.attempts, row.connections),
                (trouble.files_failed, trouble.dropped_attempts, trouble.dropped_connections)
            );
        }
        prop_assert_eq!(runs.tally.drops(), counts.drops());
    }

    #[test]
    fn whatever_a_report_says_its_page_is_made_of_our_own_elements(evil in "\\PC{0,40}|(<[a-z\"'/ =>&;]{0,30})", word in any::<String>()) {
        let at = |t: f64, line: serde_json::Value| {
            let mut line = line;
            line["t"] = json!(t);
            line.to_string()
        };
        let (e, w) = (format!("<x-evil>{evil}"), format!("{word}</style><x-evil>"));
        let fault = json!({"hop": e, "stage": w, "cause": e, "text": w});
        let hop = json!({"event": "hop-connected", "hop": e, "via": w, "banner": e, "kex": w, "cipher": e, "method": w,
                         "stages": {e.clone(): 0.1, w.clone(): 0.2}});
        let lines = [
            at(0.0, json!({"event": "start", "version": e, "started": "2026-03-01T00:00:00Z",
                           "job": {"direction": w, "host": e, "verify": w}})),
            at(0.1, hop),
            at(0.1, json!({"event": "limit-found", "hop": w, "sessions": 3})),
            at(0.1, json!({"event": "hasher-chosen", "hop": e, "by": w, "detail": e})),
            at(0.1, json!({"event": "server-text", "hop": w, "kind": e, "text": w})),
            at(0.2, json!({"event": "drop", "what": e, "fault": fault})),
            at(0.2, json!({"event": "planned", "file": 0, "path": e, "size": 3})),
            at(0.2, json!({"event": "planned", "file": 1, "path": e, "size": 3})),
            at(0.3, json!({"event": "attempt", "file": 0, "number": 1, "bytes": 3, "elapsed": 0.1, "fault": fault})),
            at(0.4, json!({"event": "class", "file": 0, "path": {"bytes": w}, "class": "failed", "fault": fault})),
            at(0.4, json!({"event": "class", "file": 1, "class": "verified", "by": w, "reason": e})),
            at(0.5, json!({"event": "summary", "elapsed": 0.5, "planned": 9, "miscounted": w})),
        ];
        let runs = read(&lines.join("\n")).expect("it is well formed");
        let document = document(&Found { runs: Some(runs), benches: Vec::new() });
        only_our_elements(&document);
    }
}

/// No element of a page, of a drawing or of Markdown is one that a file brought.
fn only_our_elements(document: &Document) {
    const OURS: [&str; 45] = [
        "!DOCTYPE",
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "p",
        "h1",
        "h2",
        "ul",
        "li",
        "strong",
        "section",
        "span",
        "b",
        "dl",
        "div",
        "dt",
        "dd",
        "figure",
        "figcaption",
        "details",
        "summary",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
        "footer",
        "svg",
        "desc",
        "defs",
        "pattern",
        "rect",
        "circle",
        "line",
        "path",
        "text",
        "g",
    ];
    let page = html::page(document);
    let mut texts = vec![page];
    texts.extend(document.figures().map(|figure| figure.wide.standalone()));
    for text in &texts {
        for element in text.split('<').skip(1) {
            let name = element.trim_start_matches('/');
            let name =
                name.split(|c: char| !c.is_ascii_alphanumeric() && c != '!' && c != '-').next().unwrap_or_default();
            assert!(OURS.contains(&name), "<{element}");
        }
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a control character");
    }
    let markdown = tables::markdown(document);
    assert!(!markdown.replace("\\<", "").contains('<'), "{markdown}");
    assert!(!markdown.contains('\u{1b}'));
}

#[test]
fn a_run_that_left_names_amiss_is_told_and_has_no_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |program: &str, directories: u64, extra: u64| {
        json!({"name": "delete", "kind": "delete", "files": 1, "size": 1, "direction": "push", "rtt_ms": 0, "warmup": false,
               "program": program, "wall_s": 1.0, "exit": 0, "whole": 1, "directories_missing": directories, "extra": extra})
        .to_string()
    };
    let lines = [run("rsync", 0, 0), run("hopsync", 2, 3), run("hopsync", 0, 0)];
    std::fs::write(dir.path().join("runs.jsonl"), lines.join("\n") + "\n").expect("a file");
    let read = super::read::read(&[dir.path().to_owned()]).expect("a bench");
    let program = &read.benches[0].cells[0].programs[1];
    assert_eq!((program.runs, program.complete, program.missing, program.amiss, program.sound()), (2, 1, 0, 5, None));
    let page = tables::markdown(&document(&read)).replace('\u{a0}', " ");
    assert!(page.contains("5 names amiss after runs of hopsync: directories missing"), "{page}");
}

#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    let mut runs = Runs::default();
    runs.line(r#"{"t":0,"event":"start","started":"2026-03-01T00:00:00Z"}"#).expect("a start");
    let lines = |n: u32| {
        let t = f64::from(n) * 0.01;
        [
            format!(r#"{{"t":{t},"event":"planned","file":{n},"path":"f","size":10}}"#),
            format!(r#"{{"t":{t},"event":"attempt","file":{n},"number":1,"bytes":10,"elapsed":0.001,"waited":0.1}}"#),
            format!(r#"{{"t":{t},"event":"class","file":{n},"class":"sent"}}"#),
        ]
    };
    let mut halfway = 0;
    for n in 0..20_000 {
        for line in lines(n) {
            runs.line(&line).expect("a line");
        }
        if n == 10_000 {
            halfway = runs.memory();
        }
    }
    assert_eq!(runs.memory(), halfway);
    runs.end();
    assert_eq!((runs.counts.files[1], runs.file_time.count(), runs.counts.bytes[1]), (20_000, 20_000, 200_000));
}
