//! Where the chunk files of an array are.
//!
//! Metadata states their names, and is sometimes wrong: an array was copied to the other separator
//! (ome-zarr-py#245, ngff-zarr#60), or the separator is missing although chunks are nested. Before an absent
//! chunk counts as the fill value, the folder is therefore looked through, once for each opened array:
//! chunks under other known names are read, and where all names are unknown, reads fail.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::OnceLock;

use zarrs::array::Array;

use super::decode_error::DecodeError;
use super::error::SourceError;
use super::metadata::METADATA_FILES;
use super::root::SourceRoot;

/// Most entries that are looked at: some milliseconds. An array with more of them, and chunk files of
/// several names, shows its first one early.
const MOST_ENTRIES: usize = 10_000;

/// Longest number of folders from an array to its chunk files, beyond its dimensions.
const MORE_FOLDERS: usize = 2;

/// A way to name chunk files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    /// As `zarrs` reads the metadata.
    Stated,
    /// A prefix and the numbers of the chunk with a separator between them.
    Plain(&'static str, &'static str),
    /// cpp-zarr (`zarr::get_subfoldersString`): a folder `x_y_z` for each group of this many chunks
    /// along the axes, or all where the number is 0, and in it names with this separator.
    Subfolders(Vec<u64>, &'static str),
}

impl Scheme {
    /// The path of a chunk, relative to the array.
    pub(super) fn key(&self, array: &Array<()>, chunk: &[u64]) -> String {
        match self {
            Self::Stated => array.chunk_key(chunk).as_str().to_owned(),
            Self::Plain(prefix, separator) => format!("{prefix}{}", joined(chunk, separator)),
            Self::Subfolders(sizes, separator) => {
                let group = |(&at, &size): (&u64, &u64)| at.checked_div(size).unwrap_or(0);
                let folder: Vec<u64> = chunk.iter().zip(sizes).map(group).collect();
                format!("{}/{}", joined(&folder, "_"), joined(chunk, separator))
            }
        }
    }

    /// Whether a path is that of a chunk.
    fn fits(&self, array: &Array<()>, path: &str) -> bool {
        self.position(array, path).is_some()
    }

    /// The chunk whose path this is.
    fn position(&self, array: &Array<()>, path: &str) -> Option<Vec<u64>> {
        let numbers = path.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
        let numbers: Option<Vec<u64>> = numbers.map(|run| run.parse().ok()).collect();
        let mut numbers = numbers?;
        let numbers = numbers.split_off(numbers.len().checked_sub(array.dimensionality())?);
        (self.key(array, &numbers) == path).then_some(numbers)
    }
}

/// The names of Zarr v2 and v3 with either separator.
const PLAIN: [Scheme; 5] = [
    Scheme::Plain("", "."),
    Scheme::Plain("", "/"),
    Scheme::Plain("c/", "/"),
    Scheme::Plain("c.", "."),
    Scheme::Plain("c/", "."),
];

/// How the chunk files of an array are named.
#[derive(Debug)]
pub(super) struct ChunkNames {
    /// What the metadata states.
    pub(super) primary: Scheme,
    /// The result of a look at the folder, if one was needed.
    pub(super) found: OnceLock<Found>,
    subfolders: Option<Vec<u64>>,
    is_stated: bool,
}

impl ChunkNames {
    /// By the metadata; `is_stated` if it says anything.
    pub(super) fn new(array: &Array<()>, subfolders: Option<Vec<u64>>, is_stated: bool) -> Self {
        let dimensions = array.dimensionality();
        let subfolders = subfolders
            .filter(|sizes| sizes.len() == dimensions && sizes.iter().any(|&size| size > 0));
        let primary = subfolders.as_ref().map_or(Scheme::Stated, |sizes| {
            let is_nested = array.chunk_key(&vec![0; dimensions]).as_str().contains('/');
            Scheme::Subfolders(sizes.clone(), if is_nested { "/" } else { "." })
        });
        Self { primary, found: OnceLock::new(), subfolders, is_stated }
    }

    /// The chunk that a file is, by its path below the array, under any name that chunks may have.
    pub(super) fn position(&self, array: &Array<()>, path: &str) -> Option<Vec<u64>> {
        std::iter::once(&self.primary).chain(&PLAIN).find_map(|scheme| scheme.position(array, path))
    }

    /// The names that the metadata states, where the folder cannot be looked through.
    pub(super) fn stated(&self) -> Found {
        let schemes = vec![self.primary.clone()];
        Found { schemes, unexpected: None, unknown: None, is_unreadable: false }
    }

