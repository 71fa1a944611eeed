//! The bed of two real sshd's: started by whoever runs the tests, on loopback, with keys and configuration of their own.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use russh::keys::PublicKey;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{Bed, Client, Counts, HEAD, TARGET, host_at, write_key};
use crate::lab::run::descendants;

/// Where packages put sshd; it must be started by its full path.
const PLACES: [&str; 5] =
    ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd", "/opt/homebrew/sbin/sshd", "/usr/lib/ssh/sshd"];
/// How long an sshd may take to listen.
const READY: Duration = Duration::from_secs(20);
/// A port that was free may be taken a moment later.
const TRIES: usize = 10;

/// What may differ from sshd's defaults.
#[derive(Debug, Clone, Default)]
pub struct Knobs {
    pub max_sessions: Option<u32>,
    /// As in sshd_config: `10:30:100`.
    pub max_startups: Option<&'static str>,
    /// The SFTP subsystem with its options: `internal-sftp -P copy-data`.
    pub sftp: Option<&'static str>,
    /// `ForceCommand internal-sftp`: the account can do nothing but SFTP.
    pub sftp_only: bool,
    /// As in sshd_config: `64M`.
    pub rekey_limit: Option<&'static str>,
    /// Further lines of sshd_config, before any `Match`.
    pub extra: Vec<String>,
}

/// Its log, filled by a thread while it runs.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// One sshd. Dropping it ends it, with the processes that it started.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    address: SocketAddr,
    host_key: PublicKey,
    log: Arc<Log>,
}

impl Sshd {
    /// Starts one that lets `client` in as the current user, with its files in `dir`. Fails with a sentence if there is
    /// no sshd, or if it does not come up; what it logged is in the error.
    fn start(dir: &Path, client: &PublicKey, knobs: &Knobs) -> io::Result<Sshd> {
        let program = find()?;
        fs::create_dir_all(dir)?;
        let host_key = write_key(&dir.join("host_key"))?;
        fs::write(dir.join("authorized_keys"), client.to_openssh().map_err(io::Error::other)? + "\n")?;
        if rustix::process::getuid().is_root() && !Path::new("/run/sshd").exists() {
            // Its privilege separation directory, which packages leave to the service's start.
            fs::create_dir_all("/run/sshd")?;
        }
        let mut last = None;
        for _ in 0..TRIES {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let config = dir.join("sshd_config");
            fs::write(&config, configuration(dir, address.port(), knobs))?;
            let mut sshd = Sshd::spawn(&program, &config, address, host_key.clone())?;
            match sshd.wait_until_ready() {
                Ok(()) => return Ok(sshd),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    fn spawn(program: &Path, config: &Path, address: SocketAddr, host_key: PublicKey) -> io::Result<Sshd> {
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f"]).arg(config).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let log = Arc::new(Log::default());
        if let Some(stderr) = child.stderr.take() {
            let log = log.clone();
            thread::spawn(move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    log.lines().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                    log.more.notify_all();
                }
            });
        }
        Ok(Sshd { child, address, host_key, log })
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < READY {
            if self.wait_for_log("Server listening on", 1, Duration::from_millis(100)) {
                return Ok(());
            }
            if self.log.count("Address already in use") > 0 {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("sshd ended at once ({status}):\n{}", self.log_text())));
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("sshd does not listen:\n{}", self.log_text())))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many lines of its log (LogLevel VERBOSE: with DEBUG it would talk into commands' stderr) contain `text`.
    pub fn logged(&self, text: &str) -> u64 {
        self.log.count(text)
    }

    /// Waits until `count` lines contain `text`; `false` if they did not within `limit`. Log lines come a moment after
    /// what they tell.
    pub fn wait_for_log(&self, text: &str, count: u64, limit: Duration) -> bool {
        let lines = self.log.lines();
        let short = |lines: &mut Vec<String>| (lines.iter().filter(|line| line.contains(text)).count() as u64) < count;
        let waited = self.log.more.wait_timeout_while(lines, limit, short);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub fn log_text(&self) -> String {
        self.log.lines().join("\n")
    }

    /// TCP connections accepted.
    pub fn connections(&self) -> u64 {
        self.logged("Connection from ")
    }

    pub fn logins(&self) -> u64 {
        self.logged("Accepted publickey for ")
    }

    /// Ends the processes that serve connections; the listener goes on.
    pub fn cut_all(&self) {
        for pid in descendants(&[self.child.id()]) {
            kill(pid);
        }
    }
}

impl Log {
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, text: &str) -> u64 {
        self.lines().iter().filter(|line| line.contains(text)).count() as u64
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Connections run in sessions of their own: they are found by descent, before the listener goes.
        let children = descendants(&[self.child.id()]);
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        children.into_iter().for_each(kill);
        let _ = self.child.wait();
    }
}

fn kill(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn find() -> io::Result<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("no sshd in {}: install openssh-server (apt-get install openssh-server)", PLACES.join(", ")),
        )
    })
}

