//! The channels of one link: opened as work comes until the server refuses, each with its budget, handed out by load.

mod channel;
mod lane;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::fault::{Cause, Fault, Stage};
use crate::ledger::{Event, Ledger, Purpose, What};
use crate::sftp::handles::Habit;
use crate::sftp::session::Peer;
use crate::sftp::traffic::{Flow, Traffic, counted};
use crate::sftp::{Extensions, Flight, Limits, Request, Session};
use crate::ssh::hop::BLAME_PATIENCE;
use crate::verify::ladder::{self, FarEnd};
use crate::verify::remote::{self, RemoteHasher};

use super::foresight::{FirstWords, Look, Opening};
use super::link::Link;
use super::view::View;
use super::{lanes, listing};
pub use channel::{Channel, Lease, Ready, Room};
use lane::LaneState;
pub use lane::Large;

/// For INIT and limits@.
const INIT_PATIENCE: Duration = Duration::from_secs(60);

/// A hasher of which nothing is heard for so long hashes something large, or its disk is slow.
const BUSY: Duration = Duration::from_secs(2);

/// Without `--channels`: more than this many bring nothing on any path that we measured, and each is a process at the
/// server.
pub const ENOUGH: usize = 16;

/// Channels opened together. A refused one costs the server nothing, a step costs several round trips.
pub const STEP: usize = 8;

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

/// Channels that were asked for and did not come to be used.
#[derive(Default)]
struct Failed {
    /// By the session limit.
    refused: u32,
    lost: u32,
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

    /// Its server may have been ended before it said anything. That there is none shows only when a second one is as silent.
    async fn open_first(&self) -> Result<(), Fault> {
        let silent = |fault: &Fault| (fault.stage, fault.cause) == (Stage::Init, Cause::Lost) && !self.link.is_over();
        match self.open(0).await {
            Err(fault) if silent(&fault) => self.drop_counted(&fault, What::Channel),
            opened => return opened,
        }
        let opened = self.open(0).await;
        opened.map_err(|fault| if silent(&fault) { Fault { cause: Cause::Protocol, ..fault } } else { fault })
    }

    async fn open(&self, lane: u32) -> Result<(), Fault> {
        let started = Instant::now();
        let index = self.next_index.fetch_add(1, Ordering::Relaxed);
        let (wire, lane) = self.link.sftp_on(lane).await.map_err(|fault| Fault { channel: Some(index), ..fault })?;
        let Settings { hop, ledger, stall, traffic, .. } = &self.settings;
        let peer = Peer {
            hop: hop.clone(),
            lane,
            channel: index,
            openssh: self.link.openssh(),
            stall: *stall,
            traffic: traffic.clone(),
            habit: self.habit.clone(),
        };
        let looks = std::mem::take(&mut *self.settings.looks.lock().unwrap_or_else(|p| p.into_inner()));
        let asking = |flight: &mut Flight<'_>| (!looks.is_empty()).then(|| Opening::ask(flight, &looks));
        let (session, asked) = Session::start_with(wire, peer, INIT_PATIENCE, asking).await?;
        let channel = Arc::new(Channel::new(session, self.lane_state(lane)));
        if let Some(opening) = asked.flatten() {
            *self.first_words() = opening.answers(&channel);
        }
        self.channels().push(channel);
        self.opened.send_modify(|opened| *opened += 1);
        let elapsed = started.elapsed();
        ledger.event(Event::ChannelOpened { hop, lane, channel: index, purpose: Purpose::Files, elapsed });
        Ok(())
    }

    /// The answers to what was asked with the first channel's greeting, until somebody has them.
    pub(super) fn first_words(&self) -> MutexGuard<'_, FirstWords> {
        self.first_words.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Starts the far end's script, and with it the hasher, on a channel of its own.
    async fn introduce(self: Arc<Self>) {
        let Settings { hop, ledger, hashing, traffic, .. } = &self.settings;
        if let Some(end) = self.link.far() {
            let by = end.hasher.map_or(super::READBACK, |rung| rung.name());
            ledger.event(Event::HasherChosen { hop, by, detail: "by the shared connection" });
            let hasher = end.hasher.map(RemoteHasher::shared);
            self.far.send_replace(Some(Far { hasher, end }));
            return;
        }
        let started = Instant::now();
        let index = self.next_index.fetch_add(1, Ordering::Relaxed);
        let script = if *hashing { ladder::script() } else { ladder::SCRIPT_WITHOUT_HASHER };
        let far = match self.link.exec(script.as_bytes()).await {
            Ok(wire) => {
                // One that only tells who we are ends at once: it is none of the channels that are kept.
                if *hashing {
                    let (lane, purpose, elapsed) = (0, Purpose::Hashing, started.elapsed());
                    let _ = self.hashing.set(index);
                    ledger.event(Event::ChannelOpened { hop, lane, channel: index, purpose, elapsed });
                }
                remote::start(counted(wire, traffic), hop.clone()).await
            }
            Err(fault) => Err(fault),
        };
        let far = match far {
            Ok(found) => Far { end: found.far, hasher: found.hasher },
            Err(fault) => {
                tracing::debug!(%fault, "no hasher at the far end");
                match fault.cause {
                    Cause::SessionLimit => self.found_limit(1, false, 1),
                    // An account that runs no commands has lost nothing; a connection that is lost is told as that.
                    Cause::Unsupported => {}
                    _ => self.drop_counted(&fault, What::Channel),
                }
                Far::default()
            }
        };
        let (by, detail) = match &far.hasher {
            Some(hasher) => (hasher.rung.name(), "on a channel of its own"),
            None => (super::READBACK, "no hasher there"),
        };
        if *hashing {
            ledger.event(Event::HasherChosen { hop, by, detail });
        }
        self.far.send_replace(Some(far));
    }

