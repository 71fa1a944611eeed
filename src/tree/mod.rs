//! The two ends of a transfer behind one trait. [`local`] is the only user of the disk; [`remote`] is SFTP.
//!
//! A tree is rooted: every path is relative to the root's directory, with `/` between names and no `.` or `..`; the empty
//! path is the root itself. Small files move in one call each, so that an end can do all of their steps at once; large
//! ones move through a [`Source`] and a [`Sink`].

pub mod accounts;
mod buffers;
pub mod local;
pub mod remote;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::entry::{Entry, Meta};
use crate::fault::Fault;
use crate::plan::delta;
use crate::sftp::session::Held;
use crate::sftp::wire::BoxFuture;
use crate::verify::parts::Of;
use crate::verify::{Algorithm, Digest};

pub type Result<T> = std::result::Result<T, Fault>;

/// Attributes to be set; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// The twelve permission bits.
    pub mode: Option<u32>,
    /// Seconds and nanoseconds; SFTP carries whole seconds as u32.
    pub mtime: Option<(i64, u32)>,
    /// Seconds; only together with `mtime`, because SFTP sets both.
    pub atime: Option<i64>,
    pub owner: Option<u32>,
    pub group: Option<u32>,
}

impl Change {
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }
}

/// What [`Tree::commit_proven`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    /// The file's hash, and what made it.
    pub digest: Digest,
    pub by: &'static str,
    /// It has its attributes and its name. Else it is where it was, with another hash, or with the right one and still to be committed.
    pub committed: bool,
}

/// What [`Tree::read_hashed`] read.
#[derive(Debug)]
pub struct ReadHashed {
    pub data: Bytes,
    /// Of the data, and what made it.
    pub digest: Digest,
    pub by: &'static str,
    pub used: Used,
}

/// On which lane and channel something was done; nothing for a local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    pub lane: Option<u32>,
    pub channel: Option<u32>,
}

/// A directory's entries, and whether all were seen.
#[derive(Debug, Default)]
pub struct Listing {
    pub entries: Vec<Entry>,
    /// Entries that could not be told of (a name that no server may send, a failed stat). Any makes deletion below unsafe.
    pub faults: Vec<Fault>,
}

/// Who we are at an end, as far as it is known: decides what becomes of owner and group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: Vec<u32>,
    pub umask: Option<u32>,
}

impl Identity {
    /// Root may set any group, others one that they are in.
    pub fn may_chgrp(&self, gid: u32) -> bool {
        self.uid == Some(0) || self.uid.is_some() && self.groups.contains(&gid)
    }

    /// Whether it is known that a file can be read, as far as its mode tells. What else there is (lists of access rights, a
    /// root that another host does not trust) it does not tell.
    pub fn may_read(&self, meta: &Meta) -> bool {
        match self.uid {
            _ if meta.mode & 0o444 == 0o444 => true,
            None => false,
            Some(0) => true,
            Some(uid) if uid == meta.uid => meta.mode & 0o400 != 0,
            Some(_) if self.gid == Some(meta.gid) || self.groups.contains(&meta.gid) => meta.mode & 0o040 != 0,
            Some(_) => meta.mode & 0o004 != 0,
        }
    }
}

/// One end, rooted at a directory.
pub trait Tree: Send + Sync {
    /// The end's name in faults: the hop, or `local`.
    fn hop(&self) -> &Arc<str>;

    /// The root as a person would write it, for messages.
    fn root(&self) -> &[u8];

    /// `None` if there is no such file. With `follow`, what a symlink points to.
    fn stat<'a>(&'a self, path: &'a [u8], follow: bool) -> BoxFuture<'a, Result<Option<Meta>>>;

    fn read_link<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>>>;

    /// All entries but `.` and `..`, in no order, symlinks with their targets. With `follow` (`-L`), entries are what their
    /// symlinks point to.
    fn list<'a>(&'a self, path: &'a [u8], follow: bool) -> BoxFuture<'a, Result<Listing>>;

