//! Asks a person: on the terminal, or through SSH_ASKPASS, as ssh(1) chooses between them (readpass.c).
//!
//! One question at a time in the whole process. An answer is wiped from memory when it is dropped.

use std::collections::{HashMap, VecDeque};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::sftp::wire::BoxFuture;
use crate::ssh::route::Hop;
use crate::ssh::terminal;

/// What was answered, without the newline.
pub type Answer = Zeroizing<String>;

/// Longer answers are cut off here: OpenSSH reads at most 1023 bytes.
pub(super) const LIMIT: usize = 1023;

static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Whether what is typed is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Echo {
    On,
    Off,
}

/// Whom to ask, and what they have answered rightly. One for a run: its lanes and reconnections log in again, and nobody wants
/// to type a passphrase for each.
pub struct Prompt {
    asked: Asked,
    /// Somebody was asked something.
    has_asked: AtomicBool,
    remembered: Mutex<HashMap<String, Answer>>,
}

/// Somebody who knows whom to ask, in a process that does not.
pub trait Asker: Send + Sync {
    fn reaches(&self) -> bool;
    fn ask<'a>(&'a self, hop: &'a Hop, question: &'a str, echo: Echo) -> BoxFuture<'a, Option<Answer>>;
}

enum Asked {
    Person,
    Nobody,
    Script(Mutex<Script>),
    Elsewhere(Box<dyn Asker>),
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

    /// Whoever `asker` reaches.
    pub fn elsewhere(asker: Box<dyn Asker>) -> Prompt {
        Prompt::of(Asked::Elsewhere(asker))
    }

    fn of(asked: Asked) -> Prompt {
        Prompt { asked, has_asked: AtomicBool::new(false), remembered: Mutex::default() }
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
            Asked::Elsewhere(asker) => asker.reaches(),
            Asked::Person => means(|name| std::env::var(name).ok(), || terminal::open().is_ok()) != Means::None,
        };
        anyone && !hop.batch_mode
    }

    /// Whether there was ever a question, whether or not it reached anyone.
    pub fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
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
        self.has_asked.store(true, Ordering::Relaxed);
        match &self.asked {
            Asked::Nobody => None,
            Asked::Elsewhere(asker) => asker.ask(hop, &question, echo).await,
            Asked::Script(script) => {
                let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
                script.questions.push(question);
                script.answers.pop_front().map(Zeroizing::new)
            }
            Asked::Person => {
                let _turn = TURN.lock().await;
                match means(|name| std::env::var(name).ok(), || terminal::open().is_ok()) {
                    Means::Terminal => terminal::ask(question, echo).await,
                    Means::Program(program) => through(&program, &question).await,
                    Means::None => None,
                }
            }
        }
    }
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asked = match self.asked {
            Asked::Person => "a person",
            Asked::Nobody => "nobody",
            Asked::Script(_) => "a script",
            Asked::Elsewhere(_) => "another process",
        };
        f.debug_struct("Prompt").field("asked", &asked).finish_non_exhaustive()
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
