//! rsync and `hopsync` side by side: the same options, on two copies of the same input, must leave the same exit code, the
//! same trees with all metadata, the same printed lines and the same counts.
//!
//! - [`cases`]: the table of cases; [`random`]: cases from a seed, more of them on demand.
//! - [`scene`]: the input trees; [`snapshot`]: what is compared of a tree.
//! - [`harness`]: runs a case at both programs and tells what differs.
//! - [`known`]: the differences that are known, one reason each (`known.txt`). Any other fails, and so does an entry that is
//!   no longer needed.
//!
//! Ends are local → local, local → remote and remote → local. The remote end is a script given to `-e` that runs its
//! arguments here: rsync's own server for rsync, an SFTP server for `hopsync`. So no case costs a login.
//!
//! `HOPSYNC_DIFFERENTIAL=TEXT` runs only the cases that hold TEXT; `HOPSYNC_DIFFERENTIAL_RANDOM=N` runs N random cases and
//! `HOPSYNC_DIFFERENTIAL_SEED=S` begins them elsewhere.

#![expect(clippy::disallowed_methods, reason = "tests make and read files of their own")]

mod cases;
mod harness;
mod known;
mod random;
mod scene;
mod snapshot;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use harness::{Bench, Case, Difference, Ends};
use known::Known;

/// Cases at once: most of a case is waiting for processes to start and end.
const AT_ONCE: usize = 4;

/// Random cases when nobody asks for more.
const RANDOM: u64 = 60;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Runs all cases; returns what differs, in the cases' order.
fn differences(cases: &[Case]) -> Vec<Difference> {
    let bench = match Bench::new() {
        Ok(bench) => bench,
        Err(error) => panic!("the bench: {error}"),
    };
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, case)) = Some(next.fetch_add(1, Relaxed)).and_then(|n| Some((n, cases.get(n)?)))
                {
                    let differs = match bench.run(number, case) {
                        Ok(differs) => differs,
                        Err(error) => vec![Difference::new(case, "run", error.to_string())],
                    };
                    if let (false, Ok(mut found)) = (differs.is_empty(), found.lock()) {
                        found.extend(differs.into_iter().map(|difference| (number, difference)));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, difference)| difference).collect()
}

/// Fails with every difference that is not known, and (if `whole`) every known one that was not seen.
fn judge(cases: Vec<Case>, whole: bool) {
    let only = variable("HOPSYNC_DIFFERENTIAL");
    let cases: Vec<Case> =
        cases.into_iter().filter(|case| only.as_ref().is_none_or(|text| case.name().contains(text))).collect();
    let mut known = Known::read();
    let found = differences(&cases);
    let mut wrong: Vec<String> =
        found.iter().filter(|difference| !known.excuses(difference)).map(ToString::to_string).collect();
    if whole && only.is_none() {
        wrong.extend(known.unneeded(&cases).map(|entry| format!("known.txt: no longer needed: {entry}")));
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The table's cases at one pair of ends.
fn at(ends: Ends) -> Vec<Case> {
    cases::table().into_iter().filter(|case| case.ends == ends).collect()
}

#[test]
fn from_disk_to_disk_it_does_what_rsync_does() {
    judge(at(Ends::Local), true);
}

#[test]
fn to_the_far_end_it_does_what_rsync_does() {
    judge(at(Ends::Push), true);
}

#[test]
fn from_the_far_end_it_does_what_rsync_does() {
    judge(at(Ends::Pull), true);
}

#[test]
fn random_cases_do_what_rsync_does() {
    let number = |name: &str| variable(name).and_then(|value| value.parse().ok());
    let seed = number("HOPSYNC_DIFFERENTIAL_SEED").unwrap_or(0);
    let count = number("HOPSYNC_DIFFERENTIAL_RANDOM").unwrap_or(RANDOM);
    judge((seed..seed + count).map(random::case).collect(), false);
}
