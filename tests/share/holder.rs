//! The holder: what it tells, whom it lets in, what it leaves, and when it goes.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopsync::lab::bed::{Bed, Embedded, TARGET};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::run::run;
use hopsync::lab::server::Extensions;
use hopsync::lab::trees::set_mtime;
use hopsync::share::protocol::VERSION;
use hopsync::verify::blocks::SPAN;
use rustix::process::{Pid, test_kill_process};

use crate::crowd::*;

#[test]
fn clients_that_are_killed_leave_neither_handles_nor_temporary_files() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, 2, 3_000_000)?;
    fs::create_dir_all(bed.far().join("there"))?;
    let mut slow = crowd.command(["--bwlimit=200", &path(&sources[0]), &bed.operand("there/")]);
    let mut child = slow.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let there = bed.far().join("there");
    let waited = |until: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !until() && started.elapsed() < DEADLINE {
            thread::sleep(Duration::from_millis(5));
        }
        until()
    };
    let entries = || fs::read_dir(&there).map_or(0, Iterator::count);
    assert!(waited(&|| entries() == 1), "the temporary file never came");
    child.kill()?;
    child.wait()?;
    assert!(waited(&|| entries() == 0), "the temporary file is still there");
    let other = crowd.one(&sources[1], &bed.operand("there/"))?;
    assert_eq!(other.code, 0, "{}", other.err());
    Ok(())
}

#[test]
fn whoever_hashes_a_file_there_gives_it_its_name_through_the_holder_too() -> Tried {
    const RENAME: u8 = 18;
    let bed = Embedded::target(|config| {
        // All that would rename by SFTP is refused.
        config.extensions.posix_rename = false;
        let refused = Trouble::Answer { request: RENAME, status: 3, text: "" };
        config.faults = Faults::new([(Nth::Always, refused)]);
    })?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, 3, 50_000)?;
    let there = bed.far().join("there");
    fs::create_dir_all(&there)?;
    fs::write(there.join("f1"), "old")?;
    let ran = crowd.storm(3, |n| vec![path(&sources[n]), bed.operand("there/")], |_| {})?;
    all_well(&ran);
    same_files(&here, &there)?;
    assert!(ran.iter().all(|ran| ran.report.last().is_some_and(|summary| summary["verified"] == 1)));
    let mut command = crowd.command([path(&sources[0]), bed.operand("there/again")]);
    command.arg("--verify=readback");
    assert_eq!(run(command, DEADLINE)?.code, 23);
    Ok(())
}

#[test]
fn only_what_differs_is_sent_over_a_shared_connection_too_and_a_large_file_is_proven_by_its_parts() -> Tried {
    // Where the server cannot copy, the holder has it done by the one who hashes.
    for copy_data in [true, false] {
        let extensions = Extensions { copy_data, ..Extensions::default() };
        only_what_differs_is_sent(&Embedded::target(|config| config.extensions = extensions)?)?;
    }
    Ok(())
}

