//! Many invocations at once on one shared connection: embedded servers and real sshd's, holders killed, logins refused.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

use std::collections::HashSet;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use hopsync::lab::bed::{Bed, Embedded, SshdPair, TARGET};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::run::{Output, run};
use hopsync::lab::server::{Config, MaxStartups};
use hopsync::lab::trees::random_file;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

type Tried = Result<(), Box<dyn Error>>;

/// As long as the slowest storm may take on a loaded machine with two cores.
const DEADLINE: Duration = Duration::from_secs(120);

/// Enough to be dropped by MaxStartups many times over, few enough for a small machine.
const STORM: usize = 60;

/// The built `hopsync`, its environment free of what could change its ways.
fn hopsync<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync"));
    command.args(args);
    // Sharing is the default: nothing asks for it.
    for name in ["RSYNC_RSH", "SSH_AUTH_SOCK", "HOPSYNC_SHARE"] {
        command.env_remove(name);
    }
    command
}

/// Invocations that share: a run-time directory of their own, so that they share with nobody else; and no holder outlives
/// the value.
struct Crowd {
    runtime: tempfile::TempDir,
    shell: String,
    environment: Vec<(&'static str, String)>,
    /// Holders seen in reports.
    holders: Mutex<HashSet<u32>>,
}

impl Crowd {
    fn of(bed: &dyn Bed) -> io::Result<Crowd> {
        let runtime = tempfile::Builder::new().prefix("hopsync-run-").tempdir()?;
        Ok(Crowd { runtime, shell: bed.shell(), environment: Vec::new(), holders: Mutex::default() })
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = hopsync(["-a", "-e", &self.shell]);
        command.args(args).env("XDG_RUNTIME_DIR", self.runtime.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn one(&self, from: &Path, to: &str) -> io::Result<Output> {
        run(self.command([from.as_os_str(), to.as_ref()]), DEADLINE)
    }

    /// Runs `args(n)` for n from 0, all at once, each with a report; `meanwhile` beside them.
    fn storm(
        &self,
        count: usize,
        args: impl Fn(usize) -> Vec<String>,
        meanwhile: impl FnOnce(&Crowd),
    ) -> io::Result<Vec<Ran>> {
        thread::scope(|scope| {
            let running: Vec<_> = (0..count)
                .map(|n| {
                    let report = self.runtime.path().join(format!("report-{n}"));
                    let mut command = self.command(args(n));
                    command.arg(format!("--report={}", report.display()));
                    scope.spawn(move || {
                        let output = run(command, DEADLINE)?;
                        Ok(Ran { output, report: self.read(&report) })
                    })
                })
                .collect();
            meanwhile(self);
            running.into_iter().map(|handle| handle.join().map_err(|_| io::Error::other("panicked"))?).collect()
        })
    }

    fn read(&self, report: &Path) -> Vec<Value> {
        let text = fs::read_to_string(report).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut holders = self.holders.lock().unwrap();
        holders.extend(shared(&lines).filter_map(|line| line["holder"].as_u64()).map(|pid| pid as u32));
        lines
    }

    /// The holder's process id, as a run that is under way has it in its report.
    fn holder(&self) -> Option<Pid> {
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            for entry in fs::read_dir(self.runtime.path()).ok()?.flatten() {
                if entry.file_name().to_string_lossy().starts_with("report-") {
                    let lines = self.read(&entry.path());
                    let living = |pid: u64| Pid::from_raw(pid as i32).filter(|pid| test_kill_process(*pid).is_ok());
                    if let Some(pid) = shared(&lines).filter_map(|line| living(line["holder"].as_u64()?)).last() {
                        return Some(pid);
                    }
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }

    fn stop(&self) -> io::Result<Output> {
        let mut command = hopsync(["-e", &self.shell, "--share-stop", TARGET]);
        command.env("XDG_RUNTIME_DIR", self.runtime.path());
        run(command, DEADLINE)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.stop();
        for pid in self.holders.lock().unwrap().iter().filter_map(|pid| Pid::from_raw(*pid as i32)) {
            // Not one that only has the number by now.
            let name = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            if name.windows(14).any(|word| word == b"--share-holder") {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

struct Ran {
    output: Output,
    report: Vec<Value>,
}

fn shared(report: &[Value]) -> impl Iterator<Item = &Value> {
    report.iter().filter(|line| line["event"] == "shared")
}

/// `count` files of `size` bytes in `dir`.
fn files(dir: &Path, count: usize, size: u64) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)?;
    let paths: Vec<PathBuf> = (0..count).map(|n| dir.join(format!("f{n}"))).collect();
    for (n, path) in paths.iter().enumerate() {
        random_file(path, size, format!("{n}").as_bytes())?;
    }
    Ok(paths)
}

fn all_well(ran: &[Ran]) {
    for ran in ran {
        assert_eq!(ran.output.code, 0, "{}", ran.output.err());
    }
}

/// Whole, and nothing beside it.
fn same_files(from: &Path, to: &Path) -> Tried {
    let names = |dir: &Path| -> io::Result<HashSet<_>> { fs::read_dir(dir)?.map(|e| Ok(e?.file_name())).collect() };
    assert_eq!(names(from)?, names(to)?);
    for name in names(from)? {
        assert!(fs::read(from.join(&name))? == fs::read(to.join(&name))?, "{name:?} differs");
    }
    Ok(())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// There and back, from cold; one connection and one login for all of it.
fn a_storm_shares_one_connection(bed: &dyn Bed) -> Tried {
    let crowd = Crowd::of(bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, STORM, 50_000)?;
    fs::create_dir_all(bed.far().join("there"))?;
    let pushed = crowd.storm(STORM, |n| vec![path(&sources[n]), bed.operand("there/")], |_| {})?;
    all_well(&pushed);
    same_files(&here, &bed.far().join("there"))?;
    let back = bed.client().dir().join("back");
    fs::create_dir_all(&back)?;
    let pulled =
        crowd.storm(STORM, |n| vec![bed.operand(&format!("there/f{n}")), format!("{}/", path(&back))], |_| {})?;
    all_well(&pulled);
    same_files(&here, &back)?;
    let joined: Vec<&Value> = pushed.iter().chain(&pulled).flat_map(|ran| shared(&ran.report)).collect();
    assert_eq!(joined.len(), 2 * STORM, "each joined once");
    assert_eq!(joined.iter().filter(|line| line["started"] == true).count(), 1, "one started the holder");
    assert_eq!(joined.iter().filter_map(|line| line["holder"].as_u64()).collect::<HashSet<_>>().len(), 1);
    let verified = |ran: &Ran| ran.report.last().is_some_and(|summary| summary["verified"] == 1);
    assert!(pushed.iter().chain(&pulled).all(verified));
    crowd.stop()?;
    let counts = bed.counts();
    assert_eq!((counts.head_connections, counts.head_logins, counts.target_logins), (1, 1, 1), "{counts:?}");
    assert_eq!(counts.start_drops, 0);
    Ok(())
}

#[test]
fn a_storm_on_the_embedded_pair_shares_one_connection() -> Tried {
    a_storm_shares_one_connection(&Embedded::start()?)
}

#[test]
fn a_storm_on_the_real_pair_shares_one_connection() -> Tried {
    a_storm_shares_one_connection(&SshdPair::start()?)
}

#[test]
fn a_holder_that_is_killed_is_replaced_and_nothing_is_lost() -> Tried {
    let bed = SshdPair::start()?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, STORM, 1_000_000)?;
    fs::create_dir_all(bed.far().join("there"))?;
    let kill = |crowd: &Crowd| {
        for _ in 0..3 {
            if let Some(holder) = crowd.holder() {
                let _ = kill_process(holder, Signal::KILL);
            }
        }
    };
    let ran = crowd.storm(STORM, |n| vec![path(&sources[n]), bed.operand("there/")], kill)?;
    all_well(&ran);
    for (n, source) in sources.iter().enumerate() {
        assert!(fs::read(source)? == fs::read(bed.far().join(format!("there/f{n}")))?, "f{n} differs");
    }
    assert!(crowd.holders.lock().unwrap().len() > 1, "no holder was killed in time");
    Ok(())
}

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
fn a_lost_connection_is_made_again_once_for_all() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, STORM / 2, 1_000_000)?;
    let there = bed.far().join("there");
    fs::create_dir_all(&there)?;
    let cut = |_: &Crowd| {
        let started = Instant::now();
        while fs::read_dir(&there).map_or(0, Iterator::count) < 3 && started.elapsed() < DEADLINE {
            thread::sleep(Duration::from_millis(2));
        }
        bed.cut_all();
    };
    let ran = crowd.storm(STORM / 2, |n| vec![path(&sources[n]), bed.operand("there/")], cut)?;
    all_well(&ran);
    same_files(&here, &there)?;
    assert_eq!(crowd.holders.lock().unwrap().len(), 1);
    crowd.stop()?;
    assert_eq!(bed.counts().head_logins, 2);
    Ok(())
}

#[test]
fn relative_paths_are_each_clients_own_and_one_destination_ends_whole() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let (one, two) = (bed.client().dir().join("one"), bed.client().dir().join("two"));
    for (dir, content) in [(&one, "one"), (&two, "two")] {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("file"), content.repeat(20_000))?;
    }
    let there = bed.far().join("there");
    fs::create_dir_all(&there)?;
    let outputs: Vec<io::Result<Output>> = thread::scope(|scope| {
        let running: Vec<_> = (0..20)
            .map(|n| {
                let (crowd, dir) = (&crowd, if n % 2 == 0 { &one } else { &two });
                // Some to names of their own, the others all to the same one.
                let to = if n < 4 { format!("there/own{n}") } else { "there/same".to_owned() };
                let mut command = crowd.command(["file", &bed.operand(&to)]);
                command.current_dir(dir);
                scope.spawn(move || run(command, DEADLINE))
            })
            .collect();
        running.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for output in outputs {
        let output = output?;
        assert_eq!(output.code, 0, "{}", output.err());
    }
    for n in 0..4 {
        assert_eq!(
            fs::read(there.join(format!("own{n}")))?,
            fs::read(bed.client().dir().join(["one", "two"][n % 2]).join("file"))?
        );
    }
    let same = fs::read(there.join("same"))?;
    assert!(same == fs::read(one.join("file"))? || same == fs::read(two.join("file"))?);
    assert_eq!(fs::read_dir(&there)?.count(), 5, "a temporary file is left");
    crowd.stop()?;
    assert_eq!(bed.counts().head_logins, 1);
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
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"\0\0\0\x05\x01null"] {
        let mut stranger = UnixStream::connect(&socket)?;
        stranger.write_all(garbage)?;
        // The holder hangs up: an end, or a reset because it has not read it all.
        let _ = stranger.read_to_end(&mut Vec::new());
    }
    // One that greets as a client does, and then speaks no SFTP.
    let mut rude = UnixStream::connect(&socket)?;
    let want = br#"{"Channel":{"client":1,"linger":null}}"#;
    rude.write_all(&[&(want.len() as u32 + 1).to_be_bytes()[..], &[1], want].concat())?;
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
fn who_asks_for_it_keeps_to_a_connection_of_its_own() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let source = bed.client().dir().join("f");
    fs::write(&source, "x")?;
    let report = crowd.runtime.path().join("report-own");
    for (option, environment) in [("--no-share", "1"), ("--connections=2", "1"), ("-v", "0")] {
        let mut command = crowd.command([option, &format!("--report={}", path(&report)), &path(&source)]);
        command.arg(bed.operand("")).env("HOPSYNC_SHARE", environment);
        let output = run(command, DEADLINE)?;
        assert_eq!(output.code, 0, "{}", output.err());
        assert_eq!(shared(&crowd.read(&report)).count(), 0, "{option}");
    }
    assert!(!crowd.runtime.path().join("hopsync").exists(), "nobody held anything");
    Ok(())
}

/// Each with a connection of its own, against the default limits: patience alone delivers all, and names every drop.
fn a_crowd_that_does_not_share_gets_through(bed: &dyn Bed) -> Tried {
    let crowd = Crowd::of(bed)?;
    let here = bed.client().dir().join("here");
    let sources = files(&here, STORM, 6)?;
    fs::create_dir_all(bed.far().join("there"))?;
    let push = |n: usize| vec!["--no-share".to_owned(), path(&sources[n]), bed.operand("there/")];
    let ran = crowd.storm(STORM, push, |_| {})?;
    all_well(&ran);
    same_files(&here, &bed.far().join("there"))?;
    let start_limit = |line: &&Value| line["event"] == "drop" && line["fault"]["cause"] == "start-limit";
    let named: usize = ran.iter().map(|ran| ran.report.iter().filter(start_limit).count()).sum();
    assert_eq!(named as u64, bed.counts().start_drops);
    Ok(())
}

#[test]
fn a_crowd_that_does_not_share_gets_through_on_the_embedded_pair() -> Tried {
    let limits = |server: &mut Config| server.max_startups = Some(MaxStartups { start: 10, rate: 30, full: 100 });
    a_crowd_that_does_not_share_gets_through(&Embedded::with(limits, limits, None)?)
}

#[test]
fn a_crowd_that_does_not_share_gets_through_on_the_real_pair() -> Tried {
    a_crowd_that_does_not_share_gets_through(&SshdPair::start()?)
}

/// How many shared connections were joined, and how many of its own were made.
fn ways(ran: &Ran) -> (usize, u64) {
    (shared(&ran.report).count(), ran.report.last().and_then(|summary| summary["connections"].as_u64()).unwrap_or(0))
}

#[test]
fn large_work_has_a_connection_of_its_own_and_a_crowd_of_it_shares() -> Tried {
    let bed = Embedded::start()?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    files(&here, 5, 1_000)?;
    fs::create_dir_all(bed.far().join("there"))?;
    // A tree to be pushed is taken for large before anything is connected.
    let pushed = crowd.storm(1, |_| vec![path(&here), bed.operand("there/")], |_| {})?;
    all_well(&pushed);
    assert_eq!(ways(&pushed[0]), (0, 1));
    same_files(&here, &bed.far().join("there/here"))?;
    // A large file to be pulled is found only by looking, over the shared connection.
    fs::File::create(bed.far().join("large"))?.set_len(300 << 20)?;
    let pull = || vec!["-n".to_owned(), bed.operand("large"), format!("{}/", path(bed.client().dir()))];
    let pulled = crowd.storm(1, |_| pull(), |_| {})?;
    all_well(&pulled);
    assert_eq!(ways(&pulled[0]), (1, 1));
    // So is a directory: one with a few files is shared, one that goes deeper is not.
    let back = |from: &str| vec!["-n".to_owned(), bed.operand(from), format!("{}/", path(bed.client().dir()))];
    assert_eq!(ways(&crowd.storm(1, |_| back("there/here"), |_| {})?[0]), (1, 0));
    assert_eq!(ways(&crowd.storm(1, |_| back("there"), |_| {})?[0]), (1, 1));
    let crowded = crowd.storm(STORM, |n| vec![path(&here), bed.operand(&format!("there/{n}/"))], |_| {})?;
    all_well(&crowded);
    for n in 0..STORM {
        same_files(&here, &bed.far().join(format!("there/{n}/here")))?;
    }
    assert!(crowded.iter().all(|ran| matches!(ways(ran), (1, 0) | (0, 1))));
    assert_eq!(bed.counts().start_drops, 0, "no more at once than the server takes");
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
    command.args(["probe", "-e", &crowd.shell, TARGET]).env("XDG_RUNTIME_DIR", crowd.runtime.path());
    let output = run(command, DEADLINE)?;
    assert_eq!(output.code, 0, "{}", output.err());
    for told in ["10 on one connection", "round trip", "OpenSSH_9.2 lab", "posix-rename", "bytes a request", "hasher"] {
        assert!(output.out().contains(told), "{told}: {}", output.out());
    }
    crowd.stop()?;
    assert_eq!(bed.counts().head_logins, 1);
    Ok(())
}
