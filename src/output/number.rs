//! Numbers as rsync prints them, by `-h` level: 0 plain digits, 1 digit separators, 2 powers of 1000, 3 powers of 1024.

/// A count: with separators unless the level is 0, never with a unit.
pub fn count(number: u64, level: u8) -> String {
    human(number, level.min(1))
}

/// A size in bytes: from level 2 with two decimals and a unit.
pub fn human(number: u64, level: u8) -> String {
    if level > 1 {
        let base = if level == 2 { 1000.0 } else { 1024.0 };
        // A double is what rsync computes with as well; two decimals are shown.
        let mut value = number as f64;
        if value >= base {
            let mut unit = 'K';
            value /= base;
            for next in ['M', 'G', 'T', 'P'] {
                if value < base {
                    break;
                }
                value /= base;
                unit = next;
            }
            return format!("{value:.2}{unit}");
        }
        return number.to_string();
    }
    if level == 0 { number.to_string() } else { separated(&number.to_string()) }
}

/// A rate or a ratio with `decimals`; with units from level 2.
pub fn human_float(number: f64, level: u8, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    if level == 0 || number < 1000.0 {
        return text;
    }
    if level > 1 {
        return human(number as u64, level);
    }
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", separated(whole)),
        None => separated(&text),
    }
}

/// As [`human_float`], never with a unit.
pub fn count_float(number: f64, level: u8, decimals: usize) -> String {
    human_float(number, level.min(1), decimals)
}

fn separated(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_rsyncs() {
        let all = |n| [0, 1, 2, 3].map(|level| human(n, level));
        assert_eq!(all(3010), ["3010", "3,010", "3.01K", "2.94K"]);
        assert_eq!(all(999), ["999", "999", "999", "999"]);
        assert_eq!(all(1_234_567), ["1234567", "1,234,567", "1.23M", "1.18M"]);
        assert_eq!(human(1_000_000_000_000_000, 2), "1.00P");
        assert_eq!(human(u64::MAX, 2), "18446.74P");
        assert_eq!(count(12_345, 3), "12,345");
    }

    #[test]
    fn rates_and_ratios_have_decimals() {
        assert_eq!(human_float(6890.0, 1, 2), "6,890.00");
        assert_eq!(human_float(6890.0, 0, 2), "6890.00");
        assert_eq!(human_float(6900.0, 2, 2), "6.90K");
        assert_eq!(human_float(0.87, 2, 2), "0.87");
        assert_eq!(human_float(1e15, 1, 2), "1,000,000,000,000,000.00");
        assert_eq!(count_float(4321.0, 3, 3), "4,321.000");
    }
}
