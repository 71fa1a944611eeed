//! A direct-tcpip channel as a stream for the next hop's session.
//!
//! Not russh's `into_stream()`: nested sessions on it wait on each other and hang (measured: 10 channels hung 3 of 3
//! times). Here a task always drains what the channel receives, a bounded queue takes what is to be sent, and a flush
//! never waits.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::task::AtomicWaker;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::fate::Fate;
use super::inbox::Inbox;

/// Bytes that may be queued for the outer session before a write waits: a quarter of sshd's window of 2 MiB, enough to
/// keep it fed, little enough that small requests do not age behind it.
const QUEUE: usize = 512 * 1024;

/// One message to the outer session at most.
const MESSAGE: usize = 128 * 1024;

pub struct Tunnel {
    inbox: Arc<Inbox>,
    current: Bytes,
    outbox: Arc<Outbox>,
}

#[derive(Default)]
struct Outbox {
    state: Mutex<Out>,
    writer: AtomicWaker,
    filled: Notify,
    /// Told when the channel takes nothing any more.
    broke: Notify,
}

#[derive(Default)]
struct Out {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// No more will be written (our side).
    finished: bool,
    /// The channel takes nothing any more.
    broken: bool,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, Out> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The channel takes nothing any more: whoever waits to write learns it.
    fn break_off(&self) {
        self.state().broken = true;
        self.writer.wake();
        self.broke.notify_one();
    }
}

impl Tunnel {
    /// Takes over an open channel. `outer` is the fate of the session that carries it.
    pub fn new(channel: Channel<Msg>, outer: Arc<Fate>) -> Tunnel {
        let (reader, writer) = channel.split();
        let inbox = Arc::new(Inbox::default());
        let outbox = Arc::new(Outbox::default());
        tokio::spawn(drain(reader, inbox.clone(), outbox.clone(), outer.clone()));
        tokio::spawn(send(writer, outbox.clone(), outer));
        Tunnel { inbox, current: Bytes::new(), outbox }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.outbox.state().finished = true;
        self.outbox.filled.notify_one();
    }
}

async fn drain(mut reader: ChannelReadHalf, inbox: Arc<Inbox>, outbox: Arc<Outbox>, outer: Arc<Fate>) {
    loop {
        match reader.wait().await {
            Some(ChannelMsg::Data { data }) => {
                if !inbox.push(data) {
                    break;
                }
            }
            Some(ChannelMsg::Eof | ChannelMsg::Close) => break inbox.end(Ok(())),
            Some(_) => {}
            None => break inbox.end(Err(outer.fault())),
        }
    }
    // russh never wakes who waits for the window of a channel that was closed: the session on this tunnel would wait in its
    // write for ever, and never read the end. It has nothing to say any more to a hop that says nothing.
    outbox.break_off();
    // Whatever still comes is taken and thrown away: an undrained channel would stall the session.
    while reader.wait().await.is_some() {}
}

async fn send(writer: ChannelWriteHalf<Msg>, outbox: Arc<Outbox>, outer: Arc<Fate>) {
    loop {
        let (next, finished) = {
            let mut state = outbox.state();
            let next = state.queue.pop_front();
            (next, state.finished)
        };
        match next {
            Some(data) => {
                let len = data.len();
                let sent = tokio::select! {
                    sent = writer.data_bytes(data) => sent.is_ok(),
                    () = outer.over() => false,
                    () = outbox.broke.notified() => false,
                };
                outbox.state().bytes -= len;
                if !sent {
                    outbox.break_off();
                    break;
                }
                outbox.writer.wake();
            }
            None if finished => break,
            None => outbox.filled.notified().await,
        }
    }
    // Dropping a channel sends no CLOSE, and the far end's socket would stay open for the life of the connection.
    let close = async {
        let _ = writer.eof().await;
        let _ = writer.close().await;
    };
    tokio::select! {
        () = close => {}
        () = outer.over() => {}
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match std::task::ready!(self.inbox.poll_next(cx)) {
                Ok(Some(data)) => self.current = data,
                Ok(None) => return Poll::Ready(Ok(())),
                Err(fault) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, fault))),
            }
        }
        let n = self.current.len().min(buf.remaining());
        buf.put_slice(&self.current[..n]);
        self.current.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.outbox.state();
        if state.bytes >= QUEUE && !state.broken {
            drop(state);
            self.outbox.writer.register(cx.waker());
            state = self.outbox.state();
        }
        if state.broken {
            // The reader tells why, after what the far end said last.
            return Poll::Ready(Ok(buf.len()));
        }
        if state.bytes >= QUEUE {
            return Poll::Pending;
        }
        let n = buf.len().min(MESSAGE);
        state.queue.push_back(Bytes::copy_from_slice(&buf[..n]));
        state.bytes += n;
        drop(state);
        self.outbox.filled.notify_one();
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.state().finished = true;
        self.outbox.filled.notify_one();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
