//! The local disk. Nothing else in the crate touches it for files that are transferred.
//!
//! Every call is one trip to the threads of [`crate::blocking`]: a disk may be NFS or Lustre, where a stat takes milliseconds. Below the
//! root, no symlink is ever followed on the way to a file (openat2's RESOLVE_NO_SYMLINKS, or a walk by O_NOFOLLOW where the
//! kernel has none): a directory swapped for a link while we write leads nowhere.

#![expect(clippy::disallowed_methods, reason = "this is the module that touches the disk")]

mod digest;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, ResolveFlags, Timestamps, Uid};
use rustix::io::Errno;
use rustix::process;
use rustix::time::Timespec;

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::sftp::session::Held;
use crate::sftp::wire::BoxFuture;
use crate::verify::{Algorithm, Digest};

use super::{Answer, Change, How, Identity, Listing, Result, Sink, Source, Tree, Used, buffers, split};

/// One read or write: as much as SFTP carries in one request to OpenSSH (`limits@openssh.com`).
const CHUNK: usize = 255 * 1024;

/// A directory of the local disk and all below it.
#[derive(Clone)]
pub struct Local {
    root: Arc<Root>,
    hop: Arc<str>,
}

/// Which links to directories are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    No,
    /// Those that stay within the root: a destination under `-K`.
    Within,
    /// A source under `-L`, where the user asked for what they lead to.
    Anywhere,
}

struct Root {
    path: Vec<u8>,
    dir: OwnedFd,
    follow: Follow,
    /// Held while a file is made; true once none may be made any more.
    settled: RwLock<bool>,
}

impl Local {
    /// # Errors
    /// The directory cannot be opened.
    pub fn open(path: &[u8]) -> io::Result<Local> {
        let shown = if path.is_empty() { b"." } else { path };
        let dir =
            fs::open(OsStr::from_bytes(shown), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Local {
            root: Arc::new(Root { path: path.to_vec(), dir, follow: Follow::No, settled: RwLock::new(false) }),
            hop: "local".into(),
        })
    }

    /// As [`Local::open`]; links to directories below it are gone through. Only for a source.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open_following(path: &[u8]) -> io::Result<Local> {
        Local::open_with(path, Follow::Anywhere)
    }

    /// As [`Local::open`]; links to directories are gone through where they stay below it.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open_within(path: &[u8]) -> io::Result<Local> {
        Local::open_with(path, Follow::Within)
    }

    fn open_with(path: &[u8], follow: Follow) -> io::Result<Local> {
        let Local { root, hop } = Local::open(path)?;
        let root = Root { path: path.to_vec(), dir: root.dir.try_clone()?, follow, settled: RwLock::new(false) };
        Ok(Local { root: Arc::new(root), hop })
    }

    async fn run<T, F>(&self, stage: Stage, path: &[u8], work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Root, &[u8]) -> io::Result<T> + Send + 'static,
    {
        let root = self.root.clone();
        let path = path.to_vec();
        blocking(move || work(&root, &path).map_err(|e| fault(stage, &root, &path, &e))).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    crate::blocking::start(work).await.unwrap_or_else(|e| Err(internal(&e)))
}

fn internal(error: &crate::blocking::Panicked) -> Fault {
    Fault::new("local", Stage::Read, Cause::Io, format!("internal error: {error}"))
}

fn fault(stage: Stage, root: &Root, path: &[u8], error: &io::Error) -> Fault {
    let whole = super::join(&root.path, path);
    Fault::local(stage, error, format_args!("\"{}\"", String::from_utf8_lossy(&whole)))
}

