//! The channels of one link: opened as work comes until the server refuses ([`opening`]), each with its budget, handed out by load.

mod channel;
mod lane;
mod opening;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::fault::{Cause, Fault, Stage};
use crate::ledger::{Event, Ledger, What};
use crate::sftp::handles::Habit;
use crate::sftp::traffic::{Flow, Traffic};
use crate::sftp::{Extensions, Limits};
use crate::ssh::hop::BLAME_PATIENCE;
use crate::verify::ladder::FarEnd;
use crate::verify::remote::RemoteHasher;

use super::foresight::{FirstWords, Look};
use super::lanes;
use super::link::Link;
use super::view::View;
pub use channel::{Channel, Lease, Ready, Room};
use lane::LaneState;
pub use lane::Large;
pub use opening::{ENOUGH, STEP};

/// A hasher of which nothing is heard for so long hashes something large, or its disk is slow.
const BUSY: Duration = Duration::from_secs(2);

/// What the pool is told.
#[derive(Clone)]
pub struct Settings {
    pub hop: Arc<str>,
    pub ledger: Arc<Ledger>,
    /// File channels at most.
    pub most: usize,
    /// File channels to be opened at once, because there is a tree to be moved: at distance each step of opening more is
    /// several round trips.
    pub eager: usize,
    /// Silence, with requests outstanding, that ends a channel.
    pub stall: Duration,
    /// Whether a channel is to be kept for hashing.
    pub hashing: bool,
    /// TCP connections to be used (`--connections`).
    pub connections: usize,
    /// Whether the far end's user, groups and umask matter.
    pub identity: bool,
    pub traffic: Arc<Traffic>,
    /// What the server's handles are like: one that was wrong about them once is not believed again on its next connection.
    pub habit: Arc<Habit>,
    /// Bytes that are known to be pushed before anything was compared: what lanes are opened for while the ends are looked at.
    pub known: u64,
    /// What is asked with the first channel's greeting: once, for later it is not so any more.
    pub looks: Arc<Mutex<Vec<Look>>>,
    /// Many others' work, of which only a part is told before it is done: a low rate says nothing of what lanes are worth.
    pub crowd: bool,
}

/// How much there is to do on a channel: jobs, and bytes in pieces of what a job has.
fn load(channel: &Arc<Channel>) -> usize {
    channel.jobs() + channel.outstanding() / (64 * 1024)
}

/// The channels of one link.
pub struct Pool {
    pub link: Arc<dyn Link>,
    settings: Settings,
    channels: Mutex<Vec<Arc<Channel>>>,
    next_index: AtomicU32,
    /// Lanes in use, and how many were ever added to the first.
    lanes: AtomicU32,
    lanes_added: AtomicU32,
    lane_states: Mutex<HashMap<u32, Arc<LaneState>>>,
    /// Room for large files that are open, all lanes together.
    large: Arc<Semaphore>,
    /// False while it is found out whether lanes are worth it for what is known to come, and while these are added.
    widened: watch::Sender<bool>,
    /// Lanes that were given back, and their channels, for as long as files are open on them.
    leaving: Mutex<Vec<(u32, u32)>>,
    /// Lanes that were lost, and counted.
    lost_lanes: Mutex<HashSet<u32>>,
    /// The first channel is open.
    first: watch::Sender<bool>,
    /// Channels that were ever opened: whoever waits for room on one may find it on the next.
    opened: watch::Sender<u32>,
    /// How many file channels the work could use.
    wanted: AtomicUsize,
    growing: AtomicBool,
    /// The server refused a session while this many file channels were open.
    limit: Mutex<Option<usize>>,
    /// Bytes of READs that may be outstanding, all channels together: the window that we offer.
    reads: Arc<Semaphore>,
    read_budget: usize,
    far: watch::Sender<Option<Far>>,
    /// Where the SFTP server starts, without links: asked before all else, and waited for by nobody.
    starts_at: OnceLock<Vec<u8>>,
    first_words: Mutex<FirstWords>,
    pub view: View,
    /// The round trip to the first hop, as it was measured where the link does not tell it.
    round_trip: OnceLock<Duration>,
    /// The hashing channel's number, once it is open.
    hashing: OnceLock<u32>,
    /// We have ended it: what is lost from now on is no drop.
    ended: AtomicBool,
    /// The one of the settings, or none where handles cannot be foreseen.
    habit: Arc<Habit>,
}

