//! Real files, and ssh-keygen as the second opinion on them.

use super::*;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDj+jh/aichOBoXQYbrLVZCsiG2SlxJKy6aosxuxhTYwpdszQq7szy6iBabjTjEyVGjT/ie2/Mt8qQgFOQw4I/ro2bgtd9Wkcnt1nnpou05+dgqDPPLwR4JeV1IBWsMDVjqcogaU4VVox6iiHUyA0bEuACfo7/bt2tktRoR2Qto7G91EoXLOtk5knlL/r69BiOqs2CnRzoufsiRcUG60GhlWuODi/uEn+yAEjdUMe3ivGxLle5uDCqDeLIiYZdNG0paRPCu+7iuQfaasRknkvMIV19qgVtrmnHr+9AOjkSi5jdL2ffK+s2qJlYxzZA/agoLPkEthbHnghD9rZa+lYhx";

fn public(number: u8) -> PublicKey {
    let key = PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[number; 32])), "").unwrap();
    key.public_key().clone()
}

fn fingerprint(number: u8) -> String {
    public(number).fingerprint(HashAlg::Sha256).to_string()
}

/// A hop whose user file is `.ssh/known_hosts` in a fresh directory, and `content` in it.
fn hop(strict: Strict, content: Option<&str>) -> (tempfile::TempDir, Hop, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".ssh/known_hosts");
    if let Some(content) = content {
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
    }
    let mut hop = Hop::plain("head", 2222, "u");
    hop.strict = strict;
    hop.user_known_hosts = vec![path.clone(), directory.path().join("absent")];
    (directory, hop, path)
}

async fn shown(hop: &Hop, number: u8) -> Result<Accepted, Fault> {
    check(hop, &public(number).into(), &Prompt::nobody()).await
}

fn known(number: u8) -> String {
    format!("[head]:2222 {}\n", public(number).to_openssh().unwrap())
}

#[tokio::test]
async fn an_unknown_key_is_refused_when_strict() {
    let (_directory, hop, path) = hop(Strict::Yes, None);
    let fault = shown(&hop, 1).await.unwrap_err();
    assert_eq!((&*fault.hop, fault.stage, fault.cause), ("head", Stage::HostKey, Cause::HostKey));
    assert!(fault.text.contains("[head]:2222") && fault.text.contains(&fingerprint(1)), "{fault}");
    assert!(!path.exists());
}

#[tokio::test]
async fn an_unknown_key_is_added_where_that_is_allowed_and_known_from_then_on() {
    for strict in [Strict::AcceptNew, Strict::No] {
        let (_directory, mut hop, path) = hop(strict, None);
        let accepted = shown(&hop, 1).await.unwrap();
        assert!(accepted.newly_added.unwrap().contains("permanently added"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), known(1));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        hop.strict = Strict::Yes;
        assert_eq!(shown(&hop, 1).await.unwrap(), Accepted::default());
    }
}

#[tokio::test]
async fn a_hashed_line_is_found_by_ssh_keygen_too() {
    let (_directory, mut hop, path) = hop(Strict::AcceptNew, Some("# no newline at the end"));
    hop.hash_known_hosts = true;
    shown(&hop, 1).await.unwrap();
    let content = std::fs::read_to_string(&path).unwrap();
    assert!(content.contains("end\n|1|") && !content.contains("head"), "{content}");
    let found =
        std::process::Command::new("ssh-keygen").arg("-F").arg("[head]:2222").arg("-f").arg(&path).output().unwrap();
    assert!(String::from_utf8_lossy(&found.stdout).contains("line 2"), "{found:?}");
    assert_eq!(shown(&hop, 1).await.unwrap(), Accepted::default());
}

