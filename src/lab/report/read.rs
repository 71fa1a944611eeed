//! The files: which there are behind the paths that were given, and their lines one by one. Nothing is kept but what a
//! [`Runs`] or a [`Bench`] keeps.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::bench::Bench;
use super::lines;
use super::runs::{Runs, parse};

/// The longest line that is read: more than a summary with every list full, or a sample with 100,000 arrivals.
const LINE: u64 = 16 << 20;

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {error}")]
    File { path: String, error: io::Error },
    #[error("{path}, line {line}: {why}")]
    Line { path: String, line: u64, why: String },
    #[error("{path}: {why}")]
    Content { path: String, why: &'static str },
    #[error("nothing was read: {0}")]
    Nothing(&'static str),
}

impl Error {
    pub fn file(path: &Path, error: io::Error) -> Error {
        Error::File { path: shown(path), error }
    }
}

/// Safe to print.
pub fn shown(path: &Path) -> String {
    crate::ledger::escape(path.as_os_str().as_encoded_bytes())
}

/// What was found behind the paths.
#[derive(Debug, Default)]
pub struct Found {
    pub runs: Option<Runs>,
    pub benches: Vec<Bench>,
}

/// What one file is.
enum Nature {
    Report,
    Bench,
    /// A run that has told nothing yet.
    Empty,
}

/// Reads all of it. A folder is a bench's if it has `runs.jsonl`, else all its `.jsonl` files are reports.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(paths: &[PathBuf]) -> Result<Found, Error> {
    let (mut reports, mut benches) = (Vec::new(), Vec::new());
    for path in paths {
        if !fs::metadata(path).map_err(|error| Error::file(path, error))?.is_dir() {
            match nature(path)? {
                Nature::Bench => benches.push(Bench::read(path, path.parent().unwrap_or(Path::new(".")))?),
                Nature::Report | Nature::Empty => reports.push(path.clone()),
            }
        } else if path.join("runs.jsonl").is_file() {
            benches.push(Bench::read(&path.join("runs.jsonl"), path)?);
        } else {
            let found = reports_in(path)?;
            if found.is_empty() {
                let why = "there is neither a bench's runs.jsonl in it nor any other .jsonl file";
                return Err(Error::Content { path: shown(path), why });
            }
            reports.extend(found);
        }
    }
    let runs = if reports.is_empty() { None } else { Some(read_runs(&reports)?) };
    Ok(Found { runs, benches })
}

/// The `.jsonl` files of a folder, by name.
pub fn reports_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()
    };
    let mut found = list().map_err(|error| Error::file(folder, error))?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl") && path.is_file());
    found.sort();
    Ok(found)
}

/// All reports together, as one: the earliest start is the beginning of time.
///
/// # Errors
/// The first line that is none.
pub fn read_runs(reports: &[PathBuf]) -> Result<Runs, Error> {
    let mut base: Option<(String, f64)> = None;
    for path in reports {
        let mut lines = Lines::open(path)?;
        let Some(line) = lines.next()? else { continue };
        // What is wrong with it is told when it is read.
        let Ok(start) = parse::<lines::Start>(line) else { continue };
        let Some(at) = lines::epoch(&start.started) else { continue };
        if base.as_ref().is_none_or(|base| at < base.1) {
            base = Some((start.started.into_owned(), at));
        }
    }
    let mut runs = Runs::since(base);
    let mut empty = 0;
    for path in reports {
        let mut lines = Lines::open(path)?;
        while let Some(line) = lines.next()? {
            match runs.line(line) {
                Ok(()) => {}
                // A live run's last line, or that of one that was killed, may be half there.
                Err(_) if lines.cut => break,
                Err(why) => return Err(lines.error(why)),
            }
        }
        runs.end();
        empty += u64::from(lines.number == 0);
    }
    if runs.runs == 0 {
        return Err(Error::Nothing("a report's first line is written when the run starts, and here is none yet"));
    }
    // Their processes began, and have told nothing.
    runs.runs += empty;
    runs.unfinished += empty;
    Ok(runs)
}

fn nature(path: &Path) -> Result<Nature, Error> {
    let mut lines = Lines::open(path)?;
    let Some(line) = lines.next()?.map(str::to_owned) else { return Ok(Nature::Empty) };
    let has = |name: &str| match serde_json::from_str::<serde_json::Value>(&line) {
        Ok(value) => Ok(value.get(name).is_some()),
        Err(_) if lines.cut => Ok(name == "event"),
        Err(_) => Err(()),
    };
    match (has("event"), has("program")) {
        (Ok(true), _) => Ok(Nature::Report),
        (_, Ok(true)) => Ok(Nature::Bench),
        _ => {
            let why = "this is neither a report of hopsync --report nor a bench's runs.jsonl";
            Err(lines.error(why.to_owned()))
        }
    }
}

/// A file's lines.
pub struct Lines {
    from: io::Take<BufReader<File>>,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Of the line that was read last, from 1.
    pub number: u64,
    /// It is the last one, and does not end in a newline.
    pub cut: bool,
}

impl Lines {
    pub fn open(path: &Path) -> Result<Lines, Error> {
        let file = File::open(path).map_err(|error| Error::file(path, error))?;
        let from = BufReader::with_capacity(1 << 18, file).take(LINE);
        Ok(Lines { from, path: path.to_owned(), buffer: Vec::new(), number: 0, cut: false })
    }

    /// The next one, without its newline; empty ones are passed over.
    pub fn next(&mut self) -> Result<Option<&str>, Error> {
        loop {
            self.buffer.clear();
            self.from.set_limit(LINE);
            self.from.read_until(b'\n', &mut self.buffer).map_err(|error| Error::file(&self.path, error))?;
            if self.buffer.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            self.cut = self.buffer.last() != Some(&b'\n');
            if self.cut && self.from.limit() == 0 {
                return Err(self.error(format!("it is longer than {} MiB, and no report's line is", LINE >> 20)));
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(line) => Ok(Some(line.trim())),
            // Cut within a character.
            Err(error) if self.cut && error.error_len().is_none() => {
                Ok(std::str::from_utf8(&self.buffer[..error.valid_up_to()]).ok())
            }
            Err(_) => Err(self.error("it is not UTF-8, and so no JSON".to_owned())),
        }
    }

    /// About the line that was read last.
    pub fn error(&self, why: String) -> Error {
        Error::Line { path: shown(&self.path), line: self.number, why }
    }
}
