//! One virtual channel: a client's SFTP requests, passed on to a real channel, and the answers back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::answers::Answers;
use super::digest;
use super::guest::Guest;
use super::names::Names;
use super::request::{self, Inspected, Passage, Weight};
use super::whole::{self, Not};
use crate::sftp::frame::Frames;
use crate::sftp::packet::{COPY, DIGEST, GET, Handle, PUT, op, status};
use crate::sftp::session::Held;
use crate::sftp::wire::BoxFuture;
use crate::sftp::{Attrs, Pending, Reply, Request};
use crate::tree::remote::Remote;

use crate::tree::remote::pool::{Large, Lease, Pool};
use crate::verify::parts::Of;
use crate::verify::remote::{Committed, NoHash, RemoteHasher};

/// Bytes that one virtual channel may have asked for or sent, and not yet been answered for: what a client that does not
/// read can make a holder keep. More than the write budget of a real channel (1.8 MiB), so that this binds only readers.
pub const OUTSTANDING: usize = 4 << 20;

/// What a request without data counts as; 1,024 of them fit into [`OUTSTANDING`].
const SMALL: usize = 4096;

/// One read from a client takes this much at most.
const READ: usize = 256 * 1024;

/// Closing what a dead client left open.
const CLEANING: Duration = Duration::from_secs(60);

/// The state that the two halves of a virtual channel share.
struct Shared {
    remote: Arc<Remote>,
    guest: Arc<Guest>,
    /// Open now, and opened here; each with its place among those that the real channel can have.
    handles: Mutex<HashMap<Bytes, OwnedSemaphorePermit>>,
    /// Requests passed on and not yet answered.
    outstanding: AtomicUsize,
    /// The real channel has died.
    cut: AtomicBool,
}

impl Shared {
    /// Nothing is open on the real channel, and nothing unanswered.
    fn is_idle(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0 && self.handles().is_empty()
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<Bytes, OwnedSemaphorePermit>> {
        self.handles.lock().unwrap_or_else(|p| p.into_inner())
    }
}

/// A real channel, with the pool whose windows count.
type Real = (Arc<Pool>, Arc<Lease>);

/// The place of a client's files on the lane of its real channel, and among all.
type Place = (Large, Option<OwnedSemaphorePermit>, Arc<()>);

/// What a file is taken to have where its client does not tell: it is not looked at, and only lanes are chosen by it.
const FILE: u64 = 1 << 20;

/// Type and body of an answer, and the place of the handle that it may bring. No answer: the real channel is dead.
type Answer = Result<(u8, Bytes, Option<OwnedSemaphorePermit>), ()>;

/// An answer to come, under the client's id.
struct Awaited {
    id: u32,
    effect: request::Effect,
    answer: BoxFuture<'static, Answer>,
    /// Given back when the answer has been written.
    _room: OwnedSemaphorePermit,
    /// Keeps the channel's load counted.
    _real: Option<Real>,
}

/// How a virtual channel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client closed it, or died.
    Left,
    /// Its real channel died: the client goes on elsewhere, and wants what it has made so far.
    Cut,
}

/// Serves one virtual channel until its client leaves or its real channel dies.
pub async fn serve(stream: UnixStream, remote: Arc<Remote>, guest: Arc<Guest>) -> Ended {
    let shared = Arc::new(Shared {
        remote,
        guest,
        handles: Mutex::default(),
        outstanding: AtomicUsize::new(0),
        cut: AtomicBool::new(false),
    });
    let (read, write) = stream.into_split();
    // Bounded by the room that each entry holds.
    let (awaited, queue) = mpsc::channel(OUTSTANDING / SMALL);
    let writing = tokio::spawn(answer(write, queue, shared.clone()));
    let mut reader = Reader {
        shared: shared.clone(),
        awaited,
        room: Arc::new(Semaphore::new(OUTSTANDING)),
        real: None,
        place: None,
        names: Names::default(),
    };
    if let Err(why) = reader.run(read).await {
        tracing::debug!(%why, "a client's channel ended");
    }
    let Reader { real, awaited, .. } = reader;
    drop(awaited);
    let _ = writing.await;
    // By now every OPEN has been answered: these are all.
    let left: Vec<Bytes> = shared.handles().drain().map(|(handle, _)| handle).collect();
    if let (Some((_, lease)), false) = (real, left.is_empty()) {
        let closing = left.into_iter().map(|handle| lease.session.submit(&Request::Close { handle: &Handle(handle) }));
        let _ = tokio::time::timeout(CLEANING, futures::future::join_all(closing)).await;
    }
    if shared.cut.load(Ordering::Relaxed) { Ended::Cut } else { Ended::Left }
}

