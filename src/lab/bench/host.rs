//! Somebody's cluster as the far end: only what the account may do there, in a directory of the bench's own, and not before
//! the load was told and agreed to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::cell::{Cell, Direction};
use super::check::{Entry, Tree};
use super::schedule::{Group, Rounds, Served};
use super::site::{Jump, Site};
use super::work::Destination;
use crate::lab::print::note;
use crate::lab::run::{Output, run};
use crate::ledger::escape;

/// What one command at the far end may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How the directory there is called; what follows is its own.
const PREFIX: &str = "hopsync-bench.";

/// The far end. Dropping it removes its directory there.
pub struct Host {
    host: String,
    shell: Vec<String>,
    jump: Jump,
    far: PathBuf,
}

/// A host that was not yet spoken to.
#[derive(Debug, Clone)]
pub struct Address {
    host: String,
    shell: Vec<String>,
    /// Where the directory is made there: the home, if it is empty.
    base: String,
}

impl Address {
    /// `rsh` is an ssh with options that scp and sftp have too.
    ///
    /// # Errors
    /// A sentence.
    pub fn new(host: &str, rsh: &str, base: &str) -> Result<Address, String> {
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+@/~[]:%".contains(c));
        if host.is_empty() || host.starts_with('-') || host.contains(['/', ':']) || !plain(host) {
            return Err(format!("\"{host}\" is no HOST or USER@HOST"));
        }
        if base.starts_with('-') || base.contains(':') || !plain(base) {
            return Err(format!("--far-dir {base}: letters, digits and ._-+@/~ are taken"));
        }
        let shell: Vec<String> = rsh.split_whitespace().map(str::to_owned).collect();
        let [program, options @ ..] = &shell[..] else { return Err("-e: an ssh is needed".into()) };
        if Path::new(program).file_name().is_none_or(|name| name != "ssh") {
            return Err(format!("-e {rsh}: an ssh is needed"));
        }
        if !options.chunks(2).all(|pair| matches!(pair, [name, _] if ["-F", "-J", "-o", "-i"].contains(&name.as_str())))
        {
            return Err(format!(
                "-e {rsh}: only -F, -J, -o and -i, each with a word, mean the same to ssh, scp and sftp"
            ));
        }
        Ok(Address { host: host.to_owned(), shell, base: base.trim_end_matches('/').to_owned() })
    }

    /// What the programs will do there, for whoever is to agree.
    pub fn load(&self, groups: &[Group], rounds: Rounds) -> String {
        let rounds = (rounds.warmups + rounds.runs) as u64;
        let (mut runs, mut bytes, mut most, mut starts) = (0, 0, 1, 0);
        for group in groups {
            for cell in &group.cells {
                let (work, destination) = (&cell.workload, cell.workload.kind.destination());
                if destination != Destination::Empty || cell.direction == Direction::Pull {
                    bytes += work.bytes_there();
                }
                for (program, cell) in group.turns(cell) {
                    runs += rounds;
                    bytes += if destination == Destination::Alike { 0 } else { rounds * work.bytes_there() };
                    let connections = program.connections(work.files);
                    most = most.max(cell.at_once.unwrap_or(connections));
                    starts += rounds * connections;
                }
            }
        }
        let mut text = String::new();
        let place = if self.base.is_empty() { "your home directory".to_owned() } else { self.base.clone() };
        let _ = write!(
            text,
            "This is what {} will see: {runs} runs, one after the other; {starts} connections or sessions in all, up to {most} \
             at the same time, each with a process there, and each through the jump host if there is one; {} MB. Files are \
             written in a fresh directory {PREFIX}… in {place} there, and removed afterwards. Many starts at once may make \
             the servers drop other people's connections for that moment.",
            escape(self.host.as_bytes()),
            bytes / 1_000_000
        );
        text
    }

