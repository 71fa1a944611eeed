//! The drop-in: rsync's command line, our engine.

/// A transfer of small files is a hundred small allocations for each, on several threads at once (measured: 12 % less CPU than
/// with glibc's for pushing 10,000 files of 4 KiB).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hopsync::program::main()
}
