//! One small image in both versions of Zarr, with chunks in folders.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::common::ims::Ims;
use crate::common::tiny::{Tiny, write_json};

pub(crate) const IMAGE: Tiny = Tiny { shape: [4, 32, 35], chunk: [2, 16, 35], seed: 5 };

/// Version of Zarr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V2,
    V3,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V2, Self::V3];

    /// Writes the image as a store.
    pub(crate) fn write(self, store: &Path) {
        IMAGE.write(store);
        if self == Self::V3 {
            return;
        }
        let array = store.join("0");
        for entry in fs::read_dir(array.join("c")).expect("chunks") {
            let entry = entry.expect("chunks");
            fs::rename(entry.path(), array.join(entry.file_name())).expect("a folder");
        }
        fs::remove_dir(array.join("c")).expect("empty");
        let document = Tiny::image_json("image");
        let attributes = document["attributes"]["ome"].clone();
        for old in ["zarr.json", "0/zarr.json"] {
            fs::remove_file(store.join(old)).expect("metadata");
        }
        write_json(&store.join(".zgroup"), &json!({"zarr_format": 2}));
        write_json(&store.join(".zattrs"), &attributes);
        write_json(
            &array.join(".zarray"),
            &json!({"zarr_format": 2, "shape": IMAGE.shape, "chunks": IMAGE.chunk, "dtype": "<u2",
                "compressor": null, "filters": null, "fill_value": 0, "order": "C",
                "dimension_separator": "/"}),
        );
    }

    /// The folder that holds all chunks of one plane of chunks, by its path below the store.
    pub(crate) fn chunk_folder(self) -> &'static str {
        match self {
            Self::V2 => "0/1",
            Self::V3 => "0/c/1",
        }
    }

    /// The first chunk and another one.
    pub(crate) fn chunks(self) -> [&'static str; 2] {
        match self {
            Self::V2 => ["0/0/0/0", "0/1/1/0"],
            Self::V3 => ["0/c/0/0/0", "0/c/1/1/0"],
        }
    }

    /// Metadata of the group and of the array.
    pub(crate) fn metadata(self) -> [&'static str; 2] {
        match self {
            Self::V2 => [".zattrs", "0/.zarray"],
            Self::V3 => ["zarr.json", "0/zarr.json"],
        }
    }
}

/// Whether a file holds the image.
pub(crate) fn shows_image(file: &Path) -> bool {
    let read = Ims::open(file).and_then(|ims| ims.pixels(0, 0, 0));
    read.is_ok_and(|pixels| {
        assert!(pixels == IMAGE.pixels(), "wrong voxels in {}", file.display());
        true
    })
}
