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
const LATER: &str = "not done yet";
const WIRE: &str = "it changes rsync's own protocol, which is not spoken here";

#[rustfmt::skip]
pub const REFUSED: &[Refused] = &[
    no("debug", None, "its words are of rsync's inside; HOPSYNC_LOG=debug tells of ours"),
    no("old-dirs", None, "it is for rsync servers before 2.6.4"),
    no("old-d", None, "it is for rsync servers before 2.6.4"),
    no("insecure-links", None, LATER),
    no("confine-root", None, LATER),
    no("munge-links", None, LATER),
    cannot("acls", Some('A'), "SFTP does not carry ACLs"),
    cannot("xattrs", Some('X'), "SFTP does not carry extended attributes"),
    no("copy-devices", None, LATER),
    no("write-devices", None, "a device cannot be replaced at once, and so not be proven before it is changed"),
    no("drop-D", None, LATER),
    no("open-noatime", None, "SFTP has no means to open a file so"),
    cannot("crtimes", Some('N'), "SFTP does not carry creation times"),
    no("super", None, "what may be set is found out from who one is at the destination"),
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
    no("stop-at", None, "not done yet; --stop-after is"),
    no("write-batch", None, BATCH),
    no("only-write-batch", None, BATCH),
    no("read-batch", None, BATCH),
    no("protocol", None, WIRE),
    cannot("iconv", None, "names are bytes at both ends, and are not converted"),
    no("msgs2stderr", None, "messages have their own stream already"),
    no("daemon", None, SERVER),
    no("server", None, SERVER),
    no("sender", None, SERVER),
    no("config", None, DAEMON),
    no("detach", None, DAEMON),
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
        for option in ["--acls", "--no-acls", "--no-A", "-A"] {
            assert_eq!(find(option).map(|refused| refused.long), Some("acls"), "{option}");
        }
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
