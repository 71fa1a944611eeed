//! Small files that are pulled, and small directories: who hashes at the far end tells what they hold.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hopsync::lab::bed::{Bed, Embedded, TARGET};
use hopsync::lab::faults::{Faults, Nth, Trouble};

use crate::harness::*;

/// SSH_FXP_OPEN, SSH_FXP_OPENDIR, SSH_FXP_READDIR and SSH_FXP_REALPATH.
const OPEN: u8 = 3;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REALPATH: u8 = 16;

const FILES: u64 = 200;

/// A target at which the hasher is there before any file is known, and more that happens.
fn target(rules: impl IntoIterator<Item = (Nth, Trouble)>) -> Result<Embedded, Box<dyn std::error::Error>> {
    let late = (Nth::Only(1), Trouble::Delay { request: Some(READDIR), by: Duration::from_secs(2) });
    let rules: Vec<_> = std::iter::once(late).chain(rules).collect();
    Ok(Embedded::target(|config| {
        config.faults = Faults::new(rules);
        config.commands_run_in = Some(config.home.clone());
    })?)
}

/// Small files in which anything may stand, and one in sixteen that is too large to be told.
fn pull(bed: &Embedded) -> Result<Ran, Box<dyn std::error::Error>> {
    let (far, near) = (bed.far().join("from"), bed.client().dir().join("to"));
    fs::create_dir(&far)?;
    for n in 0..FILES {
        let size = if n % 16 == 15 { 60_000 } else { n * 200 + 1 };
        let text = format!("{n} {}  /a\n\0 <1 2 3\n", "0".repeat(64));
        fs::write(far.join(n.to_string()), text.bytes().cycle().take(size as usize).collect::<Vec<_>>())?;
    }
    let ran = go(bed, ["-a", &bed.operand("from/"), &slash(&near)])?.well()?;
    same(&far, &near, ALL)?;
    assert_eq!(temps(&near)?, Vec::<PathBuf>::new());
    assert_eq!(ran.report.count("verified"), FILES, "{}", ran.said());
    Ok(ran)
}

/// How many files each kind of channel delivered: those of files, and the hasher's.
fn by_channel(ran: &Ran) -> (u64, u64) {
    let hashing = ran.report.events("channel-opened").find(|event| event["purpose"] == "hashing");
    let hashing = hashing.map(|event| event["channel"].as_u64());
    let told = ran.report.events("attempt").filter(|attempt| attempt["fault"].is_null());
    let (by, over) = told.partition::<Vec<_>, _>(|attempt| Some(attempt["channel"].as_u64()) == hashing);
    (over.len() as u64, by.len() as u64)
}

#[test]
fn small_files_come_with_their_hashes_and_larger_ones_over_sftp() -> Tried {
    let bed = target([])?;
    let ran = pull(&bed)?;
    assert_eq!((ran.report.count("attempts"), ran.report.drops()), (FILES, 0), "{}", ran.said());
    assert_eq!(by_channel(&ran), (FILES / 16, FILES - FILES / 16), "{}", ran.said());
    Ok(())
}

#[test]
fn one_that_is_not_what_its_hash_says_is_tried_again_and_read_back() -> Tried {
    let bed = target([(Nth::Only(1), Trouble::WrongHash { containing: "" })])?;
    let ran = pull(&bed)?;
    assert_eq!(bed.target_server().faults().fired(1), 1);
    let row = ran.report.trouble(TARGET, "hash", "mismatch").ok_or_else(|| ran.said())?;
    assert_eq!((row["dropped-attempts"].as_u64(), row["files-failed"].as_u64()), (Some(1), Some(0)));
    assert_eq!(ran.report.count("attempts"), FILES + 1, "{}", ran.said());
    Ok(())
}

#[test]
fn when_the_hasher_dies_the_rest_comes_over_sftp_and_no_file_is_counted_as_dropped() -> Tried {
    let bed = target([(Nth::Only(1), Trouble::KillCommand { lines: 20_000 })])?;
    let ran = pull(&bed)?;
    assert_eq!(bed.target_server().faults().fired(1), 1);
    assert_eq!((ran.report.count("attempts"), ran.report.drops()), (FILES, 1), "{}", ran.said());
    let (over_sftp, told) = by_channel(&ran);
    assert!(over_sftp > FILES / 16 && told > 0, "{over_sftp} {told}");
    Ok(())
}

