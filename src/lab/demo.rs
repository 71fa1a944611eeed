//! `hopsync-lab demo`: many files through an embedded head to an embedded target and back, by the real `hopsync`, on this
//! machine alone.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures::FutureExt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};

use super::bed::{Bed, Embedded};
use super::print::{line, note, table};
use super::relay::Line;
use super::trees;

/// What the shell says of a process that Ctrl-C ended.
pub(super) const INTERRUPTED: u8 = 130;
/// How long an interrupted `hopsync` may take to tidy up.
const GRACE: Duration = Duration::from_secs(10);
/// Names shown of what is wrong in a tree.
const SHOWN: usize = 10;

/// The pair, as the command line wants it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Pair {
    /// Sessions that the target allows per connection (MaxSessions)
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub sessions: usize,
    /// Distance between this process and the head, as a round trip in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub rtt: u64,
}

/// `hopsync-lab demo`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// Number of files
    #[arg(long, default_value_t = 900, value_name = "N")]
    pub files: u64,
    /// Bytes in each file
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES")]
    pub size: u64,
    #[command(flatten)]
    pub pair: Pair,
}

/// How to start `hopsync`.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// This program itself: under the name `hopsync` it is the drop-in, built from the same sources, never a stale one.
    pub fn find() -> io::Result<Program> {
        Ok(Program { path: std::env::current_exe()? })
    }
}

/// Runs the demo and prints its result: success if every file arrived both ways, whole.
pub fn demo(options: &Options) -> ExitCode {
    conclude(Program::find().and_then(|program| block_on(move |signals| push_and_pull(*options, program, signals))))
}

/// How it ended.
pub(super) enum Verdict {
    Good,
    Bad,
    Interrupted,
}

pub(super) fn conclude(result: io::Result<Verdict>) -> ExitCode {
    match result {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Ok(Verdict::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            note(format_args!("hopsync-lab: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The signals that end a demo or a bench. From the first moment on they no longer end the process: it tidies up itself.
pub(super) struct Signals([unix::Signal; 3]);

impl Signals {
    pub(super) fn new() -> io::Result<Signals> {
        let on = unix::signal;
        Ok(Signals([on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?]))
    }

    pub(super) async fn next(&mut self) {
        let [a, b, c] = &mut self.0;
        tokio::select! { _ = a.recv() => {}, _ = b.recv() => {}, _ = c.recv() => {} }
    }

    /// Whether one has come, without waiting for it.
    async fn came(&mut self) -> bool {
        // Lets the runtime look.
        tokio::task::yield_now().await;
        self.next().now_or_never().is_some()
    }
}

pub(super) fn block_on<F: Future<Output = io::Result<Verdict>>>(
    work: impl FnOnce(Signals) -> F,
) -> io::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { work(Signals::new()?).await })
}

fn start(pair: Pair) -> io::Result<Embedded> {
    let line = (pair.rtt > 0).then(|| Line { delay: Duration::from_micros(pair.rtt * 500), rate: None });
    // Runtimes do not nest: the servers' own is made on a thread of its own.
    let started =
        std::thread::spawn(move || Embedded::with(|_| {}, |target| target.max_sessions = pair.sessions, line)).join();
    started.unwrap_or_else(|_| Err(io::Error::other("the embedded servers could not be started")))
}

async fn push_and_pull(options: Options, program: Program, mut signals: Signals) -> io::Result<Verdict> {
    let bed = start(options.pair)?;
    let dir = bed.client().dir().to_owned();
    check_space(&dir, options)?;
    let (source, back) = (dir.join("source"), dir.join("back"));
    note(format_args!("making {} files of {} bytes in {}", options.files, options.size, dir.display()));
    let mut names = Vec::new();
    for i in 0..options.files {
        names.push(trees::one_of_many(&source, i, options.size)?);
        if signals.came().await {
            return Ok(Verdict::Interrupted);
        }
    }

    let far = bed.far().join("pushed");
    let ways = [
        ("push", slash(&source), format!("user-container:{}", slash(&far)), &far),
        ("pull", format!("user-container:{}", slash(&far)), slash(&back), &back),
    ];
    let head = ["way", "delivered", "verified", "wall s", "MB/s", "connections", "logins", "max sessions", "exit"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut verdict = Verdict::Good;
    for (way, from, to, destination) in ways {
        let before = bed.counts();
        bed.target_server().stats().max_sessions.store(0, Relaxed);
        note(format_args!("{way}: hopsync -a --no-share -e '{}' {from} {to}", bed.shell()));
        let started = Instant::now();
        let child = Command::new(&program.path)
            .arg0("hopsync")
            .args(["-a", "--no-share", "-e", &bed.shell(), &from, &to])
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("can not run {}: {error}", program.path.display()))
            })?;
        let Some(exit) = wait(child, &mut signals).await? else { return Ok(Verdict::Interrupted) };
        let wall = started.elapsed().as_secs_f64();
        let after = bed.counts();
        let found = inspect(&source, destination, &names, options.size)?;
        rows.push(vec![
            way.to_owned(),
            format!("{}/{}", found.delivered, names.len()),
            format!("{}/{}", found.verified, names.len()),
            format!("{wall:.2}"),
            format!("{:.0}", (found.delivered as u64 * options.size) as f64 / 1e6 / wall),
            (after.head_connections - before.head_connections).to_string(),
            (after.target_logins - before.target_logins).to_string(),
            bed.target_server().stats().max_sessions.load(Relaxed).to_string(),
            exit.to_string(),
        ]);
        if exit != 0 || found.verified < names.len() || !found.wrong.is_empty() {
            verdict = Verdict::Bad;
            for what in found.wrong.iter().take(SHOWN) {
                note(format_args!("{way}: {what}"));
            }
        }
        if signals.came().await {
            return Ok(Verdict::Interrupted);
        }
    }
    line(table(&rows).trim_end());
    line(match verdict {
        Verdict::Good => "Every file arrived both ways; the trees were compared by hash.",
        _ => "Files are missing or damaged.",
    });
    Ok(verdict)
}

/// Waits for the child, and on a signal ends it: `None`. At a terminal, Ctrl-C has reached it too.
async fn wait(mut child: Child, signals: &mut Signals) -> io::Result<Option<i32>> {
    tokio::select! {
        status = child.wait() => {
            let status = status?;
            Ok(Some(status.code().unwrap_or(128 + status.signal().unwrap_or(0))))
        }
        () = signals.next() => {
            if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
                let _ = kill_process(pid, Signal::TERM);
            }
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                child.kill().await?;
            }
            Ok(None)
        }
    }
}