fn only_what_differs_is_sent(bed: &Embedded) -> Tried {
    const BLOCK: u64 = 17 << 10;
    let crowd = Crowd::of(bed)?;
    let (here, there) = (bed.client().dir().join("here"), bed.far().join("there"));
    let old = |from: &Path, to: &Path| -> Tried {
        for file in fs::read_dir(from)? {
            let file = file?;
            let mut content = fs::read(file.path())?;
            content[70_000] ^= 1;
            fs::write(to.join(file.file_name()), content)?;
            set_mtime(&to.join(file.file_name()), 1_000_000)?;
        }
        Ok(())
    };
    let sent = |ran: &[Ran]| -> Vec<(u64, u64)> {
        let summaries = ran.iter().filter_map(|ran| ran.report.last());
        let count = |summary: &serde_json::Value, name: &str| summary[name].as_u64().unwrap_or_default();
        summaries.map(|summary| (count(summary, "moved-bytes"), count(summary, "matched-bytes"))).collect()
    };
    let sources = files(&here, 3, 60 * BLOCK)?;
    fs::create_dir_all(&there)?;
    old(&here, &there)?;
    let args = |from: String, to: String| vec!["--no-whole-file".to_owned(), from, to];
    let ran = crowd.storm(3, |n| args(path(&sources[n]), bed.operand("there/")), |_| {})?;
    all_well(&ran);
    same_files(&here, &there)?;
    assert_eq!(sent(&ran), [(BLOCK, 59 * BLOCK); 3]);
    old(&there, &here)?;
    let ran = crowd.storm(3, |n| args(bed.operand(&format!("there/f{n}")), path(&here)), |_| {})?;
    all_well(&ran);
    same_files(&here, &there)?;
    assert_eq!(sent(&ran), [(BLOCK, 59 * BLOCK); 3]);
    // More than one question asks about.
    fs::remove_file(&sources[0])?;
    let large = fs::File::create(&sources[0])?;
    large.set_len(SPAN + 1)?;
    let ran = crowd.storm(1, |_| vec![path(&sources[0]), bed.operand("there/new")], |_| {})?;
    all_well(&ran);
    let summary = ran[0].report.last().ok_or("no report")?;
    assert!(!summary["verified-by"].to_string().contains("read-back"), "{summary}");
    assert!(fs::read(&sources[0])? == fs::read(there.join("new"))?);
    Ok(())
}

#[test]
fn a_refused_login_is_tried_once_and_told_to_everyone_as_without_sharing() -> Tried {
    let bed = Embedded::start()?;
    let mut crowd = Crowd::of(&bed)?;
    crowd.shell = format!("{} -o IdentityFile=/nonexistent", bed.shell());
    // The command line's file comes first, but the configuration's is tried too: this login is one without keys.
    crowd.shell.push_str(" -o PubkeyAuthentication=no");
    let source = bed.client().dir().join("f");
    fs::write(&source, "x")?;
    let alone = run(hopsync(["-a", "--no-share", "-e", &crowd.shell, &path(&source), &bed.operand("")]), DEADLINE)?;
    assert_eq!(alone.code, 255, "{}", alone.err());
    let before = bed.counts();
    let ran = crowd.storm(10, |_| vec![path(&source), bed.operand("")], |_| {})?;
    for ran in &ran {
        assert_eq!((ran.output.code, ran.output.err()), (255, alone.err()));
    }
    let tries = bed.counts().target_connections - before.target_connections;
    assert!(tries <= 3, "{tries} logins were tried");
    Ok(())
}

#[test]
fn strangers_on_the_socket_harm_nobody() -> Tried {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let source = bed.client().dir().join("f");
    fs::write(&source, "x")?;
    all_well(&crowd.storm(1, |_| vec![path(&source), bed.operand("")], |_| {})?);
    let names = fs::read_dir(crowd.runtime.path().join("hopsync"))?.flatten();
    let socket = names.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "sock"));
    let socket = socket.ok_or("no socket")?;
    let silent = UnixStream::connect(&socket)?;
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[&b"\0\0\0\x05"[..], &[VERSION], &b"null"[..]].concat()]
    {
        let mut stranger = UnixStream::connect(&socket)?;
        stranger.write_all(garbage)?;
        // The holder hangs up: an end, or a reset because it has not read it all.
        let _ = stranger.read_to_end(&mut Vec::new());
    }
    // One that greets as a client does, and then speaks no SFTP.
    let mut rude = UnixStream::connect(&socket)?;
    let want = br#"{"Channel":{"client":1,"linger":null,"ahead":0}}"#;
    rude.write_all(&[&(want.len() as u32 + 1).to_be_bytes()[..], &[VERSION], want].concat())?;
    rude.write_all(&[0, 0, 0, 9, 255, 0, 0, 0, 1, 0, 0, 0, 0])?;
    let mut answer = Vec::new();
    rude.read_to_end(&mut answer)?;
    assert!(answer.windows(5).any(|word| word == b"Ready"), "{}", String::from_utf8_lossy(&answer));
    fs::write(&source, "xy")?;
    all_well(&crowd.storm(1, |_| vec![path(&source), bed.operand("")], |_| {})?);
    drop(silent);
    assert_eq!(fs::read(bed.far().join("f"))?, b"xy");
    assert_eq!(crowd.holders.lock().unwrap().len(), 1);
    Ok(())
}

