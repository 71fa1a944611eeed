//! Paths below a directory, by calls that never follow a link on the way.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{PoisonError, RwLock};

use rustix::buffer::spare_capacity;
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, ResolveFlags, Timestamps, Uid};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Stage};
use crate::tree::{Change, Listing, split};

use super::fault;

/// Which links to directories are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    No,
    /// Those that stay within the root: a destination under `-K`.
    Within,
    /// A source under `-L`, where the user asked for what they lead to.
    Anywhere,
}

pub(super) struct Root {
    pub(super) path: Vec<u8>,
    pub(super) dir: OwnedFd,
    pub(super) follow: Follow,
    /// Held while a file is made; true once none may be made any more.
    pub(super) settled: RwLock<bool>,
}

impl Root {
    /// The directory that `path` lies in, and its name there (`.` for the root itself).
    pub(super) fn parent<'a>(&self, path: &'a [u8]) -> io::Result<(Dir<'_>, &'a OsStr)> {
        let (dir, name) = split(path);
        let name = OsStr::from_bytes(if name.is_empty() { b"." } else { name });
        if dir.is_empty() {
            return Ok((Dir::Root(&self.dir), name));
        }
        Ok((Dir::Below(self.walk(dir, OFlags::PATH | OFlags::DIRECTORY)?), name))
    }

    pub(super) fn walk(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        self.walk_making(path, flags, Mode::empty())
    }

    /// As [`Root::walk`]; a file that `flags` make gets this mode.
    fn walk_making(&self, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let name = OsStr::from_bytes(if path.is_empty() { b"." } else { path });
        if self.follow == Follow::Anywhere {
            return Ok(fs::openat(&self.dir, name, flags, mode)?);
        }
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if self.follow == Follow::No {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        match fs::openat2(&self.dir, name, flags, mode, resolve) {
            Err(Errno::NOSYS | Errno::PERM) => {}
            other => return Ok(other?),
        }
        // No openat2 (kernels before 5.6, or a seccomp filter): one component after the other, and through no link.
        let mut dir = self.dir.try_clone()?;
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            let above = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let (step, mode) = if last { (flags, mode) } else { (above, Mode::empty()) };
            dir = fs::openat(&dir, OsStr::from_bytes(name), step | OFlags::NOFOLLOW, mode)?;
        }
        Ok(dir)
    }
}

pub(super) enum Dir<'a> {
    Root(&'a OwnedFd),
    Below(OwnedFd),
}

impl AsFd for Dir<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Dir::Root(fd) => fd.as_fd(),
            Dir::Below(fd) => fd.as_fd(),
        }
    }
}

pub(super) fn meta(stat: &fs::Stat) -> Meta {
    let mode = stat.st_mode;
    Meta {
        kind: Kind::from_mode(mode).unwrap_or(Kind::Special),
        size: stat.st_size as u64,
        mtime: stat.st_mtime,
        mtime_nsec: stat.st_mtime_nsec as u32,
        atime: stat.st_atime,
        mode: mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        dev: stat.st_dev,
        ino: stat.st_ino,
        links: links(stat),
    }
}

#[allow(clippy::unnecessary_cast, reason = "st_nlink has 32 bits on other machines")]
fn links(stat: &fs::Stat) -> u64 {
    stat.st_nlink as u64
}

pub(super) fn no_follow(follow: bool) -> AtFlags {
    if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW }
}

pub(super) fn open_for_reading(root: &Root, path: &[u8], follow: bool) -> io::Result<File> {
    // NONBLOCK: a FIFO that took the file's place must not hang us.
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    let file = match root.follow {
        // One call for the way and the file: no link is gone through anywhere.
        Follow::No if !follow => root.walk(path, flags)?,
        _ => {
            let (dir, name) = root.parent(path)?;
            fs::openat(&dir, name, flags | OFlags::CLOEXEC, Mode::empty())?
        }
    };
    let file = File::from(file);
    if Kind::from_mode(fs::fstat(&file)?.st_mode) != Some(Kind::File) {
        return Err(io::Error::other("is no regular file any more"));
    }
    Ok(file)
}