    fn ask_where_it_starts(self: &Arc<Self>) {
        let Some(channel) = self.channels().first().cloned() else { return };
        let asked = channel.session.submit(&Request::Realpath { path: b"." });
        let pool = self.clone();
        tokio::spawn(async move {
            let answer = asked.names(Stage::List, b".").await.ok();
            if let Some(place) = answer.and_then(listing::one_name) {
                let _ = pool.starts_at.set(place);
            }
        });
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

    /// Sessions that the server allows on this connection, once it has refused one.
    pub fn limit(&self) -> Option<usize> {
        *self.limit.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// All file channels.
    pub fn all(&self) -> Vec<Arc<Channel>> {
        self.channels().clone()
    }

    pub fn count(&self) -> usize {
        self.channels().len()
    }

    /// Those that the server's limit for one connection binds; each further lane has its own.
    fn count_first_lane(&self) -> usize {
        self.channels().iter().filter(|channel| channel.session.peer().lane == 0).count()
    }

    /// The work could use this many channels.
    pub fn want(self: &Arc<Self>, channels: usize) {
        let most = self.link.channels().unwrap_or(usize::MAX).min(self.settings.most);
        self.wanted.fetch_max(channels.min(most), Ordering::Relaxed);
        self.grow();
    }

    /// Opens what is wanted, a step at a time, until the server refuses. One growth at a time.
    fn grow(self: &Arc<Self>) {
        if self.room() == 0 || self.growing.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = self.clone();
        tokio::spawn(async move {
            loop {
                let step = pool.room().min(STEP);
                if step == 0 || pool.link.is_over() {
                    break;
                }
                // The first one is about to come, if it is not there.
                let before = pool.count_first_lane().max(1);
                let opened = futures::future::join_all((0..step).map(|_| pool.open(0))).await;
                let open = before + opened.iter().filter(|opened| opened.is_ok()).count();
                // The first channel was asked for before these, but may be answered after them.
                if pool.first.subscribe().wait_for(|open| *open).await.is_err() {
                    break;
                }
                let Failed { refused, lost } = pool.count_failed(opened);
                if lost > 0 {
                    // Never again on this link: what is open carries on.
                    pool.wanted.store(pool.count_first_lane(), Ordering::Relaxed);
                }
                if refused > 0 {
                    // The hashing channel is asked for before any second one and counts if it was granted.
                    let known = pool.hasher().await.is_some();
                    let hashing = known || pool.link.is_over() && pool.hashing.get().is_some();
                    pool.found_limit(open, pool.settings.hashing && hashing, refused);
                }
                if refused + lost > 0 {
                    break;
                }
            }
            pool.growing.store(false, Ordering::Release);
        });
    }

    /// Counts the channels that were lost before they could be used.
    fn count_failed(&self, opened: Vec<Result<(), Fault>>) -> Failed {
        let mut failed = Failed::default();
        for fault in opened.into_iter().filter_map(Result::err) {
            if fault.cause == Cause::SessionLimit {
                failed.refused += 1;
                continue;
            }
            tracing::debug!(%fault, "no further channel");
            failed.lost += 1;
            self.drop_counted(&fault, What::Channel);
        }
        failed
    }

    fn room(&self) -> usize {
        let limit = self.limit.lock().unwrap_or_else(|p| p.into_inner()).unwrap_or(usize::MAX);
        // The first channel counts although it may still be opening.
        self.wanted.load(Ordering::Relaxed).min(limit).saturating_sub(self.count_first_lane().max(1))
    }

    /// The server allows this many channels for files beside the hashing one; `refused` that were asked for were beyond it.
    fn found_limit(&self, files: usize, hashing: bool, refused: u32) {
        *self.limit.lock().unwrap_or_else(|p| p.into_inner()) = Some(files);
        let Settings { hop, ledger, .. } = &self.settings;
        let (files, hashing) = (files as u32, u32::from(hashing));
        ledger.event(Event::LimitFound { hop, sessions: files + hashing, files, hashing, refused });
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
