//! Operands: which are remote, and whether they go together.
//!
//! An operand is remote if a colon comes before its first slash. The sentences are rsync's (main.c of 3.5.0, compared by
//! running it).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::UsageError;
use crate::job::{Login, Place};

/// Sources and destination; no destination is a listing.
pub type Places = (Vec<Place>, Option<Place>);

/// One operand by itself.
#[derive(Debug, PartialEq, Eq)]
enum Kind<'a> {
    Local,
    /// `user@host` (as typed, without brackets; empty for `:path`) and the path.
    Remote(Option<&'a [u8]>, &'a [u8], &'a [u8]),
    /// `host::module` or `rsync://`.
    Daemon,
}

/// Classifies the operands and checks that they go together.
///
/// # Errors
/// Exit 1 with rsync's sentence: two hosts, both ends remote, a stray local or remote one, a host that cannot be one.
pub fn places(operands: &[OsString]) -> Result<Places, UsageError> {
    let (dest, sources) = match operands {
        [] => return Err(UsageError::syntax("No operands: give SRC... and DEST, or --help")),
        [only] => (None, std::slice::from_ref(only)),
        [sources @ .., dest] => (Some(dest), sources),
    };
    for operand in operands {
        if classify(operand.as_bytes()) == Kind::Daemon {
            return Err(UsageError::syntax(format!(
                "{}: hopsync does not speak to rsync daemons (host::module, rsync://); use HOST:PATH over SSH",
                operand.display()
            )));
        }
    }
    if sources.iter().any(|source| source.is_empty()) {
        return Err(UsageError::syntax("Empty source arg specified."));
    }
    if dest.is_some_and(|dest| dest.is_empty()) {
        return Err(UsageError::syntax("Empty destination arg specified."));
    }
    match classify(sources[0].as_bytes()) {
        Kind::Remote(..) => pull(sources, dest),
        _ => push(sources, dest),
    }
}

fn pull(sources: &[OsString], dest: Option<&OsString>) -> Result<Places, UsageError> {
    if dest.is_some_and(|dest| matches!(classify(dest.as_bytes()), Kind::Remote(..))) {
        return Err(UsageError::syntax("The source and destination cannot both be remote."));
    }
    let mut first: Option<Login> = None;
    let mut found = Vec::with_capacity(sources.len());
    for source in sources {
        let Kind::Remote(user, host, path) = classify(source.as_bytes()) else {
            return Err(UsageError::syntax(format!(
                "Unexpected local arg: {}\nIf arg is a remote file/dir, prefix it with a colon (:).",
                source.display()
            )));
        };
        let login = match &first {
            Some(login) if host.is_empty() && user.is_none() => login.clone(),
            Some(known) => {
                let login = login(user, host, source)?;
                if login != *known {
                    return Err(UsageError::syntax("All source args must come from the same machine."));
                }
                login
            }
            None => login(user, host, source)?,
        };
        first = Some(login.clone());
        found.push(remote(login, path)?);
    }
    Ok((found, dest.map(local)))
}

fn push(sources: &[OsString], dest: Option<&OsString>) -> Result<Places, UsageError> {
    for source in sources {
        if matches!(classify(source.as_bytes()), Kind::Remote(..)) {
            return Err(UsageError::syntax(format!("Unexpected remote arg: {}", source.display())));
        }
    }
    let dest = match dest {
        None => None,
        Some(dest) => Some(match classify(dest.as_bytes()) {
            Kind::Remote(user, host, path) => remote(login(user, host, dest)?, path)?,
            _ => local(dest),
        }),
    };
    Ok((sources.iter().map(local).collect(), dest))
}

fn local(operand: impl AsRef<OsStr>) -> Place {
    Place::Local(PathBuf::from(operand.as_ref()))
}

/// Newlines and the like are kept: the path travels in SFTP packets, never through a shell. NUL cannot be in a name.
fn remote(login: Login, path: &[u8]) -> Result<Place, UsageError> {
    if path.contains(&0) {
        return Err(UsageError::syntax("A remote path holds a NUL byte; no file can have such a name"));
    }
    Ok(Place::Remote { login, path: path.to_vec() })
}

