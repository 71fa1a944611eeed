//! Which files are made of what the destination has of them already: where that is cheaper than to send all of it; and what of such a
//! file is then taken from the old one, what sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::verify::blocks::SPAN;

/// Bytes below which a file is sent whole unless it is asked for: the blocks of smaller ones would be too large a part of them.
const LEAST: u64 = 128 << 10;

/// A file that one request carries is there sooner than sums of it could be (at 50 ms 200 KiB took 1.26 and 1.41 s, login included, 500 KiB
/// 1.44 and 1.38): that counts where there are few of them, and near by.
const ONE_REQUEST: u64 = 255 << 10;
const FEW: u64 = 16 << 20;

/// A far end that answers sooner is near.
const NEAR: Duration = Duration::from_millis(2);

/// Bytes a second (`--bwlimit`) below which sending is slower than any disk reads, however near the far end is.
const SLOW: u64 = 50_000_000;

/// sshd's window, which one way through a jump carries in a round trip (channels.h: 64 × 32 KiB).
const WINDOW: u64 = 2 << 20;

/// The shortest time that the first of all sums, or the next ones, are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same where parts were asked for (`--no-whole-file`).
const ASKED_PATIENCE: Duration = Duration::from_secs(60);

/// So many bytes in a row in which nothing is found are the last that are searched. Near by, what is looked at in vain takes as long as
/// half of it takes to be sent (measured on two cores for both ends).
const FRUITLESS: u64 = 256 << 20;
const FRUITLESS_NEAR: u64 = 64 << 20;

/// Of so many bytes that were searched, all files together, a sixteenth must have been found: else files are sent whole from then on.
const LUCK: u64 = 16;

/// Bytes copied by one request: the server does nothing else on that channel meanwhile, and progress is told between them.
pub const LONGEST: u64 = SPAN / 4;

/// What decides. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// `-W` or `--no-whole-file`, if one was given.
    pub whole: Option<bool>,
    /// The file is going to be hashed at the far end: nothing else makes this safe.
    pub proven: bool,
    pub old: u64,
    pub new: u64,
    /// Bytes of files over old ones that this run was found to have until now.
    pub company: u64,
    /// To the first hop, where it is known.
    pub round_trip: Option<Duration>,
    /// `--bwlimit`, bytes a second.
    pub rate: Option<u64>,
}

impl Case {
    /// Whether the far end is to be asked for the sums of its file's blocks.
    pub fn pays(&self) -> bool {
        if !self.proven || self.old == 0 {
            return false;
        }
        match self.whole {
            Some(whole) => !whole,
            None => {
                let many = self.is_slow() && self.company >= FEW;
                self.old.min(self.new) >= LEAST && (many || self.new > ONE_REQUEST)
            }
        }
    }

    /// Whether sending takes long.
    fn is_slow(&self) -> bool {
        let far = self.round_trip.is_some_and(|round_trip| round_trip >= NEAR);
        far || self.rate.is_some_and(|rate| rate < SLOW)
    }

    /// Bytes that may be searched in vain.
    fn worth(&self) -> u64 {
        match (self.whole, self.is_slow()) {
            (Some(_), _) => u64::MAX,
            (None, true) => FRUITLESS,
            (None, false) => FRUITLESS_NEAR,
        }
    }

    /// How long the answer to one question may take: as long as it would take to send what is asked about, a window in a round
    /// trip. A hasher that is busy with other files must not hold this one up for longer.
    pub fn patience(&self) -> Duration {
        let sending = self.round_trip.unwrap_or_default() * (SPAN / WINDOW) as u32;
        sending.max(if self.whole.is_some() { ASKED_PATIENCE } else { PATIENCE })
    }

    /// Whether to go on, so many bytes in a row having been searched in which nothing was found.
    pub fn goes_on(&self, fruitless: u64) -> bool {
        fruitless < self.worth()
    }
}

/// Whether a file of which so many bytes are where they were is worth no further search: less than a quarter lacks.
pub fn is_enough(found: u64, size: u64) -> bool {
    found >= size - size / 4
}

/// What came of searching, all files of a run together.
#[derive(Debug, Default)]
pub struct Luck {
    searched: AtomicU64,
    found: AtomicU64,
    vain: AtomicU64,
    met: AtomicU64,
}

impl Luck {
    /// A file of so many bytes is going to replace another.
    pub fn meets(&self, bytes: u64) {
        self.met.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of all of those until now.
    pub fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }

    /// So many bytes were searched, and so many of them found.
    pub fn had(&self, searched: u64, found: u64) {
        self.searched.fetch_add(searched, Ordering::Relaxed);
        self.found.fetch_add(found, Ordering::Relaxed);
    }

