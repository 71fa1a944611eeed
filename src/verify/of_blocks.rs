//! The hash of a file that is made of the sums of its blocks ([`super::blocks`]). Who has told them of a whole file, because an old version
//! of it was to be searched, has read it once; its hash follows from them, and nothing has to be read there again.
//!
//! It tells as much as any other hash here: a file with another byte in it has another sum for that block, and so another hash, but with
//! the probabilities that [`super::gmac`] gives, or those of 28 bytes of BLAKE3 or SHA-256.

use super::blocks::{Strong, strong};
use super::digest::{Algorithm, Digest, OfPart};

/// The hash of a file, of the sums of its blocks in their order.
pub struct Fold {
    /// Bytes of a block.
    length: u64,
    of: OfPart,
    all: blake3::Hasher,
}

impl Fold {
    pub fn new(length: u64, of: OfPart) -> Fold {
        Fold { length, of, all: blake3::Hasher::new() }
    }

    pub fn block(&mut self, sum: &Strong) {
        self.all.update(sum);
    }

    pub fn finish(self) -> Digest {
        Digest { algorithm: Algorithm::Blocks(self.length, self.of), bytes: *self.all.finalize().as_bytes() }
    }
}

/// Makes it of the bytes themselves.
pub struct InBlocks {
    fold: Fold,
    /// What is there of a block that is not whole yet.
    begun: Vec<u8>,
}

impl InBlocks {
    pub fn new(length: u64, of: OfPart) -> InBlocks {
        InBlocks { fold: Fold::new(length, of), begun: Vec::new() }
    }

    pub fn update(&mut self, mut data: &[u8]) {
        let length = self.fold.length as usize;
        if !self.begun.is_empty() {
            let (now, later) = data.split_at(data.len().min(length - self.begun.len()));
            self.begun.extend_from_slice(now);
            data = later;
            if self.begun.len() < length {
                return;
            }
            let block = std::mem::take(&mut self.begun);
            self.add(&block);
        }
        let mut blocks = data.chunks_exact(length);
        for block in &mut blocks {
            self.add(block);
        }
        self.begun.extend_from_slice(blocks.remainder());
    }

    fn add(&mut self, block: &[u8]) {
        self.fold.block(&strong(self.fold.of.into(), block));
    }

    pub fn finish(mut self) -> Digest {
        let last = std::mem::take(&mut self.begun);
        if !last.is_empty() {
            self.add(&last);
        }
        self.fold.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Hasher;
    use crate::verify::blocks::{Sum, length};
    use crate::verify::gmac::Key;

    #[test]
    fn it_is_that_of_the_sums_as_they_are_told_however_the_bytes_come() {
        let block = length(0) as usize;
        let data: Vec<u8> = (0..3 * block as u32 + 7).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for of in [OfPart::Blake3, OfPart::Sha256, OfPart::Gmac(Key([7; 16]))] {
            for len in [0, 1, block - 1, block, block + 1, 2 * block, data.len()] {
                let mut fold = Fold::new(block as u64, of);
                for data in data[..len].chunks(block) {
                    let line = Sum::of(of.into(), data).hex();
                    fold.block(&Sum::told(&Digest::from_hex(of.into(), line.as_bytes()).unwrap()).strong);
                }
                let expected = fold.finish();
                for piece in [len.max(1), 4 * block, 10_003] {
                    let mut hasher = Hasher::new(Algorithm::Blocks(block as u64, of));
                    data[..len].chunks(piece).for_each(|piece| hasher.update(piece));
                    assert_eq!(hasher.finish(), expected, "{len} in {piece}");
                }
            }
        }
    }

    #[test]
    fn what_differs_in_a_byte_or_in_the_order_of_its_blocks_hashes_to_something_else() {
        let block = length(0) as usize;
        let data: Vec<u8> = (0..2 * block as u32 + 7).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for of in [OfPart::Blake3, OfPart::Sha256, OfPart::Gmac(Key([7; 16]))] {
            let hash = |data: &[u8]| Digest::of(Algorithm::Blocks(block as u64, of), data);
            for at in [0, block - 1, block, data.len() - 1] {
                let mut other = data.clone();
                other[at] ^= 1;
                assert_ne!(hash(&other), hash(&data), "{at}");
            }
            let (first, rest) = data.split_at(block);
            let (second, last) = rest.split_at(block);
            assert_ne!(hash(&[second, first, last].concat()), hash(&data));
            assert_ne!(hash(&data[..data.len() - 1]), hash(&data));
        }
    }
}
