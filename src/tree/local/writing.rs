//! A local file being written: by one thread at a time, in the order of the calls, and hashed behind the writing.
//!
//! The kernel lets one writer into a file at a time, and a second thread spins until it is its turn. So pieces wait for the one
//! thread that writes, which reads each again where it lies and hashes it while it is still in the processor's cache: once
//! the last is written, the hash of the file is there.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::blocking::{self, Panicked};
use crate::fault::Stage;
use crate::sftp::session::Held;
use crate::sftp::wire::BoxFuture;
use crate::tree::{Answer, Result, Sink, Used, buffers};
use crate::verify::{Algorithm, Digest, Hasher};

use super::file::OpenFile;
use super::root::read_full;
use super::{fault, internal};

/// Pieces that are written before others get the thread. Four take less than a millisecond; a longer turn would be taken for a
/// disk that blocks.
const TURN: usize = 4;

/// An open local file for writing.
pub(super) struct Writing(Arc<Shared>);

struct Shared {
    open: OpenFile,
    queue: Mutex<Queue>,
    /// Whoever writes has it.
    behind: Mutex<Option<Behind>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Piece>,
    /// A thread writes, or will.
    served: bool,
}

struct Piece {
    offset: u64,
    data: Bytes,
    held: Held,
    told: oneshot::Sender<io::Result<()>>,
}

/// The hash of all bytes below `at`.
struct Behind {
    hasher: Hasher,
    at: u64,
}

impl Writing {
    pub(super) fn new(open: OpenFile) -> Writing {
        Writing(Arc::new(Shared { open, queue: Mutex::default(), behind: Mutex::default() }))
    }

    fn serve(&self) {
        let shared = self.0.clone();
        // Each piece has an asker of its own, so nobody waits for the thread.
        drop(blocking::start(move || shared.serve()));
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits, a turn of it.
    fn serve(self: Arc<Self>) {
        let bound = Bound(&self);
        for _ in 0..TURN {
            let mut queue = self.queue();
            let Some(Piece { offset, data, held, told }) = queue.waiting.pop_front() else {
                queue.served = false;
                drop(queue);
                return std::mem::forget(bound);
            };
            drop(queue);
            let written = self.write(offset, &data);
            drop((data, held));
            // Whoever asked may have stopped waiting.
            let _ = told.send(written);
        }
        std::mem::forget(bound);
        let next = self.clone();
        drop(blocking::start(move || next.serve()));
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.open.file.write_all_at(data, offset)?;
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever finds no hash in the end makes it of the whole file, and meets what was wrong here.
        if let Some(Behind { hasher, at }) = &mut *behind {
            let mut lies = buffers::take();
            if *at == offset
                && read_full(&self.open.file, &mut lies, offset, data.len()).is_ok()
                && lies.len() == data.len()
            {
                hasher.update(&lies);
                *at += data.len() as u64;
            } else {
                *behind = None;
            }
            drop(buffers::give(lies));
        }
        Ok(())
    }
}

/// Gives up what waits if the writing panics: its askers learn it, and the next piece finds a thread again.
struct Bound<'a>(&'a Shared);

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        *self.0.queue() = Queue::default();
    }
}

impl Sink for Writing {
    fn hash_behind(&mut self, algorithm: Algorithm) {
        let behind = Behind { hasher: Hasher::new(algorithm), at: 0 };
        *self.0.behind.lock().unwrap_or_else(PoisonError::into_inner) = Some(behind);
    }

    fn write_at(&self, offset: u64, data: Bytes, held: Held) -> BoxFuture<'_, Result<Answer<()>>> {
        let (told, answer) = oneshot::channel();
        let mut queue = self.0.queue();
        queue.waiting.push_back(Piece { offset, data, held, told });
        let served = std::mem::replace(&mut queue.served, true);
        drop(queue);
        if !served {
            self.serve();
        }
        let shared = self.0.clone();
        let answer: Answer<()> = Box::pin(async move {
            match answer.await {
                Ok(written) => written.map_err(|e| fault(Stage::Write, &shared.open.root, &shared.open.path, &e)),
                Err(_) => Err(internal(&Panicked)),
            }
        });
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn finish(self: Box<Self>, size: u64) -> Answer<Option<Digest>> {
        let behind = self.0.behind.lock().unwrap_or_else(PoisonError::into_inner).take();
        let digest = behind.filter(|behind| behind.at == size).map(|behind| behind.hasher.finish());
        self.0.open.work(Stage::Close, move |file| {
            let found = file.metadata()?.len();
            if found == size {
                Ok(digest)
            } else {
                Err(io::Error::other(format!("has {found} bytes instead of {size}")))
            }
        })
    }

    fn used(&self) -> Used {
        Used::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;
    use crate::tree::local::Local;
    use crate::verify::gmac::Key;

    const PIECE: usize = 100_000;

    fn data() -> Vec<u8> {
        (0..1_000_003u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    /// Writes the pieces that begin at these places, all of them under way at once, and returns what is told at the end.
    async fn write(
        tree: &Local,
        name: &[u8],
        algorithm: Algorithm,
        places: impl Iterator<Item = usize>,
    ) -> Option<Digest> {
        let all = data();
        let mut sink = tree.open_write(name, all.len() as u64, 0o600, true).await.unwrap();
        sink.hash_behind(algorithm);
        let mut answers = Vec::new();
        for at in places {
            let piece = Bytes::copy_from_slice(&all[at..all.len().min(at + PIECE)]);
            answers.push(sink.write_at(at as u64, piece, Box::new(())).await.unwrap());
        }
        for answer in answers {
            answer.await.unwrap();
        }
        sink.finish(all.len() as u64).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_written_in_order_is_hashed_when_it_is_there_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Local::open(std::os::unix::ffi::OsStrExt::as_bytes(dir.path().as_os_str())).unwrap();
        let places = || (0..data().len()).step_by(PIECE);
        for (n, algorithm) in
            [Algorithm::Blake3, Algorithm::Sha256, Algorithm::Gmac(Key::own())].into_iter().enumerate()
        {
            let name = format!("in-order-{n}");
            let digest = write(&tree, name.as_bytes(), algorithm, places()).await;
            assert_eq!(digest, Some(Digest::of(algorithm, &data())));
            assert!(std::fs::read(dir.path().join(name)).unwrap() == data());
            // Backwards, and some of it twice: there is no hash, and the file is right.
            for (way, places) in
                [("back", places().rev().collect::<Vec<_>>()), ("twice", places().chain([0]).collect())]
            {
                let name = format!("{way}-{n}");
                assert_eq!(write(&tree, name.as_bytes(), algorithm, places.into_iter()).await, None);
                assert!(std::fs::read(dir.path().join(name)).unwrap() == data());
            }
        }
    }

    #[tokio::test]
    async fn the_hash_is_of_what_lies_there() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Local::open(std::os::unix::ffi::OsStrExt::as_bytes(dir.path().as_os_str())).unwrap();
        let all = data();
        let mut sink = tree.open_write(b"f", all.len() as u64, 0o600, true).await.unwrap();
        sink.hash_behind(Algorithm::Blake3);
        let half = all.len() / 2;
        sink.write_at(0, Bytes::copy_from_slice(&all[..half]), Box::new(())).await.unwrap().await.unwrap();
        // Somebody cuts the file: what was hashed is not there any more, and the size tells.
        std::fs::File::options().write(true).open(dir.path().join("f")).unwrap().set_len(7).unwrap();
        let fault = sink.finish(all.len() as u64).await.unwrap_err();
        assert!(fault.text.contains("7 bytes"), "{fault}");
    }
}
