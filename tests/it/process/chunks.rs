//! Chunks that need more memory than there is, and how much one chunk may take.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::io::Errno;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::daemon::read_all;
use crate::common::mount::{Mount, can_mount};
use crate::common::process::status_kib;
use crate::common::rest::rest;
use crate::common::tiny::{Tiny, group_json, write_json};

const MIB: u64 = 1 << 20;

/// How the one chunk of a store is encoded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Encoding {
    Raw,
    Zstd,
    Gzip,
    /// Zstd after a change of axes, so that there are three forms of the chunk.
    Turned,
}

/// Writes a store with one chunk of `mib` MiB of 16-bit voxels, most of them 257.
fn write_store(store: &Path, mib: u64, encoding: Encoding) {
    let shape = [mib, 1024, 512];
    let bytes = json!({"name": "bytes", "configuration": {"endian": "little"}});
    let turn = json!({"name": "transpose", "configuration": {"order": [2, 1, 0]}});
    let zstd = json!({"name": "zstd", "configuration": {"level": 1, "checksum": false}});
    let gzip = json!({"name": "gzip", "configuration": {"level": 1}});
    let codecs: Vec<Value> = match encoding {
        Encoding::Raw => vec![bytes],
        Encoding::Zstd => vec![bytes, zstd],
        Encoding::Gzip => vec![bytes, gzip],
        Encoding::Turned => vec![turn, bytes, zstd],
    };
    let document = json!({"zarr_format": 3, "node_type": "array", "shape": shape,
        "data_type": "uint16", "fill_value": 0, "codecs": codecs, "attributes": {},
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}});
    write_json(&store.join("0/zarr.json"), &document);
    let axes = ["z", "y", "x"].map(|name| json!({"name": name, "type": "space"}));
    write_json(
        &store.join("zarr.json"),
        &group_json(&json!({"ome": {"version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "0",
            "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}]}]}})),
    );
    let file = File::create(store.join("0/c.0.0.0")).expect("a chunk");
    let ones = vec![1_u8; 1 << 20];
    let write = |out: &mut dyn Write| {
        (0..mib).try_for_each(|_| out.write_all(&ones)).expect("a chunk");
    };
    match encoding {
        Encoding::Raw => write(&mut BufWriter::new(file)),
        Encoding::Zstd | Encoding::Turned => {
            let mut encoder = zstd::Encoder::new(file, 1).expect("an encoder");
            encoder.set_pledged_src_size(Some(mib * MIB)).expect("a size");
            write(&mut encoder);
            encoder.finish().expect("a chunk");
        }
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            write(&mut encoder);
            encoder.finish().expect("a chunk");
        }
    }
}

/// Reads the last voxels of the only dataset: 1 MiB before the padding.
fn read_voxels(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = vec![0; 1 << 20];
    file.read_exact_at(&mut bytes, size - (64 << 10) - (2 << 20))?;
    Ok(bytes)
}

/// Issue: "a chunk that needs more memory than can be had is an error for its reader, not an abort".
#[test]
fn a_chunk_without_memory_is_an_error_for_its_reader() {
    if !can_mount() {
        return;
    }
    let source = TempDir::new().expect("a folder");
    let encodings = [Encoding::Raw, Encoding::Zstd, Encoding::Gzip, Encoding::Turned];
    for encoding in encodings {
        write_store(&source.path().join(format!("{encoding:?}.zarr")), 640, encoding);
    }
    Tiny::default().write(&source.path().join("small.zarr"));
    rest(source.path());
    let mount = Mount::of(source.path())
        .args(["--pyramid", "source"])
        .wrapper(&["prlimit", "--as=1200000000"])
        .start();
    let small = read_all(&mount.path().join("small.ims"));
    for encoding in encodings {
        let path = mount.path().join(format!("{encoding:?}.ims"));
        let error = read_voxels(&path).expect_err("no memory");
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()), "{encoding:?}");
        assert!(mount.is_running(), "{encoding:?}");
        assert!(read_all(&mount.path().join("small.ims")) == small, "{encoding:?}");
    }
    let (status, lines) = mount.stop();
    assert!(status.success(), "{status}: {lines:#?}");
    let told =
        |word: &str| lines.iter().any(|line| line.contains("no memory for") && line.contains(word));
    for encoding in encodings {
        assert!(told(&format!("{encoding:?}.zarr")), "{encoding:?}: {lines:#?}");
    }
}

/// Issue: "what one chunk may take is stated and within three times its size".
#[test]
fn a_chunk_takes_at_most_three_times_its_size() {
    if !can_mount() {
        return;
    }
    for encoding in [Encoding::Raw, Encoding::Zstd, Encoding::Gzip, Encoding::Turned] {
        let source = TempDir::new().expect("a folder");
        write_store(&source.path().join("a.zarr"), 256, encoding);
        rest(source.path());
        let mount = Mount::of(source.path()).args(["--pyramid", "source"]).start();
        fs::read_dir(mount.path()).expect("a folder").for_each(drop);
        let before = status_kib(mount.pid(), "VmHWM");
        let bytes = read_voxels(&mount.path().join("a.ims")).expect("voxels");
        assert!(bytes.chunks(4096).filter(|page| page[0] == 1).count() > 128, "{encoding:?}");
        let taken = status_kib(mount.pid(), "VmHWM") - before;
        println!("{encoding:?}: {} MiB for a chunk of 256", taken >> 10);
        assert!(taken >> 10 < 3 * 256, "{encoding:?}: {taken} KiB");
    }
}
