//! Attributes as SFTP carries them, and the requests that set them.

use crate::fault::Stage;
use crate::sftp::{Attrs, Request};

use super::super::{Change, Result};
use super::pool::Channel;

/// Sets a file's attributes, or a link's own.
pub async fn set(channel: &Channel, path: &[u8], change: Change, symlink: bool) -> Result<()> {
    let session = &channel.session;
    if !symlink {
        let set: Vec<_> = attrs(&change).map(|attrs| session.submit(&Request::Setstat { path, attrs })).collect();
        for set in set {
            set.done(Stage::Attributes, path).await?;
        }
        return Ok(());
    }
    // Links have no mode of their own on Linux. Without lsetstat@ the link's time stays: nothing can be done.
    match attrs(&Change { mode: None, ..change }).next() {
        Some(attrs) if session.extensions.lsetstat => {
            session.submit(&Request::Lsetstat { path, attrs }).done(Stage::Attributes, path).await
        }
        _ => Ok(()),
    }
}

/// SFTP's times are u32 seconds: what lies outside is told to the far end as the nearest that it can hold.
fn wire_time(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// What is to be set, in one request or in two; none where there is nothing. Owner and group go together or not at all
/// (filexfer-02 §5): whoever wants one has found out the other.
pub fn attrs(change: &Change) -> impl Iterator<Item = Attrs> {
    let attrs = Attrs {
        size: None,
        owner: change.owner.zip(change.group),
        permissions: change.mode,
        times: change.mtime.map(|(seconds, _)| (wire_time(change.atime.unwrap_or(seconds)), wire_time(seconds))),
    };
    // A chown clears setuid and setgid, and OpenSSH's server changes the owner last (sftp-server.c, process_setstat).
    let special = attrs.owner.is_some() && attrs.permissions.is_some_and(|mode| mode & 0o6000 != 0);
    let again = special.then_some(Attrs { size: None, owner: None, permissions: change.mode, times: None });
    (attrs != Attrs::default()).then_some(attrs).into_iter().chain(again)
}
