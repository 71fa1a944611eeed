//! Packets: requests to bytes, bytes to replies. Every length that a server sends is checked before it is believed.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::attrs::Attrs;

/// The longest message that we accept, in bytes, type and id included. OpenSSH's own limit is 256 KiB
/// (sftp-common.h `SFTP_MAX_MSG_LENGTH`); some servers answer READDIR with more.
pub const MAX_MESSAGE: u32 = 1 << 20;

/// The longest handle that we accept: 256 bytes (filexfer-02 §6.3).
pub const MAX_HANDLE: usize = 256;

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    #[error("a packet ends in the middle of a field")]
    Short,
    #[error("a packet of {0} bytes (at most {MAX_MESSAGE} are accepted, at least 1)")]
    Length(u32),
    #[error("a reply of unknown type {0}")]
    Type(u8),
    #[error("a reply with an id that was not asked for ({0})")]
    Id(u32),
    #[error("a reply of the wrong kind for its request")]
    Kind,
    #[error("a handle of {0} bytes (1 to {MAX_HANDLE} are allowed)")]
    Handle(usize),
    #[error("more data than was asked for")]
    TooMuchData,
    #[error("a NAME reply that announces {0} entries in {1} bytes")]
    Count(u32, usize),
    #[error("protocol version {0} (3 is needed)")]
    Version(u32),
    #[error("bytes after the end of a reply")]
    Trailing,
}

/// Packet types (filexfer-02 §3).
pub(crate) mod op {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const LSTAT: u8 = 7;
    pub const FSTAT: u8 = 8;
    pub const SETSTAT: u8 = 9;
    pub const FSETSTAT: u8 = 10;
    pub const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub const REMOVE: u8 = 13;
    pub const MKDIR: u8 = 14;
    pub const RMDIR: u8 = 15;
    pub const REALPATH: u8 = 16;
    pub const STAT: u8 = 17;
    pub const RENAME: u8 = 18;
    pub const READLINK: u8 = 19;
    pub const SYMLINK: u8 = 20;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
    pub const EXTENDED_REPLY: u8 = 201;
}

/// OPEN's flags (filexfer-02 §6.3).
pub mod open {
    pub const READ: u32 = 0x01;
    pub const WRITE: u32 = 0x02;
    pub const CREATE: u32 = 0x08;
    pub const TRUNCATE: u32 = 0x10;
    pub const EXCLUSIVE: u32 = 0x20;
}

/// An open file or directory at the server: opaque bytes, good only on the channel that opened it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handle(pub Bytes);

/// Everything that we ask of a server. Paths are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    Open {
        path: &'a [u8],
        flags: u32,
        attrs: Attrs,
    },
    Close {
        handle: &'a Handle,
    },
    Read {
        handle: &'a Handle,
        offset: u64,
        len: u32,
    },
    Write {
        handle: &'a Handle,
        offset: u64,
        data: Bytes,
    },
    Lstat {
        path: &'a [u8],
    },
    Stat {
        path: &'a [u8],
    },
    Fstat {
        handle: &'a Handle,
    },
    Setstat {
        path: &'a [u8],
        attrs: Attrs,
    },
    Fsetstat {
        handle: &'a Handle,
        attrs: Attrs,
    },
    /// `lsetstat@openssh.com`: SETSTAT that does not follow a symlink.
    Lsetstat {
        path: &'a [u8],
        attrs: Attrs,
    },
    Opendir {
        path: &'a [u8],
    },
    Readdir {
        handle: &'a Handle,
    },
    Remove {
        path: &'a [u8],
    },
    Mkdir {
        path: &'a [u8],
        attrs: Attrs,
    },
    Rmdir {
        path: &'a [u8],
    },
    Realpath {
        path: &'a [u8],
    },
    /// Fails onto an existing name (§6.5).
    Rename {
        from: &'a [u8],
        to: &'a [u8],
    },
    /// `posix-rename@openssh.com`: replaces.
    PosixRename {
        from: &'a [u8],
        to: &'a [u8],
    },
    Readlink {
        path: &'a [u8],
    },
    /// OpenSSH takes (target, link) against the draft's (link, target); `openssh_order` says which (PROTOCOL §4.1).
    Symlink {
        target: &'a [u8],
        link: &'a [u8],
        openssh_order: bool,
    },
    /// `hardlink@openssh.com`: another name for a file; fails onto an existing one.
    Hardlink {
        from: &'a [u8],
        to: &'a [u8],
    },
    /// `fsync@openssh.com`.
    Fsync {
        handle: &'a Handle,
    },
    /// `copy-data` (filexfer-extensions-00 §7): `len` bytes from one open file to the same place in another.
    CopyData {
        from: &'a Handle,
        to: &'a Handle,
        offset: u64,
        len: u64,
    },
    /// `limits@openssh.com`.
    Limits,
    /// [`DIGEST`]: asks a shared connection's holder for the far end's hash of a file of `size` bytes.
    Digest {
        path: &'a [u8],
        size: u64,
    },
    /// [`PUT`]: OPEN (exclusive), WRITE and CLOSE in one, of a file of which this is all.
    Put {
        path: &'a [u8],
        mode: u32,
        data: Bytes,
    },
    /// [`GET`]: OPEN, READ of so many bytes from its start, FSTAT and CLOSE in one.
    Get {
        path: &'a [u8],
        len: u32,
    },
    /// Somebody else's request, passed on under an id of ours: its type, and all that follows its id.
    Relayed {
        kind: u8,
        body: Bytes,
    },
}

