//! What a [`MemDisk`](super::mem_disk::MemDisk) is in: files, names, faults, and the account of bytes.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::names::{Names, Node};
use super::pages::{MemFile, PAGE};
use crate::common::picks::Picks;

/// The cache's folder, below which bytes are counted.
pub(crate) const CACHE: &str = "/cache";

/// States of pages that are remembered before the system writes some back.
const MOST_PENDING: usize = 4096;

/// What goes wrong on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskFaults {
    /// So many operations of a thousand fail with an I/O error, writes perhaps half way.
    pub(crate) eio: u64,
    /// The same for reads of what can be written well.
    pub(crate) read_eio: u64,
    pub(crate) read_only: bool,
    pub(crate) no_punch: bool,
    /// Bytes of the whole disk, and what others take of them.
    pub(crate) capacity: u64,
    pub(crate) others: u64,
}

/// A disk that works, with room for everything.
pub(crate) const HEALTHY: DiskFaults = DiskFaults {
    eio: 0,
    read_eio: 0,
    read_only: false,
    no_punch: false,
    capacity: 1 << 40,
    others: 0,
};

/// What is asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Look,
    Open,
    Read,
    Write,
    Punch,
    Rename,
    /// Makes or removes a name, or sets a length.
    Change,
    Sync,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) operations: u64,
    /// Operations that change something.
    pub(crate) changes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) syncs: u64,
    pub(crate) renames: u64,
    pub(crate) failed: u64,
    /// Most bytes there were at once while the cap was watched.
    pub(crate) peak_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Inode {
    pub(crate) file: MemFile,
    pub(crate) links: u32,
    pub(crate) handles: u32,
}

/// How the cap is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// There is never more.
    Strict,
    /// What is left may be more, since the power failed, or the cap was lowered.
    Loose,
    /// The cache takes stock of what is left.
    Opening,
    /// There was more at the end of that, as on a failing disk: it may only become less.
    Pardoned,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) names: Names,
    pub(crate) inodes: BTreeMap<u64, Inode>,
    next: u64,
    /// Handles of earlier ones are dead.
    pub(crate) epoch: u64,
    /// Locked folders.
    pub(crate) locks: HashSet<u64>,
    pub(crate) faults: DiskFaults,
    pub(crate) picks: Picks,
    pub(crate) counts: Counts,
    /// Changes until the machine stops in the middle of one.
    crash_in: Option<u64>,
    pub(crate) crashed: bool,
    /// Bytes with a name below the cache's folder, and all bytes.
    pub(crate) used: u64,
    pub(crate) all: u64,
    cap: u64,
    watch: Watch,
    pub(crate) violations: Vec<String>,
}

