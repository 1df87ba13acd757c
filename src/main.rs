//! `zarrims-mount`: shows Zarr stores as Imaris files.
//!
//! The program around the library: [`daemon`] wires the layers together and keeps them until a signal,
//! [`mount`] mounts and unmounts, [`window`] widens the kernel's window, [`process`] asks the kernel about
//! this process, [`list`] is the dry run.

mod allocator;
mod daemon;
mod list;
mod logging;
mod mount;
mod process;
mod window;

use std::process::ExitCode;

use zarrims::cli::{Cli, Refused};

/// Exit status for what the command line itself shows to be wrong, as other programs have it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    allocator::share_heaps();
    let cli = match Cli::read(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(cli) => cli,
        Err(Refused::Asked(help)) => help.exit(),
        Err(Refused::Mistake(line)) => {
            eprintln!("zarrims-mount: {line}");
            return ExitCode::from(USAGE);
        }
    };
    match daemon::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zarrims-mount: {}", cli.name_variable(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
