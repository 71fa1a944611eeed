//! Sizes, rates and counts in option values.

/// `--max-size`, `--min-size`, `--bwlimit`: digits with an optional fraction, a unit, and `+1` or `-1` (rsync(1), `--max-size`).
/// A unit is one letter or `KiB` (powers of 1024), or `KB` (powers of 1000); `default` is the letter meant where there is none.
/// `None` for anything else, and for what exceeds 63 bits (rsync's sizes are signed).
pub fn size(text: &str, default: u8) -> Option<u64> {
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, rest) = text.split_at(number);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (unit, offset) = match rest.strip_suffix("+1").map(|unit| (unit, 1)) {
        Some(found) => found,
        None => rest.strip_suffix("-1").map_or((rest, 0), |unit| (unit, -1)),
    };
    let (letter, tail) = match unit.as_bytes() {
        [] => (default, &unit[..0]),
        [letter, ..] if letter.is_ascii() => (*letter, &unit[1..]),
        _ => return None,
    };
    let base: u64 = match tail.to_ascii_lowercase().as_str() {
        "" | "ib" => 1024,
        "b" => 1000,
        _ => return None,
    };
    let power = match letter.to_ascii_lowercase() {
        b'b' => 0,
        b'k' => 1,
        b'm' => 2,
        b'g' => 3,
        b't' => 4,
        b'p' => 5,
        _ => return None,
    };
    let scale = base.pow(power);
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // The fraction is less than one unit, so a double is exact enough for what it stands for.
    let part = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse::<f64>().ok()? * scale as f64 };
    let total = whole.checked_mul(scale)?.checked_add(part as u64)?.checked_add_signed(offset)?;
    i64::try_from(total).is_ok().then_some(total)
}

/// A plain decimal count.
pub fn count(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024_unless_they_end_in_b() {
        for (text, bytes) in [
            ("10", 10),
            ("0", 0),
            ("1k", 1024),
            ("1K+1", 1025),
            ("1.5mb-1", 1_499_999),
            ("2g+1", 2_147_483_649),
            ("1KiB", 1024),
            ("1kb", 1000),
            ("3b", 3),
            (".5k", 512),
            ("1t", 1 << 40),
            ("8191p", 8191 << 50),
        ] {
            assert_eq!(size(text, b'b'), Some(bytes), "{text}");
        }
        assert_eq!(size("7", b'K'), Some(7 * 1024));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "x",
            "-1",
            "1x",
            "1kk",
            "1.2.3",
            "1kbb",
            "9999p",
            "99999999999999999999",
            "0-1",
            "1 k",
            "+1",
            "é",
            "1é",
        ] {
            assert_eq!(size(text, b'b'), None, "{text}");
        }
        assert_eq!(count("12"), Some(12));
        for text in ["", "-1", "+1", "3x", "99999999999999999999"] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
