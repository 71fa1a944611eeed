//! What carries SFTP to the far end: an SSH connection with its lanes, or a command's standard streams.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fault::{Cause, Fault, Stage};
use crate::ledger::HopFacts;
use crate::sftp::wire::{BoxFuture, Receiver, Sender, Wire};
use crate::ssh::channel::{self, Start};
use crate::ssh::connection::{Connection, Context, Lane, Pace};
use crate::ssh::route::Route;
use crate::verify::ladder::FarEnd;

/// Makes links: the first, and the next ones when a link is lost.
pub trait Connector: Send + Sync {
    /// The far end's name, as the user knows it.
    fn hop(&self) -> Arc<str>;
    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn Link>, Fault>>;
}

/// A live way to the far end, on which channels are opened.
pub trait Link: Send + Sync {
    /// A channel that speaks SFTP, and the lane it is on.
    fn sftp(&self) -> BoxFuture<'_, Result<(Wire, u32), Fault>>;
    /// A channel that runs a command; [`Cause::Unsupported`] where there is none.
    fn exec<'a>(&'a self, command: &'a [u8]) -> BoxFuture<'a, Result<Wire, Fault>>;
    /// Whether the far end is OpenSSH (SYMLINK's operands).
    fn openssh(&self) -> bool;
    /// Whether each channel is a server's alone, so that its handles may be foreseen.
    fn foresees(&self) -> bool {
        self.openssh()
    }
    /// How many channels the link can have at most, if that is known.
    fn channels(&self) -> Option<usize>;
    /// Bytes that may be asked for and not yet received, all channels together: the window that we offer.
    fn receive_window(&self) -> usize;
    fn is_over(&self) -> bool;
    fn close(&self) -> BoxFuture<'_, ()>;
    /// What somebody else has already asked the far end's shell; `None` where we have to ask ourselves.
    fn far(&self) -> Option<FarEnd> {
        None
    }
    /// Why it ended, if it did and can tell that from the end of a channel.
    fn state(&self) -> State {
        State::Unknown
    }
    /// Why a lane that was added has ended, where the link itself has not.
    fn lane_fault(&self, _lane: u32) -> Option<Fault> {
        None
    }
    /// The fault of the hop on the way to the far end that does not answer within `patience`, where the far end's silence is
    /// due to one.
    fn blame(&self, _fault: Fault, _patience: Duration) -> BoxFuture<'_, Option<Fault>> {
        Box::pin(std::future::ready(None))
    }
    /// Whether somebody else's way here took a person's answer, so that one of our own might ask again.
    fn asked_person(&self) -> bool {
        false
    }
    /// The hops, in the order in which they are reached.
    fn hops(&self) -> Vec<HopFacts> {
        Vec::new()
    }
    /// The round trip to each of [`Link::hops`] but the last, measured now.
    fn round_trips(&self) -> BoxFuture<'_, Vec<Duration>> {
        Box::pin(std::future::ready(Vec::new()))
    }
    /// Opens one more lane, with windows and sessions of its own, and tells its number; `None` where there are no lanes.
    fn add_lane(&self) -> BoxFuture<'_, Result<Option<u32>, Fault>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// Closes a lane that was added.
    fn drop_lane(&self, _lane: u32) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// The round trip to the first hop as the kernel saw it, where that is what the path is like.
    fn distance(&self) -> Option<Duration> {
        None
    }
    /// As [`Link::sftp`], on a lane that was added.
    fn sftp_on(&self, _lane: u32) -> BoxFuture<'_, Result<(Wire, u32), Fault>> {
        self.sftp()
    }
}

/// How a link does.
#[derive(Debug)]
pub enum State {
    /// Channels can be opened on it.
    Alive,
    Lost(Fault),
    /// All that is known of it is what its channels do.
    Unknown,
}

/// SSH along a route.
pub struct SshConnector {
    pub route: Route,
    pub context: Context,
    /// TCP connections (`--connections`): further lanes get one of their own until there are so many.
    pub connections: usize,
}

