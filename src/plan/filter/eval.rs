//! A list of rules against a path: the first that matches decides.

use std::borrow::Cow;
use std::sync::Arc;

use super::dirs::parts;
use super::parse::{Action, Kind, Match, Merge, Rule, Whence};
use super::pattern::Pattern;

/// The end that asks: excluded means hidden at the sender, protected from deletion at the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Sender,
    Receiver,
}

/// Compiled rules, as they are in one directory.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub(super) rules: Arc<Vec<Item>>,
    /// The directories' own files of rules, and what is known of each by now.
    pub(super) lists: Vec<List>,
    delete_excluded: bool,
    pub(super) sender_root: Vec<u8>,
    pub(super) receiver_root: Vec<u8>,
}

/// One rule, or the place of a list of [`Filter::lists`] among the rules.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Rule(Arc<Compiled>),
    List(usize),
}

/// A `dir-merge` rule, and the rules that it has brought.
#[derive(Debug, Clone)]
pub(super) struct List {
    pub merge: Arc<Merge>,
    pub items: Arc<Vec<Item>>,
    /// Directories above the transfer were looked at, where the file's name asks for it.
    pub begun: bool,
}

impl Filter {
    /// Compiles rules, in the order in which they were given. `!` forgets those before it.
    ///
    /// Files that rules name ([`Rule::file`]) have to be merged in by then: such a rule has no effect.
    pub fn new(rules: &[Rule]) -> Filter {
        let mut filter = Filter::default();
        let mut items = Vec::new();
        for rule in rules {
            match &rule.0 {
                Kind::Clear => items.clear(),
                Kind::Nothing | Kind::Merge(_) => {}
                Kind::Match(rule) => items.push(Item::Rule(Arc::new(Compiled::new(rule, Anchor::Root)))),
                Kind::DirMerge(merge) => filter.add_list(merge, &mut items),
                Kind::Cvs => items.extend(cvs()),
            }
        }
        filter.rules = Arc::new(items);
        filter
    }

    /// Adds a list of rules that directories bring; not twice the same file.
    pub(super) fn add_list(&mut self, merge: &Merge, items: &mut Vec<Item>) {
        if let Some(Rule(Kind::Match(rule))) = merge.excluded_self() {
            items.push(Item::Rule(Arc::new(Compiled::new(&rule, Anchor::Root))));
        }
        if self.lists.iter().any(|list| list.merge.name() == merge.name()) {
            return;
        }
        items.push(Item::List(self.lists.len()));
        self.lists.push(List { merge: Arc::new(merge.clone()), items: Arc::default(), begun: false });
    }

    /// Whether directories may bring rules of their own.
    pub fn has_lists(&self) -> bool {
        !self.lists.is_empty()
    }

    /// Whether the roots' absolute paths decide anything.
    pub fn asks_roots(&self) -> bool {
        let absolute = |item: &Item| matches!(item, Item::Rule(rule) if rule.absolute);
        self.rules.iter().any(absolute)
            || self.lists.iter().any(|list| list.merge.template.absolute || list.merge.file.contains(&b'/'))
    }

    /// `--delete-excluded`: rules that name no side concern the sender only, so that they protect nothing.
    pub fn delete_excluded(mut self, yes: bool) -> Filter {
        self.delete_excluded = yes;
        self
    }

    /// The absolute paths of the transfer's root at each end, which rules with the modifier `/` are held against. Without
    /// them both are taken as `/`.
    pub fn roots(mut self, sender: &[u8], receiver: &[u8]) -> Filter {
        (self.sender_root, self.receiver_root) = (parts(sender).join(&b'/'), parts(receiver).join(&b'/'));
        self
    }

    /// Whether the rules exclude `path` on a side. Only the path itself is judged: whoever walks a tree does not enter an
    /// excluded directory.
    ///
    /// `path` is relative to the transfer's root, without a leading slash. The root itself (empty, or `.`) is never excluded.
    pub fn excludes(&self, path: &[u8], is_dir: bool, side: Side) -> bool {
        self.judge(path, is_dir, side, false)
    }

