//! Lanes as the pool sees them: what each carries, added and given back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::Fault;
use crate::ledger::Event;

use super::super::link::Link;
use super::opening::Failed;
use super::{Channel, Lease, Pool, Settings};

/// Bytes of WRITEs that may be unacknowledged on one lane, all its channels together: one window of its tunnel under way, one
/// that waits for it. More would only age: what is asked meanwhile comes after it.
const LANE_BUDGET: usize = 4 << 20;

/// Channels opened on a lane that was added: what one large file is striped over.
const LANE_CHANNELS: usize = 4;

/// Bytes of large files open on one lane behind a jump, in windows: besides the round trip in which its data goes, a file spends
/// one on OPEN, one on CLOSE, and a while in a queue. A file keeps to the lane that it was opened on: were more open on the
/// first ones, those that are added later would find nothing to do (measured: 900 files of 1 MiB over four connections at 50 ms
/// stood at one connection's 38 MB/s until the first 64 were done).
const OPEN_WINDOWS: usize = 4;
const OPEN_LEAST: usize = 16 << 20;

/// The same where there is no jump, and each channel has a window of its own.
const OPEN_DIRECT: usize = 64 << 20;

/// What one file counts for at most.
const SHARE: u64 = 8 << 20;

/// For lanes that are being added to be there: they take some twenty round trips.
const UNTIL_LANES: Duration = Duration::from_secs(2);

/// How often it is looked whether the last file on a lane that was given back is done.
const LEAVING: Duration = Duration::from_millis(50);

/// What the channels of a lane share.
pub struct LaneState {
    pub writes: Arc<Semaphore>,
    /// Bytes of large files open here.
    open: AtomicU64,
    /// It was given back.
    retired: AtomicBool,
}

impl LaneState {
    fn new() -> LaneState {
        let writes = Arc::new(Semaphore::new(LANE_BUDGET));
        LaneState { writes, open: AtomicU64::new(0), retired: AtomicBool::new(false) }
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    fn add(self: &Arc<Self>, size: u64) -> Large {
        let size = share(size);
        self.open.fetch_add(size, Ordering::Relaxed);
        Large { lane: self.clone(), size }
    }
}

/// A large file that is open on a lane, for as long as this lives.
pub struct Large {
    lane: Arc<LaneState>,
    size: u64,
}

impl Drop for Large {
    fn drop(&mut self) {
        self.lane.open.fetch_sub(self.size, Ordering::Relaxed);
    }
}

fn share(size: u64) -> u64 {
    size.clamp(1, SHARE)
}

/// Bytes of large files that may be open on one lane of `link`.
pub fn room(link: &dyn Link) -> usize {
    match link.hops().len() {
        0 | 1 => OPEN_DIRECT,
        _ => (link.receive_window() * OPEN_WINDOWS).max(OPEN_LEAST),
    }
}

impl Pool {
    pub fn lane_state(&self, lane: u32) -> Arc<LaneState> {
        let mut states = self.lane_states.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        states.entry(lane).or_insert_with(|| Arc::new(LaneState::new())).clone()
    }

    /// A channel for a file of `size` bytes that moves in pieces: on the lane that has the least of such open.
    pub fn lease_large(self: &Arc<Self>, size: u64) -> Option<(Lease, Large)> {
        self.bury();
        let channels = self.channels();
        let chosen = channels.iter().min_by_key(|c| (c.lane.open.load(Ordering::Relaxed), c.jobs()))?;
        let (lease, large) = (Lease::of(chosen), chosen.lane.add(size));
        drop(channels);
        self.grow();
        Some((lease, large))
    }

    /// Waits until a file of `size` bytes may be open to move in pieces; held until its last piece has moved. Nothing if the
    /// pool has ended.
    pub async fn large_room(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        self.large.clone().acquire_many_owned(share(size) as u32).await.ok()
    }

    /// As [`Pool::large_room`], but only while lanes are being added, and not for long: what comes before there are several lanes would
    /// else all stay on the first. Whoever opens files for others, that may leave them open for as long as they like, has none of them
    /// wait for another beyond that.
    pub async fn large_room_or_lanes(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        let mut widened = self.widened.subscribe();
        tokio::select! {
            biased;
            room = self.large_room(size) => room,
            _ = widened.wait_for(|widened| *widened) => None,
            () = tokio::time::sleep(UNTIL_LANES) => None,
        }
    }