    /// Asks whether to go on, unless `yes`.
    ///
    /// # Errors
    /// A sentence, if not.
    pub fn agree(&self, load: &str, yes: bool) -> io::Result<()> {
        note(load);
        if yes {
            return Ok(());
        }
        let refused = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return refused("that load has to be agreed to, and there is no terminal to ask at: use --yes");
        }
        note("Go on? Type yes:");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() == "yes" { Ok(()) } else { refused("not agreed to: nothing was done") }
    }

    /// Makes the directory there.
    ///
    /// # Errors
    /// A sentence.
    pub fn open(self) -> io::Result<Host> {
        let mut host = Host { jump: self.jump(), host: self.host, shell: self.shell, far: PathBuf::new() };
        // The base stays unquoted for its ~; it has no character that a shell would take for anything else.
        let base = if self.base.is_empty() { String::new() } else { format!("cd {} && ", self.base) };
        let made = host.far_shell(&format!("{base}cd \"$(mktemp -d {PREFIX}XXXXXXXXXX)\" && pwd -P"))?;
        let text = made.out();
        let path = text.lines().last().unwrap_or_default();
        if !sound(path) {
            let said = escape(path.as_bytes());
            return Err(io::Error::other(format!("{}: no usable directory could be made there: {said}", host.host)));
        }
        host.far = path.into();
        Ok(host)
    }

    /// What `ssh -G` says of the way; nothing is connected to.
    fn jump(&self) -> Jump {
        let ask = |options: &[String], host: &str| -> BTreeMap<String, String> {
            let mut command = Command::new(&self.shell[0]);
            command.args(options).args(["-G", host]);
            let text = run(command, PATIENCE).map(|output| output.out()).unwrap_or_default();
            text.lines().filter_map(|line| line.split_once(' ')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
        };
        let target = ask(&self.shell[1..], &self.host);
        let Some(jumps) = target.get("proxyjump").filter(|jumps| *jumps != "none") else {
            let command = target.get("proxycommand").is_some_and(|command| command != "none");
            return Jump { is: command, speaks: false };
        };
        // Of -e's options ssh hands only the file on to its jump.
        let file: Vec<String> = match self.shell.iter().position(|word| word == "-F") {
            Some(at) => self.shell[at..].iter().take(2).cloned().collect(),
            None => Vec::new(),
        };
        let speaks = |jump: &str| {
            let host = jump.rsplit('@').next().unwrap_or(jump).split(':').next().unwrap_or(jump);
            ask(&file, host).get("loglevel").is_some_and(|level| level != "QUIET" && level != "FATAL")
        };
        Jump { is: true, speaks: jumps.split(',').all(speaks) }
    }
}

/// Tells what is in the working directory, a line for each name. `ls -l` is how POSIX tells a link's target.
const LOOK: &str = "find . -type d | sed 's/^/directory /' && find . -type f -exec sha256sum {} + && \
                    find . -type l -exec ls -ld {} + && find . ! -type d ! -type f ! -type l | sed 's/^/other /'";

/// A line of it. One that is not understood tells of a name too, which no source has.
fn entry(line: &str) -> (PathBuf, Entry) {
    let known = || {
        let (what, name) = line.split_once(" ./")?;
        if what == "directory" {
            return Some((name, Entry::Directory));
        }
        let hash = what.strip_suffix(' ').filter(|hash| hash.len() == 64);
        if let Some(hash) = hash.filter(|hash| hash.bytes().all(|digit| digit.is_ascii_hexdigit())) {
            return Some((name, Entry::File(hash.to_owned())));
        }
        let (name, target) = name.split_once(" -> ").filter(|_| what.starts_with('l'))?;
        Some((name, Entry::Link(target.into())))
    };
    known().map_or_else(|| (line.into(), Entry::Other), |(name, entry)| (name.into(), entry))
}

/// A directory that we made, and whose name means nothing else to any shell or program.
fn sound(path: &str) -> bool {
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "._-+@/".contains(c));
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    path.starts_with('/') && plain && name.is_some_and(|name| name.len() > PREFIX.len() && name.starts_with(PREFIX))
}

impl Host {
    /// Runs a script in the account's shell.
    fn far_shell(&self, script: &str) -> io::Result<Output> {
        let mut command = Command::new(&self.shell[0]);
        command.args(&self.shell[1..]).args(["-o", "BatchMode=yes", &self.host, script]);
        let output = run(command, PATIENCE)?;
        if output.code == 0 {
            return Ok(output);
        }
        let said = escape(output.err().trim_end().as_bytes());
        let sentence = "a login without questions and a shell with the usual tools are needed there";
        Err(io::Error::other(format!("{}: exit {}: {said} ({sentence})", self.host, output.code)))
    }
}

