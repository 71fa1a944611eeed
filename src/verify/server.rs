//! `hopsync --hash-server`: the top rung of the ladder, run at the far end by the script in [`super::ladder`].
//!
//! NUL-separated names on standard input; for each, at once and in order, `BLAKE3  NAME` on standard output. A file that
//! cannot be read is complained about on standard error and has [`UNREADABLE`] for a hash. Questions for parts are answered as
//! [`super::parts`] has it, those for blocks as [`super::blocks`] has it, those for directories as [`super::below`] has it, those for a file
//! and its name as [`super::commit`] has it, those for what it or a directory holds as [`super::content`] and [`super::listing`] have it, and those
//! for bytes that go into another file as [`super::copied`] has it.

use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

use super::below::{self, DIRECTORY};
use super::blocks::{self, SPAN, Sum};
use super::commit::{self, Commit};
use super::content::{self, MOST};
use super::copied::{self, Copying};
use super::digest::{Algorithm, Digest, Hasher};
use super::ladder::UNREADABLE;
use super::listing;
use super::parts::{self, ASKED, PART};

/// What `--hash-server=probe` prints: this protocol's name and version.
pub const PROBE: &str = "hash-server-6";

/// A file that is hashed.
pub trait Hashed: Read + Seek {
    /// Its size, and when it changed, in seconds.
    fn told(&self) -> io::Result<(u64, i64)>;
}

