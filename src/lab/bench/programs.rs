//! What is measured side by side, and how each is started: all over the same ssh configuration.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cell::Workload;
use super::job::Job;
use super::plan::{Before, Command, Plan};

/// Seconds for which a connection that nobody uses any more stays, should nobody be left to end it.
const PERSIST: u32 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// `hopsync -a`
    Hopsync,
    /// `hopsync -a --verify=off`: what verification costs
    HopsyncUnverified,
    /// `hopsync -avzq`, one for each file: they share one connection
    HopsyncEach,
    /// The same, on a connection that stands already
    HopsyncEachWarm,
    /// The same, each with a connection of its own (--no-share)
    HopsyncEachUnshared,
    /// `rsync -a`
    Rsync,
    /// Eight `rsync -a` at once, each with an eighth of the files
    ParallelRsync,
    /// `rsync -avzq`, one for each file
    RsyncEach,
    /// The same over a ControlMaster that was started before
    RsyncEachMux,
    /// The same with `ControlMaster auto` and none started before: the first to come is it
    RsyncEachMuxCold,
    /// `tar | ssh tar`
    Tar,
    /// `scp -r`
    Scp,
    /// scp, one for each file
    ScpEach,
    /// sftp with a batch of all files
    Sftp,
}

impl Program {
    /// As the table names it.
    pub fn title(self) -> &'static str {
        match self {
            Program::Hopsync => "hopsync -a",
            Program::HopsyncUnverified => "hopsync -a --verify=off",
            Program::HopsyncEach => "hopsync per file",
            Program::HopsyncEachWarm => "hopsync per file, warm",
            Program::HopsyncEachUnshared => "hopsync --no-share per file",
            Program::Rsync => "rsync -a",
            Program::ParallelRsync => "8 × rsync -a",
            Program::RsyncEach => "rsync per file",
            Program::RsyncEachMux => "rsync per file, ControlMaster warm",
            Program::RsyncEachMuxCold => "rsync per file, ControlMaster auto",
            Program::Tar => "tar | ssh",
            Program::Scp => "scp -r",
            Program::ScpEach => "scp per file",
            Program::Sftp => "sftp -b",
        }
    }

    pub fn is_ours(self) -> bool {
        use Program::*;
        matches!(self, Hopsync | HopsyncUnverified | HopsyncEach | HopsyncEachWarm | HopsyncEachUnshared)
    }

    /// One process for each file.
    pub fn is_each(self) -> bool {
        use Program::*;
        matches!(
            self,
            HopsyncEach | HopsyncEachWarm | HopsyncEachUnshared | RsyncEach | RsyncEachMux | RsyncEachMuxCold | ScpEach
        )
    }

    /// A connection stands before the clock is started.
    pub fn is_warm(self) -> bool {
        matches!(self, Program::HopsyncEachWarm | Program::RsyncEachMux)
    }

    /// Whether what the ssh of the jump writes can be read: with ControlPersist ssh sends it to /dev/null.
    pub fn jump_speaks(self) -> bool {
        self != Program::RsyncEachMuxCold
    }

    /// What must be installed for it, besides ssh.
    pub fn needs(self) -> Option<&'static str> {
        use Program::*;
        match self {
            Hopsync | HopsyncUnverified | HopsyncEach | HopsyncEachWarm | HopsyncEachUnshared => None,
            Rsync | ParallelRsync | RsyncEach | RsyncEachMux | RsyncEachMuxCold => Some("rsync"),
            Tar => Some("tar"),
            Scp | ScpEach => Some("scp"),
            Sftp => Some("sftp"),
        }
    }

    /// Whether measuring it on this work says anything: some programs do not know what is there already, and one file is for
    /// one process.
    pub fn suits(self, workload: &Workload) -> bool {
        match self {
            Program::Tar | Program::Scp | Program::Sftp => !workload.unchanged,
            Program::ParallelRsync => workload.files > 1,
            program if program.is_each() => workload.files > 1 && !workload.unchanged,
            _ => true,
        }
    }

    /// What is to be started for `job`. Writes the lists that the programs read into `job.scratch`.
    pub fn plan(self, job: &Job) -> io::Result<Plan> {
        let plain = job.ssh(&[]);
        let commands = match self {
            Program::Hopsync => vec![job.drop_in(job.hopsync, &["-a", "--no-share"], &plain, job.report(0))],
            Program::HopsyncUnverified => {
                let options = ["-a", "--no-share", "--verify=off"];
                vec![job.drop_in(job.hopsync, &options, &plain, job.report(0))]
            }
            Program::HopsyncEach | Program::HopsyncEachWarm => job.each(job.hopsync, &["-avzq"], &plain, true),
            Program::HopsyncEachUnshared => job.each(job.hopsync, &["-avzq", "--no-share"], &plain, true),
            Program::Rsync => vec![job.drop_in(Path::new("rsync"), &["-a"], &plain, None)],
            Program::ParallelRsync => {
                let lists = job.lists()?;
                let with = |list: PathBuf| ["-a".to_owned(), format!("--files-from={}", list.display())];
                let command =
                    |options: [String; 2]| job.drop_in(Path::new("rsync"), &[&options[0], &options[1]], &plain, None);
                lists.into_iter().map(with).map(command).collect()
            }
            Program::RsyncEach => job.each(Path::new("rsync"), &["-avzq"], &plain, false),
            Program::RsyncEachMux | Program::RsyncEachMuxCold => {
                let socket = format!("ControlPath={}", job.socket().display());
                let persist = format!("ControlPersist={PERSIST}");
                let auto = ["-o", &socket, "-o", "ControlMaster=auto", "-o", &persist];
                let ssh = job.ssh(if self.is_warm() { &auto[..2] } else { &auto });
                job.each(Path::new("rsync"), &["-avzq"], &ssh, false)
            }
            Program::Tar => vec![job.tar(&plain)],
            Program::Scp => vec![job.scp(&["-r"], job.whole(Path::new(".")))],
            Program::ScpEach => job.names.iter().map(|name| job.scp(&["-p"], job.one(name))).collect(),
            Program::Sftp => vec![job.sftp()?],
        };
        let mut plan = Plan::new(commands, &job.scratch.join("outputs"));
        plan.at_once = usize::try_from(job.at_once.unwrap_or(plan.commands.len() as u64)).unwrap_or(usize::MAX);
        let master = |before: &[&str], after: &[&str]| {
            let mut command: Command = plain.iter().map(OsString::from).collect();
            command.extend(before.iter().map(OsString::from));
            command.push("-S".into());
            command.push(job.socket().into());
            command.extend(after.iter().map(OsString::from));
            command.push(job.target.into());
            command
        };
        let shared = |options: &[&str]| {
            let mut command: Command = vec![job.hopsync.into(), "-e".into(), plain.join(" ").into()];
            command.extend(options.iter().map(OsString::from));
            command
        };
        match self {
            Program::RsyncEachMux => {
                let ready = master(&[], &["-O", "check"]);
                plan.before.push(Before::Hold { command: master(&["-M"], &["-N"]), ready });
            }
            Program::RsyncEachMuxCold => plan.after.push(master(&[], &["-O", "exit"])),
            Program::HopsyncEachWarm => {
                let mut warm = shared(&["-aq"]);
                warm.push(job.warmer()?.into());
                warm.push(format!("{}:{}", job.target, job.aside.join("warm").display()).into());
                plan.before.push(Before::Run(warm));
            }
            _ => {}
        }
        if matches!(self, Program::HopsyncEach | Program::HopsyncEachWarm) {
            plan.after.push(shared(&["--share-stop", job.target]));
            // The holder of this run, and of no other: cold unless it was warmed.
            plan.environment.push(("XDG_RUNTIME_DIR".to_owned(), job.scratch.into()));
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bench::cell::Direction;

    fn plan(program: Program, direction: Direction) -> Vec<String> {
        let scratch = tempfile::tempdir().expect("a directory");
        let job = Job {
            direction,
            source: Path::new("/s"),
            dest: Path::new("/d"),
            aside: Path::new("/a"),
            shell: &["ssh", "-F", "/c"].map(str::to_owned),
            target: "far",
            hopsync: Path::new("/bin/hopsync"),
            names: &["000/a".into(), "000/b".into()],
            at_once: program.is_each().then_some(2),
            scratch: scratch.path(),
            reports: Path::new("/r"),
        };
        let plan = program.plan(&job).expect("a plan");
        let text = |command: &Command| {
            let words: Vec<_> = command.iter().map(|word| word.to_str().expect("text")).collect();
            words.join("|").replace(scratch.path().to_str().expect("text"), "/t")
        };
        let before = plan.before.iter().map(|before| match before {
            Before::Run(command) => format!("run {}", text(command)),
            Before::Hold { command, ready } => format!("hold {} until {}", text(command), text(ready)),
        });
        before
            .chain(plan.commands.iter().map(text))
            .chain(plan.after.iter().map(|c| format!("after {}", text(c))))
            .collect()
    }

    #[test]
    fn the_drop_ins_take_the_same_arguments() {
        assert_eq!(plan(Program::Rsync, Direction::Push), ["rsync|-a|-e|ssh -F /c|/s/|far:/d/"]);
        let ours = "/bin/hopsync|-a|--no-share|--report=/r/0.jsonl|-e|ssh -F /c|/s/|far:/d/";
        assert_eq!(plan(Program::Hopsync, Direction::Push), [ours]);
        let each = ["a", "b"].map(|name| format!("rsync|-avzq|-e|ssh -F /c|far:/s/000/{name}|/d/000/"));
        assert_eq!(plan(Program::RsyncEach, Direction::Pull), each);
        let ours = plan(Program::HopsyncEach, Direction::Push);
        assert_eq!(ours[1], "/bin/hopsync|-avzq|--report=/r/1.jsonl|-e|ssh -F /c|/s/000/b|far:/d/000/");
        assert_eq!(ours[2], "after /bin/hopsync|-e|ssh -F /c|--share-stop|far");
    }

    #[test]
    fn a_warmed_connection_stands_before_the_clock_starts_and_a_cold_one_does_not() {
        let warm = plan(Program::RsyncEachMux, Direction::Push);
        assert_eq!(warm[0], "hold ssh|-F|/c|-M|-S|/t/mux|-N|far until ssh|-F|/c|-S|/t/mux|-O|check|far");
        assert_eq!(warm[1], "rsync|-avzq|-e|ssh -F /c -o ControlPath=/t/mux|/s/000/a|far:/d/000/");
        let cold = plan(Program::RsyncEachMuxCold, Direction::Push);
        assert!(cold[0].contains("ControlMaster=auto"), "{cold:?}");
        assert_eq!(cold[2], "after ssh|-F|/c|-S|/t/mux|-O|exit|far");
        let ours = plan(Program::HopsyncEachWarm, Direction::Pull);
        assert_eq!(ours[0], "run /bin/hopsync|-e|ssh -F /c|-aq|/t/warmer|far:/a/warm");
    }

    #[test]
    fn the_others_get_ssh_s_options_too() {
        assert_eq!(plan(Program::Scp, Direction::Push), ["scp|-F|/c|-r|/s/.|far:/d/"]);
        assert_eq!(plan(Program::Sftp, Direction::Pull), ["sftp|-F|/c|-b|/t/batch|far"]);
        assert!(plan(Program::Tar, Direction::Pull)[0].ends_with("|sh|/s|/d|ssh|-F|/c|far"));
        assert_eq!(plan(Program::ParallelRsync, Direction::Push).len(), 2, "no more processes than files");
    }

    #[test]
    fn programs_are_measured_only_where_that_says_something() {
        let suits = |program: Program, work: &str| program.suits(&work.parse().expect("a work"));
        assert!(suits(Program::Tar, "900x1M") && !suits(Program::Tar, "nothing"));
        assert!(suits(Program::ParallelRsync, "nothing") && !suits(Program::ParallelRsync, "2G"));
        assert!(suits(Program::Hopsync, "2G") && suits(Program::Rsync, "nothing"));
        assert!(suits(Program::RsyncEach, "2x1") && !suits(Program::RsyncEach, "nothing"));
    }
}
