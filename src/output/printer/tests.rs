//! What is printed for what, on sinks that tests can read.

use std::sync::Arc;

use super::*;
use crate::entry::Kind;
use crate::fault::{Cause, Stage};
use crate::output::{Counts, Tally};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("is UTF-8")
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A closed pipe.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

/// A pull or a push with the options of this command line.
fn job(words: &str, push: bool) -> Job {
    let words = words.split_whitespace().map(Into::into);
    let ends: [std::ffi::OsString; 2] =
        if push { ["src".into(), "h:dst".into()] } else { ["h:src".into(), "dst".into()] };
    match crate::cli::parse(words.chain(ends), |_| None) {
        Ok(crate::cli::Command::Run(job)) => *job,
        other => panic!("{other:?}"),
    }
}

/// What `act` prints: standard output and error.
fn printed(words: &str, push: bool, act: impl FnOnce(&Printer)) -> (String, String) {
    let (out, err) = (Page::default(), Page::default());
    let sinks: (Sink, Sink) = (Box::new(out.clone()), Box::new(err.clone()));
    let printer = Printer::on(&job(words, push), Charset::Ascii, Watch::new(false), sinks.0, sinks.1, false);
    act(&printer);
    drop(printer);
    (out.text(), err.text())
}

fn out(words: &str, act: impl FnOnce(&Printer)) -> String {
    printed(words, false, act).0
}

fn meta(kind: Kind) -> Meta {
    Meta { kind, size: 6, mtime: 100, mtime_nsec: 0, atime: 0, mode: 0o644, uid: 0, gid: 0, dev: 0, ino: 0, links: 1 }
}

fn new<'a>(path: &'a [u8], meta: &'a Meta) -> Item<'a> {
    Item {
        path,
        new: meta,
        old: None,
        target: None,
        update: if meta.is_file() { super::super::Update::Transfer } else { super::super::Update::Create },
        content_differs: false,
        push: false,
        sets_owner: false,
        sets_group: false,
        source: (b"", path),
        receives: false,
        hard_link: None,
        matched: false,
        sum: None,
    }
}

fn a_small_run(printer: &Printer) {
    let (dir, file, link) = (meta(Kind::Dir), meta(Kind::File), meta(Kind::Symlink));
    printer.heading();
    printer.created_directory(b"dst");
    printer.item(&new(b".", &dir));
    printer.item(&new(b"a\n", &file));
    printer.item(&Item { target: Some(b"t\x1b"), ..new(b"link", &link) });
    printer.item(&Item { old: Some(&file), update: super::super::Update::Attributes, ..new(b"same", &file) });
    printer.deleting(b"old", true);
    printer.skipping_non_regular(b"ff");
}

#[test]
fn a_run_without_v_says_only_what_it_skips() {
    assert_eq!(out("-a", a_small_run), "skipping non-regular file \"ff\"\n");
    assert_eq!(out("-aq", a_small_run), "");
    assert_eq!(out("-avq", a_small_run), "");
}

#[test]
fn verbose_lists_names_as_rsync_does() {
    assert_eq!(
        out("-av", a_small_run),
        "receiving incremental file list\ncreated directory dst\n./\na\\#012\nlink -> t\\#033\ndeleting old/\n\
         skipping non-regular file \"ff\"\n"
    );
    assert!(out("-avv", a_small_run).contains("\nsame is uptodate\n"));
    let heading = |options: &str, push| printed(options, push, Printer::heading).0;
    assert!(heading("-av", true).starts_with("sending incremental file list\n"));
    assert!(heading("-dv", true).starts_with("building file list ... done\n"));
    assert!(heading("-av --delay-updates", false).starts_with("receiving file list ... done\n"));
    assert!(heading("-v", true).is_empty());
}

#[test]
fn itemize_shows_changes_and_no_heading() {
    assert_eq!(
        out("-ai", a_small_run),
        "created directory dst\ncd+++++++++ ./\n>f+++++++++ a\\#012\ncL+++++++++ link -> t\\#033\n*deleting   old/\n\
         skipping non-regular file \"ff\"\n"
    );
    assert!(out("-aii", a_small_run).contains("\n.f          same\n"));
}

