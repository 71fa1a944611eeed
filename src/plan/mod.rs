//! What has to be done, as pure decisions: no I/O, no clock, no randomness. rsync is the model, byte for byte where it matters.
//!
//! - [`filter`]: which names are hidden from the transfer, and which are protected from deletion.
//! - [`names`]: from operands to roots; which names may be trusted; temporary names.
//! - [`order`]: the order in which entries are handled and printed.
//! - [`owners`]: `--usermap`, `--groupmap`, `--chown`.
//! - [`delta`]: what of a file the destination has already; [`search`]: where.
//! - [`quick_check`]: what one entry needs; [`chmod`]: `--chmod`.
//! - [`safe_link`]: which symlinks lead out of the tree.
//! - [`diff`]: what one directory needs, and what `--delete` removes from it.

pub mod chmod;
pub mod delta;
pub mod diff;
pub mod filter;
pub mod names;
pub mod order;
pub mod owners;
pub mod quick_check;
pub mod safe_link;
pub mod search;
