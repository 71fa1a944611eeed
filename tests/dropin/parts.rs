//! Files whose parts the destination has already: only what differs is sent, whatever goes wrong with the rest.

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;

use hopsync::lab::bed::{Bed, Embedded, SshdPair, TARGET};
use hopsync::lab::faults::{Direction, Faults, Nth, Trouble};
use hopsync::lab::server::Extensions;
use hopsync::lab::trees::{many_files, random_file, set_mtime};
use hopsync::verify::parts::PART;

use crate::harness::*;

/// Ten whole parts and a short one.
const SIZE: u64 = 10 * PART + 40_000;

// SSH_FXP_* and SSH_FX_* (draft-ietf-secsh-filexfer-02 §3, §7).
const OPEN: u8 = 3;
const WRITE: u8 = 6;
const EXTENDED: u8 = 200;
const EOF: u32 = 1;
const NO_SUCH_FILE: u32 = 2;
const FAILURE: u32 = 4;

/// `near/file` here, and `there/file` as `change` makes it of the same bytes.
fn scene(bed: &dyn Bed, change: impl FnOnce(&mut Vec<u8>)) -> Tried {
    let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
    fs::create_dir_all(&near)?;
    fs::create_dir_all(&there)?;
    if near.join("file").exists() {
        fs::remove_file(near.join("file"))?;
    }
    random_file(&near.join("file"), SIZE, b"file")?;
    let mut old = fs::read(near.join("file"))?;
    change(&mut old);
    fs::write(there.join("file"), old)?;
    set_mtime(&there.join("file"), 1_000_000)?;
    Ok(())
}

/// A byte of the sixth part.
const ONE_BYTE: fn(&mut Vec<u8>) = |old| old[5 * PART as usize + 7] ^= 1;

/// Pushes with `options`; everything must arrive, and nothing be left.
fn push(bed: &dyn Bed, options: &[&str]) -> Result<Ran, Box<dyn Error>> {
    let args: Vec<String> = ["-a"].iter().chain(options).map(|arg| (*arg).to_owned()).collect();
    let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
    let ends = [slash(&near), bed.operand("there")];
    let ran = go(bed, args.into_iter().chain(ends))?.well()?;
    same(&near, &there, ALL).map_err(|error| format!("{options:?}: {error}\n{}", ran.said()))?;
    assert_eq!(temps(bed.far())?.len(), 0, "{}", ran.said());
    Ok(ran)
}

/// What was sent, and what was found there.
fn bytes(ran: &Ran) -> (u64, u64) {
    (ran.report.count("moved-bytes"), ran.report.count("matched-bytes"))
}

/// As [`push`], without a fault that is told.
fn pushed(bed: &dyn Bed, options: &[&str]) -> Result<(u64, u64), Box<dyn Error>> {
    let ran = push(bed, options)?;
    assert_eq!((ran.report.drops(), ran.report.count("attempts")), (0, ran.report.count("planned")), "{}", ran.said());
    Ok(bytes(&ran))
}

fn target(rules: impl IntoIterator<Item = (Nth, Trouble)>) -> Result<Embedded, Box<dyn Error>> {
    Ok(Embedded::target(|config| config.faults = Faults::new(rules))?)
}

const PARTS: &str = "--no-whole-file";

fn only_parts_that_differ_are_sent(bed: &dyn Bed) -> Tried {
    // What differs is one part, the old file's end, or the new one's.
    scene(bed, ONE_BYTE)?;
    let ran = push(bed, &[PARTS, "--stats"])?;
    assert_eq!(bytes(&ran), (PART, SIZE - PART), "{}", ran.said());
    assert_eq!(ran.report.count("verified"), 1);
    let attempt = ran.report.events("attempt").next().ok_or("no attempt")?;
    assert_eq!((attempt["bytes"].as_u64(), attempt["matched"].as_u64()), (Some(PART), Some(SIZE - PART)));
    for line in ["Literal data: 1,044,480 bytes", "Matched data: 9,440,320 bytes"] {
        assert!(ran.output.out().contains(line), "{}", ran.said());
    }
    scene(bed, |old| old.truncate(7 * PART as usize + 1))?;
    assert_eq!(pushed(bed, &[PARTS])?, (SIZE - 7 * PART, 7 * PART));
    scene(bed, |old| old.extend_from_slice(&[1; 3 << 20]))?;
    assert_eq!(pushed(bed, &[PARTS])?, (40_000, 10 * PART));
    scene(bed, |old| old.extend_from_slice(&[1; 3 << 20]))?;
    fs::OpenOptions::new().write(true).open(bed.client().dir().join("near/file"))?.set_len(10 * PART)?;
    assert_eq!(pushed(bed, &[PARTS])?, (0, 10 * PART));
    // Nothing is the same.
    scene(bed, |old| old.iter_mut().for_each(|byte| *byte ^= 1))?;
    assert_eq!(pushed(bed, &[PARTS])?, (SIZE, 0));
    // Asked for or not.
    scene(bed, ONE_BYTE)?;
    assert_eq!(pushed(bed, &["-W"])?, (SIZE, 0));
    Ok(())
}

