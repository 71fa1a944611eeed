//! How times are distributed, in constant memory: buckets that are equally wide on a logarithmic scale.

/// Buckets to each power of ten: a quantile is at most 3 % from where it is.
const PER_DECADE: usize = 40;
/// The first bucket begins here: 1 µs, the reports' resolution.
const LOWEST: f64 = 1e-6;
/// Up to 10⁶ s, eleven days and a half.
const BUCKETS: usize = 12 * PER_DECADE;

/// Seconds, counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: Box::new([0; BUCKETS]), count: 0, sum: 0.0, min: f64::INFINITY, max: 0.0 }
    }
}

fn bucket(seconds: f64) -> usize {
    if seconds <= LOWEST {
        return 0;
    }
    (((seconds / LOWEST).log10() * PER_DECADE as f64) as usize).min(BUCKETS - 1)
}

/// Where a bucket begins.
fn start(bucket: usize) -> f64 {
    LOWEST * 10f64.powf(bucket as f64 / PER_DECADE as f64)
}

impl Histogram {
    pub fn add(&mut self, seconds: f64) {
        self.buckets[bucket(seconds)] += 1;
        self.count += 1;
        self.sum += seconds;
        self.min = self.min.min(seconds);
        self.max = self.max.max(seconds);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max(&self) -> f64 {
        self.max
    }

    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The value below which this share lies. 0 and 1 are exact; the others are a bucket's middle.
    pub fn quantile(&self, share: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        if share <= 0.0 {
            return self.min;
        }
        let rank = (share * self.count as f64).ceil() as u64;
        if rank >= self.count {
            return self.max;
        }
        let mut seen = 0;
        for (index, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                let middle = (start(index) * start(index + 1)).sqrt();
                return middle.clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// From the first bar that has something to the last, `per_decade` bars to a power of ten (a divisor of 40): where each
    /// begins and ends, and how many are in it.
    pub fn bars(&self, per_decade: usize) -> Vec<(f64, f64, u64)> {
        let each = PER_DECADE / per_decade.clamp(1, PER_DECADE);
        let bar = |(index, chunk): (usize, &[u64])| {
            let (from, to) = (start(index * each), start((index + 1) * each));
            (from, to, chunk.iter().sum::<u64>())
        };
        let all: Vec<_> = self.buckets.chunks(each).enumerate().map(bar).collect();
        let first = all.iter().position(|bar| bar.2 > 0);
        let last = all.iter().rposition(|bar| bar.2 > 0);
        first.zip(last).map_or(Vec::new(), |(first, last)| all[first..=last].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_three_percent() {
        let mut histogram = Histogram::default();
        for n in 1..=10_000 {
            histogram.add(f64::from(n) * 1e-4);
        }
        for share in [0.05, 0.25, 0.5, 0.95, 0.999] {
            let (told, exact) = (histogram.quantile(share), share);
            assert!((told / exact - 1.0).abs() < 0.03, "{share}: {told}");
        }
        assert_eq!((histogram.quantile(0.0), histogram.quantile(1.0)), (1e-4, 1.0));
        assert!((histogram.mean() - 0.500_05).abs() < 1e-9);
    }

    #[test]
    fn whatever_comes_has_a_bucket() {
        let mut histogram = Histogram::default();
        for odd in [0.0, 1e-9, 1e9] {
            histogram.add(odd);
        }
        assert_eq!((histogram.count(), histogram.quantile(0.0), histogram.max()), (3, 0.0, 1e9));
        assert!(histogram.quantile(0.5) < 1.1e-6, "{}", histogram.quantile(0.5));
    }

    #[test]
    fn bars_hold_every_value_once() {
        let mut histogram = Histogram::default();
        assert!(histogram.bars(10).is_empty());
        for value in [0.0011, 0.0012, 0.02, 3.0] {
            histogram.add(value);
        }
        let bars = histogram.bars(10);
        assert_eq!(bars.iter().map(|bar| bar.2).sum::<u64>(), 4);
        assert!(bars[0].0 <= 0.0011 && bars[bars.len() - 1].1 >= 3.0, "{bars:?}");
        assert!(bars.windows(2).all(|pair| (pair[0].1 / pair[1].0 - 1.0).abs() < 1e-9), "no gap between bars");
    }
}
