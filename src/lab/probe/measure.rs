//! What can be measured on one login: sessions, SFTP's limits, speed, hashers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::fault::{Cause, Fault, Stage};
use crate::sftp::handles::Habit;
use crate::sftp::packet::open;
use crate::sftp::session::{Peer, Session};
use crate::sftp::{Attrs, Request};
use crate::ssh::channel::{self, Start};
use crate::ssh::hop::HopSession;

/// For anything that answers at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The bounds of a measurement of speed, each way.
const LONGEST: Duration = Duration::from_secs(2);
const MOST: u64 = 64 << 20;

/// The window that OpenSSH offers on a channel, whatever the distance (channels.h, CHAN_SES_WINDOW_DEFAULT and
/// CHAN_TCP_WINDOW_DEFAULT).
pub const OPENSSH_WINDOW: u32 = 2 << 20;

/// Bytes under way meanwhile: below that window.
const AHEAD: u64 = 1792 << 10;

/// Sessions that are asked for together.
const STEP: usize = 8;

/// How many sessions there can be on one connection.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sessions {
    /// Open at once, on this connection.
    pub open: usize,
    /// Whether the next one was refused: then that is the limit. Else no more were tried.
    pub refused: bool,
}

/// What the SFTP server says of itself.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sftp {
    pub read_bytes: u32,
    pub write_bytes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handles: Option<u64>,
    pub extensions: Vec<&'static str>,
}

/// Bytes that may be under way on one channel.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Windows {
    /// Downwards, as we let every server.
    pub offered: u32,
    /// Upwards, as the target lets us: OpenSSH's constant; absent where it is another server, which does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openssh: Option<u32>,
}

impl Windows {
    pub fn of(session: &HopSession) -> Windows {
        let openssh = session.fate.is_openssh().then_some(OPENSSH_WINDOW);
        Windows { offered: session.windows.receive, openssh }
    }
}

/// Bytes per second over one channel, to `/dev/null` and from `/dev/zero`; absent where the account may not.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Speed {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<f64>,
}

/// Refusals in a row that are believed: the place of a session that has just ended is free a moment after its CLOSE.
const REFUSALS: u32 = 3;
const SLOT: Duration = Duration::from_millis(30);

/// Opens an SFTP session.
pub async fn sftp(session: &Arc<HopSession>) -> Result<(Sftp, Session), Fault> {
    let wire = channel::open(session, Start::Sftp).await?.wire;
    let peer = Peer {
        hop: session.hop.alias.clone(),
        lane: 0,
        channel: 0,
        openssh: session.fate.is_openssh(),
        stall: PATIENCE,
        traffic: Arc::default(),
        habit: Arc::new(Habit::none()),
    };
    let sftp = Session::start(wire, peer, PATIENCE).await?;
    let known = sftp.extensions;
    let named = [
        (known.posix_rename, "posix-rename"),
        (known.fsync, "fsync"),
        (known.lsetstat, "lsetstat"),
        (known.hardlink, "hardlink"),
        (known.copy_data, "copy-data"),
        (known.limits, "limits"),
    ];
    let told = Sftp {
        read_bytes: sftp.limits.read,
        write_bytes: sftp.limits.write,
        handles: sftp.limits.handles,
        extensions: named.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect(),
    };
    Ok((told, sftp))
}

/// By a request that costs the server next to nothing.
pub async fn round_trip(sftp: &Session) -> Duration {
    let begun = Instant::now();
    let _ = sftp.submit(&Request::Lstat { path: b"." }).await;
    begun.elapsed()
}

/// Opens sessions beside the one that is open, until one is refused or there are `most`; then lets all go.
pub async fn sessions(session: &Arc<HopSession>, most: usize) -> Sessions {
    let mut held = Vec::new();
    let mut refusals = 0;
    while refusals < REFUSALS && held.len() + 1 < most {
        if refusals > 0 {
            tokio::time::sleep(SLOT).await;
        }
        let step = if refusals == 0 { STEP.min(most - held.len() - 1) } else { 1 };
        let opened = futures::future::join_all((0..step).map(|_| channel::open(session, Start::Sftp))).await;
        let mut refused = false;
        for result in opened {
            match result {
                Ok(started) => held.push(started.wire),
                Err(fault) => {
                    tracing::debug!(%fault, "no further session");
                    refused = true;
                    if fault.cause != Cause::SessionLimit {
                        return Sessions { open: held.len() + 1, refused: false };
                    }
                }
            }
        }
        refusals = if refused { refusals + 1 } else { 0 };
    }
    let refused = refusals > 0;
    let open = held.len() + 1;
    for wire in &mut held {
        wire.tx.finish().await;
    }
    // Waited for, so that what follows finds the host as it was.
    for mut wire in held {
        let gone = async { while let Ok(Some(_)) = wire.rx.recv().await {} };
        let _ = tokio::time::timeout(PATIENCE, gone).await;
    }
    Sessions { open, refused }
}

