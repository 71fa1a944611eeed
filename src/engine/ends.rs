//! Finds both ends of a job: connects, looks at the operands, and maps where each begins and ends up.

use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::cli::UsageError;
use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::job::{Job, Login, Options, Place, Verify};
use crate::plan::names::{self, Dest, DestState, Items};
use crate::share::own::{self, Bound, Leave};
use crate::share::{self, ShareConnector};
use crate::ssh::connection::Context;
use crate::ssh::route::{self, Shell};
use crate::tree::local::{self, Local};
use crate::tree::remote::Remote;
use crate::tree::remote::foresight::{Foresight, Look};
use crate::tree::remote::link::{CommandConnector, Connector, SshConnector};
use crate::tree::remote::pool;
use crate::tree::{Tree, join};

use super::brought::Brought;
use super::operands::{self, Operand};
use super::retry::{Retry, Scope};
use super::run::{Run, Settings};
use super::scan::Roots;
use super::target::{self, parent, strip};
use super::{glob, inside};

/// Without `--timeout`: silence on a channel, with requests outstanding, that ends it. A tape library may take minutes.
const STALL: Duration = Duration::from_secs(300);

/// Operands of a pull that are looked at before it is known whether that is needed.
const FORESEEN: usize = 4;

/// Both ends, found.
pub struct Ends {
    pub run: Run,
    pub roots: Roots,
    /// Sources that are not there, or cannot be looked at.
    pub missing: Vec<Fault>,
    /// One of them may be there all the same: then nothing is extraneous for sure.
    pub unsure: bool,
}

/// Why nothing can begin.
pub enum Failed {
    Usage(UsageError),
    Fault(Fault),
    /// There is much to pull, and leave to do it over a connection of our own.
    Large(Leave),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Failed {
        Failed::Fault(fault)
    }
}

pub fn usage(code: u8, text: impl Into<String>) -> Failed {
    Failed::Usage(UsageError { text: text.into(), code })
}

/// One end before it is rooted: a disk or a connection.
pub enum End {
    Local,
    Remote(Arc<Remote>),
}

impl End {
    /// The tree below a directory.
    pub async fn tree(&self, dir: &[u8]) -> Result<Arc<dyn Tree>, Fault> {
        self.source(dir, false).await
    }

    /// As [`End::tree`], of a source; `follow` (`-L`) goes through links to directories too.
    pub async fn source(&self, dir: &[u8], follow: bool) -> Result<Arc<dyn Tree>, Fault> {
        self.open(dir, if follow { Local::open_following } else { Local::open }).await
    }

    /// As [`End::tree`], of a destination; `follow` (`-K`) goes through links to directories that stay within it.
    async fn dest(&self, dir: &[u8], follow: bool) -> Result<Arc<dyn Tree>, Fault> {
        self.open(dir, if follow { Local::open_within } else { Local::open }).await
    }

    async fn open(&self, dir: &[u8], open: fn(&[u8]) -> std::io::Result<Local>) -> Result<Arc<dyn Tree>, Fault> {
        match self {
            End::Local => {
                let path = dir.to_vec();
                let opened = crate::blocking::start(move || {
                    open(&path).map_err(|e| {
                        let shown = String::from_utf8_lossy(&path).into_owned();
                        Fault::local(Stage::Open, &e, format_args!("\"{shown}\""))
                    })
                });
                let opened = opened.await.map_err(|e| Fault::new("local", Stage::Open, Cause::Io, e.to_string()))?;
                Ok(Arc::new(opened?))
            }
            End::Remote(remote) => Ok(Arc::new(remote.tree(dir))),
        }
    }

    /// What an operand is, by its whole path.
    pub async fn stat(&self, path: &[u8], follow: bool) -> Result<Option<Meta>, Fault> {
        match self {
            End::Local => {
                let shown = if path.is_empty() { b"." } else { path };
                local::stat_operand(std::path::Path::new(std::ffi::OsStr::from_bytes(shown)), follow).await
            }
            End::Remote(remote) => remote.tree(b"").stat(path, follow).await,
        }
    }
}

pub async fn find(job: &Job, settings: &Settings) -> Result<Ends, Failed> {
    let login = job.sources.iter().chain(&job.dest).find_map(|place| match place {
        Place::Remote { login, .. } => Some(login),
        Place::Local(_) => None,
    });
    let (remote, leave) = match login {
        Some(login) => {
            let (remote, leave) = connect(job, login, settings).await?;
            (Some(remote), leave)
        }
        None => (None, None),
    };
    if let Some(remote) = &remote {
        foreseen(job).iter().for_each(|look| Foresight::look(remote, look));
    }
    let end = |place: &Place| match (&remote, place) {
        (Some(remote), Place::Remote { .. }) => End::Remote(remote.clone()),
        _ => End::Local,
    };
    let shares = job.options.share && leave.is_none();
    let mut found = find_rooted(job, &end, settings, remote.clone(), shares).await;
    if let Ok(found) = &mut found {
        found.run.leave = leave;
    }
    if found.is_err()
        && let Some(remote) = &remote
    {
        remote.close().await;
    }
    found
}

