//! What the page says of a bench: programs side by side.

use super::bench::{Bench, Cell, Program, letter, varying};
use super::bench_times::{by_when, time};
use super::document::{Block, Figure, Section, Table, Value};
use super::figure::bars::{Group, Stack, losses, stacks};
use super::run_part;
use super::tally::Tally;
use super::units::{count, counted, percent, times};
use super::words;

/// Cells in one figure; the table has them all.
pub const DRAWN: usize = 40;
const MESSAGES: usize = 24;

/// One program over all cells.
struct Total {
    name: String,
    files: u64,
    missing: u64,
    tally: Tally,
}

fn totals(bench: &Bench) -> Vec<Total> {
    let mut totals: Vec<Total> = Vec::new();
    for cell in &bench.cells {
        for program in &cell.programs {
            let files = cell.files.saturating_mul(program.runs);
            let at = totals.iter().position(|total| total.name == program.name).unwrap_or_else(|| {
                let name = program.name.clone();
                totals.push(Total { name, files: 0, missing: 0, tally: Tally::default() });
                totals.len() - 1
            });
            totals[at].files = totals[at].files.saturating_add(files);
            totals[at].missing = totals[at].missing.saturating_add(program.missing);
            totals[at].tally.merge(&program.tally);
        }
    }
    totals
}

/// A cell with its letter, by which tables name it, and a heading.
pub struct Named<'a> {
    pub letter: String,
    pub heading: String,
    pub cell: &'a Cell,
}

impl Named<'_> {
    fn new<'a>(index: usize, cell: &'a Cell, bench: &Bench, varying: &[&str]) -> Named<'a> {
        let letter = letter(index);
        let label = cell.label(varying);
        let heading = match bench.cells.len() {
            1 => cell.label(&cell.names()),
            _ => format!("{letter}: {label}"),
        };
        Named { letter, heading, cell }
    }
}

/// Headline, and what else has to be said at once.
pub fn headline(bench: &Bench) -> (String, Vec<String>) {
    let totals = totals(bench);
    let of = |total: &Total| words::arrived(total.missing, total.files, &total.tally);
    let lower = |text: String| match text.strip_prefix("All ") {
        Some(rest) => format!("all {rest}"),
        None => text,
    };
    let mut sentences: Vec<String> = Vec::new();
    let all_well: Vec<&str> =
        totals.iter().filter(|total| total.missing == 0).map(|total| total.name.as_str()).collect();
    if all_well.len() == totals.len() {
        sentences.push(format!("Every file arrived with every program: {}.", words::listed(&all_well)));
    } else {
        if !all_well.is_empty() {
            sentences.push(format!("Every file arrived with {}.", words::listed(&all_well)));
        }
        let failing = totals.iter().filter(|total| total.missing > 0);
        sentences.extend(failing.map(|total| format!("{}: {}", total.name, lower(of(total)))));
    }
    let headline = if sentences.is_empty() { "Nothing was measured.".to_owned() } else { sentences.remove(0) };
    sentences.extend(amiss(bench));
    sentences.extend(speed(bench));
    (headline, sentences)
}

/// Files are not all: who left directories out, or names that should not be there.
fn amiss(bench: &Bench) -> Option<String> {
    let programs = || bench.cells.iter().flat_map(|cell| &cell.programs).filter(|program| program.amiss > 0);
    let mut names: Vec<&str> = Vec::new();
    for program in programs() {
        if !names.contains(&program.name.as_str()) {
            names.push(&program.name);
        }
    }
    let all = programs().map(|program| program.amiss).fold(0, u64::saturating_add);
    let told = format!("{} amiss after runs of {}", counted(all, "name"), words::listed(&names));
    (all > 0).then(|| format!("{told}: directories missing, or what the source has not."))
}

/// Where both were whole: how hopsync's time compares.
fn speed(bench: &Bench) -> Option<String> {
    let ratio = |cell: &Cell| {
        let ours = cell.programs.iter().find(|program| program.name == "hopsync");
        cell.ratio(ours.or_else(|| cell.programs.iter().find(|program| program.is_ours()))?)
    };
    let compared: Vec<(f64, &str)> =
        bench.cells.iter().filter_map(|cell| Some((ratio(cell)?, cell.reference()?.name.as_str()))).collect();
    let mut ratios: Vec<f64> = compared.iter().map(|pair| pair.0).collect();
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (*ratios.first()?, *ratios.last()?);
    let (least, most) = (times(least), times(most));
    let range = if least == most { least } else { format!("{least} to {most}") };
    let cells = counted(ratios.len() as u64, "cell");
    let first = compared.first()?.1;
    let reference = if compared.iter().all(|pair| pair.1 == first) { first } else { "rsync" };
    Some(format!("Where every file arrived with both ({cells}), hopsync was {range} as fast as {reference}."))
}

