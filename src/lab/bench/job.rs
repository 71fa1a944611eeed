//! What one run is to do, and the command lines for it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cell::Direction;
use super::plan::Command;

/// Processes of the eight rsyncs.
pub(super) const PARALLEL: usize = 8;

/// What one run is to do. Paths have no spaces (`-e` splits on them).
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    pub direction: Direction,
    /// Where the files are, and where they go: one of them at the far end.
    pub source: &'a Path,
    pub dest: &'a Path,
    /// An existing directory at the far end for anything else.
    pub aside: &'a Path,
    /// ssh and its options.
    pub shell: &'a [String],
    /// The far end, as ssh is asked for it.
    pub target: &'a str,
    /// A name of this program that makes it the drop-in.
    pub hopsync: &'a Path,
    /// The files, below the source.
    pub names: &'a [PathBuf],
    pub at_once: Option<u64>,
    /// Options that the work asks for, in rsync's words.
    pub more: &'a [&'a str],
    /// A fresh directory here for what the programs need.
    pub scratch: &'a Path,
    /// Where hopsync's reports go.
    pub reports: &'a Path,
}

impl Job<'_> {
    pub(super) fn ssh(&self, more: &[&str]) -> Vec<String> {
        self.shell.iter().cloned().chain(more.iter().map(|&word| word.to_owned())).collect()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.scratch.join("mux")
    }

    pub(super) fn report(&self, number: usize) -> Option<PathBuf> {
        Some(self.reports.join(format!("{number}.jsonl")))
    }

    /// Source and destination operands for `below` both: a path below the source, and its directory below the destination.
    fn ends(&self, below: &str, into: &str) -> (String, String) {
        let (from, to) = (format!("{}/{below}", self.source.display()), format!("{}/{into}", self.dest.display()));
        match self.direction {
            Direction::Push => (from, format!("{}:{to}", self.target)),
            Direction::Pull => (format!("{}:{from}", self.target), to),
        }
    }

    pub(super) fn whole(&self, what: &Path) -> (String, String) {
        self.ends(&what.display().to_string(), "")
    }

    pub(super) fn one(&self, name: &Path) -> (String, String) {
        let into = name.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.ends(&name.display().to_string(), &into.map_or_else(String::new, |into| format!("{}/", into.display())))
    }

    pub(super) fn drop_in(&self, program: &Path, options: &[&str], ssh: &[String], report: Option<PathBuf>) -> Command {
        self.like_rsync(program, options, ssh, report, self.ends("", ""))
    }

    fn like_rsync(
        &self,
        program: &Path,
        options: &[&str],
        ssh: &[String],
        report: Option<PathBuf>,
        (from, to): (String, String),
    ) -> Command {
        let mut command: Command = vec![program.into()];
        command.extend(options.iter().chain(self.more).map(OsString::from));
        command.extend(report.map(|report| format!("--report={}", report.display()).into()));
        command.extend(["-e".into(), ssh.join(" ").into(), from.into(), to.into()]);
        command
    }

    /// One for each file.
    pub(super) fn each(&self, program: &Path, options: &[&str], ssh: &[String], reported: bool) -> Vec<Command> {
        let command = |(number, name): (usize, &PathBuf)| {
            let report = reported.then(|| self.report(number)).flatten();
            self.like_rsync(program, options, ssh, report, self.one(name))
        };
        self.names.iter().enumerate().map(command).collect()
    }

    pub(super) fn tar(&self, ssh: &[String]) -> Command {
        // ssh joins its words with spaces for the far end's shell; here nothing is parsed twice.
        let script = match self.direction {
            Direction::Push => r#"from=$1 to=$2; shift 2; tar -C "$from" -cf - . | "$@" "tar -C '$to' -xf -""#,
            Direction::Pull => r#"from=$1 to=$2; shift 2; "$@" "tar -C '$from' -cf - ." | tar -C "$to" -xf -"#,
        };
        let mut command: Command = ["sh", "-c", script, "sh"].map(OsString::from).into();
        command.extend([self.source.into(), self.dest.into()]);
        command.extend(ssh.iter().map(OsString::from));
        command.push(self.target.into());
        command
    }

    /// Never with -q: that silences its ssh, which then does not say why it failed.
    pub(super) fn scp(&self, options: &[&str], (from, to): (String, String)) -> Command {
        let mut command: Command = vec!["scp".into()];
        command.extend(self.shell.iter().skip(1).map(OsString::from));
        command.extend(options.iter().map(OsString::from));
        command.extend([from.into(), to.into()]);
        command
    }

    pub(super) fn sftp(&self) -> io::Result<Command> {
        let verb = match self.direction {
            Direction::Push => "put",
            Direction::Pull => "get",
        };
        let at = |end: &Path, name: &PathBuf| end.join(name).display().to_string();
        let lines = self.names.iter().map(|name| format!("{verb} {} {}\n", at(self.source, name), at(self.dest, name)));
        let batch = self.scratch.join("batch");
        fs::write(&batch, lines.collect::<String>())?;
        let mut command: Command = vec!["sftp".into()];
        command.extend(self.shell.iter().skip(1).map(OsString::from));
        command.extend(["-b".into(), batch.into(), self.target.into()]);
        Ok(command)
    }

    /// The names in lists for several processes, dealt like cards.
    pub(super) fn lists(&self) -> io::Result<Vec<PathBuf>> {
        let mut texts = vec![String::new(); PARALLEL.min(self.names.len())];
        for (i, name) in self.names.iter().enumerate() {
            texts[i % PARALLEL] += &format!("{}\n", name.display());
        }
        let write = |(i, text)| {
            let list = self.scratch.join(format!("list-{i}"));
            fs::write(&list, text)?;
            Ok(list)
        };
        texts.into_iter().enumerate().map(write).collect()
    }

    /// A small file, to be sent before the clock is started.
    pub(super) fn warmer(&self) -> io::Result<PathBuf> {
        let file = self.scratch.join("warmer");
        fs::write(&file, "warm\n")?;
        Ok(file)
    }
}
