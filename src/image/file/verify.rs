//! Comparing what the cache has of a file with its checksums, and with the source.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, mpsc};

use crate::cache::{Check, PinnedBrick, Slot};
use crate::engine::error::ImageError;
use crate::image::coverage::Bricks;
use crate::image::levels::{self, Visitor};
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::image::work::{Place, Work};
use crate::resources::buffer::with_buffer;
use crate::sync::lock;

use super::VirtualFile;
use super::warm::await_end;

/// Bytes compared at a time.
const COMPARED_BYTES: usize = 256 << 10;

impl VirtualFile {
    /// Compares each brick that the cache has with its checksum, and, with `with_source`, with what the store gives,
    /// while readers go first. A wrong one is noted in the work, and not served any more.
    ///
    /// # Errors
    /// [`ImageError`] when the store changed or vanished, or the work was stopped.
    pub fn verify(&self, with_source: bool, work: &Arc<Work>) -> Result<(), ImageError> {
        let image = self.image();
        let wrong_before = work.progress().wrong;
        // What was just read is part of what the cache has.
        self.await_disk(work);
        let coverage = Bricks::of(self).coverage(self.engine());
        let cached: u64 = coverage.iter().map(|level| level.cached).sum();
        work.expect(cached * (1 + u64::from(with_source)), 0);
        let result = self
            .check_all(&coverage.iter().map(|level| level.cached > 0).collect::<Vec<_>>(), work);
        let result = match result {
            Ok(()) if with_source && cached > 0 => compare_all(image, work),
            result => result,
        };
        if work.progress().wrong > wrong_before {
            // The kernel may have wrong pages: it drops them at the next opening.
            self.note(true);
        }
        result
    }

    /// Compares checksums of the levels of which there is anything, and of the metadata.
    fn check_all(&self, levels: &[bool], work: &Arc<Work>) -> Result<(), ImageError> {
        let image = self.image();
        for record in self.metadata().records(self.plan(), 0..self.plan().datasets()) {
            if work.is_stopped() {
                return Err(ImageError::Abandoned);
            }
            let slot = self.metadata().slot(image, record);
            if self.engine().kept().is_on_disk(slot) {
                check(image, slot, None, work);
            }
        }
        for (level, _) in levels.iter().enumerate().filter(|(_, has_any)| **has_any) {
            let datasets = 0..self.plan().datasets();
            for brick in levels::bricks_of(image, level..level + 1, datasets) {
                if work.is_stopped() {
                    return Err(ImageError::Abandoned);
                }
                let slot = image.slot(brick);
                if self.engine().kept().is_on_disk(slot) {
                    check(image, slot, Some(brick), work);
                }
            }
        }
        Ok(())
    }
}

/// Compares a brick with its checksum.
fn check(image: &Image, slot: Slot, brick: Option<BrickId>, work: &Work) {
    let Some(cache) = image.engine().cache() else { return };
    match cache.check(slot) {
        Check::Absent => {}
        Check::Right(_) => work.update(|progress| {
            progress.checked += 1;
            progress.done += u64::from(brick.is_some());
        }),
        Check::Wrong(reason) => reject(image, slot, brick, &reason, work),
    }
}

/// The cache has forgotten a wrong brick; so does the memory.
fn reject(image: &Image, slot: Slot, brick: Option<BrickId>, reason: &str, work: &Work) {
    image.engine().kept().forget(|key| *key == slot.key);
    let (place, what) = match brick {
        Some(brick) => (Some(Place::of(&image.plan, brick)), ""),
        None => (None, "metadata: "),
    };
    work.reject(place, format!("{what}the cached brick {reason}; it is made again"));
}

/// Compares all bricks that the cache has with the store.
fn compare_all(image: &Arc<Image>, work: &Arc<Work>) -> Result<(), ImageError> {
    let (sender, ended) = mpsc::sync_channel(1);
    let done = move |result| {
        // The receiver may have given up.
        let _ = sender.send(result);
    };
    let comparer = Comparer { image: image.clone(), work: work.clone(), missed: Mutex::default() };
    let walked = image.clone();
    let is_cached = move |brick| walked.engine().kept().is_on_disk(walked.slot(brick));
    levels::show_from_store(image, is_cached, Arc::new(comparer), work, Box::new(done));
    await_end(&ended, work, &|| false)
}

/// Compares what it is shown with the cache.
struct Comparer {
    image: Arc<Image>,
    work: Arc<Work>,
    /// Cached bricks that cannot be compared, to be noted once.
    missed: Mutex<HashSet<BrickId>>,
}

