//! Names as bytes: which ones may be trusted, how they are joined, what temporary files are called, and where each operand
//! starts and ends up ([`roots`]).

pub mod roots;

pub use roots::{Create, Dest, DestState, Items, Mapping, Root, Source, UsageError, arrange, listed, map, relative};

/// The longest name of a file on the common file systems (`NAME_MAX`, limits.h of Linux).
pub const NAME_MAX: usize = 255;

/// Why a name from a listing is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("an empty name")]
    Empty,
    #[error("a name that is the directory itself or its parent")]
    Dots,
    #[error("a name with a slash in it")]
    Slash,
    #[error("a name with a NUL in it")]
    Nul,
}

/// Whether a name that the other end lists may be used as the name of an entry: anything but what would leave its directory
/// or cannot exist. Callers drop `.` and `..` silently, as every listing has them, and report the others.
///
/// # Errors
/// What is wrong with it.
pub fn safe_name(name: &[u8]) -> Result<(), BadName> {
    match name {
        b"" => Err(BadName::Empty),
        b"." | b".." => Err(BadName::Dots),
        _ if name.contains(&b'/') => Err(BadName::Slash),
        _ if name.contains(&0) => Err(BadName::Nul),
        _ => Ok(()),
    }
}

/// `dir/name`. An empty `dir` or `name`, or `.` as `dir`, adds nothing; slashes at the end of `dir` are not doubled.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match (dir, name) {
        (dir, b"") => dir.to_vec(),
        (b"" | b".", name) => name.to_vec(),
        (dir, name) if dir.ends_with(b"/") => [dir, name].concat(),
        (dir, name) => [dir, name].join(&b'/'),
    }
}

/// A path without `.`, and without what `..` takes back (rsync: `clean_fname`); `..` at its start stays, but for an absolute
/// path's.
pub fn collapse(path: &[u8]) -> Vec<u8> {
    let absolute = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        match (part, parts.last()) {
            (b"..", Some(last)) if *last != b".." => {
                parts.pop();
            }
            (b"..", None) if absolute => {}
            _ => parts.push(part),
        }
    }
    let root: &[u8] = if absolute { b"/" } else { b"" };
    [root, &parts.join(&b'/')].concat()
}

