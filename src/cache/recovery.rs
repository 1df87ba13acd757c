//! Opens a store in a directory: replays the journal and makes disk and account agree.
//!
//! The work grows with the number of bricks and segment files, never with the bytes in them. Of
//! what the journal claims, only the length of each file is checked here; the first use of a brick
//! checks the rest.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::directory::Directory;
use super::disk::Disk;
use super::error::CacheError;
use super::index::Index;
use super::journal::{Found, Journal, Record};
use super::key::ImageId;
use super::limits::CacheLimits;
use super::notes::Notes;
use super::room::Room;
use super::segment::{IMAGES, SegmentFiles, SegmentKey, SlotSize};
use super::store::Store;

pub(super) fn open(disk: &dyn Disk, dir: &Path, limits: CacheLimits) -> Result<Store, CacheError> {
    let directory = Directory::open(disk, dir)?;
    let folder = directory.folder();
    let mut index = Index::new(limits.cap_bytes);
    let replayed = Journal::open(&*folder, |record| match record {
        Record::Stored(stored) => index.recover(&stored),
        Record::Evicted(key) => index.forget(&key),
    });
    let (mut journal, found) = replayed.map_err(|source| CacheError::Journal { source })?;
    match found {
        Found::Missing | Found::Replayed { skipped: 0 } => {}
        Found::Replayed { skipped } => {
            tracing::warn!(skipped, "damaged records in the cache journal skipped");
            index.counters.skipped_records = skipped;
        }
        Found::Foreign => {
            // Nothing refers to its bricks now, and the sweep removes them.
            tracing::warn!(dir = %dir.display(), "cache of another format version, starting empty");
        }
    }
    let images = directory.path(Path::new(IMAGES));
    let at = |source| CacheError::Directory { path: images.clone(), source };
    let notes = Notes::find(Arc::clone(&folder), limits.cap_bytes).map_err(at)?;
    let files = SegmentFiles::new(folder);
    let swept = sweep(&files, &mut index).map_err(at)?;
    // Bricks that the sweep dropped must not come back at the next start, in other files.
    if swept || journal.is_mostly_dead(index.bricks()) {
        let live = index.stored_bricks().into_iter();
        let rewritten = journal.rewrite(files.folder(), live, true);
        rewritten.map_err(|source| CacheError::Journal { source })?;
    }
    let room = Room::new(directory, notes, limits.min_free);
    Store::new(files, journal, index, room).map_err(at)
}

/// Deletes files without live bricks, drops bricks without a file, and frees bytes that no brick
/// accounts for: of a brick that was being written, or being released, when the last run ended.
/// Returns whether bricks were dropped.
fn sweep(files: &SegmentFiles, index: &mut Index) -> io::Result<bool> {
    let mut seen = HashSet::new();
    let mut suspects = HashMap::new();
    let folder = files.folder();
    let images = Path::new(IMAGES);
    for (image, is_folder) in folder.list(images)? {
        let Some(id) = image.to_str().and_then(ImageId::parse) else {
            continue;
        };
        if !is_folder {
            continue;
        }
        let inside = images.join(&image);
        for (name, is_folder) in folder.list(&inside)? {
            let Some(key) = segment_key(id, &name) else {
                continue;
            };
            if is_folder {
                continue;
            }
            let size = index.account.segments().get(&key).map(|segment| segment.size);
            match size.map(|size| inspect(files, index, &key, size)).transpose()? {
                Some(State::Clean) => drop(seen.insert(key)),
                Some(State::Stray) => {
                    seen.insert(key);
                    suspects.insert(key, Vec::new());
                }
                Some(State::Damaged) | None => folder.remove_file(&inside.join(&name))?,
            }
        }
        // Fails, as it should, while anything is left in it.
        drop(folder.remove_folder(&inside));
    }
    let lost: Vec<SegmentKey> =
        index.account.segments().keys().filter(|key| !seen.contains(key)).copied().collect();
    for key in &lost {
        tracing::warn!(path = %SegmentFiles::path(key).display(), "cache segment lost");
        index.forget_segment(key);
    }
    free_strays(files, index, suspects)?;
    Ok(!lost.is_empty())
}

fn segment_key(image: ImageId, name: &OsStr) -> Option<SegmentKey> {
    SegmentKey::parse(image, name.to_str()?)
}

/// Whether the file may be intact although it cannot be opened now.
fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::IO | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::ROFS)
    )
}

enum State {
    /// Takes at most what is accounted for.
    Clean,
    /// Takes more.
    Stray,
    /// Is not the file that was created.
    Damaged,
}

fn inspect(
    files: &SegmentFiles,
    index: &mut Index,
    key: &SegmentKey,
    size: SlotSize,
) -> io::Result<State> {
    let file = match files.existing(key) {
        Ok(file) => file,
        // Removed just now, or a link.
        Err(error) if !is_passing(&error) => return Ok(State::Damaged),
        Err(error) => return Err(error),
    };
    if !file.is_intact(size)? {
        files.forget(key);
        return Ok(State::Damaged);
    }
    let before = index.account.charged(key);
    let disk_bytes = file.disk_bytes()?;
    Ok(if disk_bytes > before { State::Stray } else { State::Clean })
}

/// Punches everything outside the live bricks of the suspect segments.
fn free_strays(
    files: &SegmentFiles,
    index: &mut Index,
    mut suspects: HashMap<SegmentKey, Vec<(u64, u64)>>,
) -> io::Result<()> {
    for held in index.held() {
        if let Some(slots) = suspects.get_mut(&held.place.segment) {
            slots.push((held.place.offset, held.place.offset + held.bytes));
        }
    }
    for (key, mut slots) in suspects {
        let Some(size) = index.account.segments().get(&key).map(|segment| segment.size) else {
            continue;
        };
        let file = files.existing(&key)?;
        slots.sort_unstable();
        slots.push((size.file_bytes(), size.file_bytes()));
        let mut end = 0;
        for (start, next) in slots {
            if start > end {
                file.punch(end, start - end)?;
            }
            end = next;
        }
        index.account.observe(&key, file.disk_bytes()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