fn configuration(dir: &Path, port: u16, knobs: &Knobs) -> String {
    let dir = dir.display();
    let mut text = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nPidFile none\nHostKey {dir}/host_key\n\
         AuthorizedKeysFile {dir}/authorized_keys\nStrictModes no\nUsePAM no\nPubkeyAuthentication yes\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
         AllowTcpForwarding yes\nUseDNS no\nLogLevel VERBOSE\nSubsystem sftp {}\n\
         SetEnv HOME={dir}\n",
        knobs.sftp.unwrap_or("internal-sftp")
    );
    // HOME: the start-up files of whoever runs the tests (a .bashrc that waits for a lock, say) are none of theirs. The
    // session's directory is still the account's.
    if let Some(sessions) = knobs.max_sessions {
        text += &format!("MaxSessions {sessions}\n");
    }
    if let Some(startups) = knobs.max_startups {
        text += &format!("MaxStartups {startups}\n");
    }
    if let Some(limit) = knobs.rekey_limit {
        text += &format!("RekeyLimit {limit}\n");
    }
    if knobs.sftp_only {
        text += "ForceCommand internal-sftp\n";
    }
    for line in &knobs.extra {
        text += &format!("{line}\n");
    }
    text
}

/// Two sshd's: the head, and the target that the client's configuration reaches through it.
#[derive(Debug)]
pub struct SshdPair {
    pub head: Sshd,
    pub target: Sshd,
    far: PathBuf,
    client: Client,
}

impl SshdPair {
    /// Both at sshd's default limits.
    pub fn start() -> io::Result<SshdPair> {
        SshdPair::with(&Knobs::default(), &Knobs::default())
    }

    /// A target with `knobs` behind a plain head.
    pub fn target(knobs: &Knobs) -> io::Result<SshdPair> {
        SshdPair::with(&Knobs::default(), knobs)
    }

    pub fn with(head: &Knobs, target: &Knobs) -> io::Result<SshdPair> {
        let client = Client::new()?;
        let far = client.dir().join("far");
        fs::create_dir(&far)?;
        let head = Sshd::start(&client.dir().join("sshd-head"), &client.key, head)?;
        let target = Sshd::start(&client.dir().join("sshd-target"), &client.key, target)?;
        let hosts = [
            host_at(HEAD, head.address, None, &head.host_key),
            host_at(TARGET, target.address, Some(HEAD), &target.host_key),
        ];
        client.write_hosts(&user()?, &hosts)?;
        Ok(SshdPair { head, target, far, client })
    }
}

/// The current user's name.
fn user() -> io::Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Bed for SshdPair {
    fn client(&self) -> &Client {
        &self.client
    }

    fn far(&self) -> &Path {
        &self.far
    }

    fn counts(&self) -> Counts {
        let head_start_drops = self.head.logged("drop connection");
        Counts {
            head_connections: self.head.connections(),
            head_logins: self.head.logins(),
            target_connections: self.target.connections(),
            target_logins: self.target.logins(),
            refused_sessions: self.target.logged("no more sessions"),
            start_drops: self.target.logged("drop connection") + head_start_drops,
            head_start_drops,
        }
    }

    fn door(&self) -> SocketAddr {
        self.head.address
    }

    fn route(&self) -> (String, u16) {
        ("127.0.0.1".into(), self.target.address.port())
    }

    fn cut_all(&self) {
        self.head.cut_all();
        self.target.cut_all();
    }
}
