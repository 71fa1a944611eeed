//! Proof of delivery: hashes of what was read here, and of what lies there.
//!
//! The ladder of ways to hash at the far end, best first: a `hopsync` on its PATH, `b3sum`, Python ([`gmac`]), `openssl`, `sha256sum`, and
//! reading the bytes back over SFTP. [`ladder`] is pure (the script, its lines); [`remote`] drives it over a
//! channel; [`digest`] is what both ends compare; [`in_order`]: of a file while it is read; [`parts`]: of a large file, part by part;
//! [`blocks`]: the sums by which an old version is searched, and [`of_blocks`] the hash that follows from them; [`copied`]: what of it goes into the new one; [`commit`]: what is hashed gets its name at once; [`content`] and [`listing`]:
//! what small files and directories hold; [`server`] is `hopsync --hash-server`, the top rung. [`sums`] are checksums that are only shown.

pub mod below;
pub mod blocks;
pub mod commit;
pub mod content;
pub mod copied;
pub mod digest;
pub mod gmac;
pub mod in_order;
pub mod ladder;
pub mod listing;
pub mod of_blocks;
pub mod parts;
pub mod remote;
pub mod server;
pub mod sums;

pub use digest::{Algorithm, Digest, Hasher, OfPart};
