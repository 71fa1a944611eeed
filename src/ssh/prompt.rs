//! Asks a person: on the terminal, or through SSH_ASKPASS, as ssh(1) chooses between them (readpass.c).
//!
//! One question at a time in the whole process. An answer is wiped from memory when it is dropped.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::ssh::route::Hop;

/// What was answered, without the newline.
pub type Answer = Zeroizing<String>;

/// Longer answers are cut off here: OpenSSH reads at most 1023 bytes.
const LIMIT: usize = 1023;
/// How soon a reader of the terminal notices that nobody waits for the answer any more.
const PATIENCE: Duration = Duration::from_millis(100);

static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// The terminal and its modes, while echo is off.
static SAVED: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Whether what is typed is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    On,
    Off,
}

/// Whom to ask, and what they have answered rightly. One for a run: its lanes and reconnections log in again, and nobody wants
/// to type a passphrase for each.
pub struct Prompt {
    asked: Asked,
    remembered: Mutex<HashMap<String, Answer>>,
}

#[derive(Debug)]
enum Asked {
    Person,
    Nobody,
    Script(Mutex<Script>),
}

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<String>,
    questions: Vec<String>,
}

impl Prompt {
    /// The person at the terminal or display.
    pub fn person() -> Prompt {
        Prompt::of(Asked::Person)
    }

    /// No one: every question goes unanswered.
    pub fn nobody() -> Prompt {
        Prompt::of(Asked::Nobody)
    }

    /// Answers given beforehand, in order; then none. For tests.
    pub fn scripted<'a>(answers: impl IntoIterator<Item = &'a str>) -> Prompt {
        let answers = answers.into_iter().map(str::to_owned).collect();
        Prompt::of(Asked::Script(Mutex::new(Script { answers, questions: Vec::new() })))
    }

    fn of(asked: Asked) -> Prompt {
        Prompt { asked, remembered: Mutex::default() }
    }

    /// What a scripted prompt was asked so far.
    pub fn questions(&self) -> Vec<String> {
        match &self.asked {
            Asked::Script(script) => script.lock().unwrap_or_else(PoisonError::into_inner).questions.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether a question on behalf of `hop` could reach anyone.
    pub fn reaches(&self, hop: &Hop) -> bool {
        let anyone = match &self.asked {
            Asked::Nobody => false,
            Asked::Script(_) => true,
            Asked::Person => means(|name| std::env::var(name).ok(), || terminal().is_ok()) != Means::None,
        };
        anyone && !hop.batch_mode
    }

    /// Keeps an answer that proved right, for the next time that `what` is needed.
    pub fn remember(&self, what: &str, answer: Answer) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned(), answer);
    }

    /// What is remembered for `what`.
    pub fn recall(&self, what: &str) -> Option<Answer> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(what).cloned()
    }

    /// Forgets an answer that is not right any more.
    pub fn forget(&self, what: &str) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    /// Asks on behalf of `hop`. `None`: there is no one to ask (BatchMode, no terminal), or they gave up.
    pub async fn ask(&self, hop: &Hop, question: &str, echo: Echo) -> Option<Answer> {
        if hop.batch_mode {
            return None;
        }
        let question = printable(question);
        match &self.asked {
            Asked::Nobody => None,
            Asked::Script(script) => {
                let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
                script.questions.push(question);
                script.answers.pop_front().map(Zeroizing::new)
            }
            Asked::Person => {
                let _turn = TURN.lock().await;
                match means(|name| std::env::var(name).ok(), || terminal().is_ok()) {
                    Means::Terminal => on_terminal(question, echo).await,
                    Means::Program(program) => through(&program, &question).await,
                    Means::None => None,
                }
            }
        }
    }
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// How a person can be reached.
#[derive(Debug, PartialEq, Eq)]
enum Means {
    Terminal,
    Program(String),
    None,
}

/// ssh(1), SSH_ASKPASS and SSH_ASKPASS_REQUIRE.
fn means(variable: impl Fn(&str) -> Option<String>, has_terminal: impl Fn() -> bool) -> Means {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let display = set("DISPLAY").is_some() || set("WAYLAND_DISPLAY").is_some();
    let (prefer, allow) = match set("SSH_ASKPASS_REQUIRE").map(|value| value.to_lowercase()).as_deref() {
        Some("force") => (true, true),
        Some("prefer") => (display, display),
        Some("never") => (false, false),
        _ => (false, display),
    };
    if !prefer && has_terminal() {
        return Means::Terminal;
    }
    // The default is Debian's and OpenSSH's own place for it.
    match set("SSH_ASKPASS").or_else(|| Some("/usr/bin/ssh-askpass".to_owned())) {
        Some(program) if allow => Means::Program(program),
        _ => Means::None,
    }
}