/// What the far end's shell told, once it has.
#[derive(Clone, Default)]
pub struct Far {
    pub end: FarEnd,
    pub hasher: Option<RemoteHasher>,
}

impl Pool {
    /// Opens the first channel (which must succeed) and, beside it, the hashing channel.
    pub async fn start(link: Arc<dyn Link>, settings: Settings) -> Result<Arc<Pool>, Fault> {
        let read_budget = link.receive_window();
        let pool = Arc::new(Pool {
            channels: Mutex::default(),
            next_index: AtomicU32::new(0),
            lanes: AtomicU32::new(1),
            lanes_added: AtomicU32::new(0),
            lane_states: Mutex::default(),
            large: Arc::new(Semaphore::new(lane::room(&*link))),
            widened: watch::Sender::new(true),
            leaving: Mutex::default(),
            lost_lanes: Mutex::default(),
            first: watch::Sender::new(false),
            opened: watch::Sender::new(0),
            wanted: AtomicUsize::new(1),
            growing: AtomicBool::new(false),
            limit: Mutex::new(None),
            reads: Arc::new(Semaphore::new(read_budget)),
            read_budget,
            far: watch::Sender::new(None),
            starts_at: OnceLock::new(),
            first_words: Mutex::default(),
            view: View::default(),
            round_trip: OnceLock::new(),
            hashing: OnceLock::new(),
            ended: AtomicBool::new(false),
            habit: if link.foresees() { settings.habit.clone() } else { Arc::new(Habit::none()) },
            settings,
            link,
        });
        // The first channel's open request is on the wire before the hashing channel's: with MaxSessions 1 it is the one
        // that is granted.
        let first = pool.clone();
        let mut first = Box::pin(async move { first.open_first().await });
        let early = futures::poll!(&mut first);
        if pool.settings.hashing || pool.settings.identity {
            // And its own before that of any second one, however late a task of its own would begin.
            let mut introduction = Box::pin(pool.clone().introduce());
            if futures::poll!(&mut introduction).is_pending() {
                tokio::spawn(introduction);
            }
        } else {
            pool.far.send_replace(Some(Far::default()));
        }
        lanes::adapt(&pool);
        let opened = match early {
            std::task::Poll::Ready(opened) => opened,
            std::task::Poll::Pending => first.await,
        };
        if pool.settings.hashing && pool.link.far().is_none() {
            pool.ask_where_it_starts();
        }
        // Whether or not it worked, nobody has to wait for it any more.
        pool.first.send_replace(true);
        opened?;
        // Not before: each is a process at the server, which the first one's answer would wait for.
        pool.want(pool.settings.eager);
        Ok(pool)
    }

    fn channels(&self) -> MutexGuard<'_, Vec<Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The answers to what was asked with the first channel's greeting, until somebody has them.
    pub(super) fn first_words(&self) -> MutexGuard<'_, FirstWords> {
        self.first_words.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What the far end's shell told; waits until it has, or until it is known that there is none.
    pub async fn far(&self) -> Far {
        let mut watcher = self.far.subscribe();
        match watcher.wait_for(Option::is_some).await {
            Ok(far) => far.clone().unwrap_or_default(),
            Err(_) => Far::default(),
        }
    }

    /// The far end's hasher, as [`Pool::far`] has it: asked for with each file.
    pub async fn hasher(&self) -> Option<RemoteHasher> {
        if let Some(far) = &*self.far.borrow() {
            return far.hasher.clone();
        }
        self.far().await.hasher
    }

