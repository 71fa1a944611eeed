//! Adds lanes while they raise throughput, and gives back those that do not.
//!
//! One direct-tcpip channel carries one window per round trip to the jump, 2 MiB with sshd, however many SFTP channels run
//! inside it (52 MB/s at 40 ms). Where much is known to come that way, further lanes with windows of their own are opened at
//! once; later the rate tells whether one more would help, and whether the last one did.
//!
//! What comes *to* us is bound by TCP at the jump, not by the window that we offer. sshd waits until a third of its socket's buffer is
//! free, then sends a packet of *each* channel that has something (channels.c, `channel_output_poll`): the more lanes and the longer
//! their packets, the fuller the buffer stays.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use crate::ledger::What;
use crate::sftp::traffic::Flow;

use super::pool::Pool;

/// sshd's window for a direct-tcpip channel: 64 × 32 KiB (channels.h), and it is fixed.
const WINDOW: f64 = (2 << 20) as f64;

/// Logins that are begun at once: MaxStartups counts those that are not done yet, ten before it drops any.
const STARTS: usize = 3;

/// The same for those of a pull, which are more: four invocations may have connections of their own ([`crate::share::own`]).
const PULL_STARTS: usize = 2;

/// Lanes at most: one TCP connection stops carrying more long before.
const MOST: u32 = 8;

/// Lanes of a connection that are opened as soon as much is known to come. Linux gives a TCP connection 4 MiB to send from
/// (tcp_wmem), two windows; one more keeps them full while an adjustment of a window is under way (measured, 500 MB over 50 ms,
/// medians of three: 8.40 s with three, 8.43 s with four; one lane carries 38 MB/s).
const EARLY: u32 = 3;

/// The same where much is to come to us, over one connection: several have enough with one lane each (measured at 40 ms to the
/// jump, 900 files of 1 MiB and one of 500 MiB: 15.7 and 9.1 s with one lane, 12.7 and 7.8 with eight, 13 to 14 with twelve or
/// sixteen; over four connections 6.8 and 3.9, with further lanes 7.2 and 4.2).
const EARLY_PULL: u32 = MOST;

/// Seconds that one lane at its best would take for what is known to come, from which on others are not waited for: each takes
/// half a second to open.
const LONG: f64 = 1.5;

/// The same of a pull, which all lanes together carry only a fifth sooner.
const LONG_PULL: f64 = 4.0;

/// The share of what the windows allow from which on they are taken to be what binds.
const BOUND: f64 = 0.6;

/// A lane is worth its login if the rate grew by this much.
const WORTH: f64 = 1.1;

/// The share of what one lane less would allow, below which that one would do.
const SPARE: f64 = 0.5;

/// So many periods in a row it must have been so.
const SPARED: u32 = 4;

/// How often it is looked whether so much has come to be known.
const LOOK: Duration = Duration::from_millis(20);

/// Bytes moved, or known to come, below which nobody asks how far away the jump is: where less moves a lane is not worth its
/// login at any distance, and at the servers the answer takes a place that other answers wait for (Nagle, RFC 896: one
/// small segment in a round trip. Measured: 40 ms for each of the first questions of a run at 50 ms).
const MUCH: u64 = 8 * WINDOW as u64;

/// A jump that answers sooner than this is near enough for one window.
const NEAR: Duration = Duration::from_millis(2);

/// Questions to the jump, of which the one answered soonest tells the distance: a busy host answers late, but not each time.
const PINGS: usize = 3;

/// How long a rate is measured: in round trips, and at least.
const PERIOD: u32 = 10;
const LEAST: Duration = Duration::from_millis(400);

/// Watches the rate of a pool, for as long as it lives.
pub fn adapt(pool: &Arc<Pool>) {
    tokio::spawn(watch(Arc::downgrade(pool)));
}

async fn watch(pool: Weak<Pool>) {
    let Some(asked) = pool.upgrade().map(|pool| pool.connections() as u32) else { return };
    add(&pool, asked.saturating_sub(1), STARTS).await;
    if !is_much(&pool).await {
        return;
    }
    widened(&pool, false);
    let round_trip = widen(&pool, asked).await;
    widened(&pool, true);
    if let Some(round_trip) = round_trip {
        follow(&pool, round_trip, asked).await;
    }
}

fn widened(pool: &Weak<Pool>, widened: bool) {
    if let Some(living) = pool.upgrade() {
        living.is_widened(widened);
    }
}

/// Adds what lanes are worth their while for what is known to come. The round trip, if lanes may be worth it at all.
async fn widen(pool: &Weak<Pool>, asked: u32) -> Option<Duration> {
    let round_trip = distance(pool).await?;
    let living = pool.upgrade()?;
    if !round_trip.is_zero() {
        living.found_round_trip(round_trip);
    }
    if round_trip < NEAR && asked <= 1 {
        return None;
    }
    let early = early(Flow::Out, living.ahead(Flow::Out), living.lanes(), round_trip, asked);
    drop(living);
    add(pool, early, STARTS).await;
    Some(round_trip)
}

