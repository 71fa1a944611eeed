//! Where a bench runs: files at both ends, and one run on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::account::{self, Run, account};
use super::attribute::Logged;
use super::attribute::messages::Way;
use super::cell::{Cell, Direction, Workload};
use super::job::Job;
use super::ledger::Names;
use super::measure::cost;
use super::plan::Cost;
use super::programs::Program;
use super::schedule::{Executor, Halt, Sample, Served};
use super::site::Site;
use super::stop::Stop;
use crate::lab::print::note;
use crate::lab::trees;

/// Modification time of all files: long ago, so that no program takes them for being written just now.
const MTIME: i64 = 1_500_000_000;

/// Trees of so many files, and no more bytes than that, stay until the end of the bench. ext4 does not give an inode away again for
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
    names: Vec<PathBuf>,
    hashes: BTreeMap<PathBuf, blake3::Hash>,
    /// What the far end's tools are asked for, where it is not this machine.
    sha256: BTreeMap<PathBuf, String>,
    /// The far end has its copy, and one at the destination of what is there already.
    uploaded: BTreeSet<PathBuf>,
}

/// What a destination has.
struct Found {
    /// In the order of the names.
    whole: Vec<bool>,
    extra: u64,
    /// Seconds since the epoch at which each whole file got its name.
    landed: Vec<f64>,
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

    /// Makes the files below `at`, the same for the same work.
    fn make(&self, workload: &Workload, at: &Path) -> Result<BTreeMap<PathBuf, blake3::Hash>, Halt> {
        let mut hashes = BTreeMap::new();
        for i in 0..workload.files {
            if self.stop.asked() {
                return Err(Halt::Interrupted);
            }
            let name = trees::one_of_many(at, i, workload.size)?;
            hashes.insert(name.clone(), trees::hash(&at.join(name))?);
        }
        for name in trees::list(at)?.keys() {
            trees::set_mtime(&at.join(name), MTIME)?;
        }
        Ok(hashes)
    }

    /// The files exist twice, and a third time while a program keeps temporary ones.
    fn check_space(&self, workload: &Workload) -> io::Result<()> {
        let need = workload.bytes().saturating_add(workload.files.saturating_mul(4096)).saturating_mul(3);
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

    /// What has to be at the far end before the first run of a cell; `at` is where it is made here or there.
    fn place(&mut self, workload: &Workload, at: &Path, there: bool) -> Result<(), Halt> {
        let here = self.here().join("source");
        let Some(source) = &self.source else { return Ok(()) };
        if at == here || source.uploaded.contains(at) {
            return Ok(());
        }
        if there && !self.site.is_here() {
            self.site.upload(&here, at)?;
            let missing = self.missing_there(at)?;
            if missing > 0 {
                let text = format!("{missing} files did not arrive whole in {} while it was made ready", at.display());
                return Err(io::Error::other(text).into());
            }
        } else {
            self.make(workload, at)?;
        }
        if let Some(source) = &mut self.source {
            source.uploaded.insert(at.to_owned());
        }
        Ok(())
    }

    fn missing_there(&self, at: &Path) -> io::Result<usize> {
        let Some(source) = &self.source else { return Ok(0) };
        let there = self.site.hashes(at)?;
        Ok(source.names.iter().filter(|name| there.get(*name) != source.sha256.get(*name)).count())
    }

    /// Which files at the destination are whole, and how many names should not be there.
    fn inspect(&self, source: &Source, dest: &Path, direction: Direction) -> Result<Found, Halt> {
        let mut found = Found { whole: vec![false; source.names.len()], extra: 0, landed: Vec::new() };
        let number = |name: &Path| source.names.binary_search_by(|other| other.as_path().cmp(name)).ok();
        if direction == Direction::Push && !self.site.is_here() {
            for (name, hash) in self.site.hashes(dest)? {
                match number(&name) {
                    Some(number) => found.whole[number] = source.sha256.get(&name) == Some(&hash),
                    None => found.extra += 1,
                }
            }
            return Ok(found);
        }
        for (name, meta) in trees::list(dest)? {
            match number(&name) {
                Some(number) if meta.is_file() => {
                    found.whole[number] = Some(&trees::hash(&dest.join(&name))?) == source.hashes.get(&name);
                    if found.whole[number] {
                        // The inode was last changed when it got its name or its attributes, whichever came last.
                        found.landed.push(meta.ctime() as f64 + meta.ctime_nsec() as f64 / 1e9);
                    }
                }
                Some(_) => {}
                None => found.extra += u64::from(!meta.is_dir()),
            }
            if self.stop.asked() {
                return Err(Halt::Interrupted);
            }
        }
        Ok(found)
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

    /// A destination, with the directories that a process for one file does not make.
    fn destination(&self, dest: &Path, direction: Direction, source: &Source, program: Program) -> io::Result<()> {
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
                for left in &source.uploaded {
                    if !self.site.is_here() {
                        self.site.remove(left)?;
                    }
                    self.discard(left, &source.workload)?;
                }
                self.discard(&at, &source.workload)?;
            }
            self.check_space(workload)?;
            note(format_args!("making {} files of {} bytes in {}", workload.files, workload.size, at.display()));
            let hashes = self.make(workload, &at)?;
            let names: Vec<PathBuf> = hashes.keys().cloned().collect();
            let mut sha256 = BTreeMap::new();
            if !self.site.is_here() {
                for name in &names {
                    sha256.insert(name.clone(), sha256_of(&at.join(name))?);
                }
            }
            self.source = Some(Source { workload: workload.clone(), names, hashes, sha256, uploaded: BTreeSet::new() });
        }
        let (source, into) = self.ends(cell.direction);
        self.place(workload, &source, cell.direction == Direction::Pull)?;
        if workload.unchanged {
            self.place(workload, &into.join("unchanged"), cell.direction == Direction::Push)?;
        }
        Ok(())
    }

