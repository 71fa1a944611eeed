//! What an embedded server saw, as counters that tests read while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one server since its start. All are totals unless their doc says otherwise.
#[derive(Debug, Default)]
pub struct Stats {
    /// TCP connections accepted, those dropped before the banner included.
    pub connections: AtomicU64,
    /// Connections dropped before the banner by the start limit.
    pub start_drops: AtomicU64,
    /// Connections whose peer is not the head, closed without a word (see `Config::only_from`).
    pub strangers: AtomicU64,
    pub logins: AtomicU64,
    /// Login attempts with a key or password that is not accepted.
    pub denied: AtomicU64,
    /// direct-tcpip channels opened.
    pub tunnels: AtomicU64,
    pub refused_tunnels: AtomicU64,
    /// Session channels open now, over all connections.
    pub sessions: AtomicU64,
    /// The most session channels ever open at once.
    pub max_sessions: AtomicU64,
    pub opened_sessions: AtomicU64,
    /// Session channels refused: by the limit or by a fault.
    pub refused_sessions: AtomicU64,
    /// Commands executed.
    pub commands: AtomicU64,
    /// SFTP requests received.
    pub requests: AtomicU64,
    /// Bytes on the wire, as TCP carried them.
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
}

/// Shorthand: adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Stats {
    /// One session channel more; the matching [`Stats::session_closed`] is the caller's duty.
    pub(crate) fn session_opened(&self) {
        count(&self.opened_sessions);
        let now = self.sessions.fetch_add(1, Relaxed) + 1;
        self.max_sessions.fetch_max(now, Relaxed);
    }

    pub(crate) fn session_closed(&self) {
        self.sessions.fetch_sub(1, Relaxed);
    }
}
