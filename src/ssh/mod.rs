//! (see lib.rs)

pub mod auth;
pub mod config;
pub mod config_file;
pub mod host_key;
pub mod identity;
pub mod known_hosts;
pub mod options;
pub mod prompt;
pub mod route;
pub mod terminal;
pub mod tokens;
