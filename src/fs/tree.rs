//! The tree of names: plain folders of the source mirrored, stores shown as `.ims` files.
//!
//! Nothing is walked ahead of need. A folder is listed when it is first looked into, a store is
//! inspected when the folder above it is listed, and what was found is kept as a few numbers and a
//! [`Fingerprint`] per store; an image is only built when its file is opened. A folder looked into
//! again is checked against the source at most once per [`CHECK_INTERVAL`], and less often if the
//! check takes long, so a name appears, changes or goes within seconds and without a remount.
//!
//! Inode numbers are derived from the path and, for files, from the identity of the image, so they
//! are the same after a restart and different after the store has changed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use xxhash_rust::xxh3::xxh3_64;

use crate::cache::ImageId;
use crate::image::{Engine, VirtualFile};
use crate::source::discover::{self, Folder};
use crate::source::image::Role;
use crate::source::root::{DirEntry, EntryKind, join};
use crate::source::{ChunkState, Fingerprint, SourceRoot, Unfollowed};

use super::FsError;
use super::naming::{self, Candidate};

/// A name is compared with the source when the last comparison is older than this.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A folder whose check takes long is checked at most this part of the time.
const CHECK_DUTY: u32 = 10;

/// Notes on an image that its log line holds.
const NOTES_SHOWN: usize = 8;

/// Inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The root folder, by convention of FUSE.
    pub const ROOT: Self = Self(1);

    fn derive(kind: u8, path: &Path, identity: u128) -> Self {
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
    /// Time of the newest metadata file of the store.
    pub modified: SystemTime,
    /// Permission bits, without any for writing.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// One name of an open folder.
#[derive(Debug, Clone)]
pub struct DirectoryEntry {
    /// The name.
    pub name: OsString,
    /// What it stands for.
    pub attributes: Attributes,
}

/// What a tree shows instead of what the source says.
#[derive(Debug, Clone, Copy, Default)]
pub struct TreeConfig {
    /// Owner of everything, else the source's.
    pub uid: Option<u32>,
    /// Group of everything, else the source's.
    pub gid: Option<u32>,
    /// Permission bits taken away.
    pub umask: u16,
    /// Label images are shown, too.
    pub labels: bool,
    /// When chunk files are looked at.
    pub revalidate: Revalidate,
}

/// When chunk files that were rewritten, added or deleted are noticed; metadata always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Revalidate {
    /// When a file is opened.
    #[default]
    Open,
    /// Never.
    Never,
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
    /// Number of published levels.
    pub levels: usize,
    /// Identity of the image in this state of its metadata.
    pub id: ImageId,
    /// Time of the newest metadata file.
    pub modified: SystemTime,
    /// The inode that stands for the newest state of the chunks, if it is not the first one.
    newest: Arc<Mutex<Option<Ino>>>,
}

/// A path that is not shown, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// Path below the source folder.
    pub path: PathBuf,
    /// Reason, one line.
    pub reason: String,
}

/// What a folder of the source turned out to be.
#[derive(Debug)]
struct Inspected {
    /// `None`: a plain folder.
    files: Option<Vec<FileSpec>>,
    skipped: Vec<Skipped>,
    fingerprint: Fingerprint,
    checked: Mutex<Checked>,
}

/// When something was compared with the source, and how long that took.
#[derive(Debug, Clone, Copy)]
struct Checked {
    at: Instant,
    cost: Duration,
}

#[derive(Debug)]
struct Node {
    /// Refreshed when the folder above is listed: modes and times of the source may change.
    attributes: Mutex<Attributes>,
    parent: Ino,
    /// Path below the mount point.
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// A folder of the source, by its path there.
    Mirror { source: PathBuf, listing: Mutex<Option<Listing>> },
    /// A folder made of the images of one store.
    StoreFolder { names: Mutex<BTreeMap<OsString, Ino>> },
    /// An image in one state.
    File(FileNode),
}

