//! The options, as a table: flags, environment variables and keys of the file are made from it.
//!
//! To add an option: add a row here, read it in `resolve`, and describe it in `README.md` and
//! `doc/CONFIGURATION.md`, which a test compares with this table.

use std::ffi::OsStr;
use std::path::Path;

use super::path;
pub(crate) use super::path::{mistake as path_mistake, mistake_of_source as source_mistake};
pub(crate) use super::value::parse_switch as switch;
use super::value::{
    ADDRESSING, IMAGE_NAMES, INT16, LABELS, LOG_FORMAT, ON_ERROR, ON_OFF, PYRAMID, REVALIDATE,
    SHARED, STATISTICS, UINT32, chunk_shape, names, parse_cache_size, parse_connections,
    parse_endpoint, parse_filter, parse_group, parse_listen, parse_memory, parse_min_free,
    parse_region, parse_socket, parse_switch, parse_threads, parse_timeout, parse_umask,
    parse_unit, parse_user,
};
use crate::words::check_choice;

/// A table of the file, and what its options belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The disk cache, `[cache]`.
    Cache,
    /// One mount, `[[mount]]`, or all that do not say otherwise, `[defaults]`.
    Mount,
    /// Memory and threads, `[resources]`.
    Resources,
    /// How the daemon is asked, `[control]`.
    Control,
    /// The log, `[log]`.
    Log,
}

impl Section {
    /// In the order of the example of the file, and of its page.
    pub const ALL: [Self; 5] =
        [Self::Cache, Self::Resources, Self::Control, Self::Log, Self::Mount];

    /// Its table in the file; that of mounts is the one of all mounts.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Mount => "defaults",
            Self::Resources => "resources",
            Self::Control => "control",
            Self::Log => "log",
        }
    }
}

/// What values an option takes.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// True or false; the flag has no value.
    Switch,
    /// A path.
    Folder,
    /// A path, or the address of objects on other machines.
    Place(fn(&str) -> Result<(), String>),
    /// One of a few words.
    OneOf(fn() -> Vec<&'static str>),
    /// Whatever its parser takes.
    Text(fn(&str) -> Result<(), String>),
}

/// An option.
#[derive(Debug)]
pub struct Opt {
    /// The long flag, without its dashes.
    pub name: &'static str,
    /// Where it stands in the file.
    pub section: Section,
    /// What the help calls its value.
    pub value: &'static str,
    /// The value where none is given. Without one, the default depends on the machine or the source.
    pub default: Option<&'static str>,
    /// Its heading in the help.
    pub heading: &'static str,
    /// What values it takes.
    pub form: Form,
    /// What the help says.
    pub help: &'static str,
}

impl Opt {
    /// The key in the file: the flag, without the name of the section in front.
    #[must_use]
    pub fn key(&self) -> &'static str {
        let prefix = match self.section {
            Section::Cache => "cache-",
            Section::Log => "log-",
            Section::Mount | Section::Resources | Section::Control => "",
        };
        self.name.strip_prefix(prefix).unwrap_or(self.name)
    }

    /// Looks whether a value can be one of this option.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, text: &OsStr) -> Result<(), String> {
        if let Form::Folder = self.form {
            return path::mistake(Path::new(text)).map_or(Ok(()), Err);
        }
        let text = text.to_str().ok_or("is not UTF-8")?;
        match self.form {
            Form::Switch => parse_switch(text).map(drop),
            Form::Text(check) | Form::Place(check) => check(text),
            Form::OneOf(names) => check_choice(text, &names()),
            Form::Folder => Ok(()),
        }
    }
}

