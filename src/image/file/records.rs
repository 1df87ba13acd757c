//! Requests for records. One that is made from others waits for these by callback: a thread that waited could wait
//! for a task behind its own.

use std::sync::{Arc, Mutex};

use crate::engine::brick::{Brick, BrickDone, Mode, Purpose, Whole};
use crate::engine::error::ImageError;
use crate::image::measure::Measured;
use crate::image::voxels::image::Image;
use crate::sync::lock;

use super::metadata::{Metadata, Record};

/// Times that a record may be found in the cache and not be readable there.
pub(super) const MOST_LOST: u32 = 16;

/// Receives what the sources of a record say.
type SourcesDone = Box<dyn FnOnce(Result<Vec<Measured>, ImageError>) + Send>;

impl Metadata {
    /// Requests a record.
    pub(super) fn request(
        self: &Arc<Self>,
        image: &Arc<Image>,
        record: Record,
        mode: Mode,
        done: BrickDone,
    ) {
        let (metadata, of) = (self.clone(), image.clone());
        let make = move |sources: Result<Vec<Measured>, ImageError>| match sources {
            Ok(sources) => {
                let slot = metadata.slot(&of, record);
                let shared = of.shared_key(slot.key, false);
                let mode = Mode { purpose: Purpose::Metadata, shared, ..mode };
                let engine = of.engine().clone();
                let produce = move || metadata.produce(&of, record, &sources);
                engine.request(slot, mode, produce, done);
            }
            Err(error) => done(Err(error)),
        };
        self.gather(image, self.sources(image, record), Box::new(make));
    }

    /// Requests the records of some sources, all at once.
    fn gather(self: &Arc<Self>, image: &Arc<Image>, sources: Vec<Record>, done: SourcesDone) {
        if sources.is_empty() {
            return done(Ok(Vec::new()));
        }
        let found = sources.iter().map(|_| None).collect();
        let awaited = Arc::new(Mutex::new(Awaited { found, done: Some(done) }));
        for (at, source) in sources.into_iter().enumerate() {
            let awaited = awaited.clone();
            let done = move |result| Awaited::arrive(&awaited, at, result);
            self.measured_in(image, source, 0, Box::new(done));
        }
    }

    /// What a record says of ranges; `lost`: how often it was there and could not be read.
    fn measured_in(
        self: &Arc<Self>,
        image: &Arc<Image>,
        record: Record,
        lost: u32,
        done: Box<dyn FnOnce(Result<Measured, ImageError>) + Send>,
    ) {
        let (metadata, of) = (self.clone(), image.clone());
        let take = move |found: Result<Brick, ImageError>| {
            let found = match found {
                Ok(found) => found,
                Err(error) => return done(Err(error)),
            };
            let is_lasting = !matches!(found, Brick::Memory(Whole { lasting: false, .. }));
            let bytes = found.bytes().map_err(|_| ImageError::BadRecord);
            match bytes.and_then(|bytes| Ok(metadata.measured(record, &bytes, is_lasting)?)) {
                Err(_) if lost < MOST_LOST => metadata.measured_in(&of, record, lost + 1, done),
                result => done(result),
            }
        };
        let mode = Mode { unreadable: lost > 0, ..Mode::default() };
        self.request(image, record, mode, Box::new(take));
    }
}

/// Sources that are still to come.
struct Awaited {
    found: Vec<Option<Measured>>,
    done: Option<SourcesDone>,
}