    /// The far end's hasher, if it is known by now, and that a path means to it what it means to the SFTP server.
    pub fn hasher_in_the_same_place(&self) -> Option<RemoteHasher> {
        let starts_at = self.starts_at.get()?;
        self.far.borrow().as_ref().filter(|far| far.end.home.as_ref() == Some(starts_at))?.hasher.clone()
    }

    /// How long nothing may be heard of the hasher by who could ask the SFTP server instead.
    pub fn patience(&self) -> Duration {
        self.settings.stall.min(BUSY)
    }

    /// The hasher's channel, if we have one.
    pub fn hashing_channel(&self) -> Option<u32> {
        self.hashing.get().copied()
    }

    /// The hasher has failed: nobody asks it again.
    pub fn forget_hasher(&self, why: &str) {
        let gone = self.far.send_if_modified(|far| far.as_mut().is_some_and(|far| far.hasher.take().is_some()));
        if gone && !self.is_over() {
            let Settings { hop, ledger, .. } = &self.settings;
            let fault = Fault::new(hop.clone(), Stage::Hash, Cause::Lost, format!("the far end's hasher: {why}"));
            self.drop_counted(&fault, What::Channel);
            ledger.event(Event::HasherChosen { hop, by: super::READBACK, detail: why });
        }
    }

    /// The least loaded channel that is alive; `None` if there is none.
    pub fn lease(self: &Arc<Self>) -> Option<Lease> {
        self.lease_first_by(load)
    }

    /// The oldest channel that is alive: the same for all who ask, as long as it is.
    pub fn lease_first(self: &Arc<Self>) -> Option<Lease> {
        self.lease_first_by(|channel| channel.session.peer().channel)
    }

    fn lease_first_by<K: Ord>(self: &Arc<Self>, order: impl Fn(&Arc<Channel>) -> K) -> Option<Lease> {
        self.bury();
        let channels = self.channels();
        let lease = Lease::of(channels.iter().min_by_key(|channel| order(channel))?);
        drop(channels);
        self.grow();
        Some(lease)
    }

    /// As [`Pool::lease`], for a file of `len` bytes that can be opened and written at once. Where all channels are full, room is
    /// waited for on the least loaded one, and on any that is opened meanwhile: what comes before there are many would else
    /// all go the first one's way.
    pub async fn lease_to_write(self: &Arc<Self>, len: usize) -> Option<(Lease, Ready)> {
        let mut opened = self.opened.subscribe();
        loop {
            opened.mark_unchanged();
            let lease = self.lease_first_by(|channel| (!channel.has_room(), load(channel)))?;
            // In this order, as large files take them: whoever had room and waited for a handle might wait for those that have
            // the handles and wait for room.
            let ready = async {
                let open = lease.handle().await;
                Ready { open, room: lease.write_budget(len).await }
            };
            tokio::select! {
                biased;
                ready = ready => return Some((lease, ready)),
                // The sender is the pool's own.
                _ = opened.changed() => {}
            }
        }
    }

    /// Further channels of its lane for a file that is `first`'s already: the least loaded ones, `most` in all.
    pub fn beside(&self, first: &Arc<Channel>, most: usize) -> Vec<Arc<Channel>> {
        let on_its_lane = |c: &&Arc<Channel>| Arc::ptr_eq(&c.lane, &first.lane) && !Arc::ptr_eq(c, first);
        let mut others: Vec<_> = self.channels().iter().filter(on_its_lane).cloned().collect();
        others.sort_by_key(|c| c.jobs());
        others.truncate(most.saturating_sub(1));
        others
    }

    /// Takes out channels that have died, and counts them; those that died with their lane or connection are counted as that.
    pub(super) fn bury(&self) {
        let mut dead = Vec::new();
        self.channels().retain(|channel| {
            let fate = channel.session.fate();
            let alive = fate.is_none();
            dead.extend(fate.map(|fate| (channel.session.peer().channel, channel.session.peer().lane, fate)));
            alive
        });
        let Settings { hop, ledger, .. } = &self.settings;
        for (channel, lane, fate) in dead {
            ledger.event(Event::ChannelClosed { hop, lane, channel, why: Some(&fate) });
            if self.is_over() {
                continue;
            }
            match self.link.lane_fault(lane) {
                None => self.drop_counted(&fate, What::Channel),
                Some(fault) => {
                    let mut lost = self.lost_lanes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    if lost.insert(lane) {
                        self.drop_counted(&fault, What::Connection);
                    }
                }
            }
        }
    }

