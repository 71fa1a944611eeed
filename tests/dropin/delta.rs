//! Files of which the destination has another version: only what differs is sent, whatever goes wrong with the rest.

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use hopsync::lab::bed::{Bed, Embedded, Knobs, SshdPair, TARGET};
use hopsync::lab::faults::{Direction, Faults, Nth, Trouble};
use hopsync::lab::server::Extensions;
use hopsync::lab::trees::{many_files, random_file, set_mtime};
use hopsync::verify::blocks::SPAN;

use crate::harness::*;

/// Of a file of less than 64 MiB.
const BLOCK: u64 = 17 << 10;

/// Many whole blocks and a short one.
const TAIL: u64 = 5_000;
const SIZE: u64 = 600 * BLOCK + TAIL;

// SSH_FXP_* and SSH_FX_* (draft-ietf-secsh-filexfer-02 §3, §7).
const OPEN: u8 = 3;
const WRITE: u8 = 6;
const EXTENDED: u8 = 200;
const EOF: u32 = 1;
const NO_SUCH_FILE: u32 = 2;
const FAILURE: u32 = 4;

/// Where a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Push,
    Pull,
}

/// The directories it goes from and to.
fn ends(bed: &dyn Bed, way: Way) -> [PathBuf; 2] {
    let (near, there) = (bed.client().dir().join("near"), bed.far().join("there"));
    match way {
        Way::Push => [near, there],
        Way::Pull => [there, near],
    }
}

/// A new `file` at the one end, and an old one, as `change` makes it of the same bytes, at the other.
fn scene_of(bed: &dyn Bed, way: Way, change: impl FnOnce(&mut Vec<u8>)) -> Tried {
    let [from, to] = ends(bed, way);
    fs::create_dir_all(&from)?;
    fs::create_dir_all(&to)?;
    if from.join("file").exists() {
        fs::remove_file(from.join("file"))?;
    }
    random_file(&from.join("file"), SIZE, b"file")?;
    // It has lain there for long.
    set_mtime(&from.join("file"), 2_000_000)?;
    let mut old = fs::read(from.join("file"))?;
    change(&mut old);
    fs::write(to.join("file"), old)?;
    set_mtime(&to.join("file"), 1_000_000)?;
    Ok(())
}

fn scene(bed: &dyn Bed, change: impl FnOnce(&mut Vec<u8>)) -> Tried {
    scene_of(bed, Way::Push, change)
}

/// A byte of one block.
const ONE_BYTE: fn(&mut Vec<u8>) = |old| old[300 * BLOCK as usize + 7] ^= 1;

/// So many that sending them takes many requests.
const MEGABYTE: fn(&mut Vec<u8>) = |old| old[..1_000_000].iter_mut().for_each(|byte| *byte ^= 1);

/// Moves it with `options`; everything must arrive, and nothing be left.
fn go_of(bed: &dyn Bed, way: Way, options: &[&str]) -> Result<Ran, Box<dyn Error>> {
    let args: Vec<String> = ["-a"].iter().chain(options).map(|arg| (*arg).to_owned()).collect();
    let [from, to] = ends(bed, way);
    let operands = match way {
        Way::Push => [slash(&from), bed.operand("there")],
        Way::Pull => [bed.operand("there/"), slash(&to)],
    };
    let ran = go(bed, args.into_iter().chain(operands))?.well()?;
    same(&from, &to, ALL).map_err(|error| format!("{way:?}, {options:?}: {error}\n{}", ran.said()))?;
    assert_eq!(temps(&to)?.len(), 0, "{}", ran.said());
    Ok(ran)
}

fn push(bed: &dyn Bed, options: &[&str]) -> Result<Ran, Box<dyn Error>> {
    go_of(bed, Way::Push, options)
}

/// What was sent, and what was found there.
fn bytes(ran: &Ran) -> (u64, u64) {
    (ran.report.count("moved-bytes"), ran.report.count("matched-bytes"))
}

/// As [`go_of`], without a fault that is told.
fn moved(bed: &dyn Bed, way: Way, options: &[&str]) -> Result<(u64, u64), Box<dyn Error>> {
    let ran = go_of(bed, way, options)?;
    assert_eq!((ran.report.drops(), ran.report.count("attempts")), (0, ran.report.count("planned")), "{}", ran.said());
    Ok(bytes(&ran))
}