#[test]
fn a_holder_leaves_when_told_and_when_nobody_has_come_for_a_while() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let source = bed.client().dir().join("f");
    fs::write(&source, "x")?;
    let left = || -> io::Result<usize> {
        let names = fs::read_dir(crowd.runtime.path().join("hopsync"))?;
        Ok(names.flatten().filter(|e| !e.file_name().to_string_lossy().ends_with(".route")).count())
    };
    let first = crowd.storm(1, |_| vec![path(&source), bed.operand("")], |_| {})?;
    all_well(&first);
    let holder = crowd.holder().ok_or("no holder")?;
    assert_eq!(crowd.stop()?.code, 0);
    assert_eq!(left()?, 0, "its names are gone");
    assert_eq!(crowd.stop()?.code, 0, "nothing to stop is no failure");
    let ended = |pid: Pid| {
        let started = Instant::now();
        while test_kill_process(pid).is_ok() && started.elapsed() < DEADLINE {
            thread::sleep(Duration::from_millis(5));
        }
        test_kill_process(pid).is_err()
    };
    assert!(ended(holder));
    fs::write(&source, "xy")?;
    let second = crowd.storm(1, |_| vec!["--share-linger=0".to_owned(), path(&source), bed.operand("")], |_| {})?;
    all_well(&second);
    let holder = shared(&second[0].report).next().and_then(|line| Pid::from_raw(line["holder"].as_i64()? as i32));
    assert!(ended(holder.ok_or("not shared")?));
    assert_eq!(left()?, 0);
    Ok(())
}

#[test]
fn a_holder_whose_name_was_removed_leaves_the_one_that_came_after_it_in_place() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, 3, 3_000_000)?;
    fs::write(&sources[1], "small")?;
    fs::write(&sources[2], "small too")?;
    let there = bed.far().join("there");
    fs::create_dir_all(&there)?;
    let waited = |until: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !until() && started.elapsed() < DEADLINE {
            thread::sleep(Duration::from_millis(5));
        }
        until()
    };
    let report = path(&crowd.runtime.path().join("report-0"));
    let slow =
        ["--bwlimit=200", "--share-linger=0", &format!("--report={report}"), &path(&sources[0])].map(str::to_owned);
    let mut child = crowd.command(slow).arg(bed.operand("there/")).stderr(Stdio::null()).spawn()?;
    assert!(waited(&|| fs::read_dir(&there).is_ok_and(|mut names| names.next().is_some())), "nothing was begun");
    let first = crowd.holder().ok_or("no holder")?;
    let names = fs::read_dir(crowd.runtime.path().join("hopsync"))?.flatten();
    let socket = names.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "sock"));
    fs::remove_file(socket.ok_or("no socket")?)?;
    let one = |n: usize| -> Result<i64, Box<dyn Error>> {
        let args = |_| vec!["--share-linger=60".to_owned(), path(&sources[n]), bed.operand("there/")];
        let ran = crowd.storm(1, args, |_| {})?;
        all_well(&ran);
        let line = shared(&ran[0].report).next().ok_or("not shared")?["holder"].as_i64();
        line.ok_or_else(|| "no holder".into())
    };
    let second = one(1)?;
    assert_ne!(second, i64::from(first.as_raw_nonzero().get()));
    child.kill()?;
    child.wait()?;
    assert!(waited(&|| test_kill_process(first).is_err()), "the first holder stays");
    assert_eq!(one(2)?, second, "its successor is not found any more");
    Ok(())
}

