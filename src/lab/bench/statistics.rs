//! From runs to what is told of them. Pure.

use super::cell::Cell;
use super::programs::Program;
use super::schedule::Record;

/// What several runs have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of nothing. The median of an even number is the mean of the middle two.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        Some(Spread { min, median, max })
    }
}

/// One program on one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub cell: Cell,
    pub program: Program,
    /// Runs counted: not the warm-ups.
    pub runs: usize,
    /// Those after which everything was there and nothing else, and which said so.
    pub complete: usize,
    /// The fewest files that arrived whole in any run.
    pub fewest: u64,
    /// Seconds. Of complete runs, as all that follows: a run that left out work is no fast one.
    pub wall: Option<Spread>,
    /// rsync's median wall time divided by this one's; none unless all runs of both were complete.
    pub ratio: Option<f64>,
    /// Median of user and system time, in seconds.
    pub cpu: Option<f64>,
    /// Largest resident set of any process of any run, in bytes.
    pub peak_rss: Option<u64>,
    /// Bytes of files per second, by the median; none where nothing was to be sent.
    pub rate: Option<f64>,
}

impl Row {
    /// The median wall time, if every run was complete: what may be compared.
    pub fn sound(&self) -> Option<f64> {
        (self.complete == self.runs).then_some(self.wall).flatten().map(|wall| wall.median)
    }
}

/// One row for each program on each cell, in the order in which they first ran.
pub fn rows(records: &[Record]) -> Vec<Row> {
    let counted = || records.iter().filter(|record| !record.warmup);
    let mut rows: Vec<Row> = Vec::new();
    for record in counted() {
        if rows.iter().any(|row| row.cell == record.cell && row.program == record.program) {
            continue;
        }
        let same: Vec<_> = counted().filter(|r| r.cell == record.cell && r.program == record.program).collect();
        rows.push(row(&record.cell, record.program, &same));
    }
    let rsync: Vec<_> = rows.iter().filter(|row| row.program == Program::Rsync).cloned().collect();
    for row in &mut rows {
        let rsync = rsync.iter().find(|rsync| rsync.cell == row.cell.ground()).and_then(Row::sound);
        row.ratio = rsync.zip(row.sound()).map(|(rsync, this)| rsync / this);
    }
    rows
}

fn row(cell: &Cell, program: Program, records: &[&Record]) -> Row {
    let complete: Vec<_> = records.iter().filter(|record| record.sample.complete(cell)).map(|r| &r.sample).collect();
    let wall = Spread::of(complete.iter().map(|sample| sample.wall_s));
    let rate = wall.filter(|_| cell.workload.kind.sends_files()).map(|wall| cell.workload.bytes() as f64 / wall.median);
    Row {
        cell: cell.clone(),
        program,
        runs: records.len(),
        complete: complete.len(),
        fewest: records.iter().map(|record| record.sample.whole).min().unwrap_or(0),
        wall,
        ratio: None,
        cpu: Spread::of(complete.iter().map(|sample| sample.user_s + sample.system_s)).map(|cpu| cpu.median),
        peak_rss: complete.iter().map(|sample| sample.peak_rss).max(),
        rate,
    }
}

/// The table in Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let head = ["work", "program", "wall s", "min–max", "× rsync", "CPU s", "peak MB", "MB/s", "whole", "runs"];
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let mut cells = vec![head.map(str::to_owned)];
    for row in rows {
        cells.push([
            row.cell.to_string(),
            name(row.program, &row.cell),
            or_dash(row.wall.map(|wall| format!("{:.2}", wall.median))),
            or_dash(row.wall.map(|wall| format!("{:.2}–{:.2}", wall.min, wall.max))),
            or_dash(row.ratio.map(|ratio| format!("{ratio:.2}"))),
            or_dash(row.cpu.map(|cpu| format!("{cpu:.2}"))),
            or_dash(row.peak_rss.map(|bytes| format!("{:.0}", bytes as f64 / 1e6))),
            or_dash(row.rate.map(|rate| format!("{:.0}", rate / 1e6))),
            format!("{}/{}", row.fewest, row.cell.workload.files),
            format!("{}/{}", row.complete, row.runs),
        ]);
    }
    aligned(&cells, 2)
}

/// As tables name a program: with the number of its processes at once.
pub fn name(program: Program, cell: &Cell) -> String {
    let title = program.title().replace('|', "\\|");
    cell.at_once.map_or(title.clone(), |count| format!("{title}, {count} at once"))
}

