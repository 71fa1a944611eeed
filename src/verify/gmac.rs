//! GMAC as a hash: what lets the far end hash at the speed of its memory with nothing installed there but Python.
//!
//! SHA-256 runs at some 2 GB/s where the processor helps, and is computed at both ends; that cost a third of the time of a
//! push of large files on a LAN (measured). AES-GCM's authentication of data that it does not encrypt (GMAC, NIST SP
//! 800-38D) runs at 5 to 28 GB/s with what every processor for servers has had since 2010, and every Python comes
//! with the OpenSSL that does it. It is a universal hash under a secret key: with a key drawn at random after the data
//! came to be, two blocks that differ have the same tag with a probability of at most 2^-115, whatever the difference is.
//! So it finds every fault of disks, memory, networks and programs as surely as SHA-256 does. It is no signature: who knows the
//! key can make data to a tag. Delivery is not a question of that, since the far end, which computes the hash, could lie with any.
//!
//! The format, in full: a file of at most [`BLOCK`] bytes has the SHA-256 of its bytes. Any other is cut into blocks of
//! [`BLOCK`] bytes, the last one shorter; block *n*, from 0, is the additional data of an AES-128-GCM encryption of nothing,
//! with *n* as a nonce of 12 bytes, big-endian; and the file's hash is the SHA-256 of all tags (16 bytes each) in order.

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};

/// Bytes: a third of what OpenSSH takes in one WRITE (255 KiB), so that a block is seldom in two pieces. Shorter files are hashed
/// faster by SHA-256 than three calls into OpenSSL take.
pub const BLOCK: usize = 85 * 1024;

/// The key of a hash; no secret once the run is over, and part of the hash's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The key of this process, drawn when it is first needed. One for all connections, so that hashes made before and after a
    /// connection was lost can be compared.
    pub fn own() -> Key {
        static KEY: OnceLock<Key> = OnceLock::new();
        *KEY.get_or_init(|| Key(rand::random()))
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The tag of a block by itself, of up to 2^36 bytes, as of the first one of a file.
pub fn tag(key: Key, block: &[u8]) -> [u8; 16] {
    Gmac::new(key).tag(block)
}

/// The hash under way.
pub struct Gmac {
    key: Key,
    cipher: LessSafeKey,
    /// The block that is not full yet, or the first, not known to be followed by anything.
    block: Vec<u8>,
    blocks: u64,
    tags: Sha256,
}

impl Gmac {
    pub fn new(key: Key) -> Gmac {
        let cipher = UnboundKey::new(&AES_128_GCM, &key.0).expect("16 bytes are a key");
        Gmac { key, cipher: LessSafeKey::new(cipher), block: Vec::new(), blocks: 0, tags: Sha256::new() }
    }

    pub fn key(&self) -> Key {
        self.key
    }

    pub fn update(&mut self, mut data: &[u8]) {
        if !self.block.is_empty() {
            let (now, later) = data.split_at(data.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            data = later;
            if data.is_empty() {
                return;
            }
            let block = std::mem::take(&mut self.block);
            self.add(&block);
            self.block = block;
            self.block.clear();
        }
        // A first block is kept: a file that is no longer has another hash.
        while data.len() > BLOCK || data.len() == BLOCK && self.blocks > 0 {
            let (block, rest) = data.split_at(BLOCK);
            self.add(block);
            data = rest;
        }
        if !data.is_empty() && self.block.capacity() == 0 && self.blocks > 0 {
            // It will be filled.
            self.block.reserve_exact(BLOCK);
        }
        self.block.extend_from_slice(data);
    }

    fn add(&mut self, block: &[u8]) {
        let tag = self.tag(block);
        self.tags.update(tag);
        self.blocks += 1;
    }

    fn tag(&self, block: &[u8]) -> [u8; 16] {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&self.blocks.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        // It fails only beyond 2^36 bytes.
        let tag = self.cipher.seal_in_place_separate_tag(nonce, Aad::from(block), &mut []).expect("a block is short");
        let mut bytes = [0; 16];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    pub fn finish(mut self) -> [u8; 32] {
        let last = std::mem::take(&mut self.block);
        if self.blocks == 0 {
            return Sha256::digest(&last).into();
        }
        if !last.is_empty() {
            self.add(&last);
        }
        self.tags.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(key: Key, data: &[u8]) -> [u8; 32] {
        let mut hash = Gmac::new(key);
        hash.update(data);
        hash.finish()
    }

    /// NIST's test vectors have no case of additional data alone; this one is OpenSSL's: `openssl mac -cipher AES-128-GCM
    /// -macopt hexkey:(32 zeros) -macopt hexiv:(24 zeros) -in FILE GMAC`, of 85 KiB of zeros, and of one zero with iv 1.
    #[test]
    fn blocks_have_the_tags_that_openssl_gives_them() {
        let tags = "B7D1B2DCC38AE103BD438FB570848AF960C9CEF2B496D21631C642912BEB10FC";
        let tags: Vec<u8> =
            (0..tags.len() / 2).map(|n| u8::from_str_radix(&tags[2 * n..2 * n + 2], 16).unwrap()).collect();
        assert_eq!(of(Key([0; 16]), &vec![0; BLOCK + 1])[..], Sha256::digest(tags)[..]);
    }

    #[test]
    fn what_fits_into_a_block_has_its_sha256() {
        for len in [0, 1, BLOCK] {
            let data = vec![7; len];
            assert_eq!(of(Key::own(), &data)[..], Sha256::digest(&data)[..]);
        }
        assert_ne!(of(Key::own(), &vec![7; BLOCK + 1])[..], Sha256::digest(vec![7; BLOCK + 1])[..]);
    }

    #[test]
    fn whole_blocks_are_the_same_however_they_come() {
        let data = vec![7; 3 * BLOCK];
        let whole = of(Key::own(), &data);
        for cut in [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK] {
            let mut hash = Gmac::new(Key::own());
            hash.update(&data[..cut]);
            hash.update(&data[cut..]);
            assert_eq!(hash.finish(), whole, "cut at {cut}");
        }
        assert_ne!(of(Key::own(), &data[..2 * BLOCK]), whole);
        assert_ne!(of(Key::own(), &[&data[..], &[7]].concat()), whole);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However the bytes come; and any change of a bit, a length or an order, and another key, gives another hash.
        #[test]
        fn the_pieces_do_not_matter_and_everything_else_does(
            len in BLOCK + 1..4 * BLOCK,
            pieces in prop::collection::vec(1..2 * BLOCK, 1..8),
            bit in any::<prop::sample::Index>(),
            key in any::<[u8; 16]>(),
        ) {
            let key = Key(key);
            let mut data: Vec<u8> = (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let whole = of(key, &data);
            let mut hash = Gmac::new(key);
            let (mut rest, mut sizes) = (&data[..], pieces.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                hash.update(now);
                rest = later;
            }
            prop_assert_eq!(hash.finish(), whole);
            prop_assert_ne!(of(key, &data[..len - 1]), whole);
            let mut other = key;
            other.0[0] ^= 1;
            prop_assert_ne!(of(other, &data), whole);
            let bit = bit.index(len * 8);
            data[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(of(key, &data), whole);
            data[bit / 8] ^= 1 << (bit % 8);
            let (first, second) = data.split_at_mut(BLOCK);
            let both = second.len().min(BLOCK);
            first[..both].swap_with_slice(&mut second[..both]);
            prop_assert_ne!(of(key, &data), whole);
        }
    }
}