struct Reader {
    shared: Arc<Shared>,
    awaited: mpsc::Sender<Awaited>,
    room: Arc<Semaphore>,
    real: Option<Real>,
    place: Option<Place>,
    names: Names,
}

/// Why a virtual channel ends: a word for the log.
type Why = String;

impl Reader {
    async fn run(&mut self, mut read: OwnedReadHalf) -> Result<(), Why> {
        let mut frames = Frames::default();
        let mut buffer = BytesMut::new();
        let other_half = self.awaited.clone();
        loop {
            while let Some(packet) = frames.take().map_err(|bad| bad.to_string())? {
                let inspected = request::inspect(packet).map_err(|bad| bad.to_string())?;
                tokio::select! {
                    passed = self.pass(inspected) => passed?,
                    // The other half is gone: our real channel died, or the client.
                    () = other_half.closed() => return Err("its other half has ended".to_owned()),
                }
            }
            buffer.reserve(READ);
            let taken = tokio::select! {
                taken = read.read_buf(&mut buffer) => taken,
                () = other_half.closed() => return Err("its other half has ended".to_owned()),
            };
            match taken {
                Ok(0) => return Ok(()),
                Ok(_) => frames.feed(buffer.split().freeze()),
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    async fn pass(&mut self, inspected: Inspected) -> Result<(), Why> {
        let Inspected { id, passage } = inspected;
        let relayed = match passage {
            Passage::Init => {
                // What would be an id is the version (filexfer-02 §4), which is ours as well.
                let extensions = self.extensions().await?;
                return self.say(id, (op::VERSION, extensions)).await;
            }
            Passage::Limits => {
                let limits = self.limits().await?;
                return self.say(id, (op::EXTENDED_REPLY, limits)).await;
            }
            Passage::Digest { path, size } => return self.digest(id, path, size).await,
            Passage::Commit { temp, size, wanted, attrs, name } => {
                return self.commit(id, temp, size, wanted, attrs, name).await;
            }
            Passage::Parts { path, of } => return self.parts(id, path, of).await,
            Passage::Copy { old, new, from, at, len } => return self.copy(id, old, new, (from, at, len)).await,
            Passage::Put { path, mode, data } => return self.put(id, path, mode, data).await,
            Passage::Get { path, len } => return self.get(id, path, len).await,
            Passage::Unknown => return self.say(id, refusal(status::OP_UNSUPPORTED, "not passed on")).await,
            Passage::Relayed(relayed) => relayed,
        };
        if [&relayed.handle, &relayed.other]
            .into_iter()
            .flatten()
            .any(|handle| !self.shared.handles().contains_key(handle))
        {
            return self.say(id, refusal(status::FAILURE, "not a handle of this channel")).await;
        }
        let (pool, lease) = match relayed.kind {
            op::OPEN => self.real_for_file().await?,
            _ => self.real().await?,
        };
        let cost = match relayed.weight {
            Weight::Nothing => SMALL,
            Weight::Read(len) | Weight::Write(len) => len + SMALL,
        };
        let room = self.take_room(cost).await?;
        let budget: Option<Held> = match relayed.weight {
            Weight::Nothing => None,
            Weight::Read(len) => Some(Box::new(pool.read_budget(len).await)),
            Weight::Write(len) => {
                self.shared.guest.sends(len as u64);
                Some(Box::new(lease.write_budget(len).await))
            }
        };
        if let (request::Effect::Closes, Some(handle)) = (&relayed.effect, &relayed.handle) {
            self.shared.handles().remove(handle);
            self.names.forget(handle);
            if self.shared.handles().is_empty() {
                self.place = None;
            }
        }
        self.shared.outstanding.fetch_add(1, Ordering::AcqRel);
        let carried = match relayed.weight {
            Weight::Nothing => None,
            Weight::Read(len) | Weight::Write(len) => Some(lease.add_bytes(len)),
        };
        let request = Request::Relayed { kind: relayed.kind, body: relayed.body };
        let opens = matches!(relayed.effect, request::Effect::Opens { .. });
        let answer: BoxFuture<'static, Answer> = match opens.then(|| lease.free_handle()) {
            Some(Some(place)) if relayed.kind == op::OPENDIR => {
                Box::pin(passed(self.names.open(&lease.session, &request), Some(place)))
            }
            // As many are open as the server allows. Whoever waits for one to be closed must not keep closes from coming.
            Some(None) => {
                let lease = lease.clone();
                Box::pin(async move {
                    let place = lease.handle().await;
                    passed(lease.session.submit(&request), Some(place)).await
                })
            }
            place => {
                let known = match &relayed.handle {
                    Some(handle) if relayed.kind == op::READDIR => self.names.take(&lease.session, handle),
                    _ => None,
                };
                let asked = known.unwrap_or_else(|| lease.session.submit_holding(&request, (budget, carried)));
                Box::pin(passed(asked, place.flatten()))
            }
        };
        let awaited = Awaited { id, effect: relayed.effect, answer, _room: room, _real: Some((pool, lease)) };
        self.awaited.send(awaited).await.map_err(|_| "its other half has ended".to_owned())
    }

    /// The real channel: the same one while anything is open or unanswered there, else the least loaded.
    async fn real(&mut self) -> Result<Real, Why> {
        if let Some(real) = self.real.as_ref().filter(|_| !self.shared.is_idle()) {
            return Ok(real.clone());
        }
        self.leave();
        let (pool, lease) = self.shared.remote.lease().await.map_err(|fault| fault.to_string())?;
        Ok(self.enter(pool, lease))
    }

    /// The same, for a file: where nothing is open, on the lane that has the least of files.
    async fn real_for_file(&mut self) -> Result<Real, Why> {
        if !self.shared.is_idle() {
            return self.real().await;
        }
        self.leave();
        let guest = &self.shared.guest;
        let size = Some(guest.unsent()).filter(|unsent| *unsent > 0).unwrap_or(FILE);
        // A file in several stripes is opened on several of its client's channels, all of which have to be open before any of it moves.
        let (first, mark) = guest.first_place();
        let size = if first { size } else { 1 };
        let pool = self.shared.remote.pool().await.map_err(|fault| fault.to_string())?;
        let room = if first { pool.large_room_or_lanes(size).await } else { None };
        let Some((lease, large)) = pool.lease_large(size) else { return self.real().await };
        self.place = Some((large, room, mark));
        Ok(self.enter(pool, lease))
    }

    /// Ours must not count against itself when another is chosen.
    fn leave(&mut self) {
        (self.real, self.place) = (None, None);
        self.names = Names::default();
    }

    fn enter(&mut self, pool: Arc<Pool>, lease: Lease) -> Real {
        let real = (pool, Arc::new(lease));
        self.real = Some(real.clone());
        real
    }

    async fn take_room(&self, cost: usize) -> Result<OwnedSemaphorePermit, Why> {
        let cost = cost.min(OUTSTANDING) as u32;
        self.room.clone().acquire_many_owned(cost).await.map_err(|e| e.to_string())
    }

    /// An answer of our own.
    async fn say(&mut self, id: u32, (kind, body): (u8, Bytes)) -> Result<(), Why> {
        let room = self.take_room(SMALL).await?;
        self.promise(id, Box::pin(std::future::ready(Ok((kind, body, None)))), room, None).await
    }

    async fn promise(
        &mut self,
        id: u32,
        answer: BoxFuture<'static, Answer>,
        room: OwnedSemaphorePermit,
        real: Option<Real>,
    ) -> Result<(), Why> {
        self.shared.outstanding.fetch_add(1, Ordering::AcqRel);
        let awaited = Awaited { id, effect: request::Effect::None, answer, _room: room, _real: real };
        self.awaited.send(awaited).await.map_err(|_| "its other half has ended".to_owned())
    }

    /// What the server announced, as far as we pass it on, and what we offer ourselves.
    async fn extensions(&mut self) -> Result<Bytes, Why> {
        let (pool, lease) = self.real().await?;
        let have = lease.session.extensions;
        let copies = !have.copy_data && pool.hasher_in_the_same_place().is_some();
        let offered: [(bool, &[u8]); 10] = [
            (have.posix_rename, request::POSIX_RENAME),
            (have.fsync, request::FSYNC),
            (have.lsetstat, request::LSETSTAT),
            (have.hardlink, request::HARDLINK),
            (have.copy_data, request::COPY_DATA),
            (have.limits, request::LIMITS),
            (copies, COPY),
            (true, DIGEST),
            (true, PUT),
            (true, GET),
        ];
        let mut out = BytesMut::new();
        for (_, name) in offered.into_iter().filter(|(offered, _)| *offered) {
            for text in [name, b"1"] {
                out.put_u32(text.len() as u32);
                out.put_slice(text);
            }
        }
        Ok(out.freeze())
    }

    async fn limits(&mut self) -> Result<Bytes, Why> {
        let (_, lease) = self.real().await?;
        let limits = &lease.session.limits;
        let mut out = BytesMut::new();
        for number in [262_144, u64::from(limits.read), u64::from(limits.write), limits.handles.unwrap_or(0)] {
            out.put_u64(number);
        }
        Ok(out.freeze())
    }

    async fn digest(&mut self, id: u32, path: Bytes, size: u64) -> Result<(), Why> {
        let room = self.take_room(SMALL).await?;
        let remote = self.shared.remote.clone();
        let answer = async move {
            let answer = hashed(&remote, |hasher| async move { hasher.digest(&path, size).await }).await?;
            Ok((op::EXTENDED_REPLY, digest::encode(&answer), None))
        };
        self.promise(id, Box::pin(answer), room, None).await
    }

    async fn parts(&mut self, id: u32, path: Bytes, of: Of) -> Result<(), Why> {
        if !of.is_asked_for() {
            return self.say(id, refusal(status::FAILURE, "no such blocks")).await;
        }
        let room = self.take_room(of.most() as usize * digest::LINE + SMALL).await?;
        let remote = self.shared.remote.clone();
        let answer = async move {
            let ask = |hasher: RemoteHasher| async move {
                let told = hasher.parts(&path, of).await?.await?;
                Ok(digest::encode_parts(hasher.rung.algorithm(), &told))
            };
            let answer = hashed(&remote, ask).await?;
            Ok((op::EXTENDED_REPLY, answer.unwrap_or_else(|why| digest::encode(&Err(why))), None))
        };
        self.promise(id, Box::pin(answer), room, None).await
    }

    async fn copy(&mut self, id: u32, old: Bytes, new: Bytes, run: (u64, u64, u64)) -> Result<(), Why> {
        let room = self.take_room(SMALL).await?;
        let remote = self.shared.remote.clone();
        let answer = async move {
            let ask = |hasher: RemoteHasher| async move { hasher.copy(&old, &new, run).await?.await };
            let answer = hashed(&remote, ask).await?;
            Ok((op::EXTENDED_REPLY, digest::encode_copied(answer), None))
        };
        self.promise(id, Box::pin(answer), room, None).await
    }

    async fn commit(
        &mut self,
        id: u32,
        temp: Bytes,
        size: u64,
        wanted: Bytes,
        attrs: Attrs,
        name: Bytes,
    ) -> Result<(), Why> {
        let Some(Ok(wanted)) = digest::decode(&wanted) else {
            return self.say(id, refusal(status::FAILURE, "no hash")).await;
        };
        let room = self.take_room(SMALL).await?;
        let shared = self.shared.clone();
        let answer = async move {
            let path = temp.clone();
            let ask = |hasher: RemoteHasher| async move { hasher.commit(&path, size, &wanted, &attrs, &name).await };
            let hasher = shared.remote.pool().await.map_err(|_| ())?.hasher().await;
            let answer = match hasher {
                Some(_) => hashed(&shared.remote, ask).await?,
                // Nobody was asked, so nothing has happened.
                None => Err(NoHash::Skipped),
            };
            if let Ok(Committed::Done(_)) = answer {
                shared.guest.has_moved(&temp);
            }
            Ok((op::EXTENDED_REPLY, digest::encode_committed(answer), None))
        };
        self.promise(id, Box::pin(answer), room, None).await
    }

    async fn put(&mut self, id: u32, path: Bytes, mode: u32, data: Bytes) -> Result<(), Why> {
        let room = self.take_room(data.len() + SMALL).await?;
        self.shared.guest.sends(data.len() as u64);
        if request::is_hidden(&path) {
            // Before it is known to be there: whoever cleans up looks for it in vain, or not.
            self.shared.guest.makes(path.clone());
        }
        let remote = self.shared.remote.clone();
        // Its handle is ours alone, so it goes where there is room, whatever channel the client's others are on.
        let answer = async move {
            let (lease, ready) = remote.lease_to_write(data.len()).await.map_err(|_| ())?;
            match whole::create(&lease, ready, &path, mode, data).await {
                Ok(()) => Ok(told(status::OK, "")),
                Err(Not::Refused(refused)) => Ok(told(refused.code, &refused.text)),
                Err(Not::Dead) => Err(()),
            }
        };
        self.promise(id, Box::pin(answer), room, None).await
    }

    async fn get(&mut self, id: u32, path: Bytes, len: u32) -> Result<(), Why> {
        let (pool, lease) = self.real().await?;
        let room = self.take_room(len as usize + SMALL).await?;
        let (windows, channel) = (pool.clone(), lease.clone());
        let answer = async move {
            match whole::read(&windows, &channel, &path, len).await {
                Ok(file) => Ok((op::EXTENDED_REPLY, file, None)),
                Err(Not::Refused(refused)) => Ok(told(refused.code, &refused.text)),
                Err(Not::Dead) => Err(()),
            }
        };
        self.promise(id, Box::pin(answer), room, Some((pool, lease))).await
    }
}

/// A STATUS.
fn told(code: u32, text: &str) -> (u8, Bytes, Option<OwnedSemaphorePermit>) {
    let (kind, body) = refusal(code, text);
    (kind, body, None)
}

async fn passed(pending: Pending, place: Option<OwnedSemaphorePermit>) -> Answer {
    match pending.await {
        Ok(Reply::Relayed(kind, body)) => Ok((kind, body, place)),
        _ => Err(()),
    }
}

fn refusal(code: u32, text: &str) -> (u8, Bytes) {
    let mut body = BytesMut::new();
    body.put_u32(code);
    for text in [text, ""] {
        body.put_u32(text.len() as u32);
        body.put_slice(text.as_bytes());
    }
    (op::STATUS, body.freeze())
}

/// The other half: takes answers as they come, and writes them. Goes on to the last one even if nobody reads any more, so
/// that what has been opened is known.
async fn answer(write: OwnedWriteHalf, mut queue: mpsc::Receiver<Awaited>, shared: Arc<Shared>) {
    let mut waiting = FuturesUnordered::new();
    let mut open = true;
    let mut out = Answers::to(write);
    loop {
        let mut next = tokio::select! {
            new = queue.recv(), if open => {
                match new {
                    Some(Awaited { id, effect, answer, _room, _real }) => {
                        waiting.push(async move { (id, effect, answer.await, (_room, _real)) });
                    }
                    None => open = false,
                }
                continue;
            }
            Some(answered) = waiting.next(), if !waiting.is_empty() => Some(answered),
            else => return,
        };
        // Those that have come meanwhile go with it.
        while let Some((id, effect, answer, _room)) = next {
            let Ok((kind, body, place)) = answer else {
                // The real channel is dead, and with it all that was open on it. Dropping our half tells the client.
                shared.cut.store(true, Ordering::Relaxed);
                shared.handles().clear();
                return;
            };
            settle(&shared, effect, kind, &body, place);
            shared.outstanding.fetch_sub(1, Ordering::AcqRel);
            out.put(id, kind, &body).await;
            next = waiting.next().now_or_never().flatten();
        }
        out.flush().await;
    }
}

/// Asks the far end's hasher; one that fails is not asked again.
///
/// # Errors
/// The connection is lost.
async fn hashed<T, F: Future<Output = Result<T, NoHash>>>(
    remote: &Remote,
    ask: impl FnOnce(RemoteHasher) -> F,
) -> Result<Result<T, NoHash>, ()> {
    let pool = remote.pool().await.map_err(|_| ())?;
    let answer = match pool.hasher().await {
        Some(hasher) => ask(hasher).await,
        None => Err(NoHash::Gone("there is no hasher at the far end".to_owned())),
    };
    if let Err(NoHash::Gone(why)) = &answer {
        if pool.link.is_over() {
            return Err(());
        }
        pool.forget_hasher(why);
    }
    Ok(answer)
}

/// What an answer changes: a handle that is open now, a temporary file that is there now, or no more.
fn settle(shared: &Shared, effect: request::Effect, kind: u8, body: &Bytes, place: Option<OwnedSemaphorePermit>) {
    let well = kind == op::STATUS && body.starts_with(&status::OK.to_be_bytes());
    match effect {
        request::Effect::Opens { temp } if kind == op::HANDLE && body.len() > 4 => {
            let Some(place) = place else { return };
            shared.handles().insert(body.slice(4..), place);
            if let Some(temp) = temp {
                shared.guest.makes(temp);
            }
        }
        request::Effect::Moves { from } if well => {
            shared.guest.has_moved(&from);
        }
        _ => {}
    }
}
