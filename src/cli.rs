//! The command line: names, types and help texts, no behaviour.

mod log_filter;
mod mistake;
mod path;
mod value;

use std::ffi::OsString;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::cache::MinFree;
use crate::fs::Revalidate;
use crate::image::{Conversions, ImageOptions, Int16, OnError, Pyramid, Statistics, Uint32};

pub use mistake::Refused;
pub(crate) use value::LEAST_MEMORY_BYTES;
pub use value::{LEAST_CACHE_BYTES, Unit};
use value::{
    one_of, parse_cache_size, parse_memory, parse_min_free, parse_switch, parse_threads,
    parse_umask, parse_unit, parse_user,
};

/// Show Zarr stores as Imaris files, without converting anything.
///
/// Every OME-Zarr or Zarr store below SOURCE appears below MOUNTPOINT as an .ims file of its final
/// size. Pixels are read from the store when they are first needed and kept in a disk cache.
/// The program stays in the foreground until it is interrupted or the mount is removed with
/// "fusermount3 -u MOUNTPOINT".
#[derive(Debug, Clone, Parser)]
#[command(name = "zarrims-mount", version, max_term_width = 100, args_override_self = true)]
#[expect(clippy::struct_excessive_bools, reason = "a command line has flags")]
pub struct Cli {
    /// Folder with Zarr stores at any depth; only ever read
    pub source: PathBuf,

    /// Empty folder to mount at
    #[arg(required_unless_present_any = ["list", "json"])]
    pub mountpoint: Option<PathBuf>,

    /// Print what would be shown and what is skipped and why, and exit
    #[arg(long)]
    pub list: bool,

    /// With --list: one JSON object a line
    #[arg(long)]
    pub json: bool,

    /// Folder for the disk cache [default: one for each SOURCE, below zarrims in the
    /// user's cache folder, or below /var/cache/zarrims-root for root]
    #[arg(long, value_name = "DIR", env = "ZARRIMS_CACHE_DIR", help_heading = "Cache")]
    pub cache_dir: Option<PathBuf>,