/// Server text in a question must not drive the terminal.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Runs an askpass program; its first line is the answer, a failure or nothing readable is none.
async fn through(program: &str, question: &str) -> Option<Answer> {
    use tokio::io::AsyncReadExt;
    let spawned = tokio::process::Command::new(program)
        .arg(question)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = spawned.inspect_err(|error| tracing::warn!("cannot run {program}: {error}")).ok()?;
    let mut said = Zeroizing::new(Vec::with_capacity(LIMIT + 1));
    child.stdout.take()?.take(LIMIT as u64).read_to_end(&mut said).await.ok()?;
    let status = child.wait().await.ok()?;
    let line = said.split(|byte| *byte == b'\n' || *byte == b'\r').next()?;
    let text = std::str::from_utf8(line).ok()?;
    status.success().then(|| Zeroizing::new(text.to_owned()))
}

fn terminal() -> std::io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

/// Gives the terminal its echo back, if a question is open. For those who end the process on a signal.
pub fn restore_terminal() {
    if let Some((tty, modes)) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(&tty, OptionalActions::Flush, &modes);
    }
}

struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Sets the flag when dropped: whoever waited for the answer is gone.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn on_terminal(question: String, echo: Echo) -> Option<Answer> {
    let gone = Arc::new(AtomicBool::new(false));
    let _waiting = Waiting(gone.clone());
    let read = tokio::task::spawn_blocking(move || {
        let typed = read_line(terminal()?, &question, echo, &gone)?;
        if let Typed::Interrupt = typed {
            // What the key means everywhere else, now that the terminal is as it was.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT)?;
        }
        Ok::<_, std::io::Error>(typed)
    });
    match read.await {
        Ok(Ok(Typed::Line(answer))) => Some(answer),
        Ok(Ok(Typed::Nothing | Typed::Interrupt)) | Err(_) => None,
        Ok(Err(error)) => {
            tracing::warn!("cannot ask on the terminal: {error}");
            None
        }
    }
}

/// What a person typed.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Line(Answer),
    /// Nobody waits for it any more, the end of input, or no text.
    Nothing,
    Interrupt,
}