/// At a jump, on a session of its own; none where the jump only forwards.
pub async fn speed_at(jump: &Arc<HopSession>) -> Option<Speed> {
    let opened = sftp(jump).await.inspect_err(|fault| tracing::debug!(%fault, "no session to measure on"));
    let (_, sftp) = opened.ok()?;
    let speed = speed(&sftp).await;
    sftp.close(PATIENCE).await;
    Some(speed)
}

pub async fn speed(sftp: &Session) -> Speed {
    Speed { up: up(sftp).await.ok(), down: down(sftp).await.ok() }
}

async fn opened(sftp: &Session, path: &[u8], flags: u32) -> Result<crate::sftp::packet::Handle, Fault> {
    sftp.submit(&Request::Open { path, flags, attrs: Attrs::default() }).handle(Stage::Open, path).await
}

async fn up(sftp: &Session) -> Result<f64, Fault> {
    let path = b"/dev/null";
    let handle = opened(sftp, path, open::WRITE).await?;
    let data = Bytes::from(vec![0x55; sftp.limits.write as usize]);
    let write =
        |offset| sftp.submit(&Request::Write { handle: &handle, offset, data: data.clone() }).done(Stage::Write, path);
    let rate = paced(data.len() as u64, write).await;
    let _ = sftp.submit(&Request::Close { handle: &handle }).await;
    rate
}

async fn down(sftp: &Session) -> Result<f64, Fault> {
    let path = b"/dev/zero";
    let handle = opened(sftp, path, open::READ).await?;
    let len = sftp.limits.read;
    let read = |offset| {
        let asked = sftp.submit(&Request::Read { handle: &handle, offset, len }).data(Stage::Read, path);
        async move { asked.await.map(drop) }
    };
    let rate = paced(len.into(), read).await;
    let _ = sftp.submit(&Request::Close { handle: &handle }).await;
    rate
}

/// Keeps requests of `len` bytes under way for as long as the bounds allow; bytes per second.
async fn paced<F: Future<Output = Result<(), Fault>>>(len: u64, request: impl Fn(u64) -> F) -> Result<f64, Fault> {
    let begun = Instant::now();
    let (mut asked, mut done) = (0, 0);
    let mut under_way = FuturesUnordered::new();
    loop {
        while asked - done + len <= AHEAD.max(len) && asked < MOST && begun.elapsed() < LONGEST {
            under_way.push(request(asked));
            asked += len;
        }
        match under_way.next().await {
            Some(answer) => answer?,
            None => return Ok(done as f64 / begun.elapsed().as_secs_f64()),
        }
        done += len;
    }
}

/// The programs that hopsync could hash with, the best first; none where no command runs.
pub async fn hashers(session: &Arc<HopSession>) -> Vec<String> {
    const NAMES: [&str; 5] = ["hopsync", "b3sum", "python3", "openssl", "sha256sum"];
    let script = "exec sh -c 'for p in hopsync b3sum python3 openssl sha256sum; do command -v $p >/dev/null 2>&1 && \
                  echo hopsync-has $p; done; :'";
    let asked = async {
        let mut wire = channel::open(session, Start::Exec(script.as_bytes())).await?.wire;
        wire.tx.finish().await;
        let mut said = Vec::new();
        while let Some(data) = wire.rx.recv().await? {
            said.extend_from_slice(&data[..data.len().min(4096)]);
            if said.len() > 64 << 10 {
                break;
            }
        }
        Ok::<_, Fault>(said)
    };
    let said = tokio::time::timeout(PATIENCE, asked).await.ok().and_then(Result::ok).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let has = |name: &&str| said.lines().any(|line| line.trim_end() == format!("hopsync-has {name}"));
    NAMES.into_iter().filter(has).map(str::to_owned).collect()
}
