//! Images made of images, on random stores: every voxel of every level is compared with a formula that maps it
//! to a voxel of one of the stores, brick by brick and as libhdf5 reads it.

mod made;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use zarrims::image::LevelOrigin;
use zarrims::source::compose::{self, Crop};
use zarrims::source::image::ImageSource;

use crate::common::store::{Dtype, StoreBuilder};
use crate::reference::cases::{Case, Picks, run, small_case};
use made::{Made, Stores, check, check_with_libhdf5};

/// A range of an axis, and sometimes one that begins at a multiple of four.
fn any_range(picks: &mut Picks, length: u64) -> std::ops::Range<u64> {
    let mut start = picks.below(length);
    if picks.below(2) == 0 {
        start -= start % 4;
    }
    start..start + 1 + picks.below(length - start)
}

/// Some indices of an axis, in any order.
fn any_list(picks: &mut Picks, count: u64) -> Vec<u64> {
    let mut all: Vec<u64> = (0..count).collect();
    picks.shuffle(&mut all);
    all.truncate(1 + picks.index(all.len()));
    all
}

fn any_crop(picks: &mut Picks, [t, c, z, y, x]: [u64; 5]) -> Crop {
    Crop {
        z: (picks.below(3) > 0).then(|| any_range(picks, z)),
        y: (picks.below(3) > 0).then(|| any_range(picks, y)),
        x: (picks.below(3) > 0).then(|| any_range(picks, x)),
        times: (picks.below(3) == 0).then(|| any_list(picks, t)),
        channels: (picks.below(3) == 0).then(|| any_list(picks, c)),
    }
}

/// Several stores like one: other voxels, in other units and another order.
fn alike(store: &StoreBuilder, picks: &mut Picks, count: u64) -> Vec<StoreBuilder> {
    let like = |number: u64| {
        let mut own = store.clone();
        own.salt = number * 31;
        if number > 0 && own.shard.is_none() {
            own.unit = own.shape.iter().map(|length| 1 + picks.below(*length)).collect();
            while own.shape.iter().zip(&own.unit).map(|(s, u)| s.div_ceil(*u)).product::<u64>() > 64
            {
                own.unit.iter_mut().for_each(|unit| *unit *= 2);
            }
        }
        own
    };
    (0..count).map(like).collect()
}

#[test]
fn a_crop_is_the_part_of_the_whole() {
    run("crop", 40, small_case(), |Case { store, seed }| {
        let mut picks = Picks::new(seed);
        let stores = Stores::new(&[store]);
        let whole = Made::store(&stores, 0);
        let wanted = any_crop(&mut picks, whole.shape());
        check(&stores, &whole.crop(&wanted));
    });
}

#[test]
fn channels_of_several_stores_are_theirs() {
    run("channels", 20, small_case(), |Case { store, seed }| {
        let mut picks = Picks::new(seed);
        let count = 1 + picks.below(3);
        let stores = Stores::new(&alike(&store, &mut picks, count));
        check(&stores, &Made::channels(stores.all()));
    });
}

#[test]
fn time_points_of_several_stores_are_theirs() {
    run("series", 20, small_case(), |Case { store, seed }| {
        let mut picks = Picks::new(seed);
        let count = 1 + picks.below(3);
        let stores = Stores::new(&alike(&store, &mut picks, count));
        check(&stores, &Made::series(stores.all()));
    });
}

/// Tiles of random sizes at random places, some at multiples of four.
fn any_tiles(store: &StoreBuilder, picks: &mut Picks) -> Vec<StoreBuilder> {
    let count = 1 + picks.below(5);
    let mut tiles = alike(store, picks, count);
    for tile in &mut tiles {
        let step = if picks.below(3) == 0 { 1 } else { 4 };
        let places = tile.axes.chars().zip(&tile.scale).map(|(axis, scale)| {
            let voxels = if "tc".contains(axis) { 0 } else { picks.below(30) / step * step };
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let place = voxels as f64 * scale;
            place
        });
        tile.translation = Some(places.collect());
    }
    tiles
}

#[test]
fn tiles_are_at_their_places_and_the_later_one_is_seen() {
    run("mosaic", 30, small_case(), |Case { store, seed }| {
        let mut picks = Picks::new(seed);
        let stores = Stores::new(&any_tiles(&store, &mut picks));
        check(&stores, &Made::mosaic(stores.all()));
    });
}

