//! The sums of a file's blocks, by which another version of the file is searched for them at every place ([`crate::plan::search`]): a
//! weak one that rolls from one place to the next, and a strong one that is made where the weak one says that it may pay. As rsync's
//! checksums, but for what the strong one is: the part of a hash.
//!
//! A hasher that answers each name as it comes ([`super::ladder::Rung::tells_parts`]) is asked with a name in front of which stands
//! `wLEN.AT ` (a block's bytes, and the place in the file from which on it is to tell them), as for [`super::parts`], and answers likewise:
//! a line for each block of the next [`SPAN`] bytes. Asked `vLEN.AT `, it leaves out the weak sums, which cost more than the others: what
//! is looked for at its own place alone needs none. In the place of a hash there are the weak sum's eight hexadecimal digits, and the
//! [`Strong`] one's.
//!
//! What is sent rests on them, and the file is proven whole afterwards, as any other. But where they tell of all of a file that is pulled, its hash
//! is made of the strong ones ([`super::of_blocks`]): these must be as strong as a proof.

use super::digest::{Algorithm, Digest};
use super::gmac;

/// Bytes that one question asks about. All lengths of blocks divide them.
pub const SPAN: u64 = 256 * LONGEST;

/// What is sent or received in one request (255 KiB).
const LONGEST: u64 = 3 * gmac::BLOCK as u64;

/// Lengths of blocks, and the size from which on a file has them. A change costs a block; a block costs its line of 67 bytes, and some
/// microseconds of the hasher's.
const LENGTHS: [(u64, u64); 3] = [(LONGEST, 1 << 30), (LONGEST / 5, 64 << 20), (LONGEST / 15, 0)];

/// The length of the blocks of a file of `size` bytes (17, 51 or 255 KiB); its last one is shorter.
pub fn length(size: u64) -> u64 {
    LENGTHS.iter().find(|(_, from)| size >= *from).map_or(LONGEST, |(length, _)| *length)
}

/// Whether blocks have this length, in any file.
pub fn is_length(length: u64) -> bool {
    LENGTHS.iter().any(|(one, _)| *one == length)
}

/// Adler-32's modulus (RFC 1950 §8.2): the largest prime below 65,536.
const MODULUS: u32 = 65_521;

/// The sum of a window that moves over some bytes. Adler-32 of them, but not yet reduced: so it can give up bytes as well as take them,
/// without a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rolling {
    /// The bytes' sum: at most 255 × 261,120.
    sum: u32,
    /// Each byte, times its distance to the end: at most 9 × 10¹².
    weighed: u64,
    len: u64,
}

impl Rolling {
    /// Of a window of at most 255 KiB.
    pub fn over(window: &[u8]) -> Rolling {
        let (mut sum, mut weighed) = (0u32, 0u64);
        let mut rows = window.chunks_exact(32);
        for row in &mut rows {
            weighed += 32 * u64::from(sum);
            let (mut of_row, mut row_weighed) = (0u32, 0u32);
            for (byte, weight) in row.iter().zip((1..=32u32).rev()) {
                of_row += u32::from(*byte);
                row_weighed += u32::from(*byte) * weight;
            }
            sum += of_row;
            weighed += u64::from(row_weighed);
        }
        for byte in rows.remainder() {
            sum += u32::from(*byte);
            weighed += u64::from(sum);
        }
        Rolling { sum, weighed, len: window.len() as u64 }
    }

    /// One byte on: what the window loses in front, and what it gains behind.
    #[inline]
    pub fn roll(&mut self, out: u8, into: u8) {
        self.sum = self.sum + u32::from(into) - u32::from(out);
        self.weighed = self.weighed + u64::from(self.sum) - self.len * u64::from(out);
    }

    /// The lower half of [`Rolling::weak`].
    #[inline]
    pub fn low(self) -> u16 {
        ((1 + self.sum) % MODULUS) as u16
    }

    /// Adler-32.
    pub fn weak(self) -> u32 {
        let high = ((self.len + self.weighed) % u64::from(MODULUS)) as u32;
        high << 16 | u32::from(self.low())
    }
}

/// All but the first four bytes of a block's hash; with [`Algorithm::Gmac`], its tag ([`gmac::tag`]), and zeros.
pub type Strong = [u8; 28];

/// Both sums of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    pub weak: u32,
    pub strong: Strong,
}

impl Sum {
    pub fn of(algorithm: Algorithm, block: &[u8]) -> Sum {
        Sum { weak: weak(block), ..Sum::strong(algorithm, block) }
    }

    /// Without the weak one.
    pub fn strong(algorithm: Algorithm, block: &[u8]) -> Sum {
        Sum { weak: 0, strong: strong(algorithm, block) }
    }

    /// As a line tells it.
    pub fn told(line: &Digest) -> Sum {
        let [a, b, c, d, strong @ ..] = line.bytes;
        Sum { weak: u32::from_be_bytes([a, b, c, d]), strong }
    }

