//! ssh_config for one host: keywords and values from `ssh -G` (or, where there is no ssh, from [`config_file`]), made into a
//! [`Hop`].

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::fault::{Cause, Fault, Stage};
use crate::ssh::config_file;
use crate::ssh::route::{AUTHENTICATIONS, AddressFamily, Hop, LogLevel, Strict};
use crate::ssh::tokens::{Local, Tokens};

/// How long `ssh -G` may take. It is a few milliseconds, but `Match exec` and CanonicalizeHostname may ask the network.
const DEADLINE: Duration = Duration::from_secs(30);
/// `ssh -G` prints some 5 KiB; more than this is no ssh.
const OUTPUT_LIMIT: u64 = 1 << 20;

/// A question to the configuration: what `ssh <words> -- <host>` would do.
#[derive(Debug, Clone)]
pub struct Query {
    /// `ssh`, or the path in `-e`.
    pub program: OsString,
    pub words: Vec<OsString>,
    pub host: String,
}

/// The answer: lower-case keywords with their values, in order; keywords may repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(pub Vec<(String, String)>);

impl Settings {
    /// The lines that `ssh -G` prints.
    pub fn parse(text: &str) -> Settings {
        let pair = |line: &str| {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            (!keyword.is_empty()).then(|| (keyword.to_lowercase(), value.to_owned()))
        };
        Settings(text.lines().filter_map(pair).collect())
    }

    /// The first value, as in ssh_config; an absent one and `none` where that means "not set" are `None`.
    pub fn one(&self, keyword: &str) -> Option<&str> {
        self.all(keyword).next().filter(|value| !value.is_empty() && *value != "none")
    }

    pub fn all<'a, 'k>(&'a self, keyword: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.0.iter().filter(move |(known, _)| known == keyword).map(|(_, value)| value.as_str())
    }

    fn yes(&self, keyword: &str, default: bool) -> bool {
        match self.one(keyword) {
            Some("yes" | "true") => true,
            Some("no" | "false") => false,
            _ => default,
        }
    }

    fn number(&self, keyword: &str) -> Option<u64> {
        self.one(keyword).and_then(|value| value.parse().ok())
    }

