//! The rules that directories bring (`dir-merge`): reads the files that [`crate::plan::filter`] asks for, at the end that
//! they are for.

use std::sync::Arc;

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::plan::filter::{Contents, Filter, Side, Stop};
use crate::tree::{Listing, Tree, split};

use super::brought::Origin;
use super::early::Begun;
use super::operands;
use super::run::Run;

/// The longest file of rules that is taken.
const RULES_MAX: u64 = 1 << 20;

/// A directory in which files of rules may lie.
pub struct Dir<'a> {
    pub tree: &'a dyn Tree,
    /// Its path in `tree`.
    pub path: &'a [u8],
    /// What is in it, so that nothing is asked for that is not there.
    pub listing: &'a Listing,
}

/// Lists a directory of the source, unless that was begun. What is returned with it has the rules that hold within it.
pub async fn list(
    origin: Origin,
    shown: &[u8],
    follow: bool,
    begun: Option<Begun>,
) -> (Origin, Result<Listing, Fault>) {
    let listed = async {
        let begun = match begun {
            Some(begun) => begun.await.ok().flatten(),
            None => None,
        };
        let listing = match begun {
            Some(listing) => listing,
            None => origin.source.list(&origin.path, follow).await?,
        };
        let filter = hide(&origin, shown, &listing).await?;
        Ok((listing, filter))
    };
    match listed.await {
        Ok((listing, filter)) => (Origin { filter, ..origin }, Ok(listing)),
        Err(fault) => (origin, Err(fault)),
    }
}

/// Whether anything at the destination is deleted by rules: else rsync reads none there, be they as wrong as they like.
pub fn matter_at_dest(run: &Run) -> bool {
    let options = &run.job.options;
    options.delete.enabled || options.force || options.prune_empty_dirs
}

/// The rules within a directory of the source.
pub async fn hide(origin: &Origin, shown: &[u8], listing: &Listing) -> Result<Arc<Filter>, Fault> {
    let dir = Dir { tree: origin.source.as_ref(), path: &origin.path, listing };
    enter(&origin.filter, Side::Sender, shown, &[dir]).await
}

/// The rules within a directory: from the first of `dirs` that has the file.
pub async fn enter(filter: &Arc<Filter>, side: Side, shown: &[u8], dirs: &[Dir<'_>]) -> Result<Arc<Filter>, Fault> {
    if !filter.has_lists() {
        return Ok(filter.clone());
    }
    let shown = if shown == b"." { b"".as_slice() } else { shown };
    let mut contents = Contents::new();
    loop {
        match filter.enter(shown, side, &contents) {
            Ok(inner) => return Ok(Arc::new(inner)),
            Err(Stop::Wrong(text)) => {
                let hop = dirs.first().map_or_else(|| "local".into(), |dir| dir.tree.hop().clone());
                return Err(Fault::new(hop, Stage::List, Cause::Config, text));
            }
            Err(Stop::Needs(path)) => {
                let mut content = None;
                for dir in dirs {
                    content = read(dir, shown, &path).await?;
                    if content.is_some() {
                        break;
                    }
                }
                contents.insert(path, content);
            }
        }
    }
}

async fn read(dir: &Dir<'_>, shown: &[u8], path: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let here = match shown {
        b"" => Some(path).filter(|path| !path.starts_with(b"/")),
        shown => path.strip_prefix(shown).and_then(|rest| rest.strip_prefix(b"/")),
    };
    if let Some(name) = here
        && !name.contains(&b'/')
    {
        let Some(listed) = dir.listing.entries.iter().find(|entry| entry.name == name) else { return Ok(None) };
        return content(dir.tree, &super::finish::below(dir.path, name), Some(&listed.meta)).await;
    }
    if !path.starts_with(b"/") {
        return content(dir.tree, path, None).await;
    }
    let (above, name) = split(path);
    match dir.tree.beside(if above.is_empty() { b"/" } else { above }).await {
        Ok(tree) => content(tree.as_ref(), name, None).await,
        Err(fault) => unless_lost(fault),
    }
}

/// `listed`: what a listing says of it.
async fn content(tree: &dyn Tree, path: &[u8], listed: Option<&Meta>) -> Result<Option<Vec<u8>>, Fault> {
    let read = async {
        let looked = match listed.filter(|meta| meta.is_file()) {
            Some(meta) => Some(meta.clone()),
            None => tree.stat(path, true).await?.filter(Meta::is_file),
        };
        let Some(mut meta) = looked else { return Ok(None) };
        if (1..=tree.chunk() as u64).contains(&meta.size) {
            // In one flight. One that has become another meanwhile is read again.
            match tree.read_small(path, meta.size, true).await {
                Ok((data, after, _)) if after.size == data.len() as u64 => return Ok(Some(data.to_vec())),
                Ok((_, after, _)) => meta = after,
                Err(fault) if matches!(fault.cause, Cause::Lost | Cause::Timeout) => {}
                Err(fault) => return Err(fault),
            }
        }
        if meta.size > RULES_MAX {
            let text = format!("\"{}\": more than {} KiB of rules", String::from_utf8_lossy(path), RULES_MAX >> 10);
            return Err(Fault::new(tree.hop().clone(), Stage::List, Cause::Config, text));
        }
        operands::read_list(tree, path, meta.size).await.map(Some)
    };
    match read.await {
        Err(fault) => unless_lost(fault),
        read => read,
    }
}

/// A file of rules that cannot be read is as one that is not there (rsync: the same).
fn unless_lost(fault: Fault) -> Result<Option<Vec<u8>>, Fault> {
    match fault.cause {
        Cause::NotFound | Cause::Permission => Ok(None),
        _ => Err(fault),
    }
}