#[test]
fn only_parts_that_differ_are_sent_to_an_embedded_server() -> Tried {
    only_parts_that_differ_are_sent(&Embedded::start()?)
}

#[test]
fn only_parts_that_differ_are_sent_to_a_real_sshd() -> Tried {
    only_parts_that_differ_are_sent(&SshdPair::start()?)
}

#[test]
fn parts_go_with_what_else_is_asked_for() -> Tried {
    let bed = Embedded::start()?;
    fs::create_dir(bed.far().join("beside"))?;
    for options in [
        &["--backup", "--backup-dir=../kept"][..],
        &["--temp-dir=../beside"],
        &["--delay-updates"],
        &["--partial"],
        &["--partial-dir=.unfinished"],
        &["--fsync"],
        &["--progress"],
        &["-I"],
        &["--channels=1"],
    ] {
        scene(&bed, ONE_BYTE)?;
        let all = [&[PARTS][..], options].concat();
        assert_eq!(pushed(&bed, &all)?, (PART, SIZE - PART), "{options:?}");
    }
    // The same size and time.
    scene(&bed, ONE_BYTE)?;
    set_mtime(&bed.client().dir().join("near/file"), 1_000_000)?;
    assert_eq!(pushed(&bed, &[PARTS, "-c"])?, (PART, SIZE - PART));
    // What a slow line makes worth asking for is asked for; what cannot be proven, or has holes, is sent.
    for (options, expected) in [
        (&["--bwlimit=20m"][..], (PART, SIZE - PART)),
        (&["--bwlimit=20m", "-W"], (SIZE, 0)),
        (&[], (SIZE, 0)),
        (&[PARTS, "--verify=off"], (SIZE, 0)),
        (&[PARTS, "--verify=readback"], (SIZE, 0)),
        (&[PARTS, "--sparse"], (SIZE, 0)),
    ] {
        scene(&bed, ONE_BYTE)?;
        assert_eq!(pushed(&bed, options)?, expected, "{options:?}");
    }
    Ok(())
}

#[test]
fn many_files_with_parts_at_once_share_the_memory_there_is() -> Tried {
    let bed = Embedded::start()?;
    let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
    many_files(&near, 100, 3 * PART / 2)?;
    go(&bed, ["-a", &slash(&near), &bed.operand("there")])?.well()?;
    for (name, meta) in hopsync::lab::trees::list(&there)? {
        if meta.is_file() {
            let mut content = fs::read(there.join(&name))?;
            content[0] ^= 1;
            fs::write(there.join(&name), content)?;
        }
    }
    assert_eq!(pushed(&bed, &[PARTS, "-c"])?, (100 * PART, 100 * (PART / 2)));
    Ok(())
}

#[test]
fn in_place_what_is_the_same_is_left_alone() -> Tried {
    for copy_data in [true, false] {
        let bed = Embedded::target(|config| config.extensions = Extensions { copy_data, ..Extensions::default() })?;
        let there = bed.far().join("there/file");
        for (change, expected) in [
            (ONE_BYTE, (PART, SIZE - PART)),
            (|old| old.truncate(7 * PART as usize + 1), (SIZE - 7 * PART, 7 * PART)),
            (|old| old.extend_from_slice(&[1; 3 << 20]), (0, SIZE)),
        ] {
            scene(&bed, change)?;
            let inode = fs::metadata(&there)?.ino();
            assert_eq!(pushed(&bed, &[PARTS, "--inplace"])?, expected);
            assert_eq!(fs::metadata(&there)?.ino(), inode);
        }
    }
    // What is damaged meanwhile is found, and then all is written.
    let bed = target([(Nth::Only(1), Trouble::CorruptFile)])?;
    scene(&bed, |old| old[0] ^= 1)?;
    let ran = push(&bed, &[PARTS, "--inplace"])?;
    assert_eq!(bytes(&ran), (PART + SIZE, SIZE - PART), "{}", ran.said());
    assert_eq!((ran.report.drops(), ran.report.count("retries")), (1, 1), "{}", ran.said());
    Ok(())
}

#[test]
fn a_copy_that_is_refused_midway_is_made_good_by_sending_the_file() -> Tried {
    for status in [FAILURE, EOF] {
        // On one channel: its limits, the part before what differs, the part behind it.
        for nth in [2, 3] {
            let refused = Trouble::Answer { request: EXTENDED, status, text: "no" };
            let bed = target([(Nth::Only(nth), refused)])?;
            scene(&bed, ONE_BYTE)?;
            assert_eq!(pushed(&bed, &[PARTS, "--channels=1"])?, (SIZE, 0));
            assert_eq!(bed.target_server().faults().fired(0), 1);
        }
    }
    Ok(())
}

