//! The far end's hashers as data: the script that finds the best one, the lines it prints, and how names are batched.
//!
//! Names travel on standard input, never on a command line that a shell parses. A batch is its names, one to a line, then
//! [`SENTINEL`] and an empty line; `awk` collects them and runs `tr | xargs -0 HASHER` for each batch, of any size, so that
//! one name is answered as readily as a thousand (measured: 8 ms for one, 46 ms for 2,000). A line of output is
//! `HASH  NAME`; names that a hasher would print otherwise than they are (see [`is_plain`]) are not given to it.

use std::sync::LazyLock;

use super::commit::DONE;
use super::digest::{Algorithm, Digest};
use super::gmac::Key;

/// Names in one batch at most: bounds what one answer can hold up.
pub const BATCH: usize = 4096;

/// The last name of each batch: hashed in no time everywhere, and its line says that the batch is done.
pub const SENTINEL: &[u8] = b"/dev/null";

/// First line of the script's output; anything else means that no shell ran it (`ForceCommand internal-sftp`).
pub const GREETING: &[u8] = b"hopsync-far 1";

/// What the script is sent first, and reads first: the key for [`Rung::Gmac`]. An SFTP server that was started in its place takes
/// it for the length of an impossible packet and hangs up, instead of waiting with us for what comes.
pub fn knock(key: Key) -> String {
    format!("hopsync {key}\n")
}

/// The script, for the login shell whatever it is: one line, with nothing that a shell would take for itself within single quotes.
///
/// It says who we are there (for owner and group), the umask, and the hasher that it then becomes, having seen it hash
/// something rightly. Python, which is where the workflows are, needs one process for all files, and by the OpenSSL that it
/// brings hashes at the speed of memory ([`super::gmac`]; 2 GB in 0.4 s); where that cannot be had, by SHA-256. What it runs is
/// `hasher.py`, in two words: Debian's csh takes none of 8 KiB.
pub fn script() -> &'static str {
    static SCRIPT: LazyLock<String> = LazyLock::new(|| {
        let program = in_quotes(HASHER);
        let (first, second) = halves(&program);
        format!("{SHELL} sh '{first}' '{second}'")
    });
    &SCRIPT
}

/// What Python runs.
const HASHER: &str = include_str!("hasher.py");

/// `-W interactive` makes
/// mawk, Debian's awk, read line by line; other awks ignore it.
const SHELL: &str = concat!(
    "exec sh -c '",
    "I=\"ids $(id -u) $(id -g) $(id -G)\"; M=\"umask $(umask)\"; H=\"home $(pwd -P)\"; ",
    "say() { read knock key || exit 0; printf \"%s\\012\" \"hopsync-far 1\" \"$I\" \"$M\" \"$H\" \"hasher $1\"; }; ",
    "PATH=$PATH:/usr/local/bin:/usr/bin:/bin; ",
    "has() { command -v $1 >/dev/null 2>&1; }; ",
    "become() { n=$1; e=$2; shift 2; C=\"tr \\\\\\\\012 \\\\\\\\000 | xargs -0 $*\"; export C; ",
    "case $(echo /dev/null | sh -c \"$C\" 2>/dev/null) in $e*) say $n; ",
    "exec awk -W interactive ",
    "\"{ if (\\$0 == \\\"\\\") close(ENVIRON[\\\"C\\\"]); else print | ENVIRON[\\\"C\\\"] }\";; esac; }; ",
    "if has hopsync && [ \"$(hopsync --hash-server=probe 2>/dev/null)\" = hash-server-6 ]; then ",
    "say hopsync; exec hopsync --hash-server; fi; ",
    "if has xargs && has awk && has tr; then ",
    "if has b3sum; then become b3sum af1349b9 b3sum --; fi; fi; ",
    "for p in /usr/bin/python3 python3; do has $p && ",
    "$p -I -S -c \"exec(\\\"$1$2\\\")\" \"$I\" \"$M\" \"$H\"; ",
    // One that cannot be used says so by its status. Where one has begun, what it leaves undone must not be taken up by another.
    "x=$?; [ $x -gt 0 ] && [ $x -lt 128 ] || exit 0; done; ",
    "if has xargs && has awk && has tr; then ",
    "if has openssl; then become openssl e3b0c442 openssl dgst -sha256 -r; fi; ",
    "if has sha256sum; then become sha256sum e3b0c442 sha256sum --; fi; ",
    "fi; say none'",
);

/// A Python program as what stands in a string of Python's in double quotes, in single quotes of any shell's (csh takes `!` also there):
/// without comments and blank lines, and with a blank for each level of indentation.
fn in_quotes(program: &str) -> String {
    let mut quoted = String::with_capacity(program.len());
    for line in program.lines() {
        let text = line.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        quoted.extend(std::iter::repeat_n(' ', (line.len() - text.len()) / 4));
        for char in text.chars() {
            match char {
                '\'' | '"' | '\\' | '!' => quoted.push_str(&format!("\\x{:02x}", char as u32)),
                char => quoted.push(char),
            }
        }
        quoted.push_str("\\n");
    }
    quoted
}

