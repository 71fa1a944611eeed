//! The table of cases.
//!
//! - [`operands`]: what is copied, and what is deleted or left out; [`rules`]: filter rules in files.
//! - [`writing`]: how things are written; [`lines`]: what is printed, taken or refused.

use crate::harness::{Case, Ends};
use crate::scene::{Scene, Thing};

mod lines;
mod operands;
mod rules;
mod writing;

const ALL: &[Ends] = &[Ends::Local, Ends::Push, Ends::Pull];
const HERE: &[Ends] = &[Ends::Local];
const FROM: &[Ends] = &[Ends::Local, Ends::Pull];
const BACK: &[Ends] = &[Ends::Pull];
const TO: &[Ends] = &[Ends::Push];

fn file(path: &str) -> Thing {
    Thing::File { path: path.to_owned(), content: path.to_owned(), mode: 0o644, time: 1000 }
}

fn dir(path: &str) -> Thing {
    Thing::Dir { path: path.to_owned(), mode: 0o755, time: 1000 }
}

fn link(path: &str, target: &str) -> Thing {
    Thing::Link { path: path.to_owned(), target: target.to_owned(), time: 1000 }
}

/// Things of each kind in the place of what is named as a backup.
fn backups() -> Scene {
    Scene::Made(vec![
        link("src/changed~", "x"),
        link("dst/changed~", "y"),
        link("src/was file~", "x"),
        file("dst/was file~"),
        file("src/was link~"),
        link("dst/was link~", "y"),
        dir("src/now dir~"),
        link("dst/now dir~", "y"),
    ])
}

/// Files of which some have the names of others' backups.
fn named_alike() -> Scene {
    let old = |path: &str| lines(path, "this was there");
    Scene::Made(vec![
        file("src/both"),
        old("dst/both"),
        file("src/both~"),
        file("src/same"),
        old("dst/same"),
        lines("src/same~", "same"),
        lines("dst/same~", "same"),
        old("dst/gone"),
        lines("src/gone~", "same"),
        lines("dst/gone~", "same"),
    ])
}

/// What cannot be removed, and what can, in the place of files.
fn in_the_way() -> Scene {
    Scene::Made(vec![file("src/dir"), file("dst/dir/full"), file("src/link"), link("dst/link", "y")])
}

/// Links within the source, to one another's files and out of it.
fn led() -> Scene {
    Scene::Made(vec![
        file("src/f"),
        link("src/a", "f"),
        link("src/z", "f"),
        file("src/d/in"),
        file("src/d/deep/y"),
        link("src/d/also", "in"),
        link("src/d/up", "../f"),
        link("src/c", "d"),
        link("src/e", "../elsewhere"),
        dir("src/g"),
        link("src/g/h", "../d"),
        link("src/u", "../one"),
        file("elsewhere/x"),
        file("one"),
        lines("list", "c/deep/y\nc/in\nd/in\ne/x\n"),
        lines("list dirs", "c\nc/\ne/\n"),
    ])
}

/// What cannot be removed for a --max-delete, and what can.
fn bounded() -> Scene {
    Scene::Made(vec![file("src/x"), file("dst/x/in"), file("dst/x/more"), file("dst/extra")])
}

/// Directories in the place of a file and of a link.
fn crowded() -> Scene {
    Scene::Made(vec![file("src/x"), link("src/y", "x"), file("dst/x/in"), file("dst/y/in"), file("dst/y/out")])
}

fn extraneous() -> Scene {
    let file = |path: &str| lines(path, "same");
    Scene::Made(vec![
        dir("src/d"),
        file("src/d/f"),
        dir("dst/d"),
        file("dst/d/f"),
        file("dst/d/extra"),
        dir("dst/void"),
    ])
}

/// Files that are all the same at both ends but for their times.
fn alike() -> Scene {
    let empty = |path: &str, time| Thing::File { path: path.to_owned(), content: String::new(), mode: 0o644, time };
    Scene::Made(vec![
        empty("src/empty", 1000),
        empty("dst/empty", 2000),
        lines("src/full", "x"),
        lines("dst/full", "x"),
    ])
}

/// A file of which a basis has only a later name.
fn later() -> Scene {
    let hard = |path: &str, of: &str| Thing::Hard { path: path.to_owned(), of: of.to_owned() };
    Scene::Made(vec![
        lines("src/a", "same"),
        hard("src/b", "src/a"),
        hard("src/c", "src/a"),
        lines("ref/b", "same"),
        lines("src/other", "same"),
        dir("src/sub"),
        hard("src/sub/other", "src/other"),
    ])
}

