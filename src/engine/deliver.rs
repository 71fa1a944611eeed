//! One file, from its announcement to its class: tried, tried again within bounds, or given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::ledger::{Attempt, Class, FileId};
use crate::output::{Item, Update};
use crate::plan::quick_check::Decision;
use crate::tree::{How, Tree};

use super::copy::{self, Proof, Trace};
use super::directory::Directory;
use super::links;
use super::progress;
use super::removal;
use super::retry::{self, Retry, Scope};
use super::run::Run;
use super::sums;

/// One regular file that needs something.
pub struct FileItem {
    pub id: FileId,
    pub source: Arc<dyn Tree>,
    pub source_path: Vec<u8>,
    pub dest_path: Vec<u8>,
    /// As the user sees it.
    pub shown: Vec<u8>,
    /// As listed.
    pub meta: Meta,
    /// What the destination has under the name, if it is a file too.
    pub old: Option<Meta>,
    /// What a basis has under the name, with other data: without `-p` its mode is kept, as an old file's would be (rsync).
    pub like: Option<Meta>,
    pub directory: Directory,
    /// `-L`.
    pub follow: bool,
    pub decision: Decision,
    /// Its line is printed already, as something else than a transfer: the data was found in a `--copy-dest`.
    pub told: bool,
    /// Its line is printed once it is there.
    pub later: bool,
    /// Where: it is copied there, if that can be done.
    pub copied: Option<(Arc<dyn Tree>, Vec<u8>)>,
    /// How much of it has to be sent was not counted yet ([`super::delta`]).
    pub spared: bool,
    /// Bytes of it that were not sent, because the destination had them.
    pub matched: AtomicU64,
    /// Its checksum, if its line shows one.
    pub sum: sums::Slot,
    /// `-H`: other names of it wait until it is there.
    pub first: Option<links::Promise>,
}

/// Does what the item's decision says, and gives it its class.
pub async fn deliver(run: &Run, item: FileItem) {
    let class = match item.decision {
        Decision::Attributes(_) => settle(run, &item).await,
        Decision::NeedHash(_) => compare(run, &item).await,
        _ => send_told(run, &item).await,
    };
    let removes = run.job.options.remove_source_files && !run.job.options.dry_run;
    let proven = match &class {
        Ok(Class::Verified(_)) => true,
        Ok(Class::Unchanged) => matches!(item.decision, Decision::NeedHash(_)),
        _ => false,
    };
    if removes && proven {
        removal::remove(run, &item, matches!(class, Ok(Class::Verified(_)))).await;
    }
    let class = match class {
        Ok(class) => class,
        // A run that was stopped says so once, not for every file.
        Err(fault) if run.is_over() => {
            if let Some(first) = &item.first {
                first.settled(&Class::Failed(fault));
            }
            return;
        }
        Err(fault) => {
            let counted = item.decision == Decision::Create && !item.told && item.like.is_none();
            if counted && item.directory.has_failed() {
                run.tally().stats.created.take_back(item.meta.kind);
            }
            run.failed(&fault, &item.shown);
            Class::Failed(fault)
        }
    };
    run.backups.settled(&item.dest_path);
    if let Some(first) = &item.first {
        first.settled(&class);
    }
    run.finished(&item, class);
}

/// Hashes both ends' files, and does what that decides.
async fn compare(run: &Run, item: &FileItem) -> Result<Class, Fault> {
    let decision = item.decision.after_hash(same_content(run, item).await?);
    // It has the source's size.
    if run.job.options.append_verify && decision.transfers() {
        return Ok(Class::Skipped("not shorter at the receiver"));
    }
    print(run, item, decision.transfers()).await?;
    match decision {
        Decision::Unchanged => Ok(Class::Unchanged),
        _ if run.job.options.dry_run => Ok(Class::Skipped("dry run")),
        Decision::Attributes(_) => settle(run, item).await,
        _ => send(run, item).await,
    }
}

/// Sends a file, with the lines of `--progress`.
async fn send_told(run: &Run, item: &FileItem) -> Result<Class, Fault> {
    if item.told || !(item.later || progress::by_file(run)) {
        return send(run, item).await;
    }
    if item.later {
        let line = line(run, item, true, None).await?;
        let class = send(run, item).await?;
        run.printer.item(&Line { sum: sums::of_sent(run, item), ..line }.item(run, item));
        return Ok(class);
    }
    let mut line = line(run, item, true, None).await?;
    if !run.job.options.sums && progress::begins(run, item) {
        run.printer.item(&line.item(run, item));
    }
    let started = Instant::now();
    let class = send(run, item).await?;
    line.sum = sums::of_sent(run, item);
    progress::whole(run, item, started.elapsed(), || run.printer.item(&line.item(run, item)));
    Ok(class)
}

/// The line of a file of which only its hash could tell what happens to it.
async fn print(run: &Run, item: &FileItem, transfers: bool) -> Result<(), Fault> {
    if transfers && run.job.options.dry_run {
        let mut tally = run.tally();
        tally.stats.transferred += 1;
        tally.stats.transferred_size += item.meta.size;
    }
    let line = line(run, item, transfers, None).await?;
    let shown = run.printer.shows(&line.item(run, item));
    let sum = if shown { sums::of(run, item, transfers).await } else { Ok(None) };
    // What only its line shows is no reason to take a file for failed.
    let sum = sum.unwrap_or_else(|fault| {
        if !run.is_over() {
            run.trouble(&fault, Some(&item.shown));
        }
        None
    });
    run.printer.item(&Line { sum, ..line }.item(run, item));
    Ok(())
}

