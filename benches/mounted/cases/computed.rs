//! Levels that the store does not have, and statistics of all voxels.

use std::time::Instant;

use crate::bench::Bench;
use crate::check;
use crate::limits::Decoder;
use crate::measure::common::ims::Ims;
use crate::measure::figures::{Figures, Table};
use crate::measure::stores;

pub(crate) const NAME: &str = "computed";

/// Throughput over D that is wanted.
const WANTED: f64 = 0.5;

const STATISTICS: [(&str, &str); 2] =
    [("fast", "all levels computed"), ("exact", "and exact statistics")];

pub(crate) fn run(bench: &Bench) {
    let mut table =
        Table::new(["", "s", "MB/s of the finest level", "of D", "CPU s/GiB", "peak, MiB"]);
    let store = bench.store(stores::FLAT);
    let decoder = Decoder::open(&store);
    let bytes = store.bytes() as f64;
    let mut limit = Figures::default();
    let mut times: [Figures; 2] = Default::default();
    let mut cpus: [Figures; 2] = Default::default();
    let mut peaks: [Figures; 2] = Default::default();
    bench.progress.begin(NAME, bench.rounds() * 2);
    for round in 0..bench.rounds() {
        limit.push(decoder.decode_all().seconds);
        for (number, (statistics, _)) in STATISTICS.iter().enumerate() {
            let daemon = bench.daemon(&store.source, &["--statistics", statistics]);
            let before = daemon.cpu();
            let started = Instant::now();
            let ims = Ims::open(&daemon.file()).expect("libhdf5 opens it");
            let coarsest = ims.levels().expect("levels") - 1;
            ims.pixels(coarsest, 0, 0).expect("reads");
            times[number].push(started.elapsed().as_secs_f64());
            cpus[number].push((daemon.cpu() - before) / (bytes / f64::from(1 << 30)));
            assert!(coarsest > 1, "levels are computed");
            drop(ims);
            // Reads more: the peak is that of the pass and of these reads.
            check::means(&daemon.file(), &decoder, round);
            let ended = bench.end(daemon, NAME, statistics, store.chunk_bytes());
            peaks[number].push(ended.peak_mib);
            bench.progress.step();
        }
    }
    table.row([
        "D: decoded and dropped".to_owned(),
        limit.cell(2),
        limit.map(|seconds| bytes / 1e6 / seconds).cell(0),
        "1".to_owned(),
        String::new(),
        String::new(),
    ]);
    for (number, (_, what)) in STATISTICS.iter().enumerate() {
        let own = &times[number];
        table.row([
            (*what).to_owned(),
            own.cell(2),
            own.map(|seconds| bytes / 1e6 / seconds).cell(0),
            limit.over(own).at_least(2, WANTED),
            cpus[number].cell(2),
            format!("{:.0}", peaks[number].most()),
        ]);
    }
    bench.publish(
        NAME,
        "a store without a pyramid, 64 x 64 x 64, Blosc lz4, all chunks different; from opening the file \
         to the coarsest level in libhdf5, new daemon and empty cache each round, source in the page cache",
        &table,
    );
}
