//! Directory listings over SFTP: a hostile or broken server may repeat names, never end, or send what must not be used.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::future;
use tokio::sync::OwnedSemaphorePermit;

use crate::entry::{Entry, Kind};
use crate::fault::{Cause, Fault, Stage};
use crate::plan::names;
use crate::sftp::packet::Named;
use crate::sftp::{Flight, Handle, Pending, Request};

use super::super::{Listing, Result, join};
use super::pool::Channel;

/// READDIRs under way at first: the second answer of a small directory, its end, comes with the first.
const AHEAD: usize = 2;

/// The same once a directory has shown to be large: OpenSSH's server tells a hundred names at a time (sftp-server.c), and 10,000
/// would take fifty round trips by two.
const MOST_AHEAD: usize = 64;

/// Entries of one directory at most. Bounds what a server without end can make us hold.
const MOST: usize = 20_000_000;

/// Empty answers at most (they are legal, and must not go on for ever).
const EMPTY: usize = 1000;

pub async fn list(channel: &Arc<Channel>, path: &[u8], follow: bool) -> Result<Listing> {
    let open = channel.handle().await;
    let begun = channel.session.foreseen(|flight| Begun::with(flight, path));
    finish(channel, path, follow, begun, open).await
}

/// A listing that was asked for under a handle that is foreseen.
pub struct Begun {
    handle: Handle,
    opening: Pending,
    asked: VecDeque<Pending>,
}

impl Begun {
    pub fn with(flight: &mut Flight<'_>, path: &[u8]) -> Begun {
        let (handle, opening) = flight.opens(&Request::Opendir { path });
        let asked = (0..AHEAD).map(|_| flight.submit(&Request::Readdir { handle: &handle })).collect();
        Begun { handle, opening, asked }
    }
}

/// Goes on with it, or begins.
pub async fn finish(
    channel: &Arc<Channel>,
    path: &[u8],
    follow: bool,
    begun: Option<Begun>,
    _open: OwnedSemaphorePermit,
) -> Result<Listing> {
    let session = &channel.session;
    let (handle, asked) = match begun {
        Some(Begun { handle: foreseen, opening, asked }) => {
            let given = opening.handle(Stage::List, path).await?;
            let asked = if given == foreseen { asked } else { VecDeque::new() };
            (given, asked)
        }
        None => (session.submit(&Request::Opendir { path }).handle(Stage::List, path).await?, VecDeque::new()),
    };
    let named = read_all(channel, path, &handle, asked).await;
    // Nothing depends on how a listing is closed: that answer is not waited for.
    drop(session.submit(&Request::Close { handle: &handle }));
    let (named, mut faults) = named?;
    let (entries, more) = complete(channel, path, named, follow).await?;
    faults.extend(more);
    Ok(Listing { entries, faults })
}

/// What a hasher told ([`crate::verify::listing`]), if all names in it can be used; else a listing by the server tells which cannot.
pub fn told(entries: Vec<Entry>) -> Option<Listing> {
    let sound = entries.iter().all(|entry| names::safe_name(&entry.name).is_ok());
    sound.then_some(Listing { entries, faults: Vec::new() })
}

fn fault(channel: &Channel, cause: Cause, path: &[u8], text: &str) -> Fault {
    let peer = channel.session.peer();
    let text = format!("\"{}\": {text}", String::from_utf8_lossy(path));
    Fault::new(peer.hop.clone(), Stage::List, cause, text).on(peer.lane, peer.channel)
}

async fn read_all(
    channel: &Arc<Channel>,
    path: &[u8],
    handle: &Handle,
    mut asked: VecDeque<Pending>,
) -> Result<(Vec<Named>, Vec<Fault>)> {
    let ask = || channel.session.submit(&Request::Readdir { handle });
    asked.extend((asked.len()..AHEAD).map(|_| ask()));
    let (mut named, mut faults, mut empty) = (Vec::new(), Vec::new(), 0);
    let (mut seen, mut itself) = (HashSet::new(), false);
    while let Some(next) = asked.pop_front() {
        let Some(names) = next.names(Stage::List, path).await? else { break };
        empty += usize::from(names.is_empty());
        if named.len() + names.len() > MOST || empty > EMPTY {
            return Err(fault(channel, Cause::Protocol, path, "the server's listing does not end"));
        }
        // One for the one that was answered, and one more: their number doubles with each round trip.
        let more = if names.is_empty() { 1 } else { 2 };
        asked.extend((0..more.min(MOST_AHEAD.saturating_sub(asked.len()))).map(|_| ask()));
        for entry in names {
            if &entry.name[..] == b"." || &entry.name[..] == b".." {
                itself = true;
                continue;
            }
            if let Err(bad) = names::safe_name(&entry.name) {
                let text = format!("the server lists a name that cannot be one: {bad}");
                faults.push(fault(channel, Cause::Protocol, path, &text));
            } else if !seen.insert(entry.name.clone()) {
                faults.push(fault(channel, Cause::Protocol, path, "the server lists a name twice"));
            } else {
                named.push(entry);
            }
        }
    }
    if seen.is_empty() && !itself {
        // OpenSSH's server leaves out what it cannot stat: of a directory that may be read but not gone into, all of it. That is
        // not one that is empty.
        let within = join(path, b".");
        match channel.session.submit(&Request::Stat { path: &within }).attrs(Stage::List, path).await {
            // Other servers may know no such name.
            Err(fault) if fault.cause != Cause::Permission && channel.is_alive() => {}
            found => drop(found?),
        }
    }
    Ok((named, faults))
}

