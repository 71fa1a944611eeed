//! What rsync, scp, sftp, tar and the ssh below them say when they fail, as hop, stage and cause.
//!
//! With ProxyJump two ssh write to one stream: that of the jump, which names the head's address, and the inner one, whose
//! peer is a pipe: it says `UNKNOWN port 65535`. So the inner one's complaint alone means the target, unless the jump's ssh
//! was silenced. Tunnels that the head does not open are the head's, as in hopsync's own reports.

use crate::fault::{Cause, Stage};
use crate::lab::bench::cell::Direction;

use super::{Hop, Why};

/// What one process left.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// `None` if it was never started.
    pub exit: Option<i32>,
    pub timed_out: bool,
    pub text: &'a str,
}

/// How its connection went.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub direction: Direction,
    /// Through a head.
    pub jump: bool,
    /// What the jump's ssh writes can be read.
    pub jump_speaks: bool,
}

/// Why what a process had to move is missing, and the words that tell it.
pub fn read(left: &Left, way: &Way) -> (Why, String) {
    let lines: Vec<&str> = left.text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found = [by_starting, by_ssh, by_far_program, by_lost_connection];
    if let Some((why, line)) = found.iter().find_map(|look| look(&lines, way)) {
        return (why, line.to_owned());
    }
    let last = lines.last().copied();
    let why = if left.timed_out { Why { cause: Some(Cause::Timeout), ..Why::UNKNOWN } } else { Why::UNKNOWN };
    let example = match (left.exit, last) {
        _ if left.timed_out => "it took too long and was killed".to_owned(),
        (_, Some(line)) => line.to_owned(),
        (Some(code), None) => format!("exit {code}, and not a word"),
        (None, None) => "it was never started".to_owned(),
    };
    (why, example)
}

type Found<'a> = Option<(Why, &'a str)>;

fn line_with<'a>(lines: &[&'a str], text: &str) -> Option<&'a str> {
    lines.iter().copied().find(|line| line.contains(text))
}

/// Nothing ran at all.
fn by_starting<'a>(lines: &[&'a str], _: &Way) -> Found<'a> {
    let said = |text: &str| line_with(lines, text);
    let line = said("can not run ").or_else(|| said("fork failed")).or_else(|| said("fork: "))?;
    Some((Why { hop: Hop::Local, stage: None, cause: Some(Cause::Io) }, line))
}

/// What ssh says of a connection that it did not get, the last try's words (a ControlMaster's refusal comes before them).
fn by_ssh<'a>(lines: &[&'a str], way: &Way) -> Found<'a> {
    let said = |text: &str| line_with(lines, text);
    let first = if way.jump { Hop::Head } else { Hop::Target };
    let tunnel = |cause| Why::new(Hop::Head, Stage::Tunnel, cause);
    if said("stdio forwarding failed").is_some() {
        return Some(match said("administratively prohibited") {
            Some(line) => (tunnel(Cause::Denied), line),
            None => (tunnel(Cause::Unreachable), said("open failed: ").or_else(|| said("stdio forwarding failed"))?),
        });
    }
    if let Some(line) = said("Could not resolve hostname") {
        return Some((Why::new(first, Stage::Resolve, Cause::Unreachable), line));
    }
    if let Some(line) = said("ssh: connect to host ") {
        let cause = if line.contains("timed out") { Cause::Timeout } else { Cause::Unreachable };
        return Some((Why::new(first, Stage::Tcp, cause), line));
    }
    // A jump that gave up leaves the inner ssh with a closed pipe.
    let inner = || said("UNKNOWN port 65535").is_some();
    let giver = || if way.jump && inner() { Hop::Head } else { Hop::Target };
    if let Some(line) = said("Host key verification failed") {
        return Some((Why::new(giver(), Stage::HostKey, Cause::HostKey), line));
    }
    if let Some(line) = said("Permission denied (").or_else(|| said("Too many authentication failures")) {
        return Some((Why::new(giver(), Stage::Login, Cause::Denied), line));
    }
    // Who closed: an address is the head's, or without a head the target's.
    let outer = || lines.iter().any(|line| closed_by(line).is_some_and(|peer| peer != "UNKNOWN"));
    let closer = || match (way.jump, outer()) {
        (false, _) => Hop::Target,
        (true, true) => Hop::Head,
        (true, false) if way.jump_speaks => Hop::Target,
        (true, false) => Hop::Unknown,
    };
    for words in ["Exceeded MaxStartups", "Not allowed at this time"] {
        if let Some(line) = said(words) {
            return Some((Why::new(closer(), Stage::Banner, Cause::StartLimit), line));
        }
    }
    if let Some(line) = said("timed out during banner exchange") {
        return Some((Why::new(closer(), Stage::Banner, Cause::Timeout), line));
    }
    if let Some(line) = said("kex_exchange_identification: ").or_else(|| said("banner exchange: ")) {
        return Some((Why::new(closer(), Stage::Banner, Cause::Lost), line));
    }
    if let Some(line) = said("Unable to negotiate") {
        return Some((Why::new(closer(), Stage::Kex, Cause::Unsupported), line));
    }
    if let Some(line) =
        said("ssh_dispatch_run_fatal").or_else(|| lines.iter().copied().find(|l| closed_by(l).is_some()))
    {
        return Some((Why { hop: closer(), stage: None, cause: Some(Cause::Lost) }, line));
    }
    if let Some(line) = said("open failed: ").filter(|line| line.starts_with("channel ")) {
        return Some((Why::new(Hop::Target, Stage::Session, Cause::SessionLimit), line));
    }
    if let Some(line) = said("Session open refused by peer") {
        return Some((Why::new(Hop::Target, Stage::Session, Cause::SessionLimit), line));
    }
    if let Some(line) = said("subsystem request failed") {
        return Some((Why::new(Hop::Target, Stage::Subsystem, Cause::Unsupported), line));
    }
    None
}