fn pushed(bed: &dyn Bed, options: &[&str]) -> Result<(u64, u64), Box<dyn Error>> {
    moved(bed, Way::Push, options)
}

fn target(rules: impl IntoIterator<Item = (Nth, Trouble)>) -> Result<Embedded, Box<dyn Error>> {
    Ok(Embedded::target(|config| config.faults = Faults::new(rules))?)
}

const DELTA: &str = "--no-whole-file";

fn only_what_differs_is_sent(bed: &dyn Bed, way: Way) -> Tried {
    scene_of(bed, way, ONE_BYTE)?;
    let ran = go_of(bed, way, &[DELTA, "--stats"])?;
    assert_eq!(bytes(&ran), (BLOCK, SIZE - BLOCK), "{}", ran.said());
    assert_eq!(ran.report.count("verified"), 1);
    let attempt = ran.report.events("attempt").next().ok_or("no attempt")?;
    assert_eq!((attempt["bytes"].as_u64(), attempt["matched"].as_u64()), (Some(BLOCK), Some(SIZE - BLOCK)));
    for line in ["Literal data: 17,408 bytes", "Matched data: 10,432,392 bytes"] {
        assert!(ran.output.out().contains(line), "{}", ran.said());
    }
    // The old file is a beginning of the new one, or the other way round; whole blocks of the far end's file are found, and its end
    // where it is to be expected.
    scene_of(bed, way, |old| old.truncate(420 * BLOCK as usize + 1))?;
    assert_eq!(moved(bed, way, &[DELTA])?, (SIZE - 420 * BLOCK, 420 * BLOCK));
    scene_of(bed, way, |old| old.extend_from_slice(&[1; 3 << 20]))?;
    let end = if way == Way::Push { TAIL } else { 0 };
    assert_eq!(moved(bed, way, &[DELTA])?, (end, SIZE - end));
    // Only what comes before the end differs.
    scene_of(bed, way, |old| old.truncate(SIZE as usize - 1))?;
    let end = if way == Way::Push { 1 } else { TAIL };
    assert_eq!(moved(bed, way, &[DELTA])?, (end, SIZE - end));
    // Bytes were put in and taken out: those blocks differ in which that was.
    scene_of(bed, way, |old| {
        old.drain(400 * BLOCK as usize + 5..400 * BLOCK as usize + 700);
        old.splice(200 * BLOCK as usize + 9..200 * BLOCK as usize + 9, [7; 1000]);
        old.splice(..0, [1; 100]);
    })?;
    let (literal, matched) = moved(bed, way, &[DELTA])?;
    assert_eq!(literal + matched, SIZE);
    assert!((1..=4 * BLOCK).contains(&literal), "{way:?}: {literal}");
    // Blocks have changed places.
    scene_of(bed, way, |old| old.rotate_left(250 * BLOCK as usize))?;
    let (literal, matched) = moved(bed, way, &[DELTA])?;
    assert_eq!(literal + matched, SIZE);
    assert!(literal <= 2 * BLOCK, "{way:?}: {literal}");
    // Nothing is the same.
    scene_of(bed, way, |old| old.iter_mut().for_each(|byte| *byte ^= 1))?;
    assert_eq!(moved(bed, way, &[DELTA])?, (SIZE, 0));
    // Asked for or not.
    scene_of(bed, way, ONE_BYTE)?;
    assert_eq!(moved(bed, way, &["-W"])?, (SIZE, 0));
    Ok(())
}

#[test]
fn only_what_differs_is_pushed_to_an_embedded_server() -> Tried {
    only_what_differs_is_sent(&Embedded::start()?, Way::Push)
}

/// As OpenSSH was before 9.0: whoever hashes copies, too.
#[test]
fn only_what_differs_is_pushed_to_servers_that_cannot_copy() -> Tried {
    let copy_data = false;
    let bed = Embedded::target(|config| config.extensions = Extensions { copy_data, ..Extensions::default() })?;
    only_what_differs_is_sent(&bed, Way::Push)?;
    let knobs = Knobs { sftp: Some("internal-sftp -P copy-data"), ..Knobs::default() };
    only_what_differs_is_sent(&SshdPair::target(&knobs)?, Way::Push)
}