    /// It was of no use to look at so many bytes: the far end does not copy them, or tells of them too late.
    pub fn had_in_vain(&self, bytes: u64) {
        self.vain.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether it may be worth it to look at this one.
    pub fn lasts(&self, case: &Case) -> bool {
        let worth = case.worth();
        if self.vain.load(Ordering::Relaxed) >= worth {
            return false;
        }
        let (searched, found) = (self.searched.load(Ordering::Relaxed), self.found.load(Ordering::Relaxed));
        searched < worth || found.saturating_mul(LUCK) >= searched
    }
}

/// Some bytes of a new file, and where the old one has them, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub at: u64,
    pub len: u64,
    pub from: Option<u64>,
}

/// Lays a new file out in segments, in its order, as it becomes known what of it the old one has.
#[derive(Debug, Default)]
pub struct Layout {
    /// All before has been laid out.
    end: u64,
    /// Of which these were not yet taken.
    segments: Vec<Segment>,
}

impl Layout {
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The next bytes up to `at` are not in the old file.
    pub fn lack(&mut self, at: u64) {
        if at > self.end {
            self.add(at - self.end, None);
        }
    }

    /// The next bytes are at `from` in the old file.
    pub fn have(&mut self, len: u64, from: u64) {
        self.add(len, Some(from));
    }

    fn add(&mut self, len: u64, from: Option<u64>) {
        let at = self.end;
        self.end += len;
        if let Some(last) = self.segments.last_mut()
            && from == last.from.map(|from| from + last.len)
        {
            last.len += len;
            return;
        }
        self.segments.push(Segment { at, len, from });
    }

    pub fn take(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.segments)
    }
}

/// Bytes of an old file that are copied to the new one at one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub from: u64,
    pub at: u64,
    pub len: u64,
}

/// Gathers what is to be copied, as it comes in its order, into runs.
#[derive(Debug, Default)]
pub struct Runs {
    open: Option<Run>,
}

impl Runs {
    /// What is next. Returns a run that has become long enough, or that this does not go on from.
    pub fn next(&mut self, next: Run) -> Option<Run> {
        match &mut self.open {
            Some(run)
                if (run.at + run.len, run.from + run.len) == (next.at, next.from) && run.len + next.len <= LONGEST =>
            {
                run.len += next.len;
                None
            }
            open => open.replace(next),
        }
    }

    /// What was gathered, because something else comes next, or nothing.
    pub fn end(&mut self) -> Option<Run> {
        self.open.take()
    }
}

/// Seconds for which a file must not have been written to, so that what was read of it in one go proves what it held when it was listed. SFTP's
/// times are whole seconds: who writes in the second in which it was listed changes nothing that is looked at afterwards. A minute for clocks
/// that differ.
const SETTLED: i64 = 60;

