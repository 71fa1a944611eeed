//! `--stop-at`: a point in time as rsync(1) lets it be written, `y-m-dTh:m`, from which parts may be left out. What is left
//! out at the front is the next that fits; without a time of day it is midnight.

use std::time::{SystemTime, UNIX_EPOCH};

/// Days in which every date comes round: a 29 February may be eight years away.
const ROUND: i32 = 8 * 366;

/// Seconds since the epoch.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The point in time that `text` means, in seconds since the epoch; `None` if it means none. It may be past where the text
/// has a year.
pub fn parse(text: &str, now: i64) -> Option<i64> {
    let (date, time) = match text.find(['T', 't']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None if text.contains(':') => ("", text),
        None => (text, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let numbers = |text: &str, signs: &[char]| -> Option<Vec<i32>> {
        text.split(signs)
            .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?)
            .collect()
    };
    let (year, month, day) = match numbers(date, &['-', '/']).unwrap_or_default()[..] {
        [year, month, day] => (Some(year), Some(month), Some(day)),
        [month, day] => (None, Some(month), Some(day)),
        [day] => (None, None, Some(day)),
        _ if date.is_empty() => (None, None, None),
        _ => return None,
    };
    let (hour, minute) = match time.split_once(':') {
        None if time.is_empty() => (Some(0), 0),
        // A minute alone is one of the next hour, whatever the day.
        Some(("", minute)) if date.is_empty() && !text.starts_with(['T', 't']) => (None, numbers(minute, &[])?[0]),
        Some((hour, minute)) => (Some(numbers(hour, &[])?[0]), numbers(minute, &[])?[0]),
        None => return None,
    };
    let is =
        |value: Option<i32>, range: std::ops::RangeInclusive<i32>| value.is_none_or(|value| range.contains(&value));
    if !(is(month, 1..=12) && is(day, 1..=31) && is(hour, 0..=23) && is(Some(minute), 0..=59)) {
        return None;
    }
    let today = local(now)?;
    if hour.is_none() {
        return (0..=1)
            .filter_map(|more| at(&today, 0, today.tm_hour + more, minute))
            .find(|(at, _)| *at > now)
            .map(|it| it.0);
    }
    let hour = hour.unwrap_or(0);
    // Two digits are a year of this century, or of the next if that is past.
    let year = year.map(|year| match year {
        0..100 => (0..).map(|centuries| year + 100 * centuries).find(|year| *year >= today.tm_year).unwrap_or(year),
        year => year - 1900,
    });
    if let (Some(year), Some(month), Some(day)) = (year, month, day) {
        let on = libc::tm { tm_year: year, tm_mon: month - 1, tm_mday: day, ..today };
        return at(&on, 0, hour, minute).filter(|(_, there)| there.tm_mday == day).map(|(at, _)| at);
    }
    let fits = |found: &libc::tm| {
        month.is_none_or(|month| found.tm_mon == month - 1) && day.is_none_or(|day| found.tm_mday == day)
    };
    (0..ROUND)
        .filter_map(|days| at(&today, days, hour, minute))
        .find(|(at, found)| *at > now && fits(found))
        .map(|(at, _)| at)
}

fn local(seconds: i64) -> Option<libc::tm> {
    // SAFETY: `tm` is plain data for which all zeroes is a valid value, and `localtime_r` writes only to the one given.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        (!libc::localtime_r(&seconds, &mut tm).is_null()).then_some(tm)
    }
}

/// So many days after a day, at this time; and what day that is.
fn at(day: &libc::tm, days: i32, hour: i32, minute: i32) -> Option<(i64, libc::tm)> {
    let mut tm =
        libc::tm { tm_mday: day.tm_mday + days, tm_hour: hour, tm_min: minute, tm_sec: 0, tm_isdst: -1, ..*day };
    // SAFETY: `mktime` reads and normalises only the structure given.
    let seconds = unsafe { libc::mktime(&mut tm) };
    (seconds != -1).then_some((seconds, tm))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-07-15, about noon in whatever zone this is.
    fn noon() -> i64 {
        parse("2026-7-15T12:00", 0).expect("is a time")
    }

    #[test]
    fn what_is_left_out_is_the_next_that_fits() {
        let now = noon();
        for (text, whole) in [
            ("12:01", "2026-07-15T12:01"),
            ("12:00", "2026-07-16T12:00"),
            (":30", "2026-07-15T12:30"),
            (":00", "2026-07-15T13:00"),
            ("T11:59", "2026-07-16T11:59"),
            ("16", "2026-07-16T0:0"),
            ("15", "2026-08-15T0:0"),
            ("31", "2026-07-31"),
            ("1-30", "2027-01-30T00:00"),
            ("7/15T12:30", "2026/07/15T12:30"),
            ("2-29", "2028-02-29"),
            ("26-12-31T23:59", "2026-12-31T23:59"),
            ("12-31T", "2026-12-31"),
        ] {
            assert_eq!(parse(text, now), parse(whole, now), "{text}");
            assert!(parse(text, now) > Some(now), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "x",
            "T",
            ":",
            "1:",
            "99:99",
            "24:00",
            "2026-13-01",
            "2026-02-30",
            "1-2-3-4",
            "0-0",
            "1T5",
            "1T:5",
            "-1",
            "1:2:3",
        ] {
            assert_eq!(parse(text, noon()), None, "{text}");
        }
        assert!(parse("2001-01-01", noon()) < Some(noon()));
    }
}
