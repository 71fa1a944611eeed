//! What the page says of runs, by hopsync's own reports.

use super::document::{Block, Figure, Section, Table, Value};
use super::figure::bars::{Group, Loss, Stack, losses, stacks};
use super::figure::histogram::histogram;
use super::figure::quantiles::quantiles;
use super::figure::series::{Marks, Panel, series};
use super::histogram::Histogram;
use super::runs::{CHANNELS_OPEN, CLASSES, DELIVERED, MOVED, Runs, marks};
use super::scale::Unit;
use super::tally::{Row, Tally};
use super::units::{self, count, counted, percent, seconds};
use super::words;

/// How each class is drawn.
pub const DRAWN: [&str; 5] = ["ok", "sent", "same", "skip", "lost"];
/// Rows of marks in the figure over time; the others are put together.
const MARKS: usize = 8;

/// Headline, and what else has to be said at once.
pub fn headline(runs: &Runs) -> (String, Vec<String>) {
    let counts = &runs.counts;
    let mut lede = Vec::new();
    if counts.delivered() > 0 {
        let mut text = match (counts.files[0], counts.delivered()) {
            (verified, all) if verified == all => format!("{} delivered and verified by hash", counted(all, "file")),
            (0, all) => format!("{} delivered, none verified", counted(all, "file")),
            (verified, all) => {
                format!("{} delivered, {} of them verified by hash", counted(all, "file"), count(verified))
            }
        };
        text += &format!(" in {}", seconds(runs.elapsed));
        lede.push(text + ".");
    }
    lede.extend(words::overcome(&runs.tally));
    let other: u64 = runs.tally.rows().iter().map(|row| row.other).sum();
    if other > 0 {
        lede.push(format!("{} beside the files: see the table of what went wrong.", counted(other, "failure")));
    }
    if runs.unfinished > 0 {
        let open = match counts.open() {
            0 => String::new(),
            open => format!(" {} had no result yet.", counted(open, "file")),
        };
        let text = match (runs.unfinished, runs.runs) {
            (1, 1) => "The run is not finished: its report has no summary.".to_owned(),
            (some, all) => {
                format!("{} of {} are not finished: their reports have no summary.", count(some), counted(all, "run"))
            }
        };
        lede.push(text + &open);
    }
    (words::arrived(counts.failed(), counts.planned, &runs.tally), lede)
}

/// When, what, by whom.
pub fn facts(runs: &Runs) -> Vec<String> {
    let mut facts = vec![match runs.runs {
        1 => "a run of hopsync".to_owned(),
        n => format!("{} of hopsync together", counted(n, "run")),
    }];
    facts.extend(runs.versions.rows.iter().map(|(version, _)| format!("version {version}")));
    if let Some((started, _)) = &runs.started {
        facts.push(started.clone());
    }
    for (job, times) in &runs.jobs.rows {
        let mut text = job.direction.clone();
        if let Some(host) = &job.host {
            text += &format!(" {} {host}", if job.direction == "pull" { "from" } else { "to" });
        }
        if job.dry_run {
            text += ", dry run";
        }
        if runs.jobs.rows.len() > 1 {
            text += &format!(" ({})", counted(*times, "run"));
        }
        facts.push(text);
    }
    facts
}

/// `prefix` makes names unique where there are several of these on a page; `within` is said before headings.
pub fn sections(runs: &Runs, prefix: &str) -> Vec<Section> {
    let mut sections = vec![numbers(runs, prefix)];
    sections.extend(where_and_why(runs, prefix));
    sections.extend(over_time(runs, prefix));
    sections.extend(how_long(runs, prefix));
    sections.extend(said(runs));
    sections.push(surroundings(runs, prefix));
    sections
}

