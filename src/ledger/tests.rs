//! The ledger's rules, as its callers see them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A report that can be read back.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes
            .split_inclusive(|b| *b == b'\n')
            .map(|line| serde_json::from_slice(line).expect("a line is JSON"))
            .collect()
    }
}

fn ledger() -> Ledger {
    Ledger::new(Settings::default())
}

fn fault(stage: Stage, cause: Cause) -> Fault {
    Fault::new("target", stage, cause, format!("{cause:?} while {stage}"))
}

fn attempt<'a>(file: FileId, number: u32, result: Result<(), &'a Fault>) -> Attempt<'a> {
    let (elapsed, waited) = (Duration::from_millis(20), Duration::from_millis(3));
    Attempt {
        file,
        path: b"a/file",
        number,
        lane: Some(0),
        channel: Some(3),
        bytes: 7,
        matched: 0,
        elapsed,
        waited,
        result,
    }
}

fn connect(ledger: &Ledger) {
    let stages = &[(Stage::Tcp, Duration::from_millis(1)), (Stage::HostKey, Duration::from_micros(250))];
    for (hop, via) in [("head", None), ("user", Some("head"))] {
        ledger.event(Event::HopConnected {
            hop,
            via,
            lane: None,
            banner: "SSH-2.0-OpenSSH_9.2",
            kex: "curve25519-sha256",
            cipher: "aes128-gcm@openssh.com",
            user: "me",
            method: "publickey",
            stages,
        });
    }
}

fn shared_hop(hop: &str) -> HopFacts {
    HopFacts {
        hop: hop.to_owned(),
        via: (hop == "user").then(|| "head".to_owned()),
        banner: "SSH-2.0-OpenSSH_9.2".to_owned(),
        kex: "curve25519-sha256".to_owned(),
        cipher: "aes128-gcm@openssh.com".to_owned(),
        user: "me".to_owned(),
        method: "publickey".to_owned(),
    }
}

fn open_channels(ledger: &Ledger, count: u32) {
    for channel in 0..count {
        let (lane, purpose, elapsed) = (0, Purpose::Files, Duration::from_millis(2));
        ledger.event(Event::ChannelOpened { hop: "user", lane, channel, purpose, elapsed });
    }
}

#[test]
fn a_run_without_trouble_ends_in_one_line() {
    let l = ledger();
    connect(&l);
    open_channels(&l, 10);
    l.event(Event::LimitFound { hop: "user", sessions: 10, files: 9, hashing: 1, refused: 1 });
    l.event(Event::HasherChosen { hop: "user", by: "b3sum", detail: "b3sum 1.8" });
    for _ in 0..900 {
        let id = l.planned(b"f", 1 << 20);
        l.attempt(attempt(id, 1, Ok(())));
        assert!(l.class(id, b"f", Class::Verified("b3sum")));
    }
    let summary = l.summary();
    assert!(summary.is_well());
    assert_eq!(
        summary.closing_line(),
        "900 files delivered, all verified (b3sum at user); 1 connection, 10 channels \
         (user allows 10 sessions: 9 used for files, 1 kept for hashing); 0 drops"
    );
    assert_eq!(summary.table(), "");
    assert_eq!(summary.counts.verified_bytes, 900 << 20);
}

#[test]
fn a_run_with_trouble_says_where_and_why() {
    let l = ledger();
    let lost = fault(Stage::Write, Cause::Lost);
    let denied = fault(Stage::Open, Cause::Permission);
    let (a, b, c) = (l.planned(b"a", 5), l.planned(b"b\x1b", 5), l.planned(b"c", 5));
    l.attempt(attempt(a, 1, Err(&lost)));
    l.attempt(attempt(a, 2, Ok(())));
    l.class(a, b"a", Class::Sent);
    l.attempt(attempt(b, 1, Err(&denied)));
    l.class(b, b"b\x1b", Class::Failed(denied));
    l.class(c, b"c", Class::Unchanged);
    let pre = Fault::new("head", Stage::Banner, Cause::StartLimit, "Not allowed at this time");
    l.drop_counted(&pre, What::Connection);
    l.event(Event::ServerText { hop: "head", kind: TextKind::PreBanner, text: "Not allowed\x1b[2J\r\n" });
    let summary = l.summary();
    assert!(!summary.is_well());
    assert_eq!(l.check(), Ok(()));
    assert_eq!(
        summary.closing_line(),
        "1 of 3 files delivered, 1 sent but not verified, 1 unchanged, 1 failed; 2 drops"
    );
    assert_eq!(
        summary.table(),
        "hop     stage   cause              failed  dropped & retried  example\n\
         target  open    permission denied  1 file  -                  b\\#033: Permission while open\n\
         target  write   connection lost    -       1 attempt          a/file: Lost while write\n\
         head    banner  start limit        -       1 connection       Not allowed at this time\n\
         head said (before its banner): Not allowed\\#033[2J\n"
    );
}

