//! The command line of the bench.

use clap::Parser;

use crate::measure::stores;

/// What is asked for.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(about = "Measures mounted virtual files beside what could be reached at best")]
pub(crate) struct Options {
    /// Small stores, of 256 MiB
    #[arg(long)]
    pub(crate) quick: bool,
    /// Size of each store in GiB: 1, 2, 4 or 8
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=8))]
    pub(crate) gib: u64,
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,
    /// Only these cases
    #[arg(long = "case", num_args = 1..)]
    pub(crate) cases: Vec<String>,
    /// Only these stores, in the cases that choose among them
    #[arg(long = "store", num_args = 1..)]
    pub(crate) stores: Vec<String>,
    /// Put the tables into doc/PERFORMANCE.md
    #[arg(long)]
    pub(crate) write: bool,
    /// Say what cases and stores there are, and measure nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// Given by cargo bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The first name that is neither one of the cases nor a store.
    pub(crate) fn unknown(&self, cases: &[&str]) -> Option<&str> {
        let case = |name: &&String| !cases.contains(&name.as_str());
        let store = |name: &&String| !stores::names().contains(&name.as_str());
        let found = self.cases.iter().find(case).or_else(|| self.stores.iter().find(store));
        found.map(String::as_str)
    }
}