fn numbers(runs: &Runs, prefix: &str) -> Section {
    let counts = &runs.counts;
    let mut parts: Vec<(String, u64)> =
        CLASSES.iter().zip(counts.files).map(|(name, n)| ((*name).to_owned(), n)).collect();
    if counts.open() > 0 {
        parts.push(("without result".to_owned(), counts.open()));
    }
    let rate = if runs.elapsed > 0.0 { runs.moved_bytes as f64 / runs.elapsed } else { 0.0 };
    let mut single = vec![
        ("time".to_owned(), seconds(runs.elapsed), "from the first start to the last line".to_owned()),
        ("moved".to_owned(), units::bytes(runs.moved_bytes as f64), format!("{} on average", units::rate(rate))),
        (
            "connections".to_owned(),
            count(runs.connections),
            match runs.shared {
                0 => counted(runs.logins, "login"),
                n => format!("{}, and {} shared", counted(runs.logins, "login"), count(n)),
            },
        ),
        ("channels".to_owned(), count(runs.channels_max), "open at once in one process, at most".to_owned()),
        ("attempts".to_owned(), count(runs.attempts), format!("{} beyond a file's first", count(runs.retries))),
        ("drops overcome".to_owned(), count(runs.tally.drops()), "lost on the way and tried again".to_owned()),
    ];
    let made = [(runs.directories, "directories made"), (runs.symlinks, "links made"), (runs.deleted, "deleted")];
    single.extend(made.into_iter().filter(|(n, _)| *n > 0).map(|(n, name)| (name.to_owned(), count(n), String::new())));
    let mut blocks = vec![Block::Sum { whole: ("planned".to_owned(), counts.planned), parts: parts.clone() }];
    if counts.planned > 0 {
        blocks.push(Block::Figure(classes(runs, prefix)));
    }
    blocks.push(Block::Numbers(single));
    Section { heading: "What became of the files".to_owned(), blocks, ..Section::default() }
}

fn classes(runs: &Runs, prefix: &str) -> Figure {
    let counts = &runs.counts;
    let mut parts: Vec<_> =
        DRAWN.into_iter().zip(CLASSES).zip(counts.files).map(|((class, name), n)| (class, name, n)).collect();
    parts.push(("track", "without result", counts.open()));
    let lost = match counts.failed() {
        0 => String::new(),
        n => format!(", {} failed", count(n)),
    };
    let stack = Stack {
        name: "hopsync".to_owned(),
        words: format!("{} of {} delivered{lost}", count(counts.delivered()), count(counts.planned)),
        parts,
    };
    let groups = [Group { heading: String::new(), bars: vec![stack] }];
    let mut table = Table::new(
        &format!("{prefix}files"),
        "Files by what became of them",
        &[("class", ""), ("files", ""), ("share", ""), ("bytes", "B")],
    );
    for ((name, n), bytes) in CLASSES.iter().zip(counts.files).zip(counts.bytes) {
        let row =
            [Value::text(*name), Value::Count(n), Value::text(percent(n, counts.planned)), Value::Bytes(bytes as f64)];
        table.rows.push(row.into());
    }
    let planned =
        [Value::text("planned"), Value::Count(counts.planned), Value::None, Value::Bytes(counts.planned_bytes as f64)];
    table.rows.push(planned.into());
    let description = format!("{} of {} files delivered{lost}.", count(counts.delivered()), count(counts.planned));
    let title = "Delivered and dropped";
    Figure::new(&format!("{prefix}files"), title, "", &description, |svg| stacks(svg, &groups)).with(table)
}

fn where_and_why(runs: &Runs, prefix: &str) -> Option<Section> {
    let groups = [Group { heading: String::new(), bars: bars_of(&runs.tally) }];
    let rows = runs.tally.sorted();
    let mut table = Table::new(
        &format!("{prefix}drops"),
        "By hop, stage and cause",
        &[
            ("hop", ""),
            ("stage", ""),
            ("cause", ""),
            ("files lost", ""),
            ("other failures", ""),
            ("attempts overcome", ""),
            ("connections overcome", ""),
            ("channels overcome", ""),
            ("for example", ""),
        ],
    );
    let row = |row: &&Row| {
        let word = |text: &String| Value::text(text);
        let n = Value::Count;
        let (p, r) = (&row.place, row);
        let counts = [n(r.lost), n(r.other), n(r.attempts), n(r.connections), n(r.channels)];
        [word(&p.hop), word(&p.stage), word(&p.cause)].into_iter().chain(counts).chain([word(&r.example)]).collect()
    };
    table.rows = rows.iter().map(row).collect();
    table.sentences = true;
    if rows.is_empty() {
        return None;
    }
    let mut text = Vec::new();
    if runs.tally.rows().iter().filter(|row| row.lost > 0).count() > 1 {
        text.push(sum_of(&runs.tally, runs.counts.failed()));
    }
    let mut blocks = Vec::new();
    if !groups[0].bars.is_empty() {
        let description = format!("{} Overcome: {}.", words::losses(&runs.tally), counted(runs.tally.drops(), "drop"));
        blocks.push(Block::Figure(Figure::new(
            &format!("{prefix}drops"),
            "Drops by hop, stage and cause",
            "Striped: files that did not arrive. Hollow: what was dropped, tried again, and arrived.",
            &description,
            |svg| losses(svg, &groups),
        )));
    }
    blocks.push(Block::Table(table));
    Some(Section { heading: "Where it went wrong, and why".to_owned(), text, blocks, ..Section::default() })
}