impl Root {
    /// The directory that `path` lies in, and its name there (`.` for the root itself).
    fn parent<'a>(&self, path: &'a [u8]) -> io::Result<(Dir<'_>, &'a OsStr)> {
        let (dir, name) = split(path);
        let name = OsStr::from_bytes(if name.is_empty() { b"." } else { name });
        if dir.is_empty() {
            return Ok((Dir::Root(&self.dir), name));
        }
        Ok((Dir::Below(self.walk(dir, OFlags::PATH | OFlags::DIRECTORY)?), name))
    }

    fn walk(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let name = OsStr::from_bytes(if path.is_empty() { b"." } else { path });
        if self.follow == Follow::Anywhere {
            return Ok(fs::openat(&self.dir, name, flags, Mode::empty())?);
        }
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if self.follow == Follow::No {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        match fs::openat2(&self.dir, name, flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => {}
            other => return Ok(other?),
        }
        // No openat2 (kernels before 5.6, or a seccomp filter): one component after the other, and through no link.
        let mut dir = self.dir.try_clone()?;
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            let step = if last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
            dir = fs::openat(&dir, OsStr::from_bytes(name), step | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(dir)
    }
}

enum Dir<'a> {
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

fn meta(stat: &fs::Stat) -> Meta {
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

fn no_follow(follow: bool) -> AtFlags {
    if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW }
}

fn open_for_reading(root: &Root, path: &[u8], follow: bool) -> io::Result<File> {
    let (dir, name) = root.parent(path)?;
    // NONBLOCK: a FIFO that took the file's place must not hang us.
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    let file = File::from(fs::openat(&dir, name, flags, Mode::empty())?);
    if Kind::from_mode(fs::fstat(&file)?.st_mode) != Some(Kind::File) {
        return Err(io::Error::other("is no regular file any more"));
    }
    Ok(file)
}

fn create(root: &Root, path: &[u8], mode: u32, exclusive: bool) -> io::Result<File> {
    let settled = root.settled.read().unwrap_or_else(PoisonError::into_inner);
    if *settled {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let (dir, name) = root.parent(path)?;
    // Reading is for the hash of what was written.
    let mut flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if exclusive {
        flags |= OFlags::EXCL;
    }
    Ok(File::from(fs::openat(&dir, name, flags, Mode::from_raw_mode(mode & 0o777))?))
}

/// Reads `len` bytes, or what there is of them.
fn read_full(file: &File, buffer: &mut Vec<u8>, offset: u64, len: usize) -> io::Result<()> {
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
fn apply(dir: impl AsFd, name: &OsStr, change: &Change, symlink: bool) -> io::Result<()> {
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

fn list(root: &Root, path: &[u8], follow: bool) -> io::Result<Listing> {
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

impl Tree for Local {
    fn hop(&self) -> &Arc<str> {
        &self.hop
    }

    fn root(&self) -> &[u8] {
        &self.root.path
    }

    fn stat<'a>(&'a self, path: &'a [u8], follow: bool) -> BoxFuture<'a, Result<Option<Meta>>> {
        Box::pin(self.run(Stage::List, path, move |root, path| {
            let (dir, name) = match root.parent(path) {
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    return Ok(None);
                }
                other => other?,
            };
            match fs::statat(&dir, name, no_follow(follow)) {
                Ok(stat) => Ok(Some(meta(&stat))),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
                Err(e) => Err(e.into()),
            }
        }))
    }

    fn read_link<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(self.run(Stage::List, path, |root, path| {
            let (dir, name) = root.parent(path)?;
            Ok(fs::readlinkat(&dir, name, Vec::new())?.into_bytes())
        }))
    }

    fn list<'a>(&'a self, path: &'a [u8], follow: bool) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(self.run(Stage::List, path, move |root, path| list(root, path, follow)))
    }

    fn read_small<'a>(&'a self, path: &'a [u8], size: u64, follow: bool) -> BoxFuture<'a, Result<(Bytes, Meta, Used)>> {
        Box::pin(self.run(Stage::Read, path, move |root, path| {
            let file = open_for_reading(root, path, follow)?;
            let mut data = Vec::new();
            read_full(&file, &mut data, 0, size as usize)?;
            // A file that grew meanwhile shows in its size.
            Ok((Bytes::from(data), meta(&fs::fstat(&file)?), Used::default()))
        }))
    }

    fn write_small<'a>(
        &'a self,
        path: &'a [u8],
        data: Bytes,
        mode: u32,
        algorithm: Option<Algorithm>,
    ) -> BoxFuture<'a, Result<(Used, Option<Digest>)>> {
        Box::pin(self.run(Stage::Write, path, move |root, path| {
            let file = create(root, path, mode, true)?;
            let written = file.write_all_at(&data, 0).and_then(|()| match algorithm {
                Some(algorithm) => digest::of(&file, data.len() as u64, algorithm).map(Some),
                None => Ok(None),
            });
            if written.is_err() {
                let (dir, name) = root.parent(path)?;
                let _ = fs::unlinkat(&dir, name, AtFlags::empty());
            }
            written.map(|digest| (Used::default(), digest))
        }))
    }

    fn open_read<'a>(&'a self, path: &'a [u8], _: u64, follow: bool) -> BoxFuture<'a, Result<Box<dyn Source>>> {
        Box::pin(async move {
            let file = self.run(Stage::Open, path, move |root, path| open_for_reading(root, path, follow)).await?;
            Ok(Box::new(self.open_file(path, file)) as Box<dyn Source>)
        })
    }

    fn open_write<'a>(
        &'a self,
        path: &'a [u8],
        _: u64,
        mode: u32,
        exclusive: bool,
    ) -> BoxFuture<'a, Result<Box<dyn Sink>>> {
        Box::pin(async move {
            let file = self.run(Stage::Open, path, move |root, path| create(root, path, mode, exclusive)).await?;
            Ok(Box::new(self.open_file(path, file)) as Box<dyn Sink>)
        })
    }

    fn chunk(&self) -> usize {
        CHUNK
    }

    fn digest<'a>(&'a self, path: &'a [u8], size: u64, how: How) -> BoxFuture<'a, Result<(Digest, &'static str)>> {
        Box::pin(self.run(Stage::Hash, path, move |root, path| {
            let file = open_for_reading(root, path, false)?;
            Ok((digest::of(&file, size, how.algorithm())?, "local read"))
        }))
    }

    fn commit<'a>(&'a self, temp: &'a [u8], path: &'a [u8], change: Change) -> BoxFuture<'a, Result<()>> {
        let (root, temp, path) = (self.root.clone(), temp.to_vec(), path.to_vec());
        Box::pin(blocking(move || {
            let (dir, name) = root.parent(&temp).map_err(|e| fault(Stage::Rename, &root, &temp, &e))?;
            apply(&dir, name, &change, false).map_err(|e| fault(Stage::Attributes, &root, &path, &e))?;
            let renamed = match (split(&temp), split(&path)) {
                // A temp lies beside its file: its directory need not be found twice.
                ((from, _), (to, name_there)) if from == to => {
                    fs::renameat(&dir, name, &dir, OsStr::from_bytes(name_there)).map_err(io::Error::from)
                }
                _ => root.parent(&path).and_then(|(to_dir, to)| Ok(fs::renameat(&dir, name, &to_dir, to)?)),
            };
            renamed.map_err(|e| fault(Stage::Rename, &root, &path, &e))
        }))
    }

    fn set<'a>(&'a self, path: &'a [u8], change: Change, symlink: bool) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.run(Stage::Attributes, path, move |root, path| {
            let (dir, name) = root.parent(path)?;
            apply(&dir, name, &change, symlink)
        }))
    }

    fn mkdir<'a>(&'a self, path: &'a [u8], mode: u32) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.run(Stage::Attributes, path, move |root, path| {
            let (dir, name) = root.parent(path)?;
            Ok(fs::mkdirat(&dir, name, Mode::from_raw_mode(mode & 0o777))?)
        }))
    }

    fn symlink<'a>(&'a self, target: &'a [u8], path: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        let target = target.to_vec();
        Box::pin(self.run(Stage::Attributes, path, move |root, path| {
            let (dir, name) = root.parent(path)?;
            Ok(fs::symlinkat(OsStr::from_bytes(&target), &dir, name)?)
        }))
    }

    fn hard_link<'a>(&'a self, path: &'a [u8], other: &'a dyn Tree, to: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.pair(path, other, to, |dir, name, to_dir, to| Ok(fs::linkat(dir, name, to_dir, to, AtFlags::empty())?))
    }

    fn copy_to<'a>(&'a self, path: &'a [u8], _: u64, other: &'a dyn Tree, to: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        let copied = self.pair(path, other, to, |dir, name, to_dir, to| {
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut from = File::from(fs::openat(dir, name, flags | OFlags::RDONLY, Mode::empty())?);
            let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let mut to = File::from(fs::openat(to_dir, to, flags, Mode::from_raw_mode(0o600))?);
            // The kernel shares the blocks where it can.
            io::copy(&mut from, &mut to).map(|_| ())
        });
        Box::pin(async move { copied.await.map(|()| true) })
    }

    fn move_to<'a>(&'a self, path: &'a [u8], other: &'a dyn Tree, to: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.pair(path, other, to, |dir, name, to_dir, to| Ok(fs::renameat(dir, name, to_dir, to)?))
    }

    fn node_like<'a>(&'a self, path: &'a [u8], source: &'a dyn Tree, from: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        self.pair(path, source, from, |dir, name, from_dir, from| {
            let stat = fs::statat(from_dir, from, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = fs::FileType::from_raw_mode(stat.st_mode);
            Ok(fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), stat.st_rdev)?)
        })
    }

    fn is_node_like<'a>(&'a self, path: &'a [u8], source: &'a dyn Tree, from: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        let Some(other) = source.as_local().map(|local| local.root.clone()) else {
            return Box::pin(std::future::ready(Ok(true)));
        };
        let from = from.to_vec();
        Box::pin(self.run(Stage::List, path, move |root, path| {
            let ((dir, name), (from_dir, from)) = (root.parent(path)?, other.parent(&from)?);
            let here = fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let there = fs::statat(&from_dir, from, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((here.st_mode & 0o170000, here.st_rdev) == (there.st_mode & 0o170000, there.st_rdev))
        }))
    }

    fn truncate<'a>(&'a self, path: &'a [u8], size: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.run(Stage::Write, path, move |root, path| {
            let (dir, name) = root.parent(path)?;
            let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            Ok(fs::ftruncate(fs::openat(&dir, name, flags, Mode::empty())?, size)?)
        }))
    }

    fn sync<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.run(Stage::Close, path, |root, path| open_for_reading(root, path, false)?.sync_all()))
    }

    fn beside<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Arc<dyn Tree>>> {
        let (root, path) = (self.root.clone(), path.to_vec());
        Box::pin(blocking(move || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let name = OsStr::from_bytes(if path.is_empty() { b"." } else { &path });
            let whole = if path.starts_with(b"/") { path.clone() } else { super::join(&root.path, &path) };
            let dir = fs::openat(&root.dir, name, flags, Mode::empty()).map_err(|e| {
                Fault::local(Stage::Open, &e.into(), format_args!("\"{}\"", String::from_utf8_lossy(&whole)))
            })?;
            let root = Root { path: whole, dir, follow: Follow::No, settled: RwLock::new(false) };
            Ok(Arc::new(Local { root: Arc::new(root), hop: "local".into() }) as Arc<dyn Tree>)
        }))
    }

    fn leads_to<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(self.run(Stage::List, path, |root, path| {
            if root.follow == Follow::No {
                return Ok(None);
            }
            let Ok(led) = root.walk(path, OFlags::PATH | OFlags::DIRECTORY) else { return Ok(None) };
            // What is open tells where it is.
            let place = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            let (top, led) = (place(&root.dir)?, place(&led)?);
            Ok(led.strip_prefix(top).ok().map(|within| within.as_os_str().as_bytes().to_vec()))
        }))
    }

    fn absolute(&self) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(self.run(Stage::List, b"", |root, _| {
            if root.path.starts_with(b"/") {
                return Ok(root.path.clone());
            }
            let here = std::env::current_dir()?;
            Ok(super::join(here.as_os_str().as_bytes(), &root.path))
        }))
    }

    fn as_local(&self) -> Option<&Local> {
        Some(self)
    }

    fn remove<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.run(Stage::Attributes, path, |root, path| {
            let (dir, name) = root.parent(path)?;
            Ok(fs::unlinkat(&dir, name, AtFlags::empty())?)
        }))
    }

    fn rmdir<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.run(Stage::Attributes, path, |root, path| {
            let (dir, name) = root.parent(path)?;
            Ok(fs::unlinkat(&dir, name, AtFlags::REMOVEDIR)?)
        }))
    }

    fn settle(&self) -> BoxFuture<'_, ()> {
        let root = self.root.clone();
        Box::pin(async move {
            let stop = blocking(move || {
                *root.settled.write().unwrap_or_else(PoisonError::into_inner) = true;
                Ok(())
            });
            // Its only failure is a panic in it.
            let _ = stop.await;
        })
    }

    fn identity(&self) -> BoxFuture<'_, Result<Identity>> {
        Box::pin(blocking(|| {
            let mut groups: Vec<u32> =
                process::getgroups().map(|all| all.iter().map(|g| g.as_raw()).collect()).unwrap_or_default();
            let gid = process::getegid().as_raw();
            groups.push(gid);
            Ok(Identity { uid: Some(process::geteuid().as_raw()), gid: Some(gid), groups, umask: Some(umask()) })
        }))
    }
}

