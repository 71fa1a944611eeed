//! The stream below an SSH connection: TCP, or a ProxyCommand's standard streams, watched until the server has identified
//! itself.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Sleep;

use crate::fault::{Cause, Fault, Stage};

use super::fate::{Fate, STALLED};
use super::route::{AddressFamily, Hop};

/// One read takes this much at most: russh asks for a packet's length and body apart, which would be two system calls a
/// packet of at most 35,000 bytes.
const READ_BUFFER: usize = 256 * 1024;

/// Any stream that an SSH session can run on.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How long a TCP connection may take if neither ssh_config nor `--contimeout` says so.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

/// TCP that answers sooner may be a relay that is near, before a server that is not.
const NEAR: Duration = Duration::from_millis(5);

/// A server that speaks first sends its banner within this time of being connected to, if it is near: sshd takes some 10 ms to
/// start a process for it.
const PROMPT: Duration = Duration::from_millis(30);

/// For how long a banner is waited for, to learn that.
const LOOK: Duration = Duration::from_millis(200);

/// How far the server is, where its banner shows that it is farther than what TCP reached: nothing is read. A near server does
/// not lose by it, since it reads nothing either before it has a process.
async fn through_a_relay(stream: &TcpStream) -> Option<Duration> {
    let started = std::time::Instant::now();
    let looked = tokio::time::timeout(LOOK, stream.peek(&mut [0])).await;
    let took = looked.ok().and_then(|_| banner(stream)).unwrap_or_else(|| started.elapsed());
    Some(took).filter(|took| *took > PROMPT)
}

/// A way to the first hop.
pub struct Reached {
    pub stream: Box<dyn Stream>,
    /// What the path's round trip seems to be: the TCP handshake's time, or that until the banner where this shows that TCP only
    /// reached a relay (and then the server's own delay is in it); zero where nothing can be seen.
    pub round_trip: Duration,
    /// The handshake's time, where it cannot have been to a relay nearby.
    pub distance: Option<Duration>,
}

/// Resolves and connects to a hop.
pub async fn connect(hop: &Hop, patience: Option<Duration>) -> Result<Reached, Fault> {
    let patience = hop.connect_timeout.or(patience).unwrap_or(CONNECT_PATIENCE);
    let found = tokio::time::timeout(patience, tokio::net::lookup_host((hop.host.as_str(), hop.port)))
        .await
        .map_err(|_| {
            Fault::new(hop.alias.clone(), Stage::Resolve, Cause::Timeout, format!("\"{}\": no answer", hop.host))
        })?
        .map_err(|e| {
            Fault::new(
                hop.alias.clone(),
                Stage::Resolve,
                Cause::Unreachable,
                format!("cannot resolve \"{}\": {e}", hop.host),
            )
        })?;
    let addresses: Vec<SocketAddr> = found
        .filter(|address| match hop.address_family {
            AddressFamily::Any => true,
            AddressFamily::V4 => address.is_ipv4(),
            AddressFamily::V6 => address.is_ipv6(),
        })
        .collect();
    let mut last = Fault::new(
        hop.alias.clone(),
        Stage::Resolve,
        Cause::Unreachable,
        format!("\"{}\" has no address of the wanted family", hop.host),
    );
    for address in addresses {
        let started = std::time::Instant::now();
        let failed = |cause, text: String| Fault::new(hop.alias.clone(), Stage::Tcp, cause, text);
        match tokio::time::timeout(patience, dial(address, hop.bind_address.as_deref())).await {
            Ok(Ok(stream)) => {
                let round_trip = handshake(&stream).unwrap_or_else(|| started.elapsed());
                // Requests are small and many: Nagle would hold each for the peer's delayed ACK.
                let _ = stream.set_nodelay(true);
                let distance = Some(round_trip).filter(|took| *took >= NEAR);
                let round_trip = match distance {
                    Some(distance) => distance,
                    None => through_a_relay(&stream).await.unwrap_or(round_trip),
                };
                let tcp = Tcp { stream, far: distance.is_some(), full: None };
                let stream = Box::new(BufReader::with_capacity(READ_BUFFER, tcp));
                return Ok(Reached { stream, round_trip, distance });
            }
            Ok(Err(e)) => last = failed(Cause::Unreachable, format!("cannot connect to {address}: {e}")),
            Err(_) => {
                last = failed(Cause::Timeout, format!("cannot connect to {address} within {} s", patience.as_secs()));
            }
        }
    }
    Err(last)
}

async fn dial(address: SocketAddr, bind: Option<&str>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bind) = bind {
        let ip = bind.parse().map_err(|_| io::Error::other(format!("BindAddress \"{bind}\" is no IP address")))?;
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    socket.connect(address).await
}

