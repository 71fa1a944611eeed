//! `hopsync-lab probe HOST`: what the way to a host and the host itself allow, found over a connection of its own, and what
//! follows from it. It only opens and asks; what it opens it closes.
//!
//! - [`measure`]: sessions, speed, hashers, over the login.
//! - [`starts`]: the start limits, by connections that never log in. Only when asked for.
//! - [`tell`]: the answers as text, with advice.
//! - [`shared`]: what the holder of the shared connection found, in place of all that.

mod measure;
mod shared;
mod starts;
mod tell;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use super::print::{line, note};
use crate::cli::{self, Command};
use crate::fault::Fault;
use crate::job::Login;
use crate::ledger::{self, HopFacts, Ledger, escape};
use crate::ssh::connection::{Connection, Context, Pace};
use crate::ssh::prompt::Prompt;
use crate::ssh::route::{Route, Shell};

/// `hopsync-lab probe`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// HOST or USER@HOST, as in hopsync's operands
    host: String,
    /// The remote shell, as hopsync's -e
    #[arg(short = 'e', long = "rsh", value_name = "COMMAND")]
    rsh: Option<OsString>,
    /// Look for the start limits (MaxStartups) too: at each hop up to 120 connections, ten a second, that never log in and are
    /// closed at once afterwards; no more than 10 where OpenSSH 9.8 or newer, or an unknown server, may count them as penalties
    #[arg(long)]
    intrusive: bool,
    /// Sessions to open at most; each is a process at the host, for a moment
    #[arg(long, default_value_t = 128, value_name = "N")]
    sessions: usize,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
    /// Ask the holder of the shared connection (it is started if there is none) what it found, and try nothing
    #[arg(long, conflicts_with_all = ["intrusive", "json", "sessions"])]
    shared: bool,
}

/// All that was found.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct Found {
    hops: Vec<Hop>,
    sessions: measure::Sessions,
    sftp: measure::Sftp,
    windows: measure::Windows,
    /// Those present, the best first; hopsync takes the first that works.
    hashers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    starts: Vec<starts::Starts>,
    advice: Vec<String>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct Hop {
    #[serde(flatten)]
    facts: HopFacts,
    round_trip_seconds: f64,
    /// From here to this hop, over one channel; absent where it allows no session.
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<measure::Speed>,
}

/// Probes, and prints what was found.
pub fn probe(options: &Options) -> ExitCode {
    let (login, shell) = match grammar(options) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let context = Context {
        prompt: Arc::new(Prompt::person()),
        ledger: Arc::new(Ledger::new(ledger::Settings::default())),
        patience: None,
        compress: false,
        sessions: 1,
        notice: Arc::new(|text| note(text.trim_end())),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            note(format_args!("hopsync-lab: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let told = runtime.block_on(async {
        if options.shared {
            return shared::ask(&shell, &login, &context).await;
        }
        let found = find(options, &shell, &login, &context).await?;
        Ok(match options.json {
            true => serde_json::to_string_pretty(&found).unwrap_or_default(),
            false => tell::text(&found),
        })
    });
    runtime.shutdown_background();
    match told {
        Ok(text) => {
            line(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            note(format_args!("hopsync-lab: {}", escape(fault.to_string().as_bytes())));
            ExitCode::FAILURE
        }
    }
}

/// The drop-in's own grammar says what -e and the host mean.
fn grammar(options: &Options) -> Result<(Login, Vec<OsString>), ExitCode> {
    let mut words: Vec<OsString> = vec!["--share-stop".into(), options.host.clone().into()];
    if let Some(rsh) = &options.rsh {
        words.extend(["-e".into(), rsh.clone()]);
    }
    match cli::parse(words.into_iter(), |name| std::env::var_os(name)) {
        Ok(Command::ShareStop { login, shell }) => Ok((login, shell)),
        Ok(_) => Err(ExitCode::FAILURE),
        Err(error) => {
            note(format_args!("hopsync-lab: {}", error.text));
            Err(ExitCode::from(error.code))
        }
    }
}

async fn find(options: &Options, shell: &[OsString], login: &Login, context: &Context) -> Result<Found, Fault> {
    let route: Route = match crate::share::resolve(shell, login).await? {
        Shell::Ssh(route) => route,
        Shell::Command(_) => {
            let text = "only ways by ssh can be probed, and this remote shell (-e) is something else";
            return Err(Fault::new(
                login.host.as_str(),
                crate::fault::Stage::Resolve,
                crate::fault::Cause::Config,
                text,
            ));
        }
    };
    let (connection, lane) = Connection::open(&route, context, 0, Pace::Alone).await?;
    let session = &lane.session;
    let (sftp, first) = measure::sftp(session).await?;
    let mut round_trips = connection.round_trips().await;
    round_trips.push(measure::round_trip(&first).await);
    // One after the other: they share the way.
    let mut speeds = Vec::new();
    for jump in connection.jumps() {
        speeds.push(measure::speed_at(jump).await);
    }
    speeds.push(Some(measure::speed(&first).await));
    let hops = connection.facts(&lane).into_iter().zip(round_trips).zip(speeds);
    let hops: Vec<Hop> =
        hops.map(|((facts, time), speed)| Hop { facts, round_trip_seconds: time.as_secs_f64(), speed }).collect();
    let hashers = measure::hashers(session).await;
    // One is open: the one that was measured on.
    let sessions = measure::sessions(session, options.sessions).await;
    first.close(measure::PATIENCE).await;
    let mut starts = Vec::new();
    if options.intrusive {
        for (index, hop) in hops.iter().enumerate() {
            starts.push(starts::find(&route, &connection, index, &hop.facts).await);
        }
    }
    let windows = measure::Windows::of(session);
    connection.close_lane(&lane).await;
    connection.close().await;
    let mut found = Found { hops, sessions, sftp, windows, hashers, starts, advice: Vec::new() };
    found.advice = tell::advice(&found);
    Ok(found)
}
