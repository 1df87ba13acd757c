//! The units of one brick, decoded by all threads that have nothing else to do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::engine::error::ImageError;
use crate::resources::Resources;
use crate::source::{SourceError, UnitBytes, ZarrArray};
use crate::sync::lock;

/// Decoded units that may wait for the thread that composes the brick.
const MOST_WAITING: usize = 2;

/// Decoding a smaller unit takes less time than waking a thread.
const LEAST_BYTES: u64 = 32 << 10;

type Decoded = Result<UnitBytes, SourceError>;

/// A read unit: its array, and its position there.
pub(super) type Unit = (Arc<ZarrArray>, Vec<u64>);

/// What the threads share.
struct Shared {
    units: Vec<Unit>,
    /// Bytes of the largest one, decoded.
    unit_bytes: u64,
    /// Number of the next unit to decode.
    next: AtomicUsize,
    /// Units that helpers have decoded; `None` where a helper panicked.
    decoded: Mutex<Vec<(usize, Option<Decoded>)>>,
    arrived: Condvar,
}

/// Hands each unit to `take`, with its number, in any order. The calling thread decodes as well. It waits for
/// helpers only where they have begun, so it needs none.
///
/// # Errors
/// The first error of `take`; no more units are begun then.
pub(super) fn decode_each(
    resources: &Arc<Resources>,
    units: Vec<Unit>,
    mut take: impl FnMut(usize, Decoded) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let count = units.len();
    let unit_bytes = units.iter().map(|(array, _)| array.unit_bytes()).max().unwrap_or(0);
    let shared = Arc::new(Shared {
        units,
        unit_bytes,
        next: AtomicUsize::new(0),
        decoded: Mutex::default(),
        arrived: Condvar::new(),
    });
    if unit_bytes >= LEAST_BYTES {
        for _ in 1..resources.threads.min(count) {
            let (helper, shared) = (resources.clone(), shared.clone());
            resources.workers.spawn_if_idle(move || shared.help(&helper));
        }
    }
    let result = shared.lead(&mut take);
    // After an error, helpers have nothing left to do.
    shared.next.store(count, Ordering::Relaxed);
    result
}

impl Shared {
    /// The number of a unit that no other thread decodes.
    fn claim(&self) -> Option<usize> {
        let count = self.units.len();
        let claimed = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            (next < count).then_some(next + 1)
        });
        claimed.ok()
    }

    fn lead(
        &self,
        take: &mut dyn FnMut(usize, Decoded) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let mut left = self.units.len();
        let mut take_all = |decoded: Vec<(usize, Option<Decoded>)>, left: &mut usize| {
            for (number, decoded) in decoded {
                // If a helper panicked, decode again here so that the panic is reported.
                take(number, decoded.unwrap_or_else(|| self.decode(number)))?;
                *left -= 1;
            }
            Ok::<(), ImageError>(())
        };
        while let Some(number) = self.claim() {
            take_all(vec![(number, Some(self.decode(number)))], &mut left)?;
            let others = std::mem::take(&mut *lock(&self.decoded));
            take_all(others, &mut left)?;
        }
        while left > 0 {
            let decoded =
                self.arrived.wait_while(lock(&self.decoded), |decoded| decoded.is_empty());
            let decoded = std::mem::take(&mut *decoded.unwrap_or_else(PoisonError::into_inner));
            take_all(decoded, &mut left)?;
        }
        Ok(())
    }

    fn help(&self, resources: &Resources) {
        // An encoded and a decoded unit here, and those that wait.
        let bytes = self.unit_bytes.saturating_mul(MOST_WAITING as u64 + 2);
        let Some(_reserved) = resources.memory.try_reserve(bytes) else { return };
        while lock(&self.decoded).len() < MOST_WAITING {
            let Some(number) = self.claim() else { return };
            let decoded = catch_unwind(AssertUnwindSafe(|| self.decode(number))).ok();
            lock(&self.decoded).push((number, decoded));
            self.arrived.notify_one();
        }
    }

    fn decode(&self, number: usize) -> Decoded {
        let (array, position) = &self.units[number];
        array.read_unit(position)
    }
}

#[cfg(test)]
mod tests;
