//! Trees with every odd thing in them, and what differs between two trees.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

/// Content written at once.
const BLOCK: usize = 1 << 20;

/// Creates `path` with `size` bytes that do not compress, the same for the same `seed` (BLAKE3's output stream).
pub fn random_file(path: &Path, size: u64, seed: &[u8]) -> io::Result<()> {
    let mut stream = blake3::Hasher::new().update(seed).finalize_xof();
    let mut file = File::create_new(path)?;
    let mut block = vec![0; BLOCK.min(size as usize)];
    let mut left = size;
    while left > 0 {
        let part = &mut block[..BLOCK.min(left as usize)];
        stream.fill(part);
        file.write_all(part)?;
        left -= part.len() as u64;
    }
    Ok(())
}

/// Creates the directory `at` with `count` files of `size` bytes, a hundred to a directory.
pub fn many_files(at: &Path, count: u64, size: u64) -> io::Result<()> {
    fs::create_dir_all(at)?;
    (0..count).try_for_each(|i| one_of_many(at, i, size).map(drop))
}

/// Creates the file with number `i` of [`many_files`], and its directory; returns its path relative to `at`.
pub fn one_of_many(at: &Path, i: u64, size: u64) -> io::Result<PathBuf> {
    let dir = PathBuf::from(format!("{:03}", i / 100));
    if i.is_multiple_of(100) {
        fs::create_dir_all(at.join(&dir))?;
    }
    let name = dir.join(format!("file-{i:05}"));
    random_file(&at.join(&name), size, &i.to_le_bytes())?;
    Ok(name)
}

/// Sets modification and access time of the file or link itself, in seconds since the epoch.
pub fn set_mtime(path: &Path, seconds: i64) -> io::Result<()> {
    let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// File names that something is known to trip over.
pub fn odd_names() -> Vec<OsString> {
    let long = [b'x'; 255];
    let names: [&[u8]; 21] = [
        b"with space",
        b" leading and trailing ",
        b"new\nline",
        b"tab\tand\rreturn",
        b"not-utf8-\xff\xfe\x80",
        b"latin1-\xe9",
        "snowman-\u{2603}".as_bytes(),
        b"-leading-dash",
        b"--delete",
        b"~tilde",
        b"a:colon",
        b"quo'te\"s",
        b"back\\slash",
        b"$HOME`id`;#&|<>",
        b"*glob?[a-z]",
        b"\x1b[31mescape\x07",
        b"...",
        b".hidden",
        b"%s%n",
        b"\\#012",
        &long,
    ];
    names.into_iter().map(|name| OsStr::from_bytes(name).to_owned()).collect()
}

/// Fills the directory `at` (created if need be) with odd names, empty and sparse files, empty and deep directories,
/// links (relative, absolute, dangling, to a directory, not UTF-8), modes, and times from 1970 to 2040. A few MB.
pub fn odd_tree(at: &Path) -> io::Result<()> {
    fs::create_dir_all(at)?;
    let names = at.join("names");
    fs::create_dir(&names)?;
    for (i, name) in odd_names().iter().enumerate() {
        random_file(&names.join(name), 10 * i as u64 + 1, name.as_bytes())?;
    }
    let odd_dir = at.join(OsStr::from_bytes(b"dir with \xff\nodd name"));
    fs::create_dir_all(odd_dir.join("empty"))?;
    random_file(&odd_dir.join("inside"), 4096, b"inside")?;

    let sizes = at.join("sizes");
    fs::create_dir(&sizes)?;
    // Around the sizes at which SFTP clients and servers cut: 32 KiB packets, 255 KiB requests.
    for size in [0, 1, 32_767, 32_768, 32_769, 261_119, 261_120, 261_121, 1_048_577] {
        random_file(&sizes.join(size.to_string()), size, &size.to_le_bytes())?;
    }
    let sparse = File::create_new(sizes.join("sparse"))?;
    sparse.set_len(4 << 20)?;
    sparse.write_all_at(b"an island", 2 << 20)?;

    let links = at.join("links");
    fs::create_dir(&links)?;
    symlink("../sizes/1", links.join("relative"))?;
    symlink("/etc/hostname", links.join("absolute"))?;
    symlink("nowhere/at all", links.join("dangling"))?;
    symlink("../sizes", links.join("to-directory"))?;
    symlink("self", links.join("self"))?;
    symlink(OsStr::from_bytes(b"t\xffarget\nline"), links.join(OsStr::from_bytes(b"l\xffink")))?;

    fs::create_dir_all(at.join("empty/of/files"))?;
    let deep = (0..20).fold(at.join("deep"), |path, level| path.join(format!("level-{level}")));
    fs::create_dir_all(&deep)?;
    random_file(&deep.join("bottom"), 100, b"bottom")?;

    let modes = at.join("modes");
    fs::create_dir(&modes)?;
    for mode in [0o400, 0o444, 0o600, 0o640, 0o644, 0o755, 0o777] {
        let path = modes.join(format!("{mode:o}"));
        random_file(&path, 10, b"mode")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    fs::set_permissions(at.join("empty"), fs::Permissions::from_mode(0o750))?;

    // 2^31 and beyond: SFTP's times are unsigned. Directories last: their times change as they are filled.
    let times = at.join("times");
    fs::create_dir(&times)?;
    for seconds in [0, 1, 1_000_000_000, 2_147_483_648, 2_208_988_800] {
        let path = times.join(seconds.to_string());
        random_file(&path, 5, b"time")?;
        set_mtime(&path, seconds)?;
    }
    set_mtime(&links.join("dangling"), 1_000_000_001)?;
    for dir in [names, odd_dir, sizes, links, deep, modes, times, at.join("empty"), at.to_owned()] {
        set_mtime(&dir, 1_234_567_890)?;
    }
    Ok(())
}

/// What two trees are compared by, besides names, types, contents and link targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aspects {
    /// The twelve permission bits of files and directories.
    pub modes: bool,
    /// Modification times in whole seconds, of files and directories.
    pub times: bool,
    /// The same of links.
    pub link_times: bool,
    pub owners: bool,
}

impl Aspects {
    /// Content alone.
    pub const CONTENT: Aspects = Aspects { modes: false, times: false, link_times: false, owners: false };
    /// What `-a` preserves, but for the times of links.
    pub const ARCHIVE: Aspects = Aspects { modes: true, times: true, link_times: false, owners: true };
}

/// What differs between two trees (or files), one sentence each, in the order of names; names are escaped. Empty if they
/// are the same. Files are compared by their BLAKE3 hashes, read by this function itself.
pub fn differences(left: &Path, right: &Path, aspects: Aspects) -> io::Result<Vec<String>> {
    let (left_list, right_list) = (list(left)?, list(right)?);
    let mut found = Vec::new();
    for (name, meta) in &left_list {
        match right_list.get(name) {
            None => found.push(format!("{}: missing", show(name))),
            Some(other) => {
                for what in unlike(&at(left, name), meta, &at(right, name), other, aspects)? {
                    found.push(format!("{}: {what}", show(name)));
                }
            }
        }
    }
    found
        .extend(right_list.keys().filter(|name| !left_list.contains_key(*name)).map(|n| format!("{}: extra", show(n))));
    Ok(found)
}

/// A path below `top`; joining an empty one would append a slash, which a file does not bear.
fn at(top: &Path, name: &Path) -> PathBuf {
    if name.as_os_str().is_empty() { top.to_owned() } else { top.join(name) }
}

fn show(name: &Path) -> String {
    if name.as_os_str().is_empty() { ".".into() } else { name.as_os_str().as_bytes().escape_ascii().to_string() }
}

/// Everything below `top` and itself (the empty path), by path relative to it. Links are not followed.
pub fn list(top: &Path) -> io::Result<BTreeMap<PathBuf, Metadata>> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(name) = waiting.pop() {
        let path = at(top, &name);
        let meta = fs::symlink_metadata(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(name.join(entry?.file_name()));
            }
        }
        all.insert(name, meta);
    }
    Ok(all)
}

