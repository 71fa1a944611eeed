//! `hopsync-lab report`: what a run or a bench was, as one page, as tables and as drawings.
//!
//! - [`mod@read`]: the files behind the paths; [`lines`]: what a report's lines are.
//! - [`runs`], [`mod@bench`] (of [`record`]s): what is [`kept`] of them, in memory that does not grow with the number of files:
//!   [`tally`], [`histogram`], [`timeline`].
//! - [`run_part`], [`bench_part`] and their times: what is said of it, as a [`mod@document`]; [`words`] and [`units`] for the sentences.
//! - [`figure`]: the drawings, on [`svg`] and [`scale`]. Pure.
//! - [`html`], [`tables`]: the document written down.
//!
//! Everything in the files may have been written by a server that means ill: it is escaped where it is kept, for a terminal,
//! and again where it is written, for what it is written in.

#![expect(clippy::disallowed_methods, reason = "reads reports and writes pages, which are no delivery")]

mod bench;
mod bench_part;
mod bench_times;
mod document;
mod figure;
mod histogram;
mod html;
mod kept;
mod lines;
mod read;
mod record;
mod run_part;
mod run_times;
mod runs;
mod scale;
mod svg;
mod tables;
mod tally;
#[cfg(test)]
mod tests;
mod timeline;
mod units;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::bench::Bench;
use self::document::Document;
use self::read::{Error, Found, read, shown};
use self::runs::Runs;
use super::print::{line, note};
use crate::ledger::escape_cut;

/// `hopsync-lab report`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Reports of hopsync --report (several: a crowd's, told together), folders of them, or a bench's folder
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to write; other formats go beside it. - prints HTML or Markdown
    #[arg(long, default_value = "hopsync-report.html", value_name = "FILE")]
    out: PathBuf,
    /// What to write [default: what FILE's extension says]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FORMAT,…")]
    format: Vec<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One page that needs nothing else
    Html,
    /// Its words and tables
    #[value(alias = "md")]
    Markdown,
    /// Its tables, a file for each
    Csv,
    /// Its figures, a file for each
    Svg,
}

