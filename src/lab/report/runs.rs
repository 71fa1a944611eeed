//! What one run, or a crowd of them, was: its report's lines taken in one by one, in memory that does not grow with the
//! number of files.

use std::collections::HashMap;

use super::histogram::Histogram;
use super::kept::{CLASSES, Counts, Hop, LIST, Listed, TEXT, Words};
use super::lines::{self, Job, epoch};
use super::tally::{Kind, Place, Tally};
use super::timeline::Timeline;
use crate::ledger::{escape, escape_cut};

/// Files under way whose announcement is remembered: more than hopsync ever has. Of those beyond it the time is not known.
const TRACKED: usize = 1 << 16;
/// Open channels remembered.
const CHANNELS: usize = 1 << 14;
/// The place of that class among [`CLASSES`].
const FAILED: usize = 4;

/// Rows of the [`Timeline`]; those of the marks come behind, two for each row of the [`Tally`].
pub const MOVED: usize = 0;
pub const CHANNELS_OPEN: usize = 1;
pub const DELIVERED: usize = 2;

/// Where the marks of a row of the tally are: what was overcome, or lost.
pub fn marks(row: usize, lost: bool) -> usize {
    3 + 2 * row + usize::from(lost)
}

/// Everything that the page shows of runs.
#[derive(Debug, Default, Clone)]
pub struct Runs {
    /// Runs begun; each is a process.
    pub runs: u64,
    /// Of these, without a summary.
    pub unfinished: u64,
    pub counts: Counts,
    pub tally: Tally,
    pub timeline: Timeline,
    /// The first start, as told and in seconds since 1970.
    pub started: Option<(String, f64)>,
    /// From the first start to the last moment told.
    pub elapsed: f64,
    pub moved_bytes: u64,
    /// Not sent, because the destination had them.
    pub matched_bytes: u64,
    pub attempts: u64,
    pub retries: u64,
    pub connections: u64,
    pub logins: u64,
    pub shared: u64,
    /// The most channels that one process had open.
    pub channels_max: u64,
    pub directories: u64,
    pub symlinks: u64,
    pub deleted: u64,
    /// From a file's announcement to its class, of those that were delivered.
    pub file_time: Histogram,
    /// Before an attempt began; attempts that went well, and others.
    pub waited: Histogram,
    pub attempt_time: Histogram,
    pub dropped_time: Histogram,
    /// By hop and stage.
    pub stages: Vec<((String, String), Histogram)>,
    pub channel_time: Histogram,
    pub shared_waited: Histogram,
    pub versions: Listed<String>,
    pub jobs: Listed<Job>,
    pub hops: Listed<Hop>,
    pub hashers: Listed<String>,
    pub limits: Listed<String>,
    pub texts: Listed<Words>,
    pub verified_by: Listed<String>,
    pub skipped_for: Listed<String>,
    /// Sentences about what does not fit together.
    pub doubts: Listed<String>,
    run: Run,
}

/// What is known of the run whose lines come.
#[derive(Debug, Default, Clone)]
struct Run {
    begun: bool,
    over: bool,
    /// Seconds from the first start of all to this one.
    offset: f64,
    counts: Counts,
    files: HashMap<u64, Open>,
    channels: HashMap<(String, u32, u32), f64>,
    last: f64,
}

/// A file that has no class yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    announced: f64,
    size: u64,
    /// Its last attempt failed: the row of the tally, and when. Whether that is a drop or the end shows later.
    failed: Option<(usize, f64)>,
}

impl Runs {
    /// For runs of which the first began at `base`, in seconds since 1970.
    pub fn since(base: Option<(String, f64)>) -> Runs {
        Runs { started: base, ..Runs::default() }
    }

