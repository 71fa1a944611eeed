//! Rules that directories bring (`dir-merge`, `:`): from a directory's filter to that of one within it.

use std::collections::HashMap;
use std::sync::Arc;

use super::eval::{Anchor, Compiled, Filter, Item, Side, cvs};
use super::parse::{Kind, Merge, Rule, Template};

/// Files of rules that name further files go no deeper than this.
const DEPTH: usize = 16;

/// What files of rules hold, by path: relative to the transfer's root, or absolute. `None` for one that is not there.
pub type Contents = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// Why a directory's filter is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// This file has to be looked at, and asked again.
    Needs(Vec<u8>),
    /// A file of rules is wrong, or one that another names is not there.
    Wrong(String),
}

/// One list while it is being made.
#[derive(Default)]
struct Making {
    items: Vec<Item>,
    /// `!`: what the directories above brought is forgotten.
    cleared: bool,
}

impl Filter {
    /// The filter within `dir`, by its path in the transfer (empty for the root), this one being that of the directory above.
    ///
    /// # Errors
    /// Something has to be read first, or cannot be understood.
    pub fn enter(&self, dir: &[u8], side: Side, contents: &Contents) -> Result<Filter, Stop> {
        let dir = if dir == b"." { b"".as_slice() } else { dir };
        let mut inner = self.clone();
        let mut at = 0;
        // What is read may bring further lists, which are then read in the same directory.
        while let Some(list) = inner.lists.get(at).cloned() {
            let merge = list.merge;
            let mut inherited = list.items;
            if !list.begun {
                for above in inner.above(dir, side, &merge) {
                    let path = [b"/", above.as_slice(), b"/", merge.name()].concat();
                    let path = if above.is_empty() { [b"/", merge.name()].concat() } else { path };
                    inherited = inner.brought(&path, &merge, Anchor::Above(above), dir, &inherited, contents)?;
                }
            }
            let path = if dir.is_empty() { merge.name().to_vec() } else { [dir, b"/", merge.name()].concat() };
            let items = inner.brought(&path, &merge, Anchor::Below(dir.to_vec()), dir, &inherited, contents)?;
            if let Some(list) = inner.lists.get_mut(at) {
                (list.items, list.begun) = (items, true);
            }
            at += 1;
        }
        Ok(inner)
    }

    /// The directories above the transfer in which a file is looked for: those from the one that its name leads to.
    fn above(&self, dir: &[u8], side: Side, merge: &Merge) -> Vec<Vec<u8>> {
        let Some(slash) = merge.file.iter().rposition(|byte| *byte == b'/') else { return Vec::new() };
        let root = if side == Side::Sender { &self.sender_root } else { &self.receiver_root };
        let here = [root.as_slice(), dir].join(&b'/');
        let named = &merge.file[..slash];
        let whole = if merge.file.starts_with(b"/") { named.to_vec() } else { [here.as_slice(), named].join(&b'/') };
        let (from, here) = (parts(&whole), parts(&here));
        if from.len() >= here.len() || !here.starts_with(&from) {
            return Vec::new();
        }
        (from.len()..here.len()).map(|many| here[..many].join(&b'/')).collect()
    }

    /// What a list is after a file was read: its rules, and then those inherited.
    fn brought(
        &mut self,
        path: &[u8],
        merge: &Merge,
        anchor: Anchor,
        dir: &[u8],
        inherited: &Arc<Vec<Item>>,
        contents: &Contents,
    ) -> Result<Arc<Vec<Item>>, Stop> {
        let content = contents.get(path).ok_or_else(|| Stop::Needs(path.to_vec()))?;
        let mut making = Making { items: Vec::new(), cleared: merge.no_inherit };
        if let Some(content) = content {
            self.take(content, &merge.template, &anchor, dir, &mut making, contents, 0)?;
        }
        if making.items.is_empty() && !making.cleared {
            return Ok(inherited.clone());
        }
        if !making.cleared {
            making.items.extend(inherited.iter().cloned());
        }
        Ok(Arc::new(making.items))
    }

    #[expect(clippy::too_many_arguments, reason = "what is read, how, where, and into what")]
    fn take(
        &mut self,
        content: &[u8],
        template: &Template,
        anchor: &Anchor,
        dir: &[u8],
        into: &mut Making,
        contents: &Contents,
        depth: usize,
    ) -> Result<(), Stop> {
        for Rule(rule) in template.rules(content, false).map_err(Stop::Wrong)? {
            match rule {
                Kind::Clear => (into.items, into.cleared) = (Vec::new(), true),
                Kind::Nothing => {}
                Kind::Match(rule) => into.items.push(Item::Rule(Arc::new(Compiled::new(&rule, anchor.clone())))),
                Kind::DirMerge(mut merge) => {
                    // Named above the transfer, it is looked for from there on.
                    if let (Anchor::Above(above), false) = (anchor, merge.file.starts_with(b"/")) {
                        merge.file = [b"/", above.as_slice(), b"/", merge.file.as_slice()].concat();
                    }
                    self.add_list(&merge, &mut into.items);
                }
                Kind::Cvs => into.items.extend(cvs()),
                Kind::Merge(merge) => {
                    if let Some(Rule(Kind::Match(rule))) = merge.excluded_self() {
                        into.items.push(Item::Rule(Arc::new(Compiled::new(&rule, Anchor::Root))));
                    }
                    // rsync: a name with a slash is one from the directory, any other from the transfer's root.
                    let path = match merge.file.as_slice() {
                        file if file.starts_with(b"/") || !file.contains(&b'/') => file.to_vec(),
                        file => parts(&[dir, file].join(&b'/')).join(&b'/'),
                    };
                    let shown = String::from_utf8_lossy(&path).into_owned();
                    if depth == DEPTH {
                        return Err(Stop::Wrong(format!("files of rules name each other too deeply: {shown}")));
                    }
                    let content = contents.get(&path).ok_or_else(|| Stop::Needs(path.clone()))?;
                    let missing =
                        || Stop::Wrong(format!("failed to open exclude file {shown}: No such file or directory"));
                    let content = content.as_ref().ok_or_else(missing)?;
                    self.take(content, &merge.template, &Anchor::Root, dir, into, contents, depth + 1)?;
                }
            }
        }
        Ok(())
    }
}