/// What a request does to the server's handles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touches {
    Nothing,
    Opens,
    Closes(Handle),
}

/// The extension that a shared connection's holder offers to its clients, and no server does ([`crate::share`]).
pub const DIGEST: &[u8] = b"digest@hopsync";

/// Likewise: a whole small file in one request, so that what follows its OPEN needs no round trip of its own. Only the holder,
/// whose the real channel is, can foresee a handle.
pub const PUT: &[u8] = b"put@hopsync";
pub const GET: &[u8] = b"get@hopsync";

/// Relayed bodies up to this many bytes are gathered with other small requests; longer ones are not copied.
const SMALL_BODY: usize = 1024;

/// The kinds of reply, to match them against what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Status,
    Handle,
    /// At most this many bytes.
    Data(u32),
    Name,
    Attrs,
    Extended,
    /// Whatever it is, it is passed on as it came.
    Relayed,
}

/// Status codes (filexfer-02 §7).
pub mod status {
    pub const OK: u32 = 0;
    pub const EOF: u32 = 1;
    pub const NO_SUCH_FILE: u32 = 2;
    pub const PERMISSION_DENIED: u32 = 3;
    pub const FAILURE: u32 = 4;
    pub const OP_UNSUPPORTED: u32 = 8;
}

/// A STATUS reply: code and the server's text (cut to 256 bytes, lossily decoded: it is for people).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub code: u32,
    pub text: String,
}

impl Status {
    /// `No such file` for a bare code; OpenSSH's text for code 4 is just "Failure".
    pub fn describe(&self) -> String {
        let name = match self.code {
            status::OK => "OK",
            status::EOF => "end of file",
            status::NO_SUCH_FILE => "No such file or directory (2)",
            status::PERMISSION_DENIED => "Permission denied (13)",
            status::FAILURE => "the server says only \"failure\"",
            status::OP_UNSUPPORTED => "operation not supported by the server",
            _ => "unexpected status",
        };
        let known = matches!(self.text.as_str(), "" | "Failure" | "No such file" | "Permission denied" | "Success");
        if known { name.to_owned() } else { format!("{name}: {}", self.text) }
    }
}

/// One name of a NAME reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: Bytes,
    pub attrs: Attrs,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(Status),
    Handle(Handle),
    Data(Bytes),
    Names(Vec<Named>),
    Attrs(Attrs),
    Extended(Bytes),
    /// A reply to [`Request::Relayed`]: its type, and all that follows its id.
    Relayed(u8, Bytes),
}

/// Reads fields off a packet, never past its end.
pub struct Cursor(pub Bytes);

