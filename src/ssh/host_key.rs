//! The host key check of one hop: reads its known_hosts files, decides by StrictHostKeyChecking, asks, and adds new keys.
//!
//! Called on *every* hop after the key exchange and before anything is sent. CheckHostIP, UpdateHostKeys, VerifyHostKeyDNS and
//! NoHostAuthenticationForLocalhost are not followed: leaving them out never trusts more.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::fault::{Cause, Fault, Stage, errno_text};
use crate::ssh::known_hosts::{self, File, Names, Verdict};
use crate::ssh::prompt::{Echo, Prompt};
use crate::ssh::route::{Hop, Strict};

/// A known_hosts file may be this large; that of a site with 100,000 hosts has some 10 MB.
const MAX_FILE: u64 = 64 << 20;

/// The host key algorithms that we can check, best first: OpenSSH's order, without SHA-1.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// A host key that may be talked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// A sentence for the user if the key was not known before: where it was added, or why it could not be.
    pub newly_added: Option<String>,
    /// The key differs from the known one and StrictHostKeyChecking is `no`: passwords must not be sent to this hop.
    pub changed_but_allowed: bool,
    /// The sentence to warn with if so.
    pub warning: Option<String>,
}

/// What to offer in the key exchange, for `russh::Preferred::key` and `host_key_certificates`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    pub keys: Vec<Algorithm>,
    /// Empty unless an authority is known for the host: a certificate could not be checked otherwise.
    pub certificates: Vec<Algorithm>,
}

/// The order in which to ask for host keys: as configured, else kinds that are known for the host first, so that a host with
/// several keys shows the one we can check (ssh's order_hostkeyalgs).
///
/// # Errors
/// An unreadable known_hosts file; a HostKeyAlgorithms of which we support none.
pub async fn preference(hop: &Hop) -> Result<Preference, Fault> {
    let (files, names) = (read(hop).await?, names(hop));
    let expected = known_hosts::expected(&files, &names);
    let listed =
        |name: &str| hop.host_key_algorithms.as_ref().is_none_or(|list| list.iter().any(|listed| listed == name));
    let mut keys: Vec<Algorithm> = ALGORITHMS.iter().filter(|algorithm| listed(algorithm.as_str())).cloned().collect();
    let mut certificates: Vec<Algorithm> = ALGORITHMS
        .iter()
        .filter(|algorithm| expected.authority && listed(&algorithm.to_certificate_type()))
        .cloned()
        .collect();
    match &hop.host_key_algorithms {
        Some(list) => {
            let place = |name: &str| list.iter().position(|listed| listed == name);
            keys.sort_by_key(|algorithm| place(algorithm.as_str()));
            certificates.sort_by_key(|algorithm| place(&algorithm.to_certificate_type()));
        }
        None => {
            let kind = |algorithm: &Algorithm| match algorithm {
                Algorithm::Rsa { .. } => Algorithm::Rsa { hash: None },
                other => other.clone(),
            };
            keys.sort_by_key(|algorithm| !expected.algorithms.contains(&kind(algorithm)));
        }
    }
    if keys.is_empty() && certificates.is_empty() {
        let text = "none of the configured HostKeyAlgorithms can be used; change or remove that setting for this host";
        return Err(fault(hop, Cause::Config, text.to_owned()));
    }
    Ok(Preference { keys, certificates })
}

/// Checks the key that `hop` has shown.
///
/// Unknown keys are refused, asked about, or added, by StrictHostKeyChecking. Changed keys are refused, except under `no`,
/// where they pass with a warning, as in ssh, and are never written. Revoked keys are refused always.
///
/// # Errors
/// [`Stage::HostKey`]; [`Cause::HostKey`] for a key that was refused, with file, line and fingerprint; another cause if a
/// known_hosts file exists and cannot be read.
pub async fn check(hop: &Hop, key: &PublicKeyOrCertificate, prompt: &Prompt) -> Result<Accepted, Fault> {
    let (files, names) = (read(hop).await?, names(hop));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (verdict, doubt) = known_hosts::judge(&files, &names, key, now, hop.ca_signature_algorithms.as_deref());
    let bare = key.public_key();
    let shown = format!("{} {}", bare.algorithm().as_str(), bare.fingerprint(HashAlg::Sha256));
    let doubt = doubt.map(|doubt| format!(" ({doubt})")).unwrap_or_default();
    let name = &names.primary;
    let refused = |text| Err(fault(hop, Cause::HostKey, text));
    match verdict {
        Verdict::Known(_) => return Ok(Accepted::default()),
        Verdict::Revoked(place) => return refused(format!("the host key of {name}, {shown}, is revoked by {place}")),
        Verdict::Changed(place) => {
            let text = format!("the host key of {name} has changed: it shows {shown}{doubt}, but {place} has another");
            if hop.strict == Strict::No {
                let warning = Some(format!("{text}; going on without passwords, because StrictHostKeyChecking is no"));
                return Ok(Accepted { changed_but_allowed: true, warning, ..Accepted::default() });
            }
            return refused(format!(
                "{text}. Somebody may be listening in; if the change is known to be right, remove that line (ssh-keygen -R '{name}')"
            ));
        }
        Verdict::Unknown => {}
    }
    match hop.strict {
        Strict::Yes => {
            return refused(format!(
                "no host key is known for {name} and StrictHostKeyChecking is yes; it shows {shown}{doubt}. If that is right, \
                 add it to known_hosts (ssh-keyscan prints the line)"
            ));
        }
        Strict::Ask if !confirmed(hop, name, &shown, &doubt, prompt).await => {
            return refused(format!(
                "no host key is known for {name} and nobody has confirmed {shown}{doubt}. Add it to known_hosts, or set \
                 StrictHostKeyChecking=accept-new"
            ));
        }
        Strict::Ask | Strict::AcceptNew | Strict::No => {}
    }
    Ok(Accepted { newly_added: remember(hop, &names, bare, &files).await, ..Accepted::default() })
}

