//! `hopsync-lab serve` and `hopsync-lab probe` as a person runs them.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hopsync::lab::bed::{Bed, Embedded, Knobs, SshdPair, TARGET};
use hopsync::lab::run::run;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

type Tried = Result<(), Box<dyn Error>>;

const DEADLINE: Duration = Duration::from_secs(60);

/// A lab that ends with the test, whatever becomes of it.
struct Lab(Child);

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lab<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopsync-lab"));
    command.args(args).stdin(Stdio::null()).env_remove("SSH_AUTH_SOCK");
    command
}

#[test]
fn serve_does_as_it_is_told_tells_it_and_counts_what_the_report_says() -> Tried {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("file"), vec![7; 100_000])?;
    let rule = "target: corrupt file 1";
    let args =
        ["serve", "--sessions=3", "--rtt=2", "--target-rtt=2", "--fault", rule, "--fault", "head: drop connection 1"];
    let mut command = lab(args);
    let json = dir.path().join("count.json");
    command.arg("--json").arg(&json).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut lab = Lab(command.spawn()?);
    let mut lines = BufReader::new(lab.0.stdout.take().ok_or("no output")?).lines();
    let first = lines.next().ok_or("it said nothing")??;
    let shell = first.split('\'').nth(1).ok_or(format!("no -e in {first}"))?.to_owned();
    let to = first.split(' ').next_back().ok_or("no operand")?.to_owned();

    let mut hopsync = Command::new(env!("CARGO_BIN_EXE_hopsync"));
    hopsync.args(["-a", "--no-share", "--report=r.jsonl", "-e", &shell, "file", &to]).current_dir(dir.path());
    let output = run(hopsync, DEADLINE)?;
    assert_eq!(output.code, 0, "{}", output.err());
    // Told before anyone asks.
    for told in ["head: drop connection 1: once", "target: corrupt file 1: once"] {
        assert!(lines.by_ref().any(|line| line.is_ok_and(|line| line == told)), "{told} was not told");
    }
    kill_process(Pid::from_child(&lab.0), Signal::INT)?;
    let rest = lines.collect::<Result<Vec<_>, _>>()?.join("\n");
    assert_eq!(lab.0.wait()?.code(), Some(0), "{rest}");
    assert!(rest.contains("target: corrupt file 1") && rest.contains("injected"), "{rest}");

    let count: Value = serde_json::from_slice(&fs::read(&json)?)?;
    let of = |what: &str| {
        let all = count["injected"].as_array().into_iter().flatten();
        all.clone()
            .find(|row| row["what"].as_str().is_some_and(|text| text.starts_with(what)))
            .map(|row| row["times"].clone())
    };
    assert_eq!((of(rule), of("head: drop connection 1")), (Some(1.into()), Some(1.into())), "{count}");
    let report = fs::read_to_string(dir.path().join("r.jsonl"))?;
    let summary: Value = serde_json::from_str(report.lines().last().ok_or("no report")?)?;
    assert_eq!((&summary["dropped-attempts"], &summary["dropped-connections"]), (&1.into(), &1.into()), "{summary}");
    let refused = summary["limits"][0]["refused"].as_u64().unwrap_or(0);
    assert_eq!(of("target: MaxSessions 3"), Some(refused.into()), "{count} {summary}");
    Ok(())
}

#[test]
fn serve_refuses_what_it_does_not_understand_by_name_and_its_help_has_the_grammar() -> Tried {
    let output = run(lab(["serve", "--fault", "target: explode"]), DEADLINE)?;
    assert!(output.code == 2 && output.err().contains("there is no fault \"explode\""), "{}", output.err());
    let output = run(lab(["serve", "--startups", "10:0:1"]), DEADLINE)?;
    assert!(output.code == 2 && output.err().contains("START:RATE:FULL"), "{}", output.err());
    let output = run(lab(["serve", "--json", "/no/such/dir/x"]), DEADLINE)?;
    assert!(output.code == 1 && output.err().contains("/no/such/dir/x"), "{}", output.err());
    let help = run(lab(["serve", "--help"]), DEADLINE)?.out();
    assert!(help.contains("target: drop session [WHICH]") && help.contains("WHICH    14 or 14th"), "{help}");
    Ok(())
}

fn probed(bed: &dyn Bed, args: &[&str]) -> Result<Value, Box<dyn Error>> {
    let shell = bed.shell();
    let output = run(lab(["probe", "--json", "-e", &shell, TARGET].iter().chain(args).copied()), DEADLINE)?;
    if output.code != 0 {
        return Err(output.err().into());
    }
    Ok(serde_json::from_str(&output.out())?)
}