impl Connector for SshConnector {
    fn hop(&self) -> Arc<str> {
        self.route.hops.last().map_or_else(|| "target".into(), |hop| hop.alias.clone())
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn Link>, Fault>> {
        Box::pin(async move {
            let (pace, follow) = watch::channel(0);
            let early = Early::begin(&self.route, &self.context, self.connections, &follow);
            drop(follow);
            let (connection, lane) = Connection::open(&self.route, &self.context, 0, Pace::Lead(pace)).await?;
            let more = Lanes {
                route: self.route.clone(),
                context: self.context.clone(),
                connections: self.connections,
                added: Mutex::new(Added { early, ..Added::default() }),
            };
            Ok(Arc::new(SshLink { connection, lane, more }) as Arc<dyn Link>)
        })
    }
}

struct SshLink {
    connection: Connection,
    lane: Lane,
    more: Lanes,
}

/// Lanes beyond the first.
struct Lanes {
    route: Route,
    context: Context,
    connections: usize,
    added: Mutex<Added>,
}

/// Connections that are begun with the first one, which they follow. If that fails they say goodbye where they are by then: a
/// login that is left half-way is what servers punish.
#[derive(Default)]
struct Early(VecDeque<JoinHandle<Result<(Connection, Lane), Fault>>>);

/// MaxStartups counts logins that are not done yet, ten before it drops any.
const EARLY: usize = 3;

impl Early {
    fn begin(route: &Route, context: &Context, connections: usize, first: &watch::Receiver<usize>) -> Early {
        let begun = 1..=connections.saturating_sub(1).min(EARLY);
        let begin = |index| {
            let (route, context, pace) = (route.clone(), context.clone(), Pace::Follow(first.clone()));
            tokio::spawn(async move { Connection::open(&route, &context, index as u32, pace).await })
        };
        Early(begun.map(begin).collect())
    }

    /// Ends those that nobody has come for.
    async fn close(self) {
        let ends = self.0.into_iter().map(|connecting| async move {
            if let Ok(Ok(Ok((connection, lane)))) = tokio::time::timeout(EARLY_PATIENCE, connecting).await {
                lane.session.fate.leave();
                connection.leave();
                connection.close_lane(&lane).await;
                connection.close().await;
            }
        });
        join_all(ends).await;
    }
}

/// For a connection that nobody needs any more to be whole, so that it can say goodbye.
const EARLY_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Added {
    early: Early,
    /// Lanes begun; their numbers start at 1.
    begun: u32,
    connections: Vec<Arc<Connection>>,
    /// Each with its connection, if that is not the first.
    lanes: Vec<(Arc<Lane>, Option<Arc<Connection>>)>,
}

impl SshLink {
    fn added(&self) -> MutexGuard<'_, Added> {
        self.more.added.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn add(&self) -> Result<Option<u32>, Fault> {
        let (index, early, carrier) = {
            let mut added = self.added();
            added.begun += 1;
            // They have the first numbers, in order.
            let early = added.early.0.pop_front();
            let new = (added.begun as usize) < self.more.connections;
            // On all connections in turn; the first is not in the list.
            let turn = added.begun as usize % (added.connections.len() + 1);
            let carrier = if new { None } else { Some(turn.checked_sub(1).map(|n| added.connections[n].clone())) };
            (added.begun, early, carrier)
        };
        let (lane, carrier) = match carrier {
            None => {
                let (connection, lane) = match early {
                    Some(early) => early.await.map_err(|_| ended(&self.lane))??,
                    None => Connection::open(&self.more.route, &self.more.context, index, Pace::Alone).await?,
                };
                let connection = Arc::new(connection);
                self.added().connections.push(connection.clone());
                (Some(lane), Some(connection))
            }
            Some(None) => (self.connection.lane(index).await?, None),
            Some(Some(connection)) => (connection.lane(index).await?, Some(connection)),
        };
        let Some(lane) = lane else { return Ok(None) };
        self.added().lanes.push((Arc::new(lane), carrier));
        Ok(Some(index))
    }
}

/// A connection's task ended without an answer: it panicked, or the runtime is about to end.
fn ended(lane: &Lane) -> Fault {
    let text = "internal error: a further connection's task ended without an answer";
    Fault::new(lane.session.hop.alias.clone(), Stage::Session, Cause::Cancelled, text)
}

impl Link for SshLink {
    fn sftp(&self) -> BoxFuture<'_, Result<(Wire, u32), Fault>> {
        Box::pin(async move {
            let started = channel::open(&self.lane.session, Start::Sftp).await?;
            Ok((started.wire, self.lane.index))
        })
    }

