//! Hashes that the far end's own hasher makes, and what else it tells.

use std::sync::Arc;

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::sftp::Request;
use crate::verify::content::ASKED;
use crate::verify::remote::{Committed, Content, NoHash, RemoteHasher};
use crate::verify::{Algorithm, Digest};

use super::super::{Change, Listing, Proven, ReadHashed, Result, Used, split};
use super::RemoteTree;
use super::attributes::attrs;
use super::link::State;
use super::listing;
use super::pool::{Lease, Pool};
use super::view::{self, Look};

/// The hash of the server's file `at`, of `size` bytes, and what made it. `None` where it has to be read back.
pub async fn by_hasher(
    tree: &RemoteTree,
    at: &[u8],
    size: u64,
    algorithm: Algorithm,
) -> Result<Option<(Digest, &'static str)>> {
    let remote = &tree.remote;
    let work = |pool: Arc<Pool>, lease: Lease, _| async move {
        let Some(hasher) = pool.hasher().await.filter(|h| h.rung.algorithm() == algorithm) else {
            return Ok(None);
        };
        let asked = if hasher.is_shared() {
            crate::share::digest::ask(&lease.session, at, size).await?
        } else {
            hasher.digest(at, size).await
        };
        match asked {
            Ok(digest) => Ok(Some((digest, hasher.rung.name()))),
            Err(NoHash::Skipped) => Ok(None),
            Err(NoHash::Gone(_)) if pool.link.is_over() => match pool.link.state() {
                State::Lost(fault) => Err(Fault { stage: Stage::Hash, ..fault }),
                _ => Err(remote.lost()),
            },
            Err(NoHash::Gone(why)) => {
                pool.forget_hasher(&why);
                Ok(None)
            }
        }
    };
    tree.again(work).await
}

/// What the server's file `at` holds, as long as it is as it was `before`, with its hash. `None` where it is to be read over SFTP.
pub async fn content(tree: &RemoteTree, at: &[u8], before: &Meta) -> Option<ReadHashed> {
    let (pool, hasher) = telling(tree).await.filter(|_| before.size <= ASKED)?;
    let _held = pool.read_budget(before.size as usize).await;
    let Content { data, digest, size, mtime } = told(&pool, hasher.content(at, before.size, pool.patience()).await)?;
    let same = (size, data.len() as u64, mtime) == (before.size, before.size, before.mtime);
    let used = Used { lane: Some(0), channel: pool.hashing_channel() };
    same.then_some(ReadHashed { data, digest, by: hasher.rung.name(), used })
}

/// What the server's directory `at` holds, and `list`, asked over SFTP, where the hasher does not tell it or has yet to show that it sees
/// what the server does.
pub async fn list<F: Future<Output = Result<Listing>>>(
    tree: &RemoteTree,
    at: &[u8],
    list: impl FnOnce() -> F,
) -> Result<Listing> {
    let Some((pool, hasher)) = telling(tree).await else { return list().await };
    match pool.view.look() {
        Look::Told => match told(&pool, hasher.list(at, pool.patience()).await).and_then(listing::told) {
            Some(listing) => Ok(listing),
            None => list().await,
        },
        Look::Both => {
            let (asked, path) = (pool.clone(), at.to_vec());
            let entries = tokio::spawn(async move { told(&asked, hasher.list(&path, asked.patience()).await) });
            let listed = list().await;
            let seen = listed.as_ref().ok().filter(|listing| listing.faults.is_empty());
            let seen = seen.map(|listing| view::seen(&listing.entries));
            // Nobody waits for the hasher.
            tokio::spawn(async move {
                let told = entries.await.ok().flatten();
                pool.view.compared(seen.zip(told).and_then(|(seen, told)| view::same(&seen, &told)));
            });
            listed
        }
        Look::Listed => list().await,
    }
}

/// The hasher that tells what files and directories hold, if it is there by now.
async fn telling(tree: &RemoteTree) -> Option<(Arc<Pool>, RemoteHasher)> {
    let pool = tree.remote.pool().await.ok()?;
    let hasher = pool.hasher_in_the_same_place().filter(|h| h.rung.tells_parts() && !h.is_shared())?;
    Some((pool, hasher))
}

/// What it told; SFTP is there for the rest. A channel of a lost connection is not its fault.
fn told<T>(pool: &Pool, asked: std::result::Result<T, NoHash>) -> Option<T> {
    match asked {
        Ok(told) => Some(told),
        Err(NoHash::Gone(why)) if !pool.link.is_over() => {
            pool.forget_hasher(&why);
            None
        }
        Err(_) => None,
    }
}

/// Has the hasher see that the server's file `temp` has this hash, set its attributes, and give it the name `path`, in one. `None` where
/// it does not do such a thing. What is lost is not asked for again: nobody could tell whether the file has its name.
pub async fn commit(
    tree: &RemoteTree,
    temp: &[u8],
    path: &[u8],
    change: &Change,
    (wanted, size): (Digest, u64),
) -> Result<Option<Proven>> {
    let remote = &tree.remote;
    let (pool, lease) = remote.lease().await?;
    let Some(hasher) = pool.hasher().await.filter(|h| h.rung.algorithm() == wanted.algorithm && h.rung.tells_parts())
    else {
        return Ok(None);
    };
    let ((directory, _), (there, name)) = (split(temp), split(path));
    if directory != there || name.is_empty() {
        return Ok(None);
    }
    let by = hasher.rung.name();
    let attrs = attrs(change).next().unwrap_or_default();
    let asked = match hasher.is_shared() {
        true => crate::share::digest::commit(&lease.session, temp, size, &wanted, attrs, name).await?,
        false => hasher.commit(temp, size, &wanted, &attrs, name).await,
    };
    match asked {
        Ok(Committed::Done(digest)) => Ok(Some(Proven { digest, by, committed: true })),
        Ok(Committed::Left(digest)) => Ok(Some(Proven { digest, by, committed: false })),
        Err(NoHash::Skipped) => Ok(None),
        Err(NoHash::Gone(why)) => {
            if !pool.link.is_over() {
                pool.forget_hasher(&why);
            }
            // A channel of a lost connection knows why. Else it may go on unheard with all that it was asked for, and what lies there now
            // may have its name in a moment: only a temp of another name is nobody's but ours.
            lease.session.submit(&Request::Lstat { path: temp }).attrs(Stage::Hash, temp).await?;
            Err(tree.fault(Stage::Hash, Cause::Lost, path, "the hasher ended while it gave the file its name"))
        }
    }
}

/// The directories below the server's directory `at`, if they are told.
pub async fn below(tree: &RemoteTree, at: &[u8]) -> Option<Vec<Vec<u8>>> {
    let hasher = tree.remote.pool().await.ok()?.hasher().await.filter(|hasher| !hasher.is_shared())?;
    hasher.below(at).await.ok()
}
