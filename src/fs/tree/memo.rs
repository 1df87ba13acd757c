//! What inspecting the source gave, kept in the cache folder, so that a later start lists, and tells
//! sizes, without reading metadata again.
//!
//! The memo is a text file: a line that says for which program, source folder and options it holds,
//! and a line of JSON for each folder that was inspected, with a checksum in front. A line is believed
//! if its checksum is right and every file that the answer was computed from is in the state that the
//! line says (see [`Fingerprint`](crate::source::Fingerprint)). At any doubt the folder is inspected.
//!
//! An answer is put down only if its fingerprint tells at any later time whether it is true: all files
//! could be read, and had been at rest for so long that a later change bears another time.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::cache::{CacheError, ImageId, MemoSource, SteadyCache};
use crate::image::Engine;
use crate::source::image::Role;
use crate::source::root::join;
use crate::source::{FileStamp, SourceRoot};

use super::node::{Checked, FileSpec, Inspected, Skipped};
use super::{TreeConfig, lock};

/// Changes whenever lines are written in another way.
const FORMAT_VERSION: u32 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Memo {
    scope: Scope,
    /// By path below the source folder.
    records: Mutex<HashMap<PathBuf, Record>>,
    /// Answers so far that are not in the memo of an earlier run.
    news: AtomicU64,
    written: Mutex<Written>,
}

/// What is known of a folder.
#[derive(Debug)]
enum Record {
    /// The JSON of an earlier run; nobody has asked for it yet.
    Earlier(Arc<str>),
    /// For as long as a listing has it.
    Known(Weak<Inspected>),
}

/// The number of news at two times.
#[derive(Debug, Default)]
struct Written {
    last_written: u64,
    last_asked: u64,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Memo,
    Source,
}

/// A hash of all that an answer depends on beside the files.
#[derive(Debug, Clone, Copy)]
struct Scope(u128);

impl Scope {
    /// `None` if it cannot be told which program this is.
    fn of(root: &SourceRoot, engine: &Engine, config: TreeConfig) -> Option<Self> {
        // The file that runs, also if another one is at its path by now.
        let program = std::fs::metadata("/proc/self/exe").ok()?;
        let program = (env!("CARGO_PKG_VERSION"), program.len(), program.modified().ok()?);
        let user = rustix::process::geteuid().as_raw();
        let source = (root.path(), root.follows_links(), user);
        Some(Self::hash(&(program, source, config.labels, engine.images())))
    }

    fn hash(all: &dyn std::fmt::Debug) -> Self {
        Self(xxh3_128(format!("{all:?}").as_bytes()))
    }

    fn header(self) -> String {
        format!("zarrims-memo {FORMAT_VERSION} {:032x}", self.0)
    }

    fn line(self, json: &str) -> String {
        format!("{:016x} {json}", self.checksum(json))
    }

    /// The JSON of a line that is whole.
    fn json_of(self, line: &str) -> Option<&str> {
        let (checksum, json) = line.split_once(' ')?;
        let is_whole =
            checksum.len() == 16 && u64::from_str_radix(checksum, 16).ok()? == self.checksum(json);
        is_whole.then_some(json)
    }

    fn checksum(self, json: &str) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        let seed = self.0 as u64;
        xxh3_64_with_seed(json.as_bytes(), seed)
    }
}

impl Memo {
    /// The memo of a mount, with what the last run has left in the cache folder.
    pub(super) fn open(
        cache: &SteadyCache,
        root: &SourceRoot,
        engine: &Engine,
        config: TreeConfig,
    ) -> Option<Arc<Self>> {
        let memo = Arc::new(Self::new(Scope::of(root, engine, config)?));
        if let Some(bytes) = cache.memo() {
            memo.load(&bytes);
        }
        let source: Weak<Self> = Arc::downgrade(&memo);
        cache.ask_for_memos(source);
        Some(memo)
    }

    fn new(scope: Scope) -> Self {
        let (records, news) = (Mutex::default(), AtomicU64::new(0));
        Self { scope, records, news, written: Mutex::default() }
    }

    fn load(&self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        if lines.next() != Some(self.scope.header().as_bytes()) {
            tracing::debug!("the memo is of another version, source or choice of options");
            return;
        }
        let mut records = lock(&self.records);
        let mut damaged = 0;
        for line in lines.filter(|line| !line.is_empty()) {
            let json = str::from_utf8(line).ok().and_then(|line| self.scope.json_of(line));
            match json.and_then(|json| Some((serde_json::from_str::<Key>(json).ok()?.folder, json)))
            {
                Some((folder, json)) => drop(records.insert(folder, Record::Earlier(json.into()))),
                None => damaged += 1,
            }
        }
        tracing::debug!(records = records.len(), damaged, "memo read");
    }

