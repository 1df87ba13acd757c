use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use super::*;
use crate::engine::brick::Brick;
use crate::engine::error::ImageError;
use crate::image::plan::PlannedLevel;
use crate::image::tests::scene::{Scene, mixed_byte, places};
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::image::{ImageOptions, LevelOrigin};
use crate::sync::lock;

const SIZE: [u64; 3] = [20, 90, 100];

fn scene() -> Scene {
    let options = ImageOptions { coarsest_bytes: 4 << 10, ..ImageOptions::default() };
    Scene::new(options, "|u1", SIZE, [10, 32, 32], mixed_byte)
}

fn get(image: &Arc<Image>, brick: BrickId) -> Result<Vec<u8>, ImageError> {
    let (sender, answer) = mpsc::channel();
    let done = move |result| sender.send(result).expect("the test waits");
    request(image, brick, Box::new(done));
    match answer.recv().expect("an answer")? {
        Brick::Memory(whole) => Ok(whole.bytes.to_vec()),
        Brick::Cached(_) => panic!("there is no cache"),
    }
}

/// The value of a voxel of the first computed level, from those of the store.
fn mean(image: &Image, place: [u64; 3]) -> u8 {
    let [finest, computed] = [&image.plan.levels[0], &image.plan.levels[1]];
    let step = computed.halved(finest).map(|is_halved| if is_halved { 2 } else { 1 });
    let sum: u64 = places(step)
        .map(|d| mixed_byte([0, 1, 2].map(|axis| place[axis] * step[axis] + d[axis])))
        .map(|byte| u64::from(byte[0]))
        .sum();
    let count: u64 = step.iter().product();
    u8::try_from(sum / count).expect("a mean of bytes")
}

#[test]
fn a_computed_brick_has_the_means_of_the_finer_one() {
    let scene = scene();
    let image = scene.image();
    assert_eq!(image.plan.levels[1].origin, LevelOrigin::Computed);
    let id = BrickId { level: 1, dataset: 0, brick: 0 };
    let (bytes, frame) = (get(&image, id).expect("readable"), BrickFrame::new(&image.plan, id));
    for place in places(frame.voxels.clone().map(|range| range.end)) {
        let found = bytes[frame.offset(place)];
        assert!(found.abs_diff(mean(&image, place)) <= 1, "{place:?}: {found}");
    }
    // The answer comes from within the pass, just before it ends.
    while !scene.images.passes().is_empty() {
        std::thread::yield_now();
    }
    let stats = scene.images.engine().stats();
    assert!(stats.passed > 0 && stats.in_flight == 0);
}

#[test]
fn a_damaged_chunk_fails_its_brick_and_ends_the_pass() {
    let scene = scene();
    fs::write(scene.path("0.0.0"), b"short").expect("a chunk");
    let image = scene.image();
    let last = image.plan.coarsest();
    let result = get(&image, BrickId { level: last, dataset: 0, brick: 0 });
    assert!(matches!(result, Err(ImageError::Source(_))), "{result:?}");
    // The next one gets a turn, and its readers an answer.
    assert!(get(&image, BrickId { level: last, dataset: 0, brick: 0 }).is_err());
}

/// Counts what it is shown.
struct Everything {
    voxels: Vec<Mutex<u64>>,
    missed: AtomicUsize,
}

impl Visitor for Everything {
    fn visit(&self, brick: BrickId, frame: &BrickFrame, bytes: &[u8], _lasting: bool) {
        assert_eq!(bytes.len() as u64, frame.bytes());
        let voxels = frame.voxels.iter().map(|range| range.end - range.start);
        *lock(&self.voxels[brick.level]) += voxels.product::<u64>();
    }

    fn miss(&self, _: BrickId, _: &ImageError) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_visitor_sees_every_voxel_of_every_level_once() {
    let scene = scene();
    let image = scene.image();
    let levels = &image.plan.levels;
    let voxels = levels.iter().map(|_| Mutex::default()).collect();
    let all = Arc::new(Everything { voxels, missed: AtomicUsize::new(0) });
    // What is known already is walked all the same.
    get(&image, BrickId { level: 1, dataset: 0, brick: 0 }).expect("readable");
    let (sender, ended) = mpsc::channel();
    let done = move |result| sender.send(result).expect("the test waits");
    let datasets: Vec<u64> = (0..image.plan.datasets()).collect();
    visit_all(&image, &datasets, all.clone(), Box::new(done));
    ended.recv().expect("an answer").expect("readable");
    let seen: Vec<u64> = all.voxels.iter().map(|voxels| *lock(voxels)).collect();
    assert_eq!(seen, levels.iter().map(PlannedLevel::voxels).collect::<Vec<_>>());
    assert_eq!(all.missed.load(Ordering::Relaxed), 0);
}
