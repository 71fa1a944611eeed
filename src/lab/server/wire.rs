//! The socket under an embedded server: buffered both ways, counted, and cut or silenced by rule.
//!
//! russh's session task does not read while it flushes, so two sessions nested in each other can wait on each other's
//! sockets for ever. Between it and the kernel stand two pumps and a deep outbound buffer, so that a flush returns at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, Join};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::lab::faults::{Direction, Faults, Strike, Trouble};
use crate::lab::stats::Stats;

/// Bytes read from the socket ahead of the session.
const INBOUND: usize = 1 << 20;
/// Bytes that a session may write ahead of the socket. More than all windows that a client offers together, or nested
/// sessions that carry both directions at once could lock up.
const OUTBOUND: usize = 256 << 20;
/// How long a peer may take to close its side after we closed ours.
const LINGER: Duration = Duration::from_secs(10);

/// What russh speaks over.
pub type Stream = Join<DuplexStream, DuplexStream>;

/// What befalls one connection.
#[derive(Debug, Clone, Copy)]
struct Doom {
    direction: Direction,
    bytes: u64,
    silent: bool,
}

/// Why a pump stopped, other than by an error.
enum Stop {
    End,
    Doomed,
    /// All connections are cut, or the server ends.
    Cut,
}

/// Puts the pumps between `socket` and the returned stream. They end with the stream, with the socket, or when `alive`
/// changes or its sender is gone; in the latter cases the connection is reset.
pub fn attach(socket: TcpStream, stats: Arc<Stats>, faults: &Faults, alive: watch::Receiver<u64>) -> Stream {
    let doom = faults.choose(|t| match *t {
        Trouble::Cut { direction, bytes } => Some(Doom { direction, bytes, silent: false }),
        Trouble::Silence { direction, bytes } => Some(Doom { direction, bytes, silent: true }),
        _ => None,
    });
    let (session_in, pump_in) = tokio::io::duplex(INBOUND);
    let (session_out, pump_out) = tokio::io::duplex(OUTBOUND);
    tokio::spawn(run(socket, pump_in, pump_out, stats, doom, alive));
    tokio::io::join(session_in, session_out)
}

async fn run(
    mut socket: TcpStream,
    to_session: DuplexStream,
    from_session: DuplexStream,
    stats: Arc<Stats>,
    doom: Option<(Doom, Strike)>,
    mut alive: watch::Receiver<u64>,
) {
    // Without it, Nagle and delayed acknowledgements cost 40 ms a round trip on a jumped connection.
    let _ = socket.set_nodelay(true);
    let (doom, strike) = doom.unzip();
    let at = |direction| doom.filter(|d| d.direction.covers(direction)).map(|d| d.bytes);
    let stop = {
        let (read, write) = socket.split();
        let inbound = pump(read, to_session, &stats.bytes_in, at(Direction::In));
        let outbound = pump(from_session, write, &stats.bytes_out, at(Direction::Out));
        let both = async {
            tokio::pin!(inbound, outbound);
            tokio::select! {
                stop = &mut inbound => match stop? {
                    stop @ (Stop::Doomed | Stop::Cut) => Ok(stop),
                    // The peer has closed; what the session still says may or may not arrive.
                    Stop::End => outbound.await,
                },
                stop = &mut outbound => match stop? {
                    stop @ (Stop::Doomed | Stop::Cut) => Ok(stop),
                    Stop::End => tokio::time::timeout(LINGER, inbound).await.unwrap_or(Ok(Stop::End)),
                },
            }
        };
        tokio::select! {
            stop = both => stop.unwrap_or(Stop::End),
            _ = alive.changed() => Stop::Cut,
        }
    };
    if let (Stop::Doomed, Some(strike)) = (&stop, strike) {
        strike.struck();
    }
    if let (Stop::Doomed, Some(Doom { silent: true, .. })) = (&stop, doom) {
        // A black hole: the socket is neither read, nor written, nor closed.
        let _ = alive.changed().await;
    }
    if let Stop::Doomed | Stop::Cut = stop {
        let _ = socket.set_zero_linger();
    }
}

/// Copies until end of file, an error, or until `limit` bytes have passed.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    counter: &AtomicU64,
    limit: Option<u64>,
) -> io::Result<Stop> {
    let mut left = limit;
    let mut buffer = vec![0; 128 << 10];
    loop {
        if left == Some(0) {
            return Ok(Stop::Doomed);
        }
        let room = left.map_or(buffer.len(), |left| left.min(buffer.len() as u64) as usize);
        let n = from.read(&mut buffer[..room]).await?;
        if n == 0 {
            to.shutdown().await?;
            return Ok(Stop::End);
        }
        to.write_all(&buffer[..n]).await?;
        counter.fetch_add(n as u64, Relaxed);
        left = left.map(|left| left - n as u64);
    }
}
