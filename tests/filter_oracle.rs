//! The filters against rsync itself: what rsync sends and deletes is what ours let through.
//!
//! Generated trees × generated rules, local to local, from a fixed seed. It needs `rsync` on the PATH and fails without it.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use hopsync::plan::filter::{Contents, Filter, Rule, Side, Stop};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// One run of rsync is some milliseconds; the whole test stays within seconds.
const CASES: u32 = 60;

/// Runs rsync and returns its lines as printed, backslash escapes and all.
fn rsync(rules: &[String], extra: &[&str], source: &Path, dest: &Path) -> BTreeSet<String> {
    let slash = |path: &Path| format!("{}/", path.display());
    let output = Command::new("rsync")
        .args(["-r", "--out-format=%n"])
        .args(rules.iter().map(|rule| format!("--filter={rule}")))
        .args(extra)
        .args([slash(source), slash(dest)])
        .env("LC_ALL", "C")
        .output()
        .expect("this test compares with rsync, and rsync did not start: install rsync and put it on the PATH");
    assert!(output.status.success(), "{rules:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().expect("an entry of our own tree").is_dir()
}

fn children(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory of our own tree");
    entries.map(|entry| String::from_utf8_lossy(entry.expect("an entry").file_name().as_bytes()).into_owned()).collect()
}

/// The filter within a directory, with the rules that it brings.
fn entered(filter: &Filter, root: &Path, at: &str, side: Side) -> Filter {
    let mut contents = Contents::new();
    loop {
        match filter.enter(at.as_bytes(), side, &contents) {
            Ok(inner) => return inner,
            Err(Stop::Needs(path)) => {
                let file = root.join(std::ffi::OsStr::from_bytes(&path));
                contents.insert(path, std::fs::read(file).ok());
            }
            Err(Stop::Wrong(text)) => panic!("rsync took it: {text}"),
        }
    }
}

/// The paths below `at` that our filter sends, directories with a slash.
fn sent(filter: &Filter, root: &Path, at: &str, into: &mut BTreeSet<String>) {
    let filter = &entered(filter, root, at, Side::Sender);
    for name in children(&root.join(at)) {
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        let dir = is_dir(&root.join(&path));
        if filter.excludes(path.as_bytes(), dir, Side::Sender) {
            continue;
        }
        into.insert(format!("{path}{}", if dir { "/" } else { "" }));
        if dir {
            sent(filter, root, &path, into);
        }
    }
}

/// The paths below `at` that our filter keeps `--delete` from removing: protected ones, and the directories that hold any.
fn kept(filter: &Filter, root: &Path, at: &str, into: &mut BTreeSet<String>) -> bool {
    let filter = &entered(filter, root, at, Side::Receiver);
    let mut any = false;
    for name in children(&root.join(at)) {
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        let dir = is_dir(&root.join(&path));
        let protected = match at.is_empty() {
            true => filter.excludes(path.as_bytes(), dir, Side::Receiver),
            false => filter.protects_within_deletion(path.as_bytes(), dir),
        };
        if protected && dir {
            all(root, &path, into);
        }
        if protected || dir && kept(filter, root, &path, into) {
            any = true;
            into.insert(path);
        }
    }
    any
}

/// Every path below `at`.
fn all(root: &Path, at: &str, into: &mut BTreeSet<String>) {
    for name in children(&root.join(at)) {
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        if is_dir(&root.join(&path)) {
            all(root, &path, into);
        }
        into.insert(path);
    }
}

fn component() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a", "b", "ab", "a.o", "b.o", "foo", "foobar", "x-y", "A1", "[a]", "a*", "a?b", "a b", "!",
    ])
    .prop_map(str::to_owned)
}

