//! File attributes between SFTP and the disk.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use bytes::{BufMut, BytesMut};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::codec::Fields;

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const MODE: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 1 << 31;

/// ATTRS as a client sends it; what is absent is not to be changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attrs {
    pub size: Option<u64>,
    pub owner: Option<(u32, u32)>,
    pub mode: Option<u32>,
    /// Access and modification time, seconds since the epoch.
    pub times: Option<(u32, u32)>,
}

impl Attrs {
    pub fn read(fields: &mut Fields) -> Option<Attrs> {
        let flags = fields.u32()?;
        let mut attrs = Attrs::default();
        if flags & SIZE != 0 {
            attrs.size = Some(fields.u64()?);
        }
        if flags & OWNER != 0 {
            attrs.owner = Some((fields.u32()?, fields.u32()?));
        }
        if flags & MODE != 0 {
            attrs.mode = Some(fields.u32()?);
        }
        if flags & TIMES != 0 {
            attrs.times = Some((fields.u32()?, fields.u32()?));
        }
        if flags & EXTENDED != 0 {
            for _ in 0..fields.u32()? {
                fields.string()?;
                fields.string()?;
            }
        }
        Some(attrs)
    }

    fn timestamps(&self) -> Option<Timestamps> {
        let at = |seconds: u32| Timespec { tv_sec: seconds.into(), tv_nsec: 0 };
        self.times
            .map(|(access, modification)| Timestamps { last_access: at(access), last_modification: at(modification) })
    }

    /// SETSTAT: follows links.
    pub fn apply(&self, path: &Path) -> io::Result<()> {
        if let Some(size) = self.size {
            File::options().write(true).open(path)?.set_len(size)?;
        }
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
        if let Some(mode) = self.mode {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7777))?;
        }
        if let Some(times) = self.timestamps() {
            rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())?;
        }
        Ok(())
    }

    /// lsetstat@openssh.com: of the link itself.
    pub fn apply_to_link(&self, path: &Path) -> io::Result<()> {
        if self.size.is_some() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
        }
        if let Some(mode) = self.mode {
            // Linux has no modes on links: fchmodat(AT_SYMLINK_NOFOLLOW) fails on one, as OpenSSH's server lets it.
            if std::fs::symlink_metadata(path)?.is_symlink() {
                return Err(io::ErrorKind::Unsupported.into());
            }
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7777))?;
        }
        if let Some(times) = self.timestamps() {
            rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// FSETSTAT.
    pub fn apply_to_file(&self, file: &File) -> io::Result<()> {
        if let Some(size) = self.size {
            file.set_len(size)?;
        }
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::fchown(file, Some(uid), Some(gid))?;
        }
        if let Some(mode) = self.mode {
            file.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777))?;
        }
        if let Some(times) = self.timestamps() {
            rustix::fs::futimens(file, &times)?;
        }
        Ok(())
    }
}

/// A file's attributes as the server tells them. Times outside u32 wrap, as they do in OpenSSH.
pub fn put(out: &mut BytesMut, meta: &Metadata) {
    out.put_u32(SIZE | OWNER | MODE | TIMES);
    out.put_u64(meta.size());
    out.put_u32(meta.uid());
    out.put_u32(meta.gid());
    out.put_u32(meta.mode());
    out.put_u32(meta.atime() as u32);
    out.put_u32(meta.mtime() as u32);
}

/// The `ls -l` line of NAME replies, of which clients show the beginning at most.
pub fn long_name(name: &[u8], meta: &Metadata) -> Vec<u8> {
    let kind = match meta.mode() & 0o170000 {
        0o040000 => 'd',
        0o120000 => 'l',
        _ => '-',
    };
    let bit = |shift: u32, letter: char| if meta.mode() >> shift & 1 == 1 { letter } else { '-' };
    let mode: String = (0..9).rev().map(|shift| bit(shift, ['x', 'w', 'r'][shift as usize % 3])).collect();
    let mut line =
        format!("{kind}{mode} {:4} {:8} {:8} {:8} ", meta.nlink(), meta.uid(), meta.gid(), meta.size()).into_bytes();
    line.extend_from_slice(name);
    line
}
