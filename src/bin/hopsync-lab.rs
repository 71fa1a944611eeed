//! `hopsync-lab`: hopsync's laboratory on the command line. What it does is in `hopsync::lab`.

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hopsync::lab::{bench, demo, probe, report, serve};

/// Embedded SSH servers to try hopsync on, without a cluster
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Move files through an embedded head to an embedded target and back, and show what arrived
    Demo(demo::Options),
    /// Tell what the way to a host and the host allow: sessions, start limits, round trips, speed, hashers; and what follows
    Probe(probe::Options),
    /// Start the embedded head and target with limits, distances and faults of your choice, and keep them until Ctrl-C
    Serve(serve::Options),
    /// Time hopsync beside rsync and others, on servers of its own, and keep the numbers
    Bench(Box<bench::Options>),
    /// Make a page, tables and drawings of what a run or a bench was
    Report(report::Options),
    /// Run a command and print what it cost (`bench` calls it)
    #[command(hide = true)]
    Measure(bench::Measured),
}

fn main() -> ExitCode {
    // The demo starts this very program as the drop-in, by this name: `cargo run --bin hopsync-lab` builds no other.
    if std::env::args_os().next().is_some_and(|name| Path::new(&name).file_name() == Some("hopsync".as_ref())) {
        return hopsync::program::main();
    }
    match Arguments::parse().command {
        Command::Demo(options) => demo::demo(&options),
        Command::Probe(options) => probe::probe(&options),
        Command::Serve(options) => serve::serve(options),
        Command::Bench(options) => bench::bench(&options),
        Command::Report(options) => report::report(&options),
        Command::Measure(measured) => bench::measure(&measured),
    }
}
