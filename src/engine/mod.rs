//! Does what a job asks: finds both ends, compares them, moves what differs, proves it, and counts everything.
//!
//! - [`ends`]: connects, and finds out where each operand starts and ends up; [`target`]: the directory that the destination is.
//! - [`operands`]: what the operands bring ([`brought`], [`glob`], [`ways`]); [`list`]: the walk of `--list-only`.
//! - [`scan`]: walks both ends directory by directory and decides ([`crate::plan`]); what is to be done leaves it in order.
//! - [`deliver`]: one file, tried until it is delivered, unchanged, or given up; [`copy`] is one try, [`pump`] a large file's data,
//!   [`delta`] what of it the destination has.
//! - [`rules`]: filter rules that directories bring.
//! - [`referents`]: links that come as what they lead to.
//! - [`inside`]: a destination that lies within a source.
//! - [`owners`]: owners and groups in the destination's terms; [`node`]: devices and FIFOs.
//! - [`basis`]: `--link-dest` and its kin; [`links`]: files with several names.
//! - [`backup`], [`inplace`], [`removal`], [`partial`], [`delay`]: what `--backup`, `--inplace`, `--remove-source-files`,
//!   `--partial-dir` and `--delay-updates` add to that; [`sparse`]: `--sparse`.
//! - [`finish`]: what comes last: deletions ([`delete`]; [`deletions`] counts them), then the attributes of directories.
//! - [`progress`]: what is printed meanwhile; [`sums`]: the checksums in it.
//! - [`budget`]: what bounds memory; [`retry`]: what is tried again; [`temps`]: what must not be left behind.

mod backup;
mod basis;
mod brought;
pub mod budget;
mod copy;
mod delay;
mod delete;
mod deletions;
mod deliver;
mod delta;
mod directory;
mod duplicate;
mod early;
mod ends;
mod far_links;
mod finish;
mod glob;
mod inplace;
mod inside;
mod links;
mod list;
mod node;
mod operands;
mod owners;
mod partial;
mod progress;
mod proving;
mod prune;
mod pump;
mod referents;
mod removal;
pub mod retry;
mod rules;
mod run;
mod scan;
mod sparse;
mod stage;
mod sums;
mod target;
mod temps;
mod ways;

/// Small requests of one kind under way at once: so many take one round trip. Channels have room for more, and their servers take
/// them one by one anyway.
const AT_ONCE: usize = 1024;

pub use run::{Outcome, Run, Settings, run};
