//! What the operands bring into a directory of the transfer: the contents of directories, and items by themselves. Several
//! operands may bring the same name, as rsync allows: the first counts, and directories are one in which all that is in any
//! of them is found.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry as Slot};
use std::sync::Arc;

use crate::entry::Entry;
use crate::plan::filter::{Filter, Side};
use crate::tree::{Listing, Tree, join};

use super::finish::below;
use super::rules;

/// A place at the source.
#[derive(Clone)]
pub struct Origin {
    pub source: Arc<dyn Tree>,
    /// In `source`; empty for its root.
    pub path: Vec<u8>,
    /// The rules of the directory that it lies in.
    pub filter: Arc<Filter>,
    /// Which operand brings it: of equal names the first counts.
    pub rank: usize,
}

impl Origin {
    pub fn below(&self, name: &[u8]) -> Origin {
        let path = if self.path.is_empty() { name.to_vec() } else { join(&self.path, name) };
        Origin { path, ..self.clone() }
    }
}

/// Nodes of one directory, by name.
pub type Nodes = BTreeMap<Vec<u8>, Node>;

/// An operand, or a directory on the way to one (`--relative`).
#[derive(Clone)]
pub struct Node {
    /// With its name in the directory that it is brought into.
    pub entry: Entry,
    pub origin: Origin,
    /// The directories whose contents are brought with it: none where it is only on the way to something.
    pub contents: Vec<Origin>,
    /// By name: there may be as many as a list of files has lines.
    pub children: Nodes,
    /// On the way, and not to be transferred itself (`--no-implied-dirs`).
    pub silent: bool,
}

/// All that the operands bring.
#[derive(Clone, Default)]
pub struct Brought {
    /// What is brought to the top of the transfer.
    pub items: Nodes,
    /// Directories whose contents are the top's; the first one's attributes are the top's too.
    pub contents: Vec<(Origin, crate::entry::Meta)>,
    /// The top itself is on the way to something (`--relative` with `./x`).
    pub itself: Option<(Origin, crate::entry::Meta)>,
}

impl Brought {
    /// Adds an operand whose name has several components, with the directories on the way to it.
    pub fn add(&mut self, way: Vec<Node>, item: Node) {
        let mut level = &mut self.items;
        for node in way {
            level = &mut place(level, node).children;
        }
        place(level, item);
    }

    /// How many entries there are, the contents of directories left out.
    pub fn count(&self) -> usize {
        fn count(nodes: &Nodes) -> usize {
            nodes.values().map(|node| 1 + count(&node.children)).sum()
        }
        count(&self.items)
    }

    /// Whether the rules leave anything of what a lone directory has in it.
    pub async fn is_filled(&self, listing: &Listing) -> bool {
        let (origin, shown) = match (self.contents.first(), self.items.first_key_value()) {
            (Some((origin, _)), _) => (origin, b"".as_slice()),
            (None, Some((name, node))) => (node.contents.first().unwrap_or(&node.origin), name.as_slice()),
            (None, None) => return false,
        };
        // Rules that cannot be read are told of when the directory is walked, and leave out nothing here.
        let Ok(filter) = rules::hide(origin, shown, listing).await else { return !listing.entries.is_empty() };
        let comes = |entry: &Entry| !filter.excludes(&below(shown, &entry.name), entry.meta.is_dir(), Side::Sender);
        listing.entries.iter().any(comes)
    }
}

/// Puts a node among others; returns where it is.
fn place(level: &mut Nodes, node: Node) -> &mut Node {
    match level.entry(node.entry.name.clone()) {
        Slot::Vacant(slot) => slot.insert(node),
        Slot::Occupied(slot) => {
            let old = slot.into_mut();
            merge(old, node);
            old
        }
    }
}

/// Of equal names the first stays, and gets what the other one brings.
fn merge(old: &mut Node, node: Node) {
    if node.entry.meta.is_dir() && old.entry.meta.is_dir() {
        old.contents.extend(node.contents);
        old.silent &= node.silent;
        for child in node.children.into_values() {
            place(&mut old.children, child);
        }
    } else if node.entry.meta.is_dir() {
        // A directory counts more than what is none: it may have something in it.
        *old = node;
    }
}