/// A table in Markdown that can be read as text too; the first row is the head, the first `texts` columns are text, the
/// others numbers.
pub fn aligned<R: AsRef<[String]>>(cells: &[R], texts: usize) -> String {
    let columns = cells.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let width = |c: usize| cells.iter().filter_map(|row| Some(row.as_ref().get(c)?.chars().count())).max().unwrap_or(0);
    // A rule is never shorter than this.
    let widths: Vec<usize> = (0..columns).map(|c| width(c).max(2)).collect();
    let mut text = String::new();
    for (r, row) in cells.iter().enumerate() {
        let padded: Vec<_> = row
            .as_ref()
            .iter()
            .zip(widths.iter().copied())
            .enumerate()
            .map(|(c, (cell, width))| if c < texts { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
            .collect();
        text += &format!("| {} |\n", padded.join(" | "));
        if r == 0 {
            let rule =
                |(c, width): (usize, usize)| if c < texts { "-".repeat(width) } else { "-".repeat(width - 1) + ":" };
            let rules: Vec<_> = widths.iter().copied().enumerate().map(rule).collect();
            text += &format!("| {} |\n", rules.join(" | "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bench::cell::Direction;
    use crate::lab::bench::schedule::Sample;

    fn cell(work: &str) -> Cell {
        Cell::new(work.parse().expect("a work"), Direction::Push, 0)
    }

    fn record(work: &str, program: Program, wall_s: f64, warmup: bool) -> Record {
        let cell = cell(work);
        let sample = Sample {
            wall_s,
            user_s: wall_s / 2.0,
            system_s: 0.25,
            peak_rss: (wall_s * 1e6) as u64,
            whole: cell.workload.files,
            ..Sample::default()
        };
        Record { cell, program, round: 0, warmup, started: 0, sample }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        let median = |values: &[f64]| Spread::of(values.iter().copied()).map(|spread| spread.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn ratios_are_of_medians_and_warm_ups_do_not_count() {
        let records = [
            record("2x1M", Program::Hopsync, 100.0, true),
            record("2x1M", Program::Hopsync, 1.0, false),
            record("2x1M", Program::Rsync, 2.0, false),
            record("2x1M", Program::Hopsync, 2.0, false),
            record("2x1M", Program::Rsync, 4.0, false),
            record("nothing", Program::Hopsync, 1.0, false),
        ];
        let rows = rows(&records);
        let told: Vec<_> = rows.iter().map(|row| (row.program, row.runs, row.ratio, row.rate.is_some())).collect();
        let expected = [
            (Program::Hopsync, 2, Some(2.0), true),
            (Program::Rsync, 2, Some(1.0), true),
            (Program::Hopsync, 1, None, false),
        ];
        assert_eq!(told, expected);
        assert_eq!((rows[0].cpu, rows[0].peak_rss), (Some(1.0), Some(2_000_000)));
    }

    #[test]
    fn a_run_that_left_out_work_is_no_fast_one() {
        let mut short = record("2x1M", Program::Hopsync, 0.1, false);
        short.sample.whole = 1;
        let records = [short, record("2x1M", Program::Hopsync, 1.0, false), record("2x1M", Program::Rsync, 2.0, false)];
        let rows = rows(&records);
        assert_eq!((rows[0].complete, rows[0].runs, rows[0].fewest), (1, 2, 1));
        assert_eq!((rows[0].wall.map(|wall| wall.min), rows[0].ratio), (Some(1.0), None));
        assert_eq!(rows[1].ratio, Some(1.0));
    }

    #[test]
    fn the_table_is_markdown() {
        let mut failed = record("2x1M", Program::Tar, 1.0, false);
        failed.sample.exit = 2;
        let records =
            [record("2x1M", Program::Hopsync, 1.0, false), record("2x1M", Program::Rsync, 2.0, false), failed];
        let expected = "\
| work           | program    | wall s |   min–max | × rsync | CPU s | peak MB | MB/s | whole | runs |
| -------------- | ---------- | -----: | --------: | ------: | ----: | ------: | ---: | ----: | ---: |
| 2x1M push 0 ms | hopsync -a |   1.00 | 1.00–1.00 |    2.00 |  0.75 |       1 |    2 |   2/2 |  1/1 |
| 2x1M push 0 ms | rsync -a   |   2.00 | 2.00–2.00 |    1.00 |  1.25 |       2 |    1 |   2/2 |  1/1 |
| 2x1M push 0 ms | tar \\| ssh |      – |         – |       – |     – |       – |    – |   2/2 |  0/1 |
";
        assert_eq!(markdown(&rows(&records)), expected);
    }
}