    /// Whether `path`, at the receiver and within a directory that is being deleted, is protected: as [`Filter::excludes`],
    /// but perishable rules (modifier `p`) do not count.
    pub fn protects_within_deletion(&self, path: &[u8], is_dir: bool) -> bool {
        self.judge(path, is_dir, Side::Receiver, true)
    }

    fn judge(&self, path: &[u8], is_dir: bool, side: Side, ignore_perishable: bool) -> bool {
        if path.is_empty() || path == b"." {
            return false;
        }
        let asked = self.asked(path, is_dir, side, ignore_perishable);
        self.find(&self.rules, &asked).is_some_and(|found| found.rule.action == Action::Exclude)
    }

    fn asked<'a>(&'a self, path: &'a [u8], is_dir: bool, side: Side, ignore_perishable: bool) -> Asked<'a> {
        let root = match side {
            Side::Sender => &self.sender_root,
            Side::Receiver => &self.receiver_root,
        };
        Asked { path, is_dir, side, root, ignore_perishable }
    }

    /// The rule that decides on `path`, as lines of `-vv` name it; none where no rule does.
    pub fn verdict(&self, path: &[u8], is_dir: bool, side: Side, ignore_perishable: bool) -> Option<Verdict> {
        if path.is_empty() || path == b"." {
            return None;
        }
        let asked = self.asked(path, is_dir, side, ignore_perishable);
        let Found { rule, list } = self.find(&self.rules, &asked)?;
        let mut because = match rule.whence {
            Whence::File => b"<rule from a file read earlier>".to_vec(),
            Whence::Given | Whence::Cvs => rule.shown.clone(),
        };
        match list {
            Some(list) => because.extend([b" [per-dir ", list.merge.name(), b"]"].concat()),
            None if rule.whence == Whence::Cvs => because.extend_from_slice(b" [global CVS]"),
            None => {}
        }
        Some(Verdict { excludes: rule.action == Action::Exclude, because })
    }

    fn find<'a>(&'a self, items: &'a [Item], asked: &Asked<'_>) -> Option<Found<'a>> {
        items.iter().find_map(|item| match item {
            Item::List(at) => {
                let list = self.lists.get(*at)?;
                self.find(&list.items, asked).map(|found| Found { list: found.list.or(Some(list)), ..found })
            }
            Item::Rule(rule) => {
                let concerns = rule.concerns(asked.side, self.delete_excluded)
                    && !(asked.ignore_perishable && rule.perishable)
                    && rule.matches(asked.path, asked.is_dir, asked.root);
                concerns.then_some(Found { rule, list: None })
            }
        })
    }
}

/// CVS' own rules.
pub(super) fn cvs() -> impl Iterator<Item = Item> {
    Rule::cvs(b"").into_iter().filter_map(|rule| match rule.0 {
        Kind::Match(rule) => Some(Item::Rule(Arc::new(Compiled::new(&rule, Anchor::Root)))),
        _ => None,
    })
}

/// What a rule says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub excludes: bool,
    /// The pattern, and what kind of rule it is.
    pub because: Vec<u8>,
}

struct Found<'a> {
    rule: &'a Compiled,
    list: Option<&'a List>,
}

struct Asked<'a> {
    path: &'a [u8],
    is_dir: bool,
    side: Side,
    root: &'a [u8],
    ignore_perishable: bool,
}

