//! Dropping what is cached of images.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use zarrims::cache::ImageId;

use super::files::Files;
use super::jobs::{Asked, Job};
use super::state::State;
use crate::control::protocol::{Place, Progress};

/// Errors that are named.
const MOST_FAULTS: usize = 10;

/// Drops what is cached of the images at a place: in the state in which they are, and in the one in which they
/// were opened last.
///
/// # Errors
/// That there is nothing at the place, or that nobody waits for the end.
pub(super) fn evict(
    state: &Arc<State>,
    at: &Place,
    progress: Progress<'_>,
) -> Result<Value, String> {
    let mount = state.mount_at(&at.mountpoint)?;
    let asked = Asked { kind: "evict", at: at.clone(), how: Value::Null };
    let (state, at) = (state.clone(), at.clone());
    let jobs = state.jobs.clone();
    let work = move |job: &Job| {
        let path = Path::new(&at.path);
        let known = job.mount.fs.known_images().into_iter();
        let known = known.filter(|known| known.path.starts_with(path));
        let mut contents: HashSet<ImageId> = known.map(|known| known.bricks.content).collect();
        let files = Files::at(&job.mount, path);
        if let Some(reason) = files.nothing().filter(|_| contents.is_empty()) {
            return Err(format!("{at}: {reason}"));
        }
        let Files { found: files, unreadable: mut faults } = files;
        job.expect(files.iter().map(|(_, spec)| spec.size));
        for (file, spec) in &files {
            if job.work.is_stopped() {
                return Err("stopped before anything was dropped".to_owned());
            }
            job.begin_file(file, spec.size);
            match job.mount.fs.with_file(file, |opened| opened.content()) {
                Ok(content) => drop(contents.insert(content)),
                Err(error) => faults.push((file.clone(), error.to_string())),
            }
            job.end_file();
        }
        let done = state.engine.evict(&contents);
        let named = faults.iter().take(MOST_FAULTS);
        let named =
            named.map(|(path, error)| json!({ "file": path.to_string_lossy(), "reason": error }));
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
    };
    jobs.run(asked, mount, false, progress, work)
}
