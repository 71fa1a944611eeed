//! The drop-in: rsync's command line, our engine.

fn main() -> std::process::ExitCode {
    hopsync::program::main()
}
