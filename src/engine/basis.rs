//! `--link-dest`, `--copy-dest` and `--compare-dest`: directories at the destination's end in which an entry that the
//! destination lacks may be found already.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::entry::{Entry, Kind, Meta};
use crate::fault::{Cause, Fault};
use crate::job::{BasisKind, Options};
use crate::plan::diff::{DirPlan, Step};
use crate::plan::filter::Side;
use crate::plan::quick_check::{Context, Decision, Differs, decide};
use crate::tree::{Identity, Listing, Tree};

use super::brought::Origin;
use super::finish::below;
use super::run::Run;
use super::scan::Dir;

/// What one directory of each basis has, by name.
pub type Listed = Vec<HashMap<Vec<u8>, Entry>>;

/// An entry that was found in a basis.
#[derive(Clone)]
pub struct Found {
    pub tree: Arc<dyn Tree>,
    pub path: Vec<u8>,
    pub entry: Entry,
    pub level: Level,
}

/// How much of it is what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is of the same kind: what is printed compares with it.
    There,
    /// The data is the same.
    Data,
    /// Attributes too.
    Same,
}

/// Finds the directories, those that are not there aside.
pub async fn open(run: &Run) -> Vec<Arc<dyn Tree>> {
    let Some(basis) = &run.job.options.basis else { return Vec::new() };
    let mut trees = Vec::new();
    for dir in &basis.dirs {
        let found = async {
            let tree = run.beside(dir).await?;
            Ok::<_, Fault>(tree.stat(b"", true).await?.filter(Meta::is_dir).map(|_| tree))
        };
        match found.await {
            Ok(Some(tree)) => trees.push(tree),
            Err(fault) if fault.cause != Cause::NotFound => run.trouble(&fault, None),
            _ => {
                let shown = String::from_utf8_lossy(dir).into_owned();
                run.printer.error(&format!("--{} arg does not exist: {shown}", basis.kind.name()));
            }
        }
    }
    trees
}

/// Puts a link to the basis' file in the place of one that is there; or only takes that away (`--compare-dest`).
pub async fn replace(run: &Run, found: &Found, kind: BasisKind, path: &[u8]) -> Result<bool, Fault> {
    if kind == BasisKind::Compare {
        if !super::backup::instead_of_removal(run, path, super::backup::Of::Deleted).await? {
            run.dest.remove(path).await?;
        }
        return Ok(true);
    }
    let temp = run.temps.name(path);
    if !link(run, found, &temp).await? {
        run.temps.gone(&temp);
        return Ok(false);
    }
    super::backup::keep(run, path).await?;
    run.dest.commit(&temp, path, Default::default()).await?;
    // Renaming one name of a file onto another does nothing (rename(2)): then the temporary one is still there.
    match run.dest.remove(&temp).await {
        Err(fault) if fault.cause != Cause::NotFound => return Err(fault),
        _ => run.temps.gone(&temp),
    }
    Ok(true)
}

/// What each basis has in a directory. One that is missing there, or cannot be read, has nothing.
pub async fn list(trees: Vec<Arc<dyn Tree>>, dir: Vec<u8>) -> Listed {
    let listings = trees.iter().map(|tree| tree.list(&dir, false));
    let listings = futures::future::join_all(listings).await;
    let by_name = |entries: Vec<Entry>| entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    listings.into_iter().map(|listing| listing.map(|listing| by_name(listing.entries)).unwrap_or_default()).collect()
}

/// The best that is found for an entry that the destination lacks: the first that is all the same, else the last that was
/// looked at, as rsync does it.
pub fn find(
    trees: &[Arc<dyn Tree>],
    listed: &Listed,
    path: &[u8],
    entry: &Entry,
    context: &Context<'_>,
    identity: &Identity,
) -> Option<Found> {
    let mut best: Option<Found> = None;
    for (tree, there) in trees.iter().zip(listed) {
        let Some(old) = there.get(&entry.name).filter(|old| old.meta.kind == entry.meta.kind) else { continue };
        let same_target = Some(entry.target.is_some() && entry.target == old.target);
        let level = match decide(context, &entry.meta, Some(&old.meta), same_target) {
            Decision::Unchanged => Level::Same,
            // A group that cannot be set is none that a new file would get either.
            Decision::Attributes(differs)
                if differs == (Differs { group: true, ..Differs::default() })
                    && !identity.may_chgrp(entry.meta.gid) =>
            {
                Level::Same
            }
            Decision::Attributes(_) => Level::Data,
            Decision::Skip(_) => continue,
            // A link to elsewhere is only told by.
            _ if !matches!(entry.meta.kind, Kind::File | Kind::Symlink) => continue,
            _ => Level::There,
        };
        if best.as_ref().is_none_or(|best| best.level < level) {
            best = Some(Found { tree: tree.clone(), path: path.to_vec(), entry: old.clone(), level });
        }
        if level == Level::Same {
            break;
        }
    }
    best
}

