//! hopsync: moves files over SSH through a bastion, on one connection, and proves that they arrived.
//!
//! Data flows one way through the rooms; each can be read without the next (ARCHITECTURE.md has the drawing):
//!
//! - [`cli`]: rsync's grammar, from argv to a [`job::Job`], and the exit codes.
//! - [`plan`]: what has to be done, as pure decisions. No I/O, no clock.
//! - [`engine`]: does it: scan, deliveries, budgets, retries.
//! - [`tree`]: the two ends behind one trait. `tree::local` is the only user of the disk; `tree::remote` has the channels.
//! - [`sftp`]: packets and the request table on bytes; one driver over a transport.
//! - [`ssh`]: route, host keys, authentication, hops, lanes, channels.
//! - [`verify`]: hashes and the ladder of ways to hash at the far end.
//! - [`ledger`]: what happened to each file, at which stage, on which hop.
//! - [`output`]: the only module that prints.
//! - [`share`]: one connection for every invocation on a host.
//! - [`lab`]: embedded servers and experiments (the `hopsync-lab` binary).

#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro, clippy::todo)]

mod blocking;
pub mod cli;
pub mod engine;
pub mod entry;
pub mod fault;
pub mod job;
pub mod lab;
pub mod ledger;
pub mod output;
pub mod plan;
pub mod program;
pub mod sftp;
pub mod share;
pub mod ssh;
pub mod tree;
pub mod verify;
