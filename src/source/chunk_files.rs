//! The chunk files of an array: opened in the state of the opening of the image, or not at all.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use lru::LruCache;
use zarrs::array::Array;

use super::chunk_keys::{ChunkNames, Found, Scheme};
use super::codec::Blob;
use super::error::SourceError;
use super::resized::Growth;
use super::root::{Absence, EntryKind, SourceRoot};
use super::snapshot::{Since, Snapshot};
use super::storage::{Budget, Index, OpenFile, Stamp, Storage, Unfollowed, is_not_found};
use crate::sync::lock;

/// How often, and after which time, a folder that was changed just now is looked at again.
const REST_LOOKS: usize = 4;
const REST_TIME: Duration = Duration::from_millis(20);

/// Most open shards of a remote array: a slice of a volume crosses several.
const MOST_OPENED: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// How long an open shard is used where nothing says that it is in the state of the opening.
const OPENED_TIME: Duration = Duration::from_secs(2);

/// The chunk files of an array.
#[derive(Debug)]
pub(super) struct ChunkFiles {
    root: Arc<SourceRoot>,
    folder: PathBuf,
    metadata_file: PathBuf,
    metadata_stamp: Option<Stamp>,
    array: Array<()>,
    names: ChunkNames,
    /// Where chunk files that are not read whole have their index.
    index: Option<Index>,
    snapshot: OnceLock<Snapshot>,
    snapshot_at: OnceLock<Instant>,
    /// The part that is shown of an array that is still being written.
    growth: OnceLock<Growth>,
    /// Chunk files of a remote source that were opened lately, and are not read whole.
    opened: Mutex<LruCache<String, (Instant, Arc<FoundChunk>)>>,
}

/// An open chunk under its key, in the state it was opened in.
#[derive(Debug)]
pub(super) struct FoundChunk {
    pub(super) key: String,
    pub(super) file: Box<dyn OpenFile>,
    pub(super) stamp: Stamp,
}

/// An open chunk, and the state it is in.
type OpenChunk = (Box<dyn OpenFile>, Stamp);

impl Blob for FoundChunk {
    fn len(&self) -> u64 {
        self.stamp.size()
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
}

impl ChunkFiles {
    /// `metadata`: the file that describes the array, and its state when it was read.
    pub(super) fn new(
        root: Arc<SourceRoot>,
        folder: &Path,
        metadata: (PathBuf, Stamp),
        array: Array<()>,
        names: ChunkNames,
        index: Option<Index>,
    ) -> Self {
        Self {
            root,
            folder: folder.to_path_buf(),
            metadata_file: metadata.0,
            metadata_stamp: Some(metadata.1),
            array,
            names,
            index,
            snapshot: OnceLock::new(),
            snapshot_at: OnceLock::new(),
            growth: OnceLock::new(),
            opened: Mutex::new(LruCache::new(MOST_OPENED)),
        }
    }

    pub(super) fn array(&self) -> &Array<()> {
        &self.array
    }

    /// The source, as bytes that name it.
    pub(super) fn location(&self) -> Vec<u8> {
        self.root.location().as_bytes().into_owned()
    }

    /// Path of the array below the source folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether each look at a file is a request to another machine.
    pub(super) fn is_remote(&self) -> bool {
        self.root.storage().is_remote()
    }

    /// Looks at all files of the array as they are now.
    pub(super) fn look(&self, budget: &mut Budget) -> Result<Snapshot, Unfollowed> {
        let Some(growth) = self.growth.get() else {
            return Snapshot::take(&self.root, &self.folder, budget, None);
        };
        // A chunk that is none of those shown may come at any time.
        let is_shown = |inside: &Path| {
            inside.to_str().and_then(|path| self.names.position(&self.array, path)).is_some_and(
                |position| {
                    growth.axis.is_none_or(|axis| position[axis] < growth.chunks(&self.array))
                },
            )
        };
        Snapshot::take(&self.root, &self.folder, budget, Some(&is_shown))
    }

    /// Notes that the array is still being written: its first `times` time points along dimension `axis` are
    /// shown, and it may become longer. The first note counts.
    pub(super) fn may_grow(&self, axis: Option<usize>, times: u64) {
        self.growth.get_or_init(|| Growth::new(axis, times));
    }

    /// The calls on the source.
    pub(super) fn storage(&self) -> &dyn Storage {
        self.root.storage()
    }

    /// The chunk that a file is, by its path relative to the array.
    pub(super) fn position_of(&self, inside: &Path) -> Option<Vec<u64>> {
        self.names.position(&self.array, inside.to_str()?)
    }

