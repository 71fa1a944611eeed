//! Bytes moved, and those known to be moved yet.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of SFTP in both directions, of all sessions that share it.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
    expected_out: AtomicU64,
    expected_in: AtomicU64,
    spared_out: AtomicU64,
    spared_in: AtomicU64,
    promised: AtomicU64,
}

/// Which way bytes move, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Out,
    In,
}

impl Traffic {
    /// So many bytes of files are to be moved, beside those that were announced before.
    pub fn expect(&self, flow: Flow, bytes: u64) {
        match flow {
            Flow::Out => self.expected_out.fetch_add(bytes, Ordering::Relaxed),
            Flow::In => self.expected_in.fetch_add(bytes, Ordering::Relaxed),
        };
    }
    /// So many bytes that were expected need not move, or will be told of when it is known that they have to.
    pub fn spare(&self, flow: Flow, bytes: u64) {
        match flow {
            Flow::Out => self.spared_out.fetch_add(bytes, Ordering::Relaxed),
            Flow::In => self.spared_in.fetch_add(bytes, Ordering::Relaxed),
        };
    }
    /// Somebody is going to send so many bytes, perhaps: of a crowd, not all of which tells, what was sent is not held against it.
    pub fn promise(&self, bytes: u64) {
        self.promised.fetch_add(bytes, Ordering::Relaxed);
    }
    /// So many of them are on their way, or are not going to be sent.
    pub fn keep(&self, bytes: u64) {
        self.promised.fetch_sub(bytes, Ordering::Relaxed);
    }
    /// Bytes that went out, or need not.
    pub fn settled(&self) -> u64 {
        self.sent().saturating_add(self.spared_out.load(Ordering::Relaxed))
    }
    /// Bytes of files that were announced and have not moved yet, as far as the bytes on the wire tell.
    pub fn ahead(&self, flow: Flow) -> u64 {
        match flow {
            Flow::Out => {
                let expected = self.expected_out.load(Ordering::Relaxed).saturating_sub(self.settled());
                expected + self.promised.load(Ordering::Relaxed)
            }
            Flow::In => {
                let settled = self.received().saturating_add(self.spared_in.load(Ordering::Relaxed));
                self.expected_in.load(Ordering::Relaxed).saturating_sub(settled)
            }
        }
    }
    pub fn has_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pub fn has_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}
