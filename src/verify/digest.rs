//! The hashes in use: BLAKE3, and SHA-256 where the far end has nothing else. All give 32 bytes.

use std::fmt;

use sha2::Digest as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Blake3,
    Sha256,
    /// A large file's parts of [`PART`] bytes, each hashed with SHA-256 by itself, and SHA-256 over their hashes; of what is
    /// no longer than one part, SHA-256. So that many processors can hash one file.
    Sha256Parts,
}

/// Bytes in one part of [`Algorithm::Sha256Parts`]: a hundredth of a second's work.
pub const PART: u64 = 16 << 20;

/// A hash and how it was made; two are equal only if both are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    pub algorithm: Algorithm,
    pub bytes: [u8; 32],
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.algorithm {
            Algorithm::Blake3 => "blake3",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha256Parts => "sha256-16m",
        };
        write!(f, "{name}:")?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
    Sha256Parts(Box<Parts>),
}

/// [`Algorithm::Sha256Parts`] under way.
#[derive(Default)]
pub struct Parts {
    whole: Option<sha2::Sha256>,
    part: sha2::Sha256,
    /// Bytes in `part`.
    filled: u64,
}

impl Parts {
    fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.filled == PART {
                let part = std::mem::take(&mut self.part).finalize();
                self.add(&part);
                self.filled = 0;
            }
            let (now, later) = data.split_at(data.len().min((PART - self.filled) as usize));
            self.part.update(now);
            self.filled += now.len() as u64;
            data = later;
        }
    }

    fn add(&mut self, part: &[u8]) {
        self.whole.get_or_insert_default().update(part);
    }

    fn finish(mut self) -> [u8; 32] {
        let last = std::mem::take(&mut self.part).finalize();
        match &mut self.whole {
            None => last.into(),
            Some(_) => {
                self.add(&last);
                self.whole.unwrap_or_default().finalize().into()
            }
        }
    }
}

/// The hash of a file of more than one part from its parts' hashes, in order.
pub fn of_parts(parts: impl IntoIterator<Item = Digest>) -> Digest {
    let mut whole = sha2::Sha256::new();
    parts.into_iter().for_each(|part| whole.update(part.bytes));
    Digest { algorithm: Algorithm::Sha256Parts, bytes: whole.finalize().into() }
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Blake3 => Hasher::Blake3(Box::new(blake3::Hasher::new())),
            Algorithm::Sha256 => Hasher::Sha256(Box::new(sha2::Sha256::new())),
            Algorithm::Sha256Parts => Hasher::Sha256Parts(Box::default()),
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match self {
            Hasher::Blake3(hasher) => {
                hasher.update(data);
            }
            Hasher::Sha256(hasher) => hasher.update(data),
            Hasher::Sha256Parts(hasher) => hasher.update(data),
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Hasher::Blake3(hasher) => Digest { algorithm: Algorithm::Blake3, bytes: *hasher.finalize().as_bytes() },
            Hasher::Sha256(hasher) => Digest { algorithm: Algorithm::Sha256, bytes: hasher.finalize().into() },
            Hasher::Sha256Parts(hasher) => Digest { algorithm: Algorithm::Sha256Parts, bytes: hasher.finish() },
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
    fn parts_are_hashed_one_by_one_however_the_bytes_come() {
        let all: Vec<u8> = (0..2 * PART + 5).map(|n| (n % 251) as u8).collect();
        let sha = |data: &[u8]| Digest::of(Algorithm::Sha256, data);
        for (len, parts) in [(0, 1), (PART, 1), (PART + 1, 2), (2 * PART, 2), (2 * PART + 5, 3)] {
            let data = &all[..len as usize];
            let expected = match parts {
                1 => sha(data).bytes,
                _ => sha(&data.chunks(PART as usize).flat_map(|part| sha(part).bytes).collect::<Vec<_>>()).bytes,
            };
            for size in [1 << 20, PART as usize - 7, all.len()] {
                let mut hasher = Hasher::new(Algorithm::Sha256Parts);
                data.chunks(size).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.finish().bytes, expected, "{len} bytes in pieces of {size}");
            }
            if parts > 1 {
                assert_eq!(of_parts(data.chunks(PART as usize).map(sha)).bytes, expected);
            }
        }
    }

    #[test]
    fn what_is_no_hash_is_not_read_as_one() {
        for bad in [&b""[..], b"zz", &[b'0'; 63], &[b'0'; 65], &[b'g'; 64], &[0xff; 64]] {
            assert_eq!(Digest::from_hex(Algorithm::Blake3, bad), None);
        }
    }
}
