//! The one owner of standard output and error.
//!
//! Each method is one event and prints the lines that rsync prints for it under the same options, or nothing. A closed standard
//! output silences it and is remembered ([`Printer::stdout_failed`]); a slow one makes its caller wait, who therefore must not
//! hold anything that the transfer needs.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::format::{self, Told};
use super::itemize::Item;
use super::log::{self, Log};
use super::stats::Stats;
use super::streams::{Sink, Streams};
use super::text::{Charset, escape_name, escape_text};
use super::watch::Watch;
use super::{listing, progress};
use crate::cli::UsageError;
use crate::cli::exit::Exit;
use crate::entry::Meta;
use crate::fault::Fault;
use crate::job::{Job, Options, Place};
use crate::plan::filter::{Side, Verdict};
use crate::verify::blocks;

/// Why a file is left alone (`--info=skip`, shown at `-vv`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// `-u`: the destination's is newer.
    Newer,
    /// `--ignore-existing`.
    Exists {
        how: &'static str,
    },
    /// `--existing`: the destination has none.
    NotCreating {
        is_dir: bool,
    },
    OverMax,
    UnderMin,
}

/// Prints what a run does. Share it by reference or in an `Arc`.
pub struct Printer {
    options: Options,
    push: bool,
    charset: Charset,
    watch: Watch,
    streams: Mutex<Streams>,
    /// `--log-file`.
    log: Option<Mutex<Log>>,
}

impl Printer {
    /// For `job`, on this process's standard streams. The bar is shown if standard error is a terminal and nothing else
    /// reports progress.
    pub fn new(job: &Job) -> Printer {
        let o = &job.options;
        let shown = io::stderr().is_terminal() && !o.quiet && o.info.progress == 0 && !o.list_only && !o.dry_run;
        let (out, terminal): (Sink, bool) = match o.all_to_stderr {
            true => (Box::new(io::stderr()), io::stderr().is_terminal()),
            false => (Box::new(io::stdout()), io::stdout().is_terminal()),
        };
        let charset =
            if o.eight_bit_output { Charset::EightBit } else { Charset::of_locale(|name| std::env::var_os(name)) };
        Printer::on(job, charset, Watch::new(shown), out, Box::new(io::stderr()), terminal)
    }

    fn on(job: &Job, charset: Charset, watch: Watch, out: Sink, err: Sink, terminal: bool) -> Printer {
        Printer {
            options: job.options.clone(),
            push: !job.sources.first().is_some_and(Place::is_remote),
            charset,
            watch,
            streams: Mutex::new(Streams::new(out, err, terminal)),
            log: None,
        }
    }

    /// As it is, and writing `--log-file` to `file`.
    pub fn logging(mut self, file: Sink) -> Printer {
        self.log = Some(Mutex::new(Log::new(file)));
        self
    }

    fn log(&self, text: &[u8]) {
        let Some(log) = &self.log else { return };
        let written = log.lock().unwrap_or_else(PoisonError::into_inner).line(text);
        if !written {
            self.error("the log file cannot be written any more (--log-file)");
        }
    }

    fn log_update(&self, told: &Told<'_>) {
        if self.log.is_some() && !self.options.dry_run {
            let format = self.options.log_file_format.as_deref().unwrap_or(log::FORMAT);
            let names =
                matches!(told, Told::Deleted { .. }) && !format::has(format, b'i') && !format::has(format, b'o');
            let format = if names { b"deleting %n" } else { format };
            self.log(&self.name(&format::line(format, told, &self.options, log::now())));
        }
    }

    /// The bar; clones share it.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Standard output was closed, or failed: rsync would end with exit 10 or 13; the transfer goes on here.
    pub fn stdout_failed(&self) -> bool {
        self.streams().out_failed
    }

