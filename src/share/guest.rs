//! What a holder keeps of one of its clients.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use crate::fault::Stage;
use crate::sftp::Request;
use crate::sftp::traffic::Traffic;
use crate::tree::remote::Remote;

/// Names of temporary files remembered for one client. It has 512 files under way at most.
const TEMPS: usize = 4096;

/// Removing what a dead client left.
const CLEANING: Duration = Duration::from_secs(60);

/// What all virtual channels of one client have in common.
pub struct Guest {
    /// Files that it created, exclusively and under a hidden name, and has neither renamed nor removed.
    temps: Mutex<HashSet<Bytes>>,
    /// What the holder sends, and is going to.
    traffic: Arc<Traffic>,
    /// Bytes of files that it told it may send, and those of them that it has not sent.
    told: AtomicU64,
    unsent: AtomicU64,
    /// Held by each of its channels that has a place for files.
    places: Arc<()>,
}

impl Drop for Guest {
    /// What it has not sent it is not going to.
    fn drop(&mut self) {
        self.sends(u64::MAX);
    }
}

impl Guest {
    pub fn new(traffic: Arc<Traffic>) -> Guest {
        let (told, unsent) = (AtomicU64::new(0), AtomicU64::new(0));
        Guest { temps: Mutex::default(), traffic, told, unsent, places: Arc::default() }
    }

    /// It tells how many bytes of files it may send, with each of its channels.
    pub fn tells(&self, bytes: u64) {
        let new = bytes.saturating_sub(self.told.fetch_max(bytes, Ordering::Relaxed));
        // In this order: what is sent meanwhile takes back no more than was promised.
        self.traffic.promise(new);
        self.unsent.fetch_add(new, Ordering::Relaxed);
    }

    /// What it told and has not sent.
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    pub fn sends(&self, bytes: u64) {
        let less = |unsent: u64| Some(unsent.saturating_sub(bytes));
        let before = self.unsent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or(0);
        self.traffic.keep(before.min(bytes));
    }

    /// Whether none of its channels has a place for files; from now on one has, until that goes.
    pub fn first_place(&self) -> (bool, Arc<()>) {
        let place = self.places.clone();
        // The one kept here, and this one.
        (Arc::strong_count(&place) == 2, place)
    }

    /// It creates a file, exclusively and under a hidden name.
    pub fn makes(&self, temp: Bytes) {
        let mut temps = self.temps();
        if temps.len() < TEMPS {
            temps.insert(temp);
        }
    }

    /// It has renamed or removed one.
    pub fn has_moved(&self, from: &Bytes) {
        self.temps().remove(from);
    }

    fn temps(&self) -> MutexGuard<'_, HashSet<Bytes>> {
        self.temps.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// Removes the temporary files of a client that has died. An orderly one has none.
    pub async fn clean(&self, remote: &Remote) {
        let left: Vec<Bytes> = self.temps().drain().collect();
        if left.is_empty() {
            return;
        }
        tracing::info!(files = left.len(), "removing what a client left");
        let removing = async {
            let Ok((_, lease)) = remote.lease().await else { return };
            let asked: Vec<_> = left.iter().map(|path| lease.session.submit(&Request::Remove { path })).collect();
            for (answer, path) in asked.into_iter().zip(&left) {
                let _ = answer.done(Stage::Attributes, path).await;
            }
        };
        let _ = tokio::time::timeout(CLEANING, removing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::traffic::Flow;

    #[test]
    fn what_a_client_tells_with_each_of_its_channels_counts_once_and_until_it_is_sent() {
        let traffic = Arc::new(Traffic::default());
        let ahead = || traffic.ahead(Flow::Out);
        let guest = Guest::new(traffic.clone());
        // Whoever only asks whether there is a connection tells nothing yet.
        let told = [0, 5, 5].map(|bytes| {
            guest.tells(bytes);
            ahead()
        });
        assert_eq!(told, [0, 5, 5]);
        // What others send without having told of it is no part of it.
        traffic.has_sent(100);
        guest.sends(3);
        assert_eq!((guest.unsent(), ahead()), (2, 2));
        guest.sends(3);
        assert_eq!((guest.unsent(), ahead()), (0, 0));
        let other = Guest::new(traffic.clone());
        other.tells(9);
        assert_eq!(ahead(), 9);
        drop(other);
        assert_eq!(ahead(), 0, "nobody is left to send it");
    }

    #[test]
    fn only_the_first_place_of_a_client_is_waited_for() {
        let guest = Guest::new(Arc::default());
        let (first, place) = guest.first_place();
        let (second, other) = guest.first_place();
        assert!(first && !second);
        drop((place, other));
        assert!(guest.first_place().0);
    }
}