    /// What an earlier run has found in a folder, if that is still true.
    pub(super) fn recall(&self, root: &SourceRoot, folder: &Path) -> Option<Inspected> {
        let mut records = lock(&self.records);
        let json = match records.get(folder)? {
            Record::Earlier(json) => json.clone(),
            Record::Known(_) => return None,
        };
        records.remove(folder);
        drop(records);
        let started = Instant::now();
        let found = serde_json::from_str::<Row>(&json).ok().and_then(Row::into_inspected);
        let found = found.filter(|found| found.fingerprint.is_current(root))?;
        *lock(&found.checked) = Checked::since(started);
        Some(found)
    }

    /// Notes what is known of a folder.
    pub(super) fn remember(&self, folder: &Path, found: &Arc<Inspected>, origin: Origin) {
        let mut records = lock(&self.records);
        let is_news = if found.is_lasting {
            records.insert(folder.to_path_buf(), Record::Known(Arc::downgrade(found)));
            origin == Origin::Source
        } else {
            records.remove(folder).is_some()
        };
        if is_news {
            self.news.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The text of the memo, of at most so many bytes: what this run knows goes before the rest.
    fn write(&self, most_bytes: u64) -> String {
        let (mut known, mut earlier) = (Vec::new(), Vec::new());
        lock(&self.records).retain(|folder, record| match record {
            Record::Earlier(json) => {
                earlier.push((folder.clone(), json.clone()));
                true
            }
            Record::Known(found) => {
                let found = found.upgrade();
                found.is_some_and(|found| {
                    known.push((folder.clone(), found));
                    true
                })
            }
        });
        known.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        earlier.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut text = self.scope.header();
        text.push('\n');
        let mut add = |json: &str| {
            let line = self.scope.line(json);
            if (text.len() + line.len()) as u64 >= most_bytes {
                return;
            }
            // Writing to a string does not fail.
            let _ = writeln!(text, "{line}");
        };
        for (folder, found) in known {
            // A name that is not UTF-8 is inspected at each start.
            if let Some(json) =
                Row::of(&folder, &found).and_then(|row| serde_json::to_string(&row).ok())
            {
                add(&json);
            }
        }
        for (_, json) in earlier {
            add(&json);
        }
        text
    }
}

impl MemoSource for Memo {
    /// Writes once there was nothing new for a while, at the end, and when there is much that is new.
    fn renew(
        &self,
        at_end: bool,
        most_bytes: u64,
        keep: &mut dyn FnMut(&[u8]) -> Result<(), CacheError>,
    ) {
        let news = self.news.load(Ordering::Relaxed);
        let mut written = lock(&self.written);
        let is_resting = news == written.last_asked;
        written.last_asked = news;
        let is_much = news >= 2 * written.last_written;
        if news == written.last_written || !(at_end || is_resting || is_much) {
            return;
        }
        match keep(self.write(most_bytes).as_bytes()) {
            Ok(()) => written.last_written = news,
            Err(error) => tracing::debug!(%error, "memo not kept"),
        }
    }
}

/// The part of a line that says what it is about.
#[derive(Deserialize)]
struct Key {
    folder: PathBuf,
}

/// A line. Paths of `state` are relative to the folder.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    folder: PathBuf,
    /// Absent: a plain folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<(PathBuf, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<(PathBuf, String)>,
    state: Vec<(PathBuf, Option<Stamp>)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    image: String,
    multiscale: usize,
    is_label: bool,
    name: Option<String>,
    size: u64,
    shape: [u64; 5],
    levels: usize,
    id: String,
    modified: SystemTime,
}

/// Inode, size, seconds and nanoseconds of the modification time, change time.
type Stamp = (u64, u64, i64, u32, i64);

impl Row {
    fn of(folder: &Path, found: &Inspected) -> Option<Self> {
        let state = found.fingerprint.entries().map(|(path, stamp)| {
            let stamp = stamp.map(|s| (s.ino, s.size, s.mtime_s, s.mtime_ns, s.ctime_ns));
            Some((path.strip_prefix(folder).ok()?.to_path_buf(), stamp))
        });
        Some(Self {
            folder: folder.to_path_buf(),
            files: found.files.as_ref().map(|files| files.iter().map(File::of).collect()),
            skipped: found.skipped.iter().map(|s| (s.path.clone(), s.reason.clone())).collect(),
            notes: found.notes.clone(),
            state: state.collect::<Option<_>>()?,
        })
    }

