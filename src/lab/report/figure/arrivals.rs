//! How many files were there by when, a line for each program.

use super::x_axis;
use crate::lab::report::scale::{Scale, Unit, nice, tick};
use crate::lab::report::svg::{Anchor, Size, Svg, text_width};
use crate::lab::report::units::count;

const HEIGHT: f64 = 190.0;
const TOP: f64 = 12.0;

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
    let names: Vec<String> = lines.iter().map(|line| format!("{} ({})", line.name, count(line.last().1))).collect();
    let most = nice(files as f64);
    let left = text_width(&tick(most, Unit::Count), Size::Tick) + 12.0;
    let beside = names.iter().map(|name| text_width(name, Size::Note)).fold(0.0, f64::max) + 14.0;
    let right = svg.width() - beside.min(svg.width() * 0.4);
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
        let class = if line.ours { "curve".to_owned() } else { format!("other dash{}", index % 4) };
        svg.path(&path, false, &class);
        let (x, y) = path[path.len() - 1];
        svg.line((x, y), (right, y), "grid");
        svg.circle((x, y), 2.6, "run");
    }
    name_them(svg, &lines, &names, &up, right, bottom);
    svg.extend(bottom + 20.0);
}

/// Each name at the height of its line's end, and none over another.
fn name_them(svg: &mut Svg, lines: &[&Line], names: &[String], up: &Scale, right: f64, bottom: f64) {
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by_key(|index| lines[*index].last().1);
    let mut free = bottom + 4.0;
    let mut above = order.len() as f64;
    for index in order {
        // From below upwards; whoever is too near to the one below is pushed up, and all must fit.
        let wanted = up.place(lines[index].last().1 as f64) + 4.0;
        let y = wanted.min(free).max(TOP + (above - 1.0) * 16.0 - 2.0);
        svg.text((right + 10.0, y), Anchor::Start, Size::Note, svg.width() - right - 10.0, &names[index]);
        free = y - 16.0;
        above -= 1.0;
    }
}

impl Line {
    fn last(&self) -> (f64, u64) {
        self.points.last().copied().unwrap_or_default()
    }
}
