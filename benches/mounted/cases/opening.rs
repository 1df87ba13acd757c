//! From the start of the daemon to the first picture.

use std::time::Instant;

use crate::bench::Bench;
use crate::measure::common::ims::Ims;
use crate::measure::figures::{Figures, Table};
use crate::measure::stores;

pub(crate) const NAME: &str = "opening";

/// Name and shape (z, y, x) of uint16 voxels.
const SIZES: [(&str, [u64; 3]); 2] = [("1 GiB", [512, 1024, 1024]), ("1 TiB", [8192, 8192, 8192])];

/// Seconds for the larger one, and how many times those of the smaller one.
const MOST_SECONDS: f64 = 0.5;
const MOST_TIMES: f64 = 1.5;

pub(crate) fn run(bench: &Bench) {
    let mut table = Table::new(["store", "s", "of the first", "peak, MiB"]);
    let sources = SIZES.map(|(name, shape)| stores::ensure_declared(&bench.folder, name, shape));
    let mut times: [Figures; 2] = Default::default();
    let mut peaks: [Figures; 2] = Default::default();
    bench.progress.begin(NAME, bench.rounds());
    for _ in 0..bench.rounds() {
        for (number, source) in sources.iter().enumerate() {
            let started = Instant::now();
            let daemon = bench.daemon(source, &[]);
            let ims = Ims::open(&daemon.file()).expect("libhdf5 opens it");
            let coarsest = ims.levels().expect("levels") - 1;
            let [_, y, x] = ims.size(coarsest, 0, 0).expect("a size");
            let slice = ims.pixels_in(coarsest, 0, 0, [0..1, 0..y, 0..x]).expect("reads");
            times[number].push(started.elapsed().as_secs_f64());
            assert!(slice.chunks(2).all(|voxel| voxel == [7, 0]), "the fill value");
            drop(ims);
            let name = SIZES[number].0;
            peaks[number].push(bench.end(daemon, NAME, name, 64 * 64 * 64 * 2).peak_mib);
        }
        bench.progress.step();
    }
    for ((name, _), (own, peak)) in SIZES.iter().zip(times.iter().zip(&peaks)) {
        table.row([
            (*name).to_owned(),
            own.at_most(3, MOST_SECONDS),
            own.over(&times[0]).at_most(2, MOST_TIMES),
            format!("{:.0}", peak.most()),
        ]);
    }
    bench.publish(
        NAME,
        "declared, without chunks; from starting the program to a slice of the coarsest level in libhdf5, \
         new daemon and empty cache each round",
        &table,
    );
}
