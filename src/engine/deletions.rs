//! How much was deleted: `--max-delete` bounds all of it together, what makes way for something included.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default)]
pub struct Deletions {
    count: AtomicU64,
    /// Left in place.
    skipped: AtomicU64,
}

/// Leave to delete one thing: given back unless it is used.
pub struct Leave<'a>(&'a Deletions);

impl Deletions {
    /// Leave for one more; `None` if it would be more than `most`, which is counted.
    pub fn one(&self, most: Option<u64>) -> Option<Leave<'_>> {
        let more = |count: u64| most.is_none_or(|most| count < most).then_some(count + 1);
        if self.count.fetch_update(Relaxed, Relaxed, more).is_err() {
            self.skipped.fetch_add(1, Relaxed);
            return None;
        }
        Some(Leave(self))
    }

    pub fn skipped(&self) -> u64 {
        self.skipped.load(Relaxed)
    }
}

impl Leave<'_> {
    /// It was deleted.
    pub fn used(self) {
        std::mem::forget(self);
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_used_is_given_back_and_what_is_refused_is_counted() {
        let deletions = Deletions::default();
        drop(deletions.one(Some(1)));
        deletions.one(Some(1)).expect("it was given back").used();
        assert!(deletions.one(Some(1)).is_none() && deletions.one(None).is_some());
        assert_eq!(deletions.skipped(), 1);
    }
}
