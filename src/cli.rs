//! The command line: names, types and help texts, no behaviour.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, ValueEnum};

use crate::cache::MinFree;
use crate::fs::Revalidate;
use crate::image::{ImageOptions, OnError, Pyramid, Statistics};
use crate::source::{Conversions, Int16, Uint32, micrometres};

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
    #[arg(required_unless_present = "list")]
    pub mountpoint: Option<PathBuf>,

    /// Print what would be shown and what is skipped and why, and exit
    #[arg(long, conflicts_with = "mountpoint")]
    pub list: bool,

    /// With --list: one JSON object a line
    // A mount point would make clap forgive the missing --list.
    #[arg(long, requires = "list", conflicts_with = "mountpoint")]
    pub json: bool,

    /// Folder for the disk cache [default: zarrims in the user's cache folder, or
    /// /var/cache/zarrims for root]
    #[arg(long, value_name = "DIR", env = "ZARRIMS_CACHE_DIR", help_heading = "Cache")]
    pub cache_dir: Option<PathBuf>,

    /// Largest size of the disk cache, such as 200GiB [default: 50GiB or a tenth of the free
    /// space, whichever is less]
    #[arg(long, value_name = "SIZE", env = "ZARRIMS_CACHE_SIZE", help_heading = "Cache")]
    pub cache_size: Option<ByteSize>,

    /// Room to leave free on the disk of the cache, such as 20GiB or 5%; the cache shrinks for it
    #[arg(long, value_name = "SIZE", env = "ZARRIMS_MIN_FREE", default_value = "5%",
          value_parser = parse_min_free, help_heading = "Cache")]
    pub min_free: MinFree,

    /// Let all users of this machine see the mount, not only the one who made it
    #[arg(long, env = "ZARRIMS_ALLOW_OTHER", help_heading = "Mount")]
    pub allow_other: bool,

    /// Owner of everything in the mount, as a number [default: as in SOURCE]
    #[arg(long, value_name = "UID", env = "ZARRIMS_UID", help_heading = "Mount")]
    pub uid: Option<u32>,

    /// Group of everything in the mount, as a number [default: as in SOURCE]
    #[arg(long, value_name = "GID", env = "ZARRIMS_GID", help_heading = "Mount")]
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
    #[arg(long, env = "ZARRIMS_LABELS", help_heading = "Images")]
    pub labels: bool,

    /// What readers get for voxels of a damaged chunk: an I/O error, or the fill value of the array
    #[arg(long, value_name = "WHAT", env = "ZARRIMS_ON_ERROR", default_value = "error",
          value_parser = one_of(&[("error", OnError::Error), ("fill", OnError::Fill)]),
          help_heading = "Images")]
    pub on_error: OnError,

    /// When chunk files that were rewritten, added or deleted are noticed; changed metadata always is
    #[arg(long, value_name = "WHEN", env = "ZARRIMS_REVALIDATE", default_value = "open",
          value_parser = one_of(&[("open", Revalidate::Open), ("never", Revalidate::Never)]),
          help_heading = "Source")]
    pub revalidate: Revalidate,

    /// Follow symbolic links that lead out of SOURCE, and absolute ones
    #[arg(long, env = "ZARRIMS_FOLLOW_LINKS", help_heading = "Source")]
    pub follow_links: bool,

    /// Threads that read and decode stores [default: 4 per processor, at least 8]
    #[arg(long, value_name = "N", env = "ZARRIMS_THREADS",
          value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Resources")]
    pub threads: Option<u16>,

    /// Memory for decoding and for metadata of open files [default: 128MiB, or a quarter of what the machine
    /// or the control group has, if that is less]
    #[arg(long, value_name = "SIZE", env = "ZARRIMS_MEMORY", help_heading = "Resources")]
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
}

impl Cli {
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

/// A unit of length, in micrometres.
#[derive(Debug, Clone, Copy)]
pub struct Unit(pub f64);

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A parser of a few words, each of which stands for a value.
fn one_of<T>(choices: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync,
{
    let names = choices.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(names).try_map(|given| {
        let found = choices.iter().find(|(name, _)| *name == given);
        found.map(|(_, value)| *value).ok_or("not one of the choices")
    })
}

fn parse_unit(text: &str) -> Result<Unit, String> {
    micrometres(text)
        .map(Unit)
        .ok_or_else(|| "not a unit of length such as um, mm or nanometer".to_owned())
}

fn parse_min_free(text: &str) -> Result<MinFree, String> {
    match text.strip_suffix('%') {
        Some(percent) => match percent.trim().parse() {
            Ok(percent) if percent <= 100 => Ok(MinFree::Percent(percent)),
            _ => Err("not a percentage from 0% to 100%".to_owned()),
        },
        None => text.parse::<ByteSize>().map(|size| MinFree::Bytes(size.as_u64())),
    }
}

fn parse_umask(text: &str) -> Result<u16, String> {
    match u16::from_str_radix(text, 8) {
        Ok(umask) if umask <= 0o777 => Ok(umask),
        _ => Err("not an octal number from 000 to 777".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_masks() {
        let parse =
            |args: &[&str]| Cli::try_parse_from([&["zarrims-mount", "/s", "/m"], args].concat());
        assert_eq!(parse(&["--memory", "1GiB"]).expect("valid").memory, Some(ByteSize::gib(1)));
        assert_eq!(parse(&["--umask", "027"]).expect("valid").umask, 0o27);
        assert!(parse(&["--umask", "9"]).is_err());
        assert!(parse(&["--cache-size", "lots"]).is_err());
        assert!(parse(&["--json"]).is_err());
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
