//! Makes the trees of a work: the source, and what a destination has that is not the source's. The same for the same work.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::schedule::Halt;
use super::stop::Stop;
use super::work::{FANOUT, Kind, Workload};
use crate::lab::run::run;
use crate::lab::trees;

/// Modification time of all that is made: long ago, so that no program takes it for being written just now.
const MTIME: i64 = 1_500_000_000;
/// That of what is older.
const OLDER: i64 = MTIME - 86_400;

/// An older file differs from the newer one in so many places of so many bytes.
const PLACES: u64 = 8;
const PLACE: u64 = 4096;
/// Bytes put in, and taken out.
const SHIFT: usize = 1000;

/// What one copy of a tree may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Makes the source at `at`.
pub fn source(work: &Workload, at: &Path, stop: &Stop) -> Result<(), Halt> {
    fs::create_dir_all(at)?;
    for i in 0..work.files {
        stop.check()?;
        match work.kind {
            Kind::Tree | Kind::UnchangedTree => file(at, &leaf(i), i, work.size)?,
            Kind::Chain => file(at, &(0..=i).map(|_| "d").collect::<PathBuf>(), i, work.size)?,
            Kind::Links => link(at, i)?,
            _ => drop(trees::one_of_many(at, i, work.size)?),
        }
    }
    date(at, MTIME)
}

/// Makes at `at` what the destination of a work of [`Destination::Other`](super::work::Destination) has.
pub fn other(work: &Workload, at: &Path, stop: &Stop) -> Result<(), Halt> {
    source(work, at, stop)?;
    for i in 0..work.going() {
        stop.check()?;
        file(at, &leaf(i), i, work.size)?;
    }
    if !work.kind.is_over_older() {
        return date(at, MTIME);
    }
    for (name, meta) in trees::list(at)?.into_iter().filter(|(_, meta)| meta.is_file()) {
        stop.check()?;
        match work.kind {
            Kind::Moved => shift(&at.join(name))?,
            Kind::Changed => differ(&at.join(name), meta.len(), (1, 1))?,
            _ => differ(&at.join(name), meta.len(), (PLACES, PLACE))?,
        }
    }
    date(at, OLDER)
}

/// The directory of file number `i` of a tree. No other work has such names.
fn leaf(i: u64) -> PathBuf {
    let (top, below, leaf) = (i / FANOUT / FANOUT, i / FANOUT % FANOUT, i % FANOUT);
    format!("top-{top:02}/sub-{below:02}/leaf-{leaf:02}").into()
}

/// A file in a directory of its own.
fn file(at: &Path, dir: &Path, i: u64, size: u64) -> io::Result<()> {
    let dir = at.join(dir);
    fs::create_dir_all(&dir)?;
    trees::random_file(&dir.join("file"), size, &i.to_le_bytes())
}

/// What it leads to is not there: a link is moved, not what it names.
fn link(at: &Path, i: u64) -> io::Result<()> {
    let dir = at.join("links");
    if i == 0 {
        fs::create_dir_all(&dir)?;
    }
    symlink(format!("../nowhere/target-{i:05}"), dir.join(format!("link-{i:05}")))
}

/// Changes a file in a few places, spread over all of it.
fn differ(path: &Path, size: u64, (places, len): (u64, u64)) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let step = (size / places).max(1);
    for start in (step / 2..size).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let mut place = vec![0; len.min(step / places).max(1) as usize];
        file.read_exact_at(&mut place, start)?;
        place.iter_mut().for_each(|byte| *byte = !*byte);
        file.write_all_at(&place, start)?;
    }
    Ok(())
}

/// Puts some bytes in at a third of a file, and takes as many out at two thirds.
fn shift(path: &Path) -> io::Result<()> {
    let mut content = fs::read(path)?;
    let third = content.len() / 3;
    let bytes = SHIFT.min(third);
    content.drain(2 * third..2 * third + bytes);
    content.splice(third..third, std::iter::repeat_n(7, bytes));
    fs::write(path, content)
}

fn date(at: &Path, mtime: i64) -> Result<(), Halt> {
    for name in trees::list(at)?.keys() {
        trees::set_mtime(&at.join(name), mtime)?;
    }
    Ok(())
}

