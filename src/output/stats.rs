//! The block of `--stats`, and the two lines that end a run.

use std::time::Duration;

use super::number::{count, count_float, human, human_float};
use crate::entry::{Kind, Meta};

/// Files by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub reg: u64,
    pub dir: u64,
    pub link: u64,
    pub dev: u64,
    pub special: u64,
}

impl Counts {
    pub fn add(&mut self, kind: Kind) {
        *self.of(kind) += 1;
    }

    /// One that was added is none after all.
    pub fn take_back(&mut self, kind: Kind) {
        let count = self.of(kind);
        *count = count.saturating_sub(1);
    }

    fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::File => &mut self.reg,
            Kind::Dir => &mut self.dir,
            Kind::Symlink => &mut self.link,
            Kind::Device => &mut self.dev,
            Kind::Special => &mut self.special,
        }
    }

    pub fn total(&self) -> u64 {
        self.reg + self.dir + self.link + self.dev + self.special
    }

    /// `7 (reg: 3, dir: 2, link: 1, special: 1)`: the kinds that there are.
    fn text(&self, level: u8) -> String {
        let parts: Vec<String> =
            [("reg", self.reg), ("dir", self.dir), ("link", self.link), ("dev", self.dev), ("special", self.special)]
                .into_iter()
                .filter(|(_, number)| *number > 0)
                .map(|(label, number)| format!("{label}: {}", count(number, level)))
                .collect();
        match parts.is_empty() {
            true => "0".to_owned(),
            false => format!("{} ({})", count(self.total(), level), parts.join(", ")),
        }
    }
}

/// What a run did, in rsync's terms. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    pub files: Counts,
    pub created: Counts,
    pub deleted: Counts,
    /// Regular files whose data was sent.
    pub transferred: u64,
    /// Of all files and links considered.
    pub total_size: u64,
    /// Of the files sent.
    pub transferred_size: u64,
    /// File data that crossed the wire.
    pub literal: u64,
    /// File data that the receiver had: parts of the old files at the same place.
    pub matched: u64,
    /// Bytes of directory listings received from or sent for the far end.
    pub list_size: u64,
    pub list_time: Duration,
    pub list_transfer_time: Duration,
    /// Of the whole connection, as far as this process knows.
    pub sent: u64,
    pub received: u64,
    pub elapsed: Duration,
}

impl Stats {
    /// Counts an entry of the source.
    pub fn found(&mut self, meta: &Meta) {
        self.files.add(meta.kind);
        if matches!(meta.kind, Kind::File | Kind::Symlink) {
            self.total_size += meta.size;
        }
    }

    /// The lines of `--stats`, in rsync's order.
    pub fn block(&self, level: u8) -> String {
        let size = |number| human(number, level);
        let seconds = |time: Duration| count_float(time.as_secs_f64(), level, 3);
        [
            format!("Number of files: {}", self.files.text(level)),
            format!("Number of created files: {}", self.created.text(level)),
            format!("Number of deleted files: {}", self.deleted.text(level)),
            format!("Number of regular files transferred: {}", count(self.transferred, level)),
            format!("Total file size: {} bytes", size(self.total_size)),
            format!("Total transferred file size: {} bytes", size(self.transferred_size)),
            format!("Literal data: {} bytes", size(self.literal)),
            format!("Matched data: {} bytes", size(self.matched)),
            format!("File list size: {}", size(self.list_size)),
            format!("File list generation time: {} seconds", seconds(self.list_time)),
            format!("File list transfer time: {} seconds", seconds(self.list_transfer_time)),
            format!("Total bytes sent: {}", size(self.sent)),
            format!("Total bytes received: {}", size(self.received)),
        ]
        .map(|line| line + "\n")
        .concat()
    }

    /// The last line of a log file.
    pub fn log_line(&self) -> String {
        format!(
            "sent {} bytes  received {} bytes  total size {}",
            count(self.sent, 1),
            count(self.received, 1),
            count(self.total_size, 1)
        )
    }

    /// `sent … received …` and `total size is …`.
    pub fn ending(&self, level: u8, dry_run: bool) -> String {
        let wire = (self.sent as f64) + (self.received as f64);
        // rsync counts whole seconds, and half of one for good measure (main.c, output_summary).
        let rate = wire / (0.5 + self.elapsed.as_secs() as f64);
        let speedup = if wire > 0.0 { self.total_size as f64 / wire } else { 0.0 };
        format!(
            "sent {} bytes  received {} bytes  {} bytes/sec\ntotal size is {}  speedup is {}{}\n",
            human(self.sent, level),
            human(self.received, level),
            human_float(rate, level, 2),
            human(self.total_size, level),
            count_float(speedup, level, 2),
            if dry_run { " (DRY RUN)" } else { "" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> Stats {
        Stats {
            files: Counts { reg: 3, dir: 2, link: 1, dev: 0, special: 1 },
            created: Counts { reg: 1234, ..Counts::default() },
            transferred: 3,
            total_size: 3010,
            transferred_size: 3009,
            literal: 3009,
            list_time: Duration::from_millis(1),
            sent: 3339,
            received: 117,
            ..Stats::default()
        }
    }

    #[test]
    fn the_block_is_rsyncs() {
        assert_eq!(
            stats().block(1),
            "Number of files: 7 (reg: 3, dir: 2, link: 1, special: 1)\n\
             Number of created files: 1,234 (reg: 1,234)\n\
             Number of deleted files: 0\n\
             Number of regular files transferred: 3\n\
             Total file size: 3,010 bytes\n\
             Total transferred file size: 3,009 bytes\n\
             Literal data: 3,009 bytes\n\
             Matched data: 0 bytes\n\
             File list size: 0\n\
             File list generation time: 0.001 seconds\n\
             File list transfer time: 0.000 seconds\n\
             Total bytes sent: 3,339\n\
             Total bytes received: 117\n"
        );
        assert!(stats().block(2).contains("Total file size: 3.01K bytes\n"));
        assert!(stats().block(0).contains("Total file size: 3010 bytes\n"));
    }

    #[test]
    fn the_ending_is_rsyncs() {
        assert_eq!(
            stats().ending(1, false),
            "sent 3,339 bytes  received 117 bytes  6,912.00 bytes/sec\ntotal size is 3,010  speedup is 0.87\n"
        );
        assert_eq!(
            stats().ending(2, true),
            "sent 3.34K bytes  received 117 bytes  6.91K bytes/sec\ntotal size is 3.01K  speedup is 0.87 (DRY RUN)\n"
        );
        assert!(Stats::default().ending(1, false).ends_with("total size is 0  speedup is 0.00\n"));
    }
}
