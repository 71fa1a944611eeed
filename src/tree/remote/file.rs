//! Large remote files, in pieces, striped over channels.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use futures::future;
use tokio::sync::OwnedSemaphorePermit;

use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::plan::delta::Run;
use crate::sftp::packet::open;
use crate::sftp::session::Held;
use crate::sftp::wire::BoxFuture;
use crate::sftp::{Attrs, Handle, Pending, Request};
use crate::verify::Digest;

use super::super::{Answer, Result, Sink, Source, Used};
use super::parts::Old;
use super::pool::{Channel, Large, Lease, Pool};

/// From this size on a file is opened on several channels. Below, other files fill them.
const STRIPED: u64 = 8 << 20;

/// Channels for one file: 2 to 4 carried 2 GB fastest (measured: 2.15 × rsync on one, 2.4–3.1 on four, 2.7 on ten).
const STRIPES: usize = 4;

/// Channels for one file on each lane that was added.
const LANE_STRIPES: usize = 2;

pub(super) fn fault(channel: &Channel, stage: Stage, cause: Cause, path: &[u8], text: &str) -> Fault {
    let peer = channel.session.peer();
    let text = format!("\"{}\": {text}", String::from_utf8_lossy(path));
    Fault::new(peer.hop.clone(), stage, cause, text).on(peer.lane, peer.channel)
}

pub(super) fn meta(channel: &Channel, stage: Stage, path: &[u8], attrs: Option<Attrs>) -> Result<Meta> {
    let attrs = attrs.ok_or_else(|| fault(channel, stage, Cause::Vanished, path, "is gone"))?;
    // FSTAT may leave out the type bits where LSTAT has them: an open file is a file.
    let attrs = Attrs { permissions: attrs.permissions.or(Some(0o100000)), ..attrs };
    attrs.to_meta().ok_or_else(|| fault(channel, stage, Cause::Protocol, path, "the server does not tell its type"))
}

/// Reads on until `data`, which starts at `offset` of the file, has `len` bytes or the file ends.
pub(super) async fn fill(
    pool: &Pool,
    channel: &Arc<Channel>,
    handle: &Handle,
    path: &[u8],
    data: &mut BytesMut,
    offset: u64,
    len: usize,
) -> Result<()> {
    while data.len() < len {
        let missing = len - data.len();
        let budget = pool.read_budget(missing).await;
        let offset = offset + data.len() as u64;
        let request = Request::Read { handle, offset, len: missing as u32 };
        let asked = channel.session.submit_holding(&request, budget);
        match asked.data(Stage::Read, path).await? {
            Some(more) => data.extend_from_slice(&more),
            None => break,
        }
    }
    Ok(())
}

pub(super) fn check_size(channel: &Channel, path: &[u8], found: Option<Attrs>, size: u64) -> Result<()> {
    match found.and_then(|attrs| attrs.size) {
        Some(found) if found != size => {
            let text = format!("has {found} bytes at the far end instead of {size}");
            Err(fault(channel, Stage::Close, Cause::Mismatch, path, &text))
        }
        _ => Ok(()),
    }
}

/// A channel that a file is open on. Whoever has not heard all that it asked for there holds the handle.
type Stripe = (Arc<Channel>, Arc<Handle>);

/// The answer to a CLOSE, and its channel.
type Closing = (Arc<Channel>, Pending);

/// A file open on one channel, or on several.
pub struct RemoteFile {
    pool: Arc<Pool>,
    /// The first is the one that created it.
    stripes: Mutex<Vec<Stripe>>,
    /// How it is opened on other lanes, and of how many it has been; `None` if it is not striped.
    again: Option<(u32, AtomicU32)>,
    /// The lanes that it is, or was, open on.
    lanes: Mutex<HashSet<u32>>,
    /// Stripes on lanes that were given back, and the answers to their CLOSEs.
    left: Mutex<Vec<Closing>>,
    /// What parts are copied from.
    old: Option<Old>,
    path: Arc<[u8]>,
    used: Used,
    _lease: (Lease, Large),
    /// One for each handle.
    _open: Vec<OwnedSemaphorePermit>,
}