#[test]
fn only_what_differs_is_pulled_from_an_embedded_server() -> Tried {
    only_what_differs_is_sent(&Embedded::start()?, Way::Pull)
}

#[test]
fn only_what_differs_is_pushed_to_a_real_sshd() -> Tried {
    only_what_differs_is_sent(&SshdPair::start()?, Way::Push)
}

#[test]
fn only_what_differs_is_pulled_from_a_real_sshd() -> Tried {
    only_what_differs_is_sent(&SshdPair::start()?, Way::Pull)
}

/// Of which one question does not tell all, and with bytes put in at its beginning that one does not either.
#[test]
fn what_was_moved_far_in_a_large_file_is_found() -> Tried {
    for (way, put_in) in [(Way::Push, true), (Way::Push, false), (Way::Pull, true), (Way::Pull, false)] {
        let bed = Embedded::start()?;
        let [from, to] = ends(&bed, way);
        fs::create_dir(&from)?;
        fs::create_dir(&to)?;
        let (long, short) = (from.join("file"), to.join("file"));
        let (long, short) = if put_in { (long, short) } else { (short, long) };
        let (before, size) = (SPAN - 1_000_003, 2 * SPAN + 12_345);
        random_file(&long, size, b"file")?;
        fs::write(&short, &fs::read(&long)?[before as usize..])?;
        set_mtime(&to.join("file"), 1_000_000)?;
        let (literal, matched) = moved(&bed, way, &[DELTA])?;
        // 51 KiB: of a file of 64 MiB and more.
        let new = fs::metadata(from.join("file"))?.len();
        let lacks = if put_in { before } else { 0 };
        assert_eq!(literal + matched, new);
        assert!((lacks..=lacks + 2 * (51 << 10)).contains(&literal), "{way:?}, {put_in}: {literal} of {new}");
    }
    Ok(())
}

#[test]
fn it_goes_with_what_else_is_asked_for() -> Tried {
    let bed = Embedded::start()?;
    fs::create_dir(bed.far().join("beside"))?;
    fs::create_dir(bed.client().dir().join("beside"))?;
    for way in [Way::Push, Way::Pull] {
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
            &["--out-format=%n %C"],
        ] {
            scene_of(&bed, way, ONE_BYTE)?;
            let all = [&[DELTA][..], options].concat();
            assert_eq!(moved(&bed, way, &all)?, (BLOCK, SIZE - BLOCK), "{way:?}, {options:?}");
        }
        // The same size and time.
        scene_of(&bed, way, ONE_BYTE)?;
        set_mtime(&ends(&bed, way)[0].join("file"), 1_000_000)?;
        assert_eq!(moved(&bed, way, &[DELTA, "-c"])?, (BLOCK, SIZE - BLOCK));
        // It is done by itself; what cannot be proven, or has holes, is sent.
        for (options, expected) in [
            (&["--bwlimit=20m"][..], (BLOCK, SIZE - BLOCK)),
            (&["--bwlimit=20m", "-W"], (SIZE, 0)),
            (&[], (BLOCK, SIZE - BLOCK)),
            (&[DELTA, "--verify=off"], (SIZE, 0)),
            (&[DELTA, "--verify=readback"], (SIZE, 0)),
            (&[DELTA, "--sparse"], (SIZE, 0)),
        ] {
            scene_of(&bed, way, ONE_BYTE)?;
            assert_eq!(moved(&bed, way, options)?, expected, "{way:?}, {options:?}");
        }
    }
    Ok(())
}

#[test]
fn many_files_at_once_share_the_memory_there_is() -> Tried {
    for way in [Way::Push, Way::Pull] {
        let bed = Embedded::start()?;
        let [from, to] = ends(&bed, way);
        many_files(&from, 100, 90 * BLOCK)?;
        fs::create_dir(&to)?;
        go_of(&bed, way, &[])?;
        for (name, meta) in hopsync::lab::trees::list(&to)? {
            if meta.is_file() {
                let mut content = fs::read(to.join(&name))?;
                content[0] ^= 1;
                fs::write(to.join(&name), content)?;
            }
        }
        assert_eq!(moved(&bed, way, &[DELTA, "-c"])?, (100 * BLOCK, 100 * 89 * BLOCK), "{way:?}");
    }
    Ok(())
}

