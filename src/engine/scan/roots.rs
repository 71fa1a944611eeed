//! Where the walk begins: what the operands bring to the top of the destination.

use futures::StreamExt;

use super::entry::is_empty;
use super::*;

/// One operand: what is walked, and where it goes.
pub(super) struct Root {
    /// Where it is; its path is empty for a tree's own contents.
    pub origin: Origin,
    /// Its path in the destination's tree.
    pub dest_name: Vec<u8>,
    pub meta: Meta,
    pub target: Option<Vec<u8>>,
    /// The destination's directory was made by us: nothing below it needs a look.
    pub dest_is_new: bool,
}

/// All operands, and the destination's name of a single one that it renames.
pub struct Roots {
    pub brought: Brought,
    pub renamed: Option<Vec<u8>>,
    /// The destination's directory was made by us: nothing below it needs a look.
    pub dest_is_new: bool,
    /// `--delete-missing-args`: names of operands that are not there, and are to go at the destination too.
    pub absent: Vec<Vec<u8>>,
}

/// The directories that are brought with all that is in them.
fn tops(items: &Nodes, dir: &[u8], found: &mut Vec<Vec<u8>>) {
    for (name, node) in items {
        let path = below(dir, name);
        if !node.contents.is_empty() {
            found.push(path.clone());
        }
        tops(&node.children, &path, found);
    }
}

