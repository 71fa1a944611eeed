//! What goes there and back, over both pairs: trees with every odd thing in them, and the words that people type.

use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use hopsync::lab::bed::{Bed, Embedded, HEAD, SshdPair, TARGET};
use hopsync::lab::trees::{Aspects, odd_tree, random_file, set_mtime};

use crate::harness::*;

/// Each test over the embedded pair and over real sshd's.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod embedded { $(#[test] fn $name() -> super::Tried { super::$name(&super::Embedded::start()?) })* }
        mod sshd { $(#[test] fn $name() -> super::Tried { super::$name(&super::SshdPair::start()?) })* }
    };
}

on_both! {
    an_odd_tree_goes_there_and_back_and_a_second_run_sends_nothing
    every_way_to_verify_is_said_and_done
    modes_that_forbid_even_reading_and_modes_with_special_bits_arrive
    a_file_goes_to_a_new_name_into_a_directory_and_over_an_old_file
    paths_are_relative_to_the_home_directory
    sources_that_are_missing_are_named_and_the_others_go
    parsls_commands_work_word_for_word
    access_times_are_kept_if_asked_for_and_only_then
    temporary_files_lie_where_they_are_asked_to
    a_dry_run_changes_nothing_and_says_what_it_would
    what_is_newer_unchanged_or_only_touched_is_left_alone
    deletion_spares_what_is_excluded
    directories_on_the_way_are_made_when_asked_for
    compression_stats_progress_and_timeouts_do_no_harm
    one_connection_and_one_login_carry_everything
}

/// The bed's own scratch directory, and a tree in it.
fn near(bed: &dyn Bed) -> PathBuf {
    bed.client().dir().join("near")
}

fn an_odd_tree_goes_there_and_back_and_a_second_run_sends_nothing(bed: &dyn Bed) -> Tried {
    let (near, back, there) = (near(bed), bed.client().dir().join("back"), bed.far().join("there"));
    odd_tree(&near)?;
    let files = hopsync::lab::trees::list(&near)?.values().filter(|meta| meta.is_file()).count() as u64;
    let pushed = go(bed, ["-a", &slash(&near), &bed.operand("there")])?.well()?;
    same(&near, &there, ALL)?;
    assert_eq!((pushed.report.count("planned"), pushed.report.count("verified")), (files, files));
    assert_eq!((pushed.output.out(), pushed.output.err()), (String::new(), String::new()));

    let again = go(bed, ["-ai", &slash(&near), &bed.operand("there")])?.well()?;
    assert_eq!(again.output.out(), "");
    assert_eq!((again.report.count("unchanged"), again.report.count("moved-bytes")), (files, 0), "{}", again.said());
    same(&near, &there, ALL)?;

    let pulled = go(bed, ["-a", &slash_operand(bed, "there"), &slash(&back)])?.well()?;
    same(&near, &back, ALL)?;
    assert_eq!(pulled.report.count("verified"), files);
    let again = go(bed, ["-ai", &slash_operand(bed, "there"), &slash(&back)])?.well()?;
    assert_eq!(again.output.out(), "");
    assert_eq!((again.report.count("unchanged"), again.report.count("moved-bytes")), (files, 0), "{}", again.said());
    assert_eq!((temps(&there)?, temps(&back)?), (Vec::new(), Vec::new()));
    Ok(())
}

fn slash_operand(bed: &dyn Bed, path: &str) -> String {
    bed.operand(path) + "/"
}

fn every_way_to_verify_is_said_and_done(bed: &dyn Bed) -> Tried {
    let near = near(bed);
    fs::create_dir(&near)?;
    for (name, size) in [("empty", 0), ("small", 1000), ("large", 3 << 20), ("odd\nname", 400_000)] {
        random_file(&near.join(name), size, name.as_bytes())?;
    }
    for (way, verified, by) in [("auto", 4, None), ("readback", 4, Some("read-back")), ("off", 0, None)] {
        let option = format!("--verify={way}");
        let there = format!("push-{way}");
        let pushed = go(bed, ["-a", &option, &slash(&near), &bed.operand(&there)])?.well()?;
        same(&near, &bed.far().join(&there), ALL)?;
        let back = bed.client().dir().join(format!("back-{way}"));
        let pulled = go(bed, ["-a", &option, &slash_operand(bed, &there), &slash(&back)])?.well()?;
        same(&near, &back, ALL)?;
        for ran in [&pushed, &pulled] {
            assert_eq!((ran.report.count("verified"), ran.report.count("sent")), (verified, 4 - verified));
            if let Some(by) = by {
                let files = ran.report.summary()["verified-by"].as_array().into_iter().flatten();
                let by: Vec<_> = files.filter(|way| way["by"] == by).map(|way| way["files"].clone()).collect();
                assert_eq!(by, [3], "{}", ran.said());
            }
        }
    }
    Ok(())
}

