//! Renames: a file gets its name at once over whatever had that, and is moved once although it may be asked for twice.

use crate::fault::{Cause, Fault, Stage};
use crate::sftp::Request;

use super::super::{Change, Result};
use super::RemoteTree;
use super::attributes::attrs;
use super::pool::Lease;

/// Sets attributes and renames. What is lost is not asked for again: of the attributes nobody could tell whether they were set.
pub async fn with(lease: &Lease, from: &[u8], to: &[u8], change: &Change) -> Result<()> {
    let session = &lease.session;
    // One after the other on one channel: the server takes them in this order, and both are one round trip.
    let set: Vec<_> = attrs(change).map(|attrs| session.submit(&Request::Setstat { path: from, attrs })).collect();
    let replaces = session.extensions.posix_rename;
    let renamed = session.submit(&request(from, to, replaces));
    for set in set {
        set.done(Stage::Attributes, to).await?;
    }
    renamed.done(Stage::Rename, to).await.map_err(|fault| explained(fault, replaces))
}

/// Renames only; both paths are whole.
pub async fn again(tree: &RemoteTree, from: &[u8], to: &[u8]) -> Result<()> {
    let work = |_, lease: Lease, again| async move {
        let replaces = lease.session.extensions.posix_rename;
        match lease.session.submit(&request(from, to, replaces)).done(Stage::Rename, to).await {
            // Moved by us, if it is where it was to go.
            Err(fault) if again && fault.cause == Cause::NotFound => {
                let found = lease.session.submit(&Request::Lstat { path: to }).attrs(Stage::List, to).await?;
                if found.is_some() { Ok(()) } else { Err(fault) }
            }
            done => done.map_err(|fault| explained(fault, replaces)),
        }
    };
    tree.again(work).await
}

fn request<'a>(from: &'a [u8], to: &'a [u8], replaces: bool) -> Request<'a> {
    if replaces { Request::PosixRename { from, to } } else { Request::Rename { from, to } }
}

/// Says why a rename failed where the server cannot replace what has the name.
fn explained(mut fault: Fault, replaces: bool) -> Fault {
    if !replaces && fault.cause == Cause::Io {
        fault.cause = Cause::Unsupported;
        fault.text.push_str("; without posix-rename@openssh.com this server cannot replace a file at once");
    }
    fault
}
