//! A destination on this machine that lies within a source: what is put there must not be found and copied again.
//!
//! rsync makes its list of files before it makes the destination. So a directory that is made for the destination is no
//! part of the source, and of one that was there before, what was in it then is (as with rsync's --no-inc-recursive; a list
//! that it makes in parts has, of what it puts there meanwhile, whatever it happens to see).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::job::{Job, Place};
use crate::plan::filter::{Filter, Side};
use crate::tree::local::Names;
use crate::tree::{Listing, join, local, split};

use super::brought::Origin;
use super::operands::Operand;

/// Names below the destination that are kept, from before the run.
const NAMES_MAX: usize = 500_000;

/// What the sources have of the destination; nothing, as a rule.
#[derive(Default)]
pub struct Inside {
    spots: Vec<Spot>,
    /// Links of a source are gone through, and any of them may lead there.
    linked: Option<Linked>,
    before: Before,
}

/// Where one source has it.
struct Spot {
    /// The source's root as the user named it, and the path in it of the destination, or of the first directory that is
    /// made for it.
    root: Vec<u8>,
    path: Vec<u8>,
    /// The directory that this is in, as it was.
    parent: Option<Meta>,
}

/// Where it is, whichever way leads there.
struct Linked {
    place: PathBuf,
    parent: Option<Meta>,
}

#[derive(Default)]
enum Before {
    /// It was not there.
    #[default]
    Missing,
    /// By their paths in it, what its directories had in them; as it was itself. Nothing but directories is looked at for
    /// this: as a rule nobody will ask for it.
    Held(HashMap<Vec<u8>, Result<Names, Fault>>, Meta),
    TooMuch(Meta),
}

