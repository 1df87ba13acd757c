//! The units of one brick, decoded by all threads that have nothing else to do.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::engine::error::ImageError;
use crate::resources::Resources;
use crate::resources::shares::FETCH_THREADS;
use crate::source::{SourceError, UnitBytes, ZarrArray};
use crate::sync::lock;

/// Decoded units of a helper that may wait for the thread that composes the brick.
const MOST_WAITING: usize = 2;

/// Units of one shard of a remote array that are fetched with one call have this many bytes, decoded.
const BATCH_BYTES: u64 = 4 << 20;

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
    /// Numbers of units that are decoded by one thread; they are of one array.
    batches: Vec<Vec<usize>>,
    /// Number of the next batch to decode.
    next: AtomicUsize,
    /// Units that helpers have decoded; `None` where a helper panicked.
    decoded: Mutex<Vec<(usize, Option<Decoded>)>>,
    /// Decoded units that may wait for the thread that composes the brick.
    most_waiting: usize,
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
    let batches = batches(&units);
    let count = batches.len();
    let unit_bytes = units.iter().map(|(array, _)| array.unit_bytes()).max().unwrap_or(0);
    let is_remote = units.iter().any(|(array, _)| array.is_remote());
    // A thread that fetches waits most of the time.
    let (workers, threads) = if is_remote {
        (&resources.fetchers, FETCH_THREADS)
    } else {
        (&resources.workers, resources.threads)
    };
    let is_worth_it = is_remote || unit_bytes >= LEAST_BYTES;
    let helpers = if is_worth_it { threads.min(count).saturating_sub(1) } else { 0 };
    let shared = Arc::new(Shared {
        units,
        unit_bytes,
        batches,
        next: AtomicUsize::new(0),
        decoded: Mutex::default(),
        most_waiting: if is_remote { MOST_WAITING * helpers.max(1) } else { MOST_WAITING },
        arrived: Condvar::new(),
    });
    for _ in 0..helpers {
        let (helper, shared) = (resources.clone(), shared.clone());
        workers.spawn_if_idle(move || shared.help(&helper));
    }
    let result = shared.lead(&mut take);
    // After an error, helpers have nothing left to do.
    shared.next.store(count, Ordering::Relaxed);
    result
}

/// Which units one thread decodes: each its own, but for those that are fetched together.
fn batches(units: &[Unit]) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut open: HashMap<(*const ZarrArray, Vec<u64>), usize> = HashMap::new();
    for (number, (array, position)) in units.iter().enumerate() {
        let shard = if array.is_remote() { array.shard_of(position) } else { None };
        let shard = shard.map(|shard| (Arc::as_ptr(array), shard));
        let most = usize::try_from(BATCH_BYTES / array.unit_bytes().max(1)).unwrap_or(usize::MAX);
        let known = shard.as_ref().and_then(|shard| open.get(shard).copied());
        if let Some(batch) = known.filter(|&batch| batches[batch].len() < most) {
            batches[batch].push(number);
        } else {
            open.extend(shard.map(|shard| (shard, batches.len())));
            batches.push(vec![number]);
        }
    }
    batches
}

impl Shared {
    /// The number of a batch that no other thread decodes.
    fn claim(&self) -> Option<usize> {
        let count = self.batches.len();
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
                let (array, position) = &self.units[number];
                let again = || array.read_unit(position);
                take(number, decoded.unwrap_or_else(again))?;
                *left -= 1;
            }
            Ok::<(), ImageError>(())
        };
        while let Some(batch) = self.claim() {
            take_all(self.decode(batch), &mut left)?;
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
        let units = self.batches.iter().map(Vec::len).max().unwrap_or(1) as u64;
        let bytes = self.unit_bytes.saturating_mul(MOST_WAITING as u64 + 2 * units);
        let Some(_reserved) = resources.memory.try_reserve(bytes) else { return };
        while lock(&self.decoded).len() < self.most_waiting {
            let Some(batch) = self.claim() else { return };
            let decoded = catch_unwind(AssertUnwindSafe(|| self.decode(batch)));
            let none = || self.batches[batch].iter().map(|&number| (number, None)).collect();
            lock(&self.decoded).extend(decoded.unwrap_or_else(|_| none()));
            self.arrived.notify_one();
        }
    }

    /// The units of a batch, each with its number.
    fn decode(&self, batch: usize) -> Vec<(usize, Option<Decoded>)> {
        let numbers = &self.batches[batch];
        let units: Vec<&Unit> = numbers.iter().map(|&number| &self.units[number]).collect();
        let Some((array, _)) = units.first() else { return Vec::new() };
        let positions: Vec<&[u64]> =
            units.iter().map(|(_, position)| position.as_slice()).collect();
        let decoded = array.read_units(&positions).into_iter().map(Some);
        numbers.iter().copied().zip(decoded).collect()
    }
}

#[cfg(test)]
mod tests;