#[test]
fn compositions_of_compositions_are_those_of_the_stores() {
    run("nested", 20, small_case(), |Case { store, seed }| {
        let mut picks = Picks::new(seed);
        let stores = Stores::new(&any_tiles(&store, &mut picks));
        let mosaic = Made::mosaic(stores.all());
        let first = any_crop(&mut picks, mosaic.shape());
        let part = mosaic.crop(&first);
        let several = match picks.below(3) {
            0 => Made::channels(vec![part.clone(), part]),
            1 => Made::series(vec![part.clone(), part]),
            _ => part,
        };
        let last = any_crop(&mut picks, several.shape());
        check(&stores, &several.crop(&last));
    });
}

#[test]
fn libhdf5_reads_a_crop_of_a_mosaic() {
    run("compose_libhdf5", 6, small_case(), |Case { store, seed }| {
        let mut picks = Picks::new(seed);
        let stores = Stores::new(&any_tiles(&store, &mut picks));
        let mosaic = Made::mosaic(stores.all());
        let wanted = any_crop(&mut picks, mosaic.shape());
        check_with_libhdf5(&stores, &mosaic.crop(&wanted));
    });
}

/// An image with levels of 64, 32 and 16 voxels.
fn pyramid(salt: u64) -> StoreBuilder {
    use crate::common::store::Step::{FloorHalf, Keep};
    let mut store = StoreBuilder::new(Dtype::U16, "zyx", &[3, 64, 64]);
    store.unit = vec![1, 16, 16];
    store.steps = vec![vec![Keep, FloorHalf, FloorHalf]; 2];
    store.salt = salt;
    store.coarsest_bytes = 200;
    store
}

/// Sizes of the levels of an image, and whether they are stored.
fn levels(stores: &Stores, image: ImageSource) -> Vec<([u64; 3], bool)> {
    let opened = stores.open(image, None, 200);
    let levels = opened.file.plan().levels.iter();
    levels.map(|level| (level.size, level.origin != LevelOrigin::Computed)).collect()
}

#[test]
fn levels_of_the_store_are_used_where_the_box_fits_them() {
    let stores = Stores::new(&[pyramid(0)]);
    let whole = stores.image(0);
    let crop = |x: std::ops::Range<u64>| {
        let wanted = Crop { x: Some(x), y: Some(0..41), ..Crop::default() };
        levels(&stores, compose::crop(&whole, &wanted).expect("inside"))
    };
    let stored = |x| crop(x).iter().map(|(_, is_stored)| *is_stored).collect::<Vec<_>>();
    assert_eq!(stored(4..52)[..3], [true, true, true]);
    assert_eq!(stored(2..50)[..3], [true, true, false]);
    assert_eq!(stored(1..49)[..3], [true, false, false]);
    assert_eq!(crop(4..52)[2].0, [3, 10, 12], "what is left of 41 rows is dropped");
}

#[test]
fn tiles_with_borders_within_voxels_of_a_level_do_not_use_it() {
    let at =
        |salt: u64, x: f64| StoreBuilder { translation: Some(vec![0.0, 0.0, x]), ..pyramid(salt) };
    for (x, stored) in [(64.0, 3), (62.0, 2), (63.0, 1)] {
        let stores = Stores::new(&[at(0, 0.0), at(1, x)]);
        let mosaic = compose::mosaic(&[stores.image(0), stores.image(1)]).expect("tiles");
        let found = levels(&stores, mosaic);
        assert_eq!(found.iter().filter(|(_, is_stored)| *is_stored).count(), stored, "{x}");
    }
}

#[test]
fn two_crops_of_one_size_share_a_cache_and_no_brick() {
    let stores = Stores::new(&[pyramid(0)]);
    let whole = Made::store(&stores, 0);
    for x in [0..32, 32..64, 0..32] {
        let part = whole.crop(&Crop { x: Some(x), ..Crop::default() });
        made::check_cached(&stores, &part);
    }
}

#[test]
fn a_change_of_any_store_is_a_change_of_the_whole() {
    let stores = Stores::new(&[pyramid(0), pyramid(1)]);
    let open = || compose::channels(&[stores.image(0), stores.image(1)]).expect("alike");
    let before = open();
    let state = before.keep_to_chunks().expect("few chunks");
    assert!(state.is_same(&open().chunk_state().expect("few chunks")));
    assert!(before.fingerprint.is_unchanged(&stores.root));
    let path = stores.path(1);
    fs::remove_file(path.join("0/c/0/0/0")).expect("a chunk");
    assert!(!state.is_same(&before.chunk_state().expect("few chunks")));
    assert!(!before.has_same_folders());
    let document = fs::read(path.join("zarr.json")).expect("metadata");
    fs::write(path.join("zarr.json"), [&document[..], b"\n"].concat()).expect("metadata");
    assert!(!before.fingerprint.is_unchanged(&stores.root));
}

