//! Putting the bricks of a file into the cache before anybody reads them.

use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::brick::{Brick, Mode};
use crate::engine::error::ImageError;
use crate::image::coverage::Bricks;
use crate::image::levels;
use crate::image::work::Work;

use super::VirtualFile;

/// Time between two looks at whether the work is to end, and at what has become of bricks.
const LOOK_TIME: Duration = Duration::from_millis(50);

/// Most waits for the disk at the end, and the time between two.
const MOST_WAITS: u32 = 100;
const WRITE_PAUSE: Duration = Duration::from_millis(5);

/// How long bricks under way are waited for after the work was stopped.
const STOP_LOOKS: u32 = 40;

/// Times that the pass begins again because another one, of which it awaited a brick, was called off.
const MOST_ABANDONED: usize = 3;

/// Which bricks of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Resolution levels, 0 = finest, half-open.
    pub levels: Range<usize>,
    /// Time points from 0 on, half-open.
    pub time_points: Range<u64>,
}

impl Default for Selection {
    /// All.
    fn default() -> Self {
        Self { levels: 0..usize::MAX, time_points: 0..u64::MAX }
    }
}

impl Selection {
    /// The part that a file has.
    #[must_use]
    pub fn within(&self, levels: usize, time_points: u64) -> Self {
        let end = (self.levels.end.min(levels), self.time_points.end.min(time_points));
        Self {
            levels: self.levels.start.min(end.0)..end.0,
            time_points: self.time_points.start.min(end.1)..end.1,
        }
    }
}

/// Files that were warmed, and how many of their bricks the cache had then.
#[derive(Debug, Default)]
pub struct Warmed(Vec<(Bricks, u64)>);

impl VirtualFile {
    /// Puts the selected bricks, and the metadata, into the cache, while readers go first. What is there is left as
    /// it is. The work stops when it would drive out what it has `warmed` before.
    ///
    /// # Errors
    /// [`ImageError`] when the store changed or vanished, or the work was stopped. Damaged chunks are noted in the
    /// work instead.
    pub fn warm(
        self: &Arc<Self>,
        selection: &Selection,
        warmed: &mut Warmed,
        work: &Arc<Work>,
    ) -> Result<(), ImageError> {
        let bricks = Bricks::of(self);
        let before = bricks.cached(self.engine());
        let made_before = work.progress().made;
        let is_full = || {
            let made = work.progress().made - made_before;
            let is_less = |(bricks, then): &(Bricks, u64)| bricks.cached(self.engine()) < *then;
            bricks.cached(self.engine()) < before + made || warmed.0.iter().any(is_less)
        };
        let result = self.warm_bricks(selection, work, &is_full);
        let result = result.and_then(|()| self.warm_metadata(selection, work));
        self.await_disk(work);
        if !work.is_stopped() && is_full() {
            work.stop_full();
        }
        let now = bricks.cached(self.engine());
        warmed.0.push((bricks, now));
        result
    }

    fn warm_bricks(
        &self,
        selection: &Selection,
        work: &Arc<Work>,
        is_full: &dyn Fn() -> bool,
    ) -> Result<(), ImageError> {
        let (image, plan) = (self.image(), self.plan());
        let Selection { levels, .. } = selection.within(plan.levels.len(), plan.ims.time_points);
        let datasets = self.selected(selection);
        let mut abandoned = 0;
        loop {
            let (mut total, mut there) = (0, 0);
            for brick in levels::bricks_of(image, levels.clone(), datasets.clone()) {
                total += 1;
                there += u64::from(self.engine().kept().is_cached(image.slot(brick)));
                if work.is_stopped() {
                    return Err(ImageError::Abandoned);
                }
            }
            work.expect(total, there);
            if abandoned == 0 {
                work.update(|progress| progress.there += there);
            }
            let (sender, ended) = mpsc::sync_channel(1);
            let done = move |result| {
                // The receiver may have given up.
                let _ = sender.send(result);
            };
            let missing = total - there;
            levels::keep_all(
                image,
                levels.clone(),
                datasets.clone(),
                missing,
                work,
                Box::new(done),
            );
            match await_end(&ended, work, is_full) {
                Err(ImageError::Abandoned) if !work.is_stopped() && abandoned < MOST_ABANDONED => {
                    abandoned += 1;
                }
                result => return result,
            }
        }
    }

    /// Has measured what the metadata say of the pixels of the selected time points.
    fn warm_metadata(
        self: &Arc<Self>,
        selection: &Selection,
        work: &Arc<Work>,
    ) -> Result<(), ImageError> {
        let datasets = self.selected(selection);
        if datasets.is_empty() {
            return Ok(());
        }
        for record in self.metadata().records(self.plan(), datasets) {
            let (sender, ended) = mpsc::sync_channel(1);
            let done = move |result: Result<Brick, ImageError>| {
                // The receiver may have given up.
                let _ = sender.send(result.map(drop));
            };
            self.request_record(record, Mode::default(), Box::new(done));
            await_end(&ended, work, &|| false)?;
        }
        Ok(())
    }

    /// The datasets of the selected time points.
    fn selected(&self, selection: &Selection) -> Range<u64> {
        let plan = self.plan();
        let within = selection.within(plan.levels.len(), plan.ims.time_points);
        let channels = plan.ims.channels.len() as u64;
        within.time_points.start * channels..within.time_points.end * channels
    }