/// Whole patterns that people write, and random ones from the same letters.
fn pattern() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        "o",
        "foo",
        "bar",
        ".o",
        "*",
        "*",
        "**",
        "***",
        "?",
        "/",
        "/",
        "[ab]",
        "[!a]",
        "[[:alpha:]]",
        "[^x-z]",
        "[a-c.]",
        "[[:punct:]]",
        "\\*",
        "\\[",
        "[",
        "]",
        "-",
        " ",
        "!",
        "\\",
    ]);
    let random = prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat());
    let usual = prop::sample::select(vec![
        "*.o", "/a", "a/", "/a/**", "a/***", "/foo/***", "**/a", "a/b", "a/*", "/*/b", "*/", "*", "**", "a**b", "foo*",
        "/", "a/**/b", "**/", "**/b/", "/***", "***", "*/a", "[a]", "\\[a]", "a\\*",
    ])
    .prop_map(str::to_owned);
    prop_oneof![usual, random]
}

fn rule() -> impl Strategy<Value = String> {
    let head = prop::sample::select(vec![
        "- ",
        "- ",
        "- ",
        "+ ",
        "+ ",
        "-! ",
        "+! ",
        "H ",
        "S ",
        "P ",
        "R ",
        "-p ",
        "-s ",
        "+r ",
        "-sr ",
        "exclude ",
        "show,! ",
        "-/ ",
        "protect,p ",
    ]);
    prop_oneof![30 => (head, pattern()).prop_map(|(head, pattern)| format!("{head}{pattern}")), 1 => Just("!".to_owned())]
}

/// Rules that look for `.r` in each directory.
fn merge_rule() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        ": .r",
        ": .r",
        ":n .r",
        ":e .r",
        ":- .r",
        ":p- .r",
        ":s- .r",
        ":r+ .r",
        ": /.r",
        ":en- x/.r",
    ])
    .prop_map(str::to_owned)
}

#[test]
fn what_rsync_sends_and_deletes_is_what_our_filter_lets_through() {
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Default::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let tree = prop::collection::vec((prop::collection::vec(component(), 1..4), any::<bool>()), 1..12);
    let rules = prop::collection::vec(prop_oneof![4 => rule(), 1 => merge_rule()], 1..5);
    let files = prop::collection::vec((0usize..6, prop::collection::vec(rule(), 0..4)), 0..4);
    let outcome = runner.run(&(tree, rules, files, any::<bool>()), |(tree, rules, files, delete_excluded)| {
        let temp = tempfile::tempdir()?;
        let (full, empty) = (temp.path().join("full"), temp.path().join("empty"));
        std::fs::create_dir(&full)?;
        std::fs::create_dir(&empty)?;
        for (components, dir) in &tree {
            let path = full.join(components.join("/"));
            // A path through a file, or onto a directory, cannot be made: the tree is what could be.
            let parent = path.parent().is_some_and(|parent| std::fs::create_dir_all(parent).is_ok());
            let _ = if *dir { std::fs::create_dir(&path) } else { std::fs::write(&path, "") };
            prop_assert!(parent || !path.exists());
        }
        let mut directories = vec![full.clone()];
        directories
            .extend(tree.iter().map(|(components, _)| full.join(components.join("/"))).filter(|path| path.is_dir()));
        for (at, lines) in &files {
            std::fs::write(directories[at % directories.len()].join(".r"), lines.join("\n"))?;
        }
        let parsed: Result<Vec<Rule>, String> = rules.iter().map(|rule| Rule::parse(rule.as_bytes())).collect();
        let parsed = parsed.map_err(TestCaseError::fail)?;
        let root = |path: &Path| path.canonicalize().map(|path| path.into_os_string());
        let (full_root, empty_root) = (root(&full)?, root(&empty)?);

        let filter = Filter::new(&parsed).roots(full_root.as_bytes(), empty_root.as_bytes());
        let mut ours = BTreeSet::new();
        sent(&filter, &full, "", &mut ours);
        let mut theirs = rsync(&rules, &["-n"], &full, &empty);
        theirs.remove("./");
        prop_assert_eq!(ours, theirs, "sent");

        let filter =
            Filter::new(&parsed).roots(empty_root.as_bytes(), full_root.as_bytes()).delete_excluded(delete_excluded);
        let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
        kept(&filter, &full, "", &mut ours);
        rsync(&rules, &[if delete_excluded { "--delete-excluded" } else { "--delete" }], &empty, &full);
        all(&full, "", &mut theirs);
        prop_assert_eq!(ours, theirs, "kept; --delete-excluded: {}", delete_excluded);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
