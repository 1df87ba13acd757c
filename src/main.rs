//! `zarrims-mount`: shows Zarr stores as Imaris files.
//!
//! The program around the library: [`daemon`] wires the layers together and keeps them until a signal,
//! [`mount`] mounts and unmounts, [`window`] widens the kernel's window, [`list`] is the dry run.

mod allocator;
mod daemon;
mod list;
mod logging;
mod mount;
mod window;

use std::process::ExitCode;

use clap::Parser;
use zarrims::cli::Cli;

/// Exit status for a command line that does not parse, as other programs have it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    allocator::configure();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are asked for.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            eprintln!("zarrims-mount: {}", first_paragraph(&error.to_string()));
            return ExitCode::from(USAGE);
        }
    };
    match daemon::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zarrims-mount: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is wrong, in one line; clap adds usage and hints in further paragraphs.
fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines: Vec<&str> =
        text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    lines.join(" ")
}
