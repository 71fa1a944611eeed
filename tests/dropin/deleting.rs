//! Many deletions under way at once: that they are, and that nobody sees it by what is told of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use hopsync::lab::bed::{Bed, Embedded, TARGET};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::run::run;
use hopsync::lab::server::Commands;
use hopsync::lab::trees::list;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::*;

/// SSH_FXP_*
const REMOVE: u8 = 13;
const SETSTAT: u8 = 9;
const RMDIR: u8 = 15;
const EXTENDED: u8 = 200;

/// A target that does what such requests ask for, but does not answer those that are meant.
fn silent_about(nth: Nth, request: u8) -> std::io::Result<Embedded> {
    Embedded::target(|config| config.faults = Faults::new([(nth, Trouble::Swallow { request: Some(request) })]))
}

/// `-a --delete` and more, from an empty directory to `there` at the far end.
fn deleting(bed: &Embedded, options: &[&str]) -> Result<Invocation, Box<dyn std::error::Error>> {
    let near = bed.client().dir().join("near");
    fs::create_dir_all(&near)?;
    let operands = [slash(&near), bed.operand("there")];
    Ok(over(bed, ["-a", "--delete"].iter().chain(options).map(ToString::to_string).chain(operands)))
}

/// Waits until it is so, and stops the run.
pub fn stop_once(child: &Child, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() && started.elapsed() < DEADLINE * 2 / 3 {
        std::thread::yield_now();
    }
    let _ = kill_process(Pid::from_child(child), Signal::INT);
}

fn count(at: &Path, wanted: impl Fn(&fs::Metadata) -> bool) -> usize {
    list(at).map_or(usize::MAX, |found| found.values().filter(|meta| wanted(meta)).count())
}

#[test]
fn no_removal_waits_for_the_answer_to_another() -> Tried {
    // Files, in directories of different depths and in the transfer's own.
    let bed = silent_about(Nth::Always, REMOVE)?;
    let there = bed.far().join("there");
    for dir in ["", "a", "a/deep/deeper", "b", "c/deep"] {
        fs::create_dir_all(there.join(dir))?;
        for number in 0..20 {
            fs::write(there.join(dir).join(number.to_string()), "")?;
        }
    }
    let files = || count(&there, fs::Metadata::is_file);
    deleting(&bed, &[])?.run_with(|child| stop_once(child, || files() == 0))?.exits(20)?;
    assert_eq!(files(), 0, "some waited for the answer to others");
    assert_eq!(count(&there, fs::Metadata::is_dir), 1 + 6, "of no directory is it known to be empty");

    let bed = silent_about(Nth::Always, RMDIR)?;
    let there = bed.far().join("there");
    for number in 0..20 {
        fs::create_dir_all(there.join(format!("{number}/inner")))?;
    }
    // A directory that is asked for behind what was in it does not wait for the answer.
    let dirs = || count(&there, fs::Metadata::is_dir);
    deleting(&bed, &[])?.run_with(|child| stop_once(child, || dirs() == 1))?.exits(20)?;
    assert_eq!(dirs(), 1, "some waited for the answer to others");
    Ok(())
}

#[test]
fn as_much_as_a_limit_allows_is_deleted_at_once_and_no_more_before_it_is_known_what_went() -> Tried {
    for (limit, stay) in [(30, 0), (12, 8)] {
        let bed = silent_about(Nth::Always, REMOVE)?;
        let there = bed.far().join("there");
        fs::create_dir_all(&there)?;
        for number in 0..20 {
            fs::write(there.join(number.to_string()), "")?;
        }
        let files = || count(&there, fs::Metadata::is_file);
        let limited = deleting(&bed, &[&format!("--max-delete={limit}")])?;
        limited.run_with(|child| stop_once(child, || files() == stay))?.exits(20)?;
        assert_eq!(files(), stay, "{limit}");
    }
    Ok(())
}

