//! Deletes what is extraneous, directories with all that is in them, and makes way ([`make_way`]) for what comes in place of
//! something else.
//!
//! One walk goes through everything in rsync's order ([`walk`]). Each entry becomes a step, and steps do not wait for each other's
//! answers; only a directory's own waits for those of the files in it, and until the directories in it are asked for: a server removes
//! them before it. Listings are asked for ahead of the walk ([`ahead`]).
//! What there is to be told ([`mod@line`]) is told in the walk's order.

mod ahead;
mod line;
mod walk;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::entry::{Entry, Meta};
use crate::fault::{Cause, Fault, Stage};
use crate::ledger::Event;
use crate::plan::filter::{Filter, Side};
use crate::plan::quick_check::MakeWay;
use crate::tree::{Answer, Change};

use super::backup::Of;
use super::deletions::Leave;
use super::finish::{Extraneous, below, is_within};
use super::rules;
use super::run::Run;

pub use line::{Into, Line};
use walk::Walk;

/// Deletes what was found to be extraneous; not what was put behind a link (`led_to`) under the name that it has there.
pub async fn delete(run: &Run, extraneous: Vec<Extraneous>, led_to: &[Vec<u8>]) {
    if extraneous.is_empty() {
        return;
    }
    let mut walk = Walk::new(run, ordered(run, &extraneous).await, Into::Told);
    for Extraneous { path, shown, mut entries, filter, .. } in extraneous {
        let mut said = Vec::new();
        entries.retain(|entry| {
            let path = below(&path, &entry.name);
            if run.backups.claims.has_taken(&path) {
                return false;
            }
            let concerned = led_to.iter().any(|led| is_within(led, &path) || is_within(&path, led));
            if concerned {
                said.push(Line::NotEmpty(below(&shown, &entry.name)));
            }
            !concerned
        });
        walk.later(path, shown, filter, entries, said);
    }
    walk.through().await;
}

/// Whether nothing may be deleted before what comes before it in the walk is.
async fn ordered(run: &Run, extraneous: &[Extraneous]) -> bool {
    let paths =
        || extraneous.iter().flat_map(|found| found.entries.iter().map(|entry| below(&found.path, &entry.name)));
    // What is named may lie within something else that is named.
    if extraneous.iter().any(|extraneous| extraneous.named) {
        let mut all = HashSet::new();
        let twice = !paths().all(|path| all.insert(path));
        let within = |path: &Vec<u8>| {
            let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            slashes.map(|(at, _)| &path[..at]).any(|above| all.contains(above))
        };
        if twice || all.iter().any(within) {
            return true;
        }
    }
    // One thing may be another's backup.
    run.job.options.backup.is_some() && !super::backup::in_any_order(run, paths()).await
}

/// Why something stays in a directory that is being emptied. Nobody says so of what is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is protected, or could not be deleted.
    Stays,
    /// It was kept as a backup, beside what it was made of.
    KeptBeside,
    /// What is in the directory is not known, which has been told.
    Unknown,
}

/// How a directory looks after all in it that may be deleted is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emptied {
    Yes,
    /// Backups stay in it, beside what they were made of.
    ButForBackups,
    /// Something is protected or could not be deleted.
    No,
    /// It could not be looked at, which has been told.
    Unknown,
}

/// Where the entries of a directory tell it what becomes of them.
#[derive(Clone)]
struct Above {
    /// Why something stays in it. All have one until they are gone, or stay.
    stays: UnboundedSender<Why>,
    /// Has whoever the directory's own removal must not be asked for before.
    first: Option<UnboundedSender<()>>,
}

/// The directory's end of it.
struct Within {
    stays: UnboundedReceiver<Why>,
    first: UnboundedReceiver<()>,
    emptied: Emptied,
}

fn entries() -> (Above, Within) {
    let ((stays, told), (first, waiting)) = (unbounded_channel(), unbounded_channel());
    (Above { stays, first: Some(first) }, Within { stays: told, first: waiting, emptied: Emptied::Yes })
}

impl Above {
    fn because(&self, why: Why) {
        // Nobody asks for what lies in a directory of the transfer itself.
        let _ = self.stays.send(why);
    }
}

