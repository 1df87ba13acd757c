//! Metadata that a store keeps outside of OME-NGFF reaches the file, too.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Shown, array_json, assert_close, ome, source, write_array, write_group};
use crate::common::mount::{Mount, can_mount};
use crate::common::tiny::{Tiny, group_json, write_json};

/// An array of four time points, (t, z, y, x), and the group of its image.
fn write_series(image: &Path, transforms: &Value) {
    let voxel = |at: &[u64]| u16::try_from(at[0] * 100 + at[3]).expect("small").to_le_bytes();
    write_array(&image.join("0"), "uint16", &[4, 2, 8, 8], &[1, 2, 8, 8], voxel);
    let axes: Vec<Value> = ["t", "z", "y", "x"].map(|name| json!({"name": name})).to_vec();
    let datasets = json!([{"path": "0", "coordinateTransformations": transforms}]);
    write_group(image, &json!({"multiscales": [{"axes": axes, "datasets": datasets}]}));
}

fn write_xml(store: &Path, images: &[&str]) {
    fs::create_dir_all(store.join("OME")).expect("a folder");
    let xml = format!("<OME>{}</OME>", images.concat());
    fs::write(store.join("OME/METADATA.ome.xml"), xml).expect("OME-XML");
}

const PLANES: &str = r#"<Image Name="first"><AcquisitionDate>2021-03-01T10:00:00</AcquisitionDate>
    <Pixels SizeX="8" SizeY="8" PhysicalSizeX="0.2" PhysicalSizeY="200" PhysicalSizeYUnit="nm"
    PhysicalSizeZ="1.5" TimeIncrement="7"><Plane TheT="0" DeltaT="0"/><Plane TheT="1" DeltaT="10"/>
    <Plane TheT="2" DeltaT="35"/><Plane TheT="3" DeltaT="90.5"/></Pixels></Image>"#;

const STEPS: &str = r#"<Image Name="second"><Pixels PhysicalSizeX="0.3" TimeIncrement="500"
    TimeIncrementUnit="ms"><Plane TheT="0" DeltaT="5"/><Plane TheT="1" DeltaT="5"/></Pixels></Image>"#;

fn times(shown: &Shown) -> Vec<String> {
    let time =
        |t| shown.ims.text("DataSetInfo/TimeInfo", &format!("TimePoint{t}")).expect("a time");
    (1..=4).map(time).collect()
}

#[test]
fn sizes_and_times_of_the_ome_xml() {
    if !can_mount() {
        return;
    }
    let source = source();
    let store = source.path().join("a.zarr");
    write_xml(&store, &[PLANES, STEPS]);
    let series = json!({"ome": {"series": ["field/x", "0"]}});
    write_json(&store.join("OME/zarr.json"), &group_json(&series));
    write_json(&store.join("zarr.json"), &group_json(&json!({})));
    write_json(&store.join("field/zarr.json"), &group_json(&json!({})));
    write_series(&store.join("field/x"), &json!([{"type": "scale", "scale": [1, 1, 1, 1]}]));
    write_series(&store.join("0"), &json!([{"type": "scale", "scale": [1, 4, 2, 1]}]));
    let mount = Mount::of(source.path()).start();
    let shown = Shown::open(&mount, "a/field/first.ims");
    assert_eq!(shown.ims.text("DataSetInfo/Image", "Name").expect("a name"), "first");
    assert_close(&shown.voxel_um(), &[0.2, 0.2, 1.5], "sizes");
    let seconds = ["10:00:00", "10:00:10", "10:00:35", "10:01:30.500"];
    assert_eq!(times(&shown), seconds.map(|time| format!("2021-03-01 {time}")));
    let shown = Shown::open(&mount, "a/second.ims");
    assert_eq!(shown.ims.text("DataSetInfo/Image", "Name").expect("a name"), "second");
    assert_close(&shown.voxel_um(), &[0.3, 2.0, 4.0], "OME-NGFF comes first");
    assert_eq!(times(&shown)[3], "2000-01-01 00:00:01.500");
}

