//! The far end as a [`Tree`]: what is asked for becomes requests on one of its channels.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::engine::retry::{Decision, Retry, Scope};
use crate::entry::Meta;
use crate::fault::{Cause, Fault, Stage};
use crate::sftp::packet::open;
use crate::sftp::wire::BoxFuture;
use crate::sftp::{Attrs, Request};
use crate::verify::parts::Of;
use crate::verify::{Algorithm, Digest};

use super::super::{
    Answer, Change, How, Identity, Listing, Proven, ReadHashed, Result, Sink, Source, Tree, Used, join,
};
use super::attributes::{attrs, set};
use super::pool::{Lease, Pool};
use super::{READBACK, Remote, copy, file, hashes, listing, parts, readback, rename, small};

/// The far end as a [`Tree`].
#[derive(Clone)]
pub struct RemoteTree {
    pub(super) remote: Arc<Remote>,
    pub(super) root: Arc<[u8]>,
}

impl RemoteTree {
    pub(super) fn at(&self, path: &[u8]) -> Vec<u8> {
        join(&self.root, path)
    }

    pub(super) fn fault(&self, stage: Stage, cause: Cause, path: &[u8], text: &str) -> Fault {
        Fault::new(self.remote.hop.clone(), stage, cause, format!("\"{}\": {text}", String::from_utf8_lossy(path)))
    }

    /// Does `work` on a channel, and once more on another one if its channel or connection is lost meanwhile: the loss itself
    /// is counted, and nobody who asks for something small has to know of it. `work` is told whether it may have been done
    /// before.
    pub(super) async fn again<T, F: Future<Output = Result<T>>>(
        &self,
        work: impl Fn(Arc<Pool>, Lease, bool) -> F,
    ) -> Result<T> {
        let (mut retry, started) = (Retry::new(Scope::Channel), Instant::now());
        loop {
            let (pool, lease) = self.remote.lease().await?;
            match work(pool, lease, retry.failures() > 0).await {
                Err(fault) if matches!(fault.cause, Cause::Lost | Cause::Timeout) => {
                    self.pause(&mut retry, started, fault).await?;
                }
                done => return done,
            }
        }
    }

