//! Everything at once: random operations on a random store, with faults that come and go.

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;

use super::faulty_chunks::ChunkFaults;
use super::rig::{FIXED, Rig, poll};
use super::state::{DiskFaults, HEALTHY};
use crate::common::rest::rest;
use crate::reference::cases::{Case, Picks};
use crate::reference::opened::{Brick, Opened, assert_same, slice};

/// Number of latest operations to print when one fails.
const TOLD: usize = 40;

/// A store, its virtual file, and everything that can happen to them.
pub(crate) struct World {
    rig: Rig,
    picks: Picks,
    image: Vec<u8>,
    opened: Option<Opened>,
    /// Earlier openings by the same engine.
    earlier: Vec<Opened>,
    bricks: Vec<Brick>,
    /// The metadata region. Statistics leave out voxels that could not be read, so after a fault of
    /// the source they differ until the engine restarts.
    metadata: Range<u64>,
    metadata_may_differ: bool,
    source_fails: bool,
    /// Chunk files that were there at first, and what was in them.
    chunks: Vec<(PathBuf, Vec<u8>)>,
    recent: VecDeque<String>,
    pub(crate) operations: u64,
    pub(crate) reads: u64,
    pub(crate) failed_reads: u64,
}

impl World {
    pub(crate) fn new(Case { store, seed }: &Case) -> Self {
        let mut picks = Picks::new(*seed);
        let rig = Rig::new(store, *seed, FIXED);
        let image = rig.on_disk.checked_image();
        let chunk_files = rig.on_disk.chunk_files().into_iter();
        let chunks = chunk_files
            .map(|path| {
                let bytes = fs::read(&path).expect("a chunk file");
                (path, bytes)
            })
            .collect();
        let mut world = Self {
            rig,
            image,
            opened: None,
            earlier: Vec::new(),
            bricks: Vec::new(),
            metadata: 0..0,
            metadata_may_differ: false,
            source_fails: false,
            chunks,
            recent: VecDeque::new(),
            operations: 0,
            reads: 0,
            failed_reads: 0,
            picks: Picks::new(picks.below(u64::MAX)),
        };
        world.pick_cap();
        world.start();
        world
    }

    /// Performs this many operations.
    pub(crate) fn run(&mut self, operations: u64) {
        for _ in 0..operations {
            self.step();
            self.rig.disk.assert_cap_held();
        }
        self.all_is_well_again();
    }

    fn tell(&mut self, what: impl Into<String>) {
        self.operations += 1;
        if self.recent.len() == TOLD {
            self.recent.pop_front();
        }
        self.recent.push_back(format!("{}: {}", self.operations, what.into()));
    }

    fn step(&mut self) {
        match self.picks.below(1000) {
            0..780 => {
                let (offset, len) = self.range();
                self.tell(format!("read {len} from {offset}"));
                self.read(offset, len);
            }
            780..860 => self.read_on_threads(),
            860..880 => self.restart(),
            880..890 => self.kill(),
            890..905 => self.lose_power(),
            905..935 => self.change_disk(),
            935..965 => self.change_source(),
            965..975 => {
                self.tell("remove the cache");
                self.rig.disk.remove_cache();
            }
            975..985 => self.change_chunks(),
            985..992 => self.reopen(),
            _ => {
                let changes = self.picks.below(60);
                self.tell(format!("stop the machine after {changes} changes"));
                self.rig.disk.crash_after(changes);
            }
        }
    }

    // --- reads ---

    fn range(&mut self) -> (u64, u64) {
        let size = self.image.len() as u64;
        let brick = &self.bricks[self.picks.index(self.bricks.len())];
        let (address, bytes) = (brick.address, brick.bytes);
        let within = self.picks.below(bytes);
        match self.picks.below(16) {
            0 => (self.picks.below(size), self.picks.below(64 << 10)),
            1 => (self.picks.below(self.metadata.end), self.picks.below(8 << 10)),
            2 => (address, bytes),
            3 => (address.saturating_sub(100), 200),
            4 if self.picks.below(8) == 0 => (0, size),
            _ => (address + within, self.picks.below(4 << 10)),
        }
    }

