//! The directories on the way to what `--relative` names, and the links among them.
//!
//! A path that is named is followed as the system does it, so what is below a link on the way has a tree of its own: trees go
//! through no link.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use futures::stream;

use crate::entry::{Kind, Meta};
use crate::fault::Fault;
use crate::job::{Options, Place};
use crate::tree::{join, split};

use super::ends::End;
use super::operands::Operand;

/// Up to where an operand's name leads through links: lengths of its beginnings that end with the last of them, or 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entered {
    /// To the operand itself.
    itself: usize,
    /// To what is in it: with a trailing slash it may be a link itself.
    contents: usize,
}

impl Operand<'_> {
    /// The directory of the tree that it is in, and its path there.
    pub fn itself(&self) -> (Vec<u8>, &[u8]) {
        self.beyond(self.entered.itself)
    }

    /// The same of what is in it.
    pub fn contents(&self) -> (Vec<u8>, &[u8]) {
        self.beyond(self.entered.contents)
    }

    fn beyond(&self, entered: usize) -> (Vec<u8>, &[u8]) {
        let (dir, name) = (&self.root.source_dir, &self.root.name);
        match entered {
            0 => (dir.clone(), name),
            entered => (join(dir, &name[..entered]), name.get(entered + 1..).unwrap_or_default()),
        }
    }
}

/// Finds the links that the operands' names lead through. Only on this machine, and not where links are gone through anyway.
pub async fn enter(end: &impl Fn(&Place) -> End, operands: &mut [Operand<'_>], options: &Options) -> Result<(), Fault> {
    if options.follows() {
        return Ok(());
    }
    let mut wanted: HashMap<Vec<u8>, &Place> = HashMap::new();
    for operand in operands.iter().filter(|operand| !operand.place.is_remote()) {
        for prefix in prefixes(split(&operand.root.name).0).chain(followed(operand)) {
            wanted.insert(join(&operand.root.source_dir, prefix), operand.place);
        }
    }
    let looks = stream::iter(wanted.into_iter().map(|(path, place)| {
        let end = end(place);
        async move {
            let is_link = end.stat(&path, false).await?.is_some_and(|meta| meta.kind == Kind::Symlink);
            Ok::<_, Fault>(is_link.then_some(path))
        }
    }));
    let looked: Vec<_> = looks.buffered(super::AT_ONCE).collect().await;
    let links = looked.into_iter().filter_map(Result::transpose).collect::<Result<HashSet<_>, _>>()?;
    for operand in operands.iter_mut().filter(|_| !links.is_empty()) {
        let is_link = |prefix: &&[u8]| links.contains(&join(&operand.root.source_dir, prefix));
        let itself = prefixes(split(&operand.root.name).0).filter(is_link).last().map_or(0, <[u8]>::len);
        let contents = followed(operand).filter(is_link).map_or(itself, <[u8]>::len);
        operand.entered = Entered { itself, contents };
    }
    Ok(())
}

/// The operand's name, if a link under it is followed.
fn followed<'a>(operand: &'a Operand<'_>) -> Option<&'a [u8]> {
    let entered = operand.path.ends_with(b"/") || operand.path.ends_with(b"/.");
    (entered && operand.meta.is_dir() && !operand.root.name.is_empty()).then_some(operand.root.name.as_slice())
}

/// `a`, `a/b`, `a/b/c` of `a/b/c`.
pub fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let ends = ends.chain((!path.is_empty()).then_some(path.len()));
    ends.map(|end| &path[..end])
}

/// The directories on the way to the operands, each looked at once, by their paths.
pub async fn look(
    end: &(impl Fn(&Place) -> End + Sync),
    operands: &[Operand<'_>],
) -> Result<HashMap<Vec<u8>, Meta>, Fault> {
    let mut wanted: HashMap<Vec<u8>, &Place> = HashMap::new();
    for operand in operands {
        for prefix in prefixes(split(&operand.root.name).0) {
            wanted.insert(join(&operand.root.source_dir, prefix), operand.place);
        }
    }
    let looks = stream::iter(wanted.into_iter().map(|(path, place)| {
        let end = end(place);
        async move {
            let meta = end.stat(&path, true).await?;
            Ok::<_, Fault>(meta.map(|meta| (path, meta)))
        }
    }));
    let found: Vec<_> = looks.buffered(super::AT_ONCE).collect().await;
    found.into_iter().filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_path_is_each_directory_above_it() {
        let of =
            |path: &str| prefixes(path.as_bytes()).map(|p| String::from_utf8_lossy(p).into_owned()).collect::<Vec<_>>();
        assert_eq!(of("a/b/c"), ["a", "a/b", "a/b/c"]);
        assert_eq!(of("a"), ["a"]);
        assert!(of("").is_empty());
    }
}
