//! `zarrims-mount`: shows Zarr stores as Imaris files.
//!
//! The program around the library: [`daemon`] wires the layers together and keeps them until a signal,
//! [`housekeeper`] saves what a later start can use, [`mount`] mounts, unmounts and widens the kernel's
//! window, [`process`] asks the kernel about this process, [`list`] is the dry run, [`logging`] writes lines.

mod allocator;
mod daemon;
mod housekeeper;
mod list;
mod logging;
mod mount;
mod process;

use std::io::{self, Write};
use std::process::ExitCode;

use zarrims::cli::{Cli, Refused};
use zarrims::config::{Merged, Mistake};

/// Exit status for what the command line, the environment or the configuration file shows to be wrong by
/// itself, as other programs have it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    allocator::configure();
    let status = run();
    logging::finish();
    status
}

fn run() -> ExitCode {
    daemon::signals::ignore_meaningless();
    zarrims::descriptors::raise_limit();
    let cli = match Cli::read(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(cli) => cli,
        Err(Refused::Asked(help)) => help.exit(),
        Err(Refused::Mistake(line)) => {
            logging::say(&line);
            return ExitCode::from(USAGE);
        }
    };
    let merged = match cli.given.clone().merge() {
        Ok(merged) => merged,
        Err(Mistake(line)) => {
            logging::say(&line);
            return ExitCode::from(USAGE);
        }
    };
    match carry_out(&cli, &merged) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Does what the command line asks for.
fn carry_out(cli: &Cli, merged: &Merged) -> anyhow::Result<()> {
    if cli.print_config {
        return match io::stdout().write_all(merged.to_toml().as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        };
    }
    // The first -v of a list asks for more of the list.
    let verbose = if cli.list { cli.verbose.saturating_sub(1) } else { cli.verbose };
    logging::start(merged.log_format(), verbose, cli.list);
    if cli.list { list::run(merged, cli.json, cli.verbose > 0) } else { daemon::run(merged) }
}