    /// The fault of the hop that none of the channels was answered for.
    pub(super) async fn silence(&self) -> Option<Fault> {
        let fate = self.channels().iter().find_map(|channel| channel.session.fate())?;
        self.link.blame(fate, BLAME_PATIENCE).await
    }

    /// All file channels.
    pub fn all(&self) -> Vec<Arc<Channel>> {
        self.channels().clone()
    }

    pub fn count(&self) -> usize {
        self.channels().len()
    }

    /// Waits until `len` more bytes may be asked for on this link.
    pub async fn read_budget(&self, len: usize) -> OwnedSemaphorePermit {
        let len = len.clamp(1, self.read_budget) as u32;
        match self.reads.clone().acquire_many_owned(len).await {
            Ok(permit) => permit,
            Err(_) => std::future::pending().await,
        }
    }

    /// The round trip to the first hop, where it is known by now.
    pub fn round_trip(&self) -> Option<Duration> {
        self.link.distance().or_else(|| self.round_trip.get().copied())
    }

    pub(super) fn found_round_trip(&self, round_trip: Duration) {
        self.round_trip.get_or_init(|| round_trip);
    }

    pub fn hop(&self) -> Arc<str> {
        self.settings.hop.clone()
    }

    /// Bytes moved so far, out and in.
    pub(super) fn moved(&self) -> (u64, u64) {
        (self.settings.traffic.sent(), self.settings.traffic.received())
    }

    /// Bytes known to be moved yet.
    pub(super) fn ahead(&self, flow: Flow) -> u64 {
        let ahead = self.settings.traffic.ahead(flow);
        match flow {
            Flow::Out => ahead.max(self.settings.known.saturating_sub(self.settings.traffic.settled())),
            Flow::In => ahead,
        }
    }

    /// Whether it is told of everything that is to be moved, before it is.
    pub(super) fn is_announced(&self) -> bool {
        !self.settings.crowd
    }

    pub(super) fn connections(&self) -> usize {
        self.settings.connections
    }

    /// Counts what was lost, unless it was lost with the link, which is counted by itself, or by our own ending it.
    pub(super) fn drop_counted(&self, fault: &Fault, what: What) {
        if !self.is_over() {
            self.settings.ledger.drop_counted(fault, what);
        }
    }

    /// The link has ended, or we have ended it: of its lanes the first may be the last to know.
    pub(super) fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.link.is_over()
    }

    /// Whether work can be done here: the link lives, and a channel on it.
    pub fn is_alive(&self) -> bool {
        !self.link.is_over() && self.channels().iter().any(|channel| channel.is_alive())
    }

    /// The first channel's limits and extensions: all channels are the same server's.
    pub fn abilities(&self) -> (Limits, Extensions) {
        self.channels()
            .first()
            .map_or((Limits::default(), Extensions::default()), |c| (c.session.limits, c.session.extensions))
    }

    /// Ends all channels, then the link.
    pub async fn close(&self) {
        self.bury();
        self.ended.store(true, Ordering::Release);
        self.large.close();
        self.far.send_replace(Some(Far::default()));
        let channels = std::mem::take(&mut *self.channels());
        let Settings { hop, ledger, .. } = &self.settings;
        // Told, or a run that goes on with another link would count these as open beside that one's.
        for channel in &channels {
            let (peer, fate) = (channel.session.peer(), channel.session.fate());
            ledger.event(Event::ChannelClosed { hop, lane: peer.lane, channel: peer.channel, why: fate.as_ref() });
        }
        if let Some(channel) = self.hashing.get() {
            ledger.event(Event::ChannelClosed { hop, lane: 0, channel: *channel, why: None });
        }
        drop(channels);
        self.tell_left(None);
        self.link.close().await;
    }
}
