//! The hash of what lies on the disk.

use std::fs::File;
use std::io;

use super::CHUNK;
use super::root::read_full;
use crate::verify::{Algorithm, Digest, Hasher};

/// The hash of a file that is expected to have `size` bytes: all of it, should it be longer.
pub fn of(file: &File, size: u64, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = Vec::new();
    let mut offset = 0;
    loop {
        // The end is looked for where it ought to be.
        let left = if offset <= size { (size - offset).max(1) } else { CHUNK as u64 };
        read_full(file, &mut buffer, offset, CHUNK.min(left as usize))?;
        if buffer.is_empty() {
            return Ok(hasher.finish());
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
            }
        }
        Ok(())
    }
}
