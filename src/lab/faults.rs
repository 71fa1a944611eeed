//! Faults by rule: which trouble happens to which event, and how often it did.
//!
//! A rule counts the events that it concerns (connections, session opens, requests of a type, …) and fires on the ones
//! that its [`Nth`] names. Same rules, same order of events, same faults: no randomness, no clock. What is counted as fired
//! has struck: a connection that ends before the byte at which it was to be cut was not cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Which of the events that a rule concerns it fires on, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nth {
    Only(u64),
    /// This one and all later ones.
    From(u64),
    /// Multiples of this.
    Every(u64),
    Always,
}

impl Nth {
    fn holds(self, count: u64) -> bool {
        match self {
            Nth::Only(n) => count == n,
            Nth::From(n) => count >= n,
            Nth::Every(n) => n > 0 && count.is_multiple_of(n),
            Nth::Always => true,
        }
    }
}

/// A direction on the wire, as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
    /// Whichever has carried so many bytes first.
    Either,
}

impl Direction {
    pub(crate) fn covers(self, other: Direction) -> bool {
        self == other || self == Direction::Either
    }
}

/// What goes wrong. The event that is counted is named with each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Connection: closed before the banner, after this text.
    DropBeforeBanner { text: &'static str },
    /// Connection: reset once this many bytes have passed in this direction.
    Cut { direction: Direction, bytes: u64 },
    /// Connection: nothing passes any more in either direction once this many bytes have; the socket stays open.
    Silence { direction: Direction, bytes: u64 },
    /// Login attempt: refused although the key is right.
    Deny,
    /// direct-tcpip open: refused as the system would when the target is down.
    RefuseTunnel { reason: u32, text: &'static str },
    /// Session open: refused as beyond MaxSessions.
    RefuseSession,
    /// SFTP channel: closed by the server after this many requests.
    CloseChannel { requests: u64 },
    /// SFTP request of this type (SSH_FXP_*): not done, answered with this status.
    Answer { request: u8, status: u32, text: &'static str },
    /// SFTP request (of this type, or any): done, its reply never sent.
    Swallow { request: Option<u8> },
    /// SFTP request (of this type, or any): its reply, and all behind it on the channel, come this much later.
    Delay { request: Option<u8>, by: Duration },
    /// SFTP READ: at most this many bytes are returned.
    ShortRead { max: u32 },
    /// SFTP READ: one byte of what is returned is another one than the file's.
    CorruptRead,
    /// CLOSE of a file that was written: one byte of it is flipped on the disk before the reply.
    CorruptFile,
    /// copy-data: one byte of what is copied is flipped on the disk before the reply.
    CorruptCopy,
    /// Command that contains this text: a hex digit of the first hash in its output is another one.
    WrongHash { containing: &'static str },
    /// Command that contains this text: not run; prints bytes that are no hash, and exits 0.
    GarbageOutput { containing: &'static str },
    /// Command: killed once it has printed this many lines.
    KillCommand { lines: u64 },
    /// Command: once it has printed this many lines, something stands among them that it has not printed. It goes on.
    GarbleCommand { lines: u64 },
    /// Command: run with an empty PATH, so no hasher is found.
    NoPath,
}

/// A trouble and the events that it strikes.
#[derive(Debug)]
struct Rule {
    nth: Nth,
    trouble: Trouble,
    seen: AtomicU64,
    fired: AtomicU64,
}

/// A server's rules. Cheap to clone; clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<[Rule]>);

/// A fault that was chosen for an event and has yet to strike.
#[derive(Debug)]
pub(crate) struct Strike {
    faults: Faults,
    rule: usize,
}

impl Strike {
    /// It happened.
    pub fn struck(self) {
        if let Some(rule) = self.faults.0.get(self.rule) {
            rule.fired.fetch_add(1, Relaxed);
        }
    }
}

impl Faults {
    pub fn new(rules: impl IntoIterator<Item = (Nth, Trouble)>) -> Faults {
        let rule = |(nth, trouble)| Rule { nth, trouble, seen: AtomicU64::new(0), fired: AtomicU64::new(0) };
        Faults(rules.into_iter().map(rule).collect())
    }

    /// No trouble.
    pub fn none() -> Faults {
        Faults::default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often the rule at this index (order of [`Faults::new`]) fired; 0 for an index that does not exist.
    pub fn fired(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, |rule| rule.fired.load(Relaxed))
    }

    /// An event: `concerns` picks the troubles that it may meet. Every rule concerned counts it, the first that fires
    /// gives the result.
    pub(crate) fn meet<R>(&self, concerns: impl FnMut(&Trouble) -> Option<R>) -> Option<R> {
        let (result, strike) = self.choose(concerns)?;
        strike.struck();
        Some(result)
    }

    /// As [`Faults::meet`], for a fault that strikes later or not at all.
    pub(crate) fn choose<R>(&self, mut concerns: impl FnMut(&Trouble) -> Option<R>) -> Option<(R, Strike)> {
        let mut met = None;
        for (index, rule) in self.0.iter().enumerate() {
            let Some(result) = concerns(&rule.trouble) else { continue };
            let count = rule.seen.fetch_add(1, Relaxed) + 1;
            if met.is_none() && rule.nth.holds(count) {
                met = Some((result, Strike { faults: self.clone(), rule: index }));
            }
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(faults: &Faults, count: usize) -> Vec<bool> {
        (0..count).map(|_| faults.meet(|t| (*t == Trouble::RefuseSession).then_some(())).is_some()).collect()
    }

    #[test]
    fn a_rule_fires_on_the_events_that_it_names() {
        let t = Trouble::RefuseSession;
        assert_eq!(sessions(&Faults::new([(Nth::Only(2), t.clone())]), 4), [false, true, false, false]);
        assert_eq!(sessions(&Faults::new([(Nth::From(3), t.clone())]), 4), [false, false, true, true]);
        assert_eq!(sessions(&Faults::new([(Nth::Every(2), t.clone())]), 4), [false, true, false, true]);
        assert_eq!(sessions(&Faults::new([(Nth::Always, t)]), 2), [true, true]);
        assert_eq!(sessions(&Faults::none(), 2), [false, false]);
    }

    #[test]
    fn every_rule_concerned_counts_the_event_and_the_first_that_fires_wins() {
        let faults = Faults::new([(Nth::Only(1), Trouble::RefuseSession), (Nth::Only(2), Trouble::RefuseSession)]);
        assert_eq!(sessions(&faults, 3), [true, true, false]);
        assert_eq!((faults.fired(0), faults.fired(1), faults.fired(2)), (1, 1, 0));
    }
}
