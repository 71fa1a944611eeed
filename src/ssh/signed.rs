//! A public-key request that is signed before the server was asked whether it takes the key (RFC 4252 §7): one round trip less at each
//! hop. Where a signature would cost a person something, the server is asked first.

use russh::keys::Algorithm;
use russh::keys::HashAlg;
use russh::keys::ssh_encoding::{self, Encode};

use super::identity::Identity;

const USERAUTH_REQUEST: u8 = 50;

/// The algorithm by which an identity signs, as the server is told it.
pub fn algorithm(identity: &Identity, hash: Option<HashAlg>) -> String {
    let algorithm = match hash {
        Some(hash) => Algorithm::Rsa { hash: Some(hash) },
        None => identity.key.algorithm(),
    };
    match identity.certificate {
        Some(_) => algorithm.to_certificate_type(),
        None => algorithm.as_str().to_owned(),
    }
}

/// What is signed, and where in it the request begins: before it stands what names the session.
///
/// # Errors
/// A key that cannot be written as one.
pub fn to_sign(
    session: &[u8],
    user: &str,
    identity: &Identity,
    hash: Option<HashAlg>,
) -> ssh_encoding::Result<(Vec<u8>, usize)> {
    let mut data = Vec::new();
    session.encode(&mut data)?;
    let begins = data.len();
    data.push(USERAUTH_REQUEST);
    for text in [user, "ssh-connection", "publickey"] {
        text.encode(&mut data)?;
    }
    data.push(1);
    algorithm(identity, hash).as_str().encode(&mut data)?;
    let blob = match &identity.certificate {
        Some(certificate) => certificate.to_bytes(),
        None => identity.key.to_bytes(),
    };
    blob.map_err(|_| ssh_encoding::Error::Length)?.as_slice().encode(&mut data)?;
    Ok((data, begins))
}
