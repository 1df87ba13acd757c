//! Reading a file that is in the kernel's page cache.

use std::fs::{self, File};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::bench::Bench;
use crate::check;
use crate::daemon::Daemon;
use crate::limits::{self, Decoder};
use crate::measure::common::picks::Picks;
use crate::measure::figures::{Figures, Table};
use crate::measure::stores::{Kind, Store};
use crate::pages;
use crate::readers;

pub(crate) const NAME: &str = "warm";
pub(crate) const RANDOM: &str = "warm-random";

/// Memory from which C copies.
const MEMORY: usize = 256 << 20;

/// The stores that are measured: how they are compressed does not matter any more.
pub(super) const OWN: [&str; 1] = ["blosc-64"];

/// A virtual file that was read, and an ordinary file of the same bytes.
pub(super) struct Warm {
    pub(super) store: Store,
    pub(super) daemon: Daemon,
    /// Kept open, so that the kernel keeps its pages.
    pub(super) file: File,
    pub(super) plain: PathBuf,
    _folder: TempDir,
}

impl Warm {
    pub(super) fn new(bench: &Bench, kind: Kind) -> Self {
        let store = bench.store(kind);
        let daemon = bench.daemon(&store.source, &[]);
        let file = File::open(daemon.file()).expect("opens");
        let folder = TempDir::with_prefix_in("plain-", &bench.folder).expect("a folder");
        let plain = folder.path().join("plain.ims");
        fs::copy(daemon.file(), &plain).expect("a copy");
        rustix::fs::sync();
        // Copying may leave no pages of the virtual file behind.
        readers::sequential(&readers::open(&daemon.file(), 1));
        check::boxes(&daemon.file(), &Decoder::open(&store), 0);
        Self { store, daemon, file, plain, _folder: folder }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.file.metadata().expect("a size").len()
    }

    /// Ends the daemon; its peak in MiB.
    pub(super) fn end(self, bench: &Bench, case: &'static str) -> f64 {
        drop(self.file);
        bench.end(self.daemon, case, self.store.kind.name, self.store.chunk_bytes()).peak_mib
    }
}

pub(crate) fn sequential(bench: &Bench) {
    let mut table = Table::new([
        "store",
        "readers",
        "GB/s",
        "N, GB/s",
        "of N",
        "C, GB/s",
        "CPU s/GiB",
        "peak, MiB",
    ]);
    let memory = vec![1; MEMORY];
    for kind in bench.chosen(&OWN) {
        let warm = Warm::new(bench, kind);
        let bytes = warm.bytes();
        let mut rows = Vec::new();
        for (count, wanted) in [(1, 0.65), (4, 0.9)] {
            let [mut read, mut plain, mut copied, mut cpu]: [Figures; 4] = Default::default();
            bench.progress.begin(&format!("{NAME} {} {count}", kind.name), bench.rounds());
            for _ in 0..bench.rounds() {
                pages::assert_resident(&warm.file);
                let rate = |cost: limits::Cost| bytes as f64 / 1e9 / cost.seconds;
                plain.push(rate(readers::sequential(&readers::open(&warm.plain, count))));
                let before = warm.daemon.cpu();
                let cost = readers::sequential(&readers::open(&warm.daemon.file(), count));
                let daemon_cpu = warm.daemon.cpu() - before;
                copied.push(rate(limits::copy(&memory, bytes, count)));
                read.push(rate(cost));
                cpu.push((cost.cpu + daemon_cpu) / (bytes as f64 / f64::from(1 << 30)));
                bench.progress.step();
            }
            rows.push([
                kind.name.to_owned(),
                count.to_string(),
                read.cell(2),
                plain.cell(2),
                read.over(&plain).at_least(2, wanted),
                copied.cell(2),
                cpu.cell(2),
            ]);
        }
        let peak = warm.end(bench, NAME);
        for [a, b, c, d, e, f, g] in rows {
            table.row([a, b, c, d, e, f, g, format!("{peak:.0}")]);
        }
    }
    bench.publish(
        NAME,
        "virtual and plain file in the kernel's page cache, each reader a part of the file in reads of \
         1 MiB; C copies as many bytes by as many threads",
        &table,
    );
}

pub(crate) fn random(bench: &Bench) {
    let mut table =
        Table::new(["store", "reads of", "readers", "µs a read", "N, µs", "of N", "peak, MiB"]);
    for kind in bench.chosen(&OWN) {
        let warm = Warm::new(bench, kind);
        let bytes = warm.bytes();
        let mut rows = Vec::new();
        for (len, reads, wanted) in [(1 << 20, 2_000, 0.65), (4 << 10, 200_000, 0.5)] {
            for count in [1, 8] {
                let [mut read, mut plain]: [Figures; 2] = Default::default();
                bench.progress.begin(&format!("{RANDOM} {len} {count}"), bench.rounds());
                let virtual_files = readers::open(&warm.daemon.file(), count);
                let plain_files = readers::open(&warm.plain, count);
                for round in 0..bench.rounds() {
                    pages::assert_resident(&warm.file);
                    let mut picks = Picks::new(round * 2 + 1);
                    let pages = (bytes - len as u64) / 4096;
                    let places: Vec<u64> = (0..reads).map(|_| picks.below(pages) * 4096).collect();
                    let time = |files: &[File]| {
                        let cost = readers::random(files, &places, len, &|_, _| ());
                        cost.seconds * 1e6 / f64::from(reads)
                    };
                    plain.push(time(&plain_files));
                    read.push(time(&virtual_files));
                    bench.progress.step();
                }
                rows.push([
                    kind.name.to_owned(),
                    format!("{} KiB", len >> 10),
                    count.to_string(),
                    read.cell(1),
                    plain.cell(1),
                    plain.over(&read).at_least(2, wanted),
                ]);
            }
        }
        let peak = warm.end(bench, RANDOM);
        for [a, b, c, d, e, f] in rows {
            table.row([a, b, c, d, e, f, format!("{peak:.0}")]);
        }
    }
    bench.publish(
        RANDOM,
        "virtual and plain file in the kernel's page cache, random places at multiples of 4 KiB; time \
         over number of reads by all readers",
        &table,
    );
}