/// How long the handshake took by the kernel's clock. Ours would count the time in which we were not let run, too: on a host
/// with hundreds of processes that made milliseconds of microseconds, and a lane was added for a distance that there was not.
#[cfg(target_os = "linux")]
fn handshake(stream: &TcpStream) -> Option<Duration> {
    let rtt = tcp_info(stream)?.tcpi_rtt;
    (rtt > 0).then(|| Duration::from_micros(u64::from(rtt)))
}

/// From the handshake's end until the last bytes were there that have come, by the kernel's clock too (and as fine as its ticks): a
/// banner may have come long before we were let run to see it. For a stream that has not been written to.
#[cfg(target_os = "linux")]
fn banner(stream: &TcpStream) -> Option<Duration> {
    let info = tcp_info(stream)?;
    // "Sent" is set at the end of the handshake first (tcp_finish_connect).
    let took = info.tcpi_last_data_sent.checked_sub(info.tcpi_last_data_recv)?;
    Some(Duration::from_millis(u64::from(took)))
}

#[cfg(target_os = "linux")]
fn tcp_info(stream: &TcpStream) -> Option<libc::tcp_info> {
    use std::os::fd::AsRawFd;
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = std::mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the pointers are valid for the call, and the length is the structure's; integers that the kernel does not fill
    // (an older one knows fewer) are zero.
    unsafe {
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        let told = libc::getsockopt(stream.as_raw_fd(), level, name, info.as_mut_ptr().cast(), &mut len) == 0;
        told.then(|| info.assume_init())
    }
}

#[cfg(not(target_os = "linux"))]
fn handshake(_: &TcpStream) -> Option<Duration> {
    None
}

#[cfg(not(target_os = "linux"))]
fn banner(_: &TcpStream) -> Option<Duration> {
    None
}

/// A TCP stream that acknowledges at once, and whose send buffer is kept full.
///
/// The kernel delays an ACK by up to 40 ms once it thinks the exchange is
/// interactive, and falls back to that after each receive; on a jump that stalls the *head's* Nagle, for as long, at every
/// small exchange of the handshakes behind it.
///
/// It calls a socket writable again when a third of its send buffer is free (`sk_stream_is_writeable`), though it takes what there is
/// room for sooner. What lies in this buffer is what is under way, tcp_wmem's 4 MiB at most: on a long path that third is a
/// quarter of what a connection carries (measured, see docs/performance.md). So it is offered more after [`TOP_UP`], and less often
/// where it takes nothing.
struct Tcp {
    stream: TcpStream,
    far: bool,
    /// Since it took nothing more: until it is offered more unasked, and the pause that this is.
    full: Option<(Pin<Box<Sleep>>, Duration)>,
}

/// Much shorter than the round trips for which it matters, and long enough that what was acknowledged meanwhile is worth a call.
const TOP_UP: Duration = Duration::from_millis(2);

/// The longest pause, where nothing is taken: each is twice as long as the one before.
const TOP_UP_MOST: Duration = Duration::from_millis(32);

impl Tcp {
    /// Whether the buffer takes more than the kernel says, once it has been full for a while.
    fn top_up(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let (full, pause) = self.full.get_or_insert_with(|| (Box::pin(tokio::time::sleep(TOP_UP)), TOP_UP));
        loop {
            std::task::ready!(full.as_mut().poll(cx));
            match rustix::net::send(&self.stream, buf, SendFlags::DONTWAIT) {
                Err(rustix::io::Errno::AGAIN) => {
                    *pause = (*pause * 2).min(TOP_UP_MOST);
                    full.as_mut().reset(tokio::time::Instant::now() + *pause);
                }
                Err(rustix::io::Errno::INTR) => {}
                sent => {
                    self.full = None;
                    return Poll::Ready(sent.map_err(io::Error::from));
                }
            }
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ready = Pin::new(&mut self.stream).poll_read(cx, buf);
        if ready.is_ready() {
            #[cfg(target_os = "linux")]
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.stream, true);
        }
        ready
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if written.is_pending() && self.far {
            return self.top_up(cx, buf);
        }
        self.full = None;
        written
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Runs a ProxyCommand in the user's shell, as ssh does (`$SHELL -c "exec …"`). It ends with the connection.
pub fn proxy(hop: &Hop, command: &str) -> Result<Reached, Fault> {
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let failed = |text: String| Fault::new(hop.alias.clone(), Stage::Tcp, Cause::Unreachable, text);
    let mut child = Command::new(&shell)
        .arg("-c")
        .arg(format!("exec {command}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(format!("cannot run ProxyCommand \"{command}\": {e}")))?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(stdin), Some(stdout)) => {
            let stream = Box::new(BufReader::with_capacity(READ_BUFFER, Piped { _child: child, stdin, stdout }));
            Ok(Reached { stream, round_trip: Duration::ZERO, distance: None })
        }
        _ => Err(failed("ProxyCommand has no standard streams".to_owned())),
    }
}

