//! Whether the far end's shell sees what its SFTP server does. Both may start in a place of the same name and yet not be in the same file
//! system: what a command runs in may be a container. So before the hasher is taken at its word about directories
//! ([`crate::verify::listing`]), it has to list one as the server does.

use std::sync::{Mutex, MutexGuard};

use crate::entry::{Entry, Kind};

/// Directories that are listed both ways at a time, and that may differ (something may change in between) before it is no longer tried.
const AT_ONCE: usize = 16;
const DIFFERENT: usize = 8;

#[derive(Debug, Default)]
pub struct View(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    same: bool,
    comparing: usize,
    different: usize,
}

/// What is to be done about a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Ask the hasher.
    Told,
    /// Ask the server, and the hasher too; then [`View::compared`].
    Both,
    /// Ask the server.
    Listed,
}

impl View {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn look(&self) -> Look {
        let mut state = self.state();
        if state.same {
            return Look::Told;
        }
        if state.comparing >= AT_ONCE || state.different >= DIFFERENT {
            return Look::Listed;
        }
        state.comparing += 1;
        Look::Both
    }

    /// What came of it: nothing, if one of the two did not tell, or there was nothing in it.
    pub fn compared(&self, same: Option<bool>) {
        let mut state = self.state();
        state.comparing = state.comparing.saturating_sub(1);
        state.same |= same == Some(true);
        state.different += usize::from(same == Some(false));
    }
}

/// All of an entry that both tell, and that does not change by being looked at.
type Seen = (Vec<u8>, Kind, u64, i64, u32, u32, u32, Option<Vec<u8>>);

/// What a listing has in it, to be compared.
pub fn seen(entries: &[Entry]) -> Vec<Seen> {
    let of = |Entry { name, meta, target }: &Entry| {
        (name.clone(), meta.kind, meta.size, meta.mtime, meta.mode, meta.uid, meta.gid, target.clone())
    };
    let mut all: Vec<Seen> = entries.iter().map(of).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// Whether the two are of one directory; an empty one is like any other.
pub fn same(listed: &[Seen], told: &[Entry]) -> Option<bool> {
    (!listed.is_empty() || !told.is_empty()).then(|| listed == seen(told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::Attrs;

    fn entry(name: &str, size: u64, atime: u32) -> Entry {
        let permissions = Some(0o100_644);
        let attrs = Attrs { size: Some(size), owner: Some((1, 2)), permissions, times: Some((atime, 5)) };
        Entry { name: name.into(), meta: attrs.to_meta().unwrap(), target: None }
    }

    #[test]
    fn two_listings_are_of_one_directory_if_all_in_them_is_the_same_but_when_it_was_read() {
        let listed = seen(&[entry("a", 1, 7), entry("b", 2, 7)]);
        assert_eq!(same(&listed, &[entry("b", 2, 7), entry("a", 1, 8)]), Some(true));
        for other in [vec![entry("a", 1, 7)], vec![entry("a", 1, 7), entry("b", 3, 7)], Vec::new()] {
            assert_eq!(same(&listed, &other), Some(false));
        }
        assert_eq!(same(&[], &[]), None);
        assert_eq!(same(&[], &[entry("a", 1, 7)]), Some(false));
    }

    #[test]
    fn the_hasher_is_asked_alone_once_it_has_told_the_same_and_no_more_when_it_never_does() {
        let view = View::default();
        assert!((0..AT_ONCE).all(|_| view.look() == Look::Both));
        assert_eq!(view.look(), Look::Listed);
        view.compared(None);
        view.compared(Some(false));
        assert_eq!([view.look(), view.look(), view.look()], [Look::Both, Look::Both, Look::Listed]);
        view.compared(Some(true));
        view.compared(Some(false));
        assert_eq!(view.look(), Look::Told);

        let view = View::default();
        for _ in 0..DIFFERENT {
            assert_eq!(view.look(), Look::Both);
            view.compared(Some(false));
        }
        assert_eq!(view.look(), Look::Listed);
    }
}