    /// One line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn line(&mut self, line: &str) -> Result<(), String> {
        let head: lines::Head = parse(line)?;
        if head.event == "start" {
            return self.start(parse(line)?);
        }
        if !self.run.begun {
            return Err("the first line of a report is its start, and this is none".to_owned());
        }
        self.run.last = self.run.last.max(head.t);
        let t = self.run.offset + head.t;
        match &*head.event {
            "hop-connected" => self.hop_connected(parse(line)?),
            "shared" => self.shared(parse(line)?),
            "channel-opened" => self.channel_opened(t, parse(line)?),
            "channel-closed" => self.channel_closed(t, parse(line)?),
            "limit-found" => {
                let lines::LimitFound { hop, sessions, files, hashing } = parse(line)?;
                let hop = escape_cut(hop.as_bytes(), TEXT);
                self.limits.add(format!("{hop}: {sessions} sessions; {files} for files, {hashing} for hashing"));
            }
            "hasher-chosen" => {
                let lines::HasherChosen { hop, by, detail } = parse(line)?;
                let text =
                    if detail.is_empty() { format!("{by} at {hop}") } else { format!("{by} at {hop}: {detail}") };
                self.hashers.add(escape_cut(text.as_bytes(), TEXT));
            }
            "server-text" => {
                let lines::ServerText { hop, kind, text } = parse(line)?;
                let kept = |text: &str| escape_cut(text.as_bytes(), TEXT);
                self.texts.add(Words { hop: kept(&hop), kind: kept(&kind), text: kept(text.trim_end()) });
            }
            "drop" => {
                let lines::Drop { what, fault } = parse(line)?;
                let kind = if what == "channel" { Kind::Channel } else { Kind::Connection };
                let row = self.tally.row(Place::new(&fault.hop, &fault.stage, &fault.cause));
                self.tally.add(row, kind, 1, &fault.text);
                self.timeline.add(marks(row, false), t, 1.0);
            }
            "planned" => self.planned(t, &parse(line)?),
            "attempt" => self.attempt(t, &parse(line)?),
            "class" => self.class(t, &parse(line)?, line)?,
            "directory-made" => self.directories += 1,
            "symlink-made" => self.symlinks += 1,
            "deleted" => self.deleted += 1,
            "failure" => {
                let lines::Failure { fault } = parse(line)?;
                let row = self.tally.row(Place::new(&fault.hop, &fault.stage, &fault.cause));
                self.tally.add(row, Kind::Other, 1, &fault.text);
            }
            "summary" => self.summary(&parse(line)?),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, start: lines::Start) -> Result<(), String> {
        self.end();
        let offset = match (&self.started, epoch(&start.started)) {
            (_, None) => {
                return Err("its start tells no date: \"started\" is to be like 2026-03-01T00:00:00Z".to_owned());
            }
            (None, Some(at)) => {
                self.started = Some((escape(start.started.as_bytes()), at));
                0.0
            }
            (Some((_, base)), Some(at)) => (at - base).clamp(0.0, lines::LONGEST),
        };
        self.runs += 1;
        self.run = Run { begun: true, offset, ..Run::default() };
        let kept = |text: &str| escape_cut(text.as_bytes(), TEXT);
        self.versions.add(kept(&start.version));
        let Job { direction, host, verify, delete, dry_run, connections, channels } = start.job;
        let (direction, host, verify) = (kept(&direction), host.as_deref().map(kept), kept(&verify));
        self.jobs.add(Job { direction, host, verify, delete, dry_run, connections, channels });
        Ok(())
    }

    fn hop_connected(&mut self, hop: lines::HopConnected) {
        self.logins += 1;
        self.connections += u64::from(hop.facts.via.is_none());
        let name = escape_cut(hop.facts.hop.as_bytes(), TEXT);
        for (stage, lines::Seconds(elapsed)) in &hop.stages {
            let key = (name.clone(), escape_cut(stage.as_bytes(), TEXT));
            if let Some(row) = self.stages.iter_mut().find(|row| row.0 == key) {
                row.1.add(*elapsed);
            } else if self.stages.len() < LIST {
                let mut histogram = Histogram::default();
                histogram.add(*elapsed);
                self.stages.push((key, histogram));
            }
        }
        self.hops.add(Hop::of(&hop.facts));
    }

