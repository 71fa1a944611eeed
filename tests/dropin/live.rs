//! What can be read of a run while it goes on: `--report` as it is written, `--metrics` as it is renewed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hopsync::lab::bed::{Bed, Embedded, TARGET};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::relay::Line;
use hopsync::lab::trees::many_files;
use serde_json::Value;

use crate::harness::*;

type Samples = BTreeMap<String, f64>;

/// A strict reader of the text format: each metric has HELP, TYPE and its samples, once and together; the text ends with a
/// newline. The keys are names with labels.
fn parse(text: &str) -> Result<Samples, String> {
    if !text.ends_with('\n') {
        return Err(format!("it ends without a newline: {text:?}"));
    }
    let mut samples = Samples::new();
    let mut current: Option<(String, String)> = None;
    let mut seen = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or(format!("HELP without words: {line}"))?;
            let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.ok_or(format!("HELP without TYPE: {line}"))?;
            if help.is_empty() || seen.contains(&name.to_owned()) || !["gauge", "counter"].contains(&kind) {
                return Err(format!("twice, or of no kind: {line}"));
            }
            if (kind == "counter") != name.ends_with("_total") || !name.starts_with("hopsync_") {
                return Err(format!("not named as it should be: {line}"));
            }
            seen.push(name.to_owned());
            current = Some((name.to_owned(), kind.to_owned()));
            continue;
        }
        let (key, value) = line.rsplit_once(' ').ok_or(format!("no sample: {line}"))?;
        let name = key.split('{').next().unwrap_or_default();
        let known = current.as_ref().is_some_and(|(known, _)| known == name);
        let labelled = name.len() == key.len() || (key.ends_with("\"}") && key.matches('"').count() % 2 == 0);
        let value: f64 = value.parse().map_err(|error| format!("{line}: {error}"))?;
        if !known || !labelled || samples.insert(key.to_owned(), value).is_some() {
            return Err(format!("out of place: {line}"));
        }
    }
    Ok(samples)
}

fn is_gone(path: &Path) -> bool {
    fs::read_dir(path)
        .is_ok_and(|mut dir| dir.all(|entry| entry.is_ok_and(|e| !e.file_name().as_encoded_bytes().ends_with(b".tmp"))))
}

#[test]
fn metrics_are_whole_whenever_they_are_read_and_end_as_the_reports_summary() -> Tried {
    // Distance and one channel make the run last for seconds.
    let line = Line { delay: Duration::from_millis(20), rate: None };
    let rules = [
        (Nth::Every(50), Trouble::CorruptFile),
        (Nth::Only(1), Trouble::CloseChannel { requests: 200 }),
        (Nth::Only(100), Trouble::Answer { request: 3, status: 3, text: "no" }),
    ];
    let bed = Embedded::with(|_| {}, |target| target.faults = Faults::new(rules), Some(line))?;
    let near = bed.client().dir().join("near");
    many_files(&near, 2000, 3000)?;
    let path = bed.client().dir().join("run.prom");
    let metrics = format!("--metrics={}", path.display());
    let run = over(&bed, ["-a", &metrics, "--bwlimit=2000", &slash(&near), &bed.operand("there")]);
    let mut versions = Vec::new();
    let ran = run.run_with(|child| {
        let stat = format!("/proc/{}/stat", child.id());
        let runs = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z"));
        while runs() {
            if let Ok(text) = fs::read_to_string(&path)
                && versions.last() != Some(&text)
            {
                versions.push(text);
            }
        }
    })?;
    let ran = ran.exits(23)?;
    let parsed = versions.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    assert!(parsed.len() >= 3, "renewed {} times", parsed.len());
    let growing = ["hopsync_planned_files_total", "hopsync_moved_bytes_total", "hopsync_elapsed_seconds"];
    for two in parsed.windows(2) {
        assert!(growing.iter().all(|name| two[0][*name] <= two[1][*name]), "{two:?}");
        assert!(!two[0].contains_key("hopsync_exit_code"));
    }
    assert!(is_gone(bed.client().dir()));

    let last = parse(&fs::read_to_string(&path)?)?;
    let summary = ran.report.summary();
    let number = |key: &str| summary[key].as_u64().unwrap_or_default() as f64;
    assert_eq!(last["hopsync_exit_code"], 23.0);
    for class in ["verified", "sent", "unchanged", "skipped", "failed"] {
        assert_eq!(last[&format!("hopsync_files_total{{class=\"{class}\"}}")], number(class), "{class}");
        let bytes = last[&format!("hopsync_file_bytes_total{{class=\"{class}\"}}")];
        assert_eq!(bytes, number(&format!("{class}-bytes")), "{class}");
    }
    for (metric, key) in [
        ("planned_files", "planned"),
        ("planned_file_bytes", "planned-bytes"),
        ("moved_bytes", "moved-bytes"),
        ("attempts", "attempts"),
        ("retries", "retries"),
        ("connections", "connections"),
        ("directories", "directories"),
    ] {
        assert_eq!(last[&format!("hopsync_{metric}_total")], number(key), "{metric}");
    }
    let mut rows = 0;
    for row in summary["troubles"].as_array().into_iter().flatten() {
        for (metric, what, key) in [
            ("drops", "attempt", "dropped-attempts"),
            ("drops", "connection", "dropped-connections"),
            ("drops", "channel", "dropped-channels"),
            ("failures", "file", "files-failed"),
            ("failures", "other", "other-failures"),
        ] {
            let (hop, stage, cause) = (&row["hop"], &row["stage"], &row["cause"]);
            let name = format!("hopsync_{metric}_total{{hop={hop},stage={stage},cause={cause},what=\"{what}\"}}");
            assert_eq!(
                last.get(&name).copied().unwrap_or_default(),
                row[key].as_u64().unwrap_or_default() as f64,
                "{name}"
            );
            rows += usize::from(last.contains_key(&name));
        }
    }
    let told =
        last.keys().filter(|key| key.starts_with("hopsync_drops") || key.starts_with("hopsync_failures")).count();
    assert!(rows == told && rows >= 3, "{rows} of {told}: {last:?}");
    assert_eq!(last[&format!("hopsync_logins_total{{hop=\"{TARGET}\"}}")], 1.0);
    Ok(())
}

