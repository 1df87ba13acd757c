use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::source::place::Role;

/// A source folder to write into.
struct Source(TempDir);

impl Source {
    fn new() -> Self {
        Self(TempDir::with_prefix("zarrims-discover-").expect("a temporary folder"))
    }

    fn put(&self, path: &str, document: &Value) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, document.to_string()).expect("a document");
        self
    }

    fn group(&self, path: &str, attributes: &Value) -> &Self {
        let group = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes});
        self.put(&format!("{path}/zarr.json"), &group)
    }

    fn array(&self, path: &str, shape: &[u64], names: &Value) -> &Self {
        let chunk: Vec<u64> = shape.iter().map(|length| (*length).min(64)).collect();
        let array = json!({"zarr_format": 3, "node_type": "array", "shape": shape,
            "data_type": "float64", "fill_value": 0, "dimension_names": names,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "chunk_key_encoding": {"name": "default"}});
        self.put(&format!("{path}/zarr.json"), &array)
    }

    /// A multiscales group with one level.
    fn image(&self, path: &str) -> &Self {
        let multiscales = json!([{"axes": ["z", "y", "x"], "datasets": [{"path": "0"}]}]);
        let attributes = json!({"ome": {"version": "0.5", "multiscales": multiscales}});
        self.group(path, &attributes).array(&format!("{path}/0"), &[2, 8, 8], &Value::Null)
    }

    fn inspect(&self, folder: &str, labels: bool) -> Folder {
        let root = Arc::new(SourceRoot::open(self.0.path(), false).expect("a folder"));
        inspect(&root, Path::new(folder), labels).expect("a folder")
    }

    /// Images, and lines for what is skipped; whether it is looked at again.
    #[track_caller]
    fn store(&self, folder: &str, labels: bool) -> (Vec<String>, Vec<String>, bool) {
        let Folder::Store(store) = self.inspect(folder, labels) else {
            panic!("{folder} is plain")
        };
        let images = store.images.iter().map(|image| image.image.clone()).collect();
        let mut skipped: Vec<String> =
            store.skipped.iter().map(|(_, error)| error.to_string()).collect();
        skipped.sort();
        let later = std::time::SystemTime::now() + std::time::Duration::from_hours(1);
        (images, skipped, !store.fingerprint.is_lasting(later))
    }

    #[track_caller]
    fn assert_format(&self, folder: &str, reason: &str) {
        let (images, skipped, _) = self.store(folder, false);
        assert_eq!((images.len(), skipped), (0, vec![format!("{folder}: {reason}")]), "{folder}");
    }

    #[track_caller]
    fn assert_plain(&self, folder: &str) {
        let Folder::Plain(plain) = self.inspect(folder, false) else {
            panic!("{folder} is a store")
        };
        assert!(plain.skipped.is_empty(), "{:?}", plain.skipped);
    }
}

#[test]
fn n5_is_named_with_and_without_its_key() {
    let source = Source::new();
    let data = json!({"dimensions": [8, 8], "blockSize": [8, 8], "dataType": "uint16"});
    source.put("key/attributes.json", &json!({"n5": "2.5.0"}));
    source.put("data/attributes.json", &data);
    source.put("nokey/c0/s0/attributes.json", &data);
    source.put("setups/attributes.json", &json!({}));
    for setup in ["setup0", "setup1"] {
        let path = |inside: &str| format!("setups/{setup}/{inside}attributes.json");
        source.put(&path(""), &json!({"downsamplingFactors": [[1, 1, 1]], "dataType": "uint16"}));
        source.put(&path("timepoint0/s0/"), &data);
    }
    source.put("named.N5/s0/other.json", &data);
    for folder in ["key", "data", "nokey", "setups", "named.N5"] {
        source.assert_format(folder, "N5 is not supported");
    }
    // A folder with anything else in it is a folder; what is N5 in it is told for itself.
    source.put("mixed/n/attributes.json", &data).image("mixed/a.zarr");
    source.put("above/x.n5/attributes.json", &data);
    source.put("other/attributes.json", &json!({"n": 5}));
    fs::create_dir_all(source.0.path().join("empty/deep")).expect("folders");
    for folder in ["mixed", "above", "other", "empty"] {
        source.assert_plain(folder);
    }
}

