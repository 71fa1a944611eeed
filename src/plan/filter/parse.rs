//! From the text of a rule to a [`Rule`], as rsync(1) "FILTER RULES" has it and rsync 3.5.0 does it.

use std::fmt::Display;

/// What a matching rule says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Include,
    Exclude,
}

/// One filter rule, as parsed. Compiled by [`super::Filter::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(pub(super) Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// `!`: forgets the rules before it.
    Clear,
    /// An empty value, which rsync accepts and ignores; or a rule for extended attributes, which are not carried.
    Nothing,
    Match(Match),
    /// `.`: the rules in a file stand here.
    Merge(Merge),
    /// `:`: so do those in a file of each directory, for what is below it.
    DirMerge(Merge),
    /// `-C`: CVS' own list.
    Cvs,
}

/// A rule that names a file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Merge {
    pub file: Vec<u8>,
    pub template: Template,
    /// `e`: the file itself is excluded.
    pub exclude_self: bool,
    /// `n`: what is in a directory's file does not concern the directories below it.
    pub no_inherit: bool,
}

/// What the rules of a file get from the rule that names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template {
    /// `-` or `+`: each line is a pattern.
    pub patterns: Option<Action>,
    /// `w`: rules end at blanks too.
    pub words: bool,
    /// `C`: as CVS has it; `!` clears the list.
    pub cvs: bool,
    pub absolute: bool,
    pub perishable: bool,
    pub sender: bool,
    pub receiver: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub action: Action,
    /// The rule names the sender's side (`s`, `hide`, `show`).
    pub sender: bool,
    /// The rule names the receiver's side (`r`, `protect`, `risk`). Neither named means both.
    pub receiver: bool,
    /// `!`: what does not match the pattern matches the rule.
    pub negate: bool,
    /// `/`: the pattern is held against the absolute path.
    pub absolute: bool,
    /// `p`: no protection within a directory that is being deleted.
    pub perishable: bool,
    /// As written, with its leading and trailing slash.
    pub pattern: Vec<u8>,
    pub whence: Whence,
}

/// Where a rule is from, as far as lines that name it tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Whence {
    #[default]
    Given,
    /// A file of rules: rsync shows nothing of what is in it.
    File,
    /// CVS' own rules (`-C`).
    Cvs,
}

impl Match {
    fn plain(action: Action, pattern: &[u8]) -> Match {
        Match {
            action,
            sender: false,
            receiver: false,
            negate: false,
            absolute: false,
            perishable: false,
            pattern: pattern.to_vec(),
            whence: Whence::Given,
        }
    }
}

impl Rule {
    /// A rule of `--filter` (`-f`): `- *.o`, `+ /dir/***`, `exclude,s x`, `P .keep`, `!`, `: .rules`, …
    ///
    /// # Errors
    /// rsync's sentence for a malformed rule.
    pub fn parse(text: &[u8]) -> Result<Rule, String> {
        Rule::within(text, &Template::default())
    }

