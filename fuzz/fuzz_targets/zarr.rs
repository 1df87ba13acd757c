//! An array from its metadata file to its voxels.
//!
//! First byte: even (such as `2`) for a `.zarray`, odd (such as `3`) for a `zarr.json`. Then the
//! file; then, behind a byte 255, the bytes of its first chunk.

#![no_main]

use std::cell::OnceCell;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use zarrims::image::ImageOptions;
use zarrims::image::plan::ImagePlan;
use zarrims::source::discover::{Folder, inspect};
use zarrims::source::{SourceRoot, UnitBytes, ZarrArray};
use zarrims_fuzz::Scratch;

thread_local! {
    static STORES: OnceCell<(Scratch, Arc<SourceRoot>)> = const { OnceCell::new() };
}

/// Larger units are not decoded: they are slow, and no different.
const UNIT_LIMIT_BYTES: u64 = 1 << 20;

/// Arrays of more dimensions have no chunk.
const DIMENSIONS: std::ops::RangeInclusive<usize> = 1..=6;

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let is_v3 = first % 2 == 1;
    let end = rest.iter().position(|&byte| byte == 255).unwrap_or(rest.len());
    let (document, chunk) = (&rest[..end], rest.get(end + 1..));
    // Only for the name of the chunk's file; the program reads more than this parser.
    let shape = serde_json::from_slice(document)
        .ok()
        .and_then(|value: Value| Some(value.get("shape")?.as_array()?.len()))
        .filter(|dimensions| DIMENSIONS.contains(dimensions))
        .unwrap_or(*DIMENSIONS.start());
    STORES.with(|stores| {
        let (scratch, root) = stores.get_or_init(make_stores);
        let store = store_name(is_v3, shape);
        let file = if is_v3 { "zarr.json" } else { ".zarray" };
        scratch.write(&format!("{store}/{file}"), document);
        scratch.write(&format!("{store}/chunk"), chunk.unwrap_or_default());
        let Ok(Folder::Store(found)) = inspect(root, Path::new(&store), true) else {
            panic!("a folder of that name is a store");
        };
        for image in &found.images {
            // Errors are for arrays that are too large.
            let _ = ImagePlan::new(image, &ImageOptions::default());
            image.arrays().for_each(decode);
        }
    });
});

fn store_name(is_v3: bool, dimensions: usize) -> String {
    format!("v{}-{dimensions}d.zarr", if is_v3 { 3 } else { 2 })
}

/// One store for each format and number of dimensions, in which every name that the first chunk may
/// have is a link to `chunk`.
fn make_stores() -> (Scratch, Arc<SourceRoot>) {
    let scratch = Scratch::new("zarr");
    for (is_v3, dimensions) in
        [false, true].into_iter().flat_map(|v| DIMENSIONS.map(move |d| (v, d)))
    {
        let store = scratch.path().join(store_name(is_v3, dimensions));
        for (prefix, separator) in [("", "."), ("", "/"), ("c.", "."), ("c/", "/")] {
            let name = format!("{prefix}{}", vec!["0"; dimensions].join(separator));
            let link = store.join(&name);
            std::fs::create_dir_all(link.parent().expect("inside")).expect("folder");
            let up = "../".repeat(name.matches('/').count());
            // In one dimension both separators give one name.
            drop(symlink(format!("{up}chunk"), link));
        }
    }
    let root = Arc::new(SourceRoot::open(scratch.path(), false).expect("source folder"));
    (scratch, root)
}

fn decode(array: &ZarrArray) {
    assert_eq!(array.fill_value().len(), array.source_type().bytes());
    assert_eq!(array.unit_shape().len(), array.shape().len());
    if array.unit_bytes() > UNIT_LIMIT_BYTES {
        return;
    }
    let first = vec![0; array.shape().len()];
    // Where a shard has but one unit along the axis, these are chunks that are not there.
    let neighbours = (0..first.len()).map(|axis| {
        let mut position = first.clone();
        position[axis] = 1;
        position
    });
    for position in std::iter::once(first.clone()).chain(neighbours) {
        if let Ok(UnitBytes::Stored { bytes, .. }) = array.read_unit(&position) {
            assert_eq!(bytes.len() as u64, array.unit_bytes());
        }
    }
}
