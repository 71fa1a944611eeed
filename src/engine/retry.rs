//! Whether what was dropped is tried again, and after how long. Pure: no I/O, no clock; chance comes from the caller.
//!
//! Waits are *decorrelated jitter* (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): each is
//! drawn evenly between a floor and three times the one before, up to a cap. Hundreds of processes that a server dropped at
//! the same moment thus do not come back at the same moment.
//!
//! What must never be tried again is decided by cause: a refused login or host key (it costs a penalty at the server, or
//! hides an attack), and whatever a second try cannot change.

use std::fmt;
use std::time::Duration;

use rand::{Rng, RngExt};

use crate::fault::{Cause, Fault, Stage};

/// What is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The first connection to a hop: a host that cannot be reached is the user's mistake until it has once been reached.
    Connect,
    /// A connection that had worked before.
    Reconnect,
    /// An SFTP channel on a connection that works.
    Channel,
    /// One file on a channel that works.
    File,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after this long.
    Retry(Duration),
    GiveUp(Reason),
}

/// Why nothing more is tried; its words complete "not tried again: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Trying again cannot help, or would do harm.
    Final,
    /// It failed this many times.
    Tries(u32),
    /// The next try would be later than this after the first.
    Time(Duration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Final => f.write_str("it would not help"),
            Reason::Tries(n) => write!(f, "it failed {n} times"),
            Reason::Time(limit) => write!(f, "{} s are over", limit.as_secs()),
        }
    }
}

/// How often and how far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// Tries in all, the first one included.
    tries: u32,
    floor: Duration,
    cap: Duration,
    /// From the first try to the start of the last.
    total: Duration,
}

const fn pace(tries: u32, floor_ms: u64, cap_ms: u64, total_s: u64) -> Pace {
    Pace {
        tries,
        floor: Duration::from_millis(floor_ms),
        cap: Duration::from_millis(cap_ms),
        total: Duration::from_secs(total_s),
    }
}

/// MaxStartups counts connections that are not logged in yet. A login takes some 22 ms of CPU (measured, OpenSSH 9.2), so
/// the queue moves within a second; but hundreds of processes come back at once: of 400 against default limits, each with a
/// connection of its own, one was still dropped at its twelfth try (measured). Forty, within five minutes.
const CROWDED: Pace = pace(40, 250, 8_000, 300);

/// sshd ≥ 9.8 says the same words for MaxStartups and for a penalty, and a penalty is enforced for 15 s at least
/// (PerSourcePenalties `min`, sshd_config(5)) and 600 s at most: slow steps, so as not to knock at a closed door.
const PENALISED: Pace = pace(10, 2_000, 60_000, 300);

/// A connection that did not come to be.
const LOST_CONNECTION: Pace = pace(6, 500, 15_000, 120);

/// One that had been there: a head that starts anew, or a reverse tunnel that is made again, is away for ten seconds and more.
/// (Six tries, refused at once each, were over after 8.7 s in the median; ten are after 36.)
const LOST_AGAIN: Pace = pace(10, 500, 15_000, 120);

/// A session's slot is free a moment after the server's CLOSE: 1 ms was enough in 20 of 20 tries (measured, OpenSSH 9.2).
const SESSION_SLOT: Pace = pace(8, 2, 1_000, 30);

/// As for files: what is small beside them is asked again by this pace.
const LOST_CHANNEL: Pace = pace(10, 50, 2_000, 60);

/// A file goes to another channel at once, so there is little to wait for. Mostly it is not the file that is at fault: ten
/// tries outlast a connection, or its holder, that is lost several times in a row.
const LOST_FILE: Pace = pace(10, 20, 5_000, 300);

/// A source still being written, or bytes damaged on the way: a third time is no accident.
const WRONG_FILE: Pace = pace(3, 100, 5_000, 300);

/// The slowest pace's cap: no wait is ever longer.
pub const LONGEST_WAIT: Duration = PENALISED.cap;