/// What a file's printed line needs beside its item.
struct Line {
    new: Meta,
    transfers: bool,
    sets_owner: bool,
    sets_group: bool,
    sum: Option<Vec<u8>>,
}

async fn line(run: &Run, item: &FileItem, transfers: bool, sum: Option<Vec<u8>>) -> Result<Line, Fault> {
    let (options, context) = (&run.job.options, run.context().await?);
    Ok(Line {
        new: context.shown(&item.meta, item.old.as_ref().or(item.like.as_ref())),
        transfers,
        sets_owner: item.old.is_some() && options.owner && context.may_chown,
        sets_group: item.old.is_some() && options.group && run.may_chgrp(item.meta.gid).await,
        sum,
    })
}

impl Line {
    fn item<'a>(&'a self, run: &Run, item: &'a FileItem) -> Item<'a> {
        Item {
            path: &item.shown,
            new: &self.new,
            old: item.old.as_ref().filter(|old| old.is_file()).or(item.like.as_ref()),
            target: None,
            update: if self.transfers { Update::Transfer } else { Update::Attributes },
            content_differs: match item.decision {
                Decision::Update(differs) => differs.content,
                _ if item.like.is_some() => run.job.options.checksum,
                _ => self.transfers,
            },
            push: run.push(),
            sets_owner: self.sets_owner,
            sets_group: self.sets_group,
            source: (item.source.root(), &item.source_path),
            receives: run.pull,
            hard_link: None,
            matched: false,
            sum: self.sum.as_deref(),
        }
    }
}

async fn settle(run: &Run, item: &FileItem) -> Result<Class, Fault> {
    let change = run.change(&item.meta, item.old.as_ref()).await?;
    run.dest.set(&item.dest_path, change, false).await?;
    Ok(Class::Unchanged)
}

/// `-c`, and times that SFTP cannot carry: both ends hash what they have.
async fn same_content(run: &Run, item: &FileItem) -> Result<bool, Fault> {
    let how = How::Best(run.far_algorithm().await);
    let size = item.meta.size;
    let here = item.source.digest(&item.source_path, size, how);
    let there = run.dest.digest(&item.dest_path, size, how);
    let (here, there) = tokio::join!(here, there);
    Ok(here?.0 == there?.0)
}

async fn send(run: &Run, item: &FileItem) -> Result<Class, Fault> {
    let mut retry = Retry::new(Scope::File);
    let mut meta = item.meta.clone();
    let begun = Instant::now();
    let mut waited = std::time::Duration::ZERO;
    for number in 1.. {
        let started = Instant::now();
        let mut trace = Trace::default();
        let result = copy::attempt(run, item, &meta, number, &mut trace).await;
        run.ledger.attempt(Attempt {
            file: item.id,
            path: &item.shown,
            number,
            lane: trace.used.lane,
            channel: trace.used.channel,
            bytes: trace.bytes,
            matched: trace.matched,
            elapsed: started.elapsed(),
            waited: waited + trace.waited,
            result: result.as_ref().map(|_| ()),
        });
        item.matched.store(trace.matched, Ordering::Relaxed);
        let mut fault = match result {
            Ok(Proof::By(how)) => return Ok(Class::Verified(how)),
            Ok(Proof::Sent) => return Ok(Class::Sent),
            Err(fault) => fault,
        };
        run.unmoved(trace.done().min(meta.size));
        if run.is_over() || run.gave_up() {
            return Err(fault);
        }
        match fault.cause {
            // Whatever the source is now is what the next try sends.
            Cause::Changed => meta = again(item).await?,
            Cause::NotFound if matches!(fault.stage, Stage::Open | Stage::Read) => {
                // Which end it is missing at: a vanished source is a warning, a vanished directory is not.
                let there = item.source.stat(&item.source_path, item.follow).await?.is_some();
                if !there {
                    fault.cause = Cause::Vanished;
                    fault.hop = item.source.hop().clone();
                    return Err(fault);
                }
            }
            _ => {}
        }
        let decision = retry.after(&fault, begun.elapsed(), &mut rand::rng());
        match decision {
            retry::Decision::Retry(wait) => {
                tracing::debug!(file = %String::from_utf8_lossy(&item.shown), %fault, ?wait, "trying again");
                waited = wait;
                tokio::time::sleep(wait).await;
            }
            retry::Decision::GiveUp(_) => return Err(fault),
        }
    }
    unreachable!("the loop above only ends by returning")
}

async fn again(item: &FileItem) -> Result<Meta, Fault> {
    match item.source.stat(&item.source_path, item.follow).await? {
        Some(meta) if meta.is_file() => Ok(meta),
        Some(_) => Err(gone(item, "is no regular file any more", Cause::Changed)),
        None => Err(gone(item, "vanished", Cause::Vanished)),
    }
}

fn gone(item: &FileItem, what: &str, cause: Cause) -> Fault {
    let text = format!("\"{}\" {what}", String::from_utf8_lossy(&item.shown));
    Fault::new(item.source.hop().clone(), Stage::Read, cause, text)
}