    fn read(&mut self, offset: u64, len: u64) {
        self.reads += 1;
        if !self.check(offset, len) {
            self.failed_reads += 1;
        }
    }

    /// Reads and compares; false for an error that may be.
    fn check(&self, offset: u64, len: u64) -> bool {
        let opened = self.opened.as_ref().expect("open");
        match opened.try_read(offset, len) {
            Ok(mut got) => {
                let mut expected = slice(&self.image, offset, len).to_vec();
                if self.metadata_may_differ {
                    let end = self.metadata.end.clamp(offset, offset + got.len() as u64) - offset;
                    let end = usize::try_from(end).expect("small");
                    assert_eq!(got.len(), expected.len(), "length of the bytes from {offset}");
                    got[..end].fill(0);
                    expected[..end].fill(0);
                }
                assert_same(&expected, &got, offset);
                true
            }
            Err(error) => {
                assert!(self.source_fails, "{len} bytes from {offset}: {error}");
                false
            }
        }
    }

    fn read_on_threads(&mut self) {
        let ranges: Vec<Vec<(u64, u64)>> =
            (0..3).map(|_| (0..3).map(|_| self.range()).collect()).collect();
        self.tell(format!("read {ranges:?} on threads"));
        let world = &*self;
        let failed = thread::scope(|scope| {
            let threads = ranges.iter().map(|ranges| {
                scope.spawn(|| {
                    let failed = ranges.iter().filter(|(offset, len)| !world.check(*offset, *len));
                    failed.count()
                })
            });
            let threads: Vec<_> = threads.collect();
            let failed = threads.into_iter().map(|thread| thread.join().expect("right bytes"));
            failed.sum::<usize>()
        });
        self.reads += 9;
        self.operations += 8;
        self.failed_reads += failed as u64;
    }

    /// Ends all faults: every byte must be readable and right.
    fn all_is_well_again(&mut self) {
        self.tell("all is well again");
        self.rig.disk.set_faults(HEALTHY);
        self.heal_source();
        self.read(0, self.image.len() as u64);
        self.restart();
        self.read(0, self.image.len() as u64);
        self.rig.disk.assert_cap_held();
    }

    // --- starts and ends ---

    fn end(&mut self) {
        self.opened = None;
        self.earlier.clear();
    }

    fn start(&mut self) {
        let opened = self.rig.open();
        if self.rig.disk.is_healthy() {
            let (used, cap) = (self.rig.disk.used(), self.rig.limits.cap_bytes);
            assert!(used <= cap, "{used} bytes after the start, the cap is {cap}");
        }
        self.bricks = opened.bricks();
        self.metadata = 0..opened.file.plan().layout.metadata_bytes();
        self.metadata_may_differ = self.source_fails;
        self.opened = Some(opened);
    }

    fn pick_cap(&mut self) {
        let size = self.image.len() as u64;
        let part = [4 << 10, 64 << 10, size / 4, size / 2, size * 2][self.picks.index(5)];
        self.rig.set_cap(FIXED + part);
    }

    /// Between two processes: perhaps another cap, perhaps some rot.
    fn between(&mut self) {
        if self.picks.below(3) == 0 {
            self.pick_cap();
        }
        if self.picks.below(4) == 0 {
            let bytes = self.picks.below(8);
            self.rig.disk.rot(&mut self.picks, bytes);
        }
    }

    fn restart(&mut self) {
        self.tell("restart");
        self.end();
        // A machine that has stopped does not restart cleanly.
        if self.rig.disk.has_crashed() {
            self.rig.disk.lose_power(self.picks.below(u64::MAX));
        }
        self.between();
        self.start();
    }

    fn kill(&mut self) {
        self.tell("kill");
        self.rig.disk.kill();
        self.end();
        self.between();
        self.start();
    }

    fn lose_power(&mut self) {
        let seed = self.picks.below(u64::MAX);
        self.tell(format!("lose power, {seed}"));
        self.rig.disk.lose_power(seed);
        self.end();
        self.between();
        self.start();
    }

