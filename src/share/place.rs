//! The directory where holders listen, and the lock that guards every change of holder.
//!
//! Sockets must not be reachable by anyone else: the directory is ours, of mode 0700, and no symlink, or it is not used.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// `sun_path` has 108 bytes on Linux and 104 elsewhere, with the NUL; what we append is 37 (32 digits and `.sock`).
const LONGEST: usize = 103 - 38;

/// A directory that is ours alone.
#[derive(Debug, Clone)]
pub struct Place {
    directory: PathBuf,
}

impl Place {
    /// `$XDG_RUNTIME_DIR/hopsync`, or `/tmp/hopsync-UID` where there is none, or its name is too long for a socket's.
    ///
    /// # Errors
    /// A sentence: the directory is somebody else's, or cannot be made.
    pub fn find() -> Result<Place, String> {
        let uid = rustix::process::getuid().as_raw();
        let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|run| run.is_absolute());
        if let Some(run) = run
            && let Ok(place) = Place::at(run.join("hopsync"))
        {
            return Ok(place);
        }
        Place::at(PathBuf::from(format!("/tmp/hopsync-{uid}")))
    }

    /// A directory of this name.
    pub(super) fn at(directory: PathBuf) -> Result<Place, String> {
        let shown = directory.display();
        if directory.as_os_str().len() > LONGEST {
            return Err(format!("{shown}: the name is too long for sockets in it"));
        }
        match rustix::fs::mkdir(&directory, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(format!("{shown}: {e}")),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&directory, flags, Mode::empty()).map_err(|e| format!("{shown}: {e}"))?;
        let found = rustix::fs::fstat(&opened).map_err(|e| format!("{shown}: {e}"))?;
        if found.st_uid != rustix::process::getuid().as_raw() || found.st_mode & 0o077 != 0 {
            return Err(format!("{shown}: it has to be yours, and of mode 0700"));
        }
        Ok(Place { directory })
    }

    /// The file of this name. Keys are hexadecimal, so that nothing else can be meant.
    pub fn file(&self, key: &str, extension: &str) -> PathBuf {
        self.directory.join(format!("{key}.{extension}"))
    }
}

/// An exclusive flock(2), held until the last descriptor of its open file is closed.
#[derive(Debug)]
pub struct Lock(OwnedFd);

impl Lock {
    /// Waits for the lock of this name. Blocks: not for an async task. The file may be removed by who holds it: then the
    /// lock was for a name that is gone, and the next file of that name is locked instead.
    pub fn wait(path: &Path) -> io::Result<Lock> {
        Lock::take_with(path, FlockOperation::LockExclusive)
    }

    fn take_with(path: &Path, how: FlockOperation) -> io::Result<Lock> {
        loop {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, how))?;
            let locked = rustix::fs::fstat(&file)?;
            match rustix::fs::stat(path) {
                Ok(named) if (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino) => return Ok(Lock(file)),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// As [`Lock::wait`], but `None` where it would have to be waited for.
    pub fn now(path: &Path) -> io::Result<Option<Lock>> {
        match Lock::take_with(path, FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// As [`Lock::wait`], from an async task.
    pub async fn take(path: &Path) -> io::Result<Lock> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Lock::wait(&path)).await.map_err(io::Error::other)?
    }

    /// A lock that another process has taken and handed down.
    pub fn inherited(file: OwnedFd) -> Lock {
        Lock(file)
    }

    /// The descriptor, to be handed down.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Lets go, even if another process has the descriptor too.
    pub fn release(self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Which file a name is of, by device and inode; `None` where there is none. As long as a socket is bound, no other file
/// can have its numbers, even if its name was removed.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::lstat(path).ok()?;
    Some((found.st_dev, found.st_ino))
}

/// Removes names; one that is gone already is fine.
pub fn remove(paths: &[&Path]) {
    for path in paths {
        let _ = rustix::fs::unlink(*path);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests' own scratch files")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_others_can_enter_or_that_is_a_link_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let ours = root.path().join("hopsync");
        assert!(Place::at(ours.clone()).is_ok());
        std::os::unix::fs::symlink(&ours, root.path().join("link")).unwrap();
        assert!(Place::at(root.path().join("link")).is_err());
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(Place::at(ours).unwrap_err().contains("0700"));
        assert!(Place::at(root.path().join("x".repeat(100))).unwrap_err().contains("too long"));
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_on_the_next_file_of_that_name() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.lock");
        let first = Lock::wait(&path).unwrap();
        let waiting = {
            let path = path.clone();
            std::thread::spawn(move || Lock::wait(&path).map(|_| ()))
        };
        remove(&[&path]);
        let second = Lock::wait(&path).unwrap();
        first.release();
        second.release();
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_lock_that_somebody_has_is_not_to_be_had_now() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.lock");
        let first = Lock::now(&path).unwrap().unwrap();
        assert!(Lock::now(&path).unwrap().is_none());
        first.release();
        assert!(Lock::now(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_handed_down_outlives_the_one_who_took_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.lock");
        let starter = Lock::wait(&path).unwrap();
        let holder = Lock::inherited(starter.share().unwrap());
        drop(starter);
        let file = rustix::fs::open(&path, OFlags::RDWR, Mode::empty()).unwrap();
        let now = FlockOperation::NonBlockingLockExclusive;
        assert_eq!(rustix::fs::flock(&file, now), Err(Errno::WOULDBLOCK));
        holder.release();
        assert_eq!(rustix::fs::flock(&file, now), Ok(()));
    }
}
