//! Hand-made files and keys made in memory.

use super::*;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::certificate::Builder;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

const NOW: u64 = 1_700_000_000;

/// A key that is always the same for the same number.
fn private(number: u8) -> PrivateKey {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[number; 32])), "").unwrap()
}

fn public(number: u8) -> String {
    private(number).public_key().to_openssh().unwrap()
}

fn offered(number: u8) -> PublicKeyOrCertificate {
    private(number).public_key().clone().into()
}

/// ssh-keygen's ECDSA key of another day: another type than all the others here.
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJMe9JrB2ZPd38nDU7UoqA61kFp+8ZWYXRou63UACFjzuCg/AZIhuP7KO2r/7bMBXGiEKw0RrAhd0o9DsZRQKzg=";

fn files(content: &str) -> Vec<File> {
    vec![File { path: "/known".into(), content: content.to_owned() }]
}

fn verdict(content: &str, names: &Names, key: &PublicKeyOrCertificate) -> Verdict {
    judge(&files(content), names, key, NOW, None).0
}

fn at(line: usize) -> Place {
    Place { file: "/known".into(), line }
}

fn head() -> Names {
    Names::new("Head.Example", 22, None)
}

#[test]
fn a_plain_line_makes_a_key_known() {
    let content = format!("# comment\n\nother {}\n\thead.example,10.0.0.1   {} a comment\n", public(2), public(1));
    assert_eq!(verdict(&content, &head(), &offered(1)), Verdict::Known(at(4)));
    assert_eq!(verdict(&content, &head(), &offered(2)), Verdict::Changed(at(4)));
    assert_eq!(verdict(&content, &Names::new("third", 22, None), &offered(1)), Verdict::Unknown);
}

#[test]
fn any_of_several_keys_will_do_also_of_one_type() {
    let content = format!("head.example {}\nhead.example {ECDSA}\nhead.example {}\n", public(1), public(2));
    assert_eq!(verdict(&content, &head(), &offered(2)), Verdict::Known(at(3)));
    assert_eq!(verdict(&content, &head(), &offered(3)), Verdict::Changed(at(3)));
}

#[test]
fn a_known_host_with_a_key_of_another_type_has_changed() {
    let content = format!("head.example {ECDSA}\n");
    assert_eq!(verdict(&content, &head(), &offered(1)), Verdict::Changed(at(1)));
}

#[test]
fn a_port_is_part_of_the_name_and_the_bare_name_will_do() {
    let names = Names::new("head.example", 2222, None);
    let content = format!("[head.example]:2222 {}\n", public(1));
    assert_eq!(verdict(&content, &names, &offered(1)), Verdict::Known(at(1)));
    assert_eq!(verdict(&content, &head(), &offered(1)), Verdict::Unknown);
    let content = format!("head.example {}\n", public(1));
    assert_eq!(verdict(&content, &names, &offered(1)), Verdict::Known(at(1)));
    assert_eq!(verdict(&content, &names, &offered(2)), Verdict::Unknown, "another port is another server");
}

#[test]
fn an_alias_stands_for_host_and_port() {
    let names = Names::new("10.0.0.1", 2222, Some("Alias"));
    let content = format!("[10.0.0.1]:2222 {}\nalias {}\n", public(2), public(1));
    assert_eq!(verdict(&content, &names, &offered(1)), Verdict::Known(at(2)));
    assert_eq!(verdict(&content, &names, &offered(2)), Verdict::Changed(at(2)));
}

#[test]
fn patterns_and_their_negations() {
    let content = format!("*.example,!bad.example,h?ad {}\n", public(1));
    let judged = |host: &str| verdict(&content, &Names::new(host, 22, None), &offered(1));
    assert_eq!(judged("head.example"), Verdict::Known(at(1)));
    assert_eq!(judged("hXad"), Verdict::Known(at(1)));
    assert_eq!(judged("bad.example"), Verdict::Unknown);
    assert_eq!(judged("example"), Verdict::Unknown);
}

#[test]
fn a_line_may_be_hashed() {
    let salt = *b"01234567890123456789";
    let key = private(1).public_key().clone();
    let hashed = line(&head(), &key, Some(salt)).unwrap();
    assert!(hashed.starts_with("|1|MDEyMzQ1Njc4OTAxMjM0NTY3ODk=|"), "{hashed}");
    assert_eq!(verdict(&hashed, &head(), &offered(1)), Verdict::Known(at(1)));
    assert_eq!(verdict(&hashed, &Names::new("other", 22, None), &offered(1)), Verdict::Unknown);
    let plain = line(&Names::new("H", 23, None), &key, None).unwrap();
    assert_eq!(plain, format!("[h]:23 {}\n", public(1)));
}

#[test]
fn a_revoked_key_is_refused_wherever_else_it_is_known() {
    let content = format!("head.example {}\n@revoked * {}\n", public(1), public(1));
    assert_eq!(verdict(&content, &head(), &offered(1)), Verdict::Revoked(at(2)));
    let content = format!("@revoked other {}\nhead.example {}\n", public(1), public(1));
    assert_eq!(verdict(&content, &head(), &offered(1)), Verdict::Known(at(2)));
}

#[test]
fn an_authoritys_line_is_no_host_key() {
    let content = format!("@cert-authority * {}\n", public(1));
    assert_eq!(verdict(&content, &head(), &offered(1)), Verdict::Unknown);
}

#[test]
fn nonsense_is_passed_over() {
    let content = format!(
        "head.example\nhead.example x\n@what head.example {0}\n@revoked\n|1|x|y {0}\n|2|a {0}\nhead.example ssh-ed25519 AAAA\nhead.example {0}\n",
        public(1)
    );
    assert_eq!(verdict(&content, &head(), &offered(1)), Verdict::Known(at(8)));
}