    /// Waits until what was lost may be asked again.
    ///
    /// # Errors
    /// The fault itself, where it is not to be.
    async fn pause(&self, retry: &mut Retry, started: Instant, fault: Fault) -> Result<()> {
        if self.remote.gave_up() {
            return Err(fault);
        }
        let decision = retry.after(&fault, started.elapsed(), &mut rand::rng());
        match decision {
            Decision::Retry(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Decision::GiveUp(_) => Err(fault),
        }
    }

    /// A file's hash, made here of what is read back. What is lost meanwhile is read from the beginning.
    async fn read_back(&self, path: &[u8], size: u64, algorithm: Algorithm) -> Result<Digest> {
        let (mut retry, started) = (Retry::new(Scope::Channel), Instant::now());
        loop {
            match readback::digest(self, path, size, algorithm).await {
                Err(fault) if matches!(fault.cause, Cause::Lost | Cause::Timeout) => {
                    self.pause(&mut retry, started, fault).await?;
                }
                done => return done,
            }
        }
    }

    /// `path` is whole, as in [`RemoteTree::ask_list`].
    pub(super) async fn ask_stat(&self, path: &[u8], follow: bool) -> Result<Option<Meta>> {
        let request = if follow { Request::Stat { path } } else { Request::Lstat { path } };
        let request = &request;
        let work = |_, lease: Lease, _| async move { lease.session.submit(request).attrs(Stage::List, path).await };
        self.told(path, self.again(work).await?)
    }

    /// What the server told of a path.
    pub(super) fn told(&self, path: &[u8], found: Option<Attrs>) -> Result<Option<Meta>> {
        match found {
            None => Ok(None),
            Some(attrs) => attrs.to_meta().map(Some).ok_or_else(|| {
                self.fault(Stage::List, Cause::Protocol, path, "the server does not tell the file's type")
            }),
        }
    }

    pub(super) async fn ask_list(&self, path: &[u8], follow: bool) -> Result<Listing> {
        let list = || self.again(|_, lease: Lease, _| async move { listing::list(&lease, path, follow).await });
        if follow { list().await } else { hashes::list(self, path, list).await }
    }

    /// Opens a file that is written in pieces, into which parts of the one at `old`, a whole path, may be copied.
    async fn create(
        &self,
        path: &[u8],
        size: u64,
        mode: u32,
        exclusive: bool,
        old: Option<Vec<u8>>,
    ) -> Result<Box<dyn Sink>> {
        let path = self.at_change(path);
        let (pool, lease) = self.remote.lease_large(size).await?;
        let only = if exclusive { open::EXCLUSIVE } else { 0 };
        let flags = open::WRITE | open::CREATE | only;
        let attrs = Attrs { permissions: Some(mode & 0o777), ..Attrs::default() };
        Ok(Box::new(file::RemoteFile::open(pool, lease, &path, size, flags, attrs, old.as_deref()).await?))
    }

    /// The path of what is about to be changed.
    fn at_change(&self, path: &[u8]) -> Vec<u8> {
        self.remote.foresight.forget();
        self.at(path)
    }

    /// Asks for something behind all that was asked for so on the first channel: a server does what comes on one channel in its order
    /// (OpenSSH's does; any other says that it cannot be done yet). Nothing where there is no channel.
    async fn next(&self, request: &Request<'_>, path: &[u8]) -> Result<Option<Answer<()>>> {
        let Some(lease) = self.remote.pool().await?.lease_first() else { return Ok(None) };
        let (asked, path) = (lease.session.submit(request), path.to_vec());
        let answer: Answer<()> = Box::pin(async move {
            let _lease = lease;
            asked.done(Stage::Attributes, &path).await
        });
        Ok(Some(answer))
    }

    /// A path as the server resolves it, links and all.
    async fn real_path(&self, path: &[u8]) -> Result<Vec<u8>> {
        let path = &self.at(path);
        let work = |_, lease: Lease, _| async move {
            lease.session.submit(&Request::Realpath { path }).names(Stage::List, path).await
        };
        listing::one_name(self.again(work).await?)
            .ok_or_else(|| self.fault(Stage::List, Cause::Protocol, path, "REALPATH was answered without a name"))
    }

    /// Removes something: gone is gone, if it may have been us.
    async fn gone(&self, path: &[u8], request: impl Fn(&[u8]) -> Request<'_>) -> Result<()> {
        let (path, request) = (&self.at_change(path), &request);
        let work = |_, lease: Lease, again| async move {
            match lease.session.submit(&request(path)).done(Stage::Attributes, path).await {
                Err(fault) if again && fault.cause == Cause::NotFound => Ok(()),
                done => done,
            }
        };
        self.again(work).await
    }
}

pub(super) fn used(lease: &Lease) -> Used {
    let peer = lease.session.peer();
    Used { lane: Some(peer.lane), channel: Some(peer.channel) }
}

impl Tree for RemoteTree {
    fn hop(&self) -> &Arc<str> {
        &self.remote.hop
    }

    fn root(&self) -> &[u8] {
        &self.root
    }

    fn stat<'a>(&'a self, path: &'a [u8], follow: bool) -> BoxFuture<'a, Result<Option<Meta>>> {
        Box::pin(async move {
            let path = &self.at(path);
            if let Some(foreseen) = self.remote.foresight.stat(path, follow)
                && let Some(found) = foreseen.await
            {
                return found;
            }
            self.ask_stat(path, follow).await
        })
    }

