//! What can be told to the ledger, and how each looks as a line of the report.

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::escape::cut;
use crate::fault::{Cause, Fault, Stage};

/// A file that was announced: its place in the ledger's count and its size, which the ledger itself does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    pub(super) index: u32,
    pub(super) size: u64,
}

impl FileId {
    /// The number that the report's lines name the file by, from 0.
    pub fn number(self) -> u32 {
        self.index
    }
}

/// One try to deliver a file, told when it ends.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    pub file: FileId,
    /// Relative to the transfer's root.
    pub path: &'a [u8],
    /// Which try it was, from 1.
    pub number: u32,
    /// 0-based, where that has a meaning.
    pub lane: Option<u32>,
    pub channel: Option<u32>,
    /// Bytes of the file's data that moved in this try.
    pub bytes: u64,
    /// Bytes of it that were not sent, because the destination had them: copied there, or left in place.
    pub matched: u64,
    /// From the first request to the end.
    pub elapsed: Duration,
    /// Time before it began: for a channel, a budget, or a back-off.
    pub waited: Duration,
    pub result: Result<(), &'a Fault>,
}

/// What became of a file in the end. Each has exactly one.
#[derive(Debug, Clone)]
pub enum Class {
    /// The far end's bytes were hashed there, or read back, and equal the source's; by what (`b3sum`, `read-back`, …).
    Verified(&'static str),
    /// All bytes acknowledged, none hashed at the far end.
    Sent,
    /// The quick check found it up to date.
    Unchanged,
    /// Left alone on purpose, and why (`dry run`, `newer at the receiver`, …).
    Skipped(&'static str),
    Failed(Fault),
}

impl Class {
    pub fn name(&self) -> &'static str {
        match self {
            Class::Verified(_) => "verified",
            Class::Sent => "sent",
            Class::Unchanged => "unchanged",
            Class::Skipped(_) => "skipped",
            Class::Failed(_) => "failed",
        }
    }
}

/// What a drop that belongs to no file was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// An attempt to connect or to log in, or a connection that ended.
    Connection,
    /// A session channel refused, or lost.
    Channel,
}

/// What a channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    Files,
    Hashing,
    Listing,
}

/// Where a server's words were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextKind {
    /// Before the `SSH-` line (RFC 4253 §4.2), where sshd says why it drops a connection.
    PreBanner,
    /// `SSH_MSG_USERAUTH_BANNER` (RFC 4252 §5.4).
    LoginBanner,
    /// `SSH_MSG_DISCONNECT` (RFC 4253 §11.1).
    Disconnect,
    /// `SSH_MSG_CHANNEL_OPEN_FAILURE` (RFC 4254 §5.1).
    OpenFailure,
    /// A remote command's standard error.
    Stderr,
}

impl TextKind {
    pub fn name(self) -> &'static str {
        match self {
            TextKind::PreBanner => "before its banner",
            TextKind::LoginBanner => "login banner",
            TextKind::Disconnect => "disconnect",
            TextKind::OpenFailure => "channel refused",
            TextKind::Stderr => "standard error",
        }
    }
}

/// A hop of a connection that somebody else made, as it is told to those who share it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HopFacts {
    pub hop: String,
    /// The hop that carries it; `None` for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The server's identification line, as sent.
    pub banner: String,
    pub kex: String,
    pub cipher: String,
    pub user: String,
    /// The authentication method that succeeded (RFC 4252).
    pub method: String,
}

/// What the holder of a shared connection lost and tried again: told to those who share it, counted by who started it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HolderDrops {
    pub hop: String,
    pub stage: Stage,
    pub cause: Cause,
    pub times: u64,
    /// The first one's text.
    pub example: String,
}

/// Anything else worth a line.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event<'a> {
    /// A hop is logged in. Counted as a login there and, if nothing is between (`via` is `None`), as a connection.
    HopConnected {
        hop: &'a str,
        /// The hop that carries it as a direct-tcpip channel; `None` for a TCP connection of our own.
        #[serde(skip_serializing_if = "Option::is_none")]
        via: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lane: Option<u32>,
        /// The server's identification line, as sent.
        #[serde(serialize_with = "as_text")]
        banner: &'a str,
        kex: &'a str,
        cipher: &'a str,
        #[serde(serialize_with = "as_text")]
        user: &'a str,
        /// The authentication method that succeeded (RFC 4252): `publickey`, `password`, …
        method: &'a str,
        /// Time spent at each stage.
        #[serde(serialize_with = "as_stages")]
        stages: &'a [(Stage, Duration)],
    },
    /// We are on a connection that another process holds for us.
    Shared {
        hop: &'a str,
        /// The holder's process id.
        holder: u32,
        /// From our first try until the connection could be used.
        #[serde(serialize_with = "seconds")]
        waited: Duration,
        /// Whether it was we who started the holder.
        started: bool,
        hops: &'a [HopFacts],
        /// Lost so far, for all who share it.
        #[serde(skip_serializing_if = "<[HolderDrops]>::is_empty")]
        drops: &'a [HolderDrops],
    },
    /// A hop's connection ended; `why` is `None` if we ended it.
    HopClosed {
        hop: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        lane: Option<u32>,
        #[serde(serialize_with = "as_maybe_fault", skip_serializing_if = "Option::is_none")]
        why: Option<&'a Fault>,
    },
    ChannelOpened {
        hop: &'a str,
        lane: u32,
        channel: u32,
        purpose: Purpose,
        /// From the open request until it can be used.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
    },
    ChannelClosed {
        hop: &'a str,
        lane: u32,
        channel: u32,
        #[serde(serialize_with = "as_maybe_fault", skip_serializing_if = "Option::is_none")]
        why: Option<&'a Fault>,
    },
    /// The server refused sessions: what it allows on one connection, and how the allowance is used.
    LimitFound {
        hop: &'a str,
        sessions: u32,
        files: u32,
        hashing: u32,
        /// Sessions that were asked for beyond it; none if somebody else found the limit.
        refused: u32,
    },
    /// How files are hashed at the far end, and what was found there (a version, a path).
    HasherChosen {
        hop: &'a str,
        by: &'static str,
        #[serde(serialize_with = "as_text")]
        detail: &'a str,
    },
    /// Words of a server.
    ServerText {
        hop: &'a str,
        kind: TextKind,
        #[serde(serialize_with = "as_text")]
        text: &'a str,
    },
    DirectoryMade {
        #[serde(serialize_with = "as_path")]
        path: &'a [u8],
    },
    SymlinkMade {
        #[serde(serialize_with = "as_path")]
        path: &'a [u8],
        #[serde(serialize_with = "as_path")]
        target: &'a [u8],
    },
    Deleted {
        #[serde(serialize_with = "as_path")]
        path: &'a [u8],
        directory: bool,
    },
}

