//! The temporary files that exist now, so that none is left behind however a run ends.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};

use crate::plan::names::{Suffix, temp_name};
use crate::tree::split;

#[derive(Default)]
pub struct Temps(Mutex<HashSet<Vec<u8>>>);

impl Temps {
    fn set(&self) -> MutexGuard<'_, HashSet<Vec<u8>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A name beside `path` that nobody can foresee, remembered until [`Temps::gone`].
    pub fn name(&self, path: &[u8]) -> Vec<u8> {
        let (dir, name) = split(path);
        let temp = temp_name(name, Suffix::new(rand::random()));
        let temp = if dir.is_empty() { temp } else { [dir, b"/", &temp].concat() };
        self.set().insert(temp.clone());
        temp
    }

    pub fn gone(&self, temp: &[u8]) {
        self.set().remove(temp);
    }

    /// What is left to be removed.
    pub fn take(&self) -> Vec<Vec<u8>> {
        self.set().drain().collect()
    }
}
