//! What a directory holds, in one question: who hashes at the far end reads a small directory and looks at all that is in it in less time
//! than an SFTP server takes for its five requests, and tells it in a third of the bytes.
//!
//! A hasher that answers each name as it comes ([`super::ladder::Rung::tells_parts`]) is asked with a name in front of which stands `l `; no
//! other name begins so, for all begin with `/` or `./`. It answers as it would about a small file ([`super::content`]) that holds, for
//! each entry in any order, `MODE UID GID ATIME MTIME SIZE NAME` and a NUL (numbers decimal; the mode with its type, times in seconds, as
//! SFTP would tell them), and behind that of a symlink its target and a NUL. Where it could not look at something that is there, or this
//! would be more than [`super::content::MOST`] bytes, it answers as it would a plain name of which it knows no hash.

use std::collections::HashSet;

use crate::entry::{Entry, Kind};
use crate::sftp::Attrs;

/// What is asked; `path` as [`super::ladder::handed_over`] gives it.
pub fn question(path: &[u8]) -> Vec<u8> {
    [b"l ", path].concat()
}

/// Reads a question; `None` for any other name.
pub fn asked(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b"l ")
}

/// What is told of an entry; `target` of a symlink.
pub fn tell(attrs: &Attrs, name: &[u8], target: Option<&[u8]>, out: &mut Vec<u8>) {
    let ((uid, gid), (atime, mtime)) = (attrs.owner.unwrap_or_default(), attrs.times.unwrap_or_default());
    let (mode, size) = (attrs.permissions.unwrap_or_default(), attrs.size.unwrap_or_default());
    out.extend_from_slice(format!("{mode} {uid} {gid} {atime} {mtime} {size} ").as_bytes());
    for part in std::iter::once(name).chain(target) {
        out.extend_from_slice(part);
        out.push(0);
    }
}

/// Reads what was told; `None` if there is anything in it that cannot be: a listing over SFTP tells which, and what is to be done with it.
/// Whether the names can be used is for the caller to see.
pub fn told(data: &[u8]) -> Option<Vec<Entry>> {
    let (mut entries, mut seen) = (Vec::new(), HashSet::new());
    let mut parts = data.strip_suffix(b"\0").map(|data| data.split(|byte| *byte == 0)).into_iter().flatten();
    while let Some(part) = parts.next() {
        let mut words = part.splitn(7, |byte| *byte == b' ');
        let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
        let mut short = || u32::try_from(number()?).ok();
        let (mode, uid, gid, atime, mtime) = (short()?, short()?, short()?, short()?, short()?);
        let size = Some(number()?);
        let name = words.next().filter(|name| !name.is_empty() && seen.insert(name.to_vec()))?;
        let attrs = Attrs { size, owner: Some((uid, gid)), permissions: Some(mode), times: Some((atime, mtime)) };
        let meta = attrs.to_meta()?;
        let target = match meta.kind {
            Kind::Symlink => Some(parts.next().filter(|target| !target.is_empty())?.to_vec()),
            _ => None,
        };
        entries.push(Entry { name: name.to_vec(), meta, target });
    }
    (data.is_empty() || !entries.is_empty()).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::ladder::handed_over;

    fn attrs(permissions: u32, size: u64) -> Attrs {
        Attrs {
            size: Some(size),
            owner: Some((0, u32::MAX)),
            permissions: Some(permissions),
            times: Some((1, u32::MAX)),
        }
    }

    #[test]
    fn a_question_is_read_as_it_was_asked_and_no_name_is_one() {
        for path in [&b"/a b/c"[..], b"l /x", b"l", b""] {
            assert_eq!(asked(&question(&handed_over(path))), Some(&handed_over(path)[..]));
            assert_eq!(asked(&handed_over(path)), None);
        }
    }

    #[test]
    fn what_is_told_is_read_to_the_byte() {
        let mut out = Vec::new();
        let all = [
            (attrs(0o100_644, u64::MAX), &b"a  b\n 7"[..], None),
            (attrs(0o040_755, 0), b"\xff\x01", None),
            (attrs(0o120_777, 3), b"link", Some(&b"1 2 3 4 5 6 7"[..])),
            (attrs(0o140_000, 0), b"socket", None),
        ];
        all.iter().for_each(|(attrs, name, target)| tell(attrs, name, *target, &mut out));
        let expected =
            all.map(|(attrs, name, target)| (attrs.to_meta().unwrap(), name.to_vec(), target.map(<[u8]>::to_vec)));
        let entries = told(&out).unwrap().into_iter().map(|entry| (entry.meta, entry.name, entry.target));
        assert_eq!(entries.collect::<Vec<_>>(), expected);
        assert_eq!(told(b""), Some(Vec::new()));
        // What is cut off anywhere is no listing, but where an entry ends: its hash tells of that.
        let whole = |len: usize| told(&out[..len]).is_some();
        assert_eq!((0..out.len()).filter(|len| whole(*len)).count(), all.len());
    }

    #[test]
    fn what_cannot_be_is_not_told() {
        let file = |name: &str| format!("33188 0 0 1 1 5 {name}\0");
        assert!(told(file("a").as_bytes()).is_some());
        let twice = file("a") + &file("a");
        let link = "41471 0 0 1 1 5 link\0".to_owned();
        let empty = link.clone() + "\0";
        for bad in [&twice, &link, &empty, &file(""), "\0", "33188 0 0 1 1 5\0", "x"] {
            assert_eq!(told(bad.as_bytes()), None, "{bad:?}");
        }
        for number in ["-1", "x", "4294967296", ""] {
            assert_eq!(told(format!("33188 {number} 0 1 1 5 a\0").as_bytes()), None, "{number}");
        }
        assert_eq!(told(b"0 0 0 1 1 5 a\0"), None);
    }
}