/// The lines of what [`in_quotes`] made, in two parts of much the same length.
fn halves(quoted: &str) -> (&str, &str) {
    let middle = quoted.len() / 2;
    let end = quoted.match_indices("\\n").map(|(at, line_end)| at + line_end.len()).find(|end| *end >= middle);
    quoted.split_at(end.unwrap_or(quoted.len()))
}

/// The script where nothing is to be hashed: it only tells who we are.
pub const SCRIPT_WITHOUT_HASHER: &str =
    "exec sh -c 'echo hopsync-far 1; echo ids $(id -u) $(id -g) $(id -G); echo umask $(umask); echo hasher none'";

/// A hasher at the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Rung {
    /// `hopsync --hash-server`: answers each name at once.
    Own,
    B3sum,
    /// Python with its OpenSSL's GMAC, driven as [`Rung::Own`] is.
    Gmac(Key),
    /// Python's `hashlib`, likewise.
    Python,
    Openssl,
    Sha256sum,
}

impl Rung {
    pub fn name(self) -> &'static str {
        match self {
            Rung::Own => "hopsync",
            Rung::B3sum => "b3sum",
            Rung::Gmac(_) => "gmac",
            Rung::Python => "python3",
            Rung::Openssl => "openssl",
            Rung::Sha256sum => "sha256sum",
        }
    }

    pub fn algorithm(self) -> Algorithm {
        match self {
            Rung::Own | Rung::B3sum => Algorithm::Blake3,
            Rung::Gmac(key) => Algorithm::Gmac(key),
            Rung::Python | Rung::Openssl | Rung::Sha256sum => Algorithm::Sha256,
        }
    }

    /// Whether names go in batches; else each is answered as it comes.
    pub fn batches(self) -> bool {
        !matches!(self, Rung::Own | Rung::Gmac(_) | Rung::Python)
    }

    /// Whether it answers questions for parts ([`super::parts`]), for directories ([`super::below`]), and for a file and its name
    /// ([`super::commit`]).
    pub fn tells_parts(self) -> bool {
        !self.batches()
    }

    /// `key` is what the script was sent.
    fn from_name(name: &str, key: Key) -> Option<Rung> {
        let all = [Rung::Own, Rung::B3sum, Rung::Gmac(key), Rung::Python, Rung::Openssl, Rung::Sha256sum];
        all.into_iter().find(|rung| rung.name() == name)
    }
}

/// What the script said of the far end.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct FarEnd {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// All groups that the login is a member of.
    pub groups: Vec<u32>,
    pub umask: Option<u32>,
    /// Where its shell starts, without links.
    pub home: Option<Vec<u8>>,
    pub hasher: Option<Rung>,
}

/// Reads the script's lines, in order. `Ok(true)` when the last one has been read.
#[derive(Debug)]
pub struct Introduction {
    key: Key,
    greeted: bool,
    pub found: FarEnd,
}

impl Introduction {
    /// `key` is what the script was sent ([`knock`]).
    pub fn new(key: Key) -> Introduction {
        Introduction { key, greeted: false, found: FarEnd::default() }
    }

    /// # Errors
    /// A line that the script does not print: whatever speaks there is not it.
    pub fn line(&mut self, line: &[u8]) -> Result<bool, String> {
        let text = String::from_utf8_lossy(line).trim().to_owned();
        if !self.greeted {
            // A shell's start-up file may print something first, with or without a newline.
            self.greeted = line.ends_with(GREETING);
            return Ok(false);
        }
        let mut words = text.split(' ');
        match words.next() {
            Some("ids") => {
                let mut numbers = words.filter_map(|word| word.parse().ok());
                self.found.uid = numbers.next();
                self.found.gid = numbers.next();
                self.found.groups = numbers.take(65_536).collect();
            }
            Some("umask") => {
                self.found.umask = words.next().and_then(|mask| u32::from_str_radix(mask, 8).ok()).map(|m| m & 0o777);
            }
            Some("home") => self.found.home = line.strip_prefix(b"home ").map(<[u8]>::to_vec),
            Some("hasher") => {
                self.found.hasher = words.next().and_then(|name| Rung::from_name(name, self.key));
                return Ok(true);
            }
            _ => return Err(format!("unexpected words from the far end's shell: {text:?}")),
        }
        Ok(false)
    }
}

/// Whether every hasher prints this name as it is: valid UTF-8 without control characters and backslashes. (b3sum replaces
/// what is no UTF-8; all escape newline and backslash, each in its own way.)
pub fn is_plain(path: &[u8]) -> bool {
    !path.is_empty()
        && path.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f && *byte != b'\\')
        && std::str::from_utf8(path).is_ok()
}

