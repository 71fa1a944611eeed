//! Where to go: from `-e` and the host operand to the hops of one connection.
//!
//! The semantics are those of ssh(1), jump for jump. Options of the command line (`-o`, `-i`, `-l`, `-p`, …) concern the
//! *target*; a jump host gets only the configuration file (`-F`) and what its own `[user@]host[:port]` says, and is checked and
//! logged into by the configuration's rules for it. So `-J head -o StrictHostKeyChecking=no` loosens nothing for `head`:
//! that is what ssh does, and the safe reading. To loosen a jump host's rules, give it a `Host` block.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fault::{Cause, Fault, Stage};
use crate::job::Login;
use crate::ssh::config::{self, Query, Settings};
use crate::ssh::options::{self, SshOptions};
use crate::ssh::tokens::Local;

/// What `-e` and the host operand lead to.
#[derive(Debug, Clone)]
pub enum Shell {
    /// ssh: we speak the protocol ourselves, along this route.
    Ssh(Route),
    /// Not ssh, or with options whose effect we do not know: to be run as given, with SFTP over its standard streams.
    /// The tokens are `-e`'s; login and host are not in them yet.
    Command(Vec<OsString>),
}

/// The hops of one connection, in the order in which they are reached.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Route {
    /// How `hops[0]` is reached. Each further hop is a direct-tcpip channel on the one before.
    pub first: First,
    /// Never empty; the target is last.
    pub hops: Vec<Hop>,
}

/// How the first hop is reached.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum First {
    Tcp,
    /// `ProxyCommand`, its %-tokens expanded: a line for the user's shell (`$SHELL -c "exec …"`), whose standard streams are the
    /// connection.
    ProxyCommand(String),
}

/// One SSH server on the way, and how ssh_config(5) wants it treated. Field names are the keywords of ssh_config.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Hop {
    /// As the user named it (the operand, or the entry in `-J`/`ProxyJump`), without user and port.
    pub alias: Arc<str>,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub host_key_alias: Option<String>,
    pub identity_files: Vec<PathBuf>,
    pub certificate_files: Vec<PathBuf>,
    pub identities_only: bool,
    /// The agent's socket; `None` is no agent.
    pub identity_agent: Option<PathBuf>,
    /// The first one is where new keys are added.
    pub user_known_hosts: Vec<PathBuf>,
    pub global_known_hosts: Vec<PathBuf>,
    pub strict: Strict,
    pub hash_known_hosts: bool,
    /// Never ask anything.
    pub batch_mode: bool,
    pub pubkey_authentication: bool,
    pub password_authentication: bool,
    pub kbd_interactive_authentication: bool,
    /// Names of RFC 4252, in the order to be tried.
    pub preferred_authentications: Vec<String>,
    pub number_of_password_prompts: u32,
    /// Algorithm lists as configured, best first; `None` where the user left the choice to us.
    pub ciphers: Option<Vec<String>>,
    pub kex_algorithms: Option<Vec<String>>,
    pub macs: Option<Vec<String>>,
    pub host_key_algorithms: Option<Vec<String>>,
    pub ca_signature_algorithms: Option<Vec<String>>,
    pub pubkey_accepted_algorithms: Option<Vec<String>>,
    pub compression: bool,
    /// `SessionType`: whether anything may be run here that was not asked for.
    pub runs_commands: bool,
    pub connect_timeout: Option<Duration>,
    /// `None`: no keepalives asked for.
    pub server_alive_interval: Option<Duration>,
    pub server_alive_count_max: u32,
    pub tcp_keep_alive: bool,
    pub address_family: AddressFamily,
    pub bind_address: Option<String>,
    /// How long a shared connection outlives its last user; `Duration::MAX` is "yes".
    pub control_persist: Option<Duration>,
    pub log_level: LogLevel,
}

/// `StrictHostKeyChecking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Strict {
    Yes,
    Ask,
    AcceptNew,
    No,
}

/// `AddressFamily`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AddressFamily {
    Any,
    V4,
    V6,
}

/// `LogLevel`, as far as it decides what a person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum LogLevel {
    /// QUIET and FATAL: no warnings, no banners (`-q`).
    Quiet,
    /// ERROR: no banners, no notices.
    Error,
    /// INFO, the default.
    Info,
    /// VERBOSE and DEBUG.
    Verbose,
}

/// The ways to log in that we know, best first: ssh's default order (ssh_config(5), PreferredAuthentications) without
/// gssapi-with-mic and hostbased.
pub const AUTHENTICATIONS: [&str; 3] = ["publickey", "keyboard-interactive", "password"];

