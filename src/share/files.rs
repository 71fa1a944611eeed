//! Which files decide a route, and what they say: for knowing that they still say the same.
//!
//! Not a reader of ssh_config(5), only of what it is read from: every file that an `Include` could name is taken in,
//! whatever `Host` it stands under. What depends on more than files (`Match exec`, DNS) is told apart and not remembered.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::ssh::known_hosts::wildcard;
use crate::ssh::options::SshOptions;
use crate::ssh::tokens::Local;

/// ssh's own bound on nested `Include`s (readconf.c, READCONF_MAX_DEPTH).
const MAX_DEPTH: usize = 16;

/// Files and bytes that are read at most. More is no configuration that asking ssh would be slower for.
const MAX_FILES: usize = 256;
const MAX_FILE: u64 = 1 << 20;

/// Variables that ssh itself, or a `ProxyCommand`'s shell, looks at.
const VARIABLES: [&str; 6] = ["HOME", "LOGNAME", "PATH", "SHELL", "SSH_AUTH_SOCK", "USER"];

/// What the answer to `ssh <options> -- <host>` depends on, as a hash; `None` if it depends on more than can be known.
pub fn fingerprint(options: &SshOptions, user: Option<&str>, host: &str) -> Option<String> {
    let local = Local::here();
    let mut reader = Reader::new(PathBuf::from(&local.home));
    for text in [&local.home, &local.user, &local.hostname, host, user.unwrap_or("\0")] {
        reader.add(text.as_bytes());
    }
    reader.add(&local.uid.to_be_bytes());
    let program = find(options.program.as_ref())?;
    reader.add(program.as_os_str().as_bytes());
    let stat = rustix::fs::stat(&program).ok()?;
    reader.add(&(stat.st_size as u64).to_be_bytes());
    reader.add(&(stat.st_mtime as u64).to_be_bytes());
    for name in VARIABLES {
        reader.add(std::env::var_os(name).unwrap_or_default().as_bytes());
    }
    for word in options.words() {
        reader.line(&String::from_utf8_lossy(word.as_bytes()), None, 0)?;
        reader.add(word.as_bytes());
    }
    match options.config_file() {
        Some(file) if file == "none" => {}
        Some(file) => reader.file(Path::new(file), false, 0)?,
        None => {
            reader.file(&reader.home.join(".ssh/config"), false, 0)?;
            reader.file(Path::new("/etc/ssh/ssh_config"), true, 0)?;
        }
    }
    if reader.environment {
        let mut all: Vec<_> = std::env::vars_os().collect();
        all.sort();
        for (name, value) in all {
            reader.add(name.as_bytes());
            reader.add(value.as_bytes());
        }
    }
    Some(reader.hasher.finalize().to_hex()[..32].to_owned())
}

/// The program's file, as execvp(3) finds it.
fn find(program: &Path) -> Option<PathBuf> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Some(program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    let access = rustix::fs::Access::EXEC_OK;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| rustix::fs::access(file, access).is_ok())
}

struct Reader {
    hasher: blake3::Hasher,
    home: PathBuf,
    files: usize,
    /// Something names a variable: all of them count.
    environment: bool,
}

impl Reader {
    fn new(home: PathBuf) -> Reader {
        let hasher = blake3::Hasher::new_derive_key("hopsync 2026 what a route is decided by");
        Reader { hasher, home, files: 0, environment: false }
    }

    fn add(&mut self, part: &[u8]) {
        self.hasher.update(&(part.len() as u64).to_be_bytes());
        self.hasher.update(part);
    }

    /// Takes in a file, and all that it includes. One that is not there counts as that.
    fn file(&mut self, path: &Path, system: bool, depth: usize) -> Option<()> {
        self.files += 1;
        if depth > MAX_DEPTH || self.files > MAX_FILES {
            return None;
        }
        self.add(path.as_os_str().as_bytes());
        let content = match read(path) {
            Ok(content) => content,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Some(()),
            Err(_) => return None,
        };
        self.add(&content);
        String::from_utf8_lossy(&content).lines().try_for_each(|line| self.line(line, Some(system), depth))
    }

