//! The hash of a large file while its pieces move: beside them, never before them.
//!
//! A piece that had to be hashed before it is sent would wait for a thread to wake, once for each quarter of a megabyte.
//! Here pieces gather while one thread hashes those before them, and go to it together.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::blocking::{self, Panicked};
use crate::fault::{Cause, Fault, Stage};
use crate::verify::{Algorithm, Digest, Hasher};

/// Pieces that may wait to be hashed; more wait to be sent.
const WAITING: usize = 8;

pub struct Hashing {
    /// Here while nothing is being hashed.
    idle: Option<Hasher>,
    running: Option<BoxFuture<'static, Result<Hasher, Panicked>>>,
    waiting: Vec<Bytes>,
}

impl Hashing {
    pub fn new(algorithm: Algorithm) -> Hashing {
        Hashing { idle: Some(Hasher::new(algorithm)), running: None, waiting: Vec::new() }
    }

    /// The next piece, in order. Waits only if too many before it are not hashed yet.
    ///
    /// # Errors
    /// The hashing thread's work ended without an answer, which is a bug.
    pub async fn push(&mut self, piece: Bytes) -> Result<(), Fault> {
        self.waiting.push(piece);
        if let Some(hashed) = self.running.as_mut().and_then(|running| running.now_or_never()) {
            self.returned(hashed)?;
        }
        if self.waiting.len() >= WAITING {
            self.settle().await?;
        }
        self.start();
        Ok(())
    }

    /// The hash of all pieces.
    ///
    /// # Errors
    /// As [`Hashing::push`].
    pub async fn finish(mut self) -> Result<Digest, Fault> {
        self.settle().await?;
        self.start();
        self.settle().await?;
        self.idle.map(Hasher::finish).ok_or_else(|| fault(&Panicked))
    }

    fn start(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(mut hasher) = self.idle.take() else { return };
        let pieces = std::mem::take(&mut self.waiting);
        self.running = Some(Box::pin(blocking::start(move || {
            for piece in pieces {
                hasher.update(&piece);
            }
            hasher
        })));
    }

    async fn settle(&mut self) -> Result<(), Fault> {
        match self.running.take() {
            Some(running) => self.returned(running.await),
            None => Ok(()),
        }
    }

    fn returned(&mut self, hashed: Result<Hasher, Panicked>) -> Result<(), Fault> {
        self.running = None;
        self.idle = Some(hashed.map_err(|error| fault(&error))?);
        Ok(())
    }
}

fn fault(error: &Panicked) -> Fault {
    Fault::new("local", Stage::Hash, Cause::Io, format!("internal error: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::gmac::Key;

    #[tokio::test]
    async fn pieces_are_hashed_in_order_however_they_gather() {
        for algorithm in [Algorithm::Blake3, Algorithm::Sha256, Algorithm::Gmac(Key::own())] {
            let all: Vec<u8> = (0..1_000_003u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            for size in [1000, 99_999, all.len()] {
                let mut hashing = Hashing::new(algorithm);
                for piece in all.chunks(size) {
                    hashing.push(Bytes::copy_from_slice(piece)).await.unwrap();
                }
                assert_eq!(hashing.finish().await.unwrap(), Digest::of(algorithm, &all));
            }
            assert_eq!(Hashing::new(algorithm).finish().await.unwrap(), Digest::of(algorithm, b""));
        }
    }
}
