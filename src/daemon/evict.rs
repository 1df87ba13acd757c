//! Dropping what is cached of images.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zarrims::cache::ImageId;
use zarrims::fs::{FsError, Seen};

use super::state::{MountState, State};
use crate::control::protocol::{Place, Progress};

/// Time between two lines on the progress.
const TELL_TIME: Duration = Duration::from_millis(200);

/// Errors that are named.
const MOST_FAULTS: usize = 10;

/// Drops what is cached of the images at a place: in the state in which they are, and in the one in which they
/// were opened last.
///
/// # Errors
/// That there is nothing at the place, or that nobody waits for the end.
pub(super) fn evict(state: &State, at: &Place, progress: Progress<'_>) -> Result<Value, String> {
    let mount = state.mount_at(&at.mountpoint)?;
    let path = Path::new(&at.path);
    let known = mount.fs.known_images().into_iter().filter(|known| known.path.starts_with(path));
    let mut contents: HashSet<ImageId> = known.map(|known| known.bricks.content).collect();
    let (files, mut faults) = files_at(&mount, path);
    if let (true, [fault]) = (contents.is_empty() && files.is_empty(), faults.as_slice()) {
        return Err(format!("{at}: {}", fault.1));
    }
    let mut told = Instant::now();
    for (number, file) in files.iter().enumerate() {
        match mount.fs.with_file(file, |opened| opened.content()) {
            Ok(content) => drop(contents.insert(content)),
            Err(error) => faults.push((file.clone(), error.to_string())),
        }
        if told.elapsed() >= TELL_TIME {
            told = Instant::now();
            if !progress(json!({ "files_done": number + 1, "files": files.len() })) {
                return Err("given up: nobody waits for the end".to_owned());
            }
        }
    }
    let done = state.engine.evict(&contents);
    tracing::info!(
        place = %at, files = files.len(), bricks = done.removed.bricks,
        freed_bytes = done.removed.freed_bytes, "evicted"
    );
    let named = faults.iter().take(MOST_FAULTS);
    let named =
        named.map(|(path, error)| json!({ "file": path.to_string_lossy(), "error": error }));
    Ok(json!({
        "place": at.to_string(),
        "files": files.len(),
        "bricks": done.removed.bricks,
        "freed_bytes": done.removed.freed_bytes,
        "pinned_bytes": done.removed.pinned_bytes,
        "memory_bytes": done.memory_bytes,
        "failed": faults.len(),
        "faults": named.collect::<Vec<_>>(),
    }))
}

/// The files at a path below the mount point, and below it, and what cannot be listed.
pub(super) fn files_at(mount: &MountState, path: &Path) -> (Vec<PathBuf>, Vec<(PathBuf, String)>) {
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    let walked = mount.fs.walk_at(path, &mut |seen| match seen {
        Seen::Image(path, _) => files.push(path.to_path_buf()),
        Seen::Skipped(..) => {}
        Seen::Unreadable(path, error) => faults.push((path.to_path_buf(), error.to_string())),
    });
    if let Err(error) = walked {
        let reason = match error {
            FsError::NotFound | FsError::NotADirectory => {
                "no such file or folder in the mount".to_owned()
            }
            other => other.to_string(),
        };
        faults.push((path.to_path_buf(), reason));
    }
    (files, faults)
}
