//! From the operands, or the names of `--files-from`, to what they bring: each is looked at, and with `--relative` the
//! directories on the way to it too.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::job::{FilesFrom, Job, Place};
use crate::output::Printer;
use crate::plan::filter::{Filter, Side};
use crate::plan::names::{self, Root};
use crate::tree::{Tree, join, split};

use super::brought::{Brought, Node, Nodes, Origin};
use super::ends::{End, Failed, path_of, usage};
use super::glob;
use super::ways::{self, Entered, prefixes};

/// The longest file of names that is taken from the far end.
const NAMES_MAX: u64 = 64 << 20;

/// An operand, or a listed name, that exists.
pub struct Operand<'a> {
    pub place: &'a Place,
    /// All of its path.
    pub path: Vec<u8>,
    pub root: Root,
    pub meta: Meta,
    /// `--relative`: the directory that the path starts in comes with its attributes.
    pub top: bool,
    /// The links that its name leads through.
    pub entered: Entered,
}

/// One that is still to be looked at.
struct Asked<'a> {
    place: &'a Place,
    path: Vec<u8>,
    root: Option<Root>,
    top: bool,
}

/// What was found of the operands.
pub struct Looked<'a> {
    pub there: Vec<Operand<'a>>,
    /// What is wrong with the others.
    pub missing: Vec<Fault>,
    /// One of those may be there all the same: only its name's absence from a directory that could be looked into is sure.
    pub unsure: bool,
    /// `--delete-missing-args`: the names of those that are not there.
    pub absent: Vec<Vec<u8>>,
}

/// Looks at all operands.
pub async fn look<'a>(job: &'a Job, end: &(impl Fn(&Place) -> End + Sync)) -> Result<Looked<'a>, Failed> {
    let asked = ask(job, end).await?;
    let follow_all = job.options.copy_links;
    let looks = stream::iter(asked.into_iter().map(|mut asked| {
        let end = end(asked.place);
        async move {
            let path = &asked.path;
            let followed = path.is_empty() || path.ends_with(b"/") || follow_all;
            let entered = as_entered(path).filter(|_| asked.root.as_ref().is_none_or(|root| root.name.is_empty()));
            let found = end.stat(entered.as_deref().unwrap_or(path), followed || entered.is_some()).await;
            let found = found.map_err(|fault| match (entered, fault.cause) {
                (Some(_), Cause::Permission) => {
                    let text = not_there(asked.place, "change_dir", path, "Permission denied (13)").text;
                    Fault { text, ..fault }
                }
                _ => fault,
            });
            if let (Ok(None), Some(bare)) = (&found, without_slash(&asked)) {
                let bare_found = end.stat(&bare, follow_all).await;
                if bare_found.as_ref().is_ok_and(|meta| meta.as_ref().is_some_and(|meta| !meta.is_dir())) {
                    asked.path = bare;
                    return (asked, bare_found);
                }
            }
            (asked, found)
        }
    }));
    let looked: Vec<_> = looks.buffered(super::AT_ONCE).collect().await;
    let (mut missing, mut there, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    let mut unsure = false;
    // Why some are not there is asked of all of them together.
    let looked = stream::iter(looked.into_iter().map(|(asked, found)| async move {
        let is_dir = matches!(&found, Ok(Some(meta)) if meta.is_dir());
        let Asked { place, path, root, top } = asked;
        let root = root.unwrap_or_else(|| names::roots::root(&names::Source { path: &path, is_dir }));
        let why = if matches!(found, Ok(None)) { Some(why_missing(&end(place), &root).await) } else { None };
        (Asked { place, path, root: None, top }, root, found, why)
    }));
    let looked: Vec<_> = looked.buffered(super::AT_ONCE).collect().await;
    for (asked, root, found, why) in looked {
        let Asked { place, path, top, .. } = asked;
        match found {
            Ok(Some(meta)) => there.push(Operand { place, path, root, meta, top, entered: Entered::default() }),
            Ok(None) => match why.unwrap_or(Ok(None)) {
                Ok(None) if job.options.delete_missing_args => absent.push(root.name),
                Ok(None) if job.options.ignore_missing_args => {}
                Ok(None) => missing.push(not_there(place, "link_stat", &path, "No such file or directory (2)")),
                Ok(Some((what, path, why))) => {
                    missing.push(not_there(place, what, &path, why));
                    unsure = true;
                }
                Err(fault) => {
                    missing.push(fault);
                    unsure = true;
                }
            },
            Err(fault) => {
                missing.push(fault);
                unsure = true;
            }
        }
    }
    ways::enter(end, &mut there, &job.options).await?;
    Ok(Looked { there, missing, unsure, absent })
}

