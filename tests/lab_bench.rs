//! `hopsync-lab bench` as a person runs it, small, on embedded servers: that it measures, keeps, and leaves nothing behind.
//! No time is asserted.

#![expect(clippy::disallowed_methods, reason = "scratch trees and results, which are no delivery")]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hopsync::lab::run::run;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

type Tried = Result<(), Box<dyn Error>>;

const DEADLINE: Duration = Duration::from_secs(120);

/// A bench whose temporary files are in `dir/tmp` and whose results go to `dir/out`.
fn bench(dir: &Path, arguments: &[&str]) -> std::io::Result<Command> {
    fs::create_dir(dir.join("tmp"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    command.args(["bench", "--servers=embedded", "--programs=hopsync", "--warmups=0"]).args(arguments);
    command.arg("--out").arg(dir.join("out")).env("TMPDIR", dir.join("tmp")).stdin(Stdio::null());
    Ok(command)
}

fn records(dir: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    let text = fs::read_to_string(dir.join("out/runs.jsonl"))?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn left_behind(dir: &Path) -> std::io::Result<usize> {
    Ok(fs::read_dir(dir.join("tmp"))?.count())
}

#[test]
fn every_run_is_kept_and_what_arrived_is_counted() -> Tried {
    let dir = tempfile::tempdir()?;
    let output =
        run(bench(dir.path(), &["--cells=200x4K,nothing", "--scale=0.02", "--rtt=0,2", "--runs=1"])?, DEADLINE)?;
    assert_eq!(output.code, 0, "{}", output.err());
    let records = records(dir.path())?;
    let told: Vec<_> =
        records.iter().map(|r| format!("{} {} {} {}", r["name"], r["direction"], r["rtt_ms"], r["exit"])).collect();
    assert_eq!(records.len(), 8, "two works, two distances, two directions: {told:?}");
    for record in &records {
        assert_eq!((&record["whole"], &record["extra"]), (&record["files"], &Value::from(0)), "{record}");
        assert!(record["user_s"].as_f64() > Some(0.0) && record["peak_rss_bytes"].as_u64() > Some(0), "{record}");
    }
    assert_eq!(output.out(), fs::read_to_string(dir.path().join("out/table.md"))?);
    assert_eq!(output.out().lines().count(), 2 + 8, "{}", output.out());
    let environment: Value = serde_json::from_slice(&fs::read(dir.path().join("out/environment.json"))?)?;
    assert_eq!(environment["servers"], "embedded");
    assert_eq!(left_behind(dir.path())?, 0);
    Ok(())
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_leaves_nothing_running_or_lying_about() -> Tried {
    let dir = tempfile::tempdir()?;
    let mut command = bench(dir.path(), &["--cells=1x1M", "--rtt=0", "--directions=push", "--runs=1000000"])?;
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    // The pipe ends when the last process that could write to it has.
    let mut lines = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
    let first = lines.find(|line| !matches!(line, Ok(line) if !line.starts_with("[1/"))).ok_or("it never began")??;
    assert!(first.contains("1x1M push 0 ms"), "{first}");
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let rest = lines.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(child.wait()?.code(), Some(130), "{rest:?}");
    assert!(!records(dir.path())?.is_empty());
    assert_eq!(left_behind(dir.path())?, 0);
    Ok(())
}
