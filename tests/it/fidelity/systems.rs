//! Coordinate systems, scenes, collections, and what lies beside an image or above it, reach the file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Shown, array_json, assert_close, source, write_array, write_group};
use crate::common::mount::{Mount, can_mount};
use crate::common::tiny::{Tiny, group_json, write_json};

const SHAPE: [u64; 3] = [4, 6, 10];

/// The voxel of the arrays of this module.
fn voxel(at: &[u64]) -> u16 {
    u16::try_from(at[0] * 100 + at[1] * 10 + at[2]).expect("small")
}

fn write(array: &Path) {
    write_array(array, "uint16", &SHAPE, &SHAPE, |at| voxel(at).to_le_bytes());
}

fn system(name: &str, unit: Option<&str>) -> Value {
    let axes = ["z", "y", "x"].map(|axis| json!({"name": axis, "type": "space", "unit": unit}));
    json!({"name": name, "id": name, "axes": axes})
}

/// An image of OME-NGFF 0.6 with the level `s0`.
fn image_06(step: &Value) -> Value {
    let mut step = step.clone();
    step["input"] = json!({"path": "s0"});
    step["output"] = json!({"name": "physical"});
    let dataset = json!({"path": "s0", "coordinateTransformations": [step]});
    json!({"ome": {"version": "0.6", "multiscales": [
        {"coordinateSystems": [system("physical", Some("micrometer"))], "datasets": [dataset]}]}})
}

fn write_attributes(store: &Path, attributes: &Value) {
    write_json(&store.join("zarr.json"), &group_json(attributes));
}

fn origin(shown: &Shown) -> [f64; 3] {
    shown.ims.extents().expect("extents").map(|(low, _)| low)
}

#[test]
fn permuted_axes_permute_the_voxels() {
    if !can_mount() {
        return;
    }
    let source = source();
    let scale = json!({"type": "scale", "scale": [2, 3, 4]});
    let map = json!({"type": "mapAxis", "mapAxis": [2, 0, 1]});
    let sequence = json!({"type": "sequence", "transformations": [scale, map]});
    let affine = json!([[0, 0, 4, 8], [2, 0, 0, 5], [0, 3, 0, 7]]);
    for (name, step) in
        [("sequence", sequence), ("affine", json!({"type": "affine", "affine": affine}))]
    {
        let store = source.path().join(format!("{name}.zarr"));
        write(&store.join("s0"));
        write_json(&store.join("zarr.json"), &group_json(&image_06(&step)));
    }
    let mount = Mount::of(source.path()).start();
    for name in ["sequence", "affine"] {
        let shown = Shown::open(&mount, &format!("{name}.ims"));
        // z is the last dimension of the array, y the first.
        assert_eq!(shown.sizes()[0], [10, 4, 6], "{name}");
        assert_close(&shown.voxel_um(), &[3.0, 2.0, 4.0], name);
        let values = shown.values(0, 0, 0);
        for (number, value) in values.into_iter().enumerate() {
            let (z, y, x) = (number / 24, number / 6 % 4, number % 6);
            let stored = f64::from(voxel(&[y as u64, x as u64, z as u64]));
            assert!((value - stored).abs() < 0.5, "{name} {z} {y} {x}: {value}, not {stored}");
        }
    }
    assert_close(&origin(&Shown::open(&mount, "affine.ims")), &[7.0, 5.0, 8.0], "translation");
}

/// An image of spatialdata: pixels are the intrinsic system.
fn write_spatialdata(store: &Path) {
    write(&store.join("0"));
    let to = |name: &str, transform: &Value| {
        let mut transform = transform.clone();
        transform["input"] = system("zyx", Some("unit"));
        transform["output"] = system(name, Some("unit"));
        transform
    };
    let axes = ["z", "y", "x"].map(|name| json!({"name": name, "type": "space"}));
    let pixels = json!([{"type": "scale", "scale": [1, 1, 1]}]);
    write_attributes(
        store,
        &json!({"ome": {"version": "0.5-dev-spatialdata", "multiscales": [{
        "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": pixels}],
        "coordinateTransformations": [to("global", &json!({"type": "identity"})),
            to("um", &json!({"type": "scale", "scale": [2, 0.5, 0.25]}))]}]}}),
    );
}

