//! Stores in which every voxel says which chunk, and which version of it, it belongs to.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;
use serde_json::{Value, json};
use zarrims::image::ImageOptions;

use super::library::Library;
use super::tiny::{group_json, write_json};

/// Side of a plane; a plane of 16-bit voxels takes two pages.
const SIDE: usize = 64;

/// Bytes of a plane, and of its chunk.
pub const PLANE_BYTES: usize = SIDE * SIDE * 2;

/// The highest version. The bits above it hold the time point, modulo 16.
const MOST: u16 = 0x0FFF;

/// What a plane without a chunk shows.
pub const ABSENT: u16 = 0;

/// An image of single planes, one chunk for each time point, uncompressed.
#[derive(Debug, Clone, Copy)]
pub struct Planes {
    pub times: u16,
}

impl Planes {
    /// Writes a store with all its chunks in version 1.
    pub fn write(self, store: &Path) {
        self.write_metadata(store, 1.0);
        (0..self.times).for_each(|time| write_in_place(&chunk(store, time), time, 1));
    }

    /// Writes the metadata only; pixels have some width.
    pub fn write_metadata(self, store: &Path, width: f64) {
        write_json(&store.join("0/zarr.json"), &self.array_json());
        write_json(&store.join("zarr.json"), &Self::group_json(width));
    }

    /// Metadata of the array.
    pub fn array_json(self) -> Value {
        json!({
            "zarr_format": 3, "node_type": "array", "shape": [self.times, 1, SIDE, SIDE],
            "data_type": "uint16", "fill_value": 0, "attributes": {},
            "chunk_grid": {"name": "regular",
                "configuration": {"chunk_shape": [1, 1, SIDE, SIDE]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]})
    }

    /// Metadata of the image.
    pub fn group_json(width: f64) -> Value {
        let axes = json!([
            {"name": "t", "type": "time", "unit": "second"},
            {"name": "z", "type": "space", "unit": "micrometer"},
            {"name": "y", "type": "space", "unit": "micrometer"},
            {"name": "x", "type": "space", "unit": "micrometer"}]);
        let scale = json!([{"type": "scale", "scale": [1.0, 1.0, width, width]}]);
        let datasets = json!([{"path": "0", "coordinateTransformations": scale}]);
        group_json(&json!({"ome": {"version": "0.5",
            "multiscales": [{"name": "planes", "axes": axes, "datasets": datasets}]}}))
    }

    /// Where the planes are in the virtual file.
    pub fn places(self, source: &Path, store: &str) -> Vec<u64> {
        let library = Library::of(source, ImageOptions::default());
        let file = library.file(store);
        let layout = &file.plan().layout;
        let bricks = &layout.levels()[0].bricks;
        assert_eq!(bricks.bricks().iter().product::<u64>(), 1, "a plane is one brick");
        assert_eq!(bricks.brick_bytes(0), PLANE_BYTES as u64, "and nothing else is in it");
        (0..u64::from(self.times)).map(|time| layout.chunk_address(0, time, [0; 3])).collect()
    }
}

fn tag(time: u16) -> u16 {
    time % 16 * (MOST + 1)
}

/// The file of a chunk.
pub fn chunk(store: &Path, time: u16) -> PathBuf {
    store.join(format!("0/c.{time}.0.0.0"))
}

/// The bytes of a chunk.
pub fn chunk_bytes(time: u16, version: u16) -> Vec<u8> {
    (tag(time) + version).to_le_bytes().repeat(PLANE_BYTES / 2)
}

/// Empties the file of a chunk and writes it again.
pub fn write_in_place(path: &Path, time: u16, version: u16) {
    fs::write(path, chunk_bytes(time, version)).expect("a chunk");
}

/// Puts another file in the place of a chunk.
pub fn replace(path: &Path, time: u16, version: u16) {
    let part = path.with_extension("part");
    write_in_place(&part, time, version);
    fs::rename(part, path).expect("a chunk");
}

/// Writes over a chunk such that size and modification time are as before.
pub fn overwrite_unnoticed(path: &Path, time: u16, version: u16) {
    let file = File::options().write(true).open(path).expect("a chunk");
    let before = file.metadata().expect("attributes").modified().expect("a time");
    file.write_all_at(&chunk_bytes(time, version), 0).expect("a chunk");
    file.set_modified(before).expect("a time");
    let now = file.metadata().expect("attributes");
    assert_eq!((now.len(), now.modified().expect("a time")), (PLANE_BYTES as u64, before));
}

/// A virtual file of planes that is open, whose reads ask the daemon each time and read nothing
/// ahead.
#[derive(Debug)]
pub struct Shown {
    file: File,
    places: Vec<u64>,
}

impl Shown {
    /// Opens a virtual file.
    ///
    /// # Errors
    /// The operating system's reason.
    pub fn open(path: &Path, places: &[u64]) -> io::Result<Self> {
        File::open(path).map(|file| Self::of(file, places))
    }

    /// A virtual file that is open.
    pub fn of(file: File, places: &[u64]) -> Self {
        fadvise(&file, 0, None, Advice::Random).expect("a hint");
        Self { file, places: places.to_vec() }
    }

    /// Its inode number.
    pub fn ino(&self) -> u64 {
        self.file.metadata().expect("attributes").ino()
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The version of a plane; one version, whatever it is.
    #[track_caller]
    pub fn version(&self, time: u16) -> Result<u16, Errno> {
        let mut bytes = vec![0; PLANE_BYTES];
        // What the kernel has is not asked for.
        fadvise(&self.file, 0, None, Advice::DontNeed).expect("a hint");
        let read = self.file.read_exact_at(&mut bytes, self.places[usize::from(time)]);
        read.map_err(|error| Errno::from_io_error(&error).expect("an errno"))?;
        let voxel = |pair: &[u8]| u16::from_le_bytes([pair[0], pair[1]]);
        let first = voxel(&bytes);
        let other = bytes.chunks_exact(2).map(voxel).find(|&other| other != first);
        assert_eq!(other, None, "{first} and others in plane {time}");
        if first == 0 {
            return Ok(ABSENT);
        }
        assert_eq!(first & !MOST, tag(time), "{first} in plane {time}");
        Ok(first & MOST)
    }

    /// The versions of all planes.
    #[track_caller]
    pub fn versions(&self) -> Vec<Result<u16, Errno>> {
        let times = u16::try_from(self.places.len()).expect("few planes");
        (0..times).map(|time| self.version(time)).collect()
    }
}
