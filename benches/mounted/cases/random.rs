//! Reading chunks at random places, each for the first time.

use std::sync::Mutex;

use crate::bench::Bench;
use crate::check;
use crate::limits::Decoder;
use crate::measure::figures::{Figures, Table};
use crate::measure::machine;
use crate::measure::stores;
use crate::places;
use crate::readers;

pub(crate) const NAME: &str = "random";

/// Chunks that are read in each round.
const READS: usize = 200;

/// Chunks of each round that are compared.
const COMPARED: usize = 5;

/// Throughput over D that is wanted, and bricks filled for each that is needed.
const WANTED: f64 = 0.5;
const MOST_FILLS: f64 = 1.05;

pub(crate) fn run(bench: &Bench) {
    let mut table = Table::new([
        "store",
        "readers",
        "chunk, KiB",
        "ms a read",
        "of D, all cores",
        "of D, one core",
        "fills / bricks needed",
        "CPU s/GiB read",
        "peak, MiB",
    ]);
    for kind in bench.chosen(&stores::names()) {
        let store = bench.store(kind);
        let decoder = Decoder::open(&store);
        for count in [1, 8] {
            let [mut time, mut all_cores, mut one_core, mut fills, mut cpu, mut peak]: [Figures;
                6] = Default::default();
            let mut chunk = 0;
            bench.progress.begin(&format!("{NAME} {} {count}", kind.name), bench.rounds());
            for round in 0..bench.rounds() {
                let picked = places::random(&store, READS, round * 2 + 1);
                let places = &picked.places;
                chunk = picked.len;
                let units = places.iter().flat_map(|place| decoder.units_of(0, &place.ranges));
                let mut units: Vec<_> = units.collect();
                units.sort();
                units.dedup();
                let decoded = decoder.decode(&units, machine::cores());
                let decoded_alone = decoder.decode(&units, 1);
                let daemon = bench.daemon(&store.source, &[]);
                let files = readers::open(&daemon.file(), count);
                let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
                let kept = Mutex::new(Vec::new());
                let keep = |number, bytes: &[u8]| {
                    if number < COMPARED {
                        kept.lock().expect("no reader panics").push((number, bytes.to_vec()));
                    }
                };
                let before = daemon.cpu();
                let cost = readers::random(&files, &offsets, chunk, &keep);
                let daemon_cpu = daemon.cpu() - before;
                drop(files);
                let ended = bench.end(daemon, NAME, kind.name, store.chunk_bytes());
                check::chunks(&kept.into_inner().expect("no reader panics"), places, &decoder);
                time.push(cost.seconds * 1000.0 / places.len() as f64);
                all_cores.push(decoded.seconds / cost.seconds);
                one_core.push(decoded_alone.seconds / cost.seconds);
                fills.push(ended.fills as f64 / places.len() as f64);
                let gibibytes = (places.len() * chunk) as f64 / f64::from(1 << 30);
                cpu.push((cost.cpu + daemon_cpu) / gibibytes);
                peak.push(ended.peak_mib);
                bench.progress.step();
            }
            table.row([
                kind.name.to_owned(),
                count.to_string(),
                (chunk >> 10).to_string(),
                time.cell(2),
                all_cores.at_least(2, WANTED),
                one_core.cell(2),
                fills.at_most(2, MOST_FILLS),
                cpu.cell(2),
                format!("{:.0}", peak.most()),
            ]);
            bench.tell(&table);
        }
    }
    bench.publish(
        NAME,
        "200 chunks of the finest level, each in another brick (all bricks where there are fewer), new \
         daemon and empty cache each round, source in the page cache; D decodes the chunks of the store \
         that hold these voxels",
        &table,
    );
}