pub fn facts(bench: &Bench) -> Vec<String> {
    let told = |name: &str| bench.environment.iter().find(|entry| entry.0 == name).map(|entry| entry.1.clone());
    let runs: u64 = bench.cells.iter().flat_map(|cell| &cell.programs).map(|program| program.runs).sum();
    let cells = counted(bench.cells.len() as u64, "cell");
    let mut facts = vec![format!("a bench: {}, {cells}", counted(runs, "run"))];
    facts.extend(told("started").map(|date| format!("started {date}")));
    facts.extend(told("servers").map(|servers| format!("servers: {servers}")));
    facts.extend(told("cpu"));
    if told("optimised").as_deref() == Some("false") {
        facts.push("built without optimisations: its times mean nothing".to_owned());
    }
    facts
}

pub fn sections(bench: &Bench, prefix: &str) -> Vec<Section> {
    let names = varying(&bench.cells);
    let cells: Vec<Named> =
        bench.cells.iter().enumerate().map(|(index, cell)| Named::new(index, cell, bench, &names)).collect();
    let labelled = &cells[..];
    let mut sections = vec![delivered(labelled, &names, bench, prefix)];
    sections.extend(where_and_why(labelled, prefix));
    sections.push(time(labelled, prefix));
    sections.extend(by_when(labelled, prefix));
    for (index, (label, runs)) in bench.inside.iter().enumerate() {
        let inner = format!("{prefix}inside{}-", index + 1);
        let mut blocks: Vec<Block> = Vec::new();
        let (headline, lede) = run_part::headline(runs);
        let text = std::iter::once(headline).chain(lede).collect();
        for section in run_part::sections(runs, &inner) {
            blocks.extend(section.blocks);
        }
        sections.push(Section { heading: format!("Inside hopsync: {label}"), text, blocks, folded: true });
    }
    sections.extend(messages(labelled));
    sections.extend(environment(bench, prefix));
    sections
}

/// The axes that are the same everywhere.
fn constants(cells: &[Cell], varying: &[&str]) -> Option<String> {
    let first = cells.first().filter(|_| cells.len() > 1)?;
    let same: Vec<&str> = first.axes.iter().filter(|axis| !varying.contains(&axis.0)).map(|axis| axis.0).collect();
    let same = first.label(&same);
    (!same.is_empty()).then(|| format!("The same in all cells: {same}."))
}

fn runs_of(program: &Program) -> String {
    if program.runs == 1 { String::new() } else { format!(" in {}", counted(program.runs, "run")) }
}

fn delivered(cells: &[Named], names: &[&str], bench: &Bench, prefix: &str) -> Section {
    let stack = |cell: &Cell, program: &Program| {
        let all = cell.files.saturating_mul(program.runs);
        let words = match program.missing {
            0 => format!("all {}{}", count(all), runs_of(program)),
            n => format!("{} of {} missing{}", count(n), count(all), runs_of(program)),
        };
        let parts = vec![("ok", "delivered whole", program.whole), ("lost", "missing", program.missing)];
        Stack { name: program.name.clone(), words, parts }
    };
    let group = |named: &Named| Group {
        heading: named.heading.clone(),
        bars: named.cell.programs.iter().map(|program| stack(named.cell, program)).collect(),
    };
    let groups: Vec<Group<Stack>> = cells.iter().take(DRAWN).map(group).collect();
    let columns = [
        ("cell", ""),
        ("program", ""),
        ("files", ""),
        ("delivered", ""),
        ("missing", ""),
        ("share", ""),
        ("worst run misses", ""),
        ("names amiss", ""),
        ("complete runs", ""),
    ];
    let mut table = Table::new(&format!("{prefix}delivered"), "Delivered and missing", &columns);
    for Named { letter, cell, .. } in cells {
        for program in &cell.programs {
            let all = cell.files.saturating_mul(program.runs);
            table.rows.push(vec![
                Value::text(letter),
                Value::text(&program.name),
                Value::Count(all),
                Value::Count(program.whole),
                Value::Count(program.missing),
                Value::text(percent(program.whole, all)),
                Value::Count(program.worst),
                Value::Count(program.amiss),
                Value::text(format!("{} of {}", program.complete, program.runs)),
            ]);
        }
    }
    let mut text: Vec<String> = constants(&bench.cells, names).into_iter().collect();
    if cells.len() > DRAWN {
        text.push(format!(
            "The first {DRAWN} of {} are drawn; the table has all.",
            counted(cells.len() as u64, "cell")
        ));
    }
    let description = headline(bench).0;
    let words = "All runs that count, together; a file counts if it arrived whole, by the bench's own hash. Names amiss are \
                 directories that are missing, and whatever the source has not.";
    let figure = Figure::new(&format!("{prefix}delivered"), "Delivered and missing", words, &description, |svg| {
        stacks(svg, &groups);
    });
    let heading = "Delivered and missing, per program".to_owned();
    let mut blocks = vec![Block::figure(figure.with(table))];
    if cells.len() > 1 {
        blocks.push(Block::Table(what_they_are(cells, prefix)));
    }
    Section { heading, text, blocks, ..Section::default() }
}

