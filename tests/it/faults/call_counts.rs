//! Number of calls on the source to inspect a folder: it grows with the number of entries, not with its
//! square.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use zarrims::fs::{Tree, TreeConfig};
use zarrims::image::{Engine, EngineConfig, ImageOptions, Images};
use zarrims::source::SourceRoot;

use super::every_call::{Calls, Failing};
use crate::common::rest::rest;

const GROUP: &str = r#"{"zarr_format":3,"node_type":"group","attributes":{}}"#;
const ARRAY: &str = r#"{"zarr_format":3,"node_type":"array","shape":[4,8,8],"data_type":"uint8",
    "chunk_grid":{"name":"regular","configuration":{"chunk_shape":[4,8,8]}},
    "chunk_key_encoding":{"name":"default"},"fill_value":0,"codecs":[{"name":"bytes"}],
    "dimension_names":["z","y","x"],"attributes":{}}"#;

fn write(folder: &Path, document: &str) {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join("zarr.json"), document).expect("a document");
}

/// Plain arrays in one group.
fn in_one_group(top: &Path, arrays: usize) {
    write(&top.join("many.zarr"), GROUP);
    for number in 0..arrays {
        write(&top.join(format!("many.zarr/a{number}")), ARRAY);
    }
}

/// Groups in groups, eight arrays each.
fn in_nested_groups(top: &Path, arrays: usize) {
    let mut folder = top.join("nested.zarr");
    for number in 0..arrays {
        if number % 8 == 0 {
            if number % 64 == 0 {
                folder = top.join(format!("nested.zarr/g{}", number / 64));
                write(&folder, GROUP);
            }
            write(&folder.join(format!("h{}", number % 64)), GROUP);
        }
        write(&folder.join(format!("h{}/a{number}", number % 64 / 8 * 8)), ARRAY);
    }
    write(&top.join("nested.zarr"), GROUP);
}

/// Each array is a store.
fn side_by_side(top: &Path, arrays: usize) {
    for number in 0..arrays {
        write(&top.join(format!("s{number}.zarr")), ARRAY);
    }
}

/// Images below the source folder.
fn count(tree: &Tree) -> usize {
    let mut images = 0;
    tree.walk(&mut |_, _| images += 1, &mut |path, skipped| {
        assert!(skipped.is_empty(), "{}: {skipped:?}", path.display());
    });
    images
}

/// Calls for the first listing of everything, and for the next.
fn calls(layout: fn(&Path, usize), arrays: usize) -> [u64; 2] {
    let top = TempDir::with_prefix("zarrims-counts-").expect("a temporary folder");
    layout(top.path(), arrays);
    rest(top.path());
    let calls = Arc::new(Calls { fault: None, count: AtomicU64::new(0) });
    let root = SourceRoot::open(top.path(), false).expect("just made");
    let root =
        root.with_storage(|inner| Arc::new(Failing { inner, calls: calls.clone() }) as Arc<_>);
    let config = EngineConfig { cache: None, shared: None, memory_bytes: 64 << 20, threads: 2 };
    let engine = Engine::start(&config).expect("an engine");
    let images = Images::new(engine.clone(), ImageOptions::default());
    let tree = Tree::new(Arc::new(root), images, TreeConfig::default()).expect("threads");
    let mut before = 0;
    let counts = std::array::from_fn(|_| {
        assert_eq!(count(&tree), arrays);
        let now = calls.count.load(Ordering::Relaxed);
        let made = now - before;
        before = now;
        made
    });
    engine.stop();
    counts
}

#[test]
fn calls_grow_with_the_number_of_arrays() {
    for (name, layout) in [
        ("one group", in_one_group as fn(&Path, usize)),
        ("nested groups", in_nested_groups),
        ("side by side", side_by_side),
    ] {
        let (few, many) = (calls(layout, 128), calls(layout, 1024));
        println!("{name}: {few:?} calls for 128 arrays, {many:?} for 1024");
        for (few, many) in few.into_iter().zip(many) {
            assert!(many <= 9 * few.max(128), "{name}: {few} calls became {many}");
        }
    }
}
