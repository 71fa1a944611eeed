//! What the page says of the times of a bench: beside rsync, and when files arrived.

use super::bench::{Cell, Program};
use super::bench_part::{DRAWN, Named};
use super::document::{Block, Figure, Section, Table, Value};
use super::figure::arrivals::{Line, arrivals};
use super::figure::bars::Group;
use super::figure::walls::{Wall, walls};
use super::units::{count, seconds, times};

/// Cells whose arrivals are drawn.
const CURVES: usize = 8;

/// What stands beside a bar of time.
fn wall_words(cell: &Cell, program: &Program) -> String {
    let Some(wall) = program.wall() else { return "no run was complete".to_owned() };
    let mut text = seconds(wall.median);
    if program.complete > 1 {
        text += &format!(" ({}–{})", seconds(wall.min), seconds(wall.max));
    }
    match (program.complete == program.runs, cell.ratio(program)) {
        (false, _) => text + &format!("; {} of {} complete", program.complete, program.runs),
        (true, Some(_)) if cell.reference().is_some_and(|reference| reference.name == program.name) => text,
        (true, Some(ratio)) => text + &format!("; {} as fast", times(ratio)),
        (true, None) => text,
    }
}

/// Wall times, beside rsync's.
pub fn time(cells: &[Named], prefix: &str) -> Section {
    let wall = |cell: &Cell, program: &Program| Wall {
        name: program.name.clone(),
        words: wall_words(cell, program),
        runs: program.walls.clone(),
        broken: program.broken.clone(),
        median: program.wall().map(|wall| wall.median),
        ours: program.is_ours(),
    };
    let group = |named: &Named| Group {
        heading: named.heading.clone(),
        bars: named.cell.programs.iter().map(|program| wall(named.cell, program)).collect(),
    };
    let groups: Vec<Group<Wall>> = cells.iter().take(DRAWN).map(group).collect();
    let columns = [
        ("cell", ""),
        ("program", ""),
        ("median", "s"),
        ("least", "s"),
        ("most", "s"),
        ("× rsync", ""),
        ("CPU", "s"),
        ("peak memory", "B"),
        ("rate", "B/s"),
        ("complete runs", ""),
    ];
    let mut table = Table::new(&format!("{prefix}walls"), "Time from start to end", &columns);
    for Named { letter, cell, .. } in cells {
        for program in &cell.programs {
            let spread = program.wall();
            let of = |value: Option<f64>| Value::or_none(value.map(Value::Seconds));
            let mut cpu = program.cpu.clone();
            cpu.sort_by(f64::total_cmp);
            let rate =
                spread.filter(|wall| cell.sends_files && wall.median > 0.0).map(|wall| cell.bytes as f64 / wall.median);
            table.rows.push(vec![
                Value::text(letter),
                Value::text(&program.name),
                of(spread.map(|wall| wall.median)),
                of(spread.map(|wall| wall.min)),
                of(spread.map(|wall| wall.max)),
                Value::or_none(cell.ratio(program).map(Value::Times)),
                of(cpu.get(cpu.len() / 2).copied()),
                if program.peak > 0 { Value::Bytes(program.peak as f64) } else { Value::None },
                Value::or_none(rate.map(Value::Rate)),
                Value::text(format!("{} of {}", program.complete, program.runs)),
            ]);
        }
    }
    let references: Vec<&str> = cells.iter().filter_map(|named| Some(named.cell.reference()?.name.as_str())).collect();
    let mut text = Vec::new();
    if let Some(first) = references.first() {
        let one = references.iter().all(|name| name == first);
        let what = if one { format!("{first}'s median") } else { "the cell's rsync's median".to_owned() };
        text.push(format!("“× as fast” is {what} divided by the program's own, where every run of both was complete."));
    }
    let words =
        "The bar ends at the median of the complete runs; each ring is a run, each cross one that was not complete.";
    let description = speed_of(cells).unwrap_or_else(|| "Wall times of all runs.".to_owned());
    let figure = Figure::new(&format!("{prefix}walls"), "Time from start to end", words, &description, |svg| {
        walls(svg, &groups)
    });
    let heading = "Time, beside rsync".to_owned();
    Section { heading, text, blocks: vec![Block::figure(figure.with(table))], ..Section::default() }
}

fn speed_of(cells: &[Named]) -> Option<String> {
    let told = cells.iter().flat_map(|Named { letter, cell, .. }| {
        let words = |program: &Program| format!("{letter}, {}: {}.", program.name, wall_words(cell, program));
        cell.programs.iter().map(words).collect::<Vec<_>>()
    });
    Some(told.take(12).collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

/// When files were there, of the cells where that is known.
pub fn by_when(cells: &[Named], prefix: &str) -> Option<Section> {
    let known = |cell: &Cell| cell.programs.iter().any(|program| !program.arrivals.is_empty());
    let with: Vec<_> = cells.iter().filter(|named| known(named.cell)).collect();
    let mut blocks = Vec::new();
    for (index, Named { heading, cell, .. }) in with.iter().take(CURVES).enumerate() {
        let lines: Vec<Line> = cell
            .programs
            .iter()
            .map(|program| Line {
                name: program.name.clone(),
                points: program.arrivals.clone(),
                ours: program.is_ours(),
            })
            .collect();
        let name = format!("{prefix}arrivals{}", index + 1);
        let told = lines.iter().filter(|line| !line.points.is_empty()).map(|line| {
            let (end, n) = line.points.last().copied().unwrap_or_default();
            format!("{}: {} by {}.", line.name, count(n), seconds(end))
        });
        let description = told.collect::<Vec<_>>().join(" ");
        let title = format!("Files that were there, {heading}");
        let figure = Figure::new(&name, &title, "", &description, |svg| arrivals(svg, &lines, cell.files));
        blocks.push(Block::figure(figure));
    }
    if blocks.is_empty() {
        return None;
    }
    let mut text = vec!["Of each program's middle run, as far as it is known when a file was whole.".to_owned()];
    if with.len() > CURVES {
        text.push(format!("The first {CURVES} of {} cells are drawn.", with.len()));
    }
    Some(Section { heading: "When files arrived".to_owned(), text, blocks, ..Section::default() })
}