#[derive(Debug)]
struct FileNode {
    spec: FileSpec,
    /// Locked while the file is being opened, which may take a while.
    chunks: Mutex<Chunks>,
    /// The virtual file, while it is open. Never locked for long.
    open: Mutex<Weak<VirtualFile>>,
    /// Bytes were served that the source may complete any time.
    fleeting: Arc<AtomicBool>,
}

/// The state of the chunks that an inode stands for.
#[derive(Debug, Clone, Copy, Default)]
enum Chunks {
    /// The one at the first opening, which is to come.
    #[default]
    AtFirst,
    /// It cannot be told, or is not asked for.
    Any,
    Known(ChunkState),
}

/// The state of a mirrored folder.
#[derive(Debug)]
struct Listing {
    /// By name in the source.
    inspected: HashMap<OsString, Arc<Inspected>>,
    /// By name in the mount.
    names: BTreeMap<OsString, Child>,
    skipped: Vec<Skipped>,
    checked: Checked,
}

/// A name of a mirrored folder.
#[derive(Debug, Clone)]
struct Child {
    ino: Ino,
    /// What it stands for in the source.
    inspected: Arc<Inspected>,
}

/// The tree of one mount.
#[derive(Debug)]
pub struct Tree {
    root: Arc<SourceRoot>,
    engine: Arc<Engine>,
    config: TreeConfig,
    nodes: Mutex<HashMap<Ino, Arc<Node>>>,
    /// Files that are not listed any more, and were still open then.
    lingering: Mutex<Vec<Ino>>,
    /// States of files so far, to tell their inodes apart.
    states: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tree {
    /// A tree over a source folder; nothing is read yet.
    #[must_use]
    pub fn new(root: Arc<SourceRoot>, engine: Arc<Engine>, config: TreeConfig) -> Self {
        let nodes = Mutex::default();
        let lingering = Mutex::default();
        let tree = Self { root, engine, config, nodes, lingering, states: AtomicU64::new(0) };
        let attributes = tree.folder_attributes(Ino::ROOT, Path::new(""));
        let node = Node {
            attributes: Mutex::new(attributes),
            parent: Ino::ROOT,
            path: PathBuf::new(),
            content: Content::Mirror { source: PathBuf::new(), listing: Mutex::default() },
        };
        lock(&tree.nodes).insert(Ino::ROOT, Arc::new(node));
        tree
    }

    /// The source folder.
    #[must_use]
    pub fn source(&self) -> &Arc<SourceRoot> {
        &self.root
    }

    fn node(&self, ino: Ino) -> Result<Arc<Node>, FsError> {
        lock(&self.nodes).get(&ino).cloned().ok_or(FsError::Stale)
    }

    /// Attributes of a known inode.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it is not known.
    pub fn attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        self.node(ino).map(|node| node.attributes())
    }

    /// Finds a name in a folder.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::Stale`], [`FsError::NotADirectory`], [`FsError::Source`].
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Attributes, FsError> {
        let node = self.node(parent)?;
        if name == "." {
            return Ok(node.attributes());
        }
        if name == ".." {
            return self.attributes(node.parent);
        }
        match &node.content {
            Content::File(_) => Err(FsError::NotADirectory),
            Content::StoreFolder { names } => {
                let ino = lock(names).get(name).copied().ok_or(FsError::NotFound)?;
                self.attributes(ino)
            }
            Content::Mirror { source, listing } => {
                let find = |listing: &Option<Listing>| listing.as_ref()?.names.get(name).cloned();
                let known = find(&lock(listing));
                // Not locked here: a store that does not answer must not hold up its neighbours.
                if let Some(child) = known
                    && child.inspected.is_fresh(&self.root)
                {
                    return self.attributes(child.ino);
                }
                let mut listing = lock(listing);
                self.refresh(&node, source, &mut listing, true)?;
                let ino = find(&listing).map(|child| child.ino).ok_or(FsError::NotFound)?;
                self.attributes(ino)
            }
        }
    }

