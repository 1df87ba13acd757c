//! Dropping what is cached of images.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zarrims::cache::ImageId;

use super::files::Files;
use super::state::State;
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
    let files = Files::at(&mount, path);
    if let Some(reason) = files.nothing().filter(|_| contents.is_empty()) {
        return Err(format!("{at}: {reason}"));
    }
    let Files { found: files, unreadable: mut faults } = files;
    let mut told = Instant::now();
    for (number, (file, _)) in files.iter().enumerate() {
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