/// What sshd ≥ 9.8 sends instead of a banner, for MaxStartups and for penalties alike.
const NOT_ALLOWED: &str = "Not allowed at this time";

/// PerSourcePenalties are enforced once their sum passes 15 s (`min`, on by default since OpenSSH 9.8); we stay a second under.
const PENALTY_LIMIT: Duration = Duration::from_secs(14);

/// The dearest penalty that a connection of ours can earn: it hung until LoginGraceTime ended.
const GRACE_EXCEEDED: Duration = Duration::from_secs(10);

/// The state of one thing that is tried until it succeeds: a connection, a channel, or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    scope: Scope,
    /// Failures since the last success.
    failures: u32,
    /// The last wait.
    previous: Duration,
    /// Sum of the waits since the last success.
    waited: Duration,
    /// What the server may hold against this address, estimated from our own half-made connections.
    penalty: Duration,
    /// The caller's own bound on `total`.
    within: Option<Duration>,
}

impl Retry {
    pub fn new(scope: Scope) -> Retry {
        let zero = Duration::ZERO;
        Retry { scope, failures: 0, previous: zero, waited: zero, penalty: zero, within: None }
    }

    /// Gives up earlier than the policy would: `--contimeout`, for one.
    pub fn within(mut self, total: Duration) -> Retry {
        self.within = Some(total);
        self
    }

    /// Failures since the last success; the attempt under way is the next number.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Decides after a failure. `elapsed` is the time since the first try, or since the last success; a caller without a
    /// clock passes zero, and the waits alone are summed up.
    pub fn after(&mut self, fault: &Fault, elapsed: Duration, rng: &mut impl Rng) -> Decision {
        self.failures = self.failures.saturating_add(1);
        let Some(pace) = pace_for(self.scope, fault) else { return Decision::GiveUp(Reason::Final) };
        if self.failures >= pace.tries {
            return Decision::GiveUp(Reason::Tries(self.failures));
        }
        let top = self.previous.saturating_mul(3).clamp(pace.floor, pace.cap);
        let jitter = rng.random_range(micros(pace.floor)..=micros(top));
        let wait = Duration::from_micros(jitter).max(self.penalty_wait(fault));
        let total = self.within.map_or(pace.total, |own| own.min(pace.total));
        if elapsed.max(self.waited).saturating_add(wait) > total {
            return Decision::GiveUp(Reason::Time(total));
        }
        self.previous = wait;
        self.waited += wait;
        self.penalty = self.penalty.saturating_sub(wait);
        Decision::Retry(wait)
    }

    /// It worked: the next failure is a first one.
    pub fn succeeded(&mut self) {
        *self = Retry { within: self.within, ..Retry::new(self.scope) };
    }

    /// Adds what this failure may cost, and says how long to wait so that even the dearest next one stays under the limit.
    fn penalty_wait(&mut self, fault: &Fault) -> Duration {
        if matches!(self.scope, Scope::Connect | Scope::Reconnect) {
            self.penalty += penalty(fault);
        }
        (self.penalty + GRACE_EXCEEDED).saturating_sub(PENALTY_LIMIT)
    }
}

/// What sshd charges for a connection that ended like this (`PerSourcePenalties`, sshd_config(5)): `noauth` 1 s for one that
/// left before it was logged in, `grace-exceeded` 10 s for one that was still hanging when LoginGraceTime ended. A dropped
/// one (MaxStartups) is charged nothing that the manual names; it is counted as the least, to be on the safe side.
fn penalty(fault: &Fault) -> Duration {
    match (fault.stage, fault.cause) {
        (Stage::Banner | Stage::Kex | Stage::HostKey | Stage::Login, Cause::Timeout) => GRACE_EXCEEDED,
        (Stage::Banner | Stage::Kex | Stage::HostKey | Stage::Login, _) => Duration::from_secs(1),
        _ => Duration::ZERO,
    }
}