#[test]
fn stats_and_the_last_lines_come_when_asked_for() {
    let stats = Stats { files: Counts { reg: 1, ..Counts::default() }, sent: 10, received: 10, ..Stats::default() };
    assert_eq!(out("-a", |p| p.summary(&stats)), "");
    assert!(out("-av", |p| p.summary(&stats)).starts_with("\nsent 10 bytes  received 10 bytes  "));
    let all = out("-an --stats", |p| p.summary(&stats));
    assert!(all.starts_with("\nNumber of files: 1 (reg: 1)\n") && all.ends_with(" (DRY RUN)\n"), "{all}");
    assert!(all.contains("\n\nsent "));
}

#[test]
fn progress_lines_follow_the_name() {
    let tally = Tally { transferred: 1, left: 5, total: 7, scanning: false };
    let file = meta(Kind::File);
    let text = out("-a --progress", |p| {
        p.item(&new(b"a", &file));
        p.file_progress(3, 6, 3.0);
        p.file_done(6, Duration::ZERO, &tally);
    });
    assert_eq!(
        text,
        "a\n\r              3  50%    0.00kB/s    0:00:01  \
         \r              6 100%    5.86kB/s    0:00:00  \
         \r              6 100%    5.86kB/s    0:00:00 (xfr#1, to-chk=5/7)\n"
    );
    let text = out("-a --info=progress2,name", |p| {
        p.total_progress(6, 12, Duration::ZERO, &tally);
        p.item(&new(b"a", &file));
        p.total_progress(12, 12, Duration::ZERO, &tally);
        p.summary(&Stats::default());
    });
    assert_eq!(
        text,
        "\r              6  50%    5.86kB/s    0:00:00 (xfr#1, to-chk=5/7)\na\n\
         \r             12 100%   11.72kB/s    0:00:00 (xfr#1, to-chk=5/7)\n"
    );
}

#[test]
fn a_listing_shows_targets_only_with_l() {
    let link = meta(Kind::Symlink);
    let list = |words| out(words, |p| p.listed(b"x", &link, Some(b"t")));
    assert!(list("--list-only").ends_with(" x\n"));
    assert!(list("--list-only -l").ends_with(" x -> t\n"));
    assert_eq!(list("--list-only -q"), "");
}

#[test]
fn faults_go_to_standard_error_and_are_escaped() {
    let fault = Fault::new("head", Stage::Banner, Cause::StartLimit, "dropped: \"Exceeded\x1b[2J MaxStartups\r\n\"");
    let (out, err) = printed("-aq", false, |p| {
        p.fault(&fault, None);
        p.fault(&Fault::new("local", Stage::Open, Cause::Permission, "Permission denied (13)"), Some(b"a\nb"));
        p.max_delete_reached(2);
        p.exit(Exit::Partial);
    });
    assert_eq!(out, "");
    assert_eq!(
        err,
        "hopsync: head: banner: dropped: \"Exceeded\\#033[2J MaxStartups\\#015\\#012\"\n\
         hopsync: local: open: Permission denied (13) (file \"a\\#012b\")\n\
         Deletions stopped due to --max-delete limit (2 skipped)\n\
         hopsync error: some files/attrs were not transferred (see previous errors) (code 23)\n"
    );
    assert_eq!(own_lines("one\ntwo\x1b"), "one\ntwo\\#033");
}

#[test]
fn a_closed_standard_output_is_remembered_and_nothing_hangs_or_panics() {
    let err = Page::default();
    let sinks: (Sink, Sink) = (Box::new(Closed), Box::new(err.clone()));
    let printer = Printer::on(&job("-av", true), Charset::Ascii, Watch::new(false), sinks.0, sinks.1, true);
    assert!(!printer.stdout_failed());
    a_small_run(&printer);
    assert!(printer.stdout_failed());
    printer.error("still heard");
    printer.exit(Exit::Ok);
    drop(printer);
    assert_eq!(err.text(), "still heard\n");
}

#[test]
fn skips_are_told_at_vv() {
    let all = |p: &Printer| {
        for why in
            [Skip::Newer, Skip::Exists { how: "" }, Skip::NotCreating { is_dir: false }, Skip::OverMax, Skip::UnderMin]
        {
            p.skipped(b"f", why);
        }
    };
    assert_eq!(out("-av", all), "");
    assert_eq!(
        out("-avv", all),
        "f is newer\nf exists\nnot creating new file \"f\"\nf is over max-size\nf is under min-size\n"
    );
}
