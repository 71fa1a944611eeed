//! Where a bench runs: servers, distances, files; and one run on them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;

use super::cell::{Cell, Workload};
use super::measure::cost;
use super::programs::{Job, PARALLEL, Program};
use super::schedule::{Executor, Halt, Sample};
use super::stop::Stop;
use crate::lab::bed::{Bed, Embedded, HEAD, SshdPair};
use crate::lab::print::note;
use crate::lab::relay::{Line, Relay};
use crate::lab::trees;

/// Modification time of all files: long ago, so that no program takes them for being written just now.
const MTIME: i64 = 1_500_000_000;
/// Characters kept of what a program wrote.
const MESSAGE: usize = 500;

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

/// The ground. Dropping it ends the servers and removes everything.
pub struct Ground {
    bed: Box<dyn Bed>,
    /// What the servers are, for the reader of the results.
    pub servers: &'static str,
    /// Distances, by milliseconds: the relay, and the ssh configuration that leads through it.
    lines: BTreeMap<u64, (Relay, PathBuf)>,
    runtime: Runtime,
    lab: PathBuf,
    hopsync: PathBuf,
    work: PathBuf,
    source: Option<Source>,
    runs: u64,
    limit: Duration,
    stop: Arc<Stop>,
}

/// The files of one work.
struct Source {
    workload: Workload,
    hashes: BTreeMap<PathBuf, blake3::Hash>,
    lists: Vec<PathBuf>,
}

impl Ground {
    /// Starts the servers, and a relay for each of `distances` (milliseconds). `limit` is what one run may take.
    ///
    /// # Errors
    /// A sentence, if they can not be started.
    pub fn new(
        servers: Servers,
        distances: impl Iterator<Item = u64>,
        runtime: Runtime,
        limit: Duration,
        stop: Arc<Stop>,
    ) -> io::Result<Ground> {
        let (bed, servers) = start(servers)?;
        let lab = std::env::current_exe()?;
        let work = bed.client().dir().join("bench");
        fs::create_dir(&work)?;
        // Under this name it is the drop-in.
        let hopsync = work.join("hopsync");
        std::os::unix::fs::symlink(&lab, &hopsync)?;
        let mut ground = Ground {
            bed,
            servers,
            lines: BTreeMap::new(),
            runtime,
            lab,
            hopsync,
            work,
            source: None,
            runs: 0,
            limit,
            stop,
        };
        for rtt in distances {
            ground.lay(rtt)?;
        }
        Ok(ground)
    }

    /// What the head says first: its software.
    pub fn banner(&self) -> io::Result<String> {
        use std::io::BufRead;
        let socket = std::net::TcpStream::connect(self.bed.door())?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut banner = String::new();
        // RFC 4253 §4.2: at most 255 characters.
        io::BufReader::new(io::Read::take(socket, 255)).read_line(&mut banner)?;
        Ok(banner.trim_end().to_owned())
    }

    /// Puts a relay before the head. The configuration goes before the bed's own: ssh takes the first value that it finds.
    fn lay(&mut self, rtt: u64) -> io::Result<()> {
        if rtt == 0 || self.lines.contains_key(&rtt) {
            return Ok(());
        }
        let door = self.bed.door();
        let line = Line { delay: Duration::from_micros(rtt.saturating_mul(500)), rate: None };
        let relay = self.runtime.block_on(Relay::start(door, line))?;
        let port = relay.address().port();
        let known = fs::read_to_string(&self.bed.client().known_hosts)?;
        let known_hosts = self.work.join(format!("known_hosts-{rtt}"));
        let there = format!("]:{} ", door.port());
        let head = known.lines().filter(|line| line.contains(&there));
        let moved: String = head.map(|line| line.replace(&there, &format!("]:{port} ")) + "\n").collect();
        fs::write(&known_hosts, known.clone() + &moved)?;
        let config = self.work.join(format!("ssh_config-{rtt}"));
        let own = fs::read_to_string(self.bed.ssh_config())?;
        let before = format!("Host {HEAD}\n  Port {port}\nHost *\n  UserKnownHostsFile {}\n", known_hosts.display());
        fs::write(&config, before + &own)?;
        self.lines.insert(rtt, (relay, config));
        Ok(())
    }

    fn config(&self, rtt: u64) -> &Path {
        self.lines.get(&rtt).map_or(self.bed.ssh_config(), |(_, config)| config)
    }

    fn source_dir(&self) -> PathBuf {
        self.work.join("source")
    }

    fn unchanged_dir(&self) -> PathBuf {
        self.work.join("unchanged")
    }

    /// Makes the files below `at`, the same for the same work.
    fn make(&self, workload: &Workload, at: &Path) -> Result<BTreeMap<PathBuf, blake3::Hash>, Halt> {
        let mut hashes = BTreeMap::new();
        for i in 0..workload.files {
            if self.stop.asked() {
                return Err(Halt::Interrupted);
            }
            let name = trees::one_of_many(at, i, workload.size)?;
            hashes.insert(name.clone(), trees::hash(&at.join(name))?);
        }
        for name in trees::list(at)?.keys() {
            trees::set_mtime(&at.join(name), MTIME)?;
        }
        Ok(hashes)
    }

