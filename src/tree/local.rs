//! The local disk. Nothing else in the crate touches it for files that are transferred.
//!
//! Every call is one trip to the threads of [`crate::blocking`]: a disk may be NFS or Lustre, where a stat takes milliseconds. Below the
//! root, no symlink is ever followed on the way to a file (openat2's RESOLVE_NO_SYMLINKS, or a walk by O_NOFOLLOW where the
//! kernel has none): a directory swapped for a link while we write leads nowhere.

#![expect(clippy::disallowed_methods, reason = "this is the module that touches the disk")]

mod digest;
mod file;
mod here;
mod outside;
mod reading;
mod root;
mod writing;

pub use here::Here;
pub use outside::{
    Names, Renewed, create_report, look_at, names_below, open_log, real_path, stat_operand, umask, weigh,
};

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process;

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::sftp::wire::BoxFuture;
use crate::verify::{Algorithm, Digest};

use super::{Change, How, Identity, Listing, Result, Sink, Source, Tree, Used, split};
use file::OpenFile;
use reading::Reading;
use root::{Dir, Follow, Root, apply, create, list, meta, no_follow, open_for_reading, read_full};
use writing::Writing;

/// One read or write: as much as SFTP carries in one request to OpenSSH (`limits@openssh.com`).
const CHUNK: usize = 255 * 1024;

/// A directory of the local disk and all below it.
#[derive(Clone)]
pub struct Local {
    root: Arc<Root>,
    hop: Arc<str>,
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

    /// Whether this process may read what is at `path`.
    pub async fn may_read(&self, path: &[u8]) -> bool {
        let read = self.run(Stage::Open, path, |root, path| {
            let (dir, name) = root.parent(path)?;
            Ok(fs::accessat(dir, name, fs::Access::READ_OK, AtFlags::empty())?)
        });
        read.await.is_ok()
    }

    /// Whether this process may make something in the directory `path`.
    pub async fn may_write_in(&self, path: &[u8]) -> bool {
        let written = self.run(Stage::Open, path, |root, path| {
            let (dir, name) = root.parent(path)?;
            Ok(fs::accessat(dir, name, fs::Access::WRITE_OK | fs::Access::EXEC_OK, AtFlags::EACCESS)?)
        });
        written.await.is_ok()
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
            Ok(Box::new(Reading::new(self.open_file(path, file))) as Box<dyn Source>)
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
            Ok(Box::new(Writing::new(self.open_file(path, file))) as Box<dyn Sink>)
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