impl Hop {
    /// A hop with OpenSSH's defaults and no files at all: no keys, no agent, nothing known, strict checking.
    pub fn plain(host: &str, port: u16, user: &str) -> Hop {
        Hop {
            alias: host.into(),
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            host_key_alias: None,
            identity_files: Vec::new(),
            certificate_files: Vec::new(),
            identities_only: false,
            identity_agent: None,
            user_known_hosts: Vec::new(),
            global_known_hosts: Vec::new(),
            strict: Strict::Yes,
            hash_known_hosts: false,
            batch_mode: false,
            pubkey_authentication: true,
            password_authentication: true,
            kbd_interactive_authentication: true,
            preferred_authentications: AUTHENTICATIONS.map(str::to_owned).to_vec(),
            number_of_password_prompts: 3,
            ciphers: None,
            kex_algorithms: None,
            macs: None,
            host_key_algorithms: None,
            ca_signature_algorithms: None,
            pubkey_accepted_algorithms: None,
            compression: false,
            runs_commands: true,
            connect_timeout: None,
            server_alive_interval: None,
            server_alive_count_max: 3,
            tcp_keep_alive: true,
            address_family: AddressFamily::Any,
            bind_address: None,
            control_persist: None,
            log_level: LogLevel::Info,
        }
    }
}

/// A jump on the way to a jump on the way to …: more than this is a loop. No real site has more than a handful.
const MAX_HOPS: usize = 16;

/// Resolves `-e` and the operand's host, as `ssh` itself would.
///
/// # Errors
/// [`Stage::Resolve`] with the name that was being resolved: ssh's own complaint about its configuration, a name that is no
/// host, a loop of jumps.
pub async fn resolve(shell: &[OsString], login: &Login) -> Result<Shell, Fault> {
    let bad = |text| Fault::new(login.host.as_str(), Stage::Resolve, Cause::Config, text);
    config::plausible_host(&login.host).map_err(bad)?;
    if let Some(user) = &login.user {
        config::plausible_user(user).map_err(bad)?;
    }
    let command = || Ok(Shell::Command(shell.to_vec()));
    let Some(options) = options::parse(shell) else { return command() };
    match config::defaults(&options.program).await? {
        Some(defaults) => along(&options, login, &defaults).await.map(Shell::Ssh),
        // A wrapper that goes by ssh's name.
        None => command(),
    }
}

async fn along(options: &SshOptions, login: &Login, defaults: &Settings) -> Result<Route, Fault> {
    let local = Local::here();
    let mut words = options.words();
    if let (Some(user), false) = (&login.user, options.has_login()) {
        words.extend(["-l".into(), user.into()]);
    }
    let mut query = Query { program: options.program.clone(), words, host: login.host.clone() };
    let mut hops = Vec::new();
    loop {
        let bad = |text| Fault::new(query.host.as_str(), Stage::Resolve, Cause::Config, text);
        let settings = config::ask(&query).await?;
        let (hop, tokens) = config::hop(&query.host, &settings, defaults, &local).map_err(bad)?;
        hops.push(hop);
        if let Some(jumps) = settings.one("proxyjump") {
            if hops.len() >= MAX_HOPS {
                return Err(bad(format!("more than {MAX_HOPS} jumps: does a host jump through itself?")));
            }
            query = jump(jumps, options).map_err(bad)?;
            continue;
        }
        let first = match settings.one("proxycommand") {
            Some(command) => First::ProxyCommand(tokens.percent(command).map_err(bad)?),
            None => First::Tcp,
        };
        hops.reverse();
        return Ok(Route { first, hops });
    }
}

/// The question to ask for the last of `jumps`, with the ones before it as its own jumps. ssh.c builds `ssh -l USER -p PORT
/// -J REST -F CONFIG -W …` for it: nothing else of the command line is handed down.
fn jump(jumps: &str, options: &SshOptions) -> Result<Query, String> {
    let (rest, last) = jumps.rsplit_once(',').map_or((None, jumps), |(rest, last)| (Some(rest), last));
    let Jump { user, host, port } = Jump::parse(last)?;
    let mut words: Vec<OsString> = Vec::new();
    let mut option = |flag: &str, value: OsString| words.extend([flag.into(), value]);
    if let Some(user) = user {
        option("-l", user.into());
    }
    if let Some(port) = port {
        option("-p", port.to_string().into());
    }
    if let Some(rest) = rest {
        option("-J", rest.into());
    }
    if let Some(file) = options.config_file() {
        option("-F", file.to_owned());
    }
    Ok(Query { program: options.program.clone(), words, host })
}

/// One entry of `-J` or `ProxyJump`.
#[derive(Debug, PartialEq, Eq)]
struct Jump {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl Jump {
    /// `[user@]host[:port]`, `[user@][v6]:port`, or `ssh://[user@]host[:port][/]`. A bare IPv6 address has no port.
    fn parse(text: &str) -> Result<Jump, String> {
        let bad = |why: &str| format!("{text:?} is no jump host: {why}");
        let rest = match text.strip_prefix("ssh://") {
            Some(rest) => rest.strip_suffix('/').unwrap_or(rest),
            None => text,
        };
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, rest),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => match rest.split_once(']').ok_or_else(|| bad("a bracket is not closed"))? {
                (host, "") => (host, None),
                (host, port) => (host, Some(port.strip_prefix(':').ok_or_else(|| bad("text after the bracket"))?)),
            },
            None => match rest.split_once(':') {
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (rest, None),
            },
        };
        let port = match port {
            Some(port) => Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(|| bad("no such port"))?),
            None => None,
        };
        config::plausible_host(host)?;
        user.as_deref().map_or(Ok(()), config::plausible_user)?;
        Ok(Jump { user, host: host.to_owned(), port })
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