impl RemoteFile {
    pub async fn open(
        pool: Arc<Pool>,
        (lease, large): (Lease, Large),
        path: &[u8],
        size: u64,
        flags: u32,
        attrs: Attrs,
        old: Option<&[u8]>,
    ) -> Result<RemoteFile> {
        let path: Arc<[u8]> = path.into();
        let (mut held, first, old) = match old {
            Some(old) if lease.session.extensions.copy_data => {
                let held = lease.two_handles().await;
                let request = Request::Open { path: &path, flags, attrs };
                let (first, old) = Old::open_beside(&lease, &request, &path, old).await?;
                (vec![held], first, old)
            }
            old => {
                let held = lease.handle().await;
                let opening = lease.session.submit(&Request::Open { path: &path, flags, attrs });
                let first = opening.handle(Stage::Open, &path).await?;
                let old = match old {
                    Some(old) => Old::by_hasher(&pool, &lease, old, &path).await,
                    None => None,
                };
                (vec![held], first, old)
            }
        };
        let mut stripes = vec![(Arc::clone(&lease), Arc::new(first))];
        if size >= STRIPED {
            // It exists by now; who opens it again must neither create nor empty it.
            let flags = flags & !(open::CREATE | open::EXCLUSIVE | open::TRUNCATE);
            let attrs = Attrs::default();
            let mut others = pool.beside(&lease, STRIPES);
            others.retain(|channel| channel.free_handle().map(|permit| held.push(permit)).is_some());
            let opened = others.iter().map(|channel| {
                channel.session.submit(&Request::Open { path: &path, flags, attrs }).handle(Stage::Open, &path)
            });
            // A channel that does not open it is simply not used for it.
            for (channel, handle) in others.iter().zip(future::join_all(opened).await) {
                if let Ok(handle) = handle {
                    stripes.push((channel.clone(), Arc::new(handle)));
                }
            }
        }
        let used = super::tree::used(&lease);
        let reopen = flags & !(open::CREATE | open::EXCLUSIVE | open::TRUNCATE);
        let again = (size >= STRIPED).then(|| (reopen, AtomicU32::new(0)));
        let lanes = Mutex::new(HashSet::from([lease.session.peer().lane]));
        let (stripes, lease) = (Mutex::new(stripes), (lease, large));
        let left = Mutex::default();
        Ok(RemoteFile { pool, stripes, again, lanes, left, old, path, used, _lease: lease, _open: held })
    }

    fn stripes(&self) -> MutexGuard<'_, Vec<Stripe>> {
        self.stripes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Channels of lanes that it is not open on.
    fn on_other_lanes(&self) -> Vec<Arc<Channel>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let fresh = self.pool.on_other_lanes(&lanes, LANE_STRIPES);
        lanes.extend(fresh.iter().map(|channel| channel.session.peer().lane));
        fresh
    }

    /// The stripe with the least under way, on lanes that were added meanwhile too.
    async fn next(&self) -> Result<Stripe> {
        if let Some((flags, seen)) = &self.again {
            let added = self.pool.lanes_added();
            if added > seen.swap(added, Ordering::Relaxed) {
                let fresh = self.on_other_lanes();
                let opened = fresh.iter().map(|channel| {
                    let request = Request::Open { path: &self.path, flags: *flags, attrs: Attrs::default() };
                    channel.session.submit(&request).handle(Stage::Open, &self.path)
                });
                let opened = future::join_all(opened).await;
                // A channel that does not open it is simply not used for it.
                let opened = fresh.into_iter().zip(opened);
                let opened = opened.filter_map(|(channel, handle)| Some((channel, Arc::new(handle.ok()?))));
                self.stripes().extend(opened);
            }
        }
        let mut stripes = self.stripes();
        self.leave_retired(&mut stripes);
        // One whose lane is full would hold up what others have room for.
        let least = stripes.iter().min_by_key(|(channel, _)| (!channel.has_room(), channel.outstanding())).cloned();
        least.ok_or_else(|| Fault::new(self.pool.hop(), Stage::Open, Cause::Lost, "the file was closed"))
    }

    /// Closes what is open on lanes that were given back, once nobody waits for anything there: whoever was sent less than it asked for
    /// asks again.
    fn leave_retired(&self, stripes: &mut Vec<Stripe>) {
        // The one that parts are copied on stays to the end.
        let copies = |channel: &Arc<Channel>| self.old.as_ref().is_some_and(|old| old.is_on(channel));
        let over = |(channel, handle): &Stripe| {
            channel.lane.is_retired() && Arc::strong_count(handle) == 1 && !copies(channel)
        };
        while stripes.len() > 1
            && let Some(at) = stripes.iter().position(over)
        {
            let (channel, handle) = stripes.swap_remove(at);
            let closing = channel.session.submit(&Request::Close { handle: &handle });
            self.left.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((channel, closing));
        }
    }

    /// Asks for what the file is by now, and closes every handle; nothing is left for `Drop` to close. (A second CLOSE would
    /// not be harmless: servers use handles again, and it would end somebody else's file.)
    ///
    /// Each answer comes with its channel: one whose lane was given back lives only as long as somebody holds it.
    fn stat_and_close(&mut self) -> (Arc<Channel>, Pending, Vec<Closing>) {
        self.old = None;
        let stripes = std::mem::take(&mut *self.stripes());
        let (first, handle) = &stripes[0];
        let stating = first.session.submit(&Request::Fstat { handle });
        let mut closing = std::mem::take(self.left.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()));
        closing.extend(stripes.iter().map(|(channel, handle)| {
            let closing = channel.session.submit(&Request::Close { handle });
            (channel.clone(), closing)
        }));
        (first.clone(), stating, closing)
    }
}