/// What a destination holds.
struct Found {
    /// Files of the right size under the right name.
    delivered: usize,
    /// Those whose hash is the source's, by our own reading.
    verified: usize,
    /// Sentences about the others, and about what should not be there.
    wrong: Vec<String>,
}

fn inspect(source: &Path, destination: &Path, names: &[PathBuf], size: u64) -> io::Result<Found> {
    let mut found = Found { delivered: 0, verified: 0, wrong: Vec::new() };
    let mut there = if destination.exists() { trees::list(destination)? } else { Default::default() };
    there.retain(|_, meta| !meta.is_dir());
    for name in names {
        match there.remove(name) {
            None => found.wrong.push(format!("{}: missing", name.display())),
            Some(meta) if meta.len() != size => {
                found.wrong.push(format!("{}: {} bytes, not {size}", name.display(), meta.len()));
            }
            Some(_) => {
                found.delivered += 1;
                if trees::hash(&source.join(name))? == trees::hash(&destination.join(name))? {
                    found.verified += 1;
                } else {
                    found.wrong.push(format!("{}: content differs", name.display()));
                }
            }
        }
    }
    found.wrong.extend(there.keys().map(|name| format!("{}: should not be there", name.display())));
    Ok(found)
}

fn slash(path: &Path) -> String {
    format!("{}/", path.display())
}

/// The files exist three times at the end.
fn check_space(dir: &Path, options: Options) -> io::Result<()> {
    let need = options.files.saturating_mul(options.size.saturating_add(4096)).saturating_mul(3);
    let disk = rustix::fs::statvfs(dir)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < need {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "{} has {} MB free and the demo needs {}: set TMPDIR to a roomier place, or use --files and --size",
                dir.display(),
                free / 1_000_000,
                need / 1_000_000
            ),
        ));
    }
    Ok(())
}
