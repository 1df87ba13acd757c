//! The files that an answer was computed from, to check later whether it is still true.

mod entries;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use entries::Entries;

use super::root::SourceRoot;
use super::storage::{Seen, Stamp, since_epoch_ns};

/// The files and folders that an answer was computed from, and the state of each. While all states are
/// [unchanged](Fingerprint::is_unchanged), the answer is still true, unless it is
/// [doubtful](Fingerprint::is_lasting).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    entries: Entries,
    /// Something could not be read, and may be readable the next time, whatever its state.
    is_doubtful: bool,
}

impl Fingerprint {
    /// Adds a path in its state now.
    pub(crate) fn record(&mut self, root: &SourceRoot, path: &Path) -> Seen {
        let seen = root.look(path);
        self.add(path, seen);
        seen
    }

    /// Adds a path in the state given; `None` if there is no such name.
    pub(crate) fn record_stamp(&mut self, path: &Path, stamp: Option<Stamp>) {
        self.add(path, stamp.into());
    }

    /// Adds a path in the state that a look has shown.
    pub(crate) fn add(&mut self, path: &Path, seen: Seen) {
        self.is_doubtful |= seen == Seen::Unreadable;
        self.entries.add(path, seen);
    }

    /// Takes over the state of one path.
    pub(crate) fn copy_from(&mut self, other: &Self, path: &Path) {
        if let Some((_, seen)) = other.entries.get(path) {
            self.add(path, seen);
        }
    }

    /// The same answer by the state of one file, which changes with all that is in it. What is doubtful stays
    /// doubtful.
    pub(super) fn of_one(&self, path: &Path, seen: Seen) -> Self {
        let mut one = Self { is_doubtful: self.is_doubtful, ..Self::default() };
        one.add(path, seen);
        one
    }

    /// Takes over all that another one has.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for (path, seen) in other.entries.iter() {
            self.add(path, seen);
        }
        self.is_doubtful |= other.is_doubtful;
    }

    /// Notes that something could not be read for a reason that its state does not show.
    pub(crate) fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Whether the states will show at any later time if the answer, whose computation began at `begun`, is
    /// still true: everything could be read, and every stamp had settled, so that a later change will have
    /// another stamp.
    #[must_use]
    pub fn is_lasting(&self, begun: SystemTime) -> bool {
        let begun_ns = since_epoch_ns(begun);
        let is_settled = |(_, seen): (&Path, Seen)| match seen {
            Seen::Absent => true,
            Seen::Present(stamp) => stamp.settles_after_ns(begun_ns) <= 0,
            Seen::Unreadable => false,
        };
        !self.is_doubtful && !self.entries.is_empty() && self.entries.iter().all(is_settled)
    }

    /// Whether all states are the same now.
    #[must_use]
    pub fn is_unchanged(&self, root: &SourceRoot) -> bool {
        self.entries.iter().all(|(path, seen)| root.look(path) == seen)
    }

    /// The newest modification time of the files.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        let stamps = self.entries.iter().filter_map(|(_, seen)| seen.stamp());
        stamps.map(|stamp| stamp.modified()).max()
    }

    /// The files and folders that were there below a folder, in the order of the paths.
    pub(super) fn present_below(&self, folder: &Path) -> impl Iterator<Item = &Path> {
        let below = self.entries.iter_from(folder);
        let below = below.take_while(move |(path, _)| path.starts_with(folder));
        below.filter(|(_, seen)| seen.stamp().is_some()).map(|(path, _)| path)
    }

    /// A path, if something was there.
    pub(super) fn present(&self, path: &Path) -> Option<&Path> {
        let (path, seen) = self.entries.get(path)?;
        seen.stamp().map(|_| path)
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.bytes()
    }

    /// The same in less memory, for an answer that is there.
    pub(crate) fn closed(mut self) -> Self {
        self.entries.close();
        self
    }

    /// Paths and their states, in the order of the paths.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, Seen)> {
        self.entries.iter()
    }
}

impl FromIterator<(PathBuf, Option<Stamp>)> for Fingerprint {
    fn from_iter<I: IntoIterator<Item = (PathBuf, Option<Stamp>)>>(entries: I) -> Self {
        let mut all = Self::default();
        for (path, stamp) in entries {
            all.entries.add(&path, stamp.into());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fingerprint(ctime_ns: i64) -> Fingerprint {
        let settles = if ctime_ns % 1_000_000_000 == 0 { 2_100 } else { 50 };
        let settles = Duration::from_millis(settles);
        let stamp = Stamp::of_clock(1, 2, (3, 4), ctime_ns, settles);
        let absent = (PathBuf::from("b"), None);
        [(PathBuf::from("a"), Some(stamp)), absent].into_iter().collect()
    }

    #[test]
    fn a_fingerprint_lasts_if_all_had_been_at_rest() {
        let at = |ns: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns);
        let (second, milli) = (1_000_000_000, 1_000_000);
        let fine = fingerprint(second + 1);
        assert!(fine.is_lasting(at(1_000_000_001 + 50 * milli)));
        assert!(!fine.is_lasting(at(1_000_000_001 + 49 * milli)));
        assert!(!fine.is_lasting(at(0)), "a clock that is ahead");
        // Whole seconds: a coarse clock.
        let coarse = fingerprint(second);
        assert!(!coarse.is_lasting(at(1_000_000_000 + 2_000 * milli)));
        assert!(coarse.is_lasting(at(1_000_000_000 + 2_100 * milli)));
        let mut doubtful = fine.clone();
        doubtful.doubt();
        assert!(!doubtful.is_lasting(at(1 << 60)));
        let mut all = fine.clone();
        all.absorb(&doubtful);
        assert!(!all.is_lasting(at(1 << 60)));
        let mut unreadable = fine;
        unreadable.add(Path::new("c"), Seen::Unreadable);
        assert!(!unreadable.is_lasting(at(1 << 60)), "it may be readable the next time");
        assert!(!Fingerprint::default().is_lasting(at(1 << 60)), "nothing was looked at");
    }
}
