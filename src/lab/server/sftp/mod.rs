//! SFTP version 3 on a session channel: packets in, replies out, strictly in order, as OpenSSH's sftp-server does.
//!
//! Own code instead of russh-sftp's server, whose names and handles are UTF-8 strings: names here are bytes.

mod attrs;
mod codec;
mod files;
mod paths;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::Channel;
use russh::server::Msg;

use self::files::Core;
use super::session::{Gone, finish, gone, next_data};
use super::{Config, Shared};
use crate::lab::faults::{Strike, Trouble};
use crate::lab::stats::count;
use crate::sftp::wire::Wire;

/// The largest packet that OpenSSH's server accepts (SFTP_MAX_MSG_LENGTH); a longer one ends the channel.
const MAX_PACKET: usize = 256 << 10;
/// Replies are collected up to this size while requests are waiting.
const BATCH: usize = 256 << 10;

/// Which extensions the server advertises and serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// limits@openssh.com
    pub limits: bool,
    /// posix-rename@openssh.com
    pub posix_rename: bool,
    /// fsync@openssh.com
    pub fsync: bool,
    /// hardlink@openssh.com
    pub hardlink: bool,
    /// lsetstat@openssh.com
    pub lsetstat: bool,
    /// statvfs@openssh.com
    pub statvfs: bool,
    /// copy-data
    pub copy_data: bool,
}

impl Extensions {
    pub const NONE: Extensions = Extensions {
        limits: false,
        posix_rename: false,
        fsync: false,
        hardlink: false,
        lsetstat: false,
        statvfs: false,
        copy_data: false,
    };
}

impl Default for Extensions {
    fn default() -> Extensions {
        let (limits, posix_rename, fsync, hardlink) = (true, true, true, true);
        Extensions { limits, posix_rename, fsync, hardlink, lsetstat: true, statvfs: true, copy_data: true }
    }
}

/// What the rules want done with the reply to one request.
enum Fate {
    Swallow,
    Delay(Duration),
}

/// Serves until the client closes, breaks the protocol, or a rule ends it.
pub async fn run(channel: Channel<Msg>, shared: &Arc<Shared>, closed: &Gone) {
    let (mut from_client, to_client) = channel.split();
    let mut core = Core::new(&shared.config);
    let (mut left, mut strike) = shared
        .config
        .faults
        .choose(|t| match *t {
            Trouble::CloseChannel { requests } => Some(requests),
            _ => None,
        })
        .unzip();
    let mut input = BytesMut::new();
    let mut output = BytesMut::new();
    let serve = async {
        loop {
            while let Some(packet) = take_packet(&mut input)? {
                if left == Some(0) {
                    strike.take().into_iter().for_each(Strike::struck);
                    return None;
                }
                left = left.map(|left| left - 1);
                count(&shared.stats.requests);
                let kind = packet.first().copied();
                let before = output.len();
                core.answer(&packet, &mut output)?;
                match fate(shared, kind) {
                    Some(Fate::Swallow) => output.truncate(before),
                    Some(Fate::Delay(by)) => tokio::time::sleep(by).await,
                    None => {}
                }
                if output.len() >= BATCH {
                    to_client.data_bytes(output.split().freeze()).await.ok()?;
                }
            }
            if !output.is_empty() {
                to_client.data_bytes(output.split().freeze()).await.ok()?;
            }
            match next_data(&mut from_client).await {
                Some(data) => input.extend_from_slice(&data),
                None => return Some(()),
            }
        }
    };
    let ended = tokio::select! {
        ended = serve => ended,
        // A reply that waits for window must not outlive its channel.
        () = gone(closed) => None,
    };
    finish(&to_client, if ended.is_some() { 0 } else { 255 }).await;
}

/// Serves over a wire in this process ([`crate::sftp::wire::pair`]) until the client has finished or breaks the protocol:
/// SFTP from end to end without SSH between, for benches. Rules that concern channels do not apply.
pub async fn serve_wire(mut wire: Wire, config: &Config) {
    let mut core = Core::new(config);
    let mut input = BytesMut::new();
    let mut output = BytesMut::new();
    loop {
        while let Some(Some(packet)) = take_packet(&mut input) {
            if core.answer(&packet, &mut output).is_none() {
                return;
            }
            if output.len() >= BATCH && wire.tx.send(output.split().freeze()).await.is_err() {
                return;
            }
        }
        if !output.is_empty() && wire.tx.send(output.split().freeze()).await.is_err() {
            return;
        }
        match wire.rx.recv().await {
            Ok(Some(data)) => input.extend_from_slice(&data),
            _ => return,
        }
    }
}

fn fate(shared: &Shared, kind: Option<u8>) -> Option<Fate> {
    shared.config.faults.meet(|t| match *t {
        Trouble::Swallow { request } if request.is_none() || request == kind => Some(Fate::Swallow),
        Trouble::Delay { request, by } if request.is_none() || request == kind => Some(Fate::Delay(by)),
        _ => None,
    })
}

/// The next whole packet without its length, `Some(None)` if more bytes are needed, `None` if it can not be one.
fn take_packet(input: &mut BytesMut) -> Option<Option<Bytes>> {
    let Some(length) = input.first_chunk::<4>() else { return Some(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 || length > MAX_PACKET {
        return None;
    }
    if input.len() < 4 + length {
        input.reserve(4 + length - input.len());
        return Some(None);
    }
    let mut packet = input.split_to(4 + length);
    Some(Some(packet.split_off(4).freeze()))
}
