//! The hash of what lies on the disk.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{CHUNK, read_full};
use crate::verify::{Algorithm, Digest, Hasher, PART, digest};

/// Threads that hash one file's parts.
const THREADS: usize = 4;

/// The hash of a file that is expected to have `size` bytes: all of it, should it be longer.
pub fn of(file: &File, size: u64, algorithm: Algorithm) -> io::Result<Digest> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
    if algorithm == Algorithm::Sha256Parts && size > PART && threads > 1 {
        return parts(file, file.metadata()?.len(), threads);
    }
    span(file, 0, None, size, algorithm)
}

/// The hash of the bytes from `start` to `end`, or to the end of the file; `hint` is how many are expected.
fn span(file: &File, start: u64, end: Option<u64>, hint: u64, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = Vec::new();
    let mut offset = start;
    loop {
        let left = match end {
            Some(end) if offset >= end => return Ok(hasher.finish()),
            Some(end) => end - offset,
            // The end is looked for where it ought to be.
            None if offset <= hint => (hint - offset).max(1),
            None => CHUNK as u64,
        };
        read_full(file, &mut buffer, offset, CHUNK.min(left as usize))?;
        if buffer.is_empty() {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer);
        offset += buffer.len() as u64;
    }
}

/// [`Algorithm::Sha256Parts`], by several threads.
fn parts(file: &File, size: u64, threads: usize) -> io::Result<Digest> {
    if size <= PART {
        return span(file, 0, None, size, Algorithm::Sha256Parts);
    }
    let count = size.div_ceil(PART) as usize;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= count {
                return Ok::<_, io::Error>(done);
            }
            let start = part as u64 * PART;
            done.push((part, span(file, start, Some((start + PART).min(size)), PART, Algorithm::Sha256)?));
        }
    };
    let mut digests = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work()?;
        for other in others {
            all.extend(other.join().map_err(|_| io::Error::other("a hashing thread panicked"))??);
        }
        Ok::<_, io::Error>(all)
    })?;
    digests.sort_unstable_by_key(|(part, _)| *part);
    Ok(digest::of_parts(digests.into_iter().map(|(_, digest)| digest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_has_the_hash_of_its_bytes_however_it_is_read() -> io::Result<()> {
        for len in [0, 1, CHUNK, CHUNK + 1, PART as usize, 2 * PART as usize + 17] {
            let data = b"0123456789 some bytes".repeat(len / 21 + 1)[..len].to_vec();
            let mut file = tempfile::tempfile()?;
            file.write_all(&data)?;
            for algorithm in [Algorithm::Blake3, Algorithm::Sha256, Algorithm::Sha256Parts] {
                let expected = Digest::of(algorithm, &data);
                // What was expected to be shorter, or longer, is hashed as it is.
                for size in [len, 0, len + CHUNK] {
                    assert_eq!(of(&file, size as u64, algorithm)?, expected, "{len} bytes, {size} expected");
                }
            }
            for threads in [1, 3, 7] {
                assert_eq!(parts(&file, len as u64, threads)?, Digest::of(Algorithm::Sha256Parts, &data));
            }
        }
        Ok(())
    }
}
