//! How many files were there by when, a line for each program.

use super::x_axis;
use crate::lab::report::scale::{Scale, Unit, nice, tick};
use crate::lab::report::svg::{Anchor, Size, Svg, text_width};
use crate::lab::report::units::{count, seconds};

const HEIGHT: f64 = 190.0;
const TOP: f64 = 12.0;
/// Strokes that `figure.css` has: more than a bench measures side by side, so that no two lines differ by colour alone.
const STROKES: usize = 16;

/// One program's run.
#[derive(Debug)]
pub struct Line {
    pub name: String,
    /// Seconds, and files by then.
    pub points: Vec<(f64, u64)>,
    pub ours: bool,
}

/// `files` were to arrive.
pub fn arrivals(svg: &mut Svg, lines: &[Line], files: u64) {
    let lines: Vec<&Line> = lines.iter().filter(|line| !line.points.is_empty()).collect();
    let most = nice(files as f64);
    let left = text_width(&tick(most, Unit::Count), Size::Tick) + 12.0;
    let right = svg.width() - 6.0;
    let bottom = TOP + HEIGHT;
    let end = lines.iter().map(|line| line.last().0).fold(0.0, f64::max);
    let (time, up) = (Scale::linear(end, left, right), Scale::linear(most, bottom, TOP));
    for value in up.ticks(38.0, Unit::Count).into_iter().filter(|value| value.fract() == 0.0) {
        svg.line((left, up.place(value)), (right, up.place(value)), "grid");
        svg.text((left - 8.0, up.place(value) + 4.0), Anchor::End, Size::Tick, left, &tick(value, Unit::Count));
    }
    x_axis(svg, &time, (left, right), (bottom, bottom), Unit::Seconds);
    for (index, line) in lines.iter().enumerate() {
        let mut path = vec![(time.place(0.0), up.place(0.0))];
        let mut before = 0;
        for (t, n) in &line.points {
            path.push((time.place(*t), up.place(before as f64)));
            path.push((time.place(*t), up.place(*n as f64)));
            before = *n;
        }
        let class = class(line, index);
        svg.path(&path, false, &class);
        let (x, y) = path[path.len() - 1];
        svg.circle((x, y), 2.6, "run");
    }
    // What is what: the strokes differ, and so do the ends, which the words tell.
    let mut y = bottom + 28.0;
    for (index, line) in lines.iter().enumerate() {
        let (end, n) = line.last();
        let words = format!("{}: {} by {}", line.name, count(n), seconds(end));
        svg.line((left, y + 8.0), (left + 30.0, y + 8.0), &class(line, index));
        svg.text((left + 38.0, y + 12.0), Anchor::Start, Size::Note, svg.width() - left - 38.0, &words);
        y += 19.0;
    }
    svg.extend(y);
}

fn class(line: &Line, index: usize) -> String {
    format!("{} dash{}", if line.ours { "curve" } else { "other" }, index % STROKES)
}

impl Line {
    fn last(&self) -> (f64, u64) {
        self.points.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::STROKES;
    use crate::lab::report::svg::STYLE;

    #[test]
    fn every_stroke_is_another() {
        let dashes = |index: usize| {
            let (_, rest) = STYLE.split_once(&format!(".dash{index} {{ stroke-dasharray: "))?;
            rest.split_once(';').map(|(dashes, _)| dashes)
        };
        // The first is solid.
        assert_eq!(dashes(0), None);
        let seen: HashSet<_> =
            (1..STROKES).map(|index| dashes(index).unwrap_or_else(|| panic!("no .dash{index}"))).collect();
        assert_eq!(seen.len(), STROKES - 1);
    }
}
