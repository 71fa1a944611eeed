//! Owners and groups in the destination's terms: by `--usermap` and its kin, else by name, else by number.
//!
//! Names are asked for only where they decide something: both ends on one machine have the same, and who is not root at the
//! destination gives nothing away. A far end's names are those of its /etc/passwd and /etc/group, which SFTP can read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::entry::Entry;
use crate::fault::Fault;
use crate::plan::owners::{IdMap, To};
use crate::tree::{Tree, accounts};

use super::run::Run;

/// The longest list of users or groups that is taken from a far end.
const LIST_MAX: u64 = 16 << 20;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Users,
    Groups,
}

/// What ids have been found to become.
#[derive(Default)]
pub struct Owners {
    users: Mutex<HashMap<u32, u32>>,
    groups: Mutex<HashMap<u32, u32>>,
    names_matter: OnceCell<bool>,
    far: OnceCell<(Names, Names)>,
}

/// A far end's names.
#[derive(Default)]
struct Names {
    by_id: HashMap<u32, Vec<u8>>,
    by_name: HashMap<Vec<u8>, u32>,
}

impl Names {
    /// Of the lines of passwd(5) or group(5): the name comes first, the id third. The first line of an id or name counts.
    fn parse(content: &[u8]) -> Names {
        let mut names = Names::default();
        for line in content.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b':');
            let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else { continue };
            let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) else { continue };
            if !name.is_empty() {
                names.by_id.entry(id).or_insert_with(|| name.to_vec());
                names.by_name.entry(name.to_vec()).or_insert(id);
            }
        }
        names
    }
}

/// Whether names decide anything: only root gives files away by name, anybody else keeps to the numbers of the groups that
/// he is in. Who we are is known late where the destination is far, and not waited for where the login's name tells it.
async fn names_matter(run: &Run) -> bool {
    let far_user = run.remote.as_ref().filter(|_| run.push()).and_then(|remote| remote.user());
    if far_user.is_some_and(|user| user != "root") {
        return false;
    }
    run.identity().await.uid == Some(0)
}

/// Puts the owners and groups of the source's entries into the destination's terms.
pub async fn translate(run: &Run, entries: &mut [Entry]) {
    let options = &run.job.options;
    let by_rule = !options.usermap.is_empty() || !options.groupmap.is_empty();
    if !by_rule {
        let by_name = run.remote.is_some() && !options.numeric_ids && (options.owner || options.group);
        // Root is root by its number everywhere.
        if !by_name || entries.iter().all(|entry| entry.meta.uid == 0 && entry.meta.gid == 0) {
            return;
        }
        if !*run.owners.names_matter.get_or_init(|| names_matter(run)).await {
            return;
        }
    }
    for entry in entries {
        if run.job.options.owner {
            entry.meta.uid = mapped(run, Which::Users, entry.meta.uid).await;
        }
        if run.job.options.group {
            entry.meta.gid = mapped(run, Which::Groups, entry.meta.gid).await;
        }
    }
}

async fn mapped(run: &Run, which: Which, id: u32) -> u32 {
    let known = match which {
        Which::Users => &run.owners.users,
        Which::Groups => &run.owners.groups,
    };
    let found = known.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
    if let Some(found) = found {
        return found;
    }
    let found = look_up(run, which, id).await;
    known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, found);
    found
}

async fn look_up(run: &Run, which: Which, id: u32) -> u32 {
    let options = &run.job.options;
    let map: &IdMap = match which {
        Which::Users => &options.usermap,
        Which::Groups => &options.groupmap,
    };
    let by_name = run.remote.is_some() && !options.numeric_ids;
    let name = match map.asks_names() || by_name && id != 0 {
        true => name_of(run, which, id).await,
        false => None,
    };
    match map.map(id, name.as_deref()) {
        Some(To::Id(to)) => *to,
        Some(To::Name(to)) => match id_of(run, which, to).await {
            Some(to) => to,
            None => {
                let (kind, shown) = (if which == Which::Users { "user" } else { "group" }, String::from_utf8_lossy(to));
                run.printer.error(&format!("Unknown --{kind}map name on receiver: {shown}"));
                id
            }
        },
        // Root is root by its number everywhere.
        None if id == 0 || !by_name => id,
        None => match name {
            Some(name) => id_of(run, which, &name).await.unwrap_or(id),
            None => id,
        },
    }
}

/// The name of a source's id.
async fn name_of(run: &Run, which: Which, id: u32) -> Option<Vec<u8>> {
    if !run.pull {
        return blocking(move || match which {
            Which::Users => accounts::user_name(id),
            Which::Groups => accounts::group_name(id),
        })
        .await;
    }
    far(run, which).await?.by_id.get(&id).cloned()
}

/// The destination's id of a name.
async fn id_of(run: &Run, which: Which, name: &[u8]) -> Option<u32> {
    if !run.push() {
        let name = name.to_vec();
        return blocking(move || match which {
            Which::Users => accounts::user_id(&name),
            Which::Groups => accounts::group_id(&name),
        })
        .await;
    }
    far(run, which).await?.by_name.get(name).copied()
}

async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(ask).await.ok().flatten()
}

async fn far(run: &Run, which: Which) -> Option<&Names> {
    let remote = run.remote.as_ref()?;
    let both = run.owners.far.get_or_init(|| async {
        let etc = remote.tree(b"/etc");
        let (users, groups) = tokio::join!(read(&etc, b"passwd"), read(&etc, b"group"));
        // Without its lists, the far end's numbers are what there is.
        let parse = |read: Result<Vec<u8>, Fault>| read.map(|content| Names::parse(&content)).unwrap_or_default();
        (parse(users), parse(groups))
    });
    let (users, groups) = both.await;
    Some(if which == Which::Users { users } else { groups })
}

async fn read(tree: &dyn Tree, name: &[u8]) -> Result<Vec<u8>, Fault> {
    let size = tree.stat(name, true).await?.map_or(0, |meta| meta.size.min(LIST_MAX));
    super::operands::read_list(tree, name, size).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_both_kinds_of_list_and_nonsense_is_left_out() {
        let names = Names::parse(
            b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:\nbroken\n:x:5:\nx:y:z:\nother:x:1000:\n",
        );
        assert_eq!(names.by_id.get(&1000).map(Vec::as_slice), Some(b"alice".as_slice()));
        assert_eq!(names.by_name.get(b"other".as_slice()), Some(&1000));
        assert_eq!(names.by_id.len(), 2);
    }
}
