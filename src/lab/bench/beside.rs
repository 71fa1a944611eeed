//! The programs side by side: a row for each cell, a column for each program; wall time with the ratio to rsync's, CPU time,
//! memory, and what verification costs. Pure.

use super::cell::Cell;
use super::programs::Program;
use super::statistics::{Row, aligned, name};

/// The column that tells what verification adds to the wall time.
const HEAD: &str = "verification";

/// The tables in Markdown; `None` where there are no two programs to be compared.
pub fn markdown(rows: &[Row]) -> Option<String> {
    let (mut cells, mut programs): (Vec<Cell>, Vec<String>) = (Vec::new(), Vec::new());
    for row in rows {
        let (cell, program) = (row.cell.ground(), name(row.program, &row.cell));
        if !cells.contains(&cell) {
            cells.push(cell);
        }
        if !programs.contains(&program) {
            programs.push(program);
        }
    }
    if programs.len() < 2 {
        return None;
    }
    let table = |value: fn(&Row) -> Option<String>| {
        let mut lines = vec![std::iter::once("work".to_owned()).chain(programs.iter().cloned()).collect::<Vec<_>>()];
        for cell in &cells {
            let of = |program: &String| {
                let row =
                    rows.iter().find(|row| row.cell.ground() == *cell && name(row.program, &row.cell) == *program);
                row.map_or(String::new(), |row| value(row).unwrap_or_else(|| "–".to_owned()))
            };
            lines.push(std::iter::once(cell.to_string()).chain(programs.iter().map(of)).collect());
        }
        lines
    };
    let mut walls = table(wall);
    let costs: Vec<_> = cells.iter().map(|cell| verification(rows, cell)).collect();
    if costs.iter().any(Option::is_some) {
        walls[0].push(HEAD.to_owned());
        for (line, cost) in walls[1..].iter_mut().zip(costs) {
            line.push(cost.unwrap_or_default());
        }
    }
    let of = |heading: &str, lines: &[Vec<String>]| format!("{heading}\n\n{}", aligned(lines, 1));
    let cpu = table(|row| row.cpu.map(|cpu| format!("{cpu:.2}")));
    let peak = table(|row| row.peak_rss.map(|bytes| format!("{:.0}", bytes as f64 / 1e6)));
    let walls = of("Wall s, and × rsync:", &walls);
    Some([walls, of("CPU s of the client:", &cpu), of("Peak MB of a client's process:", &peak)].join("\n"))
}

fn wall(row: &Row) -> Option<String> {
    let wall = row.sound()?;
    let ratio = row.ratio.filter(|_| row.program != Program::Rsync);
    Some(ratio.map_or_else(|| format!("{wall:.2}"), |ratio| format!("{wall:.2} ({ratio:.2} ×)")))
}

/// What it adds to the wall time of the same without it: `+8 %`.
fn verification(rows: &[Row], cell: &Cell) -> Option<String> {
    let of = |program| rows.iter().find(|row| row.cell == *cell && row.program == program).and_then(Row::sound);
    let (with, without) = (of(Program::Hopsync)?, of(Program::HopsyncUnverified)?);
    // Never "-0".
    (without > 0.0).then(|| format!("{:+} %", ((with / without - 1.0) * 100.0).round() + 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bench::cell::Direction;

    fn row(work: &str, program: Program, wall: f64, ratio: Option<f64>) -> Row {
        let cell = Cell::new(work.parse().expect("a work"), Direction::Push, 50);
        let cell = Cell { warm: program.is_warm(), ..cell };
        let wall = super::super::Spread::of([wall]);
        let (cpu, peak_rss) = (Some(0.5), Some(30_000_000));
        Row { cell, program, runs: 1, complete: 1, fewest: 1, wall, ratio, cpu, peak_rss, rate: None }
    }

    #[test]
    fn each_work_has_one_row_with_all_its_programs() {
        let mut torn = row("2x1", Program::Tar, 1.0, None);
        torn.complete = 0;
        let rows = [
            row("2x1", Program::Hopsync, 1.1, Some(2.0)),
            row("2x1", Program::HopsyncUnverified, 1.0, Some(2.2)),
            row("2x1", Program::HopsyncWarm, 0.5, Some(4.4)),
            row("2x1", Program::Rsync, 2.2, Some(1.0)),
            torn,
            row("nothing", Program::Hopsync, 1.0, Some(1.5)),
            row("nothing", Program::Rsync, 1.5, Some(1.0)),
        ];
        let text = markdown(&rows).expect("tables");
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<_> = text.lines().map(squeeze).collect();
        let head = "| work | hopsync -a | hopsync -a --verify=off | hopsync -a, warm | rsync -a | tar \\| ssh | verification |";
        assert_eq!(lines[2], head);
        assert_eq!(lines[4], "| 2x1 push 50 ms | 1.10 (2.00 ×) | 1.00 (2.20 ×) | 0.50 (4.40 ×) | 2.20 | – | +10 % |");
        assert_eq!(lines[5], "| nothing push 50 ms | 1.00 (1.50 ×) | | | 1.50 | | |");
        assert!(text.contains("CPU s of the client:") && text.contains("Peak MB of a client's process:"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("| 2x1 ")).count(), 3);
    }

    #[test]
    fn one_program_stands_beside_nothing() {
        assert_eq!(markdown(&[row("2x1", Program::Hopsync, 1.0, None)]), None);
    }
}
