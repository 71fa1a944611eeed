//! What is known of one SSH connection: how far it came, what the server said, and why it ended.
//!
//! russh throws away the text before the banner and gives the reasons of a disconnect or of a refused channel only to
//! callbacks; a login that ends by a dropped connection looks like a refused one. So everybody who learns something
//! writes it here, and every error is explained from here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::fault::{Cause, Fault, Stage};

/// The error of a stream that takes nothing for as long as keepalives may be unanswered.
pub const STALLED: &str = "nothing was taken for too long";

/// Bytes of server text that are kept, each.
const TEXT: usize = 1024;

/// Refused channels whose words are kept until somebody asks.
const WORDS: usize = 64;

/// Within this time the handler is called, at the latest, after the call that it explains has returned.
const HANDLER: Duration = Duration::from_secs(1);

/// The same for why a session ended: which of several silent hops is to blame takes two seconds to find out.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// One connection's record, shared by the socket adapter, russh's handler and everyone who waits on it.
#[derive(Debug)]
pub struct Fate {
    pub hop: Arc<str>,
    known: Mutex<Known>,
    over: watch::Sender<bool>,
    /// It is we who end it.
    left: AtomicBool,
    /// Told when there are words for a refused channel.
    refusals: Notify,
}

#[derive(Debug, Default)]
struct Known {
    stage: Option<Stage>,
    before_banner: String,
    banner: Option<String>,
    disconnect: Option<String>,
    error: Option<String>,
    refused: Option<Fault>,
    open_failures: VecDeque<String>,
    cipher: Option<String>,
    kex: Option<String>,
    notices: Vec<String>,
}

