//! Reading a file that is in the daemon's cache and not in the kernel's page cache.

use super::warm::{OWN, Warm};
use crate::bench::Bench;
use crate::check;
use crate::limits::Decoder;
use crate::measure::figures::{Figures, Table};
use crate::pages;
use crate::readers;

pub(crate) const NAME: &str = "cached";

pub(crate) fn run(bench: &Bench) {
    let mut table =
        Table::new(["store", "client", "GB/s", "N, GB/s", "of N", "CPU s/GiB", "peak, MiB"]);
    for kind in bench.chosen(&OWN) {
        let warm = Warm::new(bench, kind);
        let decoder = Decoder::open(&warm.store);
        let bytes = warm.bytes();
        let mut rows = Vec::new();
        for (client, wanted) in [("buffered", 0.35), ("O_DIRECT", 0.4)] {
            let [mut read, mut plain, mut cpu]: [Figures; 3] = Default::default();
            bench.progress.begin(&format!("{NAME} {} {client}", kind.name), bench.rounds());
            for round in 0..bench.rounds() {
                let natively = readers::sequential(&readers::open(&warm.plain, 1));
                pages::forget(&warm.file);
                let files = if client == "buffered" {
                    readers::open(&warm.daemon.file(), 1)
                } else {
                    vec![readers::open_direct(&warm.daemon.file())]
                };
                let before = warm.daemon.cpu();
                let cost = readers::sequential(&files);
                let daemon_cpu = warm.daemon.cpu() - before;
                check::boxes(&warm.daemon.file(), &decoder, round);
                read.push(bytes as f64 / 1e9 / cost.seconds);
                plain.push(bytes as f64 / 1e9 / natively.seconds);
                cpu.push((cost.cpu + daemon_cpu) / (bytes as f64 / f64::from(1 << 30)));
                bench.progress.step();
            }
            rows.push([
                kind.name.to_owned(),
                client.to_owned(),
                read.cell(2),
                plain.cell(2),
                read.over(&plain).at_least(2, wanted),
                cpu.cell(2),
            ]);
        }
        let peak = warm.end(bench, NAME);
        for [a, b, c, d, e, f] in rows {
            table.row([a, b, c, d, e, f, format!("{peak:.0}")]);
        }
    }
    bench.publish(
        NAME,
        "all bricks in the daemon's cache, its files in the page cache; the pages of the virtual file \
         dropped before each round; one reader, reads of 1 MiB; N buffered",
        &table,
    );
}