/// What is not deleted after all leaves its place within the limit to the next one.
#[test]
fn a_limit_counts_what_was_deleted_and_not_what_was_tried() -> Tried {
    let bed = Embedded::target(|config| {
        let refuse = Trouble::Answer { request: REMOVE, status: 3, text: "" };
        config.faults = Faults::new([(Nth::Only(3), refuse)]);
    })?;
    let there = bed.far().join("there");
    fs::create_dir_all(there.join("d/e"))?;
    for number in 0..20 {
        fs::write(there.join(format!("d/{number:02}")), "")?;
    }
    let ran = deleting(&bed, &["--max-delete=12", "--channels=1"])?.run()?.exits(23)?;
    let files = count(&there, fs::Metadata::is_file);
    // The empty directory was one of the twelve: it goes first.
    assert_eq!((files, there.join("d/e").exists()), (20 - 11, false), "{}", ran.said());
    assert_eq!(ran.report.count("deleted"), 12);
    Ok(())
}

/// A link that is left out makes no way for itself.
#[test]
fn a_dry_run_tells_of_no_deletion_for_what_does_not_come() -> Tried {
    let bed = Embedded::start()?;
    let near = bed.client().dir().join("near");
    fs::create_dir_all(&near)?;
    symlink("/outside", near.join("x"))?;
    fs::create_dir_all(bed.far().join("there/x"))?;
    fs::write(bed.far().join("there/x/in"), "")?;
    let ran = deleting(&bed, &["-nv", "--safe-links"])?.run()?.well()?;
    assert!(ran.said().contains("ignoring unsafe symlink") && !ran.said().contains("deleting"), "{}", ran.said());
    Ok(())
}

#[test]
fn a_directory_that_its_owner_may_not_write_in_is_opened_before_it_is_emptied() -> Tried {
    // Who cannot be told who it is there may own what goes.
    let faults = Faults::new([(Nth::Always, Trouble::Delay { request: Some(SETSTAT), by: Duration::ZERO })]);
    let given = faults.clone();
    let bed = Embedded::target(|config| (config.faults, config.commands) = (given, Commands::SftpOnly))?;
    let there = bed.far().join("there");
    for (dir, mode) in [("open", 0o755), ("shut", 0o555), ("shut/in", 0o555)] {
        fs::create_dir_all(there.join(dir))?;
        fs::write(there.join(dir).join("file"), "")?;
        fs::set_permissions(there.join(dir), fs::Permissions::from_mode(mode))?;
    }
    fs::set_permissions(&there, fs::Permissions::from_mode(0o755))?;
    let near = bed.client().dir().join("near");
    fs::create_dir_all(&near)?;
    deleting(&bed, &["--no-times", "--no-perms"])?.run()?.well()?;
    assert_eq!((count(&there, |_| true), faults.fired(0)), (1, 2), "the two that were shut");
    Ok(())
}

#[test]
fn a_run_that_is_stopped_tells_what_it_deleted_though_it_was_not_its_turn() -> Tried {
    // Nobody hears of the first directory that goes, so nothing after it has its turn.
    let bed = silent_about(Nth::Only(1), RMDIR)?;
    let there = bed.far().join("there");
    let (first, second) = (there.join("z"), there.join("a"));
    for dir in [&first, &second] {
        fs::create_dir_all(dir)?;
    }
    for number in 0..20 {
        fs::write(second.join(number.to_string()), "")?;
    }
    // Once this one is gone, everything that was in it is known to be.
    let ran = deleting(&bed, &["-v", "--channels=1"])?.run_with(|child| stop_once(child, || !second.exists()))?;
    let ran = ran.exits(20)?;
    assert!(!first.exists() && !second.exists(), "{}", ran.said());
    let lines: Vec<String> = ran.output.out().lines().map(str::to_owned).collect();
    for number in 0..20 {
        let path = format!("a/{number}");
        assert!(lines.contains(&format!("deleting {path}")), "{path}: {}", ran.said());
        assert!(ran.report.events("deleted").any(|event| event["path"] == path.as_str()), "{path}: {}", ran.said());
    }
    assert!(!lines.iter().any(|line| line == "deleting z/"), "nobody knows of it: {}", ran.said());
    Ok(())
}