    /// The folder, relative to the array, in which each number along the first dimension is a folder of its own,
    /// where the names of the chunks make it so.
    pub(super) fn folder_of_blocks(&self) -> Option<PathBuf> {
        let mut second = vec![0; self.array.dimensionality()];
        second[0] = 1;
        let second = self.chunk_path(&second);
        let first = self.first_chunk();
        let same = first.components().zip(second.components()).take_while(|(a, b)| a == b).count();
        let rest = second.components().skip(same).collect::<PathBuf>();
        let is_folder = rest.starts_with("1") && rest.components().count() > 1;
        is_folder.then(|| second.components().take(same).collect())
    }

    /// The numbers that are names of folders in a folder of the array; none where there is no such folder.
    pub(super) fn numbers_in(&self, folder: &Path) -> Result<Vec<u64>, Unfollowed> {
        let number = |name: &std::ffi::OsStr| name.to_str()?.parse::<u64>().ok();
        let path = super::root::join(&self.folder, folder);
        let is_wanted = |entry: &super::root::DirEntry| {
            entry.kind != EntryKind::File && number(&entry.name).is_some()
        };
        match self.root.list(&path, is_wanted) {
            Ok(entries) => Ok(entries.iter().filter_map(|entry| number(&entry.name)).collect()),
            Err(SourceError::Io { source, .. }) if is_not_found(&source) => Ok(Vec::new()),
            Err(_) => Err(Unfollowed::Unreadable),
        }
    }

    /// From now on, reads return chunks in the state of the snapshot, or fail. The first snapshot counts.
    pub(super) fn keep_to(&self, snapshot: Snapshot) {
        self.snapshot.get_or_init(|| snapshot);
        self.snapshot_at.get_or_init(Instant::now);
    }

    /// Bytes that the snapshot takes in memory.
    pub(super) fn snapshot_bytes(&self) -> u64 {
        self.snapshot.get().map_or(0, Snapshot::memory_bytes)
    }

    /// Whether the folders of the chunks are unchanged since the snapshot, as far as it holds them.
    pub(super) fn has_same_folders(&self) -> bool {
        let snapshot = self.snapshot.get();
        snapshot.is_none_or(|snapshot| snapshot.has_same_folders(&self.root, &self.folder))
    }

    /// The chunk at the origin, by its path relative to the folder of the array. It stands for all
    /// where they cannot all be looked at.
    pub(super) fn first_chunk(&self) -> PathBuf {
        self.chunk_path(&vec![0; self.array.dimensionality()])
    }

    /// The path that a chunk should have, relative to the folder of the array.
    pub(super) fn chunk_path(&self, chunk: &[u64]) -> PathBuf {
        PathBuf::from(self.names.primary.key(&self.array, chunk))
    }

    /// Waits until the file of a chunk answers, or does not.
    pub(super) fn await_chunk(&self, chunk: &[u64]) {
        let answers = |scheme: &Scheme| {
            let path = self.folder.join(scheme.key(&self.array, chunk));
            self.root.storage().answers(&path)
        };
        let is_known = self.names.found.get().is_some();
        if (is_known || !answers(&self.names.primary))
            && let Ok(found) = self.found_names()
        {
            found.schemes.iter().any(answers);
        }
    }

    /// Opens the file of a chunk in the state of the snapshot, under whatever name it has.
    pub(super) fn open(&self, chunk: &[u64]) -> Result<Option<Arc<FoundChunk>>, SourceError> {
        if self.names.found.get().is_none()
            && let Some(found) = self.open_named(&self.names.primary, chunk)?
        {
            return Ok(Some(found));
        }
        let names = self.found_names()?;
        for scheme in &names.schemes {
            if let Some(found) = self.open_named(scheme, chunk)? {
                return Ok(Some(found));
            }
        }
        names.absent().map(|()| None).map_err(|reason| {
            let key = self.names.primary.key(&self.array, chunk);
            SourceError::Chunk { path: self.folder.join(key), reason }
        })
    }

    fn open_named(
        &self,
        scheme: &Scheme,
        chunk: &[u64],
    ) -> Result<Option<Arc<FoundChunk>>, SourceError> {
        let key = scheme.key(&self.array, chunk);
        if self.is_remote() {
            if self.snapshot.get().is_some_and(|snapshot| snapshot.lacks(Path::new(&key))) {
                return Ok(None);
            }
            if let Some(opened) = self.opened_lately(&key) {
                return Ok(Some(opened));
            }
        }
        let path = self.folder.join(&key);
        let opened = self.open_chunk(&path)?;
        let stamp = opened.as_ref().map(|(_, stamp)| stamp);
        let since = self
            .snapshot
            .get()
            .map_or(Since::Same, |snapshot| snapshot.compare(Path::new(&key), stamp));
        match (since, opened) {
            (Since::Same, Some((file, stamp))) => {
                let found = Arc::new(FoundChunk { key, file, stamp });
                if self.is_remote() && self.index.is_some() {
                    let now = (Instant::now(), found.clone());
                    lock(&self.opened).put(found.key.clone(), now);
                }
                Ok(Some(found))
            }
            (Since::Same, None) | (Since::Added, _) => Ok(None),
            (Since::Changed, _) => Err(SourceError::Changed { path }),
        }
    }