/// Looks whether the destination lies within what is copied; to be called before anything is made.
pub async fn find(job: &Job, there: &[Operand<'_>], dest: &[u8]) -> Result<Inside, Fault> {
    let options = &job.options;
    let local = job.sources.iter().chain(&job.dest).all(|place| matches!(place, Place::Local(_)));
    if !local || options.dry_run || !there.iter().any(|operand| operand.meta.is_dir()) {
        return Ok(Inside::default());
    }
    let Some((place, was)) = first_made(dest).await? else { return Ok(Inside::default()) };
    let parent = match place.parent() {
        Some(parent) => local::stat_operand(parent, true).await?,
        None => None,
    };
    let mut inside = Inside::default();
    match options.follows() && (options.recursive || options.dirs) {
        true => inside.linked = Some(Linked { place: place.clone(), parent }),
        false => inside.spots = spots(job, there, &place, parent.as_ref()).await?,
    }
    if let Some(meta) = was.filter(|_| inside.linked.is_some() || !inside.spots.is_empty()) {
        inside.before = hold(&place, meta).await?;
    }
    Ok(inside)
}

/// Where the operands have it, if no link is gone through.
async fn spots(job: &Job, there: &[Operand<'_>], place: &Path, parent: Option<&Meta>) -> Result<Vec<Spot>, Fault> {
    let filter = Filter::new(&job.options.rules);
    let mut spots = Vec::new();
    for operand in there.iter().filter(|operand| operand.meta.is_dir()) {
        let Some(real) = local::real_path(Path::new(OsStr::from_bytes(&operand.path))).await? else { continue };
        let Ok(below) = place.strip_prefix(&real) else { continue };
        let below = below.as_os_str().as_bytes();
        // What is copied onto itself is not within itself.
        if below.is_empty() && operand.root.name.is_empty() {
            continue;
        }
        let named = join(&operand.root.name, below);
        // What the filters leave out is never looked into, and may be large.
        let ends = named.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([named.len()]);
        if ends.into_iter().any(|end| filter.excludes(&named[..end], true, Side::Sender)) {
            continue;
        }
        let (root, within) = operand.contents();
        let path = if below.is_empty() { within.to_vec() } else { join(within, below) };
        spots.push(Spot { root, path, parent: parent.cloned() });
    }
    Ok(spots)
}

/// The destination's real path, and what it is; of one that is not there, the path of the first directory that has to be
/// made.
async fn first_made(dest: &[u8]) -> Result<Option<(PathBuf, Option<Meta>)>, Fault> {
    let mut path = Path::new(OsStr::from_bytes(if dest.is_empty() { b"." } else { dest }));
    if let Some(real) = local::real_path(path).await? {
        let meta = local::stat_operand(&real, true).await?.filter(Meta::is_dir);
        return Ok(meta.map(|meta| (real, Some(meta))));
    }
    while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        let above = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if let Some(real) = local::real_path(above).await? {
            return Ok(Some((real.join(name), None)));
        }
        path = parent;
    }
    Ok(None)
}

async fn hold(dest: &Path, meta: Meta) -> Result<Before, Fault> {
    Ok(local::names_below(dest, NAMES_MAX)
        .await?
        .map_or(Before::TooMuch(meta.clone()), |held| Before::Held(held, meta)))
}

/// What a directory is to the destination.
enum Position<'a> {
    /// It is the destination, or below it at this path.
    Within(&'a [u8]),
    /// The destination has this name in it.
    Above(&'a [u8]),
    /// What the destination is in has this name in it, and was this.
    Higher(&'a [u8], &'a Meta),
}

impl Inside {
    /// A directory of a source as it was before anything was made; `listed` is what it is now, links followed as `follow`
    /// says.
    pub async fn as_before(
        &self,
        origin: &Origin,
        follow: bool,
        listed: Result<Listing, Fault>,
    ) -> Result<Listing, Fault> {
        if let Some(Linked { place, parent }) = &self.linked {
            let path = join(origin.source.root(), &origin.path);
            let Some(real) = local::real_path(Path::new(OsStr::from_bytes(&path))).await? else { return listed };
            return match position(&real, place, parent.as_ref()) {
                Some(position) => self.before(origin, follow, &path, position, listed).await,
                None => listed,
            };
        }
        let mut listed = listed;
        for spot in self.spots.iter().filter(|spot| spot.root == origin.source.root()) {
            if let Some(below) = within(&spot.path, &origin.path) {
                return self.before(origin, follow, &spot.path, Position::Within(below), listed).await;
            }
            let (above, name) = split(&spot.path);
            if above == origin.path {
                listed = self.before(origin, follow, &spot.path, Position::Above(name), listed).await;
            } else if let (parent, Some(was)) = (split(above), &spot.parent)
                && parent.0 == origin.path
            {
                listed = self.before(origin, follow, &spot.path, Position::Higher(parent.1, was), listed).await;
            }
        }
        listed
    }

    /// Sets the times of the destination, and of what it is in, as they were, where links lead to them.
    pub fn restore(&self, entries: &mut [Entry]) {
        let Some(Linked { parent, .. }) = &self.linked else { return };
        let was = match &self.before {
            Before::Held(_, was) | Before::TooMuch(was) => Some(was),
            Before::Missing => None,
        };
        for was in [was, parent.as_ref()].into_iter().flatten() {
            let same = |entry: &&mut Entry| (entry.meta.dev, entry.meta.ino) == (was.dev, was.ino);
            for entry in entries.iter_mut().filter(same) {
                (entry.meta.mtime, entry.meta.mtime_nsec) = (was.mtime, was.mtime_nsec);
            }
        }
    }

    /// `shown` is where the source has it.
    async fn before(
        &self,
        origin: &Origin,
        follow: bool,
        shown: &[u8],
        position: Position<'_>,
        listed: Result<Listing, Fault>,
    ) -> Result<Listing, Fault> {
        if let Position::Within(below) = position {
            return match &self.before {
                Before::Held(held, _) => match held.get(below) {
                    Some(Ok(was)) => Ok(as_it_was(origin, follow, was, listed?).await),
                    Some(Err(fault)) => Err(fault.clone()),
                    None => Ok(Listing::default()),
                },
                Before::TooMuch(_) => Err(too_much(shown)),
                Before::Missing => Ok(Listing::default()),
            };
        }
        let mut listing = listed?;
        match (position, &self.before) {
            (Position::Above(name), Before::Missing) => listing.entries.retain(|entry| entry.name != name),
            (Position::Above(name), Before::Held(_, was) | Before::TooMuch(was)) => restore(&mut listing, name, was),
            (Position::Higher(name, was), _) => restore(&mut listing, name, was),
            (Position::Within(_), _) => {}
        }
        Ok(listing)
    }
}

/// What is left of a listing that is made while files are put there: names that were there before. One that is missing is
/// looked for once more, as what is replaced may have no name for a moment.
async fn as_it_was(origin: &Origin, follow: bool, was: &Names, mut listing: Listing) -> Listing {
    // What comes and goes meanwhile is ours.
    listing.faults.retain(|fault| fault.cause != Cause::Vanished);
    listing.entries.retain(|entry| was.contains_key(&entry.name));
    let listed: HashSet<&[u8]> = listing.entries.iter().map(|entry| entry.name.as_slice()).collect();
    let missing: Vec<&Vec<u8>> = was.keys().filter(|name| !listed.contains(name.as_slice())).collect();
    for name in missing {
        match once_more(origin, follow, name).await {
            Ok(entry) => listing.entries.push(entry),
            Err(fault) => listing.faults.push(fault),
        }
    }
    for entry in &mut listing.entries {
        if let (Some(Some(meta)), true) = (was.get(&entry.name), entry.meta.is_dir()) {
            (entry.meta.mtime, entry.meta.mtime_nsec) = (meta.mtime, meta.mtime_nsec);
        }
    }
    listing
}

async fn once_more(origin: &Origin, follow: bool, name: &[u8]) -> Result<Entry, Fault> {
    let (source, path) = (&origin.source, origin.below(name).path);
    let mut meta = source.stat(&path, follow).await?;
    if meta.is_none() && follow {
        meta = source.stat(&path, false).await?;
    }
    let meta = meta.ok_or_else(|| {
        let text = format!("\"{}\" vanished", String::from_utf8_lossy(&join(source.root(), &path)));
        Fault::new(source.hop().clone(), Stage::List, Cause::Vanished, text)
    })?;
    let target = if meta.kind == Kind::Symlink { Some(source.read_link(&path).await?) } else { None };
    Ok(Entry { name: name.to_vec(), meta, target })
}

/// Of a directory by its real path.
fn position<'a>(real: &'a Path, place: &'a Path, parent: Option<&'a Meta>) -> Option<Position<'a>> {
    if let Ok(below) = real.strip_prefix(place) {
        return Some(Position::Within(below.as_os_str().as_bytes()));
    }
    let above = place.parent()?;
    if real == above {
        return place.file_name().map(|name| Position::Above(name.as_bytes()));
    }
    match (above.parent(), above.file_name(), parent) {
        (Some(higher), Some(name), Some(was)) if real == higher => Some(Position::Higher(name.as_bytes(), was)),
        _ => None,
    }
}

