//! What OpenSSH 9.2 and rsync 3.5.0 really wrote, each provoked by the fault in the test's name.

use super::messages::{Left, Way, read};
use super::*;
use crate::lab::bench::cell::Direction;

const JUMP: Way = Way { direction: Direction::Push, jump: true, jump_speaks: true };
const STRAIGHT: Way = Way { jump: false, ..JUMP };
const MUTE: Way = Way { jump_speaks: false, ..JUMP };

const RSYNC: &str = "rsync: connection unexpectedly closed (0 bytes received so far) [sender]\n\
                     rsync error: unexplained error (code 255) at io.c(285) [sender=3.5.0]\n";
const INNER: &str = "kex_exchange_identification: Connection closed by remote host\r\n\
                     Connection closed by UNKNOWN port 65535\r\n";
const CLOSED: &str = "kex_exchange_identification: Connection closed by remote host\r\n\
                      Connection closed by 127.0.0.1 port 22301\r\n";
const RESET: &str = "kex_exchange_identification: read: Connection reset by peer\r\n\
                     Connection reset by 127.0.0.1 port 22301\r\n";
const REFUSED: &str = "mux_client_request_session: session request failed: Session open refused by peer\r\n";

fn why(text: &str, way: &Way) -> Why {
    read(&Left { exit: Some(255), timed_out: false, text }, way).0
}

fn at(hop: Hop, stage: Stage, cause: Cause) -> Why {
    Why::new(hop, stage, cause)
}

#[test]
fn a_start_that_the_head_drops_is_seen_by_both_ssh() {
    for outer in [CLOSED, RESET] {
        assert_eq!(why(&format!("{outer}{INNER}{RSYNC}"), &JUMP), at(Hop::Head, Stage::Banner, Cause::Lost));
        // The other order, as two processes write it.
        assert_eq!(why(&format!("{INNER}{outer}{RSYNC}"), &JUMP), at(Hop::Head, Stage::Banner, Cause::Lost));
    }
}

#[test]
fn a_start_that_the_target_drops_is_seen_by_the_inner_ssh_alone() {
    assert_eq!(why(&format!("{INNER}{RSYNC}"), &JUMP), at(Hop::Target, Stage::Banner, Cause::Lost));
    assert_eq!(why(&format!("{INNER}scp: Connection closed\r\n"), &JUMP), at(Hop::Target, Stage::Banner, Cause::Lost));
    assert_eq!(why(&format!("{CLOSED}{RSYNC}"), &STRAIGHT), at(Hop::Target, Stage::Banner, Cause::Lost));
}

#[test]
fn behind_a_silenced_jump_the_hop_is_not_told() {
    assert_eq!(why(&format!("{INNER}{RSYNC}"), &MUTE), at(Hop::Unknown, Stage::Banner, Cause::Lost));
    assert_eq!(why(&format!("{RESET}{INNER}{RSYNC}"), &MUTE), at(Hop::Head, Stage::Banner, Cause::Lost));
}

#[test]
fn a_server_s_own_words_need_no_log() {
    let text = format!("Exceeded MaxStartups\r\n{CLOSED}{INNER}{RSYNC}");
    assert_eq!(why(&text, &JUMP), at(Hop::Head, Stage::Banner, Cause::StartLimit));
    let text = format!("Not allowed at this time\r\n{INNER}");
    assert_eq!(why(&text, &JUMP), at(Hop::Target, Stage::Banner, Cause::StartLimit));
}

#[test]
fn a_tunnel_that_is_not_opened_is_the_heads() {
    let refused =
        format!("channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed\r\n{INNER}");
    assert_eq!(why(&(refused + RSYNC), &JUMP), at(Hop::Head, Stage::Tunnel, Cause::Unreachable));
    let forbidden = format!(
        "channel 0: open failed: administratively prohibited: open failed\r\nstdio forwarding failed\r\n{INNER}"
    );
    assert_eq!(why(&(forbidden + RSYNC), &JUMP), at(Hop::Head, Stage::Tunnel, Cause::Denied));
}

