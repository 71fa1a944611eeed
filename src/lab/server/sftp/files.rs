//! The server itself: a request in, its reply out, the disk in between. No sockets, no waiting.

use std::fs::{self, File, OpenOptions, ReadDir};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use bytes::{BufMut, BytesMut};

use super::Extensions;
use super::attrs::{self, Attrs};
use super::codec::{Fields, kind, put_packet, put_string};
use super::paths::Paths;
use super::status::{EOF, FAILURE, OK, Outcome, Refusal, UNSUPPORTED, bad, put_status, text};
use crate::lab::faults::{Faults, Trouble};
use crate::lab::server::Config;

/// The largest READ and WRITE that OpenSSH advertises (SFTP_MAX_MSG_LENGTH − 1024).
const MAX_DATA: u32 = (256 << 10) - 1024;
/// Open handles at most; what a process gets from RLIMIT_NOFILE's usual 1024.
const MAX_HANDLES: usize = 1019;
/// Names in one NAME reply, as in OpenSSH.
const NAMES: usize = 100;

// OPEN's flags, §6.3.
const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREAT: u32 = 8;
const TRUNC: u32 = 16;
const EXCL: u32 = 32;

enum Handle {
    File { file: File, path: PathBuf, append: bool, written: bool },
    Dir { entries: ReadDir, path: PathBuf, dots: bool },
}

/// The state of one SFTP channel.
pub struct Core {
    paths: Paths,
    extensions: Extensions,
    /// OpenSSH takes SYMLINK's arguments in the other order than the draft.
    target_first: bool,
    faults: Faults,
    handles: Vec<Option<Handle>>,
    /// Those of them that are unused, the last one freed last.
    unused: Vec<usize>,
    /// How often one of those is given.
    again: u64,
    ready: bool,
}

impl Core {
    pub fn new(config: &Config) -> Core {
        Core {
            paths: Paths { home: config.home.clone(), root: config.root.clone() },
            extensions: config.extensions,
            target_first: config.banner.contains("OpenSSH"),
            faults: config.faults.clone(),
            handles: Vec::new(),
            unused: Vec::new(),
            again: config.handles_again,
            ready: false,
        }
    }

    /// Answers one packet (without its length) at the end of `out`. `None`: the client speaks no SFTP, hang up.
    pub fn answer(&mut self, packet: &[u8], out: &mut BytesMut) -> Option<()> {
        let mut fields = Fields(packet);
        let request = fields.u8()?;
        if request == kind::INIT {
            self.ready = true;
            self.version(out);
            return Some(());
        }
        if !self.ready {
            return None;
        }
        let id = fields.u32()?;
        let answer = self.faults.meet(|t| match *t {
            Trouble::Answer { request: of, status, text } if of == request => Some((status, text)),
            _ => None,
        });
        if let Some((status, text)) = answer {
            if request == kind::CLOSE {
                // What is told of it is another thing: the handle is free, as in OpenSSH.
                let _ = self.close(&mut fields);
            }
            put_status(out, id, status, text);
            return Some(());
        }
        let before = out.len();
        let outcome = self.request(request, id, &mut fields, out);
        match outcome {
            Ok(()) if out.len() == before => put_status(out, id, OK, text(OK)),
            Ok(()) => {}
            Err(refusal) => {
                out.truncate(before);
                put_status(out, id, refusal.code(), text(refusal.code()));
            }
        }
        Some(())
    }

    fn version(&self, out: &mut BytesMut) {
        let e = self.extensions;
        put_packet(out, kind::VERSION, 3, |out| {
            let offers: [(bool, &[u8], &[u8]); 7] = [
                (e.posix_rename, b"posix-rename@openssh.com", b"1"),
                (e.statvfs, b"statvfs@openssh.com", b"2"),
                (e.hardlink, b"hardlink@openssh.com", b"1"),
                (e.fsync, b"fsync@openssh.com", b"1"),
                (e.lsetstat, b"lsetstat@openssh.com", b"1"),
                (e.limits, b"limits@openssh.com", b"1"),
                (e.copy_data, b"copy-data", b"1"),
            ];
            for (_, name, version) in offers.into_iter().filter(|(offered, ..)| *offered) {
                put_string(out, name);
                put_string(out, version);
            }
        });
    }

