use std::fs;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::fs::tree::Tree;
use crate::image::{Engine, EngineConfig, ImageOptions, Images};

const SCOPE: Scope = Scope(1 << 70 | 7);

/// A source of a store, one that is skipped, one with a note, and a plain folder.
struct Scene {
    source: TempDir,
    tree: Tree,
}

const FOLDERS: [&str; 4] = ["good.zarr", "bad.zarr", "odd.zarr", "plain"];

fn write_image(store: &Path, scale: &serde_json::Value) {
    let array = json!({
        "zarr_format": 3, "node_type": "array", "shape": [4, 8, 16], "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 8, 16]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    });
    let group = json!({"zarr_format": 3, "node_type": "group", "attributes": {"ome": {
        "version": "0.5",
        "multiscales": [{
            "name": "caf\u{e9} \n",
            "axes": [{"name": "z", "type": "space"}, {"name": "y", "type": "space"},
                     {"name": "x", "type": "space"}],
            "datasets": [{"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": scale}]}],
        }],
    }}});
    fs::create_dir_all(store.join("0")).expect("a folder");
    fs::write(store.join("0/zarr.json"), array.to_string()).expect("a file");
    fs::write(store.join("zarr.json"), group.to_string()).expect("a file");
}

impl Scene {
    fn new() -> Self {
        let source = tempfile::tempdir().expect("a temporary folder");
        write_image(&source.path().join("good.zarr"), &json!([1.0, 0.5, 0.5]));
        write_image(&source.path().join("odd.zarr"), &json!([-1.0, 0.0, 0.5]));
        fs::create_dir_all(source.path().join("bad.zarr")).expect("a folder");
        fs::write(source.path().join("bad.zarr/zarr.json"), "{").expect("a file");
        fs::create_dir_all(source.path().join("plain")).expect("a folder");
        let root = Arc::new(SourceRoot::open(source.path(), false).expect("a folder"));
        let engine = Engine::start(&EngineConfig {
            cache: None,
            shared: None,
            memory_bytes: 1 << 24,
            threads: 1,
        });
        let images = Images::new(engine.expect("an engine"), ImageOptions::default());
        let tree = Tree::new(root, images, TreeConfig::default());
        let tree = tree.expect("threads");
        let scene = Self { source, tree };
        // Until a change would bear another time.
        while !scene.inspect().iter().all(|found| found.is_lasting) {
            std::thread::yield_now();
        }
        scene
    }

    fn inspect(&self) -> Vec<Arc<Inspected>> {
        FOLDERS
            .iter()
            .map(|folder| self.tree.inspector.look_into(Path::new(folder), None))
            .collect()
    }

    fn recall(&self, memo: &Memo, folder: &str) -> Option<String> {
        memo.recall(self.tree.source(), Path::new(folder)).map(|found| described(&found))
    }
}

/// All that listing needs.
fn described(found: &Inspected) -> String {
    let Inspected { files, skipped, notes, fingerprint, is_lasting, .. } = found;
    format!("{files:?} {skipped:?} {notes:?} {fingerprint:?} {is_lasting}")
}

fn memo_of(found: &[Arc<Inspected>]) -> Memo {
    let memo = new_memo(SCOPE);
    for (folder, found) in FOLDERS.iter().zip(found) {
        memo.remember(Path::new(folder), found, Origin::Source);
    }
    memo
}

fn new_memo(scope: Scope) -> Memo {
    Memo::new(scope, "tree-test".to_owned())
}

fn read(scope: Scope, bytes: &[u8]) -> Memo {
    let memo = new_memo(scope);
    memo.load(bytes);
    memo
}

#[test]
fn what_was_written_is_recalled_once() {
    let scene = Scene::new();
    let found = scene.inspect();
    assert_eq!(found[0].files.as_ref().map(Vec::len), Some(1));
    assert_eq!(found[1].skipped.len(), 1);
    assert_eq!(found[2].notes.len(), 1, "{:?}", found[2]);
    assert!(found[3].files.is_none());
    let text = memo_of(&found).write(u64::MAX);
    let memo = read(SCOPE, text.as_bytes());
    assert_eq!(memo.write(u64::MAX).lines().count(), text.lines().count());
    for (folder, found) in FOLDERS.iter().zip(&found) {
        assert_eq!(scene.recall(&memo, folder), Some(described(found)), "{folder}");
        assert_eq!(scene.recall(&memo, folder), None, "{folder}");
    }
    // What no listing has any more is forgotten.
    let memo = memo_of(&found);
    drop(found);
    assert_eq!(memo.write(u64::MAX).lines().count(), 1);
}

#[test]
fn a_memo_of_another_scope_or_version_is_not_used() {
    let scene = Scene::new();
    let text = memo_of(&scene.inspect()).write(u64::MAX);
    let is_used = |scope, text: &str| scene.recall(&read(scope, text.as_bytes()), "good.zarr");
    assert!(is_used(SCOPE, &text).is_some());
    assert_eq!(is_used(Scope(SCOPE.0 ^ 1), &text), None);
    let version = format!("memo {FORMAT_VERSION}");
    assert_eq!(is_used(SCOPE, &text.replacen(&version, "memo 0", 1)), None);
    // Nor are lines under the header of another one.
    let other = Scope(SCOPE.0 ^ 1);
    let mixed = text.replacen(&SCOPE.header(), &other.header(), 1);
    assert_eq!(is_used(other, &mixed), None);
}

