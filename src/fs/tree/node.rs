//! What is known of files and folders.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use xxhash_rust::xxh3::xxh3_64;

use crate::cache::ImageId;
use crate::image::plan::PlannedLevel;
use crate::image::{LevelOrigin, VirtualFile};
use crate::source::image::Role;
use crate::source::root::join;
use crate::source::{
    AccessKinds, ChunkState, Fingerprint, NonImage, Permissions, SourceRoot, metadata_of,
};

use super::lock;
use super::looks::Looks;
use super::pages::Pages;

/// A name is compared with the source when the last comparison is older than this.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A folder whose check takes long is checked at most this part of the time.
const CHECK_DUTY: u32 = 10;

/// Inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The root folder, by convention of FUSE.
    pub const ROOT: Self = Self(1);

    pub(super) fn derive(kind: u8, path: &Path, identity: u128) -> Self {
        let mut key = vec![kind];
        key.extend_from_slice(path.as_os_str().as_bytes());
        key.extend_from_slice(&identity.to_le_bytes());
        // 0 means "none" and 1 is the root.
        Self(xxh3_64(&key).max(2))
    }
}

/// File or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A folder.
    Directory,
    /// A virtual `.ims` file.
    File,
}

/// What `stat` tells.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    /// Inode number.
    pub ino: Ino,
    /// File or folder.
    pub kind: NodeKind,
    /// Size in bytes; 0 for folders.
    pub size: u64,
    /// Time of the newest metadata file of the image, and of its chunk files once these were looked
    /// at; of a folder, its own.
    pub modified: SystemTime,
    /// Permission bits, without any for writing.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Attributes {
    pub(super) fn permissions(&self) -> Permissions {
        Permissions { mode: self.mode.into(), uid: self.uid, gid: self.gid }
    }
}

/// One name of an open folder.
#[derive(Debug, Clone)]
pub struct DirectoryEntry {
    /// The name.
    pub name: OsString,
    /// What it stands for.
    pub attributes: Attributes,
}

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
    /// Name from the metadata.
    pub name: Option<String>,
    /// Size of the virtual file in bytes.
    pub size: u64,
    /// Lengths of the finest level in voxels, order (t, c, z, y, x).
    pub shape: [u64; 5],
    /// The published levels, finest first.
    pub levels: Arc<[LevelSpec]>,
    /// Identity of the image in this state of its metadata.
    pub id: ImageId,
    /// Time of the newest metadata file.
    pub modified: SystemTime,
    /// What all images of the store were read from.
    pub(super) metadata: Arc<Fingerprint>,
    /// A chunk of each level, by its path below the source folder: it stands for all when it comes to
    /// who may read them.
    pub(super) samples: Arc<[PathBuf]>,
    pub(super) state: Arc<Mutex<FileState>>,
}

/// One level of an image, as far as listing it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelSpec {
    /// Lengths in voxels, order (z, y, x).
    pub size: [u64; 3],
    /// Its voxels are computed from the level above, not read from the store.
    pub is_computed: bool,
}

/// What is known of an image beside its metadata. It is shared by all that is made of one inspection,
/// and taken over by the next one that finds the same image.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// The store was not as it was listed when the file was to be opened.
    pub(super) has_changed: bool,
    /// Opening the file gave another image than this.
    pub(super) is_refuted: bool,
    /// Time of the newest chunk file, as the last look has told.
    pub(super) chunks_modified: Option<SystemTime>,
    /// Who may read it; `None` where that could not be told yet.
    pub(super) permissions: Option<Permissions>,
    /// When that was told.
    pub(super) permissions_at: Option<Instant>,
    /// What readers of all its chunk files need, and when the last look has told that.
    pub(super) chunk_access: Option<(AccessKinds, Instant)>,
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

    /// Paths that stand for all the image is made of.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Path> {
        let group = join(&self.store, Path::new(&self.image));
        let metadata = metadata_of(&self.metadata, &self.store, &group);
        metadata.into_iter().chain(self.samples.iter().map(PathBuf::as_path))
    }

    /// What two inspections of a store agree in that have found the same image.
    pub(super) fn place(&self) -> (String, usize, ImageId) {
        (self.image.clone(), self.multiscale, self.id)
    }
}

/// A path that is not shown, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// Path below the source folder.
    pub path: PathBuf,
    /// Reason, one line.
    pub reason: String,
    /// What it is, where nothing is wrong with it but that it is no image.
    pub non_image: Option<NonImage>,
}

/// What a folder of the source turned out to be.
#[derive(Debug)]
pub(super) struct Inspected {
    /// `None`: a plain folder.
    pub(super) files: Option<Vec<FileSpec>>,
    pub(super) skipped: Vec<Skipped>,
    /// What was left out or assumed of images that are shown, one line for each.
    pub(super) notes: Vec<(PathBuf, String)>,
    pub(super) fingerprint: Arc<Fingerprint>,
    /// The fingerprint tells at any later time whether all this is still true.
    pub(super) is_lasting: bool,
    pub(super) checked: Mutex<Checked>,
}

