//! Arrays as people really write them: codecs of numcodecs, metadata in other spellings, chunk files
//! under other names than the metadata says. Chunks are written by hand, byte by byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::tiny::{Tiny, write_json};
use serde_json::{Value, json};
use tempfile::TempDir;
use zarrims::source::discover::open_image;
use zarrims::source::{SourceError, SourceRoot, UnitBytes, ZarrArray};

const TINY: Tiny = Tiny { shape: [4, 16, 24], chunk: [2, 8, 8], seed: 3 };

/// Chunks along each axis.
const GRID: [usize; 3] = [2, 2, 3];

/// The store of an image with one array, whose chunk files are named by a function.
struct Store(TempDir);

impl Store {
    /// Zarr v3, where `change` changes the metadata of the array.
    fn v3(name: impl Fn([usize; 3]) -> String, change: impl FnOnce(&mut Value)) -> Self {
        let mut document = TINY.array_json();
        change(&mut document);
        let store = Self::new(name);
        write_json(&store.array().join("zarr.json"), &document);
        write_json(&store.image().join("zarr.json"), &Tiny::image_json("tiny"));
        store
    }

    /// Zarr v2, where `change` changes the metadata of the array.
    fn v2(name: impl Fn([usize; 3]) -> String, change: impl FnOnce(&mut Value)) -> Self {
        let mut document = json!({"zarr_format": 2, "shape": TINY.shape, "chunks": TINY.chunk,
            "dtype": "<u2", "order": "C", "fill_value": 0, "filters": null, "compressor": null,
            "dimension_separator": "."});
        change(&mut document);
        let store = Self::new(name);
        write_json(&store.array().join(".zarray"), &document);
        write_json(&store.image().join(".zgroup"), &json!({"zarr_format": "2"}));
        let attributes = Tiny::image_json("tiny")["attributes"]["ome"].clone();
        write_json(&store.image().join(".zattrs"), &attributes);
        store
    }

    fn new(name: impl Fn([usize; 3]) -> String) -> Self {
        let store = Self(TempDir::with_prefix("zarrims-source-").expect("a temporary folder"));
        fs::create_dir_all(store.array()).expect("a folder");
        for chunk in chunks() {
            let name = name(chunk);
            if !name.is_empty() {
                store.put(&name, &TINY.chunk_bytes(chunk));
            }
        }
        store
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("a.zarr")
    }

