//! A connection along a route: each hop a session inside the one before, the target's sessions being its *lanes*.
//!
//! All lanes run in one TCP connection. Each is a direct-tcpip channel of the last jump with an SSH session of its own to
//! the target, and so has its own window of 2 MiB and its own MaxSessions at the target; a login is its price.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::fault::{Cause, Fault, Stage};
use crate::ledger::{Event, HopFacts, Ledger, TextKind};

use super::ahead::Wanted;
use super::awake;
use super::fate::Fate;
use super::hop::{self, HopSession, Windows};
use super::prompt::Prompt;
use super::route::{First, Route};
use super::socket::{self, Reached, Stream};
use super::tunnel::Tunnel;

/// For a direct-tcpip channel to be opened: the head connects to the target meanwhile, and TCP alone may take 130 s.
const TUNNEL_PATIENCE: Duration = Duration::from_secs(60);

const PING_PATIENCE: Duration = Duration::from_secs(5);

/// What connecting needs beside the route.
#[derive(Clone)]
pub struct Context {
    pub prompt: Arc<Prompt>,
    pub ledger: Arc<Ledger>,
    /// `--contimeout`.
    pub patience: Option<Duration>,
    /// `-z`: zlib on the innermost session, where the data is still plain.
    pub compress: bool,
    /// Session channels that will be wanted as soon as the target is reached, at most.
    pub sessions: usize,
    /// Tells a person what a hop had to say: keys added, login banners.
    pub notice: Arc<dyn Fn(&str) + Send + Sync>,
}

/// The jumps of a route, logged in, from which lanes start.
pub struct Connection {
    route: Route,
    context: Context,
    /// In order; empty if the target is reached directly.
    jumps: Vec<Arc<HopSession>>,
    windows: Windows,
    /// The TCP handshake to the first hop, where it cannot have been only to something that is nearer than the hop.
    pub distance: Option<Duration>,
}

/// A session at the target.
pub struct Lane {
    pub index: u32,
    pub session: Arc<HopSession>,
    /// Keeps the jumps below it alive.
    _jumps: Vec<Arc<HopSession>>,
}

/// How connections that are made together go hop by hop: one leads, and the others knock at a hop only once it has logged in
/// there; if a person had to answer anything, only once it is whole. So nobody is asked by two at a time, and where the first is
/// turned away the others do not come.
pub enum Pace {
    /// Tells at how many hops it has logged in.
    Lead(watch::Sender<usize>),
    Follow(watch::Receiver<usize>),
    Alone,
}

impl Pace {
    /// Waits until hop `index` may be spoken to.
    async fn may(&mut self, index: usize) -> Result<(), Fault> {
        let Pace::Follow(first) = self else { return Ok(()) };
        let text = "the connection that leads did not come about";
        let led = first.wait_for(|hops| *hops > index).await;
        led.map(drop).map_err(|_| Fault::new("local", Stage::Session, Cause::Cancelled, text))
    }

    /// Whether it may speak to the next hop before it is known that it has logged in at this one.
    fn knocks_on(&self) -> bool {
        !matches!(self, Pace::Follow(_))
    }

    /// `whole`: at the last hop.
    fn logged_in(&self, index: usize, whole: bool, prompt: &Prompt) {
        if let Pace::Lead(hops) = self
            && (whole || !prompt.has_asked())
        {
            hops.send_replace(index + 1);
        }
    }
}

impl Connection {
    /// Connects to all jumps and opens a first lane, with the number `index`.
    ///
    /// # Errors
    /// Also [`Cause::Cancelled`], if the one that is followed has failed.
    pub async fn open(
        route: &Route,
        context: &Context,
        index: u32,
        mut pace: Pace,
    ) -> Result<(Connection, Lane), Fault> {
        let number = index;
        pace.may(0).await?;
        let (first, mut spent) = first_stream(route, context).await?;
        let (windows, distance) = (Windows::for_round_trip(first.round_trip), first.distance);
        let mut connection =
            Connection { route: route.clone(), context: context.clone(), jumps: Vec::new(), windows, distance };
        let mut stream = first.stream;
        let reached = async {
            let last = route.hops.len() - 1;
            for index in 0..last {
                let session = Arc::new(connection.hop(index, stream, spent, None, pace.knocks_on()).await?);
                connection.jumps.push(session);
                pace.logged_in(index, false, &context.prompt);
                pace.may(index + 1).await?;
                (stream, spent) = connection.tunnel(index + 1).await?;
                let jump = &connection.jumps[index];
                if awake::is_worth_it(jump) {
                    awake::wake(jump);
                }
            }
            let session = connection.hop(last, stream, spent, Some(number), true).await?;
            pace.logged_in(last, true, &context.prompt);
            Ok(session)
        };
        match reached.await {
            Ok(session) => {
                let lane = Lane { index: number, session: Arc::new(session), _jumps: connection.jumps.clone() };
                Ok((connection, lane))
            }
            Err(fault) => {
                connection.close().await;
                Err(fault)
            }
        }
    }

