//! One case: two copies of its input, rsync at the one, `hopsync` at the other, and what differs afterwards.

use std::cmp::Ordering;
use std::error::Error;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use hopsync::lab::run::{Output, run};

use crate::scene::Scene;
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
/// unless there is only one; a `%` is a blank within a word, `<name` is what standard input is read from, and what follows
/// ` # ` is a remark.
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
        all.into_iter().map(|word| word.replace('%', " ")).collect()
    }

    /// The file that standard input is.
    fn input(&self) -> Option<&str> {
        self.text.split(' ').find_map(|word| word.strip_prefix('<'))
    }

    /// Whether the lines come in rsync's order: deletions are our last, and hashes come when they come.
    fn is_ordered(&self) -> bool {
        if self.ends == Ends::Pull {
            // Two of rsync's processes print then, each in its own time.
            return false;
        }
        let loose = |word: &str| {
            word.starts_with("--del")
                || word == "--remove-source-files"
                || word.contains("vv")
                || word.contains("backup1")
                || word.contains("name2")
                || word == "--checksum"
                || !word.starts_with("--") && word.starts_with('-') && word.contains('c')
        };
        !self.text.split(' ').any(loose)
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
}

impl Bench {
    pub fn new() -> Tried<Bench> {
        let dir = tempfile::tempdir()?;
        let shell = dir.path().join("shell");
        // As ssh does it: the words after the host, joined by blanks, are a command for a shell.
        fs::write(&shell, "#!/bin/sh\nwhile [ \"$1\" = -l ]; do shift 2; done\nshift\nexec sh -c \"$*\"\n")?;
        fs::set_permissions(&shell, fs::Permissions::from_mode(0o755))?;
        Ok(Bench { dir, shell })
    }

    pub fn run(&self, number: usize, case: &Case) -> Tried<Vec<Difference>> {
        let at = self.dir.path().join(number.to_string());
        let (theirs, ours) = (at.join("theirs"), at.join("ours"));
        case.scene.make(&theirs)?;
        case.scene.make(&ours)?;
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() as i64 - 1;
        let arguments = case.arguments(&self.shell.display().to_string());
        let wanted = program("rsync", &arguments, case.input(), &theirs)?;
        let got = program(env!("CARGO_BIN_EXE_hopsync"), &arguments, case.input(), &ours)?;
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
                // Not in which order messages come between the items.
                let items = |lines: Vec<String>| -> Vec<String> {
                    lines
                        .into_iter()
                        .filter(|line| !line.starts_with("skipping ") && !line.starts_with("cannot "))
                        .collect()
                };
                let (a, b) = (items(a), items(b));
                if a != b {
                    differs("order", lists(&a, &b));
                }
            }
        }
        if let Some(printed) = found.iter_mut().find(|difference| difference.aspect == "printed") {
            printed.beside = beside;
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

fn program(name: &str, arguments: &[String], input: Option<&str>, at: &Path) -> Tried<Output> {
    let mut command = Command::new(name);
    if let Some(input) = input {
        // The program that runs others gives none of them an input.
        command = Command::new("sh");
        command.args(["-c", "exec \"$@\" < \"$0\"", input, name]);
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