/// The lines that the ledger writes by itself.
#[derive(serde::Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(super) enum Own<'a> {
    Start {
        version: &'a str,
        started: String,
        job: &'a super::JobSummary,
    },
    Planned {
        file: u32,
        #[serde(serialize_with = "as_path")]
        path: &'a [u8],
        size: u64,
    },
    Attempt {
        file: u32,
        #[serde(serialize_with = "as_path")]
        path: &'a [u8],
        number: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        lane: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<u32>,
        bytes: u64,
        #[serde(skip_serializing_if = "is_zero")]
        matched: u64,
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
        #[serde(serialize_with = "seconds")]
        waited: Duration,
        #[serde(serialize_with = "as_maybe_fault", skip_serializing_if = "Option::is_none")]
        fault: Option<&'a Fault>,
    },
    Class {
        file: u32,
        /// Absent where the ledger itself ends what the run left open: the file's `planned` line has it.
        #[serde(serialize_with = "as_maybe_path", skip_serializing_if = "Option::is_none")]
        path: Option<&'a [u8]>,
        class: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        #[serde(serialize_with = "as_maybe_fault", skip_serializing_if = "Option::is_none")]
        fault: Option<&'a Fault>,
    },
    Refused {
        file: u32,
        why: &'a str,
    },
    Drop {
        what: What,
        #[serde(serialize_with = "as_fault")]
        fault: &'a Fault,
    },
    Failure {
        #[serde(serialize_with = "as_maybe_path", skip_serializing_if = "Option::is_none")]
        path: Option<&'a [u8]>,
        #[serde(serialize_with = "as_fault")]
        fault: &'a Fault,
    },
    Summary(&'a super::Summary),
}

/// `{"t": seconds since the start, "event": …}`.
#[derive(serde::Serialize)]
pub(super) struct Line<T> {
    #[serde(serialize_with = "seconds")]
    pub t: Duration,
    #[serde(flatten)]
    pub body: T,
}

/// Server text is cut to this many bytes wherever it is kept or written: whatever a server sends, a line stays short.
pub(super) const TEXT_MAX: usize = 1024;

// serde passes fields by reference, whatever their type.
fn as_text<S: Serializer>(text: &&str, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(cut(text, TEXT_MAX))
}

pub(super) fn seconds<S: Serializer>(time: &Duration, s: S) -> Result<S::Ok, S::Error> {
    // Whole microseconds, so that no line shows the noise of binary fractions.
    s.serialize_f64(time.as_micros() as f64 / 1e6)
}

fn as_stages<S: Serializer>(stages: &&[(Stage, Duration)], s: S) -> Result<S::Ok, S::Error> {
    let mut map = s.serialize_map(Some(stages.len()))?;
    for (stage, time) in *stages {
        map.serialize_entry(stage, &(time.as_micros() as f64 / 1e6))?;
    }
    map.end()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A string if it is UTF-8, else `{"bytes": hexadecimal}`.
fn as_path<S: Serializer>(path: &&[u8], s: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(path) {
        Ok(text) => s.serialize_str(text),
        Err(_) => {
            let mut map = s.serialize_map(Some(1))?;
            let hex: String = path.iter().map(|b| format!("{b:02x}")).collect();
            map.serialize_entry("bytes", &hex)?;
            map.end()
        }
    }
}

fn as_maybe_path<S: Serializer>(path: &Option<&[u8]>, s: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => as_path(path, s),
        None => s.serialize_none(),
    }
}

fn as_fault<S: Serializer>(fault: &&Fault, s: S) -> Result<S::Ok, S::Error> {
    FaultLine(fault).serialize(s)
}

fn as_maybe_fault<S: Serializer>(fault: &Option<&Fault>, s: S) -> Result<S::Ok, S::Error> {
    fault.map(FaultLine).serialize(s)
}

struct FaultLine<'a>(&'a Fault);

impl Serialize for FaultLine<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Fault { hop, stage, cause, text, lane, channel } = self.0;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("hop", &**hop)?;
        map.serialize_entry("stage", stage)?;
        map.serialize_entry("cause", cause)?;
        map.serialize_entry("text", cut(text, TEXT_MAX))?;
        if let Some(lane) = lane {
            map.serialize_entry("lane", lane)?;
        }
        if let Some(channel) = channel {
            map.serialize_entry("channel", channel)?;
        }
        map.end()
    }
}
