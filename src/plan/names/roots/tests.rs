//! Operands, held against where rsync 3.5.0 was seen to put things.

use super::*;

const ABSENT: DestState = DestState::Absent { parent_exists: true };
const NO_PARENT: DestState = DestState::Absent { parent_exists: false };

fn file(path: &str) -> Source<'_> {
    Source { path: path.as_bytes(), is_dir: false }
}

fn dir(path: &str) -> Source<'_> {
    Source { path: path.as_bytes(), is_dir: true }
}

/// Each source's path, and the path where it arrives.
fn mapped(sources: &[Source<'_>], dest: &str, state: DestState, items: Items) -> Result<Vec<String>, UsageError> {
    let mapping = map(sources, &Dest { path: dest.as_bytes(), state }, items, false)?;
    let text = |path: Vec<u8>| String::from_utf8_lossy(&path).into_owned();
    let arrow =
        |root: &Root| format!("{} > {}", text(root.source_path()), text(join(&mapping.dest_dir, &root.dest_name)));
    Ok(mapping.roots.iter().map(arrow).collect())
}

fn one(source: Source<'_>, dest: &str, state: DestState, items: Items) -> String {
    match mapped(&[source], dest, state, items) {
        Ok(paths) => paths.concat(),
        Err(error) => format!("{}: {error}", error.code),
    }
}

#[test]
fn a_trailing_slash_means_the_contents() {
    for (source, arrives) in [
        ("foo", "foo > d/foo"),
        ("a//b/foo", "a//b/foo > d/foo"),
        ("foo/", "foo > d"),
        ("foo//", "foo > d"),
        ("foo/.", "foo > d"),
        ("foo/./", "foo > d"),
        ("a/foo/..", "a/foo/.. > d"),
        ("..", ".. > d"),
        (".", ". > d"),
        ("./", ". > d"),
        ("", ". > d"),
        ("/", "/ > d"),
        ("//", "/ > d"),
        ("/etc", "/etc > d/etc"),
    ] {
        assert_eq!(one(dir(source), "d", DestState::Dir, Items::Many), arrives, "{source:?}");
    }
}

#[test]
fn filters_and_names_start_at_the_item_or_in_the_directory() {
    let root = |path| root(&dir(path));
    assert_eq!((root("/a/foo").source_dir, root("/a/foo").name), (b"/a".to_vec(), b"foo".to_vec()));
    assert_eq!((root("/foo").source_dir, root("/foo").name), (b"/".to_vec(), b"foo".to_vec()));
    assert_eq!((root("a/foo/").source_dir, root("a/foo/").name), (b"a/foo".to_vec(), b"".to_vec()));
    assert_eq!((root("foo").source_dir, root("foo").name), (b"".to_vec(), b"foo".to_vec()));
}

#[test]
fn the_destination_is_a_new_name_only_for_a_single_item() {
    assert_eq!(one(file("one"), "nd", ABSENT, Items::One), "one > nd");
    assert_eq!(one(file("one"), "a/nd", ABSENT, Items::One), "one > a/nd");
    assert_eq!(one(file("one"), "/nd", ABSENT, Items::One), "one > /nd");
    assert_eq!(one(file("one"), "nd/", ABSENT, Items::One), "one > nd/one");
    assert_eq!(one(file("one"), "nd", DestState::NonDir, Items::One), "one > nd");
    assert_eq!(one(dir("empty"), "nd", ABSENT, Items::One), "empty > nd");
    assert_eq!(one(dir("empty/"), "nd", ABSENT, Items::One), "empty > nd");
    assert_eq!(one(dir("empty"), "nd/", ABSENT, Items::One), "empty > nd/empty");
    assert_eq!(one(dir("full"), "nd", ABSENT, Items::Many), "full > nd/full");
    assert_eq!(one(dir("full/"), "nd", ABSENT, Items::Many), "full > nd");
    let several = mapped(&[file("one"), dir("a/")], "nd", ABSENT, Items::Many);
    assert_eq!(several, Ok(vec!["one > nd/one".into(), "a > nd".into()]));
}

#[test]
fn only_the_last_component_is_created_unless_mkpath() {
    let create = |dest: &str, state, items, mkpath| {
        map(&[file("one")], &Dest { path: dest.as_bytes(), state }, items, mkpath).map(|mapping| mapping.create)
    };
    assert_eq!(create("nd/", ABSENT, Items::One, false), Ok(Create::Dir(b"nd".to_vec())));
    assert_eq!(create("nd", ABSENT, Items::One, true), Ok(Create::Nothing));
    assert_eq!(create("a/b", NO_PARENT, Items::One, true), Ok(Create::Path(b"a".to_vec())));
    assert_eq!(create("a/b/", NO_PARENT, Items::One, true), Ok(Create::Path(b"a/b".to_vec())));
    assert_eq!(create("a/b", NO_PARENT, Items::Many, true), Ok(Create::Path(b"a/b".to_vec())));
    assert_eq!(create("a/b", NO_PARENT, Items::One, false).map_err(|error| error.code), Err(3));
    assert_eq!(create("a/b/", NO_PARENT, Items::One, false).map_err(|error| error.code), Err(11));
    assert_eq!(create("nd", ABSENT, Items::None, false), Ok(Create::Nothing));
}

#[test]
fn what_does_not_fit_onto_a_file_is_refused_as_rsync_does() {
    for (source, dest, items, error) in [
        (dir("full"), "f", Items::Many, "3: ERROR: destination must be a directory when copying more than 1 file"),
        (dir("empty"), "f", Items::One, "3: ERROR: cannot overwrite non-directory with a directory"),
        (file("one"), "f/", Items::One, "3: ERROR: cannot stat destination \"f/\": Not a directory (20)"),
    ] {
        assert_eq!(one(source, dest, DestState::NonDir, items), error);
    }
}
