//! The listings of both ends, which run ahead of the decisions, and the rules that hold in each directory.

use std::sync::atomic::AtomicBool;

use tokio::sync::Semaphore;

use super::foretold::{Ask, Foretold, Given};
use super::*;

/// Directories that are listed ahead of the one that is decided.
const LISTED_AHEAD: usize = 128;

/// Both ends' listings, each with the rules that hold there; none of the destination's where it is new.
#[derive(Default)]
pub(in crate::engine) struct Listings {
    pub here: Vec<(Origin, Result<Listing, Fault>)>,
    pub there: Option<There>,
    pub bases: basis::Listed,
    pub early: Early,
}

/// What else the walk will have to know of the entries of a lone origin: at a distance it would else wait once more in each
/// directory, or for each entry.
#[derive(Default)]
pub(in crate::engine) struct Early {
    pub referents: referents::Looked,
    pub filled: prune::Looked,
    pub same: basis::Hashed,
}

pub(in crate::engine) type There = Result<(Listing, Arc<Filter>), Fault>;

impl Scan<'_> {
    /// The next directory, its listings and those of the ones after it being under way.
    pub(super) fn next(&mut self) -> Option<Next> {
        for next in self.waiting.iter_mut().rev().take(LISTED_AHEAD) {
            let (listings, origins, given, exists, dest_path, shown, protect, dev) = match next {
                Next::Contents(w) => {
                    (&mut w.listings, &w.origins, &w.given, w.exists, &w.dest_path, &w.shown, &w.protect, w.dev)
                }
                Next::Entry(p) if !p.is_sure() => continue,
                Next::Entry(pending) => {
                    let Pending { place, entry, old, listings, .. } = pending.as_mut();
                    let Place { contents, given, dest_path, shown, protect, .. } = place;
                    let exists = old.as_ref().is_some_and(|old| old.meta.is_dir());
                    (listings, &*contents, &*given, exists, &*dest_path, &*shown, &*protect, entry.meta.dev)
                }
            };
            if listings.is_none() {
                *listings = Some(self.foretold.listings(Ask {
                    origins: origins.clone(),
                    names: origins.is_empty().then(|| given.keys().cloned().collect()),
                    exists,
                    dest_path: dest_path.clone(),
                    shown: shown.clone(),
                    protect: protect.clone(),
                    dev,
                    given: Given::new(given),
                }));
            }
        }
        self.waiting.pop()
    }
}

/// Lists a directory at both ends, and in what `--link-dest` and its kin name.
pub(super) async fn list(foretold: &Foretold, ask: &Ask, unwanted: &AtomicBool) -> Listings {
    let Foretold { run, bases: trees, .. } = foretold;
    let Ask { origins, names, exists, dest_path, shown, protect, .. } = ask;
    let follow = run.job.options.copy_links;
    let transferred = run.job.options.delete.after && !run.job.options.dry_run;
    let dest = &run.dest;
    let there = async {
        match (exists, names) {
            (true, None) => Some(dest.list(dest_path, false).await.map(without_vanished)),
            (true, Some(names)) => Some(look_at(dest.as_ref(), dest_path, names.clone()).await),
            (false, _) => None,
        }
    };
    let here = origins.iter().map(|origin| {
        let begun = foretold.begun(ask, origin);
        rules::list(origin.clone(), shown, follow, begun)
    });
    let (here, there, bases) =
        tokio::join!(futures::future::join_all(here), there, basis::list(trees.clone(), dest_path.clone()));
    let there = match there {
        Some(Ok(listing)) if !rules::matter_at_dest(run) => Some(Ok((listing, protect.clone()))),
        Some(Ok(listing)) => {
            let from = here.first().filter(|_| transferred);
            Some(protected(protect, dest.as_ref(), dest_path, shown, listing, from).await)
        }
        Some(Err(fault)) => Some(Err(fault)),
        None => None,
    };
    let mut listings = Listings { here, there, bases, early: Early::default() };
    if let Some(dir) = lone(foretold, ask, &listings.here, unwanted) {
        listings.early.referents = referents::look(run, &dir).await;
    }
    listings
}

