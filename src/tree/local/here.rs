//! This host's files as another host's `hopsync` asks about them (`--hash-server`).

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};

use crate::sftp::Attrs;
use crate::tree::{Change, join};
use crate::verify::below::{ENTRIES, MOST, SEEN};
use crate::verify::commit::Commit;
use crate::verify::copied::Copying;
use crate::verify::server::{Disk, Hashed};
use crate::verify::{content, listing};

use super::root::apply;

impl Hashed for File {
    fn told(&self) -> io::Result<(u64, i64)> {
        let found = fs::fstat(self)?;
        Ok((found.st_size as u64, found.st_mtime))
    }
}

/// Bytes that are copied at a time.
const COPIED: usize = 256 << 10;

/// This host's files, for another one's `hopsync`. By a caller who may wait for the disk.
pub struct Here;

impl Disk for Here {
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Hashed>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(Box::new(File::from(fs::open(OsStr::from_bytes(path), flags, Mode::empty())?)))
    }

    fn below(&self, path: &[u8]) -> Vec<Vec<u8>> {
        directories_below(path)
    }

    fn list(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut told = Vec::new();
        for entry in std::fs::read_dir(Path::new(OsStr::from_bytes(path)))? {
            let entry = entry?;
            let found = match entry.metadata() {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            // As SFTP tells them: in 32 bits, whatever that makes of them.
            let attrs = Attrs {
                size: Some(found.size()),
                owner: Some((found.uid(), found.gid())),
                permissions: Some(found.mode()),
                times: Some((found.atime() as u32, found.mtime() as u32)),
            };
            let target = if found.is_symlink() { Some(std::fs::read_link(entry.path())?) } else { None };
            let target = target.as_ref().map(|target| target.as_os_str().as_bytes());
            listing::tell(&attrs, entry.file_name().as_bytes(), target, &mut told);
            if told.len() as u64 > content::MOST {
                return Ok(None);
            }
        }
        Ok(Some(told))
    }

    /// The file is one that the other host has seen proven.
    fn commit(&self, commit: &Commit<'_>) -> io::Result<()> {
        let at = commit.temp.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (dir, temp) = commit.temp.split_at(at);
        let dir = OsStr::from_bytes(if dir.is_empty() { b"." } else { dir });
        let dir = fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (uid, gid) = commit.owner.unzip();
        let (atime, mtime) = commit.times.unzip();
        let mtime = mtime.map(|seconds| (i64::from(seconds), 0));
        let change = Change { mode: commit.mode, mtime, atime: atime.map(i64::from), owner: uid, group: gid };
        apply(&dir, OsStr::from_bytes(temp), &change, false)?;
        Ok(fs::renameat(&dir, OsStr::from_bytes(temp), &dir, OsStr::from_bytes(commit.name))?)
    }

    fn copy(&self, copying: &Copying<'_>) -> io::Result<()> {
        let open = |path, flags| -> io::Result<File> {
            Ok(File::from(fs::open(OsStr::from_bytes(path), flags | OFlags::CLOEXEC, Mode::empty())?))
        };
        let (old, new) = (
            open(copying.old, OFlags::RDONLY | OFlags::NONBLOCK)?,
            // It is a file that was made just now: whoever has put a link in its place leads elsewhere.
            open(copying.new, OFlags::WRONLY | OFlags::NOFOLLOW)?,
        );
        let mut buffer = vec![0; COPIED];
        let mut done = 0;
        while done < copying.len {
            let most = buffer.len().min(usize::try_from(copying.len - done).unwrap_or(usize::MAX));
            let read = old.read_at(&mut buffer[..most], copying.from + done)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            new.write_all_at(&buffer[..read], copying.at + done)?;
            done += read as u64;
        }
        Ok(())
    }
}

/// The directories below one, level by level, as [`crate::verify::below`] tells them. By a caller who may wait for the disk.
fn directories_below(top: &[u8]) -> Vec<Vec<u8>> {
    let (mut queue, mut told, mut seen) = (VecDeque::from([Vec::new()]), Vec::new(), 0);
    let top = Path::new(OsStr::from_bytes(top));
    let (Ok(real), Some(mounts)) = (std::fs::canonicalize(top), mount_points()) else { return told };
    while let Some(dir) = queue.pop_front().filter(|_| seen <= SEEN && told.len() < MOST) {
        let (at, real) = (top.join(OsStr::from_bytes(&dir)), real.join(OsStr::from_bytes(&dir)));
        let Ok(found) = std::fs::read_dir(at) else { continue };
        let mut entries = 0;
        for entry in found.flatten().take(ENTRIES + 1) {
            entries += 1;
            let mounted = || mounts.contains(real.join(entry.file_name()).as_os_str().as_bytes());
            if queue.len() < MOST && !mounted() && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name();
                queue.push_back(if dir.is_empty() { name.as_bytes().to_vec() } else { join(&dir, name.as_bytes()) });
            }
        }
        seen += entries;
        if !dir.is_empty() && entries <= ENTRIES {
            told.push(dir);
        }
    }
    told
}

/// Where file systems are mounted (proc(5), mountinfo: the fifth field; one with a blank in its name is not known).
fn mount_points() -> Option<HashSet<Vec<u8>>> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Some(points.map(<[u8]>::to_vec).collect())
}
