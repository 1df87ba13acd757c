//! Faults of the disk under the cache and of the source: they cost speed or an error, never truth.
//!
//! The disk and the source are stood in for by ones in which anything can go wrong: `mem_disk` and
//! `faulty_chunks`. What is read is compared with the eager reference image, or with an engine
//! without a cache. A run prints its seed; `ZARRIMS_SEED` repeats it, as far as threads allow.
//! Counter-examples found so far are the tests named `regression_*`.

#[path = "faults/call_counts.rs"]
mod call_counts;
#[allow(dead_code, reason = "shared with `tests/reference.rs`, which uses all of it")]
#[path = "reference/cases.rs"]
mod cases;
#[path = "faults/disk_faults.rs"]
mod disk_faults;
#[allow(dead_code, reason = "as above")]
#[path = "reference/eager.rs"]
mod eager;
#[path = "faults/every_call.rs"]
mod every_call;
#[path = "faults/faulty_chunks.rs"]
mod faulty_chunks;
#[path = "faults/handle.rs"]
mod handle;
#[allow(dead_code, reason = "as above")]
#[path = "reference/hdf5.rs"]
mod hdf5;
#[path = "faults/mem_disk.rs"]
mod mem_disk;
#[path = "faults/names.rs"]
mod names;
#[allow(dead_code, reason = "as above")]
#[path = "reference/opened.rs"]
mod opened;
#[path = "faults/pages.rs"]
mod pages;
#[path = "common/picks.rs"]
mod picks;
#[path = "faults/random.rs"]
mod random;
#[path = "common/rest.rs"]
mod rest;
#[path = "faults/restarts.rs"]
mod restarts;
#[path = "faults/rig.rs"]
mod rig;
#[path = "faults/source_faults.rs"]
mod source_faults;
#[path = "faults/state.rs"]
mod state;
#[path = "common/store.rs"]
mod store;
#[path = "faults/world.rs"]
mod world;
