//! What is moved: kinds of work, each slow in its own way, and how much of it. Pure.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What lies at the source, and what the destination has before the clock starts. Whatever depends on it matches on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Files, a hundred to a directory.
    Files,
    /// The same, there already: what is measured is finding that out.
    Nothing,
    /// A directory for each file, three levels deep.
    Tree,
    /// The same, there already.
    UnchangedTree,
    /// Directories one in another, a file in each.
    Chain,
    /// Symlinks in one directory.
    Links,
    /// Files that are there already, beside a tree that has to go.
    Delete,
    /// A file over an older one that differs in a few places.
    Parts,
    /// The same over one in which some bytes were put in and others taken out.
    Moved,
    /// Files over older ones, in each of which a byte differs.
    Changed,
}

/// What a destination has before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    Empty,
    /// All that the source has. It stays so, run after run.
    Alike,
    /// Something else, which the run changes: each gets a copy.
    Other,
}

impl Kind {
    pub fn destination(self) -> Destination {
        match self {
            Kind::Files | Kind::Tree | Kind::Chain | Kind::Links => Destination::Empty,
            Kind::Nothing | Kind::UnchangedTree => Destination::Alike,
            Kind::Delete | Kind::Parts | Kind::Moved | Kind::Changed => Destination::Other,
        }
    }

    /// The content of files travels: there is something to verify, and a rate.
    pub fn sends_files(self) -> bool {
        matches!(self, Kind::Files | Kind::Tree | Kind::Chain) || self.is_over_older()
    }

    /// The destination has another version of each file.
    pub fn is_over_older(self) -> bool {
        matches!(self, Kind::Parts | Kind::Moved | Kind::Changed)
    }

    /// What is asked for besides `-a`, in rsync's words.
    pub fn options(self) -> &'static [&'static str] {
        if self == Kind::Delete { &["--delete"] } else { &[] }
    }
}

/// An amount of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// As asked for: `900x1M`.
    pub name: String,
    pub kind: Kind,
    /// Files at the source, or links where those are the work.
    pub files: u64,
    /// Bytes in each file.
    pub size: u64,
}

/// Files of a directory with nothing but files.
const IN_A_DIRECTORY: u64 = 100;
/// Directories of a tree that lie in one.
pub(super) const FANOUT: u64 = 20;
/// Files in the tree that has to go, for each that stays.
const GOING: u64 = 40;

/// Works with a name of their own.
const NAMED: [(&str, Kind, u64, u64); 9] = [
    ("nothing", Kind::Nothing, 10_000, 4096),
    ("tree", Kind::Tree, 4000, 1000),
    ("unchanged-tree", Kind::UnchangedTree, 4000, 1000),
    ("chain", Kind::Chain, 30, 1000),
    ("links", Kind::Links, 5000, 0),
    ("delete", Kind::Delete, 100, 1000),
    ("parts", Kind::Parts, 1, 500 << 20),
    ("moved", Kind::Moved, 1, 500 << 20),
    ("changed", Kind::Changed, 900, 1 << 20),
];

/// The works of the table that hopsync is held against, with [`Workload::distances`].
pub const TABLE: &str = "900x1M,2G,10000x4K,500M,2000x4K,nothing,tree,unchanged-tree,delete";

/// `--cells`.
pub const HELP: &str = "Work: FILESxSIZE (900x1M), SIZE for one file (2G), nothing (10,000 files that are there already), \
                        tree (4,000 files in 4,210 directories), unchanged-tree (the same, there already), chain (30 \
                        directories one in another), links (5,000 symlinks), delete (a tree that has to go), parts (500M over \
                        an older one that differs in places), moved (the same, bytes put in and taken out), or changed (900x1M \
                        over older ones, a byte differs in each)";

impl Workload {
    pub fn bytes(&self) -> u64 {
        self.files.saturating_mul(self.size)
    }

    /// Bytes at a destination, when they are most.
    pub fn bytes_there(&self) -> u64 {
        self.files.saturating_add(self.going()).saturating_mul(self.size)
    }

    /// Files of the tree at the destination that has to go.
    pub fn going(&self) -> u64 {
        if self.kind == Kind::Delete { self.files.saturating_mul(GOING) } else { 0 }
    }

    /// Files and directories at the source, which itself is not counted.
    pub fn names(&self) -> u64 {
        self.files.saturating_add(match self.kind {
            Kind::Tree | Kind::UnchangedTree => directories(self.files),
            Kind::Chain => self.files,
            Kind::Links => 1,
            Kind::Files | Kind::Nothing | Kind::Delete => self.files.div_ceil(IN_A_DIRECTORY),
            Kind::Parts | Kind::Moved | Kind::Changed => self.files.div_ceil(IN_A_DIRECTORY),
        })
    }

    /// Names at a destination, when they are most.
    pub fn names_there(&self) -> u64 {
        self.names().saturating_add(self.going()).saturating_add(directories(self.going()))
    }