    fn exec<'a>(&'a self, command: &'a [u8]) -> BoxFuture<'a, Result<Wire, Fault>> {
        Box::pin(async move { Ok(channel::open(&self.lane.session, Start::Exec(command)).await?.wire) })
    }

    fn add_lane(&self) -> BoxFuture<'_, Result<Option<u32>, Fault>> {
        Box::pin(self.add())
    }

    fn drop_lane(&self, lane: u32) -> BoxFuture<'_, ()> {
        let found = {
            let lanes = &mut self.added().lanes;
            lanes.iter().position(|(added, _)| added.index == lane).map(|at| lanes.swap_remove(at))
        };
        Box::pin(async move {
            if let Some((lane, _)) = found {
                lane.session.fate.leave();
                self.connection.close_lane(&lane).await;
            }
        })
    }

    fn distance(&self) -> Option<Duration> {
        self.connection.distance
    }

    fn sftp_on(&self, lane: u32) -> BoxFuture<'_, Result<(Wire, u32), Fault>> {
        Box::pin(async move {
            let found = self.added().lanes.iter().find(|(added, _)| added.index == lane).cloned();
            match found {
                Some((found, _)) => Ok((channel::open(&found.session, Start::Sftp).await?.wire, lane)),
                None => self.sftp().await,
            }
        })
    }

    fn openssh(&self) -> bool {
        self.lane.session.fate.is_openssh()
    }

    fn channels(&self) -> Option<usize> {
        None
    }

    fn receive_window(&self) -> usize {
        self.lane.session.windows.receive as usize
    }

    fn is_over(&self) -> bool {
        // A jump's end is the end of all that it carries, a moment before that knows.
        self.lane.session.fate.is_over() || self.connection.fault().is_some()
    }

    fn state(&self) -> State {
        match self.connection.fault() {
            Some(fault) => State::Lost(fault),
            None if self.lane.session.fate.is_over() => State::Lost(self.lane.session.fate.fault()),
            None => State::Alive,
        }
    }

    fn lane_fault(&self, lane: u32) -> Option<Fault> {
        let (lane, carrier) = self.added().lanes.iter().find(|(added, _)| added.index == lane).cloned()?;
        let below = carrier.and_then(|connection| connection.fault());
        below.or_else(|| lane.session.fate.is_over().then(|| lane.session.fate.fault()))
    }

    fn blame(&self, fault: Fault, patience: Duration) -> BoxFuture<'_, Option<Fault>> {
        Box::pin(self.connection.blame(fault, patience))
    }

    fn hops(&self) -> Vec<HopFacts> {
        self.connection.facts(&self.lane)
    }

    fn round_trips(&self) -> BoxFuture<'_, Vec<Duration>> {
        Box::pin(self.connection.round_trips())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut added = std::mem::take(&mut *self.added());
            let early = std::mem::take(&mut added.early).close();
            // What was lost before is asked why all the same, though it is left now.
            if !self.is_over() {
                added
                    .lanes
                    .iter()
                    .map(|(lane, _)| &**lane)
                    .chain([&self.lane])
                    .for_each(|lane| lane.session.fate.leave());
                added
                    .connections
                    .iter()
                    .map(|connection| &**connection)
                    .chain([&self.connection])
                    .for_each(Connection::leave);
            }
            // Together: each waits a moment for its words to be on their way. A jump comes after what it carries.
            let lanes = added.lanes.iter().map(|(lane, _)| &**lane).chain([&self.lane]);
            tokio::join!(join_all(lanes.map(|lane| self.connection.close_lane(lane))), early);
            let connections = added.connections.iter().map(|connection| &**connection).chain([&self.connection]);
            join_all(connections.map(|connection| connection.close())).await;
        })
    }
}

/// A remote shell that is not ours: run as given, with an SFTP server at its far end and SFTP over its standard streams.
pub struct CommandConnector {
    /// `-e`'s words.
    pub shell: Vec<OsString>,
    pub user: Option<String>,
    pub host: String,
}

/// How an SFTP server is started at the far end: sftp(1)'s own trick (its `-s` with a path) for shells without subsystems.
const SERVER: &str = "exec sh -c 'for s in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server \
/usr/lib/ssh/sftp-server /usr/libexec/sftp-server /usr/lib/sftp-server sftp-server; \
do command -v $s >/dev/null 2>&1 && exec $s; done; echo no sftp-server found >&2; exit 127'";

