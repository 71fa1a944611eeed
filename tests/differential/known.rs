//! The differences that are known: `known.txt`, one line each: ends, aspect, case, and the reason.

use crate::cases;
use crate::harness::{Case, Difference};
use crate::random;

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

    /// Whether a difference is a known one: each of its lines is what some entry has. Every entry that matches counts as
    /// needed.
    pub fn excuses(&mut self, difference: &Difference) -> bool {
        let mut excused = vec![false; difference.what.lines().count()];
        for entry in self.0.iter_mut().filter(|entry| entry.is_about(difference)) {
            for (line, excused) in difference.what.lines().zip(&mut excused) {
                if entry.lines.is_none_or(|pattern| like(pattern, line)) {
                    (*excused, entry.seen) = (true, true);
                }
            }
        }
        excused.into_iter().all(|excused| excused)
    }

    /// Of the entries that concern these cases, those that none of them needed.
    pub fn unneeded(&self, cases: &[Case]) -> impl Iterator<Item = &'static str> {
        let concerns = |entry: &&Entry| cases.iter().any(|case| entry.concerns(case.ends.name(), &case.text));
        self.0.iter().filter(|entry| !entry.seen).filter(concerns).map(|entry| entry.line)
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

    fn concerns(&self, ends: &str, case: &str) -> bool {
        self.ends.iter().any(|wanted| *wanted == "any" || *wanted == ends) && like(self.case, case)
    }

    fn is_about(&self, difference: &Difference) -> bool {
        self.aspect == difference.aspect && self.concerns(difference.ends, &difference.case)
    }
}

/// Whether `text` is what `pattern` says, `*` being any text.
fn like(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| like(rest, &text[at..]))
}

#[test]
fn every_entry_concerns_a_case() {
    let table = cases::table();
    for entry in Known::read().0 {
        // One that a random case is named by.
        if let Some(seed) = entry.case.rsplit_once("# ").and_then(|(_, seed)| seed.parse().ok()) {
            let case = random::case(seed);
            assert!(entry.concerns(case.ends.name(), &case.text), "the case is another by now: {}", entry.line);
            continue;
        }
        let concerned = |case: &Case| entry.concerns(case.ends.name(), &case.text);
        assert!(table.iter().any(concerned), "no such case: {}", entry.line);
    }
}

#[test]
fn stars_stand_for_any_text() {
    for (pattern, text, is) in
        [("-a *", "-a src dst", true), ("*--x*", "a --x b", true), ("-a", "-ab", false), ("*b", "ab", true)]
    {
        assert_eq!(like(pattern, text), is, "{pattern} {text}");
    }
}
