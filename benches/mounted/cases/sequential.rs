//! Reading a whole file for the first time.

use crate::bench::Bench;
use crate::check;
use crate::limits::{Decoder, Way, timed};
use crate::measure::figures::{Figures, Table};
use crate::measure::stores::{self, Compressor};
use crate::places;
use crate::readers;

pub(crate) const NAME: &str = "sequential";

/// What client and daemon may take beyond D, in seconds of processor time per GiB.
const MOST_CPU: f64 = 0.8;

/// Throughput over D that is wanted.
pub(crate) fn wanted(compressor: Compressor) -> f64 {
    match compressor {
        Compressor::Blosc => 0.55,
        Compressor::Zstd => 0.75,
    }
}

pub(crate) fn run(bench: &Bench) {
    let mut table = Table::new([
        "store",
        "MB/s",
        "D, MB/s",
        "of D",
        "client + daemon, CPU s/GiB",
        "D, CPU s/GiB",
        "more than D",
        "peak, MiB",
    ]);
    for kind in bench.chosen(&stores::names()) {
        let store = bench.store(kind);
        places::assert_stored(&store);
        let decoder = Decoder::open(&store);
        let bytes = store.bytes() as f64;
        let [mut read, mut limit, mut cpu, mut limit_cpu, mut peak]: [Figures; 5] =
            Default::default();
        bench.progress.begin(&format!("{NAME} {}", kind.name), bench.rounds());
        for round in 0..bench.rounds() {
            let decoded = decoder.decode_all();
            let daemon = bench.daemon(&store.source, &[]);
            let before = daemon.cpu();
            let cost = timed(|| {
                readers::sequential(&readers::open(&daemon.file(), 1));
            });
            let daemon_cpu = daemon.cpu() - before;
            // What the reader was given is still in the page cache.
            check::boxes(&daemon.file(), &decoder, round);
            let ended = bench.end(daemon, NAME, kind.name, store.chunk_bytes());
            let gibibytes = bytes / f64::from(1 << 30);
            read.push(bytes / 1e6 / cost.seconds);
            limit.push(bytes / 1e6 / decoded.seconds);
            cpu.push((cost.cpu + daemon_cpu) / gibibytes);
            limit_cpu.push(decoded.cpu / gibibytes);
            peak.push(ended.peak_mib);
            bench.progress.step();
        }
        let way = if decoder.way == Way::Shards { " (by shards)" } else { "" };
        table.row([
            kind.name.to_owned(),
            read.cell(0),
            format!("{}{way}", limit.cell(0)),
            read.over(&limit).at_least(2, wanted(kind.compressor())),
            cpu.cell(2),
            limit_cpu.cell(2),
            cpu.with(&limit_cpu, |own, limit| own - limit).at_most(2, MOST_CPU),
            format!("{:.0}", peak.most()),
        ]);
        bench.tell(&table);
    }
    bench.publish(
        NAME,
        "new daemon and empty cache each round, source in the page cache, reads of 1 MiB, MB of voxels",
        &table,
    );
}
