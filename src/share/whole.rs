//! Whole small files over a shared connection: [`PUT`](crate::sftp::packet::PUT) and [`GET`](crate::sftp::packet::GET), which a
//! holder does with an OPEN, a READ or WRITE, and a CLOSE on a real channel.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::fault::{Cause, Fault, Stage};
use crate::sftp::packet::{Cursor, Status, status};
use crate::sftp::session::Held;
use crate::sftp::{Attrs, Handle, Pending, Reply, Request, Session};
use crate::tree::remote::pool::{Channel, Pool, Ready};
use crate::tree::remote::small::{Budget, New, ask_to_read, ask_to_write};

/// Why it was not done.
#[derive(Debug)]
pub enum Not {
    /// The server's first answer that is no success.
    Refused(Status),
    /// The real channel is dead.
    Dead,
}

/// Asks the holder to create a file, which must not exist, with this mode and content.
pub async fn put(session: &Session, path: &[u8], mode: u32, data: Bytes, held: Held) -> Result<(), Fault> {
    let asked = session.submit_holding(&Request::Put { path, mode, data }, held);
    asked.done(Stage::Write, path).await.map_err(told)
}

/// Asks the holder for a file's first `len` bytes, and what it is.
pub async fn get(session: &Session, path: &[u8], len: u32, held: Held) -> Result<(Bytes, Option<Attrs>), Fault> {
    let asked = session.submit_holding(&Request::Get { path, len }, held);
    let mut answer = Cursor(asked.extended(Stage::Read, path).await.map_err(told)?);
    let attrs = Attrs::decode(&mut answer).ok().filter(|_| answer.0.len() <= len as usize).ok_or_else(|| {
        let text = "the shared connection's holder gave a file that is none";
        Fault::new(session.peer().hop.clone(), Stage::Read, Cause::Protocol, text)
    })?;
    Ok((answer.0, Some(attrs)))
}

/// Of the three requests it is the OPEN that finds no file, or may not.
fn told(mut fault: Fault) -> Fault {
    if matches!(fault.cause, Cause::NotFound | Cause::Permission) {
        fault.stage = Stage::Open;
    }
    fault
}

async fn opened(opening: Pending) -> Result<Handle, Not> {
    match opening.await {
        Ok(Reply::Handle(handle)) => Ok(handle),
        Ok(Reply::Status(status)) => Err(Not::Refused(status)),
        _ => Err(Not::Dead),
    }
}

async fn done(asked: Pending) -> Result<(), Not> {
    match asked.await {
        Ok(Reply::Status(status)) if status.code == status::OK => Ok(()),
        Ok(Reply::Status(status)) => Err(Not::Refused(status)),
        _ => Err(Not::Dead),
    }
}

/// Does what [`put`] asks for, on a channel that is ready for it.
pub async fn create(
    channel: &Arc<Channel>,
    Ready { open: _open, room }: Ready,
    path: &[u8],
    mode: u32,
    data: Bytes,
) -> Result<(), Not> {
    let (file, budget) = (New { path, mode, data: &data }, Budget::Write(data.len(), Some(room)));
    let (writing, _, closing) = ask_to_write(channel, budget, file, false, opened).await?;
    let written = match writing {
        Some(writing) => done(writing).await,
        None => Ok(()),
    };
    done(closing).await?;
    written
}

/// Does what [`get`] asks for: the reply's body.
pub async fn read(pool: &Pool, channel: &Arc<Channel>, path: &[u8], len: u32) -> Result<Bytes, Not> {
    let _open = channel.handle().await;
    let (reading, stating, closing) = ask_to_read(pool, channel, path, len, opened).await?;
    let data = match reading {
        None => Bytes::new(),
        Some(reading) => match reading.await {
            Ok(Reply::Data(data)) => data,
            Ok(Reply::Status(status)) if status.code == status::EOF => Bytes::new(),
            Ok(Reply::Status(status)) => return Err(Not::Refused(status)),
            _ => return Err(Not::Dead),
        },
    };
    let attrs = match stating.await {
        Ok(Reply::Attrs(attrs)) => attrs,
        Ok(Reply::Status(status)) => return Err(Not::Refused(status)),
        _ => return Err(Not::Dead),
    };
    // What was read needs no CLOSE that succeeds.
    let _ = closing.await;
    let mut body = BytesMut::with_capacity(data.len() + 40);
    attrs.encode(&mut body);
    body.put_slice(&data);
    Ok(body.freeze())
}
