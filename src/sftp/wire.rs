//! What SFTP is spoken over: a stream of bytes each way. Three forms: an SSH channel ([`crate::ssh::channel`]), a command's
//! standard streams, and the in-memory pair below.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::fault::{Cause, Fault, Stage};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The sending half. `send` waits while the peer does not take what was sent; it ends with a fault when the connection does.
pub trait Sender: Send {
    fn send(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), Fault>>;
    /// Says that nothing more will come.
    fn finish(&mut self) -> BoxFuture<'_, ()>;
}

/// The receiving half. `None` is an orderly end.
pub trait Receiver: Send {
    fn recv(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Fault>>;
}

/// Both halves.
pub struct Wire {
    pub tx: Box<dyn Sender>,
    pub rx: Box<dyn Receiver>,
}

/// An in-memory pair of wires, each end `depth` messages deep, for tests and benches.
pub fn pair(depth: usize) -> (Wire, Wire) {
    let (a_tx, b_rx) = tokio::sync::mpsc::channel(depth);
    let (b_tx, a_rx) = tokio::sync::mpsc::channel(depth);
    (
        Wire { tx: Box::new(MemoryTx(Some(a_tx))), rx: Box::new(MemoryRx(a_rx)) },
        Wire { tx: Box::new(MemoryTx(Some(b_tx))), rx: Box::new(MemoryRx(b_rx)) },
    )
}

struct MemoryTx(Option<tokio::sync::mpsc::Sender<Bytes>>);
struct MemoryRx(tokio::sync::mpsc::Receiver<Bytes>);

impl Sender for MemoryTx {
    fn send(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let lost = || Fault::new("memory", Stage::Write, Cause::Lost, "the other end is gone");
            self.0.as_ref().ok_or_else(lost)?.send(data).await.map_err(|_| lost())
        })
    }
    fn finish(&mut self) -> BoxFuture<'_, ()> {
        self.0 = None;
        Box::pin(std::future::ready(()))
    }
}

impl Receiver for MemoryRx {
    fn recv(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Fault>> {
        Box::pin(async move { Ok(self.0.recv().await) })
    }
}
