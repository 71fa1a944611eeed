//! Reads ssh_config(5) where no `ssh` is installed to ask.
//!
//! The grammar of the file, `Host`, `Include` and `Match all`, with the first value of a keyword winning. What would need more
//! than that (other `Match` criteria, CanonicalizeHostname, KnownHostsCommand, `+`, `-` and `^` lists) is refused by name, because
//! leaving it out would quietly connect elsewhere or trust more. Keywords that do not concern a file transfer are ignored.

use std::path::{Path, PathBuf};

use crate::ssh::config::{Query, Settings};
use crate::ssh::known_hosts::wildcard;
use crate::ssh::tokens::Local;

/// ssh's own bound on nested `Include`s (readconf.c, READCONF_MAX_DEPTH).
const MAX_DEPTH: usize = 16;
const MAX_FILE: u64 = 1 << 20;

/// The settings for `query`, with the defaults that `ssh -G` would print where they matter.
///
/// # Errors
/// A sentence with file and line.
pub fn read(query: &Query) -> Result<Settings, String> {
    let home = PathBuf::from(Local::here().home);
    let mut reader = Reader { host: query.host.clone(), home: home.clone(), settings: Settings::default() };
    match reader.command_line(query)? {
        Some(path) if path == "none" => {}
        Some(path) => reader.file(Path::new(&path), true, 0)?,
        None => {
            reader.file(&home.join(".ssh/config"), false, 0)?;
            reader.file(Path::new("/etc/ssh/ssh_config"), false, 0)?;
        }
    }
    reader.finish()
}

struct Reader {
    host: String,
    home: PathBuf,
    settings: Settings,
}

impl Reader {
    /// Takes the options, `-l`, `-p` and `-J` before any `-o`, as in ssh; returns `-F`.
    fn command_line(&mut self, query: &Query) -> Result<Option<String>, String> {
        let mut file = None;
        let mut later = Vec::new();
        let mut words = query.words.iter();
        while let Some(flag) = words.next() {
            let flag = flag.to_string_lossy();
            let keyword = match &*flag {
                "-l" => "user",
                "-p" => "port",
                "-J" => "proxyjump",
                "-i" => "identityfile",
                "-c" => "ciphers",
                "-m" => "macs",
                "-b" => "bindaddress",
                "-F" | "-o" => "",
                "-4" => {
                    self.set("addressfamily", "inet");
                    continue;
                }
                "-6" => {
                    self.set("addressfamily", "inet6");
                    continue;
                }
                "-C" => {
                    self.set("compression", "yes");
                    continue;
                }
                "-q" => {
                    self.set("loglevel", "QUIET");
                    continue;
                }
                _ => continue,
            };
            let value =
                words.next().and_then(|word| word.to_str()).ok_or_else(|| format!("{flag} has no readable value"))?;
            match &*flag {
                "-F" => file = Some(value.to_owned()),
                "-o" => later.push(value.to_owned()),
                _ => self.set(keyword, value),
            }
        }
        for option in later {
            let (keyword, arguments) = split_line(&option)?.ok_or_else(|| format!("-o {option:?} sets nothing"))?;
            self.keyword(&keyword, &arguments).map_err(|text| format!("-o {option:?}: {text}"))?;
        }
        Ok(file)
    }

