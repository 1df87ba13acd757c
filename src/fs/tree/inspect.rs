//! Looking into folders of the source: which are stores, and of what images.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use crate::image::{Engine, VirtualFile};
use crate::memory::MemoryBudget;
use crate::source::discover::{self, Folder};
use crate::source::root::{DirEntry, EntryKind};
use crate::source::{Fingerprint, SourceRoot};

use super::memo::{Memo, Origin};
use super::node::{Checked, FileSpec, Inspected, LevelSpec, Skipped};
use super::{TreeConfig, access, lock};

/// Metadata files of more bytes than this are large: those of an image have some thousands.
const LARGE_METADATA_BYTES: u64 = 256 << 10;

/// Notes on an image that its log line holds.
const NOTES_SHOWN: usize = 8;

/// Looks into folders, from any thread.
#[derive(Debug)]
pub(super) struct Inspector {
    pub(super) root: Arc<SourceRoot>,
    pub(super) engine: Arc<Engine>,
    pub(super) config: TreeConfig,
    /// What was found out in earlier runs; `None` without a cache folder.
    pub(super) memo: Option<Arc<Memo>>,
    /// A hash of what was told last of each folder of the source that something was told of.
    told: Mutex<HashMap<PathBuf, u64>>,
    /// For stores that may take much memory: one at a time, but for those that do not answer.
    large: Arc<MemoryBudget>,
}

impl Inspector {
    pub(super) fn new(root: Arc<SourceRoot>, engine: Arc<Engine>, config: TreeConfig) -> Self {
        let memo =
            engine.cache().and_then(|cache| Memo::open(cache, &root, engine.images(), config));
        Self { root, engine, config, memo, told: Mutex::default(), large: MemoryBudget::new(1) }
    }

    /// What a folder of the source is: what is known of it, in this run or by the memo, if that is still
    /// true, or what it is found to be.
    pub(super) fn look(&self, folder: &Path, known: Option<&Arc<Inspected>>) -> Arc<Inspected> {
        if let Some(known) = known.filter(|known| known.is_current(&self.root)) {
            return known.clone();
        }
        if let Some(found) = self.recall(folder) {
            return found;
        }
        if let Some(found) = self.look_into_small(folder, known) {
            return found;
        }
        let _alone = self.large.reserve(1);
        self.look_into(folder, known)
    }

    /// Takes note of what was told of a folder; what was told before.
    pub(super) fn note_told(&self, folder: &Path, hash: Option<u64>) -> Option<u64> {
        let mut told = lock(&self.told);
        match hash {
            Some(hash) => told.insert(folder.to_path_buf(), hash),
            None => told.remove(folder),
        }
    }

    /// What the memo has of a folder, where that is still true.
    pub(super) fn recall(&self, folder: &Path) -> Option<Arc<Inspected>> {
        let found = self.memo.as_ref()?.recall(&self.root, folder)?;
        Some(self.take_up(folder, found, Origin::Memo))
    }

    /// Inspects a folder of the source; `known` is what was known of it.
    pub(super) fn look_into(
        &self,
        folder: &Path,
        known: Option<&Arc<Inspected>>,
    ) -> Arc<Inspected> {
        self.take_over(folder, self.inspect_guarded(&self.root, folder), known)
    }

    /// The same, unless its metadata is so long that reading it may take much memory: many folders are
    /// inspected at a time.
    pub(super) fn look_into_small(
        &self,
        folder: &Path,
        known: Option<&Arc<Inspected>>,
    ) -> Option<Arc<Inspected>> {
        let root = Arc::new(self.root.with_metadata_limit(LARGE_METADATA_BYTES));
        let found = self.inspect_guarded(&root, folder);
        (!root.has_refused()).then(|| self.take_over(folder, found, known))
    }

    /// What was found out of images that are known goes on to be true.
    fn take_over(
        &self,
        folder: &Path,
        mut found: Inspected,
        known: Option<&Arc<Inspected>>,
    ) -> Arc<Inspected> {
        let before = known.into_iter().flat_map(|known| known.files.iter().flatten());
        let before: HashMap<_, _> = before.map(|file| (file.place(), file)).collect();
        for file in found.files.iter_mut().flatten() {
            if let Some(same) = before.get(&file.place()) {
                file.state = same.state.clone();
                let mut state = lock(&file.state);
                (state.has_changed, state.is_refuted) = (false, false);
            }
            if self.config.is_shared {
                access::ask(&self.root, self.config, file);
            }
        }
        self.take_up(folder, found, Origin::Source)
    }

