//! How many took how long: bars over a logarithmic axis of time.

use super::x_axis;
use crate::lab::report::histogram::Histogram;
use crate::lab::report::scale::{Scale, Unit, nice, tick};
use crate::lab::report::svg::{Anchor, Size, Svg, text_width};
use crate::lab::report::units;

const HEIGHT: f64 = 150.0;
const TOP: f64 = 40.0;

/// `what` is counted, such as `files`.
pub fn histogram(svg: &mut Svg, times: &Histogram, what: &str) {
    let narrowest = if svg.is_wide() { 9.0 } else { 6.0 };
    let Some((bars, scale, left)) = fit(svg, times, narrowest) else { return };
    let right = svg.width() - 1.0;
    let bottom = TOP + HEIGHT;
    let most = nice(bars.iter().map(|bar| bar.2).max().unwrap_or(1) as f64);
    let up = Scale::linear(most, bottom, TOP);
    for value in up.ticks(38.0, Unit::Count).into_iter().filter(|value| value.fract() == 0.0) {
        svg.line((left, up.place(value)), (right, up.place(value)), "grid");
        svg.text((left - 8.0, up.place(value) + 4.0), Anchor::End, Size::Tick, left, &tick(value, Unit::Count));
    }
    x_axis(svg, &scale, (left, right), (bottom, bottom), Unit::Seconds);
    for (from, to, n) in bars.iter().filter(|bar| bar.2 > 0) {
        let (start, end) = (scale.place(*from) + 0.5, scale.place(*to) - 0.5);
        let top = up.place(*n as f64);
        let tip = format!("{} {what} from {} to {}", units::count(*n), units::seconds(*from), units::seconds(*to));
        svg.bar((start, top), ((end - start).max(1.0), bottom - top), "ok tall", (*n as f64, most), &tip);
    }
    // The upper words may go to either side of their stroke; the lower ones keep to the left of theirs, if they can.
    for (y, name, share) in [(12.0, "95\u{a0}% within", 0.95), (29.0, "half within", 0.5)] {
        let value = times.quantile(share);
        let x = scale.place(value);
        let words = format!("{name} {}", units::seconds(value));
        let room = 5.0 + text_width(&words, Size::Note);
        let fits = if share > 0.9 { x + room <= svg.width() } else { x - room < 0.0 };
        let (anchor, room) = if fits { (Anchor::Start, svg.width()) } else { (Anchor::End, x - 5.0) };
        svg.line((x, y - 10.0), (x, bottom), "median");
        svg.text((if fits { x + 5.0 } else { x - 5.0 }, y), anchor, Size::Note, room, &words);
    }
    svg.extend(bottom + 20.0);
}

type Fit = (Vec<(f64, f64, u64)>, Scale, f64);

/// As many bars as there is room for, and the axis that they stand on.
fn fit(svg: &Svg, times: &Histogram, narrowest: f64) -> Option<Fit> {
    let digits = times.bars(1).iter().map(|bar| bar.2).max()?;
    let left = text_width(&units::count(nice(digits as f64) as u64), Size::Tick) + 10.0;
    let room = svg.width() - left;
    let each = [20, 10, 8, 5, 4, 2, 1];
    let bars = each.into_iter().map(|each| times.bars(each)).find(|bars| bars.len() as f64 * narrowest <= room)?;
    let (from, to) = (bars.first()?.0, bars.last()?.1);
    Some((bars, Scale::log(from, to, left, svg.width() - 1.0), left))
}
