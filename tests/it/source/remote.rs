//! Stores in an object store or on a web server: the same bytes as from a folder, few requests, and faults that
//! cost the bytes concerned alone.

mod faults;
mod requests;
mod rig;
mod start;

use std::fs;
use std::path::Path;

use crate::common::mount::{Mount, can_mount};
use crate::common::server::Kind;
use crate::common::store::{Codec, DTYPES, Format, Step, StoreBuilder};
use crate::common::tiny::{Tiny, write_json};
use rig::{Remote, file_names};

/// An image of three levels.
pub(crate) fn pyramid(format: Format, codec: Codec) -> StoreBuilder {
    StoreBuilder {
        unit: vec![8, 32, 32],
        format,
        codec,
        steps: vec![vec![Step::FloorHalf; 3]; 2],
        ..StoreBuilder::new(DTYPES[1], "zyx", &[16, 100, 120])
    }
}

/// Writes stores of all kinds.
fn write_stores(folder: &Path) {
    pyramid(Format::V2('.'), Codec::BloscLz4).write(&folder.join("v2.ome.zarr"));
    pyramid(Format::V2('/'), Codec::Gzip).write(&folder.join("deep/er/nested.zarr"));
    pyramid(Format::V3, Codec::Zstd).write(&folder.join("v3 with space.zarr"));
    let sharded = StoreBuilder {
        shard: Some(vec![2, 2, 2]),
        left_out: 5,
        ..pyramid(Format::V3, Codec::Crc32c)
    };
    sharded.write(&folder.join("sharded.zarr"));
    let at_start = StoreBuilder { index_at_start: true, ..sharded };
    at_start.write(&folder.join("index at start.zarr"));
    Tiny::default().write(&folder.join("plus+and&.zarr"));
    Tiny::default().write_array(&folder.join("plain array"));
}

#[test]
fn a_bucket_shows_the_same_bytes_as_a_folder() {
    if !can_mount() {
        return;
    }
    let remote = Remote::new(Kind::S3, write_stores);
    let local = Mount::of(remote.folder.path()).start();
    let mount = remote.mount("s3://bucket", &[]);
    let names = file_names(local.path());
    assert_eq!(names.len(), 7, "{names:?}");
    assert_eq!(file_names(mount.path()), names);
    for name in &names {
        let bytes = |mount: &Mount| fs::read(mount.path().join(name)).expect("readable");
        assert!(bytes(&mount) == bytes(&local), "{name:?} differs");
    }
    // A folder in the bucket, and a store by itself.
    let below = remote.mount("s3://bucket/deep/", &[]);
    assert_eq!(file_names(below.path()), ["er/nested.ims"]);
    let one = remote.mount("s3://bucket/sharded.zarr", &[]);
    assert_eq!(file_names(one.path()), ["sharded.ims"]);
}

#[test]
fn a_web_server_shows_a_store_or_the_stores_that_a_text_names() {
    if !can_mount() {
        return;
    }
    let remote = Remote::new(Kind::Web, |folder| {
        write_stores(folder);
        let text = "# images\nv2.ome.zarr\nsharded.zarr/\n\n/deep/er/nested.zarr\n";
        fs::write(folder.join("stores.txt"), text).expect("a file");
    });
    let local = Mount::of(remote.folder.path()).start();
    let url = remote.server.url();
    let one = remote.mount(&format!("{url}/v3%20with%20space.zarr/"), &[]);
    assert_eq!(file_names(one.path()), ["v3 with space.ims"]);
    let several = remote.mount(&format!("{url}/stores.txt"), &[]);
    assert_eq!(file_names(several.path()), ["nested.ims", "sharded.ims", "v2.ims"]);
    for (mount, name, of_local) in [
        (&one, "v3 with space.ims", "v3 with space.ims"),
        (&several, "sharded.ims", "sharded.ims"),
        (&several, "v2.ims", "v2.ims"),
    ] {
        let bytes = fs::read(mount.path().join(name)).expect("readable");
        assert!(bytes == fs::read(local.path().join(of_local)).expect("readable"), "{name}");
    }
}

#[test]
fn a_web_server_shows_the_members_that_consolidated_metadata_or_a_plate_state() {
    if !can_mount() {
        return;
    }
    let remote = Remote::new(Kind::Web, |folder| {
        let group = |path: &str, attributes: &serde_json::Value| {
            write_json(&folder.join(path).join(".zgroup"), &serde_json::json!({"zarr_format": 2}));
            write_json(&folder.join(path).join(".zattrs"), attributes);
        };
        let store = "several.zarr";
        group(store, &serde_json::json!({}));
        for name in ["a", "b"] {
            pyramid(Format::V2('/'), Codec::None).write(&folder.join(store).join(name));
        }
        write_json(
            &folder.join(store).join(".zmetadata"),
            &serde_json::json!({"zarr_consolidated_format": 1,
                "metadata": {".zgroup": {}, "a/.zattrs": {}, "b/0/.zarray": {}}}),
        );
        let plate = "plate.zarr";
        group(plate, &serde_json::json!({"plate": {"wells": [{"path": "A/1"}], "version": "0.4"}}));
        group("plate.zarr/A", &serde_json::json!({}));
        group(
            "plate.zarr/A/1",
            &serde_json::json!({"well": {"images": [{"path": "0"}], "version": "0.4"}}),
        );
        pyramid(Format::V2('/'), Codec::None).write(&folder.join("plate.zarr/A/1/0"));
    });
    let several = remote.mount(&format!("{}/several.zarr", remote.server.url()), &[]);
    assert_eq!(file_names(several.path()), ["several/a.ims", "several/b.ims"]);
    let plate = remote.mount(&format!("{}/plate.zarr", remote.server.url()), &[]);
    assert_eq!(file_names(plate.path()).len(), 1, "{:?}", file_names(plate.path()));
}