/// A host certificate for key 1, signed by key 9, changed by `with`.
fn certificate(with: impl FnOnce(&mut Builder)) -> PublicKeyOrCertificate {
    certificate_for(CertType::Host, with)
}

fn certificate_for(kind: CertType, with: impl FnOnce(&mut Builder)) -> PublicKeyOrCertificate {
    let mut builder = Builder::new([7; 16], private(1).public_key().key_data().clone(), NOW - 10, NOW + 10).unwrap();
    builder.cert_type(kind).unwrap();
    with(&mut builder);
    builder.sign(&private(9)).unwrap().into()
}

fn for_host(name: &'static str) -> impl FnOnce(&mut Builder) {
    move |builder| {
        builder.valid_principal(name).unwrap();
    }
}

#[test]
fn a_certificate_is_known_by_its_authority() {
    let content = format!("@cert-authority *.example {}\n", public(9));
    assert_eq!(verdict(&content, &head(), &certificate(for_host("head.example"))), Verdict::Known(at(1)));
    let on_a_port = Names::new("head.example", 2222, None);
    assert_eq!(verdict(&content, &on_a_port, &certificate(for_host("head.example"))), Verdict::Known(at(1)));
    assert_eq!(verdict(&content, &Names::new("head", 22, None), &certificate(for_host("head"))), Verdict::Unknown);
}

#[test]
fn a_certificate_that_does_not_hold_counts_as_its_key() {
    let authority = format!("@cert-authority * {}\n", public(9));
    let why = |certificate: &PublicKeyOrCertificate, now| {
        let (verdict, doubt) = judge(&files(&authority), &head(), certificate, now, None);
        assert_eq!(verdict, Verdict::Unknown);
        doubt.unwrap()
    };
    let good = certificate(for_host("head.example"));
    assert!(why(&good, NOW + 10).contains("expired"));
    assert!(why(&good, NOW - 11).contains("not valid yet"));
    assert!(why(&certificate(for_host("other")), NOW).contains("not for head.example"));
    let user = certificate_for(CertType::User, for_host("head.example"));
    assert!(why(&user, NOW).contains("not one for hosts"));
    let critical = certificate(|builder| {
        builder.valid_principal("head.example").unwrap();
        builder.critical_option("force-command", "x").unwrap();
    });
    assert!(why(&critical, NOW).contains("critical"));
    let only_rsa = ["rsa-sha2-512".to_owned()];
    let (verdict, doubt) = judge(&files(&authority), &head(), &good, NOW, Some(&only_rsa));
    assert_eq!((verdict, doubt.unwrap().contains("not allowed")), (Verdict::Unknown, true));
    let both = format!("{authority}head.example {}\n", public(1));
    assert_eq!(judge(&files(&both), &head(), &good, NOW + 99, None).0, Verdict::Known(at(2)));
}

#[test]
fn a_certificate_that_was_tampered_with_does_not_hold() {
    let content = format!("@cert-authority * {}\n", public(9));
    let good = certificate(for_host("head.example"));
    let mut bytes = good.certificate().unwrap().to_bytes().unwrap();
    let at = bytes.windows(12).position(|window| window == b"head.example").unwrap();
    bytes[at..at + 12].copy_from_slice(b"evil.example");
    let evil = Certificate::from_bytes(&bytes).unwrap().into();
    let (verdict, doubt) = judge(&files(&content), &Names::new("evil.example", 22, None), &evil, NOW, None);
    assert_eq!(verdict, Verdict::Unknown);
    assert!(doubt.unwrap().contains("does not hold"));
}

#[test]
fn a_revoked_authority_or_certified_key_is_refused() {
    let trusted = format!("@cert-authority * {}\n", public(9));
    for revoked in [9, 1] {
        let content = format!("{trusted}@revoked * {}\n", public(revoked));
        assert_eq!(verdict(&content, &head(), &certificate(for_host("head.example"))), Verdict::Revoked(at(2)));
    }
}

#[test]
fn what_is_expected_of_a_host() {
    let content = format!(
        "head.example {ECDSA}\nhead.example {}\nhead.example {}\n@revoked head.example {}\n@cert-authority *.site {}\n",
        public(1),
        public(2),
        public(3),
        public(9)
    );
    let known = expected(&files(&content), &head());
    assert_eq!(
        known.algorithms.iter().map(Algorithm::as_str).collect::<Vec<_>>(),
        ["ecdsa-sha2-nistp256", "ssh-ed25519"]
    );
    assert!(!known.authority);
    assert!(expected(&files(&content), &Names::new("a.site", 22, None)).authority);
}

#[test]
fn wildcards_end_in_time() {
    assert!(
        wildcard("*", "")
            && wildcard("a*c", "abc")
            && wildcard("**", "x")
            && !wildcard("a?", "a")
            && !wildcard("", "a")
    );
    assert!(!wildcard(&"*a".repeat(50), &"a".repeat(49)));
    assert!(!wildcard(&"*a".repeat(200), &format!("{}b", "a".repeat(5000))));
}

proptest::proptest! {
    #[test]
    fn no_line_makes_it_panic(line in ".{0,200}", name in "[a-z0-9.\\[\\]:]{1,20}") {
        verdict(&line, &Names::new(&name, 22, None), &offered(1));
        verdict(&format!("@revoked {line}"), &Names::new(&name, 22, None), &offered(1));
        verdict(&format!("|1|{line}"), &Names::new(&name, 2, None), &offered(1));
    }
}
