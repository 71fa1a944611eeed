//! Open files, and calls on them by the threads of [`crate::blocking`].

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::fault::Stage;
use crate::tree::Answer;

use super::root::Root;
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