/// The name as it is handed over: one that could be taken for an option gets `./`.
pub fn handed_over(path: &[u8]) -> Vec<u8> {
    if path.first() == Some(&b'/') { path.to_vec() } else { [b"./", path].concat() }
}

/// What [`Rung::Own`] and [`Rung::Python`] print in place of the hash of a file that they cannot read, and at the end of an
/// answer about parts.
pub const UNREADABLE: &[u8; 64] = &[b'-'; 64];

/// One line of a hasher's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// `None`: it could not be read.
    pub digest: Option<Digest>,
    pub name: &'a [u8],
    /// It has another name by now ([`super::commit`]).
    pub committed: bool,
}

/// `HASH  NAME` (sha256sum, b3sum, python3, hopsync), `HASH *NAME` (openssl -r), or `HASH +NAME` ([`super::commit`]).
pub fn parse_line(algorithm: Algorithm, line: &[u8]) -> Option<Line<'_>> {
    let hash = line.get(..64)?;
    let digest = if hash == UNREADABLE { None } else { Some(Digest::from_hex(algorithm, hash)?) };
    let committed = match line.get(64..66)? {
        b"  " | b" *" => false,
        mark if mark == DONE => true,
        _ => return None,
    };
    Some(Line { digest, name: &line[66..], committed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduce(lines: &[&str]) -> Result<FarEnd, String> {
        let mut introduction = Introduction::new(Key([7; 16]));
        for line in lines {
            if introduction.line(line.as_bytes())? {
                return Ok(introduction.found);
            }
        }
        Err("it never ended".to_owned())
    }

    #[test]
    fn the_script_tells_who_we_are_and_what_hashes() {
        let far =
            introduce(&["Welcome!", "hopsync-far 1", "ids 1000 1000 1000 27", "umask 0022", "hasher b3sum"]).unwrap();
        assert_eq!((far.uid, far.gid, far.groups, far.umask), (Some(1000), Some(1000), vec![1000, 27], Some(0o22)));
        assert_eq!(far.hasher, Some(Rung::B3sum));
        assert_eq!(introduce(&["hopsync-far 1", "hasher gmac"]).unwrap().hasher, Some(Rung::Gmac(Key([7; 16]))));
        assert_eq!(introduce(&["hopsync-far 1", "hasher none"]).unwrap().hasher, None);
        assert!(introduce(&["hopsync-far 1", "rm: cannot"]).is_err());
    }

    #[test]
    fn the_script_survives_any_login_shell() {
        let words: Vec<_> = script().split('\'').collect();
        let ["exec sh -c ", shell, " sh ", first, " ", second, ""] = words[..] else { panic!("{words:?}") };
        for word in [shell, first, second] {
            // Debian's csh: 8,185 bytes at most (measured).
            assert!(word.len() < 8000 && !word.contains(['\n', '!']), "{} {word}", word.len());
        }
        // In fish's single quotes two of them are one.
        assert!(![first, second].concat().contains("\\\\"));
    }

    #[test]
    fn what_python_runs_is_the_program_without_its_comments() {
        let program = "# why\nif a:\n\n    # how\n    b = '!\"\\n'\n";
        assert_eq!(in_quotes(program), "if a:\\n b = \\x27\\x21\\x22\\x5cn\\x27\\n");
        assert_eq!(halves("a = 1\\nb = 2\\nc\\n"), ("a = 1\\nb = 2\\n", "c\\n"));
        assert!(HASHER.is_ascii() && !HASHER.contains('\t'));
    }

    #[test]
    fn names_that_hashers_print_differently_are_kept_from_them() {
        assert!(is_plain("päth with  spaces/*".as_bytes()) && is_plain(b"-n"));
        for odd in [&b"a\nb"[..], b"a\\b", b"\xff", b"", b"a\x7f"] {
            assert!(!is_plain(odd));
        }
        assert_eq!(handed_over(b"-rf"), b"./-rf");
    }

    #[test]
    fn lines_of_every_hasher_are_understood_and_nothing_else() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for separator in ["  ", " *"] {
            let line = format!("{hex}{separator}a  b");
            let line = parse_line(Algorithm::Sha256, line.as_bytes()).unwrap();
            assert_eq!((line.name, line.committed), (&b"a  b"[..], false));
        }
        let unreadable = format!("{}  a", "-".repeat(64));
        let read = parse_line(Algorithm::Sha256, unreadable.as_bytes());
        assert_eq!(read, Some(Line { digest: None, name: b"a", committed: false }));
        let committed = format!("{hex} +a");
        assert!(parse_line(Algorithm::Sha256, committed.as_bytes()).unwrap().committed);
        for bad in ["", "sha256sum: x: No such file", &hex[1..], &format!("{hex} x"), &format!("\\{hex}  x")] {
            assert_eq!(parse_line(Algorithm::Sha256, bad.as_bytes()), None);
        }
    }
}
