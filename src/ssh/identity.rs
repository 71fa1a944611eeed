//! The keys to log in with: from the agent, from files, with their certificates, in the order in which ssh offers them.
//!
//! A key is first offered by its public part; only when the server wants it is its private part read, and a passphrase asked.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::signature::Signer;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::ssh::prompt::{Echo, Prompt};
use crate::ssh::route::Hop;

/// How long an agent may take to connect and to list its keys. Signing may take a person's confirmation, so that is bound by
/// the login's deadline only.
const AGENT_DEADLINE: Duration = Duration::from_secs(10);
/// A key file may be this large; the largest (RSA 16384) has some 13 KB.
const MAX_KEY_FILE: u64 = 1 << 20;

pub type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// One way to prove who we are.
#[derive(Debug, Clone)]
pub struct Identity {
    pub key: PublicKey,
    pub certificate: Option<Certificate>,
    pub holder: Holder,
}

/// Who can sign with the private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    Agent,
    File(PathBuf),
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.certificate.is_some() { "certificate" } else { "key" };
        match &self.holder {
            Holder::Agent => write!(f, "agent {what} {}", self.key.fingerprint(HashAlg::Sha256)),
            Holder::File(path) if self.certificate.is_some() => write!(f, "{} with its certificate", path.display()),
            Holder::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Identity {
    /// Its private part is in a token, which wants to be touched for each signature.
    pub fn is_in_token(&self) -> bool {
        matches!(self.key.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
    }
}

/// All identities for a hop, and sentences about those that cannot be used.
#[derive(Debug, Default)]
pub struct Identities {
    pub usable: Vec<Identity>,
    pub unusable: Vec<String>,
}

/// Connects to the hop's agent. No agent, or one that does not answer, is none, as for ssh.
pub async fn agent(hop: &Hop) -> Option<Agent> {
    let path = hop.identity_agent.as_ref()?;
    match tokio::time::timeout(AGENT_DEADLINE, AgentClient::connect_uds(path)).await {
        Ok(Ok(agent)) => Some(agent.dynamic()),
        Ok(Err(error)) => {
            tracing::debug!("no agent at {}: {error}", path.display());
            None
        }
        Err(_) => None,
    }
}

/// What the agent holds: keys, and certificates.
pub async fn held(agent: &mut Agent) -> Vec<Identity> {
    match tokio::time::timeout(AGENT_DEADLINE, agent.request_identities()).await {
        Ok(Ok(list)) => list
            .into_iter()
            .map(|identity| match identity {
                AgentIdentity::PublicKey { key, .. } => Identity { key, certificate: None, holder: Holder::Agent },
                AgentIdentity::Certificate { certificate, .. } => Identity {
                    key: PublicKey::new(certificate.public_key().clone(), ""),
                    certificate: Some(certificate),
                    holder: Holder::Agent,
                },
            })
            .collect(),
        outcome => {
            tracing::debug!("the agent does not list its keys: {outcome:?}");
            Vec::new()
        }
    }
}

/// Puts the agent's identities and the hop's files in ssh's order (sshconnect2.c, pubkey_prepare): certificates, agent keys that
/// are also configured, other agent keys unless IdentitiesOnly, then keys that are only in files.
pub fn collect(hop: &Hop, held: Vec<Identity>) -> Identities {
    let mut all = Identities::default();
    let mut files: Vec<(PathBuf, PublicKey)> = Vec::new();
    for path in &hop.identity_files {
        match public_part(path) {
            Ok(Some(key)) => files.push((path.clone(), key)),
            Ok(None) => {}
            Err(text) => all.unusable.push(text),
        }
    }
    let in_agent =
        |key: &PublicKey| held.iter().any(|held| held.certificate.is_none() && held.key.key_data() == key.key_data());
    for certificate in certificates(hop, &mut all.unusable) {
        let key = PublicKey::new(certificate.public_key().clone(), "");
        let holder = match files.iter().find(|(_, file)| file.key_data() == key.key_data()) {
            _ if in_agent(&key) => Holder::Agent,
            Some((path, _)) => Holder::File(path.clone()),
            None => continue,
        };
        all.usable.push(Identity { key, certificate: Some(certificate), holder });
    }
    let configured =
        |identity: &Identity| files.iter().position(|(_, file)| file.key_data() == identity.key.key_data());
    let mut ours: Vec<&Identity> = held.iter().filter(|identity| configured(identity).is_some()).collect();
    ours.sort_by_key(|identity| configured(identity));
    all.usable.extend(ours.into_iter().cloned());
    if !hop.identities_only {
        all.usable.extend(held.iter().filter(|identity| configured(identity).is_none()).cloned());
    }
    for (path, key) in files {
        if !in_agent(&key) && path.extension().is_none_or(|extension| extension != "pub") {
            all.usable.push(Identity { key, certificate: None, holder: Holder::File(path) });
        }
    }
    all
}

/// CertificateFiles, and `FILE-cert.pub` beside each identity file. Absent ones are passed over.
fn certificates(hop: &Hop, unusable: &mut Vec<String>) -> Vec<Certificate> {
    let beside = hop.identity_files.iter().map(|path| with_suffix(path, "-cert.pub"));
    let mut found: Vec<Certificate> = Vec::new();
    for path in hop.certificate_files.iter().cloned().chain(beside) {
        let Ok(text) = read(&path) else { continue };
        match Certificate::from_openssh(text.trim()) {
            Ok(certificate) if certificate.cert_type() == CertType::User => {
                if !found.contains(&certificate) {
                    found.push(certificate);
                }
            }
            Ok(_) => unusable.push(format!("{} (a certificate for hosts)", path.display())),
            Err(error) => unusable.push(format!("{} ({error})", path.display())),
        }
    }
    found
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let meta = std::fs::metadata(path)?;
    if meta.len() > MAX_KEY_FILE || !meta.is_file() {
        return Err(std::io::Error::other("not a key file"));
    }
    std::fs::read_to_string(path).map(Zeroizing::new)
}

/// The public part of an identity file, without a passphrase: the file may be a public key, an OpenSSH private key (whose public
/// part is in clear), another unencrypted private key, or have a `.pub` beside it. `None`: there is no such file.
fn public_part(path: &Path) -> Result<Option<PublicKey>, String> {
    let beside = || read(&with_suffix(path, ".pub")).ok().and_then(|text| PublicKey::from_openssh(text.trim()).ok());
    let text = match read(path) {
        Ok(text) => text,
        // With only the .pub at hand the agent may still hold the key; ssh reads it so.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(beside()),
        Err(error) => return Err(format!("{} ({error})", path.display())),
    };
    if let Ok(key) = PublicKey::from_openssh(text.trim()) {
        return Ok(Some(key));
    }
    if let Ok(key) = PrivateKey::from_openssh(text.as_bytes()) {
        return Ok(Some(key.public_key().clone()));
    }
    match russh::keys::decode_secret_key(&text, None) {
        Ok(key) => Ok(Some(key.public_key().clone())),
        Err(error) => match beside() {
            Some(key) => Ok(Some(key)),
            None => Err(format!("{} ({error}; a .pub file beside it would help if it is encrypted)", path.display())),
        },
    }
}

/// Why a signature could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("the session ended")]
    Session(#[from] russh::SendError),
    #[error("{0}")]
    Key(String),
}

/// Signs with the key in a file.
pub struct FileSigner<'a> {
    pub path: &'a Path,
    pub hop: &'a Hop,
    pub prompt: &'a Prompt,
}

impl russh::Signer for FileSigner<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let key = self.unlock().await.map_err(SignError::Key)?;
        signed(&key, hash, to_sign).map_err(|error| SignError::Key(format!("cannot sign: {error}")))
    }
}

