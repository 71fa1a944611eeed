//! `-H` from a far source. SFTP does not tell which names are one file; the far end's `find` does.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::tree::join;
use crate::tree::remote::Remote;

use super::brought::Origin;

/// Paths come on standard input, one to a line, and no name is on a command line that a shell parses. `-printf` is GNU's; whether
/// it is there is tried first. Records end with a zero byte.
const SCRIPT: &str = concat!(
    "exec sh -c '",
    "[ \"$(find / -maxdepth 0 -printf x 2>/dev/null)\" = x ] || { echo hopsync-links none; exit 0; }; ",
    "echo hopsync-links 1; ",
    "while IFS= read -r p && [ \"$p\" ]; do ",
    "find \"$p\" -type f -links +1 -printf \"%D %i %n %p\\\\0\" 2>/dev/null; ",
    "done; printf \"end\\\\0\"'",
);

const GREETING: &[u8] = b"hopsync-links ";

/// Names in all; each takes some hundred bytes here.
const MOST: usize = 4_000_000;

/// One record at most: three numbers and a path (Linux: 4,096 bytes).
const RECORD: usize = 8 * 1024;

/// A walk through a large tree finds nothing for long; what has ended is told by the connection.
const SILENCE: Duration = Duration::from_secs(1800);

/// A connection that is lost is made again so often.
const TRIES: u32 = 3;

