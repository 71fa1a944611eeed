//! The lines of `--progress` and `--info=progress2`.

use std::time::Duration;

use super::number::human;

/// Where the run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Files whose data was sent, this one included.
    pub transferred: u64,
    /// Entries still to be looked at, and all that are known.
    pub left: u64,
    pub total: u64,
    /// The listing is still going on: `ir-chk` instead of `to-chk`.
    pub scanning: bool,
}

/// `\r%15s %3d%% %7.2f%s %s` without an end: `done` of `size` bytes; bytes per second; what remains, or what it took if done.
pub fn line(done: u64, size: u64, per_second: f64, time: Option<Duration>, level: u8) -> String {
    let percent = if done == size { 100 } else { (100.0 * done as f64 / size.max(1) as f64) as u64 };
    let kib = per_second / 1024.0;
    let (rate, unit) = match kib {
        _ if kib > 1024.0 * 1024.0 => (kib / (1024.0 * 1024.0), "GB/s"),
        _ if kib > 1024.0 => (kib / 1024.0, "MB/s"),
        _ => (kib, "kB/s"),
    };
    let time = match time.map(|time| time.as_secs()) {
        Some(seconds) if seconds <= 9999 * 3600 => {
            format!("{:4}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        }
        _ => "  ??:??:??".to_owned(),
    };
    format!("\r{:>15} {percent:3}% {rate:7.2}{unit} {time}", human(done, level))
}

/// ` (xfr#1, to-chk=5/7)`, which ends the last line of a file.
pub fn tally(tally: &Tally) -> String {
    let check = if tally.scanning { "ir" } else { "to" };
    format!(" (xfr#{}, {check}-chk={}/{})", tally.transferred, tally.left, tally.total)
}

/// Bytes per second over `elapsed`, which counts as a millisecond at least (as in rsync).
pub fn rate(bytes: u64, elapsed: Duration) -> f64 {
    bytes as f64 / elapsed.as_secs_f64().max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_rsyncs() {
        let zero = Some(Duration::ZERO);
        assert_eq!(line(6, 6, 0.0, zero, 1), "\r              6 100%    0.00kB/s    0:00:00");
        let whole = line(3002, 3002, rate(3002, Duration::ZERO), zero, 1);
        assert_eq!(whole, "\r          3,002 100%    2.86MB/s    0:00:00");
        assert_eq!(
            line(3008, 3010, 3e9, Some(Duration::from_secs(3723)), 1),
            "\r          3,008  99%    2.79GB/s    1:02:03"
        );
        assert_eq!(line(1, 100, 0.0, None, 1), "\r              1   1%    0.00kB/s   ??:??:??");
        assert_eq!(line(5, 0, 0.0, Some(Duration::MAX), 0), "\r              5 500%    0.00kB/s   ??:??:??");
    }

    #[test]
    fn the_tally_says_whether_the_listing_goes_on() {
        let now = Tally { transferred: 1, left: 5, total: 7, scanning: false };
        assert_eq!(tally(&now), " (xfr#1, to-chk=5/7)");
        assert_eq!(tally(&Tally { scanning: true, ..now }), " (xfr#1, ir-chk=5/7)");
    }
}
