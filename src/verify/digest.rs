//! The hashes in use: BLAKE3, and what is fastest where the far end has no BLAKE3. All give 32 bytes.

use std::fmt;

use sha2::Digest as _;

use super::gmac::{Gmac, Key};
use super::of_blocks::InBlocks;
use super::parts::InParts;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Blake3,
    Sha256,
    /// Tags of a file's blocks under a key: [`super::gmac`].
    Gmac(Key),
    /// BLAKE3 of the hashes of a file's parts ([`super::parts`]), one after the other.
    Parts(OfPart),
    /// BLAKE3 of the sums of a file's blocks of so many bytes ([`super::of_blocks`]).
    Blocks(u64, OfPart),
}

/// How the hash of a part, or the sum of a block, is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OfPart {
    Blake3,
    Sha256,
    Gmac(Key),
}

impl Algorithm {
    /// The same of a file's parts.
    pub fn in_parts(self) -> OfPart {
        match self {
            Algorithm::Blake3 => OfPart::Blake3,
            Algorithm::Sha256 => OfPart::Sha256,
            Algorithm::Gmac(key) => OfPart::Gmac(key),
            Algorithm::Parts(of) | Algorithm::Blocks(_, of) => of,
        }
    }
}

impl From<OfPart> for Algorithm {
    /// That of one part, by itself.
    fn from(of: OfPart) -> Algorithm {
        match of {
            OfPart::Blake3 => Algorithm::Blake3,
            OfPart::Sha256 => Algorithm::Sha256,
            OfPart::Gmac(key) => Algorithm::Gmac(key),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Algorithm::Blake3 => write!(f, "blake3"),
            Algorithm::Sha256 => write!(f, "sha256"),
            Algorithm::Gmac(key) => write!(f, "gmac-85k-{key}"),
            Algorithm::Parts(of) => write!(f, "blake3-of-1020k-{}", Algorithm::from(*of)),
            Algorithm::Blocks(length, of) => write!(f, "blake3-of-{}k-{}", length >> 10, Algorithm::from(*of)),
        }
    }
}

/// A hash and how it was made; two are equal only if both are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    pub algorithm: Algorithm,
    pub bytes: [u8; 32],
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Digest {
    /// Parses 64 hexadecimal digits, of either case.
    pub fn from_hex(algorithm: Algorithm, hex: &[u8]) -> Option<Digest> {
        if hex.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Digest { algorithm, bytes })
    }

    /// Its 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
            for half in [byte >> 4, byte & 0xf] {
                text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
            }
            text
        })
    }

    pub fn of(algorithm: Algorithm, data: &[u8]) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }
}

/// Hashes as the bytes come by.
pub enum Hasher {
    Blake3(Box<blake3::Hasher>),
    Sha256(Box<sha2::Sha256>),
    Gmac(Box<Gmac>),
    Parts(Box<InParts>),
    Blocks(Box<InBlocks>),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Blake3 => Hasher::Blake3(Box::new(blake3::Hasher::new())),
            Algorithm::Sha256 => Hasher::Sha256(Box::new(sha2::Sha256::new())),
            Algorithm::Gmac(key) => Hasher::Gmac(Box::new(Gmac::new(key))),
            Algorithm::Parts(of) => Hasher::Parts(Box::new(InParts::new(of))),
            Algorithm::Blocks(length, of) => Hasher::Blocks(Box::new(InBlocks::new(length, of))),
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match self {
            Hasher::Blake3(hasher) => {
                hasher.update(data);
            }
            Hasher::Sha256(hasher) => hasher.update(data),
            Hasher::Gmac(hasher) => hasher.update(data),
            Hasher::Parts(hasher) => hasher.update(data),
            Hasher::Blocks(hasher) => hasher.update(data),
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Hasher::Blake3(hasher) => Digest { algorithm: Algorithm::Blake3, bytes: *hasher.finalize().as_bytes() },
            Hasher::Sha256(hasher) => Digest { algorithm: Algorithm::Sha256, bytes: hasher.finalize().into() },
            Hasher::Gmac(hasher) => Digest { algorithm: Algorithm::Gmac(hasher.key()), bytes: hasher.finish() },
            Hasher::Parts(hasher) => hasher.finish(),
            Hasher::Blocks(hasher) => hasher.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_give_their_published_values_for_nothing() {
        let blake3 = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        let sha256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(Algorithm::Blake3, b"").to_string(), blake3);
        assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), sha256);
        assert_eq!(
            Digest::from_hex(Algorithm::Sha256, &sha256.as_bytes()[7..]),
            Some(Digest::of(Algorithm::Sha256, b""))
        );
    }

    #[test]
    fn what_is_no_hash_is_not_read_as_one() {
        for bad in [&b""[..], b"zz", &[b'0'; 63], &[b'0'; 65], &[b'g'; 64], &[0xff; 64]] {
            assert_eq!(Digest::from_hex(Algorithm::Blake3, bad), None);
        }
    }
}