/// What will be asked of the far end one after the other, to be asked at once: what an operand is, and what is in it.
fn foreseen(job: &Job) -> Vec<Look> {
    let options = &job.options;
    let walked = |follow| options.recursive.then_some(follow);
    if let Some(dest @ Place::Remote { .. }) = &job.dest {
        let Ok(path) = path_of(dest) else { return Vec::new() };
        // What is in the destination matters where something's contents go there.
        let contents = job.sources.iter().any(|source| path_of(source).is_ok_and(|path| path.ends_with(b"/")));
        let referent = |path: &[u8]| Look { path: path.to_vec(), referent: true, itself: false, holds: None };
        // The tree's root is named without the slash.
        let holds = walked(false).filter(|_| contents);
        let root = Look { path: strip(&path).to_vec(), referent: false, itself: true, holds };
        return vec![referent(&path), referent(parent(&path)), root];
    }
    if options.files_from.is_some() {
        return Vec::new();
    }
    let mut looks = Vec::new();
    for source in job.sources.iter().take(FORESEEN) {
        let Ok(path) = path_of(source) else { break };
        if glob::is_pattern(&path) {
            continue;
        }
        let entered = operands::as_entered(&path).filter(|_| !options.relative);
        let followed = path.ends_with(b"/") || options.copy_links || entered.is_some();
        let holds = walked(options.copy_links);
        let root = Look { path: strip(&path).to_vec(), referent: false, itself: false, holds };
        looks.push(Look { path: entered.unwrap_or(path), referent: followed, itself: !followed, holds: None });
        looks.push(root);
    }
    looks
}

async fn find_rooted(
    job: &Job,
    end: &(impl Fn(&Place) -> End + Sync),
    settings: &Settings,
    remote: Option<Arc<Remote>>,
    shares: bool,
) -> Result<Ends, Failed> {
    let options = &job.options;
    if let Some(remote) = &remote {
        for dir in &options.remote_mkdir {
            if !options.dry_run {
                target::make_path(&remote.tree(b""), &home_relative(dir)?).await?;
            }
        }
    }
    let Some(dest) = &job.dest else {
        let looked = operands::look(job, end).await;
        settings.printer.heading();
        let operands::Looked { there, missing, unsure, .. } = looked?;
        let (brought, sources) = operands::bring(job, end, &there, &settings.printer).await?;
        let nowhere = End::Local.tree(b"").await?;
        let roots = Roots { brought, renamed: None, dest_is_new: true, absent: Vec::new() };
        return Ok(Ends { run: Run::new(job.clone(), settings, nowhere, &sources, remote), roots, missing, unsure });
    };
    let dest_end = end(dest);
    let dest_path = path_of(dest)?;
    // Both ends are looked at together: each look is a round trip.
    let (looked, dest_state) =
        tokio::join!(operands::look(job, end), target::state(&dest_end, &dest_path, options.mkpath));
    // Whatever is wrong with the operands is told below the heading.
    let looked = looked.inspect_err(|_| settings.printer.heading());
    let operands::Looked { there, missing, unsure, mut absent } = looked?;
    if let Some(remote) = &remote
        && shares
        && matches!(dest, Place::Local(_))
        && !remote.asked_person()
    {
        let bound = Bound::of(job, remote.leads_far());
        if let Some(leave) = own::for_pull(job, &weigh(remote, options, &there, bound).await, bound) {
            return Err(Failed::Large(leave));
        }
    }
    settings.printer.heading();
    let dest_state = dest_state?;
    if let Some(remote) = &remote
        && there.iter().any(|operand| operand.meta.is_dir())
    {
        remote.want(pool::STEP);
    }
    let (brought, sources) = operands::bring(job, end, &there, &settings.printer).await?;
    // As rsync counts: what is to be deleted at the destination is an item too.
    let items = match !absent.is_empty() && there.len() + absent.len() > 1 {
        true => Items::Many,
        false => items(job, end, &there, &brought, dest_state).await?,
    };
    if dest_state != DestState::Dir {
        absent.clear();
    }
    let roots = there.iter().map(|operand| operand.root.clone()).collect();
    let is_dir = there.iter().any(|operand| operand.meta.is_dir());
    // In a dry run nothing is made, and so nothing above it is missing.
    let made_of_it = items == Items::Many || dest_path.ends_with(b"/");
    let above = options.dry_run && made_of_it && matches!(dest_state, DestState::Absent { .. });
    let state = if above { DestState::Absent { parent_exists: true } } else { dest_state };
    let mapping = names::arrange(roots, is_dir, &Dest { path: &dest_path, state }, items, options.mkpath)
        .map_err(|e| usage(u8::try_from(e.code).unwrap_or(3), e.text))?;
    let inside = inside::find(job, &there, &dest_path).await?;
    let made = target::create(&dest_end, &mapping, settings, options).await?;
    let dest_dir = made.missing.as_ref().map_or(&mapping.dest_dir, |missing| &missing.above);
    // With nothing to deliver, nothing was made, and the destination need not be there.
    let here = dest_dir == b"." || items == Items::None && absent.is_empty() && dest_state != DestState::Dir;
    let dest_tree = dest_end.dest(if here { b"" } else { dest_dir }, options.keep_dirlinks).await?;
    let renamed = mapping.roots.first().filter(|_| mapping.renamed).map(|root| root.dest_name.clone());
    let roots = Roots { brought, renamed, dest_is_new: made.new, absent };
    let mut run = Run::new(job.clone(), settings, dest_tree, &sources, remote);
    run.missing = made.missing.map(|missing| missing.path);
    run.inside = inside;
    if let (Some(remote), true) = (&run.remote, options.hard_links && run.pull) {
        let paths: Vec<_> = there.iter().map(|operand| operand.path.clone()).collect();
        run.far_links = super::far_links::find(remote, &paths).await?;
    }
    if let (Some(dir), false) = (&options.temp_dir, run.missing.is_some())
        && !super::stage::is_there(&run).await?
    {
        return Err(usage(1, format!("The temp-dir does not exist: {}", String::from_utf8_lossy(dir))));
    }
    Ok(Ends { run, roots, missing, unsure })
}

