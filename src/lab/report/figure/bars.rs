//! Bars: files by what became of them, and what went wrong by where.

use super::Rows;
use crate::lab::report::svg::{Anchor, Size, Svg, text_width};
use crate::lab::report::units::{count, counted};

/// A group of bars under a heading (empty: none).
#[derive(Debug, Default)]
pub struct Group<B> {
    pub heading: String,
    pub bars: Vec<B>,
}

/// A bar in parts: class of the drawing, and number.
#[derive(Debug)]
pub struct Stack {
    pub name: String,
    pub words: String,
    pub parts: Vec<(&'static str, &'static str, u64)>,
}

const HEIGHT: f64 = 16.0;

/// Each bar is all of its files; its parts are what became of them.
pub fn stacks(svg: &mut Svg, groups: &[Group<Stack>]) {
    let bars = || groups.iter().flat_map(|group| &group.bars);
    let rows = Rows::new(svg, bars().map(|bar| bar.name.as_str()), bars().map(|bar| bar.words.as_str()));
    let mut y = 0.0;
    for group in groups {
        if !group.heading.is_empty() {
            y = rows.heading(svg, y, &group.heading);
        }
        for bar in &group.bars {
            let (top, next) = rows.row(svg, y, HEIGHT, &bar.name, &bar.words);
            let total: u64 = bar.parts.iter().map(|part| part.2).sum();
            let room = rows.right - rows.left;
            let mut x = rows.left;
            for (class, name, n) in bar.parts.iter().filter(|part| part.2 > 0) {
                let width = room * *n as f64 / total as f64;
                let tip = format!("{}: {} {name} of {}", bar.name, count(*n), count(total));
                svg.bar((x, top), (width, HEIGHT), class, (*n as f64, total as f64), &tip);
                x += width;
            }
            y = next;
        }
        y += 8.0;
    }
    legend(svg, y, bars().flat_map(|bar| &bar.parts).filter(|part| part.2 > 0).map(|part| (part.0, part.1)));
}

/// What the parts are, in the order in which they come.
fn legend(svg: &mut Svg, y: f64, parts: impl Iterator<Item = (&'static str, &'static str)>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for part in parts {
        if !seen.contains(&part) {
            seen.push(part);
        }
    }
    let (mut x, mut y) = (0.5, y);
    for (class, name) in seen {
        let width = 12.0 + 7.0 + text_width(name, Size::Note) + 18.0;
        if x > 1.0 && x + width > svg.width() + 18.0 {
            (x, y) = (0.5, y + 20.0);
        }
        svg.bar((x, y), (12.0, 12.0), &format!("{class} key"), (0.0, 0.0), "");
        svg.text((x + 19.0, y + 10.5), Anchor::Start, Size::Note, svg.width(), name);
        x += width;
    }
    svg.extend(y + 14.0);
}

/// What went wrong at one place.
#[derive(Debug)]
pub struct Loss {
    pub name: String,
    pub lost: u64,
    pub overcome: u64,
}

/// Two bars for each place, as far as there is something: what was lost, and what was overcome. All on one scale.
pub fn losses(svg: &mut Svg, groups: &[Group<Loss>]) {
    let bars = || groups.iter().flat_map(|group| &group.bars);
    let most = bars().map(|loss| loss.lost.max(loss.overcome)).max().unwrap_or(1).max(1);
    let lost = |n: u64| format!("{} lost", counted(n, "file"));
    let overcome = |n: u64| format!("{} overcome", counted(n, "drop"));
    let widest = [lost(most), overcome(most)];
    let rows = Rows::new(svg, bars().map(|loss| loss.name.as_str()), widest.iter().map(String::as_str));
    let mut y = 0.0;
    for group in groups {
        if !group.heading.is_empty() {
            y = rows.heading(svg, y, &group.heading);
        }
        for loss in &group.bars {
            let both = [("lost", loss.lost, lost(loss.lost)), ("over", loss.overcome, overcome(loss.overcome))];
            let mut name = loss.name.as_str();
            for (class, n, words) in both.into_iter().filter(|row| row.1 > 0) {
                let (top, next) = rows.row(svg, y, HEIGHT - 2.0, name, &words);
                let width = (rows.right - rows.left - 2.0) * n as f64 / most as f64;
                let tip = format!("{}: {words}", loss.name);
                svg.bar((rows.left + 1.0, top), (width, HEIGHT - 2.0), class, (n as f64, most as f64), &tip);
                y = next - 2.0;
                name = "";
            }
            y += 6.0;
        }
        y += 10.0;
    }
}
