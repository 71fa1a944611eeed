//! What the page says of the times of runs: what happened when, and how long it took.

use super::document::{Block, Figure, Section, Table, Value};
use super::figure::histogram::histogram;
use super::figure::quantiles::quantiles;
use super::figure::series::{Marks, Panel, series};
use super::histogram::Histogram;
use super::runs::{CHANNELS_OPEN, DELIVERED, MOVED, Runs, marks};
use super::scale::Unit;
use super::units::{self, count, seconds};

/// Rows of marks in the figure over time; the others are put together.
const MARKS: usize = 8;

/// What happened when: throughput, files, channels, and the drops at their times.
pub fn over_time(runs: &Runs, prefix: &str) -> Option<Section> {
    let (time, width) = (&runs.timeline, runs.timeline.width());
    if runs.attempts == 0 && runs.tally.drops() == 0 {
        return None;
    }
    let per_second = |row: usize| -> Vec<f64> { time.row(row).iter().map(|sum| sum / width).collect() };
    let mean = |values: &[f64]| if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 };
    let (moved, open, delivered) = (per_second(MOVED), per_second(CHANNELS_OPEN), per_second(DELIVERED));
    let mut panels = vec![Panel {
        title: "Throughput".to_owned(),
        words: format!("{} on average", units::rate(mean(&moved))),
        unit: Unit::Rate,
        values: moved,
    }];
    if runs.counts.delivered() > 0 {
        let words = format!("{} in all", count(runs.counts.delivered()));
        let title = "Files a second".to_owned();
        panels.push(Panel { title, words, unit: Unit::Count, values: delivered });
    }
    let most = open.iter().copied().fold(0.0, f64::max);
    if most > 0.0 {
        let words = format!("{} at most", count((most - 1e-3).ceil() as u64));
        panels.push(Panel { title: "Channels open".to_owned(), words, unit: Unit::Count, values: open });
    }
    let all_marks = marks_of(runs);
    let text = "A file's bytes are spread evenly over its attempt. Lines through the panels and bars below them are drops: \
                striped and solid where a file was lost, hollow and dotted where it was tried again.";
    let description = format!("Over {}: {} moved.", seconds(time.end()), units::bytes(runs.moved_bytes as f64));
    let figure = Figure::new(&format!("{prefix}time"), "Over time", text, &description, |svg| {
        series(svg, time.end(), width, &panels, &all_marks);
    });
    let figure = figure.with(time_table(&panels, runs, prefix));
    let mut text = Vec::new();
    if runs.runs > 1 {
        text.push("Runs are put in their order by the starts that their reports tell.".to_owned());
    }
    let blocks = vec![Block::figure(figure)];
    Some(Section { heading: "Over time".to_owned(), text, blocks, ..Section::default() })
}

fn marks_of(runs: &Runs) -> Vec<Marks> {
    let mut all: Vec<(u64, Marks)> = Vec::new();
    for (index, row) in runs.tally.rows().iter().enumerate() {
        for (lost, n) in [(true, row.lost), (false, row.drops())] {
            if n > 0 {
                let words = if lost { format!("{} lost", count(n)) } else { format!("{} overcome", count(n)) };
                let counts = runs.timeline.row(marks(index, lost));
                all.push((n, Marks { name: row.place.label(), words, lost, counts }));
            }
        }
    }
    all.sort_by_key(|(n, marks)| (!marks.lost, std::cmp::Reverse(*n)));
    let rest = all.split_off(all.len().min(MARKS));
    let mut told: Vec<Marks> = all.into_iter().map(|(_, marks)| marks).collect();
    if !rest.is_empty() {
        let mut counts = vec![0.0; rest[0].1.counts.len()];
        for (sum, n) in rest.iter().flat_map(|(_, marks)| marks.counts.iter().enumerate()) {
            counts[sum] += n;
        }
        let words = count(rest.iter().map(|(n, _)| *n).sum());
        let name = format!("{} more rows", rest.len());
        told.push(Marks { name, words, lost: rest.iter().any(|(_, marks)| marks.lost), counts });
    }
    told
}

