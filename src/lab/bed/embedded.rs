//! The bed in this process: two embedded servers on a runtime of their own.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::{Bed, Client, Counts, HEAD, Host, TARGET, host_at};
use crate::lab::relay::{Line, Relay};
use crate::lab::server::{Callers, Config, Route, Server};

/// Threads for the servers; they also do the disk's work.
const THREADS: usize = 4;

/// Head and target in this process. The target accepts connections from the head alone; its true port is the head's
/// secret: clients ask for `user-container:22`.
#[derive(Debug)]
pub struct Embedded {
    head: Server,
    target: Server,
    relay: Option<Relay>,
    _onward: Option<Relay>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    far: PathBuf,
    client: Client,
}

/// The distances of a pair.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines {
    /// Between the client and the head.
    pub near: Option<Line>,
    /// Between the head and the target.
    pub onward: Option<Line>,
}

impl Embedded {
    /// A pair at OpenSSH's default limits, without faults. None of these may be called from async code: they wait.
    pub fn start() -> io::Result<Embedded> {
        Embedded::with(|_| {}, |_| {}, None)
    }

    /// A target changed by `change`, behind a plain head.
    pub fn target(change: impl FnOnce(&mut Config)) -> io::Result<Embedded> {
        Embedded::with(|_| {}, change, None)
    }

    /// A pair whose configurations are changed before they start, with `line` between the client and the head.
    pub fn with(
        change_head: impl FnOnce(&mut Config),
        change_target: impl FnOnce(&mut Config),
        line: Option<Line>,
    ) -> io::Result<Embedded> {
        Embedded::over(change_head, change_target, Lines { near: line, onward: None })
    }

    /// The same with a distance between head and target too.
    pub fn over(
        change_head: impl FnOnce(&mut Config),
        change_target: impl FnOnce(&mut Config),
        lines: Lines,
    ) -> io::Result<Embedded> {
        let client = Client::new()?;
        let far = client.dir().join("far");
        fs::create_dir(&far)?;
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("lab").enable_all().build()?;
        let callers = Callers::default();

        let mut target = Config::target(client.key.clone(), far.clone());
        target.only_from = Some(callers.clone());
        change_target(&mut target);
        if target.commands_run_in.is_none() && !target.faults.is_empty() {
            // Or what is asked over SFTP, and counted, would depend on when the hasher is there to be asked instead.
            target.commands_run_in = Some("/".into());
        }
        let target = runtime.block_on(Server::start(target))?;

        let relay = |line| runtime.block_on(Relay::among(callers.clone(), target.address(), line));
        let onward = lines.onward.map(relay).transpose()?;
        let to = onward.as_ref().map_or(target.address(), Relay::address);
        let route = Route { host: TARGET.into(), port: 22, to };
        let mut head = Config::head(client.key.clone(), vec![route]);
        head.callers = callers;
        change_head(&mut head);
        let head = runtime.block_on(Server::start(head))?;

        let relay = lines.near.map(|line| runtime.block_on(Relay::start(head.address(), line))).transpose()?;
        let door = relay.as_ref().map_or(head.address(), Relay::address);
        let behind = Host { alias: TARGET, name: TARGET, port: 22, jump: Some(HEAD), key: target.host_key() };
        client.write_hosts("lab", &[host_at(HEAD, door, None, head.host_key()), behind])?;
        Ok(Embedded { head, target, relay, _onward: onward, runtime: Some(runtime), far, client })
    }

    pub fn head_server(&self) -> &Server {
        &self.head
    }

    pub fn target_server(&self) -> &Server {
        &self.target
    }
}

impl Bed for Embedded {
    fn client(&self) -> &Client {
        &self.client
    }

    fn far(&self) -> &Path {
        &self.far
    }

    fn counts(&self) -> Counts {
        let (head, target) = (self.head.stats(), self.target.stats());
        let head_start_drops = head.start_drops.load(Relaxed);
        Counts {
            head_connections: head.connections.load(Relaxed),
            head_logins: head.logins.load(Relaxed),
            target_connections: target.connections.load(Relaxed),
            target_logins: target.logins.load(Relaxed),
            refused_sessions: target.refused_sessions.load(Relaxed),
            start_drops: target.start_drops.load(Relaxed) + head_start_drops,
            head_start_drops,
        }
    }

    fn door(&self) -> SocketAddr {
        self.relay.as_ref().map_or(self.head.address(), Relay::address)
    }

    fn route(&self) -> (String, u16) {
        (TARGET.into(), 22)
    }

    fn cut_all(&self) {
        self.head.cut_all();
        self.target.cut_all();
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The servers let go of the directory before it is removed; in async code nothing may wait.
            match tokio::runtime::Handle::try_current() {
                Ok(_) => runtime.shutdown_background(),
                Err(_) => runtime.shutdown_timeout(Duration::from_secs(2)),
            }
        }
    }
}
