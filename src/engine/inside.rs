//! A destination on this machine that lies within a source: what is put there must not be found and copied again.
//!
//! rsync makes its list of files before it makes the destination. So a directory that is made for the destination is no
//! part of the source, and of one that was there before, what was in it then is (as with rsync's --no-inc-recursive; a list
//! that it makes in parts has, of what it puts there meanwhile, whatever it happens to see).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::job::{Job, Place};
use crate::plan::filter::{Filter, Side};
use crate::tree::{Listing, join, local, split};

use super::brought::Origin;
use super::ends::End;
use super::operands::Operand;

/// Names below the destination that are kept, from before the run.
const NAMES_MAX: usize = 500_000;

/// What the sources have of the destination; nothing, as a rule.
#[derive(Default)]
pub struct Inside {
    spots: Vec<Spot>,
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

#[derive(Default)]
enum Before {
    /// It was not there.
    #[default]
    Missing,
    /// By their paths in it, what its directories had in them; as it was itself.
    Held(HashMap<Vec<u8>, Result<Listing, Fault>>, Meta),
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
    let filter = Filter::new(&options.rules);
    let mut spots = Vec::new();
    for operand in there.iter().filter(|operand| operand.meta.is_dir()) {
        let Some(real) = local::real_path(Path::new(OsStr::from_bytes(&operand.path))).await? else { continue };
        let Ok(below) = place.strip_prefix(&real) else { continue };
        let below = below.as_os_str().as_bytes();
        // What is copied onto itself is not within itself.
        if below.is_empty() && operand.root.name.is_empty() {
            continue;
        }
        let path = join(&operand.root.name, below);
        // What the filters leave out is never looked into, and may be large.
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        if ends.into_iter().any(|end| filter.excludes(&path[..end], true, Side::Sender)) {
            continue;
        }
        let parent = match place.parent() {
            Some(parent) => local::stat_operand(parent, true).await?,
            None => None,
        };
        spots.push(Spot { root: operand.root.source_dir.clone(), path, parent });
    }
    let before = match was {
        Some(meta) if !spots.is_empty() => hold(place.as_os_str().as_bytes(), meta).await?,
        _ => Before::Missing,
    };
    Ok(Inside { spots, before })
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

async fn hold(dest: &[u8], meta: Meta) -> Result<Before, Fault> {
    let tree = End::Local.tree(dest).await?;
    let mut held = HashMap::new();
    let (mut waiting, mut names) = (vec![Vec::new()], 0);
    while let Some(path) = waiting.pop() {
        let listing = tree.list(&path, false).await;
        if let Ok(listing) = &listing {
            names += listing.entries.len();
            let dirs = listing.entries.iter().filter(|entry| entry.meta.is_dir());
            waiting
                .extend(dirs.map(|entry| if path.is_empty() { entry.name.clone() } else { join(&path, &entry.name) }));
        }
        if names > NAMES_MAX {
            return Ok(Before::TooMuch(meta));
        }
        held.insert(path, listing);
    }
    Ok(Before::Held(held, meta))
}

impl Inside {
    /// A directory of a source as it was before anything was made.
    pub fn as_before(&self, origin: &Origin, listed: Result<Listing, Fault>) -> Result<Listing, Fault> {
        let mut listed = listed;
        for spot in self.spots.iter().filter(|spot| spot.root == origin.source.root()) {
            if let Some(below) = within(&spot.path, &origin.path) {
                return match &self.before {
                    Before::Held(held, _) => match held.get(below) {
                        Some(Ok(was)) => Ok(Listing { entries: was.entries.clone(), faults: was.faults.clone() }),
                        Some(Err(fault)) => Err(fault.clone()),
                        None => Ok(Listing::default()),
                    },
                    Before::TooMuch(_) => Err(too_much(&spot.path)),
                    Before::Missing => Ok(Listing::default()),
                };
            }
            let Ok(listing) = &mut listed else { continue };
            let (above, name) = split(&spot.path);
            if above == origin.path {
                match &self.before {
                    Before::Missing => listing.entries.retain(|entry| entry.name != name),
                    Before::Held(_, was) | Before::TooMuch(was) => restore(listing, name, was),
                }
            } else if let (parent, Some(was)) = (split(above), &spot.parent)
                && parent.0 == origin.path
            {
                restore(listing, parent.1, was);
            }
        }
        listed
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
        b"" => Some(b""),
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
    fn a_path_lies_in_a_directory_by_whole_names() {
        let of = |dir: &str, path: &'static str| within(dir.as_bytes(), path.as_bytes());
        assert_eq!(of("a/b", "a/b"), Some(b"".as_slice()));
        assert_eq!(of("a/b", "a/b/c/d"), Some(b"c/d".as_slice()));
        assert_eq!((of("a/b", "a/bc"), of("a/b", "a")), (None, None));
    }
}
