//! Embedded SSH servers on loopback: the head node, which only forwards, and the target, which serves SFTP and commands.
//!
//! One server type plays both; a [`Config`] says what it offers. It behaves like OpenSSH where a client can tell the
//! difference: MaxSessions is refused with CONNECT_FAILED "open failed", MaxStartups with a line before the banner, SFTP
//! handles are binary. One thing it does not copy: russh widens a channel's window when data arrives, not when it is
//! consumed, so windows do not bound an upload here.

mod exec;
mod session;
mod sftp;
mod startups;
mod wire;

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::run_stream;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

pub use self::sftp::{Extensions, serve_wire};
pub use self::startups::MaxStartups;
use crate::lab::faults::{Faults, Trouble};
use crate::lab::stats::{Stats, count};

/// A place that the head node connects to for its clients.
#[derive(Debug, Clone)]
pub struct Route {
    /// Host and port as the client asks for them (`user-container`, 22): the head alone knows the true address.
    pub host: String,
    pub port: u32,
    pub to: SocketAddr,
}

/// What becomes of a command that a client asks to execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands {
    /// `/bin/sh -c`, really.
    Shell,
    /// The account is limited to SFTP: whatever is asked for, SFTP starts (`ForceCommand internal-sftp`).
    SftpOnly,
}

/// Addresses from which the head node has made connections. The target accepts no others.
#[derive(Debug, Clone, Default)]
pub struct Callers(Arc<Mutex<HashSet<SocketAddr>>>);

impl Callers {
    fn add(&self, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
    }

    /// Connects from an address that the target is told beforehand.
    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        self.add(socket.local_addr()?);
        socket.connect(to).await
    }

    fn knows(&self, address: SocketAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }
}

/// One server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The identification string, RFC 4253 §4.2. One with `OpenSSH` in it also gets OpenSSH's argument order for SYMLINK.
    pub banner: String,
    /// Keys that may log in, under any user name.
    pub authorized: Vec<PublicKey>,
    /// A password that may log in too, by `password` and by `keyboard-interactive`.
    pub password: Option<String>,
    /// Where direct-tcpip channels may go; anything else is administratively prohibited.
    pub routes: Vec<Route>,
    /// Filled with the addresses that forwarded connections come from.
    pub callers: Callers,
    /// Accept only these peers.
    pub only_from: Option<Callers>,
    /// Session channels per connection (OpenSSH's default is 10).
    pub max_sessions: usize,
    pub max_startups: Option<MaxStartups>,
    pub commands: Commands,
    /// The login's home: relative SFTP paths start here, and commands run here.
    pub home: PathBuf,
    /// Where commands run instead. A client that compares the two takes nothing that a command tells of a path for what SFTP would tell.
    pub commands_run_in: Option<PathBuf>,
    /// SFTP sees this directory as `/` (as with ChrootDirectory). Commands do not.
    pub root: Option<PathBuf>,
    pub extensions: Extensions,
    /// How often a channel's server gives a handle again, the one freed last, as OpenSSH's does; then numbers are new.
    pub handles_again: u64,
    /// Rekey after this many bytes in either direction. `None` leaves it to the client.
    pub rekey_bytes: Option<usize>,
    pub faults: Faults,
}

impl Config {
    /// A head node: forwards to `routes`, and offers no sessions.
    pub fn head(key: PublicKey, routes: Vec<Route>) -> Config {
        Config { max_sessions: 0, routes, ..Config::target(key, PathBuf::from("/")) }
    }

    /// A target at OpenSSH's default limits.
    pub fn target(key: PublicKey, home: PathBuf) -> Config {
        Config {
            banner: "SSH-2.0-OpenSSH_9.2 lab".into(),
            authorized: vec![key],
            password: None,
            routes: Vec::new(),
            callers: Callers::default(),
            only_from: None,
            max_sessions: 10,
            max_startups: None,
            commands: Commands::Shell,
            home,
            commands_run_in: None,
            root: None,
            extensions: Extensions::default(),
            handles_again: u64::MAX,
            rekey_bytes: None,
            faults: Faults::none(),
        }
    }
}

/// A running server; it ends with the runtime that it was started on, or when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    host_key: PublicKey,
    stats: Arc<Stats>,
    faults: Faults,
    /// Its value counts the times that all connections were cut.
    cut: Arc<watch::Sender<u64>>,
    deaf: Arc<AtomicBool>,
}

