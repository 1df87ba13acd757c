//! Parsers of single values, each with its own words for what is wrong.

use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cache::MinFree;
use crate::source::micrometres;

/// Smallest cache worth having: a few bricks.
pub const LEAST_CACHE_BYTES: u64 = 64 << 20;

/// Smallest memory that decodes common chunks side by side.
pub(crate) const LEAST_MEMORY_BYTES: u64 = 16 << 20;

/// Most threads for reading and decoding.
const THREADS_LIMIT: u16 = 1024;

/// A unit of length, in micrometres.
#[derive(Debug, Clone, Copy)]
pub struct Unit(pub f64);

/// The environment variable of a flag, which is given without its dashes.
pub(super) fn variable(flag: &str) -> String {
    format!("ZARRIMS_{}", flag.replace('-', "_").to_uppercase())
}

/// A parser of a few words, each of which stands for a value.
pub(super) fn one_of<T>(choices: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync,
{
    let names = choices.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(names).try_map(|given| {
        let found = choices.iter().find(|(name, _)| *name == given);
        found.map(|(_, value)| *value).ok_or("not one of the choices")
    })
}

pub(super) fn parse_unit(text: &str) -> Result<Unit, String> {
    micrometres(text)
        .map(Unit)
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
    match u16::from_str_radix(text, 8) {
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

/// The number of a user or a group.
pub(super) fn parse_user(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "is not a number such as 1000".to_owned())
}

/// What an environment variable says of a flag that has no value.
pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}