    /// The names that the chunk files have, looked at when the first one is absent.
    fn found_names(&self) -> Result<&Found, SourceError> {
        if let Some(found) = self.names.found.get() {
            return Ok(found);
        }
        let found = match self.names.look(&self.root, &self.folder, &self.array) {
            // Where nothing is listed, the stated names count.
            Err(SourceError::Io { source, .. }) if self.is_remote() && is_unlisted(&source) => {
                self.names.stated()
            }
            found => found?,
        };
        // Of an array that is being deleted, the look has shown less than there was.
        self.check_unchanged()?;
        Ok(self.names.keep(found, &self.folder))
    }

    /// Opens a chunk; `None` when it is absent and the array is there. A store that was deleted or
    /// unplugged has no chunks either: that is not "empty".
    fn open_chunk(&self, path: &Path) -> Result<Option<OpenChunk>, SourceError> {
        if let Some(opened) = self.open_if_there(path)? {
            return Ok(Some(opened));
        }
        self.check_unchanged()?;
        // The store may have come back between the two looks.
        match self.open_if_there(path)? {
            opened if self.is_remote() => Ok(opened),
            // An absent chunk may be on its way, and no snapshot says whether it was there.
            None if self.snapshot.get().is_none() => self.open_at_rest(path),
            opened => Ok(opened),
        }
    }

    fn open_if_there(&self, path: &Path) -> Result<Option<OpenChunk>, SourceError> {
        let fail = |error: io::Error| SourceError::io(path, error);
        let storage = self.root.storage();
        let opened = match self.index {
            Some(index) => storage.open_parts(path, index),
            None => storage.open(path),
        };
        let missing = match opened {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => error,
            Err(error) => return Err(fail(error)),
        };
        match self.root.absence(&self.folder, path).map_err(fail)? {
            Absence::Absent => Ok(None),
            Absence::Dangling => Err(fail(missing)),
            Absence::Present => storage.open(path).map(Some).map_err(fail),
        }
    }

    /// Opens a chunk that was absent, unless it still is when the folder it belongs into has been at rest
    /// for a moment: a folder of chunks may just be exchanged for another one.
    fn open_at_rest(&self, path: &Path) -> Result<Option<OpenChunk>, SourceError> {
        for _ in 0..REST_LOOKS {
            let before = self.folder_above(path)?;
            let opened = self.open_if_there(path)?;
            if opened.is_some() || (self.folder_above(path)? == before && before.is_settled()) {
                return Ok(opened);
            }
            std::thread::sleep(REST_TIME);
        }
        // The folder changes all the time. The chunk will be written later, if ever.
        self.open_if_there(path)
    }

    /// The state of the nearest folder above a chunk that is there.
    fn folder_above(&self, path: &Path) -> Result<Stamp, SourceError> {
        for folder in path.ancestors().skip(1).take_while(|above| above.starts_with(&self.folder)) {
            let found = self.root.stamp(folder).map_err(|error| SourceError::io(folder, error))?;
            if let Some(stamp) = found {
                return Ok(stamp);
            }
        }
        Err(SourceError::Changed { path: self.folder.clone() })
    }

    /// Checks that the metadata is unchanged now since the image was planned.
    ///
    /// # Errors
    /// [`SourceError::Changed`] if not, [`SourceError::Io`] if that cannot be looked at.
    pub(super) fn check_unchanged(&self) -> Result<(), SourceError> {
        self.check_unchanged_since(Instant::now())
    }

    /// The same, after a chunk was read. One that is in the state of the snapshot belongs to the metadata that
    /// was there after the snapshot was taken; any other to that of now.
    pub(super) fn check_unchanged_after(&self, stamp: &Stamp) -> Result<(), SourceError> {
        let is_of_snapshot = self.snapshot.get().is_some() && stamp.is_settled();
        let since = self.snapshot_at.get().copied().filter(|_| is_of_snapshot);
        self.check_unchanged_since(since.unwrap_or_else(Instant::now))
    }

    /// A chunk file that need not be opened again. In the state of the snapshot, it is the one to read for good.
    fn opened_lately(&self, key: &str) -> Option<Arc<FoundChunk>> {
        let (at, found) = lock(&self.opened).get(key)?.clone();
        (self.snapshot.get().is_some() || at.elapsed() < OPENED_TIME).then_some(found)
    }