/// Twenty slices of the time, for who reads numbers.
fn time_table(panels: &[Panel], runs: &Runs, prefix: &str) -> Table {
    let mut table = Table::new(&format!("{prefix}time"), "Over time", &[("from", "s")]);
    for panel in panels {
        table.columns.push((panel.title.to_lowercase(), if panel.unit == Unit::Rate { "B/s" } else { "" }));
    }
    table.columns.extend([("lost".to_owned(), ""), ("overcome".to_owned(), "")]);
    let bins = panels.first().map_or(0, |panel| panel.values.len());
    let each = bins.div_ceil(20).max(1);
    let rows = runs.tally.rows().len();
    let sums = |lost: bool| -> Vec<Vec<f64>> { (0..rows).map(|row| runs.timeline.row(marks(row, lost))).collect() };
    let (lost, overcome) = (sums(true), sums(false));
    for start in (0..bins).step_by(each) {
        let range = start..(start + each).min(bins);
        let mean = |values: &[f64]| values[range.clone()].iter().sum::<f64>() / range.len() as f64;
        let sum = |rows: &[Vec<f64>]| rows.iter().map(|row| row[range.clone()].iter().sum::<f64>()).sum::<f64>();
        let mut row = vec![Value::Seconds(start as f64 * runs.timeline.width())];
        row.extend(panels.iter().map(|panel| match panel.unit {
            Unit::Rate => Value::Rate(mean(&panel.values)),
            _ => Value::text(format!("{:.1}", mean(&panel.values))),
        }));
        row.extend([Value::Count(sum(&lost).round() as u64), Value::Count(sum(&overcome).round() as u64)]);
        table.rows.push(row);
    }
    table
}

/// How the times are distributed, of files and of stages.
pub fn how_long(runs: &Runs, prefix: &str) -> Option<Section> {
    let mut rows: Vec<(String, &Histogram)> = vec![
        ("file, from plan to end".to_owned(), &runs.file_time),
        ("waiting for a turn".to_owned(), &runs.waited),
        ("attempt that went well".to_owned(), &runs.attempt_time),
        ("attempt that was dropped".to_owned(), &runs.dropped_time),
        ("channel, until usable".to_owned(), &runs.channel_time),
        ("shared connection, until usable".to_owned(), &runs.shared_waited),
    ];
    rows.extend(runs.stages.iter().map(|((hop, stage), times)| (format!("{hop}: {stage}"), times)));
    rows.retain(|row| row.1.count() > 0);
    if rows.is_empty() {
        return None;
    }
    let columns = [
        ("what", ""),
        ("n", ""),
        ("least", "s"),
        ("5 %", "s"),
        ("half", "s"),
        ("95 %", "s"),
        ("most", "s"),
        ("mean", "s"),
    ];
    let mut table = Table::new(&format!("{prefix}times"), "Times", &columns);
    for (name, times) in &rows {
        let shares = [0.0, 0.05, 0.5, 0.95, 1.0].map(|share| Value::Seconds(times.quantile(share)));
        let head = [Value::text(name), Value::Count(times.count())];
        table.rows.push(head.into_iter().chain(shares).chain([Value::Seconds(times.mean())]).collect());
    }
    let mut blocks = Vec::new();
    if runs.file_time.count() > 1 {
        let (half, most) = (seconds(runs.file_time.quantile(0.5)), seconds(runs.file_time.quantile(0.95)));
        let description = format!("Half of the files took at most {half}, 95 % at most {most}.");
        blocks.push(Block::figure(Figure::new(
            &format!("{prefix}file-times"),
            "Time per file",
            "From a file's announcement to its end, of files that were delivered: waiting is in it.",
            &description,
            |svg| histogram(svg, &runs.file_time, "files"),
        )));
    }
    let text = "From the quickest to the slowest; the box is the middle half, the upright stroke the middle. \
                In words: half took no longer than, and 95 % no longer than.";
    let description = format!("{} things timed; the table has their numbers.", rows.len());
    let figure =
        Figure::new(&format!("{prefix}times"), "Time per stage", text, &description, |svg| quantiles(svg, &rows));
    blocks.push(Block::figure(figure.with(table)));
    let text = vec!["Counted in buckets of 6 %, so a quantile is right to 3 %.".to_owned()];
    Some(Section { heading: "How long it took".to_owned(), text, blocks, ..Section::default() })
}
