//! The holder's line to its starter: the only one who may have a person at hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::protocol::{self, Word};
use crate::sftp::wire::BoxFuture;
use crate::ssh::prompt::{Answer, Asker, Echo, Prompt};
use crate::ssh::route::{Hop, Route};

/// Words that wait for the line; there are a handful of hops, each with a few.
const QUEUE: usize = 64;

/// Something to be said, and whom to tell the answer if it is a question.
type Said = (Word, Option<oneshot::Sender<Option<String>>>);

pub struct Starter {
    say: mpsc::Sender<Said>,
    /// Set once a question was answered.
    asked: Arc<AtomicBool>,
    done: tokio::task::JoinHandle<()>,
}

impl Starter {
    pub fn new(line: UnixStream, asked: Arc<AtomicBool>) -> Starter {
        let (say, words) = mpsc::channel(QUEUE);
        Starter { say, asked, done: tokio::spawn(talk(line, words)) }
    }

    /// Asks the starter's person, if it has one.
    pub fn prompt(&self, route: &Route, person: bool) -> Prompt {
        let aliases = route.hops.iter().map(|hop| hop.alias.clone()).collect();
        Prompt::elsewhere(Box::new(Distant { say: self.say.downgrade(), asked: self.asked.clone(), aliases, person }))
    }

    pub fn notice(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let say = self.say.downgrade();
        Arc::new(move |text| {
            if let Some(say) = say.upgrade() {
                let _ = say.try_send((Word::Notice(text.to_owned()), None));
            }
        })
    }

    /// Says what is still to be said, and hangs up. Questions go unanswered from then on.
    pub async fn close(self) {
        drop(self.say);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.done).await;
    }
}

async fn talk(mut line: UnixStream, mut words: mpsc::Receiver<Said>) {
    while let Some((word, answer)) = words.recv().await {
        if protocol::send(&mut line, &word).await.is_err() {
            return;
        }
        if let Some(answer) = answer {
            match protocol::receive(&mut line).await {
                Ok(Some(answered)) => drop(answer.send(answered)),
                _ => return,
            }
        }
    }
}

struct Distant {
    say: mpsc::WeakSender<Said>,
    asked: Arc<AtomicBool>,
    aliases: Vec<Arc<str>>,
    person: bool,
}

impl Asker for Distant {
    fn reaches(&self) -> bool {
        self.person && self.say.strong_count() > 0
    }

    fn ask<'a>(&'a self, hop: &'a Hop, question: &'a str, echo: Echo) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(async move {
            let number = self.aliases.iter().position(|alias| *alias == hop.alias)?;
            let (answer, answered) = oneshot::channel();
            let asked = (Word::Ask(number, question.to_owned(), echo), Some(answer));
            self.say.upgrade()?.send(asked).await.ok()?;
            let answer = answered.await.ok()?.map(Zeroizing::new);
            if answer.is_some() {
                self.asked.store(true, Ordering::Relaxed);
            }
            answer
        })
    }
}
