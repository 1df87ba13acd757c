//! What is known of one image: what its metadata says, and what openings and looks have found since.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use crate::by_hand::ImagePath;
use crate::cache::ImageId;
use crate::image::plan::PlannedLevel;
use crate::image::{LevelOrigin, VirtualFile};
use crate::source::growing::Complete;
use crate::source::image::{ImageSource, Role, Title};
use crate::source::root::join;
use crate::source::{AccessKinds, ChunkState, Fingerprint, Permissions, metadata_of};
use crate::sync::lock;

use super::labels::LabelAt;
use super::pages::Pages;

/// How long the modes of all chunk files, which a look found, count. After it, samples do, until the
/// next opening looks again: else a file once shut could not be opened to look at it.
const CHUNK_ACCESS_TIME: Duration = Duration::from_secs(10);

/// What a file takes, beside what its lists take.
const FILE_BYTES: u64 = 900;

/// One image of a store, as far as listing it needs.
#[derive(Debug, Clone)]
pub struct FileSpec {
    /// Path of the store below the source folder.
    pub store: PathBuf,
    /// Path of the image within the store.
    pub image: String,
    /// Which entry of `multiscales`.
    pub multiscale: usize,
    /// What the image is for.
    pub role: Role,
    /// Name from the metadata of the image itself.
    pub name: Option<String>,
    /// What the metadata of the store calls it.
    pub title: Option<Title>,
    /// The view that it is, if a person asks for it.
    pub view: Option<Arc<ViewSpec>>,
    /// What of it is complete, where it is still being written.
    pub(super) complete: Option<Box<Complete>>,
    /// Label images that are channels of it.
    pub(super) labels: Box<[LabelAt]>,
    /// Size of the virtual file in bytes.
    pub size: u64,
    /// Lengths of the finest level in voxels, order (t, c, z, y, x).
    pub shape: [u64; 5],
    /// The published levels, finest first.
    pub levels: Box<[LevelSpec]>,
    /// Identity of the image in this state of its metadata.
    pub id: ImageId,
    /// Time of the newest metadata file.
    pub modified: SystemTime,
    /// What all images of the store were read from.
    pub(super) metadata: Arc<Fingerprint>,
    /// A chunk of each level, by its path below the source folder: its permissions stand for those of
    /// all chunks of the level.
    pub(super) samples: Box<[PathBuf]>,
}

/// A file that a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewSpec {
    /// What asks for it, see [`Entry`](crate::by_hand::Entry).
    pub entry: PathBuf,
    /// Which of the views that are asked for there.
    pub number: usize,
    /// Its name, without `.ims`.
    pub name: String,
    /// The images that it is made of.
    pub images: Vec<ImagePath>,
}

/// One level of an image, as far as listing it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelSpec {
    /// Lengths in voxels, order (z, y, x).
    pub size: [u64; 3],
    /// Its voxels are computed from the level above, not read from the store.
    pub is_computed: bool,
}

/// What two inspections of a store call the same image: its path, the entry of `multiscales`, the name of the view.
pub(super) type ImagePlace = (String, usize, Option<String>);

/// The place of an image that has no file yet.
pub(super) fn place(image: &ImageSource, view: Option<&ViewSpec>) -> ImagePlace {
    (image.image.clone(), image.multiscale, view.map(|view| view.name.clone()))
}

impl LevelSpec {
    pub(super) fn of(planned: &PlannedLevel) -> Self {
        Self { size: planned.size, is_computed: planned.origin == LevelOrigin::Computed }
    }
}

impl FileSpec {
    /// Whether the coarsest level, which every viewer reads first, takes a pass over all voxels.
    #[must_use]
    pub fn needs_pass(&self) -> bool {
        let coarser = self.levels.get(1..).unwrap_or_default();
        !coarser.is_empty() && coarser.iter().all(|level| level.is_computed)
    }

    /// Path of the multiscales group, or of the plain array, below the source folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        join(&self.store, Path::new(&self.image))
    }

    /// Paths that stand for all files of the image.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Path> {
        let group = self.folder();
        let of = |store: &Path, image: &Path| metadata_of(&self.metadata, store, image);
        let metadata: Vec<&Path> = match &self.view {
            None => of(&self.store, &group),
            Some(view) => view.images.iter().flat_map(|at| of(&at.store, &at.image)).collect(),
        };
        metadata.into_iter().chain(self.samples.iter().map(PathBuf::as_path))
    }

    /// The folder that whoever opens the file has passed.
    pub(super) fn below(&self) -> &Path {
        match &self.view {
            None => &self.store,
            Some(view) => view.entry.parent().unwrap_or(Path::new("")),
        }
    }

    /// What two inspections of a store call the same image, in whatever state.
    pub(super) fn place(&self) -> ImagePlace {
        let view = self.view.as_ref().map(|view| view.name.clone());
        (self.image.clone(), self.multiscale, view)
    }

    /// The key that two inspections of a store share if they found the same image.
    pub(super) fn key(&self) -> (String, usize, Option<String>, ImageId) {
        let (image, multiscale, view) = self.place();
        (image, multiscale, view, self.id)
    }
}

