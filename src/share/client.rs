//! The client's side: a [`Link`] whose channels are sockets to a holder.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::join::{self, Joined, join};
use super::place::Place;
use super::protocol::{Facts, Probe, Start, Told, Want};
use super::{LINGER, NotShared, key, resolve};
use crate::fault::{Cause, Fault, Stage};
use crate::job::Login;
use crate::ledger::{Event, HopFacts, What};
use crate::sftp::wire::{BoxFuture, Receiver, Sender, Wire};
use crate::ssh::connection::Context;
use crate::ssh::hop::Windows;
use crate::ssh::route::{Route, Shell};
use crate::tree::remote::link::{Connector, Link, SshConnector};
use crate::verify::ladder::FarEnd;

/// One read from the socket takes this much at most: a small file's answers at once, a quarter of a large one's.
const READ: usize = 64 * 1024;

/// Drops of one kind that are counted: the holder itself gives up long before.
const COUNTED: u64 = 1000;

/// For a holder that was told to leave: it says goodbye to its servers, two seconds each at most.
const GOING: Duration = Duration::from_secs(20);

/// Connects through a holder, or by ourselves where that cannot be.
pub struct ShareConnector {
    own: SshConnector,
    /// Without one (no directory for it, a route that cannot be written down) we are on our own.
    start: Result<Start, String>,
    /// The same for all channels of this process.
    client: u64,
    linger: Option<Duration>,
    ahead: u64,
}

impl ShareConnector {
    /// `linger` is what was asked for by option; else ssh_config's ControlPersist decides, or [`LINGER`]. `ahead`: bytes of files
    /// that may have to be sent, as far as is known before anything is connected.
    pub fn new(own: SshConnector, linger: Option<Duration>, ahead: u64) -> ShareConnector {
        let start = describe(&own.route, &own.context, linger);
        ShareConnector { own, start, client: rand::random(), linger, ahead }
    }

    /// Whether a connection stands already that is better than a new one even for a tree: one that leads far (what its holder
    /// offers to receive was chosen by the distance), or for which a person would be asked again.
    pub async fn stands_well(&self) -> bool {
        let Ok(start) = &self.start else { return false };
        let Ok(Some(mut stream)) = join::connect(&start.socket).await else { return false };
        // It is not said yet what is to be sent: that may go another way.
        let want = Want::Channel { client: self.client, linger: self.linger, ahead: 0 };
        let facts = join::greet(&mut stream, &want).await;
        matches!(facts, Ok(Some(facts)) if facts.asked || facts.receive_window > Windows::NEAR as usize)
    }

    /// The way without sharing.
    pub fn into_own(self) -> SshConnector {
        self.own
    }

    async fn shared(&self) -> Result<Arc<dyn Link>, NotShared> {
        let start = self.start.as_ref().map_err(|why| NotShared::Alone(why.clone()))?;
        let begun = Instant::now();
        let want = Want::Channel { client: self.client, linger: self.linger, ahead: self.ahead };
        let Joined { stream, facts, started } = join(start, &want, &self.own.context).await?;
        let (hop, ledger) = (self.hop(), &self.own.context.ledger);
        let waited = begun.elapsed();
        let Facts { holder, hops, drops, .. } = &facts;
        ledger.event(Event::Shared { hop: &hop, holder: *holder, waited, started, hops, drops });
        if started {
            // Somebody's count has to have them; those who only share tell them.
            for drop in drops {
                let fault = Fault::new(drop.hop.as_str(), drop.stage, drop.cause, drop.example.clone());
                (0..drop.times.min(COUNTED)).for_each(|_| ledger.drop_counted(&fault, What::Connection));
            }
        }
        if let Some((sessions, files, hashing)) = facts.limit {
            ledger.event(Event::LimitFound { hop: &hop, sessions, files, hashing, refused: 0 });
        }
        Ok(Arc::new(ShareLink {
            hop,
            start: start.clone(),
            want,
            context: self.own.context.clone(),
            facts,
            first: Mutex::new(Some(stream)),
            over: AtomicBool::new(false),
        }))
    }
}

/// Where the holder for a route listens, and its lock.
fn names(route: &Route) -> Result<(PathBuf, PathBuf), String> {
    let place = Place::find()?;
    let key = key::of(route).ok_or("the route has names that are not UTF-8")?;
    Ok((place.file(&key, "sock"), place.file(&key, "lock")))
}

fn describe(route: &Route, context: &Context, linger: Option<Duration>) -> Result<Start, String> {
    let route = key::rooted(route.clone());
    let (socket, lock) = names(&route)?;
    let persist = route.hops.last().and_then(|hop| hop.control_persist);
    Ok(Start {
        socket,
        lock,
        patience: context.patience,
        linger: linger.or(persist).unwrap_or(LINGER),
        person: route.hops.iter().any(|hop| context.prompt.reaches(hop)),
        route,
    })
}

impl Connector for ShareConnector {
    fn hop(&self) -> Arc<str> {
        self.own.hop()
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn Link>, Fault>> {
        Box::pin(async move {
            match self.shared().await {
                Ok(link) => Ok(link),
                Err(NotShared::Fault(fault)) => Err(fault),
                Err(NotShared::Alone(why)) => {
                    tracing::info!(%why, "not shared: a connection of our own");
                    self.own.connect().await
                }
            }
        })
    }
}

struct ShareLink {
    hop: Arc<str>,
    start: Start,
    want: Want,
    context: Context,
    facts: Facts,
    /// The socket that we joined by, until it is taken for a channel.
    first: Mutex<Option<UnixStream>>,
    over: AtomicBool,
}

impl Link for ShareLink {
    fn sftp(&self) -> BoxFuture<'_, Result<(Wire, u32), Fault>> {
        Box::pin(async move {
            let first = self.first.lock().unwrap_or_else(|p| p.into_inner()).take();
            let stream = match first {
                Some(stream) => stream,
                None => match join(&self.start, &self.want, &self.context).await {
                    Ok(joined) => joined.stream,
                    Err(NotShared::Fault(fault)) => return Err(fault),
                    Err(NotShared::Alone(why)) => {
                        return Err(Fault::new(self.hop.clone(), Stage::Session, Cause::Lost, why));
                    }
                },
            };
            Ok((wire(stream, self.hop.clone()), 0))
        })
    }