#[test]
fn the_last_attempt_of_a_failed_file_is_its_failure_and_no_drop() {
    let l = ledger();
    let lost = fault(Stage::Write, Cause::Lost);
    let id = l.planned(b"f", 9);
    for number in 1..=3 {
        l.attempt(attempt(id, number, Err(&lost)));
    }
    l.class(id, b"f", Class::Failed(lost));
    let counts = l.counts();
    assert_eq!((counts.attempts, counts.retries, counts.dropped_attempts, counts.failed), (3, 2, 2, 1));
    // Given up for another reason: the attempt before it was a drop like any other.
    let id = l.planned(b"g", 9);
    l.attempt(attempt(id, 1, Err(&fault(Stage::Write, Cause::Lost))));
    l.class(id, b"g", Class::Failed(fault(Stage::Write, Cause::Cancelled)));
    assert_eq!(l.counts().dropped_attempts, 3);
}

#[test]
fn a_second_class_is_refused_and_told() {
    let paper = Paper::default();
    let l = Ledger::new(Settings { report: Some(Box::new(paper.clone())), ..Settings::default() });
    let id = l.planned(b"f", 9);
    assert!(l.class(id, b"f", Class::Unchanged));
    assert!(!l.class(id, b"f", Class::Sent));
    assert_eq!((l.counts().unchanged, l.counts().sent), (1, 0));
    let why = l.check().expect_err("a refused class is an error");
    assert_eq!(why, "file 0 was unchanged when it was told to be sent; 1 refused in all");
    assert!(!l.summary().is_well());
    l.finish().expect("the report is written");
    assert!(paper.lines().iter().any(|line| line["event"] == "refused"));
}

#[test]
fn a_file_without_a_class_is_missed() {
    let l = ledger();
    let ids = [l.planned(b"f", 9), l.planned(b"g", 11)];
    l.class(ids[0], b"f", Class::Sent);
    assert_eq!(l.check(), Err("1 of 2 planned files have no class (the first is file 1)".into()));
    assert!(l.summary().closing_line().contains("1 UNACCOUNTED FOR"));
    assert_eq!(l.fail_rest(&fault(Stage::Write, Cause::Cancelled)), 1);
    assert_eq!(l.check(), Ok(()));
    let c = l.counts();
    assert_eq!((c.failed, c.failed_bytes, c.planned_bytes), (1, 11, 20));
}

#[test]
fn a_failure_beside_the_files_makes_the_run_unwell() {
    let l = ledger();
    l.failure(&fault(Stage::List, Cause::Permission), Some(b"secret"));
    let summary = l.summary();
    assert!(!summary.is_well());
    assert!(summary.table().contains("1 other"), "{}", summary.table());
}

#[test]
fn many_hops_and_texts_do_not_fill_the_memory() {
    let l = ledger();
    for i in 0..2000 {
        let f = Fault::new(format!("hop{i}"), Stage::Tcp, Cause::Unreachable, "x".repeat(5000));
        l.drop_counted(&f, What::Connection);
        l.event(Event::ServerText { hop: "h", kind: TextKind::Disconnect, text: &format!("text {i}") });
    }
    let summary = l.summary();
    assert_eq!(summary.counts.dropped_connections, 2000);
    assert_eq!(summary.troubles.iter().map(Trouble::drops).sum::<u64>(), 2000);
    assert!(summary.troubles.len() < 300 && summary.server_texts.len() < 100);
    assert!(summary.troubles.iter().all(|t| t.example.len() <= 1024));
    assert!(summary.table().lines().count() < 100);
}

#[test]
fn threads_share_one_count() {
    let l = ledger();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let id = l.planned(b"f", 1);
                    l.attempt(attempt(id, 1, Ok(())));
                    l.class(id, b"f", Class::Verified("read-back"));
                }
            });
        }
    });
    assert_eq!(l.counts().verified, 2000);
    assert_eq!(l.check(), Ok(()));
}