/// What need not be known before what lies in the directory is listed, but in its turn.
pub(super) async fn look_into(foretold: &Foretold, ask: &Ask, listings: &mut Listings, unwanted: &AtomicBool) {
    let Foretold { run, bases: trees, .. } = foretold;
    let Some(dir) = lone(foretold, ask, &listings.here, unwanted) else { return };
    let there = match &listings.there {
        Some(Ok((listing, _))) => Some(listing),
        Some(Err(_)) => return,
        None => None,
    };
    let (filled, same) =
        tokio::join!(prune::look(run, &dir), basis::hash(run, &dir, there, trees, &listings.bases, &ask.dest_path));
    (listings.early.filled, listings.early.same) = (filled, same);
}

/// The one directory whose contents come; not on one machine, where nothing is far.
fn lone<'a>(
    foretold: &'a Foretold,
    ask: &'a Ask,
    here: &'a [(Origin, Result<Listing, Fault>)],
    unwanted: &'a AtomicBool,
) -> Option<Dir<'a>> {
    let [(origin, Ok(listing))] = here else { return None };
    let shown = if ask.shown == b"." { b"".as_slice() } else { &ask.shown };
    let dir = Dir { origin, listing, shown, questions: &foretold.questions, unwanted };
    foretold.run.remote.is_some().then_some(dir)
}

/// A directory of the source whose entries are asked about before their turn.
pub(in crate::engine) struct Dir<'a> {
    pub origin: &'a Origin,
    pub listing: &'a Listing,
    pub shown: &'a [u8],
    /// What bounds how many questions are under way.
    pub questions: &'a Semaphore,
    /// The walk will not ask for what was found.
    pub unwanted: &'a AtomicBool,
}

/// What is gone from the destination by the time it is looked at is not there. Our own temporary files come and go in it
/// (`--temp-dir`).
fn without_vanished(mut listing: Listing) -> Listing {
    listing.faults.retain(|fault| fault.cause != Cause::Vanished);
    listing
}

/// The destination's listing of a directory, and its rules there: with `--delete-after` those that will have been
/// transferred by then.
async fn protected(
    protect: &Arc<Filter>,
    dest: &dyn Tree,
    path: &[u8],
    shown: &[u8],
    listing: Listing,
    from: Option<&(Origin, Result<Listing, Fault>)>,
) -> There {
    let mut dirs = Vec::new();
    let visible;
    if let Some((origin, Ok(listed))) = from {
        let hidden = |name: &[u8]| origin.filter.excludes(&below(shown, name), false, Side::Sender);
        let entries = listed.entries.iter().filter(|entry| !hidden(&entry.name)).cloned().collect();
        visible = Listing { entries, faults: Vec::new() };
        dirs.push(rules::Dir { tree: origin.source.as_ref(), path: &origin.path, listing: &visible });
    }
    dirs.push(rules::Dir { tree: dest, path, listing: &listing });
    let filter = rules::enter(protect, Side::Receiver, shown, &dirs).await?;
    drop(dirs);
    Ok((listing, filter))
}

/// What the destination has under some names of a directory.
async fn look_at(dest: &dyn Tree, dir: &[u8], names: Vec<Vec<u8>>) -> Result<Listing, Fault> {
    use futures::StreamExt;
    let looks = futures::stream::iter(names.into_iter().map(|name| async move {
        let path = below(dir, &name);
        let Some(meta) = dest.stat(&path, false).await? else { return Ok(None) };
        let target = if meta.kind == Kind::Symlink { Some(dest.read_link(&path).await?) } else { None };
        Ok(Some(Entry { name, meta, target }))
    }));
    let found: Vec<Result<Option<Entry>, Fault>> = looks.buffered(crate::engine::AT_ONCE).collect().await;
    let entries: Result<Vec<Option<Entry>>, Fault> = found.into_iter().collect();
    Ok(Listing { entries: entries?.into_iter().flatten().collect(), faults: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vanishes_from_the_destination_is_no_trouble_and_what_cannot_be_seen_is() {
        let fault = |cause| Fault::new("far", Stage::List, cause, "x");
        let faults = vec![fault(Cause::Vanished), fault(Cause::Permission), fault(Cause::Vanished)];
        let listing = without_vanished(Listing { entries: Vec::new(), faults });
        let causes: Vec<Cause> = listing.faults.iter().map(|fault| fault.cause).collect();
        assert_eq!(causes, [Cause::Permission]);
    }
}
