use std::fs;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::fs::tree::Tree;
use crate::image::{Engine, EngineConfig, ImageOptions, Images};
use crate::resources::Names;
use crate::resources::memory::MemoryBudget;
use crate::resources::shares::Shares;

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
        let found = memo.recall(Path::new(folder))?.found;
        found.fingerprint.is_unchanged(self.tree.source()).then(|| described(&found))
    }
}

/// All that listing needs.
fn described(found: &Inspected) -> String {
    let Inspected { files, skipped, notes, fingerprint, is_lasting, .. } = found;
    format!("{files:?} {skipped:?} {notes:?} {fingerprint:?} {is_lasting}")
}

/// What listings hold, by the names of [`FOLDERS`].
fn held(found: &[Arc<Inspected>]) -> Held {
    FOLDERS.iter().map(PathBuf::from).zip(found.iter().cloned()).collect()
}

fn names(budget_bytes: u64) -> Names {
    Names::within(Shares::of(budget_bytes), &MemoryBudget::new(budget_bytes))
}

fn new_memo(scope: Scope) -> Memo {
    Memo::new(scope, None, names(1 << 40).memo)
}

/// The bytes of a memo of what listings hold.
fn bytes_of(found: &[Arc<Inspected>]) -> Vec<u8> {
    new_memo(SCOPE).write(held(found), u64::MAX).bytes
}

/// The bytes that are written, and the number of rows in them.
fn written(memo: &Memo, held: Held, most_bytes: u64) -> (Vec<u8>, usize) {
    let Text { bytes, left_out } = memo.write(held, most_bytes);
    let again = read(SCOPE, &bytes);
    assert_eq!(left_out == 0, most_bytes == u64::MAX);
    let rows = lock(&again.packed).rows();
    (bytes, rows)
}

fn read(scope: Scope, bytes: &[u8]) -> Memo {
    let memo = new_memo(scope);
    memo.load(bytes);
    memo
}

#[test]
fn what_was_written_is_recalled() {
    let scene = Scene::new();
    let found = scene.inspect();
    assert_eq!(found[0].files.as_ref().map(Vec::len), Some(1));
    assert_eq!(found[1].skipped.len(), 1);
    assert_eq!(found[2].notes.len(), 1, "{:?}", found[2]);
    assert!(found[3].files.is_none());
    let (bytes, rows) = written(&new_memo(SCOPE), held(&found), u64::MAX);
    assert_eq!(rows, FOLDERS.len());
    let memo = read(SCOPE, &bytes);
    assert_eq!(written(&memo, Held::new(), u64::MAX).1, FOLDERS.len());
    for (folder, found) in FOLDERS.iter().zip(&found) {
        assert_eq!(scene.recall(&memo, folder), Some(described(found)), "{folder}");
        assert!(memo.recall(Path::new(folder)).expect("it is there").is_earlier);
    }
    // Rows of what listings hold as well are not written twice.
    assert_eq!(written(&memo, held(&found), u64::MAX).1, FOLDERS.len());
    // What was inspected anew is not believed any more.
    memo.remember(Path::new(FOLDERS[0]), &found[0], Origin::Memo);
    assert!(scene.recall(&memo, FOLDERS[0]).is_some());
    memo.remember(Path::new(FOLDERS[0]), &found[0], Origin::Source);
    assert_eq!(scene.recall(&memo, FOLDERS[0]), None);
}

#[test]
fn what_is_packed_is_recalled_unless_an_opening_refuted_it() {
    let scene = Scene::new();
    let found = scene.inspect();
    let memo = new_memo(SCOPE);
    let results = || held(&found);
    for _ in 0..2 {
        memo.pack(&results());
        for (folder, found) in FOLDERS.iter().zip(&found) {
            assert_eq!(scene.recall(&memo, folder), Some(described(found)), "{folder}");
            assert!(!memo.recall(Path::new(folder)).expect("it is there").is_earlier);
        }
        assert_eq!(written(&memo, Held::new(), u64::MAX).1, FOLDERS.len());
    }
    let bytes = lock(&memo.packed).bytes();
    assert!(bytes > 0);
    let file = &found[0].files.as_ref().expect("a store")[0];
    lock(&file.found.state).doubt(crate::fs::tree::file::Verdict::Refuted);
    memo.pack(&results());
    assert_eq!(scene.recall(&memo, FOLDERS[0]), None);
    assert!(scene.recall(&memo, FOLDERS[1]).is_some());
    assert!(lock(&memo.packed).bytes() < bytes);
    // What was inspected since is what counts.
    memo.remember(Path::new(FOLDERS[1]), &found[1], Origin::Source);
    memo.pack(&results()[1..2]);
    assert_eq!(lock(&memo.packed).rows(), FOLDERS.len() - 1);
}

#[test]
fn a_row_that_was_replaced_does_not_come_back_at_the_next_start() {
    let scene = Scene::new();
    let found = scene.inspect();
    let memo = new_memo(SCOPE);
    memo.pack(&held(&found));
    lock(&memo.packed).flush();
    let before = described(&found[0]);
    let file = &found[0].files.as_ref().expect("a store")[0];
    lock(&file.found.state).chunks_modified = Some(std::time::SystemTime::UNIX_EPOCH);
    let now = described(&found[0]);
    assert_ne!(now, before);
    memo.pack(&held(&found)[..1]);
    lock(&memo.packed).flush();
    // The block with the old row is the one used last.
    assert!(scene.recall(&memo, FOLDERS[1]).is_some());
    let again = read(SCOPE, &written(&memo, Held::new(), u64::MAX).0);
    assert_eq!(scene.recall(&again, FOLDERS[0]), Some(now));
    let blocks = lock(&again.packed).blocks(&HashSet::new());
    assert_eq!(blocks.iter().map(|(block, _)| block.rows()).sum::<usize>(), FOLDERS.len());
}

