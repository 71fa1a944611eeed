//! Where the far end of a bench is, and how it is reached.

use std::io;
use std::path::{Path, PathBuf};

use super::cell::Cell;
use super::check::Tree;
use super::schedule::Served;

/// Servers that the bench started itself, or somebody's cluster.
pub trait Site {
    /// For the reader of the results.
    fn servers(&self) -> &'static str;

    /// What the first server says of its software, if it is asked.
    fn banner(&self) -> io::Result<String>;

    /// Makes the servers what the cell wants them to be.
    fn prepare(&mut self, cell: &Cell) -> io::Result<()>;

    /// ssh and its options.
    fn shell(&self, cell: &Cell) -> Vec<String>;

    /// The far end, as ssh is asked for it.
    fn target(&self) -> &str;

    /// The way leads through a head whose ssh writes what is wrong.
    fn jump(&self, cell: &Cell) -> Jump;

    /// A directory there that is the bench's own.
    fn far(&self) -> &Path;

    /// The far end's files are this machine's: they are looked at directly.
    fn is_here(&self) -> bool;

    /// Counters since the servers' start, where they are ours.
    fn served(&self) -> Option<Served>;

    /// Makes directories at the far end.
    fn make(&self, dirs: &[PathBuf]) -> io::Result<()>;

    /// Removes a directory at the far end, with all that is in it.
    fn remove(&self, dir: &Path) -> io::Result<()>;

    /// Copies what is in `from` here to `to` there.
    fn upload(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Copies a directory at the far end to where nothing is there, with its times.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// What is in a directory at the far end, files by their SHA-256.
    fn tree(&self, dir: &Path) -> io::Result<Tree>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    pub is: bool,
    pub speaks: bool,
}