/// Further lanes that so many bytes, known to move this way, are worth.
fn early(flow: Flow, ahead: u64, lanes: u32, round_trip: Duration, asked: u32) -> u32 {
    let one_lane = WINDOW / round_trip.as_secs_f64().max(0.001);
    let (long, worth) = match flow {
        // Each connection has a TCP of its own to fill.
        Flow::Out => (LONG * f64::from(lanes), (EARLY * asked).min(MOST)),
        Flow::In if asked > 1 => return 0,
        Flow::In => (LONG_PULL, EARLY_PULL),
    };
    if ahead as f64 > long * one_lane { worth.saturating_sub(lanes) } else { 0 }
}

/// Waits until much has moved, or is known to come. False if the pool has ended.
async fn is_much(pool: &Weak<Pool>) -> bool {
    loop {
        let Some(living) = pool.upgrade().filter(|pool| !pool.is_over()) else { return false };
        let (sent, received) = living.moved();
        if living.ahead(Flow::Out) + living.ahead(Flow::In) + sent + received >= MUCH {
            return true;
        }
        drop(living);
        tokio::time::sleep(LOOK).await;
    }
}

/// The round trip to the first jump: TCP's, or SSH's own where a relay or a ProxyCommand before it may answer TCP at once.
async fn distance(pool: &Weak<Pool>) -> Option<Duration> {
    let mut least: Option<Duration> = None;
    for _ in 0..PINGS {
        let link = pool.upgrade().filter(|pool| !pool.is_over())?.link.clone();
        if let Some(known) = link.distance() {
            return Some(known);
        }
        let Some(took) = link.round_trips().await.first().copied() else { return Some(Duration::ZERO) };
        least = Some(least.map_or(took, |least| least.min(took)));
        if took < NEAR {
            break;
        }
    }
    least
}

/// What the rate says of the lanes that there are.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Verdict {
    /// The windows bind: one more.
    More,
    /// The last one brought nothing.
    Less,
    Stay,
}

/// Decides by rates alone: no clock, no pool.
struct Judge {
    /// What one lane's window allows, bytes a second.
    lane: f64,
    /// The lanes that are not given back: those that were asked for.
    least: u32,
    /// The rate before the last lane was added, until it is judged.
    before: Option<f64>,
    /// One was given back: no more are tried.
    settled: bool,
    spare: u32,
}

impl Judge {
    fn new(lane: f64, least: u32) -> Judge {
        Judge { lane, least: least.max(1), before: None, settled: false, spare: 0 }
    }

    /// `rate` in bytes a second, over a period in which there was always something to send, with `lanes` lanes.
    fn look(&mut self, rate: f64, lanes: u32) -> Verdict {
        if let Some(before) = self.before.take()
            && rate < before * WORTH
        {
            return self.less(lanes);
        }
        let spare = lanes > self.least && rate < SPARE * self.lane * f64::from(lanes - 1);
        self.spare = if spare { self.spare + 1 } else { 0 };
        if self.spare >= SPARED {
            return self.less(lanes);
        }
        if !self.settled && lanes < MOST && rate >= BOUND * self.lane * f64::from(lanes) {
            self.before = Some(rate);
            return Verdict::More;
        }
        Verdict::Stay
    }

    fn less(&mut self, lanes: u32) -> Verdict {
        (self.settled, self.spare) = (true, 0);
        if lanes > self.least { Verdict::Less } else { Verdict::Stay }
    }
}

