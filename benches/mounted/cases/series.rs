//! Stepping through the time points of a series.

use std::time::Instant;

use crate::bench::Bench;
use crate::check;
use crate::limits::Decoder;
use crate::measure::common::ims::Ims;
use crate::measure::figures::{Figures, Table, milliseconds};
use crate::measure::stores;

pub(crate) const NAME: &str = "series";

pub(crate) fn run(bench: &Bench) {
    let mut table = Table::new(["", "open, ms", "a step, ms", "peak, MiB"]);
    let store = bench.store(stores::SERIES);
    let decoder = Decoder::open(&store);
    let mut opens: [Figures; 2] = Default::default();
    let mut steps: [Figures; 2] = Default::default();
    let mut peak = Figures::default();
    bench.progress.begin(NAME, bench.rounds());
    for round in 0..bench.rounds() {
        let daemon = bench.daemon(&store.source, &[]);
        for pass in 0..2 {
            let started = Instant::now();
            let ims = Ims::open(&daemon.file()).expect("libhdf5 opens it");
            let coarsest = ims.levels().expect("levels") - 1;
            let times = ims.time_points(coarsest).expect("groups");
            opens[pass].push(milliseconds(started));
            let started = Instant::now();
            for t in 0..times {
                assert!(!ims.pixels(coarsest, t, 0).expect("reads").is_empty(), "voxels");
            }
            steps[pass].push(milliseconds(started) / times as f64);
        }
        check::boxes(&daemon.file(), &decoder, round);
        peak.push(bench.end(daemon, NAME, "series", store.chunk_bytes()).peak_mib);
        bench.progress.step();
    }
    for (pass, name) in ["first", "again"].iter().enumerate() {
        table.row([
            (*name).to_owned(),
            opens[pass].cell(1),
            steps[pass].cell(2),
            format!("{:.0}", peak.most()),
        ]);
    }
    bench.publish(
        NAME,
        "200 time points, the whole coarsest level of each in libhdf5; new daemon and empty cache each \
         round, source in the page cache",
        &table,
    );
}