    /// `sending incremental file list`, or as rsync says it of a list that it makes at once; of a lone file, nothing.
    pub fn heading(&self) {
        let log: &[u8] = if self.push { b"building file list" } else { b"receiving file list" };
        self.log(log);
        let o = &self.options;
        if o.info.flist >= 1 && (o.recursive || o.dirs) {
            let heading: &[u8] = match (o.incremental, self.push) {
                (true, true) => b"sending incremental file list",
                (true, false) => b"receiving incremental file list",
                (false, true) => b"building file list ... done",
                (false, false) => b"receiving file list ... done",
            };
            self.shown(heading);
        }
    }

    /// A directory was made for the destination, or would be.
    pub fn created_directory(&self, path: &[u8]) {
        self.created(b"created directory ", path);
    }

    /// `--mkpath`: so many directories were made, or would be, the last being `path`.
    pub fn created_path(&self, path: &[u8], count: usize) {
        match count {
            1 => self.created(b"created 1 directory for ", path),
            many => self.created(format!("created {many} directories for ").as_bytes(), path),
        }
    }

    fn created(&self, what: &[u8], path: &[u8]) {
        if self.options.info.name >= 1 || self.options.itemize {
            self.line(&[what, &self.name(path)].concat());
        }
    }

    /// A directory that should go has something in it that stays.
    pub fn not_empty(&self, path: &[u8]) {
        self.line(&[b"cannot delete non-empty directory: ".as_slice(), &self.name(path)].concat());
    }

    /// Whether it is told what the filters do (`-vv`, `--debug=filter`).
    pub fn tells_filters(&self) -> bool {
        self.options.info.debug.filter
    }

    /// What a rule says of a path, as [`Printer::tells_filters`].
    pub fn judged(&self, side: Side, path: &[u8], is_dir: bool, verdict: &Verdict) {
        if !self.tells_filters() {
            return;
        }
        let what: &[u8] = match (side, verdict.excludes) {
            (Side::Sender, true) => b"[sender] hiding ",
            (Side::Sender, false) => b"[sender] showing ",
            (Side::Receiver, true) => b"[generator] protecting ",
            (Side::Receiver, false) => b"[generator] risking ",
        };
        let kind: &[u8] = if is_dir { b"directory " } else { b"file " };
        let because = self.name(&verdict.because);
        self.line(&[what, kind, &self.name(path), b" because of pattern ", &because].concat());
    }

    /// Whether files may be made of parts that the destination has (`-vv`).
    pub fn delta(&self, may_be: bool) {
        if self.options.info.debug.flist {
            self.line(match may_be {
                true => b"delta-transmission enabled",
                false => b"delta-transmission disabled for local transfer or --whole-file",
            });
        }
    }

    /// Where `--backup-dir` is; it will be made if it is not there.
    pub fn backup_dir(&self, path: &[u8], is_new: bool) {
        if self.options.info.backup >= 1 {
            let new: &[u8] = if is_new { b"(new) " } else { b"" };
            self.line(&[new, b"backup_dir is ", &self.name(path)].concat());
        }
    }

    /// Whether any update is told of at all.
    pub fn tells_items(&self) -> bool {
        let o = &self.options;
        o.info.name >= 1 || o.itemize || o.out_format.is_some() || self.log.is_some()
    }

    /// Whether a line of an item's own comes of it, in its format.
    pub fn shows(&self, item: &Item<'_>) -> bool {
        let format = self.options.log_file_format.as_deref().unwrap_or(log::FORMAT);
        let logged = self.log.is_some() && item.is_logged(&self.options, format::has(format, b'i'));
        logged || item.is_listed(&self.options)
    }

    /// Whether it is told of what is up to date too.
    pub fn tells_uptodate(&self) -> bool {
        self.options.info.name >= 2
    }

