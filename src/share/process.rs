//! The holder as a process: out of its starter's session, with what it was handed, and listening.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{Resource, Rlimit};
use tokio::net::UnixListener;

use super::holder::run;
use super::place::{Lock, remove};
use super::protocol::Start;

/// Threads, as in a process of its own connection.
const WORKERS: usize = 4;

/// Clients in the queue before accept(2): hundreds come in one moment. The kernel cuts it to `somaxconn` (4,096).
const BACKLOG: i32 = 4096;

/// `hopsync --share-holder`: standard input is the line to the starter, standard output the lock.
pub fn main() -> ExitCode {
    match prepare().and_then(|(line, lock)| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
        let done = runtime.block_on(run(line, lock));
        runtime.shutdown_background();
        done
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::warn!(%error, "the holder has ended");
            ExitCode::FAILURE
        }
    }
}

/// Leaves the starter's session, and takes what it handed down off the standard streams.
fn prepare() -> io::Result<(UnixStream, Lock)> {
    // Ctrl-C at the starter's terminal is not for us. It fails only if we are a leader already.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    close_inherited();
    let line = io::stdin().as_fd().try_clone_to_owned()?;
    let lock = io::stdout().as_fd().try_clone_to_owned()?;
    let nowhere = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let log = match std::env::var_os("HOPSYNC_HOLDER_LOG") {
        Some(path) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?
        }
        None => nowhere.try_clone()?,
    };
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&log)?;
    let _ = tracing_subscriber::fmt()
        .with_env_filter(crate::program::log_filter())
        .with_ansi(false)
        .with_writer(io::stderr)
        .try_init();
    if rustix::net::sockopt::socket_type(&line).ok() != Some(SocketType::STREAM) {
        return Err(io::Error::other("a holder is only started by hopsync itself"));
    }
    let line = UnixStream::from(line);
    line.set_nonblocking(true)?;
    // Each client is a descriptor.
    let files = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    Ok((line, Lock::inherited(lock)))
}

/// Closes what the starter was handed by whoever started it: a pipe that somebody reads to its end, a file that is locked.
#[expect(clippy::disallowed_methods, reason = "a list of our own descriptors, nothing of what is transferred")]
fn close_inherited() {
    let Ok(names) = std::fs::read_dir("/dev/fd") else { return };
    let open: Vec<i32> = names.filter_map(|name| name.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: nothing of this process is open yet but its standard streams: no runtime, no log. The number that the
        // listing itself had is closed by now, and closing it again only fails.
        unsafe { libc::close(fd) };
    }
}

/// Listens, in place of whoever has died there. Under the lock.
pub fn listen(start: &Start) -> io::Result<UnixListener> {
    remove(&[&start.socket]);
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&start.socket)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}
