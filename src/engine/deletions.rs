//! How much was deleted: `--max-delete` bounds all of it together, what makes way for something included.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Default)]
pub struct Deletions {
    count: Mutex<Count>,
    /// A leave was used, or given back.
    settled: Notify,
}

#[derive(Default)]
struct Count {
    done: u64,
    /// Leaves that are neither used nor given back yet.
    held: u64,
    /// Left in place.
    skipped: u64,
}

/// Leave to delete one thing: given back unless it is used.
pub struct Leave<'a>(Option<&'a Deletions>);

/// Why there is no leave.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// So many were deleted.
    AtLimit,
    /// So many may have been once those that are being deleted are.
    NotYet,
}

impl Deletions {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn one(&self, most: Option<u64>) -> Result<Leave<'_>, Refused> {
        let mut count = self.count();
        match most {
            Some(most) if count.done >= most => return Err(Refused::AtLimit),
            Some(most) if count.done + count.held >= most => return Err(Refused::NotYet),
            _ => count.held += 1,
        }
        Ok(Leave(Some(self)))
    }

    /// Leave for one more; `None` if it would be more than `most`. Waits until that is known.
    pub async fn leave(&self, most: Option<u64>) -> Option<Leave<'_>> {
        loop {
            let settled = self.settled.notified();
            match self.one(most) {
                Ok(leave) => return Some(leave),
                Err(Refused::AtLimit) => return None,
                Err(Refused::NotYet) => settled.await,
            }
        }
    }

    /// Something had no leave.
    pub fn skip(&self) {
        self.count().skipped += 1;
    }

    pub fn skipped(&self) -> u64 {
        self.count().skipped
    }
}

impl Leave<'_> {
    /// It was deleted.
    pub fn used(mut self) {
        if let Some(deletions) = self.0.take() {
            let mut count = deletions.count();
            (count.held, count.done) = (count.held - 1, count.done + 1);
            drop(count);
            deletions.settled.notify_waiters();
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(deletions) = self.0.take() {
            deletions.count().held -= 1;
            deletions.settled.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_leave_is_refused_for_good_while_one_may_be_given_back() {
        let deletions = Deletions::default();
        let held = deletions.one(Some(1));
        assert_eq!(deletions.one(Some(1)).err(), Some(Refused::NotYet));
        drop(held);
        deletions.one(Some(1)).expect("it was given back").used();
        assert_eq!(deletions.one(Some(1)).err(), Some(Refused::AtLimit));
        assert!(deletions.one(None).is_ok(), "nothing bounds it");
        deletions.skip();
        assert_eq!(deletions.skipped(), 1);
    }

    #[tokio::test]
    async fn one_who_may_have_leave_waits_until_that_is_known() {
        let deletions = Deletions::default();
        for (used, given) in [(true, false), (false, true)] {
            let most = Some(deletions.count().done + 1);
            let held = deletions.one(most).expect("there is room");
            let mut leave = Box::pin(deletions.leave(most));
            assert!(futures::poll!(&mut leave).is_pending());
            if used {
                held.used()
            } else {
                drop(held)
            }
            assert_eq!(leave.await.is_some(), given);
        }
    }
}
