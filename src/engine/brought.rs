//! What the operands bring into a directory of the transfer: the contents of directories, and items by themselves. Several
//! operands may bring the same name, as rsync allows: the first counts, and directories are one in which all that is in any
//! of them is found.

use std::collections::HashMap;
use std::sync::Arc;

use crate::entry::Entry;
use crate::tree::{Tree, join};

/// A place at the source.
#[derive(Clone)]
pub struct Origin {
    pub source: Arc<dyn Tree>,
    /// In `source`; empty for its root.
    pub path: Vec<u8>,
}

impl Origin {
    pub fn below(&self, name: &[u8]) -> Origin {
        let path = if self.path.is_empty() { name.to_vec() } else { join(&self.path, name) };
        Origin { source: self.source.clone(), path }
    }
}

/// An operand, or a directory on the way to one (`--relative`).
#[derive(Clone)]
pub struct Node {
    /// With its name in the directory that it is brought into.
    pub entry: Entry,
    pub origin: Origin,
    /// The directories whose contents are brought with it: none where it is only on the way to something.
    pub contents: Vec<Origin>,
    pub children: Vec<Node>,
    /// On the way, and not to be transferred itself (`--no-implied-dirs`).
    pub silent: bool,
}

/// All that the operands bring.
#[derive(Clone, Default)]
pub struct Brought {
    /// What is brought to the top of the transfer.
    pub items: Vec<Node>,
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
            let at = place(level, node);
            level = &mut level[at].children;
        }
        place(level, item);
    }

    /// How many entries there are, the contents of directories left out.
    pub fn count(&self) -> usize {
        fn count(nodes: &[Node]) -> usize {
            nodes.iter().map(|node| 1 + count(&node.children)).sum()
        }
        count(&self.items)
    }
}

/// Puts a node among others; returns where it is. Of equal names the first stays, and gets what the other one brings.
fn place(level: &mut Vec<Node>, node: Node) -> usize {
    match level.iter().position(|other| other.entry.name == node.entry.name) {
        Some(at) => {
            let old = &mut level[at];
            if node.entry.meta.is_dir() && old.entry.meta.is_dir() {
                old.contents.extend(node.contents);
                old.silent &= node.silent;
                for child in node.children {
                    place(&mut old.children, child);
                }
            } else if node.entry.meta.is_dir() {
                // A directory counts more than what is none: it may have something in it.
                *old = node;
            }
            at
        }
        None => {
            level.push(node);
            level.len() - 1
        }
    }
}

/// Lays what was listed of each origin, and the nodes given, over each other. Of what is not in the map the origin is that
/// of the first listing.
pub fn overlay(listed: Vec<(Origin, Vec<Entry>)>, given: Vec<Node>) -> (Vec<Entry>, HashMap<Vec<u8>, Node>) {
    let mut nodes = HashMap::new();
    let mut listed = listed.into_iter();
    let Some((first, mut entries)) = listed.next() else {
        let entries = given.iter().map(|node| node.entry.clone()).collect();
        return (entries, given.into_iter().map(|node| (node.entry.name.clone(), node)).collect());
    };
    let rest: Vec<_> = listed.collect();
    if rest.is_empty() && given.is_empty() {
        return (entries, nodes);
    }
    let mut all: Vec<Node> = entries.drain(..).map(|entry| found(&first, entry)).collect();
    let mut known: HashMap<Vec<u8>, usize> =
        all.iter().enumerate().map(|(at, node)| (node.entry.name.clone(), at)).collect();
    let more = rest.into_iter().flat_map(|(origin, entries)| {
        entries.into_iter().map(move |entry| found(&origin, entry)).collect::<Vec<_>>()
    });
    for node in more.chain(given) {
        match known.get(&node.entry.name) {
            Some(at) => {
                let mut one = vec![all[*at].clone()];
                place(&mut one, node);
                if let Some(merged) = one.pop() {
                    all[*at] = merged;
                }
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
    Node { entry, origin, contents, children: Vec::new(), silent: false }
}