pub(super) fn create(root: &Root, path: &[u8], mode: u32, exclusive: bool) -> io::Result<File> {
    let settled = root.settled.read().unwrap_or_else(PoisonError::into_inner);
    if *settled {
        return Err(io::ErrorKind::Interrupted.into());
    }
    // Reading is for the hash of what was written.
    let mut flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if exclusive {
        flags |= OFlags::EXCL;
    }
    let mode = Mode::from_raw_mode(mode & 0o777);
    let file = match root.follow {
        // One call for the way and the file, as in [`open_for_reading`].
        Follow::No => root.walk_making(path, flags, mode)?,
        _ => {
            let (dir, name) = root.parent(path)?;
            fs::openat(&dir, name, flags, mode)?
        }
    };
    Ok(File::from(file))
}

/// Reads `len` bytes, or what there is of them.
pub(super) fn read_full(file: &File, buffer: &mut Vec<u8>, offset: u64, len: usize) -> io::Result<()> {
    buffer.clear();
    buffer.reserve(len);
    while buffer.len() < len {
        let at = offset + buffer.len() as u64;
        match rustix::io::pread(file, spare_capacity(buffer), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    // The allocator may have given more than was asked for.
    buffer.truncate(len);
    Ok(())
}

fn set_times(dir: impl AsFd, name: &OsStr, (seconds, nanoseconds): (i64, u32), atime: Option<i64>) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    let last_access = match atime {
        Some(seconds) => Timespec { tv_sec: seconds, tv_nsec: 0 },
        None => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW },
    };
    let times = Timestamps { last_access, last_modification: time };
    fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Sets what `change` has, in the order that keeps setuid bits: a chown clears them.
pub(super) fn apply(dir: impl AsFd, name: &OsStr, change: &Change, symlink: bool) -> io::Result<()> {
    if change.owner.is_some() || change.group.is_some() {
        let owner = change.owner.map(Uid::from_raw);
        let group = change.group.map(Gid::from_raw);
        fs::chownat(&dir, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if let (Some(mode), false) = (change.mode, symlink) {
        // fchmodat cannot refuse to follow; what lies at `name` was made or checked by us a moment ago.
        let file = fs::openat(&dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if Kind::from_mode(fs::fstat(&file)?.st_mode) == Some(Kind::Symlink) {
            return Err(io::Error::other("became a symlink"));
        }
        fs::chmodat(&dir, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    }
    if let Some(mtime) = change.mtime {
        set_times(&dir, name, mtime, change.atime)?;
    }
    Ok(())
}

pub(super) fn list(root: &Root, path: &[u8], follow: bool) -> io::Result<Listing> {
    let fd = root.walk(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK)?;
    let mut listing = Listing::default();
    for found in fs::Dir::read_from(&fd)? {
        let found = found?;
        let name = found.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let entry = (|| -> io::Result<Entry> {
            let os = OsStr::from_bytes(name);
            let stat = match fs::statat(&fd, os, no_follow(follow)) {
                // A dangling link under -L is told as the link that it is.
                Err(Errno::NOENT) if follow => fs::statat(&fd, os, AtFlags::SYMLINK_NOFOLLOW)?,
                other => other?,
            };
            let meta = meta(&stat);
            let target = match meta.kind {
                Kind::Symlink => Some(fs::readlinkat(&fd, os, Vec::new())?.into_bytes()),
                _ => None,
            };
            Ok(Entry { name: name.to_vec(), meta, target })
        })();
        match entry {
            Ok(entry) => listing.entries.push(entry),
            Err(e) => {
                let whole = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
                let mut fault = fault(Stage::List, root, &whole, &e);
                if e.kind() == io::ErrorKind::NotFound {
                    fault.cause = Cause::Vanished;
                }
                listing.faults.push(fault);
            }
        }
    }
    Ok(listing)
}
