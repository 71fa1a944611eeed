//! At a distance each answer takes a round trip: what can be asked together is not asked one after the other. The targets here
//! leave requests unanswered, and the run is stopped once all that should be on their way have come.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hopsync::lab::bed::{Bed, Embedded};
use hopsync::lab::faults::{Faults, Nth, Trouble};
use hopsync::lab::relay::Line;
use std::time::Duration;

use crate::deleting::stop_once;
use crate::harness::*;

/// SSH_FXP_*
const OPEN: u8 = 3;
const LSTAT: u8 = 7;
const OPENDIR: u8 = 11;
const REMOVE: u8 = 13;
const RMDIR: u8 = 15;
const STAT: u8 = 17;
const READLINK: u8 = 19;
const EXTENDED: u8 = 200;

/// A target that leaves some requests of one type unanswered, and counts them all.
struct Target {
    bed: Embedded,
    faults: Faults,
}

impl Target {
    fn new(silent: Option<Nth>, request: u8) -> std::io::Result<Target> {
        Target::with(silent, request, None)
    }

    fn with(silent: Option<Nth>, request: u8, more: Option<Trouble>) -> std::io::Result<Target> {
        let request = Some(request);
        let silent = silent.map(|nth| (nth, Trouble::Swallow { request }));
        let counted = (Nth::Always, Trouble::Delay { request, by: Duration::ZERO });
        let faults = Faults::new(silent.into_iter().chain([counted]).chain(more.map(|trouble| (Nth::Always, trouble))));
        let given = faults.clone();
        // With no handle foreseen, an answer that does not come costs no channel.
        let bed = Embedded::target(|config| (config.faults, config.handles_again) = (given, 0))?;
        Ok(Target { bed, faults })
    }

    /// The same behind a relay, so that it is known to be far.
    fn afar(silent: Nth, request: u8) -> std::io::Result<Target> {
        let request = Some(request);
        let faults = Faults::new([
            (silent, Trouble::Swallow { request }),
            (Nth::Always, Trouble::Delay { request, by: Duration::ZERO }),
        ]);
        let (given, line) = (faults.clone(), Line { delay: Duration::from_millis(40), rate: None });
        let bed = Embedded::with(|_| {}, |config| (config.faults, config.handles_again) = (given, 0), Some(line))?;
        Ok(Target { bed, faults })
    }

    fn asked(&self) -> u64 {
        self.faults.fired(0) + self.faults.fired(1)
    }

    /// Runs until so many requests have come.
    fn asks(&self, wanted: u64, args: &[String]) -> Tried {
        let ran = over(&self.bed, args).run_with(|child| stop_once(child, || self.asked() >= wanted))?.exits(20)?;
        assert!(self.asked() >= wanted, "{} of {wanted}: {}", self.asked(), ran.said());
        Ok(())
    }

    /// An empty directory of ours.
    fn near(&self) -> Result<String, Box<dyn std::error::Error>> {
        let near = self.bed.client().dir().join("near");
        fs::create_dir_all(&near)?;
        Ok(slash(&near))
    }
}

fn args(options: &[&str], operands: [String; 2]) -> Vec<String> {
    options.iter().map(ToString::to_string).chain(operands).collect()
}

fn file(path: &Path) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, "content")
}

#[test]
fn what_matches_wildcards_is_asked_for_together() -> Tried {
    for (pattern, request) in [("d*/f", LSTAT), ("d*/", STAT)] {
        let target = Target::new(Some(Nth::Always), request)?;
        for number in 0..20 {
            file(&target.bed.far().join(format!("d{number}/f")))?;
        }
        target.asks(20, &args(&["-a"], [target.bed.operand(pattern), target.near()?]))?;
    }
    Ok(())
}