    /// Seconds; 0 is "off", as ServerAliveInterval and ConnectTimeout mean it.
    fn seconds(&self, keyword: &str) -> Option<Duration> {
        self.number(keyword).filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// A list of algorithms, if it differs from what ssh does when nothing is configured.
    fn configured(&self, keyword: &str, defaults: &Settings) -> Option<Vec<String>> {
        let list = self.one(keyword)?;
        (defaults.one(keyword) != Some(list)).then(|| list.split(',').map(str::to_owned).collect())
    }
}

/// Asks ssh, or reads the configuration ourselves where there is no ssh.
pub async fn ask(query: &Query) -> Result<Settings, Fault> {
    match run(query).await? {
        Some(settings) => Ok(settings),
        None => config_file::read(query)
            .map_err(|text| Fault::new(query.host.as_str(), Stage::Resolve, Cause::Config, text)),
    }
}

/// What ssh does when nothing is configured, to tell what is; empty where there is no ssh, `None` where the program only
/// has its name: asked so, no user's mistake can make ssh itself fail.
pub async fn defaults(program: &OsStr) -> Result<Option<Settings>, Fault> {
    let words = vec![OsString::from("-F"), OsString::from("/dev/null")];
    let query = Query { program: program.to_owned(), words, host: "localhost".to_owned() };
    match run(&query).await {
        Ok(Some(settings)) => Ok(Some(settings).filter(|settings| settings.one("hostname").is_some())),
        Ok(None) => Ok(Some(Settings::default())),
        Err(fault) if fault.cause == Cause::Config => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Runs `ssh -G`, without a shell; `None` if there is no such program.
async fn run(query: &Query) -> Result<Option<Settings>, Fault> {
    let fault = |cause, text: String| Fault::new(query.host.as_str(), Stage::Resolve, cause, text);
    let io = |error: std::io::Error| fault(Cause::from_io(&error), format!("cannot run ssh -G: {error}"));
    let spawned = tokio::process::Command::new(&query.program)
        // -T: without it ssh complains about the missing terminal.
        .arg("-GT")
        .args(&query.words)
        .arg("--")
        .arg(&query.host)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(fault(Cause::Io, "cannot read what ssh -G says".to_owned()));
    };
    let talk = async { tokio::try_join!(bounded(stdout), bounded(stderr), child.wait()) };
    let (stdout, stderr, status) = match tokio::time::timeout(DEADLINE, talk).await {
        Ok(outcome) => outcome.map_err(io)?,
        Err(_) => return Err(fault(Cause::Timeout, format!("ssh -G did not answer within {} s", DEADLINE.as_secs()))),
    };
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let said = if said.is_empty() { status.to_string() } else { said.join("; ") };
        return Err(fault(Cause::Config, format!("ssh refuses this host or its configuration: {said}")));
    }
    match String::from_utf8(stdout) {
        Ok(text) => Ok(Some(Settings::parse(&text))),
        Err(_) => Err(fault(Cause::Config, "the ssh configuration for this host is not UTF-8".to_owned())),
    }
}

async fn bounded(stream: impl tokio::io::AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    stream.take(OUTPUT_LIMIT).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// One host's hop, and the tokens for its ProxyCommand.
///
/// # Errors
/// A sentence on a value that we cannot honour.
pub fn hop(named: &str, settings: &Settings, defaults: &Settings, local: &Local) -> Result<(Hop, Tokens), String> {
    let host = settings.one("hostname").unwrap_or(named).to_owned();
    let user = settings.one("user").unwrap_or(&local.user).to_owned();
    let port = match settings.one("port") {
        Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("\"{text}\" is no port"))?,
        None => 22,
    };
    plausible_host(&host)?;
    plausible_user(&user)?;
    if settings.yes("proxyusefdpass", false) {
        return Err("ProxyUseFdpass is not supported; use a ProxyCommand that carries the data itself".to_owned());
    }
    let host_key_alias = settings.one("hostkeyalias").map(str::to_owned);
    let tokens = Tokens {
        key_alias: host_key_alias.clone().unwrap_or_else(|| named.to_owned()),
        jump: settings.one("proxyjump").unwrap_or_default().to_owned(),
        named: named.to_owned(),
        host: host.clone(),
        user: user.clone(),
        port,
        local: local.clone(),
    };
    let each = |keyword: &'static str| {
        settings.all(keyword).filter(|value| !value.is_empty() && *value != "none").map(|value| tokens.path(value))
    };
    let lines = |keyword| each(keyword).collect::<Result<Vec<PathBuf>, String>>();
    let known = |keyword: &str| match settings.one(keyword) {
        Some(value) => split_paths(value, |path| path.exists())
            .iter()
            .filter(|path| *path != "none")
            // ssh -G has expanded these already, so a percent sign that is left may be a real one.
            .map(|path| tokens.path(path).unwrap_or_else(|_| path.into()))
            .collect(),
        None => Vec::new(),
    };
    let hop = Hop {
        alias: named.into(),
        host_key_alias,
        identity_files: lines("identityfile")?,
        certificate_files: lines("certificatefile")?,
        identities_only: settings.yes("identitiesonly", false),
        identity_agent: agent(settings, &tokens)?,
        user_known_hosts: known("userknownhostsfile"),
        global_known_hosts: known("globalknownhostsfile"),
        strict: strict(settings),
        hash_known_hosts: settings.yes("hashknownhosts", false),
        batch_mode: settings.yes("batchmode", false),
        // Since 8.9 also "unbound" and "host-bound", which concern agent restrictions only.
        pubkey_authentication: settings
            .one("pubkeyauthentication")
            .is_none_or(|value| value != "no" && value != "false"),
        password_authentication: settings.yes("passwordauthentication", true),
        kbd_interactive_authentication: settings
            .yes("kbdinteractiveauthentication", settings.yes("challengeresponseauthentication", true)),
        preferred_authentications: match settings.one("preferredauthentications") {
            Some(list) => list.split(',').map(str::to_owned).collect(),
            None => AUTHENTICATIONS.map(str::to_owned).to_vec(),
        },
        number_of_password_prompts: settings.number("numberofpasswordprompts").map_or(3, clamp),
        ciphers: settings.configured("ciphers", defaults),
        kex_algorithms: settings.configured("kexalgorithms", defaults),
        macs: settings.configured("macs", defaults),
        host_key_algorithms: settings.configured("hostkeyalgorithms", defaults),
        ca_signature_algorithms: settings.configured("casignaturealgorithms", defaults),
        pubkey_accepted_algorithms: settings
            .configured("pubkeyacceptedalgorithms", defaults)
            .or_else(|| settings.configured("pubkeyacceptedkeytypes", defaults)),
        compression: settings.yes("compression", false),
        runs_commands: settings.all("sessiontype").next() != Some("none"),
        connect_timeout: settings.seconds("connecttimeout"),
        server_alive_interval: settings.seconds("serveraliveinterval"),
        server_alive_count_max: settings.number("serveralivecountmax").map_or(3, clamp),
        tcp_keep_alive: settings.yes("tcpkeepalive", true),
        address_family: match settings.one("addressfamily") {
            Some("inet") => AddressFamily::V4,
            Some("inet6") => AddressFamily::V6,
            _ => AddressFamily::Any,
        },
        bind_address: settings.one("bindaddress").map(str::to_owned),
        control_persist: match settings.one("controlpersist") {
            None | Some("no" | "false") => None,
            Some("yes" | "true" | "0") => Some(Duration::MAX),
            Some(_) => settings.seconds("controlpersist"),
        },
        log_level: match settings.one("loglevel") {
            Some("SILENT" | "QUIET" | "FATAL") => LogLevel::Quiet,
            Some("ERROR") => LogLevel::Error,
            Some(level) if level == "VERBOSE" || level.starts_with("DEBUG") => LogLevel::Verbose,
            _ => LogLevel::Info,
        },
        ..Hop::plain(&host, port, &user)
    };
    Ok((hop, tokens))
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What does not say otherwise is strict.
fn strict(settings: &Settings) -> Strict {
    match settings.one("stricthostkeychecking") {
        Some("no" | "off" | "false") => Strict::No,
        Some("accept-new") => Strict::AcceptNew,
        Some("ask") | None => Strict::Ask,
        Some(_) => Strict::Yes,
    }
}

/// IdentityAgent: a path, `SSH_AUTH_SOCK`, `$VARIABLE`, or `none`; by default what SSH_AUTH_SOCK says.
fn agent(settings: &Settings, tokens: &Tokens) -> Result<Option<PathBuf>, String> {
    let from = |name: &str| Ok(std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from));
    match settings.all("identityagent").next() {
        None | Some("" | "SSH_AUTH_SOCK") => from("SSH_AUTH_SOCK"),
        Some("none") => Ok(None),
        Some(text) => match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            Some(name) => from(name),
            None => tokens.path(text).map(Some),
        },
    }
}

