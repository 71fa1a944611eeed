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
use crate::entry::{Entry, Meta};
use crate::plan::diff::Step;
use crate::plan::quick_check::{Decision, Differs, MakeWay};

use super::place::{self, Lies};

/// Paths at the destination, in all that was walked so far.
#[derive(Default)]
pub struct Claims {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the transfer brings, or leaves, and a backup could take the place of; whether one is likely to have been going to.
    claimed: HashMap<Vec<u8>, bool>,
    /// Where backups went that could meet another one, what is claimed, or what is to be deleted, and whether they are there by now.
    taken: HashMap<Vec<u8>, Directory>,
    /// What is to be deleted under a name that a backup could have.
    doomed: HashSet<Vec<u8>>,
    /// What goes because it is missing at the source (`--delete-missing-args`).
    missing: HashSet<Vec<u8>>,
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
        let plain = name.len();
        let mut state = self.state();
        // What is backed up from under such a name itself leaves those before it their names.
        let mut further = 0_usize;
        if *lies == Lies::Beside {
            let mut rest = path;
            while state.claimed.get(rest) == Some(&true)
                && let Some(shorter) = rest.strip_suffix(suffix)
            {
                (rest, further) = (shorter, further + 1);
            }
        }
        loop {
            let Some(at) = lies.seen_from_dest(&name) else { return (name, Taken(None)) };
            let is_taken = state.taken.contains_key(&at);
            if !state.claimed.contains_key(&at) {
                if further == 0 && !is_taken {
                    let meets = name.len() > plain || state.claimed.contains_key(path) || state.doomed.contains(&at);
                    let taken = (meets || *lies != Lies::Beside).then(Directory::to_come);
                    if let Some(taken) = &taken {
                        state.taken.insert(at, taken.clone());
                    }
                    return (name, Taken(taken));
                }
                // One that is taken may be one of those that were left.
                further = further.saturating_sub(1);
            }
            name.extend_from_slice(suffix);
        }
    }

    /// These are going to be deleted because they are missing at the source.
    pub fn missing(&self, path: Vec<u8>) {
        self.state().missing.insert(path);
    }

    /// Whether what is at this path by now is a backup of this run.
    pub fn has_taken(&self, path: &[u8]) -> bool {
        self.state().taken.contains_key(path)
    }

    /// Claims those of a directory's entries whose place a backup could take, before anything is done with any of them. `goes` is
    /// deleted in it. What a backup has taken the place of already is decided anew.
    pub async fn claim(&self, run: &Arc<Run>, dir: &[u8], steps: &mut [Step], goes: &[Entry]) {
        let Some(backup) = run.job.options.backup.as_ref().filter(|_| !run.job.options.dry_run) else { return };
        // Where that cannot be told, nothing is backed up.
        let Ok(lies) = place::lies(run).await else { return };
        let mut wait = Vec::new();
        {
            let mut state = self.state();
            for (index, likely) in concerned(lies, dir, steps, goes, &backup.suffix, &state.missing) {
                let path = below(dir, &steps[index].entry.name);
                if let Some(taken) = state.taken.get(&path) {
                    wait.push((index, taken.clone()));
                }
                state.claimed.insert(path, likely);
            }
            let doomed =
                goes.iter().map(|entry| below(dir, &entry.name)).filter(|path| lies.holds(path, &backup.suffix));
            state.doomed.extend(doomed);
        }
        for (index, taken) in wait {
            let _ = taken.known().await;
            let step = &mut steps[index];
            // What cannot be looked at is there, as far as we know: it is to be kept before anything takes its place.
            let there = run.dest.stat(&below(dir, &step.entry.name), false).await;
            redecide(step, there.unwrap_or_else(|_| Some(step.entry.meta.clone())));
        }
    }
}

/// What is to be done where a backup has been put, or was to be: `there` is what there is now.
fn redecide(step: &mut Step, there: Option<Meta>) {
    step.decision = match &there {
        // (A directory cannot be a backup's, and keeps its decision.)
        Some(meta) if meta.is_dir() => return,
        Some(meta) if meta.kind == step.entry.meta.kind => {
            Decision::Update(Differs { content: true, ..Differs::default() })
        }
        Some(_) => Decision::Replace(MakeWay::Unlink),
        None => Decision::Create,
    };
    step.old = there.map(|meta| Entry { name: step.entry.name.clone(), meta, target: None });
}