#[test]
fn listed_names_are_asked_for_together() -> Tried {
    let names = |target: &Target, names: &[String]| -> Result<String, std::io::Error> {
        let list = target.bed.client().dir().join("names");
        fs::write(&list, names.join("\n"))?;
        Ok(format!("--files-from={}", list.display()))
    };
    // Links.
    let target = Target::new(Some(Nth::Always), READLINK)?;
    let links: Vec<String> = (0..20).map(|number| format!("d{number}/l")).collect();
    for link in &links {
        fs::create_dir_all(target.bed.far().join("from").join(link).parent().unwrap_or(Path::new("")))?;
        symlink("f", target.bed.far().join("from").join(link))?;
    }
    let list = names(&target, &links)?;
    target.asks(20, &args(&["-a", &list], [target.bed.operand("from"), target.near()?]))?;

    // What is not there; of the directory that all are in, it is asked once before.
    let target = Target::new(Some(Nth::From(2)), STAT)?;
    fs::create_dir_all(target.bed.far().join("from"))?;
    let list = names(&target, &links)?;
    target.asks(20, &args(&["-a", &list], [target.bed.operand("from"), target.near()?]))
}

/// Ten directories, each with three in it that have a file.
fn tree(top: &Path) -> std::io::Result<()> {
    (0..30).try_for_each(|number| file(&top.join(format!("d{}/in{}/f", number % 10, number / 10))))
}

#[test]
fn what_lies_in_a_directory_is_listed_while_the_one_before_is_silent() -> Tried {
    let options: [&[&str]; 5] = [&["-r", "--list-only"], &["-aL"], &["-ax"], &["-aK"], &["-a", "--existing"]];
    for options in options {
        let invocation = |target: &Target| -> Result<Vec<String>, Box<dyn std::error::Error>> {
            tree(&target.bed.far().join("from"))?;
            let all = [options, &["--channels=1", "--verify=off"]].concat();
            Ok(args(&all, [format!("{}/", target.bed.operand("from")), target.near()?]))
        };
        let target = Target::new(None, OPENDIR)?;
        let mut all = invocation(&target)?;
        let lists = options.contains(&"--list-only");
        all.truncate(all.len() - usize::from(lists));
        over(&target.bed, &all).run()?.well()?;
        let whole = target.faults.fired(0);

        // The first directory in the top.
        let target = Target::new(Some(Nth::Only(whole - 39)), OPENDIR)?;
        let mut all = invocation(&target)?;
        all.truncate(all.len() - usize::from(lists));
        target.asks(whole - 3, &all)?;
    }
    Ok(())
}

#[test]
fn the_destination_is_asked_for_all_listed_names_together() -> Tried {
    let invocation = |target: &Target| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        tree(&target.bed.far().join("there"))?;
        let (near, list) = (target.near()?, target.bed.client().dir().join("names"));
        tree(Path::new(&near))?;
        let names: Vec<String> = (0..30).map(|number| format!("d{}/in{}/f", number % 10, number / 10)).collect();
        fs::write(&list, names.join("\n"))?;
        let list = format!("--files-from={}", list.display());
        Ok(args(&["-a", &list, "--channels=1"], [near, target.bed.operand("there")]))
    };
    let target = Target::new(None, LSTAT)?;
    over(&target.bed, &invocation(&target)?).run()?.well()?;
    // Ten directories, thirty in them, and the files in those. Of one of the ten it does not hear what is in it.
    let whole = target.faults.fired(0);
    let target = Target::new(Some(Nth::Only(whole - 59)), LSTAT)?;
    target.asks(whole - 3, &invocation(&target)?)
}

#[test]
fn directories_that_may_be_empty_are_looked_into_together() -> Tried {
    let empty =
        |target: &Target| (0..10).try_for_each(|n| fs::create_dir_all(target.bed.far().join(format!("from/e{n}"))));
    let target = Target::new(None, OPENDIR)?;
    empty(&target)?;
    let invocation = |target: &Target, option: &str| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        Ok(args(&[option, "--channels=1"], [format!("{}/", target.bed.operand("from")), target.near()?]))
    };
    over(&target.bed, &invocation(&target, "-a")?).run()?.well()?;
    let whole = target.faults.fired(0);
    let target = Target::new(Some(Nth::From(whole - 9)), OPENDIR)?;
    empty(&target)?;
    // Each is listed for its turn, too.
    target.asks(whole + 10, &invocation(&target, "-am")?)
}

