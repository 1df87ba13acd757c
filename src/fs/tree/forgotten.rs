//! Files that were listed, and whose listings were forgotten: which inode is which path, as short as it can be. The
//! kernel and file servers may come back to these inodes; the folder is then listed again.
//!
//! Beyond a share of memory, half of each inode is all that stays, by folder: enough to know which folder to list.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use lru::LruCache;

use crate::fs::view::Ino;
use crate::resources::Account;

/// What an inode takes beside its path, and a folder beside its inodes; and what stays of a folder.
const INODE_BYTES: u64 = 40;
const FOLDER_BYTES: u64 = 160;
const KEPT_BYTES: u64 = 96;

/// What a row has before the path: the inode, and the length of the path.
const HEAD_BYTES: usize = 8 + 4;

/// What a folder takes of which only halves of inodes are left.
const HALVES_BYTES: u64 = 100;

/// What stays of a folder of the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// The time that was shown: it never goes back.
    pub(super) modified: SystemTime,
    /// See [`Listing::shown`](super::node::Listing).
    pub(super) shown: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Forgotten {
    /// The folder of the mount below which an inode is.
    folders: HashMap<Ino, Ino>,
    /// By folder; those forgotten last are the last to go.
    below: LruCache<Ino, Below>,
    /// Of folders of the source among them.
    kept: HashMap<Ino, Kept>,
    /// Halves of the inodes in other folders.
    halves: LruCache<Ino, Box<[u32]>>,
    /// What all this takes, of all mounts.
    account: Arc<Account>,
    /// Not all that was forgotten is here, not even halves.
    pub(super) is_incomplete: bool,
}

/// What was listed below a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Below {
    /// One row behind the other: the inode, the length of its path below the folder, and the path.
    rows: Vec<u8>,
    len: usize,
    kept: Vec<(Ino, Kept)>,
}