/// Checks what may become an argument of ssh, a name to resolve or a key in known_hosts.
fn login(user: Option<&[u8]>, host: &[u8], operand: &OsStr) -> Result<Login, UsageError> {
    let word = |bytes: &[u8], what: &str| match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() || c.is_whitespace()) => Ok(text.to_owned()),
        _ => Err(UsageError::syntax(format!(
            "Invalid remote {what} in {:?}: it holds spaces, control characters or bytes that are not UTF-8. \
             If this is a local file, write it as ./NAME.",
            operand.to_string_lossy()
        ))),
    };
    if host.is_empty() {
        return Err(UsageError::syntax(format!("No host before the colon in {:?}", operand.to_string_lossy())));
    }
    if host.starts_with(b"-") || user.is_some_and(|user| user.starts_with(b"-")) {
        return Err(UsageError::syntax("Invalid remote host: hostnames may not start with '-'."));
    }
    // rsync and ssh both take "@host" as no user given.
    let user = user.filter(|user| !user.is_empty()).map(|user| word(user, "user")).transpose()?;
    Ok(Login { user, host: word(host, "host")? })
}

/// `[HOST]:PATH` as the value of `--files-from`: the host (empty for the transfer's own) and the path.
pub fn far_file(value: &OsStr) -> Option<(&OsStr, &[u8])> {
    match classify(value.as_bytes()) {
        Kind::Remote(_, _, path) => {
            let host = &value.as_bytes()[..value.len() - path.len() - 1];
            Some((OsStr::from_bytes(host), path))
        }
        _ => None,
    }
}

/// `[user@]host` by itself, as an option's value.
pub fn host(text: &OsStr) -> Result<Login, UsageError> {
    let bytes = text.as_bytes();
    let bytes = bytes.strip_suffix(b":").unwrap_or(bytes);
    let (user, host) = match bytes.iter().rposition(|byte| *byte == b'@') {
        Some(at) => (Some(&bytes[..at]), &bytes[at + 1..]),
        None => (None, bytes),
    };
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    login(user, host, text)
}