    pub fn is_widened(&self, widened: bool) {
        self.widened.send_replace(widened);
    }

    /// Lanes in use.
    pub fn lanes(&self) -> u32 {
        self.lanes.load(Ordering::Relaxed)
    }

    /// Opens a lane and channels on it. False if there is none to be had.
    pub async fn add_lane(&self) -> Result<bool, Fault> {
        let Some(lane) = self.link.add_lane().await? else { return Ok(false) };
        let opened = futures::future::join_all((0..LANE_CHANNELS).map(|_| self.open(lane))).await;
        let none = opened.iter().all(Result::is_err);
        let Failed { refused, .. } = self.count_failed(opened);
        if refused > 0 {
            let Settings { hop, ledger, .. } = &self.settings;
            let files = LANE_CHANNELS as u32 - refused.min(LANE_CHANNELS as u32);
            ledger.event(Event::LimitFound { hop, sessions: files, files, hashing: 0, refused });
        }
        if none {
            self.link.drop_lane(lane).await;
            return Ok(false);
        }
        self.reads.add_permits(self.read_budget);
        self.large.add_permits(room(&*self.link));
        self.lanes.fetch_add(1, Ordering::Relaxed);
        self.lanes_added.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Gives back the lane that was added last: nothing new is put on it, and when the files that are open there are done it is
    /// closed.
    pub fn retire_lane(self: &Arc<Self>) {
        let lane = self.channels().iter().map(|channel| channel.session.peer().lane).max().unwrap_or(0);
        if lane == 0 {
            return;
        }
        let mut retired = Vec::new();
        self.channels().retain(|channel| {
            let peer = channel.session.peer();
            if peer.lane == lane {
                self.leaving().push((lane, peer.channel));
                retired.push(Arc::downgrade(channel));
            }
            peer.lane != lane
        });
        self.lane_state(lane).retired.store(true, Ordering::Relaxed);
        self.lanes.fetch_sub(1, Ordering::Relaxed);
        tracing::debug!(lane, "a lane that brought nothing is given back");
        let (pool, reads, large) = (Arc::downgrade(self), self.reads.clone(), self.large.clone());
        let (read_budget, room) = (self.read_budget as u32, room(&*self.link) as u32);
        tokio::spawn(async move {
            // What it brought is taken back as it comes free.
            for (semaphore, permits) in [(reads, read_budget), (large, room)] {
                if let Ok(permits) = semaphore.acquire_many_owned(permits).await {
                    permits.forget();
                }
            }
            while retired.iter().any(|channel| channel.strong_count() > 0) {
                tokio::time::sleep(LEAVING).await;
            }
            let Some(pool) = pool.upgrade().filter(|pool| pool.is_alive()) else { return };
            pool.tell_left(Some(lane));
            pool.link.drop_lane(lane).await;
        });
    }

    /// The channels of a lane that was given back, or of all, are closed.
    pub fn tell_left(&self, of: Option<u32>) {
        let Settings { hop, ledger, .. } = &self.settings;
        self.leaving().retain(|(lane, channel)| {
            let stays = of.is_some_and(|of| of != *lane);
            if !stays {
                ledger.event(Event::ChannelClosed { hop, lane: *lane, channel: *channel, why: None });
            }
            stays
        });
    }

    fn leaving(&self) -> std::sync::MutexGuard<'_, Vec<(u32, u32)>> {
        self.leaving.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many lanes were ever added: whoever has seen as many knows all that there are.
    pub fn lanes_added(&self) -> u32 {
        self.lanes_added.load(Ordering::Relaxed)
    }

    /// Up to `most` channels of each lane that is not among `known`.
    pub fn on_other_lanes(&self, known: &HashSet<u32>, most: usize) -> Vec<Arc<Channel>> {
        let mut taken = HashMap::new();
        let channels = self.channels();
        let fresh = channels.iter().filter(|channel| {
            let on = channel.session.peer().lane;
            let count = taken.entry(on).or_insert(0);
            *count += 1;
            !known.contains(&on) && *count <= most
        });
        fresh.cloned().collect()
    }
}