    fn file(&mut self, path: &Path, required: bool, depth: usize) -> Result<(), String> {
        let shown = path.display();
        if depth > MAX_DEPTH {
            return Err(format!("{shown}: more than {MAX_DEPTH} nested Includes"));
        }
        let text = match std::fs::metadata(path).and_then(|meta| {
            if meta.len() > MAX_FILE {
                Err(std::io::Error::other("too large for an ssh_config"))
            } else {
                std::fs::read_to_string(path)
            }
        }) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(()),
            Err(error) => return Err(format!("{shown}: {error}")),
        };
        let mut active = true;
        for (number, line) in text.lines().enumerate() {
            let place = |text: String| format!("{shown} line {}: {text}", number + 1);
            let Some((keyword, arguments)) = split_line(line).map_err(place)? else { continue };
            match keyword.as_str() {
                "host" => active = applies(&arguments, &self.host),
                "match" if arguments == ["all"] => active = true,
                "match" => {
                    return Err(place(
                        "Match is understood only where an ssh client is installed; install one or use -F".to_owned(),
                    ));
                }
                "include" if active => {
                    for pattern in &arguments {
                        for included in self.included(pattern, path).map_err(place)? {
                            self.file(&included, false, depth + 1)?;
                        }
                    }
                }
                _ if active => self.keyword(&keyword, &arguments).map_err(place)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The files that an Include names, sorted; wildcards in the last component only.
    fn included(&self, pattern: &str, from: &Path) -> Result<Vec<PathBuf>, String> {
        let pattern = match pattern.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            // Relative ones are below ~/.ssh, or /etc/ssh in the system's file.
            None if from.starts_with("/etc/ssh") => Path::new("/etc/ssh").join(pattern),
            None => self.home.join(".ssh").join(pattern),
        };
        let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name().and_then(|name| name.to_str()))
        else {
            return Err(format!("Include {:?} names no file", pattern.display()));
        };
        if directory.to_string_lossy().contains(['*', '?', '[']) || name.contains('[') {
            return Err(format!("Include {:?}: only * and ? in the last part are understood", pattern.display()));
        }
        if !name.contains(['*', '?']) {
            return Ok(vec![pattern]);
        }
        let Ok(entries) = std::fs::read_dir(directory) else { return Ok(Vec::new()) };
        let mut files: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .filter(|entry| {
                entry.file_name().to_str().is_some_and(|entry| !entry.starts_with('.') && wildcard(name, entry))
            })
            .map(|entry| entry.path())
            .collect();
        files.sort();
        Ok(files)
    }

    fn keyword(&mut self, keyword: &str, arguments: &[String]) -> Result<(), String> {
        let value = arguments.join(" ");
        match keyword {
            "canonicalizehostname" if value != "no" && value != "none" => {
                return Err("CanonicalizeHostname is understood only where an ssh client is installed".to_owned());
            }
            "knownhostscommand" | "revokedhostkeys" if value != "none" => {
                return Err(format!("{keyword} is understood only where an ssh client is installed"));
            }
            "ciphers"
            | "kexalgorithms"
            | "macs"
            | "hostkeyalgorithms"
            | "casignaturealgorithms"
            | "pubkeyacceptedalgorithms"
                if value.starts_with(['+', '-', '^']) =>
            {
                return Err(format!("{keyword} with + - ^ is understood only where an ssh client is installed"));
            }
            "connecttimeout" | "serveraliveinterval" | "controlpersist" => match seconds(&value) {
                Some(seconds) => self.set(keyword, &seconds.to_string()),
                None => self.set(keyword, &value),
            },
            _ => self.set(keyword, &value),
        }
        Ok(())
    }

    /// The first value wins, but files of identities and certificates add up.
    fn set(&mut self, keyword: &str, value: &str) {
        let adds = matches!(keyword, "identityfile" | "certificatefile");
        let taken = self.settings.all(keyword).next().is_some()
            // Whichever of these two comes first turns the other off (ssh_config(5)).
            || (keyword == "proxycommand" && self.settings.all("proxyjump").next().is_some())
            || (keyword == "proxyjump" && self.settings.all("proxycommand").next().is_some());
        if adds || !taken {
            self.settings.0.push((keyword.to_owned(), value.to_owned()));
        }
    }

    fn finish(mut self) -> Result<Settings, String> {
        for (keyword, value) in &mut self.settings.0 {
            if keyword == "hostname" {
                *value = value.replace("%h", &self.host).replace("%%", "%");
            } else if keyword == "user" && value.contains('%') {
                return Err("tokens in User are understood only where an ssh client is installed".to_owned());
            }
        }
        if self.settings.all("identityfile").next().is_none() {
            for name in ["id_rsa", "id_ecdsa", "id_ed25519"] {
                self.set("identityfile", &format!("~/.ssh/{name}"));
            }
        }
        self.set("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2");
        self.set("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2");
        Ok(self.settings)
    }
}

/// Whether a `Host` line's patterns take in `host`: one of them does, and no negated one.
fn applies(patterns: &[String], host: &str) -> bool {
    let negated = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!'));
    patterns.iter().any(|pattern| wildcard(pattern, host)) && !negated.clone().any(|pattern| wildcard(pattern, host))
}