    /// Opens a further lane through the same jumps. `None` if the target is reached directly: a lane would be a second TCP
    /// connection.
    pub async fn lane(&self, index: u32) -> Result<Option<Lane>, Fault> {
        if self.jumps.is_empty() {
            return Ok(None);
        }
        let last = self.route.hops.len() - 1;
        let (stream, spent) = self.tunnel(last).await?;
        let session = Arc::new(self.hop(last, stream, spent, Some(index), true).await?);
        Ok(Some(Lane { index, session, _jumps: self.jumps.clone() }))
    }

    /// What there is to tell of each hop, in order.
    pub fn facts(&self, lane: &Lane) -> Vec<HopFacts> {
        let mut via = None;
        let sessions = self.jumps.iter().chain([&lane.session]);
        sessions
            .map(|session| HopFacts {
                hop: session.hop.alias.to_string(),
                via: via.replace(session.hop.alias.to_string()),
                banner: session.fate.banner().unwrap_or_default(),
                kex: session.fate.kex().unwrap_or_default(),
                cipher: session.fate.cipher().unwrap_or_default(),
                user: session.hop.user.clone(),
                method: session.method.clone(),
            })
            .collect()
    }

    /// How long each jump takes to answer a question that it need not think about (`keepalive@openssh.com`).
    pub async fn round_trips(&self) -> Vec<Duration> {
        let mut times = Vec::new();
        for session in &self.jumps {
            let started = Instant::now();
            let _ = tokio::time::timeout(PING_PATIENCE, session.handle.send_ping()).await;
            times.push(started.elapsed());
        }
        times
    }

    /// The sessions that carry the lanes, in order.
    pub fn jumps(&self) -> &[Arc<HopSession>] {
        &self.jumps
    }

    /// A stream to hop `to` by the jump before it, on which nothing has been said.
    pub async fn stream(&self, to: usize) -> Result<Box<dyn Stream>, Fault> {
        Ok(self.tunnel(to).await?.0)
    }

    /// Why no lane of this connection goes on: the first jump that has ended.
    pub fn fault(&self) -> Option<Fault> {
        self.jumps.iter().find(|jump| jump.fate.is_over()).map(|jump| jump.fate.fault())
    }

    /// The fault of the jump that a silence is due to, if it is.
    pub async fn blame(&self, fault: Fault, patience: Duration) -> Option<Fault> {
        hop::silent_jump(&self.jumps, fault, patience).await
    }

    /// The name of the target, as the user knows it.
    pub fn target(&self) -> &Arc<str> {
        // A route is never empty (`route::resolve`).
        &self.route.hops[self.route.hops.len() - 1].alias
    }

    /// Says goodbye to every jump, in order from the innermost.
    pub async fn close(&self) {
        for session in self.jumps.iter().rev() {
            close(session, None, &self.context.ledger).await;
        }
    }

    /// Nobody is to ask why the jumps end: see [`Fate::leave`].
    pub fn leave(&self) {
        self.jumps.iter().for_each(|session| session.fate.leave());
    }

    /// Says goodbye on a lane, which must come before its jumps'.
    pub async fn close_lane(&self, lane: &Lane) {
        close(&lane.session, Some(lane.index), &self.context.ledger).await;
    }

    async fn hop(
        &self,
        index: usize,
        stream: Box<dyn Stream>,
        spent: Vec<(Stage, Duration)>,
        lane: Option<u32>,
        ahead: bool,
    ) -> Result<HopSession, Fault> {
        let hop = &self.route.hops[index];
        let first = match self.route.hops.get(index + 1) {
            _ if !ahead => Vec::new(),
            Some(next) => {
                let woken = awake::may_be(hop, self.windows).then_some(Wanted::Session);
                std::iter::once(Wanted::Tunnel(next.host.clone(), next.port)).chain(woken).collect()
            }
            None if lane == Some(0) => vec![Wanted::Session; self.context.sessions],
            None => vec![Wanted::Session],
        };
        let Context { prompt, ledger, compress, .. } = &self.context;
        // Near by a server's zlib (20 to 80 MB/s, measured) is slower than the line.
        let compress = *compress && lane.is_some() && self.windows.receive > Windows::NEAR;
        let fate = Fate::new(hop.alias.clone());
        let connected =
            hop::connect(hop, fate.clone(), stream, self.windows, compress, prompt, spent, self.jumps.clone(), first)
                .await;
        let session = match connected.inspect_err(|_| tell(ledger, &fate)) {
            Ok(session) => session,
            Err(fault) => return Err(self.blame(fault.clone(), hop::BLAME_PATIENCE).await.unwrap_or(fault)),
        };
        for text in session.fate.notices() {
            (self.context.notice)(&text);
        }
        let via = index.checked_sub(1).map(|before| self.route.hops[before].alias.clone());
        announce(ledger, &session, via.as_deref(), lane);
        Ok(session)
    }