impl Cursor {
    pub fn u8(&mut self) -> Result<u8, Bad> {
        self.0.try_get_u8().map_err(|_| Bad::Short)
    }
    pub fn u32(&mut self) -> Result<u32, Bad> {
        self.0.try_get_u32().map_err(|_| Bad::Short)
    }
    pub fn u64(&mut self) -> Result<u64, Bad> {
        self.0.try_get_u64().map_err(|_| Bad::Short)
    }
    pub fn string(&mut self) -> Result<Bytes, Bad> {
        let len = self.u32()? as usize;
        if len > self.0.len() {
            return Err(Bad::Short);
        }
        Ok(self.0.split_to(len))
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn put_string(out: &mut BytesMut, s: &[u8]) {
    out.put_u32(s.len() as u32);
    out.put_slice(s);
}

/// The INIT packet for version 3; it has a version where others have an id (§4).
pub fn init() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 5, op::INIT, 0, 0, 0, 3])
}

/// What the VERSION reply says: the extensions as (name, data).
pub fn parse_version(packet: Bytes) -> Result<Vec<(Bytes, Bytes)>, Bad> {
    let mut cursor = Cursor(packet);
    let kind = cursor.u8()?;
    if kind != op::VERSION {
        return Err(Bad::Type(kind));
    }
    let version = cursor.u32()?;
    if version != 3 {
        return Err(Bad::Version(version));
    }
    let mut extensions = Vec::new();
    while !cursor.is_empty() && extensions.len() < 64 {
        extensions.push((cursor.string()?, cursor.string()?));
    }
    Ok(extensions)
}

impl Request<'_> {
    /// Appends the packet to `out`. A WRITE's data is not copied: it is returned, to be sent right after `out`.
    pub fn encode(&self, id: u32, out: &mut BytesMut) -> Option<Bytes> {
        let start = out.len();
        out.put_u32(0);
        let mut head = |kind: u8| {
            out.put_u8(kind);
            out.put_u32(id);
        };
        let mut payload = None;
        match self {
            Request::Open { path, flags, attrs } => {
                head(op::OPEN);
                put_string(out, path);
                out.put_u32(*flags);
                attrs.encode(out);
            }
            Request::Close { handle } => {
                head(op::CLOSE);
                put_string(out, &handle.0);
            }
            Request::Read { handle, offset, len } => {
                head(op::READ);
                put_string(out, &handle.0);
                out.put_u64(*offset);
                out.put_u32(*len);
            }
            Request::Write { handle, offset, data } => {
                head(op::WRITE);
                put_string(out, &handle.0);
                out.put_u64(*offset);
                out.put_u32(data.len() as u32);
                payload = Some(data.clone());
            }
            Request::Lstat { path } => path_only(out, op::LSTAT, id, path),
            Request::Stat { path } => path_only(out, op::STAT, id, path),
            Request::Fstat { handle } => path_only(out, op::FSTAT, id, &handle.0),
            Request::Setstat { path, attrs } => {
                path_only(out, op::SETSTAT, id, path);
                attrs.encode(out);
            }
            Request::Fsetstat { handle, attrs } => {
                path_only(out, op::FSETSTAT, id, &handle.0);
                attrs.encode(out);
            }
            Request::Lsetstat { path, attrs } => {
                extended(out, id, b"lsetstat@openssh.com");
                put_string(out, path);
                attrs.encode(out);
            }
            Request::Opendir { path } => path_only(out, op::OPENDIR, id, path),
            Request::Readdir { handle } => path_only(out, op::READDIR, id, &handle.0),
            Request::Remove { path } => path_only(out, op::REMOVE, id, path),
            Request::Mkdir { path, attrs } => {
                path_only(out, op::MKDIR, id, path);
                attrs.encode(out);
            }
            Request::Rmdir { path } => path_only(out, op::RMDIR, id, path),
            Request::Realpath { path } => path_only(out, op::REALPATH, id, path),
            Request::Rename { from, to } => {
                path_only(out, op::RENAME, id, from);
                put_string(out, to);
            }
            Request::PosixRename { from, to } => {
                extended(out, id, b"posix-rename@openssh.com");
                put_string(out, from);
                put_string(out, to);
            }
            Request::Hardlink { from, to } => {
                extended(out, id, b"hardlink@openssh.com");
                put_string(out, from);
                put_string(out, to);
            }
            Request::Readlink { path } => path_only(out, op::READLINK, id, path),
            Request::Symlink { target, link, openssh_order } => {
                let (first, second) = if *openssh_order { (target, link) } else { (link, target) };
                path_only(out, op::SYMLINK, id, first);
                put_string(out, second);
            }
            Request::Fsync { handle } => {
                extended(out, id, b"fsync@openssh.com");
                put_string(out, &handle.0);
            }
            Request::CopyData { from, to, offset, len } => {
                extended(out, id, b"copy-data");
                put_string(out, &from.0);
                out.put_u64(*offset);
                out.put_u64(*len);
                put_string(out, &to.0);
                out.put_u64(*offset);
            }
            Request::Limits => extended(out, id, b"limits@openssh.com"),
            Request::Digest { path, size } => {
                extended(out, id, DIGEST);
                out.put_u64(*size);
                put_string(out, path);
            }
            Request::Put { path, mode, data } => {
                extended(out, id, PUT);
                out.put_u32(*mode);
                put_string(out, path);
                out.put_u32(data.len() as u32);
                payload = Some(data.clone());
            }
            Request::Get { path, len } => {
                extended(out, id, GET);
                out.put_u32(*len);
                put_string(out, path);
            }
            Request::Relayed { kind, body } => {
                head(*kind);
                if body.len() <= SMALL_BODY {
                    out.put_slice(body);
                } else {
                    payload = Some(body.clone());
                }
            }
        }
        let len = out.len() - start - 4 + payload.as_ref().map_or(0, Bytes::len);
        out[start..start + 4].copy_from_slice(&(len as u32).to_be_bytes());
        payload
    }

    pub fn touches(&self) -> Touches {
        match self {
            Request::Open { .. } | Request::Opendir { .. } => Touches::Opens,
            Request::Relayed { kind: op::OPEN | op::OPENDIR, .. } => Touches::Opens,
            Request::Close { handle } => Touches::Closes((*handle).clone()),
            Request::Relayed { kind: op::CLOSE, body } => match Cursor(body.clone()).string() {
                Ok(handle) => Touches::Closes(Handle(handle)),
                Err(_) => Touches::Nothing,
            },
            _ => Touches::Nothing,
        }
    }

    /// The reply that answers this request when it succeeds; a STATUS may always come instead.
    pub fn expects(&self) -> Expect {
        match self {
            Request::Open { .. } | Request::Opendir { .. } => Expect::Handle,
            Request::Read { len, .. } => Expect::Data(*len),
            Request::Readdir { .. } | Request::Realpath { .. } | Request::Readlink { .. } => Expect::Name,
            Request::Lstat { .. } | Request::Stat { .. } | Request::Fstat { .. } => Expect::Attrs,
            Request::Limits | Request::Digest { .. } | Request::Get { .. } => Expect::Extended,
            Request::Relayed { .. } => Expect::Relayed,
            _ => Expect::Status,
        }
    }
}

