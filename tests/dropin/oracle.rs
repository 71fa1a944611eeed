//! rsync itself is asked: the same operands and options, the same two trees; the exit code, what is itemized, and what lies
//! there afterwards must be the same. rsync runs from disk to disk, we over the embedded pair, both ways.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use hopsync::lab::bed::{Bed, Embedded, TARGET};
use hopsync::lab::run::run;
use hopsync::lab::trees::{Aspects, differences, set_mtime};

use crate::harness::*;

/// Two trees that differ in every way that a quick check can see, below `at`: `src` and `dst`.
fn scene(at: &Path) -> Tried {
    let file = |name: &str, content: &str, mtime: i64, mode: u32| -> Tried {
        let path = at.join(name);
        fs::create_dir_all(path.parent().unwrap_or(at))?;
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(set_mtime(&path, mtime)?)
    };
    for (name, content, mtime, mode) in [
        ("src/same", "same", 1000, 0o644),
        ("dst/same", "same", 1000, 0o644),
        ("src/touched", "same", 2000, 0o644),
        ("dst/touched", "same", 1000, 0o644),
        ("src/mode", "same", 1000, 0o750),
        ("dst/mode", "same", 1000, 0o644),
        ("src/grown", "longer now", 2000, 0o644),
        ("dst/grown", "short", 1000, 0o600),
        ("src/older", "older here", 1000, 0o644),
        ("dst/older", "newer there", 5000, 0o644),
        ("src/silent", "AAAA", 1000, 0o644),
        ("dst/silent", "BBBB", 1000, 0o644),
        ("src/new", "new", 1000, 0o600),
        ("src/sub/deep/new", "new", 1000, 0o664),
        ("src/sub/a.log", "log", 1000, 0o644),
        ("src/b.log", "log", 1000, 0o644),
        ("dst/extra", "extra", 1000, 0o644),
        ("dst/extra.log", "extra", 1000, 0o644),
        ("dst/old/deep/extra", "extra", 1000, 0o644),
        ("dst/old/keep.log", "extra", 1000, 0o644),
        ("dst/sub/extra", "extra", 1000, 0o644),
        ("src/file or dir", "file here", 1000, 0o644),
        ("src/link or file", "file here", 1000, 0o644),
        ("dst/becomes link", "file there", 1000, 0o644),
        ("one", "one", 1000, 0o644),
        ("two words", "two", 1000, 0o640),
    ] {
        file(name, content, mtime, mode)?;
    }
    fs::create_dir(at.join("dst/file or dir"))?;
    fs::create_dir_all(at.join("src/empty"))?;
    symlink("same", at.join("src/link"))?;
    symlink("other", at.join("dst/link"))?;
    symlink("target", at.join("src/becomes link"))?;
    symlink("elsewhere", at.join("dst/link or file"))?;
    for dir in ["src/sub/deep", "src/sub", "src/empty", "src"] {
        set_mtime(&at.join(dir), 1_500_000_000)?;
    }
    for link in ["src/link", "dst/link", "src/becomes link", "dst/link or file"] {
        set_mtime(&at.join(link), 1_400_000_000)?;
    }
    Ok(())
}

/// Options and operands; the last one is the destination.
const CASES: &[&str] = &[
    "-a src dst",
    "-a src/ dst",
    "-a src/ dst/",
    "-a src/. dst",
    "-a src new",
    "-a src/ new",
    "-a src new/",
    "-a src/sub src/new dst",
    "-a src/sub/ src/new dst",
    "-a one dst",
    "-a one dst/",
    "-a one fresh",
    "-a one fresh/",
    "-a one dst/same",
    "-a one src/same new",
    "-a missing one dst",
    "-a missing dst",
    "-a one no/such/dir/",
    "-a --mkpath one no/such/dir/",
    "-a --mkpath one no/such/name",
    "-r src/ dst",
    "-rl src/ dst",
    "-rlp src/ dst",
    "-rlt src/ dst",
    "-rpt src/ dst",
    "src/ dst",
    "one dst",
    "-d src/ dst",
    "-a --no-r src/ dst",
    "-au src/ dst",
    "-ac src/ dst",
    "-rc src/ dst",
    "-aI src/ dst",
    "-a --size-only src/ dst",
    "-a --existing src/ dst",
    "-a --ignore-existing src/ dst",
    "-a --delete src/ dst",
    "-a --delete src dst",
    "-a --delete --exclude=*.log src/ dst",
    "-a --delete --delete-excluded --exclude=*.log src/ dst",
    "-a --delete --max-delete=2 src/ dst",
    "-a --delete -n src/ dst",
    "-an src/ dst",
    "-anc src/ dst",
    "-a --exclude=sub src/ dst",
    "-a --exclude=/sub/deep src/ dst",
    "-a --include=*/ --include=*.log --exclude=* src/ dst",
    "-aL src/sub src/same dst",
    "-a --max-size=4 src/ dst",
    "-a --min-size=5 src/ dst",
    "-a --chmod=D750,F640 src/ dst",
    "-aO src/ dst",
    "-ii -a src/ dst",
    "-a -v src/ dst",
];

