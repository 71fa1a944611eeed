//! Questions that will be asked in any case, asked at once: what an operand is and what it holds. Each is a round trip, and
//! asked one after the other they are most of what a short run at a distance waits for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::task::JoinHandle;

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::sftp::wire::BoxFuture;
use crate::sftp::{Attrs, Flight, Pending, Request};

use super::super::{Listing, Result};
use super::Remote;
use super::listing::{self, Begun};
use super::pool::Channel;

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
#[derive(Debug, Clone)]
pub struct Look {
    /// As it will be asked for, to the byte.
    pub path: Vec<u8>,
    /// What it leads to.
    pub referent: bool,
    /// What it is itself.
    pub itself: bool,
    /// What it holds, and whether links in it are followed.
    pub holds: Option<bool>,
}

impl Look {
    fn stats(&self) -> impl Iterator<Item = Asked> {
        let both = [self.referent.then_some(true), self.itself.then_some(false)];
        both.into_iter().flatten().map(|follow| (self.path.clone(), follow))
    }

    fn lists(&self) -> impl Iterator<Item = Asked> {
        self.holds.into_iter().map(|follow| (self.path.clone(), follow))
    }
}

/// What was asked with a channel's greeting.
pub struct Opening {
    stats: Vec<(Asked, Pending)>,
    lists: Vec<(Asked, Begun)>,
}

impl Opening {
    pub fn ask(flight: &mut Flight<'_>, looks: &[Look]) -> Opening {
        let stat = |flight: &mut Flight<'_>, (path, follow): &Asked| {
            flight.submit(&if *follow { Request::Stat { path } } else { Request::Lstat { path } })
        };
        let stats = looks.iter().flat_map(Look::stats).map(|key| (key.clone(), stat(flight, &key))).collect();
        let lists = looks.iter().flat_map(Look::lists).map(|key| (key.clone(), Begun::with(flight, &key.0))).collect();
        Opening { stats, lists }
    }

    /// The answers on their way on this channel.
    pub fn answers(self, channel: &Arc<Channel>) -> FirstWords {
        let stats = self.stats.into_iter().map(|(key, asked)| {
            let path = key.0.clone();
            (key, tokio::spawn(async move { asked.attrs(Stage::List, &path).await }))
        });
        let lists = self.lists.into_iter().map(|(key, begun)| {
            let (channel, (path, follow)) = (channel.clone(), key.clone());
            let listed = async move {
                let open = channel.handle().await;
                listing::finish(&channel, &path, follow, Some(begun), open).await
            };
            (key, tokio::spawn(listed))
        });
        FirstWords { stats: stats.collect(), lists: lists.collect() }
    }
}

/// The server's own answer; none if the channel was lost, and it is to be asked again.
async fn answered<T>(asked: JoinHandle<Result<T>>) -> Option<Result<T>> {
    let lost = |fault: &Fault| matches!(fault.cause, Cause::Lost | Cause::Cancelled | Cause::Timeout);
    asked.await.ok().filter(|answer| !answer.as_ref().is_err_and(lost))
}

/// Answers to what was asked with the first channel's greeting.
#[derive(Default)]
pub struct FirstWords {
    stats: HashMap<Asked, JoinHandle<Result<Option<Attrs>>>>,
    lists: HashMap<Asked, JoinHandle<Result<Listing>>>,
}

impl Foresight {
    fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Asks now, all at once, but for what was asked for with the first channel's greeting.
    pub fn look(remote: &Arc<Remote>, look: &Look) {
        let tree = Arc::new(remote.tree(b""));
        let pool = remote.living();
        let early = || pool.as_ref().map(|pool| pool.first_words());
        let mut maps = remote.foresight.maps();
        for key in look.stats() {
            let early = early().and_then(|mut early| early.stats.remove(&key));
            let (tree, (path, follow)) = (tree.clone(), key.clone());
            let asked = async move {
                match early {
                    Some(early) => match answered(early).await {
                        Some(found) => tree.told(&path, found?),
                        None => tree.ask_stat(&path, follow).await,
                    },
                    None => tree.ask_stat(&path, follow).await,
                }
            };
            maps.stats.insert(key, tokio::spawn(asked));
        }
        for key in look.lists() {
            let early = early().and_then(|mut early| early.lists.remove(&key));
            let (tree, (path, follow)) = (tree.clone(), key.clone());
            let asked = async move {
                match early {
                    Some(early) => match answered(early).await {
                        Some(listing) => listing,
                        None => tree.ask_list(&path, follow).await,
                    },
                    None => tree.ask_list(&path, follow).await,
                }
            };
            maps.lists.insert(key, tokio::spawn(asked));
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