/// What there is too much of: more than is under way at once, three directories deep, something protected among it.
fn crowd(at: &Path) -> Tried {
    fs::create_dir_all(at.join("src"))?;
    for outer in 0..6 {
        for inner in 0..6 {
            let dir: PathBuf = at.join(format!("dst/outer{outer}/inner{inner}/deep"));
            fs::create_dir_all(&dir)?;
            for number in 0..40 {
                fs::write(dir.join(format!("file{number}")), "")?;
            }
            fs::write(dir.join("../beside"), "")?;
        }
    }
    for kept in ["outer2/inner3/deep/x.keep", "outer4/x.keep"] {
        fs::write(at.join("dst").join(kept), "")?;
    }
    fs::create_dir_all(at.join("dst/outer5/dir.keep/kept"))?;
    Ok(())
}

#[test]
fn what_is_told_of_a_crowd_of_deletions_has_rsyncs_order() -> Tried {
    let bed = Embedded::start()?;
    let told = |text: &str| -> Vec<String> {
        let about = |line: &&str| line.contains("deleting") || line.starts_with("cannot delete");
        text.lines().filter(about).map(str::to_owned).collect()
    };
    // (Of a directory that stays within one that does, rsync's dry run tells that it goes.)
    let options: [&[&str]; 4] = [
        &["-v", "--exclude=*.keep"],
        &["-i", "--exclude=*.keep"],
        &["-vn"],
        &["-v", "--exclude=*.keep", "--max-delete=1000"],
    ];
    for (number, options) in options.into_iter().enumerate() {
        let dir = bed.client().dir();
        let (theirs, ours) = (dir.join(format!("theirs-{number}")), dir.join(format!("ours-{number}")));
        crowd(&theirs)?;
        crowd(&ours)?;
        let common = ["-a", "--delete"];
        let mut rsync = Command::new("rsync");
        rsync.args(common).args(options).args(["src/", "dst"]).current_dir(&theirs);
        let rsync = run(rsync, DEADLINE)?;
        let dest = format!("{TARGET}:{}/dst", ours.display());
        let mut ran = over(&bed, common.iter().chain(options).map(ToString::to_string).chain(["src/".into(), dest]));
        ran.command.current_dir(&ours);
        let ran = ran.run()?.exits(rsync.code)?;
        let (expected, got) = (told(&rsync.out()), told(&ran.output.out()));
        assert!(expected.len() > 1000, "{}", rsync.out());
        let differs = got.iter().zip(&expected).find(|(got, expected)| got != expected);
        assert!(differs.is_none() && got.len() == expected.len(), "{options:?}: {differs:?}");
        let names = |at: &Path| list(&at.join("dst")).map(|found| found.into_keys().collect::<Vec<_>>());
        assert_eq!(names(&ours)?, names(&theirs)?, "{options:?}");
        let deleted = expected.iter().filter(|line| line.contains("deleting")).count() as u64;
        let counted = if options.contains(&"-vn") { 0 } else { deleted };
        assert_eq!(ran.report.count("deleted"), counted, "{options:?}");
    }
    Ok(())
}

