//! A small file in one question: what it holds, its hash, and what it is. Who hashes it at the far end reads it anyway, and an SFTP server
//! need not do so too.
//!
//! A hasher that answers each name as it comes ([`super::ladder::Rung::tells_parts`]) is asked with a name in front of which stands `c `; no
//! other name begins so, for all begin with `/` or `./`. For a file of at most [`MOST`] bytes it answers with `HASH <SIZE MTIME LEN` in a
//! line, LEN bytes and a newline: what it read, the hash of that, and the size and the seconds that the open file has after that. For any
//! other, and what it cannot read, it answers as it would a plain name of which it knows no hash.
//!
//! For a small file this takes the place of four requests of SFTP and a question for its hash (measured, see docs/performance.md).

use super::digest::{Algorithm, Digest};
use super::gmac::BLOCK;

/// Bytes of a file that is told at most: what the hasher reads in one call, and hashes as one block.
pub const MOST: u64 = BLOCK as u64;

/// Bytes of a file that is asked for, or made, in this way at most. Larger ones are no dearer over SFTP, and go over several channels.
pub const ASKED: u64 = 48 * 1024;

/// What stands behind the hash in place of two blanks: bytes follow.
const BYTES: &[u8; 2] = b" <";

/// What stands in the line before the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of the bytes that follow.
    pub digest: Digest,
    /// Of the file, after it was read.
    pub size: u64,
    /// Seconds; SFTP would tell them so.
    pub mtime: i64,
    /// Bytes that follow, and then a newline.
    pub len: usize,
}

/// What is asked; `path` as [`super::ladder::handed_over`] gives it.
pub fn question(path: &[u8]) -> Vec<u8> {
    [b"c ", path].concat()
}

/// Reads a question; `None` for any other name.
pub fn asked(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b"c ")
}

/// The line before the bytes.
pub fn head(hash: &[u8], size: u64, mtime: i64, len: usize) -> Vec<u8> {
    [hash, BYTES, format!("{size} {mtime} {len}\n").as_bytes()].concat()
}

/// Reads the line before the bytes; `None` for any other, and for more bytes than there may be.
pub fn told(algorithm: Algorithm, line: &[u8]) -> Option<Head> {
    let (hash, rest) = line.split_at_checked(64)?;
    let mut words = std::str::from_utf8(rest.strip_prefix(BYTES)?).ok()?.split(' ');
    let (size, mtime, len) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let digest = Digest::from_hex(algorithm, hash)?;
    (words.next().is_none() && len as u64 <= MOST).then_some(Head { digest, size, mtime, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::ladder::{handed_over, parse_line};

    #[test]
    fn a_question_is_read_as_it_was_asked_and_no_name_is_one() {
        for path in [&b"/a b/c"[..], b"c /x", b"c", b""] {
            assert_eq!(asked(&question(&handed_over(path))), Some(&handed_over(path)[..]));
            assert_eq!(asked(&handed_over(path)), None);
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_told_and_nothing_else_is_one() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let hex = digest.hex();
        for (size, mtime, len) in [(0, 0, 0), (u64::MAX, -1, MOST as usize), (1, i64::MAX, 1)] {
            let line = head(hex.as_bytes(), size, mtime, len);
            let line = line.strip_suffix(b"\n").unwrap();
            assert_eq!(told(Algorithm::Sha256, line), Some(Head { digest, size, mtime, len }));
            assert_eq!(parse_line(Algorithm::Sha256, line), None);
        }
        let long = (MOST + 1).to_string();
        for bad in ["  /f", " <1 2", " <1 2 3 4", " <1 2 x", " <-1 2 3", " <", "", &format!(" <1 2 {long}")] {
            assert_eq!(told(Algorithm::Sha256, format!("{hex}{bad}").as_bytes()), None, "{bad}");
        }
    }
}
