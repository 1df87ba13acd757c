//! The command line: arguments and help texts, made from the table of options.
//!
//! Without a verb, the program mounts. [`verbs`] has the others, a file each.

mod mistake;
mod mount_helper;
pub mod verbs;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::options::{Form, OPTIONS, Opt, variable};
use crate::config::setting::{Origin, Setting, Settings};
use crate::config::{DEFAULT_FILE, Given};
use crate::words::similar;

pub use mistake::Refused;
pub use mount_helper::is_mount_helper;
pub use verbs::Verb;

const ABOUT: &str = "Show Zarr stores as Imaris files, without converting anything";

const LONG_ABOUT: &str = "\
Show Zarr stores as Imaris files, without converting anything.

Every OME-Zarr or Zarr store below SOURCE appears below MOUNTPOINT as an .ims file of its final size. \
Pixels are read from the store when they are first needed and kept in a disk cache. The program stays in \
the foreground, unless --background is given, until it is interrupted or the mount is removed with \
\"fusermount3 -u MOUNTPOINT\".";

const USAGE: &str = "\
zarrims-mount [OPTIONS] SOURCE MOUNTPOINT
       zarrims-mount [OPTIONS] --config FILE
       zarrims-mount --list [OPTIONS] [SOURCE]
       zarrims-mount VERB ...";

/// What a command line asks for.
#[derive(Debug, Clone)]
pub struct Cli {
    /// Settings of the command line and the environment.
    pub given: Given,
    /// What is to be done.
    pub task: Task,
    /// How often `-v` was given.
    pub verbose: u8,
}

/// What the program is to do.
#[derive(Debug, Clone)]
pub enum Task {
    /// Mount, and serve until the mounts have gone.
    Mount {
        /// The program that was started returns when the mounts answer, and another one serves them.
        in_background: bool,
    },
    /// Only look whether the command line is right: `mount -f`.
    Check,
    /// Print what would be shown and what is skipped and why.
    List {
        /// One JSON object a line.
        as_json: bool,
    },
    /// Print the merged configuration.
    PrintConfig,
    /// Another thing than to mount, by its name.
    Verb(Verb),
}

/// The arguments that are no options of the table, but `-v`.
fn arguments() -> [Arg; 7] {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let path = |name: &'static str| Arg::new(name).value_parser(value_parser!(PathBuf));
    [
        path("source")
            .value_name("SOURCE")
            .help("Folder with Zarr stores at any depth, or an address such as s3://bucket/folder; only ever read"),
        path("mountpoint").value_name("MOUNTPOINT").help("Empty folder to mount at"),
        switch("list").help("Print what would be shown and what is skipped and why, and exit"),
        switch("json").help("With --list: one JSON object a line"),
        path("config").long("config").value_name("FILE").env("ZARRIMS_CONFIG").help(format!(
            "Configuration file, with settings and with mounts for which SOURCE and MOUNTPOINT are left \
             out [default: {DEFAULT_FILE} if there is one]"
        )),
        switch("print-config")
            .help("Print all settings as a configuration file, each with its origin, and exit"),
        switch("background")
            .help("Return when the mounts answer, and serve them in the background"),
    ]
}

/// An option of the table as an argument.
fn argument(option: &'static Opt) -> Arg {
    let arg = Arg::new(option.name)
        .long(option.name)
        .env(variable(option.name))
        .help(option.help)
        .help_heading(option.heading);
    let arg = match option.default {
        Some(default) => arg.default_value(default),
        None => arg,
    };
    let parser = match option.form {
        Form::Switch => {
            return arg
                .action(ArgAction::SetTrue)
                .value_parser(ValueParser::new(crate::config::options::switch));
        }
        Form::Folder => value_parser!(PathBuf),
        Form::OneOf(names) => ValueParser::new(PossibleValuesParser::new(names())),
        Form::Text(check) | Form::Place(check) => {
            ValueParser::new(move |text: &str| check(text).map(|()| text.to_owned()))
        }
    };
    // A negative number is a wrong value, and no flag.
    arg.value_name(option.value).value_parser(parser).allow_negative_numbers(true)
}

fn verbose(help: &'static str) -> Arg {
    Arg::new("verbose")
        .short('v')
        .long("verbose")
        .action(ArgAction::Count)
        .help(help)
        .help_heading("Log")
}

/// The whole definition, of which help texts, pages of the manual and completions are made.
#[must_use]
pub fn command() -> Command {
    let verbose =
        verbose("Say more: -v for debug, -vv for trace; with --list, -v names every skipped path");
    let (log, others) = OPTIONS.iter().partition::<Vec<_>, _>(|option| option.heading == "Log");
    Command::new("zarrims-mount")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .override_usage(USAGE)
        .max_term_width(100)
        .args_override_self(true)
        .args(arguments())
        .args(others.into_iter().map(argument))
        .arg(verbose)
        .args(log.into_iter().map(argument))
        .subcommands(verbs::commands())
        .subcommand_value_name("VERB")
        .subcommand_help_heading("Verbs")
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
}

impl Cli {
    /// Reads the words of a command line, the program's name first, and the environment.
    ///
    /// # Errors
    /// [`Refused`]: help, or whatever the words themselves show to be wrong.
    pub fn read(words: &[OsString]) -> Result<Self, Refused> {
        if is_mount_helper(words) {
            let asked = mount_helper::translate(words, &command()).map_err(Refused::Mistake)?;
            let cli = Self::read(&asked.words)?;
            return Ok(if asked.only_checks { Self { task: Task::Check, ..cli } } else { cli });
        }
        let matches = command().try_get_matches_from(words);
        let matches = matches.map_err(|error| Refused::because(error, words, &command()))?;
        let cli = Self::of(&matches).map_err(Refused::Mistake)?;
        match cli.mistake() {
            Some(line) => Err(Refused::Mistake(line)),
            None => Ok(cli),
        }
    }

