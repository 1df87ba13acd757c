//! The command line: names, types and help texts, no behaviour.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Parser, ValueEnum};

/// Show Zarr stores as Imaris files, without converting anything.
///
/// Every OME-Zarr or Zarr store below SOURCE appears below MOUNTPOINT as an .ims file of its final
/// size. Pixels are read from the store when they are first needed and kept in a disk cache.
/// The program stays in the foreground until it is interrupted or the mount is removed with
/// "fusermount3 -u MOUNTPOINT".
#[derive(Debug, Clone, Parser)]
#[command(name = "zarrims-mount", version, max_term_width = 100, args_override_self = true)]
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

    /// Threads that read and decode stores [default: 4 per processor, at least 8]
    #[arg(long, value_name = "N", env = "ZARRIMS_THREADS",
          value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Resources")]
    pub threads: Option<u16>,

    /// Memory for decoding and for metadata of open files
    #[arg(
        long,
        value_name = "SIZE",
        env = "ZARRIMS_MEMORY",
        default_value = "128MiB",
        help_heading = "Resources"
    )]
    pub memory: ByteSize,

    /// Say more: -v for debug, -vv for trace
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

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
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
        assert_eq!(parse(&["--memory", "1GiB"]).expect("valid").memory.as_u64(), 1 << 30);
        assert_eq!(parse(&["--umask", "027"]).expect("valid").umask, 0o27);
        assert!(parse(&["--umask", "9"]).is_err());
        assert!(parse(&["--cache-size", "lots"]).is_err());
        assert!(parse(&["--json"]).is_err());
    }
}