fn fault(hop: &Hop, cause: Cause, text: String) -> Fault {
    Fault::new(hop.alias.clone(), Stage::HostKey, cause, text)
}

fn names(hop: &Hop) -> Names {
    Names::new(&hop.host, hop.port, hop.host_key_alias.as_deref())
}

/// All known_hosts files, the user's first. An absent one is left out, one that cannot be read is an error: a revocation may
/// be in it.
async fn read(hop: &Hop) -> Result<Vec<File>, Fault> {
    let paths: Vec<_> = hop.user_known_hosts.iter().chain(&hop.global_known_hosts).cloned().collect();
    let read = tokio::task::spawn_blocking(move || {
        let mut files = Vec::new();
        for path in paths {
            match content(&path) {
                Ok(content) => files.push(File { path, content }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err((Cause::from_io(&error), format!("{}: {}", path.display(), errno_text(&error))));
                }
            }
        }
        Ok(files)
    });
    match read.await {
        Ok(files) => files.map_err(|(cause, text)| fault(hop, cause, format!("cannot read known hosts: {text}"))),
        Err(error) => Err(fault(hop, Cause::Io, format!("cannot read known hosts: {error}"))),
    }
}

fn content(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(std::io::Error::other("too large for a known_hosts file"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// ssh's question: yes, no, or the fingerprint.
async fn confirmed(hop: &Hop, name: &str, shown: &str, doubt: &str, prompt: &Prompt) -> bool {
    let mut question = format!(
        "The authenticity of host '{name}' can't be established{doubt}.\nIts key is {shown}.\n\
         Are you sure you want to continue connecting (yes/no/[fingerprint])? "
    );
    let fingerprint = shown.rsplit(' ').next().unwrap_or(shown);
    // A script that answers nonsense forever is not waited for.
    for _ in 0..5 {
        let Some(answer) = prompt.ask(hop, &question, Echo::On).await else { return false };
        match answer.trim() {
            "" => return false,
            answer if answer.eq_ignore_ascii_case("no") => return false,
            answer if answer.eq_ignore_ascii_case("yes") || answer == fingerprint => return true,
            _ => question = "Please type 'yes', 'no' or the fingerprint: ".to_owned(),
        }
    }
    false
}

/// Adds the key to the user's first file. That it cannot be added is told, but no reason to stop: as in ssh.
async fn remember(hop: &Hop, names: &Names, key: PublicKey, files: &[File]) -> Option<String> {
    let path = hop.user_known_hosts.first().filter(|path| *path != Path::new("/dev/null"))?.clone();
    let what = format!("the {} host key of {}", key.algorithm().as_str(), names.primary);
    let salt = hop.hash_known_hosts.then(rand::random);
    let unfinished =
        files.iter().any(|file| file.path == path && !file.content.is_empty() && !file.content.ends_with('\n'));
    let line = known_hosts::line(names, &key, salt)?;
    let line = if unfinished { format!("\n{line}") } else { line };
    let shown = path.display().to_string();
    let outcome = tokio::task::spawn_blocking(move || append(&path, &line)).await;
    Some(match outcome.map_err(std::io::Error::other).and_then(|outcome| outcome) {
        Ok(()) => format!("permanently added {what} to {shown}"),
        Err(error) => format!("accepted {what}, but could not add it to {shown}: {}", errno_text(&error)),
    })
}

/// One write in append mode, so that lines of several processes do not mix.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty() && !directory.exists())
    {
        match std::fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    std::fs::File::options().append(true).create(true).mode(0o600).open(path)?.write_all(line.as_bytes())
}

#[cfg(test)]
#[path = "host_key_tests.rs"]
mod tests;
