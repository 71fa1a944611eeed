//! What is told of a deletion, kept until it is its turn.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::fault::Fault;
use crate::output::Printer;
use crate::plan::filter::{Filter, Side, Verdict};
use crate::tree::Listing;

use crate::engine::finish::below;
use crate::engine::run::Run;

pub enum Line {
    Gone(Gone),
    NotEmpty(Vec<u8>),
    Trouble(Fault, Vec<u8>),
    /// What the rules say of an entry (`-vv`).
    Judged(Vec<u8>, bool, Verdict),
}

/// Tells that something was deleted when it is dropped: in its turn, or when the run is stopped.
pub struct Gone {
    printer: Arc<Printer>,
    shown: Vec<u8>,
    is_dir: bool,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.printer.deleting(&self.shown, self.is_dir);
    }
}

impl Line {
    pub fn gone(run: &Run, shown: Vec<u8>, is_dir: bool) -> Line {
        Line::Gone(Gone { printer: run.printer.clone(), shown, is_dir })
    }

    pub fn tell(self, run: &Run) {
        match self {
            Line::Gone(gone) => drop(gone),
            Line::NotEmpty(shown) => run.printer.not_empty(&shown),
            Line::Trouble(fault, shown) => run.trouble(&fault, Some(&shown)),
            Line::Judged(shown, is_dir, verdict) => run.printer.judged(Side::Receiver, &shown, is_dir, &verdict),
        }
    }
}

/// Where lines go.
#[derive(Clone)]
pub enum Into {
    /// They are told at once.
    Told,
    /// They wait for the turn of what is made way for. At most what was deleted is kept.
    Kept(UnboundedSender<Line>),
}

impl Into {
    pub fn tell(&self, run: &Run, lines: Vec<Line>) {
        lines.into_iter().for_each(|line| self.say(run, line));
    }

    pub fn say(&self, run: &Run, line: Line) {
        let line = match self {
            Into::Told => Some(line),
            // Nobody keeps them any more: the run was stopped.
            Into::Kept(kept) => kept.send(line).err().map(|unsent| unsent.0),
        };
        if let Some(line) = line {
            line.tell(run);
        }
    }
}

/// What is told (-vv) of the entries of a directory of the destination that goes, or is in the way of something; `filter` holds in it.
pub fn judged(run: &Run, filter: &Filter, shown: &[u8], listing: &Listing) -> Vec<Line> {
    // A far receiver of rsync's is given the rules only where it deletes or prunes by them.
    let options = &run.job.options;
    let tells = run.printer.tells_filters() && (!run.push() || options.delete.enabled || options.prune_empty_dirs);
    let mut said = Vec::new();
    for entry in listing.entries.iter().filter(|_| tells) {
        let (path, is_dir) = (below(shown, &entry.name), entry.meta.is_dir());
        if let Some(verdict) = filter.verdict(&path, is_dir, Side::Receiver, true) {
            said.push(Line::Judged(path, is_dir, verdict));
        }
    }
    said
}
