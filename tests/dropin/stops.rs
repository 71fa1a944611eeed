//! Ends that come from outside: signals, silence, a closed standard output.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use hopsync::lab::bed::{Bed, Embedded, SshdPair, TARGET};
use hopsync::lab::faults::{Direction, Faults, Nth, Trouble};
use hopsync::lab::trees::{many_files, random_file};
use hopsync::plan::names::is_temp;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::*;

/// Waits until `dir` has at least `count` entries that are whole.
fn wait_for(dir: &Path, count: usize) {
    let started = Instant::now();
    let whole = |entry: fs::DirEntry| !is_temp(entry.file_name().as_encoded_bytes());
    let entries = || fs::read_dir(dir).map_or(0, |dir| dir.flatten().map(whole).filter(|whole| *whole).count());
    while entries() < count && started.elapsed() < DEADLINE {
        std::thread::yield_now();
    }
}

fn kill(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_child(child), signal);
}

/// A large tree on either side of a bed, and its way to the other.
fn scene(bed: &dyn Bed, pull: bool) -> Result<(PathBuf, PathBuf, [String; 3]), Box<dyn std::error::Error>> {
    let (near, far) = (bed.client().dir().join("near"), bed.far().join("far"));
    let (source, dest) = if pull { (far, near) } else { (near, far) };
    many_files(&source, 600, 200_000)?;
    random_file(&source.join("zz-large"), 20 << 20, b"large")?;
    let args = match pull {
        true => [bed.operand("far/"), slash(&dest)],
        false => [slash(&source), bed.operand("far/")],
    };
    let [from, to] = args;
    Ok((source, dest, ["-a".to_owned(), from, to]))
}

#[test]
fn a_signal_ends_the_run_with_20_and_leaves_no_temporary_file() -> Tried {
    for (signal, pull) in [(Signal::INT, false), (Signal::TERM, true), (Signal::HUP, false), (Signal::INT, true)] {
        let bed = SshdPair::start()?;
        let (source, dest, args) = scene(&bed, pull)?;
        let ran = over(&bed, &args).run_with(|child| {
            wait_for(&dest.join("000"), 30);
            kill(child, signal);
        })?;
        let ran = ran.exits(20)?;
        assert_eq!(temps(&dest)?, Vec::<PathBuf>::new(), "{signal:?}, pull: {pull}");
        no_partial(&source, &dest)?;
        let row = ran.report.trouble("local", "session", "cancelled").ok_or_else(|| ran.said())?;
        assert!(row["files-failed"].as_u64() > Some(0), "{}", ran.said());
        assert!(ran.output.err().lines().count() < 10, "a stopped run says so once: {}", ran.output.err());
        // The next run does the rest, and only that.
        let again = go(&bed, &args)?.well()?;
        assert!(again.report.count("unchanged") >= 20, "{}", again.said());
        same(&source, &dest, ALL)?;
    }
    Ok(())
}

#[test]
fn a_second_signal_ends_it_at_once() -> Tried {
    // The target says nothing any more: the first signal's cleaning up would take its five seconds.
    let rule = (Nth::Only(1), Trouble::Silence { direction: Direction::In, bytes: 3_000_000 });
    let bed = Embedded::target(|config| config.faults = Faults::new([rule]))?;
    let (_, dest, args) = scene(&bed, false)?;
    let ran = over(&bed, &args).command;
    let output = hopsync::lab::run::run_with(ran, DEADLINE, |child| {
        while !dest.join("000").exists() {
            std::thread::yield_now();
        }
        kill(child, Signal::INT);
        std::thread::sleep(Duration::from_millis(300));
        kill(child, Signal::INT);
    })?;
    assert_eq!(output.code, 20, "{}", output.err());
    assert!(output.wall < Duration::from_secs(4), "{:?}", output.wall);
    Ok(())
}

#[test]
fn a_killed_run_is_completed_by_the_next_one() -> Tried {
    for pull in [false, true] {
        let bed = SshdPair::start()?;
        let (source, dest, args) = scene(&bed, pull)?;
        let output = hopsync::lab::run::run_with(over(&bed, &args).command, DEADLINE, |child| {
            wait_for(&dest.join("001"), 10);
            kill(child, Signal::KILL);
        })?;
        assert_eq!(output.code, 128 + 9);
        // What was under way may lie there under temporary names; no final name holds a part.
        for (name, meta) in hopsync::lab::trees::list(&dest)? {
            let temporary = name.file_name().is_some_and(|name| is_temp(name.as_encoded_bytes()));
            if meta.is_file() && !temporary {
                assert!(fs::read(dest.join(&name))? == fs::read(source.join(&name))?, "{}", name.display());
            }
        }
        // With --delete the leavings go too.
        let args = ["-a", "--delete", &args[1], &args[2]];
        go(&bed, args)?.well()?;
        same(&source, &dest, ALL)?;
    }
    Ok(())
}

#[test]
fn silence_ends_the_run_with_30_when_a_timeout_is_given() -> Tried {
    for (pull, bytes) in [(false, 4_000_000), (true, 40_000)] {
        let rule = (Nth::Only(1), Trouble::Silence { direction: Direction::In, bytes });
        let bed = Embedded::target(|config| config.faults = Faults::new([rule]))?;
        let (source, dest, args) = scene(&bed, pull)?;
        let ran = go(&bed, ["--timeout=2"].into_iter().chain(args.iter().map(String::as_str)))?.exits(30)?;
        assert!(ran.output.wall < Duration::from_secs(15), "{:?}", ran.output.wall);
        assert!(ran.report.summary()["troubles"].to_string().contains("timeout"), "{}", ran.said());
        assert!(ran.output.err().contains(TARGET), "{}", ran.said());
        if pull {
            assert_eq!(temps(&dest)?, Vec::<PathBuf>::new());
            no_partial(&source, &dest)?;
        }
    }
    Ok(())
}

#[test]
fn a_closed_standard_output_stops_nobody() -> Tried {
    let bed = Embedded::start()?;
    let near = bed.client().dir().join("near");
    many_files(&near, 300, 100)?;
    let mut command = over(&bed, ["-avv", "--progress", &slash(&near), &bed.operand("there")]).command;
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn()?;
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().ok_or("no stderr")?.read_to_string(&mut said)?;
    let status = child.wait()?;
    assert!(!said.contains("panicked"), "{said}");
    // rsync exits 12 or 14 here, or 0 if it had nothing more to say; what counts is that nothing hangs or is half done.
    assert!(status.code().is_some(), "{status}: {said}");
    assert_eq!(temps(&bed.far().join("there"))?, Vec::<PathBuf>::new());
    no_partial(&near, &bed.far().join("there"))
}
