//! The bounds of a run: bytes held in memory, files under way, bytes per second.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes of file data in memory, all files together. Twice what any path needs that we measured (4 connections × 8 MiB).
const BYTES: usize = 64 << 20;

/// Files under way at once. Fewer than 64 per channel leave a server waiting for us, 256 per channel pay at distance (measured
/// with eight channels), and those whose hashes are being made cost nothing but their names.
const FILES: usize = 2048;

/// Bytes of files that move in pieces and are open, a file counted with [`LARGE_SHARE`] at most. A far end has bounds of its own
/// below this one, for each of its lanes (`Tree::room`).
const LARGE: usize = 256 << 20;
const LARGE_SHARE: u64 = 8 << 20;

/// A turn by `--bwlimit` that is waited for while pieces are under way: these come a round trip later than they are asked for, and one
/// after the other they would take that long each.
const SOON: Duration = Duration::from_millis(100);

/// Files of ours that are searched at once for what another one has ([`super::delta`]); some 3 MiB each.
const SEARCHES: usize = 4;

/// The turns of files that are searched, and the rooms that searches had: made anew for each, a megabyte costs more to be cleared by the
/// kernel than to be searched.
pub struct Searches {
    turns: Arc<Semaphore>,
    rooms: Mutex<Vec<Vec<u8>>>,
}

impl Searches {
    fn new() -> Searches {
        Searches { turns: Arc::new(Semaphore::new(SEARCHES)), rooms: Mutex::default() }
    }

    /// Waits until another file may be searched.
    pub async fn turn(&self) -> OwnedSemaphorePermit {
        hold(&self.turns, 1).await
    }

    /// A room that a search had; a new one otherwise.
    pub fn room(&self) -> Vec<u8> {
        self.rooms().pop().unwrap_or_default()
    }

    /// Keeps a room for the next search.
    pub fn give_back(&self, room: Vec<u8>) {
        let mut rooms = self.rooms();
        if room.capacity() > 0 && rooms.len() < SEARCHES {
            rooms.push(room);
        }
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.rooms.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Shared by everything that holds data or works on files.
pub struct Budget {
    searches: Arc<Searches>,
    large: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    files: Arc<Semaphore>,
    /// `--bwlimit`: bytes per second, and when the next byte may go.
    rate: Option<(u64, Mutex<Instant>)>,
}

/// Files that a walk begins in one go.
const SEVERAL: usize = 64;

impl Budget {
    /// `bwlimit` in bytes per second.
    pub fn new(bwlimit: Option<u64>) -> Budget {
        Budget {
            searches: Arc::new(Searches::new()),
            large: Arc::new(Semaphore::new(LARGE)),
            bytes: Arc::new(Semaphore::new(BYTES)),
            files: Arc::new(Semaphore::new(FILES)),
            rate: bwlimit.filter(|rate| *rate > 0).map(|rate| (rate, Mutex::new(Instant::now()))),
        }
    }

    /// Waits until another file may be under way.
    pub async fn file(&self) -> OwnedSemaphorePermit {
        hold(&self.files, 1).await
    }

    /// Waits until so many more files may be under way as a walk begins in one go: where each began as another ended, somebody would be
    /// woken for each.
    pub async fn several_files(&self) -> OwnedSemaphorePermit {
        hold(&self.files, SEVERAL).await
    }

    /// Waits until a file of `size` bytes may be opened to move in pieces; held until its last piece has moved.
    pub async fn large(&self, size: u64) -> OwnedSemaphorePermit {
        hold(&self.large, size.min(LARGE_SHARE) as usize).await
    }

    /// The turns of files that are searched.
    pub fn searches(&self) -> Arc<Searches> {
        self.searches.clone()
    }

    /// Waits until `len` more bytes may be held, and may go by `--bwlimit`.
    pub async fn bytes(&self, len: usize) -> OwnedSemaphorePermit {
        let permit = self.memory(len).await;
        self.pace(len).await;
        permit
    }

    /// Waits until `len` more bytes may be held.
    pub async fn memory(&self, len: usize) -> OwnedSemaphorePermit {
        hold(&self.bytes, len.clamp(1, BYTES)).await
    }

    /// Waits until `len` more bytes may go by `--bwlimit`.
    pub async fn pace(&self, len: usize) {
        if let Some((rate, next)) = &self.rate {
            let due = {
                let mut next = next.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let due = (*next).max(Instant::now());
                *next = due + Duration::from_secs_f64(len as f64 / *rate as f64);
                due
            };
            tokio::time::sleep_until(due).await;
        }
    }

    /// As [`Budget::bytes`], but only if there is room at once, and a turn soon: for whoever holds bytes already, and would else wait
    /// for others that do the same, or leave what it holds lying.
    pub async fn bytes_soon(&self, len: usize) -> Option<OwnedSemaphorePermit> {
        let turn = self.rate.as_ref().map(|(_, next)| *next.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        if turn.is_some_and(|turn| turn > Instant::now() + SOON) {
            return None;
        }
        let permit = self.free_memory(len)?;
        self.pace(len).await;
        Some(permit)
    }

    /// As [`Budget::memory`], but only if nothing has to be waited for.
    pub fn free_memory(&self, len: usize) -> Option<OwnedSemaphorePermit> {
        self.bytes.clone().try_acquire_many_owned(len.clamp(1, BYTES) as u32).ok()
    }
}

async fn hold(semaphore: &Arc<Semaphore>, permits: usize) -> OwnedSemaphorePermit {
    match semaphore.clone().acquire_many_owned(permits as u32).await {
        Ok(permit) => permit,
        // Only a closed semaphore fails, and these are never closed.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bwlimit_spreads_bytes_over_time() {
        let budget = Budget::new(Some(1000));
        let started = Instant::now();
        for _ in 0..5 {
            drop(budget.bytes(500).await);
        }
        // The first goes at once, the fifth after the four before it.
        assert_eq!(started.elapsed().as_millis(), 2000);
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_bytes_waits_only_for_a_turn_that_is_near() {
        let budget = Budget::new(Some(10_000));
        let started = Instant::now();
        let first = budget.bytes(800).await;
        let second = budget.bytes_soon(2_000).await.expect("in 80 ms");
        assert_eq!(started.elapsed().as_millis(), 80);
        assert!(budget.bytes_soon(1).await.is_none(), "in 200 ms");
        assert_eq!(started.elapsed().as_millis(), 80);
        drop((first, second));
        let all = Budget::new(None);
        let held = all.bytes(BYTES).await;
        assert!(all.bytes_soon(1).await.is_none(), "others hold all");
        drop(held);
        assert!(all.bytes_soon(1).await.is_some());
    }

    #[tokio::test]
    async fn bytes_beyond_the_budget_wait_for_those_that_are_held() {
        let budget = Budget::new(None);
        let held = budget.bytes(BYTES).await;
        assert!(futures::poll!(std::pin::pin!(budget.bytes(1))).is_pending());
        drop(held);
        drop(budget.bytes(BYTES * 2).await);
    }
}
