//! What the holder knows of the far end, for clients and for a probe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::protocol::{Facts, Probe};
use crate::ledger::{HolderDrops, Ledger};
use crate::sftp::Request;
use crate::tree::remote::{Remote, pool};
use crate::verify::ladder::FarEnd;

/// A probe waits for channels to be opened: five seconds at most, in steps of this.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: usize = 100;

/// Kinds of drops that are told: a frame has its bounds.
const DROPS: usize = 16;

/// What there is to tell a client now.
pub async fn of(remote: &Arc<Remote>, ledger: &Ledger) -> Facts {
    let mut facts = Facts { holder: std::process::id(), drops: drops(ledger), ..Facts::default() };
    if let Ok(pool) = remote.pool().await {
        facts.openssh = pool.link.openssh();
        facts.receive_window = pool.link.receive_window();
        facts.hops = pool.link.hops();
        let far = pool.far().await;
        let hashing = far.hasher.is_some();
        facts.far = FarEnd { hasher: far.hasher.map(|hasher| hasher.rung), ..far.end };
        facts.limit = pool.limit().map(|files| (files as u32 + u32::from(hashing), files as u32, u32::from(hashing)));
    }
    facts
}

fn drops(ledger: &Ledger) -> Vec<HolderDrops> {
    let troubles = ledger.summary().troubles;
    let dropped = troubles.into_iter().filter(|trouble| trouble.drops() > 0).take(DROPS);
    dropped
        .map(|trouble| HolderDrops {
            times: trouble.drops(),
            hop: trouble.hop,
            stage: trouble.stage,
            cause: trouble.cause,
            example: trouble.example,
        })
        .collect()
}

/// All that is known, once as many channels are open as there can be: the limit is what refuses the next.
pub async fn probe(remote: &Arc<Remote>, ledger: &Ledger, clients: usize) -> Probe {
    remote.want(pool::ENOUGH);
    for _ in 0..LOOKS {
        match remote.pool().await {
            Ok(pool) if pool.limit().is_none() && pool.count() < pool::ENOUGH => tokio::time::sleep(LOOK).await,
            _ => break,
        }
    }
    let facts = of(remote, ledger).await;
    let Ok((pool, lease)) = remote.lease().await else {
        let limits = (0, 0, None);
        let (round_trips, extensions) = (Vec::new(), Vec::new());
        return Probe { facts, round_trips, channels: 0, clients, limits, extensions };
    };
    let mut round_trips = pool.link.round_trips().await;
    // The target is asked by a request that costs it next to nothing.
    let begun = Instant::now();
    let _ = lease.session.submit(&Request::Lstat { path: b"." }).await;
    round_trips.push(begun.elapsed());
    let (limits, known) = (lease.session.limits, lease.session.extensions);
    let named = [
        (known.posix_rename, "posix-rename"),
        (known.fsync, "fsync"),
        (known.lsetstat, "lsetstat"),
        (known.hardlink, "hardlink"),
        (known.copy_data, "copy-data"),
        (known.limits, "limits"),
    ];
    Probe {
        facts,
        round_trips,
        channels: pool.count(),
        clients,
        limits: (limits.read, limits.write, limits.handles),
        extensions: named.iter().filter(|(has, _)| *has).map(|(_, name)| (*name).to_owned()).collect(),
    }
}
