//! The `outrigger` binary: passes the arguments to the command line and returns its exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    outrigger::cli::run(std::env::args_os())
}
