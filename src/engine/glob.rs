//! Wildcards in a far source's path. rsync leaves them to the far end's shell; SFTP has none, so the directories on the way
//! are listed and held against the pattern here.

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::fault::Fault;
use crate::plan::filter::NamePattern;
use crate::tree::join;

use super::ends::End;

/// Paths that one operand may become at most.
const MOST: usize = 1_000_000;

/// Whether a path has wildcards at all.
pub fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// The paths that a pattern stands for, in the order of their bytes; the pattern itself if there are none, as a shell
/// leaves it.
///
/// # Errors
/// A directory cannot be listed because the connection is lost; one that may not be read only has nothing to offer.
pub async fn expand(end: &End, pattern: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let mut found: Vec<Vec<u8>> = vec![if pattern.starts_with(b"/") { b"/".to_vec() } else { Vec::new() }];
    let parts: Vec<&[u8]> = pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    let mut wild = false;
    for (at, part) in parts.iter().enumerate() {
        let wild_part = is_pattern(part);
        let mut paths = Vec::new();
        if wild_part {
            let listed = stream::iter(&found).map(|dir| names(end, dir, part)).buffered(super::AT_ONCE);
            let listed: Vec<Vec<Vec<u8>>> = listed.try_collect().await?;
            for (dir, names) in found.iter().zip(listed) {
                paths.extend(names.into_iter().map(|name| below(dir, &name)));
            }
        } else {
            paths.extend(found.iter().map(|dir| below(dir, part)));
        }
        paths.truncate(MOST);
        let last = at + 1 == parts.len();
        let wanted = match (wild_part, last && !pattern.ends_with(b"/")) {
            // What comes after a wildcard has to be there.
            (false, _) => wild.then_some(Wanted::Anything),
            (true, true) => None,
            (true, false) => Some(Wanted::Directory),
        };
        let next = match wanted {
            Some(wanted) => there(end, paths, wanted).await?,
            None => paths,
        };
        wild |= wild_part;
        found = next;
    }
    if found.is_empty() {
        return Ok(vec![pattern.to_vec()]);
    }
    if pattern.ends_with(b"/") {
        found.iter_mut().for_each(|path| path.push(b'/'));
    }
    found.sort();
    Ok(found)
}

fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { join(dir, name) }
}

/// What a path has to lead to.
#[derive(Clone, Copy)]
enum Wanted {
    Anything,
    Directory,
}

/// Those of the paths that lead to what is wanted, in their order. All are asked for together: at a distance each would else take a
/// round trip.
async fn there(end: &End, paths: Vec<Vec<u8>>, wanted: Wanted) -> Result<Vec<Vec<u8>>, Fault> {
    let looks = stream::iter(paths).map(|path| async move {
        let is = match wanted {
            Wanted::Anything => end.stat(&path, false).await?.is_some(),
            Wanted::Directory => end.stat(&path, true).await?.is_some_and(|meta| meta.is_dir()),
        };
        Ok::<_, Fault>(is.then_some(path))
    });
    looks.buffered(super::AT_ONCE).try_filter_map(|path| async { Ok(path) }).try_collect().await
}

async fn names(end: &End, dir: &[u8], part: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let pattern = NamePattern::new(part);
    let listing = match end.tree(dir).await?.list(b"", false).await {
        Ok(listing) => listing,
        Err(fault) if matches!(fault.cause, crate::fault::Cause::Lost | crate::fault::Cause::Timeout) => {
            return Err(fault);
        }
        Err(_) => return Ok(Vec::new()),
    };
    let names = listing.entries.into_iter().map(|entry| entry.name);
    // As in a shell: a dot at the start is only matched by a dot.
    Ok(names.filter(|name| (!name.starts_with(b".") || part.starts_with(b".")) && pattern.matches(name)).collect())
}
