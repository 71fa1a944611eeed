//! The sum rule, for every fault that `hopsync-lab serve` can make: what was injected is what the report says, as many times,
//! at that hop and stage, for that cause. The rules are written as on serve's command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use hopsync::lab::bed::{Bed, Embedded, HEAD, TARGET};
use hopsync::lab::faults::{Faults, Trouble};
use hopsync::lab::rules::{GRAMMAR, Hop, Rule};
use hopsync::lab::trees::{many_files, random_file, set_mtime};
use serde_json::Value;

use crate::harness::*;

/// Small files in one directory, two of some megabytes, an empty one, a link, an empty directory.
fn tree(top: &Path) -> Tried {
    many_files(top, 60, 30_000)?;
    random_file(&top.join("000/large"), 3 << 20, b"large")?;
    random_file(&top.join("striped"), 9 << 20, b"striped")?;
    fs::write(top.join("empty file"), "")?;
    fs::create_dir(top.join("empty"))?;
    std::os::unix::fs::symlink("nowhere", top.join("link"))?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Push,
    Pull,
}
use Way::{Pull, Push};

/// What the report has to say. Files that were under way, or hung on it, may be told beside it, at the same hop and for the
/// same cause.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// Connections, lost or never made.
    Connections(&'static str, &'static [&'static str], &'static str),
    Channels(&'static [&'static str], &'static str),
    /// Tries at files, each made good by the next, or its file's failure.
    Files(&'static str, &'static str),
    /// Failures beside the files.
    Others(&'static str, &'static str),
    /// Sessions refused, which are no drops.
    Refusals,
    /// It did no harm.
    Nothing,
}
use Told::{Channels, Connections, Files, Nothing, Others, Refusals};

