//! What lies outside of every tree: operands as they are looked at first, reports, logs, the umask.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process;

use crate::entry::Meta;
use crate::fault::{Fault, Stage};
use crate::tree::{Result, join};

use super::blocking;
use super::root::meta;

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

/// Entries in a directory and below, and bytes of its files; `None` once that is more of either than was said, or finding it out
/// has taken so long. What cannot be looked at is told when it is walked. By a caller who may wait for the disk.
pub fn weigh(path: &Path, most: usize, most_bytes: u64, patience: Duration) -> Option<(usize, u64)> {
    let started = Instant::now();
    let (mut entries, mut bytes, mut open) = (0, 0u64, vec![path.to_owned()]);
    while let Some(directory) = open.pop() {
        let Ok(found) = std::fs::read_dir(directory) else { continue };
        for entry in found.flatten() {
            entries += 1;
            if let Ok(meta) = entry.metadata() {
                if meta.is_dir() {
                    open.push(entry.path());
                } else {
                    bytes = bytes.saturating_add(meta.len());
                }
            }
            if entries > most || bytes > most_bytes || started.elapsed() > patience {
                return None;
            }
        }
    }
    Some((entries, bytes))
}

/// What a directory has in it: names, those of directories with what they are.
pub type Names = HashMap<Vec<u8>, Option<Box<Meta>>>;

/// The names in a directory and in those below it, by their paths in it; `None` if there are more than `most`. Links are not
/// gone through.
pub async fn names_below(top: &Path, most: usize) -> Result<Option<HashMap<Vec<u8>, Result<Names>>>> {
    let top = top.to_owned();
    blocking(move || {
        let (mut all, mut many, mut open) = (HashMap::new(), 0, vec![Vec::new()]);
        while let Some(dir) = open.pop() {
            let at = top.join(OsStr::from_bytes(&dir));
            let names = names(&at).map_err(|e| Fault::local(Stage::List, &e, format_args!("\"{}\"", at.display())));
            if let Ok(names) = &names {
                many += names.len();
                let dirs = names.iter().filter(|(_, meta)| meta.is_some());
                open.extend(dirs.map(|(name, _)| if dir.is_empty() { name.clone() } else { join(&dir, name) }));
            }
            if many > most {
                return Ok(None);
            }
            all.insert(dir, names);
        }
        Ok(Some(all))
    })
    .await
}

fn names(dir: &Path) -> io::Result<Names> {
    let mut names = Names::new();
    for found in std::fs::read_dir(dir)? {
        let found = found?;
        let is_dir = found.file_type()?.is_dir();
        let stat = if is_dir { Some(Box::new(meta(&fs::lstat(found.path())?))) } else { None };
        names.insert(found.file_name().into_encoded_bytes(), stat);
    }
    Ok(names)
}

/// A path without links and dots; `None` where nothing is there.
pub async fn real_path(path: &Path) -> Result<Option<PathBuf>> {
    let path = path.to_owned();
    blocking(move || match path.canonicalize() {
        Ok(real) => Ok(Some(real)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Fault::local(Stage::List, &e, format_args!("\"{}\"", path.display()))),
    })
    .await
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