/// Adds what a listing leaves out: types where the server sends none, link targets, and with `follow` what links lead to.
async fn complete(
    channel: &Arc<Channel>,
    dir: &[u8],
    named: Vec<Named>,
    follow: bool,
) -> Result<(Vec<Entry>, Vec<Fault>)> {
    let session = &channel.session;
    let mut entries = Vec::with_capacity(named.len());
    let mut faults = Vec::new();
    let mut untold = Vec::new();
    for Named { name, attrs } in named {
        match attrs.to_meta() {
            Some(meta) => entries.push(Entry { name: name.to_vec(), meta, target: None }),
            None => untold.push(name),
        }
    }
    let stats = untold.iter().map(|name| {
        let path = join(dir, name);
        let asked = session.submit(&Request::Lstat { path: &path });
        async move { asked.attrs(Stage::List, &path).await }
    });
    for (name, found) in untold.iter().zip(future::join_all(stats).await) {
        match found {
            Ok(Some(attrs)) => match attrs.to_meta() {
                Some(meta) => entries.push(Entry { name: name.to_vec(), meta, target: None }),
                None => faults.push(fault(channel, Cause::Protocol, name, "the server does not tell the file's type")),
            },
            Ok(None) => faults.push(fault(channel, Cause::Vanished, name, "vanished")),
            Err(e) if channel.is_alive() => faults.push(e),
            Err(e) => return Err(e),
        }
    }
    let links: Vec<usize> = (0..entries.len()).filter(|index| entries[*index].meta.kind == Kind::Symlink).collect();
    if follow {
        let stats = links.iter().map(|index| {
            let path = join(dir, &entries[*index].name);
            let asked = session.submit(&Request::Stat { path: &path });
            async move { asked.attrs(Stage::List, &path).await }
        });
        for (index, found) in links.iter().zip(future::join_all(stats).await) {
            // One that leads nowhere is told as the link that it is.
            if let Some(meta) = found.ok().flatten().and_then(|attrs| attrs.to_meta()) {
                entries[*index].meta = meta;
            }
        }
    }
    let links: Vec<usize> = links.into_iter().filter(|index| entries[*index].meta.kind == Kind::Symlink).collect();
    let reads = links.iter().map(|index| {
        let path = join(dir, &entries[*index].name);
        let asked = session.submit(&Request::Readlink { path: &path });
        async move { asked.names(Stage::List, &path).await }
    });
    let targets = future::join_all(reads).await;
    for (index, target) in links.iter().zip(targets) {
        match target {
            Ok(names) => match one_name(names) {
                Some(target) => entries[*index].target = Some(target),
                None => {
                    let name = &entries[*index].name;
                    faults.push(fault(channel, Cause::Protocol, name, "READLINK was answered without a name"));
                }
            },
            Err(e) if channel.is_alive() => faults.push(e),
            Err(e) => return Err(e),
        }
    }
    entries.retain(|entry| entry.meta.kind != Kind::Symlink || entry.target.is_some());
    Ok((entries, faults))
}

/// READLINK's and REALPATH's answer: exactly one name, not empty and without NUL.
pub fn one_name(names: Option<Vec<Named>>) -> Option<Vec<u8>> {
    match names?.as_slice() {
        [only] if !only.name.is_empty() && !only.name.contains(&0) => Some(only.name.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::Attrs;

    #[test]
    fn what_is_told_is_a_listing_if_no_name_in_it_leads_elsewhere() {
        let meta = Attrs { permissions: Some(0o100_644), ..Attrs::default() }.to_meta().unwrap();
        let entry = |name: &str| Entry { name: name.into(), meta: meta.clone(), target: None };
        assert_eq!(told(vec![entry("a"), entry("b c")]).map(|listing| listing.entries.len()), Some(2));
        for bad in ["..", ".", "a/b", "/", ""] {
            assert!(told(vec![entry("a"), entry(bad)]).is_none(), "{bad}");
        }
    }
}
