//! The differences that are known: `known.txt`, one line each: ends, aspect, case, and the reason.

use crate::harness::Difference;

const FILE: &str = include_str!("known.txt");

pub struct Known(Vec<Entry>);

struct Entry {
    line: &'static str,
    /// `local`, `push`, `pull`, several with commas, or `any`.
    ends: Vec<&'static str>,
    aspect: &'static str,
    /// What each line of the difference is like.
    lines: Option<&'static str>,
    /// The case's words; `*` stands for any text.
    case: &'static str,
    seen: bool,
}

impl Known {
    /// # Panics
    /// A line that is none, or has no reason.
    pub fn read() -> Known {
        let lines = FILE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Known(lines.map(Entry::parse).collect())
    }

    /// Whether a difference is a known one. Every entry that matches counts as needed.
    pub fn excuses(&mut self, difference: &Difference) -> bool {
        let mut excused = false;
        for entry in &mut self.0 {
            if entry.matches(difference) {
                entry.seen = true;
                excused = true;
            }
        }
        excused
    }

    pub fn unneeded(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter(|entry| !entry.seen).map(|entry| entry.line)
    }
}

impl Entry {
    fn parse(line: &'static str) -> Entry {
        let fields: Vec<&str> = line.splitn(4, '|').map(str::trim).collect();
        match fields[..] {
            [ends, aspect, case, reason] if !reason.is_empty() => {
                let (aspect, lines) = match aspect.strip_suffix(')').and_then(|aspect| aspect.split_once('(')) {
                    Some((aspect, lines)) => (aspect, Some(lines)),
                    None => (aspect, None),
                };
                Entry { line, ends: ends.split(',').collect(), aspect, lines, case, seen: false }
            }
            _ => panic!("known.txt: ends | aspect | case | reason: {line}"),
        }
    }

    fn matches(&self, difference: &Difference) -> bool {
        let here = self.ends.iter().any(|ends| *ends == "any" || *ends == difference.ends);
        let alike = |pattern: &str| difference.what.lines().all(|line| like(pattern, line));
        here && self.aspect == difference.aspect && self.lines.is_none_or(alike) && like(self.case, &difference.case)
    }
}

/// Whether `text` is what `pattern` says, `*` being any text.
fn like(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| like(rest, &text[at..]))
}

#[test]
fn stars_stand_for_any_text() {
    for (pattern, text, is) in
        [("-a *", "-a src dst", true), ("*--x*", "a --x b", true), ("-a", "-ab", false), ("*b", "ab", true)]
    {
        assert_eq!(like(pattern, text), is, "{pattern} {text}");
    }
}