    /// Waits until what was made is on disk, or given up. Readers may add to it: not for ever.
    pub(super) fn await_disk(&self, work: &Arc<Work>) {
        for _ in 0..MOST_WAITS {
            let (sender, ended) = mpsc::sync_channel(1);
            self.engine().kept().when_written(move || {
                // The receiver may have given up.
                let _ = sender.send(Ok(()));
            });
            // A brick is on its way a moment before it is given to the thread that writes it.
            let is_over = await_end(&ended, work, &|| false).is_err();
            if is_over || !self.engine().kept().has_unwritten(self.content()) {
                return;
            }
            thread::sleep(WRITE_PAUSE);
        }
    }
}

/// Waits for the end of a part of the work, and stops it where the cache is full.
///
/// # Errors
/// Those of the work; [`ImageError::Abandoned`] where it was stopped, and goes on hanging.
pub(super) fn await_end(
    ended: &mpsc::Receiver<Result<(), ImageError>>,
    work: &Work,
    is_full: &dyn Fn() -> bool,
) -> Result<(), ImageError> {
    let mut looks = 0;
    loop {
        match ended.recv_timeout(LOOK_TIME) {
            Ok(result) => return result,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(ImageError::Abandoned),
            Err(mpsc::RecvTimeoutError::Timeout) if work.is_stopped() => {
                looks += 1;
                if looks == STOP_LOOKS {
                    return Err(ImageError::Abandoned);
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) if is_full() => work.stop_full(),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageOptions;
    use crate::image::plan::layout::LevelLayout;
    use crate::image::tests::scene::{Scene, mixed_byte};

    fn scene() -> Scene {
        let options = ImageOptions { coarsest_bytes: 4 << 10, ..ImageOptions::default() };
        Scene::new(options, "|u1", [20, 90, 100], [10, 32, 32], mixed_byte).cached()
    }

    #[test]
    fn a_selection_is_cut_to_what_a_file_has() {
        assert_eq!(
            Selection::default().within(3, 1),
            Selection { levels: 0..3, time_points: 0..1 }
        );
        let asked = Selection { levels: 2..9, time_points: 4..9 };
        let backwards =
            Selection { levels: std::ops::Range { start: 3, end: 1 }, time_points: 0..1 };
        assert_eq!(backwards.within(9, 1).levels.len(), 0);
        assert_eq!(asked.within(2, 6), Selection { levels: 2..2, time_points: 4..6 });
    }

    /// Stored and computed levels, in one pass: each brick of the store is read once, and statistics come out of the
    /// cache.
    #[test]
    fn a_warm_file_is_decoded_once_and_read_without_decoding() {
        let scene = scene();
        let file = scene.followed();
        assert!(file.plan().levels.len() > 1, "there are computed levels");
        let work = Arc::<Work>::default();
        let mut warmed = Warmed::default();
        file.warm(&Selection::default(), &mut warmed, &work).expect("it can be read");
        let progress = work.progress();
        let bricks: u64 =
            file.plan().layout.levels().iter().map(|level| level.bricks.count()).sum();
        assert_eq!((progress.bricks, progress.done, progress.made), (bricks, bricks, bricks));
        assert_eq!((progress.failed, progress.unkept, progress.is_full), (0, 0, false));
        let decoded = file.engine().stats().decoded_bytes;
        let voxels: u64 = file.plan().layout.levels().iter().map(LevelLayout::data_bytes).sum();
        let metadata = file.plan().layout.metadata_bytes();
        // The computed levels are made once more for the statistics, from bricks in the cache.
        assert!(decoded <= 2 * voxels + metadata, "{decoded} of {voxels}");
        let size = usize::try_from(file.size()).expect("small");
        file.read_blocking(0, size).expect("readable");
        assert_eq!(file.engine().stats().decoded_bytes, decoded);
        file.warm(&Selection::default(), &mut warmed, &work).expect("it can be read");
        assert_eq!(work.progress().made, bricks, "nothing is made again");
    }

    #[test]
    fn only_the_selected_levels_are_kept() {
        let scene = scene();
        let file = scene.followed();
        let work = Arc::<Work>::default();
        let last = file.plan().coarsest();
        let asked = Selection { levels: 1..last, ..Selection::default() };
        file.warm(&asked, &mut Warmed::default(), &work).expect("it can be read");
        let cached = Bricks::of(&file).coverage(file.engine());
        assert_eq!(cached[0].cached, 0);
        assert!(cached[1..last].iter().all(|level| level.cached == level.bricks), "{cached:?}");
    }

    #[test]
    fn damage_is_named_and_the_rest_is_warm() {
        let scene = scene();
        std::fs::write(scene.path("0.0.0"), b"short").expect("a chunk");
        let file = scene.followed();
        let work = Arc::<Work>::default();
        file.warm(&Selection::default(), &mut Warmed::default(), &work).expect("it goes on");
        let progress = work.progress();
        assert!(progress.failed > 0 && progress.made > 0, "{progress:?}");
        assert!(progress.faults.iter().any(|fault| fault.reason.contains("0.0.0")), "{progress:?}");
        let cached = Bricks::of(&file).coverage(file.engine())[0];
        assert_eq!(cached.cached, cached.bricks - 1, "{cached:?}");
    }

    #[test]
    fn stopped_work_ends_and_what_is_left_can_be_read() {
        let scene = scene();
        let file = scene.followed();
        let work = Arc::<Work>::default();
        work.stop();
        let result = file.warm(&Selection::default(), &mut Warmed::default(), &work);
        assert!(matches!(result, Err(ImageError::Abandoned)), "{result:?}");
        assert_eq!(work.progress().made, 0);
        let size = usize::try_from(file.size()).expect("small");
        file.read_blocking(0, size).expect("readable");
    }
}