/// `--relative`: a slash after the name of what is no directory does not matter (rsync).
fn without_slash(asked: &Asked<'_>) -> Option<Vec<u8>> {
    let root = asked.root.as_ref().filter(|root| !root.name.is_empty())?;
    let slash = asked.path.ends_with(b"/") || asked.path.ends_with(b"/.");
    slash.then(|| join(&root.source_dir, &root.name))
}

/// What a directory is looked at as whose contents are meant: rsync goes into it, and so it has to be one that may be gone
/// into. Else nothing of it is known, and it is no source. `None` for other paths.
pub fn as_entered(path: &[u8]) -> Option<Vec<u8>> {
    let contents = names::roots::root(&names::Source { path, is_dir: true }).name.is_empty();
    (contents && !path.is_empty()).then(|| join(path, b"."))
}

/// Why there is nothing under a name: rsync's call, its path and its complaint; `None` where the directory is there and
/// has no such name.
async fn why_missing(end: &End, root: &Root) -> Result<Option<(&'static str, Vec<u8>, &'static str)>, Fault> {
    const NONE: &str = "No such file or directory (2)";
    const NO_DIRECTORY: &str = "Not a directory (20)";
    let dir = &root.source_dir;
    match end.stat(dir, true).await? {
        Some(meta) if meta.is_dir() => {}
        found => {
            let why = if found.is_some() { NO_DIRECTORY } else { NONE };
            return Ok(Some(("change_dir", dir.clone(), why)));
        }
    }
    let parents = split(&root.name).0;
    for prefix in prefixes(parents).collect::<Vec<_>>().into_iter().rev() {
        match end.stat(&join(dir, prefix), true).await? {
            Some(meta) if meta.is_dir() => return Ok(None),
            Some(_) => return Ok(Some(("link_stat", join(dir, &root.name), NO_DIRECTORY))),
            None => {}
        }
    }
    Ok(None)
}

async fn ask<'a>(job: &'a Job, end: &impl Fn(&Place) -> End) -> Result<Vec<Asked<'a>>, Failed> {
    let options = &job.options;
    let Some(files) = &options.files_from else {
        let mut paths = Vec::new();
        for place in &job.sources {
            let path = path_of(place)?;
            match place.is_remote() && glob::is_pattern(&path) {
                true => paths.extend(glob::expand(&end(place), &path).await?.into_iter().map(|path| (place, path))),
                false => paths.push((place, path)),
            }
        }
        let asked = paths.into_iter().map(|(place, path)| {
            let root = if options.relative { Some(relative(&path)?) } else { None };
            let top = options.relative && options.implied_dirs && names::roots::starts_at_top(&path);
            Ok(Asked { place, path, root, top })
        });
        return asked.collect();
    };
    let Some(place) = job.sources.first() else { return Ok(Vec::new()) };
    let base = path_of(place)?;
    let read;
    let names = match files {
        FilesFrom::Names(names) => names,
        FilesFrom::Remote { path, nul_separated } => {
            let far = job.sources.iter().chain(&job.dest).find(|place| place.is_remote()).unwrap_or(place);
            let content = read_names(&end(far), path).await?;
            read = FilesFrom::split(&content, *nul_separated);
            &read
        }
    };
    let shown = String::from_utf8_lossy(&base);
    match end(place).stat(&join(&base, b"."), true).await {
        Ok(Some(meta)) if meta.is_dir() => {}
        Ok(_) => return Err(usage(3, format!("change_dir \"{shown}\" failed: No such file or directory (2)"))),
        Err(fault) if fault.cause == Cause::Permission => {
            return Err(usage(3, format!("change_dir \"{shown}\" failed: Permission denied (13)")));
        }
        Err(fault) => return Err(fault.into()),
    }
    let asked = names.iter().map(|name| {
        let top = options.relative && options.implied_dirs && names::roots::starts_at_top(name);
        let name = names::listed(name);
        let slash: &[u8] = if name.ends_with(b"/") { b"/" } else { b"" };
        let mut root = if options.relative {
            relative(&name)?
        } else {
            names::roots::root(&names::Source { path: &name, is_dir: false })
        };
        root.source_dir = if root.source_dir.is_empty() { base.clone() } else { join(&base, &root.source_dir) };
        let mut path = join(&root.source_dir, &root.name);
        if !path.ends_with(b"/") {
            path.extend_from_slice(slash);
        }
        Ok(Asked { place, path, root: Some(root), top })
    });
    asked.collect()
}

