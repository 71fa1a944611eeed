//! Hashes that the far end's own hasher makes, and what else it tells.

use std::sync::Arc;

use crate::fault::{Fault, Stage};
use crate::verify::remote::NoHash;
use crate::verify::{Algorithm, Digest};

use super::super::Result;
use super::RemoteTree;
use super::link::State;
use super::pool::{Lease, Pool};

/// The hash of the server's file `at`, of `size` bytes, and what made it. `None` where it has to be read back.
pub async fn by_hasher(
    tree: &RemoteTree,
    at: &[u8],
    size: u64,
    algorithm: Algorithm,
) -> Result<Option<(Digest, &'static str)>> {
    let remote = &tree.remote;
    let work = |pool: Arc<Pool>, lease: Lease, _| async move {
        let Some(hasher) = pool.far().await.hasher.filter(|h| h.rung.algorithm() == algorithm) else {
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

/// The directories below the server's directory `at`, if they are told.
pub async fn below(tree: &RemoteTree, at: &[u8]) -> Option<Vec<Vec<u8>>> {
    let hasher = tree.remote.pool().await.ok()?.far().await.hasher.filter(|hasher| !hasher.is_shared())?;
    hasher.below(at).await.ok()
}