    /// Largest size of the disk cache, such as 200GiB [default: 50GiB or a tenth of the free
    /// space, whichever is less]
    #[arg(long, value_name = "SIZE", env = "ZARRIMS_CACHE_SIZE",
          value_parser = parse_cache_size, help_heading = "Cache")]
    pub cache_size: Option<ByteSize>,

    /// Room to leave free on the disk of the cache, such as 20GiB or 5%; the cache shrinks for it
    #[arg(long, value_name = "SIZE", env = "ZARRIMS_MIN_FREE", default_value = "5%",
          value_parser = parse_min_free, help_heading = "Cache")]
    pub min_free: MinFree,

    /// Let all users of this machine see the mount, not only the one who made it
    #[arg(long, env = "ZARRIMS_ALLOW_OTHER", value_parser = ValueParser::new(parse_switch),
          help_heading = "Mount")]
    pub allow_other: bool,

    /// Owner of everything in the mount, as a number [default: as in SOURCE]
    #[arg(long, value_name = "UID", env = "ZARRIMS_UID", value_parser = parse_user,
          allow_negative_numbers = true, help_heading = "Mount")]
    pub uid: Option<u32>,

    /// Group of everything in the mount, as a number [default: as in SOURCE]
    #[arg(long, value_name = "GID", env = "ZARRIMS_GID", value_parser = parse_user,
          allow_negative_numbers = true, help_heading = "Mount")]
    pub gid: Option<u32>,

    /// Permission bits to take away, in octal; nothing in the mount is ever writable
    #[arg(long, value_name = "OCTAL", env = "ZARRIMS_UMASK", default_value = "000",
          value_parser = parse_umask, help_heading = "Mount")]
    pub umask: u16,

    /// Resolution levels: "auto" shows the store's levels and computes missing ones, "source" shows
    /// only the store's, "imaris" computes all but the finest
    #[arg(long, value_name = "WHICH", env = "ZARRIMS_PYRAMID", default_value = "auto",
          value_parser = one_of(&[("auto", Pyramid::Auto), ("source", Pyramid::Source),
                                  ("imaris", Pyramid::Imaris)]), help_heading = "Images")]
    pub pyramid: Pyramid,

    /// Histograms and ranges of large images: "fast" takes them from a level or a sample, "exact"
    /// from all voxels, which the first opening then waits for
    #[arg(long, value_name = "HOW", env = "ZARRIMS_STATISTICS", default_value = "fast",
          value_parser = one_of(&[("fast", Statistics::Fast), ("exact", Statistics::Exact)]),
          help_heading = "Images")]
    pub statistics: Statistics,

    /// Unit of lengths that a store states without one, such as mm
    #[arg(long, value_name = "UNIT", env = "ZARRIMS_DEFAULT_UNIT", default_value = "um",
          value_parser = parse_unit, help_heading = "Images")]
    pub default_unit: Unit,

    /// What becomes of int16 voxels, which Imaris does not have: exact floats, int16 all the same,
    /// or uint16 with 32768 added
    #[arg(long, value_name = "AS", env = "ZARRIMS_INT16", default_value = "float32",
          value_parser = one_of(&[("float32", Int16::Float32), ("keep", Int16::Keep),
                                  ("offset", Int16::Offset)]), help_heading = "Images")]
    pub int16: Int16,

    /// What becomes of uint32 voxels: floats, rounded beyond 2^24, or uint32 all the same
    #[arg(long, value_name = "AS", env = "ZARRIMS_UINT32", default_value = "float32",
          value_parser = one_of(&[("float32", Uint32::Float32), ("keep", Uint32::Keep)]),
          help_heading = "Images")]
    pub uint32: Uint32,

    /// Show label images, too; a store that has some becomes a folder
    #[arg(long, env = "ZARRIMS_LABELS", value_parser = ValueParser::new(parse_switch),
          help_heading = "Images")]
    pub labels: bool,

    /// What readers get for voxels of a damaged chunk: an I/O error, or the fill value of the array
    #[arg(long, value_name = "WHAT", env = "ZARRIMS_ON_ERROR", default_value = "error",
          value_parser = one_of(&[("error", OnError::Error), ("fill", OnError::Fill)]),
          help_heading = "Images")]
    pub on_error: OnError,

    /// When chunk files that were rewritten, added or deleted are noticed: when the file is opened two seconds
    /// or more after the last look, at each opening, or never; changed metadata always is
    #[arg(long, value_name = "WHEN", env = "ZARRIMS_REVALIDATE", default_value = "2s",
          value_parser = one_of(&[("2s", Revalidate::AFTER_A_MOMENT), ("open", Revalidate::AT_ONCE),
                                  ("never", Revalidate::Never)]),
          help_heading = "Source")]
    pub revalidate: Revalidate,

    /// Follow symbolic links that lead out of SOURCE, and absolute ones
    #[arg(long, env = "ZARRIMS_FOLLOW_LINKS", value_parser = ValueParser::new(parse_switch),
          help_heading = "Source")]
    pub follow_links: bool,

    /// Threads that read and decode stores [default: 4 per processor, at least 8]
    #[arg(long, value_name = "N", env = "ZARRIMS_THREADS",
          value_parser = parse_threads, allow_negative_numbers = true, help_heading = "Resources")]
    pub threads: Option<u16>,

    /// Memory for decoding and for metadata of open files [default: 128MiB, or a quarter of what the machine
    /// or the control group has, if that is less]
    #[arg(long, value_name = "SIZE", env = "ZARRIMS_MEMORY", value_parser = parse_memory,
          help_heading = "Resources")]
    pub memory: Option<ByteSize>,

    /// Say more: -v for debug, -vv for trace; with --list, -v names every skipped path
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Log")]
    pub verbose: u8,

    /// Form of the log lines on standard error
    #[arg(
        long,
        value_name = "FORMAT",
        env = "ZARRIMS_LOG_FORMAT",
        default_value = "text",
        help_heading = "Log"
    )]
    pub log_format: LogFormat,

    /// Arguments whose value an environment variable gave, by their field here.
    #[arg(skip)]
    pub from_environment: Vec<String>,
}

impl Cli {
    /// Reads the words of a command line, the program's name first, and the environment.
    ///
    /// # Errors
    /// [`Refused`]: help, or whatever the words themselves show to be wrong.
    pub fn read(words: &[OsString]) -> Result<Self, Refused> {
        let matches = Self::command()
            .try_get_matches_from(words)
            .map_err(|error| Refused::because(error, words))?;
        let cli = Self::from_arg_matches(&matches);
        let mut cli = cli.map_err(|error| Refused::because(error, words))?;
        let arguments = Self::command();
        let ids = arguments.get_arguments().map(|argument| argument.get_id().as_str());
        cli.from_environment = ids
            .filter(|id| matches.try_contains_id(id).is_ok())
            .filter(|id| matches.value_source(id) == Some(ValueSource::EnvVariable))
            .map(str::to_owned)
            .collect();
        match cli.mistake() {
            Some(line) => Err(Refused::Mistake(cli.name_variable(line))),
            None => Ok(cli),
        }
    }