    /// # Errors
    /// Arguments that do not go together, in one line.
    fn of(matches: &ArgMatches) -> Result<Self, String> {
        if let Some((name, matches)) = matches.subcommand() {
            let verb = verbs::read(name, matches)?;
            let (given, verbose) = (given_by(matches, true), matches.get_count("verbose"));
            return Ok(Self { given, task: Task::Verb(verb), verbose });
        }
        let (lists, as_json) = (matches.get_flag("list"), matches.get_flag("json"));
        let in_background = matches.get_flag("background");
        let task = match (lists, matches.get_flag("print-config")) {
            (_, true) => Task::PrintConfig,
            (true, _) => Task::List { as_json },
            (false, false) => Task::Mount { in_background },
        };
        if in_background && !matches!(task, Task::Mount { .. }) {
            return Err(mistake::BACKGROUND_ALONE.to_owned());
        }
        if as_json && !lists {
            return Err(mistake::JSON_ALONE.to_owned());
        }
        let (given, verbose) = (given_by(matches, lists), matches.get_count("verbose"));
        Ok(Self { given, task, verbose })
    }

    /// What is wrong beyond single values.
    fn mistake(&self) -> Option<String> {
        let Given { source, mountpoint, settings, file, .. } = &self.given;
        if let (Task::List { .. }, Some(mountpoint)) = (&self.task, mountpoint) {
            let named = mountpoint.named();
            return Some(format!("{named}: --list takes SOURCE only; see --help"));
        }
        if let (Task::Mount { .. }, Some(source), None) = (&self.task, source, mountpoint)
            && let Some(word) = source.as_path().to_str()
        {
            let command = command();
            if command.find_subcommand(word).is_some() {
                return Some(mistake::verb_first(word));
            }
            let verbs = command.get_subcommands().map(clap::Command::get_name);
            let verb = similar(word, verbs).filter(|_| !source.as_path().exists());
            if let Some(verb) = verb {
                return Some(format!("{word}: no such verb or path; similar: {verb}; see --help"));
            }
        }
        let folders = OPTIONS.iter().filter(|option| matches!(option.form, Form::Folder));
        let folders = folders.map(|option| settings.get(option.name));
        let mut paths = mountpoint.iter().chain(file).chain(folders);
        let of_source = source.as_ref().and_then(|setting| {
            let reason = crate::config::options::source_mistake(setting.as_path())?;
            Some(setting.mistake(&reason).0)
        });
        let mistake = of_source.or_else(|| {
            paths.find_map(|setting| {
                let reason = crate::config::options::path_mistake(setting.as_path())?;
                Some(setting.mistake(&reason).0)
            })
        });
        mistake.or_else(crate::log_filter::mistake)
    }
}

/// Settings of the command line and the environment. `lists`: no mount point is wanted.
fn given_by(matches: &ArgMatches, lists: bool) -> Given {
    let path = |name| {
        let (text, origin) = given(matches, name)?;
        let is_argument = origin == Origin::Flag && name != "config";
        let origin = if is_argument { Origin::Argument } else { origin };
        Some(Setting::path(name, text, origin))
    };
    Given {
        source: path("source"),
        mountpoint: path("mountpoint"),
        settings: Settings::new(|option| given(matches, option.name)),
        file: path("config"),
        lists,
    }
}

/// The value of an argument, unless it is the default. Verbs do not have all arguments.
fn given(matches: &ArgMatches, name: &str) -> Option<(OsString, Origin)> {
    matches.try_contains_id(name).ok()?;
    let origin = match matches.value_source(name)? {
        ValueSource::CommandLine => Origin::Flag,
        ValueSource::EnvVariable => Origin::Variable,
        _ => return None,
    };
    let text = matches.get_raw(name)?.next_back()?;
    // A flag that is a switch has no text.
    let text = if text.is_empty() { OsStr::new("true") } else { text };
    Some((text.to_owned(), origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    fn read(args: &[&str]) -> Result<Cli, Refused> {
        let words = [&["zarrims-mount"], args].concat();
        Cli::read(&words.into_iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_given_has_its_text_and_its_origin() {
        let cli = read(&["/s", "/m", "--memory", "1GiB", "--follow-links", "--umask", "027"]);
        let Given { source, mountpoint, settings, file, lists } = cli.expect("valid").given;
        assert_eq!(source.map(|path| path.named()).as_deref(), Some("SOURCE /s"));
        assert_eq!(mountpoint.map(|path| path.named()).as_deref(), Some("MOUNTPOINT /m"));
        let named = |name: &str| settings.get(name).named();
        for (name, expected) in [
            ("memory", "--memory 1GiB"),
            ("follow-links", "--follow-links true"),
            ("labels", "--labels hide"),
            ("umask", "--umask 027"),
            ("pyramid", "--pyramid auto"),
            ("threads", "--threads"),
        ] {
            assert_eq!(named(name), expected);
        }
        assert_eq!(settings.get("pyramid").origin, Origin::Default);
        assert_eq!(settings.get("memory").origin, Origin::Flag);
        assert!(file.is_none() && !lists);
    }

    #[test]
    fn the_last_one_of_two_counts() {
        let cli = read(&["/s", "/m", "--memory=1GiB", "--memory=2GiB"]).expect("valid");
        assert_eq!(cli.given.settings.get("memory").named(), "--memory 2GiB");
    }

    #[test]
    fn wrong_values_are_refused() {
        for bad in ["--pyramid=all", "--umask=9", "--default-unit=second", "--int16=", "--uid=-1"] {
            assert!(matches!(read(&["/s", "/m", bad]), Err(Refused::Mistake(_))), "{bad}");
        }
    }
}