#[test]
fn where_the_hasher_tells_them_nobody_opens_them() -> Tried {
    let refused = Trouble::Answer { request: OPEN, status: 4, text: "no" };
    let bed = target([(Nth::Always, refused)])?;
    let far = bed.far().join("from");
    fs::create_dir(&far)?;
    fs::write(far.join("file"), "content")?;
    let near = bed.client().dir().join("to");
    go(&bed, ["-a", &bed.operand("from/"), &slash(&near)])?.well()?;
    assert_eq!(bed.target_server().faults().fired(1), 0);
    same(&far, &near, ALL)
}

#[test]
fn who_hashes_is_known_though_the_server_does_not_say_where_it_starts() -> Tried {
    let bed = target([(Nth::Always, Trouble::Swallow { request: Some(REALPATH) })])?;
    let (far, near) = (bed.far().join("from"), bed.client().dir().join("to"));
    fs::create_dir(&far)?;
    fs::write(far.join("file"), "content")?;
    let ran = go(&bed, ["-a", "--timeout=20", &bed.operand("from/"), &slash(&near)])?.well()?;
    same(&far, &near, ALL)?;
    assert_eq!((ran.report.count("verified"), ran.report.drops()), (1, 0), "{}", ran.said());
    assert_eq!(bed.target_server().faults().fired(1), 1);
    Ok(())
}

/// Directories in directories, in each a file, and links.
fn nest(top: &Path, what: &str) -> Tried {
    for dir in ["a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p", "a/b/x", "a/y/z"] {
        fs::create_dir_all(top.join(dir))?;
        for part in Path::new(dir).ancestors() {
            let at = top.join(part);
            fs::write(at.join("file"), format!("{what} {}", part.display()))?;
            fs::write(at.join(format!("only {what}")), "")?;
            std::os::unix::fs::symlink(what, at.join("link")).or_else(|_| fs::metadata(&at).map(drop))?;
        }
    }
    Ok(())
}

#[test]
fn small_directories_are_told_either_way_and_only_the_first_are_listed_over_sftp() -> Tried {
    for push in [false, true] {
        let bed = target([(Nth::Always, Trouble::Delay { request: Some(OPENDIR), by: Duration::ZERO })])?;
        let (far, near) = (bed.far().join("tree"), bed.client().dir().join("tree"));
        nest(&far, "there")?;
        nest(&near, "here")?;
        let (from, to) = (bed.operand("tree/"), slash(&near));
        let (from, to) = if push { (to, from) } else { (from, to) };
        let ran = go(&bed, ["-a", "--delete", &from, &to])?.well()?;
        // It tells them as soon as it is known where the SFTP server starts.
        let listed = bed.target_server().faults().fired(1);
        assert!((1..8).contains(&listed), "{push}: {listed} {}", ran.said());
        assert_eq!(ran.report.drops(), 0, "{}", ran.said());
        same(&far, &near, ALL)?;
        assert!(near.join(if push { "a/b/x/only here" } else { "a/b/x/only there" }).exists());
    }
    Ok(())
}

/// A shell that starts where the SFTP server does not, or says that it does and sees something else: what it says of a path is of another
/// one.
#[test]
fn who_hashes_in_another_place_is_not_believed_about_what_is_there() -> Tried {
    for says_so in [true, false] {
        hashes_elsewhere(says_so)?;
    }
    Ok(())
}

fn hashes_elsewhere(says_so: bool) -> Tried {
    let dir = tempfile::tempdir()?;
    let (far, elsewhere, near) = (dir.path().join("far"), dir.path().join("elsewhere"), dir.path().join("near"));
    nest(&far.join("tree"), "there")?;
    nest(&elsewhere.join("tree"), "elsewhere")?;
    nest(&near, "here")?;
    let shell = dir.path().join("shell");
    // The SFTP server comes when the hasher is there, so that it could be asked for all but the first listings.
    let text = r#"#!/bin/sh
d='DIR'
shift
case "$*" in
*sftp-server*)
    cd "$d/far" && until [ -e "$d/ready" ]; do sleep 0.01; done
    exec sh -c "$*" ;;
esac
cd "$d/elsewhere" && sh -c "$*" | while read -r line; do
    case $line in home*) [ SAYS_SO = true ] || line="home $(cd "$d/far" && pwd -P)" ;; esac
    echo "$line"
    case $line in hasher*) touch "$d/ready"; exec cat ;; esac
done
"#;
    fs::write(&shell, text.replace("DIR", &dir.path().display().to_string()).replace("SAYS_SO", &says_so.to_string()))?;
    fs::set_permissions(&shell, Permissions::from_mode(0o755))?;
    let args = ["-a", "--delete", "-e", &shell.display().to_string(), "there:tree/", &slash(&near)].map(str::to_owned);
    let output = command(args).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(dir.path().join("ready").exists());
    same(&far.join("tree"), &near, ALL)
}
