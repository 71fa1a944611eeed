//! Questions that will be asked in any case, asked at once: what an operand is and what it holds. Each is a round trip, and
//! asked one after the other they are most of what a short run at a distance waits for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::task::JoinHandle;

use crate::entry::Meta;
use crate::sftp::wire::BoxFuture;

use super::super::{Listing, Result};
use super::Remote;

/// Answers on their way, each for whoever asks first. The first change that we make to the far end forgets them all.
#[derive(Default)]
pub struct Foresight {
    /// Something is in the maps: nothing is locked where nothing was foreseen.
    any: AtomicBool,
    maps: Mutex<Maps>,
}

/// A path, and whether links are followed.
type Asked = (Vec<u8>, bool);

#[derive(Default)]
struct Maps {
    stats: HashMap<Asked, JoinHandle<Result<Option<Meta>>>>,
    lists: HashMap<Asked, JoinHandle<Result<Listing>>>,
}

/// What is foreseen of one path.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// As it will be asked for, to the byte.
    pub path: &'a [u8],
    /// What it leads to.
    pub referent: bool,
    /// What it is itself.
    pub itself: bool,
    /// What it holds, and whether links in it are followed.
    pub holds: Option<bool>,
}

impl Foresight {
    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Asks now, all at once.
    pub fn look(remote: &Arc<Remote>, look: Look<'_>) {
        let tree = Arc::new(remote.tree(b""));
        let path = look.path.to_vec();
        let mut maps = remote.foresight.maps();
        for follow in [look.referent.then_some(true), look.itself.then_some(false)].into_iter().flatten() {
            let (tree, path) = (tree.clone(), path.clone());
            let key = (path.clone(), follow);
            maps.stats.insert(key, tokio::spawn(async move { tree.ask_stat(&path, follow).await }));
        }
        if let Some(follow) = look.holds {
            let key = (path.clone(), follow);
            maps.lists.insert(key, tokio::spawn(async move { tree.ask_list(&path, follow).await }));
        }
        drop(maps);
        remote.foresight.any.store(true, Ordering::Release);
    }

    /// The answer to `STAT` or `LSTAT`, if that was foreseen and nobody had it yet.
    pub fn stat(&self, path: &[u8], follow: bool) -> Option<BoxFuture<'static, Option<Result<Option<Meta>>>>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let found = self.maps().stats.remove(&(path.to_vec(), follow))?;
        Some(Box::pin(async move { found.await.ok() }))
    }

    /// As [`Foresight::stat`], of a listing.
    pub fn list(&self, path: &[u8], follow: bool) -> Option<BoxFuture<'static, Option<Result<Listing>>>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let found = self.maps().lists.remove(&(path.to_vec(), follow))?;
        Some(Box::pin(async move { found.await.ok() }))
    }

    /// Gives a listing back that was only looked over: whoever walks the directory next has it.
    pub fn keep(remote: &Remote, path: &[u8], follow: bool, listing: Listing) {
        let key = (path.to_vec(), follow);
        remote.foresight.maps().lists.insert(key, tokio::spawn(std::future::ready(Ok(listing))));
        remote.foresight.any.store(true, Ordering::Release);
    }

    /// What is known of the far end may not be so any more.
    pub fn forget(&self) {
        if self.any.swap(false, Ordering::AcqRel) {
            *self.maps() = Maps::default();
        }
    }
}
