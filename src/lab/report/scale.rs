//! From numbers to places, and the round numbers to write along an axis. Pure.

use super::units;

/// Values from `from` to `to` on pixels from `start` to `end`.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    log: bool,
}

impl Scale {
    /// From zero.
    pub fn linear(to: f64, start: f64, end: f64) -> Scale {
        Scale { from: 0.0, to: if to > 0.0 { to } else { 1.0 }, start, end, log: false }
    }

    /// Each power of ten as wide as the next. Widened until it has one power at least.
    pub fn log(from: f64, to: f64, start: f64, end: f64) -> Scale {
        let from = from.clamp(1e-9, 1e12);
        let to = to.clamp(from, 1e13);
        let widen = (10.0 / (to / from)).max(1.0).sqrt();
        Scale { from: from / widen, to: to * widen, start, end, log: true }
    }

    pub fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Round values, at most about one to each `room` pixels.
    pub fn ticks(&self, room: f64, unit: Unit) -> Vec<f64> {
        let most = ((self.end - self.start).abs() / room).floor().max(1.0);
        if self.log { self.log_ticks(most) } else { linear_ticks(self.to, most, unit) }
    }

    fn log_ticks(&self, most: f64) -> Vec<f64> {
        let decades = (self.to / self.from).log10();
        let steps: &[f64] = match decades {
            d if d * 3.0 <= most => &[1.0, 2.0, 5.0],
            d if d * 2.0 <= most => &[1.0, 3.0],
            _ => &[1.0],
        };
        let every = if steps.len() == 1 { (decades / most).ceil().max(1.0) as i32 } else { 1 };
        let (first, last) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
        let decades = (first..=last).filter(|exponent| exponent.rem_euclid(every) == 0);
        let ticks = decades.flat_map(|exponent| steps.iter().map(move |step| step * 10f64.powi(exponent)));
        ticks.filter(|tick| *tick >= self.from * 0.999 && *tick <= self.to * 1.001).collect()
    }
}

/// Steps of long times: half a minute to half a day.
const LONG: [f64; 12] = [30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 21_600.0, 43_200.0];

/// 0, and multiples of 1, 2 or 5 times a power of ten up to `to`, or of what minutes and hours are counted in; about `most`.
fn linear_ticks(to: f64, most: f64, unit: Unit) -> Vec<f64> {
    let raw = to / most;
    let power = 10f64.powf(raw.log10().floor());
    let long = LONG.into_iter().filter(|_| unit == Unit::Seconds && to >= 120.0);
    let plain = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power);
    let step = long.chain(plain).find(|step| *step >= raw * 0.999).unwrap_or(raw);
    (0..=((to / step * 1.000_001).floor() as u32).min(100)).map(|n| f64::from(n) * step).collect()
}

/// The next number that an axis may end at.
pub fn nice(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|n| *n >= value * 0.9999)
        .unwrap_or(value)
}

/// A tick's words: no digit more than it needs.
pub fn tick(value: f64, unit: Unit) -> String {
    let text = match unit {
        Unit::Seconds => units::seconds(value),
        Unit::Rate => units::rate(value),
        Unit::Count if value.fract() == 0.0 => units::count(value as u64),
        Unit::Count => format!("{value}"),
    };
    shorten(&text)
}

/// What an axis measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Rate,
    Count,
}

/// `1.00 s` as `1 s`, `2 min 00 s` as `2 min`.
fn shorten(text: &str) -> String {
    let Some((digits, unit)) = text.split_once('\u{a0}') else { return text.to_owned() };
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    let unit = unit.trim_end_matches(" 00\u{a0}s").trim_end_matches(" 00\u{a0}min");
    format!("{digits}\u{a0}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round() {
        let seconds = |scale: Scale, room| -> Vec<String> {
            scale
                .ticks(room, Unit::Seconds)
                .into_iter()
                .map(|t| tick(t, Unit::Seconds).replace('\u{a0}', " "))
                .collect()
        };
        assert_eq!(seconds(Scale::linear(2.0, 0.0, 400.0), 80.0), ["0 s", "500 ms", "1 s", "1.5 s", "2 s"]);
        assert_eq!(seconds(Scale::linear(0.07, 0.0, 300.0), 80.0), ["0 s", "50 ms"]);
        assert_eq!(seconds(Scale::log(1e-3, 1.0, 0.0, 300.0), 80.0), ["1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!(seconds(Scale::log(0.01, 0.05, 0.0, 400.0), 80.0).len(), 3);
        assert_eq!(seconds(Scale::linear(240.0, 0.0, 300.0), 80.0), ["0 s", "2 min", "4 min"]);
    }

    proptest! {
        #[test]
        fn ticks_lie_on_the_axis_and_have_room(to in 1e-6f64..1e9, ratio in 1.0f64..1e9, pixels in 60.0f64..900.0) {
            for scale in [Scale::linear(to, 10.0, 10.0 + pixels), Scale::log(to / ratio, to, 10.0, 10.0 + pixels)] {
                let ticks = scale.ticks(70.0, Unit::Seconds);
                let places: Vec<f64> = ticks.iter().map(|t| scale.place(*t)).collect();
                prop_assert!(places.iter().all(|x| (9.99..=10.01 + pixels).contains(x)), "{places:?}");
                prop_assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 30.0), "{ticks:?} at {places:?}");
            }
        }

        #[test]
        fn an_axis_ends_beyond_its_values(value in 1e-9f64..1e12) {
            let end = nice(value);
            prop_assert!(end >= value * 0.9999 && end <= value * 1.51, "{value}: {end}");
        }
    }
}
