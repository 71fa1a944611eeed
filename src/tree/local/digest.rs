//! The hash of what lies on the disk.

use std::fs::File;
use std::io;

use super::CHUNK;
use super::root::read_full;
use crate::tree::buffers;
use crate::verify::{Algorithm, Digest, Hasher};

/// The hash of a file that is expected to have `size` bytes: all of it, should it be longer.
pub fn of(file: &File, size: u64, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    add_rest(file, &mut hasher, 0, size)?;
    Ok(hasher.finish())
}

/// Adds what lies between two places, or what there is of it.
pub fn add(file: &File, hasher: &mut Hasher, from: u64, to: u64) -> io::Result<()> {
    let mut buffer = buffers::take();
    let mut offset = from;
    while offset < to {
        read_full(file, &mut buffer, offset, CHUNK.min(usize::try_from(to - offset).unwrap_or(CHUNK)))?;
        if buffer.is_empty() {
            break;
        }
        hasher.update(&buffer);
        offset += buffer.len() as u64;
    }
    // For whoever needs one next.
    drop(buffers::give(buffer));
    Ok(())
}

/// Adds what lies from `offset` on, to the end.
pub fn add_rest(file: &File, hasher: &mut Hasher, mut offset: u64, size: u64) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        // The end is looked for where it ought to be.
        let left = if offset <= size { (size - offset).max(1) } else { CHUNK as u64 };
        read_full(file, &mut buffer, offset, CHUNK.min(left as usize))?;
        if buffer.is_empty() {
            return Ok(());
        }
        hasher.update(&buffer);
        offset += buffer.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::gmac::Key;
    use std::io::Write;

    #[test]
    fn a_file_has_the_hash_of_its_bytes_however_it_is_read() -> io::Result<()> {
        for len in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
            let data = b"0123456789 some bytes".repeat(len / 21 + 1)[..len].to_vec();
            let mut file = tempfile::tempfile()?;
            file.write_all(&data)?;
            for algorithm in [Algorithm::Blake3, Algorithm::Sha256, Algorithm::Gmac(Key::own())] {
                let expected = Digest::of(algorithm, &data);
                // What was expected to be shorter, or longer, is hashed as it is.
                for size in [len, 0, len + CHUNK] {
                    assert_eq!(of(&file, size as u64, algorithm)?, expected, "{len} bytes, {size} expected");
                }
                // And in pieces, of which one may be asked for beyond the end.
                let mut hasher = Hasher::new(algorithm);
                let (first, second) = (len as u64 / 3, len as u64 / 2);
                add(&file, &mut hasher, 0, first)?;
                add(&file, &mut hasher, first, second)?;
                add_rest(&file, &mut hasher, second, len as u64)?;
                assert_eq!(hasher.finish(), expected);
                let mut hasher = Hasher::new(algorithm);
                add(&file, &mut hasher, 0, 2 * len as u64 + 1)?;
                assert_eq!(hasher.finish(), expected);
            }
        }
        Ok(())
    }
}