fn path_only(out: &mut BytesMut, kind: u8, id: u32, path: &[u8]) {
    out.put_u8(kind);
    out.put_u32(id);
    put_string(out, path);
}

fn extended(out: &mut BytesMut, id: u32, name: &[u8]) {
    path_only(out, op::EXTENDED, id, name);
}

impl Reply {
    /// The handle that it brings.
    pub fn handle(&self) -> Option<Handle> {
        match self {
            Reply::Handle(handle) => Some(handle.clone()),
            Reply::Relayed(op::HANDLE, body) => Cursor(body.clone()).string().ok().map(Handle),
            _ => None,
        }
    }

    /// Parses one packet (without its length). Returns the id that it answers.
    pub fn parse(packet: Bytes) -> Result<(u32, Reply), Bad> {
        let mut cursor = Cursor(packet);
        let kind = cursor.u8()?;
        let id = cursor.u32()?;
        let reply = match kind {
            op::STATUS => {
                let code = cursor.u32()?;
                // The message and its language are absent from some servers of versions below 3.
                let text = cursor.string().unwrap_or_default();
                let text = String::from_utf8_lossy(&text[..text.len().min(256)]).into_owned();
                return Ok((id, Reply::Status(Status { code, text })));
            }
            op::HANDLE => {
                let handle = cursor.string()?;
                if handle.is_empty() || handle.len() > MAX_HANDLE {
                    return Err(Bad::Handle(handle.len()));
                }
                Reply::Handle(Handle(handle))
            }
            op::DATA => Reply::Data(cursor.string()?),
            op::NAME => {
                let count = cursor.u32()?;
                // An entry is two strings and a flag word: 12 bytes at least.
                if count as usize > cursor.0.len() / 12 {
                    return Err(Bad::Count(count, cursor.0.len()));
                }
                let mut names = Vec::with_capacity(count as usize);
                for _ in 0..count {
                    let name = cursor.string()?;
                    cursor.string()?; // the `ls -l` line
                    names.push(Named { name, attrs: Attrs::decode(&mut cursor)? });
                }
                Reply::Names(names)
            }
            op::ATTRS => Reply::Attrs(Attrs::decode(&mut cursor)?),
            op::EXTENDED_REPLY => return Ok((id, Reply::Extended(cursor.0))),
            other => return Err(Bad::Type(other)),
        };
        if cursor.is_empty() { Ok((id, reply)) } else { Err(Bad::Trailing) }
    }