/// `Connection closed by PEER port N`, `Connection reset by …`.
fn closed_by(line: &str) -> Option<&str> {
    let peer = ["Connection closed by ", "Connection reset by "].iter().find_map(|words| line.strip_prefix(words))?;
    peer.split_once(" port ").map(|(peer, _)| peer)
}

/// What the programs say of files, at either end.
fn by_far_program<'a>(lines: &[&'a str], way: &Way) -> Found<'a> {
    let said = |text: &str| line_with(lines, text);
    if let Some(line) = said("command not found").or_else(|| said("remote command not found")) {
        return Some((Why::new(Hop::Target, Stage::Session, Cause::Unsupported), line));
    }
    if let Some(line) = said("file has vanished") {
        return Some((Why::new(sender(way), Stage::Read, Cause::Vanished), line));
    }
    if let Some(line) = said("failed verification") {
        return Some((Why::new(receiver(way), Stage::Hash, Cause::Mismatch), line));
    }
    if let Some(line) = said("(code 30)") {
        return Some((Why { hop: Hop::Unknown, stage: None, cause: Some(Cause::Timeout) }, line));
    }
    let line = lines.iter().copied().find(|line| errno(line).is_some())?;
    let hop = match line {
        _ if line.contains("[sender]") => sender(way),
        _ if line.contains("[receiver]") || line.contains("[generator]") => receiver(way),
        _ if line.starts_with("scp: remote ") || line.starts_with("remote ") => Hop::Target,
        _ if line.starts_with("scp: local ") || line.starts_with("local ") => Hop::Local,
        _ if line.contains("dest open ") => receiver(way),
        _ => Hop::Unknown,
    };
    let stages = [
        ("mkstemp", Stage::Open),
        ("open", Stage::Open),
        ("write", Stage::Write),
        ("read errors", Stage::Read),
        ("rename", Stage::Rename),
        ("link_stat", Stage::List),
        ("stat", Stage::List),
        ("readdir", Stage::List),
        ("change_dir", Stage::List),
        ("set times", Stage::Attributes),
        ("set permissions", Stage::Attributes),
        ("chown", Stage::Attributes),
        ("mkdir", Stage::Attributes),
    ];
    let stage = stages.iter().find(|(word, _)| line.contains(word)).map(|&(_, stage)| stage);
    Some((Why { hop, stage, cause: errno(line) }, line))
}

fn errno(line: &str) -> Option<Cause> {
    let texts = [
        ("No such file or directory", Cause::NotFound),
        ("Permission denied", Cause::Permission),
        ("Operation not permitted", Cause::Permission),
        ("No space left on device", Cause::NoSpace),
        ("Disk quota exceeded", Cause::NoSpace),
        ("Input/output error", Cause::Io),
        ("Too many open files", Cause::Io),
        ("Read-only file system", Cause::Io),
        ("Cannot allocate memory", Cause::Io),
        ("Resource temporarily unavailable", Cause::Io),
    ];
    texts.iter().find(|(text, _)| line.contains(text)).map(|&(_, cause)| cause)
}

/// Where files come from.
fn sender(way: &Way) -> Hop {
    match way.direction {
        Direction::Push => Hop::Local,
        Direction::Pull => Hop::Target,
    }
}

fn receiver(way: &Way) -> Hop {
    match way.direction {
        Direction::Push => Hop::Target,
        Direction::Pull => Hop::Local,
    }
}

/// A connection that had worked, or may have; where it broke is not told.
fn by_lost_connection<'a>(lines: &[&'a str], _: &Way) -> Found<'a> {
    let why = |cause| Why { hop: Hop::Unknown, stage: None, cause: Some(cause) };
    let said = |text: &str| line_with(lines, text);
    if let Some(line) = lines.iter().copied().find(|line| line.starts_with("Timeout, server ")) {
        return Some((why(Cause::Timeout), line));
    }
    let words = ["closed by remote host", "Broken pipe", "lost connection", "unexpectedly closed", "Connection closed"];
    words.iter().find_map(|words| Some((why(Cause::Lost), said(words)?)))
}