/// Directories that are looked into together, each with a question or two.
const LOOKED_INTO: usize = 64;

/// What there is to pull: files, and what lies directly in directories, or all that lies below them, until it is known to be large.
/// Whoever walks them has the listings.
async fn weigh(remote: &Arc<Remote>, options: &Options, there: &[Operand<'_>], bound: Bound) -> own::Weight {
    let mut weight = own::Weight::default();
    there.iter().filter(|operand| !operand.meta.is_dir()).for_each(|operand| weight.add(&operand.meta));
    let directories = there.iter().filter(|operand| operand.meta.is_dir() && options.recursive);
    let mut level: Vec<Vec<u8>> = directories.map(|operand| strip(operand.path.as_slice()).to_vec()).collect();
    while !level.is_empty() && !weight.is_large(bound) {
        let mut below = Vec::new();
        for some in level.chunks(LOOKED_INTO) {
            let lists = some.iter().map(|path| async move { remote.tree(path).list(b"", false).await });
            for (path, listing) in some.iter().zip(futures::future::join_all(lists).await) {
                // One that cannot be listed is told of when it is walked.
                let Ok(listing) = listing else { continue };
                for entry in &listing.entries {
                    weight.add(&entry.meta);
                    if entry.meta.is_dir() {
                        below.push(join(path, &entry.name));
                    }
                }
                Foresight::keep(remote, path, false, listing);
            }
            if bound.looks_deeper() {
                weight.looked_into();
            }
            if weight.is_large(bound) {
                return weight;
            }
        }
        level = if bound.looks_deeper() { below } else { Vec::new() };
    }
    weight
}

/// The operand's path as this end takes it.
pub fn path_of(place: &Place) -> Result<Vec<u8>, Failed> {
    match place {
        Place::Local(path) => Ok(path.as_os_str().as_bytes().to_vec()),
        Place::Remote { path, .. } => home_relative(path),
    }
}

/// SFTP knows no `~`; a path that does not start with a slash is relative to the login's home anyway.
fn home_relative(path: &[u8]) -> Result<Vec<u8>, Failed> {
    match path.strip_prefix(b"~") {
        None => Ok(path.to_vec()),
        Some(b"") => Ok(Vec::new()),
        Some([b'/', rest @ ..]) => Ok(rest.iter().copied().skip_while(|byte| *byte == b'/').collect()),
        Some(_) => {
            let shown = String::from_utf8_lossy(path).into_owned();
            Err(usage(
                4,
                format!("\"{shown}\": another user's home (~user) cannot be looked up over SFTP; write its path out"),
            ))
        }
    }
}

/// Connects. What has a connection of its own although others share one is given leave to.
async fn connect(job: &Job, login: &Login, settings: &Settings) -> Result<(Arc<Remote>, Option<Leave>), Failed> {
    let options = &job.options;
    let printer = settings.printer.clone();
    let notice: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |text: &str| printer.remark(text.trim_end()));
    // A shared connection runs no commands, and which far names are one file only a command tells.
    let share = options.share && !(options.hard_links && job.sources.iter().any(Place::is_remote));
    let resolved =
        if share { share::resolve(&job.shell, login).await? } else { route::resolve(&job.shell, login).await? };
    let (mut leave, known) = (None, files_to_push(job).await);
    let identity = options.owner || options.group || !options.perms;
    let hashing = options.verify == Verify::Auto || options.checksum;
    let connector: Box<dyn Connector> = match resolved {
        Shell::Ssh(route) => {
            let context = Context {
                prompt: settings.prompt.clone(),
                ledger: settings.ledger.clone(),
                patience: options.contimeout,
                compress: options.compress,
                sessions: if hashing || identity { 2 } else { 1 },
                notice,
            };
            let own = SshConnector { route, context, connections: options.connections };
            if share {
                let shared = ShareConnector::new(own, options.share_linger, known);
                if options.share_if_far && !shared.stands_well().await {
                    leave = own::take(job);
                }
                if leave.is_some() { Box::new(shared.into_own()) } else { Box::new(shared) }
            } else {
                Box::new(own)
            }
        }
        Shell::Command(shell) => {
            Box::new(CommandConnector { shell, user: login.user.clone(), host: login.host.clone() })
        }
    };
    let pool = pool::Settings {
        hop: connector.hop(),
        eager: if tree_to_push(job).await { pool::STEP } else { 1 },
        ledger: settings.ledger.clone(),
        most: options.channels.unwrap_or(pool::ENOUGH),
        // A link that is wholly silent is the run's affair (exit 30); a channel beside others that work has longer.
        stall: options.timeout.map_or(STALL, |limit| limit * 2),
        connections: options.connections,
        identity,
        hashing,
        traffic: Arc::default(),
        looks: Arc::new(Mutex::new(foreseen(job))),
        habit: Arc::default(),
        known,
        crowd: false,
    };
    let mut retry = Retry::new(Scope::Connect);
    if let Some(patience) = options.contimeout {
        retry = retry.within(patience);
    }
    Ok((Remote::connect(connector, pool, retry).await?, leave))
}