fn unlike(left: &Path, l: &Metadata, right: &Path, r: &Metadata, aspects: Aspects) -> io::Result<Vec<String>> {
    let kind = |meta: &Metadata| meta.mode() & 0o170000;
    if kind(l) != kind(r) {
        return Ok(vec![format!("type {:o}, not {:o}", kind(r) >> 12, kind(l) >> 12)]);
    }
    let mut found = Vec::new();
    if l.is_file() {
        if l.len() != r.len() {
            found.push(format!("{} bytes, not {}", r.len(), l.len()));
        } else if hash(left)? != hash(right)? {
            found.push("content differs".into());
        }
    }
    if l.is_symlink() {
        let (a, b) = (fs::read_link(left)?, fs::read_link(right)?);
        if a != b {
            found.push(format!("points to {}, not {}", show(&b), show(&a)));
        }
    }
    if aspects.modes && !l.is_symlink() && l.mode() & 0o7777 != r.mode() & 0o7777 {
        found.push(format!("mode {:o}, not {:o}", r.mode() & 0o7777, l.mode() & 0o7777));
    }
    let timed = if l.is_symlink() { aspects.link_times } else { aspects.times };
    if timed && l.mtime() != r.mtime() {
        found.push(format!("mtime {}, not {}", r.mtime(), l.mtime()));
    }
    if aspects.owners && (l.uid(), l.gid()) != (r.uid(), r.gid()) {
        found.push(format!("owner {}:{}, not {}:{}", r.uid(), r.gid(), l.uid(), l.gid()));
    }
    Ok(found)
}

/// A file's BLAKE3 hash.
pub fn hash(path: &Path) -> io::Result<blake3::Hash> {
    Ok(blake3::Hasher::new().update_reader(File::open(path)?)?.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_equals_another_made_alike_and_every_kind_of_difference_is_told() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        odd_tree(&a)?;
        odd_tree(&b)?;
        // Only what `odd_tree` dates is the same in both.
        let aspects = Aspects { times: false, link_times: false, ..Aspects::ARCHIVE };
        assert_eq!(differences(&a, &b, aspects)?, Vec::<String>::new());

        fs::remove_file(b.join("sizes/1"))?;
        fs::write(b.join("sizes/more"), "")?;
        fs::write(b.join("sizes/32768"), vec![0; 32_768])?;
        fs::set_permissions(b.join("modes/644"), fs::Permissions::from_mode(0o600))?;
        set_mtime(&b.join("times/1"), 2)?;
        fs::remove_file(b.join("links/self"))?;
        symlink("other", b.join("links/self"))?;
        assert_eq!(
            differences(&a.join("sizes"), &b.join("sizes"), aspects)?,
            ["1: missing", "32768: content differs", "more: extra"]
        );
        assert_eq!(differences(&a.join("modes"), &b.join("modes"), aspects)?, ["644: mode 600, not 644"]);
        assert_eq!(differences(&a.join("links"), &b.join("links"), aspects)?, ["self: points to other, not self"]);
        let timed = Aspects { times: true, ..Aspects::CONTENT };
        assert_eq!(differences(&a.join("times"), &b.join("times"), timed)?, ["1: mtime 2, not 1"]);
        Ok(())
    }
}