impl Awaited {
    /// Takes one in; the last one, or an error, ends the wait.
    fn arrive(awaited: &Mutex<Self>, at: usize, result: Result<Measured, ImageError>) {
        let mut state = lock(awaited);
        let ended = match result {
            Ok(measured) => {
                state.found[at] = Some(measured);
                if state.found.iter().any(Option::is_none) {
                    return;
                }
                Ok(std::mem::take(&mut state.found).into_iter().flatten().collect())
            }
            Err(error) => Err(error),
        };
        let done = state.done.take();
        drop(state);
        if let Some(done) = done {
            done(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::engine::EngineStats;
    use crate::engine::brick::{Keep, Produced};
    use crate::image::file::VirtualFile;
    use crate::image::tests::scene::{Scene, mixed_byte};
    use crate::image::{ImageOptions, Statistics};
    use crate::ims::Packing;

    /// Two channels of one time point, with the chunks of some levels.
    fn series(statistics: Statistics, sizes: &[[u64; 3]], there: &Range<usize>) -> Scene {
        let options =
            ImageOptions { statistics, coarsest_bytes: 4 << 10, ..ImageOptions::default() };
        let is_there = |level: usize, _: [u64; 5]| there.contains(&level);
        let voxel = |_, [_, c, z, y, x]: [u64; 5]| mixed_byte([z + c, y, x]);
        Scene::series(options, "|u1", [1, 2], (sizes, [4, 128, 128]), is_there, voxel)
    }

    /// Where each part of the metadata begins that says something of pixels, in the order of the file.
    fn parts(file: &VirtualFile) -> Vec<u64> {
        let layout = file.plan().layout.metadata();
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < layout.bytes() {
            let (part, run) = layout.locate(at);
            if file.metadata().record_of(part).is_some() {
                parts.push(at);
            }
            at += run;
        }
        parts
    }

    fn read_all(file: &Arc<VirtualFile>) -> Vec<u8> {
        let bytes = usize::try_from(file.plan().layout.metadata_bytes()).expect("small");
        file.read_blocking(0, bytes).expect("readable")
    }

    /// Whatever a reader begins with, or all at once: for histograms, displayed ranges and the thumbnail, each brick
    /// that is counted is decoded once.
    #[test]
    fn a_first_opening_decodes_each_brick_once() {
        // Of a small image all levels are counted, with any rule; of a large one here the third.
        let small = [[6, 70, 90], [6, 35, 45]];
        let large = [[4, 1500, 1500], [4, 750, 750], [4, 375, 375]];
        let (fast, exact) = (Statistics::Fast, Statistics::Exact);
        let cases = [(fast, &small[..1], 0..64), (exact, &small, 0..64), (fast, &large, 2..3)];
        for (rule, sizes, counted) in cases {
            let mut scene = series(rule, sizes, &counted);
            for order in ["all at once", "forth", "back", "histograms first"] {
                scene = scene.with_threads(2);
                let file = scene.followed();
                let mut parts = parts(&file);
                match order {
                    "all at once" => drop(read_all(&file)),
                    "back" => parts.reverse(),
                    "histograms first" => parts.rotate_left(2),
                    _ => {}
                }
                for at in parts {
                    file.read_blocking(at, 1).expect("readable");
                }
                let levels = file.plan().layout.levels().iter().enumerate();
                let levels = levels.filter(|(level, _)| counted.contains(level));
                let bricks: u64 = levels.map(|(_, level)| level.bricks.count()).sum();
                let EngineStats { filled, passed, .. } = file.engine().stats();
                assert_eq!(filled + passed, 2 * bricks + file.records(), "{sizes:?}, {order}");
            }
        }
    }

    /// Bytes that are no record, wherever they come from, are measured again, by readers and by exports.
    #[test]
    fn what_is_no_record_is_measured_again() {
        let mut scene = series(Statistics::Fast, &[[6, 70, 90]], &(0..1));
        let expected = read_all(&scene.followed());
        let packed = |file: &Arc<VirtualFile>| {
            let mut all = vec![0; expected.len()];
            let put = |at: u64, bytes: &[u8]| {
                let at = usize::try_from(at).expect("small");
                all[at..at + bytes.len()].copy_from_slice(bytes);
                Ok::<_, ImageError>(())
            };
            file.each_packed_metadata(Packing::Gzip(1), file.size(), put).expect("measured");
            all
        };
        let expected_packed = packed(&scene.followed());
        for is_export in [false, true] {
            scene = scene.with_threads(2);
            let file = scene.followed();
            for record in file.metadata().records(file.plan(), 0..2) {
                let junk = Produced::new(Arc::new(vec![7; 3].into()), Keep::Lightly, false);
                let slot = file.metadata().slot(file.image(), record);
                file.engine().take_in(slot, Purpose::Metadata, &junk);
            }
            if is_export {
                assert!(packed(&file) == expected_packed);
            } else {
                assert!(read_all(&file) == expected);
            }
        }
    }
}
