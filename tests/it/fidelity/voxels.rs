//! Voxels of every type, kept or converted.

use hdf5_metno::types::{FloatSize, IntSize, TypeDescriptor};
use serde_json::json;

use super::statistics::assert_histograms;
use super::{
    Join, Shown, assert_chain, assert_close, assert_voxels, ome, source, write_array, write_group,
};
use crate::common::mount::{Mount, can_mount};
use crate::common::store::{DTYPES, Dtype, Fill, StoreBuilder};

/// Shape (z, y, x) of an image with one computed level whatever its type.
const TWO_LEVELS: [u64; 3] = [20, 200, 200];

const U8: TypeDescriptor = TypeDescriptor::Unsigned(IntSize::U1);
const U16: TypeDescriptor = TypeDescriptor::Unsigned(IntSize::U2);
const U32: TypeDescriptor = TypeDescriptor::Unsigned(IntSize::U4);
const I16: TypeDescriptor = TypeDescriptor::Integer(IntSize::U2);
const F32: TypeDescriptor = TypeDescriptor::Float(FloatSize::U4);

/// Voxels of both signs, never the same in a row.
fn signed(at: &[u64]) -> i16 {
    let number = (at[0] * TWO_LEVELS[1] + at[1]) * TWO_LEVELS[2] + at[2];
    let below_2_16 = u16::try_from(number * 7919 % 60_013).expect("below 2^16");
    i16::try_from(i32::from(below_2_16) - 30_000).expect("from -30000 to 30012")
}

#[test]
fn int16_as_floats_kept_or_offset() {
    if !can_mount() {
        return;
    }
    let source = source();
    let store = source.path().join("a.zarr");
    let voxel = |at: &[u64]| signed(at).to_le_bytes();
    write_array(&store.join("0"), "int16", &TWO_LEVELS, &[10, 128, 200], voxel);
    let mut ome = ome("zyx", &[1.0; 3]);
    ome["omero"] = json!({"channels": [{"color": "FFFFFF",
        "window": {"min": -30_000, "max": 30_000, "start": -100, "end": 2000}}]});
    write_group(&store, &ome);
    let mut numbers = Vec::new();
    super::each_position(&TWO_LEVELS, &mut |at| numbers.push(f64::from(signed(at))));

    for (args, voxel_type, shift, join) in [
        (&[][..], F32, 0.0, Join::Float),
        (&["--int16", "float32"], F32, 0.0, Join::Float),
        (&["--int16", "keep"], I16, 0.0, Join::Whole),
        (&["--int16=offset"], U16, 32_768.0, Join::Whole),
    ] {
        let mount = Mount::of(source.path()).args(args).start();
        let shown = Shown::open(&mount, "a.ims");
        assert_eq!(shown.voxel_type(), voxel_type, "{args:?}");
        assert_eq!(shown.sizes(), [[20, 200, 200], [20, 100, 100]], "{args:?}");
        let expected: Vec<f64> = numbers.iter().map(|number| number + shift).collect();
        assert_voxels(&shown.values(0, 0, 0), &expected, &format!("{args:?}"));
        assert_chain(&shown, 1, join);
        for level in 0..2 {
            assert_histograms(&shown, level, 0, 0);
        }
        let window = [shift - 100.0, shift + 2000.0];
        assert_close(&shown.color_range(0), &window, &format!("range with {args:?}"));
    }
}

/// Whether a file holds the voxels of a store's formula, of this type.
#[track_caller]
fn assert_formula(shown: &Shown, store: &StoreBuilder, voxel_type: &TypeDescriptor) {
    let what = format!("{:?} {} {:?}", store.dtype, store.axes, store.shape);
    assert_eq!(shown.voxel_type(), *voxel_type, "{what}");
    let shape = &store.level_shapes()[0];
    let [t_count, c_count, z, y, x] =
        ['t', 'c', 'z', 'y', 'x'].map(|axis| store.length(shape, axis));
    let count = |n: u64| usize::try_from(n).expect("small");
    assert_eq!(shown.ims.info_size().expect("a size"), [z, y, x].map(count), "{what}");
    assert_eq!(shown.ims.time_points(0).expect("time points"), count(t_count), "{what}");
    assert_eq!(shown.ims.channels(0).expect("channels"), count(c_count), "{what}");
    for t in 0..t_count {
        for c in 0..c_count {
            let mut expected = Vec::new();
            super::each_position(&[z, y, x], &mut |at| {
                let voxel = store.voxel(0, shape, [t, c, at[0], at[1], at[2]]);
                expected.push(number(&voxel, voxel_type));
            });
            let found = shown.values(0, count(t), count(c));
            assert_voxels(&found, &expected, &format!("{what} t{t} c{c}"));
        }
    }
}

fn number(voxel: &[u8], voxel_type: &TypeDescriptor) -> f64 {
    match (voxel, voxel_type) {
        (&[a], _) => f64::from(a),
        (&[a, b], _) => f64::from(u16::from_le_bytes([a, b])),
        (&[a, b, c, d], TypeDescriptor::Unsigned(_)) => f64::from(u32::from_le_bytes([a, b, c, d])),
        (&[a, b, c, d], _) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (voxel, _) => panic!("a voxel of {} bytes", voxel.len()),
    }
}

