//! `zarrims-mount`: shows Zarr stores as Imaris files.
//!
//! The program around the library: [`daemon`] wires the layers together and keeps them until a signal, [`control`] is
//! how it is asked and steered, [`housekeeper`] saves what a later start can use, [`rest`] gives memory back when there
//! is nothing to do, [`mount`] mounts, unmounts and widens the kernel's window, [`process`] asks the kernel about this
//! process, [`list`] is the dry run, [`verbs`] does what else the program can, [`background`] lets the program that was
//! started return, [`logging`] writes lines.

mod background;
mod control;
mod daemon;
mod housekeeper;
mod list;
mod logging;
mod mount;
mod process;
mod rest;
mod verbs;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use zarrims::cli::{Cli, Refused, Task, is_mount_helper};
use zarrims::config::{Merged, Mistake};

use verbs::Failure;

/// The exit status for what the command line, the environment or the configuration file shows to be wrong by
/// itself, and that for any other failure.
#[derive(Debug, Clone, Copy)]
struct Statuses {
    mistake: u8,
    failure: u8,
}

impl Statuses {
    /// As other programs have them.
    const USUAL: Self = Self { mistake: 2, failure: 1 };
    /// Of programs that `mount(8)` starts ("EXIT STATUS").
    const OF_MOUNT: Self = Self { mistake: 1, failure: 32 };
}

/// Exit status of a verb that needs a daemon where there is none.
const NO_DAEMON: u8 = 3;

fn main() -> ExitCode {
    zarrims::allocator::configure();
    let status = run();
    logging::finish();
    status
}

fn run() -> ExitCode {
    daemon::signals::ignore_meaningless();
    zarrims::descriptors::raise_limit();
    let words: Vec<OsString> = std::env::args_os().collect();
    let statuses = if is_mount_helper(&words) { Statuses::OF_MOUNT } else { Statuses::USUAL };
    let cli = match Cli::read(&words) {
        Ok(cli) => cli,
        Err(Refused::Asked(help)) => help.exit(),
        Err(Refused::Mistake(line)) => {
            logging::say(&line);
            return ExitCode::from(statuses.mistake);
        }
    };
    let done = match cli.task {
        Task::Mount { in_background: true } if !background::is_child() => {
            background::start(&words).map_err(Failure::from)
        }
        _ => carry_out(&cli),
    };
    match done {
        Ok(status) => status,
        Err(Failure::Mistake(Mistake(line))) => {
            logging::say(&line);
            ExitCode::from(statuses.mistake)
        }
        Err(Failure::NoDaemon(line)) => {
            logging::say(&line);
            ExitCode::from(NO_DAEMON)
        }
        Err(Failure::Other(error)) => {
            logging::say(&format!("{error:#}"));
            ExitCode::from(statuses.failure)
        }
    }
}

/// Does what the command line asks for; the result is the status of the program.
fn carry_out(cli: &Cli) -> Result<ExitCode, Failure> {
    if let Task::Verb(verb) = &cli.task {
        return verbs::run(verb, cli);
    }
    let (mut given, mut merged) = (cli.given.clone(), cli.given.clone().merge()?);
    if let Task::Mount { in_background: true } = cli.task {
        // What is wrong has been said in the words of the user.
        given = given.leaving_folder();
        merged = given.clone().merge()?;
    }
    if let Task::PrintConfig = &cli.task {
        print_config(&merged)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Task::Check = &cli.task {
        return Ok(ExitCode::SUCCESS);
    }
    // The first -v of a list asks for more of the list.
    let is_list = matches!(cli.task, Task::List { .. });
    let verbose = if is_list { cli.verbose.saturating_sub(1) } else { cli.verbose };
    logging::start(merged.log_format(), verbose, is_list);
    if let Task::List { as_json } = &cli.task {
        list::run(&merged, *as_json, cli.verbose > 0)?;
    } else {
        set_up_log(&merged)?;
        daemon::run(&given, merged)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the log goes, and what it says, as far as the configuration has a word in it.
fn set_up_log(merged: &Merged) -> Result<(), Failure> {
    if let Some(filter) = merged.log_filter().filter(|_| !logging::is_filter_given()) {
        logging::filter::set(filter).map_err(|error| anyhow::anyhow!("--log-filter: {error}"))?;
    }
    if let Some(setting) = merged.log_file() {
        let failed = |error: io::Error| anyhow::anyhow!(setting.mistake(&error.to_string()).0);
        logging::write_to(setting.as_path()).map_err(failed)?;
    }
    Ok(())
}

fn print_config(merged: &Merged) -> anyhow::Result<()> {
    match io::stdout().write_all(merged.to_toml().as_bytes()) {
        // Nobody reads on.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
