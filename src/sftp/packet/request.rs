//! What is asked, and how it is said.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::attrs::Attrs;
use super::{COMMIT, COPY, Cursor, DIGEST, GET, Handle, PARTS, PUT, op, put_string};
use crate::verify::blocks::Asked;
use crate::verify::parts::Of;

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
    /// `copy-data` (filexfer-extensions-00 §7): `len` bytes at `offset` of one open file to `at` in another.
    CopyData {
        from: &'a Handle,
        offset: u64,
        len: u64,
        to: &'a Handle,
        at: u64,
    },
    /// `limits@openssh.com`.
    Limits,
    /// [`DIGEST`]: asks a shared connection's holder for the far end's hash of a file of `size` bytes.
    Digest {
        path: &'a [u8],
        size: u64,
    },
    /// [`COMMIT`]: the same, and `name` for the file in its directory, with these attributes, if the hash is `wanted`
    /// ([`crate::share::digest`]).
    Commit {
        temp: &'a [u8],
        size: u64,
        wanted: &'a [u8],
        attrs: Attrs,
        name: &'a [u8],
    },
    /// [`PARTS`]: asks the holder for what one question tells of a file's parts or blocks.
    Parts {
        path: &'a [u8],
        of: Of,
    },
    /// [`COPY`]: has the holder's hasher write `len` bytes at `from` of the file `old` at `at` into the file `new`.
    Copy {
        old: &'a [u8],
        new: &'a [u8],
        from: u64,
        at: u64,
        len: u64,
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
            Request::CopyData { from, offset, len, to, at } => {
                extended(out, id, b"copy-data");
                put_string(out, &from.0);
                out.put_u64(*offset);
                out.put_u64(*len);
                put_string(out, &to.0);
                out.put_u64(*at);
            }
            Request::Limits => extended(out, id, b"limits@openssh.com"),
            Request::Digest { path, size } => {
                extended(out, id, DIGEST);
                out.put_u64(*size);
                put_string(out, path);
            }
            Request::Commit { temp, size, wanted, attrs, name } => {
                extended(out, id, COMMIT);
                out.put_u64(*size);
                for text in [temp, wanted, name] {
                    put_string(out, text);
                }
                attrs.encode(out);
            }
            Request::Parts { path, of } => {
                extended(out, id, PARTS);
                // There are no blocks without length.
                let parts = |first| Asked { length: 0, at: first, weak: false };
                let Asked { length, at, weak } = match of {
                    Of::Parts(first) => parts(*first),
                    Of::Blocks(asked) => *asked,
                };
                out.put_u64(length);
                out.put_u64(at);
                out.put_u8(u8::from(weak));
                put_string(out, path);
            }
            Request::Copy { old, new, from, at, len } => {
                extended(out, id, COPY);
                for number in [from, at, len] {
                    out.put_u64(*number);
                }
                put_string(out, old);
                put_string(out, new);
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
            Request::Limits | Request::Digest { .. } | Request::Commit { .. } => Expect::Extended,
            Request::Parts { .. } | Request::Copy { .. } | Request::Get { .. } => Expect::Extended,
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