/// The directory that a leading slash in a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The transfer's root.
    Root,
    /// One within the transfer, by its path there.
    Below(Vec<u8>),
    /// One above it, by its absolute path (without the leading slash).
    Above(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(super) struct Compiled {
    action: Action,
    sender: bool,
    receiver: bool,
    negate: bool,
    perishable: bool,
    /// The pattern had a trailing slash.
    dirs_only: bool,
    /// The pattern ends in `***`: a directory is matched with a slash behind its name.
    and_contents: bool,
    /// The modifier `/`: the root's absolute path stands before the path.
    absolute: bool,
    /// The pattern starts with `**`: a slash stands before the path, so that `**/a` matches `a` at the top too.
    starts_wild2: bool,
    scope: Scope,
    what: What,
    /// Of a pattern with a leading slash.
    anchor: Anchor,
    /// The pattern as it was written.
    shown: Vec<u8>,
    whence: Whence,
}

/// The part of the path that the pattern is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The last component: no slash and no `**` in the pattern.
    Basename,
    /// All of it: a leading slash, or `**` at the start.
    Whole,
    /// As many trailing components as the pattern has.
    Trailing(usize),
    /// All of it, or what follows any slash: `**` somewhere behind the start.
    AfterAnySlash,
}

#[derive(Debug, Clone)]
enum What {
    /// No `*`, `?` or `[`: compared as it stands, backslashes included.
    Literal(Vec<u8>),
    Wild(Pattern),
}

impl Compiled {
    pub fn new(rule: &Match, anchor: Anchor) -> Compiled {
        let (text, dirs_only) = match rule.pattern.as_slice() {
            [text @ .., b'/'] if !text.is_empty() => (text, true),
            text => (text, false),
        };
        let slashes = text.iter().filter(|&&byte| byte == b'/').count();
        let wild = text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
        let wild2 = text.windows(2).any(|pair| pair == b"**");
        let starts_wild2 = text.starts_with(b"**");
        let (anchored, pattern) = match text.strip_prefix(b"/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let scope = match (anchored, wild2) {
            _ if slashes == 0 && !wild2 => Scope::Basename,
            (true, _) => Scope::Whole,
            (false, false) => Scope::Trailing(slashes + 1),
            (false, true) if starts_wild2 => Scope::Whole,
            (false, true) => Scope::AfterAnySlash,
        };
        Compiled {
            shown: rule.pattern.clone(),
            whence: rule.whence,
            action: rule.action,
            sender: rule.sender,
            receiver: rule.receiver,
            negate: rule.negate,
            perishable: rule.perishable,
            dirs_only,
            and_contents: wild2 && text.ends_with(b"***"),
            absolute: rule.absolute,
            starts_wild2,
            scope,
            anchor: if anchored && !rule.absolute { anchor } else { Anchor::Root },
            what: if wild { What::Wild(Pattern::new(pattern)) } else { What::Literal(pattern.to_vec()) },
        }
    }

    fn concerns(&self, side: Side, delete_excluded: bool) -> bool {
        match (self.sender, self.receiver) {
            (false, false) => side == Side::Sender || !delete_excluded,
            (sender, receiver) => {
                if side == Side::Sender {
                    sender
                } else {
                    receiver
                }
            }
        }
    }

    fn matches(&self, path: &[u8], is_dir: bool, root: &[u8]) -> bool {
        // A negated rule for directories matches whatever is not one.
        ((is_dir || !self.dirs_only) && self.pattern_matches(path, is_dir, root)) != self.negate
    }

    fn pattern_matches(&self, path: &[u8], is_dir: bool, root: &[u8]) -> bool {
        let mut text = match self.scope {
            Scope::Basename => Cow::Borrowed(path),
            _ if self.anchor != Anchor::Root => match self.below_anchor(path, root) {
                Some(rest) => rest,
                None => return false,
            },
            _ if self.absolute && !root.is_empty() => Cow::Owned([root, path].join(&b'/')),
            _ if self.starts_wild2 => Cow::Owned([b"/", path].concat()),
            _ => Cow::Borrowed(path),
        };
        if self.and_contents && is_dir {
            text.to_mut().push(b'/');
        }
        let part = match self.scope {
            Scope::Basename => trailing(&text, 1),
            Scope::Trailing(count) => trailing(&text, count),
            Scope::Whole | Scope::AfterAnySlash => Some(text.as_ref()),
        };
        let Some(part) = part else { return false };
        match &self.what {
            What::Literal(literal) => literal == part,
            What::Wild(pattern) if self.scope == Scope::AfterAnySlash => pattern.matches_after_any_slash(part),
            What::Wild(pattern) => pattern.matches(part),
        }
    }
}

