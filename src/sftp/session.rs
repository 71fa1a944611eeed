//! Drives one SFTP session over a [`Wire`](super::wire::Wire): a writer task and a reader task around the pure request table.
//!
//! [`Session::submit`] is synchronous: requests leave in the order of the calls, and any number may be outstanding. How
//! many *bytes* may be outstanding is the caller's budget (`tree::remote`); nothing here waits while it holds a lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::fault::{Cause, Fault, Stage};

use super::flight::Flight;
use super::frame::Frames;
use super::greeting::{Extensions, Limits};
use super::handles::{Broken, Habit, Handles};
use super::outbox::Outbox;
use super::packet::{Bad, Reply, Request, Touches};
use super::pending::Pending;
use super::table::Table;
use super::traffic::Traffic;
use super::wire::{Receiver, Sender};

/// Who speaks: for faults, and for what a server wants done its own way.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The hop's name as the user knows it.
    pub hop: Arc<str>,
    pub lane: u32,
    pub channel: u32,
    /// SYMLINK's operands are swapped (PROTOCOL §4.1); known by the SSH banner.
    pub openssh: bool,
    /// With requests outstanding, silence for this long ends the session.
    pub stall: Duration,
    /// Where this session's bytes are counted.
    pub traffic: Arc<Traffic>,
    /// What is known of the server by the handles that it gives.
    pub habit: Arc<Habit>,
}

/// One SFTP session. Cheap to share; ends when [`Session::close`] is called or the wire does.
pub struct Session {
    pub(super) shared: Arc<Shared>,
    pub limits: Limits,
    pub extensions: Extensions,
}

pub(super) struct Shared {
    pub(super) peer: Peer,
    state: Mutex<State>,
    pub(super) wake: Notify,
    ended: watch::Sender<bool>,
    /// Whether there is a fate, for those who only want to know that.
    over: AtomicBool,
}

pub(super) struct State {
    table: Table<Waiter>,
    pub(super) handles: Handles,
    pub(super) out: Outbox,
    /// Set once: why the session ended.
    pub(super) fate: Option<Fault>,
    /// It ends once all that was asked has been answered; no answer is believed.
    doomed: bool,
    closing: bool,
    last_heard: Instant,
}

/// Something that is given back (a budget, a count) the moment a request is answered, whoever looks at the answer when.
pub type Held = Box<dyn std::any::Any + Send>;

struct Waiter {
    answer: oneshot::Sender<Result<Reply, Fault>>,
    /// The number of an OPEN or OPENDIR, whose answer tells of the server's handles.
    opens: Option<u64>,
    _held: Option<Held>,
}

impl State {
    /// Queues a request under the lock that this is held by.
    pub(super) fn queue(
        &mut self,
        shared: &Arc<Shared>,
        request: &Request,
        opens: Option<u64>,
        held: Option<Held>,
    ) -> Pending {
        let (sender, receiver) = oneshot::channel();
        if let Some(fate) = &self.fate {
            let _ = sender.send(Err(fate.clone()));
        } else {
            if self.table.is_empty() {
                self.last_heard = Instant::now();
            }
            let State { table, out, .. } = self;
            let waiter = Waiter { answer: sender, opens, _held: held };
            let payload = table.submit(request, waiter, out.tail());
            out.add(payload);
        }
        Pending { receiver, shared: shared.clone() }
    }

    /// Why the session is to end now. Whoever waits is told when the server has done what was asked, be it to the wrong file: what
    /// is tidied up on another channel would else come before it.
    fn doom(&self) -> Option<Fault> {
        self.fate.clone().filter(|_| self.doomed && self.table.is_empty())
    }

    /// What a request does to the server's handles, if it is not part of more: the number of an OPEN.
    pub(super) fn follows(&mut self, request: &Request, habit: &Habit) -> Option<u64> {
        if habit.is_refuted() {
            return None;
        }
        match request.touches() {
            Touches::Opens => return Some(self.handles.opens().0),
            Touches::Closes(handle) => self.handles.closes(&handle, habit),
            Touches::Nothing => {}
        }
        None
    }
}

