//! Whether a host key is known: known_hosts lines against names and a key, as pure decisions (sshd(8), SSH_KNOWN_HOSTS FILE
//! FORMAT; OpenSSH's hostfile.c). Reading the files, asking and adding lines is [`host_key`](crate::ssh::host_key)'s part.

use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::known_hosts::HostPatterns;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};
use sha1::Sha1;

/// One known_hosts file.
#[derive(Debug, Clone)]
pub struct File {
    pub path: PathBuf,
    pub content: String,
}

/// The names under which a host may be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// HostKeyAlias, or `host`, or `[host]:port`; in lower case. New lines are added under this name.
    pub primary: String,
    /// The host without its port, where the primary name has one: a key known under it will do (ssh does the same), but one
    /// that differs from it proves nothing.
    pub fallback: Option<String>,
}

impl Names {
    /// Those for a host on a port; port 22 is not part of a name, and an alias is all there is.
    pub fn new(host: &str, port: u16, alias: Option<&str>) -> Names {
        let host = host.to_lowercase();
        match alias {
            Some(alias) => Names { primary: alias.to_lowercase(), fallback: None },
            None if port == 22 => Names { primary: host, fallback: None },
            None => Names { primary: format!("[{host}]:{port}"), fallback: Some(host) },
        }
    }

    /// The name that a certificate must list: never with a port.
    fn principal(&self) -> &str {
        self.fallback.as_deref().unwrap_or(&self.primary)
    }
}

/// A line of a file, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What the files say about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key, or a valid certificate's authority, is in this line.
    Known(Place),
    Unknown,
    /// The host is known by other keys only, the last of them here.
    Changed(Place),
    /// The key or its authority is marked `@revoked` here.
    Revoked(Place),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    Authority,
    Revoked,
}

/// A line that concerns one of the names.
struct Entry {
    place: Place,
    marker: Marker,
    key: KeyData,
}

/// What is known about a host before its key is seen, to ask for the kind of key that can be checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The types of its known keys, without doubles, in the order of the files.
    pub algorithms: Vec<Algorithm>,
    /// Whether a `@cert-authority` line concerns it.
    pub authority: bool,
}

/// Judges `key`, at `now` seconds since the epoch. `signatures` are the algorithms by which an authority may have signed a
/// certificate (CASignatureAlgorithms); `None` is all but SHA-1.
///
/// A certificate without a known authority, or one that is not valid (expired, other principals, critical options, a signature
/// that does not hold), counts as the bare key in it: what ssh does. The second value says why.
pub fn judge(
    files: &[File],
    names: &Names,
    key: &PublicKeyOrCertificate,
    now: u64,
    signatures: Option<&[String]>,
) -> (Verdict, Option<String>) {
    let primary = entries(files, &names.primary);
    let fallback = names.fallback.as_ref().map(|name| entries(files, name)).unwrap_or_default();
    let bare = key.public_key();
    let bare = bare.key_data();
    let certificate = key.certificate();

    let revoked = |entry: &&Entry| {
        entry.marker == Marker::Revoked
            && (&entry.key == bare || certificate.is_some_and(|certificate| &entry.key == certificate.signature_key()))
    };
    if let Some(entry) = primary.iter().chain(&fallback).find(revoked) {
        return (Verdict::Revoked(entry.place.clone()), None);
    }
    let mut doubt = None;
    if let Some(certificate) = certificate {
        let authority = |entry: &&Entry| entry.marker == Marker::Authority && &entry.key == certificate.signature_key();
        match primary.iter().chain(&fallback).find(authority) {
            None => doubt = Some("no authority known for this host has signed its certificate".to_owned()),
            Some(entry) => match invalid(certificate, names.principal(), now, signatures) {
                None => return (Verdict::Known(entry.place.clone()), None),
                Some(reason) => doubt = Some(reason),
            },
        }
    }
    let plain = |entry: &&Entry| entry.marker == Marker::None;
    let known = primary.iter().chain(&fallback).filter(plain).find(|entry| &entry.key == bare);
    let verdict = match (known, primary.iter().rfind(plain)) {
        (Some(entry), _) => Verdict::Known(entry.place.clone()),
        (None, Some(other)) => Verdict::Changed(other.place.clone()),
        (None, None) => Verdict::Unknown,
    };
    (verdict, doubt)
}

