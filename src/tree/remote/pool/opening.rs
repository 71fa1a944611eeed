//! How channels come to be: the first one and the hasher's beside it, then steps of more until the server refuses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::fault::{Cause, Fault, Stage};
use crate::ledger::{Event, Purpose, What};
use crate::sftp::session::Peer;
use crate::sftp::traffic::counted;
use crate::sftp::{Flight, Request, Session};
use crate::verify::ladder;
use crate::verify::remote::{self, RemoteHasher};

use super::super::READBACK;
use super::super::foresight::Opening;
use super::super::listing;
use super::{Channel, Far, Pool, Settings};

/// For INIT and limits@.
const INIT_PATIENCE: Duration = Duration::from_secs(60);

/// Without `--channels`: more than this many bring nothing on any path that we measured, and each is a process at the
/// server.
pub const ENOUGH: usize = 16;

/// Channels opened together. A refused one costs the server nothing, a step costs several round trips.
pub const STEP: usize = 8;

/// Channels that were asked for and did not come to be used.
#[derive(Default)]
pub(super) struct Failed {
    /// By the session limit.
    pub(super) refused: u32,
    pub(super) lost: u32,
}

impl Pool {
    /// Its server may have been ended before it said anything. That there is none shows only when a second one is as silent.
    pub(super) async fn open_first(&self) -> Result<(), Fault> {
        let silent = |fault: &Fault| (fault.stage, fault.cause) == (Stage::Init, Cause::Lost) && !self.link.is_over();
        match self.open(0).await {
            Err(fault) if silent(&fault) => self.drop_counted(&fault, What::Channel),
            opened => return opened,
        }
        let opened = self.open(0).await;
        opened.map_err(|fault| if silent(&fault) { Fault { cause: Cause::Protocol, ..fault } } else { fault })
    }

    pub(super) async fn open(&self, lane: u32) -> Result<(), Fault> {
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

    /// Starts the far end's script, and with it the hasher, on a channel of its own.
    pub(super) async fn introduce(self: Arc<Self>) {
        let Settings { hop, ledger, hashing, traffic, .. } = &self.settings;
        if let Some(end) = self.link.far() {
            let by = end.hasher.map_or(READBACK, |rung| rung.name());
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
            None => (READBACK, "no hasher there"),
        };
        if *hashing {
            ledger.event(Event::HasherChosen { hop, by, detail });
        }
        self.far.send_replace(Some(far));
    }

    pub(super) fn ask_where_it_starts(self: &Arc<Self>) {
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

    /// Sessions that the server allows on this connection, once it has refused one.
    pub fn limit(&self) -> Option<usize> {
        *self.limit.lock().unwrap_or_else(|p| p.into_inner())
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
    pub(super) fn grow(self: &Arc<Self>) {
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
    pub(super) fn count_failed(&self, opened: Vec<Result<(), Fault>>) -> Failed {
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
}