impl Shared {
    pub(super) fn new(peer: Peer) -> Shared {
        let state = State {
            table: Table::default(),
            handles: Handles::default(),
            out: Outbox::default(),
            fate: None,
            doomed: false,
            closing: false,
            last_heard: Instant::now(),
        };
        Shared {
            peer,
            state: Mutex::new(state),
            wake: Notify::new(),
            ended: watch::Sender::new(false),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn submit(self: &Arc<Self>, request: &Request) -> Pending {
        self.queue(request, None)
    }

    fn queue(self: &Arc<Self>, request: &Request, held: Option<Held>) -> Pending {
        let mut state = self.state();
        let opens = state.follows(request, &self.peer.habit);
        let pending = state.queue(self, request, opens, held);
        drop(state);
        self.wake.notify_one();
        pending
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock only means that a task panicked between two field updates that are each whole.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn fault(&self, stage: Stage, cause: Cause, text: impl Into<String>) -> Fault {
        Fault::new(self.peer.hop.clone(), stage, cause, text).on(self.peer.lane, self.peer.channel)
    }

    /// Opens a directory that every server has, twice: enough to see which handle is given again.
    pub(super) fn ask_habit(self: &Arc<Self>) {
        if self.peer.habit.is_unknown() {
            let mut state = self.state();
            let mut flight = Flight::new(self, &mut state);
            for _ in 0..2 {
                let (handle, _) = flight.passes(&Request::Opendir { path: b"/" });
                drop(flight.submit(&Request::Close { handle: &handle }));
            }
        }
    }

    /// Ends the session: everyone who waits gets `fault`; later calls change nothing.
    fn end(&self, fault: Fault) {
        let mut state = self.state();
        if state.fate.is_none() {
            state.fate = Some(fault.clone());
            self.over.store(true, Ordering::Release);
        }
        state.doomed = false;
        let waiting: Vec<_> = state.table.drain().collect();
        drop(state);
        for waiter in waiting {
            let _ = waiter.answer.send(Err(fault.clone()));
        }
        self.ended.send_replace(true);
        self.wake.notify_one();
    }
}

impl Session {
    /// Queues a request and returns its answer to come. If the session has ended, the answer is its fate.
    pub fn submit(&self, request: &Request) -> Pending {
        self.shared.submit(request)
    }

    /// As [`Session::submit`]; `held` is dropped when the answer comes, or the session ends.
    pub fn submit_holding(&self, request: &Request, held: impl Send + 'static) -> Pending {
        self.shared.queue(request, Some(Box::new(held)))
    }

    /// Whether the handle of an OPEN can be foreseen now, as far as that is known without waiting.
    pub fn foresees(&self) -> bool {
        self.shared.peer.habit.is_seen()
    }

    /// Submits requests that follow each other whatever else is submitted.
    pub fn together<T>(&self, fill: impl FnOnce(&mut Flight<'_>) -> T) -> T {
        let mut state = self.shared.state();
        let filled = fill(&mut Flight::new(&self.shared, &mut state));
        drop(state);
        self.shared.wake.notify_one();
        filled
    }

    /// The same, beginning with an OPEN whose handle is foreseen. Does nothing where it cannot be.
    pub fn foreseen<T>(&self, fill: impl FnOnce(&mut Flight<'_>) -> T) -> Option<T> {
        let mut state = self.shared.state();
        // It may have been refuted while the lock was waited for: then all that follows from it comes after that.
        if !self.foresees() || state.fate.is_some() {
            return None;
        }
        let filled = fill(&mut Flight::new(&self.shared, &mut state));
        drop(state);
        self.shared.wake.notify_one();
        Some(filled)
    }

    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// Why the session ended, if it has.
    pub fn fate(&self) -> Option<Fault> {
        // Asked for every file and channel: the lock is the reader's and the writer's.
        if !self.shared.over.load(Ordering::Acquire) {
            return None;
        }
        self.shared.state().fate.clone()
    }

    /// How many requests are outstanding.
    pub fn outstanding(&self) -> usize {
        self.shared.state().table.len()
    }

    /// Ends the session in order: no request may be submitted any more, EOF is sent, and the far end closes. Returns when
    /// it has, or after `patience`.
    pub async fn close(&self, patience: Duration) {
        self.shared.state().closing = true;
        self.shared.wake.notify_one();
        let mut ended = self.shared.ended.subscribe();
        let _ = tokio::time::timeout(patience, ended.wait_for(|ended| *ended)).await;
        self.shared.end(self.shared.fault(Stage::Session, Cause::Lost, "the channel was closed"));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.end(self.shared.fault(Stage::Session, Cause::Lost, "the channel was given up"));
    }
}

pub(super) async fn write_loop(mut tx: Box<dyn Sender>, shared: Arc<Shared>) {
    let mut ended = shared.ended.subscribe();
    loop {
        let (batch, finish) = {
            let mut state = shared.state();
            if state.fate.is_some() && !state.doomed {
                break;
            }
            (state.out.take(), state.closing)
        };
        if batch.is_empty() {
            if finish {
                break;
            }
            shared.wake.notified().await;
            continue;
        }
        for message in batch {
            shared.peer.traffic.has_sent(message.len());
            let sent = tokio::select! {
                sent = tx.send(message) => sent,
                // Whoever waits for window is not woken when the connection dies.
                _ = ended.wait_for(|ended| *ended) => break,
            };
            if let Err(fault) = sent {
                shared.end(fault.on(shared.peer.lane, shared.peer.channel));
                break;
            }
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(5), tx.finish()).await;
}

pub(super) async fn read_loop(mut rx: Box<dyn Receiver>, mut frames: Frames, shared: Arc<Shared>) {
    let mut ended = shared.ended.subscribe();
    let stall = shared.peer.stall;
    let fault = loop {
        match drain(&mut frames, &shared) {
            Ok(()) => {}
            Err(bad) => break shared.fault(Stage::Session, Cause::Protocol, format!("the SFTP server sent {bad}")),
        }
        if let Some(fate) = shared.state().doom() {
            break fate;
        }
        let received = tokio::select! {
            received = tokio::time::timeout(stall, rx.recv()) => received,
            _ = ended.wait_for(|ended| *ended) => return,
        };
        match received {
            Ok(Ok(Some(chunk))) => {
                shared.state().last_heard = Instant::now();
                shared.peer.traffic.has_received(chunk.len());
                frames.feed(chunk);
            }
            Ok(Ok(None)) => break shared.fault(Stage::Session, Cause::Lost, "the far end closed the channel"),
            Ok(Err(fault)) => break fault.on(shared.peer.lane, shared.peer.channel),
            Err(_) => {
                let state = shared.state();
                if !state.table.is_empty() && state.last_heard.elapsed() >= stall {
                    drop(state);
                    let text = format!("no answer for {} s", stall.as_secs());
                    break shared.fault(Stage::Session, Cause::Timeout, text);
                }
            }
        }
    };
    shared.end(fault);
}

fn drain(frames: &mut Frames, shared: &Shared) -> Result<(), Bad> {
    while let Some(packet) = frames.take()? {
        let mut state = shared.state();
        let (waiter, reply) = state.table.answer(packet)?;
        if let Some(number) = waiter.opens
            && let Err(Broken) = state.handles.answered(number, reply.handle().as_ref(), &shared.peer.habit)
        {
            let text = "the SFTP server gave another handle than the one that it gave before in such a case";
            state.doomed = true;
            state.fate.get_or_insert_with(|| shared.fault(Stage::Session, Cause::Lost, text));
            shared.over.store(true, Ordering::Release);
        }
        let answer = match &state.fate {
            Some(fate) if state.doomed => Err(fate.clone()),
            _ => Ok(reply),
        };
        drop(state);
        // Whoever asked may have stopped waiting.
        let _ = waiter.answer.send(answer);
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sftp::wire;

    pub fn peer() -> Peer {
        Peer {
            hop: "far".into(),
            lane: 0,
            channel: 3,
            openssh: false,
            stall: Duration::from_secs(60),
            traffic: Arc::default(),
            habit: Arc::default(),
        }
    }

    const VERSION: &[u8] = &[0, 0, 0, 5, 2, 0, 0, 0, 3];

    #[tokio::test]
    async fn everyone_who_waits_learns_that_the_channel_died() {
        let (near, mut far) = wire::pair(8);
        far.tx.send(Bytes::from_static(VERSION)).await.unwrap();
        let ask = |flight: &mut Flight<'_>| flight.submit(&Request::Lstat { path: b"x" });
        let (session, asked) = Session::start_with(near, peer(), Duration::from_secs(5), ask).await.unwrap();
        assert!(asked.is_none(), "nobody but OpenSSH is asked before it has greeted");
        let first = session.submit(&Request::Lstat { path: b"a" });
        let second = session.submit(&Request::Lstat { path: b"b" });
        drop(far);
        for pending in [first, second] {
            let fault = pending.attrs(Stage::List, b"x").await.unwrap_err();
            assert_eq!((fault.stage, fault.cause, fault.channel), (Stage::List, Cause::Lost, Some(3)));
        }
        let late = session.submit(&Request::Lstat { path: b"c" }).await;
        assert_eq!(late.unwrap_err().cause, Cause::Lost);
    }

    #[tokio::test]
    async fn an_answer_to_nothing_ends_the_session() {
        let (near, mut far) = wire::pair(8);
        far.tx.send(Bytes::from_static(VERSION)).await.unwrap();
        let session = Session::start(near, peer(), Duration::from_secs(5)).await.unwrap();
        let pending = session.submit(&Request::Lstat { path: b"a" });
        far.tx.send(Bytes::from_static(&[0, 0, 0, 9, 101, 0, 0, 0, 9, 0, 0, 0, 0])).await.unwrap();
        assert_eq!(pending.await.unwrap_err().cause, Cause::Protocol);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_with_requests_outstanding_ends_the_session_but_idleness_does_not() {
        let (near, mut far) = wire::pair(8);
        far.tx.send(Bytes::from_static(VERSION)).await.unwrap();
        let session = Session::start(near, peer(), Duration::from_secs(5)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(session.fate().is_none(), "an idle session is left alone");
        let fault = session.submit(&Request::Lstat { path: b"a" }).await.unwrap_err();
        assert_eq!(fault.cause, Cause::Timeout);
    }
}