    fn run(&mut self, cell: &Cell, program: Program) -> Result<Sample, Halt> {
        let Some(source) = &self.source else { return Err(io::Error::other("a cell that was not prepared").into()) };
        // The number of its line in the results.
        let number = self.runs;
        self.runs += 1;
        let (from, into) = self.ends(cell.direction);
        // Never the same directory twice: ext4 is slow to create files where many were deleted.
        let fresh = into.join(format!("run-{number}"));
        let dest = if cell.workload.unchanged { into.join("unchanged") } else { fresh.clone() };
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
        let found = self.inspect(source, &dest, cell.direction)?;
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
        Ok(sample(&cost, &found, servers, account, cell))
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

fn stays(workload: &Workload) -> bool {
    workload.files >= MANY && workload.bytes() <= LITTLE
}

fn sample(cost: &Cost, found: &Found, servers: Option<Served>, account: account::Account, cell: &Cell) -> Sample {
    let since = |at: &f64| ((at - cost.began).max(0.0) * 1e3).round() / 1e3;
    let mut arrivals: Vec<f64> = match found.landed.is_empty() {
        false => found.landed.iter().map(since).collect(),
        true => account.landed,
    };
    arrivals.sort_by(f64::total_cmp);
    if cell.workload.unchanged {
        arrivals.clear();
    }
    Sample {
        wall_s: cost.wall_s,
        user_s: cost.user_s,
        system_s: cost.system_s,
        peak_rss: cost.peak_rss,
        exit: cost.exit(),
        whole: found.whole.iter().filter(|whole| **whole).count() as u64,
        extra: found.extra,
        message: account.message,
        crowd: account.crowd,
        missing: account.missing,
        tried_again: account.tried_again,
        missing_with_exit_0: account.missing_with_exit_0,
        whole_with_exit_not_0: account.whole_with_exit_not_0,
        servers,
        arrivals,
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

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hash.update(&block[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_little_files_stay_and_what_needs_room_does_not() {
        let of = |work: &str| stays(&work.parse().expect("a work"));
        assert!(of("10000x4K") && of("2000x4K") && of("nothing"));
        assert!(!of("2G") && !of("900x1M") && !of("18x4K") && !of("100000x4K"));
    }
}
