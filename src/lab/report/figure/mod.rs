//! The figures: data in, drawing out. Each is drawn at whatever width its [`Svg`] has.

pub mod arrivals;
pub mod bars;
pub mod histogram;
pub mod quantiles;
pub mod series;
pub mod walls;

use super::scale::{Scale, Unit, tick};
use super::svg::{Anchor, Size, Svg, text_width};

/// Names on the left, bars, words on the right; where it is narrow, both above, or the words below.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    pub left: f64,
    pub right: f64,
    width: f64,
    wide: bool,
}

/// The gap between a bar and the words beside it.
const GAP: f64 = 10.0;

impl Rows {
    /// Room for these names and words, as far as there is.
    pub fn new<'a>(svg: &Svg, names: impl Iterator<Item = &'a str>, words: impl Iterator<Item = &'a str>) -> Rows {
        let (width, wide) = (svg.width(), svg.is_wide());
        if !wide {
            return Rows { left: 0.5, right: width - 0.5, width, wide };
        }
        let widest = |texts: &mut dyn Iterator<Item = &'a str>, size, most: f64| {
            texts.map(|text| text_width(text, size)).fold(0.0, f64::max).clamp(40.0, width * most) + GAP + 1.0
        };
        let (mut names, mut words) = (names, words);
        let left = widest(&mut names, Size::Label, 0.42);
        let right = width - widest(&mut words, Size::Note, 0.36);
        Rows { left, right, width, wide }
    }

    /// The name and the words of a row that begins at `y`: where its bar begins, and where the next row does.
    pub fn row(&self, svg: &mut Svg, y: f64, height: f64, name: &str, words: &str) -> (f64, f64) {
        if self.wide {
            let middle = y + height / 2.0;
            svg.text((0.0, middle + 4.5), Anchor::Start, Size::Label, self.left - GAP, name);
            let room = self.width - self.right - GAP;
            svg.text((self.right + GAP, middle + 4.0), Anchor::Start, Size::Note, room, words);
            return (y, y + height + 10.0);
        }
        let top = y + 18.0;
        svg.text((0.0, y + 12.0), Anchor::Start, Size::Label, self.width, name);
        let beside = text_width(name, Size::Label) + GAP + text_width(words, Size::Note) <= self.width;
        if beside || words.is_empty() {
            svg.text((self.width, y + 12.0), Anchor::End, Size::Note, self.width, words);
            return (top, top + height + 10.0);
        }
        svg.text((0.0, top + height + 14.0), Anchor::Start, Size::Note, self.width, words);
        (top, top + height + 28.0)
    }

    /// A heading of rows, in as many lines as it takes: where the first row begins.
    pub fn heading(&self, svg: &mut Svg, y: f64, text: &str) -> f64 {
        let mut y = y;
        for line in super::svg::wrapped(text, Size::Strong, self.width) {
            svg.text((0.0, y + 13.0), Anchor::Start, Size::Strong, self.width, &line);
            y += 18.0;
        }
        y + 4.0
    }
}

/// A horizontal axis whose line is at `y`, with lines up to `top`.
pub fn x_axis(svg: &mut Svg, scale: &Scale, (start, end): (f64, f64), (top, y): (f64, f64), unit: Unit) {
    let width = svg.width();
    let ticks = scale.ticks(76.0, unit);
    for value in &ticks {
        svg.line((scale.place(*value), top), (scale.place(*value), y), "grid");
    }
    svg.line((start, y), (end, y), "axis");
    let mut free = f64::NEG_INFINITY;
    for value in ticks {
        let (x, text) = (scale.place(value), tick(value, unit));
        let half = text_width(&text, Size::Tick) / 2.0;
        // Within the figure, and none over another.
        let x = x.clamp(half.min(width / 2.0), (width - half).max(width / 2.0));
        if x - half > free {
            svg.line((scale.place(value), y), (scale.place(value), y + 4.0), "axis");
            svg.text((x, y + 16.0), Anchor::Middle, Size::Tick, width, &text);
            free = x + half + 6.0;
        }
    }
}
