//! The listings of both ends, which run ahead of the decisions, and the rules that hold in each directory.

use super::*;

/// Directories that are listed ahead of the one that is decided.
const LISTED_AHEAD: usize = 128;

/// Names of one directory that are looked at together.
const LOOKS: usize = 64;

/// Both ends' listings, each with the rules that hold there; none of the destination's where it is new.
pub(super) type Listings = (Vec<(Origin, Result<Listing, Fault>)>, Option<There>, basis::Listed);
type There = Result<(Listing, Arc<Filter>), Fault>;

impl Scan<'_> {
    /// The next directory, its listings and those of the ones after it being under way.
    pub(super) fn next(&mut self) -> Option<Next> {
        let follow = self.run.job.options.copy_links;
        for next in self.waiting.iter_mut().rev().take(LISTED_AHEAD) {
            let (listings, origins, given, exists, dest_path, shown, protect) = match next {
                Next::Contents(w) => {
                    (&mut w.listings, &w.origins, &w.given, w.exists, &w.dest_path, &w.shown, &w.protect)
                }
                Next::Entry(p) if !p.is_sure() => continue,
                Next::Entry(pending) => {
                    let Pending { place, old, listings, .. } = pending.as_mut();
                    let Place { contents, given, dest_path, shown, protect, .. } = place;
                    (listings, &*contents, &*given, old.is_some(), &*dest_path, &*shown, &*protect)
                }
            };
            if listings.is_none() {
                let origins = origins.clone();
                let (shown, protect) = (shown.clone(), protect.clone());
                let transferred = self.run.job.options.delete.after && !self.run.job.options.dry_run;
                let (bases, basis_dir) = (self.bases.clone(), dest_path.clone());
                let dest = exists.then(|| (self.run.dest.clone(), dest_path.clone()));
                // Where only some names are given, the directory may be a large one that does not concern us.
                let names: Option<Vec<Vec<u8>>> = origins.is_empty().then(|| given.keys().cloned().collect());
                *listings = Some(tokio::spawn(async move {
                    let there = async {
                        match (&dest, names) {
                            (Some((dest, path)), None) => Some(dest.list(path, false).await.map(without_vanished)),
                            (Some((dest, path)), Some(names)) => Some(look_at(dest.as_ref(), path, names).await),
                            (None, _) => None,
                        }
                    };
                    let here = origins.into_iter().map(|origin| rules::list(origin, &shown, follow));
                    let (here, there, bases) =
                        tokio::join!(futures::future::join_all(here), there, basis::list(bases, basis_dir));
                    let there = match (there, &dest) {
                        (Some(Ok(listing)), Some((dest, path))) => {
                            let from = here.first().filter(|_| transferred);
                            Some(protected(&protect, dest.as_ref(), path, &shown, listing, from).await)
                        }
                        (Some(Err(fault)), _) => Some(Err(fault)),
                        _ => None,
                    };
                    (here, there, bases)
                }));
            }
        }
        self.waiting.pop()
    }
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
    let found: Vec<Result<Option<Entry>, Fault>> = looks.buffered(LOOKS).collect().await;
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
