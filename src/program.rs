//! What the `hopsync` binary does: parse, run, exit code. Here and not in `main.rs`, so that the lab can be it too.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::cli::exit::Exit;
use crate::cli::{self, Command};
use crate::engine::{self, Outcome};
use crate::fault::errno_text;
use crate::job::{Job, Login};
use crate::ledger::{Clock, JobSummary, Ledger, Renew, Settings};
use crate::output::{self, Printer};
use crate::share;
use crate::share::own::Before;
use crate::ssh::prompt::Prompt;
use crate::ssh::terminal;
use crate::verify::server;

/// Threads that run the connections; disk and hashing have their own. Two sessions, the outer and the inner, work at once, and
/// more of them than processors only wake each other (measured on two: four threads took 10 % more CPU and time than two).
const WORKERS: std::ops::RangeInclusive<usize> = 2..=4;

/// Parses the process's own arguments and runs them.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = hash_server(&arguments) {
        return code;
    }
    if arguments.first().is_some_and(|first| first == share::HOLDER) {
        return share::holder_main();
    }
    match cli::parse(arguments.into_iter(), |name| std::env::var_os(name)) {
        Ok(Command::Run(job)) => ExitCode::from(run(*job).code()),
        Ok(Command::ShareStop { login, shell }) => ExitCode::from(share_stop(&shell, &login).code()),
        Ok(Command::Help(text) | Command::Version(text)) => {
            if output::print_text(&text) {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(Exit::StreamIo.code())
            }
        }
        Err(error) => {
            output::print_usage_error(&error);
            ExitCode::from(error.code)
        }
    }
}

/// `--hash-server`, which only the other end's `hopsync` calls ([`crate::verify::ladder`]).
fn hash_server(arguments: &[OsString]) -> Option<ExitCode> {
    let [only] = arguments else { return None };
    let done = match only.as_bytes() {
        b"--hash-server=probe" => writeln!(io::stdout(), "{}", server::PROBE),
        b"--hash-server" => {
            server::serve(io::stdin().lock(), io::stdout().lock(), io::stderr(), &crate::tree::local::Here)
        }
        _ => return None,
    };
    Some(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(Exit::StreamIo.code()) })
}

/// What is logged: what `HOPSYNC_LOG` says, in the words of tracing-subscriber's `EnvFilter`; without it errors. russh's own are left
/// out then: what ends a session is told as a fault anyway, and that a packet for us may be longer than 65,535 bytes
/// ([`crate::ssh::hop::Windows`]) is meant.
pub(crate) fn log_filter() -> EnvFilter {
    match std::env::var_os("HOPSYNC_LOG") {
        Some(said) if !said.is_empty() => EnvFilter::from_env("HOPSYNC_LOG"),
        _ => EnvFilter::new("error,russh=off"),
    }
}

fn run(mut job: Job) -> Exit {
    let _ = tracing_subscriber::fmt().with_env_filter(log_filter()).with_writer(io::stderr).try_init();
    let printer = Printer::new(&job);
    let printer = Arc::new(match &job.options.log_file {
        None => printer,
        Some(path) => match crate::tree::local::open_log(path) {
            Ok(file) => printer.logging(Box::new(file)),
            Err(e) => {
                // As with rsync: the transfer matters more than what is noted of it.
                let text = errno_text(&e);
                printer.error(&format!(
                    "failed to open log-file {}: {text}\nIgnoring \"log file\" setting.",
                    path.display()
                ));
                printer
            }
        },
    });
    let report = match &job.options.report {
        None => None,
        Some(path) => match crate::tree::local::create_report(path) {
            Ok(file) => Some(Box::new(file) as Box<dyn Write + Send>),
            Err(e) => {
                printer.error(&format!("cannot write the report \"{}\": {}", path.display(), errno_text(&e)));
                printer.exit(Exit::FileIo);
                return Exit::FileIo;
            }
        },
    };
    let metrics = match job.options.metrics.as_deref().map(crate::tree::local::Renewed::new).transpose() {
        Ok(renewed) => renewed.map(|file| Box::new(move |text: &[u8]| file.renew(text)) as Renew),
        Err(e) => {
            let path = job.options.metrics.clone().unwrap_or_default();
            printer.error(&format!("cannot write the metrics \"{}\": {}", path.display(), errno_text(&e)));
            printer.exit(Exit::FileIo);
            return Exit::FileIo;
        }
    };
    let summary = JobSummary::from(&job);
    let ledger = Arc::new(Ledger::new(Settings { report, metrics, job: summary, clock: Clock::real() }));
    let prompt = Arc::new(Prompt::person());
    job.options.share = share::own::is_for_sharing(&job);
    let mut leave = None;
    if job.options.share {
        match share::own::before(&job) {
            Before::Own(given) => (leave, job.options.share) = (Some(given), false),
            Before::Maybe => job.options.share_if_far = true,
            Before::Shares => {}
        }
    }
    loop {
        let runtime = match runtime(job.options.share && !job.options.share_if_far) {
            Ok(runtime) => runtime,
            Err(e) => {
                printer.error(&format!("cannot start: {}", errno_text(&e)));
                return Exit::StartClient;
            }
        };
        let outcome = runtime.block_on(async {
            let (ledger, printer, prompt) = (ledger.clone(), printer.clone(), prompt.clone());
            let stop = watch_signals();
            engine::run(job.clone(), engine::Settings { ledger, printer, prompt, stop }).await
        });
        terminal::restore();
        // A thread may still hang in a disk's system call: nobody waits for it.
        runtime.shutdown_background();
        match outcome {
            Outcome::Ended(exit) => {
                drop(leave);
                return exit;
            }
            Outcome::Large(given) => {
                leave = Some(given);
                job.options.share = false;
            }
        }
    }
}

/// What runs the tasks. With a shared connection its holder does what takes threads; of clients there may be hundreds.
fn runtime(share: bool) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = if share {
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let processors = std::thread::available_parallelism().map_or(*WORKERS.start(), usize::from);
        builder.worker_threads(processors.clamp(*WORKERS.start(), *WORKERS.end()));
        builder
    };
    builder.enable_all().build()
}

/// `--share-stop`. There being nothing to stop is no failure.
fn share_stop(shell: &[OsString], login: &Login) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => return Exit::StartClient,
    };
    match runtime.block_on(share::stop(shell, login)) {
        Ok(_) => Exit::Ok,
        Err(fault) => {
            output::print_usage_error(&cli::UsageError { text: fault.to_string(), code: 0 });
            crate::cli::exit::decide([&fault], crate::cli::exit::Ended::default())
        }
    }
}

/// SIGINT, SIGTERM and SIGHUP ask the run to stop; a second one ends the process at once.
fn watch_signals() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let sender = sender.clone();
        if let Ok(mut signals) = signal(kind) {
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if sender.send_replace(true) {
                        terminal::restore();
                        std::process::exit(i32::from(Exit::Signal.code()));
                    }
                }
            });
        }
    }
    receiver
}
