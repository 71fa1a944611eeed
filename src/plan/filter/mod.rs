//! rsync's filter rules: which entries are hidden from the transfer and which are protected from deletion.
//!
//! A rule is parsed from text ([`Rule`]), a list of rules is compiled into a [`Filter`], and the first rule that matches a
//! path decides. Patterns and paths are bytes. Merge files (`merge`, `dir-merge`, `-C`) are refused with a sentence.

mod eval;
mod parse;
mod pattern;

pub use eval::{Filter, Side};
pub use parse::{Action, Rule};
pub use pattern::NamePattern;
