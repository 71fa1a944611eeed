//! What the transfer puts where backups could go. A backup never takes the place of what this run delivers, or has found to be there
//! as it should be: it goes under the next name.
//!
//! `rsync -b` of `f` and `f~` moves the old `f` to `f~`, and that, when the new `f~` comes, to `f~~`: so the old `f` ends there. Here
//! files are delivered in any order, and it goes there at once. (rsync, for which a file is as it was when it looked, leaves the old `f`
//! under the name of an `f~` that needed nothing. And the old `f~` is lost; here it goes one name further.)

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::directory::Directory;
use crate::engine::finish::below;
use crate::engine::run::Run;
use crate::entry::Entry;
use crate::plan::diff::Step;
use crate::plan::quick_check::Decision;

use super::place::{self, Lies};

/// Paths at the destination, in all that was walked so far.
#[derive(Default)]
pub struct Claims {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the transfer brings, or leaves, and a backup could take the place of.
    claimed: HashSet<Vec<u8>>,
    /// Where backups went in the destination, and whether they are there by now; only where something may be claimed afterwards.
    taken: HashMap<Vec<u8>, Directory>,
}

/// Where a backup goes: what is there by then has made way, once this is dropped.
pub struct Taken(Option<Directory>);

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(taken) = self.0.take() {
            taken.made(Ok(()));
        }
    }
}

impl Claims {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name under which the backup of the destination's `path` goes, in its place for backups: `name`, or the next one that is
    /// free. `suffix` makes one name of another.
    pub fn name(&self, lies: &Lies, path: &[u8], mut name: Vec<u8>, suffix: &[u8]) -> (Vec<u8>, Taken) {
        let suffix = if suffix.is_empty() { b"~" } else { suffix };
        let mut state = self.state();
        // What is backed up from under such a name itself leaves those before it their names.
        let mut further = 0;
        if *lies == Lies::Beside {
            let mut rest = path;
            while state.claimed.contains(rest)
                && let Some(shorter) = rest.strip_suffix(suffix)
            {
                (rest, further) = (shorter, further + 1);
            }
        }
        loop {
            let Some(at) = lies.seen_from_dest(&name) else { return (name, Taken(None)) };
            if !state.claimed.contains(&at) {
                if further == 0 {
                    let taken = matches!(lies, Lies::Within(_) | Lies::Above(_)).then(Directory::to_come);
                    if let Some(taken) = &taken {
                        state.taken.insert(at, taken.clone());
                    }
                    return (name, Taken(taken));
                }
                further -= 1;
            }
            name.extend_from_slice(suffix);
        }
    }

    /// Claims those of a directory's entries whose place a backup could take, before anything is done with any of them. `goes` is
    /// deleted in it. What a backup has taken the place of already is decided anew.
    pub async fn claim(&self, run: &Arc<Run>, dir: &[u8], steps: &mut [Step], goes: &[Entry]) {
        let Some(backup) = run.job.options.backup.as_ref().filter(|_| !run.job.options.dry_run) else { return };
        let lies = place::lies(run).await;
        let concerned = concerned(lies, dir, steps, goes, &backup.suffix);
        let mut wait = Vec::new();
        {
            let mut state = self.state();
            for index in concerned {
                let path = below(dir, &steps[index].entry.name);
                if let Some(taken) = state.taken.get(&path) {
                    wait.push((index, taken.clone()));
                }
                state.claimed.insert(path);
            }
        }
        for (index, taken) in wait {
            let _ = taken.known().await;
            let step = &mut steps[index];
            step.decision = match step.decision {
                Decision::Unchanged if step.entry.meta.is_file() => Decision::NeedHash(Default::default()),
                Decision::Unchanged => Decision::Update(Default::default()),
                Decision::Attributes(differs) if step.entry.meta.is_file() => Decision::NeedHash(differs),
                Decision::Attributes(differs) => Decision::Update(differs),
                decision => decision,
            };
        }
    }
}

