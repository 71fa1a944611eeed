//! A whole file copied at the far end by its own server (`copy-data`, draft-ietf-secsh-filexfer-extensions-00 §7; OpenSSH from
//! 9.0 on): none of its bytes crosses the network. Of parts: [`super::parts`].

use std::sync::Arc;

use crate::fault::{Cause, Fault, Stage};
use crate::sftp::packet::open;
use crate::sftp::{Attrs, Request};

use super::super::Result;
use super::pool::Channel;

/// Bytes copied by one request. The server does nothing else on that channel meanwhile, and says nothing.
const SPAN: u64 = 64 << 20;

/// Copies `size` bytes of the file at `from` to `to`, which must not exist. Both paths are the server's. False where the server
/// has no such request.
pub async fn copy(channel: &Arc<Channel>, from: &[u8], size: u64, to: &[u8]) -> Result<bool> {
    let session = &channel.session;
    if !session.extensions.copy_data {
        return Ok(false);
    }
    let _open = channel.two_handles().await;
    let reading = session.submit(&Request::Open { path: from, flags: open::READ, attrs: Attrs::default() });
    let source = reading.handle(Stage::Open, from).await?;
    let attrs = Attrs { permissions: Some(0o600), ..Attrs::default() };
    let writing =
        session.submit(&Request::Open { path: to, flags: open::WRITE | open::CREATE | open::EXCLUSIVE, attrs });
    let sink = match writing.handle(Stage::Open, to).await {
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
    copied.map(|()| true)
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
