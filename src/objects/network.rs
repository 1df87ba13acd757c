//! What all calls share: the threads that move bytes, and how many requests may be under way.

use std::io;
use std::sync::{Mutex, OnceLock};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::sync::lock;

/// Requests under way at a time, by default.
pub const DEFAULT_CONNECTIONS: usize = 32;

/// They encrypt and copy; waiting takes none.
const THREADS: usize = 2;

static CONNECTIONS: OnceLock<usize> = OnceLock::new();
static NETWORK: OnceLock<Network> = OnceLock::new();

/// Sets how many requests of the whole program are under way at a time. The first caller decides; call it
/// before there are any [`super::Objects`].
pub fn connect_at_most(connections: usize) {
    CONNECTIONS.get_or_init(|| connections.max(1));
}

/// How many requests may be under way at a time.
#[must_use]
pub fn connections() -> usize {
    *CONNECTIONS.get_or_init(|| DEFAULT_CONNECTIONS)
}

/// See the module.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) runtime: Runtime,
    pub(super) permits: Semaphore,
}

impl Network {
    /// The one network of this process. Its threads start with the first call.
    ///
    /// # Errors
    /// When the system lets no thread start.
    pub(super) fn shared() -> io::Result<&'static Self> {
        static STARTING: Mutex<()> = Mutex::new(());
        let starting = lock(&STARTING);
        if let Some(network) = NETWORK.get() {
            return Ok(network);
        }
        let mut builder = Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(THREADS).thread_name("objects").enable_all().build()?;
        let permits = Semaphore::new(connections());
        let network = NETWORK.get_or_init(|| Self { runtime, permits });
        drop(starting);
        Ok(network)
    }
}
