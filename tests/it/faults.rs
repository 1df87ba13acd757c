//! Faults of the disk under the cache and of the source: they cost speed or an error, never truth.
//!
//! The disk and the source are stood in for by ones in which anything can go wrong: `mem_disk` and
//! `faulty_chunks`. What is read is compared with the eager reference image, or with an engine
//! without a cache. A run prints its seed; `ZARRIMS_SEED` repeats it, as far as threads allow.
//! Counter-examples found so far are the tests named `regression_*`.

mod call_counts;
mod disk_faults;
mod every_call;
mod faulty_chunks;
mod handle;
mod mem_disk;
mod names;
mod pages;
mod random;
mod restarts;
mod rig;
mod source_faults;
mod state;
mod world;