    /// Logs what is skipped, and what is assumed of what is shown.
    fn take_up(&self, folder: &Path, found: Inspected, origin: Origin) -> Arc<Inspected> {
        self.tell(folder, &found);
        let found = Arc::new(found);
        if let Some(memo) = &self.memo {
            memo.remember(folder, &found, origin);
        }
        found
    }

    /// A fault of this program in one store must not hide the stores beside it.
    fn inspect_guarded(&self, root: &Arc<SourceRoot>, path: &Path) -> Inspected {
        catch_unwind(AssertUnwindSafe(|| self.inspect(root, path))).unwrap_or_else(|_| {
            let reason = "internal fault while reading its metadata".to_owned();
            tracing::error!(path = %path.display(), reason, "fault");
            let mut fingerprint = Fingerprint::default();
            fingerprint.record(&self.root, path);
            Inspected {
                files: Some(Vec::new()),
                skipped: vec![Skipped::because(path, &reason)],
                notes: Vec::new(),
                fingerprint: Arc::new(fingerprint),
                is_lasting: false,
                checked: Mutex::new(Checked::since(Instant::now())),
            }
        })
    }

    /// Inspects a folder of the source and plans its images.
    fn inspect(&self, root: &Arc<SourceRoot>, path: &Path) -> Inspected {
        tracing::debug!(path = %path.display(), "inspecting");
        let begun = SystemTime::now();
        let mut found = Inspected {
            files: Some(Vec::new()),
            skipped: Vec::new(),
            notes: Vec::new(),
            fingerprint: Arc::default(),
            is_lasting: false,
            checked: Mutex::new(Checked::since(Instant::now())),
        };
        match discover::inspect(root, path, self.config.labels) {
            Ok(Folder::Plain(plain)) => {
                found.files = None;
                found.skipped = Skipped::all(&plain.skipped);
                found.fingerprint = Arc::new(plain.fingerprint);
            }
            Ok(Folder::Store(store)) => {
                found.skipped = Skipped::all(&store.skipped);
                let mut files = Vec::new();
                found.fingerprint = Arc::new(store.fingerprint);
                for image in store.images {
                    if !image.notes.is_empty() {
                        found.notes.push((image.folder(), one_line(&image.notes)));
                    }
                    let (image, engine) = (image.clone(), self.engine.clone());
                    match VirtualFile::new(&self.root, image.clone(), engine, None) {
                        Ok(file) => files.push(FileSpec {
                            store: image.store.clone(),
                            image: image.image.clone(),
                            multiscale: image.multiscale,
                            role: image.role,
                            name: image.name.clone(),
                            size: file.size(),
                            shape: image.levels[0].shape(),
                            levels: file.plan().levels.iter().map(LevelSpec::of).collect(),
                            id: file.id(),
                            modified: image
                                .fingerprint
                                .modified()
                                .unwrap_or(SystemTime::UNIX_EPOCH),
                            metadata: found.fingerprint.clone(),
                            samples: image.samples().collect(),
                            state: Arc::default(),
                        }),
                        Err(error) => {
                            let row = Skipped::because(&image.folder(), &error.to_string());
                            found.skipped.push(row);
                        }
                    }
                }
                found.files = Some(files);
            }
            Err(error) => {
                found.skipped.push(Skipped::of(path, &error));
                let mut fingerprint = Fingerprint::default();
                fingerprint.doubt();
                fingerprint.record(&self.root, path);
                found.fingerprint = Arc::new(fingerprint);
                return found;
            }
        }
        found.is_lasting = found.fingerprint.is_lasting(begun);
        found
    }
}

/// Whether an entry of a folder is shown, or is worth a line why not.
pub(super) fn is_notable(entry: &DirEntry) -> bool {
    match entry.kind {
        EntryKind::File => discover::is_notable_file(Path::new(&entry.name)),
        EntryKind::Other => false,
        EntryKind::Directory | EntryKind::LinkedDirectory | EntryKind::BadLink => true,
    }
}

/// The first few notes on an image, and how many more there are.
fn one_line(notes: &[String]) -> String {
    let shown = notes.len().min(NOTES_SHOWN);
    let more = match notes.len() - shown {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", notes[..shown].join("; "))
}