/// Whether it is known before connecting that many files may have to be moved.
async fn tree_to_push(job: &Job) -> bool {
    if job.sources.len() > pool::STEP {
        return true;
    }
    for place in &job.sources {
        if let Place::Local(path) = place
            && job.options.recursive
            && matches!(local::stat_operand(path, true).await, Ok(Some(meta)) if meta.is_dir())
        {
            return true;
        }
    }
    false
}

/// Bytes of the files that are named as sources here. They may prove to be there already: then lanes were opened for nothing.
async fn files_to_push(job: &Job) -> u64 {
    // A file that may be unchanged is rarely named alone; of many only the first are looked at.
    let mut bytes = 0u64;
    for place in job.sources.iter().take(pool::STEP) {
        if let Place::Local(path) = place
            && let Ok(Some(meta)) = local::stat_operand(path, true).await
            && meta.is_file()
        {
            bytes = bytes.saturating_add(meta.size);
        }
    }
    bytes
}

/// How many entries there are in all, those aside that the filters leave out: of a lone directory that is walked, it matters
/// whether anything is in it.
async fn items(
    job: &Job,
    end: &impl Fn(&Place) -> End,
    there: &[Operand<'_>],
    brought: &Brought,
    dest_state: DestState,
) -> Result<Items, Failed> {
    Ok(match there {
        _ if brought.count() + brought.contents.len() == 0 => Items::None,
        // Only where the destination is no directory does it matter what a lone directory has in it.
        [only] if only.meta.is_dir() && dest_state != DestState::Dir && is_walked(job, only) => {
            let (end, path) = (end(only.place), strip(&only.path));
            let listing = end.tree(path).await?.list(b"", false).await?;
            let is_bare = brought.count() <= 1 && !brought.is_filled(&listing).await;
            let items = if is_bare { Items::One } else { Items::Many };
            if let End::Remote(remote) = &end {
                Foresight::keep(remote, path, false, listing);
            }
            items
        }
        _ if brought.count() + brought.contents.len() > 1 => Items::Many,
        _ => Items::One,
    })
}

/// With `-d`, what is in a directory comes only where its contents were asked for.
fn is_walked(job: &Job, operand: &Operand<'_>) -> bool {
    job.options.recursive || job.options.dirs && operand.root.name.is_empty()
}