fn words(case: &str) -> Vec<&str> {
    case.split(' ').collect()
}

/// What was printed, told alike whatever the direction; the totals, which count bytes on the wire, left out.
fn printed(text: &str) -> Vec<String> {
    let totals = |line: &&str| {
        !(line.starts_with("sent ") || line.starts_with("total size") || line.ends_with("incremental file list"))
    };
    let lines = text.lines().filter(totals).filter(|line| !line.is_empty());
    lines.map(|line| line.replacen("<f", ">f", usize::from(line.starts_with("<f")))).collect()
}

/// Differences but for times that are those of the run itself, which two runs do not share.
fn unlike(left: &Path, right: &Path, began: i64) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut found = differences(left, right, Aspects { link_times: true, ..Aspects::ARCHIVE })?;
    found.retain(|line| {
        let times = line.rsplit_once("mtime ").and_then(|(_, times)| times.split_once(", not "));
        let now = |time: &str| time.parse::<i64>().is_ok_and(|time| time >= began);
        !times.is_some_and(|(left, right)| now(left) && now(right))
    });
    Ok(found)
}

fn asked(pull: bool) -> Tried {
    let bed = Embedded::start()?;
    let dir = bed.client().dir();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() as i64;
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let (theirs, ours) = (dir.join(format!("theirs-{number}")), dir.join(format!("ours-{number}")));
        scene(&theirs)?;
        scene(&ours)?;
        let mut all = words(case);
        let dest = all.pop().unwrap_or_default();
        let (options, sources): (Vec<_>, Vec<_>) = all.into_iter().partition(|word| word.starts_with('-'));
        let verbose = options.contains(&"-v");

        let mut rsync = Command::new("rsync");
        rsync
            .args(if verbose { None } else { Some("-i") })
            .args(&options)
            .args(&sources)
            .arg(dest)
            .current_dir(&theirs);
        let rsync = run(rsync, DEADLINE)?;

        let far = |path: &str| format!("{TARGET}:{}/{path}", ours.display());
        let sources: Vec<String> =
            sources.iter().map(|path| if pull { far(path) } else { (*path).to_owned() }).collect();
        let dest = if pull { dest.to_owned() } else { far(dest) };
        let args = options.iter().map(|option| (*option).to_owned()).chain(sources).chain([dest]);
        let itemize = (!verbose).then(|| "-i".to_owned());
        let mut invocation = over(&bed, itemize.into_iter().chain(args));
        invocation.command.current_dir(&ours);
        let ran = invocation.run()?;

        // The far end's paths are whole ones here.
        let here = format!("{}/", ours.display());
        let (mut expected, mut got) = (printed(&rsync.out()), printed(&ran.output.out().replace(&here, "")));
        // Whether both found the same is asked here, not in which order: hashes come when they come, deletions last.
        expected.sort();
        got.sort();
        let shown = |lines: &[String]| lines.join("\n    ");
        let mut what = unlike(&theirs, &ours, now)?;
        if rsync.code != ran.code() {
            what.push(format!("exit {}, not {}", ran.code(), rsync.code));
        }
        if expected != got {
            what.push(format!("printed\n    {}\n  not\n    {}", shown(&got), shown(&expected)));
        }
        if !what.is_empty() {
            wrong.push(format!("{case}:\n  {}\n  {}", what.join("\n  "), ran.output.err()));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} cases:\n{}", wrong.len(), wrong.join("\n")).into()) }
}

#[test]
fn pushes_do_what_rsync_does() -> Tried {
    asked(false)
}

#[test]
fn pulls_do_what_rsync_does() -> Tried {
    asked(true)
}