/// What is put into a directory changes its time.
fn restore(listing: &mut Listing, name: &[u8], was: &Meta) {
    for entry in listing.entries.iter_mut().filter(|entry| entry.name == name && entry.meta.is_dir()) {
        (entry.meta.mtime, entry.meta.mtime_nsec) = (was.mtime, was.mtime_nsec);
    }
}

/// The rest of a path that lies in a directory, or is it.
fn within<'a>(dir: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    match path.strip_prefix(dir)? {
        rest if dir.is_empty() || rest.is_empty() => Some(rest),
        rest => rest.strip_prefix(b"/"),
    }
}

fn too_much(path: &[u8]) -> Fault {
    let shown = String::from_utf8_lossy(path);
    let text = format!(
        "\"{shown}\" is the destination itself, and had more than {NAMES_MAX} names in it: they are not copied into it \
         again (leave it out with --exclude)"
    );
    Fault::new("local", Stage::List, Cause::Config, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_known_by_its_real_path() {
        let of = |real: &str| match position(Path::new(real), Path::new("/a/b/dst"), None) {
            Some(Position::Within(below)) => format!("within {}", String::from_utf8_lossy(below)),
            Some(Position::Above(name)) => format!("above {}", String::from_utf8_lossy(name)),
            Some(Position::Higher(..)) => "higher".to_owned(),
            None => "elsewhere".to_owned(),
        };
        assert_eq!(["/a/b/dst", "/a/b/dst/x", "/a/b"].map(of), ["within ", "within x", "above dst"]);
        assert_eq!(["/a", "/a/b/dstx", "/"].map(of), ["elsewhere"; 3]);
    }

    #[test]
    fn a_path_lies_in_a_directory_by_whole_names() {
        let of = |dir: &str, path: &'static str| within(dir.as_bytes(), path.as_bytes());
        assert_eq!(of("a/b", "a/b"), Some(b"".as_slice()));
        assert_eq!(of("a/b", "a/b/c/d"), Some(b"c/d".as_slice()));
        assert_eq!((of("a/b", "a/bc"), of("a/b", "a")), (None, None));
        assert_eq!((of("", "a"), of("", "")), (Some(b"a".as_slice()), Some(b"".as_slice())));
    }
}