impl FileSigner<'_> {
    /// Signs, if it can without asking anybody.
    pub async fn sign(&self, hash: Option<HashAlg>, to_sign: Vec<u8>) -> Option<Vec<u8>> {
        let key = decode(self.read().ok()?, None).await.ok()?;
        signed(&key, hash, to_sign).ok()
    }

    /// A key file that others may read is refused, as by ssh.
    fn read(&self) -> Result<Arc<Zeroizing<String>>, String> {
        let bad = |error: std::io::Error| error.to_string();
        let meta = std::fs::metadata(self.path).map_err(bad)?;
        if meta.uid() == rustix::process::getuid().as_raw() && meta.mode() & 0o077 != 0 {
            return Err(format!("permissions {:04o} are too open; only its owner may read it", meta.mode() & 0o7777));
        }
        read(self.path).map(Arc::new).map_err(bad)
    }

    /// Reads the private key, asking for its passphrase if it has one.
    async fn unlock(&self) -> Result<Arc<PrivateKey>, String> {
        let text = self.read()?;
        match decode(text.clone(), None).await {
            Err(russh::keys::Error::KeyIsEncrypted) => {}
            // PEM's own encryptions say nothing so clear.
            Err(_) if text.contains("ENCRYPTED") => {}
            outcome => return outcome.map_err(|error| error.to_string()),
        }
        let shown = self.path.display().to_string();
        let mut remembered = self.prompt.recall(&shown);
        for _ in 0..self.hop.number_of_password_prompts.max(1) {
            let passphrase = match remembered.take() {
                Some(passphrase) => passphrase,
                None => {
                    let question = format!("Enter passphrase for key '{shown}': ");
                    let answer = self.prompt.ask(self.hop, &question, Echo::Off).await;
                    answer.filter(|answer| !answer.is_empty()).ok_or("encrypted, and no passphrase was given")?
                }
            };
            if let Ok(key) = decode(text.clone(), Some(passphrase.clone())).await {
                self.prompt.remember(&shown, passphrase);
                return Ok(key);
            }
            self.prompt.forget(&shown);
        }
        Err("encrypted, and the passphrase was wrong".to_owned())
    }
}

/// Deriving a key from a passphrase takes a good part of a second on purpose.
async fn decode(
    text: Arc<Zeroizing<String>>,
    passphrase: Option<Zeroizing<String>>,
) -> Result<Arc<PrivateKey>, russh::keys::Error> {
    let decoded = tokio::task::spawn_blocking(move || {
        russh::keys::decode_secret_key(&text, passphrase.as_ref().map(|passphrase| passphrase.as_str()))
    });
    decoded.await.unwrap_or(Err(russh::keys::Error::CouldNotReadKey)).map(Arc::new)
}

/// What russh expects of a signer: the data, and the signature as a string after it.
fn signed(key: &PrivateKey, hash: Option<HashAlg>, mut data: Vec<u8>) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let signature = match (key.key_data(), hash) {
        (KeypairData::Rsa(pair), Some(_)) => (pair, hash).try_sign(&data)?,
        (pair, _) => pair.try_sign(&data)?,
    };
    signature.encode_prefixed(&mut data)?;
    Ok(data)
}
