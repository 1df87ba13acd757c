//! The part of a store's name that says "store", and the part that names it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Suffixes that say "store", in the order in which stores get the short name. One that ends in another comes
/// before it.
pub const STORE_SUFFIXES: [&str; 7] =
    [".ome.zarr", ".zarr", ".zr", ".ozx", ".ome.zarr.zip", ".zarr.zip", ".zip"];

/// What is put behind the name of a store to name the file beside it in which people correct it.
pub const BESIDE: &str = ".zarrims.toml";

/// The length of the store suffix at the end of a name, and its place among [`STORE_SUFFIXES`].
#[must_use]
pub fn suffix(name: &OsStr) -> Option<(usize, usize)> {
    let place = STORE_SUFFIXES.iter().position(|suffix| suffix_of(name, suffix).is_some())?;
    Some((STORE_SUFFIXES[place].len(), place))
}

/// The length of a suffix in any case, if a name ends in it and has something before it.
#[must_use]
pub fn suffix_of(name: &OsStr, suffix: &str) -> Option<usize> {
    let bytes = name.as_bytes();
    let at = bytes.len().checked_sub(suffix.len()).filter(|at| *at > 0)?;
    bytes[at..].eq_ignore_ascii_case(suffix.as_bytes()).then_some(suffix.len())
}

/// The name without its store suffix.
#[must_use]
pub fn stem(name: &OsStr) -> &OsStr {
    let dropped = suffix(name).map_or(0, |(length, _)| length);
    OsStr::from_bytes(&name.as_bytes()[..name.len() - dropped])
}
