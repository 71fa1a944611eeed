//! What is compared of a tree: every name with its type, mode, owner, group, size, time, content, target and links.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One name: its time, and everything else as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub what: String,
    pub mtime: i64,
    pub nanoseconds: i64,
}

/// Everything below a directory, by its path as text.
pub fn of(top: &Path) -> Result<BTreeMap<String, Shown>, Box<dyn Error>> {
    let mut found = BTreeMap::new();
    // The first name of each file with several.
    let mut first: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut paths = Vec::new();
    walk(top, &mut paths)?;
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(top)?.as_os_str().as_bytes().escape_ascii().to_string();
        let meta = fs::symlink_metadata(&path)?;
        let kind = meta.file_type();
        let mut what = format!("mode {:o} owner {}:{}", meta.mode(), meta.uid(), meta.gid());
        if kind.is_file() {
            let content = fs::read(&path)?;
            let content = if name == "log" { logged(&content) } else { content };
            write!(what, " {} bytes {}", content.len(), &blake3::hash(&content).to_hex()[..12])?;
            // How much exactly is not written is the filesystem's matter, and each program's.
            if meta.blocks() * 512 + (32 << 10) < meta.size() {
                what.push_str(" sparse");
            }
        }
        if kind.is_symlink() {
            write!(what, " -> {}", fs::read_link(&path)?.as_os_str().as_bytes().escape_ascii())?;
        }
        if kind.is_block_device() || kind.is_char_device() {
            write!(what, " device {:x}", meta.rdev())?;
        }
        if meta.nlink() > 1 && !kind.is_dir() {
            let first = first.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone());
            write!(what, " is {first}")?;
        }
        found.insert(name, Shown { what, mtime: meta.mtime(), nanoseconds: meta.mtime_nsec() });
    }
    Ok(found)
}

/// A log file's lines, without what says when and who, and without what concerns the wire.
fn logged(content: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(content);
    let lines = text.lines().filter_map(|line| line.split_once("] ").map(|(_, line)| line));
    let mut lines: Vec<&str> = lines.filter(|line| !line.starts_with("sent ")).collect();
    lines.sort_unstable();
    lines.join("\n").into_bytes()
}

fn walk(at: &Path, into: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let entries = match fs::read_dir(at) {
        // Who is not root cannot see more of it than the programs could.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => continue,
            meta => {
                if meta?.is_dir() {
                    walk(&path, into)?;
                }
            }
        }
        into.push(path);
    }
    Ok(())
}

/// What differs, one line for each name. Times from `began` on are those of the run itself, which two runs do not share;
/// nanoseconds are compared only where the transport carries them.
pub fn differences(
    theirs: &BTreeMap<String, Shown>,
    ours: &BTreeMap<String, Shown>,
    began: i64,
    nanoseconds: bool,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, wanted) in theirs {
        let Some(got) = ours.get(name) else {
            found.push(format!("{name}: missing, rsync has {}", wanted.what));
            continue;
        };
        if got.what != wanted.what {
            found.push(format!("{name}: {}, not {}", got.what, wanted.what));
        }
        let now = got.mtime >= began && wanted.mtime >= began;
        if !now && got.mtime != wanted.mtime {
            found.push(format!("{name}: mtime {}, not {}", got.mtime, wanted.mtime));
        } else if !now && nanoseconds && got.nanoseconds != wanted.nanoseconds {
            found.push(format!("{name}: nanoseconds {}, not {}", got.nanoseconds, wanted.nanoseconds));
        }
    }
    found.extend(ours.iter().filter(|(name, _)| !theirs.contains_key(*name)).map(|(name, got)| {
        let what = &got.what;
        format!("{name}: extra, {what}")
    }));
    found
}
