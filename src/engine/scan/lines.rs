//! Lines in their order, each once it is known that it may be printed: rsync tells neither of what lies in a directory that could
//! not be made, nor of a link that could not.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::output::{Item, Kept, Printer};

use super::super::directory::Directory;

/// Lines that wait at most; then the walk does.
const WAITING: usize = 1024;

pub struct Lines {
    printer: Arc<Printer>,
    waiting: VecDeque<(Directory, Kept)>,
}

impl Lines {
    pub fn new(printer: Arc<Printer>) -> Lines {
        Lines { printer, waiting: VecDeque::new() }
    }

    /// Prints the line once all before it are printed, and `gate` is made; not if that fails.
    pub async fn say(&mut self, gate: &Directory, item: &Item<'_>) {
        let printer = &self.printer;
        if !printer.shows(item) && !printer.tells_uptodate() {
            return;
        }
        self.catch_up();
        if self.waiting.is_empty() && gate.is_there() {
            return self.printer.item(item);
        }
        self.waiting.push_back((gate.clone(), Kept::new(item)));
        while self.waiting.len() > WAITING {
            self.next().await;
        }
    }

    /// Prints what need not wait any more.
    pub fn catch_up(&mut self) {
        while self.waiting.front().is_some_and(|(gate, _)| gate.is_there() || gate.has_failed()) {
            if let Some((gate, kept)) = self.waiting.pop_front()
                && gate.is_there()
            {
                self.printer.item(&kept.item());
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
        let Some((gate, kept)) = self.waiting.pop_front() else { return };
        if gate.known().await.is_ok() {
            self.printer.item(&kept.item());
        }
    }
}

impl Drop for Lines {
    /// A run that is stopped tells what it has done by then.
    fn drop(&mut self) {
        for (gate, kept) in self.waiting.drain(..) {
            if gate.is_there() {
                self.printer.item(&kept.item());
            }
        }
    }
}
