//! Listing ten thousand stores.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::bench::Bench;
use crate::daemon::Daemon;
use crate::measure::figures::{Figures, Table};
use crate::measure::stores;

pub(crate) const NAME: &str = "listing";

const STEPS: [(&str, f64); 3] = [("first", 10.0), ("again", 1.0), ("after a restart", 10.0)];

pub(crate) fn run(bench: &Bench) {
    let mut table = Table::new(["find -ls", "s", "daemon, CPU s", "peak, MiB"]);
    let source = stores::ensure_tree(&bench.folder, &bench.progress);
    let mut times: [Figures; 3] = Default::default();
    let mut cpus: [Figures; 3] = Default::default();
    let mut peaks: [Figures; 3] = Default::default();
    bench.progress.begin(NAME, bench.rounds());
    for _ in 0..bench.rounds() {
        let cache = TempDir::with_prefix_in("cache-", &bench.folder).expect("a folder");
        let start = || Daemon::with_cache(cache.path(), &source, &[]);
        let mut daemon = start();
        for step in 0..STEPS.len() {
            if step == 2 {
                bench.end(daemon, NAME, "tree", 0);
                daemon = start();
            }
            let before = daemon.cpu();
            let started = Instant::now();
            let lines = find(daemon.path());
            times[step].push(started.elapsed().as_secs_f64());
            cpus[step].push(daemon.cpu() - before);
            // The seventh field is the size.
            let sizes = lines.lines().filter(|line| line.contains(".ims"));
            let sizes: Vec<&str> =
                sizes.filter_map(|line| line.split_whitespace().nth(6)).collect();
            assert_eq!(sizes.len() as u64, stores::TREE, "files");
            assert!(!sizes.contains(&"0"), "a file without a size");
            peaks[step].push(0.0);
        }
        let peak = bench.end(daemon, NAME, "tree", 0).peak_mib;
        peaks[2].push(peak);
        bench.progress.step();
    }
    for (step, (name, most)) in STEPS.iter().enumerate() {
        let peak = peaks[step].most();
        table.row([
            (*name).to_owned(),
            times[step].at_most(2, *most),
            cpus[step].cell(2),
            if peak > 0.0 { format!("{peak:.0}") } else { String::new() },
        ]);
    }
    bench.publish(
        NAME,
        "10 000 stores in 100 folders, metadata in the page cache; a new daemon with an empty cache, the \
         same daemon again, another daemon with the same cache",
        &table,
    );
}

fn find(folder: &Path) -> String {
    let output = Command::new("find").arg(folder).arg("-ls").stderr(Stdio::inherit()).output();
    let output = output.expect("find starts");
    assert!(output.status.success(), "find: {}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