pub(crate) fn error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl State {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            names: Names::default(),
            inodes: BTreeMap::new(),
            next: 1,
            epoch: 0,
            locks: HashSet::new(),
            faults: HEALTHY,
            picks: Picks::new(seed),
            counts: Counts::default(),
            crash_in: None,
            crashed: false,
            used: 0,
            all: 0,
            cap: u64::MAX,
            watch: Watch::Strict,
            violations: Vec::new(),
        }
    }

    /// Stops the machine after this many changes.
    pub(crate) fn crash_after(&mut self, changes: Option<u64>) {
        self.crash_in = changes;
    }

    /// Whether the operation fails, by the schedule.
    pub(crate) fn begin(&mut self, asked: Asked, epoch: u64) -> io::Result<()> {
        if epoch != self.epoch || self.crashed {
            return Err(error(libc::EIO));
        }
        self.counts.operations += 1;
        let is_change =
            matches!(asked, Asked::Write | Asked::Punch | Asked::Rename | Asked::Change);
        if is_change {
            self.counts.changes += 1;
            match &mut self.crash_in {
                Some(0) => {
                    self.crashed = true;
                    self.crash_in = None;
                    return Err(error(libc::EIO));
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        let faults = self.faults;
        let rate = match asked {
            Asked::Look => 0,
            Asked::Read => faults.eio.max(faults.read_eio),
            _ => faults.eio,
        };
        let fails = self.picks.below(1000) < rate;
        let code = if is_change && faults.read_only {
            Some(libc::EROFS)
        } else if asked == Asked::Punch && faults.no_punch {
            Some(libc::EOPNOTSUPP)
        } else {
            fails.then_some(libc::EIO)
        };
        match code {
            Some(code) => {
                self.counts.failed += 1;
                Err(error(code))
            }
            None => Ok(()),
        }
    }

    /// Takes note of what an operation did to the account.
    pub(crate) fn end(&mut self, before: u64, what: &dyn Fn() -> String) {
        if self.watch == Watch::Pardoned && self.used <= self.cap {
            self.watch = Watch::Strict;
        }
        if matches!(self.watch, Watch::Opening | Watch::Pardoned) {
            return;
        }
        self.counts.peak_bytes = self.counts.peak_bytes.max(self.used);
        if self.used > self.cap && self.used > before && self.violations.len() < 10 {
            let (used, cap) = (self.used, self.cap);
            self.violations.push(format!("{}: {used} bytes, the cap is {cap}", what()));
        }
    }

    pub(crate) fn set_cap(&mut self, bytes: u64) {
        // What is there may leave less room than the start needs.
        if bytes < self.cap {
            self.watch = Watch::Loose;
        }
        self.cap = bytes;
    }

    /// The cache begins to take stock.
    pub(crate) fn opens(&mut self) {
        if self.watch == Watch::Loose {
            self.watch = Watch::Opening;
        }
    }

    /// The cache has taken stock.
    pub(crate) fn opened(&mut self) {
        if self.watch == Watch::Opening {
            self.watch = if self.used > self.cap { Watch::Pardoned } else { Watch::Strict };
        }
    }

    /// Pages that are free.
    pub(crate) fn room(&self) -> u64 {
        let DiskFaults { capacity, others, .. } = self.faults;
        capacity.saturating_sub(others).saturating_sub(self.all) / PAGE
    }

    fn counts_for_cache(path: &Path) -> bool {
        path.starts_with(CACHE)
    }

    pub(crate) fn new_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Makes a folder in one that is there.
    pub(crate) fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        if self.names.get(path).is_some() || path.parent().is_none() {
            return Err(error(libc::EEXIST));
        }
        self.check_parent(path)?;
        if self.room() == 0 {
            return Err(error(libc::ENOSPC));
        }
        let number = self.new_number();
        self.names.bind(path, Node::Folder(number));
        self.count(path, PAGE, true);
        Ok(())
    }

    pub(crate) fn check_parent(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().ok_or_else(|| error(libc::EINVAL))?;
        if self.names.has_folder(parent) { Ok(()) } else { Err(error(libc::ENOENT)) }
    }

    fn count(&mut self, path: &Path, bytes: u64, added: bool) {
        let named = if Self::counts_for_cache(path) { bytes } else { 0 };
        if added {
            self.used += named;
            self.all += bytes;
        } else {
            self.used -= named;
            self.all -= bytes;
        }
    }

    /// The file of a name.
    pub(crate) fn file_at(&self, path: &Path) -> io::Result<u64> {
        match self.names.get(path) {
            Some(Node::File(number)) => Ok(number),
            Some(Node::Folder(_)) => Err(error(libc::EISDIR)),
            None => Err(error(libc::ENOENT)),
        }
    }

    pub(crate) fn make_file(&mut self, path: &Path) -> io::Result<u64> {
        self.check_parent(path)?;
        let number = self.new_number();
        self.inodes.insert(number, Inode { links: 1, ..Inode::default() });
        self.names.bind(path, Node::File(number));
        Ok(number)
    }

    /// Does something to a file and to the account. All files are the cache's.
    pub(crate) fn change<T>(&mut self, number: u64, act: impl FnOnce(&mut MemFile) -> T) -> T {
        let inode = self.inodes.get_mut(&number).expect("an open file");
        let before = inode.file.allocated();
        let done = act(&mut inode.file);
        let after = inode.file.allocated();
        self.all = self.all - before + after;
        if inode.links > 0 {
            self.used = self.used - before + after;
        }
        if inode.file.pending() > MOST_PENDING {
            self.write_back();
        }
        done
    }

    /// Removes a name.
    pub(crate) fn unlink(&mut self, path: &Path, node: Node) {
        self.names.unbind(path);
        match node {
            Node::Folder(_) => self.count(path, PAGE, false),
            Node::File(number) => self.drop_link(number),
        }
    }

    /// A file has lost its name.
    pub(crate) fn drop_link(&mut self, number: u64) {
        let inode = self.inodes.get_mut(&number).expect("a named file");
        inode.links -= 1;
        self.used -= inode.file.allocated();
        if inode.handles == 0 {
            self.all -= inode.file.allocated();
        }
    }

    pub(crate) fn close(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.handles -= 1;
            if inode.handles == 0 && inode.links == 0 {
                self.all -= inode.file.allocated();
                self.forget_lost();
            }
        }
    }

    /// Forgets files that can never become visible again.
    fn forget_lost(&mut self) {
        let names = &self.names;
        self.inodes.retain(|number, inode| {
            inode.links > 0 || inode.handles > 0 || names.may_come_back(*number)
        });
    }

    /// What the system does every now and then.
    fn write_back(&mut self) {
        for inode in self.inodes.values_mut() {
            inode.file.write_back(&mut self.picks);
        }
        self.names.write_back();
        self.forget_lost();
    }

    /// All processes are gone, with their locks and open files.
    pub(crate) fn kill(&mut self) {
        self.epoch += 1;
        self.locks.clear();
        self.crashed = false;
        self.crash_in = None;
        for inode in self.inodes.values_mut() {
            inode.handles = 0;
        }
        self.forget_lost();
        self.recount();
    }

    pub(crate) fn lose_power(&mut self, picks: &mut Picks) {
        let kept = [0, 10, 50, 90, 99][picks.index(5)];
        self.watch = Watch::Loose;
        self.kill();
        self.names.lose_power(picks, kept);
        for inode in self.inodes.values_mut() {
            inode.links = 0;
            inode.file.lose_power(picks, kept);
        }
        for (_, node) in self.names.nodes() {
            if let Node::File(number) = node {
                self.inodes.get_mut(&number).expect("a known file").links += 1;
            }
        }
        self.forget_lost();
        self.recount();
    }

    fn recount(&mut self) {
        let named = self.names.nodes().filter(|(path, _)| Self::counts_for_cache(path));
        let bytes = named.map(|(_, node)| match node {
            Node::Folder(_) => PAGE,
            Node::File(number) => self.inodes[&number].file.allocated(),
        });
        self.used = bytes.sum();
        self.all = self.used;
    }

    /// Removes the cache's folder with all that is in it.
    pub(crate) fn remove_cache(&mut self) {
        let below: Vec<(PathBuf, Node)> =
            self.names.below(Path::new(CACHE)).map(|(path, node)| (path.into(), node)).collect();
        for (path, node) in below.into_iter().rev() {
            self.unlink(&path, node);
        }
        if let Some(node) = self.names.get(Path::new(CACHE)) {
            self.unlink(Path::new(CACHE), node);
        }
    }
}