    fn request(&mut self, request: u8, id: u32, fields: &mut Fields, out: &mut BytesMut) -> Outcome {
        match request {
            kind::OPEN => self.open(id, fields, out),
            kind::CLOSE => self.close(fields),
            kind::READ => self.read(id, fields, out),
            kind::WRITE => self.write(fields),
            kind::LSTAT => {
                let meta = fs::symlink_metadata(self.path(fields)?)?;
                put_packet(out, kind::ATTRS, id, |out| attrs::put(out, &meta));
                Ok(())
            }
            kind::STAT => {
                let meta = fs::metadata(self.path(fields)?)?;
                put_packet(out, kind::ATTRS, id, |out| attrs::put(out, &meta));
                Ok(())
            }
            kind::FSTAT => {
                let meta = match self.handle(fields)? {
                    Handle::File { file, .. } => file.metadata()?,
                    Handle::Dir { path, .. } => fs::metadata(path)?,
                };
                put_packet(out, kind::ATTRS, id, |out| attrs::put(out, &meta));
                Ok(())
            }
            kind::SETSTAT => {
                let path = self.path(fields)?;
                Ok(Attrs::read(fields).ok_or_else(bad)?.apply(&path)?)
            }
            kind::FSETSTAT => {
                let handle = self.slot(fields)?;
                let attrs = Attrs::read(fields).ok_or_else(bad)?;
                match self.at(handle)? {
                    Handle::File { file, .. } => Ok(attrs.apply_to_file(file)?),
                    Handle::Dir { path, .. } => Ok(attrs.apply(path)?),
                }
            }
            kind::OPENDIR => {
                let path = self.path(fields)?;
                let entries = fs::read_dir(&path)?;
                self.put_handle(id, Handle::Dir { entries, path, dots: false }, out)
            }
            kind::READDIR => self.read_dir(id, fields, out),
            kind::REMOVE => Ok(rustix::fs::unlink(self.path(fields)?)?),
            kind::MKDIR => {
                let path = self.path(fields)?;
                let mode = Attrs::read(fields).ok_or_else(bad)?.mode.unwrap_or(0o777);
                Ok(rustix::fs::mkdir(path, rustix::fs::Mode::from_raw_mode(mode & 0o7777))?)
            }
            kind::RMDIR => Ok(fs::remove_dir(self.path(fields)?)?),
            kind::REALPATH => {
                let path = self.paths.canonical(fields.string().ok_or_else(bad)?)?;
                Self::put_name(id, &path, out);
                Ok(())
            }
            kind::RENAME => {
                let (from, to) = (self.path(fields)?, self.path(fields)?);
                // Without the extension, an existing target is never replaced (v3).
                use rustix::fs::{CWD, RenameFlags, renameat_with};
                Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
            }
            kind::READLINK => {
                let target = fs::read_link(self.path(fields)?)?;
                Self::put_name(id, target.as_os_str().as_bytes(), out);
                Ok(())
            }
            kind::SYMLINK => {
                let (first, second) = (fields.string().ok_or_else(bad)?, fields.string().ok_or_else(bad)?);
                let (target, link) = if self.target_first { (first, second) } else { (second, first) };
                Ok(rustix::fs::symlink(target, self.paths.real(link))?)
            }
            kind::EXTENDED => self.extended(id, fields, out),
            _ => Err(Refusal::Status(UNSUPPORTED)),
        }
    }

    fn extended(&mut self, id: u32, fields: &mut Fields, out: &mut BytesMut) -> Outcome {
        let e = self.extensions;
        match fields.string().ok_or_else(bad)? {
            b"limits@openssh.com" if e.limits => {
                put_packet(out, kind::EXTENDED_REPLY, id, |out| {
                    out.put_u64(super::MAX_PACKET as u64);
                    out.put_u64(MAX_DATA.into());
                    out.put_u64(MAX_DATA.into());
                    out.put_u64(MAX_HANDLES as u64);
                });
                Ok(())
            }
            b"posix-rename@openssh.com" if e.posix_rename => {
                let (from, to) = (self.path(fields)?, self.path(fields)?);
                Ok(fs::rename(from, to)?)
            }
            b"fsync@openssh.com" if e.fsync => match self.handle(fields)? {
                Handle::File { file, .. } => Ok(file.sync_all()?),
                Handle::Dir { .. } => Err(bad()),
            },
            b"copy-data" if e.copy_data => {
                let (from, at) = (self.slot(fields)?, fields.u64().ok_or_else(bad)?);
                let len = fields.u64().ok_or_else(bad)?;
                let (to, start) = (self.slot(fields)?, fields.u64().ok_or_else(bad)?);
                self.copy_data((from, at), len, (to, start))
            }
            b"hardlink@openssh.com" if e.hardlink => {
                let (from, to) = (self.path(fields)?, self.path(fields)?);
                Ok(rustix::fs::link(from, to)?)
            }
            b"lsetstat@openssh.com" if e.lsetstat => {
                let path = self.path(fields)?;
                Ok(Attrs::read(fields).ok_or_else(bad)?.apply_to_link(&path)?)
            }
            b"statvfs@openssh.com" if e.statvfs => {
                let s = rustix::fs::statvfs(self.path(fields)?)?;
                put_packet(out, kind::EXTENDED_REPLY, id, |out| {
                    for field in [s.f_bsize, s.f_frsize, s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree] {
                        out.put_u64(field);
                    }
                    for field in [s.f_favail, s.f_fsid, u64::from(s.f_flag.bits() & 3 != 0), s.f_namemax] {
                        out.put_u64(field);
                    }
                });
                Ok(())
            }
            _ => Err(Refusal::Status(UNSUPPORTED)),
        }
    }

