//! File descriptors: how many this process may have, and what is done when there are none left.

use std::io;
use std::sync::{Mutex, Weak};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sync::lock;

/// How often, and after which time, a call is tried again that found no descriptor left: others have
/// theirs for as long as it takes to read a chunk.
const TRIES: u32 = 100;
const TRY_PAUSE: Duration = Duration::from_millis(20);

/// Keeps files open that it can do without.
pub(crate) trait Pool: Send + Sync {
    /// Closes them, if that needs no waiting.
    fn close_all(&self);
}

static POOLS: Mutex<Vec<Weak<dyn Pool>>> = Mutex::new(Vec::new());

/// As many as are ever of use here. Programs that are started from here inherit the limit, and some of
/// them close every descriptor up to it: older `fusermount3`, for one.
const ENOUGH: u64 = 1 << 16;

/// Raises the limit of this process as far as it may go and is of use: the usual 1024 are for programs
/// that use `select(2)` (systemd, "File Descriptor Limits").
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let possible = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
    let wanted = limit.current.map(|current| current.max(possible));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: wanted, ..limit }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Descriptors that this process may have.
pub(crate) fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// From now on a pool gives its files back when there are no descriptors left.
pub(crate) fn register(pool: Weak<dyn Pool>) {
    let mut pools = lock(&POOLS);
    pools.retain(|pool| pool.strong_count() > 0);
    pools.push(pool);
}

/// Whether an error says that there are no descriptors left, in this process or in the system.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Tries a call that needs a descriptor again, while there is none, for about two seconds.
///
/// # Errors
/// Those of the call.
pub fn with_retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..TRIES {
        match call() {
            Err(error) if is_shortage(&error) => {}
            other => return other,
        }
        let pools = lock(&POOLS).clone();
        for pool in pools.iter().filter_map(Weak::upgrade) {
            pool.close_all();
        }
        std::thread::sleep(TRY_PAUSE);
    }
    call()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Pool for Counting {
        fn close_all(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_call_without_a_descriptor_is_tried_again_when_pools_are_empty() {
        let pool: Arc<Counting> = Arc::default();
        let weak: Weak<Counting> = Arc::downgrade(&pool);
        register(weak);
        let found = with_retry(|| match pool.0.load(Ordering::Relaxed) {
            0 => Err(io::Error::from(Errno::MFILE)),
            1 => Err(Errno::NFILE.into()),
            _ => Ok(7),
        });
        assert_eq!(found.expect("descriptors"), 7);
        assert!(with_retry(|| Err::<(), _>(Errno::NOENT.into())).is_err());
    }
}
