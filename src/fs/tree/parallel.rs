//! The same for many things, by several threads.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Threads beside the caller's. Most of the time they wait for a file server; each may hold a document
/// of metadata.
const MOST_HELPERS: usize = 7;

/// Fewer are not worth a thread.
const ITEMS_PER_THREAD: usize = 32;

/// What `work` gives for each item, in their order.
pub(super) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let helpers = (items.len() / ITEMS_PER_THREAD).min(MOST_HELPERS);
        let start = |_| thread::Builder::new().name("names".to_owned()).spawn_scoped(scope, run);
        // Without threads, the caller does it all.
        let helpers: Vec<_> = (0..helpers).map_while(|number| start(number).ok()).collect();
        let mut done = run();
        for helper in helpers {
            done.append(&mut helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, ITEMS_PER_THREAD - 1, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let squares: Vec<usize> = items.iter().map(|item| item * item).collect();
            assert_eq!(map(&items, |item| item * item), squares);
        }
    }
}