/// An image and what openings and looks have found out about it. The next inspection that finds the
/// same image takes the findings over.
#[derive(Debug, Clone)]
pub(super) struct ListedFile {
    pub(super) spec: Arc<FileSpec>,
    pub(super) found: Arc<Found>,
}

/// What openings and looks have found out about an image.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Nobody holds it for long.
    pub(super) state: Mutex<FileState>,
    /// Held while the file is being opened, which may take a while.
    pub(super) opening: Mutex<()>,
}

/// The state of a file. There is one for each file that is listed.
#[derive(Debug, Default)]
pub(super) struct FileState {
    pub(super) verdict: Verdict,
    /// Time of the newest chunk file at the last look.
    pub(super) chunks_modified: Option<SystemTime>,
    /// Who may read it; `None` until the source has answered.
    pub(super) permissions: Option<Permissions>,
    /// When the source was asked for the permissions.
    pub(super) permissions_at: Option<Instant>,
    /// What only openings find out; `None` before the first one.
    pub(super) opened: Option<Box<Openings>>,
}

/// What openings of a file have found out.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// What readers of all its chunk files need, and the time of the look that found it.
    pub(super) chunk_access: Option<(AccessKinds, Instant)>,
    pub(super) chunks: Chunks,
    /// When the last look at the chunks began.
    pub(super) looked_at: Option<Instant>,
    /// The virtual file in its newest state, while it is open.
    pub(super) open: Weak<VirtualFile>,
    /// What the kernel has cached of it.
    pub(super) pages: Pages,
    /// Readers got bytes that the source may still complete.
    pub(super) fleeting: Arc<AtomicBool>,
}

/// Whether the listing of a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Verdict {
    #[default]
    Holds,
    /// An opening met a store that was not as listed.
    Changed,
    /// An opening gave another image than the listed one.
    Refuted,
}

/// The state of the chunks that the newest virtual file shows.
#[derive(Debug, Clone, Default)]
pub(super) enum Chunks {
    /// The state at the next opening, which will look.
    #[default]
    AtNextOpening,
    /// Unknown, and not asked for.
    Any,
    Known(ChunkState),
}

impl ListedFile {
    pub(super) fn new(spec: FileSpec) -> Self {
        Self { spec: Arc::new(spec), found: Arc::default() }
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let FileSpec { store, image, levels, samples, labels, view, .. } = &*self.spec;
        let paths = store.as_os_str().len() + image.len();
        let samples: usize = samples.iter().map(|path| 48 + path.as_os_str().len()).sum();
        let view = view.as_ref().map_or(0, |view| 200 + 150 * view.images.len());
        FILE_BYTES + (paths + samples + 32 * levels.len() + 80 * labels.len() + view) as u64
    }

    pub(super) fn verdict(&self) -> Verdict {
        lock(&self.found.state).verdict
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.found.state).opened.as_ref().is_some_and(|opened| opened.is_open())
    }

    /// Whether what openings have found out is still of use to another one: while it is open, also in an earlier
    /// state, and for as long as the modes of its chunks count.
    pub(super) fn is_in_use(&self) -> bool {
        let is_in_use = |opened: &Openings| {
            opened.is_open() || opened.pages.has_readers() || opened.chunk_access().is_some()
        };
        lock(&self.found.state).opened.as_deref().is_some_and(is_in_use)
    }
}

impl Openings {
    fn is_open(&self) -> bool {
        self.open.strong_count() > 0
    }

    /// What readers of all its chunk files need, if a look has found it lately.
    pub(super) fn chunk_access(&self) -> Option<&AccessKinds> {
        let (access, at) = self.chunk_access.as_ref()?;
        (at.elapsed() < CHUNK_ACCESS_TIME).then_some(access)
    }
}

impl FileState {
    /// What openings have found out.
    pub(super) fn opened(&mut self) -> &mut Openings {
        self.opened.get_or_insert_default()
    }

    /// Notes that the listing does not hold; a stronger verdict stays.
    pub(super) fn doubt(&mut self, verdict: Verdict) {
        self.verdict = self.verdict.max(verdict);
    }
}
