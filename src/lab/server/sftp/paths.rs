//! From a client's path to one on the disk.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// How paths are understood: from the home, below the root.
#[derive(Debug, Clone)]
pub struct Paths {
    pub home: PathBuf,
    pub root: Option<PathBuf>,
}

impl Paths {
    /// Where the file is. Below a root, `..` is resolved in the text and never leaves it; links inside are followed as
    /// they are, so this is a view, not a prison.
    pub fn real(&self, path: &[u8]) -> PathBuf {
        let path = Path::new(OsStr::from_bytes(path));
        let Some(root) = &self.root else { return self.home.join(path) };
        let mut below = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => below.push(name),
                Component::ParentDir => drop(below.pop()),
                _ => {}
            }
        }
        below.into_iter().fold(root.clone(), |real, name| real.join(name))
    }

    /// REALPATH: absolute and without links; the last component need not exist (OpenSSH's `sftp_realpath`).
    pub fn canonical(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let real = self.real(path);
        let found = match real.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match (real.parent(), real.file_name()) {
                (Some(parent), Some(name)) => parent.canonicalize()?.join(name),
                _ => return Err(error),
            },
            found => found?,
        };
        let Some(root) = &self.root else { return Ok(found.into_os_string().into_vec()) };
        let mut seen = b"/".to_vec();
        let below = found.strip_prefix(root.canonicalize()?).map_err(|_| io::ErrorKind::PermissionDenied)?;
        seen.extend_from_slice(below.as_os_str().as_bytes());
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_not_left_by_dots() {
        let paths = Paths { home: "/home/x".into(), root: Some("/srv/root".into()) };
        assert_eq!(paths.real(b"/a/../../b"), Path::new("/srv/root/b"));
        assert_eq!(paths.real(b"c/./d"), Path::new("/srv/root/c/d"));
        assert_eq!(paths.real(b".."), Path::new("/srv/root"));
    }

    #[test]
    fn without_a_root_paths_start_at_home() {
        let paths = Paths { home: "/home/x".into(), root: None };
        assert_eq!(paths.real(b"a\xff"), Path::new(OsStr::from_bytes(b"/home/x/a\xff")));
        assert_eq!(paths.real(b"/etc"), Path::new("/etc"));
        assert_eq!(paths.real(b""), Path::new("/home/x/"));
    }
}