/// The bars of a tally's rows.
pub fn bars_of(tally: &Tally) -> Vec<Loss> {
    let loss = |row: &&Row| Loss { name: row.place.label(), lost: row.lost, overcome: row.drops() };
    tally.sorted().iter().map(loss).filter(|loss| loss.lost + loss.overcome > 0).collect()
}

/// `337 files missing = 312 + 25`.
pub fn sum_of(tally: &Tally, missing: u64) -> String {
    let rows: Vec<String> = tally.sorted().iter().filter(|row| row.lost > 0).map(|row| count(row.lost)).collect();
    let shown: String = match rows.len() {
        0 => "0".to_owned(),
        n if n > 12 => format!("the sum of {n} rows, {}", count(tally.lost())),
        _ => rows.join(" + "),
    };
    format!("{} missing = {shown}.", counted(missing, "file"))
}

fn over_time(runs: &Runs, prefix: &str) -> Option<Section> {
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
    let blocks = vec![Block::Figure(figure)];
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

fn how_long(runs: &Runs, prefix: &str) -> Option<Section> {
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
        blocks.push(Block::Figure(Figure::new(
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
    blocks.push(Block::Figure(figure.with(table)));
    let text = vec!["Counted in buckets of 6 %, so a quantile is right to 3 %.".to_owned()];
    Some(Section { heading: "How long it took".to_owned(), text, blocks, ..Section::default() })
}

fn said(runs: &Runs) -> Option<Section> {
    let texts = &runs.texts;
    let quotes = texts.rows.iter().map(|(words, times)| {
        let often = if *times > 1 { format!(", {} times", count(*times)) } else { String::new() };
        (format!("{}, {}{often}", words.hop, words.kind), words.text.clone())
    });
    let quotes: Vec<_> = quotes.collect();
    if quotes.is_empty() {
        return None;
    }
    let mut text = Vec::new();
    if texts.beyond > 0 {
        text.push(format!("{} more are in the report.", counted(texts.beyond, "text")));
    }
    let heading = "What the servers said".to_owned();
    Some(Section { heading, text, blocks: vec![Block::Quotes(quotes)], ..Section::default() })
}

fn surroundings(runs: &Runs, prefix: &str) -> Section {
    let mut table = Table::new(&format!("{prefix}environment"), "Environment", &[("what", ""), ("value", "")]);
    let mut tell = |name: &str, value: String| table.rows.push(vec![Value::text(name), Value::text(value)]);
    let often = |times: u64| if times > 1 { format!(" ({} times)", count(times)) } else { String::new() };
    for (version, times) in &runs.versions.rows {
        tell("hopsync", format!("{version}{}", often(*times)));
    }
    for (job, times) in &runs.jobs.rows {
        let mut parts = vec![job.direction.clone(), format!("verify {}", job.verify)];
        parts.extend(job.host.iter().map(|host| format!("host {host}")));
        parts.extend(job.connections.map(|n| counted(n, "connection")));
        parts.extend(job.channels.map(|n| format!("at most {}", counted(n, "channel"))));
        parts.extend(job.delete.then(|| "delete".to_owned()));
        parts.extend(job.dry_run.then(|| "dry run".to_owned()));
        tell("job", format!("{}{}", parts.join(", "), often(*times)));
    }
    for (hop, times) in &runs.hops.rows {
        let via = hop.via.as_ref().map_or(String::new(), |via| format!(" via {via}"));
        let text =
            format!("{}; {}, {}; login by {}{via}{}", hop.banner, hop.kex, hop.cipher, hop.method, often(*times));
        tell(&format!("hop {}", hop.name), text);
    }
    for (name, list) in [("sessions allowed", &runs.limits), ("hasher", &runs.hashers)] {
        for (text, times) in &list.rows {
            tell(name, format!("{text}{}", often(*times)));
        }
    }
    for (name, list) in [("verified by", &runs.verified_by), ("skipped for", &runs.skipped_for)] {
        for (text, times) in &list.rows {
            tell(name, format!("{text} ({})", counted(*times, "file")));
        }
    }
    Section { heading: "Environment".to_owned(), blocks: vec![Block::Table(table)], ..Section::default() }
}