/// `ssh -G` prints a list of paths separated by spaces and does not quote the spaces inside them (measured with 9.2). A piece
/// that starts no absolute or `~` path belongs to the one before, unless only the shorter of the two exists.
fn split_paths(value: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    let mut quoted = false;
    for piece in value.split(' ') {
        let bare = piece.trim_matches('"');
        let joins = match paths.last() {
            None => false,
            Some(_) if quoted => true,
            Some(_) if piece.starts_with(['/', '~', '"']) || piece == "none" => false,
            Some(last) => exists(Path::new(&format!("{last} {bare}"))) || !exists(Path::new(bare)),
        };
        match paths.last_mut() {
            Some(last) if joins => {
                last.push(' ');
                last.push_str(bare);
            }
            _ => paths.push(bare.to_owned()),
        }
        quoted ^= piece.matches('"').count() % 2 == 1;
    }
    paths.retain(|path| !path.is_empty());
    paths
}

/// Refuses what could be taken for an option, or for shell syntax in a ProxyCommand: the rule of OpenSSH's `valid_hostname`.
pub fn plausible_host(host: &str) -> Result<(), String> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "'`\"$\\;&<>|(){}".contains(c);
    match host {
        "" => Err("the host name is empty".to_owned()),
        _ if host.starts_with('-') => Err(format!("the host name {host:?} starts with a dash")),
        _ if host.contains(bad) => Err(format!("the host name {host:?} contains invalid characters")),
        _ => Ok(()),
    }
}