#[test]
fn in_place_what_is_the_same_is_left_alone() -> Tried {
    for (way, copy_data) in [(Way::Push, true), (Way::Push, false), (Way::Pull, true)] {
        let bed = Embedded::target(|config| config.extensions = Extensions { copy_data, ..Extensions::default() })?;
        let old = ends(&bed, way)[1].join("file");
        for (change, expected) in [
            (ONE_BYTE, (BLOCK, SIZE - BLOCK)),
            (|old| old.truncate(420 * BLOCK as usize + 1), (SIZE - 420 * BLOCK, 420 * BLOCK)),
            (|old| old.extend_from_slice(&[1; 3 << 20]), (0, SIZE)),
            // What lies elsewhere may have been written over before its turn.
            (|old| old.rotate_left(BLOCK as usize), (SIZE, 0)),
        ] {
            scene_of(&bed, way, change)?;
            let inode = fs::metadata(&old)?.ino();
            assert_eq!(moved(&bed, way, &[DELTA, "--inplace"])?, expected, "{way:?}");
            assert_eq!(fs::metadata(&old)?.ino(), inode);
        }
    }
    // What is damaged meanwhile is found, and then all is written.
    let bed = target([(Nth::Only(1), Trouble::CorruptFile)])?;
    scene(&bed, |old| old[0] ^= 1)?;
    let ran = push(&bed, &[DELTA, "--inplace"])?;
    assert_eq!(bytes(&ran), (BLOCK + SIZE, SIZE - BLOCK), "{}", ran.said());
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
            assert_eq!(pushed(&bed, &[DELTA, "--channels=1"])?, (SIZE, 0));
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
    assert_eq!(pushed(&bed, &[DELTA, "--channels=1"])?, (SIZE, 0));
    assert_eq!(bed.target_server().faults().fired(0), 1);
    Ok(())
}

/// As when the old file changes between its hash and its copying, or the sums are wrong.
#[test]
fn blocks_that_are_not_what_was_told_of_them_are_found_and_the_file_is_sent_whole() -> Tried {
    for nth in [1, 2] {
        let bed = target([(Nth::Only(nth), Trouble::CorruptCopy)])?;
        scene(&bed, ONE_BYTE)?;
        let ran = push(&bed, &[DELTA])?;
        assert_eq!(bed.target_server().faults().fired(0), 1);
        let row = ran.report.trouble(TARGET, "hash", "mismatch").ok_or_else(|| ran.said())?;
        assert_eq!((row["dropped-attempts"].as_u64(), row["files-failed"].as_u64()), (Some(1), Some(0)));
        assert_eq!(bytes(&ran), (BLOCK + SIZE, SIZE - BLOCK), "{}", ran.said());
        assert_eq!((ran.report.drops(), ran.report.count("retries")), (1, 1), "{}", ran.said());
        // Literal and matched are of the try that was delivered.
        let last = ran.report.events("attempt").last().ok_or("no attempt")?;
        assert_eq!((last["bytes"].as_u64(), last["matched"].as_u64()), (Some(SIZE), None));
    }
    Ok(())
}

/// What comes of a block is not what its sum is of.
#[test]
fn a_block_that_comes_as_another_one_is_found_and_the_file_pulled_whole() -> Tried {
    let bed = target([(Nth::Only(1), Trouble::CorruptRead)])?;
    scene_of(&bed, Way::Pull, ONE_BYTE)?;
    let ran = go_of(&bed, Way::Pull, &[DELTA])?;
    assert_eq!(bed.target_server().faults().fired(0), 1);
    let row = ran.report.trouble(TARGET, "hash", "mismatch").ok_or_else(|| ran.said())?;
    assert_eq!((row["dropped-attempts"].as_u64(), row["files-failed"].as_u64()), (Some(1), Some(0)));
    assert_eq!(bytes(&ran), (BLOCK + SIZE, SIZE - BLOCK), "{}", ran.said());
    assert_eq!((ran.report.drops(), ran.report.count("retries")), (1, 1), "{}", ran.said());
    Ok(())
}

