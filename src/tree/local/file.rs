//! Open files: pieces read and written by the threads of [`crate::blocking`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use rustix::fs;

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::sftp::session::Held;
use crate::sftp::wire::BoxFuture;
use crate::tree::{Answer, Behind, Result, Sink, Source, Used, buffers};
use crate::verify::{Algorithm, Digest, Hasher};

use super::root::{Root, meta, read_full};
use super::{digest, fault, internal};

/// An open local file, for reading or for writing.
pub(super) struct OpenFile {
    pub(super) file: Arc<File>,
    pub(super) root: Arc<Root>,
    pub(super) path: Arc<[u8]>,
}

impl OpenFile {
    /// Starts the work at once; what is returned only waits for it.
    fn work<T: Send + 'static>(
        &self,
        stage: Stage,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (file, root, path) = (self.file.clone(), self.root.clone(), self.path.clone());
        let started = crate::blocking::start(move || work(&file).map_err(|e| fault(stage, &root, &path, &e)));
        Box::pin(async move { started.await.unwrap_or_else(|e| Err(internal(&e))) })
    }
}

impl Source for OpenFile {
    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Answer<Bytes>>> {
        let answer = self.work(Stage::Read, move |file| {
            let mut data = buffers::take();
            read_full(file, &mut data, offset, len)?;
            Ok(buffers::give(data))
        });
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn finish(self: Box<Self>) -> Answer<Meta> {
        self.work(Stage::Read, |file| Ok(meta(&fs::fstat(file)?)))
    }

    fn used(&self) -> Used {
        Used::default()
    }
}

impl Sink for OpenFile {
    fn write_at(&self, offset: u64, data: Bytes, held: Held) -> BoxFuture<'_, Result<Answer<()>>> {
        let answer = self.work(Stage::Write, move |file| {
            let written = file.write_all_at(&data, offset);
            drop((data, held));
            written
        });
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn finish(self: Box<Self>, size: u64) -> Answer<()> {
        self.work(Stage::Close, move |file| {
            let found = file.metadata()?.len();
            if found == size { Ok(()) } else { Err(io::Error::other(format!("has {found} bytes instead of {size}"))) }
        })
    }

    fn hash_behind(&self, algorithm: Algorithm) -> Option<Box<dyn Behind>> {
        let file = OpenFile { file: self.file.clone(), root: self.root.clone(), path: self.path.clone() };
        Some(Box::new(Follower { file, at: 0, now: Now::Idle(Hasher::new(algorithm)) }))
    }

    fn used(&self) -> Used {
        Used::default()
    }
}

/// Bytes that are hashed by one call: few enough to be in the processor's caches yet, and not to hold a thread up that writes (nor
/// to be taken for a call that blocks, see [`crate::blocking`]).
const STEP: u64 = 512 << 10;

/// Hashes what was written, as it lies on the disk, while more is written behind it.
struct Follower {
    file: OpenFile,
    /// What lies below is hashed, or being so.
    at: u64,
    now: Now,
}

enum Now {
    Idle(Hasher),
    Busy(Answer<Hasher>),
    Failed(Fault),
}

impl Follower {
    /// Starts the next step.
    fn step(&mut self, to: u64, mut hasher: Hasher) {
        let from = std::mem::replace(&mut self.at, to);
        self.now = Now::Busy(self.file.work(Stage::Hash, move |file| {
            digest::add(file, &mut hasher, from, to)?;
            Ok(hasher)
        }));
    }
}

impl Behind for Follower {
    fn written(&mut self, to: u64) {
        if to < self.at + STEP {
            return;
        }
        let stopped = Fault::new("local", Stage::Hash, Cause::Cancelled, "the hashing was stopped");
        let hasher = match std::mem::replace(&mut self.now, Now::Failed(stopped)) {
            Now::Idle(hasher) => hasher,
            Now::Busy(mut busy) => match (&mut busy).now_or_never() {
                Some(Ok(hasher)) => hasher,
                Some(Err(fault)) => return self.now = Now::Failed(fault),
                None => return self.now = Now::Busy(busy),
            },
            failed => return self.now = failed,
        };
        self.step(self.at + STEP, hasher);
    }

    fn finish(self: Box<Self>, size: u64) -> Answer<Digest> {
        let Follower { file, at, now } = *self;
        Box::pin(async move {
            let mut hasher = match now {
                Now::Idle(hasher) => hasher,
                Now::Busy(busy) => busy.await?,
                Now::Failed(fault) => return Err(fault),
            };
            let rest = file.work(Stage::Hash, move |file| {
                digest::add_rest(file, &mut hasher, at, size)?;
                Ok(hasher.finish())
            });
            rest.await
        })
    }
}