    /// The names in a folder, `.` and `..` first.
    ///
    /// # Errors
    /// [`FsError::NotADirectory`], [`FsError::Stale`], [`FsError::Source`].
    pub fn entries(&self, ino: Ino) -> Result<Vec<DirectoryEntry>, FsError> {
        let node = self.node(ino)?;
        let names: Vec<(OsString, Ino)> = match &node.content {
            Content::File(_) => return Err(FsError::NotADirectory),
            Content::StoreFolder { names } => {
                lock(names).iter().map(|(name, ino)| (name.clone(), *ino)).collect()
            }
            Content::Mirror { source, listing } => {
                let mut listing = lock(listing);
                self.refresh(&node, source, &mut listing, false)?;
                let names = listing.iter().flat_map(|listing| &listing.names);
                names.map(|(name, child)| (name.clone(), child.ino)).collect()
            }
        };
        let mut entries = vec![
            DirectoryEntry { name: OsString::from("."), attributes: node.attributes() },
            DirectoryEntry {
                name: OsString::from(".."),
                attributes: self.attributes(node.parent)?,
            },
        ];
        for (name, ino) in names {
            // A name that went while the folder was read is left out.
            if let Ok(attributes) = self.attributes(ino) {
                entries.push(DirectoryEntry { name, attributes });
            }
        }
        Ok(entries)
    }

    /// Opens the image behind a file, and tells whether the kernel may keep the pages it has: only if
    /// nothing has changed since the last opening, nor may have, as where pages stand for absent
    /// chunks of an image that does not follow its chunks.
    ///
    /// An inode stands for one state of the metadata and of the chunks, so that openings of different
    /// states never share pages: if the chunks have changed, the file gets another inode, and this
    /// one is stale.
    ///
    /// # Errors
    /// [`FsError::IsADirectory`]; [`FsError::Stale`] when the store is not as it was listed.
    pub fn open(&self, ino: Ino) -> Result<(Arc<VirtualFile>, bool), FsError> {
        let node = self.node(ino)?;
        let Content::File(FileNode { spec, chunks, open, fleeting }) = &node.content else {
            return Err(FsError::IsADirectory);
        };
        let mut chunks = lock(chunks);
        let may_keep = !matches!(*chunks, Chunks::AtFirst) && !fleeting.load(Ordering::Relaxed);
        let has_changed = |now: &Result<ChunkState, Unfollowed>| match (*chunks, now) {
            (Chunks::Known(known), Ok(now)) => !known.is_same(now),
            (Chunks::Known(_), Err(_)) => true,
            (Chunks::AtFirst | Chunks::Any, _) => false,
        };
        let looks = match *chunks {
            Chunks::AtFirst => self.config.revalidate == Revalidate::Open,
            Chunks::Any => false,
            Chunks::Known(_) => true,
        };
        let shared = lock(open).upgrade();
        if let Some(file) = shared {
            if looks && has_changed(&file.source().chunk_state()) {
                return Err(self.renew(&node, spec));
            }
            return Ok((file, may_keep));
        }
        let image = discover::open_image(&self.root, &spec.store, &spec.image, spec.multiscale)
            .map_err(|error| {
                tracing::warn!(store = %spec.store.display(), %error, "cannot open image");
                FsError::Stale
            })?;
        let mut now = None;
        let mut stands_for = Chunks::Any;
        if looks {
            let found = image.keep_to_chunks();
            if has_changed(&found) {
                return Err(self.renew(&node, spec));
            }
            match found {
                Ok(state) => {
                    now = Some(state);
                    stands_for = Chunks::Known(state);
                }
                Err(reason) => {
                    let store = spec.store.display();
                    tracing::info!(%store, %reason, "changes of chunks will not be noticed");
                    if reason != Unfollowed::TooMany {
                        // The next time may be faster, as what was read is in memory somewhere, and
                        // what could not be read may be readable.
                        stands_for = Chunks::AtFirst;
                    }
                }
            }
        }
        let mut file = VirtualFile::new(&self.root, Arc::new(image), self.engine.clone(), now)?;
        if file.id() != spec.id {
            return Err(FsError::Stale);
        }
        file.share_fleeting(fleeting);
        let file = Arc::new(file);
        *lock(open) = Arc::downgrade(&file);
        *chunks = stands_for;
        Ok((file, may_keep))
    }

