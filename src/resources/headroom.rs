//! Whether there is memory of the size of a chunk, asked before it is taken.
//!
//! An allocation that fails ends a Rust program, and a C library as well. Where an address space is
//! limited (`ulimit -v`), or where the kernel sees that a size is beyond all there is
//! (`vm.overcommit_memory`, proc(5)), it can be known in time. A task that needs much claims it; what others
//! have claimed and may not have taken yet is counted. What is more than the machine has, or the control group,
//! is never granted: the kernel would grant it, and end the program when it is used.

use std::hint::black_box;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use thiserror::Error;

use super::machine;
use crate::sync::lock;

/// Left for all that is too small to ask for. More than glibc ever takes as a hint to keep what is freed
/// (`M_MMAP_THRESHOLD`, mallopt(3)).
const SPARE_BYTES: u64 = 48 << 20;

/// Smallest size that is asked for.
static LEAST_BYTES: LazyLock<u64> = LazyLock::new(|| {
    let is_limited =
        |resource| getrlimit(resource).current.is_some_and(|limit| limit < LARGEST_LIMIT);
    if is_limited(Resource::As) || is_limited(Resource::Data) { 1 << 20 } else { 64 << 20 }
});

/// What tasks may take together: three quarters of the memory of the machine, or of the control group. Where there
/// is little, a quarter of it is the budget, and as much again is what stays in memory (`shares.rs`).
static MOST_BYTES: LazyLock<u64> = LazyLock::new(|| most_bytes(machine::memory_bytes()));

fn most_bytes(available: Option<u64>) -> u64 {
    available.map_or(u64::MAX, |bytes| bytes - bytes / 4)
}

/// A limit beyond this is none.
const LARGEST_LIMIT: u64 = 1 << 40;

/// A claim of this age may belong to a task that hangs, and is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(5);

static CLAIMED: Mutex<u64> = Mutex::new(0);
static RELEASED: Condvar = Condvar::new();

/// There is not enough memory.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
#[error("no memory for {} MiB", bytes.div_ceil(1 << 20))]
pub struct NoMemory {
    /// As much as was needed.
    pub bytes: u64,
}

/// Memory that may be taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim(u64);

/// Claims memory. Waits for others, where there would be enough without them.
///
/// # Errors
/// [`NoMemory`] when there is not as much.
pub(crate) fn claim(bytes: u64) -> Result<Claim, NoMemory> {
    if bytes < *LEAST_BYTES {
        return Ok(Claim(0));
    }
    let began = Instant::now();
    let mut claimed = lock(&CLAIMED);
    while !can_be_had(claimed.saturating_add(bytes)) {
        if *claimed == 0 || !can_be_had(bytes) {
            return Err(NoMemory { bytes });
        }
        if began.elapsed() >= PATIENCE {
            break;
        }
        let waited = RELEASED.wait_timeout(claimed, PATIENCE);
        claimed = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    *claimed = claimed.saturating_add(bytes);
    Ok(Claim(bytes))
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.0 > 0 {
            let mut claimed = lock(&CLAIMED);
            *claimed = claimed.saturating_sub(self.0);
            RELEASED.notify_all();
        }
    }
}

/// Looks whether the machine has as much at all, without claiming it.
///
/// # Errors
/// [`NoMemory`] when it does not.
pub(crate) fn check(bytes: u64) -> Result<(), NoMemory> {
    if bytes <= *MOST_BYTES { Ok(()) } else { Err(NoMemory { bytes }) }
}

/// Allocates as much, and frees it: pages that are not touched cost nothing.
fn can_be_had(bytes: u64) -> bool {
    if check(bytes).is_err() {
        return false;
    }
    let Ok(len) = usize::try_from(bytes.saturating_add(SPARE_BYTES)) else { return false };
    let mut probe: Vec<u8> = Vec::new();
    let is_had = black_box(&mut probe).try_reserve_exact(len).is_ok();
    black_box(&probe);
    is_had
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_any_machine_has_is_an_error() {
        assert_eq!(most_bytes(Some(512 << 20)), 384 << 20);
        assert_eq!(most_bytes(None), u64::MAX);
        let bytes = 1 << 62;
        assert_eq!(check(bytes), Err(NoMemory { bytes }));
        assert_eq!(claim(bytes).expect_err("4 EiB"), NoMemory { bytes });
        let claims: Vec<Claim> = (0..4).map(|_| claim(100 << 20).expect("100 MiB")).collect();
        assert_eq!(claims.iter().map(|claim| claim.0).sum::<u64>(), 400 << 20);
    }
}