#[test]
fn uint32_is_kept_on_request() {
    if !can_mount() {
        return;
    }
    let source = source();
    let store = source.path().join("a.zarr");
    // All beyond 2^24, where float32 has not every number.
    let formula = |at: &[u64]| {
        let number = (at[0] * TWO_LEVELS[1] + at[1]) * TWO_LEVELS[2] + at[2];
        u32::MAX - u32::try_from(number * 2311).expect("800000 times 2311 is below 2^31")
    };
    let voxel = |at: &[u64]| formula(at).to_le_bytes();
    write_array(&store.join("0"), "uint32", &TWO_LEVELS, &[20, 100, 128], voxel);
    write_group(&store, &ome("zyx", &[1.0; 3]));
    let mut numbers = Vec::new();
    super::each_position(&TWO_LEVELS, &mut |at| numbers.push(formula(at)));

    let mount = Mount::of(source.path()).args(["--uint32", "keep"]).start();
    let shown = Shown::open(&mount, "a.ims");
    assert_eq!(shown.voxel_type(), U32);
    let exact: Vec<f64> = numbers.iter().map(|number| f64::from(*number)).collect();
    assert_voxels(&shown.values(0, 0, 0), &exact, "kept");
    assert_chain(&shown, 1, Join::Whole);
    assert_histograms(&shown, 0, 0, 0);
    drop(shown);
    drop(mount);

    let mount = Mount::of(source.path()).start();
    let shown = Shown::open(&mount, "a.ims");
    assert_eq!(shown.voxel_type(), F32);
    #[expect(clippy::cast_precision_loss, reason = "what is expected of the program")]
    let rounded: Vec<f64> = numbers.iter().map(|number| f64::from(*number as f32)).collect();
    assert_voxels(&shown.values(0, 0, 0), &rounded, "rounded");
}

#[test]
fn types_are_kept_or_converted_by_the_table() {
    if !can_mount() {
        return;
    }
    let source = source();
    let stores = DTYPES.map(|dtype| {
        let mut store = StoreBuilder::new(dtype, "tczyx", &[2, 2, 5, 19, 23]);
        store.unit = vec![1, 1, 2, 8, 16];
        store.fill = Fill::NonZero;
        store.left_out = 5;
        store.write(&source.path().join(format!("{}.zarr", dtype.name_v3())));
        store
    });
    let mount = Mount::of(source.path()).start();
    for store in stores {
        let voxel_type = match store.dtype {
            Dtype::Bool | Dtype::U8 => U8,
            Dtype::U16 => U16,
            _ => F32,
        };
        let shown = Shown::open(&mount, &format!("{}.ims", store.dtype.name_v3()));
        assert_formula(&shown, &store, &voxel_type);
    }
}

#[test]
fn single_and_multi_channel() {
    if !can_mount() {
        return;
    }
    let source = source();
    let stores = [
        ("plane", "yx", vec![19, 23], 1),
        ("stack", "zyx", vec![4, 19, 23], 1),
        ("one", "czyx", vec![1, 4, 19, 23], 1),
        ("three", "czyx", vec![3, 4, 19, 23], 3),
        ("eight", "cyx", vec![8, 19, 23], 8),
    ];
    let stores = stores.map(|(name, axes, shape, channels)| {
        let store = StoreBuilder::new(Dtype::U16, axes, &shape);
        store.write(&source.path().join(format!("{name}.zarr")));
        (name, store, channels)
    });
    let mount = Mount::of(source.path()).start();
    for (name, store, channels) in stores {
        let shown = Shown::open(&mount, &format!("{name}.ims"));
        assert_formula(&shown, &store, &U16);
        let mut colours = std::collections::BTreeSet::new();
        for c in 0..channels {
            let group = format!("DataSetInfo/Channel {c}");
            let title = shown.ims.text(&group, "Name").expect("a name");
            assert_eq!(title, format!("Channel {c}"), "{name}");
            colours.insert(shown.ims.text(&group, "Color").expect("a colour"));
        }
        assert_eq!(colours.len(), channels, "{name}: channels of one colour: {colours:?}");
    }
}

#[test]
fn z_smaller_than_a_slab() {
    if !can_mount() {
        return;
    }
    let source = source();
    let stores = [
        ("three", vec![3, 150, 170], vec![1, 150, 170]),
        ("tiles", vec![3, 150, 170], vec![1, 64, 64]),
        ("one", vec![1, 150, 170], vec![1, 64, 64]),
        ("thick", vec![3, 150, 170], vec![64, 64, 64]),
    ];
    let stores = stores.map(|(name, shape, unit)| {
        let mut store = StoreBuilder::new(Dtype::U16, "zyx", &shape);
        store.unit = unit;
        store.write(&source.path().join(format!("{name}.zarr")));
        (name, store)
    });
    let mount = Mount::of(source.path()).start();
    for (name, store) in stores {
        assert_formula(&Shown::open(&mount, &format!("{name}.ims")), &store, &U16);
    }
}