    /// The 64 digits of its line.
    pub fn hex(&self) -> String {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&self.weak.to_be_bytes());
        bytes[4..].copy_from_slice(&self.strong);
        Digest { algorithm: Algorithm::Blake3, bytes }.hex()
    }
}

/// The weak sum of a block: its Adler-32, made ten times as fast as one that can roll.
pub fn weak(block: &[u8]) -> u32 {
    simd_adler32::adler32(&block)
}

/// The strong sum of a block.
pub fn strong(algorithm: Algorithm, block: &[u8]) -> Strong {
    if let Algorithm::Gmac(key) = algorithm {
        let mut strong = [0; 28];
        strong[..16].copy_from_slice(&gmac::tag(key, block));
        return strong;
    }
    let [_, _, _, _, strong @ ..] = Digest::of(algorithm, block).bytes;
    strong
}

/// Which blocks are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Bytes of a block.
    pub length: u64,
    /// The place in the file from which on they are to be told.
    pub at: u64,
    /// With their weak sums.
    pub weak: bool,
}

/// What is asked; `path` as [`super::ladder::handed_over`] gives it.
pub fn question(Asked { length, at, weak }: Asked, path: &[u8]) -> Vec<u8> {
    let kind = if weak { 'w' } else { 'v' };
    [format!("{kind}{length}.{at} ").as_bytes(), path].concat()
}

/// Reads a question, of blocks of a length that there is, and its path. `None` for a plain name.
pub fn asked(name: &[u8]) -> Option<(Asked, &[u8])> {
    let (weak, rest) = match name.split_first()? {
        (b'w', rest) => (true, rest),
        (b'v', rest) => (false, rest),
        _ => return None,
    };
    let at = rest.iter().position(|byte| *byte == b' ')?;
    let (length, place) = std::str::from_utf8(&rest[..at]).ok()?.split_once('.')?;
    let length = length.parse().ok().filter(|length| is_length(*length))?;
    Some((Asked { length, at: place.parse().ok()?, weak }, &rest[at + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::verify::ladder::handed_over;

    #[test]
    fn the_weak_sum_is_adler_32() {
        // RFC 1950's, by zlib.
        assert_eq!(Rolling::over(b"").weak(), 1);
        assert_eq!(Rolling::over(b"Wikipedia").weak(), 0x11e6_0398);
        assert_eq!(weak(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(Rolling::over(&vec![255; LONGEST as usize]).weak(), adler(&vec![255; LONGEST as usize]));
    }

    /// As RFC 1950 §8.2 has it.
    fn adler(data: &[u8]) -> u32 {
        let (mut a, mut b) = (1, 0);
        for byte in data {
            a = (a + u32::from(*byte)) % MODULUS;
            b = (b + a) % MODULUS;
        }
        b << 16 | a
    }

    #[test]
    fn blocks_divide_what_a_question_asks_about_and_grow_with_the_file() {
        for (size, expected) in [(0, 17), (64 << 20, 51), (1 << 30, 255), (u64::MAX, 255)] {
            assert_eq!(length(size), expected << 10);
            assert_eq!(SPAN % length(size), 0);
        }
        assert_eq!(length((64 << 20) - 1), 17 << 10);
    }

    #[test]
    fn a_question_is_read_as_it_was_asked_and_no_name_is_one() {
        for path in [&b"/a b/c"[..], b"w17408.0 x", b"b7 /etc", b""] {
            let path = handed_over(path);
            for weak in [true, false] {
                let ask = Asked { length: 17_408, at: SPAN, weak };
                assert_eq!(asked(&question(ask, &path)), Some((ask, &path[..])));
            }
            assert_eq!(asked(&path), None);
        }
        for odd in ["w17408.0", "w17408 /x", "w.0 /x", "w7.0 /x", "w17408.-1 /x", "w17408. /x"] {
            assert_eq!(asked(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn a_line_tells_both_sums() {
        let sum = Sum::of(Algorithm::Sha256, b"abc");
        assert_eq!(sum.hex()[..8], *"024d0127");
        assert_eq!(sum.hex()[8..], Digest::of(Algorithm::Sha256, b"abc").hex()[8..]);
        assert_eq!(Sum::told(&Digest::from_hex(Algorithm::Sha256, sum.hex().as_bytes()).unwrap()), sum);
    }

    proptest! {
        #[test]
        fn a_window_that_moves_has_the_sum_of_what_is_in_it(data in prop::collection::vec(any::<u8>(), 1..300), len in 1usize..200) {
            let len = len.min(data.len());
            let mut rolling = Rolling::over(&data[..len]);
            for at in 0..=data.len() - len {
                prop_assert_eq!(rolling.weak(), adler(&data[at..at + len]));
                if at + len < data.len() {
                    rolling.roll(data[at], data[at + len]);
                }
            }
        }
    }
}
