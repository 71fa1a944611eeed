//! Up to where a file is written, of writes that are acknowledged in any order. Pure.

use std::collections::BTreeMap;

/// Bytes from the beginning on, and pieces beyond them: as many at most as writes are under way.
#[derive(Default)]
pub struct Reached {
    below: u64,
    /// By their beginnings, their ends.
    beyond: BTreeMap<u64, u64>,
}

impl Reached {
    /// These bytes are acknowledged. Each is once.
    pub fn add(&mut self, at: u64, len: u64) {
        self.beyond.insert(at, at.saturating_add(len));
        while let Some(next) = self.beyond.first_entry()
            && *next.key() <= self.below
        {
            self.below = self.below.max(next.remove());
        }
    }

    /// All below is acknowledged.
    pub fn all_below(&self) -> u64 {
        self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// In whatever order they come, nothing counts before all that lies below it has come.
        #[test]
        fn only_what_has_no_gap_counts(lens in prop::collection::vec(1..100u64, 1..20), seed in any::<u64>()) {
            let mut pieces = Vec::new();
            let mut end = 0;
            for len in lens {
                pieces.push((end, len));
                end += len;
            }
            let mut left = pieces.clone();
            let mut reached = Reached::default();
            let mut state = seed;
            let mut there = vec![false; end as usize];
            while !left.is_empty() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (at, len) = left.swap_remove((state >> 33) as usize % left.len());
                there[at as usize..(at + len) as usize].fill(true);
                reached.add(at, len);
                let first = there.iter().position(|there| !there).unwrap_or(there.len());
                prop_assert_eq!(reached.all_below(), first as u64);
            }
            prop_assert!(reached.beyond.is_empty());
        }
    }
}
