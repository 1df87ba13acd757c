//! What the benches share: the stores, figures and tables and where those are kept, the machine, and the
//! helpers of the tests.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    clippy::cast_precision_loss,
    clippy::must_use_candidate,
    reason = "helpers of programs; each uses a part of them, and figures are for people"
)]

/// The helpers of the tests.
#[path = "../../tests/it/common/mod.rs"]
pub mod common;
pub mod content;
pub mod declare;
pub mod figures;
mod hash;
pub mod machine;
pub mod progress;
pub mod publish;
pub mod stores;

/// Whether `cargo bench` runs this program, which says so by an argument, and not `cargo test`; if so,
/// begins.
pub fn is_bench() -> bool {
    machine::watch();
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    if !is_bench {
        println!("measures only when run by cargo bench");
    }
    is_bench
}

/// Whether the tables are to replace those of `doc/PERFORMANCE.md`.
pub fn is_written() -> bool {
    std::env::args().any(|arg| arg == "--write")
}
