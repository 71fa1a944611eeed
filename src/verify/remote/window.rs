//! How many small files may be asked of the hasher at once. It reads one after the other, an SFTP server's channels side by side: where the
//! disk answers late, what it cannot do soon goes their way, and what they have read is in its cache by the time that it is to be hashed.

use std::time::Duration;

/// As many as are always asked for, and as many as ever are.
const FEW: usize = 64;
const MANY: usize = 4096;

/// A file that takes so much longer than the quickest one has waited for the others. 2,048 files of 4 KiB take 50 ms in memory (measured).
const SLACK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Window {
    asked: usize,
    most: usize,
    quickest: Duration,
}

impl Default for Window {
    fn default() -> Window {
        Window { asked: 0, most: MANY, quickest: Duration::MAX }
    }
}

impl Window {
    /// Whether one more may be asked for; if so, it is counted until it [left](Window::leave).
    pub fn enter(&mut self) -> bool {
        let enters = self.asked < self.most;
        self.asked += usize::from(enters);
        enters
    }

    /// One is no longer asked for: it was answered after so long, or given up.
    pub fn leave(&mut self, answered: Option<Duration>) {
        self.asked = self.asked.saturating_sub(1);
        let Some(took) = answered else { return };
        self.quickest = self.quickest.min(took);
        self.most = if took > self.quickest.saturating_add(SLACK) {
            // What came beyond those that are asked for would come later still.
            (self.most - 1).min(self.asked).max(FEW)
        } else {
            (self.most + 1).min(MANY)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(window: &mut Window) -> usize {
        let before = window.asked;
        while window.enter() {}
        window.asked - before
    }

    #[test]
    fn who_answers_soon_is_asked_for_as_many_as_there_are() {
        let mut window = Window::default();
        for round in 0..3 {
            assert_eq!(fill(&mut window), MANY, "{round}");
            (0..MANY).for_each(|n| window.leave(Some(Duration::from_millis(80) + SLACK.mul_f64(n as f64 / 5000.0))));
        }
        // Those that nobody waits for any more say nothing.
        assert_eq!(fill(&mut window), MANY);
        (0..MANY).for_each(|_| window.leave(None));
        assert_eq!(fill(&mut window), MANY);
    }

    #[test]
    fn who_answers_late_is_asked_for_as_many_as_it_does_in_time_and_never_for_none() {
        let (mut window, each) = (Window::default(), Duration::from_millis(1));
        let mut waiting = std::collections::VecDeque::new();
        let (mut now, mut least, mut most) = (Duration::ZERO, usize::MAX, 0);
        for n in 0..10_000 {
            (0..fill(&mut window)).for_each(|_| waiting.push_back(now));
            now += each;
            let asked = waiting.pop_front().unwrap();
            window.leave(Some(now - asked));
            if n > 5_000 {
                (least, most) = (least.min(window.asked), most.max(window.asked));
            }
        }
        // What a quarter of a second is for lies between: a longer wait is seen only by those that had it.
        assert!((FEW - 1..250).contains(&least) && (250..520).contains(&most), "{least} to {most}");
        for _ in 0..10_000 {
            fill(&mut window);
            window.leave(Some(Duration::from_secs(100)));
        }
        assert_eq!(window.most, FEW);
        (0..1_000).for_each(|_| window.leave(Some(Duration::from_millis(2))));
        assert_eq!(window.most, FEW + 1_000);
    }
}
