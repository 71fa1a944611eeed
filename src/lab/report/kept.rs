//! What is kept of runs beside their times: counts, lists with a cap, hops, words of servers.

use super::lines;
use crate::ledger::escape_cut;

/// Rows of each list.
pub const LIST: usize = 48;
/// Bytes of a text kept.
pub const TEXT: usize = 300;

/// The classes, in the order of the sum.
pub const CLASSES: [&str; 5] = ["verified", "sent", "unchanged", "skipped", "failed"];

/// Files by class, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub planned: u64,
    pub planned_bytes: u64,
    pub files: [u64; 5],
    pub bytes: [u64; 5],
}

impl Counts {
    pub fn delivered(&self) -> u64 {
        self.files[0] + self.files[1]
    }

    pub fn failed(&self) -> u64 {
        self.files[4]
    }

    /// Files without a class: of a run that is not over.
    pub fn open(&self) -> u64 {
        self.planned.saturating_sub(self.files.iter().sum())
    }
}

/// A list with a cap: each entry once, with how often it came, and how many did not fit.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    pub rows: Vec<(T, u64)>,
    pub beyond: u64,
}

impl<T> Default for Listed<T> {
    fn default() -> Listed<T> {
        Listed { rows: Vec::new(), beyond: 0 }
    }
}

impl<T: PartialEq> Listed<T> {
    pub fn add(&mut self, entry: T) {
        match self.rows.iter().position(|row| row.0 == entry) {
            Some(at) => self.rows[at].1 += 1,
            None if self.rows.len() < LIST => self.rows.push((entry, 1)),
            None => self.beyond += 1,
        }
    }
}

/// A hop, as it was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub name: String,
    pub via: Option<String>,
    pub banner: String,
    pub kex: String,
    pub cipher: String,
    pub method: String,
}

impl Hop {
    pub fn of(facts: &lines::HopFacts) -> Hop {
        let kept = |text: &str| escape_cut(text.as_bytes(), TEXT);
        Hop {
            name: kept(&facts.hop),
            via: facts.via.as_deref().map(kept),
            banner: kept(&facts.banner),
            kex: kept(&facts.kex),
            cipher: kept(&facts.cipher),
            method: kept(&facts.method),
        }
    }
}

/// What a server said: hop, kind, text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    pub hop: String,
    pub kind: String,
    pub text: String,
}