impl Source for RemoteFile {
    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Answer<Bytes>>> {
        Box::pin(async move {
            let budget = self.pool.read_budget(len).await;
            let (channel, handle) = self.next().await?;
            let carried = channel.add_bytes(len);
            let request = Request::Read { handle: &handle, offset, len: len as u32 };
            let asked = channel.session.submit_holding(&request, (budget, carried));
            let (pool, path) = (self.pool.clone(), self.path.clone());
            let answer: Answer<Bytes> = Box::pin(async move {
                match asked.data(Stage::Read, &path).await? {
                    Some(data) if data.len() < len => {
                        let mut data = BytesMut::from(&data[..]);
                        fill(&pool, &channel, &handle, &path, &mut data, offset, len).await?;
                        Ok(data.freeze())
                    }
                    data => Ok(data.unwrap_or_default()),
                }
            });
            Ok(answer)
        })
    }

    fn finish(mut self: Box<Self>) -> Answer<(Meta, Option<Digest>)> {
        Box::pin(async move {
            let (channel, stating, closing) = self.stat_and_close();
            let found = stating.attrs(Stage::Read, &self.path).await?;
            for (_channel, closing) in closing {
                closing.done(Stage::Close, &self.path).await?;
            }
            Ok((meta(&channel, Stage::Read, &self.path, found)?, None))
        })
    }

    fn used(&self) -> Used {
        self.used
    }
}

impl Sink for RemoteFile {
    fn write_at(&self, offset: u64, data: Bytes, held: Held) -> BoxFuture<'_, Result<Answer<()>>> {
        Box::pin(async move {
            let len = data.len();
            let (channel, handle) = self.next().await?;
            let carried = channel.add_bytes(len);
            let budget = channel.write_budget(len).await;
            let request = Request::Write { handle: &handle, offset, data };
            let writing = channel.session.submit_holding(&request, (budget, carried, held));
            let path = self.path.clone();
            let answer: Answer<()> = Box::pin(async move {
                let _open = handle;
                writing.done(Stage::Write, &path).await
            });
            Ok(answer)
        })
    }

    fn copies(&self) -> bool {
        self.old.is_some()
    }

    fn copy(&self, run: Run) -> BoxFuture<'_, Result<Option<Answer<()>>>> {
        Box::pin(async move {
            let Some(old) = &self.old else { return Ok(None) };
            Ok(Some(old.copy(run, &self.path).await))
        })
    }

    fn finish(mut self: Box<Self>, size: u64) -> Answer<Option<Digest>> {
        Box::pin(async move {
            let (channel, stating, closing) = self.stat_and_close();
            let found = stating.attrs(Stage::Close, &self.path).await;
            for (_channel, closing) in closing {
                closing.done(Stage::Close, &self.path).await?;
            }
            check_size(&channel, &self.path, found?, size)?;
            Ok(None)
        })
    }

    fn used(&self) -> Used {
        self.used
    }
}

impl Drop for RemoteFile {
    /// An abandoned file's handles are closed all the same: a server has few (OpenSSH: RLIMIT_NOFILE − 5).
    fn drop(&mut self) {
        for (channel, handle) in self.stripes().drain(..) {
            drop(channel.session.submit(&Request::Close { handle: &handle }));
        }
    }
}
