//! What is told of a deletion, kept until it is its turn.

use std::sync::Arc;

use crate::fault::Fault;
use crate::plan::filter::{Filter, Side, Verdict};
use crate::tree::Listing;

use crate::engine::finish::below;
use crate::engine::rules;
use crate::engine::run::Run;

pub enum Line<'a> {
    Gone(Gone<'a>),
    NotEmpty(Vec<u8>),
    Trouble(Fault, Vec<u8>),
    /// What the rules say of an entry (`-vv`).
    Judged(Vec<u8>, bool, Verdict),
}

/// Tells that something was deleted when it is dropped: in its turn, or when the run is stopped.
pub struct Gone<'a> {
    run: &'a Run,
    shown: Vec<u8>,
    is_dir: bool,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.run.printer.deleting(&self.shown, self.is_dir);
    }
}

impl<'a> Line<'a> {
    pub fn gone(run: &'a Run, shown: Vec<u8>, is_dir: bool) -> Line<'a> {
        Line::Gone(Gone { run, shown, is_dir })
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

/// The rules within a directory of the destination that is in the way of something, and what is told (-vv) of its entries.
pub async fn within<'a>(
    run: &Run,
    filter: &Arc<Filter>,
    path: &[u8],
    shown: &[u8],
    listing: &Listing,
) -> Result<(Arc<Filter>, Vec<Line<'a>>), Fault> {
    let dir = rules::Dir { tree: run.dest.as_ref(), path, listing };
    let filter = rules::enter(filter, Side::Receiver, shown, &[dir]).await?;
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
    Ok((filter, said))
}
