//! Parsers of single values, each with its own words for what is wrong.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use crate::cache::MinFree;
use crate::fs::{ImageNames, Labels, Revalidate};
use crate::image::{OnError, Statistics};
use crate::objects::Addressing;
use crate::shared_cache::Shared;
use crate::source::micrometres;
pub(super) use crate::words::{INT16, PYRAMID, UINT32, chunk_shape};

/// Smallest cache worth having: a few bricks.
pub(crate) const LEAST_CACHE_BYTES: u64 = 64 << 20;

/// Smallest memory that decodes common chunks side by side.
pub(crate) const LEAST_MEMORY_BYTES: u64 = 16 << 20;

/// Most requests at a time: each takes a descriptor.
const CONNECTIONS_LIMIT: u16 = 1024;

/// Longest time for a request. A client of a file server has given up long before.
const LONGEST_TIMEOUT_S: u64 = 600;

/// Most threads for reading and decoding.
pub(super) const THREADS_LIMIT: u16 = 1024;

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) const STATISTICS: [(&str, Statistics); 2] =
    [("fast", Statistics::Fast), ("exact", Statistics::Exact)];
pub(super) const LABELS: [(&str, Labels); 3] =
    [("hide", Labels::Hide), ("files", Labels::Files), ("channels", Labels::Channels)];
pub(super) const IMAGE_NAMES: [(&str, ImageNames); 2] =
    [("metadata", ImageNames::Metadata), ("paths", ImageNames::Paths)];
pub(super) const SHARED: [(&str, Shared); 2] =
    [("computed", Shared::Computed), ("all", Shared::All)];
pub(super) const ON_ERROR: [(&str, OnError); 2] =
    [("error", OnError::Error), ("fill", OnError::Fill)];
pub(super) const ON_OFF: [(&str, bool); 2] = [("on", true), ("off", false)];
pub(super) const REVALIDATE: [(&str, Revalidate); 3] = [
    ("2s", Revalidate::AFTER_A_MOMENT),
    ("open", Revalidate::AT_ONCE),
    ("never", Revalidate::Never),
];
pub(super) const ADDRESSING: [(&str, Addressing); 2] =
    [("path", Addressing::Path), ("virtual", Addressing::Virtual)];
pub(super) const LOG_FORMAT: [(&str, LogFormat); 2] =
    [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// The words of a choice.
pub(super) fn names<T>(choices: &[(&'static str, T)]) -> Vec<&'static str> {
    choices.iter().map(|(name, _)| *name).collect()
}

/// What a word stands for.
pub(super) fn parse_choice<T: Copy>(choices: &[(&str, T)], text: &str) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| "is none of the choices".to_owned())
}

/// A unit of length, in micrometres.
pub(super) fn parse_unit(text: &str) -> Result<f64, String> {
    micrometres(text)
        .ok_or_else(|| "is not a unit of length such as um, mm or nanometer".to_owned())
}

pub(super) fn parse_cache_size(text: &str) -> Result<ByteSize, String> {
    parse_size(text, "200GiB", LEAST_CACHE_BYTES)
}

pub(super) fn parse_memory(text: &str) -> Result<ByteSize, String> {
    parse_size(text, "1GiB", LEAST_MEMORY_BYTES)
}

fn parse_size(text: &str, example: &str, least: u64) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|_| format!("is not a size such as {example}"))?;
    let least = ByteSize(least);
    if size < least { Err(format!("at least {least} is needed")) } else { Ok(size) }
}

pub(super) fn parse_min_free(text: &str) -> Result<MinFree, String> {
    let Some(percent) = text.strip_suffix('%') else {
        let size: Result<ByteSize, _> = text.parse();
        let size = size.map_err(|_| "is not a size such as 20GiB or 5%".to_owned())?;
        return Ok(MinFree::Bytes(size.as_u64()));
    };
    match percent.trim().parse() {
        Ok(100) => Err("leaves no room for the cache".to_owned()),
        Ok(percent) if percent < 100 => Ok(MinFree::Percent(percent)),
        _ => Err("is not a percentage from 0% to 99%".to_owned()),
    }
}

pub(super) fn parse_umask(text: &str) -> Result<u16, String> {
    // As TOML writes octal numbers.
    match u16::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8) {
        Ok(umask) if umask <= 0o777 => Ok(umask),
        _ => Err("is not an octal number from 000 to 777".to_owned()),
    }
}

pub(super) fn parse_threads(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(threads) if (1..=THREADS_LIMIT).contains(&threads) => Ok(threads),
        _ => Err(format!("is not a number from 1 to {THREADS_LIMIT}")),
    }
}

pub(super) fn parse_connections(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(connections) if (1..=CONNECTIONS_LIMIT).contains(&connections) => Ok(connections),
        _ => Err(format!("is not a number from 1 to {CONNECTIONS_LIMIT}")),
    }
}

/// Whole seconds.
pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).trim().parse();
    match seconds {
        Ok(seconds) if (1..=LONGEST_TIMEOUT_S).contains(&seconds) => {
            Ok(Duration::from_secs(seconds))
        }
        _ => Err(format!("is not a time from 1s to {LONGEST_TIMEOUT_S}s")),
    }
}

/// The address of a service: no path is put behind it that a service would not know.
pub(super) fn parse_endpoint(text: &str) -> Result<(), String> {
    let host = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let host = host.ok_or("is not an address that begins with https:// or http://")?;
    if host.contains('@') {
        return Err("holds a user or password; credentials go into the environment".to_owned());
    }
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "?#".contains(c);
    if host.trim_matches('/').is_empty() || host.contains(is_odd) {
        return Err("is not an address such as https://minio.example.org".to_owned());
    }
    Ok(())
}

pub(super) fn parse_region(text: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let is_name = !text.is_empty() && text.chars().all(is_plain);
    if is_name { Ok(()) } else { Err("is not the name of a region".to_owned()) }
}

/// The number of a user or a group.
pub(super) fn parse_user(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "is not a number such as 1000".to_owned())
}

/// Where the control socket is. `None`: there is none.
pub(super) fn parse_socket(text: &str) -> Result<Option<PathBuf>, String> {
    // `sun_path` of `unix(7)`, with the 0 behind it.
    const LONGEST: usize = 107;
    match text {
        "none" => Ok(None),
        _ if !text.starts_with('/') => {
            Err("is neither none nor a whole path, which begins with /".to_owned())
        }
        _ if text.len() > LONGEST => Err(format!("is longer than the {LONGEST} bytes of a socket")),
        _ => Ok(Some(PathBuf::from(text))),
    }
}

/// A filter of log lines.
pub(super) fn parse_filter(text: &str) -> Result<(), String> {
    let is_filter = crate::log_filter::is_filter(text);
    if is_filter { Ok(()) } else { Err(crate::log_filter::WRONG.to_owned()) }
}

/// Where metrics are served.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is not an address such as 127.0.0.1:9118 or [::1]:9118".to_owned())
}

/// A group: its number, or a name of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    Number(u32),
    Name(String),
}

pub(super) fn parse_group(text: &str) -> Result<Group, String> {
    if let Ok(number) = text.parse() {
        return Ok(Group::Number(number));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.$@ ".contains(c);
    let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if is_name && text.chars().all(is_plain) {
        return Ok(Group::Name(text.to_owned()));
    }
    Err("is neither the number nor the name of a group".to_owned())
}

/// The value of a flag that has none, in the environment or in a file.
pub(crate) fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}