#[test]
fn volumes_and_references_are_named() {
    let source = Source::new();
    source.put("a/info", &json!({"@type": "neuroglancer_multiscale_volume"}));
    source.put("b/info", &json!({"type": "image", "data_type": "uint8", "scales": []}));
    for folder in ["a", "b"] {
        source.assert_format(folder, "neuroglancer precomputed is not supported");
    }
    let references = json!({"metadata": {".zgroup": {"zarr_format": 2}}, "record_size": 1000});
    source.put("c/.zmetadata", &references).put("c/air/refs.0.parq", &json!(0));
    source.put("d.zarr/.zmetadata", &references);
    for folder in ["c", "d.zarr"] {
        source.assert_format(folder, "kerchunk references are not supported");
    }
    source.put("e/info", &json!({"type": "image"}));
    source.put("f/info/x", &json!({})).put("g/info", &json!("x".repeat(2 << 20)));
    for folder in ["e", "f", "g"] {
        source.assert_plain(folder);
    }
}

#[test]
fn references_in_a_file_are_told_by_name_and_content() {
    let source = Source::new();
    let root = SourceRoot::open(source.0.path(), false).expect("a folder");
    let told = |name: &str, document: &Value| {
        source.put(name, document);
        match look_at_file(&root, Path::new(name)) {
            File::Skipped(error) => Some(error.to_string()),
            File::Ordinary => None,
            File::Store => panic!("{name} is no archive"),
        }
    };
    let references = json!({"version": 1, "refs": {"a/0": ["u", 0, 1]}});
    for name in ["x.zarr.json", "x.kerchunk.json", "refs.json", "x.ZARR"] {
        let line = format!("{name}: kerchunk references are not supported");
        assert_eq!(told(name, &references), Some(line));
    }
    assert_eq!(told("x.json", &references), None);
    assert_eq!(told("y.zarr.json", &json!({"a": "b"})), None);
    assert_eq!(told("z.zarr", &json!(0)).as_deref(), Some("z.zarr: no Zarr metadata"));
    assert_eq!(told("a.ZIP", &json!(0)), None);
    assert_eq!(told("a.OZX", &json!(0)).as_deref(), Some("a.OZX: no Zarr metadata"));
}

#[test]
fn small_and_flat_arrays_are_no_images() {
    let source = Source::new();
    source.group("s.zarr", &json!({}));
    source.array("s.zarr/affine", &[4, 4], &Value::Null);
    source.array("s.zarr/x", &[9], &json!(["x"])).array("s.zarr/t", &[9], &json!(["time"]));
    source.array("s.zarr/crs", &[], &Value::Null).array("s.zarr/im", &[4, 6], &Value::Null);
    source.array("s.zarr/im2", &[7, 7], &Value::Null).array("s.zarr/of", &[3, 4], &Value::Null);
    let (images, skipped, _) = source.store("s.zarr", false);
    assert_eq!(images, ["im", "im2"]);
    let expected = [
        "s.zarr/affine: a 4 x 4 matrix, not an image",
        "s.zarr/crs: 0 dimensions; an image has 2 to 5",
        "s.zarr/of: a 3 x 4 matrix, not an image",
        "s.zarr/t: 1 dimension; an image has 2 to 5",
        "s.zarr/x: coordinates of an axis, not an image",
    ];
    assert_eq!(skipped, expected);
    // A level is an image, however small.
    source.image("tiny.zarr").array("tiny.zarr/0", &[1, 4, 4], &Value::Null);
    assert_eq!(source.store("tiny.zarr", false).0, [""]);
}