#[test]
fn voxel_sizes_and_places_of_other_conventions() {
    if !can_mount() {
        return;
    }
    let source = source();
    let write = |name: &str, attributes: Value| {
        let folder = source.path().join(name);
        Tiny::default().write_array(&folder);
        let mut array = Tiny::default().array_json();
        array["attributes"] = attributes;
        write_json(&folder.join("zarr.json"), &array);
    };
    write("funlib.zarr", json!({"voxel_size": [40, 8, 4], "offset": [80, 16, 0], "units": "nm"}));
    write("bare.zarr", json!({"voxel_size": [3, 2, 1.5]}));
    let scale = json!([{"type": "scale", "scale": [3, 0.5, 0.25]}]);
    let own = json!({"axes": ["z", "y", "x"], "name": "leaf",
        "datasets": [{"path": ".", "coordinateTransformations": scale}]});
    let omero = json!({"channels": [{"label": "DNA", "color": "cyan"}]});
    write("leaf.zarr", json!({"multiscales": [own], "omero": omero}));
    let mount = Mount::of(source.path()).args(["--default-unit", "mm"]).start();
    let shown = Shown::open(&mount, "funlib.ims");
    assert_close(&shown.voxel_um(), &[0.004, 0.008, 0.04], "funlib");
    let low = shown.ims.extents().expect("extents").map(|(low, _)| low);
    assert_close(&low, &[0.0, 0.016, 0.08], "offset");
    let shown = Shown::open(&mount, "bare.ims");
    assert_close(&shown.voxel_um(), &[1500.0, 2000.0, 3000.0], "without a unit");
    let shown = Shown::open(&mount, "leaf.ims");
    assert_close(&shown.voxel_um(), &[250.0, 500.0, 3000.0], "the array itself");
    for (group, name, expected) in [
        ("Image", "Name", "leaf"),
        ("Channel 0", "Name", "DNA"),
        ("Channel 0", "Color", "0.000 1.000 1.000"),
    ] {
        let found = shown.ims.text(&format!("DataSetInfo/{group}"), name).expect("a text");
        assert_eq!(found, expected, "{group} {name}");
    }
}

#[test]
fn a_flip_is_told_in_the_file() {
    if !can_mount() {
        return;
    }
    let source = source();
    let store = source.path().join("a.zarr");
    Tiny::default().write_array(&store.join("0"));
    write_group(&store, &ome("zyx", &[2.0, -0.5, 0.25]));
    let mount = Mount::of(source.path()).start();
    let shown = Shown::open(&mount, "a.ims");
    assert_close(&shown.voxel_um(), &[0.25, 0.5, 2.0], "sizes");
    let told = shown.ims.text("DataSetInfo/OME-Zarr", "Flipped").expect("a text");
    assert_eq!(told, "y (negative scale)");
    let voxel = f64::from(Tiny::default().voxel([0, 0, 1]));
    assert!((shown.values(0, 0, 0)[1] - voxel).abs() < 0.5, "voxels are as stored");
}

#[test]
fn arrays_name_the_axes_where_the_image_does_not() {
    if !can_mount() {
        return;
    }
    let source = source();
    let store = source.path().join("a.zarr");
    let voxel = |at: &[u64]| u16::try_from(at[0] * 100 + at[2]).expect("small").to_le_bytes();
    let shape = [3, 8, 9];
    write_array(&store.join("0"), "uint16", &shape, &[1, 8, 9], voxel);
    let mut array = array_json("uint16", &shape, &[1, 8, 9]);
    array["dimension_names"] = json!(["c", "y", "x"]);
    write_json(&store.join("0/zarr.json"), &array);
    let channels: Vec<Value> = ["R", "G", "B"].map(|label| json!({"label": label})).to_vec();
    let ome =
        json!({"multiscales": [{"datasets": [{"path": "/0"}]}], "omero": {"channels": channels}});
    write_group(&store, &ome);
    let mount = Mount::of(source.path()).start();
    let shown = Shown::open(&mount, "a.ims");
    assert_eq!(shown.sizes(), [[1, 8, 9]]);
    assert!((shown.values(0, 0, 2)[4] - 204.0).abs() < 0.5, "the third channel");
    assert_eq!(shown.ims.text("DataSetInfo/Channel 2", "Name").expect("a name"), "B");
}
