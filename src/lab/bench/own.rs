//! Servers of the bench's own, on this machine: a pair for each set of limits, one at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

use super::cell::{Cell, Limits, Origin, start_limit};
use super::check::Tree;
use super::make;
use super::schedule::Served;
use super::site::{Jump, Site};
use crate::lab::bed::{Bed, Embedded, HEAD, Knobs, SshdPair, TARGET};
use crate::lab::print::note;
use crate::lab::relay::{Line, Relay};
use crate::lab::server::Config;

/// sshd's own, which the embedded servers have to be given.
const STARTUPS: &str = "10:30:100";
/// Between two looks at the counters, and how often they are looked at until they no longer change. A log line comes a moment
/// after what it tells.
const SETTLING: Duration = Duration::from_millis(30);
const LOOKS: usize = 50;

/// Which servers to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Servers {
    /// sshd where it is installed, else embedded ones
    Auto,
    /// A pair of real sshd's
    Sshd,
    /// A pair in this process
    Embedded,
}

/// A pair of servers and the ways to them. Dropping it ends them.
pub struct Own {
    runtime: Handle,
    real: bool,
    dir: PathBuf,
    limits: Limits,
    pair: Pair,
    /// Distances, by milliseconds: the relay, and the ssh configuration that leads through it.
    lines: BTreeMap<u64, (Relay, PathBuf)>,
    /// From the head the target is reached directly.
    straight: PathBuf,
}

enum Pair {
    Real(SshdPair),
    Embedded(Embedded),
}

impl Pair {
    fn bed(&self) -> &dyn Bed {
        match self {
            Pair::Real(pair) => pair,
            Pair::Embedded(pair) => pair,
        }
    }
}

impl Own {
    /// Starts a pair at the default limits. `dir` is for configurations, and for all files at both ends.
    ///
    /// # Errors
    /// A sentence, if it can not be started.
    pub fn start(servers: Servers, dir: &Path, runtime: Handle) -> io::Result<Own> {
        let limits = Limits::default();
        let embedded = || -> io::Result<_> { Ok((embedded(&limits)?, false)) };
        let (pair, real) = match servers {
            Servers::Embedded => embedded()?,
            Servers::Sshd => (real(&limits)?, true),
            Servers::Auto => match real(&limits) {
                Ok(pair) => (pair, true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    note(format_args!("{error}; meanwhile the embedded servers"));
                    embedded()?
                }
                Err(error) => return Err(error),
            },
        };
        let straight = dir.join("ssh_config-straight");
        let mut own = Own { runtime, real, dir: dir.to_owned(), limits, pair, lines: BTreeMap::new(), straight };
        own.configure()?;
        Ok(own)
    }

    fn configure(&mut self) -> io::Result<()> {
        let own = fs::read_to_string(self.pair.bed().ssh_config())?;
        fs::write(&self.straight, format!("Host {TARGET}\n  ProxyJump none\n{own}"))
    }

    /// Puts a relay before the head. The configuration goes before the bed's own: ssh takes the first value that it finds.
    fn lay(&mut self, rtt: u64) -> io::Result<()> {
        if rtt == 0 || self.lines.contains_key(&rtt) {
            return Ok(());
        }
        let bed = self.pair.bed();
        let door = bed.door();
        let line = Line { delay: Duration::from_micros(rtt.saturating_mul(500)), rate: None };
        let relay = self.runtime.block_on(Relay::start(door, line))?;
        let port = relay.address().port();
        let known = fs::read_to_string(&bed.client().known_hosts)?;
        let known_hosts = self.dir.join(format!("known_hosts-{rtt}"));
        let there = format!("]:{} ", door.port());
        let head = known.lines().filter(|line| line.contains(&there));
        let moved: String = head.map(|line| line.replace(&there, &format!("]:{port} ")) + "\n").collect();
        fs::write(&known_hosts, known.clone() + &moved)?;
        let config = self.dir.join(format!("ssh_config-{rtt}"));
        let own = fs::read_to_string(bed.ssh_config())?;
        let before = format!("Host {HEAD}\n  Port {port}\nHost *\n  UserKnownHostsFile {}\n", known_hosts.display());
        fs::write(&config, before + &own)?;
        self.lines.insert(rtt, (relay, config));
        Ok(())
    }

    fn config(&self, cell: &Cell) -> &Path {
        match cell.from {
            Origin::Head => &self.straight,
            Origin::Worker => self.lines.get(&cell.rtt_ms).map_or(self.pair.bed().ssh_config(), |(_, config)| config),
        }
    }

