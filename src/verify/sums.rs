//! The checksums that rsync shows (`%C` of `--out-format`): read along with a file's data where a format asks for them. They
//! prove nothing here.

use md4::Md4;
use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

use crate::job::Checksum;

/// A checksum in the making.
pub enum Summing {
    Xxh128(Box<XxHash3_128>),
    Xxh3(Box<XxHash3_64>),
    Xxh64(XxHash64),
    Md5(Md5),
    Md4(Md4),
    Sha1(Sha1),
    None,
}

impl Summing {
    pub fn new(checksum: Checksum) -> Summing {
        match checksum {
            Checksum::Xxh128 => Summing::Xxh128(Box::new(XxHash3_128::new())),
            Checksum::Xxh3 => Summing::Xxh3(Box::new(XxHash3_64::new())),
            Checksum::Xxh64 => Summing::Xxh64(XxHash64::with_seed(0)),
            Checksum::Md5 => Summing::Md5(Md5::new()),
            Checksum::Md4 => Summing::Md4(Md4::new()),
            Checksum::Sha1 => Summing::Sha1(Sha1::new()),
            Checksum::None => Summing::None,
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        use std::hash::Hasher;
        match self {
            Summing::Xxh128(sum) => sum.write(data),
            Summing::Xxh3(sum) => sum.write(data),
            Summing::Xxh64(sum) => sum.write(data),
            Summing::Md5(sum) => sum.update(data),
            Summing::Md4(sum) => sum.update(data),
            Summing::Sha1(sum) => sum.update(data),
            Summing::None => {}
        }
    }

    /// The bytes in the order in which they are shown.
    pub fn finish(self) -> Vec<u8> {
        use std::hash::Hasher;
        match self {
            Summing::Xxh128(sum) => sum.finish_128().to_be_bytes().to_vec(),
            Summing::Xxh3(sum) => sum.finish().to_be_bytes().to_vec(),
            Summing::Xxh64(sum) => sum.finish().to_be_bytes().to_vec(),
            Summing::Md5(sum) => sum.finalize().to_vec(),
            Summing::Md4(sum) => sum.finalize().to_vec(),
            Summing::Sha1(sum) => sum.finalize().to_vec(),
            Summing::None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_that_others_know() {
        // Of "new", by rsync 3.5.0 --out-format=%C; MD4 of nothing is RFC 1320's, SHA-1 of "abc" FIPS 180's.
        for (checksum, data, wanted) in [
            (Checksum::Xxh128, "new", "4268207a5959016d4db73088ace631b8"),
            (Checksum::Xxh3, "new", "4db73088ace631b8"),
            (Checksum::Xxh64, "new", "bde553e085e11527"),
            (Checksum::Md5, "new", "22af645d1859cb5ca6da0c484f1f37ea"),
            (Checksum::Md4, "", "31d6cfe0d16ae931b73c59d7e0c089c0"),
            (Checksum::Sha1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Checksum::None, "new", ""),
        ] {
            let mut sum = Summing::new(checksum);
            data.as_bytes().chunks(2).for_each(|piece| sum.update(piece));
            let sum = sum.finish();
            let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, wanted, "{checksum:?}");
            assert!(checksum == Checksum::None || sum.len() == checksum.size(), "{checksum:?}");
        }
    }
}
