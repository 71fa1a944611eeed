//! One case: two copies of its input, rsync at the one, `hopsync` at the other, and what differs afterwards.

use std::cmp::Ordering;
use std::error::Error;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use hopsync::lab::run::{Output, run};

use crate::scene::{OTHER, Scene};
use crate::snapshot;

type Tried<T> = Result<T, Box<dyn Error>>;

/// The longest that one run may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where the two ends are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Local,
    Push,
    Pull,
}

impl Ends {
    pub fn name(self) -> &'static str {
        match self {
            Ends::Local => "local",
            Ends::Push => "push",
            Ends::Pull => "pull",
        }
    }
}

/// Options and operands for a scene, and the ends. Words with a dash are options; the last operand is the destination,
/// unless there is only one; a `%` is a blank within a word (in a format a `_` is), `<name` is what standard input is read
/// from, and what follows ` # ` is a remark.
#[derive(Debug, Clone)]
pub struct Case {
    pub scene: Scene,
    pub ends: Ends,
    pub text: String,
}

impl Case {
    pub fn name(&self) -> String {
        format!("{}: {}", self.ends.name(), self.text)
    }

    /// The arguments for one of the programs; `shell` is the remote shell.
    fn arguments(&self, shell: &str) -> Vec<String> {
        let words = self.text.split(" # ").next().unwrap_or_default();
        let (options, mut operands): (Vec<&str>, Vec<&str>) = words
            .split(' ')
            .filter(|word| !word.is_empty() && !word.starts_with('<'))
            .partition(|word| word.starts_with('-'));
        let dest = if operands.len() > 1 { operands.pop() } else { None };
        let far = |path: &str, yes: bool| if yes { format!("far:{path}") } else { path.to_owned() };
        let mut all: Vec<String> = options.into_iter().map(str::to_owned).collect();
        if self.ends != Ends::Local {
            all.extend(["-e".to_owned(), shell.to_owned()]);
        }
        all.extend(operands.into_iter().map(|path| far(path, self.ends == Ends::Pull)));
        all.extend(dest.map(|path| far(path, self.ends == Ends::Push)));
        let is_format = |word: &str| word.split_once('=').is_some_and(|(option, _)| option.ends_with("-format"));
        all.into_iter().map(|word| word.replace(if is_format(&word) { '_' } else { '%' }, " ")).collect()
    }

    /// The file that standard input is.
    fn input(&self) -> Option<&str> {
        self.text.split(' ').find_map(|word| word.strip_prefix('<'))
    }

    /// Whether the lines come in rsync's order: deletions are our last, and hashes come when they come.
    fn is_ordered(&self) -> bool {
        let loose = |word: &str| {
            word.starts_with("--del")
                || word == "--force"
                || word == "--remove-source-files"
                || word.contains("vv")
                || word.contains("backup1")
                || word.split_once("-format=").is_some_and(|(_, format)| format.contains('C'))
                || word.contains("name2")
                || word == "--checksum"
                || !word.starts_with("--") && word.starts_with('-') && word.contains('c')
                // Whose line it is cannot be told then.
                || self.ends == Ends::Pull && word.contains("-format=")
        };
        !self.text.split(' ').any(loose)
    }

    /// The lines whose order among themselves is certain. On a pull two of rsync's processes print, each in its own time: one
    /// tells what is received, the other all else.
    fn in_order(&self, lines: Vec<String>) -> Vec<Vec<String>> {
        // Not in which order messages come between the items.
        let message = |line: &str| {
            ["skipping ", "cannot ", "ignoring unsafe ", "copying unsafe "].iter().any(|start| line.starts_with(start))
        };
        let lines = lines.into_iter().filter(|line| !message(line));
        if self.ends != Ends::Pull {
            return vec![lines.collect()];
        }
        let columns =
            |line: &str| matches!(line.as_bytes(), [b'>' | b'c' | b'h' | b'.', b'f' | b'd' | b'L' | b'D' | b'S', ..]);
        let itemized =
            self.text.split(' ').any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains('i'));
        let told = |line: &str| {
            ["receiving ", "created ", "deleting ", "total ", "Number of ", "Total ", "IO error "]
                .iter()
                .any(|start| line.starts_with(start))
        };
        let received = |line: &String| match itemized && columns(line) {
            true => line.starts_with(">f"),
            false => !itemized && !line.ends_with('/') && !line.contains(" -> ") && !told(line),
        };
        let (received, rest) = lines.partition(received);
        vec![received, rest]
    }
}

