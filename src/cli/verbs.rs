//! What the program does beside mounting, a file each.
//!
//! To add a verb: describe its arguments in a file here, name it in [`Verb`], [`commands`] and [`read`], and do its
//! work in a file of the same name below `src/verbs`.

mod doctor;
mod evict;
mod export;
mod inspect;
mod log;
mod reload;
mod status;
mod verify;
mod warm;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::options::OPTIONS;

pub use doctor::Doctor;
pub use evict::Evict;
pub use export::{Export, Made};
pub use inspect::Inspect;
pub use log::Log;
pub use reload::Reload;
pub use status::Status;
pub use verify::Verify;
pub use warm::Warm;

/// What is to be done, with its arguments. SOURCE and the options of the table are in
/// [`Given`](crate::config::Given).
#[derive(Debug, Clone)]
pub enum Verb {
    /// Check the machine and the configuration.
    Doctor(Doctor),
    /// Drop what a daemon has cached of images.
    Evict(Evict),
    /// Write files without a mount.
    Export(Box<Export>),
    /// Tell what a store becomes.
    Inspect(Inspect),
    /// Tell or change what a daemon logs.
    Log(Log),
    /// Have a daemon read its configuration again.
    Reload(Reload),
    /// Tell what a daemon does.
    Status(Status),
    /// Compare what a daemon has cached of images.
    Verify(Verify),
    /// Have a daemon cache images.
    Warm(Warm),
}

/// Which daemon is meant.
#[derive(Debug, Clone, Default)]
pub struct OfDaemon {
    /// The one that serves this mount point, or a path below it.
    pub mount: Option<PathBuf>,
    /// The one of this control socket.
    pub socket: Option<PathBuf>,
}

/// A file or folder of a mount, and its daemon.
#[derive(Debug, Clone, Default)]
pub struct OfPath {
    /// The path, as it was given.
    pub path: PathBuf,
    /// The control socket of the daemon; the one that serves the path where none is named.
    pub socket: Option<PathBuf>,
}

/// Their definitions, in the order of the help.
pub(super) fn commands() -> Vec<Command> {
    vec![
        doctor::command(),
        evict::command(),
        export::command(),
        inspect::command(),
        log::command(),
        reload::command(),
        status::command(),
        verify::command(),
        warm::command(),
    ]
}

/// Reads the arguments of a verb by its name, which is one of [`commands`].
///
/// # Errors
/// Arguments that do not go together, in one line.
pub(super) fn read(name: &str, matches: &ArgMatches) -> Result<Verb, String> {
    match name {
        doctor::NAME => Ok(Verb::Doctor(Doctor::read(matches))),
        evict::NAME => Ok(Verb::Evict(Evict::read(matches))),
        export::NAME => Ok(Verb::Export(Box::new(Export::read(matches)?))),
        inspect::NAME => Ok(Verb::Inspect(Inspect::read(matches))),
        log::NAME => Log::read(matches).map(Verb::Log),
        reload::NAME => Ok(Verb::Reload(Reload::read(matches))),
        status::NAME => Ok(Verb::Status(Status::read(matches))),
        verify::NAME => Ok(Verb::Verify(Verify::read(matches))),
        warm::NAME => Warm::read(matches).map(Verb::Warm),
        _ => Err(format!("{name}: no such verb; see --help")),
    }
}

/// A definition with what all verbs have: `--json` and `-v`.
fn verb(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .max_term_width(100)
        .args_override_self(true)
        .arg(switch("json").help("Print for programs: one JSON object a line"))
        .arg(super::verbose("Say more: -v for debug, -vv for trace"))
}

/// The argument SOURCE, and the options that say what becomes of a source and how it is read.
fn with_source(command: Command, help: &'static str) -> Command {
    let source = Arg::new("source")
        .value_name("STORE")
        .required(true)
        .help(help)
        .value_parser(clap::value_parser!(PathBuf));
    let config = super::arguments().into_iter().filter(|arg| arg.get_id() == "config");
    let is_about_reading = |heading: &str| !matches!(heading, "Cache" | "Mount" | "Control");
    let options = OPTIONS.iter().filter(|option| is_about_reading(option.heading));
    command.arg(source).args(config).args(options.map(super::argument))
}

/// The arguments by which a daemon is found.
fn with_daemon(command: Command) -> Command {
    let mount = Arg::new("mount").value_name("MOUNT").value_parser(clap::value_parser!(PathBuf));
    with_socket(command.arg(mount.help("The mount point, or a path below it")))
}

/// The arguments by which files of a mount are found.
fn with_path(command: Command) -> Command {
    let path = Arg::new("path").value_name("PATH").value_parser(clap::value_parser!(PathBuf));
    let help = "A file of a mount; or a folder of it, or the mount point, for all files below it";
    with_socket(command.arg(path.required(true).help(help)))
}

/// The same as [`with_daemon`] without MOUNT.
fn with_socket(command: Command) -> Command {
    let path = |name: &'static str| {
        Arg::new(name).long(name).value_name("PATH").value_parser(clap::value_parser!(PathBuf))
    };
    let help =
        "Control socket of the daemon [default: those of all daemons that this user may ask]";
    command.arg(path("socket").help(help))
}

impl OfDaemon {
    fn read(matches: &ArgMatches) -> Self {
        // Not every verb has both.
        let path = |name| matches.try_get_one::<PathBuf>(name).ok().flatten().cloned();
        Self { mount: path("mount"), socket: path("socket") }
    }
}

impl OfPath {
    fn read(matches: &ArgMatches) -> Self {
        let path = |name| matches.get_one::<PathBuf>(name).cloned();
        Self { path: path("path").unwrap_or_default(), socket: path("socket") }
    }
}

fn switch(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}