fn modes_that_forbid_even_reading_and_modes_with_special_bits_arrive(bed: &dyn Bed) -> Tried {
    let (near, back) = (near(bed), bed.client().dir().join("back"));
    fs::create_dir(&near)?;
    // Who is not root cannot read 0000.
    let unreadable = rustix::process::getuid().is_root();
    let modes = [0o4755, 0o2755, 0o1644, 0o6711, 0o444, 0o200, 0o000].into_iter();
    for mode in modes.filter(|mode| unreadable || mode & 0o400 != 0) {
        let path = near.join(format!("{mode:o}"));
        random_file(&path, 100, b"mode")?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    let closed = near.join("closed/inner");
    fs::create_dir_all(&closed)?;
    random_file(&closed.join("file"), 10, b"inner")?;
    symlink("nowhere", closed.join("link"))?;
    for dir in [&closed, &near.join("closed")] {
        set_mtime(dir, 1_000_000_000)?;
        fs::set_permissions(dir, Permissions::from_mode(0o555))?;
    }
    go(bed, ["-a", &slash(&near), &bed.operand("there")])?.well()?;
    same(&near, &bed.far().join("there"), ALL)?;
    go(bed, ["-a", &slash_operand(bed, "there"), &slash(&back)])?.well()?;
    same(&near, &back, ALL)?;
    // Something new in a directory that is closed at the destination by now.
    fs::set_permissions(&closed, Permissions::from_mode(0o755))?;
    random_file(&closed.join("second"), 10, b"second")?;
    fs::set_permissions(&closed, Permissions::from_mode(0o555))?;
    go(bed, ["-a", &slash(&near), &bed.operand("there")])?.well()?;
    same(&near, &bed.far().join("there"), ALL)
}

fn a_file_goes_to_a_new_name_into_a_directory_and_over_an_old_file(bed: &dyn Bed) -> Tried {
    let (dir, far) = (bed.client().dir(), bed.far());
    let file = dir.join("-a file\n");
    random_file(&file, 70_000, b"one")?;
    let from = file.display().to_string();
    let exact = Aspects { modes: true, times: true, ..Aspects::CONTENT };
    go(bed, ["-a", &from, &bed.operand("new name")])?.well()?;
    same(&file, &far.join("new name"), exact)?;
    fs::create_dir(far.join("dir"))?;
    for dest in ["dir", "dir/"] {
        go(bed, ["-a", &from, &bed.operand(dest)])?.well()?;
        same(&file, &far.join("dir/-a file\n"), exact)?;
        fs::remove_file(far.join("dir/-a file\n"))?;
    }
    go(bed, ["-a", &from, &bed.operand("made/")])?.well()?;
    same(&file, &far.join("made/-a file\n"), exact)?;
    fs::write(far.join("old"), "other")?;
    go(bed, ["-a", &from, &bed.operand("old")])?.well()?;
    same(&file, &far.join("old"), exact)?;
    // And back.
    go(bed, ["-a", &bed.operand("old"), &dir.join("pulled").display().to_string()])?.well()?;
    same(&file, &dir.join("pulled"), exact)?;
    fs::create_dir(dir.join("into"))?;
    go(bed, ["-a", &bed.operand("old"), &bed.operand("new name"), &dir.join("into").display().to_string()])?.well()?;
    same(&file, &dir.join("into/old"), exact)?;
    same(&file, &dir.join("into/new name"), exact)
}

/// Paths that do not start with a slash. The home of a real sshd's account is the user's own: nothing is put there but a
/// name of ours, which is removed again.
fn paths_are_relative_to_the_home_directory(bed: &dyn Bed) -> Tried {
    struct Remove(PathBuf);
    impl Drop for Remove {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
    let dir = bed.client().dir();
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let probe = std::process::Command::new("ssh").arg("-F").arg(bed.ssh_config()).args([TARGET, "pwd"]).output()?;
    let home = PathBuf::from(String::from_utf8(probe.stdout)?.trim_end());
    assert!(home.is_absolute(), "{home:?}");
    let _cleaned = Remove(home.join(&name));
    let (file, back) = (dir.join("file"), dir.join("back"));
    random_file(&file, 100, b"home")?;
    let near = file.display().to_string();
    go(bed, ["-a", "--mkpath", &near, &format!("{TARGET}:{name}/relative/")])?.well()?;
    go(bed, ["-a", &near, &format!("{TARGET}:~/{name}/tilde")])?.well()?;
    go(bed, ["-a", &near, &format!("{TARGET}:./{name}/dot")])?.well()?;
    for (operand, path) in [
        (format!("{name}/relative/file"), "relative/file"),
        (format!("~/{name}/tilde"), "tilde"),
        (format!("./{name}/dot"), "dot"),
    ] {
        same(&file, &home.join(&name).join(path), Aspects::CONTENT)?;
        go(bed, ["-a", &format!("{TARGET}:{operand}"), &back.display().to_string()])?.well()?;
        same(&file, &back, Aspects::CONTENT)?;
        fs::remove_file(&back)?;
    }
    Ok(())
}

fn sources_that_are_missing_are_named_and_the_others_go(bed: &dyn Bed) -> Tried {
    let dir = bed.client().dir();
    random_file(&dir.join("there"), 100, b"")?;
    let ran = go(bed, ["-a", "there", "missing", &bed.operand("in/")])?.exits(23)?;
    assert!(ran.output.err().contains("missing"), "{}", ran.said());
    same(&dir.join("there"), &bed.far().join("in/there"), Aspects::CONTENT)?;
    let ran = go(bed, ["-a", &bed.operand("in/there"), &bed.operand("lost"), "back/"])?.exits(23)?;
    assert!(ran.output.err().contains("lost"), "{}", ran.said());
    same(&dir.join("there"), &dir.join("back/there"), Aspects::CONTENT)?;
    let alone = go(bed, ["-a", &bed.operand("lost"), "nothing"])?.exits(23)?;
    assert!(!dir.join("nothing").exists(), "{}", alone.said());
    // What we do not know, and what we know and do not do: never silently ignored.
    for option in ["--frobnicate", "-A", "-X", "-N", "--iconv=utf8"] {
        let ran = go(bed, ["-a", option, "there", &bed.operand("x")])?;
        assert!(
            [1, 4].contains(&ran.code()) && ran.output.err().contains(option.split('=').next().unwrap_or_default())
        );
    }
    go(bed, ["-a", "there", "other:x", "third:y"])?.exits(1)?;
    Ok(())
}

/// The commands of facts about parsl: with `-J` and options on the command line, and with a configuration that knows the
/// hosts. A configuration for `head` comes by `-F`: ports and keys of a test are not what a user's own file has.
fn parsls_commands_work_word_for_word(bed: &dyn Bed) -> Tried {
    let dir = bed.client().dir();
    let work = dir.join("worker/dir");
    fs::create_dir_all(&work)?;
    random_file(&bed.far().join("input"), 300_000, b"in")?;
    // The target's block has no jump here: `-J` says it.
    let config = fs::read_to_string(bed.ssh_config())?.replace("  ProxyJump head\n", "");
    let bare = dir.join("bare_config");
    fs::write(&bare, config)?;
    let j = format!("ssh -F {} -J {HEAD} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null", bare.display());
    let f = format!("ssh -F {}", bed.ssh_config().display());
    for (number, shell) in [&j, &f].into_iter().enumerate() {
        let input = work.join(format!("input-{number}"));
        let pulled =
            plain(bed, ["-avzq", "-e", shell, &bed.operand("input"), &input.display().to_string()]).run()?.well()?;
        assert_eq!(pulled.output.out(), "");
        same(&bed.far().join("input"), &input, Aspects::CONTENT)?;
        let out = bed.far().join(format!("made/for {number}"));
        let quoted = format!("mkdir -p '{}' && rsync", out.display());
        let to = format!("{TARGET}:{}/output", out.display());
        let mkdir = format!("--rsync-path={quoted}");
        let pushed = plain(bed, ["-avzq", "-e", shell, &mkdir, &input.display().to_string(), &to]).run()?.well()?;
        assert_eq!(pushed.output.out(), "");
        same(&input, &out.join("output"), Aspects::CONTENT)?;
    }
    // Unquoted, as the workflows have it, and RSYNC_RSH in the place of -e.
    let out = bed.far().join("plain/dir");
    let mkdir = format!("--rsync-path=mkdir -p {} && rsync", out.display());
    let mut run = plain(bed, ["-avzq", &mkdir, "worker/dir/input-0", &format!("{TARGET}:{}/output", out.display())]);
    run.command.env("RSYNC_RSH", &j);
    run.run()?.well()?;
    same(&bed.far().join("input"), &out.join("output"), Aspects::CONTENT)?;
    // Many tasks stage a directory by rsync's rule.
    plain(bed, ["-avzq", "-e", &j, &format!("{TARGET}:{}", bed.far().join("plain").display()), "worker"])
        .run()?
        .well()?;
    same(&bed.far().join("plain"), &dir.join("worker/plain"), ALL)
}

fn access_times_are_kept_if_asked_for_and_only_then(bed: &dyn Bed) -> Tried {
    let near = near(bed);
    fs::create_dir(&near)?;
    let (one, five) =
        (UNIX_EPOCH + Duration::from_secs(1_000_000_001), UNIX_EPOCH + Duration::from_secs(1_000_000_005));
    random_file(&near.join("file"), 100, b"")?;
    let touch = |path: &Path| {
        fs::File::options().write(true).open(path)?.set_times(fs::FileTimes::new().set_accessed(one).set_modified(five))
    };
    touch(&near.join("file"))?;
    go(bed, ["-a", &slash(&near), &bed.operand("plain")])?.well()?;
    assert_ne!(fs::metadata(bed.far().join("plain/file"))?.atime(), 1_000_000_001);
    // Set again each time: to read is to change it.
    touch(&near.join("file"))?;
    let ran = go(bed, ["-aUi", &slash(&near), &bed.operand("there")])?.well()?;
    assert!(ran.output.out().contains("<f+++++++++ file\n"), "{}", ran.said());
    let there = fs::metadata(bed.far().join("there/file"))?;
    assert_eq!((there.atime(), there.mtime()), (1_000_000_001, 1_000_000_005));
    touch(&near.join("file"))?;
    let ran = go(bed, ["-aUi", &slash(&near), &bed.operand("plain")])?.well()?;
    assert!(ran.output.out().contains(".f......u.. file\n"), "{}", ran.said());
    assert_eq!(fs::metadata(bed.far().join("plain/file"))?.atime(), 1_000_000_001);
    go(bed, ["-rU", &slash(&near), &bed.operand("x")])?.exits(1)?;
    go(bed, ["-aU", &slash_operand(bed, "there"), "back/"])?.well()?;
    assert_eq!(fs::metadata(bed.client().dir().join("back/file"))?.atime(), 1_000_000_001);
    Ok(())
}

/// Written in a directory of its own, and in its place at once.
fn temporary_files_lie_where_they_are_asked_to(bed: &dyn Bed) -> Tried {
    let near = near(bed);
    fs::create_dir_all(near.join("sub"))?;
    random_file(&near.join("small"), 100, b"")?;
    random_file(&near.join("sub/large"), 3_000_000, b"l")?;
    let place = bed.far().join("temps");
    fs::create_dir(&place)?;
    for (dir, there) in [(place.display().to_string(), "absolute"), ("../temps".to_owned(), "relative")] {
        go(bed, ["-a", "-T", &dir, &slash(&near), &bed.operand(&format!("{there}/"))])?.well()?;
        same(&near, &bed.far().join(there), ALL)?;
        assert_eq!(hopsync::lab::trees::list(&place)?.len(), 1);
        let back = format!("back-{there}/");
        fs::create_dir(bed.client().dir().join(&back))?;
        go(bed, ["-a", "--temp-dir=..", &slash_operand(bed, there), &back])?.well()?;
        same(&near, &bed.client().dir().join(&back), ALL)?;
    }
    let ran = go(bed, ["-a", "-T", "/nowhere", &slash(&near), &bed.operand("lost/")])?.exits(1)?;
    assert!(ran.output.err().contains("The temp-dir does not exist: /nowhere"), "{}", ran.said());
    assert!(!bed.far().join("lost/small").exists());
    Ok(())
}

fn a_dry_run_changes_nothing_and_says_what_it_would(bed: &dyn Bed) -> Tried {
    let (near, far) = (near(bed), bed.far().join("there"));
    fs::create_dir_all(near.join("sub"))?;
    random_file(&near.join("sub/file"), 100, b"")?;
    fs::create_dir(&far)?;
    fs::write(far.join("extra"), "x")?;
    let before = fs::metadata(&far)?.mtime_nsec();
    let ran = go(bed, ["-ain", "--delete", &slash(&near), &bed.operand("there")])?.well()?;
    let said = ran.output.out();
    assert!(said.contains("*deleting   extra\n"), "{said}");
    assert!(said.contains("cd+++++++++ sub/\n<f+++++++++ sub/file\n"), "{said}");
    assert_eq!(hopsync::lab::trees::list(&far)?.len(), 2);
    assert_eq!(fs::metadata(&far)?.mtime_nsec(), before);
    // To a place that does not exist.
    let ran = go(bed, ["-ain", &slash(&near), &bed.operand("nowhere")])?.well()?;
    assert!(ran.output.out().contains("<f+++++++++ sub/file\n"), "{}", ran.said());
    assert!(!bed.far().join("nowhere").exists());
    // Pulled.
    let ran = go(bed, ["-ain", &slash_operand(bed, "there"), "nowhere/"])?.well()?;
    assert!(ran.output.out().contains(">f+++++++++ extra\n"), "{}", ran.said());
    assert!(!bed.client().dir().join("nowhere").exists());
    Ok(())
}

fn what_is_newer_unchanged_or_only_touched_is_left_alone(bed: &dyn Bed) -> Tried {
    let (near, far) = (near(bed), bed.far().join("there"));
    fs::create_dir_all(&near)?;
    fs::create_dir_all(&far)?;
    for (name, here, there, time_here, time_there) in [
        ("newer there", "old", "newer", 1000, 2000),
        ("older there", "new!", "old", 2000, 1000),
        ("same size and time", "AAAA", "BBBB", 1000, 1000),
        ("touched", "same", "same", 2000, 1000),
    ] {
        fs::write(near.join(name), here)?;
        set_mtime(&near.join(name), time_here)?;
        fs::write(far.join(name), there)?;
        set_mtime(&far.join(name), time_there)?;
    }
    let content = |name: &str| fs::read_to_string(far.join(name));
    let ran = go(bed, ["-au", &slash(&near), &bed.operand("there")])?.well()?;
    assert_eq!((content("newer there")?.as_str(), content("older there")?.as_str()), ("newer", "new!"));
    assert_eq!(content("same size and time")?, "BBBB");
    assert_eq!(ran.report.count("skipped"), 1);
    // -c sees what the quick check does not, and sends nothing that is the same.
    fs::remove_file(near.join("newer there"))?;
    set_mtime(&far.join("touched"), 1000)?;
    let ran = go(bed, ["-aci", &slash(&near), &bed.operand("there")])?.well()?;
    assert_eq!(content("same size and time")?, "AAAA");
    assert_eq!(ran.report.count("verified"), 1, "{}", ran.said());
    assert!(ran.output.out().contains("<fc........ same size and time\n"), "{}", ran.said());
    assert!(ran.output.out().contains(".f..t...... touched\n"), "{}", ran.said());
    assert_eq!(fs::metadata(far.join("touched"))?.mtime(), 2000);
    Ok(())
}

fn deletion_spares_what_is_excluded(bed: &dyn Bed) -> Tried {
    let (near, far) = (near(bed), bed.far().join("there"));
    for (top, names) in [
        (&near, &["keep", "sub/keep", "note.log"][..]),
        (&far, &["keep", "gone", "sub/gone", "old/deep/gone", "old.log", "kept/a.log", "kept/b"][..]),
    ] {
        for name in names {
            let path = top.join(name);
            fs::create_dir_all(path.parent().unwrap_or(top))?;
            fs::write(path, name)?;
        }
    }
    let names = |top: &Path| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        Ok(hopsync::lab::trees::list(top)?.keys().map(|name| name.display().to_string()).collect())
    };
    let args = ["-a", "--delete", "--exclude", "*.log", &slash(&near), &bed.operand("there")];
    let ran = go(bed, args)?.well()?;
    let left = ["", "keep", "kept", "kept/a.log", "old.log", "sub", "sub/keep"];
    assert_eq!(names(&far)?, left, "{}", ran.said());
    assert_eq!(ran.report.count("deleted"), 6, "{}", ran.said());
    // Pulled, without excludes.
    go(bed, ["-a", "--delete", &slash_operand(bed, "there"), &slash(&near)])?.well()?;
    assert_eq!(names(&near)?, left);
    go(bed, ["-a", "--delete", "--delete-excluded", "--exclude", "*.log", &slash(&near), &bed.operand("there")])?
        .well()?;
    assert_eq!(names(&far)?, ["", "keep", "kept", "sub", "sub/keep"]);
    Ok(())
}

fn directories_on_the_way_are_made_when_asked_for(bed: &dyn Bed) -> Tried {
    let dir = bed.client().dir();
    random_file(&dir.join("file"), 100, b"")?;
    let ran = go(bed, ["-a", "file", &bed.operand("a/b/c/")])?;
    assert_ne!(ran.code(), 0);
    assert!(!bed.far().join("a").exists());
    go(bed, ["-a", "--mkpath", "file", &bed.operand("a/b/c/")])?.well()?;
    go(bed, ["-a", "--mkpath", "file", &bed.operand("d/e/name")])?.well()?;
    for path in ["a/b/c/file", "d/e/name"] {
        same(&dir.join("file"), &bed.far().join(path), Aspects::CONTENT)?;
    }
    go(bed, ["-a", "--mkpath", &bed.operand("d/e/name"), "x/y/"])?.well()?;
    same(&dir.join("file"), &dir.join("x/y/name"), Aspects::CONTENT)
}

fn compression_stats_progress_and_timeouts_do_no_harm(bed: &dyn Bed) -> Tried {
    let near = near(bed);
    fs::create_dir(&near)?;
    random_file(&near.join("random"), 2 << 20, b"")?;
    let holes = File::create_new(near.join("holes"))?;
    holes.set_len(5 << 20)?;
    holes.write_all_at(b"end", (5 << 20) - 3)?;
    let args = ["-azv", "--stats", "--progress", "--timeout=30", &slash(&near), &bed.operand("there")];
    let ran = go(bed, args)?.well()?;
    same(&near, &bed.far().join("there"), ALL)?;
    let out = ran.output.out();
    for line in [
        "Number of files: 3 (reg: 2, dir: 1)\n",
        "Number of regular files transferred: 2\n",
        "Total file size: 7,340,032 bytes\n",
    ] {
        assert!(out.contains(line), "{out}");
    }
    go(bed, ["-azh", "--timeout", "30", &slash_operand(bed, "there"), "back/"])?.well()?;
    same(&near, &bed.client().dir().join("back"), ALL)
}

fn one_connection_and_one_login_carry_everything(bed: &dyn Bed) -> Tried {
    let near = near(bed);
    hopsync::lab::trees::many_files(&near, 200, 5000)?;
    let odd = near.join(std::ffi::OsStr::from_bytes(b"\xff"));
    random_file(&odd, 10 << 20, b"big")?;
    let ran = go(bed, ["-a", &slash(&near), &bed.operand("there")])?.well()?;
    let counts = bed.counts();
    assert_eq!((counts.head_connections, counts.head_logins), (1, 1));
    assert_eq!((counts.target_connections, counts.target_logins), (1, 1));
    assert_eq!((ran.report.count("connections"), ran.report.count("verified")), (1, 201));
    assert_eq!(ran.report.drops(), 0, "{}", ran.said());
    let ran = go(bed, ["-a", &slash_operand(bed, "there"), "back/"])?.well()?;
    assert_eq!((ran.report.count("connections"), ran.report.count("verified")), (1, 201));
    same(&near, &bed.client().dir().join("back"), ALL)
}