#[test]
fn a_person_is_asked_once_for_all() -> Tried {
    let bed = Embedded::target(|target| {
        target.authorized.clear();
        target.password = Some("sesame".to_owned());
    })?;
    let mut crowd = Crowd::of(&bed)?;
    crowd.shell.push_str(" -o BatchMode=no");
    let (asked, program) = (bed.client().dir().join("asked"), bed.client().dir().join("askpass"));
    fs::write(&program, format!("#!/bin/sh\necho \"$1\" >> {}\necho sesame\n", path(&asked)))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, 10, 1_000)?;
    fs::create_dir_all(bed.far().join("there"))?;
    let environment = [("SSH_ASKPASS", path(&program)), ("SSH_ASKPASS_REQUIRE", "force".to_owned())];
    crowd.environment.extend(environment);
    all_well(&crowd.storm(10, |n| vec![path(&sources[n]), bed.operand("there/")], |_| {})?);
    same_files(&here, &bed.far().join("there"))?;
    // What would be asked again for a connection of one's own is shared, however large.
    fs::File::create(bed.far().join("large"))?.set_len(300 << 20)?;
    let pulled = crowd.storm(1, |_| vec!["-n".to_owned(), bed.operand("large"), path(&here) + "/"], |_| {})?;
    all_well(&pulled);
    assert_eq!(ways(&pulled[0]), (1, 0));
    let asked = fs::read_to_string(&asked)?;
    assert_eq!(asked.lines().count(), 1, "{asked}");
    crowd.stop()?;
    assert_eq!(bed.counts().target_logins, 1);
    Ok(())
}

/// `flock`, pipelines and the like hand open files down to what they start.
#[test]
fn a_holder_keeps_nothing_open_that_its_starter_was_handed() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let source = bed.client().dir().join("f");
    fs::write(&source, "x")?;
    let (report, handed) = (crowd.runtime.path().join("report-handed"), crowd.runtime.path().join("handed"));
    let hopsync = crowd.command([&format!("--report={}", path(&report)), &path(&source), &bed.operand("")]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" 7>\"$HANDED\"", "sh"]).arg(hopsync.get_program()).args(hopsync.get_args());
    for (name, value) in hopsync.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = {
        shell.env("HANDED", &handed);
        run(shell, DEADLINE)?
    };
    assert_eq!((output.code, handed.exists()), (0, true), "{}", output.err());
    crowd.read(&report);
    let holder = crowd.holders.lock().unwrap().iter().next().copied().ok_or("not shared")?;
    let open: Vec<PathBuf> = fs::read_dir(format!("/proc/{holder}/fd"))?
        .map(|entry| fs::read_link(entry?.path()))
        .collect::<io::Result<_>>()?;
    assert!(!open.contains(&handed), "{open:?}");
    Ok(())
}

#[test]
fn what_the_holder_was_dropped_by_and_tried_again_is_told_to_all_and_counted_once() -> Tried {
    let dropped = |nth| (Nth::Only(nth), Trouble::DropBeforeBanner { text: "Exceeded MaxStartups" });
    let bed = Embedded::with(|head| head.faults = Faults::new([dropped(1), dropped(2)]), |_| {}, None)?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, 10, 1_000)?;
    fs::create_dir_all(bed.far().join("there"))?;
    let ran = crowd.storm(10, |n| vec![path(&sources[n]), bed.operand("there/")], |_| {})?;
    all_well(&ran);
    for ran in &ran {
        let line = shared(&ran.report).next().ok_or("not shared")?;
        let told = &line["drops"][0];
        assert_eq!((&told["hop"], &told["cause"], &told["times"]), (&"head".into(), &"start-limit".into(), &2.into()));
        let summary = ran.report.last().ok_or("no summary")?;
        let counted = if line["started"] == true { 2 } else { 0 };
        assert_eq!(summary["dropped-connections"], counted, "{summary}");
        assert_eq!(summary["shared-waited"], line["waited"], "all of its waits");
    }
    Ok(())
}

#[test]
fn a_probe_tells_the_limits_from_the_holder() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    command.args(["probe", "--shared", "-e", &crowd.shell, TARGET]).env("XDG_RUNTIME_DIR", crowd.runtime.path());
    let output = run(command, DEADLINE)?;
    assert_eq!(output.code, 0, "{}", output.err());
    for told in ["10 on one connection", "round trip", "OpenSSH_9.2 lab", "posix-rename", "bytes a request", "hasher"] {
        assert!(output.out().contains(told), "{told}: {}", output.out());
    }
    crowd.stop()?;
    assert_eq!(bed.counts().head_logins, 1);
    Ok(())
}