    /// A direct-tcpip channel from the jump before hop `to` to it.
    async fn tunnel(&self, to: usize) -> Result<(Box<dyn Stream>, Vec<(Stage, Duration)>), Fault> {
        let jump = &self.jumps[to - 1];
        let hop = &self.route.hops[to];
        let started = Instant::now();
        let wanted = Wanted::Tunnel(hop.host.clone(), hop.port);
        let opening = async {
            tokio::select! {
                opened = jump.open(wanted) => {
                    match opened {
                        Ok(channel) => Ok(channel),
                        Err(error) => Err(tunnel_fault(&jump.fate, hop.host.as_str(), hop.port, &error).await),
                    }
                }
                () = jump.fate.over() => Err(jump.fate.fault()),
            }
        };
        let channel = tokio::time::timeout(TUNNEL_PATIENCE, opening).await.map_err(|_| {
            let text = format!("no connection to {}:{} within {} s", hop.host, hop.port, TUNNEL_PATIENCE.as_secs());
            Fault::new(jump.hop.alias.clone(), Stage::Tunnel, Cause::Timeout, text)
        })??;
        let stream = Tunnel::new(channel, jump.fate.clone());
        Ok((Box::new(stream), vec![(Stage::Tunnel, started.elapsed())]))
    }
}

/// Ends a session with a word (RFC 4253 §11.1), so that the server's log does not speak of a lost connection.
async fn close(session: &HopSession, lane: Option<u32>, ledger: &Ledger) {
    let why = session.fate.is_over().then(|| session.fate.fault());
    ledger.event(Event::HopClosed { hop: &session.hop.alias, lane, why: why.as_ref() });
    if let Some(text) = session.fate.disconnect() {
        ledger.event(Event::ServerText { hop: &session.hop.alias, kind: TextKind::Disconnect, text: &text });
    }
    let bye = session.handle.disconnect(russh::Disconnect::ByApplication, "done", "en");
    let _ = tokio::time::timeout(Duration::from_secs(2), async {
        let _ = bye.await;
        session.fate.over().await;
    })
    .await;
}

async fn first_stream(route: &Route, context: &Context) -> Result<(Reached, Vec<(Stage, Duration)>), Fault> {
    let hop = route
        .hops
        .first()
        .ok_or_else(|| Fault::new("local", Stage::Resolve, Cause::Config, "there is no host to connect to"))?;
    let started = Instant::now();
    match &route.first {
        First::Tcp => {
            let reached = socket::connect(hop, context.patience).await?;
            Ok((reached, vec![(Stage::Tcp, started.elapsed())]))
        }
        First::ProxyCommand(command) => Ok((socket::proxy(hop, command)?, Vec::new())),
    }
}

/// sshd's two ways to refuse a tunnel: reason 1 (AllowTcpForwarding, PermitOpen), and reason 2 with strerror's or the
/// resolver's text.
async fn tunnel_fault(fate: &Fate, host: &str, port: u16, error: &russh::Error) -> Fault {
    if !matches!(error, russh::Error::ChannelOpenFailure(_)) {
        let last_words = fate.last_words().await;
        if fate.is_over() {
            return last_words;
        }
    }
    let said = loop {
        match fate.open_failure().await {
            // Those are for the session that was to wake it.
            Some(words) if words == awake::REFUSED => {}
            words => break words.unwrap_or_else(|| error.to_string()),
        }
    };
    let cause = match error {
        russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::AdministrativelyProhibited) => Cause::Denied,
        _ => Cause::Unreachable,
    };
    Fault::new(fate.hop.clone(), Stage::Tunnel, cause, format!("cannot connect on to {host}:{port}: {said}"))
}

/// Keeps the server's own words.
fn tell(ledger: &Ledger, fate: &Fate) {
    let hop = &fate.hop;
    let before = fate.before_banner();
    if !before.is_empty() {
        ledger.event(Event::ServerText { hop, kind: TextKind::PreBanner, text: &before });
    }
    if let Some(text) = fate.disconnect() {
        ledger.event(Event::ServerText { hop, kind: TextKind::Disconnect, text: &text });
    }
}

fn announce(ledger: &Ledger, session: &HopSession, via: Option<&str>, lane: Option<u32>) {
    tell(ledger, &session.fate);
    ledger.event(Event::HopConnected {
        hop: &session.hop.alias,
        via,
        lane,
        banner: &session.fate.banner().unwrap_or_default(),
        kex: &session.fate.kex().unwrap_or_default(),
        cipher: &session.fate.cipher().unwrap_or_default(),
        user: &session.hop.user,
        method: &session.method,
        stages: &session.stages,
    });
    tracing::debug!(hop = %session.hop.alias, ?lane, stages = ?session.stages, "connected");
}