/// What to expect of a host, for the order of host key algorithms.
pub fn expected(files: &[File], names: &Names) -> Expected {
    let mut expected = Expected::default();
    let fallback = names.fallback.as_ref().map(|name| entries(files, name)).unwrap_or_default();
    for entry in entries(files, &names.primary).into_iter().chain(fallback) {
        match entry.marker {
            Marker::Authority => expected.authority = true,
            Marker::None if !expected.algorithms.contains(&entry.key.algorithm()) => {
                expected.algorithms.push(entry.key.algorithm());
            }
            _ => {}
        }
    }
    expected
}

/// The line to add for a new key, with its newline; `salt` hashes the name.
pub fn line(names: &Names, key: &PublicKey, salt: Option<[u8; 20]>) -> Option<String> {
    let name = match salt {
        None => names.primary.clone(),
        Some(salt) => {
            HostPatterns::HashedName { salt: salt.to_vec(), hash: hashed(&salt, &names.primary)? }.to_string()
        }
    };
    let key = PublicKey::new(key.key_data().clone(), "").to_openssh().ok()?;
    Some(format!("{name} {}\n", key.trim_end()))
}

/// Why a host certificate does not hold, if so (PROTOCOL.certkeys). Its authority is known to be trusted.
fn invalid(certificate: &Certificate, principal: &str, now: u64, signatures: Option<&[String]>) -> Option<String> {
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    let signature = certificate.signature().algorithm();
    let allowed = match signatures {
        Some(list) => list.iter().any(|name| name == signature.as_str()),
        None => !matches!(signature, Algorithm::Rsa { hash: None } | Algorithm::Dsa),
    };
    let listed = certificate.valid_principals();
    if certificate.cert_type() != CertType::Host {
        Some("its certificate is not one for hosts".to_owned())
    } else if now < certificate.valid_after() {
        Some("its certificate is not valid yet".to_owned())
    } else if now >= certificate.valid_before() {
        Some("its certificate has expired".to_owned())
    } else if !listed.is_empty() && !listed.iter().any(|name| name.to_lowercase() == principal) {
        Some(format!("its certificate is for {}, not for {principal}", listed.join(", ")))
    } else if certificate.critical_options().iter().next().is_some() {
        Some("its certificate has critical options that we do not know".to_owned())
    } else if !allowed {
        Some(format!("its certificate is signed with {}, which is not allowed", signature.as_str()))
    } else if certificate.validate_at(now, [&authority]).is_err() {
        Some("the signature of its certificate does not hold".to_owned())
    } else {
        None
    }
}

/// The lines that concern `name`. Lines that make no sense, or hold a kind of key that we do not know, are passed over.
fn entries(files: &[File], name: &str) -> Vec<Entry> {
    let lines =
        files.iter().flat_map(|file| file.content.lines().enumerate().map(|(at, line)| (&*file.path, at + 1, line)));
    lines.filter_map(|(path, number, line)| entry(path, number, line, name)).collect()
}

fn entry(path: &Path, number: usize, line: &str, name: &str) -> Option<Entry> {
    let blank = [' ', '\t'];
    let line = line.trim_start_matches(blank).trim_end();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (marker, line) = match line.strip_prefix('@') {
        None => (Marker::None, line),
        Some(line) => match line.split_once(blank)? {
            ("cert-authority", rest) => (Marker::Authority, rest.trim_start_matches(blank)),
            ("revoked", rest) => (Marker::Revoked, rest.trim_start_matches(blank)),
            _ => return None,
        },
    };
    let (hosts, key) = line.split_once(blank)?;
    if !concerns(hosts, name) {
        return None;
    }
    let mut words = key.split_ascii_whitespace();
    let key = PublicKey::from_openssh(&format!("{} {}", words.next()?, words.next()?)).ok()?;
    Some(Entry { place: Place { file: path.to_owned(), line: number }, marker, key: key.key_data().clone() })
}

/// Whether a line's host field takes in `name` (in lower case): hashed, or patterns of which one fits and no `!negated` one.
fn concerns(hosts: &str, name: &str) -> bool {
    if hosts.starts_with('|') {
        return match hosts.parse() {
            Ok(HostPatterns::HashedName { salt, hash }) => hashed(&salt, name) == Some(hash),
            _ => false,
        };
    }
    let mut fits = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if wildcard(&pattern.to_lowercase(), name) => return false,
            Some(_) => {}
            None => fits |= wildcard(&pattern.to_lowercase(), name),
        }
    }
    fits
}

/// HMAC-SHA1 of the name under the salt: the `|1|` scheme of hostfile.c.
fn hashed(salt: &[u8], name: &str) -> Option<[u8; 20]> {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.finalize().into_bytes().into())
}

/// Whether `text` matches a pattern of `*` and `?`, in time bounded by the product of their lengths.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star is, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(c), _) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((at, taken))) => {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
