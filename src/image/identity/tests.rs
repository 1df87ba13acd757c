use std::fmt::Write;
use std::fs;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::*;
use crate::image::tests::scene::{Scene, mixed};
use crate::image::{Conversions, Int16, Uint32};
use crate::image::{ImageOptions, Images, Pyramid, VirtualFile};

/// Hashes of bytes that are made by this version, and what they are of.
const GOLDEN: (u64, &str) = (
    5,
    "\
metadata uint8: b2e984e5c55c1bf65b36e3c7c94b80ed
brick uint8: 71115b58881876a517db1117b0636f06
computed level uint8: f5b8cb7ae42bfd086a74e9ced71077c8
metadata uint16: c3f74301e0162abb106357c9a75d8fc2
brick uint16: 16fc273d8d44a63acc6e2a31595b5d32
computed level uint16: 4c3758b5b490b2b654993cce7dea994c
metadata int16: b026cec7479199c0e26113d1bc8da6e3
brick int16: 16fc273d8d44a63acc6e2a31595b5d32
computed level int16: 233a4f954b263bc8c026fbeec29bf141
metadata uint32: 6b9dc59e2f5a8c3be46dd0b8a2f207d5
brick uint32: 314cd24107be0f1c337b999b082fee11
computed level uint32: 59b05893fb554eddb32f7f448f4e4e56
metadata float32: f3f6756ed3f8997af5e7b13dd76b886f
brick float32: bc0d762f65b9b95dc0ce94ff31c18e68
computed level float32: 9401d31408c0853ef9727e3ea036ab8b
",
);

/// Each voxel type of a file, and a type of a store that becomes it.
const TYPES: [(&str, &str); 5] =
    [("uint8", "|u1"), ("uint16", "<u2"), ("int16", "<i2"), ("uint32", "<u4"), ("float32", "<f4")];

const SIZE: [u64; 3] = [6, 40, 48];

/// An image of one chunk.
fn scene_of(store_type: &str) -> Scene {
    let bytes = |place| match (&store_type[1..], mixed(place)) {
        ("u1", value) => value.to_le_bytes()[..1].to_vec(),
        ("u2" | "i2", value) => value.to_le_bytes()[..2].to_vec(),
        ("u4", value) => (value * 171).to_le_bytes()[..4].to_vec(),
        #[expect(clippy::cast_precision_loss, reason = "24 bits")]
        (_, value) => (value as f32 / 7.0).to_le_bytes().to_vec(),
    };
    let conversions = Conversions { int16: Int16::Keep, uint32: Uint32::Keep };
    let options = ImageOptions { conversions, coarsest_bytes: 8 << 10, ..ImageOptions::default() };
    Scene::new(options, store_type, SIZE, SIZE, bytes)
}

/// The first brick of a level.
fn brick(file: &Arc<VirtualFile>, level: usize) -> Vec<u8> {
    let layout = &file.plan().layout;
    let bytes = usize::try_from(layout.levels()[level].bricks.full_brick_bytes()).expect("small");
    file.read_blocking(layout.chunk_address(level, 0, [0; 3]), bytes).expect("readable")
}

/// The metadata, but for the version of the program, which does not count.
fn metadata(file: &Arc<VirtualFile>) -> Vec<u8> {
    let bytes = usize::try_from(file.plan().layout.metadata_bytes()).expect("small");
    let mut bytes = file.read_blocking(0, bytes).expect("readable");
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    while let Some(at) = bytes.windows(version.len()).position(|window| window == version) {
        bytes[at..at + version.len()].fill(b'x');
    }
    bytes
}

#[test]
fn the_bytes_are_those_of_the_format_version() {
    let mut found = String::new();
    let mut add = |what: &str, bytes: &[u8]| {
        writeln!(found, "{what}: {:032x}", xxh3_128(bytes)).expect("memory");
    };
    for (name, store_type) in TYPES {
        let scene = scene_of(store_type);
        let file = scene.file();
        assert_eq!(file.plan().levels[1].origin, LevelOrigin::Computed);
        add(&format!("metadata {name}"), &metadata(&file));
        add(&format!("brick {name}"), &brick(&file, 0));
        add(&format!("computed level {name}"), &brick(&file, 1));
    }
    assert!(
        GOLDEN == (FORMAT_VERSION, found.as_str()),
        "the same stores give other bytes than those of FORMAT_VERSION {}. If that is meant, raise \
         FORMAT_VERSION in src/image/identity.rs by one, so that no cache serves the old bytes, and put \
         the new version and these hashes into GOLDEN in src/image/identity/tests.rs:\n{found}",
        GOLDEN.0
    );
}

#[test]
fn every_field_counts_and_none_runs_into_the_next() {
    let id = |write: &dyn Fn(&mut Fields)| {
        let mut fields = Fields::new();
        write(&mut fields);
        fields.id()
    };
    let ids = [
        id(&|_| {}),
        id(&|fields| fields.text("a", "bc")),
        id(&|fields| fields.text("ab", "c")),
        id(&|fields| fields.text("a", "b")),
        id(&|fields| {
            fields.text("a", "b");
            fields.text("c", "");
        }),
        id(&|fields| fields.real("a", 0.0)),
        id(&|fields| fields.real("a", -0.0)),
        id(&|fields| fields.numbers("a", &[1, 2])),
        id(&|fields| fields.numbers("a", &[1])),
        id(&|fields| fields.pairs("a", &[("x".to_owned(), "y".to_owned())])),
        id(&|fields| fields.pairs("a", &[("xy".to_owned(), String::new())])),
    ];
    let different: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(different.len(), ids.len());
}

#[test]
fn another_state_or_option_is_another_identity() {
    let scene = scene_of("<u2");
    let id = scene.file().id();
    let again = |options: ImageOptions| {
        let images = Images::new(scene.images.engine().clone(), options);
        VirtualFile::new(&scene.root, scene.source(), images, None).expect("a plan").id()
    };
    let options = *scene.images.options();
    assert_eq!(again(options), id);
    assert_ne!(again(ImageOptions { pyramid: Pyramid::Source, ..options }), id);
    assert_ne!(again(ImageOptions { coarsest_bytes: 1 << 20, ..options }), id);
    let metadata = scene.path(".zarray");
    let text = fs::read_to_string(&metadata).expect("a file");
    fs::write(&metadata, text + " ").expect("a file");
    assert_ne!(again(options), id);
}
