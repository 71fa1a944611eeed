//! How long each thing took: from the quickest to the slowest, with the middle half as a box, over one logarithmic axis.

use super::{Rows, x_axis};
use crate::lab::report::histogram::Histogram;
use crate::lab::report::scale::{Scale, Unit};
use crate::lab::report::svg::Svg;
use crate::lab::report::units::seconds;

const HEIGHT: f64 = 14.0;

/// Rows with a name; empty ones are left out.
pub fn quantiles(svg: &mut Svg, times: &[(String, &Histogram)]) {
    let told: Vec<_> = times.iter().filter(|row| row.1.count() > 0).collect();
    let words = |times: &Histogram| {
        let half = seconds(times.quantile(0.5));
        match times.count() {
            1 => half,
            _ => format!("{half}, 95\u{a0}% {}", seconds(times.quantile(0.95))),
        }
    };
    let all: Vec<String> = told.iter().map(|row| words(row.1)).collect();
    let rows = Rows::new(svg, told.iter().map(|row| row.0.as_str()), all.iter().map(String::as_str));
    let low = told.iter().map(|row| row.1.quantile(0.0)).fold(f64::INFINITY, f64::min).max(1e-6);
    let high = told.iter().map(|row| row.1.max()).fold(1e-6, f64::max);
    let scale = Scale::log(low, high, rows.left + 2.0, rows.right - 2.0);
    let mut y = 2.0;
    let mut places = Vec::new();
    for ((name, times), words) in told.iter().zip(&all) {
        let (top, next) = rows.row(svg, y, HEIGHT, name, words);
        places.push((top, times));
        y = next;
    }
    x_axis(svg, &scale, (rows.left, rows.right), (if svg.is_wide() { 0.0 } else { y }, y), Unit::Seconds);
    for (top, times) in places {
        let at = |share: f64| scale.place(times.quantile(share));
        let middle = top + HEIGHT / 2.0;
        svg.line((at(0.0), middle), (at(1.0), middle), "range");
        for end in [0.0, 1.0] {
            svg.line((at(end), middle - 3.5), (at(end), middle + 3.5), "range");
        }
        let width = (at(0.75) - at(0.25)).max(2.0);
        svg.bar((at(0.25), top), (width, HEIGHT), "same", (0.0, 0.0), "");
        svg.line((at(0.5), top - 1.0), (at(0.5), top + HEIGHT + 1.0), "median");
    }
    svg.extend(y + 20.0);
}