/// Measures, and does what the judge says.
async fn follow(pool: &Weak<Pool>, round_trip: Duration, asked: u32) {
    let period = (round_trip * PERIOD).max(LEAST);
    let mut judge: Option<(Flow, Judge)> = None;
    let mut start = None;
    let (mut pulls, mut crowds) = (false, true);
    loop {
        // A listing tells by and by how much is to come.
        let Some(living) = pool.upgrade().filter(|pool| !pool.is_over()) else { return };
        let worth = |flow| early(flow, living.ahead(flow), living.lanes(), round_trip, asked);
        let early = if pulls { 0 } else { worth(Flow::In) };
        // A crowd may come at any time.
        let crowd = if living.is_announced() || !crowds { 0 } else { worth(Flow::Out) };
        drop(living);
        if crowd > 0 {
            widened(pool, false);
            // A server that has refused one is not asked for more again and again.
            crowds = add(pool, crowd, STARTS).await;
            widened(pool, true);
        } else if early > 0 {
            pulls = true;
            (judge, start) = (None, None);
            add(pool, early, PULL_STARTS).await;
        }
        let Some(living) = pool.upgrade().filter(|pool| !pool.is_over()) else { return };
        let begun = *start.get_or_insert_with(|| (living.moved(), Instant::now()));
        drop(living);
        tokio::time::sleep(period).await;
        let Some(living) = pool.upgrade().filter(|pool| !pool.is_over()) else { return };
        let ((sent, received), now, elapsed) = (begun.0, living.moved(), begun.1.elapsed().as_secs_f64());
        start = Some((now, Instant::now()));
        let (out, back) = ((now.0 - sent) as f64 / elapsed, (now.1 - received) as f64 / elapsed);
        let (flow, rate) = if out >= back { (Flow::Out, out) } else { (Flow::In, back) };
        let announced = living.is_announced();
        if announced && living.ahead(flow) == 0 {
            // Nothing waits to be moved: the rate says nothing of the lanes.
            continue;
        }
        let window = if flow == Flow::Out { WINDOW } else { living.link.receive_window() as f64 };
        if judge.as_ref().is_none_or(|(of, _)| *of != flow) {
            // Where not all that is to come is told (a shared connection's holder), a low rate says nothing, nor does it where
            // TCP binds: all lanes stay.
            let least = if announced && !pulls { asked } else { MOST };
            judge = Some((flow, Judge::new(window / round_trip.as_secs_f64().max(0.001), least)));
        }
        let lanes = living.lanes();
        let verdict = judge.as_mut().map_or(Verdict::Stay, |(_, judge)| judge.look(rate, lanes));
        tracing::debug!(rate, lanes, ?verdict, "lanes");
        match verdict {
            Verdict::Stay => {}
            Verdict::Less => living.retire_lane(),
            Verdict::More => {
                drop(living);
                if !add(pool, 1, STARTS).await {
                    return;
                }
                // The first period with a new lane shows it ramping up.
                tokio::time::sleep(period).await;
                start = None;
            }
        }
    }
}

/// Opens so many lanes, `starts` at a time. False if there is one that is not to be had: what is there carries on.
async fn add(pool: &Weak<Pool>, lanes: u32, starts: usize) -> bool {
    let added = futures::stream::iter(0..lanes).map(|_| add_one(pool)).buffer_unordered(starts);
    // To the last, whatever comes of one: a login that is left half-way is what servers punish.
    added.fold(true, |all, added| std::future::ready(all && added)).await
}

async fn add_one(pool: &Weak<Pool>) -> bool {
    let Some(pool) = pool.upgrade().filter(|pool| !pool.is_over()) else { return false };
    match pool.add_lane().await {
        Ok(added) => added,
        Err(fault) => {
            tracing::debug!(%fault, "no further lane");
            pool.drop_counted(&fault, What::Connection);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: f64 = 50e6;

    /// Lanes in the end, where `carries` tells the rate that so many carry.
    fn settle(least: u32, mut lanes: u32, carries: impl Fn(u32) -> f64) -> u32 {
        let mut judge = Judge::new(LANE, least);
        for _ in 0..100 {
            match judge.look(carries(lanes), lanes) {
                Verdict::More => lanes += 1,
                Verdict::Less => lanes -= 1,
                Verdict::Stay => {}
            }
        }
        lanes
    }

    #[test]
    fn lanes_are_added_while_the_windows_bind() {
        assert_eq!(settle(1, 1, |lanes| 0.75 * LANE * f64::from(lanes)), MOST);
        assert_eq!(settle(1, 1, |lanes| (0.75 * LANE * f64::from(lanes)).min(85e6)), 3);
    }

    #[test]
    fn one_that_brings_nothing_is_given_back() {
        assert_eq!(settle(1, 1, |_| 0.75 * LANE), 1);
        assert_eq!(settle(1, 3, |_| 10e6), 1);
        assert_eq!(settle(1, 3, |_| 85e6), 3);
    }

    #[test]
    fn what_was_asked_for_stays() {
        assert_eq!(settle(4, 4, |_| 10e6), 4);
        assert_eq!(settle(4, 8, |_| 10e6), 4);
    }

    #[test]
    fn lanes_are_opened_at_once_for_what_takes_much_longer_than_a_login() {
        let (far, second) = (Duration::from_millis(40), (2 << 20) as f64 / 0.04);
        let out = |seconds: f64, lanes, asked| early(Flow::Out, (seconds * second) as u64, lanes, far, asked);
        assert_eq!((out(1.4, 1, 1), out(1.6, 1, 1), out(1.6, 2, 1), out(100.0, 3, 1)), (0, 2, 0, 0));
        assert_eq!((out(100.0, 4, 4), out(100.0, 2, 2)), (4, 4));
        let back = |seconds: f64, lanes, asked| early(Flow::In, (seconds * second) as u64, lanes, far, asked);
        assert_eq!((back(3.9, 1, 1), back(4.1, 1, 1), back(4.1, 3, 1)), (0, 7, 5));
        assert_eq!(back(100.0, 4, 4), 0, "several connections have a TCP each");
    }

    #[test]
    fn where_the_windows_do_not_bind_nothing_changes() {
        assert_eq!(settle(1, 1, |_| 20e6), 1);
    }
}