struct Piped {
    _child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl AsyncRead for Piped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

/// Reads along until the server's identification line has passed, and writes what it finds into the fate; ends a stream that
/// takes nothing any more.
///
/// russh sends no keepalives, and misses none, while it waits for its stream to take something: with a window of data under
/// way to a peer that has fallen silent it would wait for as long as TCP does.
pub struct Watched<S> {
    stream: S,
    fate: Arc<Fate>,
    /// How long it may take nothing; none is without end.
    patience: Option<Duration>,
    /// Since it last took something.
    stalled: Option<Pin<Box<Sleep>>>,
    /// `None` once the identification was seen, or when the start is too long to be one.
    start: Option<Vec<u8>>,
}

impl<S> Watched<S> {
    pub fn new(stream: S, fate: Arc<Fate>, patience: Option<Duration>) -> Watched<S> {
        Watched { stream, fate, patience, stalled: None, start: Some(Vec::new()) }
    }

    /// What a write came to; an error where it has been waited for for too long.
    fn judge<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(patience) = self.patience else { return result };
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        std::task::ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, STALLED)))
    }

    fn look(&mut self, fresh: &[u8]) {
        let Some(start) = &mut self.start else { return };
        start.extend_from_slice(fresh);
        while let Some(end) = start.iter().position(|b| *b == b'\n') {
            let line = String::from_utf8_lossy(&start[..end]).trim_end().to_owned();
            start.drain(..=end);
            if line.starts_with("SSH-") {
                self.fate.identified(&line);
                self.start = None;
                return;
            }
            self.fate.text_before_banner(&line);
        }
        if fresh.is_empty() && !start.is_empty() {
            // The stream ended in the middle of a line.
            let line = String::from_utf8_lossy(start).trim_end().to_owned();
            self.fate.text_before_banner(&line);
            self.start = None;
        } else if start.len() > 8192 {
            self.start = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let ready = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.start.is_some() {
            match &ready {
                Poll::Ready(Ok(())) => self.look(&buf.filled()[before..]),
                Poll::Ready(Err(e)) => {
                    self.look(&[]);
                    self.fate.failed(&e.to_string());
                }
                Poll::Pending => {}
            }
        }
        ready
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(written, cx)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(flushed, cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // russh shuts down before it tells why a session ended, and where that fails (the peer is gone) it tells nothing.
        Pin::new(&mut self.stream).poll_shutdown(cx).map(|_| Ok(()))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_kernel_knows_how_long_the_handshake_took() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (started, connecting) = (std::time::Instant::now(), dial(address, None));
        let stream = connecting.await.unwrap();
        let took = handshake(&stream).unwrap();
        assert!(took > Duration::ZERO && took <= started.elapsed(), "{took:?}");
    }

    /// The peer takes a twentieth of what is under way: too little for the kernel to call the stream writable.
    #[tokio::test]
    async fn a_full_stream_to_afar_takes_what_the_kernel_has_room_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = dial(listener.local_addr().unwrap(), None).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut tcp = Tcp { stream, far: true, full: None };
        let data = vec![7; 1 << 16];
        let mut under_way = 0;
        // As often as the kernel makes its buffers larger; then it takes nothing more until the peer does.
        while let Ok(taken) = tokio::time::timeout(Duration::from_millis(200), tcp.write(&data)).await {
            under_way += taken.unwrap();
        }
        let mut taken = vec![0; under_way / 20];
        peer.read_exact(&mut taken).await.unwrap();
        let more = tokio::time::timeout(Duration::from_secs(20), tcp.write(&data)).await;
        assert!(more.expect("it takes more").unwrap() > 0);
    }

    /// On a loaded host we may be let run long after it came.
    #[tokio::test]
    async fn a_banner_that_was_there_before_we_looked_tells_the_distance() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = dial(listener.local_addr().unwrap(), None).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let delay = 4 * PROMPT;
        tokio::time::sleep(delay).await;
        server.write_all(b"SSH-2.0-late\r\n").await.unwrap();
        stream.readable().await.unwrap();
        // As coarse as the kernel's ticks, of which there are a hundred a second at least.
        let took = through_a_relay(&stream).await.unwrap();
        assert!(took + Duration::from_millis(20) > delay, "{took:?}");
    }
}