    /// Another opening, by the same engine.
    fn reopen(&mut self) {
        self.tell("reopen");
        let engine = self.opened.as_ref().expect("open").engine.clone();
        let before = self.opened.replace(self.rig.open_on(engine));
        // Its end would stop the engine.
        self.earlier.extend(before);
    }

    // --- faults ---

    fn change_disk(&mut self) {
        let used = self.rig.disk.used();
        let faults = match self.picks.below(14) {
            12 => DiskFaults { read_eio: 500, ..HEALTHY },
            13 => DiskFaults { read_eio: 1000, ..HEALTHY },
            0 => DiskFaults { eio: 1000, ..HEALTHY },
            1 => DiskFaults { eio: 200, ..HEALTHY },
            2 => DiskFaults { eio: 20, ..HEALTHY },
            3 => DiskFaults { read_only: true, ..HEALTHY },
            4 => DiskFaults { no_punch: true, ..HEALTHY },
            5 => DiskFaults { capacity: used + self.picks.below(64 << 10), ..HEALTHY },
            6 => DiskFaults { capacity: 1 << 30, others: (1 << 30) - used, ..HEALTHY },
            _ => HEALTHY,
        };
        self.tell(format!("{faults:?}"));
        self.rig.disk.set_faults(faults);
    }

    fn change_source(&mut self) {
        if self.source_fails || self.picks.below(2) == 0 {
            self.tell("the source is well");
            self.heal_source();
            return;
        }
        let rate = [30, 200, 1000][self.picks.index(3)];
        let faults = match self.picks.below(4) {
            0 => ChunkFaults { eio: rate, ..ChunkFaults::default() },
            1 => ChunkFaults { eof: rate, ..ChunkFaults::default() },
            2 => ChunkFaults { panics: rate.min(200), ..ChunkFaults::default() },
            _ => ChunkFaults { eio: rate / 3, eof: rate / 3, panics: rate / 3 },
        };
        self.tell(format!("{faults:?}"));
        self.source_fails = true;
        self.metadata_may_differ = true;
        self.rig.chunks.set_faults(faults);
    }

    fn heal_source(&mut self) {
        self.rig.chunks.set_faults(ChunkFaults::default());
        // A reader that joins a fill begun during the fault would share its error.
        let engine = &self.opened.as_ref().expect("open").engine;
        poll("those under way", || (engine.stats().in_flight == 0).then_some(()));
        self.source_fails = false;
    }

    /// Rewrites, deletes and adds chunks, and reopens the file.
    fn change_chunks(&mut self) {
        self.tell("change chunks");
        if self.chunks.is_empty() {
            return;
        }
        for _ in 0..=self.picks.below(3) {
            let (path, bytes) = &self.chunks[self.picks.index(self.chunks.len())];
            match self.picks.below(3) {
                0 => drop(fs::remove_file(path)),
                1 => fs::write(path, bytes).expect("an own file"),
                _ => self.replace_chunk(),
            }
        }
        // Else the state has no lasting identity, and nothing is found in the cache.
        if self.picks.below(3) > 0 {
            rest(&self.rig.on_disk.path());
        }
        self.image = self.rig.expected();
        if self.picks.below(2) == 0 {
            self.reopen();
        } else {
            self.restart();
        }
    }

    /// Gives a chunk the voxels of another one of its level.
    fn replace_chunk(&mut self) {
        let level = |path: &PathBuf| {
            let relative = path.strip_prefix(self.rig.on_disk.path()).expect("below");
            relative.iter().next().expect("a level").to_owned()
        };
        let (path, _) = &self.chunks[self.picks.index(self.chunks.len())];
        let (other, bytes) = &self.chunks[self.picks.index(self.chunks.len())];
        if level(path) == level(other) {
            fs::write(path, bytes).expect("an own file");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            let recent: Vec<&str> = self.recent.iter().map(String::as_str).collect();
            println!("store {:?}\nlast operations:\n{}", self.rig.on_disk.store, recent.join("\n"));
        }
    }
}
