//! Whether what lies at a destination is what lies at the source: every name, by its type, its content, its target. The
//! programs' own word does not count.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::schedule::Halt;
use super::stop::Stop;
use crate::lab::trees;

/// What is under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Directory,
    /// By the hash of its content, in hexadecimal digits.
    File(String),
    /// By what it points to.
    Link(PathBuf),
    /// No source has such a thing.
    Other,
}

/// A tree, by the paths below its top, which is not in it.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// By what files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Blake3,
    /// What hosts have a tool for.
    Sha256,
}

/// What a destination has of a source, and what it has besides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Of the source's files and links, in the order of their names.
    pub whole: Vec<bool>,
    /// Directories that are not there, or something else is in their place.
    pub directories_missing: u64,
    /// Names that the source has not.
    pub extra: u64,
}

/// Looks at a tree here.
pub fn look(top: &Path, hash: Hash, stop: &Stop) -> Result<Tree, Halt> {
    let mut tree = Tree::new();
    for (name, meta) in trees::list(top)? {
        stop.check()?;
        let path = top.join(&name);
        let entry = match meta.file_type() {
            kind if kind.is_dir() => Entry::Directory,
            kind if kind.is_file() => Entry::File(hash.of(&path)?),
            kind if kind.is_symlink() => Entry::Link(fs::read_link(&path)?),
            _ => Entry::Other,
        };
        tree.insert(name, entry);
    }
    tree.remove(Path::new(""));
    Ok(tree)
}

/// The files and links of a tree, in the order of their names.
pub fn items(tree: &Tree) -> impl Iterator<Item = &PathBuf> {
    tree.iter().filter(|(_, entry)| **entry != Entry::Directory).map(|(name, _)| name)
}

/// Holds `there` against `source`.
pub fn compare(source: &Tree, there: &Tree) -> Found {
    let mut found = Found::default();
    for (name, entry) in source {
        let same = there.get(name) == Some(entry);
        match entry {
            Entry::Directory => found.directories_missing += u64::from(!same),
            _ => found.whole.push(same),
        }
    }
    found.extra = there.keys().filter(|name| !source.contains_key(*name)).count() as u64;
    found
}

impl Found {
    /// How much of the source is not there.
    pub fn missing(&self) -> u64 {
        self.directories_missing + self.whole.iter().filter(|whole| !**whole).count() as u64
    }
}

/// When each whole file or link below `top` got its name or its attributes, whichever came last: its inode's last change, in
/// seconds since the epoch.
pub fn landed(source: &Tree, found: &Found, top: &Path) -> io::Result<Vec<f64>> {
    let whole = items(source).zip(&found.whole).filter(|(_, whole)| **whole);
    whole
        .map(|(name, _)| {
            let meta = fs::symlink_metadata(top.join(name))?;
            Ok(meta.ctime() as f64 + meta.ctime_nsec() as f64 / 1e9)
        })
        .collect()
}

impl Hash {
    fn of(self, path: &Path) -> io::Result<String> {
        if self == Hash::Blake3 {
            return Ok(trees::hash(path)?.to_hex().to_string());
        }
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut block = vec![0; 1 << 20];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
                count => hash.update(&block[..count]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::lab::bench::cell::{Cell, Direction};
    use crate::lab::bench::make;
    use crate::lab::bench::schedule::Sample;
    use crate::lab::bench::work::Workload;

    /// A tree with files, directories and links, twice; then the second one as `change` leaves it.
    fn after(change: impl FnOnce(&Path) -> io::Result<()>) -> Result<(Found, bool), Halt> {
        let dir = tempfile::tempdir()?;
        let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
        let stop = Stop::default();
        let tree: Workload = "tree".parse().expect("a work");
        let tree = tree.scaled(0.01);
        make::source(&tree, &source, &stop)?;
        fs::create_dir(source.join("empty"))?;
        symlink("nowhere", source.join("link"))?;
        make::copy(&source, &dest)?;
        change(&dest)?;
        let found = compare(&look(&source, Hash::Blake3, &stop)?, &look(&dest, Hash::Blake3, &stop)?);
        // The link is one more.
        let cell = Cell::new(Workload { files: tree.files + 1, ..tree }, Direction::Push, 0);
        let complete = Sample::default().found(&found).complete(&cell);
        Ok((found, complete))
    }

    #[test]
    fn a_copy_is_whole() -> Result<(), Halt> {
        let (found, complete) = after(|_| Ok(()))?;
        assert_eq!((found.missing(), found.extra, found.whole.len(), complete), (0, 0, 41, true));
        Ok(())
    }

    #[test]
    fn whatever_differs_makes_a_run_that_is_not_whole() -> Result<(), Halt> {
        let leaf = "top-00/sub-01/leaf-07";
        let tell = |change: &dyn Fn(&Path) -> io::Result<()>| -> Result<[u64; 3], Halt> {
            let (found, complete) = after(change)?;
            assert!(!complete, "{found:?}");
            Ok([found.missing() - found.directories_missing, found.directories_missing, found.extra])
        };
        assert_eq!(tell(&|at| fs::remove_dir(at.join("empty")))?, [0, 1, 0], "a directory is missing");
        assert_eq!(tell(&|at| fs::remove_dir_all(at.join(leaf)))?, [1, 1, 0], "and the file in it");
        assert_eq!(tell(&|at| fs::write(at.join(leaf).join("more"), ""))?, [0, 0, 1], "an extra file");
        assert_eq!(tell(&|at| fs::create_dir(at.join("more")))?, [0, 0, 1], "an extra directory");
        assert_eq!(tell(&|at| symlink("x", at.join("more")))?, [0, 0, 1], "an extra link");
        assert_eq!(tell(&|at| fs::write(at.join(leaf).join("file"), [0; 1000]))?, [1, 0, 0], "another content");
        let again = |at: &Path, target: &str| {
            fs::remove_file(at.join("link"))?;
            symlink(target, at.join("link"))
        };
        assert_eq!(tell(&|at| again(at, "elsewhere"))?, [1, 0, 0], "a link to something else");
        let file_for_directory = |at: &Path| {
            fs::remove_dir(at.join("empty"))?;
            fs::write(at.join("empty"), "")
        };
        assert_eq!(tell(&file_for_directory)?, [0, 1, 0], "a file in a directory's place");
        Ok(())
    }

    #[test]
    fn both_hashes_tell_contents_apart() -> Result<(), Halt> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("a"), "abc")?;
        // FIPS 180-2, appendix B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let of = |hash| look(dir.path(), hash, &Stop::default());
        assert_eq!(of(Hash::Sha256)?, Tree::from([("a".into(), Entry::File(known.into()))]));
        let blake = Entry::File(blake3::hash(b"abc").to_hex().to_string());
        assert_eq!(of(Hash::Blake3)?, Tree::from([("a".into(), blake)]));
        Ok(())
    }
}
