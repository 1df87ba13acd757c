//! `cp` of a whole file: what a conversion would give.

use std::process::Command;

use tempfile::TempDir;

use crate::bench::Bench;
use crate::check;
use crate::limits::{Decoder, timed};
use crate::measure::figures::{Figures, Table};

pub(crate) const NAME: &str = "copying";

/// Published figures of converters in MB/s, and how many times as fast a copy is to be.
const CONVERTERS: [(f64, f64); 3] = [(250.0, 2.0), (50.0, 8.0), (12.0, 30.0)];

pub(crate) fn run(bench: &Bench) {
    let mut table = Table::new([
        "store",
        "MB/s",
        "of D",
        "times 250 MB/s",
        "times 50 MB/s",
        "times 12 MB/s",
        "daemon, CPU s/GiB",
        "peak, MiB",
    ]);
    for kind in bench.chosen(&["blosc-64", "zstd-64", "shards-zstd"]) {
        let store = bench.store(kind);
        let decoder = Decoder::open(&store);
        let bytes = store.bytes() as f64;
        let [mut copied, mut limit, mut cpu, mut peak]: [Figures; 4] = Default::default();
        bench.progress.begin(&format!("{NAME} {}", kind.name), bench.rounds());
        for round in 0..bench.rounds() {
            let decoded = decoder.decode_all();
            let folder = TempDir::with_prefix_in("copy-", &bench.folder).expect("a folder");
            let copy = folder.path().join("copy.ims");
            let daemon = bench.daemon(&store.source, &[]);
            let before = daemon.cpu();
            let cost = timed(|| {
                let status = Command::new("cp").arg(daemon.file()).arg(&copy).status();
                assert!(status.expect("cp starts").success(), "cp failed");
            });
            cpu.push((daemon.cpu() - before) / (bytes / f64::from(1 << 30)));
            check::boxes(&copy, &decoder, round);
            peak.push(bench.end(daemon, NAME, kind.name, store.chunk_bytes()).peak_mib);
            copied.push(bytes / 1e6 / cost.seconds);
            limit.push(bytes / 1e6 / decoded.seconds);
            bench.progress.step();
        }
        let times = CONVERTERS.map(|(rate, times)| copied.map(|own| own / rate).at_least(1, times));
        let [first, second, third] = times;
        table.row([
            kind.name.to_owned(),
            copied.cell(0),
            copied.over(&limit).cell(2),
            first,
            second,
            third,
            cpu.cell(2),
            format!("{:.0}", peak.most()),
        ]);
        bench.tell(&table);
    }
    bench.publish(
        NAME,
        "cp to the same disk, without a sync; new daemon and empty cache each round, source in the page \
         cache, MB of voxels",
        &table,
    );
}