#[test]
fn a_backup_that_is_deleted_itself_is_kept_before_another_takes_its_name() -> Tried {
    for dir in ["--backup-dir=kept", "--backup-dir=../link", "--backup-dir=../to/../to/kept"] {
        let bed = Embedded::start()?;
        let there = bed.far().join("there");
        fs::create_dir_all(there.join("kept"))?;
        symlink("there/kept", bed.far().join("link"))?;
        symlink("there", bed.far().join("to"))?;
        for number in 0..20 {
            fs::write(there.join(format!("f{number}")), "content")?;
            fs::write(there.join(format!("kept/f{number}")), "older")?;
        }
        let ran = deleting(&bed, &["--backup", dir])?.run()?.well()?;
        // As rsync, which does not take it for an error.
        assert!(ran.said().contains("cannot delete non-empty directory: kept"), "{}", ran.said());
        for file in 0..20 {
            let kept = |path: String| fs::read_to_string(there.join(path));
            assert_eq!(kept(format!("kept/kept/f{file}"))?, "older", "{dir}");
            assert_eq!(kept(format!("kept/f{file}"))?, "content", "{dir}");
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_moved_to_the_backups_is_not_deleted_nor_told_as_gone() -> Tried {
    // No such file: what is missing may be the place that it was to go to.
    for status in [2, 3, 4] {
        let bed = Embedded::target(|config| {
            // The first one asks for the server's limits; the others rename.
            let rename = Trouble::Answer { request: EXTENDED, status, text: "" };
            config.faults = Faults::new([(Nth::Only(4), rename)]);
        })?;
        let there = bed.far().join("there");
        fs::create_dir_all(there.join("d"))?;
        for number in 0..5 {
            fs::write(there.join(format!("d/f{number}")), format!("{number}"))?;
        }
        let ran = deleting(&bed, &["--backup", "--backup-dir=../kept", "--channels=1", "-v"])?.run()?.exits(23)?;
        let mut stayed = 0;
        for number in 0..5 {
            let name = format!("d/f{number}");
            let kept = fs::read_to_string(bed.far().join("kept").join(&name)).ok();
            let stays = fs::read_to_string(there.join(&name)).ok();
            let told = ran.said().contains(&format!("deleting {name}"));
            match stays {
                Some(content) => assert_eq!((content, kept, told), (number.to_string(), None, false), "{}", ran.said()),
                None => assert_eq!((kept, told), (Some(number.to_string()), true), "{}", ran.said()),
            }
            stayed += usize::from(there.join(&name).exists());
        }
        assert_eq!(stayed, 1, "{status}: {}", ran.said());
    }
    Ok(())
}

#[test]
fn of_two_deleted_things_with_one_name_for_backups_neither_is_lost() -> Tried {
    let bed = Embedded::start()?;
    let there = bed.far().join("there");
    for number in 0..20 {
        fs::create_dir_all(there.join(format!("d{number}~")))?;
        fs::write(there.join(format!("d{number}")), format!("file {number}"))?;
        fs::write(there.join(format!("d{number}~/x")), format!("within {number}"))?;
    }
    let ran = deleting(&bed, &["--backup", "--backup-dir=../kept", "--suffix=~"])?.run()?.exits(23)?;
    let kept = bed.far().join("kept");
    for number in 0..20 {
        for (content, name, backup) in [
            (format!("file {number}"), format!("d{number}"), format!("d{number}~")),
            (format!("within {number}"), format!("d{number}~/x"), format!("d{number}~/x~")),
        ] {
            let found = [there.join(&name), kept.join(&backup)].map(|path| fs::read_to_string(path).ok());
            assert!(found.contains(&Some(content)), "{name}: {found:?}: {}", ran.said());
        }
    }
    Ok(())
}

#[test]
fn backups_do_not_go_through_a_link_that_is_an_older_backup() -> Tried {
    for far in [true, false] {
        let bed = Embedded::start()?;
        let top = bed.far().to_owned();
        for dir in ["there/l/deep", "other/deep", "kept", "near"] {
            fs::create_dir_all(top.join(dir))?;
        }
        fs::write(top.join("other/deep/f"), "of somebody else")?;
        fs::write(top.join("there/l/deep/f"), "content")?;
        symlink("../other", top.join("kept/l"))?;
        let options = ["-a", "--delete", "--backup", "--backup-dir=../kept"].map(ToString::to_string);
        let there = if far { bed.operand("there") } else { slash(&top.join("there")) };
        over(&bed, options.into_iter().chain([slash(&top.join("near")), there])).run()?.well()?;
        assert_eq!(fs::read_to_string(top.join("other/deep/f"))?, "of somebody else");
        assert_eq!(fs::read_to_string(top.join("kept/l/deep/f"))?, "content");
        assert!(!top.join("there/l").exists());
    }
    Ok(())
}