/// `Keyword arg "arg with spaces"` or `Keyword=arg`; `None` for an empty line or a comment.
fn split_line(line: &str) -> Result<Option<(String, Vec<String>)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let keyword = keyword.to_lowercase();
    if keyword == "proxycommand" {
        // A line for a shell, which takes the quotes apart itself.
        return Ok(Some((keyword, vec![rest.to_owned()])));
    }
    let mut arguments = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() && !rest.starts_with('#') {
        let (argument, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quote is not closed")?,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        arguments.push(argument.to_owned());
        rest = tail.trim_start();
    }
    if arguments.is_empty() { Err(format!("{keyword} has no value")) } else { Ok(Some((keyword, arguments))) }
}

/// ssh's time format: `90`, `1m30s`, `2h`.
fn seconds(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..end].parse().ok()?;
        let mut tail = rest[end..].chars();
        let unit = match tail.next() {
            None | Some('s' | 'S') => 1,
            Some('m' | 'M') => 60,
            Some('h' | 'H') => 3600,
            Some('d' | 'D') => 86_400,
            Some('w' | 'W') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = tail.as_str();
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn read_as(config: &str, words: &[&str], host: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, config).unwrap();
        let mut all = vec![OsString::from("-F"), path.into()];
        all.extend(words.iter().map(OsString::from));
        read(&Query { program: "ssh".into(), words: all, host: host.to_owned() })
    }

    const CONFIG: &str = "# ours\nHost usercontainer\n  HostName localhost\n  Port=2222\n  ProxyJump head\n  IdentityFile \"~/my key\"\n\
                          Host !usercontainer *\n  User all\nHost *\n  Port 22\n  ConnectTimeout 1m30s\n";

    #[test]
    fn the_first_value_wins_and_patterns_may_negate() {
        let settings = read_as(CONFIG, &[], "usercontainer").unwrap();
        assert_eq!(settings.one("hostname"), Some("localhost"));
        assert_eq!(settings.one("port"), Some("2222"));
        assert_eq!(settings.one("proxyjump"), Some("head"));
        assert_eq!(settings.one("identityfile"), Some("~/my key"));
        assert_eq!(settings.one("connecttimeout"), Some("90"));
        assert_eq!(settings.one("user"), None);
        assert_eq!(read_as(CONFIG, &[], "other").unwrap().one("user"), Some("all"));
    }

    #[test]
    fn the_command_line_comes_first() {
        let settings = read_as(CONFIG, &["-p", "7", "-o", "User=me", "-J", "none", "-4"], "usercontainer").unwrap();
        assert_eq!(
            (settings.one("port"), settings.one("user"), settings.one("proxyjump")),
            (Some("7"), Some("me"), None)
        );
        assert_eq!(settings.one("addressfamily"), Some("inet"));
    }

    #[test]
    fn a_proxy_command_keeps_its_quotes() {
        let settings = read_as("Host *\nProxyCommand nc \"%h\" %p", &[], "x").unwrap();
        assert_eq!(settings.one("proxycommand"), Some("nc \"%h\" %p"));
    }

    #[test]
    fn what_it_can_not_do_is_refused_with_file_and_line() {
        for config in [
            "Match exec true\nUser x",
            "CanonicalizeHostname yes",
            "KnownHostsCommand /bin/x",
            "Ciphers +x",
            "Port",
            "User \"x",
        ] {
            let error = read_as(config, &[], "x").unwrap_err();
            assert!(error.contains("line 1"), "{config}: {error}");
        }
    }

    #[test]
    fn includes_are_followed_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("a.conf"), "User included").unwrap();
        let settings = read_as(&format!("Include {}", path("*.conf")), &[], "x").unwrap();
        assert_eq!(settings.one("user"), Some("included"));
        std::fs::write(path("loop"), format!("Include {}", path("loop"))).unwrap();
        assert!(read_as(&format!("Include {}", path("loop")), &[], "x").unwrap_err().contains("nested"));
    }

    #[test]
    fn times_are_read_as_ssh_does() {
        assert_eq!((seconds("90"), seconds("1h30m"), seconds("x"), seconds("")), (Some(90), Some(5400), None, None));
    }
}
