//! A file as both ends describe it: what a listing yields and what the plan compares.
//!
//! Names and link targets are bytes, never text: POSIX and SFTP v3 both allow any byte but NUL (and `/` in a name).

/// File type, from the `S_IFMT` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Dir,
    Symlink,
    /// Block or character device.
    Device,
    /// FIFO or socket.
    Special,
}

impl Kind {
    /// From `st_mode`. Unknown or absent type bits are `None`: SFTP servers may leave permissions out altogether.
    pub fn from_mode(mode: u32) -> Option<Kind> {
        Some(match mode & 0o170000 {
            0o100000 => Kind::File,
            0o040000 => Kind::Dir,
            0o120000 => Kind::Symlink,
            0o060000 | 0o020000 => Kind::Device,
            0o010000 | 0o140000 => Kind::Special,
            _ => return None,
        })
    }
}

/// What is known of one file, without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub kind: Kind,
    /// Bytes; for anything but a regular file whatever the end said.
    pub size: u64,
    /// Seconds since the epoch. SFTP v3 carries them as u32 (draft-ietf-secsh-filexfer-02 §5), a local disk as i64.
    pub mtime: i64,
    /// Nanoseconds; 0 where the end cannot tell.
    pub mtime_nsec: u32,
    /// The last access, in whole seconds since the epoch.
    pub atime: i64,
    /// The twelve permission bits (setuid, setgid, sticky, rwx × 3).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Device and inode where known (local disks), for `-x` and for telling that a file changed under us.
    pub dev: u64,
    pub ino: u64,
    /// How many names the file has; 0 where the end does not tell.
    pub links: u64,
}

impl Meta {
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }
    pub fn is_file(&self) -> bool {
        self.kind == Kind::File
    }
}

/// One entry of a directory's listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Base name: no `/`, no NUL, never empty, `.` or `..`.
    pub name: Vec<u8>,
    pub meta: Meta,
    /// A symlink's target, read with the listing.
    pub target: Option<Vec<u8>>,
}