#[test]
fn an_old_file_that_is_gone_when_it_is_opened_is_done_without() -> Tried {
    let gone = Trouble::Answer { request: OPEN, status: NO_SUCH_FILE, text: "No such file" };
    let bed = target([(Nth::Only(2), gone)])?;
    scene(&bed, ONE_BYTE)?;
    assert_eq!(pushed(&bed, &[PARTS, "--channels=1"])?, (SIZE, 0));
    assert_eq!(bed.target_server().faults().fired(0), 1);
    Ok(())
}

/// As when the old file changes between its hash and its copying, or the hashes are wrong.
#[test]
fn parts_that_are_not_what_was_told_of_them_are_found_and_the_file_is_sent_whole() -> Tried {
    for nth in [1, 2] {
        let bed = target([(Nth::Only(nth), Trouble::CorruptCopy)])?;
        scene(&bed, ONE_BYTE)?;
        let ran = push(&bed, &[PARTS])?;
        assert_eq!(bed.target_server().faults().fired(0), 1);
        let row = ran.report.trouble(TARGET, "hash", "mismatch").ok_or_else(|| ran.said())?;
        assert_eq!((row["dropped-attempts"].as_u64(), row["files-failed"].as_u64()), (Some(1), Some(0)));
        assert_eq!(bytes(&ran), (PART + SIZE, SIZE - PART), "{}", ran.said());
        assert_eq!((ran.report.drops(), ran.report.count("retries")), (1, 1), "{}", ran.said());
        // Literal and matched are of the try that was delivered.
        let last = ran.report.events("attempt").last().ok_or("no attempt")?;
        assert_eq!((last["bytes"].as_u64(), last["matched"].as_u64()), (Some(SIZE), None));
    }
    Ok(())
}

#[test]
fn a_wrong_hash_of_a_part_costs_that_part() -> Tried {
    let bed = target([(Nth::Only(1), Trouble::WrongHash { containing: "" })])?;
    scene(&bed, ONE_BYTE)?;
    assert_eq!(pushed(&bed, &[PARTS])?, (2 * PART, SIZE - 2 * PART));
    assert_eq!(bed.target_server().faults().fired(0), 1);
    Ok(())
}

#[test]
fn where_parts_cannot_be_copied_or_hashed_files_are_sent_whole() -> Tried {
    let copy_data = false;
    let bed = Embedded::target(|config| config.extensions = Extensions { copy_data, ..Extensions::default() })?;
    scene(&bed, ONE_BYTE)?;
    assert_eq!(pushed(&bed, &[PARTS])?, (SIZE, 0));
    let bed = target([(Nth::Only(1), Trouble::NoPath)])?;
    scene(&bed, ONE_BYTE)?;
    assert_eq!(pushed(&bed, &[PARTS])?, (SIZE, 0));
    let bed = target([(Nth::Only(1), Trouble::GarbageOutput { containing: "" })])?;
    scene(&bed, ONE_BYTE)?;
    let ran = push(&bed, &[PARTS])?;
    assert_eq!((bytes(&ran), ran.report.drops()), ((SIZE, 0), 1), "{}", ran.said());
    Ok(())
}

#[test]
fn a_connection_cut_meanwhile_is_made_again_and_the_file_sent_whole() -> Tried {
    // While the one part is sent that differs.
    let cut = Trouble::Cut { direction: Direction::In, bytes: 600_000 };
    let bed = target([(Nth::Only(1), cut)])?;
    scene(&bed, ONE_BYTE)?;
    let ran = push(&bed, &[PARTS])?;
    assert_eq!(bed.target_server().faults().fired(0), 1);
    assert_eq!(ran.report.count("dropped-connections"), 1, "{}", ran.said());
    let last = ran.report.events("attempt").last().ok_or("no attempt")?;
    assert_eq!((last["number"].as_u64(), last["bytes"].as_u64()), (Some(2), Some(SIZE)), "{}", ran.said());
    assert_eq!(last["matched"].as_u64(), None);
    Ok(())
}

#[test]
fn a_full_disk_is_told_and_harms_neither_the_old_file_nor_others() -> Tried {
    let full = Trouble::Answer { request: WRITE, status: FAILURE, text: "No space left on device" };
    let bed = target([(Nth::Always, full)])?;
    scene(&bed, ONE_BYTE)?;
    let old = fs::read(bed.far().join("there/file"))?;
    let near = bed.client().dir().join("near");
    let ran = go(&bed, ["-a", PARTS, &slash(&near), &bed.operand("there")])?.exits(23)?;
    assert!(ran.report.trouble(TARGET, "write", "no-space").is_some(), "{}", ran.said());
    assert_eq!(fs::read(bed.far().join("there/file"))?, old);
    assert_eq!(temps(bed.far())?.len(), 0);
    Ok(())
}