/// What is found for each entry of a directory that the destination lacks, by name.
pub fn find_all(
    context: &Context<'_>,
    identity: &Identity,
    trees: &[Arc<dyn Tree>],
    listed: &Listed,
    plan: &DirPlan,
    dest_dir: &[u8],
) -> HashMap<Vec<u8>, Found> {
    let copies = context.opts.basis.as_ref().is_some_and(|basis| basis.kind == BasisKind::Copy);
    // In a basis, what exists is what is looked for; -c is asked afterwards.
    let options =
        Options { existing: false, ignore_existing: false, update: false, checksum: false, ..context.opts.clone() };
    let context = Context { opts: &options, ..context.clone() };
    let found = plan.steps.iter().filter_map(|step| {
        let path = below(dest_dir, &step.entry.name);
        let found = || find(trees, listed, &path, &step.entry, &context, identity);
        let found = match &step.old {
            _ if step.decision == Decision::Create => found(),
            // A link over something else is made as if there were no basis (rsync).
            Some(_) if matches!(step.decision, Decision::Replace(_)) && step.entry.meta.kind != Kind::Symlink => {
                found()
            }
            // A file that is there already gives way to one that a basis has, so that the end is that of a fresh copy.
            Some(old)
                if old.meta.is_file() && step.entry.meta.is_file() && !matches!(step.decision, Decision::Skip(_)) =>
            {
                let replaces = |found: &Found| {
                    let linked = old.meta.ino != 0
                        && (old.meta.dev, old.meta.ino) == (found.entry.meta.dev, found.entry.meta.ino);
                    found.level == Level::Same && !copies && !linked
                };
                found().filter(replaces)
            }
            _ => None,
        };
        found.map(|found| (step.entry.name.clone(), found))
    });
    found.collect()
}

/// `-H`: of a file's names in one directory the first is delivered, and the others are linked to that. So where a basis has the
/// file only under another of them, the first one is made of it. `known`: an entry with its file's identity.
pub fn lend(plan: &DirPlan, found: &mut HashMap<Vec<u8>, Found>, known: impl Fn(&Entry) -> Meta) {
    let mut firsts: HashMap<(u64, u64), &Step> = HashMap::new();
    let files = plan.steps.iter().filter(|step| step.entry.meta.is_file());
    for step in files.filter(|step| !matches!(step.decision, Decision::Skip(_))) {
        let meta = known(&step.entry);
        if meta.links < 2 || meta.ino == 0 {
            continue;
        }
        let first = firsts.entry((meta.dev, meta.ino)).or_insert(step);
        let same = |name: &Vec<u8>| found.get(name).filter(|found| found.level == Level::Same);
        if first.decision == Decision::Create
            && same(&first.entry.name).is_none()
            && let Some(lent) = same(&step.entry.name).cloned()
        {
            found.insert(first.entry.name.clone(), lent);
        }
    }
}

/// Whether files are the same as what each basis has of them, by name and by the basis' place among all.
pub type Hashed = HashMap<Vec<u8>, HashMap<usize, Result<bool, Fault>>>;

/// With `-c` the contents decide: hashes the files of a directory that the destination lacks and a basis may have.
pub async fn hash(
    run: &Run,
    dir: &Dir<'_>,
    there: Option<&Listing>,
    trees: &[Arc<dyn Tree>],
    listed: &Listed,
    dest_dir: &[u8],
) -> Hashed {
    let options = &run.job.options;
    if !options.checksum || options.existing || trees.is_empty() {
        return Hashed::new();
    }
    let has: HashSet<&[u8]> = there.iter().flat_map(|there| &there.entries).map(|entry| &entry.name[..]).collect();
    let comes = |entry: &&Entry| {
        let lacks = entry.meta.is_file() && !has.contains(&entry.name[..]);
        lacks && !dir.origin.filter.excludes(&below(dir.shown, &entry.name), false, Side::Sender)
    };
    let mut hashes = Vec::new();
    for entry in dir.listing.entries.iter().filter(comes) {
        for (at, tree) in trees.iter().enumerate() {
            let old = listed.get(at).and_then(|listed| listed.get(&entry.name));
            if old.is_none_or(|old| !old.meta.is_file() || old.meta.size != entry.meta.size) {
                continue;
            }
            hashes.push(async move {
                let _asks = dir.questions.acquire().await;
                if dir.unwanted.load(Ordering::Relaxed) {
                    // Whoever lists the directory again will have it read: not twice.
                    return None;
                }
                let (origin, path) = (dir.origin.below(&entry.name), below(dest_dir, &entry.name));
                Some((&entry.name, at, is_same(run, tree.as_ref(), &path, &origin, entry.meta.size).await))
            });
        }
    }
    let mut hashed = Hashed::new();
    for (name, at, same) in futures::future::join_all(hashes).await.into_iter().flatten() {
        hashed.entry(name.clone()).or_default().insert(at, same);
    }
    hashed
}

