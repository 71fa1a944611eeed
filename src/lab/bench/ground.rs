//! Where a bench runs: files at both ends, and one run on them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::account::{self, Run, account};
use super::attribute::Logged;
use super::attribute::messages::Way;
use super::cell::{Cell, Direction};
use super::check::{self, Found, Hash, Tree};
use super::job::Job;
use super::ledger::Names;
use super::make;
use super::measure::cost;
use super::plan::Cost;
use super::programs::Program;
use super::schedule::{Executor, Halt, Sample, Served};
use super::site::Site;
use super::stop::Stop;
use super::work::{Destination, Kind, Workload};
use crate::lab::print::note;

/// Trees of so many names, and no more bytes than that, stay until the end of the bench. ext4 does not give an inode away again for
/// some minutes after it was freed, and looks for another one by one. Measured, of 10,000 files: 3.9 s to push them instead of
/// 1.1, 5.1 s to pull them instead of 1.1, with 9 s of CPU instead of 1.2.
const MANY: u64 = 1000;
const LITTLE: u64 = 256 << 20;

/// The ground. Dropping it ends the servers and removes everything.
pub struct Ground {
    pub site: Box<dyn Site>,
    lab: PathBuf,
    hopsync: PathBuf,
    work: TempDir,
    /// The folder with the results.
    results: PathBuf,
    source: Option<Source>,
    /// Trees that are to stay until the end.
    set_aside: u64,
    runs: u64,
    limit: Duration,
    stop: Arc<Stop>,
}

/// The files of one work.
struct Source {
    workload: Workload,
    tree: Tree,
    /// Its files and links, in order.
    names: Vec<PathBuf>,
    /// Trees that were made for its cells: the far end's copy of the source, and what destinations have before a run.
    placed: BTreeSet<PathBuf>,
}

/// A tree that has to be there before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Source,
    /// What a destination has that is not the source's.
    Other,
}

/// A directory for a bench: for all files here, and for the far end's too where that is this machine.
pub fn workplace() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("hopsync-bench-").tempdir()
}

impl Ground {
    /// On `site`, with `work` for files here. `limit` is what one run may take.
    pub fn new(
        site: Box<dyn Site>,
        work: TempDir,
        results: &Path,
        limit: Duration,
        stop: Arc<Stop>,
    ) -> io::Result<Ground> {
        let lab = std::env::current_exe()?;
        // Under this name it is the drop-in.
        let hopsync = work.path().join("hopsync");
        std::os::unix::fs::symlink(&lab, &hopsync)?;
        let results = std::path::absolute(results)?;
        Ok(Ground { site, lab, hopsync, work, results, source: None, set_aside: 0, runs: 0, limit, stop })
    }

    fn here(&self) -> &Path {
        self.work.path()
    }

    /// Where the files come from, and the directory for where they go.
    fn ends(&self, direction: Direction) -> (PathBuf, PathBuf) {
        let (here, far) = (self.here().to_owned(), self.site.far().to_owned());
        match direction {
            Direction::Push => (here.join("source"), far),
            Direction::Pull => (far.join("source"), here),
        }
    }

    /// By what files are compared: what a host has a tool for, where the far end is one.
    fn hash(&self) -> Hash {
        if self.site.is_here() { Hash::Blake3 } else { Hash::Sha256 }
    }