    /// Reads a file of `size` bytes (at most [`Tree::chunk`]) whole. Returns the bytes, and what a stat said afterwards.
    fn read_small<'a>(&'a self, path: &'a [u8], size: u64, follow: bool) -> BoxFuture<'a, Result<(Bytes, Meta, Used)>>;

    /// As [`Tree::read_small`], with the hash of what was read, of a file that is as it was `before`, in one question to who hashes it there.
    /// `None` where the end cannot do that now, or the file is not as it was: then they are to be asked for one by one.
    fn read_hashed<'a>(&'a self, _path: &'a [u8], _before: &'a Meta) -> BoxFuture<'a, Option<ReadHashed>> {
        Box::pin(std::future::ready(None))
    }

    /// Creates `path`, which must not exist, with `mode` (the umask applies), writes, and closes it.
    ///
    /// With an algorithm its hash is going to be asked for. A tree that can tells it at once, of what lies there, read again;
    /// one that cannot saves the question for its size.
    fn write_small<'a>(
        &'a self,
        path: &'a [u8],
        data: Bytes,
        mode: u32,
        algorithm: Option<Algorithm>,
    ) -> BoxFuture<'a, Result<(Used, Option<Digest>)>>;

    fn open_read<'a>(&'a self, path: &'a [u8], size: u64, follow: bool) -> BoxFuture<'a, Result<Box<dyn Source>>>;

    /// As [`Tree::write_small`], for a file of `size` bytes that is then written in pieces. `exclusive` false opens an
    /// existing file in place (`--inplace`).
    fn open_write<'a>(
        &'a self,
        path: &'a [u8],
        size: u64,
        mode: u32,
        exclusive: bool,
    ) -> BoxFuture<'a, Result<Box<dyn Sink>>>;

    /// As [`Tree::open_write`] of a new file, into which bytes of the file at `old` in the tree `other` of the same end may then
    /// be copied ([`Sink::copy`]), if the end can do that and has it.
    fn open_write_from<'a>(
        &'a self,
        path: &'a [u8],
        size: u64,
        mode: u32,
        _other: &'a dyn Tree,
        _old: &'a [u8],
    ) -> BoxFuture<'a, Result<Box<dyn Sink>>> {
        self.open_write(path, size, mode, true)
    }

    /// What tells the hashes of a file's parts by this algorithm, if anything does.
    fn tells_parts(&self, _algorithm: Algorithm) -> BoxFuture<'_, Option<&'static str>> {
        Box::pin(std::future::ready(None))
    }

    /// Directories below a directory, by their paths in it: hints, in no order, of some or none ([`crate::verify::below`]).
    fn below<'a>(&'a self, _path: &'a [u8]) -> BoxFuture<'a, Vec<Vec<u8>>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Asks for the hashes of a file's parts or the sums of its blocks, as [`crate::verify::parts`] has them; when it returns, the
    /// question is on its way. `None` where the end does not tell them by this algorithm. Of a file that cannot be read there
    /// are none.
    fn parts<'a>(
        &'a self,
        _path: &'a [u8],
        _of: Of,
        _algorithm: Algorithm,
    ) -> BoxFuture<'a, Result<Option<Answer<Vec<Digest>>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Waits until this end can do with one more file of `size` bytes that moves in pieces; held until its last piece has moved.
    fn room(&self, _size: u64) -> BoxFuture<'_, Option<OwnedSemaphorePermit>> {
        Box::pin(std::future::ready(None))
    }

    /// The largest piece that one read or write may have, in bytes; also what is small.
    fn chunk(&self) -> usize;

    /// Hashes the file's bytes as this end has them, by the best way it has, or by reading them back. Says which.
    fn digest<'a>(&'a self, path: &'a [u8], size: u64, how: How) -> BoxFuture<'a, Result<(Digest, &'static str)>>;

    /// Sets attributes of `temp`, then renames it onto `path`, replacing what is there.
    fn commit<'a>(&'a self, temp: &'a [u8], path: &'a [u8], change: Change) -> BoxFuture<'a, Result<()>>;

    /// As [`Tree::digest`] and then, if the hash is `wanted` (with the file's size), [`Tree::commit`], in one question. `None`, and
    /// nothing has happened, where the end cannot do that: then they are to be asked for one after the other.
    fn commit_proven<'a>(
        &'a self,
        _temp: &'a [u8],
        _path: &'a [u8],
        _change: Change,
        _wanted: (Digest, u64),
    ) -> BoxFuture<'a, Result<Option<Proven>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn set<'a>(&'a self, path: &'a [u8], change: Change, symlink: bool) -> BoxFuture<'a, Result<()>>;

    fn mkdir<'a>(&'a self, path: &'a [u8], mode: u32) -> BoxFuture<'a, Result<()>>;

    /// As [`Tree::mkdir`], for a directory in one that was asked for in this way too, and may not be there yet; when it returns, the
    /// request is on its way behind that one's. `None` where what lies above has to be there first.
    fn mkdir_next<'a>(&'a self, _path: &'a [u8], _mode: u32) -> BoxFuture<'a, Result<Option<Answer<()>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Creates a symlink at `path`, which must not exist.
    fn symlink<'a>(&'a self, target: &'a [u8], path: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Gives the file at `path` another name, `to` in the tree `other` of the same end, which must not exist. Of a symlink the
    /// link itself.
    fn hard_link<'a>(&'a self, path: &'a [u8], other: &'a dyn Tree, to: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Copies the bytes of a file of `size` to `to` in the tree `other` of the same end, which must not exist, without their leaving
    /// that end. False where it cannot; then something may be at `to`.
    fn copy_to<'a>(
        &'a self,
        path: &'a [u8],
        size: u64,
        other: &'a dyn Tree,
        to: &'a [u8],
    ) -> BoxFuture<'a, Result<bool>>;

    /// Moves what is at `path` to `to` in the tree `other` of the same end, replacing what is there.
    fn move_to<'a>(&'a self, path: &'a [u8], other: &'a dyn Tree, to: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Makes a device, FIFO or socket like the one at `path` in `source`.
    fn node_like<'a>(&'a self, path: &'a [u8], source: &'a dyn Tree, from: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Whether two devices, FIFOs or sockets are of the same type and number.
    fn is_node_like<'a>(&'a self, path: &'a [u8], source: &'a dyn Tree, from: &'a [u8]) -> BoxFuture<'a, Result<bool>>;

    /// Cuts a file to `size` bytes.
    fn truncate<'a>(&'a self, path: &'a [u8], size: u64) -> BoxFuture<'a, Result<()>>;

    /// Returns when what was written to a file is on the disk.
    fn sync<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Another directory of the same end: `path` is relative to this one's, or absolute. Unlike paths within the tree it
    /// may lead out of it: it is what a user names.
    fn beside<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Arc<dyn Tree>>>;

    /// Where a link to a directory leads to: a path within the root, or `None` if it leads elsewhere.
    fn leads_to<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;

    /// The root's absolute path.
    fn absolute(&self) -> BoxFuture<'_, Result<Vec<u8>>>;

    /// The local disk, if this is it.
    fn as_local(&self) -> Option<&local::Local> {
        None
    }

    fn remove<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Removes a directory after all that was asked for in this way before, and has to be gone first; when it returns, the request is on its
    /// way behind those. `None` where that has to be waited for.
    fn rmdir_next<'a>(&'a self, _path: &'a [u8]) -> BoxFuture<'a, Result<Option<Answer<()>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn rmdir<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    fn identity(&self) -> BoxFuture<'_, Result<Identity>>;

    /// Returns when nothing that was asked for, and whose answer nobody awaits any more, can still make a file. To be called
    /// when a run is given up, before its temporary files are removed.
    fn settle(&self) -> BoxFuture<'_, ()>;
}