#[test]
fn a_wrong_sum_of_a_block_costs_that_block() -> Tried {
    for way in [Way::Push, Way::Pull] {
        let bed = target([(Nth::Only(1), Trouble::WrongHash { containing: "" })])?;
        scene_of(&bed, way, ONE_BYTE)?;
        assert_eq!(moved(&bed, way, &[DELTA])?, (2 * BLOCK, SIZE - 2 * BLOCK), "{way:?}");
        assert_eq!(bed.target_server().faults().fired(0), 1);
    }
    Ok(())
}

#[test]
fn where_nothing_can_be_copied_or_hashed_files_are_sent_whole() -> Tried {
    // Where commands start elsewhere than the SFTP server does, what would copy is not trusted to see what that sees.
    let bed = Embedded::target(|config| {
        config.extensions = Extensions { copy_data: false, ..Extensions::default() };
        config.commands_run_in = Some("/".into());
    })?;
    scene(&bed, ONE_BYTE)?;
    assert_eq!(pushed(&bed, &[DELTA])?, (SIZE, 0));
    let bed = target([(Nth::Only(1), Trouble::NoPath)])?;
    scene(&bed, ONE_BYTE)?;
    assert_eq!(pushed(&bed, &[DELTA])?, (SIZE, 0));
    let bed = target([(Nth::Only(1), Trouble::GarbageOutput { containing: "" })])?;
    scene(&bed, ONE_BYTE)?;
    let ran = push(&bed, &[DELTA])?;
    assert_eq!((bytes(&ran), ran.report.drops()), ((SIZE, 0), 1), "{}", ran.said());
    Ok(())
}

/// Nothing goes on with the file that it may be writing yet.
#[test]
fn a_hasher_that_ends_while_it_copies_costs_one_try() -> Tried {
    let mut while_it_copied = 0;
    // Its introduction, the sums of 601 blocks and what else it is asked come first, and the file's proof last.
    for lines in 604..616 {
        let bed = Embedded::target(|config| {
            config.extensions = Extensions { copy_data: false, ..Extensions::default() };
            config.commands_run_in = Some(config.home.clone());
            config.faults = Faults::new([(Nth::Only(1), Trouble::KillCommand { lines })]);
        })?;
        scene(&bed, ONE_BYTE)?;
        let ran = push(&bed, &[DELTA])?;
        if let Some(row) = ran.report.trouble(TARGET, "write", "lost") {
            assert_eq!((row["dropped-attempts"].as_u64(), row["files-failed"].as_u64()), (Some(1), Some(0)));
            assert_eq!(ran.report.count("verified"), 1, "{}", ran.said());
            while_it_copied += 1;
        }
    }
    assert!(while_it_copied > 0);
    Ok(())
}

#[test]
fn a_connection_cut_meanwhile_is_made_again_and_the_file_sent_whole() -> Tried {
    for (way, direction) in [(Way::Push, Direction::In), (Way::Pull, Direction::Out)] {
        // While the megabyte is sent that differs.
        let bed = target([(Nth::Only(1), Trouble::Cut { direction, bytes: 600_000 })])?;
        scene_of(&bed, way, MEGABYTE)?;
        let ran = go_of(&bed, way, &[DELTA])?;
        assert_eq!(bed.target_server().faults().fired(0), 1);
        assert_eq!(ran.report.count("dropped-connections"), 1, "{}", ran.said());
        let last = ran.report.events("attempt").last().ok_or("no attempt")?;
        assert_eq!((last["number"].as_u64(), last["bytes"].as_u64()), (Some(2), Some(SIZE)), "{}", ran.said());
        assert_eq!(last["matched"].as_u64(), None);
    }
    Ok(())
}

#[test]
fn a_full_disk_is_told_and_harms_neither_the_old_file_nor_others() -> Tried {
    let full = Trouble::Answer { request: WRITE, status: FAILURE, text: "No space left on device" };
    let bed = target([(Nth::Always, full)])?;
    scene(&bed, ONE_BYTE)?;
    let old = fs::read(bed.far().join("there/file"))?;
    let near = bed.client().dir().join("near");
    let ran = go(&bed, ["-a", DELTA, &slash(&near), &bed.operand("there")])?.exits(23)?;
    assert!(ran.report.trouble(TARGET, "write", "no-space").is_some(), "{}", ran.said());
    assert_eq!(fs::read(bed.far().join("there/file"))?, old);
    assert_eq!(temps(bed.far())?.len(), 0);
    Ok(())
}
