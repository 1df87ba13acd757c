//! Paths and their states: growing while an answer is computed, and closed in little memory when it is there. There is
//! a fingerprint for each store of a source.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::source::storage::{Seen, Stamp};

/// What a closed entry takes beside its path, and more if something is there; what all entries of a fingerprint take
/// together.
const ENTRY_BYTES: u64 = 8;
const STAMP_BYTES: u64 = 48;
const OWN_BYTES: u64 = 170;

/// Numbers that stand for no stamp.
const ABSENT: u32 = u32::MAX;
const UNREADABLE: u32 = u32::MAX - 1;

/// Paths, each once and in order, and their states.
#[derive(Debug, Clone)]
pub(super) enum Entries {
    Growing(BTreeMap<PathBuf, Seen>),
    Closed(Box<Closed>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Closed {
    /// One behind the other.
    paths: Box<[u8]>,
    /// Where each path ends, and the number of its stamp. Names of 4 GiB come with more memory than there is.
    entries: Box<[(u32, u32)]>,
    stamps: Box<[Stamp]>,
}

impl Closed {
    fn of(entries: &BTreeMap<PathBuf, Seen>) -> Self {
        let (mut paths, mut stamps) = (Vec::new(), Vec::new());
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let mut add = |(path, seen): (&PathBuf, &Seen)| {
            paths.extend_from_slice(path.as_os_str().as_bytes());
            let number = match seen {
                Seen::Absent => ABSENT,
                Seen::Unreadable => UNREADABLE,
                Seen::Present(stamp) => {
                    stamps.push(*stamp);
                    short(stamps.len() - 1)
                }
            };
            (short(paths.len()), number)
        };
        let entries = entries.iter().map(&mut add).collect();
        Self { paths: paths.into_boxed_slice(), entries, stamps: stamps.into_boxed_slice() }
    }

    fn at(&self, number: usize) -> (&Path, Seen) {
        let start = number.checked_sub(1).map_or(0, |before| self.entries[before].0);
        let (end, stamp) = self.entries[number];
        let seen = match stamp {
            ABSENT => Seen::Absent,
            UNREADABLE => Seen::Unreadable,
            stamp => Seen::Present(self.stamps[stamp as usize]),
        };
        (Path::new(OsStr::from_bytes(&self.paths[start as usize..end as usize])), seen)
    }

    /// The number of the first path that is not before another one.
    fn first_from(&self, path: &Path) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.at(middle).0 < path {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::Growing(BTreeMap::new())
    }
}

impl Entries {
    /// Adds a path, unless it is there.
    pub(super) fn add(&mut self, path: &Path, seen: Seen) {
        if let Self::Closed(_) = self {
            let all = self.iter().map(|(path, seen)| (path.to_path_buf(), seen));
            *self = Self::Growing(all.collect());
        }
        if let Self::Growing(entries) = self {
            entries.entry(path.to_path_buf()).or_insert(seen);
        }
    }

    pub(super) fn close(&mut self) {
        if let Self::Growing(entries) = self {
            *self = Self::Closed(Box::new(Closed::of(entries)));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(super) fn get(&self, path: &Path) -> Option<(&Path, Seen)> {
        self.iter_from(path).next().filter(|(first, _)| *first == path)
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, Seen)> {
        self.iter_from(Path::new(""))
    }

    /// Those from a path on, in order.
    pub(super) fn iter_from(&self, path: &Path) -> impl Iterator<Item = (&Path, Seen)> {
        let (growing, closed) = match self {
            Self::Growing(entries) => (Some(entries.range(path.to_path_buf()..)), None),
            Self::Closed(closed) => (None, Some((closed, closed.first_from(path)))),
        };
        let growing = growing.into_iter().flatten().map(|(path, seen)| (path.as_path(), *seen));
        let closed = closed.into_iter().flat_map(|(closed, first)| {
            (first..closed.entries.len()).map(|number| closed.at(number))
        });
        growing.chain(closed)
    }

    /// Memory that they take.
    pub(super) fn bytes(&self) -> u64 {
        let each = |(path, seen): (&Path, Seen)| {
            let stamp = if seen.stamp().is_some() { STAMP_BYTES } else { 0 };
            ENTRY_BYTES + stamp + path.as_os_str().len() as u64
        };
        OWN_BYTES + self.iter().map(each).sum::<u64>()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Entries {}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.iter().for_each(|entry| entry.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_entries_are_what_they_were() {
        let mut entries = Entries::default();
        assert!(entries.is_empty());
        for path in ["b/c", "a", "b", "b/c", "b.x", ""] {
            entries.add(Path::new(path), Seen::Absent);
        }
        entries.add(Path::new("a"), Seen::Unreadable);
        let mut closed = entries.clone();
        closed.close();
        assert!(matches!(closed, Entries::Closed(_)));
        assert_eq!(closed, entries);
        for path in ["", "a", "a/b", "b", "b.x", "b/c", "b/d", "c"] {
            let path = Path::new(path);
            assert_eq!(closed.get(path), entries.get(path), "{}", path.display());
            let from = |all: &Entries| {
                all.iter_from(path).map(|(path, _)| path.to_path_buf()).collect::<Vec<_>>()
            };
            assert_eq!(from(&closed), from(&entries), "{}", path.display());
        }
        closed.add(Path::new("d"), Seen::Absent);
        assert_eq!(closed.iter().count(), 6);
    }
}
