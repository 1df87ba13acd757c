//! `zarrims-mount`: shows Zarr stores as Imaris files.
//!
//! The program around the library: [`daemon`] wires the layers together and keeps them until a signal,
//! [`housekeeper`] saves now and then what a later start wants to know,
//! [`signals`] and [`notify`] are for those who started it, [`mount`] mounts and unmounts, [`window`]
//! widens the kernel's window, [`process`] asks the kernel about this process, [`list`] is the dry run,
//! [`logging`] writes lines.

mod allocator;
mod daemon;
mod housekeeper;
mod list;
mod logging;
mod mount;
mod notify;
mod process;
mod signals;
mod window;

use std::process::ExitCode;

use zarrims::cli::{Cli, Refused};

/// Exit status for what the command line itself shows to be wrong, as other programs have it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    allocator::configure();
    let status = run();
    logging::finish();
    status
}

fn run() -> ExitCode {
    signals::ignore_meaningless();
    zarrims::descriptors::raise_limit();
    let cli = match Cli::read(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(cli) => cli,
        Err(Refused::Asked(help)) => help.exit(),
        Err(Refused::Mistake(line)) => {
            logging::say(&line);
            return ExitCode::from(USAGE);
        }
    };
    match daemon::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::say(&cli.name_variable(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
