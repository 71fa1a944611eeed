//! The table of cases.
//!
//! - [`operands`]: what is copied, and what is deleted or left out; [`rules`]: filter rules in files.
//! - [`writing`]: how things are written; [`lines`]: what is printed, taken or refused.

use crate::harness::{Case, Ends};
use crate::scene::Scene;

mod lines;
mod operands;
mod rules;
mod writing;

const ALL: &[Ends] = &[Ends::Local, Ends::Push, Ends::Pull];
const HERE: &[Ends] = &[Ends::Local];
const FROM: &[Ends] = &[Ends::Local, Ends::Pull];
const BACK: &[Ends] = &[Ends::Pull];
const TO: &[Ends] = &[Ends::Push];

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
        (Scene::Locked, FROM, &["-r src/closed/", "-r src/closed", "-r src/closed/in src/f"]),
        (Scene::Plain, BACK, operands::GLOBS),
        (Scene::Plain, HERE, lines::REFUSED),
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
