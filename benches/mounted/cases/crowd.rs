//! Many readers of the same voxels at once.

use crate::bench::Bench;
use crate::check;
use crate::limits::Decoder;
use crate::measure::figures::{Figures, Table};
use crate::places;
use crate::readers;

pub(crate) const NAME: &str = "crowd";

const READERS: usize = 64;

/// All readers together are to be this many times as fast as one.
const WANTED: f64 = 1.0;

/// The case reads the finest level that is no larger than this.
const MOST_BYTES: u64 = 512 << 20;

pub(crate) fn run(bench: &Bench) {
    let mut table = Table::new([
        "store",
        "readers",
        "MB/s together",
        "of one reader",
        "fills / bricks",
        "CPU s",
        "peak, MiB",
    ]);
    for kind in bench.chosen(&["blosc-64"]) {
        let store = bench.store(kind);
        let decoder = Decoder::open(&store);
        let levels = (0..decoder.levels()).map(|level| places::level(&store, level));
        let mut levels = levels.filter(|(range, _)| range.end - range.start <= MOST_BYTES);
        let (range, bricks) = levels.next().expect("a small level");
        let bytes = (range.end - range.start) as f64;
        let mut rates: [Figures; 2] = Default::default();
        let mut fills: [Figures; 2] = Default::default();
        let mut cpus: [Figures; 2] = Default::default();
        let mut peaks: [Figures; 2] = Default::default();
        let counts = [1, READERS];
        bench.progress.begin(&format!("{NAME} {}", kind.name), bench.rounds());
        for round in 0..bench.rounds() {
            for (number, count) in counts.iter().enumerate() {
                let daemon = bench.daemon(&store.source, &[]);
                let files = readers::open(&daemon.file(), *count);
                let before = daemon.cpu();
                let cost = readers::crowd(&files, &range);
                cpus[number].push(cost.cpu + daemon.cpu() - before);
                drop(files);
                let ended = bench.end(daemon, NAME, kind.name, store.chunk_bytes());
                rates[number].push(bytes * *count as f64 / 1e6 / cost.seconds);
                fills[number].push(ended.fills as f64 / bricks as f64);
                peaks[number].push(ended.peak_mib);
            }
            if round == 0 {
                // Comparing fills bricks as well, so it has a daemon of its own.
                let daemon = bench.daemon(&store.source, &[]);
                readers::crowd(&readers::open(&daemon.file(), READERS), &range);
                check::boxes(&daemon.file(), &decoder, round);
            }
            bench.progress.step();
        }
        for (number, count) in counts.iter().enumerate() {
            table.row([
                kind.name.to_owned(),
                count.to_string(),
                rates[number].cell(0),
                rates[number].over(&rates[0]).at_least(2, WANTED),
                fills[number].cell(3),
                cpus[number].cell(2),
                format!("{:.0}", peaks[number].most()),
            ]);
        }
    }
    bench.publish(
        NAME,
        "every reader reads the same level from its start in reads of 1 MiB; new daemon and empty cache \
         each round, source in the page cache. The kernel's read-ahead may go beyond the end of the level",
        &table,
    );
}