#[test]
fn a_session_that_the_target_refuses() {
    let none = "channel 0: open failed: connect failed: open failed\r\n";
    assert_eq!(why(&format!("{none}{RSYNC}"), &JUMP), at(Hop::Target, Stage::Session, Cause::SessionLimit));
    assert_eq!(why(REFUSED, &JUMP), at(Hop::Target, Stage::Session, Cause::SessionLimit));
}

#[test]
fn after_a_refused_session_ssh_connects_anew_and_what_that_met_is_the_reason() {
    let text = format!("{REFUSED}{CLOSED}{INNER}{RSYNC}");
    assert_eq!(why(&text, &JUMP), at(Hop::Head, Stage::Banner, Cause::Lost));
}

#[test]
fn addresses_keys_and_logins() {
    let text = "ssh: connect to host 10.0.0.1 port 22: Connection timed out\r\n";
    assert_eq!(why(&format!("{text}{INNER}"), &JUMP), at(Hop::Head, Stage::Tcp, Cause::Timeout));
    let text = "ssh: connect to host 127.0.0.1 port 1: Connection refused\r\n";
    assert_eq!(why(text, &STRAIGHT), at(Hop::Target, Stage::Tcp, Cause::Unreachable));
    let text = "ssh: Could not resolve hostname nowhere: Name or service not known\r\n";
    assert_eq!(why(&format!("{text}{INNER}"), &JUMP), at(Hop::Head, Stage::Resolve, Cause::Unreachable));
    let text = "me@127.0.0.1: Permission denied (publickey).\r\n";
    assert_eq!(why(&format!("{text}{INNER}"), &JUMP), at(Hop::Head, Stage::Login, Cause::Denied));
    assert_eq!(why(text, &JUMP), at(Hop::Target, Stage::Login, Cause::Denied));
    let text = "Host key verification failed.\r\n";
    assert_eq!(why(&format!("{text}{INNER}"), &JUMP), at(Hop::Head, Stage::HostKey, Cause::HostKey));
    let text = "Connection timed out during banner exchange\r\nConnection to UNKNOWN port 65535 timed out\r\n";
    assert_eq!(why(text, &JUMP), at(Hop::Target, Stage::Banner, Cause::Timeout));
}

#[test]
fn files_that_an_end_refuses() {
    let text = "rsync: [receiver] mkstemp \"/proc/.f1.RIDDjH\" failed: No such file or directory (2)\n\
                rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1394)";
    assert_eq!(why(text, &JUMP), at(Hop::Target, Stage::Open, Cause::NotFound));
    let pull = Way { direction: Direction::Pull, ..JUMP };
    assert_eq!(why(text, &pull), at(Hop::Local, Stage::Open, Cause::NotFound));
    let text = "rsync: [receiver] write failed on \"/d/f\": No space left on device (28)\n";
    assert_eq!(why(text, &JUMP), at(Hop::Target, Stage::Write, Cause::NoSpace));
    let text = "tar: 000/file-00001: Cannot open: Permission denied\n";
    let refused = Why { hop: Hop::Unknown, stage: Some(Stage::Open), cause: Some(Cause::Permission) };
    assert_eq!(why(text, &JUMP), refused, "tar does not tell at which end");
}

