//! Rules that stand in files: what a rule that names one stands for.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::UsageError;
use crate::fault::errno_text;
use crate::plan::filter::{Action, Rule};

/// Files of rules name others no deeper than this.
const MERGED_DEPTH: usize = 16;

/// A rule, or in place of one that names a file (or CVS' own) those that it stands for.
pub fn merged(
    rule: Rule,
    nul_separated: bool,
    env: &impl Fn(&str) -> Option<OsString>,
    read: &impl Fn(&OsStr) -> io::Result<Vec<u8>>,
    depth: usize,
) -> Result<Vec<Rule>, UsageError> {
    if rule.is_cvs() {
        let home = env("HOME").map(|home| PathBuf::from(home).join(".cvsignore"));
        // Most have none.
        let mut words = home.and_then(|path| read(path.as_os_str()).ok()).unwrap_or_default();
        words.push(b' ');
        words.extend_from_slice(env("CVSIGNORE").unwrap_or_default().as_bytes());
        return Ok(Rule::cvs(&words));
    }
    let Some(file) = rule.file() else { return Ok(vec![rule]) };
    let file = OsStr::from_bytes(file);
    if depth == MERGED_DEPTH {
        let text = format!("files of filter rules name each other too deeply: {}", file.display());
        return Err(UsageError::syntax(text));
    }
    let content = read(file).map_err(|e| unreadable(Action::Exclude, file, &e))?;
    let mut rules = Vec::new();
    for inner in rule.merged(&content, nul_separated).map_err(UsageError::syntax)? {
        rules.extend(merged(inner, nul_separated, env, read, depth + 1)?);
    }
    Ok(rules)
}

pub fn unreadable(action: Action, name: &OsStr, error: &io::Error) -> UsageError {
    let which = if action == Action::Exclude { "exclude" } else { "include" };
    UsageError {
        text: format!("failed to open {which} file {}: {}", name.display(), errno_text(error)),
        code: super::exit::Exit::FileIo.code(),
    }
}
