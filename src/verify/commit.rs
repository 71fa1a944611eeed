//! A file that is proven, and gets its attributes and its name, in one question: whoever hashes it at the far end has it open anyway.
//!
//! A hasher that answers each name as it comes ([`super::ladder::Rung::tells_parts`]) is asked with a name in front of which stands
//! `eHASH MODE UID GID ATIME MTIME ` (HASH in hexadecimal digits, all else in decimal ones, -1 for what stays as it is), and behind it
//! `//NAME`: no other name begins so, for all begin with `/` or `./`. If the file's hash is the one that is wanted, it sets owner and group,
//! mode and times, renames the file to NAME in the directory that it lies in, over whatever has that name, and answers with the hash,
//! [`DONE`] and where the file lay. Where the hash is another one, or something of this fails, it answers as it would a plain name, and
//! who asked goes on as if it had asked for the hash alone.
//!
//! For a small file this takes the place of two requests of five, and of a round trip (measured, see docs/performance.md).

use crate::sftp::Attrs;

use super::digest::Digest;

/// What stands behind the hash in place of two blanks: it was right, and the file has its name.
pub const DONE: &[u8; 2] = b" +";

/// What is to become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit<'a> {
    /// Its hash, in hexadecimal digits.
    pub wanted: &'a [u8],
    pub mode: Option<u32>,
    pub owner: Option<(u32, u32)>,
    /// Of the last access, and of the last change, in seconds.
    pub times: Option<(u32, u32)>,
    /// Where it lies.
    pub temp: &'a [u8],
    /// What it is to be called, in the same directory.
    pub name: &'a [u8],
}

/// What is asked; `temp` as [`super::ladder::handed_over`] gives it.
pub fn question(wanted: &Digest, attrs: &Attrs, temp: &[u8], name: &[u8]) -> Vec<u8> {
    let number = |number: Option<u32>| number.map_or(-1, i64::from);
    let (owner, times) = (attrs.owner.unzip(), attrs.times.unzip());
    let numbers = [attrs.permissions, owner.0, owner.1, times.0, times.1].map(number);
    let [mode, uid, gid, atime, mtime] = numbers;
    let head = format!("e{} {mode} {uid} {gid} {atime} {mtime} ", wanted.hex());
    [head.as_bytes(), temp, b"//", name].concat()
}

/// Reads a question; `None` for any other name.
pub fn asked(question: &[u8]) -> Option<Commit<'_>> {
    let mut words = question.strip_prefix(b"e")?.splitn(7, |byte| *byte == b' ');
    let wanted = words.next()?;
    let mut number = || {
        let number: i64 = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        Some(u32::try_from(number).ok())
    };
    let (mode, uid, gid, atime, mtime) = (number()?, number()?, number()?, number()?, number()?);
    let paths = words.next()?;
    // A name has no slash in it, so this is the last place where two of them stand.
    let at = paths.windows(2).rposition(|two| two == b"//")?;
    let (temp, name) = (&paths[..at], &paths[at + 2..]);
    Some(Commit { wanted, mode, owner: uid.zip(gid), times: atime.zip(mtime), temp, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::digest::Algorithm;
    use crate::verify::ladder::handed_over;

    #[test]
    fn a_question_is_read_as_it_was_asked_and_no_name_is_one() {
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let attrs = [
            Attrs::default(),
            Attrs { size: None, owner: Some((0, u32::MAX)), permissions: Some(0o4755), times: Some((1, u32::MAX)) },
        ];
        for (attrs, temp, name) in [(attrs[0], &b"/a b//c/.d e.x"[..], &b"d e"[..]), (attrs[1], b"e//f", b" ")] {
            let temp = handed_over(temp);
            let asked_for = question(&digest, &attrs, &temp, name);
            let commit = asked(&asked_for).unwrap();
            assert_eq!(Digest::from_hex(Algorithm::Sha256, commit.wanted), Some(digest));
            assert_eq!((commit.mode, commit.owner, commit.times), (attrs.permissions, attrs.owner, attrs.times));
            assert_eq!((commit.temp, commit.name), (&temp[..], name));
            assert_eq!(asked(&temp), None);
        }
    }
}
