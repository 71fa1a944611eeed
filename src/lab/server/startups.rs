//! MaxStartups, as sshd does it: connections that have not logged in yet are counted, and new ones dropped by chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::Shared;

/// What sshd 8.2 to 9.7 say before they drop.
pub const REFUSAL: &str = "Exceeded MaxStartups\r\n";

/// `MaxStartups start:rate:full` of sshd_config(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxStartups {
    pub start: u32,
    /// Chance in percent at `start`, rising to 100 at `full`.
    pub rate: u32,
    pub full: u32,
}

impl std::str::FromStr for MaxStartups {
    type Err = String;

    /// As in sshd_config: `10:30:100`, or one number for start and full.
    fn from_str(text: &str) -> Result<MaxStartups, String> {
        let numbers: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[full]) if full > 0 => Ok(MaxStartups { start: full, rate: 100, full }),
            Some(&[start, rate, full]) if (1..=full).contains(&start) && (1..=100).contains(&rate) => {
                Ok(MaxStartups { start, rate, full })
            }
            _ => {
                Err("write START:RATE:FULL, as sshd_config does (10:30:100; START not above FULL), or one number"
                    .into())
            }
        }
    }
}

impl MaxStartups {
    /// sshd's `should_drop_connection`: with `pending` unauthenticated connections, does one whose luck is `draw`
    /// (0 to 99) go?
    fn drops(self, pending: u32, draw: u32) -> bool {
        if pending < self.start {
            return false;
        }
        if pending >= self.full || self.rate >= 100 {
            return true;
        }
        let chance = self.rate + (100 - self.rate) * (pending - self.start) / (self.full - self.start);
        draw < chance
    }
}

/// The connections that have not logged in yet.
pub struct Pending {
    limit: Option<MaxStartups>,
    count: AtomicU32,
    /// State of the dice: the same order of arrivals has the same fate in every run.
    dice: AtomicU64,
}

impl Pending {
    pub fn new(limit: Option<MaxStartups>) -> Pending {
        Pending { limit, count: AtomicU32::new(0), dice: AtomicU64::new(0x9E37_79B9_7F4A_7C15) }
    }

    /// A connection came: `None` if it is to be dropped, else its place, held until it has logged in or gone.
    pub(super) fn begin(shared: &Arc<Shared>) -> Option<Start> {
        let pending = &shared.startups;
        let before = pending.count.fetch_add(1, Relaxed);
        let start = Start(shared.clone());
        // Dropping `start` gives the place back.
        if pending.limit.is_some_and(|limit| limit.drops(before, pending.draw())) { None } else { Some(start) }
    }

    /// 0 to 99, by Knuth's MMIX generator.
    fn draw(&self) -> u32 {
        let next = |state: u64| state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let old = self.dice.fetch_update(Relaxed, Relaxed, |state| Some(next(state))).unwrap_or_default();
        ((next(old) >> 33) % 100) as u32
    }
}

/// One place among the pending.
pub struct Start(Arc<Shared>);

impl Drop for Start {
    fn drop(&mut self) {
        self.0.startups.count.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_rises_from_rate_at_start_to_certainty_at_full() {
        let default = MaxStartups { start: 10, rate: 30, full: 100 };
        assert!(!default.drops(9, 0));
        assert!(default.drops(10, 29) && !default.drops(10, 30));
        assert!(default.drops(50, 60) && !default.drops(50, 61));
        assert!(default.drops(100, 99));
    }

    #[test]
    fn it_is_written_as_in_sshd_config() {
        assert_eq!("10:30:100".parse(), Ok(MaxStartups { start: 10, rate: 30, full: 100 }));
        assert_eq!("5".parse(), Ok(MaxStartups { start: 5, rate: 100, full: 5 }));
        for wrong in ["", "0", "10:30", "10:0:100", "10:101:100", "20:30:10", "a:b:c"] {
            assert!(wrong.parse::<MaxStartups>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_of_100_drops_everyone_beyond_start() {
        let strict = MaxStartups { start: 1, rate: 100, full: 1 };
        assert!(!strict.drops(0, 0));
        assert!(strict.drops(1, 99));
    }
}
