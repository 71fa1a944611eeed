//! Time from start to end of each program on each cell: every run, their spread, and their median.

use super::bars::Group;
use super::{Rows, x_axis};
use crate::lab::report::scale::{Scale, Unit};
use crate::lab::report::svg::Svg;

const HEIGHT: f64 = 16.0;

/// One program's runs.
#[derive(Debug)]
pub struct Wall {
    pub name: String,
    pub words: String,
    /// Seconds, of runs that were complete.
    pub runs: Vec<f64>,
    /// Of runs that were not.
    pub broken: Vec<f64>,
    pub median: Option<f64>,
    pub ours: bool,
}

/// A bar up to the median, and a ring for each run. What left out work has no bar, and its runs are crosses.
pub fn walls(svg: &mut Svg, groups: &[Group<Wall>]) {
    let bars = || groups.iter().flat_map(|group| &group.bars);
    let rows = Rows::new(svg, bars().map(|wall| wall.name.as_str()), bars().map(|wall| wall.words.as_str()));
    let mut y = 0.0;
    for group in groups {
        if !group.heading.is_empty() {
            y = rows.heading(svg, y, &group.heading);
        }
        let every = || group.bars.iter().flat_map(|wall| wall.runs.iter().chain(&wall.broken));
        let most = every().copied().fold(0.0, f64::max) * 1.02;
        let scale = Scale::linear(most, rows.left, rows.right - 6.0);
        let mut places = Vec::new();
        for wall in &group.bars {
            let (top, next) = rows.row(svg, y, HEIGHT, &wall.name, &wall.words);
            places.push((top, wall));
            y = next;
        }
        let top = places.first().map_or(y, |place| place.0 - 4.0);
        x_axis(svg, &scale, (rows.left, rows.right), (if svg.is_wide() { top } else { y }, y), Unit::Seconds);
        for (top, wall) in places {
            draw(svg, top, wall, &scale, most);
        }
        y += 40.0;
    }
}

fn draw(svg: &mut Svg, top: f64, wall: &Wall, scale: &Scale, most: f64) {
    let middle = top + HEIGHT / 2.0;
    if let Some(median) = wall.median {
        let width = scale.place(median) - scale.place(0.0);
        let class = if wall.ours { "ok" } else { "same" };
        svg.bar(
            (scale.place(0.0), top),
            (width, HEIGHT),
            class,
            (median, most),
            &format!("{}: {}", wall.name, wall.words),
        );
    }
    let (low, high) = wall.runs.iter().fold((f64::INFINITY, 0f64), |(low, high), s| (low.min(*s), high.max(*s)));
    if high > low {
        svg.line((scale.place(low), middle), (scale.place(high), middle), "range");
    }
    for run in &wall.runs {
        svg.circle((scale.place(*run), middle), 3.2, "run");
    }
    for run in &wall.broken {
        svg.cross((scale.place(*run), middle), "broken");
    }
}
