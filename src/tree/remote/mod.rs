//! The far end over SFTP: many channels on one connection, found again when it is lost.

mod attributes;
mod copy;
mod file;
pub mod foresight;
mod hashes;
mod lanes;
pub mod link;
mod listing;
mod parts;
pub mod pool;
mod readback;
mod rename;
pub mod small;
mod tree;
mod view;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::engine::retry::{Decision, Retry, Scope};
use crate::fault::{Cause, Fault, Stage};
use crate::ledger::What;
use crate::sftp::traffic::Traffic;
use crate::ssh::hop::{BLAME_PATIENCE, Windows};
use crate::verify::Algorithm;

use super::Result;
use foresight::Foresight;
use link::{Connector, State};
use pool::{Large, Lease, Pool, Ready, Settings};
pub use tree::RemoteTree;

/// The lowest rung of the ladder, in the ledger's words.
pub const READBACK: &str = "read-back";

/// The far end: whatever connection there is to it now.
pub struct Remote {
    connector: Box<dyn Connector>,
    settings: Settings,
    hop: Arc<str>,
    current: Mutex<Option<Arc<Pool>>>,
    /// Held by whoever connects again, for all.
    connecting: tokio::sync::Mutex<Retry>,
    /// Set when it was given up for good.
    given_up: OnceLock<Fault>,
    /// Something was done since the last connect: a connection that only ever dies is given up in the end.
    progressed: AtomicBool,
    chunk: OnceLock<usize>,
    foresight: Foresight,
}