    fn open(&mut self, id: u32, fields: &mut Fields, out: &mut BytesMut) -> Outcome {
        let path = self.path(fields)?;
        let flags = fields.u32().ok_or_else(bad)?;
        let mode = Attrs::read(fields).ok_or_else(bad)?.mode.unwrap_or(0o666);
        let has = |flag| flags & flag != 0;
        // std refuses CREAT or TRUNC without WRITE; open(2) does what OpenSSH's server passes it.
        let mut bits = 0;
        for (flag, bit) in [(CREAT, libc::O_CREAT), (TRUNC, libc::O_TRUNC), (EXCL, libc::O_EXCL)] {
            bits |= if has(flag) { bit } else { 0 };
        }
        let mut options = OpenOptions::new();
        options.read(has(READ) || !has(WRITE)).write(has(WRITE)).append(has(APPEND) && has(WRITE));
        let file = options.custom_flags(bits).mode(mode & 0o7777).open(&path)?;
        self.put_handle(id, Handle::File { file, path, append: has(APPEND), written: false }, out)
    }

    fn close(&mut self, fields: &mut Fields) -> Outcome {
        let slot = self.slot(fields)?;
        let handle = self.handles.get_mut(slot).and_then(Option::take).ok_or(Refusal::Status(FAILURE))?;
        self.unused.push(slot);
        let Handle::File { file, path, written: true, .. } = handle else { return Ok(()) };
        drop(file);
        if let Some(((), strike)) = self.faults.choose(|t| (*t == Trouble::CorruptFile).then_some(()))
            && flip(&path)?
        {
            strike.struck();
        }
        Ok(())
    }

    fn read(&mut self, id: u32, fields: &mut Fields, out: &mut BytesMut) -> Outcome {
        let slot = self.slot(fields)?;
        let offset = fields.u64().ok_or_else(bad)?;
        let asked = fields.u32().ok_or_else(bad)?.min(MAX_DATA);
        let (short, strike) = self
            .faults
            .choose(|t| match *t {
                Trouble::ShortRead { max } => Some(max.max(1)),
                _ => None,
            })
            .unzip();
        let spoil = self.faults.choose(|t| (*t == Trouble::CorruptRead).then_some(()));
        let length = asked.min(short.unwrap_or(asked));
        let Handle::File { file, .. } = self.at(slot)? else { return Err(bad()) };
        let mut result = Ok(0);
        put_packet(out, kind::DATA, id, |out| {
            out.put_u32(0);
            let start = out.len();
            out.resize(start + length as usize, 0);
            result = file.read_at(&mut out[start..], offset);
            let n = *result.as_ref().unwrap_or(&0);
            out.truncate(start + n);
            if let Some(((), strike)) = spoil.filter(|_| n > 0) {
                out[start + n / 2] ^= 1;
                strike.struck();
            }
            out[start - 4..start].copy_from_slice(&(n as u32).to_be_bytes());
        });
        let end = offset.saturating_add(u64::from(length));
        if let Some(strike) = strike.filter(|_| length < asked)
            && file.metadata().is_ok_and(|meta| meta.len() > end)
        {
            strike.struck();
        }
        match result? {
            0 if length > 0 => Err(Refusal::Status(EOF)),
            _ => Ok(()),
        }
    }

    fn write(&mut self, fields: &mut Fields) -> Outcome {
        let slot = self.slot(fields)?;
        let offset = fields.u64().ok_or_else(bad)?;
        let data = fields.string().ok_or_else(bad)?;
        let Handle::File { file, append, written, .. } = self.at(slot)? else { return Err(bad()) };
        *written = true;
        match *append {
            true => io::Write::write_all(file, data)?,
            false => file.write_all_at(data, offset)?,
        }
        Ok(())
    }