impl Local {
    /// Does something with two names, in this tree and in another one.
    fn pair<'a>(
        &'a self,
        path: &'a [u8],
        other: &'a dyn Tree,
        to: &'a [u8],
        work: impl Fn(&Dir<'_>, &OsStr, &Dir<'_>, &OsStr) -> io::Result<()> + Send + 'static,
    ) -> BoxFuture<'a, Result<()>> {
        let Some(other) = other.as_local().map(|local| local.root.clone()) else {
            let text = "the two names are not on the same end";
            return Box::pin(std::future::ready(Err(Fault::new("local", Stage::Rename, Cause::Unsupported, text))));
        };
        let to = to.to_vec();
        Box::pin(self.run(Stage::Rename, path, move |root, path| {
            let ((dir, name), (to_dir, to)) = (root.parent(path)?, other.parent(&to)?);
            work(&dir, name, &to_dir, to)
        }))
    }

    fn open_file(&self, path: &[u8], file: File) -> OpenFile {
        OpenFile { file: Arc::new(file), root: self.root.clone(), path: path.into() }
    }
}

/// An open local file, for reading or for writing.
struct OpenFile {
    file: Arc<File>,
    root: Arc<Root>,
    path: Arc<[u8]>,
}

impl OpenFile {
    /// Starts the work at once; what is returned only waits for it.
    fn work<T: Send + 'static>(
        &self,
        stage: Stage,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (file, root, path) = (self.file.clone(), self.root.clone(), self.path.clone());
        let started = crate::blocking::start(move || work(&file).map_err(|e| fault(stage, &root, &path, &e)));
        Box::pin(async move { started.await.unwrap_or_else(|e| Err(internal(&e))) })
    }
}