#[test]
fn a_probe_finds_the_limits_that_were_set_at_both_pairs() -> Tried {
    for sessions in [1, 3, 20] {
        let embedded = Embedded::target(|config| config.max_sessions = sessions)?;
        let real = SshdPair::target(&Knobs { max_sessions: Some(sessions as u32), ..Knobs::default() })?;
        // The real head lets its users in; the embedded one only forwards.
        for (bed, at_head) in [(&embedded as &dyn Bed, false), (&real, true)] {
            let found = probed(bed, &[])?;
            assert_eq!(found["sessions"]["open"], sessions, "{found}");
            assert_eq!(found["sessions"]["refused"], true, "{found}");
            assert_eq!(bed.counts().head_connections, 1);
            let hops: Vec<_> = found["hops"].as_array().into_iter().flatten().map(|hop| hop["hop"].clone()).collect();
            assert_eq!(hops, ["head", TARGET]);
            let fast = |hop: usize| {
                let speed = &found["hops"][hop]["speed"];
                speed["up"].as_f64() > Some(1e6) && speed["down"].as_f64() > Some(1e6)
            };
            assert_eq!([fast(0), fast(1)], [at_head, true], "{found}");
            assert_eq!(found["hops"][0]["speed"].is_object(), at_head, "{found}");
            // Where a loaded machine's banner comes late, the path is taken to be long: then it is 8 MiB that are offered.
            let offered = found["windows"]["offered"].as_u64();
            assert!(matches!(offered, Some(0x20_0000 | 0x80_0000)), "{found}");
            assert_eq!(found["windows"]["openssh"], 2 << 20, "{found}");
            let has = |list: &str, name: &str| found[list].as_array().is_some_and(|all| all.iter().any(|n| n == name));
            // With one session there is none left for a command.
            assert!(sessions == 1 || has("hashers", "sha256sum"), "{found}");
            assert!(found["sftp"]["extensions"].to_string().contains("posix-rename"), "{found}");
        }
    }
    Ok(())
}

#[test]
fn a_probe_stops_opening_sessions_where_it_is_told_to() -> Tried {
    let bed = Embedded::target(|config| config.max_sessions = 1000)?;
    let found = probed(&bed, &["--sessions=30"])?;
    assert_eq!((&found["sessions"]["open"], &found["sessions"]["refused"]), (&30.into(), &false.into()), "{found}");
    assert_eq!(found["starts"], Value::Null, "nothing that was not asked for");
    Ok(())
}

#[test]
fn start_limits_are_found_only_when_asked_for_and_left_as_they_were() -> Tried {
    let embedded = Embedded::with(
        |head| head.max_startups = "4:100:4".parse().ok(),
        |target| target.max_startups = "6:100:6".parse().ok(),
        None,
    )?;
    let knobs = |limit| Knobs { max_startups: Some(limit), ..Knobs::default() };
    let real = SshdPair::with(&knobs("4:100:4"), &knobs("6:100:6"))?;
    for bed in [&embedded as &dyn Bed, &real] {
        let found = probed(bed, &["--intrusive"])?;
        for (starts, limit) in [(&found["starts"][0], 4), (&found["starts"][1], 6)] {
            assert_eq!((&starts["dropped-at"], &starts["pending"]), (&limit.into(), &limit.into()), "{found}");
            assert_eq!(starts["said"], "Exceeded MaxStartups", "{found}");
        }
        let advice = found["advice"].to_string();
        assert!(advice.contains("when 6 or more log in at once"), "{advice}");
        // All that hung is gone: there is room again.
        assert_eq!(probed(bed, &[])?["hops"][1]["hop"], TARGET);
    }
    Ok(())
}

#[test]
fn a_probe_tells_in_words_what_it_found() -> Tried {
    let bed = Embedded::start()?;
    let shell = bed.shell();
    let mut child = lab(["probe", "-e", &shell, TARGET]).stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    child.stdout.take().ok_or("no output")?.read_to_string(&mut said)?;
    assert!(child.wait()?.success());
    for told in [
        "10 on one connection: the next one was refused",
        "round trip",
        "OpenSSH_9.2 lab",
        "up MB/s",
        "what we offer; 2097152 up: the target's, a constant of OpenSSH",
        "--intrusive",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    Ok(())
}
