//! How fast virtual files are, through a kernel mount, beside the best that could be reached.
//!
//! ```text
//! cargo bench --bench mounted -- [--quick] [--gib N] [--rounds N] [--case NAME ...] [--store NAME ...]
//!                                [--write] [--list]
//! ```
//!
//! The stores are made once, in `target/bench-stores` or where `ZARRIMS_BENCH_DIR` says. Tables are
//! printed; with `--write` they replace those of `doc/PERFORMANCE.md`. `limits.rs` says what D, N
//! and C are. Every case compares some of the bytes it has read with what `zarrs` decodes.

#![allow(missing_docs, reason = "a program, not an interface")]
#![allow(clippy::cast_precision_loss, reason = "figures are for people")]

#[path = "../measure/mod.rs"]
mod measure;

mod bench;
mod cases;
mod check;
mod daemon;
mod interrupt;
mod limits;
mod options;
mod pages;
mod places;
mod readers;

use std::process::ExitCode;

use clap::Parser;

use bench::Bench;
use measure::{common, stores};
use options::Options;

fn main() -> ExitCode {
    if !measure::is_bench() {
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    if options.list {
        for case in cases::ALL {
            println!("{:12} {}", case.name, case.what);
        }
        println!("\nstores: {}", stores::names().join(" "));
        return ExitCode::SUCCESS;
    }
    if let Some(name) = options.unknown(&cases::names()) {
        eprintln!("{name}: no such case or store; --list tells what there is");
        return ExitCode::FAILURE;
    }
    if !common::mount::can_mount() {
        return ExitCode::FAILURE;
    }
    interrupt::watch();
    let bench = Bench::new(options);
    for case in cases::ALL.iter().filter(|case| bench.has_case(case.name)) {
        (case.run)(&bench);
    }
    bench.publish_memory(cases::names());
    ExitCode::SUCCESS
}
