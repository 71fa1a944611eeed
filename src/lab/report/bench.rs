//! A bench's folder: its runs put together by cell and program. What a folder of an older bench lacks is left out.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;

use super::read::{Error, Lines, read_runs, reports_in, shown};
use super::record::{LIMITS, Record, axes, environment};
use super::runs::Runs;
use super::tally::{Kind, Place, Tally};
use crate::lab::bench::{Kind as Work, Spread};
use crate::ledger::escape_cut;

/// Cells kept, and programs of each: more than anyone waits for.
const CELLS: usize = 200;
const PROGRAMS: usize = 24;
/// Wall times kept of each program on each cell.
const WALLS: usize = 1000;
/// Rows of `missing` read of one run.
const MISSING: usize = 256;
/// Runs of hopsync whose own reports are shown.
const INSIDE: usize = 6;
/// Bytes kept of what a program said.
const TEXT: usize = 300;

/// One folder.
#[derive(Debug, Default)]
pub struct Bench {
    /// As it was given.
    pub name: String,
    /// Name and value.
    pub environment: Vec<(String, String)>,
    pub cells: Vec<Cell>,
    /// Cells, or programs of one, that did not fit.
    pub left_out: u64,
    /// The file ends in the middle of a line.
    pub cut: bool,
    /// hopsync's own account of some of its runs: cell, program, run.
    pub inside: Vec<(String, Runs)>,
}

/// All that was measured side by side.
#[derive(Debug)]
pub struct Cell {
    /// What varies, name and value: `files`, `at once`, ….
    pub axes: Vec<(&'static str, String)>,
    pub files: u64,
    pub bytes: u64,
    /// Files were to be sent: there is a rate.
    pub sends_files: bool,
    pub programs: Vec<Program>,
}

/// One program on one cell. Warm-ups are not in it.
#[derive(Debug, Default)]
pub struct Program {
    pub name: String,
    pub runs: u64,
    /// Exit 0, every file whole, nothing else there.
    pub complete: u64,
    /// Of all runs together.
    pub whole: u64,
    pub missing: u64,
    /// The most that one run missed.
    pub worst: u64,
    /// Directories that were missing after runs, and names that the source has not.
    pub amiss: u64,
    /// Wall times of complete runs, and of the others.
    pub walls: Vec<f64>,
    pub broken: Vec<f64>,
    pub cpu: Vec<f64>,
    /// Bytes.
    pub peak: u64,
    pub tally: Tally,
    /// Files that were put down to a cause beyond those that are missing.
    pub overtold: u64,
    /// When files were whole, of the run in the middle: points of time and number.
    pub arrivals: Vec<(f64, u64)>,
    /// What a run that was not complete said last.
    pub message: String,
    /// Of each run that counts: its number in the file, and its wall time.
    numbers: Vec<(u64, f64)>,
}

impl Program {
    pub fn wall(&self) -> Option<Spread> {
        Spread::of(self.walls.iter().copied())
    }

    /// What a ratio may be made of: only if every run was complete.
    pub fn sound(&self) -> Option<f64> {
        (self.complete == self.runs).then(|| self.wall()).flatten().map(|wall| wall.median)
    }

    pub fn is_ours(&self) -> bool {
        self.name.starts_with("hopsync")
    }
}

impl Cell {
    /// The rsync that the others are held against: the plain one, else the first that is there.
    pub fn reference(&self) -> Option<&Program> {
        let named = |name: &str| self.programs.iter().find(|program| program.name == name);
        named("rsync").or_else(|| self.programs.iter().find(|program| program.name.starts_with("rsync")))
    }

    /// Wall time of the reference divided by this one's: 2 is twice as fast.
    pub fn ratio(&self, program: &Program) -> Option<f64> {
        let (reference, own) = (self.reference()?.sound()?, program.sound()?);
        (own > 0.0).then(|| reference / own)
    }
}

impl Bench {
    /// `runs.jsonl`, and what lies beside it in `folder`.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn read(file: &Path, folder: &Path) -> Result<Bench, Error> {
        let mut bench = Bench { name: shown(folder), ..Bench::default() };
        bench.cut = each_record(file, |number, value| bench.record(number, &value))?;
        if bench.cells.is_empty() {
            return Err(Error::Content {
                path: shown(file),
                why: "no run that counts is in it: only warm-ups, or nothing",
            });
        }
        bench.join_limits();
        bench.complete_axes();
        bench.curves(file)?;
        bench.environment = environment(&folder.join("environment.json"))?;
        bench.look_inside(folder)?;
        Ok(bench)
    }