#[tokio::test]
async fn a_line_hashed_by_ssh_keygen_is_found() {
    let (_directory, hop, path) = hop(Strict::Yes, Some(&known(1)));
    let hashed = std::process::Command::new("ssh-keygen").arg("-q").arg("-H").arg("-f").arg(&path).output().unwrap();
    assert!(hashed.status.success(), "{hashed:?}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("|1|"));
    assert_eq!(shown(&hop, 1).await.unwrap(), Accepted::default());
}

#[tokio::test]
async fn a_changed_key_is_refused_with_file_and_line() {
    for strict in [Strict::Yes, Strict::Ask, Strict::AcceptNew] {
        let (_directory, hop, path) = hop(strict, Some(&known(1)));
        let fault = shown(&hop, 2).await.unwrap_err();
        assert_eq!(fault.cause, Cause::HostKey);
        assert!(
            fault.text.contains(&format!("{}:1", path.display())) && fault.text.contains(&fingerprint(2)),
            "{fault}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), known(1));
    }
}

#[tokio::test]
async fn a_changed_key_passes_unwritten_and_without_passwords_when_checking_is_off() {
    let (_directory, hop, path) = hop(Strict::No, Some(&known(1)));
    let accepted = shown(&hop, 2).await.unwrap();
    assert!(accepted.changed_but_allowed && accepted.newly_added.is_none() && accepted.warning.is_some());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), known(1));
}

#[tokio::test]
async fn a_revoked_key_never_passes() {
    let (_directory, hop, path) =
        hop(Strict::No, Some(&format!("{}@revoked * {}", known(1), public(1).to_openssh().unwrap())));
    let fault = shown(&hop, 1).await.unwrap_err();
    assert!(fault.text.contains("revoked") && fault.text.contains(&format!("{}:2", path.display())), "{fault}");
}

#[tokio::test]
async fn a_person_may_confirm_by_yes_or_by_the_fingerprint() {
    let fingerprint = fingerprint(1);
    for (answers, passes) in [
        (vec!["yes"], true),
        (vec!["what?", "YES"], true),
        (vec![fingerprint.as_str()], true),
        (vec!["no", "yes"], false),
        (vec![""], false),
        (vec![], false),
        (vec!["SHA256:wrong"; 9], false),
    ] {
        let (_directory, hop, path) = hop(Strict::Ask, None);
        let prompt = Prompt::scripted(answers.iter().copied());
        let outcome = check(&hop, &public(1).into(), &prompt).await;
        assert_eq!((outcome.is_ok(), path.exists()), (passes, passes), "{answers:?}");
        assert!(prompt.questions()[0].contains(&fingerprint));
    }
}

#[tokio::test]
async fn dev_null_is_not_written_and_what_cannot_be_written_is_told() {
    let (directory, mut hop, _) = hop(Strict::No, None);
    hop.user_known_hosts = vec!["/dev/null".into()];
    assert_eq!(shown(&hop, 1).await.unwrap(), Accepted::default());
    hop.user_known_hosts = vec![directory.path().join("no/such/place")];
    assert!(shown(&hop, 1).await.unwrap().newly_added.unwrap().contains("could not add"));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error() {
    let (directory, mut hop, _) = hop(Strict::No, None);
    hop.global_known_hosts = vec![directory.path().to_owned()];
    let fault = shown(&hop, 1).await.unwrap_err();
    assert!(fault.text.contains("cannot read known hosts"), "{fault}");
}

#[tokio::test]
async fn known_kinds_of_keys_are_asked_for_first() {
    let (_directory, mut hop, path) = hop(Strict::Yes, None);
    assert_eq!(preference(&hop).await.unwrap(), Preference { keys: ALGORITHMS.to_vec(), certificates: vec![] });
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let line = format!("[head]:2222 {RSA}\n@cert-authority * {}\n", public(1).to_openssh().unwrap());
    std::fs::write(&path, line).unwrap();
    let order = preference(&hop).await.unwrap();
    assert_eq!(order.keys[..3], [ALGORITHMS[4].clone(), ALGORITHMS[5].clone(), ALGORITHMS[0].clone()]);
    assert_eq!(order.certificates, ALGORITHMS);
    hop.host_key_algorithms = Some(["ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519"].map(str::to_owned).to_vec());
    let order = preference(&hop).await.unwrap();
    assert_eq!(order, Preference { keys: vec![ALGORITHMS[1].clone(), ALGORITHMS[0].clone()], certificates: vec![] });
    hop.host_key_algorithms = Some(vec!["ssh-dss".to_owned()]);
    assert_eq!(preference(&hop).await.unwrap_err().cause, Cause::Config);
}
