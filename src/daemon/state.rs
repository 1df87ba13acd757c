//! What the threads of the daemon share, so that it can be asked while it works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use zarrims::image::Engine;

use super::event::Event;
use super::jobs::Jobs;
use super::mount_state::MountState;

/// The daemon.
#[derive(Debug)]
pub(super) struct State {
    pub(super) began: SystemTime,
    pub(super) engine: Arc<Engine>,
    pub(super) events: Sender<Event>,
    /// Long work that was asked for.
    pub(super) jobs: Arc<Jobs>,
    mounts: Mutex<Vec<Arc<MountState>>>,
    /// Failed reads of chunks of mounts that have gone.
    past_damaged: AtomicU64,
}

impl State {
    pub(super) fn new(engine: Arc<Engine>, events: Sender<Event>) -> Arc<Self> {
        let (jobs, mounts, past_damaged) = Default::default();
        Arc::new(Self { began: SystemTime::now(), engine, events, jobs, mounts, past_damaged })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<MountState>>> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mounts(&self) -> Vec<Arc<MountState>> {
        self.lock().clone()
    }

    /// The mount at a mount point.
    ///
    /// # Errors
    /// That there is none.
    pub(super) fn mount_at(&self, mountpoint: &str) -> Result<Arc<MountState>, String> {
        let found = self.mounts().into_iter().find(|mount| *mount.mountpoint == *mountpoint);
        found.ok_or_else(|| format!("{mountpoint}: this daemon does not serve it any more"))
    }

    pub(super) fn add(&self, mount: Arc<MountState>) {
        self.lock().push(mount);
    }

    /// The kernel has let go of a mount.
    pub(super) fn remove(&self, mount: &Arc<MountState>) {
        self.jobs.stop(Some(mount));
        let mut mounts = self.lock();
        if let Some(at) = mounts.iter().position(|known| Arc::ptr_eq(known, mount)) {
            let gone = mounts.remove(at);
            self.past_damaged.fetch_add(gone.images.damaged(), Ordering::Relaxed);
        }
    }

    /// Failed reads of chunks, of all mounts that there were.
    pub(super) fn damaged(&self) -> u64 {
        let now: u64 = self.lock().iter().map(|mount| mount.images.damaged()).sum();
        now + self.past_damaged.load(Ordering::Relaxed)
    }
}