/// Copies a tree to where nothing is, with its times.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut command = Command::new("cp");
    command.arg("-a").arg("--").arg(from).arg(to);
    let output = run(command, PATIENCE)?;
    if output.code == 0 { Ok(()) } else { Err(io::Error::other(output.err().trim_end().to_owned())) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn work(name: &str, scale: f64) -> Workload {
        name.parse::<Workload>().expect("a work").scaled(scale)
    }

    /// Names of a tree, the top not counted.
    fn names(at: &Path) -> io::Result<Vec<String>> {
        Ok(trees::list(at)?.keys().skip(1).map(|name| name.display().to_string()).collect())
    }

    #[test]
    fn a_work_has_the_names_that_it_is_counted_with_and_all_are_old() -> Result<(), Halt> {
        for (name, scale) in [
            ("250x10", 1.0),
            ("nothing", 0.02),
            ("tree", 0.11),
            ("unchanged-tree", 0.005),
            ("chain", 0.2),
            ("links", 0.01),
            ("delete", 0.02),
            ("parts", 0.001),
            ("moved", 0.001),
            ("changed", 0.01),
        ] {
            let dir = tempfile::tempdir()?;
            let work = work(name, scale);
            source(&work, &dir.path().join("source"), &Stop::default())?;
            let list = trees::list(&dir.path().join("source"))?;
            assert_eq!(list.len() as u64 - 1, work.names(), "{name}");
            assert_eq!(list.values().filter(|meta| !meta.is_dir()).count() as u64, work.files, "{name}");
            assert!(list.values().all(|meta| meta.mtime() == MTIME), "{name}");
            assert!(list.values().all(|meta| !meta.is_file() || meta.len() == work.size), "{name}");
        }
        Ok(())
    }

    #[test]
    fn trees_are_deep_and_links_lead_nowhere() -> Result<(), Halt> {
        let dir = tempfile::tempdir()?;
        let of = |name: &str, scale| -> Result<Vec<String>, Halt> {
            let at = dir.path().join(name);
            source(&work(name, scale), &at, &Stop::default())?;
            Ok(names(&at)?)
        };
        let tree = of("tree", 0.1005)?;
        assert_eq!(tree[..4], ["top-00", "top-00/sub-00", "top-00/sub-00/leaf-00", "top-00/sub-00/leaf-00/file"]);
        assert_eq!(tree.last().map(String::as_str), Some("top-01/sub-00/leaf-01/file"));
        assert_eq!(of("chain", 0.1)?, ["d", "d/d", "d/d/d", "d/d/d/file", "d/d/file", "d/file"]);
        assert_eq!(of("links", 0.0004)?, ["links", "links/link-00000", "links/link-00001"]);
        let target = fs::read_link(dir.path().join("links/links/link-00001"))?;
        assert_eq!(target, Path::new("../nowhere/target-00001"));
        Ok(())
    }

    #[test]
    fn what_has_to_go_lies_beside_what_stays() -> Result<(), Halt> {
        let dir = tempfile::tempdir()?;
        let (work, stop) = (work("delete", 0.01), Stop::default());
        let (source, other) = (dir.path().join("source"), dir.path().join("other"));
        super::source(&work, &source, &stop)?;
        super::other(&work, &other, &stop)?;
        let told = trees::differences(&source, &other, trees::Aspects { times: true, ..trees::Aspects::CONTENT })?;
        assert!(told.iter().all(|line| line.starts_with("top-0") && line.ends_with(": extra")), "{told:?}");
        assert_eq!(told.len() as u64, work.names_there() - work.names());
        Ok(())
    }

    #[test]
    fn an_older_file_differs_in_a_few_places_however_small_it_is() -> Result<(), Halt> {
        for scale in [0.01, 0.00003, 0.000_000_02, 0.000_000_001] {
            let dir = tempfile::tempdir()?;
            let (work, stop) = (work("parts", scale), Stop::default());
            let (source, other) = (dir.path().join("source"), dir.path().join("other"));
            super::source(&work, &source, &stop)?;
            super::other(&work, &other, &stop)?;
            let name = "000/file-00000";
            let (new, old) = (fs::read(source.join(name))?, fs::read(other.join(name))?);
            assert_eq!(new.len(), old.len());
            let differ = new.iter().zip(&old).filter(|(new, old)| new != old).count() as u64;
            assert!((1..=PLACES * PLACE).contains(&differ), "{differ} of {}", work.size);
            assert!(work.size < 1000 || differ < work.size, "{differ} of {}", work.size);
            assert_eq!(fs::metadata(other.join(name))?.mtime(), OLDER);
        }
        Ok(())
    }

    #[test]
    fn older_files_are_moved_or_changed_as_they_are_called() -> Result<(), Halt> {
        for (name, scale, differs) in [("moved", 0.001, 174_000..176_000), ("changed", 0.01, 1..2)] {
            let dir = tempfile::tempdir()?;
            let (work, stop) = (work(name, scale), Stop::default());
            let (source, other) = (dir.path().join("source"), dir.path().join("other"));
            super::source(&work, &source, &stop)?;
            super::other(&work, &other, &stop)?;
            for (name, meta) in trees::list(&source)?.into_iter().filter(|(_, meta)| meta.is_file()) {
                let (new, old) = (fs::read(source.join(&name))?, fs::read(other.join(&name))?);
                assert_eq!(new.len(), old.len());
                let differ = new.iter().zip(&old).filter(|(new, old)| new != old).count();
                assert!(differs.contains(&differ), "{differ} of {}", work.size);
                assert_eq!((meta.mtime(), fs::metadata(other.join(name))?.mtime()), (MTIME, OLDER));
            }
        }
        Ok(())
    }

    #[test]
    fn a_copy_has_the_same_times() -> Result<(), Halt> {
        let dir = tempfile::tempdir()?;
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        source(&work("chain", 0.1), &from, &Stop::default())?;
        copy(&from, &to)?;
        let aspects = trees::Aspects { times: true, ..trees::Aspects::CONTENT };
        assert_eq!(trees::differences(&from, &to, aspects)?, Vec::<String>::new());
        let error = copy(&dir.path().join("no such"), &to).expect_err("nothing to copy");
        assert!(error.to_string().contains("no such"), "{error}");
        Ok(())
    }

    #[test]
    fn a_signal_ends_the_making() {
        let dir = tempfile::tempdir().expect("a directory");
        let stop = Stop::default();
        stop.send(rustix::process::Signal::TERM);
        let made = source(&work("tree", 1.0), dir.path(), &stop);
        assert!(matches!(made, Err(Halt::Interrupted)));
    }
}