    fn record(&mut self, number: u64, value: &Value) -> Result<(), String> {
        let record = Record(value);
        if value.get("warmup").and_then(Value::as_bool).unwrap_or(false) {
            return Ok(());
        }
        let files = record.number("files")?;
        let (axes, name) = (axes(&record)?, record.text("program").ok_or("it names no program")?);
        let cell = match self.cells.iter().position(|cell| cell.axes == axes) {
            Some(at) => &mut self.cells[at],
            None if self.cells.len() < CELLS => {
                let size = record.number("size")?;
                let sends_files = record.kind().is_some_and(Work::sends_files);
                let bytes = files.saturating_mul(size);
                self.cells.push(Cell { axes, files, bytes, sends_files, programs: Vec::new() });
                let last = self.cells.len() - 1;
                &mut self.cells[last]
            }
            None => {
                self.left_out += 1;
                return Ok(());
            }
        };
        let program = match cell.programs.iter().position(|program| program.name == name) {
            Some(at) => &mut cell.programs[at],
            None if cell.programs.len() < PROGRAMS => {
                cell.programs.push(Program { name, ..Program::default() });
                let last = cell.programs.len() - 1;
                &mut cell.programs[last]
            }
            None => {
                self.left_out += 1;
                return Ok(());
            }
        };
        program.run(&record, files, number)
    }

    /// Limits that head and target have in common everywhere are told once.
    fn join_limits(&mut self) {
        for (head, target, both) in LIMITS {
            let value =
                |cell: &Cell, name: &str| cell.axes.iter().find(|axis| axis.0 == name).map(|axis| axis.1.clone());
            if self.cells.iter().all(|cell| value(cell, head) == value(cell, target)) {
                for cell in &mut self.cells {
                    cell.axes.retain(|axis| axis.0 != target);
                    cell.axes.iter_mut().filter(|axis| axis.0 == head).for_each(|axis| axis.0 = both);
                }
            }
        }
    }

    /// A bench that starts many processes at once, or from the head, says so of those cells alone; the others have one process
    /// for all files, and go through the head.
    fn complete_axes(&mut self) {
        for (name, value, before) in [("from", "through the head", "at once"), ("at once", "one process", "round trip")]
        {
            let told = |cell: &Cell| cell.axes.iter().any(|axis| axis.0 == name);
            if self.cells.iter().any(told) {
                for cell in self.cells.iter_mut().filter(|cell| !told(cell)) {
                    let at = |name: &str| cell.axes.iter().position(|axis| axis.0 == name);
                    let at = at(before).or_else(|| at("round trip")).unwrap_or(cell.axes.len());
                    cell.axes.insert(at, (name, value.to_owned()));
                }
            }
        }
    }