impl Scan<'_> {
    /// What is missing at the source and is to go at the destination; a directory with something in it only if deletion is
    /// asked for.
    pub(super) async fn absent(&mut self, names: Vec<Vec<u8>>) {
        let run = self.run;
        let deletes = run.job.options.delete.enabled || run.job.options.force;
        let look = |path: Vec<u8>| async move {
            let looked = async {
                let Some(meta) = run.dest.stat(&path, false).await? else { return Ok(None) };
                let goes = !meta.is_dir() || deletes || is_empty(run, &path).await?;
                Ok(Some((meta, goes)))
            };
            (looked.await, path)
        };
        let looks = futures::stream::iter(names.into_iter().map(look));
        let mut looks = std::pin::pin!(looks.buffered(crate::engine::AT_ONCE));
        while let Some((looked, path)) = looks.next().await {
            match looked {
                Ok(Some((_, false))) => run.printer.not_empty(&path),
                Ok(Some((meta, true))) => {
                    if run.job.options.backup.is_some() {
                        run.backups.claims.missing(path.clone());
                    }
                    let (dir, name) = crate::tree::split(&path);
                    let entry = Entry { name: name.to_vec(), meta, target: None };
                    let (path, shown, filter) = (dir.to_vec(), dir.to_vec(), self.protect.clone());
                    self.left.extraneous.push(Extraneous { path, shown, entries: vec![entry], filter, named: true });
                }
                Ok(None) => {}
                Err(fault) => run.trouble(&fault, Some(&path)),
            }
        }
    }

    /// The operands: what they bring to the top is one directory, in one order.
    pub(super) async fn top(&mut self, roots: Roots) {
        let Roots { brought, renamed, dest_is_new, absent } = roots;
        self.absent(absent).await;
        let Brought { items, contents, itself } = brought;
        let contents_wanted = !contents.is_empty();
        if contents_wanted {
            self.left.tops.push(b".".to_vec());
        }
        tops(&items, b"", &mut self.left.tops);
        if let Some(dest_name) = renamed {
            // It is alone.
            let mut items = items.into_values();
            let alone = match items.next() {
                Some(Node { entry: Entry { name, meta, target }, origin, .. }) => {
                    let origin = Origin { path: name, ..origin };
                    Some(Root { origin, dest_name, meta, target, dest_is_new })
                }
                None => contents.into_iter().next().map(|(origin, meta)| Root {
                    origin,
                    dest_name,
                    meta,
                    target: None,
                    dest_is_new,
                }),
            };
            if let Some(root) = alone {
                self.root(root).await;
            }
            return;
        }
        let mut contents = if contents_wanted { contents } else { itself.into_iter().collect() }.into_iter();
        if let Some((origin, meta)) = contents.next() {
            self.root(Root { origin, dest_name: Vec::new(), meta, target: None, dest_is_new }).await;
        }
        match self.waiting.last_mut() {
            Some(Next::Entry(_)) => {}
            Some(Next::Contents(top)) => {
                if !contents_wanted {
                    top.origins.clear();
                }
                top.origins.extend(contents.map(|(origin, _)| origin));
                top.given = items;
            }
            None if items.is_empty() => {}
            None => self.waiting.push(Next::Contents(Box::new(Waiting {
                origins: Vec::new(),
                given: items,
                dest_path: Vec::new(),
                shown: b".".to_vec(),
                protect: self.protect.clone(),
                exists: !dest_is_new,
                directory: Directory::there(),
                dev: 0,
                only_counted: false,
                listings: None,
            }))),
        }
    }

    /// An operand itself: a file, a link, or a directory to be walked.
    async fn root(&mut self, root: Root) {
        let Root { origin, dest_name, meta, target, dest_is_new } = root;
        let name = origin.path.clone();
        let mut entry = [Entry { name: Vec::new(), meta, target: None }];
        owners::translate(self.run, &mut entry).await;
        let [Entry { meta, .. }] = entry;
        let shown = if name.is_empty() { b".".to_vec() } else { name.clone() };
        if meta.is_dir() && !self.run.job.options.recursive && !self.run.job.options.dirs {
            return self.skip(&shown, b"", &meta, Reason::Directory, "");
        }
        if !name.is_empty() && origin.filter.excludes(&name, meta.is_dir(), Side::Sender) {
            return;
        }
        let old = match dest_is_new {
            true => None,
            false => match self.run.dest.stat(&dest_name, false).await {
                Ok(old) => old,
                Err(fault) => {
                    self.run.tally().listing_errors = true;
                    return self.run.trouble(&fault, Some(&shown));
                }
            },
        };
        // The destination's own directory may be reached by a link; what it holds is what counts.
        let old = match old {
            Some(old) if dest_name.is_empty() && old.kind == Kind::Symlink => {
                self.run.dest.stat(&dest_name, true).await.ok().flatten()
            }
            old => old,
        };
        let mut old_entry = old.map(|meta| Entry { name: dest_name.clone(), meta, target: None });
        if let Some(old) = &mut old_entry
            && old.meta.kind == Kind::Symlink
        {
            old.target = self.run.dest.read_link(&dest_name).await.ok();
        }
        if let (Some(old), true) = (&mut old_entry, self.run.job.options.keep_dirlinks && meta.is_dir())
            && old.meta.kind == Kind::Symlink
        {
            match referents::keep_dirlink(self.run, &dest_name, old).await {
                Ok(led) => self.left.led_to.extend(led),
                Err(()) => return,
            }
        }
        // The directory that the destination's root is was made for us, or is there.
        let made = dest_is_new && dest_name.is_empty();
        let same_target = old_entry.as_ref().map(|old| target.is_some() && old.target == target);
        let Some(context) = self.context(old_entry.is_some()).await else { return };
        let mut decision = decide(&context, &meta, old_entry.as_ref().map(|old| &old.meta), same_target);
        if made {
            // In a dry run it is not there, and what is not there is not made with --existing.
            let lacks = self.run.job.options.existing && self.run.job.options.dry_run;
            decision = if lacks { Decision::Skip(Reason::NotExisting) } else { Decision::Create };
        }
        let entry = Entry { name: name.clone(), meta, target };
        let basis = if old_entry.is_none() || made { self.basis_of(&dest_name, &entry).await } else { None };
        let walked = self.run.job.options.recursive || shown == b".";
        let place = Place {
            contents: if walked { vec![origin.clone()] } else { Vec::new() },
            origin,
            first: None,
            basis,
            given: Nodes::new(),
            silent: false,
            dest_path: dest_name,
            shown,
            protect: self.protect.clone(),
            directory: Directory::there(),
            made,
            later: false,
            planned: None,
            in_way: None,
        };
        self.entry(place, entry, old_entry, decision).await;
    }

    /// What a basis has for an operand by itself.
    async fn basis_of(&self, dest_name: &[u8], entry: &Entry) -> Option<basis::Found> {
        if self.bases.is_empty() {
            return None;
        }
        let mut listed = basis::Listed::new();
        for tree in &self.bases {
            let meta = tree.stat(dest_name, false).await.ok().flatten();
            let target = match &meta {
                Some(meta) if meta.kind == Kind::Symlink => tree.read_link(dest_name).await.ok(),
                _ => None,
            };
            let found = meta.map(|meta| (entry.name.clone(), Entry { name: entry.name.clone(), meta, target }));
            listed.push(found.into_iter().collect());
        }
        let context = self.context(true).await?;
        basis::find(&self.bases, &listed, dest_name, entry, &context, self.run.identity().await)
    }
}
