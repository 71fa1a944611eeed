//! Which directories lie below one: hints, which let a far source's directories be listed at once instead of a level at a time.
//!
//! A hasher that answers each name as it comes ([`super::ladder::Rung::tells_parts`]) is asked with a name in front of which stands
//! `d `; no other name begins so, for all begin with `/` or `./`. It goes through the directory level by level, follows no links, goes into
//! no other file system (which may lie at a server that does not answer; where it cannot read which there are, it tells nothing), and
//! answers with a line for each directory of at most [`ENTRIES`] entries that it has looked into, [`DIRECTORY`] and its path below the
//! one asked about, and then with a line of the whole question and [`UNREADABLE`](super::ladder::UNREADABLE) for a hash. It tells no name
//! with a newline. A hasher of before there were such questions takes it for a name that it cannot read, and so tells of none.
//!
//! Nothing rests on what it tells: each directory is listed by SFTP, and what is not told of is found as ever.

/// Entries of a directory that is told of. What has more may be left out by a filter that the far end does not know, and its listing
/// would be waste.
pub const ENTRIES: usize = 1000;

/// Entries that are looked at for one question (some 50 ms of a local disk, measured with Python), and directories told of.
pub const SEEN: usize = 50_000;
pub const MOST: usize = 4096;

/// The longest path that is kept, of those told (4,096 bytes are what Linux takes at all): some megabytes of one answer.
pub const LONGEST: usize = 1024;

/// What stands in place of a hash before a directory.
pub const DIRECTORY: &[u8; 64] = &[b'='; 64];

/// What is asked; `path` as [`super::ladder::handed_over`] gives it.
pub fn question(path: &[u8]) -> Vec<u8> {
    [b"d ", path].concat()
}

/// Reads a question; `None` for a plain name.
pub fn asked(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b"d ")
}

/// Reads a line that tells of a directory.
pub fn told(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(DIRECTORY)?.strip_prefix(b"  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::ladder::handed_over;

    #[test]
    fn a_question_is_read_as_it_was_asked_and_no_name_is_one() {
        for path in [&b"/a b/c"[..], b"d /x", b"d", b""] {
            assert_eq!(asked(&question(&handed_over(path))), Some(&handed_over(path)[..]));
            assert_eq!(asked(&handed_over(path)), None);
        }
        assert_eq!(told(&[&DIRECTORY[..], b"  a/b c"].concat()), Some(&b"a/b c"[..]));
        assert_eq!(told(&[&[b'-'; 64][..], b"  a"].concat()), None);
    }
}