impl Within {
    /// Waits until its removal may be asked for. Whether it is known by then what becomes of all in it; nothing if something stays.
    async fn may_be_asked(&mut self) -> Option<bool> {
        while self.first.recv().await.is_some() {}
        let known = loop {
            match self.stays.try_recv() {
                Ok(why) => self.hear(why),
                Err(silence) => break silence == TryRecvError::Disconnected,
            }
        };
        (self.emptied == Emptied::Yes).then_some(known)
    }

    /// Waits until the last who may say why something stays is gone.
    async fn emptied(mut self) -> Emptied {
        while let Some(why) = self.stays.recv().await {
            self.hear(why);
        }
        self.emptied
    }

    fn hear(&mut self, why: Why) {
        self.emptied = match (why, self.emptied) {
            (Why::Unknown, _) | (_, Emptied::Unknown) => Emptied::Unknown,
            (Why::Stays, _) | (_, Emptied::No) => Emptied::No,
            (Why::KeptBeside, _) => Emptied::ButForBackups,
        };
    }
}

/// A directory that was asked for, and the answer.
struct Asked {
    fault: Fault,
    /// All in it was gone by then. Else the answer may be due to what was still in it: not every server keeps the order.
    known: bool,
}

/// An entry that is to be deleted.
struct Doomed {
    entry: Entry,
    path: Vec<u8>,
    shown: Vec<u8>,
    above: Above,
    /// The directory that it lies in, if nothing can be removed from that as it is.
    shut: Option<Arc<Shut>>,
}

/// A directory that goes, and in which its owner may not write. It is opened for the first thing that is removed from it, as rsync does.
struct Shut {
    path: Vec<u8>,
    mode: u32,
    opened: OnceCell<()>,
}

impl Shut {
    /// If this directory is one.
    async fn of(run: &Run, path: &[u8], meta: &Meta) -> Option<Arc<Shut>> {
        if meta.mode & 0o200 != 0 || run.job.options.dry_run {
            return None;
        }
        let uid = run.identity().await.uid;
        let ours = uid != Some(0) && uid.is_none_or(|uid| uid == meta.uid);
        ours.then(|| Arc::new(Shut { path: path.to_vec(), mode: meta.mode, opened: OnceCell::new() }))
    }

    async fn open(&self, run: &Run) {
        let open = async {
            let change = Change { mode: Some(self.mode | 0o200), ..Change::default() };
            // Where it cannot be opened, what is to be removed will tell.
            let _ = run.dest.set(&self.path, change, false).await;
        };
        self.opened.get_or_init(|| open).await;
    }
}

