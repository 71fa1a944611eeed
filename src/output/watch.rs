//! The progress bar for a person watching: files, bytes, rate, channels, drops so far.
//!
//! Lines printed while it is up go through [`Watch::above`], so that neither tears the other.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// The numbers beside the bytes, which the bar counts itself.
#[derive(Debug, Default)]
struct Numbers {
    files: AtomicU64,
    files_total: AtomicU64,
    channels: AtomicU64,
    drops: AtomicU64,
}

impl Numbers {
    fn text(&self) -> String {
        let load = |number: &AtomicU64| number.load(Relaxed);
        let mut text = format!("{}/{} files", load(&self.files), load(&self.files_total));
        // Writing to a String cannot fail.
        match load(&self.channels) {
            0 => {}
            1 => text.push_str("  1 channel"),
            channels => drop(write!(text, "  {channels} channels")),
        }
        match load(&self.drops) {
            0 => {}
            1 => text.push_str("  1 drop"),
            drops => drop(write!(text, "  {drops} drops")),
        }
        text
    }
}

/// A handle on the bar; clones share it. Without a terminal it counts and shows nothing.
#[derive(Debug, Clone)]
pub struct Watch {
    bar: ProgressBar,
    numbers: Arc<Numbers>,
}

/// Redraws per second at most, and at least four while nothing happens, so that a stall is seen as a falling rate.
const REDRAWS: u8 = 10;
const TICK: Duration = Duration::from_millis(250);

const TEMPLATE: &str = "{bar:24} {binary_bytes:>11}/{binary_total_bytes} {binary_bytes_per_sec:>13}  {numbers}";

impl Watch {
    /// A bar on standard error if `shown`, else a silent one.
    pub fn new(shown: bool) -> Watch {
        let watch =
            Watch::on(if shown { ProgressDrawTarget::stderr_with_hz(REDRAWS) } else { ProgressDrawTarget::hidden() });
        if shown {
            watch.bar.enable_steady_tick(TICK);
        }
        watch
    }

    fn on(target: ProgressDrawTarget) -> Watch {
        let numbers = Arc::new(Numbers::default());
        let shown = Arc::clone(&numbers);
        // The template is fixed and tested; without it the default style still shows a bar.
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()).with_key(
            "numbers",
            move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&shown.text());
            },
        );
        let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style);
        Watch { bar, numbers }
    }

    /// What is to be done as far as is known by now: files, and bytes.
    pub fn set_totals(&self, files: u64, bytes: u64) {
        self.numbers.files_total.store(files, Relaxed);
        self.bar.set_length(bytes);
    }

    /// More is done: files finished, and bytes moved. Cheap: the bar is redrawn at its own pace.
    pub fn advance(&self, files: u64, bytes: u64) {
        self.numbers.files.fetch_add(files, Relaxed);
        self.bar.inc(bytes);
    }

    /// One more attempt was dropped.
    pub fn drops(&self, more: u64) {
        self.numbers.drops.fetch_add(more, Relaxed);
    }

    /// The channels that are open now.
    pub fn channels(&self, open: u64) {
        self.numbers.channels.store(open, Relaxed);
    }

    /// Takes the bar off the screen. Idempotent.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn is_shown(&self) -> bool {
        !self.bar.is_hidden() && !self.bar.is_finished()
    }

    /// Runs `print` with the bar out of the way.
    pub(super) fn above<R>(&self, print: impl FnOnce() -> R) -> R {
        if self.is_shown() { self.bar.suspend(print) } else { print() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_told_in_words() {
        let watch = Watch::new(false);
        watch.set_totals(900, 1000);
        assert_eq!(watch.numbers.text(), "0/900 files");
        watch.advance(12, 100);
        watch.advance(1, 50);
        watch.channels(9);
        watch.drops(1);
        assert_eq!(watch.numbers.text(), "13/900 files  9 channels  1 drop");
        watch.drops(2);
        watch.channels(1);
        assert_eq!(watch.numbers.text(), "13/900 files  1 channel  3 drops");
        assert_eq!((watch.bar.position(), watch.bar.length()), (150, Some(1000)));
        watch.finish();
        watch.finish();
    }

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn clones_share_one_bar() {
        let watch = Watch::new(false);
        watch.clone().advance(1, 1);
        assert_eq!(watch.bar.position(), 1);
        assert_eq!(watch.above(|| 7), 7);
    }
}
