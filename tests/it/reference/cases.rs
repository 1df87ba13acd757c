//! Stores to try, and the runner that prints the seed of a failure.

use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRng, TestRunner};

pub(crate) use crate::common::picks::Picks;
use crate::common::store::{Codec, DTYPES, Dtype, Fill, Format, Order, Step, StoreBuilder};

/// Most files a store under test has per level.
const CHUNK_LIMIT: u64 = 96;

/// Most voxels of its finest level.
const VOXEL_LIMIT: u64 = 1_000_000;

/// A store, and a seed for all that is done with it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) store: StoreBuilder,
    pub(crate) seed: u64,
}

/// Runs a property on random cases: `PROPTEST_CASES` of them if set, else `cases`. What is printed
/// first repeats the run.
pub(crate) fn run(
    name: &str,
    cases: u32,
    strategy: impl Strategy<Value = Case>,
    property: impl Fn(Case),
) {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        // The only randomness of the standard library.
        RngSeed::Random => RandomState::new().hash_one(name),
    };
    println!("{name}: PROPTEST_RNG_SEED={seed} PROPTEST_CASES={}", config.cases);
    config.rng_seed = RngSeed::Fixed(seed);
    config.failure_persistence = None;
    config.max_shrink_time = 15_000;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes(seed));
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |case| {
        property(case);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{name}: {error}");
    }
}

fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// Every kind of store, nearly all of them small: one Imaris chunk per level.
pub(crate) fn any_case() -> impl Strategy<Value = Case> {
    prop_oneof![4 => small_case(), 1 => large_case()]
}

/// All types, axes, formats, codecs and pyramids.
pub(crate) fn small_case() -> impl Strategy<Value = Case> {
    let axes = subsequence(vec!['t', 'c', 'z'], 0..=3)
        .prop_map(|mut axes| {
            axes.extend(['y', 'x']);
            axes
        })
        .prop_shuffle()
        .prop_map(String::from_iter);
    let sides = axis_sides(1..=3, 1..=9, 1..=40);
    case(select(&DTYPES[..]), axes, sides, 1..=12)
}

/// Stores with several bricks per level, and bricks of several chunks.
pub(crate) fn large_case() -> impl Strategy<Value = Case> {
    // Mostly types of four bytes in the file: more chunks from as many voxels.
    let dtype = select(&[Dtype::U8, Dtype::U16, Dtype::F32, Dtype::I16, Dtype::F64][..]);
    let axes = select(&["zyx", "zyxc", "xyz", "tzyx", "yzx"][..]).prop_map(str::to_owned);
    let sides = axis_sides(1..=2, 8..=60, 90..=300);
    case(dtype, axes, sides, 5..=90)
}

/// A length and a unit for each of t, c, z, y, x.
fn axis_sides(
    tc: std::ops::RangeInclusive<u64>,
    z: std::ops::RangeInclusive<u64>,
    yx: std::ops::RangeInclusive<u64>,
) -> impl Strategy<Value = [(char, u64); 5]> {
    (tc.clone(), tc, z, yx.clone(), yx)
        .prop_map(|(t, c, z, y, x)| [('t', t), ('c', c), ('z', z), ('y', y), ('x', x)])
}