/// A file that a link leads to under another name.
fn reached() -> Scene {
    let hard = |path: &str, of: &str| Thing::Hard { path: path.to_owned(), of: of.to_owned() };
    let (link, other) = (link("src/e", "d"), link("src/f", "a"));
    Scene::Made(vec![file("src/a"), dir("src/d"), hard("src/d/b", "src/a"), link, other])
}

fn lines(path: &str, content: &str) -> Thing {
    Thing::File { path: path.to_owned(), content: content.to_owned(), mode: 0o644, time: 1000 }
}

/// All of them, over the ends that each is for.
pub fn table() -> Vec<Case> {
    let groups: &[(Scene, &[Ends], &[&str])] = &[
        (Scene::Plain, ALL, operands::BASICS),
        (Scene::Plain, ALL, operands::DELETION),
        (Scene::Plain, FROM, operands::LISTING),
        (Scene::Plain, ALL, operands::LISTS),
        (Scene::Plain, HERE, operands::LISTS_SENT),
        (Scene::Plain, TO, operands::LISTS_SENT),
        (Scene::Plain, BACK, &["-ai --files-from=:list src dst", "-ai --files-from=far:list src dst"]),
        (Scene::Plain, TO, &["-ai --files-from=:list src dst", "-ai --files-from=far:list src/ new"]),
        (Scene::Plain, ALL, operands::RELATIVE),
        (Scene::Plain, ALL, operands::ABSENT),
        (Scene::Plain, ALL, operands::BARE),
        (Scene::Plain, ALL, lines::HEADINGS),
        (Scene::Plain, FROM, &["-av src/", "-v one", "-dv src/"]),
        (Scene::Plain, HERE, operands::ONTO_ITSELF),
        (Scene::Plain, HERE, operands::INSIDE),
        (Scene::Linked, HERE, operands::LINKED_TO),
        (Scene::Plain, ALL, writing::REMOVAL),
        (Scene::Plain, ALL, writing::WRITING),
        (Scene::Plain, ALL, lines::OUTPUT),
        (Scene::Plain, ALL, lines::TOLD),
        (Scene::Plain, HERE, lines::TOLD_HERE),
        (Scene::Rules, ALL, lines::TOLD_RULES),
        (Scene::Plain, FROM, &["-avv --exclude=new src/"]),
        (Scene::Plain, ALL, writing::BASIS),
        (Scene::Rules, ALL, rules::RULES),
        (Scene::Rules, FROM, rules::RULES_LISTED),
        (Scene::Plain, ALL, operands::INPUT),
        (Scene::Holes, ALL, writing::HOLES),
        (Scene::Plain, HERE, lines::TAKEN),
        (Scene::Plain, ALL, writing::FOUND),
        (Scene::HardLinks, ALL, writing::HARD),
        (Scene::Owners, ALL, writing::OWNERS),
        (Scene::Special, HERE, writing::SPECIAL),
        (Scene::Locked, ALL, operands::LOCKED),
        (Scene::Locked, ALL, operands::THEIRS),
        (Scene::Locked, HERE, &["-ai src/shut dst/theirs"]),
        (Scene::Locked, ALL, &["-ai --delete src/open/ dst/lower", "-aib --delete src/open/ dst/lower"]),
        (Scene::Locked, FROM, &["-r src/closed/", "-r src/closed", "-r src/closed/in src/f"]),
        (Scene::Plain, BACK, operands::GLOBS),
        (Scene::Plain, HERE, lines::REFUSED),
        (backups(), ALL, writing::BACKED_UP),
        (named_alike(), ALL, &["-aib src/ dst", "-aib --delete src/ dst", "-aib --inplace src/ dst"]),
        (in_the_way(), ALL, writing::IN_THE_WAY),
        (led(), ALL, writing::REMOVAL_OF_LED),
        (led(), ALL, operands::THROUGH_LINKS),
        (led(), HERE, operands::THROUGH_LINKS_INSIDE),
        (bounded(), ALL, operands::BOUNDED),
        (crowded(), ALL, operands::CROWDED),
        (extraneous(), ALL, operands::EXTRANEOUS),
        (alike(), ALL, writing::ALIKE),
        (later(), ALL, writing::LATER),
        (reached(), ALL, writing::REACHED),
        (Scene::Rules, HERE, lines::DEBUGGED),
    ];
    let mut cases = Vec::new();
    for (scene, ends, lines) in groups {
        for line in *lines {
            for ends in *ends {
                cases.push(Case { scene: scene.clone(), ends: *ends, text: (*line).to_owned() });
            }
        }
    }
    cases
}
