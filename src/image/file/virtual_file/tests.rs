use std::fs;

use super::*;
use crate::image::ImageOptions;
use crate::image::tests::scene::{Scene, mixed_byte};

fn scene() -> Scene {
    let options = ImageOptions { coarsest_bytes: 4 << 10, ..ImageOptions::default() };
    Scene::new(options, "|u1", [20, 90, 100], [10, 32, 32], mixed_byte)
}

fn whole(file: &Arc<VirtualFile>) -> Vec<u8> {
    let size = usize::try_from(file.size()).expect("small");
    file.read_blocking(0, size).expect("readable")
}

#[test]
fn a_read_gives_the_same_bytes_wherever_it_begins() {
    let scene = scene();
    let file = scene.file();
    let all = whole(&file);
    assert_eq!(all.len() as u64, file.size());
    let layout = &file.plan().layout;
    let places = [
        0,
        layout.metadata_bytes() - 7,
        layout.index_address(0, 0) - 7,
        layout.chunk_address(0, 0, [0; 3]) - 7,
        layout.chunk_address(1, 0, [0; 3]) - 7,
        file.size() - 7,
    ];
    // Of a file that knows nothing yet, and of one that has all at hand.
    for file in [scene.file(), file] {
        for (offset, len) in places.into_iter().flat_map(|at| [(at, 14), (at, 9000), (at, 1)]) {
            let bytes = file.read_blocking(offset, len).expect("readable");
            let at = usize::try_from(offset).expect("small");
            assert_eq!(bytes, all[at..all.len().min(at + len)], "{offset} {len}");
        }
        assert!(file.read_blocking(file.size(), 10).expect("the end").is_empty());
        assert!(file.read_blocking(u64::MAX, 10).expect("beyond").is_empty());
    }
}

#[test]
fn an_error_of_one_part_fails_the_read_and_no_other() {
    let scene = scene();
    fs::write(scene.path("0.0.0"), b"short").expect("a chunk");
    let file = scene.file();
    let chunk = file.plan().layout.chunk_address(0, 0, [0; 3]);
    for (offset, len) in [(chunk, 100), (chunk - 7, 14)] {
        let error = file.read_blocking(offset, len).expect_err("damaged");
        assert!(matches!(error, ImageError::Source(_)), "{error:?}");
    }
    let head = file.read_blocking(0, 512).expect("the head of the file");
    assert_eq!(head[..8], *b"\x89HDF\r\n\x1a\n");
}

#[test]
fn an_open_file_holds_memory_until_it_is_closed() {
    let scene = scene();
    let held = || scene.images.engine().stats().memory.held_bytes;
    let before = held();
    let file = scene.file();
    let levels = file.plan().levels.len() as u64;
    assert_eq!(held() - before, OPEN_FILE_BYTES + OPEN_LEVEL_BYTES * levels);
    drop(file);
    assert_eq!(held(), before);
    let source = scene.source();
    source.keep_to_chunks().expect("a store at rest");
    let snapshot_bytes = source.snapshot_bytes();
    assert!(snapshot_bytes > 0, "a state of the chunk files");
    let file = VirtualFile::new(&scene.root, source, scene.images.clone(), None).expect("a plan");
    assert_eq!(held() - before, OPEN_FILE_BYTES + OPEN_LEVEL_BYTES * levels + snapshot_bytes);
    drop(file);
}

#[test]
fn bytes_of_absent_chunks_are_fleeting() {
    let scene = scene();
    fs::remove_file(scene.path("0.0.0")).expect("a chunk");
    let mut file = Arc::into_inner(scene.file()).expect("the only one");
    let fleeting = Arc::default();
    file.share_fleeting(&fleeting);
    let file = Arc::new(file);
    let chunk = file.plan().layout.chunk_address(0, 0, [0; 3]);
    file.read_blocking(0, 8).expect("readable");
    file.read_blocking(chunk, 8).expect("readable");
    assert!(fleeting.load(Ordering::Relaxed));
}
