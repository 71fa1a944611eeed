//! Lines in their order, each once it is known that it may be printed: rsync tells neither of what lies in a directory that could
//! not be made, nor of a link that could not.

use std::collections::VecDeque;

use crate::output::{Item, Kept, Printer};

use super::super::directory::Directory;

/// Lines that wait at most; then the walk does.
const WAITING: usize = 1024;

#[derive(Default)]
pub struct Lines(VecDeque<(Directory, Kept)>);

impl Lines {
    /// Prints the line once all before it are printed, and `gate` is made; not if that fails.
    pub async fn say(&mut self, printer: &Printer, gate: &Directory, item: &Item<'_>) {
        if !printer.shows(item) && !printer.tells_uptodate() {
            return;
        }
        self.catch_up(printer);
        if self.0.is_empty() && gate.is_there() {
            return printer.item(item);
        }
        self.0.push_back((gate.clone(), Kept::new(item)));
        while self.0.len() > WAITING {
            self.next(printer).await;
        }
    }

    /// Prints what need not wait any more.
    pub fn catch_up(&mut self, printer: &Printer) {
        while self.0.front().is_some_and(|(gate, _)| gate.is_there() || gate.has_failed()) {
            if let Some((gate, kept)) = self.0.pop_front()
                && gate.is_there()
            {
                printer.item(&kept.item());
            }
        }
    }

    /// Prints all.
    pub async fn settle(&mut self, printer: &Printer) {
        while !self.0.is_empty() {
            self.next(printer).await;
        }
    }

    async fn next(&mut self, printer: &Printer) {
        let Some((gate, kept)) = self.0.pop_front() else { return };
        if gate.ready().await.is_ok() {
            printer.item(&kept.item());
        }
    }
}
