//! The top folder of a source, looked up by its path repeatedly.
//!
//! A source may be mounted, renamed, replaced or pointed elsewhere while it is served. An open descriptor
//! would show the old folder for ever, and keep its disk from being unmounted. So a call that comes a
//! second or more after the last look opens the folder again, and a folder that no call has used for that
//! long is closed.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, RawDir};

use crate::source::storage::interface::SourceGone;
use crate::sync::lock;

/// How long the folder that was found stands for the path.
const HOLD: Duration = Duration::from_secs(1);

/// Room for the first few names of a folder, each of at most 255 bytes.
const FIRST_NAMES_BYTES: usize = 2048;

/// Device and inode.
type Identity = (u64, u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Top {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` while it is gone, and while no call comes.
    dir: Option<Arc<OwnedFd>>,
    looked_at: Instant,
    /// Of the folder that was served last.
    served: Identity,
    is_gone: bool,
    /// A thread will close the folder when no call comes.
    is_watched: bool,
}

impl Top {
    /// Opens the folder.
    ///
    /// # Errors
    /// The operating system's reason.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (dir, served) = open(path)?;
        let state = State {
            dir: Some(Arc::new(dir)),
            looked_at: Instant::now(),
            served,
            is_gone: false,
            is_watched: false,
        };
        let top = Self {
            shared: Arc::new(Shared { path: path.to_path_buf(), state: Mutex::new(state) }),
        };
        top.watch(&mut top.shared.lock());
        Ok(top)
    }

    /// The folder that stands at the path now, or did less than a second ago.
    ///
    /// # Errors
    /// [`SourceGone`].
    pub(super) fn dir(&self) -> io::Result<Arc<OwnedFd>> {
        let mut state = self.shared.lock();
        if state.looked_at.elapsed() < HOLD {
            if let Some(dir) = &state.dir {
                return Ok(dir.clone());
            }
            if state.is_gone {
                return Err(io::Error::other(SourceGone));
            }
        }
        // Other calls wait meanwhile: without the folder there is nothing to do.
        let found = look_up(&self.shared.path, state.served);
        state.looked_at = Instant::now();
        match found {
            Ok((dir, identity)) => {
                let dir = Arc::new(dir);
                log_change(&self.shared.path, &state, identity);
                state.is_gone = false;
                state.served = identity;
                state.dir = Some(dir.clone());
                self.watch(&mut state);
                Ok(dir)
            }
            Err(reason) => {
                if !state.is_gone {
                    let source = self.shared.path.display();
                    tracing::warn!(%source, %reason, "SOURCE is gone; until it is back, every access fails");
                }
                state.is_gone = true;
                state.dir = None;
                Err(io::Error::other(SourceGone))
            }
        }
    }

    /// Starts the thread that closes the folder when no call comes any more.
    fn watch(&self, state: &mut State) {
        if state.is_watched {
            return;
        }
        let shared = Arc::downgrade(&self.shared);
        let watch = move || {
            loop {
                thread::sleep(HOLD);
                let Some(shared) = shared.upgrade() else { return };
                let mut state = shared.lock();
                if state.looked_at.elapsed() >= HOLD || state.dir.is_none() {
                    state.dir = None;
                    state.is_watched = false;
                    return;
                }
            }
        };
        // Without a thread it stays open until the next call.
        state.is_watched = thread::Builder::new().name("source".to_owned()).spawn(watch).is_ok();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn log_change(path: &Path, before: &State, now: Identity) {
    let source = path.display();
    if before.is_gone {
        tracing::info!(%source, "SOURCE is back");
    } else if before.served != now {
        tracing::info!(%source, "another folder or disk stands at SOURCE now, and is served");
    }
}

fn open(path: &Path) -> io::Result<(OwnedFd, Identity)> {
    // O_DIRECTORY makes an automounter mount, which O_PATH alone does not.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&dir)?;
    Ok((dir, (stat.st_dev, stat.st_ino)))
}

/// An empty folder where another one was served is the mount point of a disk that is not mounted.
fn look_up(path: &Path, served: Identity) -> io::Result<(OwnedFd, Identity)> {
    let (dir, identity) = open(path)?;
    if identity != served && is_empty(&dir)? {
        return Err(io::Error::other("an empty folder stands there; is the disk not mounted?"));
    }
    Ok((dir, identity))
}

fn is_empty(dir: &OwnedFd) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); FIRST_NAMES_BYTES];
    let mut entries = RawDir::new(&folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            return Ok(false);
        }
    }
    Ok(true)
}
