//! What a pool counts, over a link that does what the test says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey};
use tokio::sync::Notify;

use crate::fault::{Cause, Fault, Stage};
use crate::lab::server::{Config, serve_wire};
use crate::ledger::{self, Ledger};
use crate::sftp::wire::{self, BoxFuture, Wire};

use super::super::link::Link;
use super::{Lease, Pool, Ready, Settings};

/// Channels to a server in this process; a lane that comes to nothing, as soon as the link is closed or the test wants it.
struct Memory {
    home: PathBuf,
    /// Channels at most.
    most: usize,
    adding: Notify,
    fails: Notify,
}

impl Link for Memory {
    fn sftp(&self) -> BoxFuture<'_, Result<(Wire, u32), Fault>> {
        Box::pin(async move {
            let (near, far) = wire::pair(8);
            let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a key can be made");
            let config = Config::target(key.public_key().clone(), self.home.clone());
            tokio::spawn(async move { serve_wire(far, &config).await });
            Ok((near, 0))
        })
    }

    fn exec<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<Wire, Fault>> {
        Box::pin(std::future::ready(Err(Fault::new("memory", Stage::Session, Cause::Unsupported, "runs nothing"))))
    }

    fn openssh(&self) -> bool {
        true
    }

    fn channels(&self) -> Option<usize> {
        Some(self.most)
    }

    fn receive_window(&self) -> usize {
        1 << 20
    }

    /// Never so soon as its lanes.
    fn is_over(&self) -> bool {
        false
    }

    fn add_lane(&self) -> BoxFuture<'_, Result<Option<u32>, Fault>> {
        Box::pin(async move {
            self.adding.notify_one();
            self.fails.notified().await;
            Err(Fault::new("memory", Stage::Session, Cause::Lost, "the lane's session is gone"))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.fails.notify_one();
        Box::pin(std::future::ready(()))
    }
}

/// A pool of one channel, and what it is counted in.
async fn pool(most: usize, connections: usize) -> (Arc<Pool>, Arc<Memory>, Arc<Ledger>) {
    let link = Arc::new(Memory { home: std::env::temp_dir(), most, adding: Notify::new(), fails: Notify::new() });
    let ledger = Arc::new(Ledger::new(ledger::Settings::default()));
    let settings = Settings {
        hop: "memory".into(),
        ledger: ledger.clone(),
        most,
        eager: 1,
        stall: Duration::from_secs(60),
        hashing: false,
        connections,
        identity: false,
        traffic: Arc::default(),
        looks: Arc::default(),
        habit: Arc::default(),
        known: 0,
        crowd: false,
    };
    let pool = Pool::start(link.clone(), settings).await.expect("the first channel opens");
    (pool, link, ledger)
}

/// A pool that is about to have a second connection.
async fn adding() -> (Arc<Pool>, Arc<Memory>, Arc<Ledger>) {
    let (pool, link, ledger) = pool(1, 2).await;
    link.adding.notified().await;
    (pool, link, ledger)
}

/// Until nobody else has the pool: what was begun has been counted.
async fn alone(pool: &Arc<Pool>) {
    let alone = async {
        while Arc::strong_count(pool) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), alone).await.expect("the task that adds lanes ends");
}

#[tokio::test]
async fn a_lane_that_the_end_of_the_run_ends_is_no_drop() {
    let (pool, _, ledger) = adding().await;
    pool.close().await;
    alone(&pool).await;
    assert_eq!(ledger.counts().dropped_connections, 0);
}

#[tokio::test]
async fn a_lane_that_is_not_to_be_had_is_one() {
    let (pool, link, ledger) = adding().await;
    link.fails.notify_one();
    alone(&pool).await;
    assert_eq!(ledger.counts().dropped_connections, 1);
    pool.close().await;
}

#[tokio::test]
async fn whoever_waits_for_room_on_a_full_channel_takes_one_that_is_opened_meanwhile() {
    const ALL: usize = 2 << 20;
    let (pool, _, _) = pool(2, 1).await;
    let (first, full) = pool.lease_to_write(ALL).await.expect("a channel");
    let mut waiting = Box::pin(pool.lease_to_write(1));
    assert!(futures::poll!(&mut waiting).is_pending(), "there is no room");
    pool.want(2);
    let (second, ready) = soon(waiting).await;
    assert_ne!(first.session.peer().channel, second.session.peer().channel);
    // However many jobs it has: the other is full.
    let _many: Vec<_> = (0..3).filter_map(|_| pool.lease()).collect();
    drop(ready);
    let (again, other) = soon(Box::pin(pool.lease_to_write(ALL))).await;
    assert_eq!(again.session.peer().channel, second.session.peer().channel);
    // Where none is opened, it is the room that is given back.
    let mut waiting = Box::pin(pool.lease_to_write(ALL));
    assert!(futures::poll!(&mut waiting).is_pending(), "there is no room");
    drop((full, other));
    soon(waiting).await;
    pool.close().await;
}

#[tokio::test]
async fn whoever_opens_files_for_others_waits_for_room_only_while_lanes_are_added() {
    let (pool, _, _) = pool(1, 1).await;
    pool.is_widened(false);
    let mut taken = Vec::new();
    let last = loop {
        let mut waiting = Box::pin(pool.large_room_or_lanes(u64::MAX));
        match futures::poll!(&mut waiting) {
            std::task::Poll::Ready(room) => taken.push(room.expect("there is room")),
            std::task::Poll::Pending => break waiting,
        }
        assert!(taken.len() < 1000, "it has an end");
    };
    taken.pop();
    let room = tokio::time::timeout(Duration::from_secs(10), last).await.expect("it ends");
    assert!(room.is_some(), "room that is given back is taken");
    let mut waiting = Box::pin(pool.large_room_or_lanes(1));
    assert!(futures::poll!(&mut waiting).is_pending());
    pool.is_widened(true);
    let none = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it ends");
    assert!(none.is_none(), "nobody who is slow keeps others waiting");
    pool.close().await;
}

/// What has to come, and must not hang the tests where it does not.
async fn soon(waiting: impl Future<Output = Option<(Lease, Ready)>>) -> (Lease, Ready) {
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it ends").expect("a channel")
}