/// Something that differs.
#[derive(Debug, Clone)]
pub struct Difference {
    pub ends: &'static str,
    /// `exit`, `tree`, `printed`, `order` or `run`.
    pub aspect: &'static str,
    pub case: String,
    pub what: String,
    /// What helps to understand it, and is not compared with what is known.
    pub beside: String,
}

impl Difference {
    pub fn new(case: &Case, aspect: &'static str, what: String) -> Difference {
        Difference { ends: case.ends.name(), aspect, case: case.text.clone(), what, beside: String::new() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.replace('\n', "\n    ");
        write!(f, "{} | {} | {}\n    {what}", self.ends, self.aspect, self.case)?;
        if self.beside.is_empty() { Ok(()) } else { write!(f, "\n        {}", self.beside.replace('\n', "\n        ")) }
    }
}

/// Where cases run.
pub struct Bench {
    dir: tempfile::TempDir,
    shell: PathBuf,
    /// The program, where anybody may run it.
    hopsync: OnceLock<PathBuf>,
}

impl Bench {
    pub fn new() -> Tried<Bench> {
        let dir = tempfile::tempdir()?;
        let shell = dir.path().join("shell");
        // As ssh does it: the words after the host, joined by blanks, are a command for a shell.
        fs::write(&shell, "#!/bin/sh\nwhile [ \"$1\" = -l ]; do shift 2; done\nshift\nexec sh -c \"$*\"\n")?;
        for path in [&shell, dir.path()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Bench { dir, shell, hopsync: OnceLock::new() })
    }

    /// Where it was built, others may have no way to.
    fn hopsync(&self) -> Tried<&Path> {
        if let Some(path) = self.hopsync.get() {
            return Ok(path);
        }
        let (built, path) = (env!("CARGO_BIN_EXE_hopsync"), self.dir.path().join("hopsync"));
        // Several cases may come to it at once.
        let own = self.dir.path().join(format!("hopsync {:?}", std::thread::current().id()));
        fs::hard_link(built, &own).or_else(|_| fs::copy(built, &own).map(|_| ()))?;
        fs::rename(&own, &path)?;
        Ok(self.hopsync.get_or_init(|| path))
    }