/// What is asked about.
pub trait Disk {
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Hashed>>;
    /// The directories below one, as [`super::below`] has it.
    fn below(&self, path: &[u8]) -> Vec<Vec<u8>>;
    /// What a directory holds, as [`super::listing`] has it; `None` where that would be more than [`MOST`] bytes.
    fn list(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// Gives a file its attributes and its name, as [`super::commit`] has it.
    fn commit(&self, commit: &Commit<'_>) -> io::Result<()>;
    /// Writes bytes of one file into another one, as [`super::copied`] has it.
    fn copy(&self, copying: &Copying<'_>) -> io::Result<()>;
}

/// Serves until the input ends.
///
/// # Errors
/// Only of the streams themselves.
pub fn serve(
    mut input: impl BufRead,
    mut output: impl Write,
    mut complaints: impl Write,
    disk: &impl Disk,
) -> io::Result<()> {
    let mut name = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        name.clear();
        if input.read_until(0, &mut name)? == 0 {
            return Ok(());
        }
        if name.last() == Some(&0) {
            name.pop();
        }
        let small = match (content::asked(&name), listing::asked(&name)) {
            (Some(path), _) => Some(disk.open(path).and_then(|file| content(file, &mut buffer))),
            (None, Some(path)) => Some(disk.list(path).map(|told| told.map(|data| held(&data, 0, 0)))),
            (None, None) => None,
        };
        if let Some(Ok(Some(told))) = &small {
            output.write_all(told)?;
            output.flush()?;
            continue;
        }
        let commit = commit::asked(&name);
        let plain = commit.as_ref().map_or(&name[..], |commit| commit.temp);
        let hashed = match (parts::asked(&name), below::asked(&name), blocks::asked(&name)) {
            (_, _, Some((asked, path))) => {
                of_blocks(disk.open(path), asked, &mut buffer, &mut output)?.map(|()| UNREADABLE.to_vec())
            }
            (None, Some(path), _) => {
                for path in disk.below(path).iter().filter(|path| !path.contains(&b'\n')).take(below::MOST) {
                    output.write_all(&[&DIRECTORY[..], b"  ", path, b"\n"].concat())?;
                }
                Ok(UNREADABLE.to_vec())
            }
            (Some((first, path)), _, _) => {
                of_parts(disk.open(path), first, &mut buffer, &mut output)?.map(|()| UNREADABLE.to_vec())
            }
            (None, None, None) => match (small, Copying::asked(&name)) {
                (Some(untold), _) => untold.map(|_| UNREADABLE.to_vec()),
                (None, Some(copying)) => disk.copy(&copying).map(|()| copied::DONE.to_vec()),
                (None, None) => disk.open(plain).and_then(|mut file| Ok(hash(&mut file, &mut buffer)?.0)),
            },
        };
        if let (Some(commit), Ok(hash)) = (&commit, &hashed)
            && hash == commit.wanted
        {
            match disk.commit(commit) {
                Ok(()) => {
                    output.write_all(&[hash, &commit::DONE[..], commit.temp, b"\n"].concat())?;
                    output.flush()?;
                    continue;
                }
                // Who asked finds out why.
                Err(error) => writeln!(complaints, "hopsync: {}: {error}", String::from_utf8_lossy(commit.temp))?,
            }
        }
        match hashed {
            Ok(hash) => output.write_all(&hash)?,
            Err(error) => {
                writeln!(complaints, "hopsync: {}: {error}", String::from_utf8_lossy(&name))?;
                output.write_all(UNREADABLE)?;
            }
        }
        output.write_all(b"  ")?;
        output.write_all(plain)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
}

/// A line for each part. The outer error is the output's.
fn of_parts(
    file: io::Result<Box<dyn Hashed>>,
    first: u64,
    buffer: &mut [u8],
    output: &mut impl Write,
) -> io::Result<io::Result<()>> {
    let begun = file.and_then(|mut file| file.seek(SeekFrom::Start(first.saturating_mul(PART))).map(|_| file));
    let mut file = match begun {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    for _ in 0..ASKED {
        match hash(&mut file.by_ref().take(PART), buffer) {
            Ok((_, 0)) => break,
            Ok((hash, _)) => {
                output.write_all(&hash)?;
                output.write_all(b"  \n")?;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

/// A line for each block. The outer error is the output's.
fn of_blocks(
    file: io::Result<Box<dyn Hashed>>,
    blocks::Asked { length, at, weak }: blocks::Asked,
    buffer: &mut [u8],
    output: &mut impl Write,
) -> io::Result<io::Result<()>> {
    let begun = file.and_then(|mut file| file.seek(SeekFrom::Start(at)).map(|_| file));
    let mut file = match begun {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let buffer = &mut buffer[..length as usize];
    for _ in 0..SPAN / length {
        match fill(&mut file, buffer) {
            Ok(0) => break,
            Ok(len) => {
                let sum = if weak { Sum::of } else { Sum::strong };
                output.write_all(sum(Algorithm::Blake3, &buffer[..len]).hex().as_bytes())?;
                output.write_all(b"  \n")?;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

/// What a file holds, as it is told; `None` where that is too much.
fn content(mut file: Box<dyn Hashed>, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
    let len = fill(&mut file, &mut buffer[..MOST as usize + 1])?;
    if len as u64 > MOST {
        return Ok(None);
    }
    let (size, mtime) = file.told()?;
    Ok(Some(held(&buffer[..len], size, mtime)))
}

fn held(data: &[u8], size: u64, mtime: i64) -> Vec<u8> {
    let hash = Digest::of(Algorithm::Blake3, data).hex();
    [&content::head(hash.as_bytes(), size, mtime, data.len()), data, b"\n"].concat()
}

/// As much as there is room for, or as comes.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// The hash of all that comes, in hexadecimal digits, and how much that was.
fn hash(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<(Vec<u8>, u64)> {
    let (mut hasher, mut len) = (Hasher::new(Algorithm::Blake3), 0);
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(&buffer[..n]);
                len += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let text = hasher.finish().to_string();
    Ok((text.split_once(':').map_or(text.as_str(), |(_, hex)| hex).as_bytes().to_vec(), len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::Attrs;
    use crate::verify::ladder::parse_line;

    impl Hashed for io::Cursor<Vec<u8>> {
        fn told(&self) -> io::Result<(u64, i64)> {
            Ok((self.get_ref().len() as u64, 7))
        }
    }

    type OpenFile = dyn Fn(&[u8]) -> io::Result<Box<dyn Hashed>>;

    type Committing<'a> = dyn Fn(&Commit<'_>) -> io::Result<()> + 'a;

    /// Every file holds its own name, if nothing else is said; there is no directory.
    struct Fake<'a> {
        open: Box<OpenFile>,
        below: fn(&[u8]) -> Vec<Vec<u8>>,
        commit: Box<Committing<'a>>,
    }

    impl Default for Fake<'_> {
        fn default() -> Self {
            Fake {
                open: Box::new(|name| Ok(Box::new(io::Cursor::new(name.to_vec())))),
                below: |_| Vec::new(),
                commit: Box::new(|_| Ok(())),
            }
        }
    }

    impl Fake<'_> {
        fn opening(open: impl Fn(&[u8]) -> io::Result<Box<dyn Hashed>> + 'static) -> Self {
            Fake { open: Box::new(open), ..Fake::default() }
        }
    }

    impl Disk for Fake<'_> {
        fn copy(&self, copying: &Copying<'_>) -> io::Result<()> {
            if copying.old == b"/gone" { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
        }

        fn open(&self, path: &[u8]) -> io::Result<Box<dyn Hashed>> {
            (self.open)(path)
        }

        fn below(&self, path: &[u8]) -> Vec<Vec<u8>> {
            (self.below)(path)
        }

        fn list(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
            match path {
                b"/large" => Ok(None),
                b"/gone" => Err(io::ErrorKind::NotFound.into()),
                path => Ok(Some(path.to_vec())),
            }
        }

        fn commit(&self, commit: &Commit<'_>) -> io::Result<()> {
            (self.commit)(commit)
        }
    }

    /// A line of which nothing is said to have been committed.
    fn parsed(line: &[u8]) -> Option<(Option<Digest>, &[u8])> {
        parse_line(Algorithm::Blake3, line).filter(|line| !line.committed).map(|line| (line.digest, line.name))
    }

    #[test]
    fn each_name_is_answered_in_order_and_unreadable_ones_have_no_hash() {
        let open = |name: &[u8]| -> io::Result<Box<dyn Hashed>> {
            if name == b"bad" {
                Err(io::ErrorKind::NotFound.into())
            } else {
                Ok(Box::new(io::Cursor::new(name.to_vec())))
            }
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        serve(&b"one\0bad\0two\0"[..], &mut out, &mut err, &Fake::opening(open)).unwrap();
        let lines: Vec<_> = out.split(|b| *b == b'\n').filter_map(parsed).collect();
        let expected = [&b"one"[..], b"bad", b"two"]
            .map(|name| ((name != b"bad").then(|| Digest::of(Algorithm::Blake3, name)), name));
        assert_eq!(lines, expected);
        assert!(String::from_utf8(err).unwrap().contains("bad"));
    }

    #[test]
    fn it_is_said_of_each_copy_whether_it_was_made() {
        let asked = ["/gone", "/old"]
            .map(|old| Copying { from: 1, at: 2, len: 3, old: old.as_bytes(), new: b"/new" }.question());
        let mut out = Vec::new();
        serve(&asked.join(&0)[..], &mut out, &mut Vec::new(), &Fake::default()).unwrap();
        let lines: Vec<_> = out.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
        let expected =
            [UNREADABLE, copied::DONE].iter().zip(&asked).map(|(hash, name)| [&hash[..], b"  ", name].concat());
        assert_eq!(lines, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_small_file_or_directory_is_told_with_its_hash_and_a_larger_one_is_not() {
        let open = |name: &[u8]| -> io::Result<Box<dyn Hashed>> {
            match name {
                b"/gone" => Err(io::ErrorKind::NotFound.into()),
                b"/large" => Ok(Box::new(io::Cursor::new(vec![7; MOST as usize + 1]))),
                b"/most" => Ok(Box::new(io::Cursor::new(vec![7; MOST as usize]))),
                name => Ok(Box::new(io::Cursor::new(name.to_vec()))),
            }
        };
        let mut out = Vec::new();
        let files = ["/a\nb", "/gone", "/large", "/most"].map(|path| content::question(path.as_bytes()));
        let directories = ["/gone", "/large", "/dir"].map(|path| listing::question(path.as_bytes()));
        let asked = [files.join(&0), directories.join(&0)].join(&0);
        serve(&asked[..], &mut out, &mut Vec::new(), &Fake::opening(open)).unwrap();
        let mut rest = &out[..];
        let mut line = || {
            let at = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let line = &rest[..at];
            rest = &rest[at + 1..];
            let head = content::told(Algorithm::Blake3, line);
            let bytes = head.map_or(&b""[..], |head| &rest[..head.len]);
            rest = head.map_or(rest, |head| &rest[head.len + 1..]);
            (head, bytes, line)
        };
        let of = |data: &[u8]| {
            let (digest, len) = (Digest::of(Algorithm::Blake3, data), data.len());
            Some(content::Head { digest, size: len as u64, mtime: 7, len })
        };
        let (head, bytes, _) = line();
        assert_eq!((head, bytes), (of(b"/a\nb"), &b"/a\nb"[..]));
        for path in [&b"c /gone"[..], b"c /large"] {
            assert_eq!(line().2, [&UNREADABLE[..], b"  ", path].concat());
        }
        let (head, bytes, _) = line();
        assert_eq!((head, bytes.len()), (of(&[7; MOST as usize]), MOST as usize));
        for path in [&b"l /gone"[..], b"l /large"] {
            assert_eq!(line().2, [&UNREADABLE[..], b"  ", path].concat());
        }
        let (head, bytes, _) = line();
        assert_eq!((head.map(|head| head.digest), bytes), (of(b"/dir").map(|head| head.digest), &b"/dir"[..]));
        assert_eq!(rest, b"");
    }

    #[test]
    fn directories_are_told_of_but_for_those_that_would_be_two_lines() {
        let below = |path: &[u8]| match path {
            b"/a" => vec![b"b".to_vec(), b"b\nc".to_vec(), b"b/d e".to_vec()],
            _ => Vec::new(),
        };
        let mut out = Vec::new();
        serve(&b"d /a\0d /gone\0"[..], &mut out, &mut Vec::new(), &Fake { below, ..Fake::default() }).unwrap();
        let lines: Vec<_> = out.split(|b| *b == b'\n').collect();
        assert_eq!([below::told(lines[0]), below::told(lines[1])], [Some(&b"b"[..]), Some(b"b/d e")]);
        let ends = [2, 3].map(|n| parsed(lines[n]));
        assert_eq!(ends, [Some((None, &b"d /a"[..])), Some((None, &b"d /gone"[..]))]);
    }

    #[test]
    fn only_what_has_the_hash_that_is_wanted_is_committed_and_what_cannot_be_is_told_as_it_is() {
        let asks = [("./right", "a", "./right"), ("./wrong", "b", "./other"), ("./right", "refused", "./right")];
        let questions = asks.map(|(temp, name, content)| {
            let wanted = Digest::of(Algorithm::Blake3, content.as_bytes());
            commit::question(
                &wanted,
                &Attrs { permissions: Some(0o640), ..Attrs::default() },
                temp.as_bytes(),
                name.as_bytes(),
            )
        });
        let (mut out, done) = (Vec::new(), std::cell::RefCell::new(Vec::new()));
        let commit = |asked: &Commit<'_>| {
            done.borrow_mut().push((asked.name.to_vec(), asked.mode));
            if asked.name == b"refused" { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) }
        };
        let disk = Fake { commit: Box::new(commit), ..Fake::default() };
        serve(&questions.join(&0)[..], &mut out, &mut Vec::new(), &disk).unwrap();
        drop(disk);
        let lines: Vec<_> = out.split(|b| *b == b'\n').filter_map(|line| parse_line(Algorithm::Blake3, line)).collect();
        let told: Vec<_> = lines.iter().map(|line| (line.digest, line.name, line.committed)).collect();
        let of = |name: &'static [u8]| Some(Digest::of(Algorithm::Blake3, name));
        let (right, wrong) = (&b"./right"[..], &b"./wrong"[..]);
        assert_eq!(told, [(of(right), right, true), (of(wrong), wrong, false), (of(right), right, false)]);
        assert_eq!(done.into_inner(), [(b"a".to_vec(), Some(0o640)), (b"refused".to_vec(), Some(0o640))]);
    }

    #[test]
    fn blocks_are_summed_from_where_they_are_asked_for_to_the_end() {
        let length = blocks::length(0);
        let data: Vec<u8> = (0..3 * length as u32 - 5).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let held = data.clone();
        let open = move |_: &[u8]| -> io::Result<Box<dyn Hashed>> { Ok(Box::new(io::Cursor::new(held.clone()))) };
        let mut out = Vec::new();
        let asked = [(0, true), (length, false), (3 * length, true)];
        let questions = asked.map(|(at, weak)| blocks::question(blocks::Asked { length, at, weak }, b"/f")).join(&0);
        serve(&questions[..], &mut out, &mut Vec::new(), &Fake::opening(open)).unwrap();
        let lines: Vec<_> = out.split(|b| *b == b'\n').filter_map(parsed).collect();
        let told: Vec<_> = lines.iter().filter_map(|(digest, _)| digest.as_ref().map(Sum::told)).collect();
        let sum = |n: usize| Sum::of(Algorithm::Blake3, data.chunks(length as usize).nth(n).unwrap());
        let strong = |n: usize| Sum { weak: 0, ..sum(n) };
        assert_eq!(told, [sum(0), sum(1), sum(2), strong(1), strong(2)]);
        let ends = lines.iter().filter(|(digest, _)| digest.is_none()).map(|(_, name)| name[0]);
        assert_eq!(ends.collect::<Vec<_>>(), b"wvw");
    }

    #[test]
    fn parts_are_hashed_from_where_they_are_asked_for_to_the_end() {
        let data: Vec<u8> = (0..3 * PART as u32 - 5).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let held = data.clone();
        let open = move |name: &[u8]| -> io::Result<Box<dyn Hashed>> {
            if name == b"/f" {
                Ok(Box::new(io::Cursor::new(held.clone())))
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        serve(&b"b0 /f\0b2 /f\0b3 /f\0b0 /gone\0"[..], &mut out, &mut err, &Fake::opening(open)).unwrap();
        let lines: Vec<_> = out.split(|b| *b == b'\n').filter_map(parsed).collect();
        let part =
            |n: usize| (data.chunks(PART as usize).nth(n).map(|part| Digest::of(Algorithm::Blake3, part)), &b""[..]);
        let end = |name| (None, name);
        let expected =
            [part(0), part(1), part(2), end(&b"b0 /f"[..]), part(2), end(b"b2 /f"), end(b"b3 /f"), end(b"b0 /gone")];
        assert_eq!(lines, expected);
        assert!(String::from_utf8(err).unwrap().contains("/gone"));
    }
}