    fn array(&self) -> PathBuf {
        self.image().join("0")
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.array().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    fn open(&self) -> Result<Arc<ZarrArray>, SourceError> {
        let root = Arc::new(SourceRoot::open(self.0.path(), false).expect("a folder"));
        open_image(&root, Path::new("a.zarr"), "", 0)
            .map(|image| image.levels[0].parts()[0].array.clone())
    }

    /// Reads all chunks; those of `absent` must be the fill value.
    #[track_caller]
    fn assert_shown(&self, absent: &[[usize; 3]]) {
        let array = self.open().expect("an image");
        for chunk in chunks() {
            let unit = array.read_unit(&position(chunk)).expect("readable");
            match unit {
                UnitBytes::Fill => assert!(absent.contains(&chunk), "{chunk:?} is black"),
                UnitBytes::Stored { bytes, .. } => {
                    assert!(!absent.contains(&chunk), "{chunk:?}");
                    assert_eq!(bytes[..], TINY.chunk_bytes(chunk), "{chunk:?}");
                }
            }
        }
    }

    #[track_caller]
    fn assert_refused(&self, word: &str) {
        let error = self.open().expect_err("not an image").to_string();
        assert!(error.contains(word), "{error}");
    }
}

fn chunks() -> impl Iterator<Item = [usize; 3]> {
    let [z, y, x] = GRID;
    (0..z * y * x).map(move |i| [i / (y * x), i / x % y, i % x])
}

fn position(chunk: [usize; 3]) -> Vec<u64> {
    chunk.iter().map(|&n| n as u64).collect()
}

fn joined(prefix: &'static str, separator: &'static str) -> impl Fn([usize; 3]) -> String {
    move |[z, y, x]| format!("{prefix}{z}{separator}{y}{separator}{x}")
}

fn separator(stated: &str) -> impl Fn(&mut Value) {
    let stated = stated.to_owned();
    move |document| document["dimension_separator"] = json!(stated)
}

const NAMES: [(&str, &str); 4] = [("", "."), ("", "/"), ("c/", "/"), ("c.", ".")];

#[test]
fn chunk_files_are_found_under_every_known_name_whatever_is_stated() {
    for (prefix, between) in NAMES {
        for stated in [".", "/"] {
            Store::v2(joined(prefix, between), separator(stated)).assert_shown(&[]);
        }
        let unstated = |document: &mut Value| {
            document.as_object_mut().expect("an object").remove("dimension_separator");
        };
        Store::v2(joined(prefix, between), unstated).assert_shown(&[]);
        for name in ["default", "v2"] {
            let encoding = json!({"name": name, "configuration": {"separator": between}});
            Store::v3(joined(prefix, between), |document| {
                document["chunk_key_encoding"] = encoding.clone();
            })
            .assert_shown(&[]);
        }
    }
}

#[test]
fn chunks_that_are_absent_stay_so_under_other_names() {
    let absent = [[0, 0, 0], [1, 1, 2]];
    for (prefix, between) in NAMES {
        let some = |chunk| {
            if absent.contains(&chunk) { String::new() } else { joined(prefix, between)(chunk) }
        };
        Store::v2(some, separator("/")).assert_shown(&absent);
        Store::v3(some, |_| {}).assert_shown(&absent);
    }
}

#[test]
fn chunks_under_two_names_are_all_shown_and_the_stated_one_wins() {
    let mixed = |chunk: [usize; 3]| joined("", if chunk[2] == 0 { "." } else { "/" })(chunk);
    for stated in [".", "/"] {
        let store = Store::v2(mixed, separator(stated));
        store.assert_shown(&[]);
        store.put(if stated == "." { "1/0/0" } else { "1.0.1" }, &TINY.chunk_bytes([0, 0, 0]));
        store.assert_shown(&[]);
    }
}

#[test]
fn folders_of_cpp_zarr_are_found() {
    for sizes in [[1, 1, 1], [2, 1, 0], [0, 0, 2]] {
        let name = |chunk: [usize; 3]| {
            let group = |axis: usize| chunk[axis].checked_div(sizes[axis]).unwrap_or(0);
            let folder = [0, 1, 2].map(|axis| group(axis).to_string()).join("_");
            format!("{folder}/{}", joined("", ".")(chunk))
        };
        Store::v2(name, |document| document["subfolders"] = json!(sizes)).assert_shown(&[]);
    }
    let flat = joined("", ".");
    Store::v2(&flat, |document| document["subfolders"] = json!([0, 0, 0])).assert_shown(&[]);
    Store::v2(&flat, |document| document["subfolders"] = json!([1, 1, 1])).assert_shown(&[]);
}

#[test]
fn names_that_tell_nothing_are_errors_and_not_black() {
    let names: [fn([usize; 3]) -> String; 5] = [
        |[z, y, x]| format!("{z}_{y}_{x}"),
        |[z, y, x]| format!("{z}/{y}.{x}"),
        |[z, y, x]| format!("{z:03}/{y:03}/{x:03}"),
        |[z, y, x]| format!("{}.{}", z * 2 + y, x),
        |[z, y, x]| format!("0_0_0/{z}.{y}.{x}"),
    ];
    for name in names {
        let array = Store::v2(name, separator("/")).open().map(|array| {
            let error = array.read_unit(&[0, 0, 0]).expect_err("names that tell nothing");
            assert!(error.to_string().contains("named in no known way"), "{error}");
        });
        array.expect("an image");
    }
}

#[test]
fn an_array_without_chunk_files_is_the_fill_value_whatever_else_is_there() {
    let all: Vec<[usize; 3]> = chunks().collect();
    for stated in [".", "/"] {
        let store = Store::v2(|_| String::new(), separator(stated));
        store.assert_shown(&all);
        for name in ["README", ".DS_Store", "._0.0.0", "0.0.0.part", "notes/1", "s0/0", "2/.zgroup"]
        {
            store.put(name, b"{}");
        }
        store.put("2/0/.zarray", b"{}");
        store.put("2/0/0.0.0", b"voxels of another array");
        fs::create_dir_all(store.array().join("1/1")).expect("a folder");
        store.assert_shown(&all);
    }
}

#[test]
fn metadata_is_read_in_other_spellings() {
    let v3: [fn(&mut Value); 9] = [
        |document| document["zarr_format"] = json!("3"),
        |document| document["node_type"] = json!(null),
        |document| document["data_type"] = json!("<u2"),
        |document| document["data_type"] = json!("UINT16"),
        |document| document["chunk_key_encoding"] = json!("default"),
        |document| document["chunk_key_encoding"] = json!(null),
        |document| document["codecs"] = json!(["bytes"]),
        |document| document["dimension_names"] = json!([null, "y", "x"]),
        |document| document["shape"] = json!([4.0, "16", 24]),
    ];
    for change in v3 {
        Store::v3(joined("c/", "/"), change).assert_shown(&[]);
    }
    let v2: [fn(&mut Value); 9] = [
        |document| document["zarr_format"] = json!("2"),
        |document| document["order"] = json!("c"),
        |document| document["order"] = json!(null),
        |document| document["dtype"] = json!("=u2"),
        |document| document["dtype"] = json!("uint16"),
        |document| document["compressor"] = json!({}),
        |document| document["filters"] = json!([]),
        |document| document["chunks"] = json!([2.0, 8.0, "8"]),
        |document| document["fill_value"] = json!("0.0"),
    ];
    for change in v2 {
        Store::v2(joined("", "."), change).assert_shown(&[]);
    }
}

#[test]
fn members_that_must_be_understood_are_refused_by_name() {
    let with =
        |value: Value| Store::v3(joined("c/", "/"), move |document| document["frobnicate"] = value);
    for value in [json!({"name": "x"}), json!(null), json!({"must_understand": true})] {
        with(value).assert_refused("frobnicate");
    }
    with(json!({"must_understand": false})).assert_shown(&[]);

    let store = Store::v3(joined("c/", "/"), |_| {});
    let mut group = Tiny::image_json("tiny");
    group["consolidated_metadata"] = json!({"kind": "inline", "metadata": {}});
    write_json(&store.image().join("zarr.json"), &group);
    store.assert_shown(&[]);
    group["frobnicate"] = json!([]);
    write_json(&store.image().join("zarr.json"), &group);
    store.assert_refused("frobnicate");
}

#[test]
fn filters_come_before_the_compressor() {
    let name = joined("", ".");
    let delta = json!({"id": "delta", "dtype": ">u2", "astype": ">u2"});
    let store = Store::v2(&name, |document| {
        document["dtype"] = json!(">u2");
        document["filters"] = json!([delta, {"id": "crc32"}]);
    });
    for chunk in chunks() {
        let bytes = TINY.chunk_bytes(chunk);
        let mut last = 0_u16;
        let voxels = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let differences: Vec<u8> = voxels
            .flat_map(|voxel| voxel.wrapping_sub(std::mem::replace(&mut last, voxel)).to_be_bytes())
            .collect();
        let mut crc = flate2::Crc::new();
        crc.update(&differences);
        store.put(&name(chunk), &[&crc.sum().to_le_bytes()[..], &differences].concat());
    }
    store.assert_shown(&[]);
    let mut damaged = fs::read(store.array().join("0.1.2")).expect("a chunk");
    damaged[77] ^= 1;
    store.put("0.1.2", &damaged);
    let error = store.open().expect("an image").read_unit(&[0, 1, 2]).expect_err("damaged");
    assert!(error.to_string().contains("crc32"), "{error}");
}

#[test]
fn codecs_that_are_not_known_are_refused_by_name() {
    let name = joined("", ".");
    for id in ["imagecodecs_jpegxl", "imagecodecs_avif", "categorize"] {
        Store::v2(&name, |document| document["compressor"] = json!({"id": id})).assert_refused(id);
    }
    let codecs = json!(["bytes", {"name": "numcodecs.categorize"}]);
    Store::v3(joined("c/", "/"), |document| document["codecs"] = codecs)
        .assert_refused("codec \"numcodecs.categorize\"");
}

#[test]
fn codecs_of_numbers_are_typed_along_the_chain() {
    let name = joined("c/", "/");
    let cast = json!({"name": "cast_value", "configuration": {"data_type": "int32"}});
    let codecs = json!([cast, "bytes", "numcodecs.shuffle", "numcodecs.lz4"]);
    let store = Store::v3(&name, |document| document["codecs"] = codecs);
    let put = |chunk: [usize; 3], add: i32| {
        let bytes = TINY.chunk_bytes(chunk);
        let voxels = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let numbers: Vec<[u8; 4]> =
            voxels.map(|voxel| (i32::from(voxel) + add).to_le_bytes()).collect();
        // The shuffle is of four bytes, those of int32.
        let shuffled: Vec<u8> =
            (0..4).flat_map(|plane| numbers.iter().map(move |number| number[plane])).collect();
        let length = u32::try_from(shuffled.len()).expect("small").to_le_bytes();
        let block = lz4_flex::block::compress(&shuffled);
        store.put(&name(chunk), &[&length[..], &block].concat());
    };
    chunks().for_each(|chunk| put(chunk, 0));
    store.assert_shown(&[]);
    // Beyond uint16, and no rule says what becomes of it: never another voxel.
    put([1, 0, 2], 1 << 16);
    let error = store.open().expect("an image").read_unit(&[1, 0, 2]).expect_err("damaged");
    assert!(error.to_string().contains("cast_value"), "{error}");
}
