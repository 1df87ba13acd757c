use super::*;
use crate::image::ImageOptions;
use crate::image::tests::scene::{Scene, mixed, places};

const UNITS: [u64; 3] = [2, 3, 4];

/// Units that are large enough for helpers.
fn scene() -> Scene {
    let size = [2 * 16, 3 * 64, 4 * 64];
    let one_byte = |place| vec![mixed(place).to_le_bytes()[0]];
    Scene::new(ImageOptions::default(), "|u1", size, [16, 64, 64], one_byte)
}

fn decode(
    scene: &Scene,
    take: impl FnMut(usize, Decoded) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let source = scene.source();
    let array = &source.levels[0].parts()[0].array;
    assert!(array.unit_bytes() >= LEAST_BYTES);
    let units = places(UNITS).map(|place| (array.clone(), place.into())).collect();
    decode_each(scene.images.engine().resources(), units, take)
}

#[test]
fn each_unit_is_taken_once_with_its_own_bytes() {
    let scene = scene();
    let mut taken = [0; 24];
    let take = |number: usize, decoded: Decoded| {
        taken[number] += 1;
        let UnitBytes::Stored { bytes, .. } = decoded? else { panic!("stored") };
        let unit = places(UNITS).nth(number).expect("a unit");
        let first = [unit[0] * 16, unit[1] * 64, unit[2] * 64];
        assert_eq!(bytes[0], mixed(first).to_le_bytes()[0]);
        Ok(())
    };
    decode(&scene, take).expect("readable");
    assert_eq!(taken, [1; 24]);
}

#[test]
fn the_first_error_ends_it() {
    let scene = scene();
    let mut taken = 0;
    let take = |_, _| {
        taken += 1;
        if taken == 3 { Err(ImageError::Fault) } else { Ok(()) }
    };
    assert!(matches!(decode(&scene, take), Err(ImageError::Fault)));
    assert_eq!(taken, 3);
}

#[test]
fn units_are_decoded_without_helpers_too() {
    let scene = scene();
    let _all = scene.images.engine().resources().memory.reserve(64 << 20);
    let mut taken = 0;
    let take = |_, decoded: Decoded| {
        taken += 1;
        decoded.map(drop).map_err(ImageError::from)
    };
    decode(&scene, take).expect("readable");
    assert_eq!(taken, 24);
}
