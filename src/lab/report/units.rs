//! Numbers as people read them, always with their unit. Between the two stands a space at which no line breaks.

use crate::output::number;

/// `1,234,567`.
pub fn count(n: u64) -> String {
    number::count(n, 1)
}

/// `1 file`, `2,000 files`.
pub fn counted(n: u64, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{}\u{a0}{what}{s}", count(n))
}

/// Three digits that tell something: `1.62`, `16.2`, `162`.
fn three(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => count(v.round() as u64),
    }
}

/// `840 µs`, `12.3 ms`, `1.62 s`, `2 min 05 s`, `1 h 02 min`.
pub fn seconds(s: f64) -> String {
    match s {
        s if s <= 0.0 => "0\u{a0}s".to_owned(),
        s if s < 0.000_999_5 => format!("{}\u{a0}µs", three(s * 1e6)),
        s if s < 0.999_5 => format!("{}\u{a0}ms", three(s * 1e3)),
        s if s < 119.5 => format!("{}\u{a0}s", three(s)),
        s if s < 5_970.0 => format!("{:.0}\u{a0}min {:02.0}\u{a0}s", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{}\u{a0}h {:02.0}\u{a0}min", count((s / 3600.0) as u64), (s % 3600.0 / 60.0).floor()),
    }
}

const DECIMAL: [(f64, &str); 5] = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")];
const BINARY: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// `1.05 MB`: powers of 1000.
pub fn bytes(n: f64) -> String {
    let (unit, name) = DECIMAL.into_iter().find(|(unit, _)| n >= *unit).unwrap_or((1.0, "B"));
    let value = n / unit;
    if unit == 1.0 || value.fract() == 0.0 {
        return format!("{}\u{a0}{name}", count(value as u64));
    }
    format!("{}\u{a0}{name}", three(value))
}

/// A size that somebody chose: `1 MiB` where it is a whole number of those, else as [`bytes()`].
pub fn size(n: u64) -> String {
    match BINARY.into_iter().find(|(unit, _)| n >= *unit && n.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}\u{a0}{name}", count(n / unit)),
        None => bytes(n as f64),
    }
}

/// `105 MB/s`.
pub fn rate(bytes_per_second: f64) -> String {
    bytes(bytes_per_second) + "/s"
}

/// `94.8 %`: 0 and 100 only where it is none and all.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let value = 100.0 * part as f64 / whole as f64;
    let text = match part {
        0 => "0".to_owned(),
        _ if part == whole => "100".to_owned(),
        _ => format!("{:.1}", value.clamp(0.1, 99.9)),
    };
    format!("{text}\u{a0}%")
}

/// `3.1 ×`.
pub fn times(ratio: f64) -> String {
    format!("{}\u{a0}×", if ratio < 0.095 { format!("{ratio:.3}") } else { three(ratio) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: String) -> String {
        text.replace('\u{a0}', " ")
    }

    #[test]
    fn times_have_three_digits_and_the_unit_that_fits() {
        let told = [0.0, 4.2e-5, 0.001, 0.012_34, 0.999_6, 1.618, 59.94, 119.4, 125.9, 3_599.9, 5_969.0, 7_380.0]
            .map(|s| plain(seconds(s)));
        let expected = [
            "0 s",
            "42.0 µs",
            "1.00 ms",
            "12.3 ms",
            "1.00 s",
            "1.62 s",
            "59.9 s",
            "119 s",
            "2 min 05 s",
            "59 min 59 s",
            "99 min 29 s",
            "2 h 03 min",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn sizes_that_somebody_chose_are_round() {
        let told = [0, 6, 1000, 4096, 1_000_000, 1 << 20, 900 << 20, 1_234_567].map(|n| plain(size(n)));
        assert_eq!(told, ["0 B", "6 B", "1 kB", "4 KiB", "1 MB", "1 MiB", "900 MiB", "1.23 MB"]);
    }

    #[test]
    fn a_share_is_none_or_all_only_where_it_is() {
        let told = [(0, 5), (1, 1_000_000), (999_999, 1_000_000), (5, 5), (1, 3), (0, 0)];
        let told = told.map(|(part, whole)| plain(percent(part, whole)));
        assert_eq!(told, ["0 %", "0.1 %", "99.9 %", "100 %", "33.3 %", "–"]);
    }
}
