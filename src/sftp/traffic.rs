//! Bytes moved, and those known to be moved yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::wire::{BoxFuture, Receiver, Sender, Wire};
use crate::fault::Fault;

/// Bytes in both directions, of all sessions that share it and of what else is [`counted`].
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

/// A wire whose bytes are counted, as those of a [`super::session::Session`] are.
pub fn counted(wire: Wire, traffic: &Arc<Traffic>) -> Wire {
    let Wire { tx, rx } = wire;
    Wire { tx: Box::new(Counted(tx, traffic.clone())), rx: Box::new(Counted(rx, traffic.clone())) }
}

struct Counted<T: ?Sized>(Box<T>, Arc<Traffic>);

impl Sender for Counted<dyn Sender> {
    fn send(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), Fault>> {
        self.1.has_sent(data.len());
        self.0.send(data)
    }
    fn finish(&mut self) -> BoxFuture<'_, ()> {
        self.0.finish()
    }
}

impl Receiver for Counted<dyn Receiver> {
    fn recv(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Fault>> {
        Box::pin(async move {
            let received = self.0.recv().await;
            if let Ok(Some(data)) = &received {
                self.1.has_received(data.len());
            }
            received
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::wire;

    #[tokio::test]
    async fn what_a_command_is_told_and_tells_is_counted() {
        let traffic = Arc::new(Traffic::default());
        let (ours, mut theirs) = wire::pair(1);
        let mut ours = counted(ours, &traffic);
        ours.tx.send(Bytes::from_static(b"a question")).await.unwrap();
        assert_eq!(theirs.rx.recv().await.unwrap().unwrap(), "a question");
        theirs.tx.send(Bytes::from_static(b"told")).await.unwrap();
        assert_eq!(ours.rx.recv().await.unwrap().unwrap(), "told");
        theirs.tx.finish().await;
        assert!(ours.rx.recv().await.unwrap().is_none());
        assert_eq!((traffic.sent(), traffic.received()), (10, 4));
    }
}