/// Which of a directory's entries lie where something's backup could go, and whether one is likely to.
fn concerned(
    lies: &Lies,
    dir: &[u8],
    steps: &[Step],
    goes: &[Entry],
    suffix: &[u8],
    missing: &HashSet<Vec<u8>>,
) -> Vec<(usize, bool)> {
    let stays = |step: &Step| !step.entry.meta.is_dir() && !matches!(step.decision, Decision::Skip(_));
    let in_place = |step: &Step| lies.holds(&below(dir, &step.entry.name), suffix);
    let mut found: Vec<usize> = (0..steps.len()).filter(|at| stays(&steps[*at]) && in_place(&steps[*at])).collect();
    if *lies != Lies::Beside || found.is_empty() {
        return found.into_iter().map(|at| (at, true)).collect();
    }
    // Only what lies beside it can have its backup there: what is replaced, or may be after all (other names, what a basis has, what
    // is hashed before its source is removed), and what goes.
    let mut kept: HashMap<&[u8], bool> = HashMap::new();
    for Step { entry, old, decision } in steps {
        let likely = matches!(decision, Decision::Update(_) | Decision::Replace(_) | Decision::NeedHash(_));
        if old.as_ref().is_some_and(|old| !old.meta.is_dir()) {
            kept.insert(&entry.name, likely);
        }
    }
    kept.extend(goes.iter().filter(|entry| !entry.meta.is_dir()).map(|entry| (&entry.name[..], true)));
    // A name before those that are made of it: its backup would go to the next one, and so on.
    found.sort_by_key(|at| steps[*at].entry.name.len());
    let mut claimed = Vec::new();
    for at in found {
        let name = &steps[at].entry.name[..];
        let Some(base) = name.strip_suffix(suffix).filter(|base| !base.is_empty()) else { continue };
        let gone = !missing.is_empty() && missing.contains(&below(dir, base));
        let likely = if gone { Some(true) } else { kept.get(base).copied() };
        if let Some(likely) = likely {
            let own = kept.get(name).copied().unwrap_or(false);
            kept.insert(name, own || likely);
            claimed.push((at, likely));
        }
    }
    claimed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Kind;

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
        claims.state().claimed.extend(names.iter().map(|name| (name.as_bytes().to_vec(), true)));
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
    fn no_two_backups_of_a_run_meet() {
        let claims = claimed(&[]);
        claims.state().claimed.insert(b"f~".to_vec(), false);
        claims.state().doomed.insert(b"g~".to_vec());
        // It was not likely that f would be backed up, but it is.
        assert_eq!([name(&claims, &Lies::Beside, "f~", "~"), name(&claims, &Lies::Beside, "f", "~")], ["f~~", "f~~~"]);
        assert_eq!([name(&claims, &Lies::Beside, "g", "~"), name(&claims, &Lies::Beside, "h", "~")], ["g~", "h~"]);
        assert!(claims.has_taken(b"g~") && !claims.has_taken(b"h~"));
        let (claims, within) = (claimed(&[".old/a"]), Lies::Within(b".old".to_vec()));
        assert_eq!([name(&claims, &within, "a", ""), name(&claims, &within, "a~", "")], ["a~", "a~~"]);
    }

    #[test]
    fn where_a_backup_went_it_is_decided_anew() {
        let (content, there) = (Differs { content: true, ..Differs::default() }, entry("f").meta);
        let link = Meta { kind: Kind::Symlink, ..there.clone() };
        for (there, decision) in [
            (Some(there), Decision::Update(content)),
            (Some(link), Decision::Replace(MakeWay::Unlink)),
            // Its own old file made way for a backup that never came.
            (None, Decision::Create),
        ] {
            let mut step = Step { old: Some(entry("f")), ..step("f", Decision::Unchanged) };
            redecide(&mut step, there.clone());
            assert_eq!((step.decision, step.old.map(|old| old.meta)), (decision, there));
        }
    }

    #[test]
    fn what_may_be_the_name_of_a_backup_is_claimed() {
        let differs = Differs::default();
        let old = |name: &str, decision| Step { old: Some(entry(name)), ..step(name, decision) };
        let steps = [
            step("new", Decision::Create),
            old("new~", Decision::Unchanged),
            old("old", Decision::Update(differs)),
            old("old~~", Decision::Unchanged),
            step("old~", Decision::Create),
            old("same", Decision::Unchanged),
            step("same~", Decision::Create),
            old("gone~", Decision::Unchanged),
            old("missing~", Decision::Unchanged),
            old("~", Decision::Unchanged),
        ];
        let gone = [entry("gone")];
        let missing = HashSet::from([b"d/missing".to_vec()]);
        let concerned = |lies: &Lies, suffix: &[u8]| {
            let mut found = concerned(lies, b"d", &steps, &gone, suffix, &missing);
            found.sort_unstable();
            found
        };
        let beside = [(3, true), (4, true), (6, false), (7, true), (8, true)];
        assert_eq!(concerned(&Lies::Beside, b"~"), beside);
        assert_eq!(concerned(&Lies::Within(b"d".to_vec()), b"").len(), steps.len());
        assert!(concerned(&Lies::Within(b"e".to_vec()), b"").is_empty());
        assert!(concerned(&Lies::Elsewhere, b"~").is_empty());
    }
}
