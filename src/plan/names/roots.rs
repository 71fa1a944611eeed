//! From operands to roots: where each source's entries start, and under which name they arrive.
//!
//! rsync(1) "USAGE" and rsync 3.5.0's behaviour.

use super::join;

/// A source operand that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// As typed; empty is `.` (`host:`).
    pub path: &'a [u8],
    /// A link to a directory is one if the path ends in a slash (or with `-L`), else not.
    pub is_dir: bool,
}

/// What stands under the destination's operand, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestState {
    Dir,
    NonDir,
    /// Nothing (a dangling link too); whether the directory that would hold it is there.
    Absent {
        parent_exists: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dest<'a> {
    /// As typed; empty is `.` (`host:`).
    pub path: &'a [u8],
    pub state: DestState,
}

/// How many entries the transfer has in all, once filters and `-r` have had their say: rsync decides by that, so an empty
/// directory is a single item like a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Items {
    None,
    One,
    Many,
}

/// What has to be made at the destination before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Create {
    Nothing,
    /// This directory, whose parent exists; rsync prints `created directory DIR` with `-v`, DIR without trailing slashes.
    Dir(Vec<u8>),
    /// This directory and what is missing above it (`--mkpath`); rsync prints `created N directories for DIR`.
    Path(Vec<u8>),
}

/// One source and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The directory at the source that `name` is in; empty for the current (or home) directory.
    pub source_dir: Vec<u8>,
    /// The item's name in `source_dir`, which is also what paths of filters and printed names start with. Empty: the contents
    /// of `source_dir` and its own attributes (printed as `./`).
    pub name: Vec<u8>,
    /// The item's name in [`Mapping::dest_dir`]; empty for that directory itself. Differs from `name` only where the
    /// destination is a new name.
    pub dest_name: Vec<u8>,
}

impl Root {
    /// The path of the item at the source; `.` for the current directory.
    pub fn source_path(&self) -> Vec<u8> {
        match join(&self.source_dir, &self.name) {
            path if path.is_empty() => b".".to_vec(),
            path => path,
        }
    }
}

/// The sources' roots, in the order given, and the directory that they go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub roots: Vec<Root>,
    /// The directory that the transfer's root is at the destination; `.` for the current (or home) directory.
    pub dest_dir: Vec<u8>,
    pub create: Create,
    /// The one item is given a name of its own by the destination operand.
    pub renamed: bool,
}

/// Operands that cannot be: rsync's sentence and exit code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct UsageError {
    /// rsync's exit code: 3 (file selection) or 11 (file I/O).
    pub code: i32,
    pub text: String,
}