#[test]
fn what_links_lead_to_is_asked_for_in_all_directories_together() -> Tried {
    for options in ["-ak", "--copy-unsafe-links"] {
        let invocation = |target: &Target| -> Result<Vec<String>, Box<dyn std::error::Error>> {
            let outside = target.bed.far().join("outside");
            fs::create_dir_all(&outside)?;
            for number in 0..10 {
                let dir = target.bed.far().join(format!("from/d{number}"));
                fs::create_dir_all(&dir)?;
                symlink(&outside, dir.join("l"))?;
            }
            let from = format!("{}/", target.bed.operand("from"));
            Ok(args(&["-a", options, "--channels=1"], [from, target.near()?]))
        };
        let target = Target::new(None, STAT)?;
        over(&target.bed, &invocation(&target)?).run()?.well()?;
        let whole = target.faults.fired(0);
        let target = Target::new(Some(Nth::From(whole - 9)), STAT)?;
        target.asks(whole, &invocation(&target)?)?;
    }
    Ok(())
}

#[test]
fn what_a_basis_may_have_is_hashed_together() -> Tried {
    // No hasher is there: what is to be hashed is opened and read.
    let target = Target::with(Some(Nth::Always), OPEN, Some(Trouble::NoPath))?;
    let near = target.near()?;
    for number in 0..20 {
        let path = format!("d{}/f{number}", number % 5);
        file(&target.bed.far().join("basis").join(&path))?;
        file(&Path::new(&near).join(&path))?;
    }
    let options = ["-rlc", "--link-dest=../basis", "--verify=off"];
    fs::create_dir_all(target.bed.far().join("there"))?;
    target.asks(20, &args(&options, [near, target.bed.operand("there")]))
}

#[test]
fn what_is_in_the_way_of_files_is_removed_together() -> Tried {
    let target = Target::new(Some(Nth::Always), REMOVE)?;
    let near = target.near()?;
    fs::create_dir_all(target.bed.far().join("there"))?;
    for number in 0..20 {
        file(&Path::new(&near).join(number.to_string()))?;
        symlink("elsewhere", target.bed.far().join(format!("there/{number}")))?;
    }
    target.asks(20, &args(&["-a"], [near, target.bed.operand("there")]))
}

#[test]
fn directories_in_the_way_of_files_are_looked_into_and_emptied_together() -> Tried {
    let cases = [("-a", OPENDIR, false), ("-a", RMDIR, false), ("-ai", REMOVE, true), ("-ain", OPENDIR, true)];
    for (option, request, filled) in cases {
        let silent = if request == OPENDIR { Nth::From(LEARNS + 2) } else { Nth::Always };
        let target = Target::new(Some(silent), request)?;
        let near = target.near()?;
        for number in 0..20 {
            let there = target.bed.far().join(format!("there/{number}"));
            fs::create_dir_all(&there)?;
            if filled {
                file(&there.join("in"))?;
            }
            file(&Path::new(&near).join(number.to_string()))?;
        }
        let before = if request == OPENDIR { LEARNS + 1 } else { 0 };
        let options = if filled { vec![option, "--force", "--channels=1"] } else { vec![option, "--channels=1"] };
        target.asks(before + 20, &args(&options, [near, target.bed.operand("there")]))?;
    }
    Ok(())
}

