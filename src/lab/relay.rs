//! Distance: a TCP relay on loopback that holds every byte for a while, and optionally lets only so many pass a second.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::server::Callers;

/// Bytes read at once; with [`CHUNKS`] this bounds what one direction of a connection holds (64 MiB: 100 ms at 5 Gbit/s).
const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 1024;

/// What the line is like, each way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// One-way delay: a round trip takes twice this.
    pub delay: Duration,
    /// Bytes per second; `None` is unlimited.
    pub rate: Option<u64>,
}

/// A running relay; dropping it ends its listener, connections end with their peers or the runtime.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// Relays connections from a free loopback port to `to`. Needs a tokio runtime.
    pub async fn start(to: SocketAddr, line: Line) -> io::Result<Relay> {
        Relay::from(None, to, line).await
    }

    /// The same to a server that accepts connections from `callers` alone: this relay becomes one of them.
    pub async fn among(callers: Callers, to: SocketAddr, line: Line) -> io::Result<Relay> {
        Relay::from(Some(callers), to, line).await
    }

    async fn from(callers: Option<Callers>, to: SocketAddr, line: Line) -> io::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connection(near, callers.clone(), to, line));
            }
        });
        Ok(Relay { address, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(near: TcpStream, callers: Option<Callers>, to: SocketAddr, line: Line) {
    let connected = match callers {
        Some(callers) => callers.connect(to).await,
        None => TcpStream::connect(to).await,
    };
    let Ok(far) = connected else { return };
    for socket in [&near, &far] {
        let _ = socket.set_nodelay(true);
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(carry(near_in, far_out, line), carry(far_in, near_out, line));
}

/// One direction: reads at once, writes when a chunk's time has come.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line) {
    let (send, mut receive) = mpsc::channel::<(Instant, BytesMut)>(CHUNKS);
    let read = async move {
        let mut free = Instant::now();
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            match from.read_buf(&mut chunk).await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
            let now = Instant::now();
            if let Some(rate) = line.rate {
                free = free.max(now) + Duration::from_secs_f64(chunk.len() as f64 / rate.max(1) as f64);
            } else {
                free = now;
            }
            if send.send((free + line.delay, chunk)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = receive.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_arrive_whole_and_a_round_trip_takes_twice_the_delay() -> io::Result<()> {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let line = Line { delay: Duration::from_millis(20), rate: None };
        let relay = Relay::start(echo.local_addr()?, line).await?;
        let server = tokio::spawn(async move {
            let (mut socket, _) = echo.accept().await?;
            let (mut read, mut write) = socket.split();
            tokio::io::copy(&mut read, &mut write).await
        });
        let mut client = TcpStream::connect(relay.address()).await?;
        let started = Instant::now();
        client.write_all(b"there and back").await?;
        client.shutdown().await?;
        let mut back = Vec::new();
        client.read_to_end(&mut back).await?;
        assert_eq!(back, b"there and back");
        assert!(started.elapsed() >= 2 * line.delay);
        assert_eq!(server.await??, 14);
        Ok(())
    }
}
