use std::fs;

use super::*;
use crate::engine::error::ImageError;
use crate::image::ImageOptions;
use crate::image::tests::scene::{Scene, mixed_byte, places};
use crate::image::voxels::image::Image;

const SIZE: [u64; 3] = [5, 37, 50];

/// Chunks that end neither with the image nor with bricks.
fn scene() -> Scene {
    Scene::new(ImageOptions::default(), "|u1", SIZE, [2, 16, 24], mixed_byte)
}

fn produce(image: &Image, follows_chunks: bool) -> Produced {
    let source = image.stored(0).expect("level 0 is stored");
    let job = BrickJob::new(&image.plan, source, BrickId { level: 0, dataset: 0, brick: 0 });
    let resources = image.images.engine().resources();
    job.produce(resources, follows_chunks, &|_, error| Err(error)).expect("readable")
}

/// The voxel at a place of the first brick.
fn voxel(image: &Image, bytes: &[u8], place: [u64; 3]) -> u8 {
    let frame = BrickFrame::new(&image.plan, BrickId { level: 0, dataset: 0, brick: 0 });
    bytes[frame.offset(place)]
}

#[test]
fn voxels_of_all_units_come_to_their_places() {
    let scene = scene();
    let image = scene.image();
    let source = image.stored(0).expect("level 0 is stored");
    let mut left = SIZE.iter().product::<u64>();
    for brick in 0..image.plan.layout.levels()[0].bricks.bricks().iter().product() {
        let id = BrickId { level: 0, dataset: 0, brick };
        let job = BrickJob::new(&image.plan, source, id);
        let produced = job.produce(image.images.engine().resources(), true, &|_, error| Err(error));
        let produced = produced.expect("readable");
        assert_eq!((produced.keep, produced.is_zero), (Keep::OnDisk, false));
        let frame = BrickFrame::new(&image.plan, id);
        assert_eq!(frame.bytes(), produced.bytes.len() as u64);
        let start = [0, 1, 2].map(|axis| frame.voxels[axis].start);
        for within in places(frame.voxels.clone().map(|range| range.end - range.start)) {
            let place = [0, 1, 2].map(|axis| start[axis] + within[axis]);
            let found = produced.bytes[frame.offset(place)];
            assert_eq!(vec![found], mixed_byte(place), "{place:?}");
            left -= 1;
        }
    }
    assert_eq!(left, 0, "every voxel is in one brick");
}

#[test]
fn absent_units_are_the_fill_value_and_fleeting_unless_chunks_are_followed() {
    let scene = scene();
    fs::remove_file(scene.path("1.0.1")).expect("a chunk");
    let image = scene.image();
    let produced = produce(&image, false);
    assert_eq!((produced.keep, produced.is_zero), (Keep::FLEETING, false));
    assert_eq!(voxel(&image, &produced.bytes, [2, 0, 24]), 0);
    assert_eq!(vec![voxel(&image, &produced.bytes, [2, 0, 23])], mixed_byte([2, 0, 23]));
    assert_eq!(produce(&image, true).keep, Keep::OnDisk);
}

#[test]
fn a_brick_without_units_is_kept_lightly() {
    let scene = scene();
    for [z, y, x] in places([3, 3, 3]) {
        fs::remove_file(scene.path(&format!("{z}.{y}.{x}"))).expect("a chunk");
    }
    let image = scene.image();
    let produced = produce(&image, true);
    assert_eq!((produced.keep, produced.is_zero), (Keep::Lightly, true));
    assert!(produced.bytes.iter().all(|byte| *byte == 0));
    assert_eq!(produce(&image, false).keep, Keep::FLEETING);
}

#[test]
fn a_damaged_unit_is_an_error_or_what_takes_its_place() {
    let scene = scene();
    fs::write(scene.path("0.1.1"), b"short").expect("a chunk");
    let image = scene.image();
    let source = image.stored(0).expect("level 0 is stored");
    let job = BrickJob::new(&image.plan, source, BrickId { level: 0, dataset: 0, brick: 0 });
    let resources = image.images.engine().resources();
    let refused = job.produce(resources, true, &|_, error| Err(error));
    assert!(matches!(refused, Err(ImageError::Source(_))), "{refused:?}");
    let produced = job.produce(resources, true, &|_, _| Ok(())).expect("filled");
    assert_eq!(produced.keep, Keep::FLEETING, "it may be mended");
    assert_eq!(voxel(&image, &produced.bytes, [0, 16, 24]), 0);
}