#[test]
fn directories_that_take_the_place_of_something_are_listed_together() -> Tried {
    // As links to them, which nothing foretells.
    let target = Target::new(Some(Nth::From(LEARNS + 2)), OPENDIR)?;
    let near = target.near()?;
    for number in 0..20 {
        file(&target.bed.far().join(format!("there/{number}/in")))?;
        fs::create_dir_all(target.bed.far().join("from"))?;
        symlink(format!("../there/{number}"), target.bed.far().join(format!("from/{number}")))?;
        file(&Path::new(&near).join(number.to_string()))?;
    }
    let from = format!("{}/", target.bed.operand("from"));
    target.asks(LEARNS + 1 + 20, &args(&["-ak", "--channels=1"], [from, near]))
}

#[test]
fn rules_in_directories_that_go_are_read_together() -> Tried {
    let target = Target::new(Some(Nth::Always), OPEN)?;
    for number in 0..20 {
        let dir = target.bed.far().join(format!("there/{number}"));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(".rules"), "P x\n")?;
    }
    let options = ["-a", "--delete", "--filter=dir-merge .rules", "--verify=off", "--channels=1"];
    target.asks(20, &args(&options, [target.near()?, target.bed.operand("there")]))
}

#[test]
fn what_makes_way_is_moved_to_the_backups_together() -> Tried {
    // The first one asks for the server's limits; the others rename.
    let target = Target::new(Some(Nth::From(2)), EXTENDED)?;
    let near = target.near()?;
    fs::create_dir_all(target.bed.far().join("there"))?;
    for number in 0..20 {
        file(&Path::new(&near).join(number.to_string()))?;
        symlink("elsewhere", target.bed.far().join(format!("there/{number}")))?;
    }
    target.asks(21, &args(&["-ab", "--channels=1"], [near, target.bed.operand("there")]))
}

#[test]
fn what_is_deleted_is_moved_to_a_directory_of_backups_together() -> Tried {
    for kept in ["../kept", "kept"] {
        // The first one asks for the server's limits; the others rename.
        let target = Target::new(Some(Nth::From(2)), EXTENDED)?;
        for number in 0..20 {
            file(&target.bed.far().join(format!("there/d{}/f{number}", number % 5)))?;
        }
        let dir = format!("--backup-dir={kept}");
        let options = ["-a", "--delete", "--backup", &dir, "--channels=1"];
        let all = args(&options, [target.near()?, target.bed.operand("there")]);
        target.asks(21, &all)?;
        for number in 0..20 {
            let path = target.bed.far().join("there").join(kept).join(format!("d{}/f{number}", number % 5));
            assert!(path.exists(), "{number}");
        }
    }
    Ok(())
}

#[test]
fn what_is_missing_here_and_goes_there_is_asked_for_and_removed_together() -> Tried {
    for (silent, request) in [(Nth::Always, LSTAT), (Nth::Always, REMOVE)] {
        let target = Target::new(Some(silent), request)?;
        let (near, list) = (target.near()?, target.bed.client().dir().join("names"));
        for number in 0..20 {
            file(&target.bed.far().join(format!("there/{number}")))?;
        }
        fs::write(&list, (0..20).map(|number| format!("{number}\n")).collect::<String>())?;
        let options = ["-a", "--delete-missing-args", &format!("--files-from={}", list.display()), "--channels=1"];
        target.asks(20, &args(&options, [near, target.bed.operand("there")]))?;
    }
    Ok(())
}

/// A directory in a directory, so many deep.
fn chain(top: &Path, deep: usize) -> std::io::Result<()> {
    let levels = (0..deep).map(|level| format!("d{level}"));
    fs::create_dir_all(levels.fold(top.to_owned(), |path, name| path.join(name)))
}

/// What a channel opens when it starts, to learn what handles look like.
const LEARNS: u64 = 2;

#[test]
fn a_deep_tree_is_listed_at_once() -> Tried {
    let target = Target::afar(Nth::Always, OPENDIR)?;
    chain(&target.bed.far().join("there"), 12)?;
    // One that a filter keeps from coming is not listed, nor what is in it.
    chain(&target.bed.far().join("there/out"), 3)?;
    let options = ["-a", "--channels=1", "--exclude=out"];
    let near = target.near()?;
    target.asks(LEARNS + 13, &args(&options, [target.bed.operand("there/"), near]))?;
    assert_eq!(target.asked(), LEARNS + 13);
    Ok(())
}