impl Connector for CommandConnector {
    fn hop(&self) -> Arc<str> {
        self.host.as_str().into()
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn Link>, Fault>> {
        Box::pin(async move {
            Ok(Arc::new(CommandLink {
                words: self.words(),
                hop: self.hop(),
                children: Mutex::default(),
                over: std::sync::atomic::AtomicBool::new(false),
            }) as Arc<dyn Link>)
        })
    }
}

impl CommandConnector {
    /// As rsync calls a remote shell: `SHELL [-l USER] HOST COMMAND`.
    fn words(&self) -> Vec<OsString> {
        let mut words = self.shell.clone();
        if let Some(user) = &self.user {
            words.extend(["-l".into(), user.into()]);
        }
        words.push(self.host.clone().into());
        words
    }
}

struct CommandLink {
    words: Vec<OsString>,
    hop: Arc<str>,
    children: Mutex<Vec<Child>>,
    over: std::sync::atomic::AtomicBool,
}

impl CommandLink {
    fn spawn(&self, command: &str) -> Result<Wire, Fault> {
        let failed = |text: String| Fault::new(self.hop.clone(), Stage::Session, Cause::Unreachable, text);
        let (program, arguments) =
            self.words.split_first().ok_or_else(|| failed("the remote shell (-e) is empty".to_owned()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .arg(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(format!("cannot run \"{}\": {e}", program.to_string_lossy())))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("the remote shell has no standard streams".to_owned()));
        };
        self.children.lock().unwrap_or_else(|p| p.into_inner()).push(child);
        let hop = self.hop.clone();
        Ok(Wire {
            tx: Box::new(PipeTx { stdin: Some(stdin), hop: hop.clone() }),
            rx: Box::new(PipeRx { stdout, hop, buffer: BytesMut::new() }),
        })
    }
}

impl Link for CommandLink {
    fn sftp(&self) -> BoxFuture<'_, Result<(Wire, u32), Fault>> {
        Box::pin(std::future::ready(self.spawn(SERVER).map(|wire| (wire, 0))))
    }

    fn exec<'a>(&'a self, command: &'a [u8]) -> BoxFuture<'a, Result<Wire, Fault>> {
        Box::pin(std::future::ready(self.spawn(&String::from_utf8_lossy(command))))
    }

    fn openssh(&self) -> bool {
        true
    }

    fn channels(&self) -> Option<usize> {
        // Each would be a process and a login of its own.
        Some(1)
    }

    fn receive_window(&self) -> usize {
        2 << 20
    }

    fn is_over(&self) -> bool {
        self.over.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.over.store(true, std::sync::atomic::Ordering::Relaxed);
            let children = std::mem::take(&mut *self.children.lock().unwrap_or_else(|p| p.into_inner()));
            for mut child in children {
                // Its input was closed with the channel; what does not leave then is killed when it is dropped.
                let _ = tokio::time::timeout(Duration::from_secs(2), child.wait()).await;
            }
        })
    }
}

struct PipeTx {
    stdin: Option<ChildStdin>,
    hop: Arc<str>,
}

struct PipeRx {
    stdout: ChildStdout,
    hop: Arc<str>,
    buffer: BytesMut,
}

impl Sender for PipeTx {
    fn send(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let lost =
                |why: &str| Fault::new(self.hop.clone(), Stage::Session, Cause::Lost, format!("remote shell: {why}"));
            match &mut self.stdin {
                Some(stdin) => stdin.write_all(&data).await.map_err(|e| lost(&e.to_string())),
                None => Err(lost("its input was closed")),
            }
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, ()> {
        self.stdin = None;
        Box::pin(std::future::ready(()))
    }
}

impl Receiver for PipeRx {
    fn recv(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Fault>> {
        Box::pin(async move {
            self.buffer.reserve(64 * 1024);
            match self.stdout.read_buf(&mut self.buffer).await {
                Ok(0) => Ok(None),
                Ok(_) => Ok(Some(self.buffer.split().freeze())),
                Err(e) => Err(Fault::new(self.hop.clone(), Stage::Session, Cause::Lost, format!("remote shell: {e}"))),
            }
        })
    }
}