    fn into_inspected(self) -> Option<Inspected> {
        let Self { folder, files, skipped, notes, state } = self;
        let files = match files {
            None => None,
            Some(files) => {
                Some(files.into_iter().map(|file| file.into_spec(&folder)).collect::<Option<_>>()?)
            }
        };
        let state = state.into_iter().map(|(path, stamp)| {
            let stamp = stamp.map(|(ino, size, mtime_s, mtime_ns, ctime_ns)| FileStamp {
                ino,
                size,
                mtime_s,
                mtime_ns,
                ctime_ns,
            });
            (join(&folder, &path), stamp)
        });
        Some(Inspected {
            files,
            skipped: skipped.into_iter().map(|(path, reason)| Skipped { path, reason }).collect(),
            notes,
            fingerprint: state.collect(),
            is_lasting: true,
            checked: Mutex::new(Checked::since(Instant::now())),
        })
    }
}

impl File {
    fn of(spec: &FileSpec) -> Self {
        Self {
            image: spec.image.clone(),
            multiscale: spec.multiscale,
            is_label: spec.role == Role::Label,
            name: spec.name.clone(),
            size: spec.size,
            shape: spec.shape,
            levels: spec.levels,
            id: spec.id.to_string(),
            modified: spec.modified,
        }
    }

    fn into_spec(self, store: &Path) -> Option<FileSpec> {
        Some(FileSpec {
            store: store.to_path_buf(),
            image: self.image,
            multiscale: self.multiscale,
            role: if self.is_label { Role::Label } else { Role::Image },
            name: self.name,
            size: self.size,
            shape: self.shape,
            levels: self.levels,
            id: ImageId(u128::from_str_radix(&self.id, 16).ok()?),
            modified: self.modified,
            newest: Arc::default(),
            has_changed: Arc::default(),
            is_refuted: Arc::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::json;
    use tempfile::TempDir;

    use super::super::Tree;
    use super::*;
    use crate::image::{EngineConfig, ImageOptions};

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
            // Until a change would bear another time.
            std::thread::sleep(std::time::Duration::from_millis(60));
            let root = Arc::new(SourceRoot::open(source.path(), false).expect("a folder"));
            let engine = Engine::start(&EngineConfig {
                cache: None,
                memory_bytes: 1 << 24,
                threads: 1,
                images: ImageOptions::default(),
            });
            let tree = Tree::new(root, engine.expect("an engine"), TreeConfig::default());
            Self { source, tree }
        }

        fn inspect(&self) -> Vec<Arc<Inspected>> {
            FOLDERS.iter().map(|folder| self.tree.look_into(Path::new(folder))).collect()
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
        let memo = Memo::new(SCOPE);
        for (folder, found) in FOLDERS.iter().zip(found) {
            memo.remember(Path::new(folder), found, Origin::Source);
        }
        memo
    }

    fn read(scope: Scope, bytes: &[u8]) -> Memo {
        let memo = Memo::new(scope);
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
        assert_eq!(is_used(SCOPE, &text.replacen("memo 1", "memo 2", 1)), None);
        // Nor are lines under the header of another one.
        let other = Scope(SCOPE.0 ^ 1);
        let mixed = text.replacen(&SCOPE.header(), &other.header(), 1);
        assert_eq!(is_used(other, &mixed), None);
    }

    #[test]
    fn every_option_is_another_scope() {
        let mut images = [ImageOptions::default(); 7];
        images[1].pyramid = crate::image::Pyramid::Source;
        images[2].statistics = crate::image::Statistics::Exact;
        images[3].default_unit_um = 1000.0;
        images[4].on_error = crate::image::OnError::Fill;
        images[5].coarsest_bytes = 7;
        images[6].conversions.uint32 = crate::source::Uint32::Keep;
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
        let found = scene.tree.look_into(Path::new("good.zarr"));
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
        let memo = Memo::new(SCOPE);
        let renew = |at_end| {
            let mut lines = 0;
            memo.renew(at_end, u64::MAX, &mut |bytes| {
                lines = String::from_utf8_lossy(bytes).lines().count() - 1;
                Ok(())
            });
            lines
        };
        let add = |number: usize| {
            memo.remember(Path::new(FOLDERS[number]), &found[number], Origin::Source);
        };
        assert_eq!(renew(true), 0, "nothing is known");
        add(0);
        assert_eq!(renew(false), 1, "much is new");
        add(1);
        assert_eq!(renew(false), 2, "twice as much");
        add(2);
        assert_eq!(renew(false), 0, "more may come");
        assert_eq!(renew(false), 3, "nothing came");
        add(3);
        assert_eq!(renew(true), 4, "the end");
        assert_eq!(renew(true), 0, "nothing is new");
        add(0);
        memo.renew(true, u64::MAX, &mut |_| {
            Err(CacheError::NoRoom { needed_bytes: 1, limit_bytes: 0 })
        });
        assert_eq!(renew(true), 4, "it was not kept");
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
}