    /// Forgets an open chunk file that has another state now: the next read opens it again.
    pub(super) fn forget_opened(&self, key: &str) {
        lock(&self.opened).pop(key);
    }

    fn check_unchanged_since(&self, since: Instant) -> Result<(), SourceError> {
        let file = &self.metadata_file;
        let now = match self.root.storage().stat_since(file, since) {
            Ok(meta) => Some(meta.stamp),
            Err(error) if is_not_found(&error) => None,
            Err(error) => return Err(SourceError::io(file, error)),
        };
        let has_grown = |growth: &Growth| {
            now.is_some_and(|now| growth.is_same_longer(&self.root, &self.folder, &self.array, now))
        };
        if now == self.metadata_stamp || self.growth.get().is_some_and(has_grown) {
            Ok(())
        } else {
            Err(SourceError::Changed { path: file.clone() })
        }
    }
}

/// Whether an error says that a folder of a remote source is not listed for this user.
fn is_unlisted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use serde_json::json;

    use crate::source::array::UnitBytes;
    use crate::source::discover::open_image;
    use crate::source::error::SourceError;
    use crate::source::image::ImageSource;
    use crate::source::root::SourceRoot;
    use crate::source::storage::Memory;

    fn array(height: u64, width: u64) -> String {
        json!({"zarr_format": 2, "shape": [height, width], "chunks": [2, 2], "dtype": "|u1",
            "compressor": null, "fill_value": 7, "order": "C", "filters": null})
        .to_string()
    }

    /// A row of three chunks, of which the last one is absent, in a storage without folders.
    fn image() -> (Arc<Memory>, ImageSource) {
        let files = Memory::default();
        files.put("a.zarr/.zarray", array(2, 6).as_bytes());
        files.put("a.zarr/0.0", &[0, 1, 2, 3]);
        files.put("a.zarr/0.1", &[4, 5, 6, 7]);
        let files = Arc::new(files);
        let root = SourceRoot::in_memory(files.clone());
        (files, open_image(&root, Path::new("a.zarr"), "", 0).expect("an image"))
    }

    fn voxels(image: &ImageSource, chunk: u64) -> Result<Option<Vec<u8>>, SourceError> {
        image.levels[0].parts()[0].array.read_unit(&[0, chunk]).map(|unit| match unit {
            UnitBytes::Stored { bytes, is_settled } => {
                assert!(is_settled, "a version needs no time to settle");
                Some(bytes.to_vec())
            }
            UnitBytes::Fill => None,
        })
    }

    #[test]
    fn chunks_are_given_as_they_were_when_the_image_was_opened() {
        let (files, image) = image();
        let opened = image.keep_to_chunks().expect("two files");
        assert_eq!(voxels(&image, 0).expect("readable"), Some(vec![0, 1, 2, 3]));
        assert_eq!(voxels(&image, 2).expect("absent"), None);
        assert!(opened.is_same(&image.chunk_state().expect("two files")));
        files.put("a.zarr/0.1", &[4, 5, 6, 8]);
        files.put("a.zarr/0.2", &[9; 4]);
        files.remove("a.zarr/0.0");
        for rewritten_or_gone in [0, 1] {
            let read = voxels(&image, rewritten_or_gone);
            assert!(matches!(read, Err(SourceError::Changed { .. })), "{read:?}");
        }
        assert_eq!(voxels(&image, 2).expect("still the fill value"), None, "it came later");
        assert!(!opened.is_same(&image.chunk_state().expect("two files")));
    }

    #[test]
    fn chunks_are_not_decoded_by_metadata_that_has_changed() {
        let (files, image) = image();
        files.put("a.zarr/.zarray", b"{}");
        for stored_or_absent in [0, 2] {
            let read = voxels(&image, stored_or_absent);
            assert!(matches!(read, Err(SourceError::Changed { .. })), "{read:?}");
        }
    }

    #[test]
    fn an_array_that_grows_is_read_while_its_length_is_stated() {
        let (files, image) = image();
        image.levels[0].parts()[0].array.files().may_grow(Some(0), 2);
        let longer = array(4, 6);
        files.put("a.zarr/.zarray", &longer.as_bytes()[..longer.len() / 2]);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::park_timeout(Duration::from_millis(30));
                files.put("a.zarr/.zarray", longer.as_bytes());
            });
            assert_eq!(voxels(&image, 0).expect("readable"), Some(vec![0, 1, 2, 3]));
        });
        for another in [array(4, 8), array(1, 6), "{".to_owned()] {
            files.put("a.zarr/.zarray", another.as_bytes());
            let read = voxels(&image, 0);
            assert!(matches!(read, Err(SourceError::Changed { .. })), "{another}: {read:?}");
        }
    }
}