/// Lays what was listed of each origin, and the nodes given, over each other. Of what is not in the map the origin is that
/// of the first listing.
pub fn overlay(listed: Vec<(Origin, Vec<Entry>)>, given: Nodes) -> (Vec<Entry>, HashMap<Vec<u8>, Node>) {
    let mut nodes = HashMap::new();
    let mut listed = listed.into_iter();
    let Some((first, mut entries)) = listed.next() else {
        let entries = given.values().map(|node| node.entry.clone()).collect();
        return (entries, given.into_iter().collect());
    };
    let rest: Vec<_> = listed.collect();
    if rest.is_empty() && given.is_empty() {
        return (entries, nodes);
    }
    let mut all: Vec<Node> = entries.drain(..).map(|entry| found(&first, entry)).collect();
    let mut known: HashMap<Vec<u8>, usize> =
        all.iter().enumerate().map(|(at, node)| (node.entry.name.clone(), at)).collect();
    let more = rest
        .into_iter()
        .flat_map(|(origin, entries)| entries.into_iter().map(move |entry| found(&origin, entry)).collect::<Vec<_>>());
    for node in more.chain(given.into_values()) {
        match known.get(&node.entry.name) {
            Some(at) => {
                let (old, mut new) = (&mut all[*at], node);
                // An item may stand before the directory whose contents have its name.
                if new.origin.rank < old.origin.rank {
                    std::mem::swap(old, &mut new);
                }
                merge(old, new);
            }
            None => {
                known.insert(node.entry.name.clone(), all.len());
                all.push(node);
            }
        }
    }
    for node in all {
        entries.push(node.entry.clone());
        nodes.insert(node.entry.name.clone(), node);
    }
    (entries, nodes)
}

/// A listed entry as a node: a directory brings its contents.
pub fn found(parent: &Origin, entry: Entry) -> Node {
    let origin = parent.below(&entry.name);
    let contents = if entry.meta.is_dir() { vec![origin.clone()] } else { Vec::new() };
    Node { entry, origin, contents, children: Nodes::new(), silent: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Kind, Meta};
    use crate::tree::local::Local;

    fn node(name: &str, kind: Kind, origin: &str) -> Node {
        let source: Arc<dyn Tree> = Arc::new(Local::open(b"").expect("the current directory"));
        let origin = Origin { source, path: origin.into(), filter: Arc::default(), rank: 0 };
        let meta = Meta {
            kind,
            size: 1,
            mtime: 1,
            mtime_nsec: 0,
            atime: 0,
            mode: 0o755,
            uid: 0,
            gid: 0,
            dev: 0,
            ino: 0,
            links: 1,
        };
        let entry = Entry { name: name.into(), meta, target: None };
        let contents = if kind == Kind::Dir { vec![origin.clone()] } else { Vec::new() };
        Node { entry, origin, contents, children: Nodes::new(), silent: false }
    }

    #[test]
    fn the_first_file_stays_and_directories_become_one() {
        let mut brought = Brought::default();
        brought.add(vec![node("d", Kind::Dir, "a/d")], node("x", Kind::File, "a/d/x"));
        brought.add(vec![node("d", Kind::Dir, "b/d")], node("x", Kind::File, "b/d/x"));
        brought.add(vec![node("d", Kind::Dir, "b/d")], node("y", Kind::File, "b/d/y"));
        assert_eq!(brought.count(), 3);
        let d = &brought.items[b"d".as_slice()];
        assert_eq!((d.origin.path.as_slice(), d.contents.len()), (b"a/d".as_slice(), 3));
        assert_eq!(d.children[b"x".as_slice()].origin.path, b"a/d/x");
    }

    #[test]
    fn listings_and_names_are_laid_over_each_other() {
        let first = node("", Kind::Dir, "a");
        let second = node("", Kind::Dir, "b");
        let listed = |names: [(&str, Kind); 2]| names.map(|(name, kind)| node(name, kind, "").entry).to_vec();
        let listings = vec![
            (first.origin, listed([("f", Kind::File), ("d", Kind::Dir)])),
            (second.origin, listed([("d", Kind::Dir), ("f", Kind::Dir)])),
        ];
        let given = [(b"g".to_vec(), node("g", Kind::File, "c/g"))].into();
        let (entries, nodes) = overlay(listings, given);
        let names: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
        assert_eq!(names, ["f", "d", "g"]);
        let paths: Vec<_> = nodes[b"d".as_slice()].contents.iter().map(|origin| origin.path.clone()).collect();
        assert_eq!(paths, [b"a/d".to_vec(), b"b/d".to_vec()]);
        assert!(nodes[b"f".as_slice()].entry.meta.is_dir(), "a directory counts more than a file");
    }
}