/// How a hash is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By the best means of the end, which decides the algorithm for a remote one.
    Best(Algorithm),
    /// By reading the bytes back over SFTP (a local end reads its disk either way).
    Readback(Algorithm),
}

impl How {
    pub fn algorithm(self) -> Algorithm {
        match self {
            How::Best(algorithm) | How::Readback(algorithm) => algorithm,
        }
    }
}

/// An answer to come, of a request that is already on its way.
pub type Answer<T> = BoxFuture<'static, Result<T>>;

/// A file open for reading.
pub trait Source: Send + Sync {
    /// Asks for bytes from `offset`: fewer than `len` come only at the end of the file, none beyond it. Waits for the
    /// budget; when it returns, the request is on its way.
    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Answer<Bytes>>>;

    /// Has the file hashed by whoever reads it, by an end that reads its own disk anyway. To be asked for before anything is read.
    fn hash_behind(&mut self, _algorithm: Algorithm) {}

    /// Closes, and tells what the file is by now; and the hash of what was read, if that was to be made meanwhile and all of it was
    /// read, each byte once.
    fn finish(self: Box<Self>) -> Answer<(Meta, Option<Digest>)>;

    fn used(&self) -> Used;
}

/// A file open for writing.
pub trait Sink: Send + Sync {
    /// Writes at `offset`. Waits for the budget; when it returns, the request is on its way. `held` is dropped when it has
    /// been acknowledged, whether or not anybody looks at the answer: who waits for a budget may be who would look.
    fn write_at(&self, offset: u64, data: Bytes, held: Held) -> BoxFuture<'_, Result<Answer<()>>>;