    fn counted(&self) -> Served {
        let counts = self.pair.bed().counts();
        Served {
            head_connections: counts.head_connections,
            head_logins: counts.head_logins,
            head_start_drops: counts.head_start_drops,
            target_connections: counts.target_connections,
            target_logins: counts.target_logins,
            target_start_drops: counts.start_drops - counts.head_start_drops,
            refused_sessions: counts.refused_sessions,
            listen_overflows: fs::read_to_string("/proc/net/netstat").map_or(0, |text| listen_overflows(&text)),
        }
    }
}

impl Site for Own {
    fn servers(&self) -> &'static str {
        if self.real { "sshd" } else { "embedded" }
    }

    fn banner(&self) -> io::Result<String> {
        use std::io::BufRead;
        let socket = std::net::TcpStream::connect(self.pair.bed().door())?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut banner = String::new();
        // RFC 4253 §4.2: at most 255 characters.
        io::BufReader::new(io::Read::take(socket, 255)).read_line(&mut banner)?;
        Ok(banner.trim_end().to_owned())
    }

    fn prepare(&mut self, cell: &Cell) -> io::Result<()> {
        if cell.from == Origin::Head && !self.real {
            let sentence = "--from head needs real sshd's (install openssh-server): the embedded target is reached through \
                            the head alone";
            return Err(io::Error::new(io::ErrorKind::Unsupported, sentence));
        }
        if self.limits != cell.limits {
            self.lines.clear();
            self.pair = if self.real { real(&cell.limits)? } else { embedded(&cell.limits)? };
            self.limits = cell.limits.clone();
            self.configure()?;
        }
        self.lay(cell.rtt_ms)
    }

    fn shell(&self, cell: &Cell) -> Vec<String> {
        vec!["ssh".into(), "-F".into(), self.config(cell).display().to_string()]
    }

    fn target(&self) -> &str {
        TARGET
    }

    fn jump(&self, cell: &Cell) -> Jump {
        Jump { is: cell.from == Origin::Worker, speaks: true }
    }

    fn far(&self) -> &Path {
        &self.dir
    }

    fn is_here(&self) -> bool {
        true
    }

    fn served(&self) -> Option<Served> {
        let mut last = self.counted();
        for _ in 0..LOOKS {
            thread::sleep(SETTLING);
            let now = self.counted();
            if now == last {
                break;
            }
            last = now;
        }
        Some(last)
    }

    fn make(&self, dirs: &[PathBuf]) -> io::Result<()> {
        dirs.iter().try_for_each(fs::create_dir_all)
    }

    fn remove(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn upload(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        make::copy(from, to)
    }

    fn tree(&self, _: &Path) -> io::Result<Tree> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn real(limits: &Limits) -> io::Result<Pair> {
    let knobs = |sessions: &Option<String>, startups: &Option<String>| {
        let line = |name: &str, value: &Option<String>| Some(format!("{name} {}", value.as_ref()?));
        let extra = [line("MaxSessions", sessions), line("MaxStartups", startups)].into_iter().flatten().collect();
        Knobs { extra, ..Knobs::default() }
    };
    let head = knobs(&limits.head_sessions, &limits.head_startups);
    Ok(Pair::Real(SshdPair::with(&head, &knobs(&limits.target_sessions, &limits.target_startups))?))
}

fn embedded(limits: &Limits) -> io::Result<Pair> {
    let wrong = |sentence: String| io::Error::new(io::ErrorKind::InvalidInput, sentence);
    let startups = |text: &Option<String>| start_limit(text.as_deref().unwrap_or(STARTUPS)).map_err(wrong);
    let (at_head, at_target) = (startups(&limits.head_startups)?, startups(&limits.target_startups)?);
    let sessions = limits.target_sessions.as_deref().and_then(|text| text.parse::<usize>().ok());
    let head = |config: &mut Config| config.max_startups = Some(at_head);
    let target = |config: &mut Config| {
        config.max_startups = Some(at_target);
        config.max_sessions = sessions.unwrap_or(config.max_sessions);
    };
    Ok(Pair::Embedded(Embedded::with(head, target, None)?))
}

/// `TcpExt: … ListenOverflows …` above a line with the numbers; 0 where there is no such thing.
fn listen_overflows(netstat: &str) -> u64 {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return 0 };
    let column = names.split_whitespace().zip(numbers.split_whitespace()).find(|(name, _)| *name == "ListenOverflows");
    column.and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_whom_it_turned_away() {
        let text =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 111 112\nIpExt: InNoRoutes\nIpExt: 7\n";
        assert_eq!(
            (listen_overflows(text), listen_overflows(""), listen_overflows("TcpExt: A\nTcpExt: 1\n")),
            (111, 0, 0)
        );
    }
}
