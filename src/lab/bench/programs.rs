//! What is measured side by side, and how each is started: all over the same ssh configuration.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cell::{Direction, Workload};
use crate::lab::bed::TARGET;

/// Processes of [`Program::ParallelRsync`].
pub const PARALLEL: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// `hopsync -a`
    Hopsync,
    /// `hopsync -a --verify=off`: what verification costs
    HopsyncUnverified,
    /// `rsync -a`
    Rsync,
    /// `tar | ssh tar`
    Tar,
    /// Eight `rsync -a` at once, each with an eighth of the files
    ParallelRsync,
}

impl Program {
    /// As the table names it.
    pub fn title(self) -> &'static str {
        match self {
            Program::Hopsync => "hopsync -a",
            Program::HopsyncUnverified => "hopsync -a --verify=off",
            Program::Rsync => "rsync -a",
            Program::Tar => "tar | ssh",
            Program::ParallelRsync => "8 × rsync -a",
        }
    }

    pub fn is_ours(self) -> bool {
        matches!(self, Program::Hopsync | Program::HopsyncUnverified)
    }

    /// What must be installed for it, besides ssh.
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Program::Hopsync | Program::HopsyncUnverified => None,
            Program::Rsync | Program::ParallelRsync => Some("rsync"),
            Program::Tar => Some("tar"),
        }
    }

    /// Whether measuring it on this work says anything: tar does not know what is there already, and one file is for one
    /// rsync.
    pub fn suits(self, workload: &Workload) -> bool {
        match self {
            Program::Tar => !workload.unchanged,
            Program::ParallelRsync => workload.files > 1,
            _ => true,
        }
    }

    /// Program and arguments.
    pub fn command(self, job: &Job) -> Vec<OsString> {
        let slash = |path: &Path| format!("{}/", path.display());
        let far = |path: &Path| format!("{TARGET}:{}", slash(path));
        let (from, to) = match job.direction {
            Direction::Push => (slash(job.source), far(job.dest)),
            Direction::Pull => (far(job.source), slash(job.dest)),
        };
        let shell = format!("ssh -F {}", job.config.display());
        let drop_in = |program: &Path, more: &[&str]| {
            let head = [program.as_os_str().to_owned(), "-a".into()];
            let tail = ["-e".into(), shell.clone().into(), from.clone().into(), to.clone().into()];
            head.into_iter().chain(more.iter().map(OsString::from)).chain(tail).collect()
        };
        let script = |text: &str, arguments: Vec<OsString>| {
            let head = ["sh", "-c", text, "sh"].map(OsString::from);
            head.into_iter().chain(arguments).collect()
        };
        match self {
            Program::Hopsync => drop_in(job.hopsync, &["--no-share"]),
            Program::HopsyncUnverified => drop_in(job.hopsync, &["--no-share", "--verify=off"]),
            Program::Rsync => drop_in(Path::new("rsync"), &[]),
            Program::Tar => script(
                match job.direction {
                    Direction::Push => r#"tar -C "$2" -cf - . | ssh -F "$1" "$4" "tar -C '$3' -xf -""#,
                    Direction::Pull => r#"ssh -F "$1" "$4" "tar -C '$2' -cf - ." | tar -C "$3" -xf -"#,
                },
                vec![job.config.into(), job.source.into(), job.dest.into(), TARGET.into()],
            ),
            Program::ParallelRsync => script(
                concat!(
                    r#"shell=$1 from=$2 to=$3; shift 3; all=; "#,
                    r#"for list; do rsync -a -e "$shell" --files-from="$list" "$from" "$to" & all="$all $!"; done; "#,
                    r#"worst=0; for one in $all; do wait "$one" || worst=$?; done; exit "$worst""#
                ),
                [shell.into(), from.into(), to.into()]
                    .into_iter()
                    .chain(job.lists.iter().map(|list| list.as_os_str().to_owned()))
                    .collect(),
            ),
        }
    }
}

/// What one command is to do. Paths have no spaces (`-e` splits on them); they are valid at both ends.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    pub direction: Direction,
    pub source: &'a Path,
    pub dest: &'a Path,
    pub config: &'a Path,
    /// A name of this program that makes it the drop-in.
    pub hopsync: &'a Path,
    /// Names of the files, in [`PARALLEL`] lists.
    pub lists: &'a [PathBuf],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(program: Program, direction: Direction) -> String {
        let job = Job {
            direction,
            source: Path::new("/s"),
            dest: Path::new("/d"),
            config: Path::new("/c"),
            hopsync: Path::new("/bin/hopsync"),
            lists: &["/l0".into(), "/l1".into()],
        };
        program.command(&job).into_iter().map(|part| part.into_string().expect("text")).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn the_drop_ins_take_the_same_arguments() {
        let tail = "-a|-e|ssh -F /c|/s/|user-container:/d/";
        assert_eq!(command(Program::Rsync, Direction::Push), format!("rsync|{tail}"));
        let tail = "-a|--no-share|-e|ssh -F /c|/s/|user-container:/d/";
        assert_eq!(command(Program::Hopsync, Direction::Push), format!("/bin/hopsync|{tail}"));
        let tail = "-a|--no-share|--verify=off|-e|ssh -F /c|user-container:/s/|/d/";
        assert_eq!(command(Program::HopsyncUnverified, Direction::Pull), format!("/bin/hopsync|{tail}"));
    }

    #[test]
    fn scripts_get_what_varies_as_arguments() {
        assert!(command(Program::Tar, Direction::Pull).ends_with("|sh|/c|/s|/d|user-container"));
        let parallel = command(Program::ParallelRsync, Direction::Push);
        assert!(parallel.ends_with("|sh|ssh -F /c|/s/|user-container:/d/|/l0|/l1"), "{parallel}");
    }

    #[test]
    fn programs_are_measured_only_where_that_says_something() {
        let suits = |program: Program, work: &str| program.suits(&work.parse().expect("a work"));
        assert!(suits(Program::Tar, "900x1M") && !suits(Program::Tar, "nothing"));
        assert!(suits(Program::ParallelRsync, "nothing") && !suits(Program::ParallelRsync, "2G"));
        assert!(suits(Program::Hopsync, "2G") && suits(Program::Rsync, "nothing"));
    }
}