    fn read_link<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let path = &self.at(path);
            let work = |_, lease: Lease, _| async move {
                lease.session.submit(&Request::Readlink { path }).names(Stage::List, path).await
            };
            listing::one_name(self.again(work).await?)
                .ok_or_else(|| self.fault(Stage::List, Cause::Protocol, path, "READLINK was answered without a name"))
        })
    }

    fn leads_to<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            let (root, led) = tokio::join!(self.real_path(b""), self.real_path(path));
            let (root, led) = (root?, led?);
            let root = if root == b"/" { b"".as_slice() } else { &root };
            Ok(led.strip_prefix(root).and_then(|rest| rest.strip_prefix(b"/")).map(<[u8]>::to_vec))
        })
    }

    fn absolute(&self) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(self.real_path(b""))
    }

    fn list<'a>(&'a self, path: &'a [u8], follow: bool) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(async move {
            let path = &self.at(path);
            if let Some(foreseen) = self.remote.foresight.list(path, follow)
                && let Some(listing) = foreseen.await
            {
                return listing;
            }
            self.ask_list(path, follow).await
        })
    }

    fn read_small<'a>(
        &'a self,
        path: &'a [u8],
        size: u64,
        _follow: bool,
    ) -> BoxFuture<'a, Result<(Bytes, Meta, Used)>> {
        Box::pin(async move {
            let path = self.at(path);
            let (pool, lease) = self.remote.lease().await?;
            small::read_small(&pool, &lease, &path, size).await.map(|(data, meta)| (data, meta, used(&lease)))
        })
    }

    fn read_hashed<'a>(&'a self, path: &'a [u8], before: &'a Meta) -> BoxFuture<'a, Option<ReadHashed>> {
        Box::pin(async move { hashes::content(self, &self.at(path), before).await })
    }

    fn write_small<'a>(
        &'a self,
        path: &'a [u8],
        data: Bytes,
        mode: u32,
        algorithm: Option<Algorithm>,
    ) -> BoxFuture<'a, Result<(Used, Option<Digest>)>> {
        Box::pin(async move {
            let path = self.at_change(path);
            let (lease, ready) = self.remote.lease_to_write(data.len()).await?;
            // What is hashed needs no size; an empty file has nothing else.
            let sized = algorithm.is_none() || data.is_empty();
            small::write_small(&lease, ready, &path, data, mode, sized).await?;
            Ok((used(&lease), None))
        })
    }

    fn open_read<'a>(&'a self, path: &'a [u8], size: u64, _follow: bool) -> BoxFuture<'a, Result<Box<dyn Source>>> {
        Box::pin(async move {
            let path = self.at(path);
            let (pool, lease) = self.remote.lease_large(size).await?;
            let file = file::RemoteFile::open(pool, lease, &path, size, open::READ, Attrs::default(), None).await?;
            Ok(Box::new(file) as Box<dyn Source>)
        })
    }

    fn open_write<'a>(
        &'a self,
        path: &'a [u8],
        size: u64,
        mode: u32,
        exclusive: bool,
    ) -> BoxFuture<'a, Result<Box<dyn Sink>>> {
        Box::pin(self.create(path, size, mode, exclusive, None))
    }

    fn open_write_from<'a>(
        &'a self,
        path: &'a [u8],
        size: u64,
        mode: u32,
        other: &'a dyn Tree,
        old: &'a [u8],
    ) -> BoxFuture<'a, Result<Box<dyn Sink>>> {
        Box::pin(self.create(path, size, mode, true, Some(join(other.root(), old))))
    }

    fn tells_parts(&self, algorithm: Algorithm) -> BoxFuture<'_, Option<&'static str>> {
        Box::pin(
            async move { Some(parts::hasher(self.remote.pool().await.ok()?.as_ref(), algorithm).await?.rung.name()) },
        )
    }

    fn below<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Vec<Vec<u8>>> {
        Box::pin(async move { hashes::below(self, &self.at(path)).await.unwrap_or_default() })
    }

    fn parts<'a>(
        &'a self,
        path: &'a [u8],
        of: Of,
        algorithm: Algorithm,
    ) -> BoxFuture<'a, Result<Option<Answer<Vec<Digest>>>>> {
        Box::pin(async move { parts::ask(self, &self.at(path), of, algorithm).await })
    }

    fn room(&self, size: u64) -> BoxFuture<'_, Option<OwnedSemaphorePermit>> {
        Box::pin(async move { self.remote.living()?.large_room(size).await })
    }

    fn chunk(&self) -> usize {
        self.remote.chunk.get().copied().unwrap_or(32 * 1024)
    }

    fn digest<'a>(&'a self, path: &'a [u8], size: u64, how: How) -> BoxFuture<'a, Result<(Digest, &'static str)>> {
        Box::pin(async move {
            if let How::Best(algorithm) = how
                && let Some(found) = hashes::by_hasher(self, &self.at(path), size, algorithm).await?
            {
                return Ok(found);
            }
            Ok((self.read_back(path, size, how.algorithm()).await?, READBACK))
        })
    }

    fn commit<'a>(&'a self, temp: &'a [u8], path: &'a [u8], change: Change) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (from, to) = (self.at_change(temp), self.at_change(path));
            if attrs(&change).next().is_none() {
                rename::again(self, &from, &to).await?;
            } else {
                let (_, lease) = self.remote.lease().await?;
                rename::with(&lease, &from, &to, &change).await?;
            }
            self.remote.progressed();
            Ok(())
        })
    }

    fn commit_proven<'a>(
        &'a self,
        temp: &'a [u8],
        path: &'a [u8],
        change: Change,
        wanted: (Digest, u64),
    ) -> BoxFuture<'a, Result<Option<Proven>>> {
        Box::pin(async move {
            let (from, to) = (self.at_change(temp), self.at_change(path));
            let proven = hashes::commit(self, &from, &to, &change, wanted).await?;
            if proven.is_some_and(|proven| proven.committed) {
                self.remote.progressed();
            }
            Ok(proven)
        })
    }

    fn set<'a>(&'a self, path: &'a [u8], change: Change, symlink: bool) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let path = &self.at_change(path);
            let work = |_, lease: Lease, _| async move { set(&lease, path, change, symlink).await };
            self.again(work).await
        })
    }

    fn mkdir_next<'a>(&'a self, path: &'a [u8], mode: u32) -> BoxFuture<'a, Result<Option<Answer<()>>>> {
        let attrs = Attrs { permissions: Some(mode & 0o777), ..Attrs::default() };
        Box::pin(async move {
            let path = self.at_change(path);
            self.next(&Request::Mkdir { path: &path, attrs }, &path).await
        })
    }

    fn rmdir_next<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Option<Answer<()>>>> {
        Box::pin(async move {
            let path = self.at_change(path);
            self.next(&Request::Rmdir { path: &path }, &path).await
        })
    }

    fn mkdir<'a>(&'a self, path: &'a [u8], mode: u32) -> BoxFuture<'a, Result<()>> {
        let attrs = Attrs { permissions: Some(mode & 0o777), ..Attrs::default() };
        Box::pin(async move {
            let path = &self.at_change(path);
            let work = |_, lease: Lease, again| async move {
                let made = lease.session.submit(&Request::Mkdir { path, attrs }).done(Stage::Attributes, path).await;
                match made {
                    Err(fault) if again && fault.cause != Cause::Lost => {
                        let found = lease.session.submit(&Request::Lstat { path }).attrs(Stage::List, path).await?;
                        let is_dir = found.and_then(|attrs| attrs.to_meta()).is_some_and(|meta| meta.is_dir());
                        if is_dir { Ok(()) } else { Err(fault) }
                    }
                    made => made,
                }
            };
            self.again(work).await
        })
    }

    fn symlink<'a>(&'a self, target: &'a [u8], path: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let link = &self.at_change(path);
            let work = |_, lease: Lease, again| async move {
                let openssh_order = lease.session.peer().openssh;
                let request = Request::Symlink { target, link, openssh_order };
                match lease.session.submit(&request).done(Stage::Attributes, link).await {
                    Err(fault) if again && fault.cause != Cause::Lost => {
                        let asked = lease.session.submit(&Request::Readlink { path: link });
                        let found = asked.names(Stage::List, link).await.ok().and_then(listing::one_name);
                        if found.as_deref() == Some(target) { Ok(()) } else { Err(fault) }
                    }
                    made => made,
                }
            };
            self.again(work).await
        })
    }

    fn hard_link<'a>(&'a self, path: &'a [u8], other: &'a dyn Tree, to: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (from, to) = (&self.at_change(path), &join(other.root(), to));
            let work = |_, lease: Lease, again| async move {
                if !lease.session.extensions.hardlink {
                    let text = "the server cannot make hard links (it has no hardlink@openssh.com)";
                    return Err(self.fault(Stage::Rename, Cause::Unsupported, to, text));
                }
                match lease.session.submit(&Request::Hardlink { from, to }).done(Stage::Rename, to).await {
                    // If it may have been us, what is there is what was wanted; where nothing is, it was not.
                    Err(fault) if again && fault.cause == Cause::Io => {
                        let found = lease.session.submit(&Request::Lstat { path: to }).attrs(Stage::List, to).await?;
                        if found.is_some() { Ok(()) } else { Err(fault) }
                    }
                    done => done,
                }
            };
            self.again(work).await
        })
    }

    fn move_to<'a>(&'a self, path: &'a [u8], other: &'a dyn Tree, to: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { rename::again(self, &self.at_change(path), &join(other.root(), to)).await })
    }

    fn node_like<'a>(&'a self, path: &'a [u8], _: &'a dyn Tree, _: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        let text = "SFTP has no request that makes devices and special files";
        Box::pin(std::future::ready(Err(self.fault(Stage::Attributes, Cause::Unsupported, path, text))))
    }

    fn is_node_like<'a>(&'a self, _: &'a [u8], _: &'a dyn Tree, _: &'a [u8]) -> BoxFuture<'a, Result<bool>> {
        // The type is what SFTP tells, and that was compared.
        Box::pin(std::future::ready(Ok(true)))
    }

    fn copy_to<'a>(
        &'a self,
        path: &'a [u8],
        size: u64,
        other: &'a dyn Tree,
        to: &'a [u8],
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let (from, to) = (&self.at_change(path), &join(other.root(), to));
            let (pool, lease) = self.remote.lease().await?;
            copy::copy(&pool, &lease, from, size, to).await.or_else(copy::refused)
        })
    }

    fn truncate<'a>(&'a self, path: &'a [u8], size: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let path = &self.at_change(path);
            let attrs = Attrs { size: Some(size), ..Attrs::default() };
            let work = |_, lease: Lease, _| async move {
                lease.session.submit(&Request::Setstat { path, attrs }).done(Stage::Write, path).await
            };
            self.again(work).await
        })
    }

    fn sync<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let path = &self.at(path);
            let work = |_, lease: Lease, _| async move {
                if !lease.session.extensions.fsync {
                    let text = "the server cannot do it (it has no fsync@openssh.com)";
                    return Err(self.fault(Stage::Close, Cause::Unsupported, path, text));
                }
                let _open = lease.handle().await;
                let opening = Request::Open { path, flags: open::READ, attrs: Attrs::default() };
                let handle = &lease.session.submit(&opening).handle(Stage::Open, path).await?;
                // They are answered in their order.
                let synced = lease.session.submit(&Request::Fsync { handle });
                let closed = lease.session.submit(&Request::Close { handle });
                let synced = synced.done(Stage::Close, path).await;
                closed.done(Stage::Close, path).await?;
                synced
            };
            self.again(work).await
        })
    }

    fn beside<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<Arc<dyn Tree>>> {
        let root = if path.starts_with(b"/") { path.to_vec() } else { self.at(path) };
        Box::pin(std::future::ready(Ok(Arc::new(self.remote.tree(&root)) as Arc<dyn Tree>)))
    }

    fn remove<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.gone(path, |path| Request::Remove { path }).await })
    }

    fn rmdir<'a>(&'a self, path: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.gone(path, |path| Request::Rmdir { path }).await })
    }

    fn settle(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(pool) = self.remote.living() else { return };
            // Each channel's server takes its requests in order: what is answered now comes after all before it.
            let root = &self.at(b"");
            let asks = pool.all().into_iter().map(|channel| async move {
                let _ = channel.session.submit(&Request::Lstat { path: root }).attrs(Stage::List, root).await;
            });
            futures::future::join_all(asks).await;
        })
    }

    fn identity(&self) -> BoxFuture<'_, Result<Identity>> {
        Box::pin(async move {
            let work = |pool: Arc<Pool>, _, _| async move {
                let end = pool.far().await.end;
                // A connection that is lost meanwhile knows of nobody.
                if pool.link.is_over() { Err(self.remote.lost()) } else { Ok(end) }
            };
            let end = self.again(work).await?;
            Ok(Identity { uid: end.uid, gid: end.gid, groups: end.groups, umask: end.umask })
        })
    }
}