fn case(
    dtype: impl Strategy<Value = Dtype>,
    axes: impl Strategy<Value = String>,
    sides: impl Strategy<Value = [(char, u64); 5]>,
    unit: std::ops::RangeInclusive<u64>,
) -> impl Strategy<Value = Case> {
    let what = (dtype, axes, sides, prop::array::uniform5(unit));
    let storage = (
        prop_oneof![3 => Just(Format::V3), 1 => Just(Format::V2('.')), 1 => Just(Format::V2('/'))],
        select(&[Codec::None, Codec::Gzip, Codec::Zstd, Codec::BloscLz4, Codec::Crc32c][..]),
        select(&[Order::C, Order::C, Order::F, Order::FInShards][..]),
        prop::option::of(prop::array::uniform5(1_u64..=3)),
        any::<[bool; 2]>(),
        select(&[Fill::Zero, Fill::NonZero, Fill::Nan][..]),
        select(&[0_u64, 2, 5][..]),
    );
    let meaning = (
        prop::collection::vec(prop::array::uniform3(any_step()), 0..=3),
        select(&[None, Some("micrometer"), Some("nanometer"), Some("millimeter")][..]),
        prop::array::uniform5(1_u32..5000),
        select(&[1_u64 << 20, 20_000, 2_000, 200][..]),
        prop::option::of(prop::array::uniform5(-9000_i32..9000)),
        prop::bool::ANY,
    );
    (what, storage, meaning, any::<u64>()).prop_map(|(what, storage, meaning, seed)| {
        let (dtype, axes, sides, units) = what;
        let per_axis = |values: [u64; 5]| -> Vec<u64> {
            axes.chars().map(|axis| values[slot(axis)]).collect()
        };
        let mut store = StoreBuilder::new(dtype, &axes, &per_axis(sides.map(|(_, side)| side)));
        store.unit = per_axis(units);
        (store.format, store.codec, store.order, ..) = storage;
        (.., store.fill, store.left_out) = storage;
        [store.big_endian, store.index_at_start] = storage.4;
        store.shard = storage.3.map(per_axis).filter(|_| store.format == Format::V3);
        let (steps, unit, scale, coarsest_bytes, translation, omero) = meaning;
        store.coarsest_bytes = coarsest_bytes;
        store.length_unit = unit;
        // Eighths are exact in binary and in nine decimals.
        store.scale = axes.chars().map(|axis| f64::from(scale[slot(axis)]) / 8.0).collect();
        store.translation = translation
            .map(|numbers| axes.chars().map(|axis| f64::from(numbers[slot(axis)]) / 8.0).collect());
        if omero {
            let channels = store.length(&store.shape, 'c');
            let color = |c: u64| format!("{:06X}", 0x20_4080 + c * 0x10_2030);
            store.omero = (0..channels).map(|c| (format!("stain {c}"), color(c))).collect();
        }
        store.steps = steps.iter().map(|steps| space_steps(&axes, *steps)).collect();
        bound(&mut store);
        Case { store, seed }
    })
}

fn slot(axis: char) -> usize {
    "tczyx".find(axis).expect("one of the five axes")
}

fn any_step() -> impl Strategy<Value = Step> {
    select(&[Step::Keep, Step::FloorHalf, Step::FloorHalf, Step::CeilHalf, Step::Quarter][..])
}

/// Steps of (z, y, x) in stored order; time points and channels stay.
fn space_steps(axes: &str, zyx: [Step; 3]) -> Vec<Step> {
    axes.chars().map(|axis| slot(axis).checked_sub(2).map_or(Step::Keep, |at| zyx[at])).collect()
}

/// Keeps voxels and files to numbers that a test has time for.
fn bound(store: &mut StoreBuilder) {
    while store.shape.iter().product::<u64>() > VOXEL_LIMIT {
        let longest = store.shape.iter_mut().max().expect("axes");
        *longest = *longest * 2 / 3;
    }
    // Chunks may be larger than the array, but not by much.
    for (axis, length) in store.shape.iter().enumerate() {
        store.unit[axis] = store.unit[axis].min(length + 3);
        if let Some(shard) = &mut store.shard {
            shard[axis] = shard[axis].min(length.div_ceil(store.unit[axis]));
        }
    }
    loop {
        let chunk = store.chunk();
        let files = |axis: usize| store.shape[axis].div_ceil(chunk[axis]);
        if (0..chunk.len()).map(files).product::<u64>() <= CHUNK_LIMIT {
            break;
        }
        let most = (0..chunk.len()).max_by_key(|&axis| files(axis)).expect("axes");
        store.unit[most] *= 2;
    }
    // Padding of five axes multiplies.
    while padded_voxels(store) > 3 * VOXEL_LIMIT {
        if let Some(shard) = store.shard.take() {
            store.shard = shard.iter().any(|&units| units > 1).then(|| vec![1; shard.len()]);
        } else {
            store.unit.clone_from(&store.shape);
        }
    }
}

/// Voxels of the finest level with what its chunks have beyond the edge.
fn padded_voxels(store: &StoreBuilder) -> u64 {
    let chunk = store.chunk();
    store.shape.iter().zip(chunk).map(|(length, chunk)| length.next_multiple_of(chunk)).product()
}
