//! The hashes of a file's parts, by which a large one is proven ([`Algorithm::Parts`]): they are asked about as soon as they have
//! arrived, while the rest is on its way.
//!
//! A hasher that answers each name as it comes ([`super::ladder::Rung::tells_parts`]) is asked with a name in front of which
//! stands `bN ` (N: the number of the first part, from 0); no other name begins so, for all begin with `/` or `./`. It answers
//! with a line for each of the next [`ASKED`] parts that there are, `HASH  ` with no name behind it, and then with a line of the
//! whole question and [`UNREADABLE`](super::ladder::UNREADABLE) for a hash. A hasher of before there were such questions takes it
//! for a name that it cannot read, and so tells of no parts.
//!
//! A part's hash is that of a file with these bytes and no others.

use super::blocks;
use super::digest::{Algorithm, Digest, Hasher, OfPart};

/// Bytes of a part; the last one of a file is shorter. Four of the largest WRITEs that OpenSSH takes (255 KiB), and twelve blocks
/// of [`super::gmac`]: a part is sent in whole requests, and hashed in whole blocks.
pub const PART: u64 = 12 * super::gmac::BLOCK as u64;

/// Parts that one question asks for (64 MiB): hashed in 22 ms (measured as above), so that the hasher is soon there for others.
pub const ASKED: u64 = 64;

/// What of a file is asked about in one question, here or as [`super::blocks`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The hashes of its parts from this one on.
    Parts(u64),
    /// The sums of its blocks.
    Blocks(blocks::Asked),
}

impl Of {
    /// What is asked; `path` as [`super::ladder::handed_over`] gives it.
    pub fn question(self, path: &[u8]) -> Vec<u8> {
        match self {
            Of::Parts(first) => question(first, path),
            Of::Blocks(asked) => blocks::question(asked, path),
        }
    }

    /// Whether anybody answers it: blocks have certain lengths.
    pub fn is_asked_for(self) -> bool {
        match self {
            Of::Parts(_) => true,
            Of::Blocks(asked) => blocks::is_length(asked.length),
        }
    }

    /// Bytes that are asked about.
    pub fn span(self) -> u64 {
        match self {
            Of::Parts(_) => ASKED * PART,
            Of::Blocks(_) => blocks::SPAN,
        }
    }

    /// Lines of the answer at most.
    pub fn most(self) -> u64 {
        match self {
            Of::Parts(_) => ASKED,
            Of::Blocks(asked) => blocks::SPAN / asked.length,
        }
    }
}

/// What is asked; `path` as [`super::ladder::handed_over`] gives it.
pub fn question(first: u64, path: &[u8]) -> Vec<u8> {
    [format!("b{first} ").as_bytes(), path].concat()
}

/// Reads a question; `None` for a plain name.
pub fn asked(name: &[u8]) -> Option<(u64, &[u8])> {
    let rest = name.strip_prefix(b"b")?;
    let at = rest.iter().position(|byte| *byte == b' ')?;
    let first = std::str::from_utf8(&rest[..at]).ok()?.parse().ok()?;
    Some((first, &rest[at + 1..]))
}

/// The hash of a file, of those of its parts in their order.
pub struct Fold {
    of: OfPart,
    all: blake3::Hasher,
}

impl Fold {
    pub fn new(of: OfPart) -> Fold {
        Fold { of, all: blake3::Hasher::new() }
    }

    pub fn part(&mut self, digest: &Digest) {
        self.all.update(&digest.bytes);
    }

    pub fn finish(self) -> Digest {
        Digest { algorithm: Algorithm::Parts(self.of), bytes: *self.all.finalize().as_bytes() }
    }
}

/// Makes it of the bytes themselves.
pub struct InParts {
    fold: Fold,
    part: Hasher,
    /// Bytes that the part has yet to get.
    left: usize,
}

impl InParts {
    pub fn new(of: OfPart) -> InParts {
        InParts { fold: Fold::new(of), part: Hasher::new(of.into()), left: PART as usize }
    }

    pub fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let (now, later) = data.split_at(self.left.min(data.len()));
            self.part.update(now);
            self.left -= now.len();
            data = later;
            if self.left == 0 {
                self.end_part();
            }
        }
    }

    fn end_part(&mut self) {
        let next = Hasher::new(self.fold.of.into());
        self.fold.part(&std::mem::replace(&mut self.part, next).finish());
        self.left = PART as usize;
    }

    pub fn finish(mut self) -> Digest {
        if self.left < PART as usize {
            self.end_part();
        }
        self.fold.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::gmac::Key;

    #[test]
    fn the_hash_by_parts_is_that_of_the_parts_hashes_however_the_bytes_come() {
        let part = PART as usize;
        let data: Vec<u8> = (0..2 * part as u32 + 7).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for of in [OfPart::Blake3, OfPart::Sha256, OfPart::Gmac(Key([7; 16]))] {
            for len in [0, 1, part - 1, part, part + 1, 2 * part, data.len()] {
                let mut fold = Fold::new(of);
                data[..len].chunks(part).for_each(|data| fold.part(&Digest::of(of.into(), data)));
                let expected = fold.finish();
                for piece in [len.max(1), 255 * 1024, 100_003] {
                    let mut hasher = Hasher::new(Algorithm::Parts(of));
                    data[..len].chunks(piece).for_each(|piece| hasher.update(piece));
                    assert_eq!(hasher.finish(), expected, "{len} in {piece}");
                }
            }
        }
        let [there, here] =
            [1, 2].map(|last| Digest::of(Algorithm::Parts(OfPart::Blake3), &[vec![0; part], vec![last]].concat()));
        assert_ne!(there, here);
    }
    use crate::verify::ladder::handed_over;

    #[test]
    fn a_question_is_read_as_it_was_asked_and_no_name_is_one() {
        for path in [&b"/a b/c"[..], b"b1 x", b"b7 /etc", b""] {
            assert_eq!(asked(&question(64, &handed_over(path))), Some((64, &handed_over(path)[..])));
            assert_eq!(asked(&handed_over(path)), None);
        }
        assert_eq!(asked(b"b1"), None);
        assert_eq!(asked(b"b-1 /x"), None);
    }
}