#[test]
fn the_report_tells_all_of_it_in_order() {
    let paper = Paper::default();
    let (clock, hand) = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_709_251_199));
    let job =
        JobSummary { direction: "push", host: Some("user".into()), sources: 1, verify: "auto", ..Default::default() };
    let l = Ledger::new(Settings { report: Some(Box::new(paper.clone())), metrics: None, job, clock });
    hand.advance(Duration::from_micros(1234));
    let id = l.planned(b"odd\xff", 5);
    let lost = fault(Stage::Write, Cause::Lost).on(0, 3);
    l.attempt(attempt(id, 1, Err(&lost)));
    hand.advance(Duration::from_secs(1));
    l.class(id, b"odd\xff", Class::Verified("b3sum"));
    l.event(Event::Deleted { path: b"old\nname", directory: false });
    l.finish().expect("the report is written");
    l.finish().expect("and only once");
    l.planned(b"late", 1);

    let lines = paper.lines();
    let events: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["start", "planned", "attempt", "class", "deleted", "summary"]);
    assert_eq!(lines[0]["started"], "2024-02-29T23:59:59Z");
    assert_eq!(lines[0]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(lines[0]["job"]["direction"], "push");
    assert_eq!(
        lines[1],
        json!({"t": 0.001234, "event": "planned", "file": 0, "path": {"bytes": "6f6464ff"}, "size": 5})
    );
    assert_eq!(
        lines[2],
        json!({"t": 0.001234, "event": "attempt", "file": 0, "path": "a/file", "number": 1, "lane": 0, "channel": 3,
               "bytes": 7, "elapsed": 0.02, "waited": 0.003,
               "fault": {"hop": "target", "stage": "write", "cause": "lost", "text": "Lost while write",
                         "lane": 0, "channel": 3}})
    );
    assert_eq!(
        lines[3],
        json!({"t": 1.001234, "event": "class", "file": 0, "path": {"bytes": "6f6464ff"}, "class": "verified",
               "by": "b3sum"})
    );
    assert_eq!(lines[5]["planned"], 1);
    assert_eq!(lines[5]["troubles"][0]["dropped-attempts"], 1);
}

/// One of each, as a small run could tell them.
fn tell_everything(l: &Ledger, hand: &clock::Hand) {
    let tick = || hand.advance(Duration::from_micros(1_250));
    let start = Fault::new("head", Stage::Banner, Cause::StartLimit, "dropped before its banner: Exceeded MaxStartups");
    l.event(Event::ServerText { hop: "head", kind: TextKind::PreBanner, text: "Exceeded MaxStartups" });
    l.drop_counted(&start, What::Connection);
    tick();
    connect(l);
    let hops = ["head", "user"].map(shared_hop);
    let waited = Duration::from_millis(310);
    let drops = [HolderDrops {
        hop: "head".to_owned(),
        stage: Stage::Banner,
        cause: Cause::StartLimit,
        times: 2,
        example: "Exceeded MaxStartups".to_owned(),
    }];
    l.event(Event::Shared { hop: "user", holder: 4711, waited, started: true, hops: &hops, drops: &drops });
    open_channels(l, 1);
    l.event(Event::LimitFound { hop: "user", sessions: 10, files: 9, hashing: 1, refused: 1 });
    l.event(Event::HasherChosen { hop: "user", by: "b3sum", detail: "b3sum 1.8.2" });
    l.event(Event::DirectoryMade { path: b"data" });
    l.event(Event::SymlinkMade { path: b"data/latest", target: b"run-7" });
    tick();
    let (a, b) = (l.planned(b"data/a.bin", 1_048_576), l.planned(b"data/caf\xe9", 6));
    let lost = Fault::new("user", Stage::Write, Cause::Lost, "the channel was closed").on(0, 3);
    l.attempt(Attempt { path: b"data/a.bin", bytes: 524_288, ..attempt(a, 1, Err(&lost)) });
    tick();
    l.attempt(Attempt { path: b"data/a.bin", bytes: 4_096, matched: 1_044_480, ..attempt(a, 2, Ok(())) });
    l.class(a, b"data/a.bin", Class::Verified("b3sum"));
    let denied = Fault::new("user", Stage::Open, Cause::Permission, "Permission denied");
    l.class(b, b"data/caf\xe9", Class::Failed(denied));
    let c = l.planned(b"data/pipe", 0);
    l.class(c, b"data/pipe", Class::Skipped("non-regular file"));
    l.class(c, b"data/pipe", Class::Sent);
    l.failure(&Fault::new("user", Stage::List, Cause::Permission, "Permission denied"), Some(b"data/secret"));
    l.event(Event::Deleted { path: b"data/old", directory: false });
    l.event(Event::ChannelClosed { hop: "user", lane: 0, channel: 0, why: None });
    l.event(Event::HopClosed { hop: "user", lane: None, why: Some(&lost) });
    tick();
    l.finish().expect("the report is written");
}

