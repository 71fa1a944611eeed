//! The plan against rsync itself: what a dry run of rsync itemizes, entry by entry and in its order, is what ours decides.
//!
//! Generated pairs of trees × options, local to local, from a fixed seed. It needs `rsync` on the PATH and fails without it.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use hopsync::entry::{Entry, Kind, Meta};
use hopsync::job::Options;
use hopsync::plan::diff::Filters;
use hopsync::plan::diff::diff_dir;
use hopsync::plan::filter::Filter;
use hopsync::plan::quick_check::{Context, Decision, Differs, MakeWay, Reason};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// One run of rsync is some milliseconds; the whole test stays within seconds.
const CASES: u32 = 60;
const UMASK: u32 = 0o022;

/// What is put under one name.
#[derive(Debug, Clone)]
enum Thing {
    File { size: usize, fill: u8, mtime: u64, mode: u32 },
    Dir { mtime: u64, mode: u32, inside: Vec<(&'static str, Thing)> },
    Link(&'static str),
}

fn thing(depth: u32) -> BoxedStrategy<Thing> {
    let modes = || prop::sample::select(vec![0o644, 0o640, 0o755, 0o700]);
    let file = (1usize..3, b'a'..=b'b', 1u64..3, modes());
    let file = file.prop_map(|(size, fill, mtime, mode)| Thing::File { size, fill, mtime, mode });
    let link = prop::sample::select(vec!["x", "y"]).prop_map(Thing::Link);
    if depth == 0 {
        return prop_oneof![4 => file, 1 => link].boxed();
    }
    let dir = (1u64..3, modes(), things(depth - 1));
    let dir = dir.prop_map(|(mtime, mode, inside)| Thing::Dir { mtime, mode: mode | 0o111, inside });
    prop_oneof![4 => file, 1 => link, 3 => dir].boxed()
}

fn things(depth: u32) -> BoxedStrategy<Vec<(&'static str, Thing)>> {
    const NAMES: [&str; 9] = ["a", "a-b", "a.b", "ab", "B", "b", "-x", "z z", "~"];
    let some = prop::sample::subsequence(NAMES.to_vec(), 0..6);
    some.prop_flat_map(move |names| {
        let things = prop::collection::vec(thing(depth), names.len());
        things.prop_map(move |things| names.iter().copied().zip(things).collect())
    })
    .boxed()
}

fn make(at: &Path, inside: &[(&'static str, Thing)]) -> std::io::Result<()> {
    let set = |path: &Path, mtime: u64, mode: u32| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + mtime);
        OpenOptions::new().read(true).open(path)?.set_times(FileTimes::new().set_modified(time))?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    for (name, thing) in inside {
        let path = at.join(name);
        match thing {
            Thing::File { size, fill, mtime, mode } => {
                fs::write(&path, vec![*fill; *size])?;
                set(&path, *mtime, *mode)?;
            }
            Thing::Dir { mtime, mode, inside } => {
                fs::create_dir(&path)?;
                make(&path, inside)?;
                set(&path, *mtime, *mode)?;
            }
            Thing::Link(target) => symlink(target, &path)?,
        }
    }
    Ok(())
}

fn list(dir: &Path) -> std::io::Result<Vec<Entry>> {
    fs::read_dir(dir)?
        .map(|entry| {
            let entry = entry?;
            let stat = entry.path().symlink_metadata()?;
            let kind = Kind::from_mode(stat.mode()).ok_or(std::io::ErrorKind::InvalidData)?;
            let target = match kind {
                Kind::Symlink => Some(fs::read_link(entry.path())?.into_os_string().into_vec()),
                _ => None,
            };
            let meta = Meta {
                kind,
                size: stat.len(),
                mtime: stat.mtime(),
                mtime_nsec: 0,
                atime: 0,
                mode: stat.mode() & 0o7777,
                uid: stat.uid(),
                gid: stat.gid(),
                dev: 0,
                ino: 0,
                links: 1,
            };
            Ok(Entry { name: entry.file_name().as_bytes().to_vec(), meta, target })
        })
        .collect()
}

/// rsync's `%i` of a decision: the first nine of eleven columns are all that these trees can touch.
fn itemize(opts: &Options, kind: Kind, decision: Decision) -> Option<String> {
    let letter = match kind {
        Kind::Dir => 'd',
        Kind::Symlink => 'L',
        _ => 'f',
    };
    let moved = if kind == Kind::File { '>' } else { 'c' };
    let columns = |update: char, differs: Differs, sent: bool| {
        let mark = |on: bool, mark: char| if on { mark } else { '.' };
        let time = match (differs.time, sent && !opts.times) {
            (_, true) => 'T',
            (time, _) => mark(time, 't'),
        };
        let (content, size, mode) = (mark(differs.content, 'c'), mark(differs.size, 's'), mark(differs.mode, 'p'));
        format!("{update}{letter}{content}{size}{time}{mode}.....")
    };
    match decision {
        Decision::Create | Decision::Replace(_) => Some(format!("{moved}{letter}+++++++++")),
        Decision::Update(differs) => Some(columns(moved, differs, true)),
        Decision::Attributes(differs) => Some(columns('.', differs, false)),
        Decision::Unchanged | Decision::Skip(_) => None,
        Decision::NeedHash(_) => Some("a hash that nobody asked for".into()),
    }
}

/// What our plan would print.
struct Ours<'a> {
    ctx: Context<'a>,
    source: &'a Path,
    dest: &'a Path,
    lines: Vec<String>,
    deleted: Vec<String>,
    /// A dry run does not tell what would become of this: a directory that is not empty is in the way of something else, or
    /// `--ignore-existing` keeps what is in the way of a directory.
    untold: bool,
}

impl Ours<'_> {
    fn dir(&mut self, at: &str) -> std::io::Result<()> {
        let path = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            if at.is_empty() { name.into_owned() } else { format!("{at}/{name}") }
        };
        let dest = self.dest.join(at);
        let dest = if dest.symlink_metadata().is_ok_and(|stat| stat.is_dir()) { Some(list(&dest)?) } else { None };
        let plan = diff_dir(
            at.as_bytes(),
            list(&self.source.join(at))?,
            dest,
            &self.ctx,
            Filters::both(&Filter::default()),
            true,
        );
        for gone in plan.delete {
            self.delete(&path(&gone.name), gone.meta.is_dir())?;
        }
        for step in plan.steps {
            let path = path(&step.entry.name);
            let kind = step.entry.meta.kind;
            let decision = match step.decision {
                Decision::NeedHash(_) => {
                    let same = fs::read(self.source.join(&path))? == fs::read(self.dest.join(&path))?;
                    step.decision.after_hash(same)
                }
                other => other,
            };
            if let Decision::Replace(MakeWay::EmptyDir | MakeWay::Tree) = decision {
                self.untold |= fs::read_dir(self.dest.join(&path))?.next().is_some();
            }
            self.untold |= kind == Kind::Dir && decision == Decision::Skip(Reason::Exists);
            if let Some(columns) = itemize(self.ctx.opts, kind, decision) {
                let tail = match (kind, &step.entry.target) {
                    (Kind::Dir, _) => "/".into(),
                    (_, Some(target)) => format!(" -> {}", String::from_utf8_lossy(target)),
                    _ => String::new(),
                };
                self.lines.push(format!("{columns} {path}{tail}"));
            }
            if kind == Kind::Dir && !matches!(decision, Decision::Skip(_)) {
                self.dir(&path)?;
            }
        }
        Ok(())
    }

    fn delete(&mut self, path: &str, is_dir: bool) -> std::io::Result<()> {
        if is_dir {
            let opts = Options { delete: self.ctx.opts.delete, ..Options::default() };
            let ctx = Context { opts: &opts, ..self.ctx.clone() };
            let inside = Some(list(&self.dest.join(path))?);
            for gone in
                diff_dir(path.as_bytes(), Vec::new(), inside, &ctx, Filters::both(&Filter::default()), true).delete
            {
                self.delete(&format!("{path}/{}", String::from_utf8_lossy(&gone.name)), gone.meta.is_dir())?;
            }
        }
        self.deleted.push(format!("*deleting   {path}{}", if is_dir { "/" } else { "" }));
        Ok(())
    }
}

/// Options as rsync's arguments and as ours.
fn options() -> impl Strategy<Value = (Vec<&'static str>, Options)> {
    type Set = fn(&mut Options);
    let all: Vec<(&'static str, Set)> = vec![
        ("--links", |opts| opts.links = true),
        ("--perms", |opts| opts.perms = true),
        ("--times", |opts| opts.times = true),
        ("--times", |opts| opts.times = true),
        ("--omit-dir-times", |opts| opts.omit_dir_times = true),
        ("--update", |opts| opts.update = true),
        ("--checksum", |opts| opts.checksum = true),
        ("--ignore-times", |opts| opts.ignore_times = true),
        ("--size-only", |opts| opts.size_only = true),
        ("--ignore-existing", |opts| opts.ignore_existing = true),
        ("--existing", |opts| opts.existing = true),
        ("--max-size=1", |opts| opts.max_size = Some(1)),
        ("--min-size=2", |opts| opts.min_size = Some(2)),
        ("--delete", |opts| opts.delete.enabled = true),
        ("--chmod=D750,Fg-r,o=", |opts| opts.chmod = Some("D750,Fg-r,o=".into())),
    ];
    prop::sample::subsequence(all, 0..6).prop_map(|chosen| {
        let mut opts = Options { recursive: true, ..Options::default() };
        chosen.iter().for_each(|(_, set)| set(&mut opts));
        (chosen.iter().map(|(argument, _)| *argument).collect(), opts)
    })
}

#[test]
fn what_rsync_itemizes_is_what_our_plan_decides() {
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, max_shrink_iters: 300, ..Default::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&(things(2), things(2), options()), |(new, old, (arguments, opts))| {
        let temp = tempfile::tempdir()?;
        let (source, dest) = (temp.path().join("s"), temp.path().join("d"));
        for (path, inside) in [(&source, &new), (&dest, &old)] {
            fs::create_dir(path)?;
            make(path, inside)?;
        }
        let ctx = Context::new(&opts, UMASK).map_err(TestCaseError::fail)?;
        let mut ours = Ours { ctx, source: &source, dest: &dest, lines: vec![], deleted: vec![], untold: false };
        ours.dir("")?;
        prop_assume!(!ours.untold);

        let output = Command::new("sh")
            .args(["-c", "umask 022; exec rsync \"$@\"", "sh", "-r", "-n", "-i"])
            .args(&arguments)
            .args([format!("{}/", source.display()), format!("{}/", dest.display())])
            .env("LC_ALL", "C")
            .output()
            .expect("this test needs sh");
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        prop_assert!(
            output.status.code() != Some(127),
            "this test compares with rsync, and rsync did not start: install rsync and put it on the PATH"
        );
        prop_assert!(output.status.success(), "{}", errors);
        let unspoken = |line: &&str| !line.ends_with(" ./") && !line.starts_with("skipping ") && !line.is_empty();
        let (deleted, lines): (Vec<String>, Vec<String>) =
            text.lines().filter(unspoken).map(str::to_owned).partition(|line| line.starts_with("*deleting"));
        prop_assert_eq!(&ours.lines, &lines, "{:?} {}", arguments, errors);
        prop_assert_eq!(&ours.deleted, &deleted, "{:?}", arguments);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