#[test]
fn rows_in_memory_keep_to_their_share() {
    let scene = Scene::new();
    let found = scene.inspect();
    let names = names(1_600_000);
    let account = names.memo.clone();
    let memo = Memo::new(SCOPE, None, account.clone());
    let results = |number: usize| -> Vec<_> {
        let names = (0..100).map(|store| PathBuf::from(format!("folder{number}/store{store}")));
        names.map(|path| (path, found[0].clone())).collect()
    };
    for number in 0..50 {
        memo.pack(&results(number));
        assert!(!account.is_over());
    }
    let is_there =
        |number: usize| memo.recall(&PathBuf::from(format!("folder{number}/store99"))).is_some();
    assert!(is_there(0) && !is_there(40), "those that came first stay");
    let rows = lock(&memo.packed).rows() as u64;
    assert!(
        lock(&memo.packed).bytes() > 50_000 && lock(&memo.packed).bytes() / rows < 250,
        "{rows} rows"
    );
    drop(memo);
    assert_eq!((account.bytes(), names.all.bytes()), (0, 0), "all was given back");
}

#[test]
fn a_memo_of_another_scope_or_version_is_not_used() {
    let scene = Scene::new();
    let bytes = bytes_of(&scene.inspect());
    let is_used = |scope, bytes: &[u8]| scene.recall(&read(scope, bytes), "good.zarr").is_some();
    assert!(is_used(SCOPE, &bytes));
    let other = Scope(SCOPE.0 ^ 1);
    assert!(!is_used(other, &bytes));
    let header = SCOPE.header();
    let under = |header: &str| [header.as_bytes(), &bytes[header.len()..]].concat();
    assert!(is_used(SCOPE, &under(&header)));
    let version = format!("memo {FORMAT_VERSION}");
    assert!(!is_used(SCOPE, &under(&header.replacen(&version, "memo 0", 1))));
    // Nor are rows under the header of another one.
    assert!(!is_used(other, &under(&other.header())));
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
    let bytes = bytes_of(&found);
    let at = |path: &str| scene.source.path().join(path);
    let same = fs::read(at("good.zarr/0/zarr.json")).expect("a file");
    fs::write(at("good.zarr/0/zarr.json"), same).expect("a file");
    fs::create_dir(at("odd.zarr/labels")).expect("a folder");
    fs::remove_file(at("bad.zarr/zarr.json")).expect("a file");
    fs::write(at("plain/zarr.json"), "{}").expect("a file");
    let memo = read(SCOPE, &bytes);
    for folder in FOLDERS {
        assert_eq!(scene.recall(&memo, folder), None, "{folder}");
    }
}

#[test]
fn what_may_change_unnoticed_is_not_written() {
    let scene = Scene::new();
    let found = scene.tree.inspector.look_into(Path::new("good.zarr"), None);
    let memo = new_memo(SCOPE);
    memo.pack(&held(std::slice::from_ref(&found)));
    assert_eq!(written(&memo, Held::new(), u64::MAX).1, 1);
    let mut found = Arc::into_inner(found).expect("nobody else has it");
    found.is_lasting = false;
    memo.remember(Path::new("good.zarr"), &found, Origin::Source);
    assert_eq!(written(&memo, held(&[Arc::new(found)]), u64::MAX).1, 0);
}

#[test]
fn a_memo_has_at_most_so_many_bytes_and_what_is_known_goes_first() {
    let scene = Scene::new();
    let found = scene.inspect();
    let whole = bytes_of(&found).len();
    for most in [0, 40, whole - 1] {
        let (bytes, rows) = written(&new_memo(SCOPE), held(&found), most as u64);
        assert_eq!((bytes.len(), rows), (SCOPE.header().len(), 0));
    }
    let name = |at: usize| PathBuf::from(format!("plain{at}"));
    let memo = new_memo(SCOPE);
    memo.pack(&(0..128).map(|at| (name(at), found[0].clone())).collect::<Vec<_>>());
    let held = || vec![(name(400), found[0].clone())];
    let whole = memo.write(held(), u64::MAX).bytes.len();
    let (bytes, rows) = written(&memo, held(), whole as u64 - 1);
    assert_eq!(rows, 65, "one block is left out");
    assert!(read(SCOPE, &bytes).recall(&name(400)).is_some());
}

#[test]
fn it_is_written_when_nothing_new_comes_when_much_is_new_and_at_the_end() {
    let scene = Scene::new();
    let found = scene.inspect();
    let memo = new_memo(SCOPE);
    let listed = std::cell::Cell::new(0);
    let held = || held(&found[..listed.get()]);
    let saved = |when| {
        let mut lines = 0;
        memo.save_by(when, held, u64::MAX, |bytes| {
            lines = lock(&read(SCOPE, bytes).packed).rows();
            true
        });
        lines
    };
    let add = |number: usize| {
        memo.remember(Path::new(FOLDERS[number]), &found[number], Origin::Source);
        listed.set(listed.get().max(number + 1));
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
    memo.save_by(Save::Now, held, u64::MAX, |_| false);
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
            static SCENE: (Scene, Vec<Arc<Inspected>>, Vec<u8>) = {
                let scene = Scene::new();
                let found = scene.inspect();
                let bytes = bytes_of(&found);
                (scene, found, bytes)
            };
        }
        SCENE.with(|(scene, found, bytes)| {
            let mut bytes = bytes.clone();
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
