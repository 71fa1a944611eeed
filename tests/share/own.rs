//! Who keeps a connection of its own.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hopsync::lab::bed::{Bed, Embedded};
use hopsync::lab::relay::Line;
use hopsync::lab::run::run;

use crate::crowd::*;

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
    let pull = || {
        vec!["-n".to_owned(), "--channels=1".to_owned(), bed.operand("large"), format!("{}/", path(bed.client().dir()))]
    };
    let pulled = crowd.storm(1, |_| pull(), |_| {})?;
    all_well(&pulled);
    assert_eq!(ways(&pulled[0]), (1, 1));
    let summary = pulled[0].report.last().ok_or("no summary")?;
    let channels = (summary["channels-max"].as_u64(), summary["channels-open"].as_u64());
    assert_eq!(channels, (Some(2), Some(0)), "the one for files and the one for hashing, not the shared one too");
    // So is a directory: one with a few files is shared, one that goes deeper is not.
    let back = |from: &str| vec!["-n".to_owned(), bed.operand(from), format!("{}/", path(bed.client().dir()))];
    assert_eq!(ways(&crowd.storm(1, |_| back("there/here"), |_| {})?[0]), (1, 0));
    assert_eq!(ways(&crowd.storm(1, |_| back("there"), |_| {})?[0]), (1, 1));
    // One that is named as a directory is taken for large, as a tree to be pushed is; but for a path that seems long, as it does
    // where a loaded machine's banner comes late.
    let named = ways(&crowd.storm(1, |_| back("there/"), |_| {})?[0]);
    assert!(matches!(named, (0, 1) | (1, 0)), "{named:?}");
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
fn a_tree_shares_what_stands_already_where_a_login_would_show() -> Tried {
    // A relay tells its distance only by when the banner comes.
    let far = Line { delay: Duration::from_millis(40), rate: None };
    let bed = Embedded::with(|_| {}, |_| {}, Some(far))?;
    let crowd = Crowd::of(&bed)?;
    let (tree, back) = (bed.client().dir().join("tree"), bed.client().dir().join("back"));
    files(&tree.join("a/b"), 20, 1_000)?;
    fs::create_dir_all(&back)?;
    let slashed = |path: &Path| format!("{}/", path.display());
    let push = |from: &Path, to: &str| crowd.storm(1, |_| vec![slashed(from), bed.operand(to)], |_| {});
    let pull = |from: &str| crowd.storm(1, |_| vec![bed.operand(from), slashed(&back)], |_| {});
    // Nothing stands: a login has to be in any case.
    let cold = push(&tree, "cold/")?;
    all_well(&cold);
    assert_eq!(ways(&cold[0]), (0, 1));
    let file = tree.join("a/b/f0");
    assert_eq!(ways(&crowd.storm(1, |_| vec![path(&file), bed.operand("f")], |_| {})?[0]), (1, 0));
    let warm = push(&tree, "warm/")?;
    all_well(&warm);
    assert_eq!(ways(&warm[0]), (1, 0));
    same_files(&tree.join("a/b"), &bed.far().join("warm/a/b"))?;
    let warm = pull("warm/")?;
    all_well(&warm);
    assert_eq!(ways(&warm[0]), (1, 0));
    same_files(&tree.join("a/b"), &back.join("a/b"))?;
    // What takes longer than a login has its own; of a pull that is found by looking.
    fs::File::create(tree.join("a/large"))?.set_len(40 << 20)?;
    fs::File::create(bed.far().join("warm/a/large"))?.set_len(40 << 20)?;
    let large = push(&tree, "large/")?;
    all_well(&large);
    assert_eq!(ways(&large[0]), (0, 1));
    let large = pull("warm/")?;
    all_well(&large);
    assert_eq!(ways(&large[0]), (1, 1));
    assert_eq!(fs::metadata(back.join("a/large"))?.len(), 40 << 20);
    Ok(())
}

#[test]
fn a_crowd_that_tells_how_much_it_sends_has_lanes_for_it_at_once() -> Tried {
    // So far that what twenty files have is worth lanes, and over before a rate would tell so.
    let far = Line { delay: Duration::from_millis(150), rate: None };
    let bed = Embedded::with(|_| {}, |_| {}, Some(far))?;
    let crowd = Crowd::of(&bed)?;
    let here = bed.client().dir().join("here");
    let sent = files(&here, 20, 1 << 20)?;
    let ran = crowd.storm(sent.len(), |n| vec![path(&sent[n]), bed.operand("")], |_| {})?;
    all_well(&ran);
    assert!(ran.iter().all(|ran| ways(ran) == (1, 0)));
    for path in &sent {
        let name = path.file_name().ok_or("a name")?;
        assert!(fs::read(path)? == fs::read(bed.far().join(name))?, "{name:?} differs");
    }
    // A lane's login is carried through, though its files may have gone another way by then.
    let begun = Instant::now();
    while bed.counts().target_logins < 3 && begun.elapsed() < DEADLINE {
        std::thread::sleep(Duration::from_millis(5));
    }
    let counts = bed.counts();
    assert!((counts.head_logins, counts.target_logins >= 3) == (1, true), "{counts:?}");
    Ok(())
}
