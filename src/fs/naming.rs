//! What the files and folders of the mount are called.
//!
//! * `x.ome.zarr`, `x.zarr`, `x.zr`, the zip files `x.ozx`, `x.ome.zarr.zip`, `x.zarr.zip`, `x.zip` (all in any
//!   case) and `x` become `x.ims`; a store of several images becomes a folder `x` of files named by the path of
//!   each image within the store.
//! * Every name is one that Windows takes, and so Samba passes on as it is ("Naming Files, Paths, and
//!   Namespaces", Microsoft): each of `< > : " / \ | ? *` and each control character becomes `_`, and so
//!   do spaces and dots at the end; the name of a device (`CON`, `COM1`, ...) gets `_` behind its stem.
//! * Two names in one folder differ in more than case. Plain folders keep their names, then those
//!   whose names had to be changed get theirs, in the order of their bytes; among stores the first of
//!   `x.ome.zarr`, `x.zarr`, `x.zr`, the zip files in the order above, others, in the order of their bytes,
//!   keeps the short name, and the others keep their full names (`x.zarr.ims`). Should that be taken as well,
//!   `~2`, `~3` ... is added. A name therefore depends only on the names beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Suffixes that say "store" and are dropped from the file name, in the order in which stores get it. One that
/// ends in another comes before it.
const STORE_SUFFIXES: [&str; 7] =
    [".ome.zarr", ".zarr", ".zr", ".ozx", ".ome.zarr.zip", ".zarr.zip", ".zip"];

/// Longest name a Linux file system can show.
const NAME_LIMIT_BYTES: usize = 255;

/// Names that stand for devices in every folder of Windows; `COM` and `LPT` with a digit do, too.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// The length of the store suffix at the end of a name, and its place among [`STORE_SUFFIXES`].
fn suffix(name: &OsStr) -> Option<(usize, usize)> {
    let place = STORE_SUFFIXES.iter().position(|suffix| suffix_of(name, suffix).is_some())?;
    Some((STORE_SUFFIXES[place].len(), place))
}

/// The length of a suffix, if a name ends in it and has something before it.
fn suffix_of(name: &OsStr, suffix: &str) -> Option<usize> {
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

/// Whether a folder of the source, of which nothing but its name is known, may be what a name in the mount
/// stands for, or may take that name. Says yes rather too often.
#[must_use]
pub fn may_be_called(source: &OsStr, name: &OsStr) -> bool {
    // What is cut off of long names, or changed at the end of a stem, is not compared.
    let begin: String = key(source).chars().take(NAME_LIMIT_BYTES / 8).collect();
    key(name).starts_with(begin.trim_end_matches(['_', '.', ' ']))
}

/// What the names have in common that may fall together.
#[must_use]
pub fn key(name: &OsStr) -> String {
    let stem = stem(name);
    let stem = match suffix_of(stem, ".ims") {
        Some(length) => OsStr::from_bytes(&stem.as_bytes()[..stem.len() - length]),
        None => stem,
    };
    folded(&shown(stem, "", "")).to_string_lossy().into_owned()
}

/// The names of one folder that are in use, as a client sees them that ignores case.
#[derive(Debug, Default)]
pub struct Taken {
    folded: HashSet<OsString>,
    /// Where the search for a free number begins, by name.
    next: HashMap<OsString, u64>,
}

impl Taken {
    /// Takes a name, unless it is taken.
    fn take(&mut self, name: &OsStr) -> bool {
        self.folded.insert(folded(name))
    }

    /// Takes the first of these names that is free, or the last one with a number.
    fn take_one(&mut self, wanted: &[&OsStr], ending: &str) -> OsString {
        for name in wanted {
            let name = shown(name, "", ending);
            if self.take(&name) {
                return name;
            }
        }
        let last = wanted.last().copied().unwrap_or_default();
        let key = folded(&shown(last, "", ending));
        let mut number = self.next.get(&key).copied().unwrap_or(2);
        loop {
            let name = shown(last, &format!("~{number}"), ending);
            number += 1;
            if self.take(&name) {
                self.next.insert(key, number);
                return name;
            }
        }
    }
}

/// Names for plain folders. One whose name is not UTF-8 keeps it.
#[must_use]
pub fn assign_folders(taken: &mut Taken, sources: &[&OsStr]) -> Vec<OsString> {
    let mut names = vec![OsString::new(); sources.len()];
    let (mut pending, mut order) = (Vec::new(), (0..sources.len()).collect::<Vec<_>>());
    order.sort_by_key(|&i| sources[i]);
    for i in order {
        let keeps = sources[i].to_str().is_none() || shown(sources[i], "", "") == *sources[i];
        if (keeps && taken.take(sources[i])) || sources[i].to_str().is_none() {
            sources[i].clone_into(&mut names[i]);
        } else {
            pending.push(i);
        }
    }
    for i in pending {
        names[i] = taken.take_one(&[sources[i]], "");
    }
    names
}

/// A store or an image that wants a name in a folder.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Name in the source.
    pub source: OsString,
    /// What is put behind the stem: `.ims` for a file, nothing for a folder.
    pub ending: &'static str,
}

/// Gives each candidate a name that is not taken and not another's.
#[must_use]
pub fn assign(taken: &mut Taken, candidates: &[Candidate]) -> Vec<OsString> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&i| {
        let source = &candidates[i].source;
        (suffix(source).map_or(STORE_SUFFIXES.len(), |(_, place)| place), source)
    });
    let mut names = vec![OsString::new(); candidates.len()];
    for i in order {
        let Candidate { source, ending } = &candidates[i];
        names[i] = taken.take_one(&[stem(source), source], ending);
    }
    names
}

