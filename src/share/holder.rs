//! The holder: a process that has the connection, and lets clients use it until none has come for a while.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::Resource;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::guest::Guest;
use super::place::{Lock, identity, remove};
use super::protocol::{self, Facts, Start, Told, Want, Word};
use super::relay::{self, Ended};
use super::starter::Starter;
use super::{facts, process};
use crate::engine::retry::{Retry, Scope};
use crate::fault::Fault;
use crate::ledger::{self, Ledger};
use crate::sftp::traffic::Traffic;
use crate::ssh::connection::Context;
use crate::tree::remote::link::{Connector, SshConnector};
use crate::tree::remote::{Remote, pool};

/// A client says what it wants at once.
const GREETING: Duration = Duration::from_secs(30);

/// How often those who wait are told to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Silence on a channel, with requests outstanding, that ends it. Clients have their own `--timeout`.
const STALL: Duration = Duration::from_secs(300);

/// For those who still wait for an answer, when the holder leaves.
const FAREWELL: Duration = Duration::from_secs(5);

/// Descriptors that are not clients'.
const OTHER_FILES: u64 = 64;

/// What everyone waits for.
#[derive(Clone)]
enum State {
    Connecting,
    Up(Arc<Remote>),
    /// No connection, for good; all who come are told.
    Failed(Fault),
    Leaving,
}

struct Holder {
    start: Start,
    /// The file that it listens on.
    socket: Option<(u64, u64)>,
    state: watch::Sender<State>,
    /// Sockets that are being served.
    sockets: watch::Sender<usize>,
    linger: AtomicU64,
    /// A person has answered something for the connection.
    asked: Arc<AtomicBool>,
    /// What befell the connection.
    ledger: Arc<Ledger>,
    /// The connection, if there ever was one.
    up: std::sync::OnceLock<Arc<Remote>>,
    /// What has moved, and is known to come.
    traffic: Arc<Traffic>,
    /// Clients with their open channels, and those that wait for one.
    clients: Mutex<HashMap<u64, (usize, Arc<Guest>)>>,
}

