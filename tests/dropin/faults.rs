//! Damage, loss and refusal by rule: what is delivered all the same, what is not, and what the ledger says of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hopsync::lab::bed::{Bed, Embedded, HEAD, SshdPair, TARGET};
use hopsync::lab::faults::{Direction, Faults, Nth, Trouble};
use hopsync::lab::relay::Line;
use hopsync::lab::server::Config;
use hopsync::lab::trees::{Aspects, many_files, random_file};

use crate::harness::*;

// SSH_FXP_* (draft-ietf-secsh-filexfer-02 §3).
const OPEN: u8 = 3;
const READ: u8 = 5;
const WRITE: u8 = 6;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const MKDIR: u8 = 14;
const SYMLINK: u8 = 20;
const EXTENDED: u8 = 200;
const RENAME: u8 = 18;
// SSH_FX_* (§7).
const PERMISSION_DENIED: u32 = 3;
const FAILURE: u32 = 4;

fn target(rules: impl IntoIterator<Item = (Nth, Trouble)>) -> Result<Embedded, Box<dyn std::error::Error>> {
    Ok(Embedded::target(|config| config.faults = Faults::new(rules))?)
}

/// 120 small files in two directories, two of some megabytes, an empty one, a link, an empty directory.
fn tree(bed: &dyn Bed) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let near = bed.client().dir().join("near");
    many_files(&near, 120, 30_000)?;
    random_file(&near.join("000/large"), 3 << 20, b"large")?;
    random_file(&near.join("striped"), 10 << 20, b"striped")?;
    fs::write(near.join("empty file"), "")?;
    fs::create_dir(near.join("empty"))?;
    std::os::unix::fs::symlink("nowhere", near.join("link"))?;
    Ok(near)
}
const FILES: u64 = 123;

/// Either way over the bed, with what is to be there in the end beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Push,
    Pull,
}
const WAYS: [Way; 2] = [Way::Push, Way::Pull];

/// A run over the bed either way; the source's and the destination's directory.
fn carry(bed: &dyn Bed, way: Way, options: &[&str]) -> Result<(Ran, PathBuf, PathBuf), Box<dyn std::error::Error>> {
    let near = tree(bed)?;
    let (from, to, source, dest) = match way {
        Way::Push => (slash(&near), bed.operand("there"), near, bed.far().join("there")),
        Way::Pull => {
            let source = bed.far().join("source");
            fs::rename(&near, &source)?;
            (bed.operand("source/"), "back/".to_owned(), source, bed.client().dir().join("back"))
        }
    };
    let args = ["-a"].iter().chain(options).map(|arg| (*arg).to_owned()).chain([from, to]);
    Ok((go(bed, args)?, source, dest))
}

/// As [`carry`]; everything must arrive.
fn carried(bed: &dyn Bed, way: Way, options: &[&str]) -> Result<Ran, Box<dyn std::error::Error>> {
    let (ran, source, dest) = carry(bed, way, options)?;
    let ran = ran.well()?;
    same(&source, &dest, ALL)?;
    assert_eq!(ran.report.count("planned"), FILES);
    assert_eq!(
        ran.report.count("verified"),
        if options.contains(&"--verify=off") { 0 } else { FILES },
        "{}",
        ran.said()
    );
    Ok(ran)
}

#[test]
fn a_file_damaged_on_the_disk_before_its_hash_is_found_sent_again_and_counted() -> Tried {
    for options in [&[][..], &["--verify=readback"]] {
        // The nth file that is closed, small or large.
        for nth in [1, 60, 120] {
            let bed = target([(Nth::Only(nth), Trouble::CorruptFile)])?;
            let ran = carried(&bed, Way::Push, options)?;
            assert_eq!(bed.target_server().faults().fired(0), 1);
            let row = ran.report.trouble(TARGET, "hash", "mismatch").ok_or_else(|| ran.said())?;
            assert_eq!((row["dropped-attempts"].as_u64(), row["files-failed"].as_u64()), (Some(1), Some(0)));
            assert_eq!((ran.report.drops(), ran.report.count("retries")), (1, 1), "{}", ran.said());
        }
    }
    Ok(())
}