    /// A file is, or would be, updated; or is found up to date (`-vv`, `-ii`).
    pub fn item(&self, item: &Item<'_>) {
        if self.log.is_some() {
            let format = self.options.log_file_format.as_deref().unwrap_or(log::FORMAT);
            let itemize = format::has(format, b'i');
            if item.is_logged(&self.options, itemize) {
                self.log_update(&Told::Item(item));
            }
        }
        if !item.is_listed(&self.options) {
            // Of directories, rsync says so only where a basis has them.
            if self.options.info.name >= 2 && !self.options.itemize && (!item.new.is_dir() || item.matched) {
                let slash: &[u8] = if item.new.is_dir() { b"/" } else { b"" };
                let end: &[u8] = if item.is_significant(&self.options) { b"" } else { b" is uptodate" };
                self.line(&[&self.name(item.path), slash, end].concat());
            }
            return;
        }
        if let Some(format) = &self.options.out_format {
            let line = format::line(format, &Told::Item(item), &self.options, log::now());
            return self.shown(&self.name(&line));
        }
        let mut line = Vec::new();
        if self.options.itemize {
            line.extend_from_slice(item.string(&self.options).as_bytes());
            line.push(b' ');
        }
        line.extend(self.name(item.path));
        if item.new.is_dir() {
            line.push(b'/');
        }
        if let Some(first) = item.hard_link.filter(|first| !first.is_empty()) {
            line.extend_from_slice(b" => ");
            line.extend(self.name(first));
        } else if let Some(target) = item.target {
            line.extend_from_slice(b" -> ");
            line.extend(self.name(target));
        }
        self.shown(&line);
    }

    /// An extraneous file is, or would be, deleted.
    pub fn deleting(&self, path: &[u8], is_dir: bool) {
        let told = Told::Deleted { path, is_dir };
        self.log_update(&told);
        if let Some(format) = &self.options.out_format {
            if format::has(format, b'i') || format::has(format, b'o') {
                let line = format::line(format, &told, &self.options, log::now());
                return self.shown(&self.name(&line));
            }
            let end: &[u8] = if is_dir { b"/" } else { b"" };
            return self.shown(&[b"deleting ", self.name(path).as_slice(), end].concat());
        }
        let start: &[u8] = match self.options.itemize {
            true => b"*deleting   ",
            false if self.options.info.del >= 1 => b"deleting ",
            false => return,
        };
        let end: &[u8] = if is_dir { b"/" } else { b"" };
        self.shown(&[start, &self.name(path), end].concat());
    }

    /// A pass of deletions of its own begins in the directory of an operand (`-vv`).
    pub fn deleting_in(&self, path: &[u8]) {
        if self.options.info.debug.del {
            self.line(&[b"deleting in ".as_slice(), &self.name(path)].concat());
        }
    }

    /// `--safe-links` leaves a link out (told as a name is).
    pub fn unsafe_link(&self, path: &[u8], target: &[u8]) {
        if self.options.info.name >= 1 {
            self.unsafe_symlink(b"ignoring", path, target);
        }
    }

    /// `--copy-unsafe-links` copies what a link leads to.
    pub fn copying_unsafe_link(&self, path: &[u8], target: &[u8]) {
        if self.options.info.symsafe >= 1 {
            self.unsafe_symlink(b"copying", path, target);
        }
    }

    fn unsafe_symlink(&self, what: &[u8], path: &[u8], target: &[u8]) {
        let (path, target) = (self.name(path), self.name(target));
        self.line(&[what, b" unsafe symlink \"", &path, b"\" -> \"", &target, b"\""].concat());
    }

    /// `--backup` kept something under another name.
    pub fn backed_up(&self, path: &[u8], to: &[u8]) {
        if self.options.info.backup >= 1 {
            self.line(&[b"backed up ".as_slice(), &self.name(path), b" to ", &self.name(to)].concat());
        }
    }

    /// `--remove-source-files` removed one.
    pub fn removed_source(&self, path: &[u8]) {
        if self.options.info.remove >= 1 {
            self.line(&[b"sender removed ".as_slice(), &self.name(path)].concat());
        }
    }

    /// A source that `--remove-source-files` should remove was gone.
    pub fn no_source_left(&self, path: &[u8]) {
        self.line(&[b"sender file already removed: ".as_slice(), &self.name(path)].concat());
    }

