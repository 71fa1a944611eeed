//! `hopsync-lab serve`: the embedded head and target for anyone's experiments, with limits, distances and faults by rule. What
//! it injected is told while it runs, and counted at the end.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};

use super::bed::{Bed, Embedded, HEAD, Lines, TARGET};
use super::demo::{Signals, Verdict, block_on, conclude};
use super::faults::{Faults, Trouble};
use super::print::{line, note, table};
use super::relay::Line;
use super::rules::{GRAMMAR, Hop, Rule};
use super::server::{Commands, Config, MaxStartups, Server};

/// How often it is looked what has been injected.
const LOOK: Duration = Duration::from_millis(200);

/// `hopsync-lab serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = GRAMMAR)]
pub struct Options {
    /// Sessions that the target allows on one connection (MaxSessions)
    #[arg(long, default_value_t = 10, value_name = "N")]
    sessions: usize,
    /// The same for the head, which as a rule only forwards
    #[arg(long, default_value_t = 0, value_name = "N")]
    head_sessions: usize,
    /// The target's MaxStartups, as in sshd_config; a large number lifts it
    #[arg(long, default_value = "10:30:100", value_name = "START:RATE:FULL")]
    startups: MaxStartups,
    /// The head's
    #[arg(long, default_value = "10:30:100", value_name = "START:RATE:FULL")]
    head_startups: MaxStartups,
    /// Distance between the client and the head, as a round trip in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    rtt: u64,
    /// Distance between the head and the target
    #[arg(long, default_value_t = 0, value_name = "MS")]
    target_rtt: u64,
    /// The target's account is limited to SFTP (ForceCommand internal-sftp)
    #[arg(long)]
    sftp_only: bool,
    /// Something that goes wrong, such as 'target: drop session 14'; see below
    #[arg(long = "fault", value_name = "RULE")]
    faults: Vec<Rule>,
    /// Write the closing count to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Starts the pair and keeps it until Ctrl-C.
pub fn serve(options: Options) -> ExitCode {
    conclude(block_on(move |signals| keep(options, signals)))
}

async fn keep(options: Options, mut signals: Signals) -> io::Result<Verdict> {
    // Known before anything is tried, not when it is over.
    let json = options.json.as_deref().map(create).transpose()?;
    let pair = Pair::start(options)?;
    for text in pair.invitation() {
        line(text);
    }
    note("Ctrl-C ends it, and tells what was injected.");
    let mut told = Vec::new();
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        pair.tell_new(&mut told);
    }
    pair.tell_new(&mut told);
    line(pair.closing().trim_end());
    if let Some((mut file, path)) = json {
        let written = writeln!(file, "{:#}", pair.json());
        written.map_err(|error| named(&error, "write", path))?;
    }
    Ok(Verdict::Good)
}

fn create(path: &Path) -> io::Result<(File, PathBuf)> {
    let file = File::create(path).map_err(|error| named(&error, "make", path.to_owned()))?;
    Ok((file, path.to_owned()))
}

fn named(error: &io::Error, what: &str, path: PathBuf) -> io::Error {
    io::Error::new(error.kind(), format!("can not {what} \"{}\": {error}", path.display()))
}

/// The pair and what it was told to do.
struct Pair {
    bed: Embedded,
    options: Options,
}

/// Something injected: how it was asked for, at which hop, and how often it struck.
struct Injected {
    text: String,
    hop: Hop,
    limit: bool,
    times: u64,
}

impl Pair {
    fn start(options: Options) -> io::Result<Pair> {
        let distance = |ms: u64| (ms > 0).then(|| Line { delay: Duration::from_micros(ms * 500), rate: None });
        let lines = Lines { near: distance(options.rtt), onward: distance(options.target_rtt) };
        let faults = |hop| Faults::new(options.rules(hop).map(|rule| (rule.nth, rule.trouble.clone())));
        let (at_head, at_target) = (faults(Hop::Head), faults(Hop::Target));
        let (sessions, startups) = (options.sessions, options.startups);
        let (head_sessions, head_startups) = (options.head_sessions, options.head_startups);
        let commands = if options.sftp_only { Commands::SftpOnly } else { Commands::Shell };
        let head = move |head: &mut Config| {
            (head.max_sessions, head.max_startups, head.faults) = (head_sessions, Some(head_startups), at_head);
        };
        let target = move |target: &mut Config| {
            (target.max_sessions, target.max_startups, target.faults) = (sessions, Some(startups), at_target);
            target.commands = commands;
        };
        // Runtimes do not nest: the servers' own is made on a thread of its own.
        let started = std::thread::spawn(move || Embedded::over(head, target, lines)).join();
        let bed = started.unwrap_or_else(|_| Err(io::Error::other("the embedded servers could not be started")))?;
        Ok(Pair { bed, options })
    }

