//! Wildcards in a far source's path. rsync leaves them to the far end's shell; SFTP has none, so the directories on the way
//! are listed and held against the pattern here.

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
        let mut next = Vec::new();
        for dir in found {
            if !is_pattern(part) {
                let path = if dir.is_empty() { part.to_vec() } else { join(&dir, part) };
                // What comes after a wildcard has to be there.
                if !wild || end.stat(&path, false).await?.is_some() {
                    next.push(path);
                }
                continue;
            }
            for name in names(end, &dir, part).await? {
                let path = if dir.is_empty() { name } else { join(&dir, &name) };
                let last = at + 1 == parts.len();
                if last && !pattern.ends_with(b"/") || end.stat(&path, true).await?.is_some_and(|meta| meta.is_dir()) {
                    next.push(path);
                }
            }
        }
        next.truncate(MOST);
        wild |= is_pattern(part);
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