/// Writes what was asked for, and prints what happened and the names of the files.
pub fn report(options: &Options) -> ExitCode {
    let formats = match formats(options) {
        Ok(formats) => formats,
        Err(why) => {
            note(format_args!("hopsync-lab: {why}"));
            return ExitCode::FAILURE;
        }
    };
    match read(&options.paths).and_then(|read| write(&document(&read), options, &formats)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("hopsync-lab: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn prints(options: &Options) -> bool {
    options.out.as_os_str() == "-"
}

fn formats(options: &Options) -> Result<Vec<Format>, String> {
    if options.format.is_empty() {
        let extension = options.out.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        return Ok(vec![match extension.as_deref() {
            Some("md" | "markdown") => Format::Markdown,
            Some("csv") => Format::Csv,
            Some("svg") => Format::Svg,
            _ => Format::Html,
        }]);
    }
    if prints(options) && !matches!(options.format[..], [Format::Html | Format::Markdown]) {
        return Err(
            "--out - prints one of html and markdown; the other formats are several files, which need a name".into()
        );
    }
    Ok(options.format.clone())
}

fn document(read: &Found) -> Document {
    let mut document = Document::default();
    let parts = usize::from(read.runs.is_some()) + read.benches.len();
    let mut add = |(headline, lede): (String, Vec<String>), facts, doubts: Vec<String>, sections| {
        if document.headline.is_empty() {
            document.headline = headline;
        } else {
            document.lede.push(headline);
        }
        document.lede.extend(lede);
        document.facts.extend::<Vec<String>>(facts);
        document.doubts.extend(doubts);
        document.sections.extend::<Vec<document::Section>>(sections);
    };
    for (index, bench) in read.benches.iter().enumerate() {
        let prefix = if read.benches.len() > 1 { format!("bench{}-", index + 1) } else { String::new() };
        let sections = named(bench_part::sections(bench, &prefix), parts > 1, &bench.name);
        add(bench_part::headline(bench), bench_part::facts(bench), bench_doubts(bench), sections);
    }
    if let Some(runs) = &read.runs {
        let prefix = if parts > 1 { "runs-" } else { "" };
        let sections = named(run_part::sections(runs, prefix), parts > 1, "reports");
        add(run_part::headline(runs), run_part::facts(runs), doubts(runs), sections);
    }
    document
}

/// With several things on a page each heading says whose it is.
fn named(mut sections: Vec<document::Section>, several: bool, name: &str) -> Vec<document::Section> {
    if several {
        for section in &mut sections {
            section.heading = format!("{}: {}", escape_cut(name.as_bytes(), 60), section.heading);
        }
    }
    sections
}

fn doubts(runs: &Runs) -> Vec<String> {
    let often = |(text, times): &(String, u64)| match times {
        1 => text.clone(),
        n => format!("{text} ({} times)", units::count(*n)),
    };
    let mut doubts: Vec<String> = runs.doubts.rows.iter().map(often).collect();
    if runs.doubts.beyond > 0 {
        doubts.push(format!("{} reports more do not add up.", units::count(runs.doubts.beyond)));
    }
    doubts
}

fn bench_doubts(bench: &Bench) -> Vec<String> {
    let mut doubts = Vec::new();
    if bench.cut {
        doubts.push("The bench is not finished: its last line is incomplete, and left out.".to_owned());
    }
    if bench.left_out > 0 {
        let runs = units::counted(bench.left_out, "run");
        doubts.push(format!("{runs} of cells or programs beyond what a page can show are left out."));
    }
    let overtold: u64 = bench.cells.iter().flat_map(|cell| &cell.programs).map(|program| program.overtold).sum();
    if overtold > 0 {
        let files = units::counted(overtold, "file");
        doubts
            .push(format!("The bench puts {files} more down to a cause than are missing; what is beyond is left out."));
    }
    doubts.extend(bench.inside.iter().flat_map(|(_, runs)| self::doubts(runs)));
    doubts
}

fn write(document: &Document, options: &Options, formats: &[Format]) -> Result<(), Error> {
    if prints(options) {
        let markdown = formats.contains(&Format::Markdown);
        line(if markdown { tables::markdown(document) } else { html::page(document) }.trim_end());
        return Ok(());
    }
    let mut written = Vec::new();
    let mut keep = |path: PathBuf, text: String| {
        fs::write(&path, text).map_err(|error| Error::file(&path, error))?;
        written.push(path);
        Ok(())
    };
    for format in formats {
        match format {
            Format::Html => keep(named_as(options, formats, "html"), html::page(document))?,
            Format::Markdown => keep(named_as(options, formats, "md"), tables::markdown(document))?,
            Format::Csv => {
                for table in document.tables() {
                    keep(beside(&options.out, &table.name, "csv"), tables::csv(table))?;
                }
            }
            Format::Svg => {
                for figure in document.figures() {
                    keep(beside(&options.out, &figure.name, "svg"), figure.wide.standalone())?;
                }
            }
        }
    }
    line(&document.headline);
    for path in written {
        line(format_args!("  {}", shown(&path)));
    }
    Ok(())
}

/// The name as it was given if it is this format's alone, else with the format's extension.
fn named_as(options: &Options, formats: &[Format], extension: &str) -> PathBuf {
    let own = options.out.extension().is_some_and(|given| given == extension);
    if own || formats.len() == 1 { options.out.clone() } else { options.out.with_extension(extension) }
}

/// `report-drops.csv` beside `report.html`.
fn beside(out: &Path, name: &str, extension: &str) -> PathBuf {
    let mut file = out.file_stem().unwrap_or_default().to_owned();
    file.push(format!("-{name}.{extension}"));
    out.with_file_name(file)
}