/// The pace for a fault, or `None` where nothing is tried again. Every cause is named: a new one has to be decided here.
fn pace_for(scope: Scope, fault: &Fault) -> Option<Pace> {
    use Scope::{Channel, Connect, File, Reconnect};
    match (fault.cause, scope) {
        (Cause::StartLimit, _) if fault.text.contains(NOT_ALLOWED) => Some(PENALISED),
        (Cause::StartLimit, _) => Some(CROWDED),
        (Cause::Unreachable | Cause::Lost | Cause::Timeout, Reconnect) => Some(LOST_AGAIN),
        (Cause::Unreachable, _) => None,
        (Cause::Lost | Cause::Timeout, Connect) => Some(LOST_CONNECTION),
        (Cause::Lost | Cause::Timeout, Channel) => Some(LOST_CHANNEL),
        (Cause::Lost | Cause::Timeout, File) => Some(LOST_FILE),
        (Cause::SessionLimit, File) => Some(LOST_FILE),
        (Cause::SessionLimit, _) => Some(SESSION_SLOT),
        (Cause::Changed | Cause::Mismatch, File) => Some(WRONG_FILE),
        (Cause::Changed | Cause::Mismatch, _) => None,
        (Cause::HostKey | Cause::Denied, _) => None,
        (Cause::Protocol | Cause::Unsupported | Cause::Config | Cause::Cancelled, _) => None,
        (Cause::NotFound | Cause::Vanished | Cause::Permission | Cause::NoSpace | Cause::Io | Cause::Unverified, _) => {
            None
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const CAUSES: [Cause; 19] = [
        Cause::Unreachable,
        Cause::StartLimit,
        Cause::SessionLimit,
        Cause::Lost,
        Cause::Timeout,
        Cause::HostKey,
        Cause::Denied,
        Cause::Protocol,
        Cause::NotFound,
        Cause::Permission,
        Cause::NoSpace,
        Cause::Io,
        Cause::Changed,
        Cause::Vanished,
        Cause::Mismatch,
        Cause::Unverified,
        Cause::Unsupported,
        Cause::Cancelled,
        Cause::Config,
    ];
    const SCOPES: [Scope; 4] = [Scope::Connect, Scope::Reconnect, Scope::Channel, Scope::File];

    fn fault(stage: Stage, cause: Cause, text: &str) -> Fault {
        Fault::new("head", stage, cause, text)
    }

    /// The waits until it gives up, and why it does.
    fn waits(scope: Scope, fault: &Fault, seed: u64) -> (Vec<Duration>, Reason) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut retry = Retry::new(scope);
        let mut waits = Vec::new();
        loop {
            match retry.after(fault, Duration::ZERO, &mut rng) {
                Decision::Retry(wait) => waits.push(wait),
                Decision::GiveUp(reason) => return (waits, reason),
            }
        }
    }

    #[test]
    fn a_first_connection_to_an_unreachable_host_is_not_tried_again_but_a_lost_one_is() {
        let refused = fault(Stage::Tcp, Cause::Unreachable, "Connection refused");
        assert_eq!(waits(Scope::Connect, &refused, 1).1, Reason::Final);
        assert_eq!(waits(Scope::Reconnect, &refused, 1).0.len(), 9);
    }

    #[test]
    fn words_that_may_mean_a_penalty_slow_the_steps_down() {
        let crowded = fault(Stage::Banner, Cause::StartLimit, "Exceeded MaxStartups");
        let penalised = fault(Stage::Banner, Cause::StartLimit, "Not allowed at this time");
        for seed in 0..50 {
            assert!(waits(Scope::Connect, &crowded, seed).0[0] < Duration::from_secs(1));
            assert!(waits(Scope::Connect, &penalised, seed).0.iter().all(|w| *w >= Duration::from_secs(2)));
        }
    }

    #[test]
    fn the_steps_get_small_again_only_after_a_success() {
        let crowded = fault(Stage::Banner, Cause::StartLimit, "");
        let (mut retry, mut rng) = (Retry::new(Scope::Connect), StdRng::seed_from_u64(7));
        for _ in 0..5 {
            assert!(matches!(retry.after(&crowded, Duration::ZERO, &mut rng), Decision::Retry(_)));
        }
        assert_eq!(retry.failures(), 5);
        retry.succeeded();
        assert_eq!(retry, Retry::new(Scope::Connect));
        assert_eq!(retry.after(&crowded, Duration::ZERO, &mut rng), Decision::Retry(CROWDED.floor));
    }

    #[test]
    fn a_files_third_wrong_copy_is_its_last() {
        let wrong = fault(Stage::Hash, Cause::Mismatch, "the hashes differ");
        assert_eq!(waits(Scope::File, &wrong, 3).1, Reason::Tries(3));
    }

    #[test]
    fn the_callers_own_limit_is_kept() {
        let lost = fault(Stage::Tcp, Cause::Timeout, "");
        let (mut retry, mut rng) =
            (Retry::new(Scope::Connect).within(Duration::from_secs(10)), StdRng::seed_from_u64(7));
        let late = Duration::from_millis(9_900);
        assert_eq!(retry.after(&lost, late, &mut rng), Decision::GiveUp(Reason::Time(Duration::from_secs(10))));
    }

    proptest! {
        #[test]
        fn a_refused_login_or_host_key_is_never_tried_again(
            scope in 0..4usize, stage in 0..18usize, seed: u64, text in ".{0,40}", before in 0..4u32,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut retry = Retry::new(SCOPES[scope]);
            for _ in 0..before {
                retry.after(&fault(Stage::Banner, Cause::StartLimit, ""), Duration::ZERO, &mut rng);
            }
            for cause in [Cause::Denied, Cause::HostKey, Cause::Config, Cause::Permission, Cause::NotFound] {
                let decision = retry.after(&fault(Stage::ALL[stage], cause, &text), Duration::ZERO, &mut rng);
                prop_assert_eq!(decision, Decision::GiveUp(Reason::Final));
            }
        }

        #[test]
        fn waits_keep_their_caps_and_end_in_time(
            scope in 0..4usize,
            faults in proptest::collection::vec((0..18usize, 0..19usize, any::<bool>(), 0..20_000u64), 1..60),
            seed: u64,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut retry = Retry::new(SCOPES[scope]);
            let mut elapsed = Duration::ZERO;
            let mut tries = 0;
            for (stage, cause, penalised, took) in faults {
                elapsed += Duration::from_millis(took);
                let fault = fault(Stage::ALL[stage], CAUSES[cause], if penalised { NOT_ALLOWED } else { "" });
                let pace = pace_for(SCOPES[scope], &fault);
                match retry.after(&fault, elapsed, &mut rng) {
                    Decision::Retry(wait) => {
                        tries += 1;
                        let pace = pace.expect("a retry has a pace");
                        prop_assert!(wait >= pace.floor && wait <= pace.cap && wait <= LONGEST_WAIT, "{wait:?}");
                        elapsed += wait;
                        prop_assert!(elapsed <= pace.total);
                        prop_assert!(tries < pace.tries);
                    }
                    Decision::GiveUp(_) => break,
                }
            }
        }

        #[test]
        fn half_made_connections_never_add_up_to_a_penalty(
            stages in proptest::collection::vec((2..6usize, any::<bool>()), 1..20), seed: u64,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut retry = Retry::new(Scope::Reconnect);
            let mut sum = Duration::ZERO;
            for (stage, timeout) in stages {
                let fault = fault(Stage::ALL[stage], if timeout { Cause::Timeout } else { Cause::Lost }, "");
                sum += penalty(&fault);
                prop_assert!(sum < Duration::from_secs(15), "{sum:?}");
                match retry.after(&fault, Duration::ZERO, &mut rng) {
                    Decision::Retry(wait) => sum = sum.saturating_sub(wait),
                    Decision::GiveUp(_) => break,
                }
            }
        }
    }
}
