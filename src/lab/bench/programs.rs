//! What is measured side by side, and how each is started: all over the same ssh configuration.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cell::Cell;
use super::job::{Job, PARALLEL};
use super::plan::{Before, Command, Plan};
use super::work::{Destination, Kind, Workload};
use crate::share::own;

/// Seconds for which a connection that nobody uses any more stays, should nobody be left to end it.
const PERSIST: u32 = 30;
/// Bytes from which on, at a distance, several connections are worth their logins (docs/performance.md: 256 MiB are not yet).
const LONG: u64 = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// `hopsync -a`
    Hopsync,
    /// `hopsync -a --verify=off`: what verification costs
    HopsyncUnverified,
    /// `hopsync -a --connections=4`: for what one connection does not carry
    HopsyncFour,
    /// `hopsync -a` on a shared connection that stands already
    HopsyncWarm,
    /// `hopsync -avzq`, one for each file: they share one connection
    HopsyncEach,
    /// The same, on a connection that stands already
    HopsyncEachWarm,
    /// The same, each with a connection of its own (--no-share)
    HopsyncEachUnshared,
    /// `rsync -a`
    Rsync,
    /// The same over a ControlMaster that was started before
    RsyncMux,
    /// Eight `rsync -a` at once, each with an eighth of the files
    ParallelRsync,
    /// `rsync -avzq`, one for each file
    RsyncEach,
    /// The same, each over a ControlMaster that was started before
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
            Program::HopsyncFour => "hopsync -a --connections=4",
            Program::HopsyncWarm => "hopsync -a, warm",
            Program::HopsyncEach => "hopsync per file",
            Program::HopsyncEachWarm => "hopsync per file, warm",
            Program::HopsyncEachUnshared => "hopsync --no-share per file",
            Program::Rsync => "rsync -a",
            Program::RsyncMux => "rsync -a, ControlMaster warm",
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
        self.needs().is_none()
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
        use Program::*;
        matches!(self, HopsyncWarm | HopsyncEachWarm | RsyncMux | RsyncEachMux)
    }

    /// It uses the shared connection, or starts it.
    fn shares(self) -> bool {
        matches!(self, Program::HopsyncWarm | Program::HopsyncEach | Program::HopsyncEachWarm)
    }

    /// Connections, or sessions on one, that it makes for so many files.
    pub fn connections(self, files: u64) -> u64 {
        match self {
            Program::HopsyncFour => 4,
            Program::ParallelRsync => files.min(PARALLEL as u64),
            program if program.is_each() => files,
            _ => 1,
        }
    }

    /// Whether what the ssh of the jump writes can be read: with ControlPersist ssh sends it to /dev/null.
    pub fn jump_speaks(self) -> bool {
        self != Program::RsyncEachMuxCold
    }

    /// What must be installed for it, besides ssh.
    pub fn needs(self) -> Option<&'static str> {
        use Program::*;
        match self {
            Hopsync | HopsyncUnverified | HopsyncFour | HopsyncWarm => None,
            HopsyncEach | HopsyncEachWarm | HopsyncEachUnshared => None,
            Rsync | RsyncMux | ParallelRsync | RsyncEach | RsyncEachMux | RsyncEachMuxCold => Some("rsync"),
            Tar => Some("tar"),
            Scp | ScpEach => Some("scp"),
            Sftp => Some("sftp"),
        }
    }

    /// What is measured on a cell of the table unless something else is asked for: the lengthened work where several connections
    /// pay, and a standing one where a login is most of the time.
    pub fn of_table(cell: &Cell) -> Vec<Program> {
        use Program::*;
        let (work, far) = (&cell.workload, cell.rtt_ms > 0);
        let mut programs = vec![Hopsync];
        let more = [
            (HopsyncUnverified, work.kind.sends_files()),
            (HopsyncFour, far && work.kind.sends_files() && work.bytes() > LONG),
            (HopsyncWarm, far),
            (Rsync, true),
            (RsyncMux, far && HopsyncWarm.suits(work)),
            (Tar, true),
            (ParallelRsync, true),
        ];
        programs
            .extend(more.iter().filter(|(program, tells)| *tells && program.suits(work)).map(|(program, _)| *program));
        programs
    }

    /// Whether measuring it on this work says anything: some programs do not know what is there already, scp and sftp copy what
    /// links name, one file is for one process, a process that has a part of the files cannot tell which others have to go,
    /// and large work makes a connection of its own whatever stands.
    pub fn suits(self, workload: &Workload) -> bool {
        let kind = workload.kind;
        let empty = kind.destination() == Destination::Empty;
        match self {
            Program::Tar => empty,
            Program::Scp | Program::ScpEach | Program::Sftp if kind == Kind::Links => false,
            Program::Scp | Program::Sftp => empty,
            Program::ParallelRsync => workload.files > 1 && kind != Kind::Delete,
            Program::HopsyncWarm => workload.bytes() < own::LARGE_PUSH && workload.names() < own::TREE as u64,
            program if program.is_each() => workload.files > 1 && empty,
            _ => true,
        }
    }

    /// What is to be started for `job`. Writes the lists that the programs read into `job.scratch`.
    pub fn plan(self, job: &Job) -> io::Result<Plan> {
        let plain = job.ssh(&[]);
        let ours = |options: &[&str]| vec![job.drop_in(job.hopsync, options, &plain, job.report(0))];
        let rsync = Path::new("rsync");
        let socket = format!("ControlPath={}", job.socket().display());
        let commands = match self {
            Program::Hopsync => ours(&["-a", "--no-share"]),
            Program::HopsyncUnverified => ours(&["-a", "--no-share", "--verify=off"]),
            Program::HopsyncFour => ours(&["-a", "--no-share", "--connections=4"]),
            Program::HopsyncWarm => ours(&["-a"]),
            Program::HopsyncEach | Program::HopsyncEachWarm => job.each(job.hopsync, &["-avzq"], &plain, true),
            Program::HopsyncEachUnshared => job.each(job.hopsync, &["-avzq", "--no-share"], &plain, true),
            Program::Rsync => vec![job.drop_in(rsync, &["-a"], &plain, None)],
            Program::RsyncMux => vec![job.drop_in(rsync, &["-a"], &job.ssh(&["-o", &socket]), None)],
            Program::ParallelRsync => {
                let lists = job.lists()?;
                let with = |list: PathBuf| ["-a".to_owned(), format!("--files-from={}", list.display())];
                let command = |options: [String; 2]| job.drop_in(rsync, &[&options[0], &options[1]], &plain, None);
                lists.into_iter().map(with).map(command).collect()
            }
            Program::RsyncEach => job.each(rsync, &["-avzq"], &plain, false),
            Program::RsyncEachMux | Program::RsyncEachMuxCold => {
                let persist = format!("ControlPersist={PERSIST}");
                let auto = ["-o", &socket, "-o", "ControlMaster=auto", "-o", &persist];
                let ssh = job.ssh(if self.is_warm() { &auto[..2] } else { &auto });
                job.each(rsync, &["-avzq"], &ssh, false)
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
            Program::RsyncMux | Program::RsyncEachMux => {
                let ready = master(&[], &["-O", "check"]);
                plan.before.push(Before::Hold { command: master(&["-M"], &["-N"]), ready });
            }
            Program::RsyncEachMuxCold => plan.after.push(master(&[], &["-O", "exit"])),
            Program::HopsyncWarm | Program::HopsyncEachWarm => {
                let mut warm = shared(&["-aq"]);
                warm.push(job.warmer()?.into());
                warm.push(format!("{}:{}", job.target, job.aside.join("warm").display()).into());
                plan.before.push(Before::Run(warm));
            }
            _ => {}
        }
        if self.shares() {
            plan.after.push(shared(&["--share-stop", job.target]));
            // The holder of this run, and of no other: cold unless it was warmed.
            plan.environment.push(("XDG_RUNTIME_DIR".to_owned(), job.scratch.into()));
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use clap::ValueEnum;

    use super::*;
    use crate::lab::bench::cell::Direction;

    fn job(program: Program, direction: Direction, scratch: &Path) -> Job<'_> {
        Job {
            direction,
            source: Path::new("/s"),
            dest: Path::new("/d"),
            aside: Path::new("/a"),
            shell: shell(),
            target: "far",
            hopsync: Path::new("/bin/hopsync"),
            names: names(),
            at_once: program.is_each().then_some(2),
            more: &[],
            scratch,
            reports: Path::new("/r"),
        }
    }

    fn shell() -> &'static [String] {
        static SHELL: LazyLock<[String; 3]> = LazyLock::new(|| ["ssh", "-F", "/c"].map(str::to_owned));
        &*SHELL
    }

    fn names() -> &'static [PathBuf] {
        static NAMES: LazyLock<[PathBuf; 2]> = LazyLock::new(|| ["000/a", "000/b"].map(PathBuf::from));
        &*NAMES
    }

    fn plan(program: Program, direction: Direction) -> Vec<String> {
        let scratch = tempfile::tempdir().expect("a directory");
        let plan = program.plan(&job(program, direction, scratch.path())).expect("a plan");
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
        let four = "/bin/hopsync|-a|--no-share|--connections=4|--report=/r/0.jsonl|-e|ssh -F /c|far:/s/|/d/";
        assert_eq!(plan(Program::HopsyncFour, Direction::Pull), [four]);
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
        // One process for all files has the same connection before it, and after it the same end of it.
        let whole = plan(Program::HopsyncWarm, Direction::Push);
        assert_eq!((&whole[0], whole.last()), (&ours[0], ours.last()));
        assert_eq!(whole[1], "/bin/hopsync|-a|--report=/r/0.jsonl|-e|ssh -F /c|/s/|far:/d/");
        let mux = plan(Program::RsyncMux, Direction::Push);
        assert_eq!(mux[..1], warm[..1]);
        assert_eq!(mux[1..], ["rsync|-a|-e|ssh -F /c -o ControlPath=/t/mux|/s/|far:/d/"]);
    }

    #[test]
    fn whatever_shares_has_a_place_of_its_own_for_the_connection_and_ends_it() {
        for program in Program::value_variants() {
            let scratch = tempfile::tempdir().expect("a directory");
            let plan = program.plan(&job(*program, Direction::Push, scratch.path())).expect("a plan");
            let is_told = |command: &Command| command.iter().any(|word| word == "--no-share");
            let shares = program.is_ours() && !plan.commands.iter().all(is_told);
            let place = plan.environment.iter().any(|(name, at)| name == "XDG_RUNTIME_DIR" && at == scratch.path());
            let ended = plan.after.iter().flatten().any(|word| word == "--share-stop");
            assert_eq!((place, ended), (shares, shares), "{program:?}");
            assert_eq!(program.is_warm(), !plan.before.is_empty(), "{program:?}");
        }
    }

    #[test]
    fn the_table_has_several_connections_and_a_standing_one_where_they_tell() {
        let of = |work: &str, rtt_ms| {
            let cell = Cell::new(work.parse().expect("a work"), Direction::Push, rtt_ms);
            let programs = Program::of_table(&cell);
            assert!(programs.contains(&Program::Hopsync) && programs.contains(&Program::Rsync), "{work}");
            [Program::HopsyncUnverified, Program::HopsyncFour, Program::HopsyncWarm, Program::Tar]
                .map(|program| programs.contains(&program))
        };
        assert_eq!(of("900x1M", 0), [true, false, false, true]);
        assert_eq!([of("900x1M", 50), of("500M", 50)], [[true, true, false, true]; 2]);
        assert_eq!(of("2000x4K", 50), [true, false, true, true]);
        assert_eq!([of("nothing", 0), of("nothing", 50)], [[false; 4]; 2]);
        assert_eq!(of("tree", 50), [true, false, false, true]);
        assert_eq!([of("unchanged-tree", 50), of("delete", 50)], [[false; 4], [false, false, true, false]]);
        assert_eq!([of("links", 50), of("parts", 50)], [[false, false, false, true], [true, true, false, false]]);
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
        for program in Program::value_variants() {
            // All of these move trees; not all know what has to go, or what is there, or what a link is.
            assert!(suits(*program, "chain"), "{program:?}");
            let whole_tree = program.is_ours() || program.needs() == Some("rsync");
            let knows = whole_tree && !program.is_each() && *program != Program::ParallelRsync;
            assert_eq!(suits(*program, "delete"), knows, "{program:?}");
            // So few that a shared connection carries them too.
            let links = "links".parse::<Workload>().expect("a work").scaled(0.1);
            assert_eq!(program.suits(&links), !matches!(program.needs(), Some("scp" | "sftp")), "{program:?}");
        }
    }

    #[test]
    fn what_has_to_go_is_told_to_hopsync_and_rsync_alike() {
        let scratch = tempfile::tempdir().expect("a directory");
        let deleting = |program: Program| {
            let job = Job { more: Kind::Delete.options(), ..job(program, Direction::Push, scratch.path()) };
            program.plan(&job).expect("a plan").commands.remove(0)
        };
        assert_eq!(deleting(Program::Rsync), ["rsync", "-a", "--delete", "-e", "ssh -F /c", "/s/", "far:/d/"]);
        assert_eq!(deleting(Program::Hopsync)[1..4], ["-a", "--no-share", "--delete"]);
    }
}
