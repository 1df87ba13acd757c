//! Faults of the cache's disk and of the source: they cost speed or an error, never a wrong byte.
//!
//! `mem_disk` and `faulty_chunks` replace the disk and the source, and can fail in any way. The tests
//! compare what they read with the eager reference image, or with an engine without a cache. A
//! run prints its seed; `ZARRIMS_SEED` repeats it, as far as threads allow. Counter-examples found so far
//! are the tests named `regression_*`.

mod call_counts;
mod disk_faults;
mod every_call;
mod faulty_chunks;
mod folder;
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
