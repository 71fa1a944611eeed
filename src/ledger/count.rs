//! The count itself, as pure state: which class each file is in, and what was lost where. No clock, no report, no lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::escape::{cut, escape_cut};
use super::event::{Attempt, Class, Event, FileId, TEXT_MAX, TextKind, What};
use super::summary::{Counts, EXAMPLE, Limit, Logins, ServerWords, SkippedFor, Summary, Trouble, VerifiedBy};
use crate::fault::{Cause, Fault, Stage};

/// Hop, stage, cause: rows kept apart. Beyond it, rows are kept by stage and cause alone, under the hop `(others)`.
const TROUBLES_MAX: usize = 256;

/// Different words of servers, hops and limits that the summary keeps; the report has all.
const LIST_MAX: usize = 32;

/// Files whose last attempt failed and that still wait for the next one. More of them than any retry queue holds; beyond it
/// a last, failing attempt is counted as a drop besides.
const WAITING_MAX: usize = 1 << 16;

/// The byte that a file is remembered by.
const OPEN: u8 = 0;
const NAMES: [&str; 6] = ["open", "verified", "sent", "unchanged", "skipped", "failed"];

#[derive(Default)]
pub(super) struct Count {
    classes: Vec<u8>,
    pub(super) counts: Counts,
    troubles: Vec<Trouble>,
    rows: HashMap<(Arc<str>, Stage, Cause), usize>,
    /// File to the row of its last attempt, while that is a failed one and the file has no class.
    waiting: HashMap<u32, usize>,
    verified_by: Vec<(&'static str, u64)>,
    skipped_for: Vec<SkippedFor>,
    hashers: Vec<(&'static str, String)>,
    limits: Vec<Limit>,
    logins: Vec<Logins>,
    texts: Vec<ServerWords>,
    first_refusal: Option<String>,
}

impl Count {
    pub(super) fn planned(&mut self, size: u64) -> FileId {
        self.counts.planned += 1;
        self.counts.planned_bytes = self.counts.planned_bytes.saturating_add(size);
        // 2^32 files are 4 GiB of classes: one more gets a number that no class is accepted for, and `check` tells.
        let index = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        if index < u32::MAX {
            self.classes.push(OPEN);
        }
        FileId { index, size }
    }

    pub(super) fn attempt(&mut self, attempt: &Attempt<'_>) {
        let c = &mut self.counts;
        c.attempts += 1;
        c.retries += u64::from(attempt.number > 1);
        c.moved_bytes = c.moved_bytes.saturating_add(attempt.bytes);
        c.matched_bytes = c.matched_bytes.saturating_add(attempt.matched);
        let file = attempt.file.index;
        match attempt.result {
            Ok(()) => {
                self.waiting.remove(&file);
            }
            Err(fault) => {
                self.counts.dropped_attempts += 1;
                let row = self.row(fault, Some(attempt.path), false);
                self.troubles[row].dropped_attempts += 1;
                let open = self.classes.get(file as usize) == Some(&OPEN);
                if open && (self.waiting.len() < WAITING_MAX || self.waiting.contains_key(&file)) {
                    self.waiting.insert(file, row);
                }
            }
        }
    }

    pub(super) fn drop_counted(&mut self, fault: &Fault, what: What) {
        let row = self.row(fault, None, false);
        match what {
            What::Connection => {
                self.troubles[row].dropped_connections += 1;
                self.counts.dropped_connections += 1;
            }
            What::Channel => {
                self.troubles[row].dropped_channels += 1;
                self.counts.dropped_channels += 1;
            }
        }
    }

    pub(super) fn failure(&mut self, fault: &Fault, path: Option<&[u8]>) {
        let row = self.row(fault, path, true);
        self.troubles[row].other_failures += 1;
        self.counts.other_failures += 1;
    }

    /// # Errors
    /// The file has a class already, or was never announced here; nothing is changed but the count of refusals.
    pub(super) fn class(&mut self, id: FileId, path: Option<&[u8]>, class: &Class) -> Result<(), String> {
        let new = match class {
            Class::Verified(_) => 1,
            Class::Sent => 2,
            Class::Unchanged => 3,
            Class::Skipped(_) => 4,
            Class::Failed(_) => 5,
        };
        match self.classes.get_mut(id.index as usize) {
            Some(slot) if *slot == OPEN => *slot = new,
            slot => {
                let was = slot.map_or("never announced", |s| NAMES[usize::from(*s)]);
                let why = format!("file {} was {was} when it was told to be {}", id.index, class.name());
                self.counts.refused += 1;
                self.first_refusal.get_or_insert(why.clone());
                return Err(why);
            }
        }
        let last = self.waiting.remove(&id.index);
        let c = &mut self.counts;
        let (files, bytes) = match class {
            Class::Verified(by) => {
                if let Some(v) = find_or_add(&mut self.verified_by, |v| v.0 == *by, || (by, 0)) {
                    v.1 += 1;
                }
                (&mut c.verified, &mut c.verified_bytes)
            }
            Class::Sent => (&mut c.sent, &mut c.sent_bytes),
            Class::Unchanged => (&mut c.unchanged, &mut c.unchanged_bytes),
            Class::Skipped(reason) => {
                let new = || SkippedFor { reason, files: 0 };
                if let Some(s) = find_or_add(&mut self.skipped_for, |s| s.reason == *reason, new) {
                    s.files += 1;
                }
                (&mut c.skipped, &mut c.skipped_bytes)
            }
            Class::Failed(_) => (&mut c.failed, &mut c.failed_bytes),
        };
        *files += 1;
        *bytes = bytes.saturating_add(id.size);
        if let Class::Failed(fault) = class {
            let row = self.row(fault, path, true);
            let t = &mut self.troubles[row];
            t.files_failed += 1;
            // The last attempt was told as dropped before anyone knew that none would follow: it is the failure.
            if last == Some(row) {
                t.dropped_attempts -= 1;
                self.counts.dropped_attempts -= 1;
            }
        }
        Ok(())
    }

    /// Every file without a class.
    pub(super) fn open(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.classes).filter(|(_, class)| **class == OPEN).map(|(index, _)| index)
    }

    pub(super) fn event(&mut self, event: &Event<'_>) {
        let c = &mut self.counts;
        match *event {
            Event::HopConnected { hop, via, .. } => {
                c.connections += u64::from(via.is_none());
                let new = || Logins { hop: hop.to_owned(), logins: 0 };
                if let Some(l) = find_or_add(&mut self.logins, |l| l.hop == hop, new) {
                    l.logins += 1;
                }
            }
            Event::Shared { waited, .. } => {
                c.shared += 1;
                c.shared_waited += waited;
            }
            Event::ChannelOpened { .. } => {
                c.channels_open += 1;
                c.channels_max = c.channels_max.max(c.channels_open);
            }
            Event::ChannelClosed { .. } => c.channels_open = c.channels_open.saturating_sub(1),
            Event::LimitFound { hop, sessions, files, hashing, refused } => {
                let new = || Limit { hop: hop.to_owned(), sessions, files, hashing, refused: 0 };
                if let Some(l) = find_or_add(&mut self.limits, |l| l.hop == hop, new) {
                    *l = Limit { refused: l.refused + u64::from(refused), ..new() };
                }
            }
            Event::HasherChosen { hop, by, .. } => {
                if let Some(h) = find_or_add(&mut self.hashers, |h| h.0 == by, || (by, String::new())) {
                    h.1 = hop.to_owned();
                }
            }
            Event::ServerText { hop, kind, text } => self.words(hop, kind, cut(text, TEXT_MAX)),
            Event::DirectoryMade { .. } => c.directories += 1,
            Event::SymlinkMade { .. } => c.symlinks += 1,
            Event::Deleted { .. } => c.deleted += 1,
            Event::HopClosed { .. } => {}
        }
    }

    fn words(&mut self, hop: &str, kind: TextKind, text: &str) {
        let same = |w: &ServerWords| w.hop == hop && w.kind == kind && w.text == text;
        let new = || ServerWords { hop: hop.to_owned(), kind, text: text.to_owned(), times: 0 };
        if let Some(words) = find_or_add(&mut self.texts, same, new) {
            words.times += 1;
        }
    }

    /// The row of a fault's hop, stage and cause. `failed` examples take the place of dropped ones.
    fn row(&mut self, fault: &Fault, path: Option<&[u8]>, failed: bool) -> usize {
        let mut key = (fault.hop.clone(), fault.stage, fault.cause);
        if self.troubles.len() >= TROUBLES_MAX && !self.rows.contains_key(&key) {
            key.0 = "(others)".into();
        }
        let (row, new) = match self.rows.get(&key) {
            Some(row) => (*row, false),
            None => {
                let (hop, stage, cause) = key.clone();
                self.troubles.push(Trouble::new(hop.to_string(), stage, cause));
                self.rows.insert(key, self.troubles.len() - 1);
                (self.troubles.len() - 1, true)
            }
        };
        let t = &mut self.troubles[row];
        if new || (failed && t.failures() == 0) {
            t.example = cut(&fault.text, TEXT_MAX).to_owned();
            t.example_path = path.map(|p| escape_cut(p, EXAMPLE));
        }
        row
    }

    /// The invariant, for a run that is over.
    ///
    /// # Errors
    /// What does not add up, as a sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        let c = &self.counts;
        if let Some(why) = &self.first_refusal {
            return Err(format!("{why}; {} refused in all", c.refused));
        }
        let unaccounted = c.planned.saturating_sub(c.done());
        if unaccounted > 0 {
            let first = self.open().next().map_or(String::new(), |i| format!(" (the first is file {i})"));
            return Err(format!("{unaccounted} of {} planned files have no class{first}", c.planned));
        }
        let failed: u64 = self.troubles.iter().map(|t| t.files_failed).sum();
        if c.done() != c.planned || failed != c.failed {
            return Err(format!(
                "{} planned, {} classed, {} failed, {failed} explained",
                c.planned,
                c.done(),
                c.failed
            ));
        }
        Ok(())
    }