pub async fn run(line: std::os::unix::net::UnixStream, lock: Lock) -> io::Result<()> {
    let mut line = UnixStream::from_std(line)?;
    let start = tokio::time::timeout(GREETING, protocol::receive::<Start>(&mut line)).await??;
    let start = start.ok_or_else(|| io::Error::other("the starter has gone"))?;
    let listener = match process::listen(&start) {
        Ok(listener) => listener,
        Err(error) => {
            let shown = start.socket.display();
            return protocol::send(&mut line, &Word::Cannot(format!("{shown}: {error}"))).await;
        }
    };
    let socket = identity(&start.socket);
    lock.release();
    protocol::send(&mut line, &Word::Listening).await?;
    let holder = Arc::new(Holder {
        linger: AtomicU64::new(millis(start.linger)),
        socket,
        start,
        state: watch::Sender::new(State::Connecting),
        sockets: watch::Sender::new(0),
        asked: Arc::default(),
        ledger: Arc::new(Ledger::new(ledger::Settings::default())),
        up: std::sync::OnceLock::new(),
        traffic: Arc::default(),
        clients: Mutex::default(),
    });
    let starter = Starter::new(line, holder.asked.clone());
    tokio::spawn(connect(holder.clone(), starter));
    accept(&holder, listener).await
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Makes the connection that everyone waits for.
async fn connect(holder: Arc<Holder>, starter: Starter) {
    let Start { route, patience, person, .. } = &holder.start;
    let ledger = holder.ledger.clone();
    let context = Context {
        prompt: Arc::new(starter.prompt(route, *person)),
        ledger: ledger.clone(),
        patience: *patience,
        // Not by -z, see the module above; by ssh_config's Compression still.
        compress: false,
        sessions: 2,
        notice: starter.notice(),
    };
    let connector = SshConnector { route: route.clone(), context, connections: 1 };
    let settings = pool::Settings {
        hop: connector.hop(),
        ledger,
        most: pool::ENOUGH,
        // More are opened as clients come.
        eager: 1,
        stall: STALL,
        hashing: true,
        identity: true,
        connections: 1,
        traffic: holder.traffic.clone(),
        looks: Arc::default(),
        habit: Arc::default(),
        known: 0,
        crowd: true,
    };
    let state = match Remote::connect(Box::new(connector), settings, Retry::new(Scope::Connect)).await {
        Ok(remote) => {
            // Clients begin with what the far end's shell says.
            remote.algorithm().await;
            let _ = holder.up.set(remote.clone());
            State::Up(remote)
        }
        Err(fault) => {
            tracing::info!(%fault, "no connection");
            State::Failed(fault)
        }
    };
    // What the starter is to be told it is told before its answer.
    starter.close().await;
    holder.state.send_if_modified(|now| {
        let waited_for = matches!(now, State::Connecting);
        if waited_for {
            *now = state;
        }
        waited_for
    });
}

/// Takes clients until it is time to leave.
async fn accept(holder: &Arc<Holder>, listener: UnixListener) -> io::Result<()> {
    let mut state = holder.state.subscribe();
    let most = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(most.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX).max(1);
    let mut sockets = holder.sockets.subscribe();
    loop {
        let leave = tokio::select! {
            accepted = listener.accept(), if *holder.sockets.borrow() < most => match accepted {
                Ok((stream, _)) => {
                    holder.take(stream);
                    None
                }
                Err(error) => {
                    // Out of descriptors or memory: those who are here will leave some.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    None
                }
            },
            // Below the limit again, or nobody left.
            _ = sockets.changed() => None,
            idle = holder.idle() => idle.then_some(State::Leaving),
            ended = state.wait_for(|state| matches!(state, State::Failed(_) | State::Leaving)) => {
                ended.ok().map(|state| state.clone())
            }
        };
        if let Some(why) = leave
            && holder.leave(&listener, why).await?
        {
            return Ok(());
        }
    }
}

impl Holder {
    fn clients(&self) -> MutexGuard<'_, HashMap<u64, (usize, Arc<Guest>)>> {
        self.clients.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// Returns when nobody has been here for as long as it lingers.
    async fn idle(&self) -> bool {
        if *self.sockets.borrow() > 0 {
            return std::future::pending().await;
        }
        let _ = self.state.subscribe().wait_for(|state| !matches!(state, State::Connecting)).await;
        let linger = Duration::from_millis(self.linger.load(Ordering::Relaxed));
        tokio::time::sleep(linger.min(Duration::from_secs(u64::from(u32::MAX)))).await;
        true
    }

    /// Serves one client in a task of its own.
    fn take(self: &Arc<Self>, stream: UnixStream) {
        self.sockets.send_modify(|sockets| *sockets += 1);
        let holder = self.clone();
        tokio::spawn(async move {
            if let Err(error) = holder.serve(stream).await {
                tracing::debug!(%error, "a client");
            }
            holder.sockets.send_modify(|sockets| *sockets -= 1);
        });
    }

    async fn serve(self: &Arc<Self>, mut stream: UnixStream) -> io::Result<()> {
        if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
            return Err(io::Error::other("another user's"));
        }
        let want = tokio::time::timeout(GREETING, protocol::receive(&mut stream)).await??;
        match want {
            None => Ok(()),
            Some(Want::Stop) => {
                protocol::send(&mut stream, &Told::Leaving).await?;
                self.state.send_replace(State::Leaving);
                // Kept open: its end tells that we are gone.
                std::future::pending().await
            }
            Some(Want::Probe) => {
                let told = match self.remote(&mut stream).await? {
                    Ok(remote) => {
                        // The one who asks is none.
                        let clients = self.clients().len();
                        Told::Probed(facts::probe(&remote, &self.ledger, clients).await)
                    }
                    Err(told) => told,
                };
                protocol::send(&mut stream, &told).await
            }
            Some(Want::Channel { client, linger, ahead }) => {
                if let Some(linger) = linger {
                    self.linger.store(millis(linger), Ordering::Relaxed);
                }
                let guest = self.enter(client);
                // While they wait for the connection, hundreds tell what lanes are worth.
                guest.tells(ahead);
                let served = self.relay(stream, &guest).await;
                if self.exit(client)
                    && let Ok(Some((remote, Ended::Left))) = &served
                {
                    guest.clean(remote).await;
                }
                served.map(|_| ())
            }
        }
    }

    /// A client's channel, to its end; `None` if there is no connection for it.
    async fn relay(&self, mut stream: UnixStream, guest: &Arc<Guest>) -> io::Result<Option<(Arc<Remote>, Ended)>> {
        let remote = match self.remote(&mut stream).await? {
            Ok(remote) => remote,
            Err(told) => return protocol::send(&mut stream, &told).await.map(|()| None),
        };
        let asked = self.asked.load(Ordering::Relaxed);
        let facts = Facts { asked, ..facts::of(&remote, &self.ledger).await };
        protocol::send(&mut stream, &Told::Ready(facts)).await?;
        remote.want(*self.sockets.borrow());
        let ended = relay::serve(stream, remote.clone(), guest.clone()).await;
        Ok(Some((remote, ended)))
    }

    /// The connection, or what to say in its place. Waits for it, and tells the client so.
    async fn remote(&self, stream: &mut UnixStream) -> io::Result<Result<Arc<Remote>, Told>> {
        let mut state = self.state.subscribe();
        loop {
            let now = state.borrow_and_update().clone();
            let remote = match now {
                State::Up(remote) => remote,
                State::Failed(fault) => return Ok(Err(Told::Failed(fault))),
                State::Leaving => return Ok(Err(Told::Leaving)),
                State::Connecting => {
                    if tokio::time::timeout(PATIENCE, state.changed()).await.is_err() {
                        protocol::send(stream, &Told::Wait).await?;
                    }
                    continue;
                }
            };
            // A connection that was lost is made again, once for all who are here.
            let mut pool = Box::pin(remote.pool());
            loop {
                match tokio::time::timeout(PATIENCE, &mut pool).await {
                    Ok(Ok(_)) => return Ok(Ok(remote.clone())),
                    Ok(Err(fault)) => {
                        self.state.send_replace(State::Failed(fault.clone()));
                        return Ok(Err(Told::Failed(fault)));
                    }
                    Err(_) => protocol::send(stream, &Told::Wait).await?,
                }
            }
        }
    }

    /// Another channel of this client.
    fn enter(&self, client: u64) -> Arc<Guest> {
        let mut clients = self.clients();
        let (channels, guest) =
            clients.entry(client).or_insert_with(|| (0, Arc::new(Guest::new(self.traffic.clone()))));
        *channels += 1;
        guest.clone()
    }

    /// Whether that was its last one.
    fn exit(&self, client: u64) -> bool {
        let mut clients = self.clients();
        let last = match clients.get_mut(&client) {
            Some((channels, _)) => {
                *channels -= 1;
                *channels == 0
            }
            None => true,
        };
        if last {
            clients.remove(&client);
        }
        last
    }

    /// Goes, unless somebody has come meanwhile. `false`: it stays.
    async fn leave(self: &Arc<Self>, listener: &UnixListener, why: State) -> io::Result<bool> {
        // From here on nobody can start another, until we are gone.
        let lock = Lock::take(&self.start.lock).await?;
        let idle = matches!((&why, &*self.state.borrow()), (State::Leaving, State::Up(_)));
        if idle {
            self.drain(listener).await;
            if *self.sockets.borrow() > 0 {
                lock.release();
                return Ok(false);
            }
        }
        // Somebody may have removed our name (/tmp is tidied): then a holder that was started since has it.
        if identity(&self.start.socket) == self.socket {
            remove(&[&self.start.socket]);
        }
        remove(&[&self.start.lock]);
        let up = self.up.get().cloned();
        self.state.send_replace(why.clone());
        // Those who were in the queue are told why we go.
        self.drain(listener).await;
        if matches!(why, State::Failed(_)) {
            let mut sockets = self.sockets.subscribe();
            let _ = tokio::time::timeout(FAREWELL, sockets.wait_for(|sockets| *sockets == 0)).await;
        }
        if let Some(remote) = up {
            remote.close().await;
        }
        lock.release();
        Ok(true)
    }

    /// Takes everyone who is in the queue.
    async fn drain(self: &Arc<Self>, listener: &UnixListener) {
        use futures::FutureExt;
        while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
            self.take(stream);
        }
    }
}
