//! Lines in their order, each once it is known that it may be printed: rsync tells neither of what lies in a directory that could
//! not be made, nor of a link that could not.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::output::{Item, Kept};

use super::super::delete;
use super::super::directory::Directory;
use super::super::run::Run;

/// Lines that wait at most; then the walk does.
const WAITING: usize = 1024;

pub struct Lines {
    run: Arc<Run>,
    waiting: VecDeque<Waiting>,
}

enum Waiting {
    /// An entry's line, told once the directory is made.
    Entry(Directory, Box<Kept>),
    /// What is told of deletions, as it comes.
    Deletions(UnboundedReceiver<delete::Line>),
}

impl Lines {
    pub fn new(run: Arc<Run>) -> Lines {
        Lines { run, waiting: VecDeque::new() }
    }

    /// Prints the line once all before it are printed, and `gate` is made; not if that fails.
    pub async fn say(&mut self, gate: &Directory, item: &Item<'_>) {
        self.catch_up();
        let printer = &self.run.printer;
        if !printer.shows(item) && !printer.tells_uptodate() {
            return;
        }
        if self.waiting.is_empty() && gate.is_there() {
            return self.run.printer.item(item);
        }
        self.wait(Waiting::Entry(gate.clone(), Box::new(Kept::new(item)))).await;
    }

    /// Where lines about deletions go whose turn is now.
    pub async fn deletions(&mut self) -> delete::Into {
        let (kept, lines) = unbounded_channel();
        self.wait(Waiting::Deletions(lines)).await;
        delete::Into::Kept(kept)
    }

    /// Whoever waits for room here waits for what was begun before.
    async fn wait(&mut self, waiting: Waiting) {
        while self.waiting.len() >= WAITING {
            self.next().await;
        }
        self.waiting.push_back(waiting);
    }

    /// Prints what need not wait any more.
    pub fn catch_up(&mut self) {
        while let Some(first) = self.waiting.front_mut() {
            let over = match first {
                Waiting::Entry(gate, _) => gate.is_there() || gate.has_failed(),
                Waiting::Deletions(lines) => loop {
                    match lines.try_recv() {
                        Ok(line) => line.tell(&self.run),
                        Err(silence) => break silence == TryRecvError::Disconnected,
                    }
                },
            };
            if !over {
                return;
            }
            if let Some(Waiting::Entry(gate, kept)) = self.waiting.pop_front()
                && gate.is_there()
            {
                self.run.printer.item(&kept.item());
            }
        }
    }

    /// Prints all.
    pub async fn settle(&mut self) {
        while !self.waiting.is_empty() {
            self.next().await;
        }
    }

    async fn next(&mut self) {
        match self.waiting.pop_front() {
            Some(Waiting::Entry(gate, kept)) if gate.known().await.is_ok() => self.run.printer.item(&kept.item()),
            Some(Waiting::Entry(..)) | None => {}
            Some(Waiting::Deletions(mut lines)) => {
                while let Some(line) = lines.recv().await {
                    line.tell(&self.run);
                }
            }
        }
    }
}

impl Drop for Lines {
    /// A run that is stopped tells what it has done by then.
    fn drop(&mut self) {
        for waiting in self.waiting.drain(..) {
            match waiting {
                Waiting::Entry(gate, kept) if gate.is_there() => self.run.printer.item(&kept.item()),
                Waiting::Entry(..) => {}
                Waiting::Deletions(mut lines) => {
                    lines.close();
                    while let Ok(line) = lines.try_recv() {
                        line.tell(&self.run);
                    }
                }
            }
        }
    }
}