/// The rule of OpenSSH's `valid_ruser`.
pub fn plausible_user(user: &str) -> Result<(), String> {
    let bad = |c: char| c.is_control() || "'`\";&<>|(){}".contains(c);
    match user {
        "" => Err("the user name is empty".to_owned()),
        _ if user.starts_with('-') => Err(format!("the user name {user:?} starts with a dash")),
        _ if user.contains(bad) || user.ends_with('\\') => {
            Err(format!("the user name {user:?} contains invalid characters"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        Local { home: "/home/ann".into(), user: "ann".into(), uid: 1000, hostname: "w1".into() }
    }

    fn made(text: &str) -> Result<Hop, String> {
        hop("head", &Settings::parse(text), &Settings::parse("ciphers a,b"), &local()).map(|(hop, _)| hop)
    }

    #[test]
    fn values_become_a_hop() {
        let hop = made(
            "hostname 10.0.0.1\nport 2222\nuser bob\nidentityfile ~/.ssh/%h key\nidentityfile ~/b\nstricthostkeychecking accept-new\n\
             connecttimeout none\nserveraliveinterval 5\ncontrolpersist 300\nciphers b\naddressfamily inet6\nloglevel SILENT",
        )
        .unwrap();
        assert_eq!((&*hop.alias, &*hop.host, hop.port, &*hop.user), ("head", "10.0.0.1", 2222, "bob"));
        assert_eq!(hop.identity_files, [Path::new("/home/ann/.ssh/10.0.0.1 key"), Path::new("/home/ann/b")]);
        assert_eq!(hop.strict, Strict::AcceptNew);
        assert_eq!((hop.connect_timeout, hop.server_alive_interval), (None, Some(Duration::from_secs(5))));
        assert_eq!(hop.control_persist, Some(Duration::from_secs(300)));
        assert_eq!(hop.ciphers, Some(vec!["b".to_owned()]));
        assert_eq!((hop.address_family, hop.log_level), (AddressFamily::V6, LogLevel::Quiet));
    }

    #[test]
    fn a_default_list_of_algorithms_leaves_the_choice_to_us() {
        assert_eq!(made("ciphers a,b").unwrap().ciphers, None);
    }

    #[test]
    fn the_agent_may_be_none_or_a_path() {
        assert_eq!(made("identityagent none").unwrap().identity_agent, None);
        assert_eq!(made("identityagent ~/agent.sock").unwrap().identity_agent, Some("/home/ann/agent.sock".into()));
    }

    #[test]
    fn unquoted_lists_of_paths_are_taken_apart() {
        let none = |_: &Path| false;
        assert_eq!(split_paths("/a/b /c", none), ["/a/b", "/c"]);
        assert_eq!(split_paths("/root/a b/known /root/k2", none), ["/root/a b/known", "/root/k2"]);
        assert_eq!(split_paths("\"/root/a b\" ~/c", none), ["/root/a b", "~/c"]);
        assert_eq!(split_paths("known1 known2", |path| path == Path::new("known2")), ["known1", "known2"]);
    }

    #[test]
    fn hosts_and_users_that_a_shell_or_ssh_would_misread_are_refused() {
        for host in ["", "-oProxyCommand=x", "a b", "a\nb", "a;b", "$(x)", "a`b`", "a|b", "a\u{7}"] {
            assert!(plausible_host(host).is_err(), "{host:?}");
        }
        for host in ["head", "10.0.0.1", "fe80::1%eth0", "a_b.c-d"] {
            assert!(plausible_host(host).is_ok(), "{host:?}");
        }
        for user in ["", "-x", "a;b", "a'b", "a\\", "a\nb"] {
            assert!(plausible_user(user).is_err(), "{user:?}");
        }
        assert!(plausible_user("DOMAIN\\ann smith").is_ok());
    }

    #[test]
    fn a_bad_port_or_fdpass_is_refused() {
        assert!(made("port 0").is_err());
        assert!(made("port 70000").is_err());
        assert!(made("proxyusefdpass yes").is_err());
    }
}