/// Which of the trees it was found in.
pub fn tree_of(found: &Found, trees: &[Arc<dyn Tree>]) -> Option<usize> {
    trees.iter().position(|tree| Arc::ptr_eq(tree, &found.tree))
}

async fn is_same(run: &Run, tree: &dyn Tree, path: &[u8], source: &Origin, size: u64) -> Result<bool, Fault> {
    let how = crate::tree::How::Best(run.far_algorithm().await);
    let (here, there) = tokio::join!(source.source.digest(&source.path, size, how), tree.digest(path, size, how));
    Ok(here?.0 == there?.0)
}

/// With `-c` the contents decide: what only looks alike is there, and no more. `early`: whether they are the same, if that is
/// known already.
pub async fn by_hash(
    run: &Run,
    found: Found,
    source: &Origin,
    size: u64,
    early: Option<Result<bool, Fault>>,
) -> Result<Found, Fault> {
    if found.level == Level::There && found.entry.meta.size != size {
        return Ok(found);
    }
    let same = match early {
        Some(same) => same?,
        None => is_same(run, found.tree.as_ref(), &found.path, source, size).await?,
    };
    let level = if same { found.level.max(Level::Data) } else { Level::There };
    Ok(Found { level, ..found })
}

/// What is done with an entry that is all the same in a basis.
pub fn settles(run: &Run, found: &Found) -> Option<BasisKind> {
    let kind = run.job.options.basis.as_ref()?.kind;
    (found.level == Level::Same && kind != BasisKind::Copy).then_some(kind)
}

/// `--copy-dest`: where the data is.
pub fn copies(run: &Run, found: &Found) -> Option<(Arc<dyn Tree>, Vec<u8>)> {
    let copies = run.job.options.basis.as_ref()?.kind == BasisKind::Copy;
    (copies && found.level >= Level::Data).then(|| (found.tree.clone(), found.path.clone()))
}

/// `--link-dest`: gives the file another name at the destination. False where the end cannot: then it is sent.
pub async fn link(run: &Run, found: &Found, dest_path: &[u8]) -> Result<bool, Fault> {
    match found.tree.hard_link(&found.path, run.dest.as_ref(), dest_path).await {
        Ok(()) => Ok(true),
        Err(fault) if matches!(fault.cause, Cause::Lost | Cause::Cancelled | Cause::Timeout) => Err(fault),
        Err(fault) => {
            tracing::debug!(%fault, "not linked, but sent");
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::local::Local;

    fn entry(gid: u32) -> Entry {
        let (kind, mode) = (Kind::File, 0o644);
        let meta =
            Meta { kind, size: 1, mtime: 1, mtime_nsec: 0, atime: 0, mode, uid: 0, gid, dev: 0, ino: 0, links: 1 };
        Entry { name: b"a".to_vec(), meta, target: None }
    }

    #[test]
    fn a_group_that_cannot_be_set_does_not_keep_a_file_from_being_linked() {
        let options = Options { recursive: true, times: true, group: true, ..Options::default() };
        let context = Context::new(&options, 0o022).expect("no --chmod");
        let trees: Vec<Arc<dyn Tree>> = vec![Arc::new(Local::open(b"").expect("the current directory"))];
        let listed = vec![HashMap::from([(b"a".to_vec(), entry(7))])];
        let level =
            |identity: &Identity| find(&trees, &listed, b"a", &entry(8), &context, identity).map(|found| found.level);
        let of = |uid, groups: &[u32]| Identity { uid: Some(uid), groups: groups.to_vec(), ..Identity::default() };
        assert_eq!(level(&of(1000, &[7])), Some(Level::Same));
        assert_eq!(level(&of(1000, &[7, 8])), Some(Level::Data));
        assert_eq!(level(&of(0, &[])), Some(Level::Data));
    }
}