/// What a temporary file of ours ends with: four random characters and two that follow from them and the name, so that a
/// file is recognised as ours by its name, and `.notes.backup` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suffix([u8; 4]);

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Suffix {
    /// From 32 random bits.
    pub fn new(random: u32) -> Suffix {
        let digit = |power: u32| ALPHABET[(random / 62u32.pow(power) % 62) as usize];
        Suffix([digit(0), digit(1), digit(2), digit(3)])
    }

    /// The six characters. The check is FNV-1a: it guards against accidents, not against enemies (those are the business of
    /// exclusive creation).
    fn characters(self, name: &[u8]) -> [u8; 6] {
        let hash = name
            .iter()
            .chain(&self.0)
            .fold(0x811c_9dc5u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let [a, b, c, d] = self.0;
        [a, b, c, d, ALPHABET[(hash % 62) as usize], ALPHABET[(hash / 62 % 62) as usize]]
    }
}

/// The name under which `name` is written until it is whole: `.name.XXXXXX`, as rsync calls it, cut to [`NAME_MAX`] (between
/// the characters of UTF-8, for file systems that insist on it). A dot at the start is not doubled.
pub fn temp_name(name: &[u8], suffix: Suffix) -> Vec<u8> {
    let stem = stem(name);
    [b".", stem, b".", &suffix.characters(stem)].concat()
}

/// The part of a final name that its temporary names carry.
fn stem(name: &[u8]) -> &[u8] {
    let name = match name {
        [b'.', rest @ ..] if !rest.is_empty() => rest,
        name => name,
    };
    let mut end = name.len().min(NAME_MAX - 8);
    if end < name.len() {
        // At most three continuation bytes belong to a character; more is no UTF-8, and cut anywhere.
        let continued = name[..=end].iter().rev().take_while(|&&byte| byte & 0xc0 == 0x80).count();
        end -= if continued > 3 { 0 } else { continued };
    }
    &name[..end]
}

/// Whether a name is one that [`temp_name`] gives to some file; the chance that another name looks so is 1 in 3,844 of those
/// of the form `.name.XXXXXX`.
///
/// Such a file may belong to a run that is still at work: remove it only if it is a regular file, no name of the source, and
/// has not been written to for long.
pub fn is_temp(name: &[u8]) -> bool {
    let Some((head, tail)) = name.split_last_chunk::<6>() else { return false };
    let [a, b, c, d, ..] = *tail;
    match head {
        [b'.', stem @ .., b'.'] if !stem.is_empty() => {
            tail.iter().all(u8::is_ascii_alphanumeric) && Suffix([a, b, c, d]).characters(stem) == *tail
        }
        _ => false,
    }
}

/// Whether `candidate` is a temporary name of the final name `name`. The warning at [`is_temp`] holds.
pub fn is_temp_of(candidate: &[u8], name: &[u8]) -> bool {
    let stem = stem(name);
    is_temp(candidate) && candidate.len() == stem.len() + 8 && candidate[1..].starts_with(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_names_that_stay_in_their_directory_are_safe() {
        for name in ["a", "...", "..a", "-rf", "~", "a:b", "a\nb", "\u{1b}[2J", " ", "*"] {
            assert_eq!(safe_name(name.as_bytes()), Ok(()), "{name:?}");
        }
        assert_eq!(safe_name(b"\xff\xfe"), Ok(()));
        let bad =
            ["", ".", "..", "a/b", "/", "../x", "/etc/passwd", "a\0b"].map(|name| safe_name(name.as_bytes()).is_err());
        assert_eq!(bad, [true; 8]);
    }

    #[test]
    fn joining_adds_one_slash_where_one_is_needed() {
        for (dir, name, joined) in [
            ("a", "b", "a/b"),
            ("a/", "b", "a/b"),
            ("/", "b", "/b"),
            ("", "b", "b"),
            (".", "b", "b"),
            ("a", "", "a"),
            ("..", "b", "../b"),
        ] {
            assert_eq!(join(dir.as_bytes(), name.as_bytes()), joined.as_bytes());
        }
    }

    #[test]
    fn a_path_is_collapsed_as_far_as_it_is_known() {
        for (path, collapsed) in [
            ("a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("a/../../b/..", ".."),
            ("/../a", "/a"),
            (".", ""),
            ("d/../../../x", "../../x"),
        ] {
            assert_eq!(String::from_utf8_lossy(&collapse(path.as_bytes())), collapsed, "{path}");
        }
    }

    #[test]
    fn temporary_names_look_like_rsyncs() {
        let temp = temp_name(b"name", Suffix::new(12345));
        assert!(temp.starts_with(b".name.") && temp.len() == ".name.XXXXXX".len());
        assert!(temp_name(b".hidden", Suffix::new(1)).starts_with(b".hidden."));
        let long = "ä".repeat(127) + "x";
        let temp = temp_name(long.as_bytes(), Suffix::new(u32::MAX));
        assert!(temp.len() <= NAME_MAX && temp.len() > NAME_MAX - 4 && std::str::from_utf8(&temp).is_ok());
        assert_eq!(temp_name(&[0xff; 255], Suffix::new(1)).len(), NAME_MAX);
        assert_eq!(temp_name(&[0x80; 255], Suffix::new(1)).len(), NAME_MAX);
    }

    #[test]
    fn other_peoples_files_are_not_taken_for_temporary_ones() {
        for name in
            [".notes.backup", ".a.XXXXXX", ".name.000000", ".bashrc", "..backup", "", ".", ".a.b", "name.abcdef"]
        {
            assert!(!is_temp(name.as_bytes()), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn our_temporary_names_are_safe_short_and_recognised(name in prop::collection::vec(any::<u8>(), 1..300), random: u32) {
            prop_assume!(safe_name(&name).is_ok());
            let temp = temp_name(&name, Suffix::new(random));
            prop_assert!(safe_name(&temp).is_ok() && temp.len() <= NAME_MAX);
            prop_assert!(is_temp(&temp) && is_temp_of(&temp, &name));
            prop_assert!(!is_temp_of(&temp, b"another name"));
        }
    }
}