    pub(super) fn summary(&self, elapsed: Duration) -> Summary {
        let hop_of = |by: &str| self.hashers.iter().find(|h| h.0 == by).map(|h| h.1.clone());
        let mut hops: Vec<&str> = Vec::new();
        for t in &self.troubles {
            if !hops.contains(&t.hop.as_str()) {
                hops.push(&t.hop);
            }
        }
        let mut troubles: Vec<Trouble> =
            self.troubles.iter().filter(|t| t.failures() + t.drops() > 0).cloned().collect();
        troubles.sort_by_key(|t| (hops.iter().position(|h| *h == t.hop), t.stage, t.cause));
        Summary {
            elapsed,
            counts: self.counts,
            miscounted: self.check().err(),
            verified_by: self
                .verified_by
                .iter()
                .map(|&(by, files)| VerifiedBy { by, hop: hop_of(by), files })
                .collect(),
            skipped_for: self.skipped_for.clone(),
            troubles,
            limits: self.limits.clone(),
            logins: self.logins.clone(),
            server_texts: self.texts.clone(),
        }
    }
}

/// The element that is the `same`, or a `new` one at the end; `None` if the list is at its cap.
fn find_or_add<T>(list: &mut Vec<T>, same: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> Option<&mut T> {
    match list.iter().position(same) {
        Some(at) => list.get_mut(at),
        None if list.len() >= LIST_MAX => None,
        None => {
            list.push(new());
            list.last_mut()
        }
    }
}