    /// Gives a file whose chunks have changed another inode.
    fn renew(&self, node: &Node, spec: &FileSpec) -> FsError {
        tracing::info!(path = %node.path.display(), "chunks have changed since the last opening");
        let state = self.states.fetch_add(1, Ordering::Relaxed);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unique = spec.id.0 ^ (time.as_nanos() << 16) ^ u128::from(state);
        let (old, new) = (node.ino(), Ino::derive(b'f', &node.path, unique));
        *lock(&spec.newest) = Some(new);
        self.know_file(node.parent, node.path.clone(), spec);
        if let Ok(parent) = self.node(node.parent) {
            match &parent.content {
                Content::StoreFolder { names } => {
                    lock(names).values_mut().filter(|ino| **ino == old).for_each(|ino| *ino = new);
                }
                Content::Mirror { listing, .. } => {
                    let mut listing = lock(listing);
                    let names = listing.iter_mut().flat_map(|listing| listing.names.values_mut());
                    names.filter(|child| child.ino == old).for_each(|child| child.ino = new);
                }
                Content::File(_) => {}
            }
        }
        lock(&self.lingering).push(old);
        FsError::Stale
    }

    /// Walks everything: each image with its path below the mount point, each skipped path.
    pub fn walk(&self, image: &mut dyn FnMut(&Path, &FileSpec), skipped: &mut dyn FnMut(&Skipped)) {
        let mut pending = vec![Ino::ROOT];
        while let Some(ino) = pending.pop() {
            let Ok(node) = self.node(ino) else { continue };
            let entries = match self.entries(ino) {
                Ok(entries) => entries,
                Err(error) => {
                    skipped(&Skipped { path: node.path.clone(), reason: error.to_string() });
                    continue;
                }
            };
            if let Content::Mirror { listing, .. } = &node.content
                && let Some(listing) = lock(listing).as_ref()
            {
                listing.skipped.iter().for_each(&mut *skipped);
                let mut sources: Vec<_> = listing.inspected.iter().collect();
                sources.sort_by_key(|(name, _)| *name);
                for (_, inspected) in sources {
                    inspected.skipped.iter().for_each(&mut *skipped);
                }
            }
            let mut folders = Vec::new();
            for entry in entries.into_iter().skip(2) {
                let Ok(child) = self.node(entry.attributes.ino) else { continue };
                match &child.content {
                    Content::File(file) => image(&child.path, &file.spec),
                    _ => folders.push(entry.attributes.ino),
                }
            }
            pending.extend(folders.into_iter().rev());
        }
    }

    /// Brings the listing of a mirrored folder up to date. `miss`: a name was asked for that is not
    /// in it, or has changed.
    fn refresh(
        &self,
        node: &Node,
        source: &Path,
        listing: &mut Option<Listing>,
        miss: bool,
    ) -> Result<(), FsError> {
        if let Some(known) = listing.as_ref() {
            let recent = known.checked.is_recent();
            let changed =
                miss && known.names.values().any(|child| !child.inspected.is_fresh(&self.root));
            if recent && !changed {
                return Ok(());
            }
        }
        let started = Instant::now();
        let previous = listing.take();
        let entries = match self.root.list(source, is_notable) {
            Ok(entries) => entries,
            Err(error) => {
                self.forget(previous.into_iter().flat_map(|old| old.names.into_values()));
                return Err(error.into());
            }
        };
        let mut skipped = Vec::new();
        let mut inspected: Vec<(OsString, Arc<Inspected>)> = Vec::new();
        for DirEntry { name, kind } in entries {
            let path = source.join(&name);
            let reason = match kind {
                EntryKind::Directory | EntryKind::LinkedDirectory => {
                    let known = previous.as_ref().and_then(|old| old.inspected.get(&name));
                    let current = match known {
                        Some(known) if known.is_current(&self.root) => known.clone(),
                        _ => Arc::new(self.inspect_guarded(&path)),
                    };
                    inspected.push((name, current));
                    None
                }
                EntryKind::File => discover::skipped_file(&path),
                EntryKind::BadLink => discover::skipped_link(&path),
                EntryKind::Other => None,
            };
            if let Some(reason) = reason {
                let row = Skipped { reason: reason_for(&path, &reason.to_string()), path };
                if !previous.as_ref().is_some_and(|old| old.skipped.contains(&row)) {
                    tracing::warn!(path = %row.path.display(), reason = %row.reason, "skipped");
                }
                skipped.push(row);
            }
        }
        let names = self.name_children(node, source, &inspected);
        let kept: HashSet<Ino> = names.values().map(|child| child.ino).collect();
        let gone = previous.into_iter().flat_map(|old| old.names.into_values());
        self.forget(gone.filter(|child| !kept.contains(&child.ino)));
        *listing = Some(Listing {
            inspected: inspected.into_iter().collect(),
            names,
            skipped,
            checked: Checked::since(started),
        });
        Ok(())
    }

