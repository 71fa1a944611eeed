//! A test bed: a head node and a target behind it, and the files that a client needs to reach them.
//!
//! [`Embedded`] has both in this process and misbehaves by rule; [`SshdPair`] runs two real sshd's. What they have in
//! common is [`Bed`], so that one suite of tests runs over both. The target is called `user-container`, the head `head`.

mod embedded;
mod sshd;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use tempfile::TempDir;

pub use self::embedded::{Embedded, Lines};
pub use self::sshd::{Knobs, Sshd, SshdPair};

/// The target's name in the bed's ssh_config, and the head's.
pub const TARGET: &str = "user-container";
pub const HEAD: &str = "head";

/// How often what happened, since the bed's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// TCP connections that the head accepted.
    pub head_connections: u64,
    pub head_logins: u64,
    pub target_connections: u64,
    pub target_logins: u64,
    /// Session channels that the target refused.
    pub refused_sessions: u64,
    /// Connections that the target, or the head, dropped by its start limit.
    pub start_drops: u64,
    /// Those of them that the head dropped.
    pub head_start_drops: u64,
}

/// What a test needs of a head and a target.
pub trait Bed {
    fn client(&self) -> &Client;

    /// An empty directory at the target (its absolute path is the same here and there).
    fn far(&self) -> &Path;

    fn counts(&self) -> Counts;

    /// Where the client's TCP connection goes: the head, or the relay before it.
    fn door(&self) -> SocketAddr;

    /// Host and port that the head is asked for to reach the target.
    fn route(&self) -> (String, u16);

    /// Ends all connections at once, as when the machines' network goes; new ones are accepted.
    fn cut_all(&self);

    fn ssh_config(&self) -> &Path {
        &self.client().config
    }

    /// For `-e`: `ssh -F …`. Temporary directories have no spaces in their names, so this needs no quotes.
    fn shell(&self) -> String {
        format!("ssh -F {}", self.ssh_config().display())
    }

    /// `user-container:` and a path below [`Bed::far`] (empty: that directory).
    fn operand(&self, path: &str) -> String {
        format!("{TARGET}:{}", self.far().join(path).display())
    }
}

/// The client's side of a bed: ssh_config, known_hosts and key, in a temporary directory.
#[derive(Debug)]
pub struct Client {
    dir: TempDir,
    pub config: PathBuf,
    pub known_hosts: PathBuf,
    /// The private key's file; its public half is beside it.
    pub identity: PathBuf,
    pub key: PublicKey,
}

/// One host as the client sees it.
struct Host<'a> {
    alias: &'a str,
    name: &'a str,
    port: u16,
    jump: Option<&'a str>,
    key: &'a PublicKey,
}

impl Client {
    /// Makes the directory and a key. The hosts come later, when their ports are known.
    fn new() -> io::Result<Client> {
        let dir = tempfile::Builder::new().prefix("hopsync-bed-").tempdir()?;
        let identity = dir.path().join("id_ed25519");
        let key = write_key(&identity)?;
        Ok(Client {
            config: dir.path().join("ssh_config"),
            known_hosts: dir.path().join("known_hosts"),
            identity,
            key,
            dir,
        })
    }

    /// The bed's temporary directory; it goes with the bed.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn write_hosts(&self, user: &str, hosts: &[Host]) -> io::Result<()> {
        let mut config = String::new();
        let mut known = String::new();
        for host in hosts {
            config += &format!("Host {}\n  HostName {}\n  Port {}\n", host.alias, host.name, host.port);
            if let Some(jump) = host.jump {
                config += &format!("  ProxyJump {jump}\n");
            }
            let place = if host.port == 22 { host.name.into() } else { format!("[{}]:{}", host.name, host.port) };
            known += &format!("{place} {}\n", host.key.to_openssh().map_err(io::Error::other)?);
        }
        config += &format!(
            "Host *\n  User {user}\n  IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  BatchMode yes\n",
            self.identity.display(),
            self.known_hosts.display()
        );
        fs::write(&self.config, config)?;
        fs::write(&self.known_hosts, known)
    }
}

/// Makes an ed25519 key and writes it as ssh-keygen does: the private half for its owner alone, `.pub` beside it.
fn write_key(path: &Path) -> io::Result<PublicKey> {
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(io::Error::other)?;
    let private = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    let public = key.public_key().to_openssh().map_err(io::Error::other)?;
    fs::write(path, private.as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    fs::write(path.with_extension("pub"), public + "\n")?;
    Ok(key.public_key().clone())
}

/// Host and port of an address, as ssh_config has them.
fn host_at<'a>(alias: &'a str, address: SocketAddr, jump: Option<&'a str>, key: &'a PublicKey) -> Host<'a> {
    Host { alias, name: "127.0.0.1", port: address.port(), jump, key }
}