#[test]
fn a_disk_that_damages_every_file_is_told_with_both_hashes_and_leaves_nothing() -> Tried {
    let bed = target([(Nth::Always, Trouble::CorruptFile)])?;
    for name in ["one", "two"] {
        random_file(&bed.client().dir().join(name), 50_000, name.as_bytes())?;
    }
    fs::write(bed.far().join("one"), "the old one")?;
    let ran = go(&bed, ["-a", "one", "two", &bed.operand("")])?;
    let ran = ran.exits(23)?;
    let row = ran.report.trouble(TARGET, "hash", "mismatch").ok_or_else(|| ran.said())?;
    assert_eq!(row["files-failed"], 2, "{}", ran.said());
    let told = |name| ran.output.err().matches(name).count() >= 4;
    assert!(["sha256:", "gmac-85k-", "blake3:"].into_iter().any(told));
    assert_eq!(fs::read_to_string(bed.far().join("one"))?, "the old one");
    assert_eq!(fs::read_dir(bed.far())?.count(), 1);
    Ok(())
}

#[test]
fn a_hasher_that_is_wrong_garbled_or_missing_is_made_good_by_reading_back() -> Tried {
    for way in WAYS {
        let none = target([(Nth::Only(1), Trouble::NoPath)])?;
        let ran = carried(&none, way, &[])?;
        assert!(ran.report.summary()["verified-by"].to_string().contains("read-back"), "{}", ran.said());
        assert_eq!(ran.report.drops(), 0, "{}", ran.said());
        let garbage = target([(Nth::Only(1), Trouble::GarbageOutput { containing: "sha256sum" })])?;
        let ran = carried(&garbage, way, &[])?;
        assert!(ran.report.summary()["verified-by"].to_string().contains("read-back"), "{}", ran.said());
        // One hash is wrong: that file is tried again, and read back.
        let wrong = target([(Nth::Only(1), Trouble::WrongHash { containing: "sha256sum" })])?;
        let ran = carried(&wrong, way, &[])?;
        let row = ran.report.trouble(TARGET, "hash", "mismatch").ok_or_else(|| ran.said())?;
        assert_eq!(row["dropped-attempts"], 1, "{}", ran.said());
        assert!(ran.report.summary()["verified-by"].to_string().contains("read-back"), "{}", ran.said());
    }
    Ok(())
}

/// It is no longer listened to, and goes on with what it was asked for: to give files that it has hashed their names.
#[test]
fn a_hasher_that_is_given_up_while_it_goes_on_costs_no_file() -> Tried {
    for lines in [10, 40, 200] {
        let bed = target([(Nth::Only(1), Trouble::GarbleCommand { lines })])?;
        let near = bed.client().dir().join("near");
        many_files(&near, 600, 3_000)?;
        let ran = go(&bed, ["-a", &slash(&near), &bed.operand("there")])?;
        let ran = ran.well().map_err(|e| format!("after {lines}: {e}"))?;
        let there = bed.far().join("there");
        same(&near, &there, ALL)?;
        assert_eq!((temps(&there)?, ran.report.count("verified")), (Vec::<PathBuf>::new(), 600), "{}", ran.said());
        assert_eq!(bed.target_server().faults().fired(0), 1);
    }
    Ok(())
}

/// Bytes after which the connection is cut, at the head or at the target.
fn cut_at(hop: &str, direction: Direction, bytes: u64) -> Result<Embedded, Box<dyn std::error::Error>> {
    let rule = || Faults::new([(Nth::Only(1), Trouble::Cut { direction, bytes })]);
    let change = |config: &mut Config, is: bool| {
        if is {
            config.faults = rule();
        }
    };
    Ok(Embedded::with(|head| change(head, hop == HEAD), |target| change(target, hop == TARGET), None)?)
}

