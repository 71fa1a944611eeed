//! Which large files are made of parts that the destination has: where that is cheaper than to send them, and what of a file is
//! then copied there, what sent. Only parts at the same place are compared, as a database or a log that grew has them.

use std::time::Duration;

use crate::verify::parts::{ASKED, PART};

/// Bytes below which a file is sent whole unless it is asked for: sent over two windows of 2 MiB in a round trip, it is there
/// before the hashes of the old one have come and the parts been copied.
const LEAST: u64 = 8 << 20;

/// A far end that answers sooner is near: what may be gained there depends on its disk, which has to read the old file twice.
/// Measured at 0 ms, on two cores for both ends and the old file in memory: 500 MB with 1 % changed took 1.1 s instead of 2.2, and
/// with nothing in common 2.2 instead of 2.0 s. (At 50 ms 2.75 instead of 8.5, and 8.8 instead of 8.6.)
const NEAR: Duration = Duration::from_millis(2);

/// Bytes a second (`--bwlimit`) below which sending is slower than any disk reads, however near the far end is.
const SLOW: u64 = 50_000_000;

/// sshd's window, which one way through a jump carries in a round trip (channels.h: 64 × 32 KiB).
const WINDOW: u64 = 2 << 20;

/// The shortest time that the first of all hashes, or the next ones, are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same where parts were asked for (`--no-whole-file`).
const ASKED_PATIENCE: Duration = Duration::from_secs(60);

/// So many questions in a row (256 MiB) without one part that is the same are the last.
const FRUITLESS: u32 = 4;

/// Bytes copied by one request: the server does nothing else on that channel meanwhile, and progress is told between them.
pub const LONGEST: u64 = 16 * PART;

/// What decides. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// `-W` or `--no-whole-file`, if one was given.
    pub whole: Option<bool>,
    /// The file is going to be hashed at the far end: nothing else makes parts safe.
    pub proven: bool,
    pub old: u64,
    pub new: u64,
    /// To the first hop, where it is known.
    pub round_trip: Option<Duration>,
    /// `--bwlimit`, bytes a second.
    pub rate: Option<u64>,
}

impl Case {
    /// Whether the far end is to be asked for the hashes of the old file's parts.
    pub fn pays(&self) -> bool {
        if !self.proven || self.old == 0 {
            return false;
        }
        match self.whole {
            Some(whole) => !whole,
            None => {
                let far = self.round_trip.is_some_and(|round_trip| round_trip >= NEAR);
                let slow = self.rate.is_some_and(|rate| rate < SLOW);
                self.old.min(self.new) >= LEAST && (far || slow)
            }
        }
    }

    /// How long the answer to one question may take: as long as it would take to send what is asked about, a window in a round
    /// trip. A hasher that is busy with other files must not hold this one up for longer.
    pub fn patience(&self) -> Duration {
        let sending = self.round_trip.unwrap_or_default() * (ASKED * PART / WINDOW) as u32;
        sending.max(if self.whole.is_some() { ASKED_PATIENCE } else { PATIENCE })
    }

    /// Whether to go on asking, `fruitless` questions in a row having found nothing that is the same.
    pub fn goes_on(&self, fruitless: u32) -> bool {
        self.whole.is_some() || fruitless < FRUITLESS
    }
}

/// Bytes of a file that are copied at one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub at: u64,
    pub len: u64,
}

/// Gathers parts that are the same, as they are found in their order, into runs.
#[derive(Debug, Default)]
pub struct Runs {
    open: Option<Run>,
}

impl Runs {
    /// The next part is the same. Returns a run that has become long enough.
    pub fn same(&mut self, at: u64, len: u64) -> Option<Run> {
        match &mut self.open {
            Some(run) if run.at + run.len == at && run.len + len <= LONGEST => {
                run.len += len;
                None
            }
            open => open.replace(Run { at, len }),
        }
    }

    /// What was gathered, because something else comes next, or nothing.
    pub fn end(&mut self) -> Option<Run> {
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAR: Option<Duration> = Some(Duration::from_millis(40));

    fn case() -> Case {
        Case { whole: None, proven: true, old: 1 << 30, new: 1 << 30, round_trip: FAR, rate: None }
    }

    #[test]
    fn parts_are_asked_for_where_sending_is_what_takes_long() {
        assert!(case().pays());
        let near = Some(Duration::from_micros(300));
        assert!(!Case { round_trip: near, ..case() }.pays());
        assert!(!Case { round_trip: None, ..case() }.pays());
        assert!(Case { round_trip: near, rate: Some(1_000_000), ..case() }.pays());
        assert!(!Case { round_trip: near, rate: Some(1_000_000_000), ..case() }.pays());
        assert!(!Case { old: LEAST - 1, ..case() }.pays());
        assert!(!Case { new: LEAST - 1, ..case() }.pays());
        assert!(!Case { whole: Some(true), ..case() }.pays());
    }

    #[test]
    fn who_asks_for_parts_gets_them_but_never_unproven() {
        let asked = Case { whole: Some(false), round_trip: None, old: 1, new: 1, ..case() };
        assert!(asked.pays());
        assert!(!Case { proven: false, ..asked }.pays());
        assert!(!Case { proven: false, ..case() }.pays());
        assert!(!Case { old: 0, ..asked }.pays());
        assert!(asked.goes_on(1000) && case().goes_on(3) && !case().goes_on(4));
    }

    #[test]
    fn hashes_are_waited_for_as_long_as_sending_would_take() {
        // 65,280 KiB, 2,048 in each 40 ms.
        assert_eq!(case().patience(), Duration::from_millis(31 * 40));
        assert_eq!(Case { round_trip: None, ..case() }.patience(), PATIENCE);
        assert_eq!(Case { whole: Some(false), ..case() }.patience(), ASKED_PATIENCE);
    }

    proptest! {
        /// What is copied and what is sent cover the file, each byte once and each part as it was found; and no two copies
        /// could have been one.
        #[test]
        fn copies_and_writes_tile_the_file(same in prop::collection::vec(any::<bool>(), 0..80), last in 1..=PART) {
            let size = (same.len() as u64).saturating_sub(1) * PART + if same.is_empty() { 0 } else { last };
            let mut runs = Runs::default();
            let (mut copies, mut writes) = (Vec::new(), Vec::new());
            for (n, same) in same.iter().enumerate() {
                let at = n as u64 * PART;
                let len = PART.min(size - at);
                if *same {
                    copies.extend(runs.same(at, len));
                } else {
                    copies.extend(runs.end());
                    writes.push(Run { at, len });
                }
            }
            copies.extend(runs.end());
            prop_assert_eq!(runs.end(), None);
            let is_same = |run: &Run| (run.at..run.at + run.len).step_by(PART as usize).map(|at| same[(at / PART) as usize]);
            for run in &copies {
                prop_assert!(run.len > 0 && run.len <= LONGEST && is_same(run).all(|same| same));
            }
            prop_assert!(writes.iter().all(|run| is_same(run).all(|same| !same)));
            for pair in copies.windows(2) {
                let joined = pair[0].at + pair[0].len == pair[1].at;
                prop_assert!(!joined || pair[0].len + PART.min(pair[1].len) > LONGEST);
            }
            let mut all = [copies, writes].concat();
            all.sort_by_key(|run| run.at);
            let mut end = 0;
            for run in all {
                prop_assert_eq!(run.at, end);
                end += run.len;
            }
            prop_assert_eq!(end, size);
        }
    }
}