#[test]
fn metrics_that_cannot_be_written_end_the_run_before_it_begins() -> Tried {
    let bed = Embedded::start()?;
    fs::write(bed.client().dir().join("file"), "content")?;
    fs::create_dir(bed.client().dir().join("dir.prom"))?;
    for path in ["no/such/dir/m.prom", "dir.prom", "/dev/null"] {
        let ran = go(&bed, ["-a", &format!("--metrics={path}"), "file", &bed.operand("")])?.exits(11)?;
        assert!(
            ran.output.err().contains("cannot write the metrics") && ran.output.err().contains(path),
            "{}",
            ran.said()
        );
    }
    assert_eq!((bed.counts().head_connections, fs::read_dir(bed.far())?.count()), (0, 0));
    Ok(())
}

#[test]
fn the_reports_lines_come_while_the_run_goes_on_also_through_a_pipe() -> Tried {
    let bed = Embedded::target(|target| {
        // The last file waits: whoever has read the lines before it has read them early.
        target.faults = Faults::new([(Nth::From(1), Trouble::Swallow { request: Some(4) })]);
    })?;
    fs::write(bed.client().dir().join("file"), "content")?;
    let shell = bed.shell();
    let operand = bed.operand("");
    let mut command = command(["-a", "-e", &shell, "--timeout=3", "--report=-", "file", &operand]);
    let mut child = command.current_dir(bed.client().dir()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let mut events = Vec::new();
    for line in lines.by_ref() {
        let line: Value = serde_json::from_str(&line?)?;
        events.push(line["event"].as_str().unwrap_or_default().to_owned());
        if events.iter().any(|event| event == "planned") {
            break;
        }
    }
    assert_eq!(events.first().map(String::as_str), Some("start"));
    assert!(child.try_wait()?.is_none(), "the run had ended: {events:?}");
    let rest = lines
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<Vec<Value>, Box<dyn std::error::Error>>>()?;
    assert_eq!(rest.last().map(|line| line["event"].clone()), Some("summary".into()));
    assert_eq!(child.wait()?.code(), Some(30));
    Ok(())
}

#[test]
fn a_report_that_nobody_takes_any_more_stops_no_delivery_and_is_told() -> Tried {
    let bed = Embedded::start()?;
    many_files(&bed.client().dir().join("near"), 50, 100)?;
    let (shell, operand) = (bed.shell(), bed.operand("there"));
    let mut command = command(["-a", "-e", &shell, "--report=/dev/full", "near/", &operand]);
    command.current_dir(bed.client().dir());
    let output = hopsync::lab::run::run(command, DEADLINE)?;
    assert_eq!(output.code, 11, "{}", output.err());
    assert!(output.err().contains("the report is not complete"), "{}", output.err());
    same(&bed.client().dir().join("near"), &bed.far().join("there"), ALL)
}
