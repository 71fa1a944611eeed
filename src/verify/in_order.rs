//! The hash of a file whose pieces are read by several threads, in about their order.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Algorithm, Digest, Hasher};

/// Whoever has read a piece hashes it where it can, being the one in whose cache it lies; nobody waits for a piece that another
/// thread still reads, nor for one that it hashes.
pub struct InOrder {
    hashed: Mutex<Hashed>,
    /// By their place: what has been read and cannot be hashed yet. As many as are read ahead at most.
    waiting: Mutex<BTreeMap<u64, Bytes>>,
}

/// The hash of all bytes below `at`.
struct Hashed {
    hasher: Option<Hasher>,
    at: u64,
}

impl InOrder {
    pub fn new(algorithm: Algorithm) -> InOrder {
        let hashed = Hashed { hasher: Some(Hasher::new(algorithm)), at: 0 };
        InOrder { hashed: Mutex::new(hashed), waiting: Mutex::default() }
    }

    /// A piece was read. It is hashed by the next [`InOrder::catch_up`] of any thread.
    pub fn read(&self, at: u64, piece: Bytes) {
        self.waiting().insert(at, piece);
    }

    /// Hashes what can be hashed, unless another thread does; to be called after each [`InOrder::read`].
    pub fn catch_up(&self) {
        loop {
            let Ok(mut hashed) = self.hashed.try_lock() else { return };
            self.hash(&mut hashed);
            let at = hashed.at;
            drop(hashed);
            // What came before the lock was given back may be of a thread that did not get it.
            if !self.waiting().contains_key(&at) {
                return;
            }
        }
    }

    /// The hash of `size` bytes, if all of them were read, each once; asked for once. Waits for a thread that hashes.
    pub fn finish(&self, size: u64) -> Option<Digest> {
        let mut hashed = self.hashed.lock().unwrap_or_else(PoisonError::into_inner);
        self.hash(&mut hashed);
        let hasher = hashed.hasher.take();
        hasher.filter(|_| hashed.at == size && self.waiting().is_empty()).map(Hasher::finish)
    }

    fn hash(&self, hashed: &mut Hashed) {
        loop {
            let next = self.waiting().remove(&hashed.at);
            let (Some(piece), Some(hasher)) = (next, &mut hashed.hasher) else { return };
            hasher.update(&piece);
            hashed.at += piece.len() as u64;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Bytes>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::gmac::Key;

    const PIECE: usize = 100_000;

    fn data() -> Bytes {
        (0..1_000_003u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    fn pieces(all: &Bytes) -> Vec<(u64, Bytes)> {
        (0..all.len()).step_by(PIECE).map(|at| (at as u64, all.slice(at..all.len().min(at + PIECE)))).collect()
    }

    #[test]
    fn threads_that_read_as_it_happens_make_the_hash_of_the_whole() {
        let all = data();
        for algorithm in [Algorithm::Blake3, Algorithm::Sha256, Algorithm::Gmac(Key::own())] {
            let hash = InOrder::new(algorithm);
            let todo = Mutex::new(pieces(&all));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        // The last piece first: all but one thread's wait for those before.
                        while let Some((at, piece)) = { todo.lock().unwrap().pop() } {
                            hash.read(at, piece);
                            hash.catch_up();
                        }
                    });
                }
            });
            assert_eq!(hash.finish(all.len() as u64), Some(Digest::of(algorithm, &all)));
            assert_eq!(InOrder::new(algorithm).finish(0), Some(Digest::of(algorithm, b"")));
        }
    }

    #[test]
    fn there_is_no_hash_of_what_was_not_read_whole() {
        let all = data();
        let hash = |pieces: &[(u64, Bytes)]| {
            let hash = InOrder::new(Algorithm::Blake3);
            for (at, piece) in pieces {
                hash.read(*at, piece.clone());
                hash.catch_up();
            }
            hash.finish(all.len() as u64)
        };
        let pieces = pieces(&all);
        assert_eq!(hash(&pieces), Some(Digest::of(Algorithm::Blake3, &all)));
        assert_eq!(hash(&pieces[1..]), None);
        assert_eq!(hash(&pieces[..pieces.len() - 1]), None);
        let twice: Vec<_> = pieces.iter().chain(&pieces[..1]).cloned().collect();
        assert_eq!(hash(&twice), None);
    }

    #[test]
    fn whoever_reads_does_not_wait_for_whoever_hashes() {
        let hash = InOrder::new(Algorithm::Blake3);
        let busy = hash.hashed.lock().unwrap();
        hash.read(0, Bytes::from_static(b"a"));
        hash.catch_up();
        drop(busy);
        assert_eq!(hash.finish(1), Some(Digest::of(Algorithm::Blake3, b"a")));
    }
}
