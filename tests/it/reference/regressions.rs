//! Fixed cases: what random stores do not reach, and what they have found.

use super::cases::Case;
use super::eager::published;
use super::opened::OnDisk;
use super::{equals_the_reference_image, libhdf5_agrees, splits_agree};
use crate::common::store::{Codec, Dtype, Fill, Order, Step, StoreBuilder};

/// Random stores have fewer chunks than one node of the chunk index holds.
#[test]
fn an_index_of_two_levels() {
    // Units of prime length leave few choices of a chunk, and here only small ones.
    let mut store = StoreBuilder::new(Dtype::F32, "zyx", &[17, 299, 285]);
    store.unit = vec![7, 263, 257];
    store.codec = Codec::Zstd;
    store.fill = Fill::NonZero;
    store.left_out = 3;
    // A computed level would ask for even bricks.
    store.coarsest_bytes = 1 << 30;
    let on_disk = OnDisk::new(&store);
    let opened = on_disk.open(None);
    let index = &opened.file.plan().layout.levels()[0].index;
    assert!(index.node_count() > 2, "{} nodes", index.node_count());
    drop(opened);
    on_disk.checked_image();
    libhdf5_agrees(&store);
}

/// Random stores seldom have units of more than a megabyte, and then only one of them.
#[test]
fn bricks_of_several_chunks_with_gaps_between() {
    let mut store = StoreBuilder::new(Dtype::I32, "xzy", &[240, 23, 200]);
    store.unit = vec![130, 12, 170];
    store.shard = Some(vec![1, 2, 1]);
    store.order = Order::F;
    store.codec = Codec::BloscLz4;
    store.fill = Fill::NonZero;
    store.left_out = 5;
    let opened = OnDisk::new(&store).open(None);
    let brick = &opened.bricks()[0];
    let chunk = opened.file.plan().layout.levels()[0].bricks.chunk_stride();
    assert!(brick.bytes >= 1 << 20 && brick.bytes > chunk, "{brick:?}, chunks of {chunk}");
    drop(opened);
    equals_the_reference_image(Case { store: store.clone(), seed: 1 });
    splits_agree(Case { store: store.clone(), seed: 2 });
    libhdf5_agrees(&store);
}

/// Else nothing here would be tried on chunks that are absent.
#[test]
fn units_left_out_have_no_file() {
    for fill in [Fill::Zero, Fill::NonZero, Fill::Nan] {
        let mut store = StoreBuilder::new(Dtype::F32, "zyx", &[8, 30, 30]);
        store.unit = vec![2, 8, 8];
        store.fill = fill;
        store.left_out = 2;
        let files = OnDisk::new(&store).chunk_files().len();
        assert!((16..48).contains(&files), "{files} files of 64 with fill {fill:?}");
    }
}

/// Sizes of the levels the program publishes, and those it should.
fn level_sizes(store: &StoreBuilder) -> [Vec<[u64; 3]>; 2] {
    let on_disk = OnDisk::new(store);
    let opened = on_disk.open(None);
    let planned = opened.file.plan().levels.iter().map(|level| level.size).collect();
    [planned, published(store).iter().map(|level| level.size).collect()]
}

/// Seven rows, four, four again: the third level was left out, because its four rows are neither the
/// three published above it nor half of them.
#[test]
fn regression_an_axis_kept_below_a_half_rounded_up() {
    let mut store = StoreBuilder::new(Dtype::U8, "yx", &[7, 8]);
    store.steps = vec![vec![Step::CeilHalf, Step::Keep], vec![Step::Keep, Step::FloorHalf]];
    let [planned, expected] = level_sizes(&store);
    assert_eq!(expected, [[1, 7, 8], [1, 3, 8], [1, 3, 4]]);
    assert_eq!(planned, expected);
}

/// Five planes, three, two: the two planes were published as the two above them once more, at half
/// their distance, although the scale says otherwise.
#[test]
fn regression_three_to_two_is_a_half() {
    let mut store = StoreBuilder::new(Dtype::U8, "zyx", &[5, 32, 32]);
    store.steps = vec![vec![Step::CeilHalf; 3], vec![Step::CeilHalf; 3]];
    let [planned, expected] = level_sizes(&store);
    assert_eq!(expected, [[5, 32, 32], [2, 16, 16], [1, 8, 8]]);
    assert_eq!(planned, expected);
}

/// Units of odd length under a computed level: bricks of two, so that no voxel of it is made from
/// two bricks.
#[test]
fn odd_units_under_a_computed_level() {
    let mut store = StoreBuilder::new(Dtype::F32, "zyx", &[23, 151, 203]);
    store.unit = vec![5, 51, 67];
    store.codec = Codec::BloscLz4;
    store.fill = Fill::NonZero;
    store.left_out = 4;
    store.coarsest_bytes = 30_000;
    let [planned, expected] = level_sizes(&store);
    assert_eq!(planned, expected);
    assert_eq!(planned.len(), 4, "{planned:?}");
    let opened = OnDisk::new(&store).open(None);
    assert_eq!(opened.file.plan().levels[0].brick, [10, 102, 134]);
    drop(opened);
    equals_the_reference_image(Case { store: store.clone(), seed: 3 });
    libhdf5_agrees(&store);
}