    /// Whether this may answer a request that expects `expect`.
    pub fn fits(&self, expect: Expect) -> Result<(), Bad> {
        match (self, expect) {
            (Reply::Status(_), _) => Ok(()),
            (Reply::Data(data), Expect::Data(asked)) if data.len() > asked as usize => Err(Bad::TooMuchData),
            (Reply::Data(_), Expect::Data(_))
            | (Reply::Handle(_), Expect::Handle)
            | (Reply::Names(_), Expect::Name)
            | (Reply::Attrs(_), Expect::Attrs)
            | (Reply::Extended(_), Expect::Extended) => Ok(()),
            _ => Err(Bad::Kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(request: &Request, id: u32) -> Vec<u8> {
        let mut out = BytesMut::new();
        let payload = request.encode(id, &mut out);
        let mut all = out.to_vec();
        all.extend_from_slice(&payload.unwrap_or_default());
        all
    }

    #[test]
    fn a_length_prefix_counts_the_payload_that_is_sent_apart() {
        let handle = Handle(Bytes::from_static(&[0, 0, 0, 128]));
        let bytes = body(&Request::Write { handle: &handle, offset: 7, data: Bytes::from_static(b"abc") }, 9);
        assert_eq!(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize, bytes.len() - 4);
        assert!(bytes.ends_with(b"\0\0\0\x03abc"));
        assert!(bytes.windows(8).any(|w| w == [0, 0, 0, 4, 0, 0, 0, 128]), "a binary handle is carried as it is");
    }

    #[test]
    fn symlink_operands_are_swapped_for_openssh() {
        let link = Request::Symlink { target: b"T", link: b"L", openssh_order: true };
        let draft = Request::Symlink { target: b"T", link: b"L", openssh_order: false };
        assert!(body(&link, 1).ends_with(b"\0\0\0\x01T\0\0\0\x01L"));
        assert!(body(&draft, 1).ends_with(b"\0\0\0\x01L\0\0\0\x01T"));
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        // NAME with 2^32-1 entries
        let mut name = vec![104, 0, 0, 0, 1];
        name.extend_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(Reply::parse(Bytes::from(name)), Err(Bad::Count(..))));
        // DATA longer than its packet
        let data = vec![103, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reply::parse(Bytes::from(data)), Err(Bad::Short));
        // an empty handle
        assert_eq!(Reply::parse(Bytes::from(vec![102, 0, 0, 0, 1, 0, 0, 0, 0])), Err(Bad::Handle(0)));
        // trailing bytes
        assert_eq!(Reply::parse(Bytes::from(vec![103, 0, 0, 0, 1, 0, 0, 0, 0, 9])), Err(Bad::Trailing));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Reply::parse(Bytes::from(bytes.clone()));
            let _ = parse_version(Bytes::from(bytes));
        }

        #[test]
        fn attributes_survive_a_round_trip(size: Option<u64>, owner: Option<(u32, u32)>, permissions: Option<u32>, times: Option<(u32, u32)>) {
            let attrs = Attrs { size, owner, permissions, times };
            let mut out = BytesMut::new();
            attrs.encode(&mut out);
            let mut cursor = Cursor(out.freeze());
            prop_assert_eq!(Attrs::decode(&mut cursor).unwrap(), attrs);
            prop_assert!(cursor.is_empty());
        }
    }
}