#[test]
fn the_documentation_shows_every_line_as_it_is() {
    let paper = Paper::default();
    let (clock, hand) = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_772_323_200));
    let job = JobSummary {
        direction: "push",
        host: Some("user".into()),
        sources: 1,
        verify: "auto",
        connections: 1,
        ..Default::default()
    };
    let l = Ledger::new(Settings { report: Some(Box::new(paper.clone())), metrics: None, job, clock });
    tell_everything(&l, &hand);
    let bytes = paper.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let text = String::from_utf8(bytes).expect("the report is UTF-8");
    // A new version needs no new documentation.
    let text = text.replacen(env!("CARGO_PKG_VERSION"), "0.1.0", 1);
    let documented: Vec<&str> =
        include_str!("../../docs/report.md").lines().filter(|line| line.starts_with('{')).collect();
    for line in text.lines() {
        assert!(documented.contains(&line), "docs/report.md lacks: {line}\nthe whole report:\n{text}");
    }
    assert_eq!(documented.len(), text.lines().count(), "docs/report.md shows a line that is never written");
}

#[derive(Debug, Clone)]
enum Step {
    Plan(u16),
    Try(usize, bool),
    Class(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<u16>().prop_map(Step::Plan),
        (0usize..40, any::<bool>()).prop_map(|(file, ok)| Step::Try(file, ok)),
        (0usize..40, 0u8..5).prop_map(|(file, class)| Step::Class(file, class)),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn the_classes_always_add_up_and_never_change(steps in steps()) {
        let l = ledger();
        let mut files: Vec<(FileId, Option<u8>)> = Vec::new();
        let (mut refused, mut failed_attempts) = (0, 0);
        let lost = fault(Stage::Write, Cause::Lost);
        for step in steps {
            match step {
                Step::Plan(size) => files.push((l.planned(b"f", size.into()), None)),
                Step::Try(file, ok) => {
                    if let Some((id, _)) = files.get(file) {
                        failed_attempts += u64::from(!ok);
                        l.attempt(attempt(*id, 1, if ok { Ok(()) } else { Err(&lost) }));
                    }
                }
                Step::Class(file, class) => {
                    if let Some((id, was)) = files.get_mut(file) {
                        let told = match class {
                            0 => Class::Verified("b3sum"),
                            1 => Class::Sent,
                            2 => Class::Unchanged,
                            3 => Class::Skipped("newer"),
                            _ => Class::Failed(lost.clone()),
                        };
                        prop_assert_eq!(l.class(*id, b"f", told), was.is_none());
                        refused += u64::from(was.is_some());
                        was.get_or_insert(class);
                    }
                }
            }
            let open = files.iter().filter(|f| f.1.is_none()).count() as u64;
            prop_assert_eq!(l.counts().done() + open, l.counts().planned);
        }
        let c = l.counts();
        let of = |class| files.iter().filter(|f| f.1 == Some(class)).count() as u64;
        prop_assert_eq!([c.verified, c.sent, c.unchanged, c.skipped, c.failed], [of(0), of(1), of(2), of(3), of(4)]);
        prop_assert_eq!(c.refused, refused);
        prop_assert_eq!(l.check().is_ok(), refused == 0 && files.iter().all(|f| f.1.is_some()));
        prop_assert!(c.dropped_attempts <= failed_attempts && failed_attempts <= c.dropped_attempts + c.failed);
        l.fail_rest(&lost);
        let c = l.counts();
        prop_assert_eq!(c.done(), c.planned);
        let bytes = c.verified_bytes + c.sent_bytes + c.unchanged_bytes + c.skipped_bytes + c.failed_bytes;
        prop_assert_eq!(bytes, c.planned_bytes);
        prop_assert_eq!(l.check().is_ok(), refused == 0);
    }
}