    /// A fault of this program in one store must not hide the stores beside it.
    fn inspect_guarded(&self, path: &Path) -> Inspected {
        catch_unwind(AssertUnwindSafe(|| self.inspect(path))).unwrap_or_else(|_| {
            let reason = "internal fault while reading its metadata".to_owned();
            tracing::error!(path = %path.display(), reason, "skipped");
            let mut fingerprint = Fingerprint::default();
            fingerprint.record(&self.root, path);
            Inspected {
                files: Some(Vec::new()),
                skipped: vec![Skipped { path: path.to_path_buf(), reason }],
                fingerprint,
                checked: Mutex::new(Checked::since(Instant::now())),
            }
        })
    }

    /// Inspects a folder of the source, plans its images, and logs what is skipped.
    fn inspect(&self, path: &Path) -> Inspected {
        let mut found = Inspected {
            files: Some(Vec::new()),
            skipped: Vec::new(),
            fingerprint: Fingerprint::default(),
            checked: Mutex::new(Checked::since(Instant::now())),
        };
        let mut skip = |path: &Path, reason: &str| {
            let row = Skipped { path: path.to_path_buf(), reason: reason_for(path, reason) };
            tracing::warn!(path = %row.path.display(), reason = %row.reason, "skipped");
            found.skipped.push(row);
        };
        match discover::inspect(&self.root, path, self.config.labels) {
            Ok(Folder::Plain(fingerprint)) => {
                found.files = None;
                found.fingerprint = fingerprint;
            }
            Ok(Folder::Store(store)) => {
                for (path, error) in &store.skipped {
                    skip(path, &error.to_string());
                }
                let mut files = Vec::new();
                for image in store.images {
                    if !image.notes.is_empty() {
                        let path = image.folder();
                        tracing::info!(path = %path.display(), "{}", one_line(&image.notes));
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
                            levels: file.plan().levels.len(),
                            id: file.id(),
                            modified: image
                                .fingerprint
                                .modified()
                                .unwrap_or(SystemTime::UNIX_EPOCH),
                            newest: Arc::default(),
                        }),
                        Err(error) => {
                            skip(&image.folder(), &error.to_string());
                        }
                    }
                }
                found.files = Some(files);
                found.fingerprint = store.fingerprint;
            }
            Err(error) => {
                skip(path, &error.to_string());
                found.fingerprint.record(&self.root, path);
            }
        }
        found
    }

    /// Names everything in a mirrored folder and makes its nodes known.
    fn name_children(
        &self,
        node: &Node,
        source: &Path,
        inspected: &[(OsString, Arc<Inspected>)],
    ) -> BTreeMap<OsString, Child> {
        let mut names = BTreeMap::new();
        let mut candidates = Vec::new();
        let mut stores = Vec::new();
        for (name, found) in inspected {
            match &found.files {
                None => {
                    let path = node.path.join(name);
                    let ino = Ino::derive(b'd', &path, 0);
                    let content =
                        Content::Mirror { source: source.join(name), listing: Mutex::default() };
                    let attributes = self.folder_attributes(ino, &source.join(name));
                    let attributes = Mutex::new(attributes);
                    self.know(ino, Node { attributes, parent: node.ino(), path, content });
                    names.insert(name.clone(), Child { ino, inspected: found.clone() });
                }
                Some(files) if !files.is_empty() => {
                    let ending = if files.len() == 1 { ".ims" } else { "" };
                    candidates.push(Candidate { source: name.clone(), ending });
                    stores.push((found, files));
                }
                Some(_) => {}
            }
        }
        let taken: HashSet<OsString> = names.keys().cloned().collect();
        let assigned = naming::assign(&taken, &candidates);
        for (name, (found, files)) in assigned.into_iter().zip(stores) {
            let path = node.path.join(&name);
            let parent = node.ino();
            let ino = match &files[..] {
                [file] => self.know_file(parent, path, file),
                files => self.know_store_folder(parent, &path, files),
            };
            names.insert(name, Child { ino, inspected: found.clone() });
        }
        names
    }

    /// A folder with the images of one store, and the folders within it.
    fn know_store_folder(&self, parent: Ino, path: &Path, files: &[FileSpec]) -> Ino {
        let stem = path.file_name().unwrap_or_default().to_owned();
        let mut folders: BTreeMap<PathBuf, BTreeMap<OsString, Ino>> = BTreeMap::new();
        folders.entry(PathBuf::new()).or_default();
        let folder_ino = |inside: &Path| Ino::derive(b'd', &join(path, inside), 0);
        for file in files {
            let mut parts =
                naming::path_in_store(&stem, &file.image, file.multiscale, file.name.as_deref());
            let Some(last) = parts.pop() else { continue };
            let mut inside = PathBuf::new();
            for part in parts {
                let above = inside.clone();
                inside.push(&part);
                folders.entry(above).or_default().insert(part, folder_ino(&inside));
                folders.entry(inside.clone()).or_default();
            }
            let siblings = folders.entry(inside.clone()).or_default();
            let taken: HashSet<OsString> = siblings.keys().cloned().collect();
            let name = if taken.contains(&last) {
                let source = Path::new(&last).file_stem().unwrap_or(&last).to_owned();
                naming::assign(&taken, &[Candidate { source, ending: ".ims" }]).remove(0)
            } else {
                last
            };
            let ino = self.know_file(folder_ino(&inside), join(path, &inside).join(&name), file);
            siblings.insert(name, ino);
        }
        let store = files.first().map(|file| file.store.clone()).unwrap_or_default();
        for (inside, names) in folders {
            let ino = folder_ino(&inside);
            let above = match inside.parent() {
                Some(above) => folder_ino(above),
                None => parent,
            };
            let mut attributes = self.folder_attributes(ino, &store);
            attributes.modified =
                files.iter().map(|file| file.modified).max().unwrap_or(attributes.modified);
            let content = Content::StoreFolder { names: Mutex::new(names) };
            let attributes = Mutex::new(attributes);
            let path = join(path, &inside);
            self.know(ino, Node { attributes, parent: above, path, content });
        }
        folder_ino(Path::new(""))
    }

    fn know_file(&self, parent: Ino, path: PathBuf, spec: &FileSpec) -> Ino {
        let newest = *lock(&spec.newest);
        let ino = newest.unwrap_or_else(|| Ino::derive(b'f', &path, spec.id.0));
        // A store that has come back is listed under the inode that somebody may still have open.
        lock(&self.lingering).retain(|known| *known != ino);
        let (mode, uid, gid) = self.root.owner(&spec.store).unwrap_or((0o555, 0, 0));
        let attributes = Attributes {
            ino,
            kind: NodeKind::File,
            size: spec.size,
            modified: spec.modified,
            mode: self.mode(mode & 0o444),
            uid: self.config.uid.unwrap_or(uid),
            gid: self.config.gid.unwrap_or(gid),
        };
        let content = Content::File(FileNode {
            spec: spec.clone(),
            chunks: Mutex::default(),
            open: Mutex::default(),
            fleeting: Arc::default(),
        });
        self.know(ino, Node { attributes: Mutex::new(attributes), parent, path, content });
        ino
    }

    fn folder_attributes(&self, ino: Ino, source: &Path) -> Attributes {
        let (mode, uid, gid) = self.root.owner(source).unwrap_or((0o555, 0, 0));
        let modified = self.root.stamp(source).map(|stamp| stamp.modified());
        Attributes {
            ino,
            kind: NodeKind::Directory,
            size: 0,
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
            mode: self.mode(mode & 0o555),
            uid: self.config.uid.unwrap_or(uid),
            gid: self.config.gid.unwrap_or(gid),
        }
    }

    fn mode(&self, mode: u32) -> u16 {
        u16::try_from(mode).unwrap_or(0) & !self.config.umask
    }

    /// Makes a node known. A folder that is known keeps its listing, a file its open image.
    fn know(&self, ino: Ino, node: Node) {
        let mut nodes = lock(&self.nodes);
        if let Some(known) = nodes.get(&ino) {
            let same = match (&known.content, &node.content) {
                (Content::Mirror { source: a, .. }, Content::Mirror { source: b, .. }) => a == b,
                (Content::File(_), Content::File(_)) => true,
                _ => false,
            };
            if same {
                *lock(&known.attributes) = node.attributes();
                return;
            }
        }
        nodes.insert(ino, Arc::new(node));
    }

    /// Drops nodes that are no longer listed, and all below them.
    fn forget(&self, children: impl Iterator<Item = Child>) {
        let mut pending: Vec<Ino> = children.map(|child| child.ino).collect();
        pending.append(&mut lock(&self.lingering));
        while let Some(ino) = pending.pop() {
            let Some(node) = lock(&self.nodes).remove(&ino) else { continue };
            match &node.content {
                Content::File(file) if file.is_open() => {
                    // Who has it open may ask for its attributes.
                    lock(&self.nodes).insert(ino, node);
                    lock(&self.lingering).push(ino);
                }
                Content::File(_) => {}
                Content::StoreFolder { names } => pending.extend(lock(names).values()),
                Content::Mirror { listing, .. } => {
                    let listing = lock(listing).take();
                    pending.extend(listing.into_iter().flat_map(|old| {
                        old.names.into_values().map(|child| child.ino).collect::<Vec<_>>()
                    }));
                }
            }
        }
    }
}