/// Half of an inode, which is a hash: of a million files, hardly two share one.
fn half(ino: Ino) -> u32 {
    let [a, b, c, d, ..] = ino.0.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn bytes_of(halves: &[u32]) -> u64 {
    HALVES_BYTES + size_of_val(halves) as u64
}

impl Below {
    pub(super) fn add(&mut self, ino: Ino, path: &Path, kept: Option<Kept>) {
        let path = path.as_os_str().as_bytes();
        // The system takes no longer ones.
        let Ok(length) = u32::try_from(path.len()) else { return };
        self.kept.extend(kept.map(|kept| (ino, kept)));
        self.rows.extend_from_slice(&ino.0.to_le_bytes());
        self.rows.extend_from_slice(&length.to_le_bytes());
        self.rows.extend_from_slice(path);
        self.len += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ino, &Path)> {
        let mut rest = &self.rows[..];
        std::iter::from_fn(move || {
            let (ino, behind) = rest.split_first_chunk()?;
            let (length, behind) = behind.split_first_chunk()?;
            let (path, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = behind;
            Some((Ino(u64::from_le_bytes(*ino)), Path::new(OsStr::from_bytes(path))))
        })
    }

    fn bytes(&self) -> u64 {
        let paths = self.rows.len() - HEAD_BYTES * self.len;
        let inodes = INODE_BYTES * self.len as u64 + paths as u64;
        FOLDER_BYTES + inodes + KEPT_BYTES * self.kept.len() as u64
    }
}

impl Forgotten {
    /// Of so many bytes as the account has room for.
    pub(super) fn within(account: Arc<Account>) -> Self {
        let (folders, kept) = (HashMap::new(), HashMap::new());
        let (below, halves) = (LruCache::unbounded(), LruCache::unbounded());
        Self { folders, below, kept, halves, account, is_incomplete: false }
    }

    /// Number of inodes.
    pub(super) fn len(&self) -> usize {
        let of_halves = self.halves.iter().map(|(_, halves)| halves.len());
        self.folders.len() + of_halves.sum::<usize>()
    }

    /// Folders in which an inode may have been whose path is not known any more.
    pub(super) fn may_have_had(&self, ino: Ino) -> Vec<Ino> {
        let half = half(ino);
        let folders = self.halves.iter().filter(|(_, halves)| halves.contains(&half));
        folders.map(|(folder, _)| *folder).collect()
    }

    /// The folder of the mount below which an inode was, and the path below it.
    pub(super) fn place(&self, ino: Ino) -> Option<(Ino, PathBuf)> {
        let folder = *self.folders.get(&ino)?;
        let (_, path) = self.below.peek(&folder)?.iter().find(|(below, _)| *below == ino)?;
        Some((folder, path.to_path_buf()))
    }

    /// Keeps what was listed below a folder.
    pub(super) fn add(&mut self, folder: Ino, mut below: Below) {
        // What was forgotten before, and did not come back in the meantime.
        if let Some(before) = self.take(folder) {
            let known: HashSet<Ino> = below.iter().map(|(ino, _)| ino).collect();
            let others = before.iter().filter(|(ino, _)| !known.contains(ino));
            let kept: HashMap<_, _> = before.kept.iter().copied().collect();
            others.for_each(|(ino, path)| below.add(ino, path, kept.get(&ino).copied()));
        }
        below.rows.shrink_to_fit();
        below.kept.shrink_to_fit();
        self.kept.extend(below.kept.iter().copied());
        self.folders.extend(below.iter().map(|(ino, _)| (ino, folder)));
        self.account.change(0, below.bytes());
        self.below.put(folder, below);
        while self.account.is_over() && self.shorten() {}
        // The map grows by doubling.
        if self.folders.capacity() > 4 * self.folders.len() {
            self.folders.shrink_to_fit();
        }
    }

    /// Keeps less of the folder that was forgotten first; whether there was one.
    fn shorten(&mut self) -> bool {
        if let Some(folder) = self.below.peek_lru().map(|(folder, _)| *folder) {
            let below = self.take(folder);
            let inos = below.iter().flat_map(Below::iter).map(|(ino, _)| half(ino));
            let halves: HashSet<u32> = inos.chain(self.take_halves(folder)).collect();
            let halves: Box<[u32]> = halves.into_iter().collect();
            self.account.change(0, bytes_of(&halves));
            self.halves.put(folder, halves);
            return true;
        }
        let oldest = self.halves.peek_lru().map(|(folder, _)| *folder);
        if let Some(folder) = oldest {
            self.take_halves(folder);
            self.is_incomplete = true;
        }
        oldest.is_some()
    }

    /// Takes out what is left of a folder whose paths are not known any more.
    pub(super) fn take_halves(&mut self, folder: Ino) -> Box<[u32]> {
        let Some(halves) = self.halves.pop(&folder) else { return Box::default() };
        self.account.change(bytes_of(&halves), 0);
        halves
    }

    /// Takes out what was listed below a folder.
    pub(super) fn take(&mut self, folder: Ino) -> Option<Below> {
        let below = self.below.pop(&folder)?;
        self.account.change(below.bytes(), 0);
        for (ino, _) in below.iter() {
            if self.folders.get(&ino) == Some(&folder) {
                self.folders.remove(&ino);
            }
        }
        for (ino, _) in &below.kept {
            self.kept.remove(ino);
        }
        Some(below)
    }

    /// What stays of a folder, which is listed again by the folder above it.
    pub(super) fn take_kept(&mut self, ino: Ino) -> Option<Kept> {
        self.kept.remove(&ino)
    }
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        let of_halves: u64 = self.halves.iter().map(|(_, halves)| bytes_of(halves)).sum();
        let bytes: u64 = self.below.iter().map(|(_, below)| below.bytes()).sum();
        self.account.change(bytes + of_halves, 0);
    }
}

#[cfg(test)]
mod tests {
    use crate::resources::Names;
    use crate::resources::memory::MemoryBudget;
    use crate::resources::shares::Shares;

    use super::*;

    fn names(budget_bytes: u64) -> Names {
        Names::within(Shares::of(budget_bytes), &MemoryBudget::new(budget_bytes))
    }

    fn below(inos: std::ops::Range<u64>) -> Below {
        let mut below = Below::default();
        for ino in inos {
            let kept = Kept { modified: SystemTime::UNIX_EPOCH, shown: ino };
            below.add(Ino(ino), Path::new(&format!("n{ino}")), (ino % 10 == 0).then_some(kept));
        }
        below
    }

    #[test]
    fn what_was_forgotten_first_is_lost_first_and_all_is_given_back() {
        let names = names(1_600_000);
        let mut forgotten = Forgotten::within(names.forgotten.clone());
        for folder in 0..100 {
            let first = 1000 + 100 * folder;
            forgotten.add(Ino(folder + 2), below(first..first + 100));
            assert!(!names.forgotten.is_over());
            assert_eq!(
                forgotten.place(Ino(first + 7)),
                Some((Ino(folder + 2), PathBuf::from(format!("n{}", first + 7))))
            );
        }
        assert!(!forgotten.is_incomplete);
        assert_eq!(forgotten.len(), 10_000);
        assert_eq!(forgotten.place(Ino(1007)), None);
        assert_eq!(forgotten.may_have_had(Ino(1007)), [Ino(2)]);
        assert_eq!(forgotten.may_have_had(Ino(7)), []);
        assert_eq!(forgotten.take_halves(Ino(2)).len(), 100);
        assert_eq!(forgotten.may_have_had(Ino(1007)), []);
        assert!(forgotten.take_kept(Ino(1000)).is_none(), "gone with its folder");
        assert_eq!(forgotten.take_kept(Ino(10_900)).map(|kept| kept.shown), Some(10_900));
        assert_eq!(forgotten.take(Ino(101)).expect("the last one").iter().count(), 100);
        assert_eq!(forgotten.place(Ino(10_907)), None);
        for folder in 1000..2000 {
            let first = 100 * folder;
            forgotten.add(Ino(folder), below(first..first + 100));
        }
        assert!(forgotten.is_incomplete && !names.forgotten.is_over());
        assert_eq!(forgotten.may_have_had(Ino(100_000)), [], "lost");
        drop(forgotten);
        assert_eq!((names.forgotten.bytes(), names.all.bytes()), (0, 0));
    }

    #[test]
    fn a_folder_that_is_forgotten_in_parts_has_all_of_them() {
        let mut forgotten = Forgotten::within(names(1 << 24).forgotten);
        forgotten.add(Ino(2), below(10..20));
        forgotten.add(Ino(2), below(15..25));
        assert_eq!(forgotten.len(), 15);
        for ino in 10..25 {
            assert_eq!(forgotten.place(Ino(ino)), Some((Ino(2), PathBuf::from(format!("n{ino}")))));
        }
        assert!(forgotten.take_kept(Ino(10)).is_some() && forgotten.take_kept(Ino(20)).is_some());
    }
}
