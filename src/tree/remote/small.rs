//! Small remote files: in two round trips, or in one where the handle of an OPEN can be foreseen.

use std::future::Future;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::entry::Meta;
use crate::fault::Stage;
use crate::sftp::flight::Flight;
use crate::sftp::packet::open;
use crate::sftp::session::Held;
use crate::sftp::{Attrs, Handle, Pending, Request};

use super::super::Result;
use super::file::{check_size, fill, meta};
use super::pool::{Channel, Pool, Ready, Room};

/// OPEN; then READ, FSTAT and CLOSE together, and with the OPEN where its handle is foreseen.
pub async fn read_small(pool: &Pool, channel: &Arc<Channel>, path: &[u8], size: u64) -> Result<(Bytes, Meta)> {
    let _open = channel.handle().await;
    let len = size as usize;
    if channel.session.extensions.whole {
        let held = Budget::Read(pool, len).take(channel).await;
        let (data, found) = crate::share::whole::get(&channel.session, path, len as u32, held).await?;
        return told(pool, channel, path, size, data, found).await;
    }
    let (reading, stating, closing) =
        ask_to_read(pool, channel, path, len as u32, |opening| opening.handle(Stage::Open, path)).await?;
    let data = match reading {
        Some(reading) => reading.data(Stage::Read, path).await,
        None => Ok(Some(Bytes::new())),
    };
    let found = stating.attrs(Stage::Read, path).await;
    // What was read needs no CLOSE that succeeds.
    let _ = closing.done(Stage::Close, path).await;
    let (found, data) = (found?, data?.unwrap_or_default());
    told(pool, channel, path, size, data, found).await
}

/// A small file's data, as much of it as came, and what the file is by now.
async fn told(
    pool: &Pool,
    channel: &Arc<Channel>,
    path: &[u8],
    size: u64,
    data: Bytes,
    found: Option<Attrs>,
) -> Result<(Bytes, Meta)> {
    let (found, len) = (meta(channel, Stage::Read, path, found)?, size as usize);
    if data.len() < len && found.size >= size {
        // A short answer is allowed (filexfer-02 §6.4): the rest is asked for piece by piece.
        return read_rest(pool, channel, path, data, len).await;
    }
    Ok((data, found))
}

/// What the requests between a small file's OPEN and its CLOSE carry, and what that counts against.
pub enum Budget<'a> {
    Read(&'a Pool, usize),
    /// With the room that was waited for when the channel was chosen.
    Write(usize, Option<Room>),
}

impl Budget<'_> {
    async fn take(&mut self, channel: &Arc<Channel>) -> Held {
        match self {
            Budget::Read(pool, len) => Box::new((pool.read_budget(*len).await, channel.add_bytes(*len))),
            Budget::Write(len, room) => {
                let room = match room.take() {
                    Some(room) => room,
                    None => channel.write_budget(*len).await,
                };
                Box::new((room, channel.add_bytes(*len)))
            }
        }
    }

    /// What was taken is not needed yet: others may have it meanwhile.
    fn give_back(&mut self) {
        if let Budget::Write(_, room) = self {
            *room = None;
        }
    }
}

/// Asks for a file's first `len` bytes, for what it is then, and has it closed; answered in this order. Without bytes there is no READ.
///
/// # Errors
/// What `opened` makes of an OPEN that brings no handle. How the rest was answered is for the caller to see.
pub async fn ask_to_read<E, F: Future<Output = std::result::Result<Handle, E>>>(
    pool: &Pool,
    channel: &Arc<Channel>,
    path: &[u8],
    len: u32,
    opened: impl Fn(Pending) -> F,
) -> std::result::Result<(Option<Pending>, Pending, Pending), E> {
    let open = Request::Open { path, flags: open::READ, attrs: Attrs::default() };
    whole(channel, &open, Budget::Read(pool, len as usize), opened, |flight, handle, held| {
        let read = Request::Read { handle, offset: 0, len };
        let reading = (len > 0).then(|| flight.submit_holding(&read, held));
        (reading, flight.submit(&Request::Fstat { handle }), flight.submit(&Request::Close { handle }))
    })
    .await
}

/// A file to be made, which must not exist.
pub struct New<'a> {
    pub path: &'a [u8],
    pub mode: u32,
    pub data: &'a Bytes,
}

