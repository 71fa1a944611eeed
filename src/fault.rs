//! What can go wrong, told by where (hop), when (stage) and why (cause).
//!
//! Every error of the transport and of a file's delivery is a [`Fault`], so that the ledger can add them up and the exit
//! code can be decided in one place ([`crate::cli::exit`]).

use std::fmt;

/// The step of a connection's or of a file's life at which something happened, in the order they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    // a hop
    Resolve,
    Tcp,
    Banner,
    Kex,
    HostKey,
    Login,
    Tunnel,
    // a channel
    Session,
    Subsystem,
    Init,
    // a file
    List,
    Open,
    Read,
    Write,
    Close,
    Hash,
    Rename,
    /// Attributes, directories, links, deletions: whatever is set beside a file's data.
    Attributes,
}

impl Stage {
    pub const ALL: [Stage; 18] = [
        Stage::Resolve,
        Stage::Tcp,
        Stage::Banner,
        Stage::Kex,
        Stage::HostKey,
        Stage::Login,
        Stage::Tunnel,
        Stage::Session,
        Stage::Subsystem,
        Stage::Init,
        Stage::List,
        Stage::Open,
        Stage::Read,
        Stage::Write,
        Stage::Close,
        Stage::Hash,
        Stage::Rename,
        Stage::Attributes,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Resolve => "resolve",
            Stage::Tcp => "tcp",
            Stage::Banner => "banner",
            Stage::Kex => "kex",
            Stage::HostKey => "host key",
            Stage::Login => "login",
            Stage::Tunnel => "tunnel",
            Stage::Session => "session",
            Stage::Subsystem => "subsystem",
            Stage::Init => "init",
            Stage::List => "list",
            Stage::Open => "open",
            Stage::Read => "read",
            Stage::Write => "write",
            Stage::Close => "close",
            Stage::Hash => "hash",
            Stage::Rename => "rename",
            Stage::Attributes => "attributes",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why, in the few classes that a caller decides by. The text beside it is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The name does not resolve, or the address refuses, is unreachable, or the jump may not connect to it.
    Unreachable,
    /// Dropped before its banner by the server's start limit (MaxStartups, PerSourceMaxStartups, penalties).
    StartLimit,
    /// A session channel was refused: the server's MaxSessions.
    SessionLimit,
    /// The connection or channel ended: reset, EOF, disconnect, keepalive unanswered.
    Lost,
    /// Nothing came within the deadline.
    Timeout,
    /// Host key unknown, changed or revoked.
    HostKey,
    /// Login refused.
    Denied,
    /// The peer broke the protocol, or speaks one that we do not.
    Protocol,
    /// The far end or the disk said no: ENOENT, EACCES, ENOSPC, …
    NotFound,
    Permission,
    NoSpace,
    /// Any other failure of file I/O.
    Io,
    /// The source changed while it was read.
    Changed,
    /// The source vanished between the listing and the copy.
    Vanished,
    /// The far end's hash differs from the source's.
    Mismatch,
    /// The far end's bytes could not be hashed although that was asked for.
    Unverified,
    /// The server can not do what is needed (no posix-rename, no SFTP, …).
    Unsupported,
    /// Stopped by a signal or by `--max-delete` and the like.
    Cancelled,
    /// The user's input or configuration is wrong.
    Config,
}

impl Cause {
    /// Whether trying again may help. A failed login or host key never is.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Cause::StartLimit | Cause::SessionLimit | Cause::Lost | Cause::Timeout | Cause::Changed | Cause::Mismatch
        )
    }

    pub fn name(self) -> &'static str {
        match self {
            Cause::Unreachable => "unreachable",
            Cause::StartLimit => "start limit",
            Cause::SessionLimit => "session limit",
            Cause::Lost => "connection lost",
            Cause::Timeout => "timeout",
            Cause::HostKey => "host key",
            Cause::Denied => "login refused",
            Cause::Protocol => "protocol error",
            Cause::NotFound => "not found",
            Cause::Permission => "permission denied",
            Cause::NoSpace => "no space",
            Cause::Io => "I/O error",
            Cause::Changed => "source changed",
            Cause::Vanished => "source vanished",
            Cause::Mismatch => "hash mismatch",
            Cause::Unverified => "unverified",
            Cause::Unsupported => "unsupported",
            Cause::Cancelled => "cancelled",
            Cause::Config => "configuration",
        }
    }
}

/// One failure: hop, stage, cause, and a sentence. `hop` is how the user knows the machine (the name in the operand or in
/// `-J`), or `local`.
#[derive(Debug, Clone, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{hop}: {stage}: {text}")]
pub struct Fault {
    pub hop: std::sync::Arc<str>,
    pub stage: Stage,
    pub cause: Cause,
    /// One sentence without a trailing period; server text in it is escaped by whoever prints it.
    pub text: String,
    /// 0-based lane and channel on which it happened, where that has a meaning.
    pub lane: Option<u32>,
    pub channel: Option<u32>,
}

impl Fault {
    pub fn new(hop: impl Into<std::sync::Arc<str>>, stage: Stage, cause: Cause, text: impl Into<String>) -> Fault {
        Fault { hop: hop.into(), stage, cause, text: text.into(), lane: None, channel: None }
    }

    /// A failure of this machine's own disk or memory.
    pub fn local(stage: Stage, error: &std::io::Error, what: impl fmt::Display) -> Fault {
        Fault::new("local", stage, Cause::from_io(error), format!("{what}: {}", errno_text(error)))
    }

    pub fn on(mut self, lane: u32, channel: u32) -> Fault {
        self.lane = Some(lane);
        self.channel = Some(channel);
        self
    }
}

impl Cause {
    pub fn from_io(error: &std::io::Error) -> Cause {
        use std::io::ErrorKind as K;
        match error.kind() {
            K::NotFound => Cause::NotFound,
            K::PermissionDenied => Cause::Permission,
            K::StorageFull | K::QuotaExceeded => Cause::NoSpace,
            K::TimedOut => Cause::Timeout,
            _ => Cause::Io,
        }
    }
}

/// `strerror` text with the number as rsync prints it: `No such file or directory (2)`.
pub fn errno_text(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => {
            let text = error.to_string();
            let text = text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text).to_owned();
            format!("{text} ({code})")
        }
        None => error.to_string(),
    }
}
