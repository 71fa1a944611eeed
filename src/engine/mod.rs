//! Does what a job asks: finds both ends, compares them, moves what differs, proves it, and counts everything.
//!
//! - [`ends`]: connects, and finds out where each operand starts and ends up.
//! - [`scan`]: walks both ends directory by directory and decides ([`crate::plan`]); what is to be done leaves it in order.
//! - [`deliver`]: one file, tried until it is delivered, unchanged, or given up; [`copy`] is one try.
//! - [`finish`]: what comes last: deletions, then the attributes of directories.
//! - [`progress`]: what is printed meanwhile.
//! - [`budget`]: what bounds memory; [`retry`]: what is tried again; [`temps`]: what must not be left behind.

pub mod budget;
mod copy;
mod deliver;
mod directory;
mod ends;
mod finish;
mod hashing;
mod progress;
pub mod retry;
mod run;
mod scan;
mod temps;

pub use run::{Outcome, Run, Settings, run};
