//! rsync's filter rules: which entries are hidden from the transfer and which are protected from deletion.
//!
//! A rule is parsed from text ([`Rule`]), a list of rules is compiled into a [`Filter`], and the first rule that matches a
//! path decides. Patterns and paths are bytes. Nothing is read here: of a directory's own files of rules ([`dirs`]) the
//! content is asked for by name.

mod dirs;
mod eval;
mod parse;
mod pattern;

pub use dirs::{Contents, Stop};
pub use eval::{Filter, Side, Verdict};
pub use parse::{Action, Rule};
pub use pattern::NamePattern;