    fn shared(&mut self, shared: lines::Shared) {
        self.shared += 1;
        self.shared_waited.add(shared.waited.0);
        for hop in &shared.hops {
            self.hops.add(Hop::of(hop));
        }
    }

    fn channel_opened(&mut self, t: f64, channel: lines::Channel) {
        if let Some(elapsed) = channel.elapsed {
            self.channel_time.add(elapsed.0);
        }
        if self.run.channels.len() < CHANNELS {
            self.run.channels.insert((channel.hop.into_owned(), channel.lane, channel.channel), t);
        }
        self.channels_max = self.channels_max.max(self.run.channels.len() as u64);
    }

    fn channel_closed(&mut self, t: f64, channel: lines::Channel) {
        if let Some(since) = self.run.channels.remove(&(channel.hop.into_owned(), channel.lane, channel.channel)) {
            self.timeline.spread(CHANNELS_OPEN, since, t, t - since);
        }
    }

    fn planned(&mut self, t: f64, planned: &lines::Planned) {
        let counts = &mut self.run.counts;
        counts.planned += 1;
        counts.planned_bytes = counts.planned_bytes.saturating_add(planned.size);
        if self.run.files.len() < TRACKED {
            self.run.files.insert(planned.file, Open { announced: t, size: planned.size, failed: None });
        }
    }

    fn attempt(&mut self, t: f64, attempt: &lines::Attempt) {
        self.attempts += 1;
        self.retries += u64::from(attempt.number > 1);
        self.moved_bytes = self.moved_bytes.saturating_add(attempt.bytes);
        self.matched_bytes = self.matched_bytes.saturating_add(attempt.matched);
        self.waited.add(attempt.waited.0);
        let times = if attempt.fault.is_none() { &mut self.attempt_time } else { &mut self.dropped_time };
        times.add(attempt.elapsed.0);
        self.timeline.spread(MOVED, t - attempt.elapsed.0, t, attempt.bytes as f64);
        let before = self.run.files.get(&attempt.file).and_then(|file| file.failed);
        if let Some((row, at)) = before {
            self.dropped_attempt(row, at);
        }
        let now = attempt.fault.as_ref().map(|fault| {
            let row = self.tally.row(Place::new(&fault.hop, &fault.stage, &fault.cause));
            self.tally.add(row, Kind::Attempt, 0, &fault.text);
            (row, t)
        });
        match (self.run.files.get_mut(&attempt.file), now) {
            (Some(file), now) => file.failed = now,
            (None, Some((row, at))) => self.dropped_attempt(row, at),
            (None, None) => {}
        }
    }

    fn dropped_attempt(&mut self, row: usize, at: f64) {
        self.tally.add(row, Kind::Attempt, 1, "");
        self.timeline.add(marks(row, false), at, 1.0);
    }

    fn class(&mut self, t: f64, class: &lines::Class, line: &str) -> Result<(), String> {
        let Some(which) = CLASSES.iter().position(|name| *name == class.class) else {
            let class = escape_cut(class.class.as_bytes(), 40);
            return Err(format!("no class \"{class}\" is known here: a newer hopsync-lab may read it"));
        };
        let file = self.run.files.remove(&class.file);
        let counts = &mut self.run.counts;
        counts.files[which] += 1;
        counts.bytes[which] = counts.bytes[which].saturating_add(file.map_or(0, |file| file.size));
        if which < 2 {
            self.timeline.add(DELIVERED, t, 1.0);
            if let Some(file) = file {
                self.file_time.add(t - file.announced);
            }
        }
        if let Some(by) = &class.by {
            self.verified_by.add(escape_cut(by.as_bytes(), TEXT));
        }
        if let Some(reason) = &class.reason {
            self.skipped_for.add(escape_cut(reason.as_bytes(), TEXT));
        }
        let failed = file.and_then(|file| file.failed);
        let mut lost = None;
        if which == FAILED {
            let (place, text) = match &class.fault {
                Some(fault) => (Place::new(&fault.hop, &fault.stage, &fault.cause), &*fault.text),
                None => (Place::unknown(), ""),
            };
            let row = self.tally.row(place);
            let example = match parse::<lines::WithPath>(line)?.shown() {
                Some(path) => format!("{path}: {text}"),
                None => text.to_owned(),
            };
            self.tally.add(row, Kind::Lost, 1, &example);
            self.timeline.add(marks(row, true), t, 1.0);
            lost = Some(row);
        }
        // The last attempt of a file that failed is its failure, and no drop.
        if let Some((row, at)) = failed.filter(|(row, _)| lost != Some(*row)) {
            self.dropped_attempt(row, at);
        }
        Ok(())
    }