/// Which of a directory's entries lie where something's backup could go.
fn concerned(lies: &Lies, dir: &[u8], steps: &[Step], goes: &[Entry], suffix: &[u8]) -> Vec<usize> {
    let stays = |step: &Step| !step.entry.meta.is_dir() && !matches!(step.decision, Decision::Skip(_));
    let in_place = |step: &Step| lies.holds(&below(dir, &step.entry.name), suffix);
    let mut found: Vec<usize> = (0..steps.len()).filter(|at| stays(&steps[*at]) && in_place(&steps[*at])).collect();
    if *lies == Lies::Beside && !found.is_empty() {
        // Only what lies beside it can have its backup there.
        let replaced =
            |step: &&Step| matches!(step.decision, Decision::Update(_) | Decision::Replace(_) | Decision::NeedHash(_));
        let mut kept: HashSet<&[u8]> = steps.iter().filter(replaced).map(|step| &step.entry.name[..]).collect();
        kept.extend(goes.iter().filter(|entry| !entry.meta.is_dir()).map(|entry| &entry.name[..]));
        found.retain(|at| steps[*at].entry.name.strip_suffix(suffix).is_some_and(|name| kept.contains(name)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Kind, Meta};
    use crate::plan::quick_check::Differs;

    fn entry(name: &str) -> Entry {
        let (size, mtime, mode) = (1, 1, 0o644);
        let (mtime_nsec, atime, uid, gid, dev, ino, links) = (0, 0, 0, 0, 1, 1, 1);
        let meta = Meta { kind: Kind::File, size, mtime, mtime_nsec, atime, mode, uid, gid, dev, ino, links };
        Entry { name: name.as_bytes().to_vec(), meta, target: None }
    }

    fn step(name: &str, decision: Decision) -> Step {
        Step { entry: entry(name), old: None, decision }
    }

    fn claimed(names: &[&str]) -> Claims {
        let claims = Claims::default();
        claims.state().claimed.extend(names.iter().map(|name| name.as_bytes().to_vec()));
        claims
    }

    fn name(claims: &Claims, lies: &Lies, path: &str, suffix: &str) -> String {
        let plain = [path, suffix].concat().into_bytes();
        String::from_utf8(claims.name(lies, path.as_bytes(), plain, suffix.as_bytes()).0).expect("as it was given")
    }

    #[test]
    fn a_backup_takes_the_next_name_that_the_transfer_does_not() {
        let claims = claimed(&["d/f~", "d/f~~"]);
        for (path, goes) in [("d/e", "d/e~"), ("d/f", "d/f~~~"), ("d/f~", "d/f~~~~"), ("d/f~~", "d/f~~~~~")] {
            assert_eq!(name(&claims, &Lies::Beside, path, "~"), goes);
        }
    }

    #[test]
    fn in_a_directory_for_backups_only_what_lies_there_counts() {
        let claims = claimed(&[".old/a", "b"]);
        let (within, above) = (Lies::Within(b".old".to_vec()), Lies::Above(b"to".to_vec()));
        assert_eq!([name(&claims, &within, "a", ""), name(&claims, &within, "b", "")], ["a~", "b"]);
        assert_eq!([name(&claims, &above, "to/b", ""), name(&claims, &above, "b", "")], ["to/b~", "b"]);
        assert_eq!(name(&claims, &Lies::Apart, ".old/a", ""), ".old/a");
    }

    #[test]
    fn what_may_be_the_name_of_a_backup_is_claimed() {
        let differs = Differs::default();
        let steps = [
            step("new", Decision::Create),
            step("new~", Decision::Unchanged),
            step("old", Decision::Update(differs)),
            step("old~", Decision::Unchanged),
            step("same", Decision::NeedHash(differs)),
            step("same~", Decision::Create),
            step("gone~", Decision::Unchanged),
        ];
        let gone = [entry("gone")];
        assert_eq!(concerned(&Lies::Beside, b"d", &steps, &gone, b"~"), [3, 5, 6]);
        assert_eq!(concerned(&Lies::Within(b"d".to_vec()), b"d", &steps, &gone, b"").len(), steps.len());
        assert!(concerned(&Lies::Within(b"e".to_vec()), b"d", &steps, &gone, b"").is_empty());
        assert!(concerned(&Lies::Elsewhere, b"d", &steps, &gone, b"~").is_empty());
    }
}