/// When something was compared with the source, and how long that took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    at: Instant,
    cost: Duration,
}

#[derive(Debug)]
pub(super) struct Node {
    /// Refreshed when the folder above is listed, and when it is asked for by name: owners, modes and
    /// times of the source may change.
    pub(super) attributes: Mutex<Attributes>,
    /// When owner and mode were last compared with the source.
    pub(super) access_at: Mutex<Option<Instant>>,
    pub(super) parent: Ino,
    /// Path below the mount point.
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// A folder of the source, by its path there.
    Mirror { source: PathBuf, listing: Box<Mutex<Option<Listing>>> },
    /// A folder made of the images of one store.
    StoreFolder {
        /// Path of the store below the source folder.
        store: PathBuf,
        names: Mutex<BTreeMap<OsString, Ino>>,
    },
    /// An image in one state.
    File(Box<FileNode>),
}

#[derive(Debug)]
pub(super) struct FileNode {
    pub(super) spec: FileSpec,
    /// Locked while the file is being opened, which may take a while.
    pub(super) looked: Mutex<Looked>,
    /// The virtual file in its newest state, while it is open. Never locked for long.
    pub(super) open: Mutex<Weak<VirtualFile>>,
    /// What the kernel has of it.
    pub(super) pages: Pages,
    /// Bytes were served that the source may complete any time.
    pub(super) fleeting: Arc<AtomicBool>,
}

/// What the last look at the chunks has told.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) chunks: Chunks,
    /// When it was begun.
    pub(super) at: Option<Instant>,
}

/// The state of the chunks that the newest virtual file shows.
#[derive(Debug, Clone, Default)]
pub(super) enum Chunks {
    /// The one at the first opening, which is to come.
    #[default]
    AtFirst,
    /// It cannot be told, or is not asked for.
    Any,
    Known(ChunkState),
}

/// The state of a mirrored folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// By name in the source.
    pub(super) inspected: HashMap<OsString, Arc<Inspected>>,
    /// By name in the mount.
    pub(super) names: BTreeMap<OsString, Child>,
    pub(super) skipped: Vec<Skipped>,
    /// `None`: not looked at yet.
    pub(super) checked: Option<Checked>,
    pub(super) looks: Arc<Looks>,
    /// Those of `inspected` that are not shown yet.
    pub(super) held_back: HashSet<OsString>,
    /// What was told to take long.
    pub(super) slow: HashSet<OsString>,
}

/// A name of a mirrored folder.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) ino: Ino,
    /// What it stands for in the source.
    pub(super) inspected: Arc<Inspected>,
}

impl Checked {
    /// A check that began at `started` and ends now.
    pub(super) fn since(started: Instant) -> Self {
        Self { at: Instant::now(), cost: started.elapsed() }
    }

    /// A check that ends now, and took so long, but for what was not waited for.
    pub(super) fn costing(cost: Duration) -> Self {
        Self { at: Instant::now(), cost }
    }

    /// Whether the next check is not due yet.
    pub(super) fn is_recent(&self) -> bool {
        self.at.elapsed() < CHECK_INTERVAL.max(self.cost * CHECK_DUTY)
    }
}

impl FileNode {
    pub(super) fn is_open(&self) -> bool {
        lock(&self.open).strong_count() > 0
    }
}

impl Node {
    pub(super) fn attributes(&self) -> Attributes {
        *lock(&self.attributes)
    }

    pub(super) fn ino(&self) -> Ino {
        self.attributes().ino
    }

    /// Whether owner and mode were compared with the source just now.
    pub(super) fn has_fresh_access(&self) -> bool {
        lock(&self.access_at).is_some_and(|at| at.elapsed() < CHECK_INTERVAL)
    }
}

impl Inspected {
    /// Whether that was looked at just now, and nothing has been heard since.
    pub(super) fn seems_fresh(&self) -> bool {
        let has_changed = |file: &FileSpec| lock(&file.state).has_changed;
        lock(&self.checked).is_recent() && !self.files.iter().flatten().any(has_changed)
    }

    /// Whether the source is as it was; looks only once per [`CHECK_INTERVAL`].
    pub(super) fn is_fresh(&self, root: &SourceRoot) -> bool {
        self.seems_fresh() || self.is_current(root)
    }

    /// Whether all is as it was found. What could not be read, or was written just before, is found
    /// anew.
    pub(super) fn is_current(&self, root: &SourceRoot) -> bool {
        let started = Instant::now();
        let is_refuted = |file: &FileSpec| lock(&file.state).is_refuted;
        let current = self.is_lasting
            && !self.files.iter().flatten().any(is_refuted)
            && self.fingerprint.is_unchanged(root);
        if current {
            *lock(&self.checked) = Checked::since(started);
        }
        current
    }
}
