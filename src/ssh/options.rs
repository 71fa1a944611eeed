//! The `ssh …` command line in `-e`: which of it we understand.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// ssh(1)'s flags that are handed to the configuration (`ssh -G`).
const FLAGS: &[u8] = b"46CqaAkKxXY";
/// Flags without a meaning for a file transfer: no terminal (`-T`, `-t`), no standard input (`-n`), chatter (`-v`).
const IGNORED_FLAGS: &[u8] = b"Ttnv";
/// Options with a value, handed to the configuration.
const VALUED: &[u8] = b"JplioFcbm";
/// `-E log_file` and `-S ctl_path`: with a value, and not handed on. Only `-S none` is understood, see [`parse`].
const DROPPED: &[u8] = b"ES";

/// An `-e` that is ssh, with options we understand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshOptions {
    /// As given: `ssh`, or a path.
    pub program: OsString,
    /// The options that matter, one `-x` or `-x value` at a time, in the order given.
    pub given: Vec<(u8, Option<OsString>)>,
}

impl SshOptions {
    /// The last value of `-F`, which jump hosts inherit. ssh(1): only the last one is read.
    pub fn config_file(&self) -> Option<&OsStr> {
        self.given.iter().rev().find(|(flag, _)| *flag == b'F').and_then(|(_, value)| value.as_deref())
    }

    /// Whether there is a `-l user`, which wins over the operand's (rsync's main.c, do_cmd; ssh takes the first `-l`).
    pub fn has_login(&self) -> bool {
        self.given.iter().any(|(flag, _)| *flag == b'l')
    }

    /// As words for an ssh command line.
    pub fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        for (flag, value) in &self.given {
            words.push(OsString::from(format!("-{}", char::from(*flag))));
            words.extend(value.clone());
        }
        words
    }
}

/// `None`: no ssh, or something in it that we do not know, so it has to be run as given. ssh is known by its base name.
///
/// Options may be combined as getopt(3) allows: `-4Cq`, `-p2222`, `-oOpt=value`, `-CJ head`. Operands, `--`, and a control
/// socket (`-S path`: somebody else's connection) are not understood.
pub fn parse(shell: &[OsString]) -> Option<SshOptions> {
    let (program, words) = shell.split_first()?;
    if Path::new(program).file_name()?.as_bytes() != b"ssh" {
        return None;
    }
    let mut options = SshOptions { program: program.clone(), ..SshOptions::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut flags = word.as_bytes().strip_prefix(b"-").filter(|flags| !flags.is_empty())?;
        while let Some((&flag, rest)) = flags.split_first() {
            flags = rest;
            if FLAGS.contains(&flag) {
                options.given.push((flag, None));
            } else if VALUED.contains(&flag) || DROPPED.contains(&flag) {
                let value = if rest.is_empty() { words.next()?.clone() } else { OsStr::from_bytes(rest).to_owned() };
                flags = b"";
                if flag == b'S' && !value.eq_ignore_ascii_case("none") {
                    return None;
                }
                if VALUED.contains(&flag) {
                    options.given.push((flag, Some(value)));
                }
            } else if !IGNORED_FLAGS.contains(&flag) {
                return None;
            }
        }
    }
    Some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<SshOptions> {
        parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn words(line: &str) -> Vec<OsString> {
        parsed(line).unwrap().words()
    }

    #[test]
    fn ssh_is_known_by_its_base_name() {
        assert!(parsed("ssh").is_some());
        assert!(parsed("/opt/ssh/bin/ssh -q").is_some());
        assert!(parsed("rsh").is_none());
        assert!(parsed("sshpass -e ssh").is_none());
        assert!(parse(&[]).is_none());
    }

    #[test]
    fn options_may_be_apart_together_or_combined() {
        assert_eq!(words("ssh -p 2222 -oBatchMode=yes -4Cq"), ["-p", "2222", "-o", "BatchMode=yes", "-4", "-C", "-q"]);
        assert_eq!(words("ssh -CJhead -p2222"), ["-C", "-J", "head", "-p", "2222"]);
        assert_eq!(words("ssh -CJ a,b"), ["-C", "-J", "a,b"]);
    }

    #[test]
    fn what_does_not_concern_a_transfer_is_dropped() {
        assert_eq!(words("ssh -vvT -E /tmp/log -S none -x"), ["-x"]);
    }

    #[test]
    fn what_is_not_understood_is_run_as_given() {
        for line in [
            "ssh -W a:1",
            "ssh -f",
            "ssh -L 1:a:2",
            "ssh host",
            "ssh --",
            "ssh -S /run/ctl",
            "ssh -p",
            "ssh -",
            "ssh -M",
        ] {
            assert!(parsed(line).is_none(), "{line}");
        }
    }

    #[test]
    fn the_last_configuration_file_counts() {
        assert_eq!(parsed("ssh -F a -Fb").unwrap().config_file(), Some(OsStr::new("b")));
    }
}