/// Maps sources to the destination.
///
/// # Errors
/// rsync's sentences: several items onto a file, a directory onto a file, a missing parent without `--mkpath`. The last one
/// is what the attempt would end in, told early.
pub fn map(sources: &[Source<'_>], dest: &Dest<'_>, items: Items, mkpath: bool) -> Result<Mapping, UsageError> {
    let is_dir = sources.iter().any(|source| source.is_dir);
    arrange(sources.iter().map(root).collect(), is_dir, dest, items, mkpath)
}

/// As [`map`], of sources whose roots are known; `is_dir` says whether any is a directory.
///
/// # Errors
/// As [`map`].
pub fn arrange(
    roots: Vec<Root>,
    is_dir: bool,
    dest: &Dest<'_>,
    items: Items,
    mkpath: bool,
) -> Result<Mapping, UsageError> {
    let fail = |code, text: String| Err(UsageError { code, text });
    let typed = if dest.path.is_empty() { b".".as_slice() } else { dest.path };
    let path = strip_slashes(typed);
    let slash = typed.ends_with(b"/");
    let show = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let into = |create| Mapping { roots: roots.clone(), dest_dir: path.to_vec(), create, renamed: false };
    let renaming = |create| {
        let (dest_dir, dest_name) = split(path);
        let dest_dir = if dest_dir.is_empty() { b".".to_vec() } else { dest_dir.to_vec() };
        let roots = roots.iter().map(|root| Root { dest_name: dest_name.to_vec(), ..root.clone() }).collect();
        Mapping { roots, dest_dir, create, renamed: true }
    };
    match (dest.state, items) {
        (DestState::Dir, _) | (_, Items::None) => Ok(into(Create::Nothing)),
        (DestState::NonDir, Items::Many) => {
            fail(3, "ERROR: destination must be a directory when copying more than 1 file".into())
        }
        (DestState::NonDir, Items::One) if slash => {
            fail(3, format!("ERROR: cannot stat destination \"{}\": Not a directory (20)", show(typed)))
        }
        (DestState::NonDir, Items::One) if is_dir => {
            fail(3, "ERROR: cannot overwrite non-directory with a directory".into())
        }
        (DestState::NonDir, Items::One) => Ok(renaming(Create::Nothing)),
        (DestState::Absent { parent_exists }, items) => match (items == Items::Many || slash, parent_exists) {
            (true, true) => Ok(into(Create::Dir(path.to_vec()))),
            (true, false) if mkpath => Ok(into(Create::Path(path.to_vec()))),
            (true, false) => fail(11, format!("mkdir \"{}\" failed: No such file or directory (2)", show(path))),
            (false, true) => Ok(renaming(Create::Nothing)),
            (false, false) if mkpath => Ok(renaming(Create::Path(split(path).0.to_vec()))),
            (false, false) => {
                fail(3, format!("change_dir \"{}\" failed: No such file or directory (2)", show(split(path).0)))
            }
        },
    }
}

/// Where a source starts with `--relative`: its name is all of its path, or what follows `/./`. The name is empty where the
/// contents of a directory are meant and nothing of its path.
pub fn relative(path: &[u8]) -> Root {
    let cut = path.windows(3).position(|three| three == b"/./");
    let (dir, name) = match cut {
        Some(0) => (b"/".as_slice(), &path[3..]),
        Some(at) => (&path[..at], &path[at + 3..]),
        None if path.starts_with(b"/") => (b"/".as_slice(), &path[1..]),
        None => (b"".as_slice(), path),
    };
    let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let name = parts.join(&b'/');
    Root { source_dir: dir.to_vec(), dest_name: name.clone(), name }
}

/// Whether a path of `--relative` names the top itself on its way: `./x`, but not `x/./y`.
pub fn starts_at_top(path: &[u8]) -> bool {
    path.starts_with(b"./") && path.len() > 2 && !path[1..].windows(3).any(|three| three == b"/./")
}

/// A name of `--files-from`: what leads out of the directory, or starts at the top of the disk, is cut off. A slash at the
/// end, and a `/./` for `--relative`, stay.
pub fn listed(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let slash = name.ends_with(b"/") || name.ends_with(b"/.");
    for (at, part) in name.split(|byte| *byte == b'/').enumerate() {
        match part {
            b"" => {}
            b"." if at == 0 || parts.is_empty() || parts.last() == Some(&b".".as_slice()) => {}
            b".." => while parts.pop() == Some(b".".as_slice()) {},
            part => parts.push(part),
        }
    }
    if parts.last() == Some(&b".".as_slice()) {
        parts.pop();
    }
    let mut path = parts.join(&b'/');
    if slash && !path.is_empty() {
        path.push(b'/');
    }
    path
}

/// Where a source starts. Its contents are meant if its last component is empty, `.` or `..`.
pub fn root(source: &Source<'_>) -> Root {
    let path = match strip_slashes(source.path) {
        path if path.len() < source.path.len() => (path, true),
        path => (path, false),
    };
    let contents = |dir: &[u8]| Root { source_dir: dir.to_vec(), name: Vec::new(), dest_name: Vec::new() };
    match (path, split(path.0)) {
        ((b"/" | b".." | b"", _), _) => contents(path.0),
        ((b".", _), _) => contents(b""),
        ((path, _), (_, b"..")) => contents(path),
        (_, (dir, b".")) => contents(dir),
        ((path, true), _) => contents(path),
        (_, (dir, name)) => Root { source_dir: dir.to_vec(), name: name.to_vec(), dest_name: name.to_vec() },
    }
}

/// Without the slashes at the end; all slashes are one `/`.
fn strip_slashes(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&byte| byte != b'/') {
        Some(last) => &path[..=last],
        None => &path[..path.len().min(1)],
    }
}

/// Directory and last component of a path without slashes at its end; the directory is empty if there is none.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (strip_slashes(&path[..=at]), &path[at + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests;
