//! `hopsync-lab probe HOST`: what the way to a host and the host itself allow, as the holder of the shared connection finds it.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use super::print::{line, note, table};
use crate::cli::{self, Command};
use crate::ledger::{self, Ledger, escape};
use crate::share::{self, protocol::Probe};
use crate::ssh::connection::Context;
use crate::ssh::prompt::Prompt;

/// `hopsync-lab probe`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// HOST or USER@HOST, as in hopsync's operands
    host: String,
    /// The remote shell, as hopsync's -e
    #[arg(short = 'e', long = "rsh", value_name = "COMMAND")]
    rsh: Option<OsString>,
}

/// Joins the shared connection, or starts it, and prints what its holder found.
pub fn probe(options: &Options) -> ExitCode {
    // The drop-in's own grammar says what -e and the host mean.
    let mut words: Vec<OsString> = vec!["--share-stop".into(), options.host.clone().into()];
    if let Some(rsh) = &options.rsh {
        words.extend(["-e".into(), rsh.clone()]);
    }
    let (login, shell) = match cli::parse(words.into_iter(), |name| std::env::var_os(name)) {
        Ok(Command::ShareStop { login, shell }) => (login, shell),
        Ok(_) => return ExitCode::FAILURE,
        Err(error) => {
            note(format_args!("hopsync-lab: {}", error.text));
            return ExitCode::from(error.code);
        }
    };
    let context = Context {
        prompt: Arc::new(Prompt::person()),
        ledger: Arc::new(Ledger::new(ledger::Settings::default())),
        patience: None,
        compress: false,
        notice: Arc::new(|text| note(text.trim_end())),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            note(format_args!("hopsync-lab: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(share::probe(&shell, &login, &context)) {
        Ok(probe) => {
            line(describe(&probe).trim_end());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            note(format_args!("hopsync-lab: {}", escape(fault.to_string().as_bytes())));
            ExitCode::FAILURE
        }
    }
}

fn describe(probe: &Probe) -> String {
    let head = ["hop", "round trip ms", "login", "cipher", "key exchange", "server"].map(str::to_owned).to_vec();
    let mut rows = vec![head];
    for (n, hop) in probe.facts.hops.iter().enumerate() {
        let time = probe.round_trips.get(n).map_or("-".to_owned(), |time| format!("{:.2}", time.as_secs_f64() * 1e3));
        let texts = [&hop.hop, &time, &hop.method, &hop.cipher, &hop.kex, &hop.banner];
        rows.push(texts.iter().map(|text| escape(text.as_bytes())).collect());
    }
    let sessions = match probe.facts.limit {
        Some((sessions, files, hashing)) => {
            format!("{sessions} on one connection: {files} used for files, {hashing} for hashing")
        }
        None => format!("no limit met; {} channels are open", probe.channels),
    };
    let (read, write, handles) = probe.limits;
    let handles = handles.map_or("not told".to_owned(), |handles| handles.to_string());
    let far = &probe.facts.far;
    let hasher = far.hasher.map_or("none: files are read back", |rung| rung.name());
    let who = match (far.uid, far.gid) {
        (Some(uid), Some(gid)) => format!("uid {uid}, gid {gid}, {} groups", far.groups.len()),
        _ => "not told (no shell)".to_owned(),
    };
    let mut text = table(&rows);
    for (what, value) in [
        ("sessions", sessions),
        ("channels open", probe.channels.to_string()),
        ("clients", probe.clients.to_string()),
        ("read, write", format!("{read}, {write} bytes a request")),
        ("open handles", handles),
        ("extensions", probe.extensions.join(", ")),
        ("hasher", hasher.to_owned()),
        ("account", who),
        ("holder", format!("process {}", probe.facts.holder)),
    ] {
        text.push_str(&format!("{what:<14} {value}\n"));
    }
    text
}