/// The components of a path; `.` and what `..` takes back left out.
pub(super) fn parts(path: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        match part {
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: &[&str]) -> Filter {
        let rules: Vec<Rule> = rules.iter().map(|rule| Rule::parse(rule.as_bytes()).expect("a valid rule")).collect();
        Filter::new(&rules).roots(b"/top/src", b"/dst")
    }

    /// Enters a directory whose files, and those above, are these.
    fn enter(filter: &Filter, dir: &str, files: &[(&str, &str)]) -> Result<Filter, String> {
        let mut contents = Contents::new();
        loop {
            match filter.enter(dir.as_bytes(), Side::Sender, &contents) {
                Ok(inner) => return Ok(inner),
                Err(Stop::Wrong(text)) => return Err(text),
                Err(Stop::Needs(path)) => {
                    let found = files.iter().find(|(name, _)| name.as_bytes() == path);
                    let had = contents.insert(path, found.map(|(_, content)| content.as_bytes().to_vec()));
                    assert!(had.is_none(), "asked twice");
                }
            }
        }
    }

    fn hides(filter: &Filter, path: &str) -> bool {
        filter.excludes(path.trim_end_matches('/').as_bytes(), path.ends_with('/'), Side::Sender)
    }

    #[test]
    fn a_directorys_rules_come_before_those_above_it_and_end_with_it() {
        let files = [(".r", "- *.o\n+ keep\n- /x"), ("sub/.r", "+ a.o\n- /y\n- keep")];
        let top = enter(&filter(&[": .r"]), "", &files).expect("valid");
        let sub = enter(&top, "sub", &files).expect("valid");
        assert!(hides(&top, "a.o") && hides(&top, "x") && !hides(&top, "sub/x") && !hides(&top, "keep"));
        assert!(!hides(&sub, "sub/a.o") && hides(&sub, "sub/b.o") && hides(&sub, "sub/y") && !hides(&sub, "sub/x"));
        assert!(hides(&sub, "sub/keep") && !hides(&sub, "sub/z/y"));
    }

    #[test]
    fn modifiers_say_what_is_inherited_excluded_and_how_lines_are_read() {
        let files = [(".r", "a b"), ("sub/.r", "c")];
        let top = enter(&filter(&[":enw- .r"]), "", &files).expect("valid");
        let sub = enter(&top, "sub", &files).expect("valid");
        assert!(
            hides(&top, "a") && hides(&top, "b") && hides(&top, ".r") && !hides(&sub, "sub/a") && hides(&sub, "sub/c")
        );
        let clears = [(".r", "- a"), ("sub/.r", "!\n- c")];
        let top = enter(&filter(&[": .r"]), "", &clears).expect("valid");
        let sub = enter(&top, "sub", &clears).expect("valid");
        assert!(!hides(&sub, "sub/a") && hides(&sub, "sub/c"));
    }

    #[test]
    fn a_name_with_a_path_is_looked_for_above_the_transfer_too() {
        let files = [("/.f", "- a\n- /top/b"), ("/top/.f", "- /src/c"), (".f", "- d"), ("/top/src/.f", "- never")];
        let top = enter(&filter(&[": /.f"]), "", &files).expect("valid");
        assert!(hides(&top, "a") && hides(&top, "c") && hides(&top, "d") && !hides(&top, "b"));
        assert!(!hides(&top, "never") && !hides(&top, "x/c"));
    }

    #[test]
    fn files_of_rules_name_others() {
        let files =
            [(".r", ". more\n: .s"), ("more", "- m"), (".s", "- s"), ("sub/.s", "- t"), ("sub/.r", ". sub/gone")];
        let top = enter(&filter(&[": .r"]), "", &files).expect("valid");
        assert!(hides(&top, "m") && hides(&top, "s") && !hides(&top, "t"));
        let told = enter(&top, "sub", &files).expect_err("names a file that is not there");
        assert_eq!(told, "failed to open exclude file sub/sub/gone: No such file or directory");
        let circle = enter(&filter(&[": .r"]), "", &[(".r", ". .r")]).expect_err("names itself");
        assert!(circle.starts_with("files of rules name each other too deeply"), "{circle}");
    }

    #[test]
    fn cvs_ignores_what_cvs_ignores() {
        let [dirs, own] = Rule::cvs_exclude();
        let filter = Filter::new(&[dirs, own]);
        let top = enter(&filter, "", &[(".cvsignore", "one  two\nthree")]).expect("valid");
        assert!(hides(&top, "one") && hides(&top, "three") && hides(&top, "x.o") && hides(&top, ".git/"));
        assert!(!hides(&top, ".git") && !hides(&top, "x.c"));
        assert!(!top.protects_within_deletion(b"d/x.o", false) && top.protects_within_deletion(b"d/one", false));
    }
}
