//! What a holder keeps of one of its clients.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use crate::fault::Stage;
use crate::sftp::Request;
use crate::tree::remote::Remote;

/// Names of temporary files remembered for one client. It has 512 files under way at most.
const TEMPS: usize = 4096;

/// Removing what a dead client left.
const CLEANING: Duration = Duration::from_secs(60);

/// What all virtual channels of one client have in common.
#[derive(Default)]
pub struct Guest {
    /// Files that it created, exclusively and under a hidden name, and has neither renamed nor removed.
    temps: Mutex<HashSet<Bytes>>,
    /// Bytes of files that it told it may send, and those that it has sent.
    ahead: AtomicU64,
    sent: AtomicU64,
}

impl Guest {
    /// It tells so many bytes of files, which it tells with each of its channels. What nobody knew yet.
    pub fn expect(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.ahead.fetch_max(bytes, Ordering::Relaxed))
    }

    /// What it told and has not sent.
    pub fn unsent(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed).saturating_sub(self.sent.load(Ordering::Relaxed))
    }

    pub fn sends(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
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

    #[test]
    fn what_a_client_tells_with_each_of_its_channels_counts_once() {
        let guest = Guest::default();
        // Whoever only asks whether there is a connection tells nothing yet.
        assert_eq!([0, 5, 5].map(|ahead| guest.expect(ahead)), [0, 5, 0]);
        guest.sends(3);
        assert_eq!(guest.unsent(), 2);
        guest.sends(3);
        assert_eq!(guest.unsent(), 0);
    }
}
