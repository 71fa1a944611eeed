//! A local file being read, and hashed by the thread that has just read it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs;
use tokio::sync::oneshot;

use crate::blocking::{self, Panicked};
use crate::entry::Meta;
use crate::fault::Stage;
use crate::sftp::wire::BoxFuture;
use crate::tree::{Answer, Result, Source, Used, buffers};
use crate::verify::in_order::InOrder;
use crate::verify::{Algorithm, Digest};

use super::file::OpenFile;
use super::root::{meta, read_full};
use super::{fault, internal};

/// An open local file for reading.
pub(super) struct Reading {
    open: OpenFile,
    behind: Option<Arc<InOrder>>,
}

impl Reading {
    pub(super) fn new(open: OpenFile) -> Reading {
        Reading { open, behind: None }
    }
}

impl Source for Reading {
    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Answer<Bytes>>> {
        let (told, answer) = oneshot::channel();
        let (file, behind) = (self.open.file.clone(), self.behind.clone());
        // The answer comes from within the work, which goes on after it.
        drop(blocking::start(move || {
            let mut data = buffers::take();
            let read: io::Result<Bytes> =
                read_full(&file, &mut data, offset, len).map(|()| buffers::give(std::mem::take(&mut data)));
            if let (Some(behind), Ok(piece)) = (&behind, &read) {
                behind.read(offset, piece.clone());
            }
            // It is on its way while it is hashed. Whoever asked may have stopped waiting.
            let _ = told.send(read);
            if let Some(behind) = behind {
                behind.catch_up();
            }
        }));
        let (root, path) = (self.open.root.clone(), self.open.path.clone());
        let answer: Answer<Bytes> = Box::pin(async move {
            match answer.await {
                Ok(read) => read.map_err(|e| fault(Stage::Read, &root, &path, &e)),
                Err(_) => Err(internal(&Panicked)),
            }
        });
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn hash_behind(&mut self, algorithm: Algorithm) {
        self.behind = Some(Arc::new(InOrder::new(algorithm)));
    }

    fn finish(self: Box<Self>) -> Answer<(Meta, Option<Digest>)> {
        let behind = self.behind;
        self.open.work(Stage::Read, move |file| {
            let found = meta(&fs::fstat(file)?);
            let digest = behind.and_then(|behind| behind.finish(found.size));
            Ok((found, digest))
        })
    }

    fn used(&self) -> Used {
        Used::default()
    }
}
