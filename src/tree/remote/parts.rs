//! What the far end's hasher tells of a file's parts and blocks, and the copying of an old file's into the new one, by its server
//! (`copy-data`) or by the hasher.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Cause, Fault, Stage};
use crate::plan::delta::Run;
use crate::sftp::packet::open;
use crate::sftp::wire::BoxFuture;
use crate::sftp::{Attrs, Handle, Pending, Request};
use crate::verify::parts::Of;
use crate::verify::remote::{NoHash, RemoteHasher};
use crate::verify::{Algorithm, Digest};

use super::super::{Answer, Result};
use super::RemoteTree;
use super::pool::{Channel, Pool};

/// Copies asked for and not done, of one file: enough to keep the server busy over a round trip, and no more, for it does nothing
/// else on that channel until they are done. Measured, 500 MB over 50 ms: 2.98 s with four, 2.75 s with eight (of 16 MiB;
/// medians of three, one after the other, the second with lanes that count what need not be sent).
const TURNS: usize = 8;

/// What copies an old file's bytes into the new one.
pub enum Old {
    Server(Beside),
    Hasher(ByHasher),
}

/// The old file, open beside the new one: handles are good only on the channel that opened them.
pub struct Beside {
    channel: Arc<Channel>,
    from: Handle,
    to: Handle,
    turns: Arc<Semaphore>,
}

/// Where the server has no `copy-data`: the far end's hasher ([`crate::verify::copied`]).
pub struct ByHasher {
    asks: Asks,
    pool: Arc<Pool>,
    old: Vec<u8>,
    new: Arc<[u8]>,
    turns: Arc<Semaphore>,
}

/// Whom a hasher is asked by.
enum Asks {
    Itself(RemoteHasher),
    /// By the holder of a shared connection, on this channel.
    Holder(Arc<Channel>),
}

impl Old {
    /// Opens the new file as `request` says and the old one at `old`, in one flight. Without the old one there is only the new.
    pub async fn open_beside(
        channel: &Arc<Channel>,
        request: &Request<'_>,
        path: &[u8],
        old: &[u8],
    ) -> Result<(Handle, Option<Old>)> {
        let session = &channel.session;
        let opening = session.submit(request);
        let reading = session.submit(&Request::Open { path: old, flags: open::READ, attrs: Attrs::default() });
        let to = opening.handle(Stage::Open, path).await;
        let from = reading.handle(Stage::Open, old).await.ok();
        match (to, from) {
            (Ok(to), from) => {
                let turns = Arc::new(Semaphore::new(TURNS));
                let beside = from.map(|from| Beside { channel: channel.clone(), from, to: to.clone(), turns });
                Ok((to, beside.map(Old::Server)))
            }
            (Err(fault), from) => {
                if let Some(handle) = &from {
                    drop(session.submit(&Request::Close { handle }));
                }
                Err(fault)
            }
        }
    }

    /// The hasher that copies from the file at `old` into the one at `new`, which is there, if one does.
    pub async fn by_hasher(pool: &Arc<Pool>, channel: &Arc<Channel>, old: &[u8], new: &Arc<[u8]>) -> Option<Old> {
        let hasher = pool.hasher().await.filter(|hasher| hasher.copies(old, new))?;
        let asks = match hasher.is_shared() {
            true if channel.session.extensions.copies => Asks::Holder(channel.clone()),
            true => return None,
            false => Asks::Itself(pool.hasher_in_the_same_place()?),
        };
        let turns = Arc::new(Semaphore::new(TURNS));
        Some(Old::Hasher(ByHasher { asks, pool: pool.clone(), old: old.to_vec(), new: new.clone(), turns }))
    }

    /// Whether what is copied is copied on this channel.
    pub fn is_on(&self, channel: &Arc<Channel>) -> bool {
        matches!(self, Old::Server(beside) if Arc::ptr_eq(&beside.channel, channel))
    }

    /// Copies bytes from there into the new file. Waits for a turn, which the answer gives back.
    pub async fn copy(&self, run: Run, path: &Arc<[u8]>) -> Answer<()> {
        let (Old::Server(Beside { turns, .. }) | Old::Hasher(ByHasher { turns, .. })) = self;
        let turn = match turns.clone().acquire_owned().await {
            Ok(turn) => turn,
            // It is never closed.
            Err(_) => std::future::pending().await,
        };
        let path = path.clone();
        match self {
            Old::Server(beside) => {
                let copying = beside.copy(run, turn);
                Box::pin(async move { copying.done(Stage::Write, &path).await })
            }
            Old::Hasher(by) => by.copy(run, turn).await,
        }
    }
}

