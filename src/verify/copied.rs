//! Bytes of an old file that the far end's hasher writes into the new one: what `copy-data` does where the SFTP server has it (OpenSSH from
//! 9.0 on; RHEL 9 has 8.7, Ubuntu 22.04 has 8.9).
//!
//! A hasher that answers each name as it comes ([`super::ladder::Rung::tells_parts`]) is asked with a name in front of which stands
//! `pFROM AT LEN N ` (numbers decimal; N: the bytes of the old file's name), with the new file's behind it; no other name begins so, for all begin
//! with `/` or `./`. It writes LEN bytes that the old file has at FROM into the new one, which must be there and no link, at AT, and answers with a line of
//! [`DONE`] and the whole question, or as it would about a name of which it knows no hash: then some of them may be written.
//!
//! Nothing rests on it: the new file is proven as any other, by the same hasher, which does what it is asked in order.

/// What stands in place of a hash: it is done.
pub const DONE: &[u8; 64] = &[b'0'; 64];

/// What is to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copying<'a> {
    /// The first byte in the old file.
    pub from: u64,
    /// Where it goes in the new one.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// As [`super::ladder::handed_over`] gives it.
    pub old: &'a [u8],
    /// Likewise.
    pub new: &'a [u8],
}

impl<'a> Copying<'a> {
    /// What is asked.
    pub fn question(&self) -> Vec<u8> {
        let Copying { from, at, len, old, new } = self;
        [format!("p{from} {at} {len} {} ", old.len()).as_bytes(), old, new].concat()
    }

    /// Reads a question; `None` for any other name.
    pub fn asked(question: &'a [u8]) -> Option<Copying<'a>> {
        let mut words = question.strip_prefix(b"p")?.splitn(5, |byte| *byte == b' ');
        let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
        let (from, at, len, old) = (number()?, number()?, number()?, number()?);
        let (old, new) = words.next()?.split_at_checked(usize::try_from(old).ok()?)?;
        Some(Copying { from, at, len, old, new })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::ladder::handed_over;

    #[test]
    fn a_question_is_read_as_it_was_asked_and_no_name_is_one() {
        for (old, new) in [(&b"/a b//c"[..], &b"/a b/.c d.x"[..]), (b"p1 2 3 4 /x", b"p"), (b"a", b" ")] {
            let (old, new) = (&handed_over(old), &handed_over(new));
            let copying = Copying { from: u64::MAX, at: 0, len: 7, old, new };
            assert_eq!(Copying::asked(&copying.question()), Some(copying));
            assert_eq!(Copying::asked(old), None);
        }
        for wrong in [&b"p1 2 3 9 /a/b"[..], b"p1 2 3 /a/b", b"p1 2 -3 2 /a/b", b"p", b""] {
            assert_eq!(Copying::asked(wrong), None, "{:?}", String::from_utf8_lossy(wrong));
        }
    }
}