    /// A rule of a file that was named with a template.
    fn within(text: &[u8], template: &Template) -> Result<Rule, String> {
        if text.is_empty() {
            return Ok(Rule(Kind::Nothing));
        }
        if let Some(action) = template.patterns {
            if template.cvs && text == b"!" {
                return Ok(Rule(Kind::Clear));
            }
            let Template { absolute, perishable, sender, receiver, .. } = *template;
            let rule = Match { absolute, perishable, sender, receiver, ..Match::plain(action, text) };
            return Ok(Rule(Kind::Match(rule)));
        }
        let (head, mut at) = head(text).ok_or_else(|| sentence("Unknown filter rule", text))?;
        if head == Head::Clear {
            return match text.len() == at {
                true => Ok(Rule(Kind::Clear)),
                false => Err(sentence("'!' rule has trailing characters", text)),
            };
        }
        let (action, sides) = match head {
            Head::Include => (Action::Include, (false, false)),
            Head::Show => (Action::Include, (true, false)),
            Head::Hide => (Action::Exclude, (true, false)),
            Head::Risk => (Action::Include, (false, true)),
            Head::Protect => (Action::Exclude, (false, true)),
            _ => (Action::Exclude, (false, false)),
        };
        let names_side = sides != (false, false);
        let merges = matches!(head, Head::Merge | Head::DirMerge);
        let Template { absolute, perishable, .. } = *template;
        let mut rule = Match { sender: sides.0, receiver: sides.1, absolute, perishable, ..Match::plain(action, b"") };
        let mut inner = Template::default();
        let (mut exclude_self, mut no_inherit, mut attributes) = (false, false, false);
        while let Some(&modifier) = text.get(at).filter(|&&byte| byte != b' ' && byte != b'_') {
            match modifier {
                b'-' if merges && inner.patterns.is_none() => inner.patterns = Some(Action::Exclude),
                b'+' if merges && inner.patterns.is_none() => inner.patterns = Some(Action::Include),
                b'e' if merges => exclude_self = true,
                b'n' if merges => no_inherit = true,
                b'w' if merges => inner.words = true,
                b'C' if inner.patterns.is_none() && !names_side => {
                    (inner.patterns, inner.words, inner.cvs) = (Some(Action::Exclude), true, true);
                    no_inherit = true;
                }
                b'/' => rule.absolute = true,
                b'!' if !merges => rule.negate = true,
                b'p' => rule.perishable = true,
                b's' if !names_side => rule.sender = true,
                b'r' if !names_side => rule.receiver = true,
                b'x' => attributes = true,
                _ => {
                    let what =
                        format!("invalid modifier '{}' at position {at} in filter rule", modifier.escape_ascii());
                    return Err(sentence(what, text));
                }
            }
            at += 1;
        }
        if template.sender || template.receiver {
            if rule.sender || rule.receiver {
                return Err(sentence("specified-side merge file contains specified-side filter", text));
            }
            (rule.sender, rule.receiver) = (template.sender, template.receiver);
        }
        rule.pattern = text.get(at + 1..).unwrap_or_default().to_vec();
        if inner.cvs && !merges {
            return Ok(Rule(Kind::Cvs));
        }
        if rule.pattern.is_empty() && inner.cvs {
            rule.pattern = b".cvsignore".to_vec();
        }
        if rule.pattern.is_empty() {
            return Err(sentence("unexpected end of filter rule", text));
        }
        if merges {
            let Match { absolute, perishable, sender, receiver, .. } = rule;
            let template = Template { absolute, perishable, sender, receiver, ..inner };
            let merge = Merge { file: rule.pattern, template, exclude_self, no_inherit };
            return Ok(Rule(if head == Head::Merge { Kind::Merge(merge) } else { Kind::DirMerge(merge) }));
        }
        Ok(Rule(if attributes { Kind::Nothing } else { Kind::Match(rule) }))
    }

    /// The file whose rules stand in this one's place, if it is such a rule: `. FILE`.
    pub fn file(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Merge(merge) => Some(&merge.file),
            _ => None,
        }
    }

    /// The rules that stand in this one's place, `content` being that of [`Rule::file`].
    ///
    /// # Errors
    /// As [`Rule::parse`].
    pub fn merged(&self, content: &[u8], nul_separated: bool) -> Result<Vec<Rule>, String> {
        let Kind::Merge(merge) = &self.0 else { return Ok(vec![self.clone()]) };
        let mut rules: Vec<Rule> = merge.excluded_self().into_iter().collect();
        rules.extend(merge.template.rules(content, nul_separated)?);
        Ok(rules)
    }

    /// The same rule, as one that a file has brought: what it says is not shown.
    pub fn of_file(mut self) -> Rule {
        if let Kind::Match(rule) = &mut self.0 {
            rule.whence = Whence::File;
        }
        self
    }

    /// Whether this is `-C`, in whose place CVS' rules stand.
    pub fn is_cvs(&self) -> bool {
        self.0 == Kind::Cvs
    }

    /// What CVS ignores of itself, and then what a user's list says: patterns with blanks between them.
    pub fn cvs(users: &[u8]) -> Vec<Rule> {
        let pattern = |word: &[u8], perishable: bool| {
            Rule(Kind::Match(Match { perishable, whence: Whence::Cvs, ..Match::plain(Action::Exclude, word) }))
        };
        let own = CVS.split_ascii_whitespace().map(|word| pattern(word.as_bytes(), true));
        let mut rules: Vec<Rule> = own.collect();
        for word in users.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            match word {
                b"!" => rules.clear(),
                word => rules.push(pattern(word, false)),
            }
        }
        rules
    }

    /// What `-C` adds behind all other rules: each directory's `.cvsignore`, and `-C` itself.
    pub fn cvs_exclude() -> [Rule; 2] {
        let template = Template { patterns: Some(Action::Exclude), words: true, cvs: true, ..Template::default() };
        let file = b".cvsignore".to_vec();
        [Rule(Kind::DirMerge(Merge { file, template, exclude_self: false, no_inherit: true })), Rule(Kind::Cvs)]
    }

    /// A value of `--exclude` or `--include`, or a line of their `-from` files: a pattern that may be prefixed with `- ` or
    /// `+ `, or `!` alone.
    ///
    /// # Errors
    /// rsync's sentence where nothing follows the prefix.
    pub fn pattern(text: &[u8], default: Action) -> Result<Rule, String> {
        let (action, pattern) = match text {
            b"" => return Ok(Rule(Kind::Nothing)),
            b"!" => return Ok(Rule(Kind::Clear)),
            [b'-', b' ', rest @ ..] => (Action::Exclude, rest),
            [b'+', b' ', rest @ ..] => (Action::Include, rest),
            _ => (default, text),
        };
        match pattern {
            b"" => Err(sentence("unexpected end of filter rule", text)),
            _ => Ok(Rule(Kind::Match(Match::plain(action, pattern)))),
        }
    }

    /// `--exclude=pattern`. A malformed value (a prefix alone) matches nothing; [`Rule::pattern`] tells of it instead.
    pub fn exclude(pattern: &[u8]) -> Rule {
        Rule::pattern(pattern, Action::Exclude).unwrap_or(Rule(Kind::Nothing))
    }

    /// `--include=pattern`. A malformed value (a prefix alone) matches nothing; [`Rule::pattern`] tells of it instead.
    pub fn include(pattern: &[u8]) -> Rule {
        Rule::pattern(pattern, Action::Include).unwrap_or(Rule(Kind::Nothing))
    }

    /// The rules in the content of an `--exclude-from` (or `--include-from`) file, one for each line, or for each NUL with
    /// `--from0`. Empty lines and those that start with `#` or `;` are skipped in both forms: rsync 3.5.0 does so with NULs
    /// too, whatever one may expect (measured).
    ///
    /// # Errors
    /// As [`Rule::pattern`], with the number of the line.
    pub fn from_lines(content: &[u8], nul_separated: bool, default: Action) -> Result<Vec<Rule>, String> {
        let ends = |byte: &u8| if nul_separated { *byte == 0 } else { matches!(byte, b'\n' | b'\r') };
        let mut rules = Vec::new();
        for (index, line) in content.split(ends).enumerate() {
            if line.is_empty() || matches!(line[0], b'#' | b';') {
                continue;
            }
            if line.contains(&0) {
                return Err(format!("line {}: a NUL in a filter rule; use --from0 if NULs end the rules", index + 1));
            }
            let rule = Rule::pattern(line, default).map_err(|error| format!("line {}: {error}", index + 1))?;
            rules.push(rule.of_file());
        }
        Ok(rules)
    }
}