/// A row of the table.
const fn row(
    (section, heading): (Section, &'static str),
    name: &'static str,
    (form, value): (Form, &'static str),
    default: Option<&'static str>,
    help: &'static str,
) -> Opt {
    Opt { name, section, value, default, heading, form, help }
}

const CACHE: (Section, &str) = (Section::Cache, "Cache");
const MOUNT: (Section, &str) = (Section::Mount, "Mount");
const IMAGES: (Section, &str) = (Section::Mount, "Images");
const SOURCE: (Section, &str) = (Section::Mount, "Source");
const RESOURCES: (Section, &str) = (Section::Resources, "Resources");
const CONTROL: (Section, &str) = (Section::Control, "Control");
const LOG: (Section, &str) = (Section::Log, "Log");

const SWITCH: (Form, &str) = (Form::Switch, "");
const SIZE: &str = "SIZE";

/// All options, in the order of the help.
pub static OPTIONS: [Opt; 38] = [
    row(
        CACHE,
        "cache-dir",
        (Form::Folder, "DIR"),
        None,
        "Folder for the disk cache [default: one for each SOURCE, or configuration file with mounts, \
         below zarrims in the user's cache folder, or below /var/cache/zarrims-root for root]",
    ),
    row(
        CACHE,
        "cache-size",
        (Form::Text(|text| parse_cache_size(text).map(drop)), SIZE),
        None,
        "Largest size of the disk cache, such as 200GiB [default: 50GiB or a tenth of the free space, \
         whichever is less]",
    ),
    row(
        CACHE,
        "min-free",
        (Form::Text(|text| parse_min_free(text).map(drop)), SIZE),
        Some("5%"),
        "Room to leave free on the disk of the cache, such as 20GiB or 5%; the cache shrinks for it",
    ),
    row(
        CACHE,
        "shared-cache",
        (Form::Place(path::check_shared_cache), "PLACE"),
        None,
        "A cache that several daemons share, such as s3://bucket/prefix, or a folder: bricks that are \
         expensive to make are looked up there first, and put there",
    ),
    row(
        CACHE,
        "shared-cache-keeps",
        (Form::OneOf(|| names(&SHARED)), "WHICH"),
        Some("computed"),
        "Which bricks are kept in the shared cache: those of \"computed\" levels, and statistics and \
         thumbnails; or \"all\"",
    ),
    row(
        CACHE,
        "shared-cache-endpoint",
        (Form::Text(|_| Ok(())), "URL"),
        None,
        "Address of the service of the shared cache [default: as in the environment]",
    ),
    row(
        CACHE,
        "shared-cache-region",
        (Form::Text(|_| Ok(())), "REGION"),
        None,
        "Region of the bucket of the shared cache [default: as in the environment]",
    ),
    row(
        MOUNT,
        "allow-other",
        SWITCH,
        None,
        "Let all users of this machine see the mount, not only the one who made it",
    ),
    row(
        MOUNT,
        "uid",
        (Form::Text(|text| parse_user(text).map(drop)), "UID"),
        None,
        "Owner of everything in the mount, as a number [default: as in SOURCE]",
    ),
    row(
        MOUNT,
        "gid",
        (Form::Text(|text| parse_user(text).map(drop)), "GID"),
        None,
        "Group of everything in the mount, as a number [default: as in SOURCE]",
    ),
    row(
        MOUNT,
        "umask",
        (Form::Text(|text| parse_umask(text).map(drop)), "OCTAL"),
        Some("000"),
        "Permission bits to take away, in octal; nothing in the mount is ever writable",
    ),
    row(
        MOUNT,
        "control-folder",
        (Form::OneOf(|| names(&ON_OFF)), "WHICH"),
        Some("on"),
        "Files that tell how the daemon is, in a folder .zarrims at the root of the mount, which no listing \
         shows",
    ),
    row(
        IMAGES,
        "pyramid",
        (Form::OneOf(|| names(&PYRAMID)), "WHICH"),
        Some("auto"),
        "Resolution levels: \"auto\" shows the store's levels and computes missing ones, \"source\" \
         shows only the store's, \"imaris\" computes all but the finest",
    ),
    row(
        IMAGES,
        "chunk",
        (Form::Text(|text| chunk_shape(text).map(drop)), "Z,Y,X"),
        Some("auto"),
        "Shape of the HDF5 chunks of all levels in voxels, such as 16,256,256; \"auto\" takes that of the \
         writer of Imaris where it fits the chunks of the store",
    ),
    row(
        IMAGES,
        "statistics",
        (Form::OneOf(|| names(&STATISTICS)), "HOW"),
        Some("fast"),
        "Histograms and ranges of large images: \"fast\" takes them from a level or a sample, \"exact\" \
         from all voxels, which the first opening then waits for",
    ),
    row(
        IMAGES,
        "default-unit",
        (Form::Text(|text| parse_unit(text).map(drop)), "UNIT"),
        Some("um"),
        "Unit of lengths that a store states without one, such as mm",
    ),
    row(
        IMAGES,
        "int16",
        (Form::OneOf(|| names(&INT16)), "AS"),
        Some("float32"),
        "What becomes of int16 voxels, which Imaris does not have: exact floats, int16 all the same, or \
         uint16 with 32768 added",
    ),
    row(
        IMAGES,
        "uint32",
        (Form::OneOf(|| names(&UINT32)), "AS"),
        Some("float32"),
        "What becomes of uint32 voxels: floats, rounded beyond 2^24, or uint32 all the same",
    ),
    row(
        IMAGES,
        "labels",
        (Form::OneOf(|| names(&LABELS)), "HOW"),
        Some("hide"),
        "Label images: \"hide\" shows none, \"files\" shows each as a file in a folder beside its image, \
         x_labels beside x.ims, \"channels\" as further channels of its image",
    ),
    row(
        IMAGES,
        "image-names",
        (Form::OneOf(|| names(&IMAGE_NAMES)), "FROM"),
        Some("metadata"),
        "Names of the images of a plate or a series: from the metadata of their store, such as A01_0.ims, \
         or their paths in it, such as A/1/0.ims",
    ),
    row(
        IMAGES,
        "on-error",
        (Form::OneOf(|| names(&ON_ERROR)), "WHAT"),
        Some("error"),
        "What readers get for voxels of a damaged chunk: an I/O error, or the fill value of the array",
    ),
    row(
        SOURCE,
        "revalidate",
        (Form::OneOf(|| names(&REVALIDATE)), "WHEN"),
        Some("2s"),
        "When chunk files that were rewritten, added or deleted are noticed: when the file is opened two \
         seconds or more after the last look, at each opening, or never; changed metadata always is",
    ),
    row(
        SOURCE,
        "live",
        SWITCH,
        None,
        "Of images that are still being written, show the time points that are complete; the next listing or \
         opening shows those that came since",
    ),
    row(
        SOURCE,
        "follow-links",
        SWITCH,
        None,
        "Follow symbolic links that lead out of SOURCE, and absolute ones",
    ),
    row(
        SOURCE,
        "endpoint",
        (Form::Text(parse_endpoint), "URL"),
        None,
        "Address of the object store, such as https://minio.example.org [default: that of the cloud, or of \
         the environment]",
    ),
    row(
        SOURCE,
        "region",
        (Form::Text(parse_region), "NAME"),
        None,
        "Region of the bucket, such as eu-central-1 [default: that of the environment, or us-east-1]",
    ),
    row(
        SOURCE,
        "addressing",
        (Form::OneOf(|| names(&ADDRESSING)), "STYLE"),
        Some("path"),
        "How S3 is asked: \"path\" puts the bucket into the path, \"virtual\" in front of the host",
    ),
    row(
        SOURCE,
        "anonymous",
        SWITCH,
        None,
        "Ask object stores without credentials, as public buckets allow",
    ),
    row(
        SOURCE,
        "request-timeout",
        (Form::Text(|text| parse_timeout(text).map(drop)), "TIME"),
        Some("20s"),
        "Time for one read of a remote source, all its tries included; more as long as bytes come",
    ),
    row(
        RESOURCES,
        "connections",
        (Form::Text(|text| parse_connections(text).map(drop)), "N"),
        Some("32"),
        "Requests to remote sources under way at a time",
    ),
    row(
        RESOURCES,
        "threads",
        (Form::Text(|text| parse_threads(text).map(drop)), "N"),
        None,
        "Threads that read and decode stores [default: 4 per processor, at least 8]",
    ),
    row(
        RESOURCES,
        "memory",
        (Form::Text(|text| parse_memory(text).map(drop)), SIZE),
        None,
        "Memory for decoding and for metadata of open files [default: 128MiB, or a quarter of what the \
         machine or the control group has, if that is less]",
    ),
    row(
        CONTROL,
        "socket",
        (Form::Text(|text| parse_socket(text).map(drop)), "PATH"),
        None,
        "Unix socket on which the daemon can be asked and steered, or \"none\" [default: a file in \
         $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/zarrims, /run/zarrims for root, or a folder in /tmp]",
    ),
    row(
        CONTROL,
        "socket-group",
        (Form::Text(|text| parse_group(text).map(drop)), "GROUP"),
        None,
        "Group that may use the socket, as a number or a name [default: only the user of the daemon]",
    ),
    row(
        CONTROL,
        "listen",
        (Form::Text(|text| parse_listen(text).map(drop)), "ADDRESS"),
        None,
        "Serve metrics for Prometheus at http://ADDRESS/metrics, and /healthz, such as 127.0.0.1:9118 \
         [default: not at all]",
    ),
    row(
        LOG,
        "log-format",
        (Form::OneOf(|| names(&LOG_FORMAT)), "FORMAT"),
        Some("text"),
        "Form of the log lines on standard error",
    ),
    row(
        LOG,
        "log-file",
        (Form::Folder, "FILE"),
        None,
        "Write the log to this file; SIGHUP opens it again [default: standard error]",
    ),
    row(
        LOG,
        "log-filter",
        (Form::Text(parse_filter), "FILTER"),
        None,
        "Which lines are logged, such as debug or info,zarrims::source=trace [default: info, or what -v says]",
    ),
];

/// Whether an option is about the whole daemon, and not about one mount.
#[must_use]
pub fn is_of_daemon(name: &str) -> bool {
    let option = OPTIONS.iter().find(|option| option.name == name);
    option.is_some_and(|option| option.section != Section::Mount)
}

/// The environment variable of a flag, which is given without its dashes.
pub(crate) fn variable(flag: &str) -> String {
    format!("ZARRIMS_{}", flag.replace('-', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_is_a_value_and_each_key_has_one_meaning() {
        for option in &OPTIONS {
            if let Some(default) = option.default {
                assert_eq!(option.check(OsStr::new(default)), Ok(()), "{}", option.name);
            }
            let same =
                |other: &&Opt| other.section == option.section && other.key() == option.key();
            assert_eq!(OPTIONS.iter().filter(same).count(), 1, "{}", option.name);
        }
    }
}