    /// Commands to paste.
    fn invitation(&self) -> Vec<String> {
        let (bed, config) = (&self.bed, self.bed.ssh_config().display());
        let far = bed.far().display();
        vec![
            format!("hopsync -a --no-share --report report.jsonl -e 'ssh -F {config}' FILES {TARGET}:{far}/"),
            format!("rsync -a -e 'ssh -F {config}' FILES {TARGET}:{far}/"),
            format!("sftp -F {config} {TARGET}"),
            format!("ssh -F {config} {TARGET}"),
            format!("The target's files are in {far}."),
        ]
    }

    fn server(&self, hop: Hop) -> &Server {
        match hop {
            Hop::Head => self.bed.head_server(),
            Hop::Target => self.bed.target_server(),
        }
    }

    /// Every rule in the order given, then the limits.
    fn injected(&self) -> Vec<Injected> {
        let o = &self.options;
        let mut all = Vec::new();
        let mut at = [0, 0];
        for rule in &o.faults {
            let index = &mut at[usize::from(rule.hop == Hop::Target)];
            let times = self.server(rule.hop).faults().fired(*index);
            *index += 1;
            all.push(Injected { text: rule.text.clone(), hop: rule.hop, limit: false, times });
        }
        let limits =
            [(Hop::Head, HEAD, o.head_sessions, o.head_startups), (Hop::Target, "target", o.sessions, o.startups)];
        for (hop, name, sessions, startups) in limits {
            let stats = self.server(hop).stats();
            let by_rule: u64 = self.refused_by_rule(hop);
            let refused = stats.refused_sessions.load(Relaxed).saturating_sub(by_rule);
            let MaxStartups { start, rate, full } = startups;
            for (text, times) in [
                (format!("{name}: MaxSessions {sessions}"), refused),
                (format!("{name}: MaxStartups {start}:{rate}:{full}"), stats.start_drops.load(Relaxed)),
            ] {
                all.push(Injected { text, hop, limit: true, times });
            }
        }
        all
    }

    fn refused_by_rule(&self, hop: Hop) -> u64 {
        let faults = self.server(hop).faults();
        let rules = self.options.rules(hop).enumerate();
        rules.filter(|(_, rule)| rule.trouble == Trouble::RefuseSession).map(|(index, _)| faults.fired(index)).sum()
    }

    /// A line for each that struck since the last time.
    fn tell_new(&self, told: &mut Vec<u64>) {
        let now = self.injected();
        told.resize(now.len(), 0);
        for (injected, before) in now.iter().zip(told) {
            if injected.times > *before {
                line(format_args!("{}: {}", injected.text, times(injected.times)));
                *before = injected.times;
            }
        }
    }

    fn closing(&self) -> String {
        let mut rows = vec![vec!["injected".to_owned(), "times".to_owned()]];
        let injected = self.injected();
        // A limit that nobody met is no fault that was asked for.
        let shown = injected.iter().filter(|injected| !injected.limit || injected.times > 0);
        rows.extend(shown.map(|injected| vec![injected.text.clone(), injected.times.to_string()]));
        if rows.len() == 1 {
            rows.push(vec!["nothing".to_owned(), "0".to_owned()]);
        }
        let head = ["seen", "connections", "logins", "sessions", "most at once", "requests"].map(str::to_owned);
        let mut seen = vec![head.to_vec()];
        for (hop, name) in [(Hop::Head, HEAD), (Hop::Target, "target")] {
            let s = self.server(hop).stats();
            let numbers = [&s.connections, &s.logins, &s.opened_sessions, &s.max_sessions, &s.requests];
            seen.push([name.to_owned()].into_iter().chain(numbers.map(|n| n.load(Relaxed).to_string())).collect());
        }
        format!("\n{}\n{}", table(&rows), table(&seen))
    }

    fn json(&self) -> Value {
        let injected: Vec<Value> = self.injected().iter().map(Injected::json).collect();
        json!({ "injected": injected, "seen": { "head": self.seen(Hop::Head), "target": self.seen(Hop::Target) } })
    }

    fn seen(&self, hop: Hop) -> Value {
        let s = self.server(hop).stats();
        let n = |counter: &AtomicU64| counter.load(Relaxed);
        json!({
            "connections": n(&s.connections),
            "logins": n(&s.logins),
            "denied": n(&s.denied),
            "start-drops": n(&s.start_drops),
            "tunnels": n(&s.tunnels),
            "refused-tunnels": n(&s.refused_tunnels),
            "sessions": n(&s.opened_sessions),
            "most-sessions": n(&s.max_sessions),
            "refused-sessions": n(&s.refused_sessions),
            "commands": n(&s.commands),
            "requests": n(&s.requests),
            "bytes-in": n(&s.bytes_in),
            "bytes-out": n(&s.bytes_out),
        })
    }
}

impl Injected {
    fn json(&self) -> Value {
        let hop = match self.hop {
            Hop::Head => "head",
            Hop::Target => "target",
        };
        json!({ "what": self.text, "hop": hop, "kind": if self.limit { "limit" } else { "rule" }, "times": self.times })
    }
}

impl Options {
    fn rules(&self, hop: Hop) -> impl Iterator<Item = &Rule> {
        self.faults.iter().filter(move |rule| rule.hop == hop)
    }
}

fn times(n: u64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times so far") }
}
