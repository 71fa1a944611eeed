//! What the page says of runs, by hopsync's own reports.

use super::document::{Block, Figure, Section, Table, Value};
use super::figure::bars::{Group, Loss, Stack, losses, stacks};
use super::kept::CLASSES;
use super::run_times::{how_long, over_time};
use super::runs::Runs;
use super::tally::{Row, Tally};
use super::units::{self, count, counted, percent, seconds};
use super::words;

/// How each class is drawn.
pub const DRAWN: [&str; 5] = ["ok", "sent", "same", "skip", "lost"];

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
    let headline = match (counts.failed(), counts.open()) {
        // Nothing is known to be lost, and not everything to have arrived.
        (0, open) if open > 0 => format!("{} of {} had no result yet.", count(open), counted(counts.planned, "file")),
        (failed, _) => words::arrived(failed, counts.planned, &runs.tally),
    };
    (headline, lede)
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
    let moved = match runs.matched_bytes {
        0 => format!("{} on average", units::rate(rate)),
        n => format!("{} on average; {} more were there already", units::rate(rate), units::bytes(n as f64)),
    };
    let mut single = vec![
        ("time".to_owned(), seconds(runs.elapsed), "from the first start to the last line".to_owned()),
        ("moved".to_owned(), units::bytes(runs.moved_bytes as f64), moved),
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
        blocks.push(Block::figure(classes(runs, prefix)));
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
        blocks.push(Block::figure(Figure::new(
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