    fn exec<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<Wire, Fault>> {
        let text = "a shared connection runs no commands for its clients";
        let fault = Fault::new(self.hop.clone(), Stage::Session, Cause::Unsupported, text);
        Box::pin(std::future::ready(Err(fault)))
    }

    fn openssh(&self) -> bool {
        self.facts.openssh
    }

    fn foresees(&self) -> bool {
        // Other clients open files on the same channels.
        false
    }

    fn channels(&self) -> Option<usize> {
        // As many as there can be real ones; two virtual ones on one would only wait for each other.
        self.facts.limit.map(|(_, files, _)| files as usize)
    }

    fn receive_window(&self) -> usize {
        self.facts.receive_window
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.over.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }

    fn far(&self) -> Option<FarEnd> {
        Some(self.facts.far.clone())
    }

    fn asked_person(&self) -> bool {
        self.facts.asked
    }

    fn hops(&self) -> Vec<HopFacts> {
        self.facts.hops.clone()
    }
}

fn wire(stream: UnixStream, hop: Arc<str>) -> Wire {
    let (read, write) = stream.into_split();
    Wire {
        tx: Box::new(SocketTx { write: Some(write), hop: hop.clone() }),
        rx: Box::new(SocketRx { read, hop, buffer: BytesMut::new() }),
    }
}

fn lost(hop: &Arc<str>, why: impl std::fmt::Display) -> Fault {
    Fault::new(hop.clone(), Stage::Session, Cause::Lost, format!("the shared connection: {why}"))
}

struct SocketTx {
    /// `None` once finished.
    write: Option<OwnedWriteHalf>,
    hop: Arc<str>,
}

struct SocketRx {
    read: OwnedReadHalf,
    hop: Arc<str>,
    buffer: BytesMut,
}

impl Sender for SocketTx {
    fn send(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            match &mut self.write {
                Some(write) => write.write_all(&data).await.map_err(|e| lost(&self.hop, e)),
                None => Err(lost(&self.hop, "the channel was finished")),
            }
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, ()> {
        // Dropping the half shuts it down.
        self.write = None;
        Box::pin(std::future::ready(()))
    }
}

impl Receiver for SocketRx {
    fn recv(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Fault>> {
        Box::pin(async move {
            self.buffer.reserve(READ);
            match self.read.read_buf(&mut self.buffer).await {
                Ok(0) => Err(lost(&self.hop, "its holder closed the channel")),
                Ok(_) => Ok(Some(self.buffer.split().freeze())),
                Err(e) => Err(lost(&self.hop, e)),
            }
        })
    }
}

/// Asks the holder for this route; `None` if there is none.
async fn talk(shell: &[OsString], login: &Login, want: &Want) -> Result<Option<Told>, Fault> {
    let fault = |text: String| Fault::new(login.host.as_str(), Stage::Session, Cause::Config, text);
    let Shell::Ssh(route) = resolve(shell, login).await? else {
        return Err(fault(
            "only connections by ssh are shared, and this remote shell (-e) is something else".to_owned(),
        ));
    };
    let (socket, _) = names(&key::rooted(route)).map_err(fault)?;
    let asked = match join::connect(&socket).await {
        Ok(None) => return Ok(None),
        Ok(Some(mut stream)) => {
            let told = join::ask(&mut stream, want).await;
            if *want == Want::Stop {
                // It closes when it is gone.
                let _ = tokio::time::timeout(GOING, stream.read(&mut [0; 64])).await;
            }
            told
        }
        Err(why) => Err(why),
    };
    asked.map_err(|why| match why {
        NotShared::Fault(fault) => fault,
        NotShared::Alone(why) => fault(why),
    })
}

/// `--share-stop`: ends the holder for this route and returns when it is gone. `false` if there was none.
pub async fn stop(shell: &[OsString], login: &Login) -> Result<bool, Fault> {
    Ok(talk(shell, login, &Want::Stop).await?.is_some())
}

/// What the holder for this route knows of the far end; one is started if there is none.
pub async fn probe(shell: &[OsString], login: &Login, context: &Context) -> Result<Probe, Fault> {
    let fault = |text: &str| Fault::new(login.host.as_str(), Stage::Session, Cause::Config, text);
    let Shell::Ssh(route) = resolve(shell, login).await? else {
        return Err(fault("only connections by ssh are shared, and this remote shell (-e) is something else"));
    };
    let own = SshConnector { route, context: context.clone(), connections: 1 };
    // As long as it lives, so does the holder.
    let _link = match ShareConnector::new(own, None, 0).shared().await {
        Ok(link) => link,
        Err(NotShared::Fault(fault)) => return Err(fault),
        Err(NotShared::Alone(why)) => return Err(fault(&why)),
    };
    match talk(shell, login, &Want::Probe).await? {
        Some(Told::Probed(probe)) => Ok(probe),
        Some(Told::Failed(fault)) => Err(fault),
        _ => Err(fault("the shared connection's holder has just left; try again")),
    }
}