/// Asks for the data to be written, for what the file is then (if `sized`), and has it closed; answered in this order. Without data
/// there is no WRITE.
///
/// # Errors
/// As [`ask_to_read`].
pub async fn ask_to_write<E, F: Future<Output = std::result::Result<Handle, E>>>(
    channel: &Arc<Channel>,
    budget: Budget<'_>,
    New { path, mode, data }: New<'_>,
    sized: bool,
    opened: impl Fn(Pending) -> F,
) -> std::result::Result<(Option<Pending>, Option<Pending>, Pending), E> {
    let flags = open::WRITE | open::CREATE | open::EXCLUSIVE;
    let attrs = Attrs { permissions: Some(mode & 0o777), ..Attrs::default() };
    whole(channel, &Request::Open { path, flags, attrs }, budget, opened, |flight, handle, held| {
        let write = Request::Write { handle, offset: 0, data: data.clone() };
        let writing = (!data.is_empty()).then(|| flight.submit_holding(&write, held));
        let stating = sized.then(|| flight.submit(&Request::Fstat { handle }));
        (writing, stating, flight.submit(&Request::Close { handle }))
    })
    .await
}

/// Opens a file and asks for all else that is to be done with it, its CLOSE last: at once, where its handle is foreseen.
async fn whole<T, E, F: Future<Output = std::result::Result<Handle, E>>>(
    channel: &Arc<Channel>,
    open: &Request<'_>,
    mut budget: Budget<'_>,
    opened: impl Fn(Pending) -> F,
    rest: impl Fn(&mut Flight<'_>, &Handle, Held) -> T,
) -> std::result::Result<T, E> {
    let session = &channel.session;
    let handle = if session.foresees() {
        let held = budget.take(channel).await;
        let foreseen = session.foreseen(|flight| {
            let (handle, opening) = flight.passes(open);
            let rest = rest(flight, &handle, held);
            (handle, opening, rest)
        });
        match foreseen {
            Some((handle, opening, rest)) => {
                let given = opened(opening).await?;
                if given == handle {
                    return Ok(rest);
                }
                given
            }
            None => opened(session.submit(open)).await?,
        }
    } else {
        budget.give_back();
        opened(session.submit(open)).await?
    };
    // Nothing is awaited between submissions but the budget; whatever happens, CLOSE is sent.
    let held = budget.take(channel).await;
    Ok(session.together(|flight| rest(flight, &handle, held)))
}

async fn read_rest(
    pool: &Pool,
    channel: &Arc<Channel>,
    path: &[u8],
    start: Bytes,
    len: usize,
) -> Result<(Bytes, Meta)> {
    let session = &channel.session;
    let opening = session.submit(&Request::Open { path, flags: open::READ, attrs: Attrs::default() });
    let handle = opening.handle(Stage::Open, path).await?;
    let mut data = BytesMut::from(&start[..]);
    let filled = fill(pool, channel, &handle, path, &mut data, 0, len).await;
    let found = session.submit(&Request::Fstat { handle: &handle }).attrs(Stage::Read, path).await;
    let _ = session.submit(&Request::Close { handle: &handle }).done(Stage::Close, path).await;
    filled?;
    Ok((data.freeze(), meta(channel, Stage::Read, path, found?)?))
}

/// OPEN (exclusive); then WRITE, FSTAT (if its size is to be checked here) and CLOSE together, and with the OPEN where its
/// handle is foreseen.
pub async fn write_small(
    channel: &Arc<Channel>,
    Ready { open: _open, room }: Ready,
    path: &[u8],
    data: Bytes,
    mode: u32,
    sized: bool,
) -> Result<()> {
    let mut budget = Budget::Write(data.len(), Some(room));
    if channel.session.extensions.whole && !sized {
        let held = budget.take(channel).await;
        return crate::share::whole::put(&channel.session, path, mode & 0o777, data, held).await;
    }
    let (file, len) = (New { path, mode, data: &data }, data.len());
    let (writing, stating, closing) =
        ask_to_write(channel, budget, file, sized, |opening| opening.handle(Stage::Open, path)).await?;
    let written = match writing {
        Some(writing) => writing.done(Stage::Write, path).await,
        None => Ok(()),
    };
    let found = match stating {
        Some(stating) => stating.attrs(Stage::Write, path).await,
        None => Ok(None),
    };
    closing.done(Stage::Close, path).await?;
    written?;
    check_size(channel, path, found?, len as u64)
}