    fn read_dir(&mut self, id: u32, fields: &mut Fields, out: &mut BytesMut) -> Outcome {
        let Handle::Dir { entries, path, dots } = self.handle(fields)? else { return Err(bad()) };
        let mut names = Vec::with_capacity(NAMES);
        if !std::mem::replace(dots, true) {
            for name in [".", ".."] {
                names.push((name.as_bytes().to_vec(), fs::symlink_metadata(path.join(name))?));
            }
        }
        for entry in entries.by_ref() {
            let entry = entry?;
            // What vanishes between the listing and its stat is left out, as in OpenSSH.
            if let Ok(meta) = fs::symlink_metadata(entry.path()) {
                names.push((entry.file_name().as_bytes().to_vec(), meta));
            }
            if names.len() == NAMES {
                break;
            }
        }
        if names.is_empty() {
            return Err(Refusal::Status(EOF));
        }
        put_packet(out, kind::NAME, id, |out| {
            out.put_u32(names.len() as u32);
            for (name, meta) in &names {
                put_string(out, name);
                put_string(out, &attrs::long_name(name, meta));
                attrs::put(out, meta);
            }
        });
        Ok(())
    }

    /// A length of 0 is all that there is (filexfer-extensions-00 §7); a longer one than that ends with EOF, as in OpenSSH.
    fn copy_data(&mut self, (from, mut at): (usize, u64), len: u64, (to, mut start): (usize, u64)) -> Outcome {
        let mut left = if len == 0 { u64::MAX } else { len };
        let mut buffer = vec![0; 64 << 10];
        let mut spoil = self.faults.choose(|t| (*t == Trouble::CorruptCopy).then_some(()));
        while left > 0 {
            let Handle::File { file, .. } = self.at(from)? else { return Err(bad()) };
            let many = file.read_at(&mut buffer[..left.min(64 << 10) as usize], at)?;
            if many == 0 {
                return if len == 0 { Ok(()) } else { Err(Refusal::Status(EOF)) };
            }
            if let Some(((), strike)) = spoil.take() {
                buffer[many / 2] ^= 1;
                strike.struck();
            }
            let Handle::File { file, written, .. } = self.at(to)? else { return Err(bad()) };
            *written = true;
            file.write_all_at(&buffer[..many], start)?;
            (at, start, left) = (at + many as u64, start + many as u64, left - many as u64);
        }
        Ok(())
    }

    /// A NAME reply of one name without attributes.
    fn put_name(id: u32, name: &[u8], out: &mut BytesMut) {
        put_packet(out, kind::NAME, id, |out| {
            out.put_u32(1);
            put_string(out, name);
            put_string(out, name);
            out.put_u32(0);
        });
    }

    fn path(&self, fields: &mut Fields) -> Result<PathBuf, Refusal> {
        Ok(self.paths.real(fields.string().ok_or_else(bad)?))
    }

    /// Handles are four binary bytes, the number that was freed last, as in OpenSSH, while that goes on.
    fn put_handle(&mut self, id: u32, handle: Handle, out: &mut BytesMut) -> Outcome {
        let freed = if self.again > 0 { self.unused.pop() } else { None };
        self.again -= u64::from(freed.is_some());
        let slot = freed.unwrap_or(self.handles.len());
        if slot >= MAX_HANDLES {
            return Err(Refusal::Status(FAILURE));
        }
        match self.handles.get_mut(slot) {
            Some(free) => *free = Some(handle),
            None => self.handles.push(Some(handle)),
        }
        put_packet(out, kind::HANDLE, id, |out| put_string(out, &(slot as u32).to_be_bytes()));
        Ok(())
    }

    fn slot(&self, fields: &mut Fields) -> Result<usize, Refusal> {
        let name = fields.string().ok_or_else(bad)?;
        let number: [u8; 4] = name.try_into().map_err(|_| Refusal::Status(FAILURE))?;
        Ok(u32::from_be_bytes(number) as usize)
    }

    fn at(&mut self, slot: usize) -> Result<&mut Handle, Refusal> {
        self.handles.get_mut(slot).and_then(Option::as_mut).ok_or(Refusal::Status(FAILURE))
    }

    fn handle(&mut self, fields: &mut Fields) -> Result<&mut Handle, Refusal> {
        let slot = self.slot(fields)?;
        self.at(slot)
    }
}

/// Flips the lowest bit of the middle byte, and leaves the times as they were: what a bad disk does. False if there is none.
fn flip(path: &std::path::Path) -> io::Result<bool> {
    let file = File::options().read(true).write(true).open(path)?;
    let meta = file.metadata()?;
    if meta.len() == 0 {
        return Ok(false);
    }
    let mut byte = [0];
    let middle = meta.len() / 2;
    file.read_exact_at(&mut byte, middle)?;
    byte[0] ^= 1;
    file.write_all_at(&byte, middle)?;
    file.set_times(fs::FileTimes::new().set_modified(meta.modified()?).set_accessed(meta.accessed()?))?;
    Ok(true)
}
