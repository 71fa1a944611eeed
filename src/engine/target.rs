//! The directory that the destination is: looked for, made, or (in a dry run) found to be missing.

use crate::fault::{Cause, Fault};
use crate::job::Options;
use crate::plan::names::{Create, DestState, Mapping};
use crate::tree::{Tree, join, split};

use super::ends::{End, Failed, usage};
use super::run::Settings;

/// What stands under the destination's path. Something above it that is no directory is an error: rsync's, and with
/// `--mkpath` that of making it.
pub async fn state(end: &End, path: &[u8], mkpath: bool) -> Result<DestState, Failed> {
    match end.stat(path, true).await? {
        Some(meta) if meta.is_dir() => return Ok(DestState::Dir),
        Some(_) => return Ok(DestState::NonDir),
        None => {}
    }
    let shown = String::from_utf8_lossy(path);
    // With a slash, a file is no more there than nothing is.
    if strip(path) != path && end.stat(strip(path), true).await?.is_some_and(|meta| !meta.is_dir()) {
        return Err(usage(3, format!("ERROR: cannot stat destination \"{shown}\": Not a directory (20)")));
    }
    let mut above = parent(path);
    loop {
        match end.stat(above, true).await? {
            Some(meta) if meta.is_dir() => return Ok(DestState::Absent { parent_exists: above == parent(path) }),
            Some(_) if mkpath => return Err(usage(11, format!("mkdir \"{shown}\" failed: Not a directory (20)"))),
            Some(_) => {
                return Err(usage(3, format!("ERROR: cannot stat destination \"{shown}\": Not a directory (20)")));
            }
            None if parent(above) == above => return Ok(DestState::Absent { parent_exists: false }),
            None => above = parent(above),
        }
    }
}

/// What was made for the destination.
#[derive(Default)]
pub struct Made {
    /// Its directory did not exist before.
    pub new: bool,
    /// It does not exist now either (a dry run).
    pub missing: Option<Missing>,
}

/// A directory that is not there.
pub struct Missing {
    /// The closest one above it that is.
    pub above: Vec<u8>,
    /// Its path from there.
    pub path: Vec<u8>,
}

/// Makes the destination's directory, and tells of it.
pub async fn create(end: &End, mapping: &Mapping, settings: &Settings, options: &Options) -> Result<Made, Failed> {
    let (path, deep) = match &mapping.create {
        Create::Nothing => return Ok(Made::default()),
        Create::Dir(path) => (path, options.mkpath),
        Create::Path(path) => (path, true),
    };
    if options.dry_run {
        let (missing, count) = missing(end, path).await?;
        if deep {
            settings.printer.created_path(path, count);
        }
        // A name for a single item is not looked at again; a directory, by then, should be there.
        if !mapping.renamed {
            settings.printer.created_directory(path);
        }
        return Ok(Made { new: true, missing: Some(missing) });
    }
    let making = async {
        if deep {
            return make_path(end.tree(if path.starts_with(b"/") { b"/" } else { b"" }).await?.as_ref(), path).await;
        }
        let (_, name) = split(strip(path));
        let tree = end.tree(parent(path)).await?;
        if let Err(fault) = tree.mkdir(name, 0o777).await {
            // Another run that stages to the same place may have made it meanwhile.
            if !tree.stat(name, true).await?.is_some_and(|meta| meta.is_dir()) {
                return Err(fault);
            }
        }
        Ok(1)
    };
    let made = making.await.map_err(|fault| match fault.cause {
        Cause::Permission | Cause::NoSpace | Cause::NotFound | Cause::Io => {
            usage(11, format!("{}: mkdir {} failed", fault.hop, fault.text))
        }
        _ => fault.into(),
    })?;
    match deep {
        true => settings.printer.created_path(path, made),
        false => settings.printer.created_directory(path),
    }
    settings.ledger.event(crate::ledger::Event::DirectoryMade { path });
    // What --mkpath made is there when the walk begins, as rsync sees it.
    Ok(Made { new: !deep, missing: None })
}

/// What is missing of a path, and how many directories that are.
async fn missing(end: &End, path: &[u8]) -> Result<(Missing, usize), Fault> {
    let (mut above, mut names) = (parent(path), vec![split(strip(path)).1]);
    while parent(above) != above && end.stat(above, true).await?.is_none() {
        names.push(split(strip(above)).1);
        above = parent(above);
    }
    names.reverse();
    let count = names.iter().filter(|name| !matches!(**name, b"" | b".")).count();
    Ok((Missing { above: above.to_vec(), path: names.join(&b'/') }, count))
}

/// `mkdir -p`: what is missing of a path, from the top. Returns how many directories were made.
pub async fn make_path(tree: &dyn Tree, path: &[u8]) -> Result<usize, Fault> {
    let mut made = 0;
    let root: &[u8] = if path.starts_with(b"/") { b"/" } else { b"" };
    let mut so_far = if tree.root() == b"/" { Vec::new() } else { root.to_vec() };
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        so_far = join(&so_far, name);
        if tree.stat(&so_far, true).await?.is_some_and(|meta| meta.is_dir()) {
            continue;
        }
        if let Err(fault) = tree.mkdir(&so_far, 0o777).await
            && !tree.stat(&so_far, true).await?.is_some_and(|meta| meta.is_dir())
        {
            return Err(fault);
        }
        made += 1;
    }
    Ok(made)
}

/// The directory that it is in; empty is the login's home.
pub fn parent(path: &[u8]) -> &[u8] {
    let (parent, _) = split(strip(path));
    if path.starts_with(b"/") && parent.is_empty() { b"/" } else { parent }
}

pub fn strip(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(path.len().min(1), |last| last + 1);
    &path[..end]
}