/// The names below the operands that are one of several of a file.
#[derive(Debug, Default)]
pub struct FarLinks(HashMap<Vec<u8>, Shared>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shared {
    dev: u64,
    ino: u64,
    links: u64,
}

impl FarLinks {
    /// What an entry is listed as, with what only the far end's own `find` knows of it.
    pub fn known(&self, origin: &Origin, meta: &Meta) -> Option<Meta> {
        let Shared { dev, ino, links } = *self.0.get(&plain(&join(origin.source.root(), &origin.path)))?;
        Some(Meta { dev, ino, links, ..meta.clone() })
    }
}

/// Asks for all files below `paths` (or these themselves) that have several names.
///
/// # Errors
/// There is no shell or no GNU find at the far end: nothing is guessed.
pub async fn find(remote: &Remote, paths: &[Vec<u8>]) -> Result<FarLinks, Fault> {
    let failed = |cause, text: &str| Fault::new(remote.hop(), Stage::List, cause, format!("--hard-links: {text}"));
    if paths.iter().any(|path| path.contains(&b'\n')) {
        return Err(failed(Cause::Unsupported, "a far source's name with a line feed in it cannot be asked for"));
    }
    let mut tries = 1;
    loop {
        match ask(remote, paths, &failed).await {
            Err(fault) if fault.cause == Cause::Lost && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

async fn ask(remote: &Remote, paths: &[Vec<u8>], failed: &impl Fn(Cause, &str) -> Fault) -> Result<FarLinks, Fault> {
    let none = || {
        failed(
            Cause::Unsupported,
            "a far source needs a shell and GNU find there; leave out -H, and each name becomes a file",
        )
    };
    let mut wire = remote.pool().await?.link.exec(SCRIPT.as_bytes()).await.map_err(|fault| match fault.cause {
        Cause::Lost | Cause::Cancelled | Cause::Timeout => fault,
        _ => none(),
    })?;
    let mut question = BytesMut::new();
    for path in paths {
        // Relative paths are the login's home's, here and there.
        question.extend_from_slice(if path.starts_with(b"/") { b"" } else { b"./" });
        question.extend_from_slice(path);
        question.extend_from_slice(b"\n");
    }
    question.extend_from_slice(b"\n");
    let mut answer = Answer::default();
    // What is asked may be longer than what the far end takes before we read.
    let mut asking = wire.tx.send(question.freeze());
    let mut asked = false;
    loop {
        let received = tokio::select! {
            sent = &mut asking, if !asked => {
                sent?;
                asked = true;
                continue;
            }
            received = tokio::time::timeout(SILENCE, wire.rx.recv()) => received,
        };
        let data = received.map_err(|_| failed(Cause::Timeout, "the far end's find does not answer"))??;
        let Some(data) = data else {
            return Err(if answer.greeted {
                failed(Cause::Protocol, "the far end's find was stopped")
            } else {
                none()
            });
        };
        match answer.take(data) {
            Ok(false) => {}
            Ok(true) => return Ok(FarLinks(answer.names)),
            Err(Wrong::None) => return Err(none()),
            Err(Wrong::Garbage) => return Err(failed(Cause::Protocol, "the far end's find speaks nonsense")),
            Err(Wrong::TooMany) => return Err(failed(Cause::Io, "there are more names than can be kept in mind")),
        }
    }
}

/// What the script prints, as it comes.
#[derive(Default)]
struct Answer {
    buffer: BytesMut,
    greeted: bool,
    names: HashMap<Vec<u8>, Shared>,
}

#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    None,
    Garbage,
    TooMany,
}

impl Answer {
    /// True when all has come.
    fn take(&mut self, data: Bytes) -> Result<bool, Wrong> {
        self.buffer.extend_from_slice(&data);
        loop {
            let end = if self.greeted { 0 } else { b'\n' };
            let Some(at) = self.buffer.iter().position(|byte| *byte == end) else {
                return if self.buffer.len() > RECORD { Err(Wrong::Garbage) } else { Ok(false) };
            };
            let record = self.buffer.split_to(at + 1).freeze().slice(..at);
            if !self.greeted {
                // A shell's start-up file may print something first.
                if let Some(start) = record.windows(GREETING.len()).position(|window| window == GREETING) {
                    self.greeted = &record[start + GREETING.len()..] == b"1";
                    if !self.greeted {
                        return Err(Wrong::None);
                    }
                }
                continue;
            }
            if &record[..] == b"end" {
                return Ok(true);
            }
            let (name, shared) = parse(&record).ok_or(Wrong::Garbage)?;
            if self.names.len() == MOST {
                return Err(Wrong::TooMany);
            }
            self.names.insert(plain(name), shared);
        }
    }
}

fn parse(record: &[u8]) -> Option<(&[u8], Shared)> {
    let mut words = record.splitn(4, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    let (dev, ino, links) = (number()?, number()?, number()?);
    Some((words.next()?, Shared { dev, ino, links }))
}

/// The path without components that say nothing.
fn plain(path: &[u8]) -> Vec<u8> {
    let mut out = if path.starts_with(b"/") { b"/".to_vec() } else { Vec::new() };
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if !out.is_empty() && out != b"/" {
            out.push(b'/');
        }
        out.extend_from_slice(name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_find_prints_is_understood_however_it_comes() {
        let printed = b"Welcome!\nhopsync-links 1\n65 12 2 ./dir/a b\n\x0065 12 2 ./dir//c\x00end\0";
        for size in [1, 7, printed.len()] {
            let mut answer = Answer::default();
            let done = printed
                .chunks(size)
                .map(|data| answer.take(Bytes::copy_from_slice(data)).unwrap())
                .filter(|done| *done);
            assert_eq!(done.count(), 1);
            let shared = Shared { dev: 65, ino: 12, links: 2 };
            assert_eq!(answer.names, HashMap::from([(b"dir/a b\n".to_vec(), shared), (b"dir/c".to_vec(), shared)]));
        }
        for (wrong, why) in [
            (&b"hopsync-links none\n"[..], Wrong::None),
            (b"hopsync-links 1\nfind: no\0", Wrong::Garbage),
            (b"hopsync-links 1\n1 2 3\0", Wrong::Garbage),
            (&[b'x'; RECORD + 1], Wrong::Garbage),
        ] {
            assert_eq!(Answer::default().take(Bytes::copy_from_slice(wrong)), Err(why));
        }
    }

    #[test]
    fn a_path_is_known_however_it_is_written() {
        for (one, other) in [("./a//b/.", "a/b"), ("/", "/"), ("//a/./b", "/a/b"), ("", "."), ("..", "./..")] {
            assert_eq!(plain(one.as_bytes()), plain(other.as_bytes()));
        }
    }

    #[test]
    fn the_script_survives_any_login_shell() {
        let inner = SCRIPT.strip_prefix("exec sh -c '").and_then(|s| s.strip_suffix('\'')).unwrap();
        assert!(!inner.contains('\'') && !SCRIPT.contains('\n') && !SCRIPT.contains('!'));
    }
}
