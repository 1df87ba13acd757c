//! Files with compressed chunks hold what the plain file holds.

use std::fs;
use std::path::Path;

use hdf5_metno::types::FixedAscii;
use hdf5_metno::{File, Group};

use super::{Bench, export, must_export, stderr};
use crate::common::ims::Ims;
use crate::common::store::{Codec, Dtype, Step, StoreBuilder};

/// The text attributes of a group and all groups below it, and the names of all objects.
fn described(group: &Group, all: &mut Vec<String>) {
    let path = group.name();
    for name in group.attr_names().expect("readable") {
        let value = group.attr(&name).expect("there").read_raw::<FixedAscii<1>>();
        let text: String = value.map_or_else(
            |_| "a number".to_owned(),
            |text| text.iter().map(FixedAscii::as_str).collect(),
        );
        all.push(format!("{path} {name} = {text}"));
    }
    for name in group.member_names().expect("readable") {
        all.push(format!("{path}/{name}"));
        if let Ok(below) = group.group(&name) {
            described(&below, all);
        }
    }
}

fn description(path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    described(&File::open(path).expect("HDF5"), &mut all);
    all.sort();
    all
}

fn store() -> StoreBuilder {
    let mut store = StoreBuilder::new(Dtype::U16, "tczyx", &[2, 2, 20, 150, 130]);
    store.unit = vec![1, 1, 8, 64, 64];
    store.codec = Codec::Gzip;
    store.left_out = 3;
    store.steps = vec![vec![Step::Keep, Step::Keep, Step::Keep, Step::FloorHalf, Step::FloorHalf]];
    store
}

/// Issue: "with `--gzip 2` it equals the maker's file in every voxel".
#[test]
fn gzip_holds_every_voxel_and_attribute_of_the_plain_file() {
    let bench = Bench::new();
    store().write(&bench.store("stored.zarr"));
    let mut computed = StoreBuilder::new(Dtype::U8, "zyx", &[40, 300, 280]);
    computed.unit = vec![16, 64, 64];
    computed.coarsest_bytes = 1 << 16;
    computed.write(&bench.store("computed.zarr"));
    for name in ["stored", "computed"] {
        let store = bench.store(&format!("{name}.zarr"));
        let (plain, packed) = (bench.out("plain.ims"), bench.out("packed.ims"));
        must_export(&[&store, &plain, &"--force"]);
        must_export(&[&store, &packed, &"--gzip", &"2", &"--force", &"--verify"]);
        assert_eq!(description(&plain), description(&packed), "{name}");
        let len = |path: &Path| fs::metadata(path).expect("there").len();
        assert!(len(&packed) < len(&plain), "{name}: {} < {}", len(&packed), len(&plain));
        let [plain, packed] = [&plain, &packed].map(|path| Ims::open(path).expect("HDF5"));
        for level in 0..plain.levels().expect("levels") {
            for t in 0..plain.time_points(level).expect("time points") {
                for c in 0..plain.channels(level).expect("channels") {
                    let pixels = |file: &Ims| file.pixels(level, t, c).expect("readable");
                    assert!(pixels(&plain) == pixels(&packed), "{name}: {level} {t} {c}");
                }
            }
        }
    }
    assert_eq!(bench.left(), ["packed.ims", "plain.ims"]);
}

#[test]
fn lz4_has_the_filter_of_the_maker() {
    let bench = Bench::new();
    store().write(&bench.store("a.zarr"));
    let (plain, packed) = (bench.out("plain.ims"), bench.out("packed.ims"));
    must_export(&[&bench.store("a.zarr"), &plain]);
    must_export(&[&bench.store("a.zarr"), &packed, &"--lz4"]);
    assert_eq!(description(&plain), description(&packed));
    let file = File::open(&packed).expect("HDF5");
    let data = file.dataset("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data").expect("there");
    let filters = format!("{:?}", data.filters());
    assert!(filters.contains("32004") && filters.contains("1073741824"), "{filters}");
    let again = export(&[&bench.store("a.zarr"), &packed, &"--lz4"]);
    assert!(stderr(&again).contains("is there already"), "{}", stderr(&again));
}