/// An image of a store of several.
#[derive(Debug, Clone, Copy)]
pub struct InStore<'a> {
    /// Path of its group or array within the store.
    pub image: &'a str,
    /// Which entry of `multiscales`.
    pub multiscale: usize,
    /// Name from the metadata.
    pub name: Option<&'a str>,
}

/// Path of each image in the folder of its store, which is called `store` in the mount.
#[must_use]
pub fn paths_in_store(store: &OsStr, images: &[InStore<'_>]) -> Vec<PathBuf> {
    let mut folders: BTreeMap<Vec<&str>, (BTreeSet<&str>, Vec<usize>)> = BTreeMap::new();
    for (i, image) in images.iter().enumerate() {
        let mut above: Vec<&str> = parts(image.image).collect();
        above.pop();
        for (depth, part) in above.iter().enumerate() {
            folders.entry(above[..depth].to_vec()).or_default().0.insert(*part);
        }
        folders.entry(above).or_default().1.push(i);
    }
    let mut places: HashMap<Vec<&str>, PathBuf> = HashMap::from([(Vec::new(), PathBuf::new())]);
    let mut paths = vec![PathBuf::new(); images.len()];
    // Folders come before what is in them.
    for (inside, (folders, files)) in folders {
        let place = places.get(&inside).cloned().unwrap_or_default();
        let mut taken = Taken::default();
        let sources: Vec<&OsStr> = folders.iter().map(OsStr::new).collect();
        for (folder, name) in folders.iter().zip(assign_folders(&mut taken, &sources)) {
            places.insert([&inside[..], &[*folder]].concat(), place.join(name));
        }
        let candidate = |i: &usize| Candidate { source: images[*i].source(store), ending: ".ims" };
        let candidates: Vec<Candidate> = files.iter().map(candidate).collect();
        for (i, name) in files.into_iter().zip(assign(&mut taken, &candidates)) {
            paths[i] = place.join(name);
        }
    }
    paths
}

impl InStore<'_> {
    /// The name it asks for in its folder.
    fn source(&self, store: &OsStr) -> OsString {
        let own = parts(self.image).last().map_or(store, OsStr::new);
        if self.multiscale == 0 {
            return own.to_owned();
        }
        let mut source = stem(own).to_owned();
        source.push("_");
        // A name of nothing but marks is none.
        let name = self.name.filter(|name| name.chars().any(char::is_alphanumeric));
        source.push(name.map_or_else(|| self.multiscale.to_string(), str::to_owned));
        source
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// Puts name, number and ending together as Windows takes them, cutting the name where the whole would
/// be too long.
fn shown(name: &OsStr, number: &str, ending: &str) -> OsString {
    let mut bytes = without_forbidden(name);
    let base = bytes.split(|byte| *byte == b'.').next().unwrap_or_default().trim_ascii_end();
    if is_device(base) {
        bytes.insert(base.len(), b'_');
    }
    cut(&mut bytes, NAME_LIMIT_BYTES - number.len() - ending.len());
    bytes.extend_from_slice(number.as_bytes());
    bytes.extend_from_slice(ending.as_bytes());
    for byte in bytes.iter_mut().rev().take_while(|byte| matches!(byte, b' ' | b'.')) {
        *byte = b'_';
    }
    OsString::from_vec(bytes)
}

fn without_forbidden(name: &OsStr) -> Vec<u8> {
    let is_forbidden = |c: char| {
        c.is_control() || matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
    };
    // Room for what is put behind it.
    let mut bytes = Vec::with_capacity(name.len() + 8);
    for chunk in name.as_bytes().utf8_chunks() {
        bytes.extend_from_slice(chunk.valid().replace(is_forbidden, "_").as_bytes());
        bytes.extend_from_slice(chunk.invalid());
    }
    bytes
}

/// Whether Windows takes a name for a device, whatever extension follows.
fn is_device(base: &[u8]) -> bool {
    let Ok(base) = str::from_utf8(base) else { return false };
    let base = base.to_ascii_uppercase();
    let port = base.strip_prefix("COM").or_else(|| base.strip_prefix("LPT"));
    let is_digit = |port: &str| {
        let mut chars = port.chars();
        let is_digit = |c: char| matches!(c, '1'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}');
        chars.next().is_some_and(is_digit) && chars.next().is_none()
    };
    DEVICES.contains(&base.as_str()) || port.is_some_and(is_digit)
}

/// Cuts a name, where it is text between two characters.
fn cut(bytes: &mut Vec<u8>, room: usize) {
    if bytes.len() <= room {
        return;
    }
    let is_boundary = |at: &usize| bytes[*at] & 0xC0 != 0x80;
    // A character has at most four bytes.
    let end = (room.saturating_sub(3)..=room).rev().find(is_boundary).unwrap_or(room);
    bytes.truncate(end);
}

/// A name as a client compares it that ignores case.
fn folded(name: &OsStr) -> OsString {
    if let Some(name) = name.to_str() {
        return name.to_lowercase().into();
    }
    let mut bytes = Vec::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        bytes.extend_from_slice(chunk.valid().to_lowercase().as_bytes());
        bytes.extend_from_slice(chunk.invalid());
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests;