impl Doomed {
    /// What is no directory.
    async fn remove<'a>(self, run: &'a Run, leave: Option<Leave<'a>>) -> Vec<Line> {
        let mut said = Vec::new();
        self.delete(run, leave, Emptied::Yes, None, &mut said).await;
        said
    }

    /// A directory, once all within it is gone; `nested` in one that goes, too.
    async fn remove_dir<'a>(
        mut self,
        run: &'a Run,
        leave: Option<Leave<'a>>,
        mut within: Within,
        nested: bool,
    ) -> Vec<Line> {
        let mut said = Vec::new();
        let mut asked = None;
        if let Some(known) = within.may_be_asked().await
            && leave.is_some()
            && let Some(answer) = self.ask(run).await
        {
            self.above.first = None;
            match answer.await {
                Ok(()) => {
                    leave.into_iter().for_each(Leave::used);
                    self.tell_gone(run, true, &mut said);
                    return said;
                }
                Err(fault) => asked = Some(Asked { fault, known }),
            }
        }
        let emptied = within.emptied().await;
        if emptied == Emptied::No {
            said.push(Line::NotEmpty(self.shown.clone()));
        }
        // Of a directory within one that goes, rsync tells a second time that it stays, when its removal fails.
        match nested || matches!(emptied, Emptied::Yes | Emptied::ButForBackups) {
            true => self.delete(run, leave, emptied, asked, &mut said).await,
            false => self.stays(),
        }
        said
    }

    /// Has an empty directory removed after all that was asked for before. `None` where it is to be known first what came of that.
    async fn ask(&self, run: &Run) -> Option<Answer<()>> {
        if run.job.options.dry_run {
            return None;
        }
        self.open(run).await;
        run.dest.rmdir_next(&self.path).await.ok().flatten()
    }

    /// Has the directory that it lies in opened, if need be.
    async fn open(&self, run: &Run) {
        if let Some(shut) = &self.shut {
            shut.open(run).await;
        }
    }

    fn stays(&self) {
        self.above.because(Why::Stays);
    }

    /// Deletes it; a directory is known to be empty or not, and may have been asked for already.
    async fn delete<'a>(
        self,
        run: &'a Run,
        leave: Option<Leave<'a>>,
        emptied: Emptied,
        asked: Option<Asked>,
        said: &mut Vec<Line>,
    ) {
        let Some(leave) = leave else {
            run.deletions.skip();
            return self.stays();
        };
        let dry_run = run.job.options.dry_run;
        let is_dir = self.entry.meta.is_dir();
        if emptied != Emptied::Yes && !(dry_run && emptied == Emptied::ButForBackups) {
            if !dry_run {
                said.push(Line::NotEmpty(self.shown.clone()));
            }
            return self.stays();
        }
        self.open(run).await;
        let done = match is_dir {
            _ if dry_run => Ok(()),
            true => match asked {
                None => run.dest.rmdir(&self.path).await,
                // It may have been us that it is gone.
                Some(Asked { fault, .. }) if matches!(fault.cause, Cause::Lost | Cause::Timeout) => {
                    match run.dest.rmdir(&self.path).await {
                        Err(fault) if fault.cause == Cause::NotFound => Ok(()),
                        done => done,
                    }
                }
                Some(Asked { known: false, .. }) => run.dest.rmdir(&self.path).await,
                Some(Asked { fault, .. }) => Err(fault),
            },
            false => match super::backup::instead_of_removal(run, &self.path, Of::Deleted).await {
                Ok(false) => run.dest.remove(&self.path).await,
                Ok(true) => {
                    if run.job.options.backup.as_ref().is_some_and(|backup| backup.dir.is_none()) {
                        self.above.because(Why::KeptBeside);
                    }
                    Ok(())
                }
                Err(fault) => Err(fault),
            },
        };
        let done = match done {
            Err(fault) if is_dir && fault.cause == Cause::Io && is_filled(run, &self.path).await => {
                said.push(Line::NotEmpty(self.shown.clone()));
                return self.stays();
            }
            // Gone is gone, whoever it was.
            Err(fault) if fault.cause != Cause::NotFound => {
                self.stays();
                return said.push(Line::Trouble(fault, self.shown));
            }
            done => done.is_ok(),
        };
        if dry_run && !is_dir {
            super::backup::would_keep(run, &self.path, Of::Deleted);
        }
        leave.used();
        self.tell_gone(run, done, said);
    }

    /// `done`: by us.
    fn tell_gone(self, run: &Run, done: bool, said: &mut Vec<Line>) {
        let (dry_run, is_dir) = (run.job.options.dry_run, self.entry.meta.is_dir());
        run.tally().stats.deleted.add(self.entry.meta.kind);
        // Counted now and not in its turn, so that a run that is stopped has counted what it did.
        if !dry_run && is_dir {
            run.backups.gone(&self.path);
        }
        if !dry_run && done {
            run.ledger.event(Event::Deleted { path: &self.shown, directory: is_dir });
        }
        said.push(Line::gone(run, self.shown, is_dir));
    }
}

/// Whether something has come into a directory after all in it was deleted: backups are put there, too. (A server says only that
/// it failed.)
async fn is_filled(run: &Run, path: &[u8]) -> bool {
    run.dest.list(path, false).await.is_ok_and(|listing| !listing.entries.is_empty())
}

/// What rsync says (-vv) of the rules in a directory that it cannot remove.
pub async fn tell_rules(run: &Run, filter: &Arc<Filter>, path: &[u8], shown: &[u8]) {
    if !run.printer.tells_filters() {
        return;
    }
    let said = async {
        let listing = run.dest.list(path, false).await?;
        let dir = rules::Dir { tree: run.dest.as_ref(), path, listing: &listing };
        let filter = rules::enter(filter, Side::Receiver, shown, &[dir]).await?;
        Ok(line::judged(run, &filter, shown, &listing))
    };
    match said.await {
        Ok(said) => said.into_iter().for_each(|line| line.tell(run)),
        Err(fault) => run.trouble(&fault, Some(shown)),
    }
}