    /// The names in lists for several processes, dealt like cards.
    fn lists(&self, hashes: &BTreeMap<PathBuf, blake3::Hash>) -> io::Result<Vec<PathBuf>> {
        let mut texts = vec![String::new(); PARALLEL.min(hashes.len())];
        for (i, name) in hashes.keys().enumerate() {
            texts[i % PARALLEL] += &format!("{}\n", name.display());
        }
        let write = |(i, text)| {
            let list = self.work.join(format!("list-{i}"));
            fs::write(&list, text)?;
            Ok(list)
        };
        texts.into_iter().enumerate().map(write).collect()
    }

    /// The files exist twice, and a third time while a program keeps temporary ones.
    fn check_space(&self, workload: &Workload) -> io::Result<()> {
        let need = workload.bytes().saturating_add(workload.files.saturating_mul(4096)).saturating_mul(3);
        let disk = rustix::fs::statvfs(&self.work)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= need {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "{} has {} MB free and {} needs {}: set TMPDIR to a roomier place, or use --scale",
                self.work.display(),
                free / 1_000_000,
                workload.name,
                need / 1_000_000
            ),
        ))
    }

    /// Counts the files in `dest` that are whole, and the names that should not be there.
    fn inspect(&self, source: &Source, dest: &Path) -> Result<(u64, u64), Halt> {
        let there = trees::list(dest)?;
        let (mut whole, mut extra) = (0, 0);
        for (name, meta) in &there {
            match source.hashes.get(name) {
                Some(hash) if meta.is_file() => whole += u64::from(trees::hash(&dest.join(name))? == *hash),
                Some(_) => {}
                None => extra += u64::from(!meta.is_dir()),
            }
            if self.stop.asked() {
                return Err(Halt::Interrupted);
            }
        }
        Ok((whole, extra))
    }

    /// Removes a tree, and lets the disk come to rest, so that no program pays for what another wrote.
    fn clear(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(fs::File::open(&self.work)?)?;
        Ok(())
    }
}

impl Executor for Ground {
    fn prepare(&mut self, cell: &Cell) -> Result<(), Halt> {
        let workload = &cell.workload;
        if self.source.as_ref().is_some_and(|source| source.workload == *workload) {
            return Ok(());
        }
        self.source = None;
        self.clear(&self.source_dir())?;
        self.clear(&self.unchanged_dir())?;
        self.check_space(workload)?;
        note(format_args!("making {} files of {} bytes in {}", workload.files, workload.size, self.work.display()));
        let hashes = self.make(workload, &self.source_dir())?;
        if workload.unchanged {
            self.make(workload, &self.unchanged_dir())?;
        }
        let lists = self.lists(&hashes)?;
        self.source = Some(Source { workload: workload.clone(), hashes, lists });
        Ok(())
    }

    fn run(&mut self, cell: &Cell, program: Program) -> Result<Sample, Halt> {
        let Some(source) = &self.source else { return Err(io::Error::other("a cell that was not prepared").into()) };
        self.runs += 1;
        // Never the same directory twice: ext4 is slow to create files where many were deleted.
        let fresh = self.work.join(format!("run-{}", self.runs));
        let dest = if cell.workload.unchanged { self.unchanged_dir() } else { fresh.clone() };
        fs::create_dir_all(&dest)?;
        let command = program.command(&Job {
            direction: cell.direction,
            source: &self.source_dir(),
            dest: &dest,
            config: self.config(cell.rtt_ms),
            hopsync: &self.hopsync,
            lists: &source.lists,
        });
        self.clear(&self.work.join("nothing to remove"))?;
        let measured = cost(&self.lab, &command, self.limit, &self.stop);
        // First of all: what a signal ended can hardly be measured, and that is no failure.
        if self.stop.asked() {
            return Err(Halt::Interrupted);
        }
        let (cost, text) = measured?;
        let (whole, extra) = self.inspect(source, &dest)?;
        self.clear(&fresh)?;
        let start = text.char_indices().rev().nth(MESSAGE - 1).map_or(0, |(at, _)| at);
        Ok(Sample {
            wall_s: cost.wall_s,
            user_s: cost.user_s,
            system_s: cost.system_s,
            peak_rss: cost.peak_rss,
            exit: cost.exit,
            whole,
            extra,
            message: text[start..].trim_end().to_owned(),
        })
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

fn start(servers: Servers) -> io::Result<(Box<dyn Bed>, &'static str)> {
    let embedded = || Ok((Box::new(Embedded::start()?) as Box<dyn Bed>, "embedded"));
    match servers {
        Servers::Embedded => embedded(),
        Servers::Sshd => Ok((Box::new(SshdPair::start()?), "sshd")),
        Servers::Auto => match SshdPair::start() {
            Ok(pair) => Ok((Box::new(pair), "sshd")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                note(format_args!("{error}; meanwhile the embedded servers"));
                embedded()
            }
            Err(error) => Err(error),
        },
    }
}