impl Compiled {
    /// The path as seen from the anchor; `None` if it is not below it.
    fn below_anchor<'a>(&self, path: &'a [u8], root: &[u8]) -> Option<Cow<'a, [u8]>> {
        match &self.anchor {
            Anchor::Below(dir) if !dir.is_empty() => {
                path.strip_prefix(dir.as_slice())?.strip_prefix(b"/").map(Cow::Borrowed)
            }
            Anchor::Above(dir) if dir.is_empty() => Some(Cow::Owned([root, path].join(&b'/'))),
            Anchor::Above(dir) => {
                let whole = [root, path].join(&b'/');
                Some(Cow::Owned(whole.strip_prefix(dir.as_slice())?.strip_prefix(b"/")?.to_vec()))
            }
            _ => Some(Cow::Borrowed(path)),
        }
    }
}

/// The last `count` components; `None` if there are fewer.
fn trailing(path: &[u8], count: usize) -> Option<&[u8]> {
    let mut slashes = path.iter().enumerate().rev().filter(|&(_, &byte)| byte == b'/');
    match slashes.nth(count - 1) {
        Some((at, _)) => Some(&path[at + 1..]),
        None if path.iter().filter(|&&byte| byte == b'/').count() + 1 == count => Some(path),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(rules: &[&str]) -> Filter {
        Filter::new(&rules.iter().map(|rule| Rule::parse(rule.as_bytes()).expect("a valid rule")).collect::<Vec<_>>())
    }

    fn hides(rules: &[&str], path: &str) -> bool {
        filter(rules).excludes(path.trim_end_matches('/').as_bytes(), path.ends_with('/'), Side::Sender)
    }

    #[test]
    fn the_rule_that_decides_is_told_as_it_was_written_and_not_what_is_in_a_file() {
        let filter = filter(&["+ a.o", "-s *.o", "- /sub/x/"]);
        let told = |path: &str, is_dir, side| {
            let verdict = filter.verdict(path.as_bytes(), is_dir, side, false)?;
            Some((verdict.excludes, String::from_utf8_lossy(&verdict.because).into_owned()))
        };
        assert_eq!(told("a.o", false, Side::Sender), Some((false, "a.o".into())));
        assert_eq!(told("b.o", false, Side::Sender), Some((true, "*.o".into())));
        assert_eq!((told("b.o", false, Side::Receiver), told(".", true, Side::Sender)), (None, None));
        assert_eq!(told("sub/x", true, Side::Receiver), Some((true, "/sub/x/".into())));
        let read = Rule::from_lines(b"*.o", false, Action::Exclude).expect("valid");
        let verdict = Filter::new(&read).verdict(b"a.o", false, Side::Sender, false).expect("one that decides");
        assert_eq!(verdict.because, b"<rule from a file read earlier>");
    }

    #[test]
    fn a_plain_name_matches_at_any_depth_and_only_whole() {
        assert!(hides(&["- foo"], "foo") && hides(&["- foo"], "a/b/foo") && !hides(&["- foo"], "foo/b"));
        assert!(!hides(&["- foo"], "xfoo") && !hides(&["- foo"], "foox"));
    }

    #[test]
    fn a_slash_anchors_or_counts_components() {
        assert!(hides(&["- /foo"], "foo") && !hides(&["- /foo"], "a/foo"));
        assert!(hides(&["- a/foo"], "a/foo") && hides(&["- a/foo"], "x/a/foo") && !hides(&["- a/foo"], "xa/foo"));
        assert!(hides(&["- a/*.o"], "x/a/b.o") && !hides(&["- a/*.o"], "a/x/b.o"));
    }

    #[test]
    fn a_trailing_slash_means_directories() {
        assert!(hides(&["- foo/"], "foo/") && !hides(&["- foo/"], "foo") && hides(&["- foo/"], "a/foo/"));
        assert!(hides(&["-! foo/"], "foo") && !hides(&["-! foo/"], "foo/") && hides(&["-! foo/"], "bar/"));
    }

    #[test]
    fn two_stars_cross_slashes_and_three_take_the_directory_too() {
        assert!(hides(&["- /a/**"], "a/b/c") && !hides(&["- /a/**"], "a/"));
        assert!(hides(&["- a/***"], "x/a/") && hides(&["- a/***"], "a/b/c") && !hides(&["- a/***"], "a"));
        assert!(hides(&["- **/b"], "b") && hides(&["- **/b"], "a/b") && hides(&["- a**c"], "x/ab/c"));
    }

    #[test]
    fn the_first_match_wins_and_the_root_is_never_excluded() {
        assert!(!hides(&["+ *.c", "- *"], "a.c") && hides(&["+ *.c", "- *"], "a.h"));
        assert!(hides(&["- *", "+ *.c"], "a.c") && !hides(&["- *"], "") && !hides(&["- *"], "."));
        assert!(!hides(&["- a", "!", "- b"], "a") && hides(&["- a", "!", "- b"], "b"));
    }

    #[test]
    fn sides_hide_and_protect() {
        let at = |rule: &str, side| filter(&[rule]).excludes(b"a", false, side);
        for (rule, sender, receiver) in [
            ("- a", true, true),
            ("H a", true, false),
            ("P a", false, true),
            ("-sr a", true, true),
            ("-r a", false, true),
        ] {
            assert_eq!((at(rule, Side::Sender), at(rule, Side::Receiver)), (sender, receiver), "{rule}");
        }
        let deleting = filter(&["- a", "P b", "-sr c"]).delete_excluded(true);
        let protected = |path: &[u8]| deleting.excludes(path, false, Side::Receiver);
        assert!(!protected(b"a") && protected(b"b") && protected(b"c") && deleting.excludes(b"a", false, Side::Sender));
    }

    #[test]
    fn perishable_rules_end_where_a_directory_is_deleted() {
        let filter = filter(&["-p *.o", "- *.keep"]);
        assert!(filter.excludes(b"d/x.o", false, Side::Receiver) && !filter.protects_within_deletion(b"d/x.o", false));
        assert!(filter.protects_within_deletion(b"d/x.keep", false));
    }

    #[test]
    fn absolute_rules_see_the_root() {
        let at = |rule: &str| filter(&[rule]).roots(b"/home/me/s/", b"/d").excludes(b"a", false, Side::Sender);
        assert!(at("-/ /home/me/s/a") && at("-/ s/a") && at("-/ a") && !at("-/ /a") && !at("- s/a") && at("-/ **/s/a"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]
        #[test]
        fn no_bytes_make_it_panic(rule: Vec<u8>, path: Vec<u8>, lines: Vec<u8>, nul: bool, is_dir: bool) {
            let mut rules = vec![Rule::exclude(&rule), Rule::include(&rule)];
            rules.extend(Rule::parse(&rule));
            rules.extend(Rule::parse(&[b"- ", rule.as_slice()].concat()));
            rules.extend(Rule::from_lines(&lines, nul, Action::Exclude).unwrap_or_default());
            Filter::new(&rules).excludes(&path, is_dir, Side::Receiver);
        }

        #[test]
        fn patterns_of_special_bytes_make_it_panic_neither(
            pattern in prop::collection::vec(prop::sample::select(b"-*?[]!^\\/:a".to_vec()), 0..12),
            path in prop::collection::vec(prop::sample::select(b"/a-[]\\".to_vec()), 0..12),
        ) {
            Filter::new(&[Rule::exclude(&pattern)]).excludes(&path, true, Side::Sender);
        }
    }
}
