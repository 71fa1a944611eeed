//! Adds lanes while they raise throughput.
//!
//! One direct-tcpip channel carries one window per round trip to the jump, 2 MiB with sshd, however many SFTP channels run
//! inside it (52 MB/s at 40 ms). Where the rate comes near that, a lane with a window of its own is tried; it must have
//! brought something before the next one is.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::pool::Pool;

/// sshd's window for a direct-tcpip channel: 64 × 32 KiB (channels.h), and it is fixed.
const WINDOW: f64 = (2 << 20) as f64;

/// Connections that are begun at once.
const STARTS: usize = 3;

/// Lanes at most: one TCP connection stops carrying more long before (measured: 70 MB/s at 50 ms, with two).
const MOST: u32 = 8;

/// The share of what the windows allow from which on they are taken to be what binds.
const BOUND: f64 = 0.5;

/// A lane is worth its login if the rate grew by this much.
const WORTH: f64 = 1.1;

/// Seconds that one lane at its best would take for what is known to come, from which on the second is not waited for: it
/// takes half of one to open, and TCP's slow start is half as long for two. (Measured: 2 s of 15.)
const LONG: f64 = 1.5;

/// How often, and how many times, it is looked whether so much has come to be known.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 40;

/// Bytes moved, or known to come, below which nobody asks how far away the jump is: where less moves a lane is not worth its
/// login at any distance, and at the servers the answer takes a place that other answers wait for (Nagle, RFC 896: one
/// small segment in a round trip. Measured: 40 ms for each of the first questions of a run at 50 ms).
const MUCH: u64 = 8 * WINDOW as u64;

/// A jump that answers sooner than this is near enough for one window.
const NEAR: Duration = Duration::from_millis(2);

/// Questions to the jump, of which the one answered soonest tells the distance: a busy host answers late, but not each time.
const PINGS: usize = 3;

/// Watches the rate of a pool, for as long as it lives.
pub fn adapt(pool: &Arc<Pool>) {
    tokio::spawn(watch(Arc::downgrade(pool)));
}

/// The round trip to the first jump, by SSH's own clock: a relay or a ProxyCommand before it answers TCP at once.
async fn distance(pool: &Weak<Pool>) -> Option<Duration> {
    let mut least: Option<Duration> = None;
    for _ in 0..PINGS {
        let link = pool.upgrade().filter(|pool| pool.is_alive())?.link.clone();
        let took = link.round_trips().await.first().copied()?;
        least = Some(least.map_or(took, |least| least.min(took)));
        if took < NEAR {
            break;
        }
    }
    least
}

async fn watch(pool: Weak<Pool>) {
    let asked = pool.upgrade().map_or(1, |pool| pool.connections());
    // A few at a time: MaxStartups counts connections that are not logged in yet, ten before it drops any.
    let starts = futures::stream::iter(1..asked).map(|_| add(&pool)).buffer_unordered(STARTS);
    starts.for_each(|_| std::future::ready(())).await;
    loop {
        let Some(living) = pool.upgrade().filter(|pool| pool.is_alive()) else { return };
        let (sent, received) = living.moved();
        if living.ahead() + sent + received >= MUCH {
            break;
        }
        drop(living);
        tokio::time::sleep(LOOK).await;
    }
    let round_trip = distance(&pool).await.unwrap_or_default();
    if asked <= 1 && round_trip < NEAR {
        return;
    }
    let period = (round_trip * 10).max(Duration::from_millis(400));
    if asked <= 1 && !early(&pool, round_trip).await {
        return;
    }
    let mut before: Option<f64> = None;
    let Some((mut last, mut since)) = pool.upgrade().map(|pool| (pool.moved(), Instant::now())) else { return };
    loop {
        tokio::time::sleep(period).await;
        let Some(living) = pool.upgrade().filter(|pool| pool.is_alive()) else { return };
        let (now, elapsed) = (living.moved(), since.elapsed().as_secs_f64());
        let (sent, received) = ((now.0 - last.0) as f64 / elapsed, (now.1 - last.1) as f64 / elapsed);
        (last, since) = (now, Instant::now());
        let window = if sent >= received { WINDOW } else { living.link.receive_window() as f64 };
        let rate = sent.max(received);
        let lanes = living.lanes();
        let allowed = f64::from(lanes) * window / round_trip.as_secs_f64().max(0.001);
        tracing::debug!(rate, allowed, lanes, "lanes");
        if rate < BOUND * allowed {
            continue;
        }
        if before.is_some_and(|before| rate < before * WORTH) || lanes >= MOST {
            return;
        }
        before = Some(rate);
        drop(living);
        if !add(&pool).await {
            return;
        }
        // The first period with a new lane shows it ramping up.
        tokio::time::sleep(period).await;
        let Some(living) = pool.upgrade() else { return };
        (last, since) = (living.moved(), Instant::now());
    }
}

/// Adds the second lane as soon as it is known that much is to come. False if the pool has ended, or gives no lanes.
async fn early(pool: &Weak<Pool>, round_trip: Duration) -> bool {
    for _ in 0..LOOKS {
        let Some(living) = pool.upgrade().filter(|pool| pool.is_alive()) else { return false };
        if living.ahead() as f64 > LONG * WINDOW / round_trip.as_secs_f64() {
            drop(living);
            return add(pool).await;
        }
        drop(living);
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// False if there is no lane to be had: what is there carries on.
async fn add(pool: &Weak<Pool>) -> bool {
    let Some(pool) = pool.upgrade().filter(|pool| pool.is_alive()) else { return false };
    match pool.add_lane().await {
        Ok(added) => added,
        Err(fault) => {
            tracing::debug!(%fault, "no further lane");
            if !pool.link.is_over() {
                pool.drop_counted(&fault);
            }
            false
        }
    }
}
