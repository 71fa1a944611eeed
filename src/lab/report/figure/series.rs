//! What happened when: throughput, channels open, and under them the drops, each at its time.

use super::x_axis;
use crate::lab::report::scale::{Scale, Unit, nice, tick};
use crate::lab::report::svg::{Anchor, Size, Svg, text_width};
use crate::lab::report::timeline::halved;
use crate::lab::report::units;

const PANEL: f64 = 92.0;
const MARK: f64 = 16.0;
/// Pixels of a bin.
const NARROWEST: f64 = 4.0;

/// A quantity over time: its value in each bin.
#[derive(Debug)]
pub struct Panel {
    pub title: String,
    pub words: String,
    pub unit: Unit,
    pub values: Vec<f64>,
}

/// Events over time: how many in each bin.
#[derive(Debug)]
pub struct Marks {
    pub name: String,
    pub words: String,
    pub lost: bool,
    pub counts: Vec<f64>,
}

/// `end` is where the axis ends, `width` how long a bin is, both in seconds.
pub fn series(svg: &mut Svg, end: f64, width: f64, panels: &[Panel], marks: &[Marks]) {
    let room = if svg.is_wide() { 68.0 } else { 60.0 };
    let (left, right) = (room, svg.width() - 6.0);
    let end = end.max(width);
    let time = Scale::linear(end, left, right);
    let (mut values, mut counts): (Vec<Vec<f64>>, Vec<Vec<f64>>) =
        (panels.iter().map(|p| p.values.clone()).collect(), marks.iter().map(|m| m.counts.clone()).collect());
    let mut bin = width;
    // No bin so narrow that a step cannot be told from its neighbours.
    while end / bin > (right - left) / NARROWEST {
        values = values.iter().map(|v| halved(v).into_iter().map(|sum| sum / 2.0).collect()).collect();
        counts = counts.iter().map(|c| halved(c)).collect();
        bin *= 2.0;
    }
    let mut y = 0.0;
    let mut tops = Vec::new();
    for panel in panels {
        tops.push(y + 22.0);
        svg.text((0.0, y + 12.0), Anchor::Start, Size::Strong, svg.width(), &panel.title);
        let after = text_width(&panel.title, Size::Strong) + 14.0;
        svg.text((svg.width(), y + 12.0), Anchor::End, Size::Note, svg.width() - after, &panel.words);
        y += 22.0 + PANEL + 16.0;
    }
    let bottom = y - 16.0;
    for ((panel, values), top) in panels.iter().zip(&values).zip(&tops) {
        draw(svg, panel, values, bin, (*top, &time, left, right));
    }
    guides(svg, &tops, &counts, marks, bin, &time);
    for (mark, counts) in marks.iter().zip(&counts) {
        strip(svg, y, mark, counts, bin, (&time, left, right));
        y += 22.0 + MARK + 8.0;
    }
    let axis = if marks.is_empty() { bottom + 6.0 } else { y };
    x_axis(svg, &time, (left, right), (axis, axis), Unit::Seconds);
    svg.extend(axis + 20.0);
}

/// Fine lines through the panels, where something was dropped: what was lost over what was overcome.
fn guides(svg: &mut Svg, tops: &[f64], counts: &[Vec<f64>], marks: &[Marks], bin: f64, time: &Scale) {
    let bins = counts.iter().map(Vec::len).max().unwrap_or(0);
    for index in 0..bins {
        let here = |lost: bool| {
            let mut rows = marks.iter().zip(counts).filter(|(mark, _)| mark.lost == lost);
            rows.any(|(_, counts)| counts.get(index).is_some_and(|n| *n > 0.0))
        };
        let class = if here(true) {
            "when-lost"
        } else if here(false) {
            "when-over"
        } else {
            continue;
        };
        let x = time.place((index as f64 + 0.5) * bin);
        for top in tops {
            svg.line((x, *top), (x, top + PANEL), class);
        }
    }
}

fn draw(svg: &mut Svg, panel: &Panel, values: &[f64], bin: f64, place: (f64, &Scale, f64, f64)) {
    let (top, time, left, right) = place;
    let bottom = top + PANEL;
    let most = nice(values.iter().copied().fold(0.0, f64::max));
    let up = Scale::linear(most, bottom, top);
    for value in up.ticks(34.0, panel.unit) {
        svg.line((left, up.place(value)), (right, up.place(value)), "grid");
        let text = tick(value, panel.unit);
        svg.text((left - 8.0, up.place(value) + 4.0), Anchor::End, Size::Tick, left - 8.0, &text);
    }
    let mut outline = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let y = up.place(*value);
        outline.push((time.place(index as f64 * bin), y));
        outline.push((time.place((index + 1) as f64 * bin), y));
    }
    let (Some(first), Some(last)) = (outline.first().copied(), outline.last().copied()) else { return };
    let mut area = vec![(first.0, bottom)];
    area.extend(&outline);
    area.push((last.0, bottom));
    svg.path(&area, true, "area");
    svg.path(&outline, false, "curve");
    svg.line((left, bottom), (right, bottom), "axis");
}

/// One row of small bars, as high as their number.
fn strip(svg: &mut Svg, y: f64, marks: &Marks, counts: &[f64], bin: f64, (time, left, right): (&Scale, f64, f64)) {
    let words = text_width(&marks.words, Size::Note);
    svg.text((svg.width(), y + 12.0), Anchor::End, Size::Note, svg.width(), &marks.words);
    svg.text((0.0, y + 12.0), Anchor::Start, Size::Note, svg.width() - words - 14.0, &marks.name);
    let (top, most) = (y + 20.0, counts.iter().copied().fold(0.0, f64::max).max(1.0));
    svg.line((left, top + MARK), (right, top + MARK), "grid");
    for (index, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0.0) {
        let (from, to) = (time.place(index as f64 * bin), time.place((index + 1) as f64 * bin));
        let height = (MARK * n / most).max(3.0);
        let at = units::seconds((index as f64 + 0.5) * bin);
        let tip = format!("{} at {at}", units::count(*n as u64));
        let class = if marks.lost { "lost" } else { "over" };
        let (x, width) = ((from + to) / 2.0 - 1.5, (to - from).clamp(3.0, 8.0));
        svg.bar((x, top + MARK - height), (width, height), &format!("{class} tall"), (*n, most), &tip);
    }
}
