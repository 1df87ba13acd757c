//! What the files and folders of the mount are called.
//!
//! * `x.ome.zarr`, `x.zarr`, `x.zr`, the zip files `x.ozx`, `x.ome.zarr.zip`, `x.zarr.zip`, `x.zip` (all in any
//!   case) and `x` become `x.ims`; a store of several images becomes a folder `x` of files. Each is called as the metadata of the store calls it (`A01_0.ims` for a
//!   field of a plate, `NAME.ims` for a series), or else by its path within the store. A plate is always a
//!   folder, as it grows.
//! * Labels lie in a folder beside their image: those of `x.ims` in `x_labels`. It is named last, so labels
//!   change the name of nothing else.
//! * Every name is one that Windows takes, and so Samba passes on as it is ("Naming Files, Paths, and
//!   Namespaces", Microsoft): each of `< > : " / \ | ? *` and each control character becomes `_`, and so
//!   do spaces and dots at the end; the name of a device (`CON`, `COM1`, ...) gets `_` behind its stem.
//!   Letters with accents are composed (NFC). Names from metadata are cut to 120 bytes, all to 255.
//! * Two names in one folder differ in more than case and the composition of accents. Plain folders keep
//!   their names, then those whose names had to be changed get theirs, in the order of their bytes; among
//!   stores the first of `x.ome.zarr`, `x.zarr`, `x.zr`, the zip files in the order above, others, in the
//!   order of their bytes, keeps the short name, and the others keep their full names (`x.zarr.ims`). Images called by their path come before those
//!   called by metadata, which fall back to their path. Should that be taken as well, `~2`, `~3` ... is
//!   added. A name therefore depends only on the names beside it.
//!
//! From the bottom up: `safe` makes one name fit, `taken` keeps those of one folder apart, `within` arranges
//! what a store has in folders.

mod safe;
mod taken;
mod within;

use std::ffi::OsStr;

pub use safe::key;
pub use taken::{Candidate, Taken, assign, assign_folders};
pub use within::{Contents, InStore, labels_beside};

/// Whether a folder of the source, of which nothing but its name is known, may be what a name in the mount
/// stands for, or may take that name. Says yes rather too often.
#[must_use]
pub fn may_be_called(source: &OsStr, name: &OsStr) -> bool {
    // What is cut off of long names, or changed at the end of a stem, is not compared.
    let begin: String = safe::key(source).chars().take(safe::NAME_LIMIT_BYTES / 8).collect();
    safe::key(name).starts_with(begin.trim_end_matches(['_', '.', ' ']))
}

/// The [`key`]s of all that may have to give a name up to a folder of the source of which nothing but its
/// name is known.
#[must_use]
pub fn rivals(source: &OsStr) -> Vec<String> {
    let own = safe::key(source);
    let with_labels = own.match_indices(within::LABELS).map(|(at, _)| own[..at].to_owned());
    with_labels.chain([own.clone()]).collect()
}

#[cfg(test)]
mod tests;