impl Fate {
    pub fn new(hop: Arc<str>) -> Arc<Fate> {
        Arc::new(Fate {
            hop,
            known: Mutex::default(),
            over: watch::Sender::new(false),
            left: AtomicBool::new(false),
            refusals: Notify::new(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Something that a person should be told: a key that was added, a login banner. At most eight are kept.
    pub fn notice(&self, text: &str) {
        let mut known = self.known();
        if known.notices.len() < 8 {
            known.notices.push(text.chars().take(4 * TEXT).collect());
        }
    }

    /// Takes out the notices so far.
    pub fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.known().notices)
    }

    /// The connection has come to `stage`.
    pub fn enter(&self, stage: Stage) {
        self.known().stage = Some(stage);
    }

    /// A line that the server sent before its identification (RFC 4253 §4.2 allows them).
    pub fn text_before_banner(&self, line: &str) {
        let mut known = self.known();
        if known.before_banner.len() + line.len() < TEXT {
            if !known.before_banner.is_empty() {
                known.before_banner.push_str(" / ");
            }
            known.before_banner.push_str(line);
        }
    }

    /// The server's identification string; the key exchange follows.
    pub fn identified(&self, banner: &str) {
        let mut known = self.known();
        known.banner = Some(banner.to_owned());
        known.stage = Some(Stage::Kex);
    }

    pub fn negotiated(&self, kex: &str, cipher: &str) {
        let mut known = self.known();
        known.kex = Some(kex.to_owned());
        known.cipher = Some(cipher.to_owned());
    }

    /// SSH_MSG_DISCONNECT (RFC 4253 §11.1).
    pub fn disconnected(&self, reason: &str, text: &str) {
        let text: String = text.chars().take(TEXT).collect();
        self.known().disconnect = Some(if text.is_empty() { reason.to_owned() } else { format!("{text} ({reason})") });
    }

    /// The server's words when it ended the connection.
    pub fn disconnect(&self) -> Option<String> {
        self.known().disconnect.clone()
    }

    pub fn failed(&self, error: &str) {
        let mut known = self.known();
        if known.error.is_none() {
            known.error = Some(error.to_owned());
        }
    }

    /// It ended for a reason that was known elsewhere: we ended it ourselves (a host key that is not to be trusted), or what
    /// carries it ended.
    pub fn refuse(&self, fault: Fault) {
        self.known().refused = Some(fault);
    }

    /// The server's words for a channel that it did not open.
    pub fn open_failed(&self, text: &str) {
        let mut known = self.known();
        // Nobody may ask for some: only the newest are kept.
        if known.open_failures.len() == WORDS {
            known.open_failures.pop_front();
        }
        known.open_failures.push_back(text.chars().take(TEXT).collect());
        drop(known);
        self.refusals.notify_one();
    }

    /// The server's words for the channel that was refused just now. russh tells the one who asked before it calls the handler:
    /// the words may come a moment later.
    pub async fn open_failure(&self) -> Option<String> {
        let words = async {
            loop {
                if let Some(words) = self.known().open_failures.pop_front() {
                    return words;
                }
                self.refusals.notified().await;
            }
        };
        tokio::time::timeout(HANDLER, words).await.ok()
    }

    pub fn banner(&self) -> Option<String> {
        self.known().banner.clone()
    }

    pub fn before_banner(&self) -> String {
        self.known().before_banner.clone()
    }

    pub fn cipher(&self) -> Option<String> {
        self.known().cipher.clone()
    }

    pub fn kex(&self) -> Option<String> {
        self.known().kex.clone()
    }

    pub fn is_openssh(&self) -> bool {
        self.known().banner.as_deref().is_some_and(|banner| banner.contains("OpenSSH"))
    }

    /// Said before the session is ended from here: then nobody asks why it ended.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Nothing more comes from this connection.
    pub fn end(&self) {
        self.over.send_replace(true);
    }

    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Returns once the connection has ended.
    pub async fn over(&self) {
        let mut watcher = self.over.subscribe();
        let _ = watcher.wait_for(|over| *over).await;
    }

    /// As [`Fate::fault`], for whom the session takes nothing from any more: why it ended is written down a moment later.
    pub async fn last_words(&self) -> Fault {
        let _ = tokio::time::timeout(LAST_WORDS, self.over()).await;
        self.fault()
    }

    /// Why the connection does not do what was asked: the best explanation that the record has.
    pub fn fault(&self) -> Fault {
        let known = self.known();
        if let Some(fault) = &known.refused {
            return fault.clone();
        }
        let stage = known.stage.unwrap_or(Stage::Session);
        let error = known.error.as_deref().unwrap_or("connection closed");
        if known.banner.is_none() {
            let said = known.before_banner.as_str();
            let (cause, text) = if said.contains("MaxStartups") || said.contains("Not allowed at this time") {
                (Cause::StartLimit, format!("dropped by the server's start limit: it said \"{said}\""))
            } else if said.is_empty() {
                let hint = "sshd before 8.2 does that at MaxStartups";
                (Cause::Lost, format!("{error} before the server sent its banner ({hint})"))
            } else {
                (Cause::Lost, format!("{error} before the server's banner; it said \"{said}\""))
            };
            return Fault::new(self.hop.clone(), Stage::Banner, cause, text);
        }
        let (cause, text) = match &known.disconnect {
            Some(said) => (Cause::Lost, format!("the server disconnected: {said}")),
            None if error.contains("eepalive") || error == STALLED => {
                (Cause::Timeout, "the server no longer answers".to_owned())
            }
            None => (Cause::Lost, error.to_owned()),
        };
        Fault::new(self.hop.clone(), stage, cause, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_at_the_start_limit_is_named_by_the_servers_own_words() {
        for words in ["Exceeded MaxStartups", "Not allowed at this time"] {
            let fate = Fate::new("head".into());
            fate.enter(Stage::Banner);
            fate.text_before_banner(words);
            fate.failed("connection reset");
            let fault = fate.fault();
            assert_eq!((fault.stage, fault.cause), (Stage::Banner, Cause::StartLimit));
            assert!(fault.text.contains(words));
        }
    }

    #[test]
    fn a_silent_drop_before_the_banner_is_lost_and_hints_at_the_limit() {
        let fate = Fate::new("head".into());
        assert_eq!(fate.fault().cause, Cause::Lost);
        assert!(fate.fault().text.contains("MaxStartups"));
    }

    #[test]
    fn the_servers_disconnect_text_explains_more_than_the_socket_error() {
        let fate = Fate::new("head".into());
        fate.identified("SSH-2.0-OpenSSH_9.2");
        fate.enter(Stage::Login);
        fate.failed("connection reset");
        fate.disconnected("protocol error", "Too many authentication failures");
        let fault = fate.fault();
        assert_eq!((fault.stage, fault.cause), (Stage::Login, Cause::Lost));
        assert!(fault.text.contains("Too many authentication failures"));
    }
}
