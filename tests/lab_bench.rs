//! `hopsync-lab bench` as a person runs it, small, on embedded servers: that it measures, keeps, and leaves nothing behind.
//! No time is asserted.

#![expect(clippy::disallowed_methods, reason = "scratch trees and results, which are no delivery")]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hopsync::lab::bed::{Bed, SshdPair, TARGET};
use hopsync::lab::run::run;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

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
fn every_kind_of_work_is_delivered_compared_and_shown() -> Tried {
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("tmp"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    // A tree of 80 files, a chain of one, 100 links, two files beside 80 in a tree that has to go, one of 10 MiB.
    command.args(["bench", "--servers=sshd", "--cells=tree,unchanged-tree,chain,links,delete,parts", "--scale=0.02"]);
    command.args(["--rtt=0", "--warmups=0", "--runs=1", "--programs=hopsync,rsync,tar,parallel-rsync"]);
    command.arg("--out").arg(dir.path().join("out")).env("TMPDIR", dir.path().join("tmp")).stdin(Stdio::null());
    let output = run(command, DEADLINE)?;
    assert_eq!(output.code, 0, "{}{}", output.out(), output.err());
    let records = records(dir.path())?;
    for record in &records {
        let told = ["whole", "directories_missing", "extra", "exit"].map(|field| record[field].as_u64());
        assert_eq!(told, [record["files"].as_u64(), Some(0), Some(0), Some(0)], "{record}");
        let arrived = ["tree", "chain", "links", "parts"].iter().any(|kind| record["kind"] == *kind);
        assert_eq!(record["arrivals"].as_array().map(Vec::len) > Some(0), arrived, "{record}");
    }
    // Those that cannot tell what has to go, or what is there, are left out.
    for (kind, files, programs) in [
        ("tree", 80, &["hopsync", "rsync", "tar", "parallel-rsync"][..]),
        ("unchanged-tree", 80, &["hopsync", "rsync", "parallel-rsync"]),
        ("chain", 1, &["hopsync", "rsync", "tar"]),
        ("links", 100, &["hopsync", "rsync", "tar", "parallel-rsync"]),
        ("delete", 2, &["hopsync", "rsync"]),
        ("parts", 1, &["hopsync", "rsync"]),
    ] {
        let ran: Vec<_> = records.iter().filter(|record| record["kind"] == kind).collect();
        assert!(ran.iter().all(|record| record["files"] == files), "{kind}");
        let ran: Vec<_> = ran.iter().filter_map(|record| record["program"].as_str()).collect();
        assert_eq!(ran, [programs; 2].concat(), "{kind}: in two directions");
    }
    assert_eq!(left_behind(dir.path())?, 0);

    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    command.arg("report").arg(dir.path().join("out")).args(["--format=markdown", "--out=-"]);
    let page = run(command, DEADLINE)?.out();
    // Columns are as wide as their widest cell.
    let rows: Vec<_> = page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let cells = [
        ("| A | ", "80 | 1 kB | a directory for each | push "),
        ("| C | ", "80 | 1 kB | a directory for each, all there already | push "),
        ("| E | ", "1 file | 1 kB | in directories one in another | push "),
        ("| G | ", "100 links | "),
        ("| I | ", "2 | 1 kB | all there already, beside a tree that has to go | push "),
        ("| K | ", "1 file | 10 MiB | over an older one, which differs in places | push "),
    ];
    for (cell, told) in cells {
        assert!(rows.iter().any(|row| row.starts_with(&format!("{cell}{told}"))), "{cell}{told}: {page}");
    }
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

/// A bench of processes for single files against a pair at its own limits: what it kept.
fn storm(dir: &Path, cells: &str, arguments: &[&str]) -> Result<Vec<Value>, Box<dyn Error>> {
    fs::create_dir(dir.join("tmp"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    command.args(["bench", cells, "--rtt=0", "--directions=push", "--warmups=0", "--runs=1"]).args(arguments);
    command.arg("--out").arg(dir.join("out")).env("TMPDIR", dir.join("tmp")).stdin(Stdio::null());
    let output = run(command, DEADLINE)?;
    let records = records(dir)?;
    if records.is_empty() {
        return Err(format!("exit {}: {}", output.code, output.err()).into());
    }
    assert!(output.out().contains("Delivered and dropped:"), "{}", output.out());
    assert_eq!(left_behind(dir)?, 0);
    Ok(records)
}

/// Each file is whole or put down to a cause; returns files by hop, stage and cause.
fn causes(record: &Value) -> Vec<(String, u64)> {
    let rows = record["missing"].as_array().cloned().unwrap_or_default();
    let files = |row: &Value| row["files"].as_u64().unwrap_or(0);
    let missing: u64 = rows.iter().map(files).sum();
    assert_eq!(
        Some(missing),
        Some(record["files"].as_u64().unwrap_or(0) - record["whole"].as_u64().unwrap_or(0)),
        "{record}"
    );
    let word = |row: &Value, field: &str| row[field].as_str().unwrap_or("no word").to_owned();
    let name = |row: &Value| ["hop", "stage", "cause"].map(|field| word(row, field)).join("/");
    rows.iter().map(|row| (name(row), files(row))).collect()
}

fn of<'a>(records: &'a [Value], program: &str) -> Result<&'a Value, String> {
    records.iter().find(|record| record["program"] == program).ok_or(format!("no {program}"))
}

/// `servers` with a start limit at one of the two: rsync's losses are that limit's, all of them, and ours are none.
fn starts_are_dropped_at(hop: &str, servers: &str) -> Tried {
    let dir = tempfile::tempdir()?;
    let programs = "--programs=hopsync-each,rsync-each";
    // Twelve are more than sshd's default takes: the other hop gets a limit that is never reached.
    let limits = match hop {
        "head" => ["--head-startups=2:100:3", "--target-startups=100"],
        _ => ["--head-startups=100", "--target-startups=2:100:3"],
    };
    let records = storm(dir.path(), "--cells=12x4K", &[&[servers, programs][..], &limits].concat())?;
    let rsync = of(&records, "rsync-each")?;
    let causes_of_rsync = causes(rsync);
    let [(cause, files)] = &causes_of_rsync[..] else { return Err(format!("{rsync}").into()) };
    assert_eq!(cause, &format!("{hop}/banner/start-limit"), "{rsync}");
    let drops = if hop == "head" { "head_start_drops" } else { "target_start_drops" };
    assert_eq!(rsync["servers"][drops].as_u64(), Some(*files), "{rsync}");
    assert_eq!(rsync["exits"].as_object().map(|exits| exits.values().filter_map(Value::as_u64).sum()), Some(12_u64));
    let ours = of(&records, "hopsync-each")?;
    assert_eq!((causes(ours), &ours["exit"]), (Vec::new(), &Value::from(0)), "{ours}");
    assert_eq!(ours["arrivals"].as_array().map(Vec::len), Some(12));
    let kept = fs::read_to_string(dir.path().join("out/processes/1.jsonl"))?;
    assert_eq!(kept.lines().count(), 12);
    assert_eq!(fs::read_dir(dir.path().join("out/reports/0"))?.count(), 12);
    Ok(())
}

#[test]
fn what_the_head_s_start_limit_drops_is_put_down_to_it() -> Tried {
    starts_are_dropped_at("head", "--servers=sshd")
}

#[test]
fn what_the_target_s_start_limit_drops_is_put_down_to_it() -> Tried {
    starts_are_dropped_at("user-container", "--servers=sshd")
}

#[test]
fn embedded_servers_drop_alike_and_are_told_alike() -> Tried {
    starts_are_dropped_at("head", "--servers=embedded")?;
    starts_are_dropped_at("user-container", "--servers=embedded")
}

#[test]
fn a_warmed_connection_does_not_help_beyond_its_sessions() -> Tried {
    let dir = tempfile::tempdir()?;
    let limits = ["--servers=sshd", "--target-sessions=1", "--head-startups=2:100:3"];
    let programs = "--programs=rsync-each-mux,rsync-each-mux-cold,hopsync-each-warm,hopsync-each-unshared";
    let records = storm(dir.path(), "--cells=12x4K", &[&limits[..], &[programs]].concat())?;
    let mux = of(&records, "rsync-each-mux")?;
    assert_eq!(mux["warm"], true);
    assert!(mux["servers"]["refused_sessions"].as_u64() > Some(0), "{mux}");
    let lost = causes(mux);
    // Refused, ssh connects anew by itself, and is dropped at the head.
    assert!(matches!(&lost[..], [(cause, _)] if cause == "head/banner/start-limit"), "{mux}");
    assert!(mux["missing"][0]["example"].to_string().contains("; then kex_exchange_identification"), "{mux}");
    let cold = of(&records, "rsync-each-mux-cold")?;
    assert!(matches!(&causes(cold)[..], [(cause, _)] if cause == "head/banner/start-limit"), "{cold}");
    for ours in ["hopsync-each-warm", "hopsync-each-unshared"] {
        assert_eq!((causes(of(&records, ours)?), &of(&records, ours)?["exit"]), (Vec::new(), &Value::from(0)));
    }
    let again = of(&records, "hopsync-each-unshared")?;
    assert_eq!(again["tried_again"][0]["cause"], "start-limit", "{again}");
    Ok(())
}

#[test]
fn a_few_at_a_time_stay_below_the_limits_and_every_program_delivers() -> Tried {
    let dir = tempfile::tempdir()?;
    let programs = "--programs=rsync-each,scp-each,scp,sftp,tar,parallel-rsync,rsync,hopsync";
    let records = storm(dir.path(), "--cells=4x4K", &["--servers=sshd", "--at-once=2", programs])?;
    for record in &records {
        assert_eq!((&record["whole"], &record["exit"]), (&Value::from(4), &Value::from(0)), "{record}");
        assert_eq!((&record["missing_with_exit_0"], &record["extra"]), (&Value::from(0), &Value::from(0)));
    }
    assert_eq!(records.len(), 8);
    let at_once: Vec<_> = records.iter().map(|record| record["at_once"].as_u64()).collect();
    assert_eq!(at_once, [Some(2), Some(2), None, None, None, None, None, None]);
    Ok(())
}

/// What hopsync told of its only process in a run: processes whose connection it used, and connections of its own.
fn ways(dir: &Path, run: usize) -> Result<(Option<u64>, Option<u64>), Box<dyn Error>> {
    let text = fs::read_to_string(dir.join(format!("out/reports/{run}/0.jsonl")))?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let summary = lines.iter().find(|line| line["event"] == "summary").ok_or("no summary")?;
    Ok((summary["shared"].as_u64(), summary["connections"].as_u64()))
}

#[test]
fn several_connections_and_one_that_stands_already_are_measured_as_such() -> Tried {
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("tmp"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    let programs = "--programs=hopsync,hopsync-unverified,hopsync-four,hopsync-warm,rsync,rsync-mux";
    // So far away that nobody doubts it: near by, a tree has a connection of its own.
    command.args(["bench", "--servers=sshd", "--cells=20x4K", "--rtt=100", "--warmups=0", "--runs=1", programs]);
    command.arg("--out").arg(dir.path().join("out")).env("TMPDIR", dir.path().join("tmp")).stdin(Stdio::null());
    let output = run(command, DEADLINE)?;
    assert_eq!(output.code, 0, "{}", output.err());
    let records = records(dir.path())?;
    assert_eq!(records.len(), 12);
    for (number, record) in records.iter().enumerate() {
        assert_eq!(
            (&record["whole"], &record["extra"], &record["exit"]),
            (&20.into(), &0.into(), &0.into()),
            "{record}"
        );
        let program = record["program"].as_str().ok_or("no program")?;
        let warm = program == "hopsync-warm" || program == "rsync-mux";
        assert_eq!(record["warm"].as_bool(), warm.then_some(true), "{record}");
        let logins = record["servers"]["target_logins"].as_u64();
        match program {
            "hopsync-four" => assert!(logins >= Some(1) && ways(dir.path(), number)?.0 == Some(0), "{record}"),
            "hopsync-warm" => assert_eq!((logins, ways(dir.path(), number)?), (Some(1), (Some(1), Some(0)))),
            program if program.starts_with("hopsync") => assert_eq!(ways(dir.path(), number)?, (Some(0), Some(1))),
            _ => assert_eq!(logins, Some(1), "{record}"),
        }
    }
    let table = fs::read_to_string(dir.path().join("out/table.md"))?;
    assert_eq!(output.out(), table);
    // What follows is told only where something was dropped.
    let beside = table.lines().skip_while(|line| !line.starts_with("Wall s"));
    let beside: Vec<_> = beside.take_while(|line| !line.starts_with("Delivered")).collect();
    assert!(beside.iter().any(|line| line.contains("hopsync -a --connections=4") && line.contains("verification")));
    assert_eq!(beside.iter().filter(|line| line.starts_with("| 20x4K pu")).count(), 3 * 2, "{table}");
    assert_eq!(left_behind(dir.path())?, 0);
    Ok(())
}

/// The hidden half of a bench: `measure` does as a plan says.
fn measure(dir: &Path, commands: &[&[&str]], at_once: usize, limit_s: f64) -> Result<Value, Box<dyn Error>> {
    let words = |command: &&[&str]| -> Value { command.iter().map(|word| json!({"Unix": word.as_bytes()})).collect() };
    let commands: Vec<Value> = commands.iter().map(words).collect();
    let outputs = dir.join("outputs");
    fs::create_dir(&outputs)?;
    let plan = json!({
        "commands": commands, "at_once": at_once, "before": [], "after": [], "environment": [], "limit_s": limit_s,
        "outputs": outputs,
    });
    fs::write(dir.join("plan"), plan.to_string())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    command.arg("measure").arg(dir.join("plan"));
    let output = run(command, DEADLINE)?;
    Ok(serde_json::from_slice(&output.stdout).map_err(|_| output.err())?)
}

#[test]
fn each_process_is_told_by_itself_and_never_more_run_than_allowed() -> Tried {
    let dir = tempfile::tempdir()?;
    // Whoever finds the directory there already is not alone.
    let alone = "mkdir \"$0\" || exit 9; echo said; rmdir \"$0\"; exit \"$1\"";
    let place = dir.path().join("alone").display().to_string();
    let script = |code| ["sh", "-c", alone, &place, code];
    let commands = [script("0"), script("3"), script("0"), script("7")];
    let all: Vec<&[&str]> = commands.iter().map(|command| &command[..]).chain([&["/no/such"][..]]).collect();
    let cost = measure(dir.path(), &all, 1, 100.0)?;
    let codes: Vec<_> = (0..5).map(|n| cost["ended"][n]["exit"].as_i64()).collect();
    assert_eq!(codes, [0, 3, 0, 7, 126].map(Some), "{cost}");
    assert_eq!(fs::read_to_string(dir.path().join("outputs/1"))?, "said\n");
    assert!(fs::read_to_string(dir.path().join("outputs/4"))?.contains("can not run /no/such"));
    Ok(())
}

#[test]
fn what_takes_too_long_is_ended_with_its_children_and_what_waits_is_not_begun() -> Tried {
    let dir = tempfile::tempdir()?;
    // The pipe of standard output stays open as long as any process has it: this returns, so none has.
    let sleeper: &[&str] = &["sh", "-c", "echo before; sleep 600 & sleep 600"];
    let cost = measure(dir.path(), &[sleeper, &["true"], sleeper, sleeper], 2, 0.5)?;
    let ended = |n: usize| (cost["ended"][n]["timed_out"].as_bool(), cost["ended"][n]["exit"].as_i64());
    assert_eq!([ended(0), ended(1)], [(Some(true), Some(137)), (Some(false), Some(0))], "{cost}");
    assert_eq!([ended(2), ended(3)], [(Some(true), Some(137)), (Some(true), None)], "{cost}");
    assert_eq!(fs::read_to_string(dir.path().join("outputs/0"))?, "before\n");
    Ok(())
}

#[test]
fn a_real_host_is_used_only_if_its_load_was_agreed_to() -> Tried {
    let bed = SshdPair::start()?;
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("tmp"))?;
    let bench = |agreed: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
        command.args(["bench", "--host", TARGET, "-e", &bed.shell(), "--far-dir", &bed.far().display().to_string()]);
        command.args(["--cells=3x4K", "--programs=hopsync,rsync-each", "--warmups=0", "--runs=1"]).args(agreed);
        command.arg("--out").arg(dir.path().join("out")).env("TMPDIR", dir.path().join("tmp")).stdin(Stdio::null());
        run(command, DEADLINE)
    };
    let refused = bench(&[])?;
    assert_eq!((refused.code, bed.counts().head_connections), (1, 0), "{}", refused.err());
    assert!(refused.err().contains("use --yes") && refused.err().contains("4 runs"), "{}", refused.err());
    let agreed = bench(&["--yes"])?;
    assert_eq!(agreed.code, 0, "{}", agreed.err());
    for record in records(dir.path())? {
        assert_eq!((&record["whole"], record.get("servers")), (&Value::from(3), None), "{record}");
    }
    assert_eq!(fs::read_dir(bed.far())?.count(), 0, "its directory there is gone");
    assert_eq!(left_behind(dir.path())?, 0);
    Ok(())
}

#[test]
fn what_is_at_a_real_host_is_compared_whole() -> Tried {
    let bed = SshdPair::start()?;
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("tmp"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    command.args(["bench", "--yes", "--host", TARGET, "-e", &bed.shell()]).arg("--far-dir").arg(bed.far());
    command.args(["--cells=tree,unchanged-tree,links,delete", "--scale=0.005", "--programs=hopsync,rsync"]);
    command.args(["--warmups=0", "--runs=1", "--out"]).arg(dir.path().join("out"));
    command.env("TMPDIR", dir.path().join("tmp"));
    let output = run(command, DEADLINE)?;
    assert_eq!(output.code, 0, "{}", output.err());
    let records = records(dir.path())?;
    assert_eq!(records.len(), 4 * 2 * 2, "four works, two directions, two programs");
    for record in &records {
        let told = ["whole", "directories_missing", "extra", "exit"].map(|field| record[field].as_u64());
        assert_eq!(told, [record["files"].as_u64(), Some(0), Some(0), Some(0)], "{record}");
    }
    assert_eq!((fs::read_dir(bed.far())?.count(), left_behind(dir.path())?), (0, 0));
    Ok(())
}