#[test]
fn a_connection_cut_anywhere_is_made_again_and_everything_arrives() -> Tried {
    // In the handshakes, in the listing, early and late among the files.
    for (way, direction) in [
        (Way::Push, Direction::In),
        (Way::Push, Direction::Out),
        (Way::Pull, Direction::In),
        (Way::Pull, Direction::Out),
    ] {
        let heavy = (way == Way::Push) == (direction == Direction::In);
        let sizes: &[u64] =
            if heavy { &[1000, 4000, 12_000, 100_000, 5_000_000, 15_000_000] } else { &[1000, 6000, 10_000, 15_000] };
        for hop in [HEAD, TARGET] {
            for &bytes in sizes {
                let bed = cut_at(hop, direction, bytes)?;
                let server = if hop == HEAD { bed.head_server() } else { bed.target_server() };
                let case = format!("{way:?}, {hop} cut after {bytes} bytes {direction:?}");
                let ran = carried(&bed, way, &[]).map_err(|e| format!("{case}: {e}"))?;
                assert_eq!(server.faults().fired(0), 1, "{case}");
                assert!(ran.report.count("dropped-connections") >= 1, "{case}: {}", ran.said());
                assert_eq!(temps(bed.far())?, Vec::<PathBuf>::new(), "{case}");
                assert_eq!(temps(bed.client().dir())?, Vec::<PathBuf>::new(), "{case}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_connection_cut_while_files_are_compared_costs_none_of_them() -> Tried {
    // Without a hasher at the far end what is there is read back.
    for bytes in [200_000, 600_000, 2_000_000] {
        let cut = Trouble::Cut { direction: Direction::Out, bytes };
        let bed = target([(Nth::Always, Trouble::NoPath), (Nth::Only(1), cut)])?;
        let near = tree(&bed)?;
        let copied = std::process::Command::new("cp").arg("-a").arg(&near).arg(bed.far().join("there")).status()?;
        assert!(copied.success());
        let ran = go(&bed, ["-ac", &slash(&near), &bed.operand("there")])?.well()?;
        assert_eq!((ran.report.count("unchanged"), ran.report.count("planned")), (FILES, FILES), "{}", ran.said());
        assert!(ran.report.count("dropped-connections") >= 1, "{bytes}: {}", ran.said());
    }
    Ok(())
}

#[test]
fn an_sftp_server_that_ends_before_its_first_word_is_asked_for_once_more() -> Tried {
    for requests in 0..3 {
        let bed = target([(Nth::Only(1), Trouble::CloseChannel { requests })])?;
        let near = bed.client().dir().join("near");
        many_files(&near, 5, 10)?;
        let ran = go(&bed, ["-a", &slash(&near), &bed.operand("there")])?;
        let ran = ran.well().map_err(|e| format!("after {requests}: {e}"))?;
        same(&near, &bed.far().join("there"), ALL)?;
        assert_eq!((ran.report.count("verified"), ran.report.count("dropped-channels")), (5, 1), "{}", ran.said());
    }
    Ok(())
}

#[test]
fn one_that_never_says_anything_is_no_sftp_server() -> Tried {
    let bed = target([(Nth::Always, Trouble::CloseChannel { requests: 0 })])?;
    let near = bed.client().dir().join("near");
    many_files(&near, 1, 10)?;
    let ran = go(&bed, ["-a", &slash(&near), &bed.operand("there")])?;
    assert_eq!(ran.output.code, 2, "{}", ran.said());
    assert!(ran.said().contains("without a word of SFTP"), "{}", ran.said());
    Ok(())
}

#[test]
fn a_channel_closed_while_links_replace_what_was_there_costs_none_of_them() -> Tried {
    for requests in 7..=45 {
        let bed = target([(Nth::Only(1), Trouble::CloseChannel { requests })])?;
        let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
        fs::create_dir(&near)?;
        fs::create_dir(&there)?;
        fs::write(near.join("a"), "content")?;
        for name in ["b", "c", "d"] {
            fs::hard_link(near.join("a"), near.join(name))?;
            fs::write(there.join(name), "old")?;
            std::os::unix::fs::symlink("new", near.join(format!("link {name}")))?;
            std::os::unix::fs::symlink("old", there.join(format!("link {name}")))?;
        }
        let case = format!("closed after {requests} requests");
        let ran = go(&bed, ["-aH", "--channels=1", &slash(&near), &bed.operand("there")])?;
        let ran = ran.well().map_err(|e| format!("{case}: {e}"))?;
        same(&near, &there, ALL).map_err(|e| format!("{case}: {e}"))?;
        let inode = |name: &str| fs::metadata(there.join(name)).map(|meta| std::os::unix::fs::MetadataExt::ino(&meta));
        assert!(["b", "c", "d"].iter().all(|name| inode(name).ok() == inode("a").ok()), "{case}: {}", ran.said());
        assert_eq!(temps(&there)?, Vec::<PathBuf>::new(), "{case}");
    }
    Ok(())
}

#[test]
fn a_connection_that_is_lost_again_and_again_is_given_up_only_if_nothing_arrives_meanwhile() -> Tried {
    // Five losses, and two refusals after each: ten in a row would be the end.
    let refused = (1..=5).flat_map(|loss| [3 * loss - 1, 3 * loss]);
    let refuse = |nth| (Nth::Only(nth), Trouble::RefuseTunnel { reason: 2, text: "Connection refused" });
    for way in WAYS {
        let direction = if way == Way::Push { Direction::In } else { Direction::Out };
        // More than is on the way at a time, so that each connection is good for something.
        let cut = |nth| (Nth::Only(nth), Trouble::Cut { direction, bytes: 4_000_000 });
        let bed = Embedded::with(
            |head| head.faults = Faults::new(refused.clone().map(refuse)),
            |target| target.faults = Faults::new((1..=5).map(cut)),
            None,
        )?;
        let (here, there) = (bed.client().dir().join("near"), bed.far().join("there"));
        let (from, to, source, dest) = match way {
            Way::Push => (slash(&here), bed.operand("there"), &here, &there),
            Way::Pull => (bed.operand("there/"), slash(&here), &there, &here),
        };
        many_files(source, 900, 30_000)?;
        let ran = go(&bed, ["-a", "--verify=off", "--channels=1", &from, &to])?;
        let ran = ran.well().map_err(|e| format!("{way:?}: {e}"))?;
        same(source, dest, ALL)?;
        assert_eq!(ran.report.count("dropped-connections"), 15, "{way:?}: {}", ran.said());
    }
    Ok(())
}

#[test]
fn a_channel_closed_amid_its_files_costs_only_itself() -> Tried {
    for way in WAYS {
        for (nth, requests) in [(1, 7), (1, 40), (2, 5), (3, 30)] {
            let bed = target([(Nth::Only(nth), Trouble::CloseChannel { requests })])?;
            let case = format!("{way:?}, channel {nth} closed after {requests} requests");
            let ran = carried(&bed, way, &[]).map_err(|e| format!("{case}: {e}"))?;
            if bed.target_server().faults().fired(0) > 0 && nth > 1 {
                assert_eq!(ran.report.count("connections"), 1, "{case}: {}", ran.said());
            }
            assert_eq!(temps(bed.far())?, Vec::<PathBuf>::new(), "{case}");
        }
    }
    Ok(())
}

#[test]
fn a_server_whose_handles_are_suddenly_others_costs_a_channel_and_no_file() -> Tried {
    for way in WAYS {
        for again in [0, 1, 2, 3, 20, 90] {
            for options in [&["--channels=1"][..], &[], &["--verify=off"]] {
                let bed = Embedded::target(|config| config.handles_again = again)?;
                let case = format!("{way:?} {options:?}, handles given again {again} times");
                let (ran, source, dest) = carry(&bed, way, options).map_err(|e| format!("{case}: {e}"))?;
                let ran = ran.well().map_err(|e| format!("{case}: {e}"))?;
                assert!(again > 0 || ran.report.drops() == 0, "{case}: {}", ran.said());
                // Where no channel is left the connection is given up; what its server had not done by then it may still do.
                settled(&bed)?;
                for temp in temps(bed.far())? {
                    fs::remove_file(bed.far().join(temp))?;
                }
                same(&source, &dest, Aspects { times: false, ..ALL }).map_err(|e| format!("{case}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Until the target serves nobody any more.
fn settled(bed: &Embedded) -> Tried {
    let begun = Instant::now();
    while bed.target_server().stats().sessions.load(Ordering::Relaxed) > 0 {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err("the target still serves somebody".into());
        }
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn sftp_servers_killed_one_by_one_are_done_without() -> Tried {
    let bed = SshdPair::start()?;
    let near = bed.client().dir().join("near");
    many_files(&near, 400, 200_000)?;
    let ran = over(&bed, ["-a", &slash(&near), &bed.operand("there")]);
    let far = bed.far().to_owned();
    let ran = ran.run_with(|_| {
        // Once files arrive, everything behind the target's listener goes.
        while fs::read_dir(far.join("there/000")).map_or(0, |dir| dir.count()) < 20 {
            std::thread::yield_now();
        }
        bed.target.cut_all();
    })?;
    let ran = ran.well()?;
    same(&near, &bed.far().join("there"), ALL)?;
    assert!(ran.report.count("dropped-connections") >= 1, "{}", ran.said());
    assert_eq!(temps(bed.far())?, Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn both_machines_gone_for_a_moment_are_waited_for() -> Tried {
    let (embedded, real) = (Embedded::start()?, SshdPair::start()?);
    for bed in [&embedded as &dyn Bed, &real] {
        let far = bed.far().join("source");
        many_files(&far, 400, 200_000)?;
        let back = bed.client().dir().join("back");
        let ran = over(bed, ["-a", &bed.operand("source/"), "back/"]).run_with(|_| {
            while fs::read_dir(back.join("000")).map_or(0, |dir| dir.count()) < 1 {
                std::thread::yield_now();
            }
            bed.cut_all();
        })?;
        let ran = ran.well()?;
        same(&far, &back, ALL)?;
        assert!(ran.report.count("dropped-connections") >= 1, "{}", ran.said());
    }
    Ok(())
}

#[test]
fn a_full_disk_or_a_refusal_at_one_file_harms_no_other() -> Tried {
    let cases = [
        (WRITE, FAILURE, "No space left on device", "write"),
        (OPEN, PERMISSION_DENIED, "Permission denied", "open"),
        (EXTENDED, FAILURE, "Failure", "rename"),
    ];
    for (request, status, text, stage) in cases {
        // EXTENDED's first ones are limits@ on each channel.
        let nth = if request == EXTENDED { 60 } else { 50 };
        let bed = target([(Nth::Only(nth), Trouble::Answer { request, status, text })])?;
        // Who hashes a file there gives it its name, too.
        let options: &[&str] = if request == EXTENDED { &["--verify=readback"] } else { &[] };
        let (ran, source, dest) = carry(&bed, Way::Push, options)?;
        let ran = ran.exits(23).map_err(|e| format!("{text}: {e}"))?;
        assert_eq!((ran.report.count("failed"), ran.report.count("verified")), (1, FILES - 1), "{}", ran.said());
        let rows = ran.report.summary()["troubles"].as_array().cloned().unwrap_or_default();
        assert_eq!(rows.len(), 1, "{}", ran.said());
        assert_eq!((rows[0]["hop"].as_str(), rows[0]["stage"].as_str()), (Some(TARGET), Some(stage)), "{}", ran.said());
        no_partial(&source, &dest)?;
        assert_eq!(temps(&dest)?, Vec::<PathBuf>::new());
        // The next run has only that one to do.
        let again = go(&bed, ["-a", &slash(&source), &bed.operand("there")])?.well()?;
        assert_eq!((again.report.count("verified"), again.report.count("unchanged")), (1, FILES - 1));
        same(&source, &dest, ALL)?;
    }
    Ok(())
}

#[test]
fn whoever_hashes_a_file_there_gives_it_its_name() -> Tried {
    // A file without bytes is not hashed.
    for (options, failed) in [(&[][..], 1), (&["--verify=readback"], FILES)] {
        let bed = Embedded::target(|config| {
            config.extensions.posix_rename = false;
            let refused = Trouble::Answer { request: RENAME, status: PERMISSION_DENIED, text: "" };
            config.faults = Faults::new([(Nth::Always, refused)]);
        })?;
        let (ran, source, dest) = carry(&bed, Way::Push, options)?;
        let ran = ran.exits(23)?;
        let counts = ["failed", "verified"].map(|count| ran.report.count(count));
        assert_eq!(counts, [failed, FILES - failed], "{}", ran.said());
        assert!(ran.report.trouble(TARGET, "rename", "permission").is_some(), "{}", ran.said());
        no_partial(&source, &dest)?;
        assert_eq!(temps(&dest)?, Vec::<PathBuf>::new());
    }
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_far_away_harms_no_other() -> Tried {
    for (request, stage) in [(OPEN, "open"), (READ, "read")] {
        let bed = target([(Nth::Only(50), Trouble::Answer { request, status: PERMISSION_DENIED, text: "" })])?;
        let (ran, source, dest) = carry(&bed, Way::Pull, &[])?;
        let ran = ran.exits(23)?;
        assert_eq!((ran.report.count("failed"), ran.report.count("verified")), (1, FILES - 1), "{}", ran.said());
        assert!(ran.report.trouble(TARGET, stage, "permission").is_some(), "{}", ran.said());
        no_partial(&source, &dest)?;
        assert_eq!(temps(&dest)?, Vec::<PathBuf>::new());
    }
    Ok(())
}

#[test]
fn a_far_file_that_only_some_may_read_is_named_once_it_has_come() -> Tried {
    let bed = target([(Nth::Only(2), Trouble::Answer { request: OPEN, status: PERMISSION_DENIED, text: "" })])?;
    let source = bed.far().join("source");
    fs::create_dir(&source)?;
    for name in ["a", "b", "c"] {
        random_file(&source.join(name), 3, name.as_bytes())?;
        fs::set_permissions(source.join(name), fs::Permissions::from_mode(0o600))?;
    }
    // Where nobody has to know who we are there, nobody asks.
    let ran = go(&bed, ["-rpti", "--verify=off", &bed.operand("source/"), "back/"])?.exits(23)?;
    let named = ran.output.out().lines().filter(|line| line.starts_with(">f")).count();
    assert_eq!((named, ran.report.count("failed")), (2, 1), "{}", ran.said());
    Ok(())
}

#[test]
fn a_directory_not_listed_made_or_linked_is_told_and_disables_deletion() -> Tried {
    for (request, stage) in [(MKDIR, "attributes"), (SYMLINK, "attributes")] {
        let bed = target([(
            Nth::Only(1 + u64::from(request == MKDIR)),
            Trouble::Answer { request, status: PERMISSION_DENIED, text: "" },
        )])?;
        let (ran, source, dest) = carry(&bed, Way::Push, &[])?;
        let ran = ran.exits(23)?;
        assert!(ran.report.trouble(TARGET, stage, "permission").is_some(), "{}", ran.said());
        no_partial(&source, &dest)?;
    }
    for request in [OPENDIR, READDIR] {
        let bed = target([(Nth::From(2), Trouble::Answer { request, status: PERMISSION_DENIED, text: "" })])?;
        let back = bed.client().dir().join("back");
        fs::create_dir_all(&back)?;
        fs::write(back.join("extra"), "")?;
        let (ran, source, dest) = carry(&bed, Way::Pull, &["--delete"])?;
        let ran = ran.exits(23)?;
        assert!(back.join("extra").exists(), "{}", ran.said());
        assert!(ran.report.trouble(TARGET, "list", "permission").is_some(), "{}", ran.said());
        fs::remove_file(back.join("extra"))?;
        no_partial(&source, &dest)?;
    }
    Ok(())
}

#[test]
fn a_source_that_grows_or_vanishes_meanwhile_is_retried_or_told() -> Tried {
    // Distance makes time: the source changes while its directory's files are under way.
    let line = Line { delay: std::time::Duration::from_millis(20), rate: None };
    let bed = Embedded::with(|_| {}, |_| {}, Some(line))?;
    let near = bed.client().dir().join("near");
    many_files(&near, 3000, 100)?;
    let (dir, there) = (near.clone(), bed.far().join("there"));
    let ran = over(&bed, ["-a", &slash(&near), &bed.operand("there")]).run_with(|_| {
        while !there.join("000").exists() {
            std::thread::yield_now();
        }
        // All were listed long before the last is sent: 30 directories ahead.
        let _ = fs::remove_file(dir.join("029/file-02999"));
        let _ = fs::write(dir.join("029/file-02998"), "grown".repeat(100));
    })?;
    // Listed before or after it vanished: a warning, or nothing to tell.
    assert!([0, 24].contains(&ran.code()), "{}", ran.said());
    assert_eq!(ran.report.count("failed"), u64::from(ran.code() == 24));
    let (here, there_too) = (near.join("029/file-02998"), there.join("029/file-02998"));
    same(&here, &there_too, ALL)?;
    same(&near, &there, Aspects::CONTENT)
}

#[test]
fn short_reads_and_slow_answers_change_nothing() -> Tried {
    for way in WAYS {
        let bed = target([
            (Nth::Every(3), Trouble::ShortRead { max: 1000 }),
            (Nth::Every(40), Trouble::Delay { request: None, by: std::time::Duration::from_millis(5) }),
        ])?;
        let ran = carried(&bed, way, &["--verify=readback"])?;
        assert_eq!(ran.report.drops(), 0, "{}", ran.said());
    }
    Ok(())
}
