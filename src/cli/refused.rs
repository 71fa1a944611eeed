//! rsync's options that are known and not taken, each with its reason. What SFTP cannot carry ends with exit 4, as rsync ends
//! where it was built without something; the others with exit 1.

use super::exit::Exit;

/// An option that is refused by name.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    pub long: &'static str,
    pub short: Option<char>,
    pub why: &'static str,
    pub exit: Exit,
}

const fn no(long: &'static str, short: Option<char>, why: &'static str) -> Refused {
    Refused { long, short, why, exit: Exit::Syntax }
}

/// What the protocol has no means for.
const fn cannot(long: &'static str, short: Option<char>, why: &'static str) -> Refused {
    Refused { long, short, why, exit: Exit::Unsupported }
}

const DAEMON: &str = "hopsync does not speak to rsync daemons";
const SERVER: &str = "hopsync speaks SFTP and is no rsync server; run rsync itself at this end";
const BATCH: &str = "batch files hold rsync's own protocol, which is not spoken here";
const WIRE: &str = "it changes rsync's own protocol, which is not spoken here";

#[rustfmt::skip]
pub const REFUSED: &[Refused] = &[
    no("insecure-links", None, "links in the paths that are given are followed as the system does, and those below them never"),
    no("confine-root", None, "links in the paths that are given are followed as the system does, and those below them never"),
    no("munge-links", None, "links keep their targets, or are left out with --safe-links"),
    cannot("acls", Some('A'), "SFTP does not carry ACLs"),
    cannot("xattrs", Some('X'), "SFTP does not carry extended attributes"),
    no("copy-devices", None, "a device does not tell its size, and so a copy of it cannot be proven whole"),
    no("write-devices", None, "a device cannot be replaced at once, and so not be proven before it is changed"),
    no("drop-D", None, "it is for a receiver at the far end; leave devices out with --no-D"),
    no("open-noatime", None, "SFTP has no means to open a file so"),
    cannot("crtimes", Some('N'), "SFTP does not carry creation times"),
    cannot("fake-super", None, "it stores attributes in extended attributes, which SFTP does not carry"),
    no("preallocate", None, "SFTP has no request for it"),
    no("old-args", None, "remote names are never given to a shell"),
    no("copy-as", None, "SFTP works as the user that is logged in"),
    no("address", None, "give ssh's own option: -e 'ssh -b ADDRESS'"),
    no("port", None, "it is for daemons; give ssh's own option: -e 'ssh -p PORT'"),
    no("sockopts", None, "it is for daemons"),
    no("remote-option", Some('M'), "there is no rsync at the far end to take it"),
    no("password-file", None, DAEMON),
    no("early-input", None, DAEMON),
    no("write-batch", None, BATCH),
    no("only-write-batch", None, BATCH),
    no("read-batch", None, BATCH),
    no("protocol", None, WIRE),
    no("daemon", None, SERVER),
    no("server", None, SERVER),
    no("sender", None, SERVER),
    no("config", None, DAEMON),
    no("detach", None, DAEMON),
];

/// The `--no-` forms of refused options that ask for what is so anyway.
pub const ANYWAY: &[&str] = &[
    "no-acls",
    "no-A",
    "no-xattrs",
    "no-X",
    "no-crtimes",
    "no-N",
    "no-open-noatime",
    "no-munge-links",
    "no-write-devices",
    "no-old-args",
];

/// The entry of an option as typed (`--long`, `--no-long`, `-s`), if it is one of rsync's that is refused.
pub fn find(option: &str) -> Option<&'static Refused> {
    let by_short = |text: &str| {
        let mut letters = text.chars();
        let (letter, None) = (letters.next()?, letters.next()) else { return None };
        REFUSED.iter().find(|refused| refused.short == Some(letter))
    };
    match option.strip_prefix("--") {
        Some(long) => {
            let by_long = |name: &str| REFUSED.iter().find(|refused| !name.is_empty() && refused.long == name);
            by_long(long).or_else(|| {
                let stem = long.strip_prefix("no-")?;
                by_long(stem).or_else(|| by_short(stem))
            })
        }
        None => by_short(option.trim_start_matches('-')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::ROWS;

    #[test]
    fn an_option_is_found_in_all_its_forms() {
        for option in ["--acls", "-A"] {
            assert_eq!(find(option).map(|refused| refused.long), Some("acls"), "{option}");
        }
        assert_eq!(find("--no-drop-D").map(|refused| refused.long), Some("drop-D"));
        for option in ["--", "-", "--A", "--archive", "-a", "--no-"] {
            assert!(find(option).is_none(), "{option}");
        }
    }

    #[test]
    fn no_option_is_both_taken_and_refused() {
        for row in ROWS {
            let names = row.aliases.iter().chain([&row.long]).filter(|name| !name.is_empty());
            for name in names {
                assert!(REFUSED.iter().all(|refused| refused.long != *name), "--{name}");
            }
            assert!(row.short.is_none() || REFUSED.iter().all(|refused| refused.short != row.short), "{row:?}");
        }
    }
}
