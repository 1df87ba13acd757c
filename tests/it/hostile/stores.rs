//! Stores that declare impossible sizes, and chunks that are not what they declare.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

use super::source::{PLANES, Source};
use crate::common::planes::{PLANE_BYTES, chunk};
use crate::common::tiny::{group_json, write_json};

/// Stores that cannot be shown, and must be told of.
pub(crate) const SKIPPED: [&str; 9] = [
    "shape62.zarr",
    "chunk40.zarr",
    "deep.zarr",
    "deepattrs.zarr",
    "large.zarr",
    "axes.zarr",
    "values.zarr",
    "fifo.zarr",
    "socket.zarr",
];

/// Levels of brackets, and entries of lists.
const DEPTH: usize = 100_000;
const MANY: usize = 100_000;

/// What a bomb would be when decoded.
const BOMB_BYTES: u64 = 1 << 30;

fn image(store: &Path, change: impl FnOnce(&mut Value)) {
    PLANES.write(store);
    let mut array = PLANES.array_json();
    change(&mut array);
    write_json(&store.join("0/zarr.json"), &array);
}

fn coded(store: &Path, codec: &Value, bytes: &[u8]) {
    image(store, |array| array["codecs"].as_array_mut().expect("codecs").push(codec.clone()));
    (0..PLANES.times).for_each(|time| fs::write(chunk(store, time), bytes).expect("a chunk"));
}

fn zeros() -> impl Read {
    io::repeat(0).take(BOMB_BYTES)
}

fn gzip_bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    io::copy(&mut zeros(), &mut encoder).expect("memory");
    encoder.finish().expect("memory")
}

/// The header of a chunk of 2 GiB: version, version of the codec, flags, bytes of a type, then three
/// sizes (c-blosc, `README_HEADER`).
fn blosc_header() -> Vec<u8> {
    let mut bytes = vec![2, 1, 0x21, 2];
    for size in [0x7FFF_FFFF_u32, 0x4000_0000, 64] {
        bytes.write_all(&size.to_le_bytes()).expect("memory");
    }
    bytes.resize(64, 0xAB);
    bytes
}

fn nested(around: &str) -> String {
    format!("{around}{}{}}}", "[".repeat(DEPTH), "]".repeat(DEPTH))
}

pub(crate) fn write(source: &Source) {
    let huge = 1_u64 << 62;
    image(&source.at("shape62.zarr"), |array| array["shape"] = json!([huge, huge, huge, huge]));
    image(&source.at("long.zarr"), |array| array["shape"] = json!([1, 1, 64, 1_u64 << 50]));
    image(&source.at("chunk40.zarr"), |array| {
        array["chunk_grid"]["configuration"]["chunk_shape"] = json!([1, 1, 1, 1_u64 << 40]);
    });
    let blosc = json!({"name": "blosc", "configuration": {"typesize": 2, "cname": "lz4",
        "clevel": 5, "shuffle": "noshuffle", "blocksize": 0}});
    coded(&source.at("blosc.zarr"), &blosc, &blosc_header());
    let gzip = json!({"name": "gzip", "configuration": {"level": 1}});
    coded(&source.at("gzip.zarr"), &gzip, &gzip_bomb());
    let zstd_bomb = zstd::encode_all(zeros(), 1).expect("memory");
    let zstd = json!({"name": "zstd", "configuration": {"level": 1, "checksum": false}});
    coded(&source.at("zstd.zarr"), &zstd, &zstd_bomb);

    for (name, document) in [("deep.zarr", "zarr.json"), ("deepattrs.zarr", ".zattrs")] {
        fs::create_dir(source.at(name)).expect("a folder");
        let text = nested(r#"{"zarr_format":3,"node_type":"group","attributes":"#);
        fs::write(source.at(name).join(document), text).expect("a document");
    }
    fs::create_dir(source.at("large.zarr")).expect("a folder");
    let large = File::create(source.at("large.zarr/zarr.json")).expect("a document");
    large.set_len(70 << 20).expect("a sparse file");
    // Nothing in it is long, deep, or unheard of.
    fs::create_dir(source.at("values.zarr")).expect("a folder");
    let values = r#"{"a":0},"#.repeat(40 * MANY);
    let text =
        format!(r#"{{"zarr_format":3,"node_type":"group","attributes":{{"b":[{values}0]}}}}"#);
    fs::write(source.at("values.zarr/zarr.json"), text).expect("a document");
    lists(source);
    not_files(source);
}

/// Lists of more axes and levels than any image has.
fn lists(source: &Source) {
    let multiscale = |axes: Value, datasets: Value| {
        group_json(&json!({"ome": {"version": "0.5",
            "multiscales": [{"axes": axes, "datasets": datasets}]}}))
    };
    let axes = json!(["t", "z", "y", "x"].map(|name| json!({"name": name})));
    let many = |entry: &dyn Fn(usize) -> Value| Value::Array((0..MANY).map(entry).collect());
    let own = json!([{"path": "0"}]);
    let documents = [
        ("axes.zarr", multiscale(many(&|n| json!({"name": format!("a{n}")})), own.clone())),
        ("levels.zarr", multiscale(axes.clone(), many(&|_| json!({"path": "0"})))),
        ("absent.zarr", multiscale(axes.clone(), many(&|n| json!({"path": n.to_string()})))),
        ("images.zarr", {
            let entry = json!({"axes": axes, "datasets": [{"path": "none"}]});
            group_json(&json!({"ome": {"version": "0.5", "multiscales": many(&|_| entry.clone())}}))
        }),
    ];
    for (name, document) in documents {
        image(&source.at(name), |_| {});
        fs::write(source.at(name).join("zarr.json"), document.to_string()).expect("a document");
    }
}

/// Pipes and sockets where files belong.
fn not_files(source: &Source) {
    let fifo = |path: &Path| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("a FIFO");
    let socket = |path: &Path| drop(UnixListener::bind(path).expect("a socket"));
    for (name, make) in [("fifo", &fifo as &dyn Fn(&Path)), ("socket", &socket)] {
        let whole = source.at(&format!("{name}.zarr"));
        fs::create_dir(&whole).expect("a folder");
        make(&whole.join("zarr.json"));
        let pixels = source.at(&format!("{name}chunk.zarr"));
        PLANES.write(&pixels);
        fs::remove_file(chunk(&pixels, 1)).expect("a chunk");
        make(&chunk(&pixels, 1));
        assert!(fs::metadata(chunk(&pixels, 0)).expect("a chunk").len() == PLANE_BYTES as u64);
    }
}