    /// What is wrong beyond single values.
    fn mistake(&self) -> Option<String> {
        if self.json && !self.list {
            return Some(mistake::JSON_ALONE.to_owned());
        }
        if let (true, Some(mountpoint)) = (self.list, &self.mountpoint) {
            let path = mountpoint.display();
            return Some(format!("MOUNTPOINT {path}: --list takes SOURCE only; see --help"));
        }
        let paths = [
            ("SOURCE", Some(&self.source)),
            ("MOUNTPOINT", self.mountpoint.as_ref()),
            ("--cache-dir", self.cache_dir.as_ref()),
        ];
        let mistake = paths.into_iter().find_map(|(name, path)| {
            let path = path?;
            let reason = path::mistake(path)?;
            Some(format!("{name} {}: {reason}", path.display()))
        });
        mistake.or_else(log_filter::mistake)
    }

    /// A line that begins with a flag names the environment variable instead, if the value came from it.
    #[must_use]
    pub fn name_variable(&self, line: String) -> String {
        let flag = line.split([' ', ':']).next().unwrap_or_default();
        let Some(name) = flag.strip_prefix("--") else { return line };
        let id = name.replace('-', "_");
        if !self.from_environment.contains(&id) {
            return line;
        }
        let rest = &line[flag.len()..];
        let rest = rest.strip_prefix(' ').map_or(rest.to_owned(), |value| format!("={value}"));
        format!("{}{rest}", value::variable(name))
    }

    /// How images become files.
    #[must_use]
    pub fn images(&self) -> ImageOptions {
        ImageOptions {
            pyramid: self.pyramid,
            statistics: self.statistics,
            on_error: self.on_error,
            conversions: Conversions { int16: self.int16, uint32: self.uint32 },
            default_unit_um: self.default_unit.0,
            ..ImageOptions::default()
        }
    }
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// By which an error finds the variable of a flag.
    #[test]
    fn a_variable_is_called_as_its_flag() {
        for argument in Cli::command().get_arguments() {
            let Some(env) = argument.get_env() else { continue };
            let flag = argument.get_long().expect("a flag");
            assert_eq!(env.to_str(), Some(value::variable(flag).as_str()));
            assert_eq!(argument.get_id().as_str(), flag.replace('-', "_"));
        }
    }

    #[test]
    fn a_line_names_where_the_value_came_from() {
        let cli = Cli::try_parse_from(["zarrims-mount", "/s", "/m"]).expect("valid");
        let cli = Cli { from_environment: vec!["cache_dir".to_owned()], ..cli };
        let line = |line: &str| cli.name_variable(line.to_owned());
        assert_eq!(line("--cache-dir /x: is full"), "ZARRIMS_CACHE_DIR=/x: is full");
        assert_eq!(line("--cache-dir: in use"), "ZARRIMS_CACHE_DIR: in use");
        for other in ["--cache-size 1: too small", "SOURCE /s: --cache-dir", ""] {
            assert_eq!(line(other), other);
        }
    }

    #[test]
    fn sizes_and_masks() {
        let parse =
            |args: &[&str]| Cli::try_parse_from([&["zarrims-mount", "/s", "/m"], args].concat());
        assert_eq!(parse(&["--memory", "1GiB"]).expect("valid").memory, Some(ByteSize::gib(1)));
        assert_eq!(parse(&["--umask", "027"]).expect("valid").umask, 0o27);
        assert!(parse(&["--umask", "9"]).is_err());
        assert!(parse(&["--cache-size", "lots"]).is_err());
    }

    #[test]
    fn images_as_the_user_chose() {
        let parse = |args: &[&str]| {
            let cli = Cli::try_parse_from([&["zarrims-mount", "/s", "/m"], args].concat());
            cli.map(|cli| cli.images())
        };
        assert_eq!(parse(&[]).expect("valid"), ImageOptions::default());
        let chosen = parse(&["--pyramid=imaris", "--int16", "offset", "--default-unit", "mm"]);
        let chosen = chosen.expect("valid");
        assert_eq!(chosen.pyramid, Pyramid::Imaris);
        assert_eq!(chosen.conversions.int16, Int16::Offset);
        assert!((chosen.default_unit_um - 1000.0).abs() < 1e-9);
        for bad in ["--pyramid=all", "--statistics=some", "--default-unit=second", "--int16="] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
    }
}