    /// The same kind of work, smaller or larger: fewer files, or a smaller one where there is only one. Its name says so:
    /// its figures are not those of the whole.
    pub fn scaled(mut self, by: f64) -> Workload {
        let scale = |n: u64| ((n as f64 * by).round() as u64).max(1);
        if self.files > 1 {
            self.files = scale(self.files);
        } else {
            self.size = scale(self.size);
        }
        if by != 1.0 {
            self.name += &format!(" × {by}");
        }
        self
    }

    /// The distances at which this work is telling, in milliseconds of round trip; 0 and 50 for one that we do not know.
    pub fn distances(&self) -> &'static [u64] {
        match self.name.as_str() {
            "2G" | "10000x4K" => &[0],
            "500M" | "2000x4K" | "tree" | "unchanged-tree" | "delete" => &[50],
            _ => &[0, 50],
        }
    }
}

/// Directories of a tree of so many files.
fn directories(files: u64) -> u64 {
    files.saturating_add(files.div_ceil(FANOUT)).saturating_add(files.div_ceil(FANOUT * FANOUT))
}

impl FromStr for Workload {
    type Err = String;

    /// `FILESxSIZE`, `SIZE` for one file, or a name. Sizes are bytes, with `K`, `M` or `G` for powers of 1024.
    fn from_str(name: &str) -> Result<Workload, String> {
        let work = |kind, files, size| Workload { name: name.to_owned(), kind, files, size };
        if let Some(&(_, kind, files, size)) = NAMED.iter().find(|named| named.0 == name) {
            return Ok(work(kind, files, size));
        }
        let wrong = || {
            let names = NAMED.map(|named| named.0).join(", ");
            format!("\"{name}\" is no work: FILESxSIZE (900x1M), SIZE (2G) or one of {names} is")
        };
        let (files, size) = match name.split_once('x') {
            Some((files, size)) => (files.parse().map_err(|_| wrong())?, size),
            None => (1, name),
        };
        let (digits, unit) = match size.as_bytes().last() {
            Some(b'K') => (&size[..size.len() - 1], 1 << 10),
            Some(b'M') => (&size[..size.len() - 1], 1 << 20),
            Some(b'G') => (&size[..size.len() - 1], 1 << 30),
            _ => (size, 1),
        };
        let size = digits.parse::<u64>().ok().and_then(|size| size.checked_mul(unit)).ok_or_else(wrong)?;
        if files == 0 { Err(wrong()) } else { Ok(work(Kind::Files, files, size)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(name: &str) -> Workload {
        name.parse().expect("a work")
    }

    #[test]
    fn works_are_named_by_their_files_and_sizes_or_have_a_name() {
        let shape = |name: &str| (work(name).kind, work(name).files, work(name).size);
        assert_eq!(shape("900x1M"), (Kind::Files, 900, 1 << 20));
        assert_eq!(shape("2G"), (Kind::Files, 1, 2 << 30));
        assert_eq!(shape("3x17"), (Kind::Files, 3, 17));
        assert_eq!(shape("nothing"), (Kind::Nothing, 10_000, 4096));
        for wrong in ["", "x", "0x4K", "-1x4K", "4x", "K", "9x1T", "99999999999G", "some", "Tree"] {
            let told = wrong.parse::<Workload>().expect_err(wrong);
            assert!(NAMED.iter().all(|named| told.contains(named.0)), "{told}");
        }
        for (name, kind, ..) in NAMED {
            assert_eq!(serde_json::to_value(kind).expect("a word"), name, "a kind is called as its work");
            assert!(HELP.contains(&format!("{name} (")), "--help does not tell of {name}");
        }
    }

    #[test]
    fn a_work_s_names_are_counted() {
        let names = |name: &str| (work(name).names(), work(name).names_there());
        assert_eq!(names("900x1M"), (909, 909));
        assert_eq!(names("tree"), (8210, 8210));
        assert_eq!(names("unchanged-tree"), names("tree"));
        assert_eq!(names("chain"), (60, 60));
        assert_eq!(names("links"), (5001, 5001));
        assert_eq!(names("delete"), (101, 101 + 8210));
        assert_eq!((names("parts"), names("moved"), names("changed")), ((2, 2), (2, 2), (909, 909)));
    }

    #[test]
    fn scaling_takes_files_away_or_shortens_the_only_one() {
        let scaled = |name, by| (work(name).scaled(by).files, work(name).scaled(by).size);
        assert_eq!(scaled("900x1M", 0.02), (18, 1 << 20));
        assert_eq!(scaled("2G", 0.5), (1, 1 << 30));
        assert_eq!(scaled("10x4K", 0.0001), (1, 4096));
        assert_eq!([scaled("tree", 0.01), scaled("links", 0.01)], [(40, 1000), (50, 0)]);
        assert_eq!(work("delete").scaled(0.02).going(), 80);
        assert_eq!(work("tree").scaled(0.02).names(), 80 + 80 + 4 + 1);
        assert_eq!(work("2G").scaled(0.5).name, "2G × 0.5");
        assert_eq!(work("2G").scaled(1.0).name, "2G");
    }
}
