//! A part of an image is what a view of the same part is.

use std::fs;

use super::{Bench, assert_equal, must_export};
use crate::common::mount::{Mount, can_mount};
use crate::common::store::{Codec, Dtype, Step, StoreBuilder};

#[test]
fn a_part_of_an_image_is_what_the_view_shows() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let mut store = StoreBuilder::new(Dtype::U16, "czyx", &[3, 12, 128, 96]);
    store.unit = vec![1, 4, 32, 32];
    store.codec = Codec::Gzip;
    store.steps = vec![vec![Step::Keep, Step::Keep, Step::FloorHalf, Step::FloorHalf]];
    store.write(&bench.store("run [1].zarr"));
    let (store, out) = (bench.store("run [1].zarr"), bench.out("run [1].ims"));
    let folder = bench.store("run [1].zarr.zarrims.toml");
    let cases: [(&str, &[&str]); 3] = [
        (
            "[[view]]\nname = \"run [1]\"\nx = [8, 80]\nz = [2, 11]\nchannels = [2, 0]\n",
            &["--crop", "8:80,:,2:11", "--channels", "2,0"],
        ),
        ("[[store]]\nlevels = [0]\n", &["--levels", "0"]),
        (
            "[[store]]\nlevels = [0]\n[[view]]\nname = \"run [1]\"\ny = [0, 64]\n",
            &["--levels", "0", "--crop", ":,0:64,:"],
        ),
    ];
    for (table, args) in cases {
        fs::write(&folder, table).expect("writable");
        let mount = Mount::of(&bench.source).start();
        let view = mount.path().join("run [1]~2.ims");
        let path = if view.exists() { view } else { mount.path().join("run [1].ims") };
        let expected = fs::read(path).expect("readable");
        drop(mount);
        fs::remove_file(&folder).expect("ours");
        for source in [&store, &bench.source] {
            let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![source, &out];
            all.extend(args.iter().map(|arg| arg as &dyn AsRef<std::ffi::OsStr>));
            must_export(&all);
            assert_equal(&out, &expected, table);
            fs::remove_file(&out).expect("ours");
        }
    }
}