/// Asks on a terminal, whose modes are restored on every way out.
fn read_line(mut tty: File, question: &str, echo: Echo, gone: &AtomicBool) -> std::io::Result<Typed> {
    let modes = tcgetattr(&tty)?;
    let restore = Restore;
    if echo == Echo::Off {
        let mut silent = modes.clone();
        // Keys that make signals come as bytes: a signal could end the process with the echo still off.
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some((tty.try_clone()?, modes));
        tcsetattr(&tty, OptionalActions::Flush, &silent)?;
    }
    tty.write_all(question.as_bytes())?;
    tty.flush()?;
    let wait = Timespec::try_from(PATIENCE).map_err(std::io::Error::other)?;
    let mut line = Line::default();
    let end = loop {
        match poll(&mut [PollFd::new(&tty, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) if gone.load(Ordering::Relaxed) => return Ok(Typed::Nothing),
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut byte = [0];
        if tty.read(&mut byte)? == 0 {
            break Key::GaveUp;
        }
        match line.key(byte[0]) {
            Key::More => {}
            end => break end,
        }
    };
    if echo == Echo::Off {
        tty.write_all(b"\n")?;
    }
    drop(restore);
    Ok(match (end, line.text()) {
        (Key::Interrupt, _) => Typed::Interrupt,
        (Key::Done, Some(text)) => Typed::Line(text),
        _ => Typed::Nothing,
    })
}

/// What a typed byte does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    More,
    Done,
    GaveUp,
    Interrupt,
}

/// A line as it is typed, with the editing keys of a terminal's own line mode.
#[derive(Default)]
struct Line(Zeroizing<Vec<u8>>);

impl Line {
    fn key(&mut self, byte: u8) -> Key {
        match byte {
            b'\n' | b'\r' => return Key::Done,
            // Ctrl-C and Ctrl-\.
            3 | 28 => return Key::Interrupt,
            // Ctrl-D.
            4 if self.0.is_empty() => return Key::GaveUp,
            // Backspace takes back a character, not a byte.
            8 | 127 => while self.0.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            // Ctrl-U.
            21 => self.0.clear(),
            _ if self.0.len() < LIMIT => {
                // Growing would leave copies behind that are not wiped.
                let room = LIMIT - self.0.len();
                self.0.reserve_exact(room);
                self.0.push(byte);
            }
            _ => {}
        }
        Key::More
    }

    fn text(&self) -> Option<Answer> {
        std::str::from_utf8(&self.0).ok().map(|text| Zeroizing::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(environment: &[(&str, &str)], has_terminal: bool) -> Means {
        let find =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        means(find, || has_terminal)
    }

    #[test]
    fn the_terminal_is_asked_unless_askpass_is_wanted() {
        let program = || Means::Program("/x".to_owned());
        assert_eq!(chosen(&[("SSH_ASKPASS", "/x"), ("DISPLAY", ":0")], true), Means::Terminal);
        assert_eq!(chosen(&[("SSH_ASKPASS", "/x"), ("DISPLAY", ":0")], false), program());
        assert_eq!(chosen(&[("SSH_ASKPASS", "/x")], false), Means::None);
        assert_eq!(chosen(&[("SSH_ASKPASS", "/x"), ("SSH_ASKPASS_REQUIRE", "force")], true), program());
        let prefer = [("SSH_ASKPASS", "/x"), ("SSH_ASKPASS_REQUIRE", "prefer"), ("DISPLAY", ":0")];
        assert_eq!(chosen(&prefer, true), program());
        assert_eq!(chosen(&prefer[..2], true), Means::Terminal);
        let never = [("SSH_ASKPASS", "/x"), ("SSH_ASKPASS_REQUIRE", "never"), ("DISPLAY", ":0")];
        assert_eq!(chosen(&never, false), Means::None);
    }

    #[test]
    fn server_text_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}x\r\n\tö"), "a\\u{1b}[2J\\u{9b}x\\r\n\tö");
    }

    fn typed(bytes: &[u8]) -> (Key, Option<String>) {
        let mut line = Line::default();
        let mut last = Key::More;
        for byte in bytes {
            last = line.key(*byte);
        }
        (last, line.text().map(|text| text.to_string()))
    }

    #[test]
    fn a_line_can_be_corrected_while_it_is_typed() {
        assert_eq!(typed("wrong\u{15}söx\u{7f}\u{7f}et\n".as_bytes()), (Key::Done, Some("set".to_owned())));
        assert_eq!(typed(b"\x7f\n"), (Key::Done, Some(String::new())));
        assert_eq!(typed(b"\x04").0, Key::GaveUp);
        assert_eq!(typed(b"abc\x03").0, Key::Interrupt);
        assert_eq!(typed(&[b'x'; 5000]).1.unwrap().len(), LIMIT);
    }

    /// Types `keys` at a pseudo-terminal once the question is on it; returns what was read, and all that was shown.
    fn at_a_terminal(keys: &[u8]) -> (Typed, String) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || {
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
            File::from(rustix::fs::open(name.as_str(), flags, rustix::fs::Mode::empty()).unwrap())
        };
        // Kept open to see the modes afterwards.
        let (tty, mut master) = (open(), File::from(master));
        let before = tcgetattr(&tty).unwrap().local_modes;
        let asked = open();
        let reader =
            std::thread::spawn(move || read_line(asked, "Password: ", Echo::Off, &AtomicBool::new(false)).unwrap());
        let mut shown = Vec::new();
        let mut buffer = [0; 256];
        while !shown.ends_with(b"Password: ") {
            let count = master.read(&mut buffer).unwrap();
            shown.extend(&buffer[..count]);
        }
        master.write_all(keys).unwrap();
        let typed = reader.join().unwrap();
        assert_eq!(tcgetattr(&tty).unwrap().local_modes, before, "the modes are as they were");
        let count = master.read(&mut buffer).unwrap();
        shown.extend(&buffer[..count]);
        (typed, String::from_utf8(shown).unwrap())
    }

    #[test]
    fn a_terminal_shows_the_question_and_not_the_answer_and_is_left_as_it_was() {
        let (typed, shown) = at_a_terminal(b"secret\r");
        assert_eq!(typed, Typed::Line(Zeroizing::new("secret".to_owned())));
        assert_eq!(shown.trim_end(), "Password:");
        assert_eq!(at_a_terminal(b"sec\x03").0, Typed::Interrupt);
        assert_eq!(at_a_terminal(b"\x04").0, Typed::Nothing);
    }

    #[tokio::test]
    async fn an_askpass_program_gets_the_question_and_gives_its_first_line() {
        assert_eq!(through("echo", "q?\nmore").await.unwrap().as_str(), "q?");
        assert!(through("false", "q").await.is_none());
        assert!(through("/nonexistent/askpass", "q").await.is_none());
    }

    #[tokio::test]
    async fn batch_mode_asks_no_one() {
        let prompt = Prompt::scripted(["yes"]);
        let mut hop = Hop::plain("h", 22, "u");
        hop.batch_mode = true;
        assert!(prompt.ask(&hop, "?", Echo::On).await.is_none());
        hop.batch_mode = false;
        assert_eq!(prompt.ask(&hop, "?", Echo::On).await.unwrap().as_str(), "yes");
        assert!(prompt.ask(&hop, "again?", Echo::On).await.is_none());
        assert_eq!(prompt.questions(), ["?", "again?"]);
    }
}