    /// When files arrived, of each program's run in the middle, which is known once all have been read.
    fn curves(&mut self, file: &Path) -> Result<(), Error> {
        let programs = self.cells.iter_mut().flat_map(|cell| &mut cell.programs);
        let mut wanted: HashMap<u64, &mut Program> =
            programs.filter_map(|program| Some((program.middle()?, program))).collect();
        each_record(file, |number, value| {
            if let Some(program) = wanted.get_mut(&number) {
                program.arrivals = Record(&value).arrivals()?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Of each program of ours that kept its reports: the run in the middle.
    fn look_inside(&mut self, folder: &Path) -> Result<(), Error> {
        let reports = folder.join("reports");
        if !reports.is_dir() {
            return Ok(());
        }
        let mut found: Vec<(u64, String, Vec<_>)> = Vec::new();
        for (index, cell) in self.cells.iter().enumerate() {
            for program in cell.programs.iter().filter(|program| program.is_ours()) {
                let folder_of = |number: &u64| reports.join(number.to_string());
                let Some(number) = program.middle().filter(|number| folder_of(number).is_dir()) else { continue };
                let files = reports_in(&folder_of(&number))?;
                if !files.is_empty() {
                    let trouble = program.missing.saturating_add(program.tally.drops());
                    let cell = if self.cells.len() > 1 { format!("{}, ", letter(index)) } else { String::new() };
                    let label = format!("{cell}{}, line {} of runs.jsonl", program.name, number + 1);
                    found.push((trouble, label, files));
                }
            }
        }
        found.sort_by_key(|entry| std::cmp::Reverse(entry.0));
        for (_, label, files) in found.into_iter().take(INSIDE) {
            self.inside.push((label, read_runs(&files)?));
        }
        Ok(())
    }
}

impl Program {
    fn run(&mut self, record: &Record, files: u64, number: u64) -> Result<(), String> {
        let wall = record.real("wall_s")?.ok_or("it has no wall_s")?;
        let exit = record.field("exit").and_then(Value::as_i64);
        let extra = record.number("extra").unwrap_or(0);
        let whole = record.number("whole")?.min(files);
        let missing = files - whole;
        // An older bench did not look at directories.
        let amiss = record.number("directories_missing").unwrap_or(0).saturating_add(extra);
        let complete = exit == Some(0) && missing == 0 && amiss == 0;
        self.runs += 1;
        self.complete += u64::from(complete);
        self.whole = self.whole.saturating_add(whole);
        self.missing = self.missing.saturating_add(missing);
        self.worst = self.worst.max(missing);
        self.amiss = self.amiss.saturating_add(amiss);
        let walls = if complete { &mut self.walls } else { &mut self.broken };
        if walls.len() < WALLS {
            walls.push(wall);
            self.numbers.push((number, wall));
        }
        if complete && self.cpu.len() < WALLS {
            self.cpu.extend(record.real("user_s")?.zip(record.real("system_s")?).map(|(user, system)| user + system));
        }
        self.peak = self.peak.max(record.number("peak_rss_bytes").unwrap_or(0));
        if !complete && self.message.is_empty() {
            self.message =
                escape_cut(record.raw("message").trim().replace('\r', "").replace('\n', " / ").as_bytes(), TEXT);
        }
        self.put_down(record, missing)
    }

    /// What is missing and what was overcome, by place. What nobody accounts for is unknown, so that the sum holds.
    fn put_down(&mut self, record: &Record, missing: u64) -> Result<(), String> {
        let mut left = missing;
        for (list, counter, kind) in [("missing", "files", Kind::Lost), ("tried_again", "times", Kind::Attempt)] {
            for entry in record.list(list).into_iter().flatten().take(MISSING) {
                let entry = Record(entry);
                let mut times = entry.number(counter)?;
                if kind == Kind::Lost {
                    self.overtold = self.overtold.saturating_add(times.saturating_sub(left));
                    times = times.min(left);
                    left -= times;
                }
                let row = self.tally.row(Place::new(entry.raw("hop"), entry.raw("stage"), entry.raw("cause")));
                self.tally.add(row, kind, times, entry.raw("example"));
            }
        }
        if left > 0 {
            let row = self.tally.row(Place::unknown());
            self.tally.add(row, Kind::Lost, left, "");
        }
        Ok(())
    }

    /// The number of the run whose wall time is the middle one.
    fn middle(&self) -> Option<u64> {
        let mut numbers = self.numbers.clone();
        numbers.sort_by(|a, b| a.1.total_cmp(&b.1));
        numbers.get(numbers.len().saturating_sub(1) / 2).map(|(number, _)| *number)
    }
}

impl Cell {
    /// What tells it from the others, or all that it is if `of` is all its axes.
    pub fn label(&self, of: &[&str]) -> String {
        let mut text = String::new();
        for (name, value) in self.axes.iter().filter(|axis| of.contains(&axis.0)) {
            text += match *name {
                _ if text.is_empty() => "",
                "size" => " ",
                _ => ", ",
            };
            text += &match *name {
                name if name.contains("Max") => format!("{name} {value}"),
                "round trip" => format!("round trip {value}"),
                _ => value.clone(),
            };
        }
        text
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.axes.iter().map(|axis| axis.0).collect()
    }
}

/// Each line by its number, from 0; whether the last one is incomplete, and was left out.
fn each_record(file: &Path, mut take: impl FnMut(u64, Value) -> Result<(), String>) -> Result<bool, Error> {
    let mut lines = Lines::open(file)?;
    let mut number = 0;
    while let Some(line) = lines.next()? {
        match serde_json::from_str::<Value>(line) {
            Ok(value) => take(number, value).map_err(|why| lines.error(why))?,
            Err(_) if lines.cut => return Ok(true),
            Err(_) => return Err(lines.error("it is no JSON".to_owned())),
        }
        number += 1;
    }
    Ok(false)
}

/// A to Z, then AA, AB, …: what a page calls its cells.
pub fn letter(index: usize) -> String {
    let last = char::from(b'A' + (index % 26) as u8);
    if index < 26 { last.to_string() } else { letter(index / 26 - 1) + &last.to_string() }
}

/// Names of the axes on which cells differ.
pub fn varying(cells: &[Cell]) -> Vec<&'static str> {
    let mut values: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    for cell in cells {
        for (name, value) in &cell.axes {
            let seen = values.entry(*name).or_default();
            if !seen.contains(&value.as_str()) {
                seen.push(value);
            }
        }
    }
    let everywhere = |name: &str| cells.iter().all(|cell| cell.axes.iter().any(|axis| axis.0 == name));
    values.into_iter().filter(|(name, seen)| seen.len() > 1 || !everywhere(name)).map(|(name, _)| name).collect()
}
