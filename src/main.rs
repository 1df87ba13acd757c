//! `zarrims-mount`: shows Zarr stores as Imaris files. All of it is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = zarrims::cli::Cli::parse();
    match zarrims::daemon::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zarrims-mount: {error:#}");
            ExitCode::FAILURE
        }
    }
}