/// Rule, exit code, and what is told.
type Case = (Way, &'static str, i32, Told);

/// The sum of these counts, over the rows of this hop, these stages and this cause.
fn sum(rows: &[Value], hop: &str, stages: &[&str], cause: &str, counts: &[&str]) -> u64 {
    let mine = rows.iter().filter(|row| {
        row["hop"] == hop && row["cause"] == cause && row["stage"].as_str().is_some_and(|stage| stages.contains(&stage))
    });
    mine.flat_map(|row| counts.iter().filter_map(|count| row[*count].as_u64())).sum()
}

fn total(rows: &[Value], counts: &[&str]) -> u64 {
    rows.iter().flat_map(|row| counts.iter().filter_map(|count| row[*count].as_u64())).sum()
}

const FILES: [&str; 2] = ["dropped-attempts", "files-failed"];
const BESIDE: [&str; 3] = ["dropped-connections", "dropped-channels", "other-failures"];

/// Whether `rows` say that it happened `fired` times, and nothing else.
fn is_told(told: Told, rows: &[Value], refused: u64, fired: u64) -> bool {
    let blamed = |hop: &str, cause: &str| rows.iter().all(|row| row["hop"] == hop && row["cause"] == cause);
    match told {
        Connections(hop, stages, cause) => {
            blamed(hop, cause)
                && sum(rows, hop, stages, cause, &["dropped-connections", "other-failures"]) == fired
                && total(rows, &BESIDE) == fired
        }
        Channels(stages, cause) => {
            blamed(TARGET, cause)
                && sum(rows, TARGET, stages, cause, &["dropped-channels"]) == fired
                && total(rows, &BESIDE) == fired
        }
        Files(stage, cause) => {
            sum(rows, TARGET, &[stage], cause, &FILES) == fired && total(rows, &FILES) + total(rows, &BESIDE) == fired
        }
        Others(stage, cause) => {
            blamed(TARGET, cause)
                && sum(rows, TARGET, &[stage], cause, &["other-failures"]) == fired
                && total(rows, &BESIDE) == fired
        }
        Refusals => rows.is_empty() && refused == fired,
        Nothing => rows.is_empty(),
    }
}

fn bed(rule: &Rule) -> std::io::Result<Embedded> {
    let faults = |hop| match rule.hop == hop {
        true => Faults::new([(rule.nth, rule.trouble.clone())]),
        false => Faults::none(),
    };
    let (at_head, at_target) = (faults(Hop::Head), faults(Hop::Target));
    // RENAME is for servers that have nothing better.
    const RENAME: u8 = 18;
    let renames = matches!(rule.trouble, Trouble::Answer { request: RENAME, .. });
    let target = |target: &mut hopsync::lab::server::Config| {
        // What is refused is refused by the rule.
        (target.faults, target.max_sessions) = (at_target, 1000);
        target.extensions.posix_rename = !renames;
    };
    Embedded::with(|head| head.faults = at_head, target, None)
}

/// Whether the rule meets requests that a hasher spares: who hashes a file there gives it its attributes and its name.
fn by_hasher(rule: &Rule) -> bool {
    const SPARED: [u8; 3] = [9, 18, 200];
    matches!(rule.trouble, Trouble::Answer { request, .. } if SPARED.contains(&request))
}

fn ends(bed: &Embedded, way: Way) -> (PathBuf, PathBuf, String, String) {
    let dir = bed.client().dir();
    match way {
        Push => (dir.join("near"), bed.far().join("there"), slash(&dir.join("near")), bed.operand("there")),
        Pull => (bed.far().join("source"), dir.join("back"), bed.operand("source/"), "back/".to_owned()),
    }
}

fn holds(case: Case, options: &[&str], ssh: &str) -> Tried {
    let (way, text, exit, told) = case;
    let rule: Rule = text.parse()?;
    let bed = bed(&rule)?;
    let (source, dest, from, to) = ends(&bed, way);
    tree(&source)?;
    let mut args: Vec<String> = ["-a", "-e"].map(str::to_owned).to_vec();
    args.push(bed.shell() + ssh);
    args.extend(options.iter().map(|option| (*option).to_owned()));
    if by_hasher(&rule) {
        args.push("--verify=readback".to_owned());
    }
    args.extend([from, to]);
    let ran = plain(&bed, args).run()?;
    let case = format!("{way:?}, {text}");

    let server = if rule.hop == Hop::Head { bed.head_server() } else { bed.target_server() };
    let fired = server.faults().fired(0);
    assert!(fired > 0, "{case}: it never fired\n{}", ran.said());
    assert_eq!(ran.code(), exit, "{case}: {}", ran.said());
    let summary = ran.report.summary();
    let rows = summary["troubles"].as_array().cloned().unwrap_or_default();
    let limits = summary["limits"].as_array().cloned().unwrap_or_default();
    let refused = total(&limits, &["refused"]);
    assert!(is_told(told, &rows, refused, fired), "{case} fired {fired} times; not {told:?}:\n{}", ran.said());
    let words = text.split_once(" saying ").map_or("", |(_, words)| words);
    let examples = || rows.iter().filter_map(|row| row["example"].as_str());
    assert!(words.is_empty() || examples().any(|example| example.contains(words)), "{case}: {}", ran.said());
    let (by_rule, stats) = (fired * u64::from(text.contains("session")), server.stats());
    assert_eq!(stats.refused_sessions.load(Relaxed), by_rule, "{case}");

    // What the closing table says is what the lines before it say.
    let of = |event: &str| ran.report.events(event).count() as u64;
    let faulty = ran.report.events("attempt").filter(|line| line["fault"].is_object()).count() as u64;
    let failed_tries = total(&rows, &["dropped-attempts"])..=total(&rows, &FILES);
    assert!(failed_tries.contains(&faulty), "{case}: {faulty} tries failed\n{}", ran.said());
    assert_eq!(of("drop"), total(&rows, &["dropped-connections", "dropped-channels"]), "{case}: {}", ran.said());
    assert_eq!(of("failure"), total(&rows, &["other-failures"]), "{case}: {}", ran.said());

    if exit == 0 {
        same(&source, &dest, ALL).map_err(|error| format!("{case}: {error}"))?;
    } else if dest.exists() {
        no_partial_but_temps(&source, &dest, &case)?;
    }
    if exit == 0 || exit == 23 {
        assert_eq!(temps(bed.far())?, Vec::<PathBuf>::new(), "{case}");
        assert_eq!(temps(bed.client().dir())?, Vec::<PathBuf>::new(), "{case}");
    }
    Ok(())
}

/// Nothing half under a final name. Where the far end could not be reached any more, a temporary file may be left.
fn no_partial_but_temps(source: &Path, dest: &Path, case: &str) -> Tried {
    for temp in temps(dest)? {
        fs::remove_file(dest.join(temp))?;
    }
    no_partial(source, dest).map_err(|error| format!("{case}: {error}").into())
}

fn all_hold(cases: &[Case], options: &[&str], ssh: &str) -> Tried {
    cases.iter().try_for_each(|case| holds(*case, options, ssh))
}

const NEVER_MADE: &[Case] = &[
    (Push, "head: drop connection 1", 0, Connections(HEAD, &["banner"], "start-limit")),
    (Pull, "target: drop connection 1", 0, Connections(TARGET, &["banner"], "start-limit")),
    (Push, "target: drop connection 1 saying go away", 0, Connections(TARGET, &["banner"], "lost")),
    (Push, "head: deny login 1", 255, Connections(HEAD, &["login"], "denied")),
    (Pull, "target: deny login", 255, Connections(TARGET, &["login"], "denied")),
    (Push, "head: refuse tunnel 1", 255, Connections(HEAD, &["tunnel"], "unreachable")),
    (Pull, "head: refuse tunnel as prohibited", 255, Connections(HEAD, &["tunnel"], "denied")),
    (Push, "head: refuse tunnel saying No route to host", 255, Connections(HEAD, &["tunnel"], "unreachable")),
];
/// Each one, until there is no time left.
const NEVER_LET_IN: &[Case] = &[(Push, "head: drop connection", 255, Connections(HEAD, &["banner"], "start-limit"))];

#[test]
fn connections_never_made_are_told_as_they_were_refused() -> Tried {
    all_hold(NEVER_MADE, &[], "")?;
    all_hold(NEVER_LET_IN, &["--contimeout=1"], "")
}

/// The stages of a connection that is cut early, and of one that is cut amid its work.
const MAKING: &[&str] = &["kex", "login", "tunnel"];
const WORKING: &[&str] = &["session"];

const HEAD_CUT: &[Case] = &[
    (Push, "head: cut connection 1 after 1000 in", 0, Connections(HEAD, MAKING, "lost")),
    (Push, "head: cut connection 1 after 6000", 0, Connections(HEAD, WORKING, "lost")),
    (Push, "head: cut connection 1 after 5M", 0, Connections(HEAD, WORKING, "lost")),
    (Push, "head: cut after 13M in", 0, Connections(HEAD, WORKING, "lost")),
    (Pull, "head: cut connection 1 after 2000 out", 0, Connections(HEAD, MAKING, "lost")),
    (Pull, "head: cut connection 1 after 100K", 0, Connections(HEAD, WORKING, "lost")),
    (Pull, "head: cut connection 1 after 5M", 0, Connections(HEAD, WORKING, "lost")),
];

#[test]
fn a_heads_connection_that_is_cut_is_the_heads() -> Tried {
    all_hold(HEAD_CUT, &[], "")
}

const TARGET_CUT: &[Case] = &[
    (Push, "target: cut connection 1 after 1000 in", 0, Connections(TARGET, MAKING, "lost")),
    (Push, "target: cut connection 1 after 6000", 0, Connections(TARGET, WORKING, "lost")),
    (Push, "target: cut connection 1 after 5M", 0, Connections(TARGET, WORKING, "lost")),
    (Pull, "target: cut connection 1 after 2000 out", 0, Connections(TARGET, MAKING, "lost")),
    (Pull, "target: cut connection 1 after 100K", 0, Connections(TARGET, WORKING, "lost")),
    (Pull, "target: cut connection 1 after 13M", 0, Connections(TARGET, WORKING, "lost")),
];

#[test]
fn a_targets_connection_that_is_cut_is_the_targets() -> Tried {
    all_hold(TARGET_CUT, &[], "")
}

const SILENT: &[Case] = &[
    (Push, "head: silent connection 1 after 100K", 0, Connections(HEAD, WORKING, "timeout")),
    (Push, "head: silent connection 1 after 2M in", 0, Connections(HEAD, WORKING, "timeout")),
    (Pull, "head: silent connection 1 after 2M out", 0, Connections(HEAD, WORKING, "timeout")),
    (Push, "target: silent connection 1 after 2M in", 0, Connections(TARGET, WORKING, "timeout")),
    (Pull, "target: silent connection 1 after 2M out", 0, Connections(TARGET, WORKING, "timeout")),
];

#[test]
fn a_hop_that_falls_silent_is_named_by_keepalives_also_where_much_waits_to_be_sent() -> Tried {
    all_hold(SILENT, &[], " -o ServerAliveInterval=1 -o ServerAliveCountMax=1")
}

const ENDED: &[&str] = &["session", "read"];
const TIME_UP: &[Case] = &[
    (Push, "head: silent connection 1 after 2M in", 30, Connections(HEAD, ENDED, "timeout")),
    (Pull, "target: silent connection 1 after 2M out", 30, Connections(TARGET, ENDED, "timeout")),
    // A request that is never answered, at the end: everything else has been.
    (Push, "target: swallow close 40", 30, Others("read", "timeout")),
    (Pull, "target: swallow read 3", 30, Others("read", "timeout")),
    (Push, "target: swallow write 2", 30, Others("read", "timeout")),
];

#[test]
fn a_hop_that_falls_silent_is_named_when_time_is_up() -> Tried {
    all_hold(TIME_UP, &["--timeout=2"], "")
}

const LOST: Told = Channels(&["init", "session"], "lost");
const CHANNELS: &[Case] = &[
    (Push, "target: drop session 1", 0, Channels(&["session"], "session-limit")),
    (Pull, "target: drop session 2", 0, Refusals),
    (Push, "target: drop session 14", 0, Refusals),
    (Pull, "target: drop session from 4", 0, Refusals),
    (Push, "target: drop session every 3", 0, Refusals),
    (Push, "target: close channel 1 after 6 requests", 0, LOST),
    (Pull, "target: close channel 1 after 9 requests", 0, LOST),
    (Pull, "target: close channel 2 after 0 requests", 0, Channels(&["init"], "lost")),
    // The first channel's greeting is six requests: INIT, a directory opened and closed twice, limits@openssh.com.
    // Asked for its limits with the greeting, a server that closes then has said nothing.
    (Pull, "target: close channel from 2 after 1 requests", 0, Channels(&["init"], "lost")),
];

#[test]
fn sessions_refused_and_channels_closed_are_each_counted_once() -> Tried {
    all_hold(CHANNELS, &[], "")
}

/// On a few channels, or the files may be so spread that none has as many requests.
const CLOSED_AGAIN: &[Case] = &[
    (Push, "target: close channel every 2 after 20 requests", 0, LOST),
    (Pull, "target: close channel every 2 after 20 requests", 0, LOST),
];

#[test]
fn channels_closed_again_and_again_are_each_counted_once() -> Tried {
    all_hold(CLOSED_AGAIN, &["--channels=4"], "")
}

/// On one channel, as below: a striped file's second OPEN may be refused, and nothing fails.
const FAILING: &[Case] = &[
    (Push, "target: answer write 9 with no-space", 23, Files("write", "no-space")),
    (Push, "target: answer write 5 with failure", 23, Files("write", "io")),
    (Push, "target: answer close 4 with failure", 23, Files("close", "io")),
    (Push, "target: answer fstat 2 with failure", 23, Files("close", "io")),
    (Push, "target: answer setstat 2 with permission-denied", 23, Files("attributes", "permission")),
    (Push, "target: answer extended 60 with failure", 23, Files("rename", "io")),
    (Pull, "target: answer open 2 with permission-denied", 23, Files("open", "permission")),
    (Pull, "target: answer read 2 with failure", 23, Files("read", "io")),
    (Pull, "target: answer fstat 2 with failure", 23, Files("read", "io")),
    (Push, "target: answer write 9 with failure saying the disk burns", 23, Files("write", "io")),
    (Push, "target: answer rename 3 with permission-denied", 23, Files("rename", "permission")),
    // Statuses that no server means like that.
    (Push, "target: answer write 2 with end-of-file", 12, Files("write", "protocol")),
    (Pull, "target: answer open 2 with end-of-file", 12, Files("open", "protocol")),
    (Pull, "target: answer open 2 with no-such-file", 23, Files("open", "not-found")),
    (Pull, "target: answer fstat 2 with no-such-file", 24, Files("read", "vanished")),
    (Push, "target: answer setstat 2 with bad-message", 23, Files("attributes", "io")),
    (Pull, "target: answer read 2 with bad-message", 23, Files("read", "io")),
    (Push, "target: answer extended 60 with unsupported", 4, Files("rename", "unsupported")),
];

#[test]
fn a_request_that_fails_is_its_files_failure() -> Tried {
    all_hold(FAILING, &["--channels=1"], "")
}

/// On one channel: what a large file's further channels are refused is not missed.
const FAILING_AGAIN: &[Case] = &[
    (Push, "target: answer open every 10 with permission-denied", 23, Files("open", "permission")),
    (Pull, "target: answer open from 40 with failure", 23, Files("open", "io")),
];

#[test]
fn requests_that_fail_again_and_again_are_as_many_failures() -> Tried {
    all_hold(FAILING_AGAIN, &["--channels=1"], "")
}

const BESIDE_FILES: &[Case] = &[
    (Push, "target: answer mkdir 2 with failure", 23, Others("attributes", "io")),
    (Push, "target: answer symlink 1 with permission-denied", 23, Others("attributes", "permission")),
    (Push, "target: answer stat 2 with failure", 23, Others("list", "io")),
    (Pull, "target: answer opendir 4 with failure", 23, Others("list", "io")),
    (Pull, "target: answer readdir 2 with permission-denied", 23, Others("list", "permission")),
    (Pull, "target: answer readlink 1 with failure", 23, Others("list", "io")),
    (Pull, "target: answer readlink 1 with end-of-file", 12, Others("list", "protocol")),
    (Pull, "target: answer opendir 4 with no-such-file", 23, Others("list", "not-found")),
    (Push, "target: answer symlink 1 with unsupported saying not here", 4, Others("attributes", "unsupported")),
];

#[test]
fn a_request_beside_the_files_that_fails_is_one_failure_more() -> Tried {
    all_hold(BESIDE_FILES, &[], "")
}

const DAMAGE: &[Case] = &[
    // Two of all: with a third one, the same file might be hit at each of its three tries.
    (Push, "target: corrupt file every 24", 0, Files("hash", "mismatch")),
    (Pull, "target: corrupt read 2", 0, Files("hash", "mismatch")),
    (Push, "target: answer hash wrongly 1", 0, Files("hash", "mismatch")),
    (Pull, "target: answer hash wrongly", 0, Files("hash", "mismatch")),
    (Push, "target: answer hash with garbage 1", 0, Channels(&["hash"], "protocol")),
    (Pull, "target: answer hash with garbage", 0, Channels(&["hash"], "protocol")),
    (Push, "target: answer hash wrongly 1 containing b3sum", 0, Files("hash", "mismatch")),
    (Pull, "target: answer hash with garbage 1 containing sha256", 0, Channels(&["hash"], "protocol")),
    (Push, "target: kill command 1 after 8 lines", 0, Channels(&["hash"], "lost")),
    (Push, "target: garble command 1 after 8 lines", 0, Channels(&["hash"], "lost")),
    (Pull, "target: garble command 1 after 8 lines", 0, Channels(&["hash"], "lost")),
    (Push, "target: hide hashers", 0, Nothing),
    (Pull, "target: hide hashers", 0, Nothing),
    (Pull, "target: shorten read every 3 to 1000", 0, Nothing),
    (Push, "target: delay request every 9 by 5ms", 0, Nothing),
    (Pull, "target: delay read 7 by 50ms", 0, Nothing),
    // limits@openssh.com: the defaults are used. A file that was read needs no CLOSE.
    (Push, "target: answer extended 2 with failure", 0, Nothing),
    (Pull, "target: answer close 4 with failure", 0, Nothing),
];

#[test]
fn damage_is_told_for_each_try_and_what_does_no_harm_is_not() -> Tried {
    all_hold(DAMAGE, &[], "")
}

const DELETIONS: &[Case] = &[
    (Push, "target: answer remove 1 with permission-denied", 23, Others("attributes", "permission")),
    (Push, "target: answer rmdir 1 with failure", 23, Others("attributes", "io")),
];

/// As [`holds`], where the destination has a file to be replaced, one that is too many, and such a directory.
fn holds_over_old(cases: &[Case], option: &str) -> Tried {
    for (way, text, exit, told) in cases.iter().copied() {
        let rule: Rule = text.parse()?;
        let bed = bed(&rule)?;
        let (source, dest, from, to) = ends(&bed, way);
        tree(&source)?;
        fs::create_dir_all(dest.join("extra"))?;
        fs::write(dest.join("old"), "")?;
        fs::write(dest.join("empty file"), "not yet")?;
        if option == "--no-whole-file" {
            let mut old = fs::read(source.join("striped"))?;
            old[4 << 20] ^= 1;
            fs::write(dest.join("striped"), old)?;
            set_mtime(&dest.join("striped"), 1_000_000)?;
        }
        let ran = go(&bed, ["-a", option, &from, &to])?.exits(exit)?;
        let rows = ran.report.summary()["troubles"].as_array().cloned().unwrap_or_default();
        let fired = bed.target_server().faults().fired(0);
        assert!(fired == 1 && is_told(told, &rows, 0, fired), "{text}: {}", ran.said());
    }
    Ok(())
}

#[test]
fn a_deletion_that_fails_is_one_failure_more() -> Tried {
    holds_over_old(DELETIONS, "--delete")
}

/// Parts that the old file has, copied there.
const COPIES: &[Case] = &[(Push, "target: corrupt copy 2", 0, Files("hash", "mismatch"))];

#[test]
fn damage_in_what_is_copied_there_is_told_as_any() -> Tried {
    holds_over_old(COPIES, "--no-whole-file")
}

/// The first look is at the destination, the second at a file that is to be kept.
const BACKUPS: &[Case] = &[
    (Push, "target: answer lstat 1 with failure", 23, Others("list", "io")),
    (Push, "target: answer lstat 2 with failure", 23, Files("list", "io")),
];

#[test]
fn a_look_that_fails_is_told_where_it_was_taken() -> Tried {
    holds_over_old(BACKUPS, "-b")
}

/// What is asked for where rules are whole paths.
const LOOKED_UP: &[Case] = &[
    (Push, "target: answer realpath 1 with failure", 23, Others("list", "io")),
    (Pull, "target: answer realpath 1 with permission-denied", 23, Others("list", "permission")),
];

#[test]
fn a_path_that_is_not_resolved_is_one_failure_more() -> Tried {
    // Where there is a hasher it is also asked where the server starts.
    all_hold(LOOKED_UP, &["--delete", "--filter=-/ /no/such", "--verify=readback"], "")
}

/// The greeting, and the limits that are asked for with it.
const UNGREETED: &[Case] = &[
    (Push, "target: swallow request 1", 2, Others("init", "protocol")),
    (Pull, "target: swallow request 6", 0, Channels(&["init"], "timeout")),
];

#[test]
fn a_greeting_that_is_never_answered_is_told_once() -> Tried {
    all_hold(UNGREETED, &["--channels=1", "--timeout=2"], "")
}

const ALL_CASES: [&[Case]; 17] = [
    NEVER_MADE,
    NEVER_LET_IN,
    HEAD_CUT,
    TARGET_CUT,
    SILENT,
    TIME_UP,
    CHANNELS,
    CLOSED_AGAIN,
    FAILING,
    FAILING_AGAIN,
    BESIDE_FILES,
    DAMAGE,
    DELETIONS,
    COPIES,
    BACKUPS,
    LOOKED_UP,
    UNGREETED,
];

/// Requests that no run sends, and why.
const NEVER_SENT: [(&str, &str); 1] = [("fsetstat", "attributes are set by name, together with the rename")];

/// The words that serve's help lists under this name.
fn listed(name: &str) -> Vec<&'static str> {
    let (_, list) = GRAMMAR.split_once(&format!("\n{name} ")).unwrap_or_else(|| panic!("no {name} in the help"));
    let mut lines = list.lines();
    let first = lines.next().into_iter();
    let list = first.chain(lines.take_while(|line| line.starts_with(' ')));
    list.map(|line| line.split(';').next().unwrap_or(line)).flat_map(str::split_whitespace).collect()
}

