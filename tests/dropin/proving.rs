//! Large files that are pushed, proven by their parts while they are on their way.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use hopsync::lab::bed::{Bed, Embedded, SshdPair, TARGET};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::trees::set_mtime;
use hopsync::verify::parts::{ASKED, PART};

use crate::harness::*;

/// More than one question asks about.
const SIZE: u64 = (ASKED + 2) * PART + 40_000;

/// A file of that size; mostly holes, which are sent as they are read.
fn near(bed: &dyn Bed) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let near = bed.client().dir().join("large");
    let file = fs::File::create(&near)?;
    file.set_len(SIZE)?;
    for part in 0..SIZE / PART {
        file.write_all_at(&part.to_be_bytes(), part * PART + 17 * part)?;
    }
    Ok(near)
}

/// Pushes it; it must arrive.
fn push(bed: &dyn Bed, options: &[&str]) -> Result<Ran, Box<dyn std::error::Error>> {
    let near = near(bed)?;
    let args = ["-a"].iter().chain(options).map(|arg| (*arg).to_owned());
    let ran = go(bed, args.chain([near.display().to_string(), bed.operand("")]))?.well()?;
    assert!(fs::read(&near)? == fs::read(bed.far().join("large"))?, "{}", ran.said());
    assert_eq!(temps(bed.far())?.len(), 0, "{}", ran.said());
    assert_eq!(ran.report.count("verified"), 1, "{}", ran.said());
    Ok(ran)
}

fn by(ran: &Ran) -> String {
    ran.report.summary()["verified-by"].to_string()
}

fn target(rules: impl IntoIterator<Item = (Nth, Trouble)>) -> Result<Embedded, Box<dyn std::error::Error>> {
    Ok(Embedded::target(|config| config.faults = Faults::new(rules))?)
}

fn proven_by_the_hasher(bed: &dyn Bed) -> Tried {
    let ran = push(bed, &[])?;
    assert_eq!((ran.report.count("attempts"), ran.report.drops()), (1, 0), "{}", ran.said());
    assert!(!by(&ran).contains("read-back"), "{}", ran.said());
    Ok(())
}

#[test]
fn a_large_file_is_proven_by_the_far_ends_hasher_at_an_embedded_server() -> Tried {
    proven_by_the_hasher(&Embedded::start()?)
}

#[test]
fn a_large_file_is_proven_by_the_far_ends_hasher_at_a_real_sshd() -> Tried {
    proven_by_the_hasher(&SshdPair::start()?)
}

/// The first hash that it prints is the first part's, long before the file's end.
#[test]
fn a_part_whose_hash_is_wrong_is_asked_about_again_in_the_end() -> Tried {
    let bed = target([(Nth::Only(1), Trouble::WrongHash { containing: "" })])?;
    let ran = push(&bed, &[])?;
    assert_eq!(bed.target_server().faults().fired(0), 1);
    assert_eq!((ran.report.count("attempts"), ran.report.drops()), (1, 0), "{}", ran.said());
    assert!(!by(&ran).contains("read-back"), "{}", ran.said());
    Ok(())
}

#[test]
fn a_part_that_is_not_what_was_sent_fails_the_try_and_the_next_is_read_back() -> Tried {
    let bed = target([(Nth::Only(1), Trouble::CorruptCopy)])?;
    // All but a byte is there already.
    let old = bed.far().join("large");
    near(&bed)?;
    fs::copy(bed.client().dir().join("large"), &old)?;
    fs::OpenOptions::new().write(true).open(&old)?.write_all_at(b"x", SIZE - 1)?;
    set_mtime(&old, 1_000_000)?;
    let ran = push(&bed, &["--no-whole-file"])?;
    assert_eq!(bed.target_server().faults().fired(0), 1);
    let row = ran.report.trouble(TARGET, "hash", "mismatch").ok_or_else(|| ran.said())?;
    assert_eq!((row["dropped-attempts"].as_u64(), row["files-failed"].as_u64()), (Some(1), Some(0)));
    assert_eq!(ran.report.count("attempts"), 2, "{}", ran.said());
    assert!(by(&ran).contains("read-back"), "{}", ran.said());
    Ok(())
}

#[test]
fn where_parts_cannot_be_asked_about_the_file_is_hashed_whole_or_read_back() -> Tried {
    // Nobody there hashes.
    let ran = push(&target([(Nth::Only(1), Trouble::NoPath)])?, &[])?;
    assert_eq!((ran.report.count("attempts"), ran.report.drops()), (1, 0), "{}", ran.said());
    assert!(by(&ran).contains("read-back"), "{}", ran.said());
    // It speaks nonsense.
    let ran = push(&target([(Nth::Only(1), Trouble::GarbageOutput { containing: "" })])?, &[])?;
    assert_eq!(ran.report.count("attempts"), 1, "{}", ran.said());
    assert!(by(&ran).contains("read-back"), "{}", ran.said());
    // It dies among the first hashes: that is counted, and nobody asks it again.
    let dies = Trouble::KillCommand { lines: 30 };
    let bed = target([(Nth::Only(1), dies)])?;
    let ran = push(&bed, &[])?;
    assert_eq!(bed.target_server().faults().fired(0), 1);
    assert_eq!((ran.report.count("attempts"), ran.report.drops()), (1, 1), "{}", ran.said());
    assert!(ran.report.trouble(TARGET, "hash", "lost").is_some(), "{}", ran.said());
    assert!(by(&ran).contains("read-back"), "{}", ran.said());
    // In place others may write too: it is hashed when all of it is there.
    let bed = Embedded::start()?;
    let ran = push(&bed, &["--inplace"])?;
    assert!(!by(&ran).contains("read-back"), "{}", ran.said());
    Ok(())
}