fn relative(path: &[u8]) -> Result<Root, Failed> {
    let root = names::relative(path);
    if root.name.split(|byte| *byte == b'/').any(|part| part == b"..") {
        let shown = String::from_utf8_lossy(path).into_owned();
        return Err(usage(1, format!("found \"..\" dir in relative path: {shown}")));
    }
    Ok(root)
}

async fn read_names(end: &End, path: &[u8]) -> Result<Vec<u8>, Failed> {
    let (dir, name) = split(path);
    let dir = if path.starts_with(b"/") && dir.is_empty() { b"/".as_slice() } else { dir };
    let tree = end.tree(dir).await?;
    let missing = || {
        let shown = String::from_utf8_lossy(path).into_owned();
        usage(11, format!("failed to open files-from file {shown}: No such file or directory"))
    };
    let meta = tree.stat(name, true).await?.filter(Meta::is_file).ok_or_else(missing)?;
    if meta.size > NAMES_MAX {
        return Err(usage(11, format!("the files-from file has more than {} MiB", NAMES_MAX >> 20)));
    }
    Ok(read_list(tree.as_ref(), name, meta.size).await?)
}

/// The first `size` bytes of a list (names, accounts), links followed; less if it ends before. The caller bounds `size`.
pub async fn read_list(tree: &dyn Tree, name: &[u8], size: u64) -> Result<Vec<u8>, Fault> {
    let source = tree.open_read(name, size, true).await?;
    let mut content = Vec::new();
    while (content.len() as u64) < size {
        let len = tree.chunk().min((size - content.len() as u64) as usize);
        let piece = source.read_at(content.len() as u64, len).await?.await?;
        if piece.is_empty() {
            break;
        }
        content.extend_from_slice(&piece);
    }
    source.finish().await?;
    Ok(content)
}

fn not_there(place: &Place, call: &str, path: &[u8], why: &str) -> Fault {
    let hop = match place {
        Place::Local(_) => "local",
        Place::Remote { login, .. } => login.host.as_str(),
    };
    let text = format!("{call} \"{}\" failed: {why}", String::from_utf8_lossy(path));
    Fault::new(hop, Stage::List, Cause::NotFound, text)
}

/// The trees that operands are in, by their directories: each is opened once.
struct Trees<'a, E> {
    end: &'a E,
    follows: bool,
    open: HashMap<Vec<u8>, Arc<dyn Tree>>,
}

impl<E: Fn(&Place) -> End> Trees<'_, E> {
    async fn at(&mut self, place: &Place, dir: &[u8]) -> Result<Arc<dyn Tree>, Fault> {
        if let Some(tree) = self.open.get(dir) {
            return Ok(tree.clone());
        }
        let tree = (self.end)(place).source(dir, self.follows).await?;
        self.open.insert(dir.to_vec(), tree.clone());
        Ok(tree)
    }
}