/// What CVS ignores (cvs(1), and rsync(1) `--cvs-exclude`).
const CVS: &str = "RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ #* .#* ,* _$* *$ *.old \
     *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj *.so *.exe *.Z *.elc *.ln core .svn/ .git/ .hg/ .bzr/";

impl Merge {
    /// The last component of the file's name.
    pub fn name(&self) -> &[u8] {
        self.file.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// `e`: the rule that excludes the file.
    pub fn excluded_self(&self) -> Option<Rule> {
        self.exclude_self.then(|| Rule(Kind::Match(Match::plain(Action::Exclude, self.name()))))
    }
}

impl Template {
    /// The rules in a file's content: one for each line, or for each word.
    pub fn rules(&self, content: &[u8], nul_separated: bool) -> Result<Vec<Rule>, String> {
        let words = self.words;
        let ends = |byte: &u8| match nul_separated {
            true => *byte == 0 || words && byte.is_ascii_whitespace(),
            false => matches!(byte, b'\n' | b'\r') || words && byte.is_ascii_whitespace(),
        };
        let lines = content.split(ends).filter(|line| !line.is_empty());
        let lines = lines.filter(|line| words || !matches!(line[0], b'#' | b';'));
        lines.map(|line| Rule::within(line, self).map(Rule::of_file)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Exclude,
    Include,
    Hide,
    Show,
    Protect,
    Risk,
    Merge,
    DirMerge,
    Clear,
}

/// The rule's name, and where its modifiers begin. A long name ends at a blank, `_` or `,`; a comma after the name, long or
/// short, is skipped.
fn head(text: &[u8]) -> Option<(Head, usize)> {
    const NAMES: [(&[u8], u8, Head); 9] = [
        (b"exclude", b'-', Head::Exclude),
        (b"include", b'+', Head::Include),
        (b"hide", b'H', Head::Hide),
        (b"show", b'S', Head::Show),
        (b"protect", b'P', Head::Protect),
        (b"risk", b'R', Head::Risk),
        (b"merge", b'.', Head::Merge),
        (b"dir-merge", b':', Head::DirMerge),
        (b"clear", b'!', Head::Clear),
    ];
    let (head, end) = NAMES.iter().find_map(|&(long, short, head)| {
        if text.first() == Some(&short) {
            return Some((head, 1));
        }
        let after = text.strip_prefix(long)?.first();
        after
            .is_none_or(|&byte| byte.is_ascii_whitespace() || byte == b'_' || byte == b',')
            .then_some((head, long.len()))
    })?;
    Some((head, end + usize::from(text.get(end) == Some(&b','))))
}

fn sentence(what: impl Display, rule: &[u8]) -> String {
    format!("{what}: {}", String::from_utf8_lossy(rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Match {
        match Rule::parse(text.as_bytes()) {
            Ok(Rule(Kind::Match(rule))) => rule,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn short_long_and_underscored_forms_say_the_same() {
        let plain = parsed("- a");
        for text in ["-_a", "-, a", "exclude a", "exclude_a", "exclude, a"] {
            assert_eq!(parsed(text), plain, "{text}");
        }
        assert_eq!(parsed("-,sp a"), parsed("exclude,sp a"));
        assert_eq!(parsed("P a"), parsed("-r a"));
        assert_eq!(parsed("show a"), parsed("+s a"));
    }

    #[test]
    fn blanks_belong_to_the_pattern_after_the_first() {
        assert_eq!(parsed("-  a").pattern, b" a");
        assert_eq!(parsed("- p ").pattern, b"p ");
    }

    #[test]
    fn malformed_rules_get_rsyncs_sentence() {
        for (text, error) in [
            ("foo", "Unknown filter rule: foo"),
            (" - a", "Unknown filter rule:  - a"),
            ("excludex a", "Unknown filter rule: excludex a"),
            ("-foo", "invalid modifier 'f' at position 1 in filter rule: -foo"),
            ("Hs a", "invalid modifier 's' at position 1 in filter rule: Hs a"),
            ("show,r a", "invalid modifier 'r' at position 5 in filter rule: show,r a"),
            ("exclude\ta", "invalid modifier '\\t' at position 7 in filter rule: exclude\ta"),
            ("! x", "'!' rule has trailing characters: ! x"),
            ("clear ", "'!' rule has trailing characters: clear "),
            ("- ", "unexpected end of filter rule: - "),
            ("-", "unexpected end of filter rule: -"),
            ("-s_", "unexpected end of filter rule: -s_"),
            (".", "unexpected end of filter rule: ."),
            (":!f x", "invalid modifier '!' at position 1 in filter rule: :!f x"),
            ("-n x", "invalid modifier 'n' at position 1 in filter rule: -n x"),
            (":C- x", "invalid modifier '-' at position 2 in filter rule: :C- x"),
        ] {
            assert_eq!(Rule::parse(text.as_bytes()), Err(error.to_string()));
        }
    }

    #[test]
    fn the_list_is_cleared_by_an_exclamation_mark_alone() {
        for text in ["!", "clear", "!,", "clear,"] {
            assert_eq!(Rule::parse(text.as_bytes()), Ok(Rule(Kind::Clear)), "{text}");
        }
        assert_eq!(Rule::exclude(b"!"), Rule(Kind::Clear));
        assert_eq!(Rule::exclude(b"!x"), Rule(Kind::Match(Match::plain(Action::Exclude, b"!x"))));
    }

    #[test]
    fn values_of_exclude_know_only_the_old_prefixes() {
        assert_eq!(Rule::exclude(b"+ a"), Rule::include(b"a"));
        assert_eq!(Rule::include(b"- a"), Rule::exclude(b"a"));
        assert_eq!(Rule::exclude(b"- - m"), Rule(Kind::Match(Match::plain(Action::Exclude, b"- m"))));
        assert_eq!(Rule::exclude(b"H a"), Rule(Kind::Match(Match::plain(Action::Exclude, b"H a"))));
        assert_eq!(Rule::pattern(b"- ", Action::Exclude), Err("unexpected end of filter rule: - ".into()));
    }

    #[test]
    fn files_of_rules_skip_comments_and_blank_lines() {
        let rules = Rule::from_lines(b"#c\n;d\n\na\r\n+ b\n!\nc", false, Action::Exclude);
        assert_eq!(
            rules,
            Ok([Rule::exclude(b"a"), Rule::include(b"b"), Rule(Kind::Clear), Rule::exclude(b"c")]
                .map(Rule::of_file)
                .to_vec())
        );
        assert_eq!(
            Rule::from_lines(b"#c\0a\nb\0\0", true, Action::Include),
            Ok(vec![Rule::include(b"a\nb").of_file()]),
            "newlines are ordinary where NULs separate"
        );
        assert_eq!(
            Rule::from_lines(b"a\n- ", false, Action::Exclude),
            Err("line 2: unexpected end of filter rule: - ".into())
        );
        assert!(Rule::from_lines(b"a\0b\n", false, Action::Exclude).is_err());
    }
}
