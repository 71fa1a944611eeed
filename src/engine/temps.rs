//! The temporary files that exist now, so that none is left behind however a run ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::plan::names::{Suffix, temp_name};
use crate::tree::split;

#[derive(Default)]
pub struct Temps(Mutex<HashMap<Vec<u8>, Left>>);

/// What becomes of a temporary file when a run ends before it is whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// `--partial`: kept under this name.
    pub kept: Option<Vec<u8>>,
    /// It lies in `--temp-dir`.
    pub staged: bool,
}

impl Temps {
    fn set(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Left>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A name beside `path` that nobody can foresee, remembered until [`Temps::gone`].
    pub fn name(&self, path: &[u8]) -> Vec<u8> {
        let (dir, name) = split(path);
        let temp = temp_name(name, Suffix::new(rand::random()));
        let temp = if dir.is_empty() { temp } else { [dir, b"/", &temp].concat() };
        self.set().insert(temp.clone(), Left::default());
        temp
    }

    /// Likewise, in `--temp-dir`, for a file of this path.
    pub fn staged(&self, path: &[u8]) -> Vec<u8> {
        let temp = temp_name(split(path).1, Suffix::new(rand::random()));
        self.set().insert(temp.clone(), Left { kept: None, staged: true });
        temp
    }

    pub fn gone(&self, temp: &[u8]) {
        self.set().remove(temp);
    }

    /// `--partial`: `temp` holds data by now, and is to be kept as `path` if the run ends before it is whole.
    pub fn keep(&self, temp: &[u8], path: &[u8]) {
        if let Some(left) = self.set().get_mut(temp) {
            left.kept.get_or_insert_with(|| path.to_vec());
        }
    }

    /// What is left to be removed or kept.
    pub fn take(&self) -> Vec<(Vec<u8>, Left)> {
        self.set().drain().collect()
    }
}