/// Whether a file that was last written to at `mtime` lay still when it was read, at `now` or later (both in seconds since 1970, of clocks that
/// may differ). What is younger, or from the future, is read once more at its source.
pub fn is_settled(mtime: i64, now: i64) -> bool {
    mtime < now.saturating_sub(SETTLED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAR: Option<Duration> = Some(Duration::from_millis(40));

    fn case() -> Case {
        Case { whole: None, proven: true, old: 1 << 30, new: 1 << 30, company: 0, round_trip: FAR, rate: None }
    }

    #[test]
    fn what_was_written_just_now_or_comes_from_the_future_is_not_settled() {
        assert!(is_settled(0, 1_000_000) && is_settled(1_000_000 - SETTLED - 1, 1_000_000));
        for mtime in [1_000_000 - SETTLED, 1_000_000, 2_000_000, i64::MAX] {
            assert!(!is_settled(mtime, 1_000_000), "{mtime}");
        }
        assert!(!is_settled(i64::MIN, i64::MIN));
    }

    #[test]
    fn what_is_sent_in_one_go_is_not_worth_a_look_unless_there_is_much_of_it() {
        let near = Case { round_trip: Some(Duration::from_micros(300)), ..case() };
        let unknown = Case { round_trip: None, ..case() };
        let slow = Case { rate: Some(1_000_000), ..near };
        for case in [case(), near, unknown, slow] {
            assert!(case.pays() && !Case { whole: Some(true), ..case }.pays());
            assert!(!Case { old: LEAST - 1, ..case }.pays() && !Case { new: LEAST - 1, ..case }.pays());
        }
        let small = |case| Case { new: ONE_REQUEST, ..case };
        for (case, expected) in [(case(), true), (slow, true), (near, false), (unknown, false)] {
            assert!(!small(case).pays());
            assert_eq!(Case { company: FEW, ..small(case) }.pays(), expected);
        }
        assert!(!small(Case { rate: Some(1_000_000_000), company: FEW, ..near }).pays());
    }

    #[test]
    fn who_asks_for_it_gets_it_but_never_unproven() {
        let asked = Case { whole: Some(false), round_trip: None, old: 1, new: 1, ..case() };
        assert!(asked.pays());
        assert!(!Case { proven: false, ..asked }.pays());
        assert!(!Case { proven: false, ..case() }.pays());
        assert!(!Case { old: 0, ..asked }.pays());
        assert!(asked.goes_on(u64::MAX - 1) && case().goes_on(FRUITLESS - 1) && !case().goes_on(FRUITLESS));
        let near = Case { round_trip: None, ..case() };
        assert!(near.goes_on(FRUITLESS_NEAR - 1) && !near.goes_on(FRUITLESS_NEAR));
    }

    #[test]
    fn hashes_are_waited_for_as_long_as_sending_would_take() {
        // 65,280 KiB, 2,048 in each 40 ms.
        assert_eq!(case().patience(), Duration::from_millis(31 * 40));
        assert_eq!(Case { round_trip: None, ..case() }.patience(), PATIENCE);
        assert_eq!(Case { whole: Some(false), ..case() }.patience(), ASKED_PATIENCE);
    }

    #[test]
    fn a_run_that_finds_nothing_stops_searching() {
        let luck = Luck::default();
        luck.had(FRUITLESS - 1, 0);
        let asked = Case { whole: Some(false), ..case() };
        assert!(luck.lasts(&case()));
        luck.had(1, 0);
        assert!(!luck.lasts(&case()) && luck.lasts(&asked));
        luck.had(0, FRUITLESS / LUCK);
        luck.had_in_vain(FRUITLESS - 1);
        assert!(luck.lasts(&case()));
        luck.had_in_vain(1);
        assert!(!luck.lasts(&case()) && luck.lasts(&asked));
    }

    #[test]
    fn what_is_where_it_was_is_enough_if_less_than_a_quarter_lacks() {
        assert!(is_enough(0, 0) && is_enough(75, 100) && is_enough(4, 4) && is_enough(3, 3));
        assert!(!is_enough(74, 100) && !is_enough(0, 3) && !is_enough(1, 2));
    }

    #[test]
    fn what_goes_on_in_both_files_is_one_segment() {
        let mut layout = Layout::default();
        layout.lack(0);
        layout.have(5, 100);
        layout.have(5, 105);
        layout.have(5, 0);
        layout.lack(20);
        layout.lack(20);
        layout.lack(22);
        let segment = |at, len, from| Segment { at, len, from };
        let expected = [segment(0, 10, Some(100)), segment(10, 5, Some(0)), segment(15, 7, None)];
        assert_eq!((layout.take(), layout.end(), layout.take()), (expected.to_vec(), 22, Vec::new()));
    }

    proptest! {
        /// What is copied is all that was to be, each byte once and from its place; and no two copies could have been one.
        #[test]
        fn copies_are_what_was_to_be_copied(parts in prop::collection::vec((0u64..3, 1..=LONGEST), 0..80)) {
            let (mut runs, mut copies, mut wanted, mut at) = (Runs::default(), Vec::new(), Vec::new(), 0);
            for (moved, len) in parts {
                // At its own place, at another one, or not there.
                if moved == 2 {
                    copies.extend(runs.end());
                } else {
                    let run = Run { from: at + moved, at, len };
                    copies.extend(runs.next(run));
                    wanted.push(run);
                }
                at += len;
            }
            copies.extend(runs.end());
            prop_assert_eq!(runs.end(), None);
            for pair in copies.windows(2) {
                let joined = (pair[0].at + pair[0].len, pair[0].from + pair[0].len) == (pair[1].at, pair[1].from);
                let first = wanted.iter().find(|run| run.at == pair[1].at).map_or(0, |run| run.len);
                prop_assert!(!joined || pair[0].len + first > LONGEST);
            }
            let mut wanted = wanted.into_iter();
            for copy in copies {
                let mut done = 0;
                prop_assert!(copy.len <= LONGEST);
                while done < copy.len {
                    let Some(part) = wanted.next() else { return Err(TestCaseError::fail("more than was wanted")) };
                    prop_assert_eq!((part.at, part.from), (copy.at + done, copy.from + done));
                    done += part.len;
                }
                prop_assert_eq!(done, copy.len);
            }
            prop_assert_eq!(wanted.next(), None);
        }
    }
}