    /// `system`: `None` for a word of the command line, where nothing can be included.
    fn line(&mut self, line: &str, system: Option<bool>, depth: usize) -> Option<()> {
        let line = line.trim();
        if line.starts_with('#') {
            return Some(());
        }
        self.environment |= line.contains('$');
        let lower = line.to_lowercase();
        let (keyword, rest) = lower.split_once(|c: char| c.is_whitespace() || c == '=').unwrap_or((&lower, ""));
        match keyword {
            // These ask programs, interfaces, or the time of day.
            "match" if ["exec", "localnetwork", "canonical", "final"].iter().any(|word| rest.contains(word)) => None,
            "canonicalizehostname" if !rest.trim_matches(['=', ' ', '\t', '"']).starts_with("no") => None,
            "include" => {
                // As it is written: names have their case.
                let patterns = &line[keyword.len()..];
                let patterns = patterns.trim_start().strip_prefix('=').unwrap_or(patterns);
                for pattern in patterns.split_whitespace().map(|word| word.trim_matches('"')) {
                    for path in self.included(pattern, system?)? {
                        self.file(&path, system?, depth + 1)?;
                    }
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    /// The files that an `Include` may name; `None` for a pattern that is beyond this.
    fn included(&self, pattern: &str, system: bool) -> Option<Vec<PathBuf>> {
        if pattern.contains(['$', '%', '[', '{', '"', '\\']) {
            return None;
        }
        let pattern = match pattern.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None if pattern.starts_with('~') => return None,
            None if system => Path::new("/etc/ssh").join(pattern),
            None => self.home.join(".ssh").join(pattern),
        };
        let (directory, name) = (pattern.parent()?, pattern.file_name()?.to_str()?);
        if directory.as_os_str().as_bytes().iter().any(|byte| b"*?".contains(byte)) {
            return None;
        }
        if !name.contains(['*', '?']) {
            return Some(vec![pattern.clone()]);
        }
        let mut found: Vec<PathBuf> = list(directory)
            .into_iter()
            .filter(|entry| entry.file_name().and_then(|n| n.to_str()).is_some_and(|entry| wildcard(name, entry)))
            .collect();
        found.sort();
        Some(found)
    }
}

#[expect(clippy::disallowed_methods, reason = "ssh's configuration is no part of either tree")]
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE { Err(std::io::Error::other("too long")) } else { Ok(content) }
}

#[expect(clippy::disallowed_methods, reason = "ssh's configuration is no part of either tree")]
fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests' own scratch files")]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn of(config: &Path, more: &[&str]) -> Option<String> {
        let mut words: Vec<OsString> = vec!["/bin/sh/../ssh".into(), "-F".into(), config.into()];
        words[0] = "/proc/self/exe/../ssh".into();
        words.extend(more.iter().map(OsString::from));
        let mut options = crate::ssh::options::parse(&words).unwrap();
        options.program = "/proc/self/exe".into();
        fingerprint(&options, None, "host")
    }

    #[test]
    fn a_change_in_any_file_that_is_read_changes_the_fingerprint() {
        let root = tempfile::tempdir().unwrap();
        let (config, more) = (root.path().join("config"), root.path().join("more"));
        std::fs::create_dir(&more).unwrap();
        std::fs::write(&config, format!("Host a\n  Include {}/*.conf\n", more.display())).unwrap();
        let mut seen = vec![of(&config, &[]).unwrap()];
        assert_eq!(of(&config, &[]).as_ref(), seen.last());
        std::fs::write(more.join("x.conf"), "Port 1\n").unwrap();
        seen.push(of(&config, &[]).unwrap());
        std::fs::write(more.join("x.conf"), "Port 2\n").unwrap();
        seen.push(of(&config, &[]).unwrap());
        seen.push(of(&config, &["-p", "3"]).unwrap());
        std::fs::write(&config, "Host b\n").unwrap();
        seen.push(of(&config, &[]).unwrap());
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
    }

    #[test]
    fn what_depends_on_more_than_files_is_not_known() {
        let root = tempfile::tempdir().unwrap();
        let config = root.path().join("config");
        for line in
            ["Match host a exec \"test -f /x\"", "CanonicalizeHostname yes", "Include ${HOME}/x", "Include a[bc]"]
        {
            std::fs::write(&config, line).unwrap();
            assert_eq!(of(&config, &[]), None, "{line}");
        }
        assert_eq!(of(&config, &["-o", "CanonicalizeHostname=always"]), None);
        for line in ["Match host a", "CanonicalizeHostname no", "# Match exec"] {
            std::fs::write(&config, line).unwrap();
            assert!(of(&config, &[]).is_some(), "{line}");
        }
    }
}