/// The cells by their letters, an axis to a column.
fn what_they_are(cells: &[Named], prefix: &str) -> Table {
    let mut names: Vec<&'static str> = Vec::new();
    for name in cells.iter().flat_map(|named| named.cell.names()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let columns: Vec<(&str, &'static str)> =
        std::iter::once("cell").chain(names.iter().copied()).map(|name| (name, "")).collect();
    let mut table = Table::new(&format!("{prefix}cells"), "Cells", &columns);
    for Named { letter, cell, .. } in cells {
        let value = |name: &&'static str| {
            let axis = cell.axes.iter().find(|axis| axis.0 == *name);
            axis.map_or(Value::None, |axis| Value::text(axis.1.trim_start_matches("of ").trim_end_matches(" files")))
        };
        table.rows.push(std::iter::once(Value::text(letter)).chain(names.iter().map(value)).collect());
    }
    table
}

fn where_and_why(cells: &[Named], prefix: &str) -> Option<Section> {
    let columns = [
        ("cell", ""),
        ("program", ""),
        ("hop", ""),
        ("stage", ""),
        ("cause", ""),
        ("files missing", ""),
        ("drops overcome", ""),
        ("for example", ""),
    ];
    let mut table = Table::new(&format!("{prefix}drops"), "By hop, stage and cause", &columns);
    let (mut groups, mut sums) = (Vec::new(), Vec::new());
    for Named { letter, cell, .. } in cells {
        for program in &cell.programs {
            for row in program.tally.sorted() {
                let place = [&row.place.hop, &row.place.stage, &row.place.cause].map(Value::text);
                let counts = [Value::Count(row.lost), Value::Count(row.drops())];
                let head = [Value::text(letter), Value::text(&program.name)];
                table
                    .rows
                    .push(head.into_iter().chain(place).chain(counts).chain([Value::text(&row.example)]).collect());
            }
            let bars = run_part::bars_of(&program.tally);
            if !bars.is_empty() {
                let mut heading =
                    if cells.len() > 1 { format!("{letter}, {}", program.name) } else { program.name.clone() };
                if program.missing > 0 {
                    heading += &format!(": {}", run_part::sum_of(&program.tally, program.missing));
                    sums.push(heading.clone());
                }
                groups.push(Group { heading, bars });
            }
        }
    }
    if groups.is_empty() {
        return None;
    }
    table.sentences = true;
    let more = groups.len().saturating_sub(DRAWN);
    groups.truncate(DRAWN);
    let words = "Striped: files that did not arrive. Hollow: drops that were tried again and overcome, which only hopsync \
                 counts. What nobody can know is called unknown.";
    let figure =
        Figure::new(&format!("{prefix}drops"), "Drops by hop, stage and cause", words, &sums.join(" "), |svg| {
            losses(svg, &groups)
        });
    let mut text = Vec::new();
    if more > 0 {
        text.push(format!("The table has {more} more."));
    }
    let heading = "Where files were lost, and why".to_owned();
    Some(Section { heading, text, blocks: vec![Block::figure(figure.with(table))], ..Section::default() })
}

fn messages(cells: &[Named]) -> Option<Section> {
    let told = cells.iter().flat_map(|Named { letter, cell, .. }| {
        let of = |program: &Program| (format!("{letter}, {}", program.name), program.message.clone());
        cell.programs.iter().map(of).collect::<Vec<_>>()
    });
    let quotes: Vec<_> = told.filter(|(_, message)| !message.is_empty()).take(MESSAGES).collect();
    let text = vec!["The end of what the first run wrote that was not complete.".to_owned()];
    let heading = "What the programs said".to_owned();
    (!quotes.is_empty()).then(|| Section { heading, text, blocks: vec![Block::Quotes(quotes)], ..Section::default() })
}

fn environment(bench: &Bench, prefix: &str) -> Option<Section> {
    let mut table = Table::new(&format!("{prefix}environment"), "Environment", &[("what", ""), ("value", "")]);
    for (name, value) in &bench.environment {
        table.rows.push(vec![Value::text(name.replace('_', " ")), Value::text(value)]);
    }
    let blocks = vec![Block::Table(table)];
    (!bench.environment.is_empty()).then(|| Section { heading: "Environment".to_owned(), blocks, ..Section::default() })
}
