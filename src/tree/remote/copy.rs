//! A whole file copied at the far end by its own server (`copy-data`, draft-ietf-secsh-filexfer-extensions-00 §7; OpenSSH from
//! 9.0 on), or by its hasher: none of its bytes crosses the network. Of parts: [`super::parts`].

use std::sync::Arc;

use crate::fault::{Cause, Fault, Stage};
use crate::plan::delta::Run;
use crate::sftp::packet::open;
use crate::sftp::{Attrs, Request};

use super::super::Result;
use super::parts::Old;
use super::pool::{Channel, Pool};

/// Bytes copied by one request. The server does nothing else on that channel meanwhile, and says nothing.
const SPAN: u64 = 64 << 20;

/// Copies `size` bytes of the file at `from` to `to`, which must not exist. Both paths are the server's. False where nobody there
/// does so.
pub async fn copy(pool: &Arc<Pool>, channel: &Arc<Channel>, from: &[u8], size: u64, to: &[u8]) -> Result<bool> {
    match channel.session.extensions.copy_data {
        true => by_server(channel, from, size, to).await.map(|()| true),
        false => by_hasher(pool, channel, from, size, to).await,
    }
}

/// The new file, which is its owner's alone until it is proven.
fn create(to: &[u8]) -> Request<'_> {
    let attrs = Attrs { permissions: Some(0o600), ..Attrs::default() };
    Request::Open { path: to, flags: open::WRITE | open::CREATE | open::EXCLUSIVE, attrs }
}

/// Where the server has no such request: by the hasher, if there is one that sees what the server does.
async fn by_hasher(pool: &Arc<Pool>, channel: &Arc<Channel>, from: &[u8], size: u64, to: &[u8]) -> Result<bool> {
    let path: Arc<[u8]> = to.into();
    let Some(old) = Old::by_hasher(pool, channel, from, &path).await else { return Ok(false) };
    let _open = channel.handle().await;
    let sink = channel.session.submit(&create(to)).handle(Stage::Open, to).await?;
    channel.session.submit(&Request::Close { handle: &sink }).done(Stage::Close, to).await?;
    let mut at = 0;
    while at < size {
        let len = SPAN.min(size - at);
        old.copy(Run { from: at, at, len }, &path).await.await?;
        at += len;
    }
    Ok(true)
}

async fn by_server(channel: &Arc<Channel>, from: &[u8], size: u64, to: &[u8]) -> Result<()> {
    let session = &channel.session;
    let _open = channel.two_handles().await;
    let reading = session.submit(&Request::Open { path: from, flags: open::READ, attrs: Attrs::default() });
    let source = reading.handle(Stage::Open, from).await?;
    let sink = match session.submit(&create(to)).handle(Stage::Open, to).await {
        Ok(sink) => sink,
        Err(fault) => {
            let _ = session.submit(&Request::Close { handle: &source }).done(Stage::Close, from).await;
            return Err(fault);
        }
    };
    let mut copied = Ok(());
    let mut at = 0;
    while at < size && copied.is_ok() {
        // A length of 0 would mean: to the end.
        let request = Request::CopyData { from: &source, offset: at, len: SPAN.min(size - at), to: &sink, at };
        copied = session.submit(&request).done(Stage::Write, to).await;
        at += SPAN;
    }
    // Closed together, whatever became of it.
    let closes =
        [(&source, from), (&sink, to)].map(|(handle, path)| (session.submit(&Request::Close { handle }), path));
    for (closing, path) in closes {
        copied = copied.and(closing.done(Stage::Close, path).await);
    }
    copied
}

/// What cannot be copied there is sent; what was lost is lost.
pub fn refused(fault: Fault) -> Result<bool> {
    match fault.cause {
        Cause::Lost | Cause::Cancelled | Cause::Timeout => Err(fault),
        _ => {
            tracing::debug!(%fault, "not copied there, but sent");
            Ok(false)
        }
    }
}