    /// The lines are the count; the summary is what they are held against, and knows the sizes that were not tracked.
    fn summary(&mut self, summary: &lines::Summary) {
        self.run.over = true;
        self.run.last = self.run.last.max(summary.elapsed.0);
        self.channels_max = self.channels_max.max(summary.channels_max);
        let told = [summary.verified, summary.sent, summary.unchanged, summary.skipped, summary.failed];
        let counts = &mut self.run.counts;
        if (counts.planned, counts.files) != (summary.planned, told) {
            let sum = |planned: u64, files: [u64; 5]| format!("{planned} planned and {files:?} of them in the classes");
            let (of_lines, of_summary) = (sum(counts.planned, counts.files), sum(summary.planned, told));
            self.doubts.add(format!("A report's lines say {of_lines}, its summary {of_summary}."));
        }
        counts.planned_bytes = summary.planned_bytes;
        let s = summary;
        counts.bytes = [s.verified_bytes, s.sent_bytes, s.unchanged_bytes, s.skipped_bytes, s.failed_bytes];
        if let Some(why) = &summary.miscounted {
            self.doubts.add(format!("A run miscounted: {}.", escape_cut(why.as_bytes(), TEXT)));
        }
    }

    /// Things kept for each file, channel, row and bin: what a test of the bounds counts.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let lists = self.stages.len() + self.hops.rows.len() + self.texts.rows.len() + self.doubts.rows.len();
        self.run.files.capacity() + self.run.channels.capacity() + self.tally.rows().len() + lists
    }

    /// No more lines of this run. What is open then is counted as far as it is known.
    pub fn end(&mut self) {
        let run = std::mem::take(&mut self.run);
        if !run.begun {
            return;
        }
        let end = run.offset + run.last;
        for since in run.channels.into_values() {
            self.timeline.spread(CHANNELS_OPEN, since, end, end - since);
        }
        for (row, at) in run.files.into_values().filter_map(|file| file.failed) {
            self.dropped_attempt(row, at);
        }
        self.timeline.reach(end);
        self.elapsed = self.elapsed.max(end);
        self.unfinished += u64::from(!run.over);
        let (all, own) = (&mut self.counts, run.counts);
        all.planned += own.planned;
        all.planned_bytes = all.planned_bytes.saturating_add(own.planned_bytes);
        for class in 0..CLASSES.len() {
            all.files[class] += own.files[class];
            all.bytes[class] = all.bytes[class].saturating_add(own.bytes[class]);
        }
    }
}

/// What serde says, without its own count of lines: a line is all that it sees.
pub(super) fn parse<'a, T: serde::Deserialize<'a>>(line: &'a str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| {
        let text = error.to_string();
        let text = text.split(" at line 1 column ").next().unwrap_or_default();
        match (error.is_eof(), error.column()) {
            (true, _) => "it ends in the middle".to_owned(),
            (false, 0) => escape_cut(text.as_bytes(), TEXT),
            (false, column) => format!("{} at column {column}", escape_cut(text.as_bytes(), TEXT)),
        }
    })
}