/// A scene of two tiles.
fn write_scene(scene: &Path) {
    let mut placed = Vec::new();
    for tile in ["a", "b"] {
        write(&scene.join(tile).join("s0"));
        let image = image_06(&json!({"type": "scale", "scale": [1, 0.5, 0.5]}));
        write_json(&scene.join(tile).join("zarr.json"), &group_json(&image));
        let by = if tile == "a" { 0 } else { 30 };
        placed.push(json!({"type": "translation", "translation": [0, 20, by],
            "input": {"path": tile, "name": "physical"}, "output": {"name": "world"}}));
    }
    write_attributes(
        scene,
        &json!({"ome": {"version": "0.6", "scene": {
        "coordinateSystems": [system("world", Some("micrometer"))],
        "coordinateTransformations": placed}}}),
    );
}

/// A collection (RFC-8).
fn write_collection(collection: &Path) {
    write(&collection.join("raw/0"));
    let zarr = |path: &str| json!({"type": "zarr", "path": path});
    let scale = json!([{"type": "scale", "scale": [3, 2, 1], "input": {"id": "s0"},
        "output": {"id": "physical"}}]);
    write_json(
        &collection.join("raw/zarr.json"),
        &group_json(&json!({"ome": {
        "version": "0.9.dev3", "type": "multiscale", "name": "own name",
        "attributes": {"coordinateSystems": [system("physical", Some("micrometer"))]},
        "nodes": [{"type": "singlescale", "id": "s0", "name": "s0", "path": zarr("./0"),
            "attributes": {"coordinateTransformations": scale}}]}})),
    );
    write_attributes(
        collection,
        &json!({"ome": {"version": "0.9.dev3", "type": "collection",
        "name": "study", "nodes": [
            {"type": "multiscale", "name": "DAPI", "path": zarr("./raw")},
            {"type": "multiscale", "name": "gone", "path": zarr("./gone")},
            {"type": "multiscale", "name": "far", "path": zarr("../far.zarr")}]}}),
    );
}

#[test]
fn named_systems_scenes_and_collections() {
    if !can_mount() {
        return;
    }
    let source = source();
    write_spatialdata(&source.path().join("sd.zarr"));
    write_scene(&source.path().join("scene.zarr"));
    write_collection(&source.path().join("study.zarr"));
    let mount = Mount::of(source.path()).start();
    assert_close(&Shown::open(&mount, "sd.ims").voxel_um(), &[0.25, 0.5, 2.0], "spatialdata");
    let tile = Shown::open(&mount, "scene/b.ims");
    assert_close(&tile.voxel_um(), &[0.5, 0.5, 1.0], "tile");
    assert_close(&origin(&tile), &[30.0, 20.0, 0.0], "tile");
    let shown = Shown::open(&mount, "study.ims");
    assert_close(&shown.voxel_um(), &[1.0, 2.0, 3.0], "collection");
    assert_eq!(shown.ims.text("DataSetInfo/Image", "Name").expect("a name"), "DAPI");
    let (_, log) = mount.stop();
    for told in
        ["node \"gone\" of the collection is not there", "node \"far\" of the collection lies"]
    {
        assert!(log.iter().any(|line| line.contains(told)), "{told}: {log:#?}");
    }
}

