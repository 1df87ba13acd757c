//! Names of the images of a store of several: plates, series, labels.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SOON, below};
use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount};
use crate::common::tiny::{Tiny, group_json, write_json};
use crate::common::{command, eventually, list_json, row_of};

fn small(seed: u16) -> Tiny {
    Tiny { shape: [1, 8, 16], chunk: [1, 8, 16], seed }
}

fn source() -> TempDir {
    TempDir::with_prefix("zarrims-source-").expect("a temporary folder")
}

fn group(folder: &Path, attributes: &Value) {
    write_json(&folder.join("zarr.json"), &group_json(attributes));
}

/// Files of the mount, without folders.
fn shown(mount: &Path) -> Vec<String> {
    let is_file = |name: &String| mount.join(name).is_file();
    below(mount).into_keys().filter(is_file).collect()
}

/// Whether a virtual file shows this image.
fn shows(path: &Path, image: &Tiny) -> bool {
    let bytes = fs::read(path).expect("readable");
    bytes.windows(32).any(|run| run == &image.pixels()[..32])
}

/// What Imaris shows as the name of an image.
fn name_of(file: &Path) -> String {
    Ims::open(file).expect("opens").text("DataSetInfo/Image", "Name").expect("a name")
}

/// The attributes of a plate with these wells.
fn plate_json(wells: &[&str]) -> Value {
    let wells: Vec<Value> = wells.iter().map(|path| json!({"path": path})).collect();
    let columns: Vec<Value> = (1..=12).map(|n| json!({"name": n.to_string()})).collect();
    json!({"ome": {"version": "0.5", "plate": {
        "name": "P", "rows": [{"name": "A"}, {"name": "B"}], "columns": columns, "wells": wells,
        "acquisitions": [{"id": 0}, {"id": 3}]}}})
}

fn write_well(plate: &Path, well: &str, fields: &[(&str, u16)]) {
    let images: Vec<Value> =
        fields.iter().map(|(path, _)| json!({"path": path, "acquisition": 0})).collect();
    for (path, seed) in fields {
        small(*seed).write(&plate.join(well).join(path));
    }
    let row = plate.join(well).parent().expect("a row").to_owned();
    group(&row, &json!({}));
    group(&plate.join(well), &json!({"ome": {"version": "0.5", "well": {"images": images}}}));
}

#[test]
fn fields_of_a_plate_are_called_by_their_wells() {
    if !can_mount() {
        return;
    }
    let source = source();
    let plate = source.path().join("screen.ome.zarr");
    group(&plate, &plate_json(&["A/1", "B/12"]));
    write_well(&plate, "A/1", &[("0", 1), ("1", 2)]);
    write_well(&plate, "B/12", &[("Pos7", 3)]);
    // Not listed: by the plate, and by its well.
    write_well(&plate, "A/2", &[("0", 4)]);
    small(5).write(&plate.join("A/1/raw"));
    small(6).write(&plate.join("B/12/Pos7/labels/cells"));
    let later =
        json!({"ome": {"well": {"images": [{"path": "0"}, {"path": "1", "acquisition": 3}]}}});
    group(&plate.join("A/1"), &later);

    let expected = [
        ("screen/A01_0.ims", "A/1/0", "screen A01 0", 1),
        ("screen/A01_1_acq3.ims", "A/1/1", "screen A01 1 acq3", 2),
        ("screen/B12_Pos7.ims", "B/12/Pos7", "screen B12 Pos7", 3),
    ];
    let rows = list_json(source.path(), &[]);
    let told: Vec<&Value> = rows.iter().filter_map(|row| row.get("skipped")).collect();
    let unlisted = ["A/1/raw", "A/2/0"].map(|path| format!("screen.ome.zarr/{path}"));
    assert!(unlisted.iter().all(|path| told.iter().any(|told| *told == path)), "{rows:#?}");
    let mount = Mount::of(source.path()).start();
    assert_eq!(shown(mount.path()), expected.map(|(file, ..)| file));
    for (file, image, name, seed) in expected {
        assert_eq!(row_of(&rows, file)["image"], image);
        assert!(shows(&mount.path().join(file), &small(seed)), "{file}");
        assert_eq!(name_of(&mount.path().join(file)), name);
    }
    drop(mount);

    let args = ["--image-names", "paths", "--labels", "files"];
    let mount = Mount::of(source.path()).args(args).start();
    let paths = ["A/1/0.ims", "A/1/1.ims", "B/12/Pos7.ims", "B/12/Pos7_labels/cells.ims"];
    assert_eq!(shown(mount.path()), paths.map(|path| format!("screen/{path}")));
    assert!(shows(&mount.path().join("screen").join(paths[3]), &small(6)));
}

