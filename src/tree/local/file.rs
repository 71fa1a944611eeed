//! Open files: pieces read by the threads of [`crate::blocking`].

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs;

use crate::entry::Meta;
use crate::fault::Stage;
use crate::sftp::wire::BoxFuture;
use crate::tree::{Answer, Result, Source, Used, buffers};

use super::root::{Root, meta, read_full};
use super::{fault, internal};

/// An open local file.
pub(super) struct OpenFile {
    pub(super) file: Arc<File>,
    pub(super) root: Arc<Root>,
    pub(super) path: Arc<[u8]>,
}

impl OpenFile {
    /// Starts the work at once; what is returned only waits for it.
    pub(super) fn work<T: Send + 'static>(
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