#[test]
fn coordinates_colours_and_boxes() {
    if !can_mount() {
        return;
    }
    let source = source();
    // xarray.
    let store = source.path().join("x.zarr");
    write(&store.join("raw"));
    let mut array = array_json("uint16", &SHAPE, &SHAPE);
    array["dimension_names"] = json!(["z", "y", "x"]);
    write_json(&store.join("raw/zarr.json"), &array);
    for (name, length, step) in [("z", 4, 2.0), ("y", 6, 0.5), ("x", 10, 0.25)] {
        let values = move |at: &[u64]| {
            let index = u32::try_from(at[0]).expect("a short array");
            (7.0 + f64::from(index) * step).to_le_bytes()
        };
        write_array(&store.join(name), "float64", &[length], &[length], values);
        let mut array = array_json("float64", &[length], &[length]);
        array["dimension_names"] = json!([name]);
        array["attributes"] = json!({"units": "micrometer"});
        write_json(&store.join(name).join("zarr.json"), &array);
    }
    write_json(&store.join("zarr.json"), &group_json(&json!({})));
    // Colours.
    let rgb = |at: &[u64]| [u8::try_from(at[0] * 10 + at[2]).expect("small")];
    write_array(&source.path().join("rgb.zarr"), "uint8", &[8, 9, 3], &[8, 9, 3], rgb);
    // WEBKNOSSOS: x first, padded to chunks.
    let layer = source.path().join("wk/color");
    let stored = |at: &[u64]| u16::try_from(at[1] * 100 + at[2] * 10 + at[3]).expect("small");
    write_array(&layer.join("1"), "uint16", &[1, 16, 8, 8], &[1, 8, 8, 8], |at| {
        stored(at).to_le_bytes()
    });
    let axes = ["c", "x", "y", "z"].map(|name| json!({"name": name}));
    write_group(&layer, &json!({"multiscales": [{"axes": axes, "datasets": [{"path": "1"}]}]}));
    let bounds = json!({"topLeft": [2, 0, 1], "width": 9, "height": 7, "depth": 5});
    let layers = json!([{"name": "color", "boundingBox": bounds}]);
    let dataset = json!({"scale": [10, 20, 30], "dataLayers": layers});
    fs::write(source.path().join("wk/datasource-properties.json"), dataset.to_string())
        .expect("a file");
    let mount = Mount::of(source.path()).start();
    let shown = Shown::open(&mount, "x.ims");
    assert_close(&shown.voxel_um(), &[0.25, 0.5, 2.0], "coordinates");
    assert_close(&origin(&shown), &[7.0; 3], "coordinates");
    let shown = Shown::open(&mount, "rgb.ims");
    assert_eq!((shown.sizes()[0], shown.ims.channels(0).expect("channels")), ([1, 8, 9], 3));
    assert_eq!(shown.ims.text("DataSetInfo/Channel 2", "Color").expect("one"), "0.000 0.000 1.000");
    assert!((shown.values(0, 0, 1)[9] - 11.0).abs() < 0.5, "green of the second row");
    let shown = Shown::open(&mount, "wk/color.ims");
    assert_eq!(shown.sizes()[0], [5, 7, 9]);
    assert_close(&shown.voxel_um(), &[0.01, 0.02, 0.03], "WEBKNOSSOS");
    assert_close(&origin(&shown), &[0.02, 0.0, 0.03], "WEBKNOSSOS");
    for (number, value) in shown.values(0, 0, 0).into_iter().enumerate() {
        let [z, y, x] = [number / 63, number / 9 % 7, number % 9].map(|at| at as u64);
        let wanted = f64::from(stored(&[0, x + 2, y, z + 1]));
        assert!((value - wanted).abs() < 0.5, "{z} {y} {x}: {value}, not {wanted}");
    }
}

#[test]
fn a_scene_that_moves_its_tiles_is_noticed() {
    if !can_mount() {
        return;
    }
    let source = source();
    let scene = source.path().join("scene.zarr");
    Tiny::default().write_array(&scene.join("a/s0"));
    let image = image_06(&json!({"type": "scale", "scale": [1, 1, 1]}));
    write_json(&scene.join("a/zarr.json"), &group_json(&image));
    let place = |by: f64| {
        let moved = json!([{"type": "translation", "translation": [0, 0, by],
            "input": {"path": "a", "name": "physical"}, "output": {"name": "world"}}]);
        write_group(&scene, &json!({"scene": {"coordinateTransformations": moved}}));
    };
    place(10.0);
    let mount = Mount::of(source.path()).start();
    assert_close(&origin(&Shown::open(&mount, "scene.ims")), &[10.0, 0.0, 0.0], "before");
    place(25.0);
    let moved = || (origin(&Shown::open(&mount, "scene.ims"))[0] - 25.0).abs() < 1e-6;
    crate::common::eventually("the tile has moved", Duration::from_secs(20), moved);
}
