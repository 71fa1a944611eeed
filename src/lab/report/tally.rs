//! What went wrong, by hop, stage and cause: for a run from its lines, for a bench from its samples. The words are those of
//! docs/report.md, kept as they come: a newer program may have more of them.

use std::collections::HashMap;

use crate::ledger::escape_cut;

/// Hop, stage, cause: rows kept apart. Beyond it they are counted under the hop `(others)`.
const ROWS: usize = 256;
/// Bytes of a word kept, and of an example.
const WORD: usize = 60;
const EXAMPLE: usize = 300;

/// Where and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub hop: String,
    pub stage: String,
    pub cause: String,
}

impl Place {
    /// Escaped and cut: from here on they can be shown, once they are escaped for what shows them.
    pub fn new(hop: &str, stage: &str, cause: &str) -> Place {
        let word = |text: &str| if text.is_empty() { "unknown".to_owned() } else { escape_cut(text.as_bytes(), WORD) };
        Place { hop: word(hop), stage: word(stage), cause: word(cause) }
    }

    pub fn unknown() -> Place {
        Place::new("unknown", "unknown", "unknown")
    }

    /// `head · banner · start-limit`.
    pub fn label(&self) -> String {
        format!("{} · {} · {}", self.hop, self.stage, self.cause)
    }
}

/// All that befell at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub place: Place,
    /// Files that did not arrive.
    pub lost: u64,
    /// Failures beside the files.
    pub other: u64,
    /// What was lost on the way and tried again.
    pub attempts: u64,
    pub connections: u64,
    pub channels: u64,
    /// The first lost file's text, or the first drop's.
    pub example: String,
}

impl Row {
    /// What was overcome.
    pub fn drops(&self) -> u64 {
        self.attempts.saturating_add(self.connections).saturating_add(self.channels)
    }
}

/// What a count is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Lost,
    Other,
    Attempt,
    Connection,
    Channel,
}

/// The rows, each found by its place.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    rows: Vec<Row>,
    index: HashMap<Place, usize>,
}

impl Tally {
    /// The row of this place, and whether a text is its first. Rows keep their number.
    pub fn row(&mut self, mut place: Place) -> usize {
        if self.rows.len() >= ROWS && !self.index.contains_key(&place) {
            place = Place { hop: "(others)".to_owned(), ..Place::unknown() };
        }
        let next = self.rows.len();
        let row = *self.index.entry(place.clone()).or_insert(next);
        if row == next {
            let (lost, other, attempts, connections, channels) = (0, 0, 0, 0, 0);
            self.rows.push(Row { place, lost, other, attempts, connections, channels, example: String::new() });
        }
        row
    }

    /// `times` more of a kind. The text of a lost file takes the place of a mere drop's.
    pub fn add(&mut self, row: usize, kind: Kind, times: u64, example: &str) {
        let Some(row) = self.rows.get_mut(row) else { return };
        let better = matches!(kind, Kind::Lost | Kind::Other) && row.lost + row.other == 0;
        if !example.is_empty() && (better || row.example.is_empty()) {
            row.example = escape_cut(example.as_bytes(), EXAMPLE);
        }
        let counter = match kind {
            Kind::Lost => &mut row.lost,
            Kind::Other => &mut row.other,
            Kind::Attempt => &mut row.attempts,
            Kind::Connection => &mut row.connections,
            Kind::Channel => &mut row.channels,
        };
        *counter = counter.saturating_add(times);
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What cost files first, then what was overcome; each by how much.
    pub fn sorted(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().filter(|row| row.lost + row.other + row.drops() > 0).collect();
        rows.sort_by(|a, b| {
            (b.lost, b.other, b.drops()).cmp(&(a.lost, a.other, a.drops())).then(a.place.cmp(&b.place))
        });
        rows
    }

    pub fn lost(&self) -> u64 {
        self.rows.iter().map(|row| row.lost).fold(0, u64::saturating_add)
    }

    pub fn drops(&self) -> u64 {
        self.rows.iter().map(Row::drops).fold(0, u64::saturating_add)
    }

    /// Everything that the other has, too.
    pub fn merge(&mut self, other: &Tally) {
        for from in &other.rows {
            let row = self.row(from.place.clone());
            let kinds = [
                (Kind::Lost, from.lost),
                (Kind::Other, from.other),
                (Kind::Attempt, from.attempts),
                (Kind::Connection, from.connections),
                (Kind::Channel, from.channels),
            ];
            for (kind, times) in kinds.into_iter().filter(|(_, times)| *times > 0) {
                self.add(row, kind, times, "");
            }
            if self.rows[row].example.is_empty() {
                self.rows[row].example.clone_from(&from.example);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_a_cap_and_nothing_is_lost_beyond_it() {
        let mut tally = Tally::default();
        for n in 0..1000 {
            let row = tally.row(Place::new(&format!("hop{n}"), "banner", "lost"));
            tally.add(row, Kind::Lost, 1, "text");
        }
        assert_eq!((tally.rows().len(), tally.lost()), (ROWS + 1, 1000));
        assert_eq!(tally.sorted()[0].place.hop, "(others)");
    }

    #[test]
    fn the_example_is_a_lost_files_where_there_is_one() {
        let mut tally = Tally::default();
        let row = tally.row(Place::new("head", "write", "lost"));
        tally.add(row, Kind::Attempt, 1, "a drop");
        tally.add(row, Kind::Lost, 1, "a loss");
        tally.add(row, Kind::Lost, 1, "a later one");
        assert_eq!(tally.rows()[row].example, "a loss");
    }

    #[test]
    fn merging_adds_up() {
        let mut one = Tally::default();
        let row = one.row(Place::new("head", "write", "lost"));
        one.add(row, Kind::Channel, 2, "x");
        let mut two = one.clone();
        two.merge(&one);
        assert_eq!((two.rows().len(), two.drops()), (1, 4));
    }

    #[test]
    fn words_are_escaped_and_cut() {
        let place = Place::new("he\u{1b}ad", "", &"x".repeat(1000));
        assert_eq!((place.hop.as_str(), place.stage.as_str()), ("he\\#033ad", "unknown"));
        assert!(place.cause.len() < 100);
    }
}