impl Visitor for Comparer {
    fn visit(&self, brick: BrickId, _frame: &BrickFrame, bytes: &[u8], lasting: bool) {
        let slot = self.image.slot(brick);
        let Some(cache) = self.image.engine().cache() else { return };
        match cache.check(slot) {
            Check::Absent => {}
            Check::Wrong(reason) => reject(&self.image, slot, Some(brick), &reason, &self.work),
            Check::Right(_) if !lasting => self.fail(brick, "the store may still be written here"),
            Check::Right(cached) => match is_same(&cached, bytes) {
                Ok(true) => self.work.update(|progress| {
                    progress.compared += 1;
                    progress.done += 1;
                }),
                Ok(false) => {
                    cached.reject();
                    reject(&self.image, slot, Some(brick), "differs from the source", &self.work);
                }
                Err(error) => reject(&self.image, slot, Some(brick), &error, &self.work),
            },
        }
    }

    fn miss(&self, brick: BrickId, error: &ImageError) {
        if self.image.engine().kept().is_on_disk(self.image.slot(brick)) {
            self.fail(brick, &error.to_string());
        }
    }
}

impl Comparer {
    fn fail(&self, brick: BrickId, reason: &str) {
        if lock(&self.missed).insert(brick) {
            let reason = format!("cannot be compared with the source: {reason}");
            self.work.fail(Some(Place::of(&self.image.plan, brick)), reason);
        }
    }
}

/// # Errors
/// Why the cached bytes cannot be read; the cache does not serve them any more.
fn is_same(cached: &PinnedBrick, bytes: &[u8]) -> Result<bool, String> {
    if cached.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut offset = 0;
    for part in bytes.chunks(COMPARED_BYTES) {
        let is_same = with_buffer(part.len(), |buffer| {
            cached
                .read_at(offset, buffer)
                .map(|()| buffer == part)
                .map_err(|error| error.to_string())
        })?;
        if !is_same {
            return Ok(false);
        }
        offset += part.len() as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::file::warm::{Selection, Warmed};
    use crate::image::tests::scene::{Scene, mixed_byte};
    use crate::image::work::WorkProgress;
    use crate::image::{ImageOptions, VirtualFile};

    fn warm_file() -> (Scene, Arc<VirtualFile>, u64) {
        let options = ImageOptions { coarsest_bytes: 4 << 10, ..ImageOptions::default() };
        let scene = Scene::new(options, "|u1", [20, 90, 100], [10, 32, 32], mixed_byte).cached();
        let (file, work) = (scene.followed(), Arc::<Work>::default());
        file.warm(&Selection::default(), &mut Warmed::default(), &work).expect("readable");
        (scene, file, work.progress().made)
    }

    fn verified(file: &VirtualFile) -> WorkProgress {
        let work = Arc::<Work>::default();
        file.verify(true, &work).expect("readable");
        work.progress()
    }

    /// Bricks of a stored and of a computed level, whose checksums are right.
    #[test]
    fn a_brick_that_differs_from_the_store_is_set_aside() {
        let (_scene, file, made) = warm_file();
        let size = usize::try_from(file.size()).expect("small");
        let right = file.read_blocking(0, size).expect("readable");
        let progress = verified(&file);
        let checked = made + file.records();
        assert_eq!((progress.checked, progress.compared), (checked, made), "{progress:?}");
        for level in [0, 1] {
            let slot = file.image().slot(BrickId { level, dataset: 0, brick: 0 });
            let cache = file.engine().cache().expect("a cache");
            let length = file.plan().layout.levels()[level].bricks.brick_bytes(0);
            file.engine().kept().forget(|key| *key == slot.key);
            assert!(cache.put(slot, &vec![7; usize::try_from(length).expect("small")]));
            let wrong = file.read_blocking(0, size).expect("readable");
            assert!(wrong != right, "what is cached is served");
            let progress = verified(&file);
            assert_eq!((progress.wrong, progress.compared), (1, made - 1), "{progress:?}");
            let fault = progress.faults[0].to_string();
            assert!(fault.contains(&format!("level {level}, ")), "{fault}");
            assert!(fault.contains("differs from the source"), "{fault}");
            assert!(file.read_blocking(0, size).expect("readable") == right);
            let progress = verified(&file);
            assert_eq!((progress.wrong, progress.compared), (0, made), "{progress:?}");
        }
    }

    #[test]
    fn what_is_not_cached_is_not_decoded() {
        let (_scene, file, _) = warm_file();
        file.engine().evict(&HashSet::from([file.content()]));
        let decoded = file.engine().stats().decoded_bytes;
        assert_eq!(verified(&file), WorkProgress::default());
        assert_eq!(file.engine().stats().decoded_bytes, decoded);
    }
}
