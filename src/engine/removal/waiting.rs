//! What is removed at the end of a run, because links of the source are gone through (`-L`, `-k`, `--copy-unsafe-links`): two
//! names may lead to one file, and whichever is delivered first must not take it from the other. What a link leads to out of
//! the directory that it lies in stays, as with rsync.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Mutex, PoisonError};

use futures::{StreamExt, stream};

use super::{Gone, apart, is_as_listed, is_same_link, take_away, tell};
use crate::engine::brought::Origin;
use crate::engine::finish::is_within;
use crate::engine::run::Run;
use crate::engine::ways::prefixes;
use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::tree::split;

/// What was delivered, and has to go.
#[derive(Default)]
pub struct Waiting(Mutex<Vec<Removal>>);

struct Removal {
    origin: Origin,
    what: What,
    dest_path: Vec<u8>,
    shown: Vec<u8>,
}

enum What {
    File { meta: Meta, follow: bool },
    Link(Entry),
}

impl Waiting {
    pub fn file(&self, origin: &Origin, meta: &Meta, follow: bool, dest_path: &[u8], shown: &[u8]) {
        self.add(origin, What::File { meta: meta.clone(), follow }, dest_path, shown);
    }

    pub fn link(&self, origin: &Origin, entry: &Entry, dest_path: &[u8], shown: &[u8]) {
        self.add(origin, What::Link(entry.clone()), dest_path, shown);
    }

    fn add(&self, origin: &Origin, what: What, dest_path: &[u8], shown: &[u8]) {
        let removal = Removal { origin: origin.clone(), what, dest_path: dest_path.to_vec(), shown: shown.to_vec() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(removal);
    }
}

/// Removes all that waits; to be called when nothing is read any more. Links go before what they may lead to.
pub async fn release(run: &Run) {
    let mut waiting = std::mem::take(&mut *run.removals.0.lock().unwrap_or_else(PoisonError::into_inner));
    if waiting.is_empty() {
        return;
    }
    waiting.sort_by(|a, b| a.shown.cmp(&b.shown));
    let places = places(&waiting).await;
    let mut removed: Vec<Option<Result<Gone, Fault>>> = vec![None; waiting.len()];
    // Several names may lead to one place: the first removes what is there.
    let mut first: HashMap<Name<'_>, usize> = HashMap::new();
    let (mut alone, mut again) = (Vec::new(), Vec::new());
    for (at, removal) in waiting.iter().enumerate() {
        let name = split(&removal.origin.path).1;
        match place(&places, &removal.origin) {
            Ok(real) => match first.entry((removal.origin.source.root(), real, name)) {
                Slot::Occupied(first) => again.push((at, *first.get())),
                Slot::Vacant(slot) => {
                    slot.insert(at);
                    alone.push(at);
                }
            },
            Err(fault) => removed[at] = Some(Err(fault)),
        }
    }
    let (mut links, mut files) = (Vec::new(), Vec::new());
    for (at, found) in each(&alone, |at| look(run, &waiting[at])).await {
        match found {
            Ok(Found::Link) => links.push(at),
            Ok(Found::File) => files.push(at),
            Ok(Found::Nothing) => removed[at] = Some(Ok(Gone::Before)),
            Err(fault) => removed[at] = Some(Err(fault)),
        }
    }
    for (at, gone) in each(&links, |at| take_away(&waiting[at].origin)).await {
        removed[at] = Some(gone);
    }
    for (at, gone) in each(&files, |at| remove(run, &waiting[at])).await {
        removed[at] = Some(gone);
    }
    for (at, first) in again {
        removed[at] = removed[first].clone().map(|gone| gone.map(|_| Gone::Before));
    }
    for (removal, removed) in waiting.iter().zip(removed) {
        if let Some(removed) = removed {
            tell(run, removed, &removal.shown);
        }
    }
}

/// Does something for each, many at once; what came of it, in order.
async fn each<T, F: Future<Output = T>>(all: &[usize], work: impl Fn(usize) -> F) -> Vec<(usize, T)> {
    let works = all.iter().map(|at| {
        let work = work(*at);
        async move { (*at, work.await) }
    });
    stream::iter(works).buffered(crate::engine::AT_ONCE).collect().await
}

/// The tree's root, the directory's place in it, and the name there.
type Name<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Where directories lie that sources are in, by the trees' roots and their paths in them.
type Places<'a> = HashMap<(&'a [u8], &'a [u8]), Result<Vec<u8>, Fault>>;

async fn places(waiting: &[Removal]) -> Places<'_> {
    let mut origins: HashMap<(&[u8], &[u8]), &Origin> = HashMap::new();
    for removal in waiting {
        for dir in prefixes(split(&removal.origin.path).0) {
            origins.insert((removal.origin.source.root(), dir), &removal.origin);
        }
    }
    let looks = origins.into_iter().map(|(place, origin)| async move { (place, real(origin, place.1).await) });
    stream::iter(looks).buffer_unordered(crate::engine::AT_ONCE).collect().await
}

async fn real(origin: &Origin, dir: &[u8]) -> Result<Vec<u8>, Fault> {
    origin.source.leads_to(dir).await?.ok_or_else(|| led_away(origin))
}

fn led_away(origin: &Origin) -> Fault {
    let text = "a link on the way leads out of its directory: what is there is not removed";
    Fault::new(origin.source.hop().clone(), Stage::Attributes, Cause::Permission, text)
}

/// Where the directory lies that a source is in, if no link on the way leads out of the directory that it is in itself.
fn place<'a>(places: &'a Places<'_>, origin: &'a Origin) -> Result<&'a [u8], Fault> {
    let mut above: &[u8] = b"";
    for dir in prefixes(split(&origin.path).0) {
        let real = match places.get(&(origin.source.root(), dir)) {
            Some(Ok(real)) => real,
            Some(Err(fault)) => return Err(fault.clone()),
            None => return Err(led_away(origin)),
        };
        if !above.is_empty() && !is_within(real, above) {
            return Err(led_away(origin));
        }
        above = real;
    }
    Ok(above)
}

enum Found {
    Link,
    File,
    Nothing,
}

/// What is to be removed of a delivered name. A link is held against what was delivered while that is still there.
async fn look(run: &Run, removal: &Removal) -> Result<Found, Fault> {
    let Removal { origin, what, dest_path, shown } = removal;
    let is_there = match what {
        What::Link(entry) => is_same_link(run, origin, entry, dest_path, shown).await?,
        What::File { meta, follow } => match origin.source.stat(&origin.path, false).await? {
            Some(now) if now.kind == Kind::Symlink => {
                apart(run, origin, &now, dest_path, shown).await?;
                is_as_listed(run, origin, meta, *follow, dest_path, shown).await?
            }
            Some(_) => return Ok(Found::File),
            None => false,
        },
    };
    Ok(if is_there { Found::Link } else { Found::Nothing })
}

async fn remove(run: &Run, removal: &Removal) -> Result<Gone, Fault> {
    let Removal { origin, what: What::File { meta, .. }, dest_path, shown } = removal else { return Ok(Gone::Before) };
    match is_as_listed(run, origin, meta, false, dest_path, shown).await? {
        true => take_away(origin).await,
        false => Ok(Gone::Before),
    }
}
