//! rsync's grammar: from argv to a [`Job`], and the exit codes.
//!
//! [`options`] cuts what was typed by the rows of [`table`]; [`resolve`] folds it, in order, into what it means ([`fold`]: one
//! option, [`merge`]: files of rules). Nothing here prints or copies; the only files read are those named by `--exclude-from`, `--include-from` and `--files-from`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};

use crate::job::{Job, Login};

#[cfg(test)]
mod document;
pub mod exit;
mod fold;
mod help;
mod info;
mod merge;
mod moment;
mod operand;
mod options;
mod refused;
mod resolve;
mod rsync_path;
mod shell;
pub(crate) mod size;
mod table;

/// What a command line asks for.
#[derive(Debug, Clone)]
pub enum Command {
    Run(Box<Job>),
    /// Text for standard output, exit 0.
    Help(String),
    Version(String),
    /// End the shared connection to a host.
    ShareStop {
        login: Login,
        shell: Vec<OsString>,
    },
}

/// A command line that can not be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct UsageError {
    /// One sentence; rsync's own where it has one.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl UsageError {
    /// Exit 1.
    pub fn syntax(text: impl Into<String>) -> UsageError {
        UsageError { text: text.into(), code: exit::Exit::Syntax.code() }
    }
}

/// Parses `args` (without the program's name) with `env` as the environment (`RSYNC_RSH`).
///
/// # Errors
/// [`UsageError`] for what is unknown, contradictory or not supported (exit 1 or 4), and for a rule file that cannot be read
/// (exit 11).
pub fn parse(
    args: impl Iterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, UsageError> {
    parse_with(args, env, read_rules)
}

/// As [`parse`], with the reader of rule files given.
fn parse_with(
    args: impl Iterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
    read: impl Fn(&OsStr) -> io::Result<Vec<u8>>,
) -> Result<Command, UsageError> {
    let args: Vec<OsString> = args.collect();
    // rsync: -h is help only on its own.
    if args.len() == 1 && args[0] == "-h" {
        return Ok(Command::Help(help::help()));
    }
    resolve::resolve(options::cut(args)?, env, read)
}

/// Files of rules and of names are small; the limit keeps a device or an endless pipe from filling memory.
const RULES_MAX: u64 = 64 << 20;

/// The content of a file of rules or names; `-` is standard input.
#[expect(clippy::disallowed_methods, reason = "a file of rules or names is part of the command line")]
fn read_rules(name: &OsStr) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let source: Box<dyn Read> =
        if name == "-" { Box::new(io::stdin().lock()) } else { Box::new(std::fs::File::open(name)?) };
    source.take(RULES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > RULES_MAX {
        return Err(io::Error::other(format!("more than {} MiB of rules or names", RULES_MAX >> 20)));
    }
    Ok(content)
}