    /// Whether [`Sink::copy`] can be asked for.
    fn copies(&self) -> bool {
        false
    }

    /// Copies bytes of the old file ([`Tree::open_write_from`]). Waits for its turn; when it returns, the request is on its way. `None`
    /// where there is nothing to copy from.
    fn copy(&self, _run: delta::Run) -> BoxFuture<'_, Result<Option<Answer<()>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Has the file hashed behind the writing, of what then lies there, by an end that reads its own disk anyway. To be asked for
    /// before anything is written.
    fn hash_behind(&mut self, _algorithm: Algorithm) {}

    /// Closes, all writes being acknowledged, having checked that the file has `size` bytes. Tells its hash, if that was to be
    /// made meanwhile and all was written in order.
    fn finish(self: Box<Self>, size: u64) -> Answer<Option<Digest>>;

    fn used(&self) -> Used;
}

/// Joins a root or directory and a relative path.
pub fn join(base: &[u8], path: &[u8]) -> Vec<u8> {
    match (base.is_empty(), path.is_empty()) {
        (true, true) => b".".to_vec(),
        (true, false) => path.to_vec(),
        (false, true) => base.to_vec(),
        (false, false) if base.ends_with(b"/") => [base, path].concat(),
        (false, false) => [base, b"/", path].concat(),
    }
}

/// The directory that `path` lies in, and its name there.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_read_a_file_is_told_by_its_mode_and_never_guessed() {
        let meta = |mode, uid, gid| Meta {
            kind: crate::entry::Kind::File,
            size: 0,
            mtime: 0,
            mtime_nsec: 0,
            atime: 0,
            mode,
            uid,
            gid,
            dev: 0,
            ino: 0,
            links: 1,
        };
        let nobody = Identity::default();
        let login = Identity { uid: Some(7), gid: Some(8), groups: vec![9], umask: None };
        assert!(nobody.may_read(&meta(0o444, 1, 1)) && nobody.may_read(&meta(0o644, 1, 1)));
        assert!(!nobody.may_read(&meta(0o640, 1, 1)) && !login.may_read(&meta(0o640, 1, 1)));
        assert!(login.may_read(&meta(0o600, 7, 1)) && login.may_read(&meta(0o040, 1, 9)));
        assert!(login.may_read(&meta(0o040, 1, 8)) && login.may_read(&meta(0o004, 1, 1)));
        // The owner's bits are all that counts for the owner.
        assert!(!login.may_read(&meta(0o044, 7, 8)));
        assert!(Identity { uid: Some(0), ..nobody }.may_read(&meta(0, 1, 1)));
    }

    #[test]
    fn paths_join_and_split_without_doubling_slashes() {
        assert_eq!(join(b"", b""), b".");
        assert_eq!(join(b"/", b"a"), b"/a");
        assert_eq!(join(b"a", b"b/c"), b"a/b/c");
        assert_eq!(join(b"", b"b"), b"b");
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
    }
}