impl Checked {
    /// A check that began at `started` and ends now.
    fn since(started: Instant) -> Self {
        Self { at: Instant::now(), cost: started.elapsed() }
    }

    /// Whether the next check is not due yet.
    fn is_recent(&self) -> bool {
        self.at.elapsed() < CHECK_INTERVAL.max(self.cost * CHECK_DUTY)
    }
}

impl FileNode {
    fn is_open(&self) -> bool {
        lock(&self.open).strong_count() > 0
    }
}

impl Node {
    fn attributes(&self) -> Attributes {
        *lock(&self.attributes)
    }

    fn ino(&self) -> Ino {
        self.attributes().ino
    }
}

impl Inspected {
    /// Whether the source is as it was; looks only once per [`CHECK_INTERVAL`].
    fn is_fresh(&self, root: &SourceRoot) -> bool {
        lock(&self.checked).is_recent() || self.is_current(root)
    }

    fn is_current(&self, root: &SourceRoot) -> bool {
        let started = Instant::now();
        let current = self.fingerprint.is_current(root);
        if current {
            *lock(&self.checked) = Checked::since(started);
        }
        current
    }
}

/// Whether an entry of a folder is shown, or is worth a line why not.
fn is_notable(entry: &DirEntry) -> bool {
    match entry.kind {
        EntryKind::File => discover::skipped_file(Path::new(&entry.name)).is_some(),
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

/// The reason without the path in front, which the row has already.
fn reason_for(path: &Path, reason: &str) -> String {
    let prefix = format!("{}: ", path.display());
    reason.strip_prefix(&prefix).unwrap_or(reason).to_owned()
}
