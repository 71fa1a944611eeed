//! Does what a job asks: finds both ends, compares them, moves what differs, proves it, and counts everything.
//!
//! - [`ends`]: connects, and finds out where each operand starts and ends up.
//! - [`operands`]: what the operands bring ([`brought`], [`glob`]); [`list`]: the walk of `--list-only`.
//! - [`scan`]: walks both ends directory by directory and decides ([`crate::plan`]); what is to be done leaves it in order.
//! - [`deliver`]: one file, tried until it is delivered, unchanged, or given up; [`copy`] is one try.
//! - [`node`]: devices and FIFOs.
//! - [`basis`]: `--link-dest` and its kin; [`links`]: files with several names.
//! - [`backup`], [`inplace`], [`removal`]: what `--backup`, `--inplace` and `--remove-source-files` add to that.
//! - [`finish`]: what comes last: deletions, then the attributes of directories.
//! - [`progress`]: what is printed meanwhile.
//! - [`budget`]: what bounds memory; [`retry`]: what is tried again; [`temps`]: what must not be left behind.

mod backup;
mod basis;
mod brought;
pub mod budget;
mod copy;
mod deliver;
mod directory;
mod duplicate;
mod ends;
mod finish;
mod glob;
mod inplace;
mod links;
mod list;
mod node;
mod operands;
mod progress;
mod prune;
mod removal;
pub mod retry;
mod run;
mod scan;
mod temps;

pub use run::{Outcome, Run, Settings, run};