impl Site for Host {
    fn servers(&self) -> &'static str {
        "host"
    }

    fn banner(&self) -> io::Result<String> {
        Ok(self.host.clone())
    }

    fn prepare(&mut self, _: &Cell) -> io::Result<()> {
        Ok(())
    }

    fn shell(&self, _: &Cell) -> Vec<String> {
        self.shell.clone()
    }

    fn target(&self) -> &str {
        &self.host
    }

    fn jump(&self, _: &Cell) -> Jump {
        self.jump
    }

    fn far(&self) -> &Path {
        &self.far
    }

    fn is_here(&self) -> bool {
        false
    }

    fn served(&self) -> Option<Served> {
        None
    }

    fn make(&self, dirs: &[PathBuf]) -> io::Result<()> {
        // Far below what a command line may have.
        for some in dirs.chunks(500) {
            let names: Vec<_> = some.iter().map(|dir| dir.display().to_string()).collect();
            self.far_shell(&format!("mkdir -p -- {}", names.join(" ")))?;
        }
        Ok(())
    }

    fn remove(&self, dir: &Path) -> io::Result<()> {
        if dir.starts_with(&self.far) {
            self.far_shell(&format!("rm -rf -- {}", dir.display()))?;
        }
        Ok(())
    }

    fn upload(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.make(&[to.to_owned()])?;
        let script = r#"from=$1 to=$2; shift 2; tar -C "$from" -cf - . | "$@" "tar -C '$to' -xf -""#;
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .arg(from)
            .arg(to)
            .args(self.shell.iter().map(OsString::from))
            .arg(&self.host);
        let output = run(command, PATIENCE)?;
        if output.code == 0 {
            Ok(())
        } else {
            Err(io::Error::other(format!("{}: {}", self.host, output.err().trim_end())))
        }
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.far_shell(&format!("cp -a -- {} {}", from.display(), to.display())).map(drop)
    }

    fn tree(&self, dir: &Path) -> io::Result<Tree> {
        let output = self.far_shell(&format!("cd {} && {LOOK}", dir.display()))?;
        Ok(output.out().lines().filter(|line| *line != "directory .").map(entry).collect())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if sound(&self.far.display().to_string())
            && let Err(error) = self.far_shell(&format!("rm -rf -- {}", self.far.display()))
        {
            note(format_args!("{} at {} could not be removed: {error}", self.far.display(), self.host));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bench::programs::Program;

    #[test]
    fn what_a_shell_could_take_for_more_is_refused() {
        assert!(Address::new("me@cluster", "ssh -J head -o BatchMode=yes", "~/scratch").is_ok());
        for host in ["", "-oProxyCommand=x", "a b", "a;b", "host:dir", "$x"] {
            assert!(Address::new(host, "ssh", "").is_err(), "{host}");
        }
        for shell in ["", "rsh", "ssh -p 22", "ssh -F", "ssh -v -J"] {
            assert!(Address::new("a", shell, "").is_err(), "{shell}");
        }
        assert!(Address::new("a", "ssh", "/tmp; rm x").is_err() && Address::new("a", "ssh", "-x").is_err());
    }

    #[test]
    fn only_a_directory_of_our_own_is_ever_removed() {
        assert!(sound("/home/me/hopsync-bench.AbC123"));
        for path in [
            "",
            "/",
            "/home/me",
            "hopsync-bench.x",
            "/home/me/hopsync-bench.",
            "/a b/hopsync-bench.x",
            "/$x/hopsync-bench.y",
        ] {
            assert!(!sound(path), "{path}");
        }
    }

    #[test]
    fn every_line_of_a_look_is_a_name() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let file = entry(&format!("{hash}  ./000/a"));
        assert_eq!(file, ("000/a".into(), Entry::File(hash.to_owned())));
        assert_eq!(entry("directory ./a/b"), ("a/b".into(), Entry::Directory));
        let link = entry("lrwxrwxrwx 1 me us 7 Jul 14  2017 ./links/l -> ../x/y");
        assert_eq!(link, ("links/l".into(), Entry::Link("../x/y".into())));
        for odd in ["other ./pipe", &format!("\\{hash}  ./with\\nnewline"), "half a name", "directory"] {
            assert_eq!(entry(odd), (odd.into(), Entry::Other));
        }
    }

    #[test]
    fn the_load_is_told_in_numbers() {
        let cell = Cell::new("400x1M".parse().expect("a work"), Direction::Push, 0);
        let programs = vec![Program::Rsync, Program::RsyncEach];
        let group = Group { cells: vec![cell], programs, at_once: vec![50] };
        let load =
            Address::new("me@cluster", "ssh", "").expect("an address").load(&[group], Rounds { warmups: 0, runs: 2 });
        for told in ["me@cluster", "4 runs", "802 connections", "up to 50 ", "1677 MB", "your home directory"] {
            assert!(load.contains(told), "{told}: {load}");
        }
    }
}