fn classify(operand: &[u8]) -> Kind<'_> {
    // rsync compares the scheme without regard to case.
    if operand.len() >= 8 && operand[..8].eq_ignore_ascii_case(b"rsync://") {
        return Kind::Daemon;
    }
    let before_slash = operand.split(|byte| *byte == b'/').next().unwrap_or_default();
    // The user ends at the last @ before the first colon; a bracketed host may hold colons, and only comes after the user.
    let bracket = match before_slash.iter().position(|byte| matches!(byte, b'[' | b':')) {
        Some(at) if before_slash[at] == b'[' && (at == 0 || before_slash[at - 1] == b'@') => Some(at),
        Some(at) if before_slash[at] == b'[' => return Kind::Local,
        _ => None,
    };
    let (user_end, host, path) = match bracket {
        Some(open) => {
            let Some(length) = before_slash[open..].iter().position(|byte| *byte == b']') else { return Kind::Local };
            let close = open + length;
            if length < 2 || before_slash.get(close + 1) != Some(&b':') {
                return Kind::Local;
            }
            (open.checked_sub(1), &operand[open + 1..close], &operand[close + 2..])
        }
        None => {
            let Some(colon) = before_slash.iter().position(|byte| *byte == b':') else { return Kind::Local };
            let at = operand[..colon].iter().rposition(|byte| *byte == b'@');
            (at, &operand[at.map_or(0, |at| at + 1)..colon], &operand[colon + 1..])
        }
    };
    if path.first() == Some(&b':') {
        return Kind::Daemon;
    }
    Kind::Remote(user_end.map(|at| &operand[..at]), host, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn of(operands: &[&str]) -> Result<Places, UsageError> {
        places(&operands.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn one(operand: &str) -> Place {
        of(&[operand]).expect("is valid").0.remove(0)
    }

    fn far(user: Option<&str>, host: &str, path: &str) -> Place {
        let login = Login { user: user.map(str::to_owned), host: host.to_owned() };
        Place::Remote { login, path: path.as_bytes().to_vec() }
    }

    fn error(operands: &[&str]) -> String {
        let error = of(operands).expect_err("is refused");
        assert_eq!(error.code, 1);
        error.text
    }

    #[test]
    fn a_colon_before_the_first_slash_makes_it_remote() {
        assert_eq!(one("h:a"), far(None, "h", "a"));
        assert_eq!(one("u@h:/a:b"), far(Some("u"), "h", "/a:b"));
        assert_eq!(one("h:"), far(None, "h", ""));
        assert_eq!(one("@h:a"), far(None, "h", "a"));
        assert_eq!(one("u@v@h:a"), far(Some("u@v"), "h", "a"));
        assert_eq!(one("h:a b\nc"), far(None, "h", "a b\nc"));
        for local in ["a", "./a:b", "a/b:c", "/h:a", "-"] {
            assert_eq!(one(local), Place::Local(PathBuf::from(local)), "{local}");
        }
    }

    #[test]
    fn brackets_hold_an_ipv6_address() {
        assert_eq!(one("[::1]:a"), far(None, "::1", "a"));
        assert_eq!(one("u@[fe80::1%eth0]:/a"), far(Some("u"), "fe80::1%eth0", "/a"));
        for local in ["[::1:a", "[]:a", "[::1]a", "[a/b]:c", "x[1]:a"] {
            assert_eq!(one(local), Place::Local(PathBuf::from(local)), "{local}");
        }
    }

    #[test]
    fn a_lone_colon_reuses_the_first_host() {
        let (sources, dest) = of(&["u@h:a", ":b", "u@h:c", "."]).expect("is valid");
        assert_eq!(sources, [far(Some("u"), "h", "a"), far(Some("u"), "h", "b"), far(Some("u"), "h", "c")]);
        assert_eq!(dest, Some(Place::Local(".".into())));
        assert!(error(&[":a", "."]).starts_with("No host before the colon"));
        assert!(error(&["a", ":b"]).starts_with("No host before the colon"));
    }

    #[test]
    fn operands_that_do_not_go_together_get_rsyncs_sentence() {
        assert_eq!(error(&["h1:a", "h2:b", "c"]), "All source args must come from the same machine.");
        assert_eq!(error(&["u@h:a", "v@h:b", "c"]), "All source args must come from the same machine.");
        assert_eq!(error(&["h1:a", "h1:b"]), "The source and destination cannot both be remote.");
        assert_eq!(error(&["b", "h1:a", "."]), "Unexpected remote arg: h1:a");
        assert_eq!(
            error(&["h1:a", "b", "."]),
            "Unexpected local arg: b\nIf arg is a remote file/dir, prefix it with a colon (:)."
        );
        assert_eq!(error(&["", "a"]), "Empty source arg specified.");
    }

    #[test]
    fn a_host_that_could_pass_for_an_option_is_refused() {
        for operand in ["-oProxyCommand=x:a", "u@-h:a", "-u@h:a", "[-h]:a"] {
            assert_eq!(error(&[operand, "."]), "Invalid remote host: hostnames may not start with '-'.", "{operand}");
        }
        assert!(error(&["a b:c", "."]).starts_with("Invalid remote host"));
        assert!(error(&["a\nb:c", "."]).starts_with("Invalid remote host"));
        assert!(places(&[OsString::from_vec(b"h\xff:a".to_vec())]).is_err());
    }

    #[test]
    fn daemons_are_not_spoken_to() {
        for operand in ["h::mod/x", "rsync://h/mod", "RSYNC://h/mod", "u@[::1]::mod"] {
            assert!(error(&[operand, "."]).contains("rsync daemons"), "{operand}");
        }
        assert!(error(&["a", "h::mod"]).contains("rsync daemons"));
    }

    #[test]
    fn one_operand_is_a_listing_and_paths_are_bytes() {
        let (sources, dest) = places(&[OsString::from_vec(b"h:\xff".to_vec())]).expect("is valid");
        assert!(matches!(&sources[0], Place::Remote { path, .. } if path == b"\xff"));
        assert_eq!(dest, None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_classified_or_refused(a in ".{0,24}", b in proptest::collection::vec(proptest::num::u8::ANY, 0..24)) {
            let _ = places(&[OsString::from(a), OsString::from_vec(b)]);
        }
    }
}