#[test]
fn labels_are_found_whether_or_not_they_are_listed() {
    let source = Source::new();
    source.image("a.zarr").image("a.zarr/labels/nuclei").image("a.zarr/labels/cells");
    source.array("a.zarr/labels/raw", &[8, 8, 8], &Value::Null);
    for list in [None, Some(json!({})), Some(json!({"ome": {"labels": ["cells"]}}))] {
        if let Some(list) = list {
            source.group("a.zarr/labels", &list);
        }
        let (images, skipped, _) = source.store("a.zarr", false);
        assert_eq!((images, skipped.len()), (vec![String::new()], 3), "{skipped:?}");
        assert!(skipped.iter().all(|line| line.contains("--labels")), "{skipped:?}");
        let Folder::Store(store) = source.inspect("a.zarr", true) else { panic!("a store") };
        let mut labels: Vec<&str> =
            store.images[1..].iter().map(|image| image.image.as_str()).collect();
        labels.sort_unstable();
        assert_eq!(labels, ["labels/cells", "labels/nuclei", "labels/raw"]);
        let root = Arc::new(SourceRoot::open(source.0.path(), false).expect("a folder"));
        for image in &store.images[1..] {
            let opened = open_image(&root, Path::new("a.zarr"), &image.image, 0).expect("an image");
            assert_eq!((image.role, opened.role), (Role::Label, Role::Label));
        }
    }
}

#[test]
fn what_lies_beside_the_levels_is_told() {
    let source = Source::new();
    source.image("a.zarr").image("a.zarr/deconvolved").image("a.zarr/more/deep");
    source.group("a.zarr/more", &json!({})).array("a.zarr/extra", &[2, 8, 8], &Value::Null);
    source.group("a.zarr/tables", &json!({}));
    source.group("a.zarr/tables/t", &json!({"encoding-type": "anndata"}));
    let (images, skipped, _) = source.store("a.zarr", true);
    assert_eq!(images, [""]);
    let expected = [
        "a.zarr/deconvolved: an image inside an image; only the outer one is shown",
        "a.zarr/extra: an array inside an image that is none of its levels",
        "a.zarr/more/deep: an image inside an image; only the outer one is shown",
        "a.zarr/tables/t: a table, not an image",
    ];
    assert_eq!(skipped, expected);
    // Also where as many folders are there as there should be.
    source.image("b.zarr").image("b.zarr/inner");
    fs::rename(source.0.path().join("b.zarr/0"), source.0.path().join("level")).expect("rename");
    symlink("../level", source.0.path().join("b.zarr/0")).expect("a link");
    assert_eq!(source.store("b.zarr", false).1.len(), 1);
}

#[test]
fn what_cannot_be_read_is_told_and_looked_at_again() {
    let source = Source::new();
    source.group("g.zarr", &json!({})).image("g.zarr/a");
    assert!(!source.store("g.zarr", false).2);
    symlink("nowhere", source.0.path().join("g.zarr/link")).expect("a link");
    let (images, skipped, is_doubtful) = source.store("g.zarr", false);
    assert_eq!((images.len(), skipped.len(), is_doubtful), (1, 1, true), "{skipped:?}");
    assert!(skipped[0].starts_with("g.zarr/link: symbolic link"), "{skipped:?}");
    // A document that is a folder is there, and cannot be read.
    source.image("l.zarr");
    fs::create_dir_all(source.0.path().join("l.zarr/labels/zarr.json")).expect("a folder");
    let (images, skipped, is_doubtful) = source.store("l.zarr", false);
    assert_eq!((images.len(), skipped.len(), is_doubtful), (1, 1, true), "{skipped:?}");
    assert!(skipped[0].contains("labels"), "{skipped:?}");
    // A sign that leads out of the source: the folder is shown all the same.
    fs::create_dir(source.0.path().join("plain")).expect("a folder");
    symlink("/etc/passwd", source.0.path().join("plain/info")).expect("a link");
    let Folder::Plain(plain) = source.inspect("plain", false) else { panic!("a store") };
    assert_eq!(plain.skipped.len(), 1, "{:?}", plain.skipped);
}

#[test]
fn what_ome_metadata_says_beyond_images_is_told() {
    let source = Source::new();
    let nodes = json!([{"type": "multiscale", "name": "a"}]);
    let collection = json!({"version": "0.7", "type": "collection", "name": "x", "nodes": nodes});
    source.group("c.zarr", &json!({"ome": collection})).image("c.zarr/a");
    let (images, skipped, _) = source.store("c.zarr", false);
    assert_eq!(images, ["a"]);
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].contains("multiscale, without nodes or path"), "{skipped:?}");
}
