//! What is said on the socket before SFTP begins, and between a starter and its holder.
//!
//! A frame is a length (u32, big-endian), a version byte, and JSON. Everything is bounded, and read with a deadline by
//! whoever reads.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::fault::Fault;
use crate::ledger::{HolderDrops, HopFacts};
use crate::ssh::prompt::Echo;
use crate::ssh::route::Route;
use crate::verify::ladder::FarEnd;

/// The version of this protocol. The key covers the program, so that two versions meet only by mishap.
pub const VERSION: u8 = 6;

/// Bytes of a frame at most: a route with hundreds of options is some 10 KiB.
const FRAME: u32 = 256 * 1024;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Want {
    /// A virtual channel.
    Channel {
        /// The same for all channels of one client, and for no other client.
        client: u64,
        /// `--share-linger`, if it was given.
        linger: Option<Duration>,
        /// Bytes of files that it knows it may send.
        ahead: u64,
    },
    /// The holder is to leave.
    Stop,
    /// What it knows of the far end.
    Probe,
}

/// What a client is told.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Told {
    /// The connection is being made. Said every few seconds: silence means that the holder hangs.
    Wait,
    /// SFTP follows.
    Ready(Facts),
    Failed(Fault),
    /// The holder is about to leave: look for another.
    Leaving,
    Probed(Probe),
}

/// What a holder knows that its clients would else find out.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    pub holder: u32,
    pub openssh: bool,
    /// A person had to answer something for it.
    pub asked: bool,
    /// Bytes of READs that may be outstanding, all clients together.
    pub receive_window: usize,
    pub far: FarEnd,
    pub hops: Vec<HopFacts>,
    /// What was lost on the way to it and since, and tried again.
    pub drops: Vec<HolderDrops>,
    /// Sessions that the target was found to allow, how many carry files and how many hashes.
    pub limit: Option<(u32, u32, u32)>,
}

/// `hopsync-lab probe`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Probe {
    pub facts: Facts,
    /// To each of the hops.
    pub round_trips: Vec<Duration>,
    /// Real channels for files, open now.
    pub channels: usize,
    /// Clients, this one not counted.
    pub clients: usize,
    /// Bytes in one READ and one WRITE, and open handles per session, as `limits@openssh.com` says.
    pub limits: (u32, u32, Option<u64>),
    pub extensions: Vec<String>,
}

/// What a holder is given by its starter.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Start {
    pub socket: std::path::PathBuf,
    pub lock: std::path::PathBuf,
    pub route: Route,
    /// `--contimeout`.
    pub patience: Option<Duration>,
    pub linger: Duration,
    /// Whether the starter could ask a person.
    pub person: bool,
}

/// From a holder to its starter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Word {
    Listening,
    /// It cannot listen, and has left.
    Cannot(String),
    /// To be asked on behalf of the hop of this number; answered by an `Option<String>`.
    Ask(usize, String, Echo),
    Notice(String),
}

/// Sends one frame.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0, 0, 0, 0, VERSION];
    serde_json::to_writer(&mut frame, message)?;
    let len = u32::try_from(frame.len() - 4).ok().filter(|len| *len <= FRAME);
    let len = len.ok_or_else(|| io::Error::other("a frame for the shared connection is too long"))?;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    stream.write_all(&frame).await
}

/// Receives one frame; `None` if the stream ends before it. Takes no byte more than the frame's.
///
/// # Errors
/// Of kind [`io::ErrorKind::InvalidData`] if what came is no frame of ours, in a sentence.
pub async fn receive<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut head = [0; 5];
    match stream.read_exact(&mut head).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let bad = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    if len == 0 || len > FRAME {
        return Err(bad(format!(
            "what speaks on the shared connection's socket is not hopsync (a frame of {len} bytes)"
        )));
    }
    if head[4] != VERSION {
        let text =
            format!("the shared connection is held by another version of hopsync ({} instead of {VERSION})", head[4]);
        return Err(bad(text));
    }
    let mut body = vec![0; len as usize - 1];
    match stream.read_exact(&mut body).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(|e| bad(format!("the shared connection's holder is not understood: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_one_by_one_and_nothing_behind_them_is_taken() {
        let mut stream = Vec::new();
        send(&mut stream, &Want::Stop).await.unwrap();
        send(&mut stream, &Want::Channel { client: 7, linger: None, ahead: 1 << 20 }).await.unwrap();
        stream.extend_from_slice(b"SFTP");
        let mut rest = &stream[..];
        assert_eq!(receive(&mut rest).await.unwrap(), Some(Want::Stop));
        assert_eq!(receive(&mut rest).await.unwrap(), Some(Want::Channel { client: 7, linger: None, ahead: 1 << 20 }));
        assert_eq!(rest, b"SFTP");
        assert_eq!(receive::<Want>(&mut &b"\0"[..]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn strangers_and_other_versions_are_told_apart_in_a_sentence() {
        let said = |bytes: &[u8]| {
            let bytes = bytes.to_vec();
            async move { receive::<Want>(&mut &*bytes).await.unwrap_err().to_string() }
        };
        let null = |version: u8| [&b"\0\0\0\x05"[..], &[version], &b"null"[..]].concat();
        assert!(said(b"SSH-2.0-x").await.contains("not hopsync"));
        assert!(said(&[0, 0, 0, 0, VERSION]).await.contains("not hopsync"));
        assert!(said(&null(VERSION + 1)).await.contains("another version"));
        assert!(said(&null(VERSION)).await.contains("not understood"));
    }
}
