//! Packets: requests to bytes, bytes to replies. Every length that a server sends is checked before it is believed.

mod reply;
mod request;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use reply::{Named, Reply, Status};
pub use request::{Expect, Request, Touches};

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

/// The extension that a shared connection's holder offers to its clients, and no server does ([`crate::share`]).
pub const DIGEST: &[u8] = b"digest@hopsync";

/// Likewise: a file's hash, and its attributes and its name if that is the one that is wanted ([`crate::verify::commit`]).
pub const COMMIT: &[u8] = b"commit@hopsync";

/// The same, and for the hashes of its parts, or the sums of its blocks.
pub const PARTS: &[u8] = b"parts@hopsync";

/// Likewise: bytes of one file go into another one ([`crate::verify::copied`]), where the server has no `copy-data`.
pub const COPY: &[u8] = b"copy@hopsync";

/// Likewise: a whole small file in one request, so that what follows its OPEN needs no round trip of its own. Only the holder,
/// whose the real channel is, can foresee a handle.
pub const PUT: &[u8] = b"put@hopsync";
pub const GET: &[u8] = b"get@hopsync";

/// Status codes (filexfer-02 §7).
pub mod status {
    pub const OK: u32 = 0;
    pub const EOF: u32 = 1;
    pub const NO_SUCH_FILE: u32 = 2;
    pub const PERMISSION_DENIED: u32 = 3;
    pub const FAILURE: u32 = 4;
    pub const OP_UNSUPPORTED: u32 = 8;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::Attrs;
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
