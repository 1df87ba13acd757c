//! A store that declares 100 GiB and has no chunk, as an acquisition that has just begun.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Bench, exporter};
use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount};
use crate::common::picks::Picks;
use crate::common::tiny::{group_json, write_json};

const SHAPE: [u64; 3] = [3200, 4096, 4096];
const LEVELS: u32 = 7;

/// Far more than it takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(15);

/// Pieces that are compared with the mount's, and their length.
const PIECES: usize = 200;
const PIECE: usize = 64 << 10;

/// With all levels, so that none is computed.
fn declare(store: &Path) {
    let mut datasets = Vec::new();
    for level in 0..LEVELS {
        let shape = SHAPE.map(|side| side >> level);
        let array = json!({
            "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [128, 128, 128]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "fill_value": 0, "attributes": {}});
        write_json(&store.join(level.to_string()).join("zarr.json"), &array);
        let scale = [f64::from(1 << level); 3];
        datasets.push(json!({"path": level.to_string(),
            "coordinateTransformations": [{"type": "scale", "scale": scale}]}));
    }
    let axes: Vec<Value> = ["z", "y", "x"].map(|name| json!({"name": name})).into();
    let multiscale = json!({"axes": axes, "datasets": datasets});
    let ome = json!({"ome": {"version": "0.5", "multiscales": [multiscale]}});
    write_json(&store.join("zarr.json"), &group_json(&ome));
}

/// Issue: "100 GiB declared under 500 MiB resident". What is not there takes no room of the disk.
#[test]
fn a_hundred_gibibytes_are_exported_in_little_memory() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    declare(&bench.store("declared.zarr"));
    let out = bench.out("declared.ims");
    let mut running = exporter(&[&bench.store("declared.zarr"), &out])
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let status = format!("/proc/{}/status", running.id());
    let began = Instant::now();
    let mut peak_kib = 0_u64;
    let ended = loop {
        // The peak so far: what is looked at last, milliseconds before the end, is that of the whole run.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        if let Some(ended) = running.try_wait().expect("ours") {
            break ended;
        }
        if began.elapsed() > LIMIT {
            running.kill().expect("ours");
        }
        thread::park_timeout(Duration::from_millis(20));
    };
    println!("{peak_kib} KiB resident at the peak, {:?}", began.elapsed());
    assert!(ended.success(), "{ended}");
    assert!((1..500 << 10).contains(&peak_kib), "{peak_kib} KiB resident at the peak");
    let file = File::open(&out).expect("there");
    let metadata = file.metadata().expect("there");
    assert!(metadata.len() > 100 << 30, "{} bytes", metadata.len());
    assert!(metadata.blocks() * 512 < 64 << 20, "{} blocks of holes", metadata.blocks());

    let mount = Mount::of(&bench.source).start();
    let shown = File::open(mount.path().join("declared.ims")).expect("opens");
    assert_eq!(shown.metadata().expect("open").len(), metadata.len());
    let mut picks = Picks::of_test("declared");
    let starts = (0..32).map(|piece| piece * PIECE as u64);
    let starts = starts.chain((0..PIECES).map(|_| picks.below(metadata.len() - PIECE as u64)));
    let (mut one, mut other) = (vec![0; PIECE], vec![1; PIECE]);
    for at in starts.collect::<Vec<_>>() {
        file.read_exact_at(&mut one, at).expect("readable");
        shown.read_exact_at(&mut other, at).expect("readable");
        assert!(one == other, "from {at} on");
    }
    let ims = Ims::open(&out).expect("libhdf5 opens it");
    assert_eq!(ims.levels().expect("levels"), LEVELS as usize);
    assert_eq!(ims.info_size().expect("a size").map(|side| side as u64), SHAPE);
}
