//! The laboratory: SSH servers to run against, without a cluster at hand.
//!
//! - [`server`]: a head node and a target in this process, on loopback, that misbehave by rule ([`faults`], written
//!   by hand as [`rules`]).
//! - [`bed`]: a head and a target together with the files a client needs (ssh_config, known_hosts, key): embedded, or two
//!   real sshd's. Tests and benches run the same suite over both.
//! - [`relay`]: distance: a TCP relay that delays.
//! - [`trees`]: trees with every odd thing in them, and what differs between two trees.
//! - [`run`]: a child process with a deadline.
//! - [`demo`], [`serve`], [`mod@bench`], [`probe`], [`report`]: the commands of `hopsync-lab`.
//!
//! Nothing of the drop-in itself uses this module.

#![expect(clippy::disallowed_methods, reason = "the lab makes trees, servers and configuration files of its own")]

pub mod bed;
pub mod bench;
pub mod demo;
pub mod faults;
pub mod print;
pub mod probe;
pub mod relay;
pub mod report;
pub mod rules;
pub mod run;
pub mod serve;
pub mod server;
pub mod stats;
pub mod trees;