impl Beside {
    fn copy(&self, run: Run, turn: OwnedSemaphorePermit) -> Pending {
        // What waits behind it on this channel waits for all of it: others take the others.
        let carried = self.channel.add_bytes(usize::try_from(run.len).unwrap_or(usize::MAX));
        let Run { from: offset, at, len } = run;
        let request = Request::CopyData { from: &self.from, offset, len, to: &self.to, at };
        self.channel.session.submit_holding(&request, (turn, carried))
    }
}

impl ByHasher {
    /// Whatever does not become of it is lost, so that nothing goes on with this file: what was asked for may be done yet.
    async fn copy(&self, run: Run, turn: OwnedSemaphorePermit) -> Answer<()> {
        let run = (run.from, run.at, run.len);
        let asked: BoxFuture<'static, _> = match &self.asks {
            Asks::Holder(channel) => Box::pin(crate::share::digest::copy(&channel.session, &self.old, &self.new, run)),
            Asks::Itself(hasher) => match hasher.copy(&self.old, &self.new, run).await {
                Ok(asked) => Box::pin(async move { Ok(asked.await) }),
                Err(why) => Box::pin(std::future::ready(Ok(Err(why)))),
            },
        };
        let pool = self.pool.clone();
        Box::pin(async move {
            let copied = asked.await;
            drop(turn);
            let copied = copied?;
            let lost = |text: &str| Fault::new(pool.hop(), Stage::Write, Cause::Lost, text);
            copied.map_err(|why| match why {
                NoHash::Skipped => lost("the hasher could not copy what the old file has"),
                NoHash::Gone(why) => {
                    forget(&pool, &why);
                    lost("the hasher ended while it copied what the old file has")
                }
            })
        })
    }
}

impl Drop for Beside {
    /// What was only read needs no CLOSE that succeeds.
    fn drop(&mut self) {
        drop(self.channel.session.submit(&Request::Close { handle: &self.from }));
    }
}

/// The one that tells parts by this algorithm.
pub async fn hasher(pool: &Pool, algorithm: Algorithm) -> Option<RemoteHasher> {
    pool.hasher().await.filter(|hasher| hasher.rung.algorithm() == algorithm && hasher.rung.tells_parts())
}

/// As [`super::super::Tree::parts`]; `path` is the server's.
pub async fn ask(tree: &RemoteTree, path: &[u8], of: Of, algorithm: Algorithm) -> Result<Option<Answer<Vec<Digest>>>> {
    let (pool, lease) = tree.remote.lease().await?;
    let Some(hasher) = hasher(&pool, algorithm).await else { return Ok(None) };
    let asked: BoxFuture<'static, _> = match hasher.is_shared() {
        true => {
            let asked = crate::share::digest::parts(&lease.session, path, of);
            Box::pin(async move { (asked.await, drop(lease)).0 })
        }
        false => match hasher.parts(path, of).await {
            Ok(asked) => Box::pin(async move { Ok(asked.await) }),
            Err(NoHash::Skipped) => return Ok(None),
            Err(NoHash::Gone(why)) => {
                forget(&pool, &why);
                return Ok(None);
            }
        },
    };
    let hop = tree.remote.hop();
    let answer: Answer<Vec<Digest>> = Box::pin(async move {
        let told = asked.await?.map_err(|why| match why {
            NoHash::Skipped => Fault::new(hop.clone(), Stage::Hash, Cause::Unsupported, "no hashes of parts"),
            NoHash::Gone(why) => {
                forget(&pool, &why);
                Fault::new(hop.clone(), Stage::Hash, Cause::Lost, why)
            }
        })?;
        // Another hasher than was asked for: its hashes compare with nothing.
        if told.iter().any(|digest| digest.algorithm != algorithm) {
            return Err(Fault::new(hop, Stage::Hash, Cause::Unsupported, "hashes of another kind"));
        }
        Ok(told)
    });
    Ok(Some(answer))
}

/// It has failed, and not with its connection.
fn forget(pool: &Pool, why: &str) {
    if !pool.link.is_over() {
        pool.forget_hasher(why);
    }
}