    /// The files exist twice, a third time while a program keeps temporary ones, and a fourth time where a destination is made
    /// from a copy of what it has.
    fn check_space(&self, workload: &Workload) -> io::Result<()> {
        let once = workload.bytes_there().saturating_add(workload.names_there().saturating_mul(4096));
        let need = once.saturating_mul(if workload.kind.destination() == Destination::Other { 4 } else { 3 });
        let disk = rustix::fs::statvfs(self.here())?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= need {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "{} has {} MB free and {} needs {}: set TMPDIR to a roomier place, or use --scale",
                self.here().display(),
                free / 1_000_000,
                workload.name,
                need / 1_000_000
            ),
        ))
    }

    /// Puts a tree `at` a place here, or `there` at the far end, before the first run of a cell.
    fn place(&mut self, workload: &Workload, at: &Path, there: bool, what: What) -> Result<(), Halt> {
        let Some(source) = &self.source else { return Ok(()) };
        let here = self.here().join("source");
        if at == here || source.placed.contains(at) {
            return Ok(());
        }
        if !there || self.site.is_here() {
            match what {
                What::Source => make::source(workload, at, &self.stop)?,
                What::Other => make::other(workload, at, &self.stop)?,
            }
        } else if what == What::Source {
            self.upload(&here, at, &source.tree)?;
        } else {
            let here = self.here().join("other");
            self.place(workload, &here, false, what)?;
            self.upload(&here, at, &check::look(&here, self.hash(), &self.stop)?)?;
        }
        if let Some(source) = &mut self.source {
            source.placed.insert(at.to_owned());
        }
        Ok(())
    }

    fn upload(&self, from: &Path, to: &Path, tree: &Tree) -> io::Result<()> {
        self.site.upload(from, to)?;
        let missing = check::compare(tree, &self.site.tree(to)?).missing();
        if missing > 0 {
            let text = format!("{missing} names did not arrive whole in {} while it was made ready", to.display());
            return Err(io::Error::other(text));
        }
        Ok(())
    }

    /// What the destination has of the source.
    fn inspect(&self, source: &Source, dest: &Path, direction: Direction) -> Result<(Found, Vec<f64>), Halt> {
        if direction == Direction::Push && !self.site.is_here() {
            return Ok((check::compare(&source.tree, &self.site.tree(dest)?), Vec::new()));
        }
        let found = check::compare(&source.tree, &check::look(dest, self.hash(), &self.stop)?);
        let landed = check::landed(&source.tree, &found, dest)?;
        Ok((found, landed))
    }

    /// What is no longer wanted of a work that was measured: out of the way of the next one.
    fn discard(&mut self, dir: &Path, workload: &Workload) -> io::Result<()> {
        if !stays(workload) {
            return self.clear(dir);
        }
        self.set_aside += 1;
        match fs::rename(dir, self.here().join(format!("aside-{}", self.set_aside))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a tree here, and lets the disk come to rest, so that no program pays for what another wrote.
    fn clear(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(fs::File::open(self.here())?)?;
        Ok(())
    }

    /// After a run.
    fn leave(&self, dir: &Path, cell: &Cell) -> io::Result<()> {
        if cell.direction == Direction::Push && !self.site.is_here() {
            self.site.remove(dir)?;
        }
        if stays(&cell.workload) { Ok(()) } else { self.clear(dir) }
    }

    /// A destination, with what it has before the run, and with the directories that a process for one file does not make.
    fn destination(&self, dest: &Path, direction: Direction, source: &Source, program: Program) -> io::Result<()> {
        if source.workload.kind.destination() == Destination::Other {
            let (_, into) = self.ends(direction);
            return match direction {
                Direction::Push => self.site.copy(&into.join("other"), dest),
                Direction::Pull => make::copy(&into.join("other"), dest),
            };
        }
        let mut dirs = BTreeSet::from([dest.to_owned()]);
        if program.is_each() || program == Program::Sftp {
            dirs.extend(source.names.iter().filter_map(|name| name.parent()).map(|parent| dest.join(parent)));
        }
        let dirs: Vec<_> = dirs.into_iter().collect();
        match direction {
            Direction::Push => self.site.make(&dirs),
            Direction::Pull => dirs.iter().try_for_each(fs::create_dir_all),
        }
    }
}

impl Executor for Ground {
    fn prepare(&mut self, cell: &Cell) -> Result<(), Halt> {
        self.site.prepare(cell)?;
        let workload = &cell.workload;
        if self.source.as_ref().is_none_or(|source| source.workload != *workload) {
            let at = self.here().join("source");
            if let Some(source) = self.source.take() {
                for left in &source.placed {
                    if !self.site.is_here() {
                        self.site.remove(left)?;
                    }
                    self.discard(left, &source.workload)?;
                }
                self.discard(&at, &source.workload)?;
            }
            self.check_space(workload)?;
            note(format_args!("making {} in {}", workload.name, at.display()));
            make::source(workload, &at, &self.stop)?;
            let tree = check::look(&at, self.hash(), &self.stop)?;
            let names = check::items(&tree).cloned().collect();
            self.source = Some(Source { workload: workload.clone(), tree, names, placed: BTreeSet::new() });
        }
        let (source, into) = self.ends(cell.direction);
        let push = cell.direction == Direction::Push;
        self.place(workload, &source, !push, What::Source)?;
        match workload.kind.destination() {
            Destination::Empty => Ok(()),
            Destination::Alike => self.place(workload, &into.join("alike"), push, What::Source),
            Destination::Other => self.place(workload, &into.join("other"), push, What::Other),
        }
    }

    fn run(&mut self, cell: &Cell, program: Program) -> Result<Sample, Halt> {
        let Some(source) = &self.source else { return Err(io::Error::other("a cell that was not prepared").into()) };
        // The number of its line in the results.
        let number = self.runs;
        self.runs += 1;
        let (from, into) = self.ends(cell.direction);
        // Never the same directory twice: ext4 is slow to create files where many were deleted.
        let fresh = into.join(format!("run-{number}"));
        let alike = cell.workload.kind.destination() == Destination::Alike;
        let dest = if alike { into.join("alike") } else { fresh.clone() };
        self.destination(&dest, cell.direction, source, program)?;
        let scratch = self.here().join(format!("of-{number}"));
        fs::create_dir_all(scratch.join("outputs"))?;
        let reports = self.results.join("reports").join(number.to_string());
        if program.is_ours() {
            fs::create_dir_all(&reports)?;
        }
        let processes = self.results.join("processes");
        fs::create_dir_all(&processes)?;
        let shell = self.site.shell(cell);
        let mut plan = program.plan(&Job {
            direction: cell.direction,
            source: &from,
            dest: &dest,
            aside: self.site.far(),
            shell: &shell,
            target: self.site.target(),
            hopsync: &self.hopsync,
            names: &source.names,
            at_once: cell.at_once,
            more: cell.workload.kind.options(),
            scratch: &scratch,
            reports: &reports,
        })?;
        plan.limit_s = self.limit.as_secs_f64();
        self.clear(&self.here().join("nothing to remove"))?;
        let before = self.site.served();
        let measured = cost(&self.lab, &plan, &scratch.join("plan.json"), &self.stop);
        // First of all: what a signal ended can hardly be measured, and that is no failure.
        if self.stop.asked() {
            return Err(Halt::Interrupted);
        }
        let cost = measured?;
        let servers = self.site.served().zip(before).map(|(after, before)| served(&after, &before));
        let (found, landed) = self.inspect(source, &dest, cell.direction)?;
        let jump = self.site.jump(cell);
        let account = account(
            &Run {
                program,
                plan: &plan,
                cost: &cost,
                names: &source.names,
                whole: &found.whole,
                way: Way {
                    direction: cell.direction,
                    jump: jump.is,
                    jump_speaks: jump.speaks && program.jump_speaks(),
                },
                hops: Names::new(self.site.target()),
                reports: &reports,
                logged: servers
                    .map(|served| Logged { head: served.head_start_drops, target: served.target_start_drops }),
            },
            &processes.join(format!("{number}.jsonl")),
        )?;
        self.leave(&fresh, cell)?;
        self.clear(&scratch)?;
        let sample = sample(&cost, &landed, servers, account, cell.workload.kind);
        Ok(sample.found(&found))
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

fn stays(workload: &Workload) -> bool {
    workload.names_there() >= MANY && workload.bytes_there() <= LITTLE
}

/// All but what was found at the destination.
fn sample(cost: &Cost, landed: &[f64], servers: Option<Served>, account: account::Account, kind: Kind) -> Sample {
    let since = |at: &f64| ((at - cost.began).max(0.0) * 1e3).round() / 1e3;
    let mut arrivals: Vec<f64> = match landed.is_empty() {
        false => landed.iter().map(since).collect(),
        true => account.landed,
    };
    arrivals.sort_by(f64::total_cmp);
    // What was there before did not arrive.
    if matches!(kind, Kind::Nothing | Kind::UnchangedTree | Kind::Delete) {
        arrivals.clear();
    }
    Sample {
        wall_s: cost.wall_s,
        user_s: cost.user_s,
        system_s: cost.system_s,
        peak_rss: cost.peak_rss,
        exit: cost.exit(),
        message: account.message,
        crowd: account.crowd,
        missing: account.missing,
        tried_again: account.tried_again,
        missing_with_exit_0: account.missing_with_exit_0,
        whole_with_exit_not_0: account.whole_with_exit_not_0,
        servers,
        arrivals,
        ..Sample::default()
    }
}

/// What happened in between.
fn served(after: &Served, before: &Served) -> Served {
    Served {
        head_connections: after.head_connections - before.head_connections,
        head_logins: after.head_logins - before.head_logins,
        head_start_drops: after.head_start_drops - before.head_start_drops,
        target_connections: after.target_connections - before.target_connections,
        target_logins: after.target_logins - before.target_logins,
        target_start_drops: after.target_start_drops - before.target_start_drops,
        refused_sessions: after.refused_sessions - before.refused_sessions,
        listen_overflows: after.listen_overflows.saturating_sub(before.listen_overflows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_little_files_stay_and_what_needs_room_does_not() {
        let of = |work: &str| stays(&work.parse().expect("a work"));
        assert!(of("10000x4K") && of("2000x4K") && of("nothing") && of("tree") && of("delete"));
        assert!(!of("2G") && !of("900x1M") && !of("18x4K") && !of("100000x4K"));
    }
}