    /// A link without `-l`, a device or a special file without `-D`.
    pub fn skipping_non_regular(&self, path: &[u8]) {
        if self.options.info.nonreg >= 1 {
            self.line(&[b"skipping non-regular file \"".as_slice(), &self.name(path), b"\""].concat());
        }
    }

    /// A directory without `-r` or `-d`.
    pub fn skipping_directory(&self, path: &[u8]) {
        self.line(&[b"skipping directory ".as_slice(), &self.name(path)].concat());
    }

    /// A file is left alone because an option says so.
    pub fn skipped(&self, path: &[u8], why: Skip) {
        if self.options.info.skip < 1 {
            return;
        }
        let name = self.name(path);
        let line = match why {
            Skip::Newer => [&name, b" is newer".as_slice()].concat(),
            Skip::Exists { how } => [&name, b" exists".as_slice(), how.as_bytes()].concat(),
            Skip::NotCreating { is_dir } => {
                let what: &[u8] = if is_dir { b"directory" } else { b"file" };
                [b"not creating new ".as_slice(), what, b" \"", &name, b"\""].concat()
            }
            Skip::OverMax => [&name, b" is over max-size".as_slice()].concat(),
            Skip::UnderMin => [&name, b" is under min-size".as_slice()].concat(),
        };
        self.line(&line);
    }

    /// A listing failed, so nothing is deleted.
    pub fn deletion_disabled(&self) {
        self.line(b"IO error encountered -- skipping file deletion");
    }

    /// `--max-delete` left `skipped` files in place.
    pub fn max_delete_reached(&self, skipped: u64) {
        self.error_line(format!("Deletions stopped due to --max-delete limit ({skipped} skipped)").as_bytes());
    }

    /// One line of `--list-only`.
    pub fn listed(&self, path: &[u8], meta: &Meta, target: Option<&[u8]>) {
        let o = &self.options;
        let mut line = listing::columns(meta, o.human_readable, &listing::local_time(meta.mtime)).into_bytes();
        line.extend(self.name(path));
        if let (Some(target), true) = (target, o.links) {
            line.extend_from_slice(b" -> ");
            line.extend(self.name(target));
        }
        self.line(&line);
    }

    /// `--progress`: `done` of `size` bytes of the file whose name was printed last, at `per_second` bytes. For use while one
    /// file is on its way alone; call it about once a second.
    pub fn file_progress(&self, done: u64, size: u64, per_second: f64) {
        if self.options.info.progress == 1 {
            let remains = size.saturating_sub(done) as f64 / per_second;
            let remains = Duration::try_from_secs_f64(remains).ok();
            self.open(&(progress::line(done, size, per_second, remains, self.options.human_readable) + "  "));
        }
    }

    /// `--progress`: the file whose name was printed last is whole, after `elapsed`.
    pub fn file_done(&self, size: u64, elapsed: Duration, tally: &progress::Tally) {
        if self.options.info.progress == 1 && !self.options.dry_run && !self.options.quiet {
            let level = self.options.human_readable;
            let text = progress::line(size, size, progress::rate(size, elapsed), Some(elapsed), level);
            let last = format!("{text}  {text}{}\n", progress::tally(tally));
            self.print(|streams| {
                streams.open_line = false;
                streams.out(last.as_bytes());
            });
        }
    }

    /// `--info=progress2`: `done` of `size` bytes of the whole run.
    pub fn total_progress(&self, done: u64, size: u64, elapsed: Duration, tally: &progress::Tally) {
        if self.options.info.progress >= 2 {
            let rate = progress::rate(done, elapsed);
            let text = progress::line(done, size, rate, Some(elapsed), self.options.human_readable);
            self.open(&(text + &progress::tally(tally)));
        }
    }