#[test]
fn what_is_not_known_is_called_unknown() {
    assert_eq!(why("", &JUMP), Why::UNKNOWN);
    assert_eq!(why("it did not please\n", &JUMP), Why::UNKNOWN);
    let silent = read(&Left { exit: Some(0), timed_out: false, text: "" }, &JUMP);
    assert_eq!(silent, (Why::UNKNOWN, "exit 0, and not a word".to_owned()));
    let late = read(&Left { exit: Some(137), timed_out: true, text: "" }, &JUMP).0;
    assert_eq!(late, Why { cause: Some(Cause::Timeout), ..Why::UNKNOWN });
    assert_eq!(why(RSYNC, &JUMP), Why { cause: Some(Cause::Lost), ..Why::UNKNOWN });
    let json = serde_json::to_string(&Why::UNKNOWN).expect("JSON");
    assert_eq!(json, r#"{"hop":"unknown","stage":"unknown","cause":"unknown"}"#);
}

fn losses(counts: &[(Hop, usize)]) -> Vec<Loss> {
    let loss = |hop| Loss { why: at(hop, Stage::Banner, Cause::Lost), files: 1, example: "closed".into() };
    counts.iter().flat_map(|&(hop, count)| std::iter::repeat_n(loss(hop), count)).collect()
}

/// Hop, cause and files of each row.
fn told(rows: &[Missing]) -> Vec<(&'static str, &'static str, u64)> {
    rows.iter().map(|row| (row.why.hop.name(), row.why.cause.map_or("unknown", Cause::name), row.files)).collect()
}

#[test]
fn logs_say_how_many_of_the_closed_were_dropped() {
    let logged = Logged { head: 3, target: 9 };
    let rows = tally(losses(&[(Hop::Head, 5), (Hop::Target, 9)]), Some(logged));
    let expected = [("user-container", "start limit", 9), ("head", "start limit", 3), ("head", "connection lost", 2)];
    assert_eq!(told(&rows), expected);
    let rows = tally(losses(&[(Hop::Head, 5)]), None);
    assert_eq!(told(&rows), [("head", "connection lost", 5)], "without logs no cause is made up");
}

#[test]
fn logs_say_which_hop_only_where_they_can() {
    let closed = |count| losses(&[(Hop::Unknown, count)]);
    let rows = |count, head, target| tally(closed(count), Some(Logged { head, target }));
    assert_eq!(told(&rows(4, 4, 0)), [("head", "start limit", 4)]);
    assert_eq!(told(&rows(4, 0, 9)), [("user-container", "start limit", 4)]);
    // As many drops as processes: all are explained.
    assert_eq!(told(&rows(4, 3, 1)), [("head", "start limit", 3), ("user-container", "start limit", 1)]);
    assert_eq!(told(&rows(4, 3, 3)), [("unknown", "start limit", 4)]);
    assert_eq!(told(&rows(4, 0, 0)), [("unknown", "connection lost", 4)]);
}

#[test]
fn what_was_said_outright_uses_up_its_drops() {
    let mut all = losses(&[(Hop::Head, 2)]);
    all.push(Loss { why: at(Hop::Head, Stage::Banner, Cause::StartLimit), files: 1, example: String::new() });
    let rows = tally(all, Some(Logged { head: 2, target: 0 }));
    assert_eq!(told(&rows), [("head", "start limit", 2), ("head", "connection lost", 1)]);
}

#[test]
fn processes_with_different_numbers_of_files_are_not_chosen_among() {
    let mut all = losses(&[(Hop::Head, 2)]);
    all[0].files = 7;
    assert_eq!(told(&tally(all.clone(), Some(Logged { head: 1, target: 0 }))), [("head", "connection lost", 8)]);
    assert_eq!(told(&tally(all, Some(Logged { head: 2, target: 0 }))), [("head", "start limit", 8)]);
}

/// Whatever is put in: nothing is lost, nothing is made up.
#[test]
fn the_rows_add_up_to_what_is_missing() {
    let hops = [Hop::Head, Hop::Target, Hop::Unknown, Hop::Local];
    for seed in 0..2000_u64 {
        let mut state = seed;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let all: Vec<Loss> = (0..draw(12))
            .map(|_| {
                let hop = hops[draw(4) as usize];
                let why = match draw(3) {
                    0 => Why::UNKNOWN,
                    1 => at(hop, Stage::Banner, Cause::StartLimit),
                    _ => at(hop, Stage::Banner, Cause::Lost),
                };
                Loss { why, files: draw(3), example: String::new() }
            })
            .collect();
        let missing: u64 = all.iter().map(|loss| loss.files).sum();
        let logged = (draw(2) == 0).then(|| Logged { head: draw(8), target: draw(8) });
        let rows = tally(all, logged);
        assert_eq!(rows.iter().map(|row| row.files).sum::<u64>(), missing, "seed {seed}");
        assert!(rows.iter().all(|row| row.files > 0), "seed {seed}");
    }
}

#[test]
fn examples_are_bounded() {
    assert_eq!(short(" a word\n"), "a word");
    assert_eq!(short(&"é".repeat(1000)).chars().count(), EXAMPLE + 1);
}