#[test]
fn a_plate_that_grows_renames_nothing_and_closes_nothing() {
    if !can_mount() {
        return;
    }
    let source = source();
    let plate = source.path().join("p.zarr");
    write_well(&plate, "A/1", &[("0", 1)]);
    group(&plate, &plate_json(&["A/1"]));
    let mount = Mount::of(source.path()).start();
    let first = below(mount.path());
    assert_eq!(shown(mount.path()), ["p/A01_0.ims"]);
    write_well(&plate, "B/10", &[("0", 2)]);
    group(&plate, &plate_json(&["A/1", "B/10"]));
    eventually("the second well is shown", SOON, || mount.path().join("p/B10_0.ims").is_file());
    assert_eq!(shown(mount.path()), ["p/A01_0.ims", "p/B10_0.ims"]);
    // It is the same file as before.
    assert_eq!(below(mount.path())["p/A01_0.ims"], first["p/A01_0.ims"]);
}

fn write_series(store: &Path, names: &[&str]) {
    let images: Vec<String> =
        names.iter().map(|name| format!("<Image Name=\"{name}\"/>")).collect();
    for number in 0..names.len() {
        let seed = u16::try_from(number).expect("few") + 1;
        small(seed).write(&store.join(number.to_string()));
    }
    fs::create_dir_all(store.join("OME")).expect("a folder");
    let xml = format!(
        "<OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\">{}</OME>",
        images.concat()
    );
    fs::write(store.join("OME/METADATA.ome.xml"), xml).expect("a file");
    group(store, &json!({"ome": {"bioformats2raw.layout": 3}}));
}

#[test]
fn series_are_called_by_their_names_where_these_are_their_own() {
    if !can_mount() {
        return;
    }
    let source = source();
    write_series(
        &source.path().join("slide.zarr"),
        &["macro", "x.lif [Pos/2]", "Same", "same", "  "],
    );
    write_series(&source.path().join("one.zarr"), &["only"]);
    let expected = [
        "one.ims",
        "slide/2.ims",
        "slide/3.ims",
        "slide/4.ims",
        "slide/macro.ims",
        "slide/x.lif [Pos_2].ims",
    ];
    let images = ["0", "2", "3", "4", "0", "1"];
    let rows = list_json(source.path(), &[]);
    let mount = Mount::of(source.path()).start();
    assert_eq!(shown(mount.path()), expected);
    for (file, image) in expected.into_iter().zip(images) {
        assert_eq!(row_of(&rows, file)["image"], image);
        let seed = image.parse::<u16>().expect("a number") + 1;
        assert!(shows(&mount.path().join(file), &small(seed)), "{file}");
    }
}

#[test]
fn labels_as_files_change_the_path_of_nothing_else() {
    if !can_mount() {
        return;
    }
    let source = source();
    small(1).write(&source.path().join("x.zarr"));
    small(2).write(&source.path().join("x.zarr/labels/nuclei"));
    small(3).write(&source.path().join("x_labels/y.zarr"));
    // Images and labels side by side, as in spatialdata.
    for (path, seed) in [("images/a", 4), ("labels/a", 5), ("labels/b", 6)] {
        small(seed).write(&source.path().join("s.zarr").join(path));
    }
    for path in ["s.zarr/images", "s.zarr/labels", "s.zarr"] {
        group(&source.path().join(path), &json!({}));
    }
    let mount = Mount::of(source.path()).start();
    let plain = ["s.ims", "x.ims", "x_labels/y.ims"];
    assert_eq!(shown(mount.path()), plain);
    drop(mount);
    let mount = Mount::of(source.path()).args(["--labels", "files"]).start();
    let expected = [
        ("s.ims", 4),
        ("s_labels/a.ims", 5),
        ("s_labels/b.ims", 6),
        ("x.ims", 1),
        ("x_labels/y.ims", 3),
        ("x_labels~2/nuclei.ims", 2),
    ];
    assert_eq!(shown(mount.path()), expected.map(|(file, _)| file));
    for (file, seed) in expected {
        assert!(shows(&mount.path().join(file), &small(seed)), "{file}");
    }
    // A label that comes is shown beside.
    small(7).write(&source.path().join("x.zarr/labels/later"));
    eventually("the label is shown", SOON, || {
        mount.path().join("x_labels~2/later.ims").is_file() && mount.path().join("x.ims").is_file()
    });
}

#[test]
fn list_says_where_each_file_comes_from() {
    let source = source();
    let plate = source.path().join("screen.zarr");
    group(&plate, &plate_json(&["A/1"]));
    write_well(&plate, "A/1", &[("0", 1)]);
    small(2).write(&plate.join("A/1/0/labels/cells"));
    let mut list = command(&[]);
    list.arg("--list").args(["--labels", "files"]).arg(source.path());
    let output = list.output().expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for (file, from) in [
        ("screen/A01_0.ims", "screen.zarr/A/1/0"),
        ("screen/A01_0_labels/cells.ims", "screen.zarr/A/1/0/labels/cells"),
    ] {
        let is_told = |line: &str| {
            line.starts_with(&format!("{file} ")) && line.ends_with(&format!("; from {from}"))
        };
        assert!(text.lines().any(is_told), "{file}: {text}");
    }
}