impl Source for OpenFile {
    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Answer<Bytes>>> {
        let answer = self.work(Stage::Read, move |file| {
            let mut data = buffers::take();
            read_full(file, &mut data, offset, len)?;
            Ok(buffers::give(data))
        });
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn finish(self: Box<Self>) -> Answer<Meta> {
        self.work(Stage::Read, |file| Ok(meta(&fs::fstat(file)?)))
    }

    fn used(&self) -> Used {
        Used::default()
    }
}

impl Sink for OpenFile {
    fn write_at(&self, offset: u64, data: Bytes, held: Held) -> BoxFuture<'_, Result<Answer<()>>> {
        let answer = self.work(Stage::Write, move |file| {
            let written = file.write_all_at(&data, offset);
            drop((data, held));
            written
        });
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn finish(self: Box<Self>, size: u64) -> Answer<()> {
        self.work(Stage::Close, move |file| {
            let found = file.metadata()?.len();
            if found == size { Ok(()) } else { Err(io::Error::other(format!("has {found} bytes instead of {size}"))) }
        })
    }

    fn used(&self) -> Used {
        Used::default()
    }
}

/// What a local operand is: follows symlinks, as rsync does for an operand with a trailing slash.
pub async fn stat_operand(path: &Path, follow: bool) -> Result<Option<Meta>> {
    let path = path.to_owned();
    blocking(move || look_at(&path, follow)).await
}

/// The same, by a caller who may wait for the disk.
pub fn look_at(path: &Path, follow: bool) -> Result<Option<Meta>> {
    let found = if follow { fs::stat(path) } else { fs::lstat(path) };
    match found {
        Ok(stat) => Ok(Some(meta(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(Fault::local(Stage::List, &e.into(), format_args!("\"{}\"", path.display()))),
    }
}

/// The process's umask. `/proc` tells it; a call can only read it by changing it for a moment, for every thread.
pub fn umask() -> u32 {
    static UMASK: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *UMASK.get_or_init(|| {
        let told = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        });
        told.unwrap_or_else(|| {
            let mask = process::umask(Mode::from_raw_mode(0o077));
            process::umask(mask);
            mask.as_raw_mode() & 0o777
        })
    })
}

/// A file that another host's `hopsync` wants hashed.
pub fn open_to_hash(path: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(fs::open(OsStr::from_bytes(path), flags, Mode::empty())?))
}

/// The file of `--log-file`: what is in it stays.
pub fn open_log(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
    Ok(File::from(fs::open(path, flags, Mode::from_raw_mode(0o666))?))
}

/// The file of `--report`, emptied if it exists; `-` is standard output.
pub fn create_report(path: &Path) -> io::Result<File> {
    if path == Path::new("-") {
        return Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    Ok(File::from(fs::open(path, flags, Mode::from_raw_mode(0o666))?))
}

/// A file that is made anew each time, beside itself, and then takes its own place: whoever reads it sees one whole version.
#[derive(Debug)]
pub struct Renewed {
    path: PathBuf,
    temp: PathBuf,
}

impl Renewed {
    /// For `--metrics`. Makes its temporary file once, so that a directory that cannot be written is known at the start.
    ///
    /// # Errors
    /// That, or what is there is no regular file: renaming over a device or a pipe would remove it.
    pub fn new(path: &Path) -> io::Result<Renewed> {
        let name = path.file_name().ok_or_else(|| io::Error::from(Errno::ISDIR))?.to_string_lossy();
        // Hidden, and with another ending: Prometheus' textfile collector reads whatever ends in .prom.
        let temp = path.with_file_name(format!(".{name}.{}.tmp", process::getpid().as_raw_nonzero()));
        match fs::stat(path) {
            Ok(stat) if fs::FileType::from_raw_mode(stat.st_mode) != fs::FileType::RegularFile => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is there and no regular file"));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let renewed = Renewed { path: path.to_owned(), temp };
        renewed.open()?;
        fs::unlink(&renewed.temp)?;
        Ok(renewed)
    }

    fn open(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(fs::open(&self.temp, flags, Mode::from_raw_mode(0o666))?))
    }

    /// Puts a new version in its place. On an error the old one stays.
    pub fn renew(&self, text: &[u8]) -> io::Result<()> {
        let written = io::Write::write_all(&mut self.open()?, text);
        let done = written.and_then(|()| Ok(fs::rename(&self.temp, &self.path)?));
        if done.is_err() {
            let _ = fs::unlink(&self.temp);
        }
        done
    }
}
