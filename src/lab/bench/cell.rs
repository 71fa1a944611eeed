//! What is measured: a work, its direction and its distance.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Files to be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// As asked for: `900x1M`.
    pub name: String,
    pub files: u64,
    /// Bytes in each file.
    pub size: u64,
    /// The destination has them all already: what is measured is finding that out.
    pub unchanged: bool,
}

impl Workload {
    pub fn bytes(&self) -> u64 {
        self.files.saturating_mul(self.size)
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
    fn distances(&self) -> &'static [u64] {
        match self.name.as_str() {
            "2G" | "10000x4K" => &[0],
            "500M" | "2000x4K" => &[50],
            _ => &[0, 50],
        }
    }
}

/// The works of the table that hopsync is held against, with [`Workload::distances`].
pub const TABLE: &str = "900x1M,2G,10000x4K,500M,2000x4K,nothing";

impl FromStr for Workload {
    type Err = String;

    /// `FILESxSIZE`, `SIZE` for one file, or `nothing`: 10,000 files of 4 KiB that are there already. Sizes are bytes, with
    /// `K`, `M` or `G` for powers of 1024.
    fn from_str(name: &str) -> Result<Workload, String> {
        let work = |files, size, unchanged| Workload { name: name.to_owned(), files, size, unchanged };
        if name == "nothing" {
            return Ok(work(10_000, 4096, true));
        }
        let wrong = || format!("\"{name}\" is no work: FILESxSIZE (900x1M), SIZE (2G) or nothing is");
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
        if files == 0 { Err(wrong()) } else { Ok(work(files, size, false)) }
    }
}

/// Seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Push,
    Pull,
}

/// One cell of the table: all programs are measured on it in turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    #[serde(flatten)]
    pub workload: Workload,
    pub direction: Direction,
    /// Milliseconds from the client to the head and back.
    pub rtt_ms: u64,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Push => "push",
            Direction::Pull => "pull",
        };
        write!(f, "{} {direction} {} ms", self.workload.name, self.rtt_ms)
    }
}

/// All cells: each work at each distance (without any, at its own ones) in each direction. Cells of one work are neighbours,
/// so that its files are made once.
pub fn cells(works: &[Workload], distances: &[u64], directions: &[Direction], scale: f64) -> Vec<Cell> {
    let mut cells = Vec::new();
    for work in works {
        let distances = if distances.is_empty() { work.distances() } else { distances };
        let workload = work.clone().scaled(scale);
        for &rtt_ms in distances {
            cells.extend(directions.iter().map(|&direction| Cell { workload: workload.clone(), direction, rtt_ms }));
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(name: &str) -> Workload {
        name.parse().expect("a work")
    }

    #[test]
    fn works_are_named_by_their_files_and_sizes() {
        let shape = |name: &str| (work(name).files, work(name).size, work(name).unchanged);
        assert_eq!(shape("900x1M"), (900, 1 << 20, false));
        assert_eq!(shape("2G"), (1, 2 << 30, false));
        assert_eq!(shape("3x17"), (3, 17, false));
        assert_eq!(shape("nothing"), (10_000, 4096, true));
        for wrong in ["", "x", "0x4K", "-1x4K", "4x", "K", "9x1T", "99999999999G", "some"] {
            assert!(wrong.parse::<Workload>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn scaling_takes_files_away_or_shortens_the_only_one() {
        let scaled = |name, by| (work(name).scaled(by).files, work(name).scaled(by).size);
        assert_eq!(scaled("900x1M", 0.02), (18, 1 << 20));
        assert_eq!(scaled("2G", 0.5), (1, 1 << 30));
        assert_eq!(scaled("10x4K", 0.0001), (1, 4096));
        assert_eq!(work("2G").scaled(0.5).name, "2G × 0.5");
        assert_eq!(work("2G").scaled(1.0).name, "2G");
    }

    #[test]
    fn each_work_has_its_own_distances_unless_some_are_asked_for() {
        let works: Vec<_> = TABLE.split(',').map(work).collect();
        let both = [Direction::Push, Direction::Pull];
        assert_eq!(cells(&works, &[], &both, 1.0).len(), 2 * (2 + 1 + 1 + 1 + 1 + 2));
        let asked: Vec<_> = cells(&works[..2], &[0, 20], &both[..1], 1.0).iter().map(ToString::to_string).collect();
        assert_eq!(asked, ["900x1M push 0 ms", "900x1M push 20 ms", "2G push 0 ms", "2G push 20 ms"]);
    }
}
