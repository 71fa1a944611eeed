//! SSH: where to go, whom to trust, and what carries the bytes.
//!
//! - [`route`]: from `-e` and the operand to hops ([`options`], [`config`], [`config_file`], [`tokens`] serve it).
//! - [`host_key`] over [`known_hosts`]: whom to trust; [`auth`], [`identity`] and [`signed`]: how to log in; [`prompt`] and
//!   [`terminal`]: whom to ask.
//! - [`socket`], [`tunnel`], [`hop`], [`ahead`], [`connection`], [`channel`]: one connection, its jumps, lanes and channels, from the
//!   bottom up; [`inbox`] is what keeps them from waiting on each other, [`fate`] what each knows of its end.

#![expect(
    clippy::disallowed_methods,
    reason = "ssh_config, known_hosts and key files are no files that are transferred"
)]

pub mod ahead;
pub mod auth;
mod awake;
pub mod channel;
pub mod config;
pub mod config_file;
pub mod connection;
pub mod fate;
pub mod hop;
pub mod host_key;
pub mod identity;
pub mod inbox;
pub mod known_hosts;
pub mod options;
pub mod prompt;
pub mod route;
pub mod signed;
pub mod socket;
pub mod terminal;
pub mod tokens;
pub mod tunnel;