    /// The end of the run: the block of `--stats` and the last two lines, as far as asked for.
    pub fn summary(&self, stats: &Stats) {
        self.watch.finish();
        let o = &self.options;
        let mut text = String::new();
        if o.info.debug.deltasum {
            // Bytes are counted, not blocks, which differ in length.
            let (parts, data) = (stats.matched.div_ceil(blocks::length(0)), stats.literal);
            text += &format!("total: matches={parts}  hash_hits={parts}  false_alarms=0 data={data}\n");
        }
        if o.info.stats >= 2 {
            text += &format!("\n{}", stats.block(o.human_readable));
        }
        if o.info.stats >= 1 {
            text += &format!("\n{}", stats.ending(o.human_readable, o.dry_run));
        }
        if self.log.is_some() {
            match o.info.stats {
                0 => self.log(stats.log_line().as_bytes()),
                _ => text.lines().filter(|line| !line.is_empty()).for_each(|line| self.log(line.as_bytes())),
            }
        }
        if !o.quiet {
            self.print(|streams| {
                streams.close_line();
                streams.out(text.as_bytes());
            });
        }
        self.flush();
    }

    /// Writes what is still buffered. For a tick now and then, while a long file is on its way.
    pub fn flush(&self) {
        let mut streams = self.streams();
        self.watch.above(|| streams.write());
    }

    /// A failure: `hopsync: HOP: STAGE: text`, and the file that it concerns.
    pub fn fault(&self, fault: &Fault, file: Option<&[u8]>) {
        let mut line = format!("hopsync: {}", escape_text(&fault.to_string())).into_bytes();
        if let Some(file) = file {
            line.extend_from_slice(b" (file \"");
            line.extend(self.name(file));
            line.extend_from_slice(b"\")");
        }
        self.error_line(&line);
    }

    /// A sentence of our own on standard error; its lines are kept, anything else in it is escaped.
    pub fn error(&self, text: &str) {
        self.error_line(own_lines(text).as_bytes());
    }

    /// As [`error`](Self::error), but only for a person: not with `-q`, and not without a terminal on standard error.
    pub fn remark(&self, text: &str) {
        if !self.options.quiet && io::stderr().is_terminal() {
            self.error(text);
        }
    }

    /// The line that names a failed run's exit code; nothing for success. Call it last.
    pub fn exit(&self, exit: Exit) {
        self.watch.finish();
        match exit.line() {
            Some(line) => self.error_line(line.as_bytes()),
            None => self.flush(),
        }
    }

    fn name(&self, path: &[u8]) -> Vec<u8> {
        escape_name(path, self.charset)
    }

    fn line(&self, text: &[u8]) {
        self.log(text);
        self.shown(text);
    }

    /// As [`Printer::line`], for what the log file has in its own format.
    fn shown(&self, text: &[u8]) {
        if self.options.quiet {
            return;
        }
        self.print(|streams| {
            streams.close_line();
            streams.out(&[text, b"\n"].concat());
        });
    }

    /// Text that starts with a carriage return and leaves its line open.
    fn open(&self, text: &str) {
        if self.options.quiet {
            return;
        }
        self.print(|streams| {
            streams.out(text.as_bytes());
            streams.open_line = true;
        });
    }

    fn error_line(&self, text: &[u8]) {
        self.log(text);
        self.print(|streams| {
            streams.close_line();
            streams.err_buffer.extend_from_slice(text);
            streams.err_buffer.push(b'\n');
        });
    }

    fn print(&self, print: impl FnOnce(&mut Streams)) {
        let mut streams = self.streams();
        print(&mut streams);
        if streams.is_due(self.watch.is_shown()) {
            self.watch.above(|| streams.write());
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        // A panic elsewhere leaves the streams as usable as they were.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.watch.finish();
        self.flush();
    }
}

/// Prints the text of `--help` and `--version`. False if standard output is closed.
pub fn print_text(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Prints a usage error and the line with its exit code, where there is no [`Printer`] yet.
pub fn print_usage_error(error: &UsageError) {
    let mut text = format!("hopsync: {}\n", own_lines(error.text.trim_end()));
    if let Some(line) = Exit::from_code(error.code).and_then(Exit::line) {
        text += &(line + "\n");
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Operands and values are quoted in our sentences: only their line ends may pass.
fn own_lines(text: &str) -> String {
    text.split('\n').map(escape_text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