impl Remote {
    /// Connects, trying again where that may help.
    pub async fn connect(connector: Box<dyn Connector>, settings: Settings, first: Retry) -> Result<Arc<Remote>> {
        let remote = Arc::new(Remote {
            hop: settings.hop.clone(),
            connector,
            settings,
            current: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(first),
            given_up: OnceLock::new(),
            progressed: AtomicBool::new(false),
            chunk: OnceLock::new(),
            foresight: Foresight::default(),
        });
        remote.pool().await?;
        // From now on a host that cannot be reached is one that was.
        *remote.connecting.lock().await = Retry::new(Scope::Reconnect);
        Ok(remote)
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Pool>>> {
        self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn living(&self) -> Option<Arc<Pool>> {
        self.current().clone().filter(|pool| pool.is_alive())
    }

    /// The pool to work on; connects again, once for all who wait, if the last connection or all of its channels died.
    pub async fn pool(&self) -> Result<Arc<Pool>> {
        if let Some(pool) = self.living() {
            return Ok(pool);
        }
        let mut retry = self.connecting.lock().await;
        if let Some(pool) = self.living() {
            return Ok(pool);
        }
        if let Some(fault) = self.given_up.get() {
            return Err(fault.clone());
        }
        let old = self.current().take();
        if let Some(old) = old {
            if self.progressed.swap(false, Ordering::Relaxed) {
                retry.succeeded();
            }
            match old.link.state() {
                // Its channels ended one by one, and are counted so.
                State::Alive => match old.silence().await {
                    Some(fault) => self.settings.ledger.drop_counted(&fault, What::Connection),
                    None => old.bury(),
                },
                State::Lost(fault) => {
                    let text = format!("the connection was lost: {}", fault.text);
                    self.settings.ledger.drop_counted(&Fault { text, ..fault }, What::Connection);
                }
                State::Unknown => self.settings.ledger.drop_counted(&self.lost(), What::Connection),
            }
            old.close().await;
        }
        let started = Instant::now();
        loop {
            let (fault, what) = match self.attempt().await {
                Ok(pool) => {
                    *self.current() = Some(pool.clone());
                    return Ok(pool);
                }
                Err(failed) => failed,
            };
            let decision = retry.after(&fault, started.elapsed(), &mut rand::rng());
            match decision {
                Decision::Retry(wait) => {
                    tracing::info!(%fault, ?wait, "connecting again");
                    self.settings.ledger.drop_counted(&fault, what);
                    tokio::time::sleep(wait).await;
                }
                Decision::GiveUp(_) => {
                    let fault = self.given_up.get_or_init(|| fault);
                    return Err(fault.clone());
                }
            }
        }
    }

    fn lost(&self) -> Fault {
        Fault::new(self.hop.clone(), Stage::Session, Cause::Lost, "the connection was lost; connecting again")
    }

    /// Connects, and opens a first channel. A failure comes with what it was that failed.
    async fn attempt(&self) -> std::result::Result<Arc<Pool>, (Fault, What)> {
        let link = self.connector.connect().await.map_err(|fault| (fault, What::Connection))?;
        let pool = match Pool::start(link.clone(), self.settings.clone()).await {
            Ok(pool) => pool,
            Err(fault) => {
                let failed = match link.state() {
                    State::Alive => match link.blame(fault.clone(), BLAME_PATIENCE).await {
                        Some(silent) => (silent, What::Connection),
                        None => (fault, What::Channel),
                    },
                    State::Lost(fault) => (fault, What::Connection),
                    State::Unknown => (fault, What::Connection),
                };
                link.close().await;
                return Err(failed);
            }
        };
        let (limits, _) = pool.abilities();
        self.chunk.get_or_init(|| limits.read.min(limits.write) as usize);
        Ok(pool)
    }

    /// The least loaded channel there is; connects again if there is none.
    pub async fn lease(&self) -> Result<(Arc<Pool>, Lease)> {
        loop {
            let pool = self.pool().await?;
            if let Some(lease) = pool.lease() {
                return Ok((pool, lease));
            }
        }
    }

    /// As [`Remote::lease`], for a file of `len` bytes that can be opened and written at once ([`Pool::lease_to_write`]).
    pub async fn lease_to_write(&self, len: usize) -> Result<(Lease, Ready)> {
        loop {
            if let Some(leased) = self.pool().await?.lease_to_write(len).await {
                return Ok(leased);
            }
        }
    }

    /// As [`Remote::lease`], for a file of `size` bytes that moves in pieces.
    async fn lease_large(&self, size: u64) -> Result<(Arc<Pool>, (Lease, Large))> {
        loop {
            let pool = self.pool().await?;
            if let Some(lease) = pool.lease_large(size) {
                return Ok((pool, lease));
            }
        }
    }

    /// The connection was good for something: the next loss is a first one.
    pub fn progressed(&self) {
        self.progressed.store(true, Ordering::Relaxed);
    }

    /// Whether the way there is long, as the window that is offered tells.
    pub fn leads_far(&self) -> bool {
        self.living().is_some_and(|pool| pool.link.receive_window() > Windows::NEAR as usize)
    }

    /// The work could use this many channels.
    pub fn want(&self, channels: usize) {
        if let Some(pool) = self.living() {
            pool.want(channels);
        }
    }

    pub fn hop(&self) -> Arc<str> {
        self.hop.clone()
    }

    /// Whether it was given up for good: every call fails from now on.
    pub fn gave_up(&self) -> bool {
        self.given_up.get().is_some()
    }

    /// Whether a link's own time and owner can be set there (`lsetstat@openssh.com`).
    pub fn sets_links(&self) -> bool {
        self.living().is_some_and(|pool| pool.abilities().1.lsetstat)
    }

    /// Whether a connection of our own might ask a person what the shared one has been told already.
    pub fn asked_person(&self) -> bool {
        self.living().is_some_and(|pool| pool.link.asked_person())
    }

    /// Finds out which hop a silence is due to.
    pub async fn blame(&self, fault: Fault, patience: Duration) -> Fault {
        let link = self.current().as_ref().map(|pool| pool.link.clone());
        match link {
            Some(link) => link.blame(fault.clone(), patience).await.unwrap_or(fault),
            None => fault,
        }
    }

    /// The round trip to the first hop, where it is known by now.
    pub fn round_trip(&self) -> Option<Duration> {
        self.living().and_then(|pool| pool.round_trip())
    }

    pub fn traffic(&self) -> &Traffic {
        &self.settings.traffic
    }

    /// File channels open now.
    pub fn channels(&self) -> usize {
        self.current().as_ref().map_or(0, |pool| pool.count())
    }

    /// The hash that the far end can make; BLAKE3 where everything is read back.
    pub async fn algorithm(&self) -> Algorithm {
        while let Ok(pool) = self.pool().await {
            let hasher = pool.hasher().await;
            // A connection that is lost meanwhile knows of none.
            if !pool.link.is_over() {
                return hasher.map_or(Algorithm::Blake3, |hasher| hasher.rung.algorithm());
            }
        }
        Algorithm::Blake3
    }

    pub async fn close(&self) {
        let fault = Fault::new(self.hop.clone(), Stage::Session, Cause::Cancelled, "the run has ended");
        self.given_up.get_or_init(|| fault);
        let pool = self.current().take();
        if let Some(pool) = pool {
            pool.close().await;
        }
    }

    /// The name that was logged in with, where it is known.
    pub fn user(&self) -> Option<String> {
        self.living().and_then(|pool| pool.link.hops().pop()).map(|hop| hop.user)
    }

    /// The far end rooted at a directory; empty is the login's home.
    pub fn tree(self: &Arc<Self>, root: &[u8]) -> RemoteTree {
        RemoteTree { remote: self.clone(), root: root.into() }
    }
}
