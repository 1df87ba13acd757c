//! What all cases of a run share.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use crate::daemon::{Daemon, Ended};
use crate::interrupt;
use crate::measure::figures::Table;
use crate::measure::progress::Progress;
use crate::measure::stores::{self, Kind, Store};
use crate::measure::{machine, publish};
use crate::options::Options;

/// What the daemon may take: this, and one decoded chunk for each core.
const MEMORY_MIB: f64 = 256.0;

/// A run.
#[derive(Debug)]
pub(crate) struct Bench {
    options: Options,
    /// Where stores, caches and copies lie: one disk for all.
    pub(crate) folder: PathBuf,
    pub(crate) progress: Progress,
    peaks: RefCell<Vec<Peak>>,
}

/// The most memory of a daemon.
#[derive(Debug)]
struct Peak {
    case: &'static str,
    what: String,
    mib: f64,
    allowed_mib: f64,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        let mut bench = Self {
            options,
            folder: PathBuf::new(),
            progress: Progress::new(),
            peaks: RefCell::default(),
        };
        bench.folder = stores::folder(bench.mebibytes());
        std::fs::create_dir_all(&bench.folder).expect("a folder for the stores");
        bench
    }

    fn mebibytes(&self) -> u64 {
        if self.options.quick { 256 } else { self.options.gib << 10 }
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.options.rounds
    }

    /// Whether all cases and stores are measured.
    fn is_whole(&self) -> bool {
        self.options.cases.is_empty() && self.options.stores.is_empty()
    }

    pub(crate) fn has_case(&self, name: &str) -> bool {
        self.options.cases.is_empty() || self.options.cases.iter().any(|case| case == name)
    }

    /// The stores that a case is to measure: those asked for, or its own.
    pub(crate) fn chosen(&self, own: &[&str]) -> Vec<Kind> {
        let asked = &self.options.stores;
        let is_chosen = |kind: &&Kind| {
            if asked.is_empty() {
                own.contains(&kind.name)
            } else {
                asked.iter().any(|name| name == kind.name)
            }
        };
        stores::KINDS.iter().filter(is_chosen).copied().collect()
    }

    pub(crate) fn store(&self, kind: Kind) -> Store {
        Store::ensure(&self.folder, kind, self.mebibytes(), &self.progress)
    }

    /// A daemon with an empty cache.
    pub(crate) fn daemon(&self, source: &Path, args: &[&str]) -> Daemon {
        interrupt::check();
        Daemon::start(&self.folder, source, args)
    }

    /// Ends a daemon and notes its memory; `chunk_bytes` is what a chunk of its store decodes to.
    pub(crate) fn end(
        &self,
        daemon: Daemon,
        case: &'static str,
        what: &str,
        chunk_bytes: u64,
    ) -> Ended {
        interrupt::check();
        let ended = daemon.end();
        let chunks = machine::cores() as f64 * chunk_bytes as f64 / f64::from(1 << 20);
        self.peaks.borrow_mut().push(Peak {
            case,
            what: what.to_owned(),
            mib: ended.peak_mib,
            allowed_mib: MEMORY_MIB + chunks,
        });
        ended
    }

    /// Tells the last row of a table that takes long to complete.
    pub(crate) fn tell(&self, table: &Table) {
        self.progress.say(table.last_row());
    }

    /// Prints the table of a case, and keeps it if that was asked for.
    pub(crate) fn publish(&self, name: &str, state: &str, table: &Table) {
        self.progress.clear();
        let how = format!(
            "stores of {} MiB, {} rounds, median (least to most); {state}",
            self.mebibytes(),
            self.rounds()
        );
        publish::publish(name, &how, table.text(), self.options.write);
    }

    /// The table of the most memory of each case, in this order.
    pub(crate) fn publish_memory<'a>(&self, cases: impl IntoIterator<Item = &'a str>) {
        let mut table = Table::new(["case", "most, MiB", "with", "allowed, MiB"]);
        let peaks = self.peaks.borrow();
        for case in cases {
            let own = peaks.iter().filter(|peak| peak.case == case);
            let worst = own
                .max_by(|a, b| f64::total_cmp(&(a.mib / a.allowed_mib), &(b.mib / b.allowed_mib)));
            if let Some(Peak { what, mib, allowed_mib, .. }) = worst {
                let verdict = if mib <= allowed_mib { "≤" } else { "**above**" };
                table.row([
                    case.to_owned(),
                    format!("{mib:.0}"),
                    what.clone(),
                    format!("{verdict} {allowed_mib:.0}"),
                ]);
            }
        }
        if !peaks.is_empty() {
            let write = self.options.write && self.is_whole();
            let how = format!(
                "stores of {} MiB, resident peak of the daemon in {} rounds",
                self.mebibytes(),
                self.rounds()
            );
            publish::publish("memory", &how, table.text(), write);
        }
    }
}
