//! The ledger's time: one monotonic start, one wall-clock date, and a hand-wound substitute for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells how long the run has lasted, and when it began.
#[derive(Debug, Clone)]
pub struct Clock {
    wall: SystemTime,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Real(Instant),
    /// Microseconds since the start.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Starts now. Elapsed time is monotonic; only the starting date follows the system's clock.
    pub fn real() -> Clock {
        Clock { wall: SystemTime::now(), source: Source::Real(Instant::now()) }
    }

    /// Stands still at `wall` until its [`Hand`] is moved.
    pub fn manual(wall: SystemTime) -> (Clock, Hand) {
        let micros = Arc::new(AtomicU64::new(0));
        (Clock { wall, source: Source::Manual(micros.clone()) }, Hand(micros))
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        match &self.source {
            Source::Real(start) => start.elapsed(),
            Source::Manual(micros) => Duration::from_micros(micros.load(Ordering::Relaxed)),
        }
    }

    /// The start in seconds since 1970.
    pub fn started_at(&self) -> f64 {
        self.wall.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }

    /// The start as RFC 3339 in UTC, whole seconds.
    pub fn started(&self) -> String {
        rfc3339(self.wall)
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::real()
    }
}

/// Moves a manual [`Clock`].
#[derive(Debug, Clone)]
pub struct Hand(Arc<AtomicU64>);

impl Hand {
    /// Moves the clock forward; a precision of microseconds.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// RFC 3339 (§5.6) in UTC, whole seconds: `2026-02-28T23:59:59Z`. A time before 1970 is told as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest % 3600 / 60, rest % 60)
}

/// Days since 1970-01-01 to year, month, day in the Gregorian calendar, counting from 0000-03-01 in eras of 400 years
/// (146,097 days) so that the leap day is the last of its year (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_told_in_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual(UNIX_EPOCH);
        assert_eq!(clock.elapsed(), Duration::ZERO);
        hand.advance(Duration::from_micros(1_500_001));
        assert_eq!(clock.elapsed(), Duration::from_micros(1_500_001));
    }
}
