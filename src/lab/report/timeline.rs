//! What happened when, in constant memory: rows of equal bins over the time of a run. When time outgrows the bins, pairs of
//! them become one, twice as wide, in all rows.

/// Even, so that pairs come out.
pub const BINS: usize = 480;
/// Seconds in a bin at first.
const FINEST: f64 = 1e-3;

/// Rows that share their bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    width: f64,
    rows: Vec<Vec<f64>>,
    end: f64,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { width: FINEST, rows: Vec::new(), end: 0.0 }
    }
}

impl Timeline {
    /// Seconds in a bin.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// The last moment that anything was told of.
    pub fn end(&self) -> f64 {
        self.end
    }

    /// A row's bins, up to the last that time has reached.
    pub fn row(&self, row: usize) -> Vec<f64> {
        let bins = ((self.end / self.width).ceil() as usize).clamp(1, BINS);
        (0..bins).map(|bin| self.rows.get(row).and_then(|row| row.get(bin)).copied().unwrap_or(0.0)).collect()
    }

    /// Makes room for a moment.
    pub fn reach(&mut self, t: f64) {
        self.end = self.end.max(t);
        while t >= self.width * BINS as f64 {
            self.width *= 2.0;
            for row in &mut self.rows {
                *row = halved(row);
            }
        }
    }

    fn bins(&mut self, row: usize) -> &mut Vec<f64> {
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, Vec::new);
        }
        let bins = &mut self.rows[row];
        bins.resize(BINS, 0.0);
        bins
    }

    /// Something that happened at a moment.
    pub fn add(&mut self, row: usize, t: f64, amount: f64) {
        self.reach(t);
        let bin = (t / self.width) as usize;
        self.bins(row)[bin.min(BINS - 1)] += amount;
    }

    /// Something that took a while, spread evenly over it.
    pub fn spread(&mut self, row: usize, from: f64, to: f64, amount: f64) {
        let from = from.clamp(0.0, to.max(0.0));
        if to - from < self.width / 64.0 {
            return self.add(row, to.max(0.0), amount);
        }
        self.reach(to);
        let width = self.width;
        let (first, last) = ((from / width) as usize, ((to / width) as usize).min(BINS - 1));
        let bins = self.bins(row);
        for (bin, value) in bins.iter_mut().enumerate().take(last + 1).skip(first) {
            let (start, end) = (bin as f64 * width, (bin + 1) as f64 * width);
            let part = (to.min(end) - from.max(start)).max(0.0);
            *value += amount * part / (to - from);
        }
    }
}

/// Pairs of bins as one: what is drawn where there is little room, too.
pub fn halved(bins: &[f64]) -> Vec<f64> {
    bins.chunks(2).map(|pair| pair.iter().sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_took_a_while_is_spread_over_it() {
        let mut timeline = Timeline::default();
        timeline.spread(0, 0.0005, 0.0025, 8.0);
        let row = timeline.row(0);
        let expected = [2.0, 4.0, 2.0];
        assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{row:?}");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_long_it_goes(
            events in proptest::collection::vec((0usize..3, 0.0f64..1e9, 0.0f64..1e6), 1..60)
        ) {
            let mut timeline = Timeline::default();
            let mut sums = [0.0; 3];
            for (row, t, elapsed) in events {
                timeline.spread(row, t - elapsed, t, 1.0);
                sums[row] += 1.0;
            }
            for (row, sum) in sums.into_iter().enumerate() {
                let bins = timeline.row(row);
                prop_assert!(bins.len() <= BINS);
                prop_assert!((bins.iter().sum::<f64>() - sum).abs() < 1e-6, "{bins:?}");
            }
        }
    }
}