#[test]
fn a_damaged_chunk_of_one_store_is_an_error_for_its_voxels_only() {
    let stores = Stores::new(&[pyramid(0), pyramid(1)]);
    fs::write(stores.path(1).join("0/c/0/0/0"), b"short").expect("a chunk");
    let made = Made::channels(stores.all());
    let opened = stores.open(made.image(&stores), None, 200);
    for brick in opened.bricks().iter().filter(|brick| brick.level == 0) {
        let read = opened.try_read(brick.address, brick.bytes);
        let is_damaged = brick.tc[1] == 1 && brick.voxels.iter().all(|range| range.start == 0);
        assert_eq!(read.is_err(), is_damaged, "{brick:?}");
    }
}

#[test]
fn labels_are_channels_with_their_own_numbers_at_every_level() {
    let image = pyramid(0);
    let labels = StoreBuilder { dtype: Dtype::U8, salt: 5, ..pyramid(1) };
    let shapes = labels.level_shapes();
    let stores = Stores::new(&[image.clone(), labels.clone()]);
    let whole = compose::labels_as_channels(&stores.image(0), &[stores.image(1)]);
    let opened = stores.open(whole.expect("alike"), None, 200);
    let mut numbers = std::collections::HashSet::new();
    for brick in opened.bricks() {
        let bytes = opened.read(brick.address, brick.bytes);
        made::each_voxel(&opened, &brick, &bytes, |[z, y, x], found| {
            let at = [0, 0, z, y, x];
            if brick.tc[1] == 0 && brick.level < 3 {
                assert_eq!(found, image.voxel(brick.level, &shapes[brick.level], at), "{at:?}");
            } else if brick.tc[1] == 1 && brick.level < 3 {
                let own = labels.voxel(brick.level, &shapes[brick.level], at);
                assert_eq!(found, [own[0], 0], "{at:?}");
                if brick.level == 2 {
                    numbers.insert(found.to_vec());
                }
            } else if brick.tc[1] == 1 {
                assert!(numbers.contains(found), "no mean of numbers");
            }
        });
    }
    assert!(opened.file.plan().levels.len() > 3);
}

/// What is hidden is not read, so it cannot fail.
#[test]
fn a_damaged_chunk_below_a_later_tile_is_not_read() {
    let stores = Stores::new(&[pyramid(0), pyramid(1)]);
    for level in 0..3 {
        fs::write(stores.path(0).join(format!("{level}/c/0/0/0")), b"short").expect("a chunk");
    }
    let made = Made::mosaic(stores.all());
    check(&stores, &made);
}

#[test]
fn a_part_of_an_immense_image_is_the_slice_of_the_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("big.zarr");
    fs::create_dir(&store).expect("a folder");
    let array = r#"{"zarr_format": 2, "shape": [1024, 32768, 32768], "chunks": [64, 64, 64],
        "dtype": "|u1", "compressor": null, "fill_value": 3, "order": "C", "filters": null}"#;
    fs::write(store.join(".zarray"), array).expect("a file");
    let voxel = |[z, y, x]: [u64; 3]| (z * 7 + y * 31 + x * 3 + 1).to_le_bytes()[0];
    let chunk: Vec<u8> =
        (0..1 << 18_u64).map(|at| voxel([at >> 12 & 63, at >> 6 & 63, at & 63])).collect();
    fs::write(store.join("5.300.200"), chunk).expect("a chunk");
    let root = Arc::new(zarrims::source::SourceRoot::open(folder.path(), false).expect("a folder"));
    let whole = zarrims::source::discover::open_image(&root, Path::new("big.zarr"), "", 0);
    let first = [5 * 64, 300 * 64, 200 * 64];
    let range = |axis: usize| Some(first[axis] - 10..first[axis] + 101);
    let wanted = Crop { z: range(0), y: range(1), x: range(2), ..Crop::default() };
    let part = compose::crop(&whole.expect("an image"), &wanted).expect("inside");
    let opened = made::open(&root, part, None, 1 << 20);
    assert_eq!(opened.file.plan().levels[0].size, [111; 3]);
    for brick in opened.bricks().iter().filter(|brick| brick.level == 0) {
        let bytes = opened.read(brick.address, brick.bytes);
        made::each_voxel(&opened, brick, &bytes, |place, found| {
            let within = place.map(|at| at.wrapping_sub(10));
            let is_stored = within.iter().all(|at| *at < 64);
            assert_eq!(found, [if is_stored { voxel(within) } else { 3 }], "{place:?}");
        });
    }
}
