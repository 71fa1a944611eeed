//! What a channel received and nobody has taken yet.
//!
//! russh hands a channel's messages to a bounded queue and makes the whole *session* wait on it: one undrained channel
//! stalls every other one, with its window adjusts, keepalives and rekeys. So each channel has a task that always takes,
//! into this byte-counted queue. Back-pressure lives above: nobody asks for more bytes than the budgets allow. A peer that
//! sends what was not asked for meets [`FLOOD`].

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;

use crate::fault::Fault;

/// Unread bytes at which a peer is taken to be flooding: far above every budget.
pub const FLOOD: usize = 64 << 20;

/// Bytes of standard error that are kept.
const STDERR: usize = 4096;

#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    reader: AtomicWaker,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    end: Option<Result<(), Fault>>,
    stderr: Vec<u8>,
    exit: Option<u32>,
    refused: bool,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes in a message; false if the peer floods, or nobody reads any more.
    pub fn push(&self, data: Bytes) -> bool {
        let mut state = self.state();
        if state.end.is_some() || state.bytes + data.len() > FLOOD {
            return false;
        }
        state.bytes += data.len();
        state.queue.push_back(data);
        drop(state);
        self.reader.wake();
        true
    }

    pub fn push_stderr(&self, data: &[u8]) {
        let mut state = self.state();
        let room = STDERR.saturating_sub(state.stderr.len());
        let data = &data[..data.len().min(room)];
        state.stderr.extend_from_slice(data);
    }

    pub fn set_exit(&self, code: u32) {
        self.state().exit = Some(code);
    }

    /// Nothing was started on this channel.
    pub fn refuse(&self) {
        self.state().refused = true;
    }

    pub fn is_refused(&self) -> bool {
        self.state().refused
    }

    /// Nothing more will come. What is queued can still be read.
    pub fn end(&self, how: Result<(), Fault>) {
        let mut state = self.state();
        if state.end.is_none() {
            state.end = Some(how);
        }
        drop(state);
        self.reader.wake();
    }

    /// What the far end's command wrote to its standard error (the first 4 KiB), and its exit status.
    pub fn post_mortem(&self) -> (String, Option<u32>) {
        let state = self.state();
        (String::from_utf8_lossy(&state.stderr).trim_end().to_owned(), state.exit)
    }

    /// The next message; `None` at an orderly end. One reader at a time.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        if let Some(ready) = self.take() {
            return Poll::Ready(ready);
        }
        self.reader.register(cx.waker());
        // What came between the look and the registration would wake nobody.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn take(&self) -> Option<Result<Option<Bytes>, Fault>> {
        let mut state = self.state();
        if let Some(data) = state.queue.pop_front() {
            state.bytes -= data.len();
            return Some(Ok(Some(data)));
        }
        state.end.clone().map(|end| end.map(|()| None))
    }
}