    pub fn run(&self, number: usize, case: &Case) -> Tried<Vec<Difference>> {
        let at = self.dir.path().join(number.to_string());
        let (theirs, ours) = (at.join("theirs"), at.join("ours"));
        case.scene.make(&theirs)?;
        case.scene.make(&ours)?;
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() as i64 - 1;
        let arguments = case.arguments(&self.shell.display().to_string());
        let other = case.scene.is_for_others() && rustix::process::geteuid().is_root();
        let hopsync = if other { self.hopsync()? } else { Path::new(env!("CARGO_BIN_EXE_hopsync")) };
        let wanted = program(Path::new("rsync"), &arguments, case.input(), &theirs, other)?;
        let got = program(hopsync, &arguments, case.input(), &ours, other)?;
        let mut found = Vec::new();
        let mut differs = |aspect, what| found.push(Difference::new(case, aspect, what));
        let mut beside = String::new();
        if wanted.code != got.code {
            let said = format!("exit {}, not {}\n{}\n{}", got.code, wanted.code, got.err(), wanted.err());
            differs("exit", said);
        }
        let local = case.ends == Ends::Local;
        let trees = snapshot::differences(&snapshot::of(&theirs)?, &snapshot::of(&ours)?, began, local);
        if !trees.is_empty() {
            differs("tree", trees.join("\n"));
        }
        // What names the copy itself, as %f does, is told alike.
        let alike = |text: String, at: &Path| text.replace(&at.display().to_string()[1..], "");
        let (expected, said) = (alike(wanted.out(), &theirs), alike(got.out(), &ours));
        let (mut expected, mut said) = (printed(&expected, local), printed(&said, local));
        if expected != said {
            let lists = |said: &[String], expected: &[String]| {
                format!("  {}\nnot\n  {}", said.join("\n  "), expected.join("\n  "))
            };
            let (a, b) = (said.clone(), expected.clone());
            expected.sort();
            said.sort();
            if expected != said {
                differs("printed", lines_apart(&said, &expected).join("\n"));
                beside = format!("{}\n{}", lists(&a, &b), got.err());
            } else if case.is_ordered() {
                for (a, b) in case.in_order(a).iter().zip(&case.in_order(b)).filter(|(a, b)| a != b) {
                    differs("order", lists(a, b));
                }
            }
        }
        if let Some(printed) = found.iter_mut().find(|difference| difference.aspect == "printed") {
            printed.beside = beside;
        }
        if case.scene.is_for_others() && !other {
            open_up(&at)?;
        }
        fs::remove_dir_all(&at)?;
        Ok(found)
    }
}

/// Of two sorted lists, what only the first has, with `+ `, and what only the other has, with `- `.
fn lines_apart(said: &[String], expected: &[String]) -> Vec<String> {
    let (mut said, mut expected) = (said.iter().peekable(), expected.iter().peekable());
    let mut apart = Vec::new();
    loop {
        let order = match (said.peek(), expected.peek()) {
            (None, None) => return apart,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(ours), Some(theirs)) => ours.cmp(theirs),
        };
        let ours = if order.is_le() { said.next() } else { None };
        let theirs = if order.is_ge() { expected.next() } else { None };
        match (ours, theirs) {
            (Some(line), None) => apart.push(format!("+ {line}")),
            (None, Some(line)) => apart.push(format!("- {line}")),
            _ => {}
        }
    }
}

/// Lets the owner remove what is locked.
fn open_up(at: &Path) -> Tried<()> {
    fs::set_permissions(at, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(at)? {
        let path = entry?.path();
        if fs::symlink_metadata(&path)?.is_dir() {
            open_up(&path)?;
        }
    }
    Ok(())
}

fn program(name: &Path, arguments: &[String], input: Option<&str>, at: &Path, other: bool) -> Tried<Output> {
    let mut command = Command::new(name);
    if let Some(input) = input {
        // The program that runs others gives none of them an input.
        command = Command::new("sh");
        command.args(["-c", "exec \"$@\" < \"$0\"", input]).arg(name);
    }
    if other {
        command.uid(OTHER).gid(OTHER);
    }
    command.args(arguments).current_dir(at).env("LC_ALL", "C").env("TZ", "UTC0").env("HOPSYNC_SHARE", "0");
    command.env_remove("RSYNC_RSH");
    let ran = run(command, DEADLINE)?;
    if ran.err().contains("panicked") || ran.err().contains("internal error") {
        return Err(ran.err().into());
    }
    Ok(ran)
}

/// What was printed, without what concerns the wire or the clock.
fn printed(text: &str, local: bool) -> Vec<String> {
    const WIRE: [&str; 6] =
        ["sent ", "File list ", "Total bytes ", "Literal data", "Matched data", "opening connection "];
    let wire =
        |line: &&str| WIRE.iter().any(|start| line.starts_with(start)) && (!local || !line.starts_with("Literal"));
    // How many files rsync has counted by then stands after its heading (--info=flist2), and a list is not counted here.
    let counted = |line: &&str| line.ends_with(" to consider") && !line.starts_with("receiving");
    let line = |line: &str| match (line.split_once("  speedup is "), line.split_once(" file list ... ")) {
        (Some((size, _)), _) => size.to_owned(),
        (None, Some((verb, rest))) if rest != "done" => format!("{verb} file list ... done"),
        _ => line.to_owned(),
    };
    // Where lines came in between, the heading ends in one of its own.
    text.lines()
        .filter(|line| *line != "done" && !wire(line) && !counted(line))
        .filter(|line| !line.is_empty())
        .map(line)
        .collect()
}
