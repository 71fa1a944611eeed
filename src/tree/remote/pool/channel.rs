//! One SFTP channel, its budget and its load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sftp::Session;

use super::lane::LaneState;

/// Bytes of WRITEs that may be unacknowledged on one channel. sshd's window is 2 MiB (channels.h), renewed with 96 KiB of
/// lag at most; while this stays below it, no channel ever blocks on its window, and russh, which stops taking anything for
/// any channel while one is blocked, never has to.
const WRITE_BUDGET: usize = (2 << 20) - (192 << 10);

/// What OpenSSH takes in one WRITE (`limits@openssh.com`, 261,120), rounded up.
const LARGEST_WRITE: usize = 256 << 10;

/// Handles that may be open on one channel of a server that does not tell its limit; more brought nothing at any distance
/// that we measured.
const HANDLES: u64 = 256;

/// Handles left unused of those that a server has: a file's CLOSE may still be under way.
const SPARE_HANDLES: u64 = 16;

/// Room for bytes of a WRITE, on a channel and on its lane: given back when this goes.
pub type Room = [OwnedSemaphorePermit; 2];

/// What a small file that is written needs of a channel.
pub struct Ready {
    /// To be held until its CLOSE is on its way.
    pub open: OwnedSemaphorePermit,
    pub room: Room,
}

/// One SFTP channel with its budget and load.
pub struct Channel {
    pub session: Session,
    writes: Arc<Semaphore>,
    pub lane: Arc<LaneState>,
    handles: Arc<Semaphore>,
    load: AtomicUsize,
    bytes: AtomicUsize,
}

impl Channel {
    pub fn new(session: Session, lane: Arc<LaneState>) -> Channel {
        let handles = session.limits.handles.unwrap_or(HANDLES).clamp(1, 1 << 20);
        let handles = handles.saturating_sub(SPARE_HANDLES).max(2) as usize;
        Channel {
            session,
            writes: Arc::new(Semaphore::new(WRITE_BUDGET)),
            lane,
            handles: Arc::new(Semaphore::new(handles)),
            load: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Waits until `len` more bytes of WRITEs may be outstanding here, and on the lane.
    pub async fn write_budget(&self, len: usize) -> Room {
        let len = len.min(WRITE_BUDGET) as u32;
        let here = self.writes.clone().acquire_many_owned(len).await;
        let lane = self.lane.writes.clone().acquire_many_owned(len).await;
        match (here, lane) {
            (Ok(here), Ok(lane)) => [here, lane],
            // Semaphores are never closed: waiting on one fails for no reason but that.
            _ => std::future::pending().await,
        }
    }

    /// Whether the largest WRITE could go at once.
    pub fn has_room(&self) -> bool {
        self.writes.available_permits().min(self.lane.writes.available_permits()) >= LARGEST_WRITE
    }

    /// Waits until one more handle may be open here (OpenSSH: RLIMIT_NOFILE − 5, told by `limits@openssh.com`); beyond its
    /// limit a server fails every OPEN. To be held until the CLOSE is on its way.
    pub async fn handle(&self) -> OwnedSemaphorePermit {
        match self.handles.clone().acquire_owned().await {
            Ok(permit) => permit,
            Err(_) => std::future::pending().await,
        }
    }

    /// Two of them at once: who has one and waits for another may wait for ever.
    pub async fn two_handles(&self) -> OwnedSemaphorePermit {
        match self.handles.clone().acquire_many_owned(2).await {
            Ok(permits) => permits,
            Err(_) => std::future::pending().await,
        }
    }

    /// The same, if nothing has to be waited for.
    pub fn free_handle(&self) -> Option<OwnedSemaphorePermit> {
        self.handles.clone().try_acquire_owned().ok()
    }

    /// Jobs that use it now.
    pub fn jobs(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Bytes asked for or sent, and unanswered.
    pub fn outstanding(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn add_bytes(self: &Arc<Self>, bytes: usize) -> Carried {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Carried { channel: self.clone(), bytes }
    }

    pub fn is_alive(&self) -> bool {
        self.session.fate().is_none()
    }
}

/// Bytes under way on a channel, for as long as this lives.
pub struct Carried {
    channel: Arc<Channel>,
    bytes: usize,
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.channel.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A channel in use by one job; counted as load until dropped.
pub struct Lease(Arc<Channel>);

impl Lease {
    pub fn of(channel: &Arc<Channel>) -> Lease {
        channel.load.fetch_add(1, Ordering::Relaxed);
        Lease(channel.clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::ops::Deref for Lease {
    type Target = Arc<Channel>;
    fn deref(&self) -> &Arc<Channel> {
        &self.0
    }
}