/// What the operands bring, and the trees that they are in.
pub async fn bring(
    job: &Job,
    end: &(impl Fn(&Place) -> End + Sync),
    operands: &[Operand<'_>],
    printer: &Printer,
) -> Result<(Brought, Vec<Arc<dyn Tree>>), Fault> {
    let options = &job.options;
    let mut trees = Trees { end, follows: options.follows(), open: HashMap::new() };
    let mut filters: HashMap<Vec<u8>, Arc<Filter>> = HashMap::new();
    let mut brought = Brought::default();
    let filter = Filter::new(&options.rules);
    let ways = ways::look(end, operands).await?;
    let mut items = Vec::new();
    for (rank, operand) in operands.iter().enumerate() {
        let Operand { place, path, root, meta, top, .. } = operand;
        // The way to it is not held against the filters, and comes only with it.
        if let Some(verdict) = filter.verdict(&root.name, meta.is_dir(), Side::Sender, false) {
            printer.judged(Side::Sender, &root.name, meta.is_dir(), &verdict);
        }
        if !root.name.is_empty() && filter.excludes(&root.name, meta.is_dir(), Side::Sender) {
            continue;
        }
        if options.files_from.is_some() && meta.is_dir() && !options.recursive && !options.dirs {
            printer.skipping_directory(if root.name.is_empty() { b"." } else { &root.name });
            continue;
        }
        let source = trees.at(place, &root.source_dir).await?;
        let filter = match filters.get(&root.source_dir) {
            Some(filter) => filter.clone(),
            None => {
                let rooted = match filter.asks_roots() {
                    true => filter.clone().roots(&source.absolute().await?, b""),
                    false => filter.clone(),
                };
                let rooted = Arc::new(rooted);
                filters.insert(root.source_dir.clone(), rooted.clone());
                rooted
            }
        };
        let at = |path: &[u8]| Origin { source: source.clone(), path: path.to_vec(), filter: filter.clone(), rank };
        if *top && brought.itself.is_none() {
            let meta = source.stat(b"", true).await?;
            brought.itself = meta.map(|meta| (at(b""), meta));
        }
        if root.name.is_empty() {
            brought.contents.push((at(b""), meta.clone()));
            continue;
        }
        // A path that is named is followed as the system does it; a tree goes through no link.
        let mut origins = Vec::with_capacity(2);
        for (dir, path) in [operand.itself(), operand.contents()] {
            origins.push(Origin { source: trees.at(place, &dir).await?, path: path.to_vec(), ..at(b"") });
        }
        let (origin, within) = (origins.swap_remove(0), origins);
        let slash = path.ends_with(b"/") || path.ends_with(b"/.");
        let walked = meta.is_dir() && (options.recursive || options.dirs && slash);
        let (parents, name) = split(&root.name);
        let item = Node {
            entry: Entry { name: name.to_vec(), meta: meta.clone(), target: None },
            contents: if walked { within } else { Vec::new() },
            origin,
            children: Nodes::new(),
            silent: false,
        };
        let mut way = Vec::new();
        for prefix in prefixes(parents) {
            let Some(meta) = ways.get(&join(&root.source_dir, prefix)) else { continue };
            way.push(Node {
                entry: Entry { name: split(prefix).1.to_vec(), meta: meta.clone(), target: None },
                origin: at(prefix),
                contents: Vec::new(),
                children: Nodes::new(),
                silent: !options.implied_dirs,
            });
        }
        items.push((way, item));
    }
    // Where links lead to is asked of all of them together.
    let mut items = stream::iter(items.into_iter().map(|(way, mut item)| async move {
        if item.entry.meta.kind == Kind::Symlink {
            item.entry.target = Some(item.origin.source.read_link(&item.origin.path).await?);
        }
        Ok::<_, Fault>((way, item))
    }))
    .buffered(super::AT_ONCE);
    while let Some(read) = items.next().await {
        let (way, item) = read?;
        brought.add(way, item);
    }
    drop(items);
    Ok((brought, trees.open.into_values().collect()))
}