#[test]
fn all_that_serve_can_be_told_is_in_a_case() {
    let cases: Vec<&str> = ALL_CASES.iter().flat_map(|cases| cases.iter()).map(|case| case.1).collect();
    let has = |case: &str, words: &str| format!(" {case} ").contains(&format!(" {words} "));
    let mut faults = 0;
    for line in GRAMMAR.lines().skip(1).take_while(|line| !line.is_empty()) {
        let (hops, form) = line.trim().split_once(": ").unwrap_or_else(|| panic!("no hop: {line}"));
        let form = form.split("  ").next().unwrap_or(form);
        let verb = form.split(' ').take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
        let verb = verb.collect::<Vec<_>>().join(" ");
        let of = |hop: &str| cases.iter().filter(|case| has(case, &format!("{hop}: {verb}"))).collect::<Vec<_>>();
        let mine: Vec<&&str> = hops
            .split('|')
            .flat_map(|hop| {
                let mine = of(hop);
                assert!(!mine.is_empty(), "no case of \"{hop}: {verb}\"");
                mine
            })
            .collect();
        let words = form.split([' ', '[', ']', '|']).filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
        for word in words {
            assert!(mine.iter().any(|case| has(case, word)), "\"{verb}\": no case has \"{word}\"");
        }
        faults += 1;
    }
    assert!(faults >= 15, "the help's faults were not found: {faults}");
    let requests = listed("REQUEST");
    assert!(requests.contains(&"open") && requests.contains(&"extended"), "{requests:?}");
    for request in requests {
        let verbs = ["answer", "swallow", "delay", "shorten"];
        let tried = cases.iter().any(|case| verbs.iter().any(|verb| has(case, &format!("{verb} {request}"))));
        let excused = NEVER_SENT.iter().any(|(never, _)| *never == request);
        assert!(tried != excused, "{request}: in a case: {tried}, never sent: {excused}");
    }
    for status in listed("STATUS") {
        assert!(cases.iter().any(|case| has(case, &format!("with {status}"))), "no case has {status}");
    }
}