impl Server {
    /// Binds a free loopback port, makes a host key, and serves. Needs a tokio runtime. Fails if no port can be bound.
    pub async fn start(config: Config) -> io::Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let host_key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(io::Error::other)?;
        let server = Server {
            address,
            host_key: host_key.public_key().clone(),
            stats: Arc::default(),
            faults: config.faults.clone(),
            cut: Arc::new(watch::Sender::new(0)),
            deaf: Arc::default(),
        };
        let ssh = Arc::new(ssh_config(&config, host_key));
        let shared = Arc::new(Shared {
            startups: startups::Pending::new(config.max_startups),
            config,
            stats: server.stats.clone(),
        });
        tokio::spawn(accept(listener, shared, ssh, server.cut.subscribe(), server.deaf.clone()));
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For the client's known_hosts.
    pub fn host_key(&self) -> &PublicKey {
        &self.host_key
    }

    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Resets all connections, as when the machine's network goes. New ones are accepted.
    pub fn cut_all(&self) {
        self.cut.send_modify(|times| *times += 1);
    }

    /// While set, new connections are reset at once.
    pub fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Relaxed);
    }
}

/// What all connections of a server share.
struct Shared {
    config: Config,
    stats: Arc<Stats>,
    startups: startups::Pending,
}

fn ssh_config(config: &Config, host_key: PrivateKey) -> russh::server::Config {
    let mut ciphers = vec![cipher::AES_128_GCM];
    ciphers.extend(Preferred::DEFAULT.cipher.iter().copied().filter(|c| *c != cipher::AES_128_GCM));
    let mut methods = vec![MethodKind::PublicKey];
    if config.password.is_some() {
        methods.extend([MethodKind::KeyboardInteractive, MethodKind::Password]);
    }
    let rekey = config.rekey_bytes.unwrap_or(usize::MAX);
    russh::server::Config {
        server_id: SshId::Standard(Cow::Owned(config.banner.clone())),
        methods: MethodSet::from(methods.as_slice()),
        auth_rejection_time: Duration::from_millis(1),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        limits: russh::Limits {
            rekey_write_limit: rekey,
            rekey_read_limit: rekey,
            rekey_time_limit: Duration::from_secs(86_400),
        },
        // russh tolerates two windows of data in flight (all channels together) once it has asked for new keys; OpenSSH
        // tolerates any amount. With a wide window a client with ten channels stays within it.
        window_size: if config.rekey_bytes.is_some() { 32 << 20 } else { 2 << 20 },
        maximum_packet_size: 32 << 10,
        // The session task stalls, with all channels, when one channel's queue is full.
        channel_buffer_size: 4096,
        preferred: Preferred { cipher: Cow::Owned(ciphers), ..Preferred::DEFAULT },
        max_auth_attempts: 6,
        inactivity_timeout: None,
        nodelay: true,
        ..Default::default()
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    ssh: Arc<russh::server::Config>,
    mut alive: watch::Receiver<u64>,
    deaf: Arc<AtomicBool>,
) {
    loop {
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // EMFILE and the like pass; there is nobody to tell.
                Err(_) => { tokio::time::sleep(Duration::from_millis(5)).await; continue }
            },
            // Cutting connections is no reason to stop; the server's end is.
            changed = alive.changed() => match changed { Ok(()) => continue, Err(_) => return },
        };
        if deaf.load(Relaxed) {
            let _ = socket.set_zero_linger();
            continue;
        }
        count(&shared.stats.connections);
        if shared.config.only_from.as_ref().is_some_and(|callers| !callers.knows(peer)) {
            count(&shared.stats.strangers);
            continue;
        }
        tokio::spawn(connection(socket, shared.clone(), ssh.clone(), alive.clone()));
    }
}

async fn connection(
    mut socket: TcpStream,
    shared: Arc<Shared>,
    ssh: Arc<russh::server::Config>,
    mut alive: watch::Receiver<u64>,
) {
    alive.mark_unchanged();
    let text = shared.config.faults.meet(|t| match *t {
        Trouble::DropBeforeBanner { text } => Some(text),
        _ => None,
    });
    if let Some(text) = text {
        let _ = socket.write_all(text.as_bytes()).await;
        return;
    }
    let Some(start) = startups::Pending::begin(&shared) else {
        count(&shared.stats.start_drops);
        let _ = socket.write_all(startups::REFUSAL.as_bytes()).await;
        return;
    };
    let stream = wire::attach(socket, shared.stats.clone(), &shared.config.faults, alive);
    let handler = session::Handler::new(shared, start);
    if let Ok(session) = run_stream(ssh, stream, handler).await {
        // How a client left is its own affair; what it did is in the counters.
        let _ = session.await;
    }
}
