//! Drives one SFTP session over a [`Wire`]: a writer task and a reader task around the pure request table.
//!
//! [`Session::submit`] is synchronous: requests leave in the order of the calls, and any number may be outstanding. How
//! many *bytes* may be outstanding is the caller's budget (`tree::remote`); nothing here waits while it holds a lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::fault::{Cause, Fault, Stage};

use super::flight::Flight;
use super::frame::Frames;
use super::handles::{Broken, Habit, Handles};
use super::outbox::Outbox;
use super::packet::{self, Bad, Reply, Request, Touches};
use super::pending::{Pending, at};
use super::table::Table;
use super::traffic::Traffic;
use super::wire::{Receiver, Sender, Wire};

/// What the server says it can take (`limits@openssh.com`), or the defaults where it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of data in one READ's reply and in one WRITE.
    pub read: u32,
    pub write: u32,
    /// Open handles per session; `None` if unknown.
    pub handles: Option<u64>,
}

impl Default for Limits {
    /// 32 KiB is what every server must take (filexfer-02 §3: packets of 34,000 bytes).
    fn default() -> Limits {
        Limits { read: 32 * 1024, write: 32 * 1024, handles: None }
    }
}

/// The extensions that we use, as the server's VERSION names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    pub posix_rename: bool,
    pub fsync: bool,
    pub lsetstat: bool,
    pub hardlink: bool,
    pub copy_data: bool,
    pub limits: bool,
    /// [`packet::DIGEST`]: whoever answers here hashes, too.
    pub digest: bool,
    /// [`packet::COPY`]: likewise, and copies.
    pub copies: bool,
    /// [`packet::PUT`] and [`packet::GET`]: likewise, whole files.
    pub whole: bool,
}

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
    shared: Arc<Shared>,
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
    out: Outbox,
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
    fn new(peer: Peer) -> Shared {
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

    fn submit(self: &Arc<Self>, request: &Request) -> Pending {
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
    fn ask_habit(self: &Arc<Self>) {
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
    /// INIT, VERSION and, where offered, `limits@openssh.com`; within `deadline`.
    pub async fn start(wire: Wire, peer: Peer, deadline: Duration) -> Result<Session, Fault> {
        Ok(Session::start_with(wire, peer, deadline, |_| ()).await?.0)
    }

    /// The same, with questions that go with the greeting, if this server takes such: of OpenSSH, while nothing is known against foreseeing
    /// its handles. They change nothing there.
    pub async fn start_with<T>(
        wire: Wire,
        peer: Peer,
        deadline: Duration,
        questions: impl FnOnce(&mut Flight<'_>) -> T,
    ) -> Result<(Session, Option<T>), Fault> {
        let init =
            |cause, text: String| Fault::new(peer.hop.clone(), Stage::Init, cause, text).on(peer.lane, peer.channel);
        let Wire { mut tx, mut rx } = wire;
        let shared = Arc::new(Shared::new(peer.clone()));
        // OpenSSH's server takes what follows INIT in order, and refuses an extension that it does not have: its limits are
        // asked for with the greeting, and come with it. Others may want to be greeted first.
        let early = peer.openssh.then(|| {
            shared.ask_habit();
            shared.submit(&Request::Limits)
        });
        let takes = peer.openssh && !peer.habit.is_refuted();
        let asked = takes.then(|| questions(&mut Flight::new(&shared, &mut shared.state())));
        let handshake = async {
            let mut first = BytesMut::from(packet::init().as_ref());
            shared.state().out.take().iter().for_each(|bytes| first.extend_from_slice(bytes));
            tx.send(first.freeze()).await?;
            let mut frames = Frames::default();
            let mut heard = 0usize;
            let version = loop {
                let chunk = rx.recv().await?.ok_or_else(|| {
                    init(Cause::Lost, "the far end closed the channel without a word of SFTP".to_owned())
                })?;
                heard += chunk.len();
                let first = chunk.clone();
                frames.feed(chunk);
                match frames.take() {
                    Ok(Some(packet)) => break packet,
                    Ok(None) if heard < 4096 => {}
                    Ok(None) => return Err(init(Cause::Protocol, "the SFTP greeting is too long".to_owned())),
                    Err(_) => return Err(init(Cause::Protocol, not_sftp(&first))),
                }
            };
            let extensions = packet::parse_version(version)
                .map_err(|bad| init(Cause::Protocol, format!("in the SFTP greeting: {bad}")))?;
            Ok((extensions, frames))
        };
        let (announced, frames) = match tokio::time::timeout(deadline, handshake).await {
            Ok(result) => result?,
            Err(_) => return Err(init(Cause::Timeout, format!("no SFTP greeting within {} s", deadline.as_secs()))),
        };
        let has = |name: &[u8]| announced.iter().any(|(n, _)| n.as_ref() == name);
        let extensions = Extensions {
            posix_rename: has(b"posix-rename@openssh.com"),
            fsync: has(b"fsync@openssh.com"),
            lsetstat: has(b"lsetstat@openssh.com"),
            hardlink: has(b"hardlink@openssh.com"),
            copy_data: has(b"copy-data"),
            limits: has(b"limits@openssh.com"),
            digest: has(packet::DIGEST),
            copies: has(packet::COPY),
            whole: has(packet::PUT) && has(packet::GET),
        };
        tokio::spawn(write_loop(tx, shared.clone()));
        tokio::spawn(read_loop(rx, frames, shared.clone()));
        let mut session = Session { shared, limits: Limits::default(), extensions };
        // Where they are not offered, the refusal need not be waited for.
        if extensions.limits {
            let asked = early.unwrap_or_else(|| session.submit(&Request::Limits));
            let answer = tokio::time::timeout(deadline, asked).await.map_err(|_| {
                session.shared.fault(Stage::Init, Cause::Timeout, "limits@openssh.com was never answered")
            })?;
            if let Reply::Extended(data) = answer.map_err(|fault| at(Stage::Init, fault))? {
                session.limits = parse_limits(data);
            }
        }
        Ok((session, asked))
    }

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

fn not_sftp(first: &[u8]) -> String {
    // What a login script or a refusing account prints in place of SFTP: the same trap that breaks scp and sftp.
    let text = String::from_utf8_lossy(&first[..first.len().min(80)]).trim_end().to_owned();
    format!("this is not SFTP: the far end says \"{text}\" (does its shell's start-up file print something?)")
}

/// `limits@openssh.com` (PROTOCOL §4.8): packet, read, write, handles; 0 is "no limit". A server may say 1 or 2^64−1:
/// we stay between 1 byte and what OpenSSH itself can take (261,120).
fn parse_limits(data: Bytes) -> Limits {
    let mut data = data;
    let mut next = || data.try_get_u64().unwrap_or(0);
    let (_packet, read, write, handles) = (next(), next(), next(), next());
    let sane = |n: u64| if n == 0 { 32 * 1024 } else { n.clamp(1, 261_120) as u32 };
    Limits { read: sane(read), write: sane(write), handles: (handles != 0).then_some(handles) }
}

async fn write_loop(mut tx: Box<dyn Sender>, shared: Arc<Shared>) {
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

async fn read_loop(mut rx: Box<dyn Receiver>, mut frames: Frames, shared: Arc<Shared>) {
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
mod tests {
    use super::*;
    use crate::sftp::wire;

    fn peer() -> Peer {
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

    async fn expect_fault(far: &[u8]) -> Fault {
        let (near, mut other) = wire::pair(8);
        other.tx.send(Bytes::copy_from_slice(far)).await.unwrap();
        other.tx.finish().await;
        match Session::start(near, peer(), Duration::from_secs(5)).await {
            Ok(_) => panic!("a broken greeting was accepted"),
            Err(fault) => fault,
        }
    }

    #[tokio::test]
    async fn a_greeting_that_is_no_sftp_is_named() {
        let fault = expect_fault(b"Welcome to the cluster!\n").await;
        assert_eq!((fault.stage, fault.cause), (Stage::Init, Cause::Protocol));
        assert!(fault.text.contains("Welcome to the cluster!"), "{}", fault.text);
        let fault = expect_fault(&[0, 0, 0, 5, 2, 0, 0, 0, 99]).await;
        assert!(fault.text.contains("version 99"), "{}", fault.text);
    }

    #[tokio::test]
    async fn openssh_is_asked_for_its_limits_and_what_else_there_is_to_ask_with_the_greeting() {
        let (near, mut far) = wire::pair(8);
        let server = tokio::spawn(async move {
            let first = far.rx.recv().await.unwrap().unwrap();
            let (init, asked) = first.split_at(9);
            assert_eq!(init, &packet::init()[..]);
            // And the question that was given: LSTAT, request 5.
            let question = [0, 0, 0, 10, 7, 0, 0, 0, 5, 0, 0, 0, 1, b'x'];
            assert!(asked.ends_with(&[&b"limits@openssh.com"[..], &question].concat()), "{asked:?}");
            // VERSION with the extension; a directory that was opened twice and closed; and the answer to request 4.
            let name = b"limits@openssh.com";
            let mut out = vec![0, 0, 0, 5 + 4 + 18 + 4 + 1, 2, 0, 0, 0, 3, 0, 0, 0, 18];
            out.extend_from_slice(name);
            out.extend_from_slice(&[0, 0, 0, 1, b'1']);
            for id in [0, 2] {
                out.extend_from_slice(&[0, 0, 0, 13, 102, 0, 0, 0, id, 0, 0, 0, 4, 0, 0, 0, 0]);
                out.extend_from_slice(&[0, 0, 0, 9, 101, 0, 0, 0, id + 1, 0, 0, 0, 0]);
            }
            out.extend_from_slice(&[0, 0, 0, 5 + 32, 201, 0, 0, 0, 4]);
            for value in [262_144u64, 261_120, 1000, 99] {
                out.extend_from_slice(&value.to_be_bytes());
            }
            // There is no such thing.
            out.extend_from_slice(&[0, 0, 0, 17, 101, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
            far.tx.send(Bytes::from(out)).await.unwrap();
            far
        });
        let openssh = Peer { openssh: true, ..peer() };
        let ask = |flight: &mut Flight<'_>| flight.submit(&Request::Lstat { path: b"x" });
        let (session, asked) = Session::start_with(near, openssh, Duration::from_secs(5), ask).await.unwrap();
        assert_eq!(asked.unwrap().attrs(Stage::List, b"x").await.unwrap(), None);
        assert_eq!(session.limits, Limits { read: 261_120, write: 1000, handles: Some(99) });
        assert_eq!(session.outstanding(), 0);
        assert!(session.foresees(), "the same handle was given twice");
        drop(server.await.unwrap());
    }

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

    #[test]
    fn absurd_limits_are_kept_within_reason() {
        let limits = |values: [u64; 4]| {
            parse_limits(Bytes::from(values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>()))
        };
        assert_eq!(limits([262144, 261120, 261120, 1019]).write, 261120);
        assert_eq!(limits([0, 0, 0, 0]), Limits::default());
        assert_eq!(limits([1, 1, 1, 1]).read, 1);
        assert_eq!(limits([u64::MAX; 4]).write, 261120);
    }
}
