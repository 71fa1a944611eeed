//! The built `hopsync` against a head and a target, as a person or a script runs it.
//!
//! - [`harness`]: runs it and reads its report; every run is held to the ledger's sum rule.
//! - [`oracle`]: the same operands and options given to rsync and to us.
//! - [`transfer`]: trees, names, options, exit codes, over the embedded pair and over real sshd's.
//! - [`limits`]: session and start limits, accounts without a shell, routes.
//! - [`trust`]: what is refused before anything is sent.
//! - [`faults`]: damage, loss and refusal by rule, and what is counted.
//! - [`sum`]: that the report says what was injected, for every fault there is.
//! - [`contents`]: small files that are pulled, told by who hashes them.
//! - [`deleting`]: many deletions at once.
//! - [`distance`]: what is asked for together.
//! - [`keeping`]: options that remove, overwrite or go on from something.
//! - [`delta`]: files of which the destination has another version.
//! - [`stops`]: signals, silence, closed output.
//! - [`live`]: the report and the metrics while a run goes on.
//! - [`size`]: rekeys on a full connection, and memory.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

mod contents;
mod deleting;
mod delta;
mod distance;
mod faults;
mod harness;
mod keeping;
mod limits;
mod live;
mod login;
mod oracle;
mod proving;
mod size;
mod stops;
mod sum;
mod transfer;
mod trust;