    /// Looks at the chunk files in the folder of the array.
    ///
    /// # Errors
    /// [`SourceError::Io`] when a folder cannot be read.
    pub(super) fn look(
        &self,
        root: &SourceRoot,
        folder: &Path,
        array: &Array<()>,
    ) -> Result<Found, SourceError> {
        let mut known: Vec<Scheme> = std::iter::once(self.primary.clone()).chain(PLAIN).collect();
        if let Some(sizes) = &self.subfolders {
            known.extend([".", "/"].map(|separator| Scheme::Subfolders(sizes.clone(), separator)));
        }
        let mut look = Look { root, folder, left: MOST_ENTRIES, depth: array.dimensionality() };
        let (mut seen, mut fitting) = (BTreeSet::new(), BTreeMap::new());
        let mut unknown = None;
        look.each_chunk_like(Path::new(""), 0, &mut |look, name, is_folder| {
            let pattern = (is_folder, pattern_of(name));
            if !seen.contains(&pattern)
                && let Some(path) = look.chunk_below(Path::new(name), is_folder, 1)?
            {
                let scheme = known.iter().position(|scheme| scheme.fits(array, &path));
                if let Some(scheme) = scheme {
                    seen.insert(pattern);
                    fitting.entry(scheme).or_insert(path);
                } else {
                    unknown.get_or_insert(path);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let is_cut = look.left == 0;
        if fitting.is_empty() && is_cut {
            unknown.get_or_insert(format!("none among {MOST_ENTRIES} entries"));
        }
        let is_unreadable = fitting.is_empty() && unknown.is_some();
        let is_primary_seen = fitting.remove(&0).is_some();
        let mut schemes: Vec<Scheme> = fitting.keys().map(|&at| known[at].clone()).collect();
        let primary = if is_primary_seen || is_cut { 0 } else { schemes.len() };
        schemes.insert(primary, self.primary.clone());
        let unexpected = fitting.into_values().next();
        Ok(Found { schemes, unexpected, unknown, is_unreadable })
    }

    /// Keeps the names that a look has found, and logs those that differ from the metadata.
    pub(super) fn keep(&self, found: Found, folder: &Path) -> &Found {
        self.found.get_or_init(|| {
            let array = folder.display();
            if let Some(chunk) = found.unexpected.as_deref().filter(|_| self.is_stated) {
                tracing::warn!(%array, chunk, "chunk files are not named as the metadata says; read by the names they have");
            }
            if let Some(chunk) = found.unknown.as_deref().filter(|_| !found.is_unreadable) {
                tracing::warn!(%array, chunk, "a chunk file is named in no known way; not read");
            }
            found
        })
    }
}

fn joined(numbers: &[u64], separator: &str) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(separator)
}

/// The result of a look at an array's folder.
#[derive(Debug)]
pub(super) struct Found {
    /// Where to look for a chunk, one after the other.
    pub(super) schemes: Vec<Scheme>,
    /// A path of another scheme than the stated one.
    unexpected: Option<String>,
    /// A path that looks like that of a chunk and fits no scheme.
    unknown: Option<String>,
    /// There are chunk files, and none has a name that says which chunk it is.
    is_unreadable: bool,
}

impl Found {
    /// Whether a chunk without a file is absent.
    ///
    /// # Errors
    /// [`DecodeError::Misnamed`] where no name of a file that is there says which chunk it is.
    pub(super) fn absent(&self) -> Result<(), DecodeError> {
        match &self.unknown {
            Some(path) if self.is_unreadable => Err(DecodeError::Misnamed(path.clone())),
            _ => Ok(()),
        }
    }
}

/// A walk through an array's folder.
struct Look<'a> {
    root: &'a SourceRoot,
    folder: &'a Path,
    left: usize,
    /// Dimensions of the array.
    depth: usize,
}

/// Takes a name that looks like (a part of) a chunk key, and whether it is a folder.
type Visit<'v, 'a> =
    dyn FnMut(&mut Look<'a>, &str, bool) -> Result<ControlFlow<()>, SourceError> + 'v;

impl<'a> Look<'a> {
    fn each_chunk_like(
        &mut self,
        inside: &Path,
        level: usize,
        visit: &mut Visit<'_, 'a>,
    ) -> Result<(), SourceError> {
        let mut outcome = Ok(ControlFlow::Continue(()));
        let root = self.root;
        root.each_entry(&super::root::join(self.folder, inside), &mut |entry| {
            let Some(left) = self.left.checked_sub(1) else { return ControlFlow::Break(()) };
            self.left = left;
            let is_folder = entry.is_folder();
            match entry.name.to_str() {
                Some(name) if is_chunk_like(name, is_folder && level == 0) => {
                    outcome = visit(self, name, is_folder);
                    if matches!(outcome, Ok(ControlFlow::Continue(()))) {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                }
                _ => ControlFlow::Continue(()),
            }
        })?;
        outcome.map(|_| ())
    }

    /// The path of a chunk file at or below a path, if there is one.
    fn chunk_below(
        &mut self,
        path: &Path,
        is_folder: bool,
        level: usize,
    ) -> Result<Option<String>, SourceError> {
        if !is_folder {
            return Ok(path.to_str().map(str::to_owned));
        }
        if level > self.depth + MORE_FOLDERS || self.is_node(path)? {
            return Ok(None);
        }
        let mut found = None;
        self.each_chunk_like(path, level, &mut |look, name, is_folder| {
            found = look.chunk_below(&path.join(name), is_folder, level + 1)?;
            Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }

    /// Whether a folder is a Zarr node of its own.
    fn is_node(&self, path: &Path) -> Result<bool, SourceError> {
        for name in METADATA_FILES {
            let path = self.folder.join(path).join(name);
            match self.root.stamp(&path) {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {}
                Err(error) => return Err(SourceError::io(path, error)),
            }
        }
        Ok(false)
    }
}

/// Digits, with `.` or `_` between them; also `c` where it may be the folder of all chunks, and `c.`
/// before them.
fn is_chunk_like(name: &str, may_be_prefix: bool) -> bool {
    let numbers = name.strip_prefix("c.").unwrap_or(name);
    (may_be_prefix && name == "c")
        || numbers.starts_with(|c: char| c.is_ascii_digit())
            && numbers.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'_')
}

/// The name without the values of its numbers: `10.2` and `0.0` are alike.
fn pattern_of(name: &str) -> String {
    let mut pattern = String::new();
    for c in name.chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if c != '0' || !pattern.ends_with('0') {
            pattern.push(c);
        }
    }
    pattern
}