#[test]
fn every_option_is_another_scope() {
    let mut images = [ImageOptions::default(); 8];
    images[1].pyramid = crate::image::Pyramid::Source;
    images[2].statistics = crate::image::Statistics::Exact;
    images[3].default_unit_um = 1000.0;
    images[4].on_error = crate::image::OnError::Fill;
    images[5].coarsest_bytes = 7;
    images[7].chunk = crate::image::ChunkShape::Given([1, 2, 3]);
    images[6].conversions.uint32 = crate::image::Uint32::Keep;
    let scopes = images.iter().map(|images| Scope::hash(images).0);
    assert_eq!(scopes.collect::<std::collections::HashSet<_>>().len(), images.len());
}

#[test]
fn a_changed_store_is_not_recalled() {
    let scene = Scene::new();
    let found = scene.inspect();
    let text = memo_of(&found).write(u64::MAX);
    let at = |path: &str| scene.source.path().join(path);
    let same = fs::read(at("good.zarr/0/zarr.json")).expect("a file");
    fs::write(at("good.zarr/0/zarr.json"), same).expect("a file");
    fs::create_dir(at("odd.zarr/labels")).expect("a folder");
    fs::remove_file(at("bad.zarr/zarr.json")).expect("a file");
    fs::write(at("plain/zarr.json"), "{}").expect("a file");
    let memo = read(SCOPE, text.as_bytes());
    for folder in FOLDERS {
        assert_eq!(scene.recall(&memo, folder), None, "{folder}");
    }
}

#[test]
fn what_may_change_unnoticed_is_not_written() {
    let scene = Scene::new();
    let found = scene.tree.inspector.look_into(Path::new("good.zarr"), None);
    let memo = memo_of(std::slice::from_ref(&found));
    assert_eq!(memo.write(u64::MAX).lines().count(), 2);
    let mut found = Arc::into_inner(found).expect("nobody else has it");
    found.is_lasting = false;
    memo.remember(Path::new("good.zarr"), &Arc::new(found), Origin::Source);
    assert_eq!(memo.write(u64::MAX).lines().count(), 1);
}

#[test]
fn a_memo_has_at_most_so_many_bytes_and_what_is_known_goes_first() {
    let scene = Scene::new();
    let found = scene.inspect();
    let text = memo_of(&found).write(u64::MAX);
    for most in [0, 40, text.len() / 2, text.len() - 1] {
        assert!(memo_of(&found).write(most as u64).len() <= most.max(SCOPE.header().len() + 1));
    }
    let memo = read(SCOPE, text.as_bytes());
    let line = |text: &str, folder: &str| text.lines().position(|line| line.contains(folder));
    let recalled = memo.recall(scene.tree.source(), Path::new("plain")).expect("it is there");
    let recalled = Arc::new(recalled);
    memo.remember(Path::new("plain"), &recalled, Origin::Memo);
    assert_eq!(line(&memo.write(u64::MAX), "\"plain\""), Some(1));
}

#[test]
fn it_is_written_when_nothing_new_comes_when_much_is_new_and_at_the_end() {
    let scene = Scene::new();
    let found = scene.inspect();
    let memo = new_memo(SCOPE);
    let saved = |when| {
        let mut lines = 0;
        memo.save_by(when, u64::MAX, |bytes| {
            lines = String::from_utf8_lossy(bytes).lines().count() - 1;
            true
        });
        lines
    };
    let add = |number: usize| {
        memo.remember(Path::new(FOLDERS[number]), &found[number], Origin::Source);
    };
    assert_eq!(saved(Save::Now), 0, "nothing is known");
    add(0);
    assert_eq!(saved(Save::IfDue), 1, "much is new");
    add(1);
    assert_eq!(saved(Save::IfDue), 2, "twice as much");
    add(2);
    assert_eq!(saved(Save::IfDue), 0, "more may come");
    assert_eq!(saved(Save::IfDue), 3, "nothing came");
    add(3);
    assert_eq!(saved(Save::Now), 4, "the end");
    assert_eq!(saved(Save::Now), 0, "nothing is new");
    add(0);
    memo.save_by(Save::Now, u64::MAX, |_| false);
    assert_eq!(saved(Save::Now), 4, "it was not stored");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever becomes of the file: the truth or nothing.
    #[test]
    fn damage_never_gives_another_answer(
        flips in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<Index>()),
        moved in prop::option::of((any::<Index>(), any::<Index>(), 1..200_usize)),
    ) {
        thread_local! {
            static SCENE: (Scene, Vec<Arc<Inspected>>, String) = {
                let scene = Scene::new();
                let found = scene.inspect();
                let text = memo_of(&found).write(u64::MAX);
                (scene, found, text)
            };
        }
        SCENE.with(|(scene, found, text)| {
            let mut bytes = text.clone().into_bytes();
            if let Some((from, to, length)) = moved {
                let from = from.index(bytes.len());
                let part = bytes[from..(from + length).min(bytes.len())].to_vec();
                let to = to.index(bytes.len() - part.len() + 1);
                bytes[to..to + part.len()].copy_from_slice(&part);
            }
            for (at, with) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let memo = read(SCOPE, &bytes);
            for (folder, found) in FOLDERS.iter().zip(found) {
                if let Some(recalled) = scene.recall(&memo, folder) {
                    prop_assert_eq!(recalled, described(found));
                }
            }
            Ok(())
        })?;
    }
}
