//! The ATTRS structure (filexfer-02 §5): which fields are present is said by a flag word.

use bytes::{BufMut, BytesMut};

use crate::entry::{Kind, Meta};

use super::packet::{Bad, Cursor};

const SIZE: u32 = 0x1;
const UIDGID: u32 = 0x2;
const PERMISSIONS: u32 = 0x4;
const ACMODTIME: u32 = 0x8;
const EXTENDED: u32 = 0x8000_0000;

/// File attributes as SFTP v3 carries them. An absent field is neither sent nor changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attrs {
    /// Bytes.
    pub size: Option<u64>,
    /// Both or neither: the protocol has one flag for the two (§5).
    pub owner: Option<(u32, u32)>,
    /// `st_mode`, type bits included where a server sends them.
    pub permissions: Option<u32>,
    /// (atime, mtime), seconds since the epoch as u32: 1970 to 2106.
    pub times: Option<(u32, u32)>,
}

impl Attrs {
    pub fn encode(&self, out: &mut BytesMut) {
        let mut flags = 0;
        if self.size.is_some() {
            flags |= SIZE;
        }
        if self.owner.is_some() {
            flags |= UIDGID;
        }
        if self.permissions.is_some() {
            flags |= PERMISSIONS;
        }
        if self.times.is_some() {
            flags |= ACMODTIME;
        }
        out.put_u32(flags);
        if let Some(size) = self.size {
            out.put_u64(size);
        }
        if let Some((uid, gid)) = self.owner {
            out.put_u32(uid);
            out.put_u32(gid);
        }
        if let Some(mode) = self.permissions {
            out.put_u32(mode);
        }
        if let Some((atime, mtime)) = self.times {
            out.put_u32(atime);
            out.put_u32(mtime);
        }
    }

    /// Reads one ATTRS. Extended pairs (§5, last paragraph) are skipped.
    pub fn decode(cursor: &mut Cursor) -> Result<Attrs, Bad> {
        let flags = cursor.u32()?;
        let size = if flags & SIZE != 0 { Some(cursor.u64()?) } else { None };
        let owner = if flags & UIDGID != 0 { Some((cursor.u32()?, cursor.u32()?)) } else { None };
        let permissions = if flags & PERMISSIONS != 0 { Some(cursor.u32()?) } else { None };
        let times = if flags & ACMODTIME != 0 { Some((cursor.u32()?, cursor.u32()?)) } else { None };
        if flags & EXTENDED != 0 {
            let pairs = cursor.u32()?;
            for _ in 0..pairs {
                cursor.string()?;
                cursor.string()?;
            }
        }
        Ok(Attrs { size, owner, permissions, times })
    }

    /// What a listing says of a file. `None` if the server left out the type: without it nothing can be decided.
    pub fn to_meta(&self) -> Option<Meta> {
        let mode = self.permissions?;
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        Some(Meta {
            kind: Kind::from_mode(mode)?,
            size: self.size.unwrap_or(0),
            mtime: self.times.map_or(0, |(_, mtime)| i64::from(mtime)),
            mtime_nsec: 0,
            atime: self.times.map_or(0, |(atime, _)| i64::from(atime)),
            mode: mode & 0o7777,
            uid,
            gid,
            dev: 0,
            ino: 0,
            links: 0,
        })
    }
}