#[test]
fn a_deep_tree_that_goes_is_listed_at_once() -> Tried {
    // Only the directory that it lies in is.
    let target = Target::afar(Nth::From(LEARNS + 2), OPENDIR)?;
    chain(&target.bed.far().join("there"), 12)?;
    let near = target.near()?;
    let ends = [near, target.bed.operand("there/")];
    target.asks(LEARNS + 13, &args(&["-a", "--channels=1", "--delete"], ends))
}

#[test]
fn what_several_directories_bring_is_listed_together() -> Tried {
    // Each has the same fifteen in it, which are silent; they are listed.
    let target = Target::new(Some(Nth::From(LEARNS + 3)), OPENDIR)?;
    for number in 0..30 {
        file(&target.bed.far().join(format!("{}/d{}/f{number}", ["one", "other"][number % 2], number / 2)))?;
    }
    let mut all = args(&["-a", "--channels=1", "--verify=off"], [target.bed.operand("one/"), target.near()?]);
    all.insert(all.len() - 1, target.bed.operand("other/"));
    target.asks(LEARNS + 2 + 30, &all)
}

#[test]
fn what_is_deleted_becomes_backups_beside_itself_together() -> Tried {
    // The first one asks for the server's limits.
    let target = Target::new(Some(Nth::From(2)), EXTENDED)?;
    (0..20).try_for_each(|number| file(&target.bed.far().join(format!("there/f{number}"))))?;
    let near = target.near()?;
    let ends = [near, target.bed.operand("there/")];
    target.asks(21, &args(&["-ab", "--suffix=.old", "--delete", "--verify=off", "--channels=1"], ends))
}

/// Else its small packets would wait for each other (`ssh::awake`).
#[test]
fn a_far_head_is_asked_to_run_something_once_and_a_near_one_nothing() -> Tried {
    use std::sync::atomic::Ordering::Relaxed;

    let far = Some(Line { delay: Duration::from_millis(40), rate: None });
    for (line, sessions, config, asked, refused) in [
        (far, 1, "", 1, 0),
        (None, 1, "", 0, 0),
        // It offers no sessions, or none are wanted there.
        (far, 0, "", 0, 1),
        (far, 1, "Host head\n  SessionType none\n", 0, 0),
    ] {
        let bed = Embedded::with(|head| head.max_sessions = sessions, |_| {}, line)?;
        let hosts = fs::read_to_string(bed.ssh_config())?;
        fs::write(bed.ssh_config(), format!("{config}{hosts}"))?;
        file(&bed.client().dir().join("file"))?;
        let ran = over(&bed, args(&["-a"], ["file".to_owned(), bed.operand("file")])).run()?.well()?;
        assert_eq!((ran.report.drops(), ran.report.count("refused")), (0, 0), "{}", ran.said());
        let head = bed.head_server().stats();
        assert_eq!((head.commands.load(Relaxed), head.refused_sessions.load(Relaxed)), (asked, refused), "{config}");
    }
    Ok(())
}

/// The words for the session that was to wake it come first.
#[test]
fn a_far_head_that_opens_no_sessions_says_why_it_cannot_go_on() -> Tried {
    let far = Some(Line { delay: Duration::from_millis(40), rate: None });
    // Closed again: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let nowhere = |head: &mut hopsync::lab::server::Config| {
        head.max_sessions = 0;
        head.routes.iter_mut().for_each(|route| route.to = nobody);
    };
    let bed = Embedded::with(nowhere, |_| {}, far)?;
    file(&bed.client().dir().join("file"))?;
    let ran = over(&bed, args(&["-a"], ["file".to_owned(), bed.operand("file")])).run()?;
    assert!(ran.said().contains("refused") && !ran.said().contains("open failed"), "{}", ran.said());
    Ok(())
}