/// Makes way for an entry of another kind, or tells what that would be (a dry run): what is there is removed, a directory only
/// if it is empty or may be emptied.
pub async fn make_way(
    run: &Run,
    filter: &Arc<Filter>,
    path: &[u8],
    shown: &[u8],
    way: MakeWay,
    of: Of,
) -> Result<(), Fault> {
    make_way_for(run, filter, (path, shown), way, of, &Into::Told).await
}

/// As [`make_way`], telling of it `into`.
pub async fn make_way_for(
    run: &Run,
    filter: &Arc<Filter>,
    (path, shown): (&[u8], &[u8]),
    way: MakeWay,
    of: Of,
    into: &Into,
) -> Result<(), Fault> {
    let dry_run = run.job.options.dry_run;
    match way {
        MakeWay::Unlink if dry_run => {
            super::backup::would_keep(run, path, of);
            Ok(())
        }
        MakeWay::Unlink if super::backup::instead_of_removal(run, path, of).await? => Ok(()),
        MakeWay::Unlink => run.dest.remove(path).await,
        MakeWay::Tree => match Box::pin(empty(run, filter, path, shown, into)).await {
            Emptied::No | Emptied::Unknown => Err(no_way(run, shown)),
            _ if dry_run => Ok(()),
            _ => rmdir(run, path, shown, into).await,
        },
        MakeWay::EmptyDir if dry_run => Ok(()),
        MakeWay::EmptyDir => rmdir(run, path, shown, into).await,
    }
}

/// Empties a directory that is in the way, and says so if something stays in it.
async fn empty(run: &Run, filter: &Arc<Filter>, path: &[u8], shown: &[u8], into: &Into) -> Emptied {
    let (above, within) = entries();
    let ordered =
        run.job.options.backup.is_some() && !super::backup::in_any_order(run, std::iter::once(path.to_vec())).await;
    let mut walk = Walk::new(run, ordered, into.clone());
    walk.enter(path.to_vec(), shown.to_vec(), filter, above).await;
    if !walk.through().await {
        return Emptied::Unknown;
    }
    let emptied = within.emptied().await;
    if emptied == Emptied::No {
        into.say(run, Line::NotEmpty(shown.to_vec()));
    }
    emptied
}

async fn rmdir(run: &Run, path: &[u8], shown: &[u8], into: &Into) -> Result<(), Fault> {
    run.dest.rmdir(path).await.map_err(|fault| {
        into.say(run, Line::NotEmpty(shown.to_vec()));
        Fault { text: no_way(run, shown).text, ..fault }
    })?;
    run.backups.gone(path);
    Ok(())
}

fn no_way(run: &Run, shown: &[u8]) -> Fault {
    let text = format!("could not make way for \"{}\"", String::from_utf8_lossy(shown));
    Fault::new(run.dest.hop().clone(), Stage::Attributes, Cause::Io, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_is_empty_only_once_nobody_can_say_why_something_stays() {
        for (said, then) in [
            (&[][..], Emptied::Yes),
            (&[Why::KeptBeside], Emptied::ButForBackups),
            (&[Why::KeptBeside, Why::Stays, Why::KeptBeside], Emptied::No),
            (&[Why::Unknown, Why::Stays], Emptied::Unknown),
        ] {
            let (above, within) = entries();
            let mut emptied = Box::pin(within.emptied());
            for why in said {
                assert!(futures::poll!(&mut emptied).is_pending(), "somebody has not said yet");
                above.because(*why);
            }
            assert!(futures::poll!(&mut emptied).is_pending(), "somebody has not said yet");
            drop(above);
            assert_eq!(emptied.await, then);
        }
    }

    #[tokio::test]
    async fn a_directory_is_asked_for_once_those_in_it_are_and_its_files_gone() {
        let (above, mut within) = entries();
        let (file, mut dir) = (above.clone(), above);
        dir.first = None;
        assert!(futures::poll!(std::pin::pin!(within.may_be_asked())).is_pending(), "a file is not gone");
        drop(file);
        assert_eq!(within.may_be_asked().await, Some(false), "as far as is known");
        dir.because(Why::Stays);
        drop(dir);
        assert_eq!(within.emptied().await, Emptied::No);
        let (above, mut within) = entries();
        above.because(Why::Stays);
        drop(above);
        assert_eq!(within.may_be_asked().await, None);
        let (above, mut within) = entries();
        drop(above);
        assert_eq!(within.may_be_asked().await, Some(true));
    }
}
