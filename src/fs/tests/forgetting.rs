//! A tree that forgets all that it can answers as one that forgets nothing: the same names, inodes, sizes, times and
//! bytes, whatever is opened and changed in between.

use std::collections::HashMap;
use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_64;

use super::*;

/// Folders with stores, and how many each has.
const FOLDERS: [&str; 4] = ["", "a", "b", "b/c"];
const STORES: usize = 6;

/// So little that hardly a listing has room, and enough for the inodes of what was forgotten.
const NO_MEMORY: u64 = 1 << 16;

const STEPS: usize = 600;
const SOON: Duration = Duration::from_mins(1);

/// Both trees, and what a service has of them.
struct Pair {
    source: TempDir,
    /// It forgets nothing; and all that it can.
    views: [FileSystem; 2],
    /// Inodes that were seen.
    inos: Vec<Ino>,
    handles: Vec<[u64; 2]>,
    times: [HashMap<Ino, SystemTime>; 2],
    random: u64,
    /// Steps after which something was forgotten.
    with_forgotten: usize,
}

fn folders_of_stores() -> TempDir {
    let source = tempfile::tempdir().expect("a temporary folder");
    for folder in FOLDERS {
        for store in 0..STORES {
            write_store(&source.path().join(folder).join(format!("s{store}.zarr")));
        }
    }
    source
}

/// The attributes of a node, but for the time of a folder: that of a change is the time at which it was seen.
fn comparable(found: Result<Attributes, FsError>) -> Result<Attributes, ErrorKind> {
    let found = found.map_err(|error| error.kind())?;
    let is_folder = found.kind == NodeKind::Directory;
    let modified = if is_folder { SystemTime::UNIX_EPOCH } else { found.modified };
    Ok(Attributes { modified, ..found })
}

impl Pair {
    fn new(seed: u64) -> Self {
        let source = folders_of_stores();
        let view = |memory| {
            let root = Arc::new(SourceRoot::open(source.path(), false).expect("a folder"));
            Scene::view(root, memory)
        };
        let views = [view(1 << 24), view(NO_MEMORY)];
        let (inos, handles, times) = Default::default();
        Self { source, views, inos, handles, times, random: seed | 1, with_forgotten: 0 }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from((self.random >> 11) % end as u64).expect("below a length")
    }

    fn folder(&mut self) -> &'static str {
        FOLDERS[self.below(FOLDERS.len())]
    }

    /// What both say, which is the same.
    fn both<T: PartialEq + std::fmt::Debug>(&self, ask: impl Fn(&FileSystem) -> T) -> T {
        let [whole, small] = [ask(&self.views[0]), ask(&self.views[1])];
        assert_eq!(small, whole);
        whole
    }

    /// Finds a path, as the kernel does: one name after the other.
    fn find(view: &FileSystem, path: &Path) -> Result<Attributes, FsError> {
        let mut found = view.attributes(Ino::ROOT)?;
        for name in path {
            found = view.lookup(found.ino, name)?;
        }
        Ok(found)
    }

    fn look_up(&mut self) {
        let path = Path::new(self.folder()).join(format!("s{}.ims", self.below(STORES + 1)));
        if let Ok(found) = self.both(|view| comparable(Self::find(view, &path))) {
            self.inos.push(found.ino);
        }
    }

    fn list(&mut self) {
        let folder = PathBuf::from(self.folder());
        let list = |view: &FileSystem| {
            let folder = Self::find(view, &folder).map_err(|error| error.kind())?;
            let entries = view.entries(folder.ino).map_err(|error| error.kind())?;
            let entry = |entry: DirectoryEntry| (entry.name, comparable(Ok(entry.attributes)));
            Ok::<Vec<_>, ErrorKind>(entries.into_iter().map(entry).collect())
        };
        let entries = self.both(list).expect("the folder is there");
        self.inos
            .extend(entries.iter().skip(2).flat_map(|(_, found)| found.map(|found| found.ino)));
        // The time of a folder never goes back.
        for (view, times) in self.views.iter().zip(&mut self.times) {
            let found = Self::find(view, &folder).expect("the folder is there");
            let before = times.insert(found.ino, found.modified);
            assert!(before.is_none_or(|before| before <= found.modified), "{folder:?}");
        }
    }

    fn seen(&mut self) -> Option<Ino> {
        let number = self.below(self.inos.len().max(1));
        self.inos.get(number).copied()
    }

    fn ask_by_inode(&mut self) {
        let Some(ino) = self.seen() else { return };
        let is_gone = |view: &FileSystem| {
            let path = view.tree.path_of(ino).unwrap_or_default();
            Self::find(view, &path).is_err()
        };
        // A file that went while it was open lingers until a folder is listed, whenever that is.
        if is_gone(&self.views[0]) && self.views[0].attributes(ino).is_ok() {
            return;
        }
        let _ = self.both(|view| comparable(view.attributes(ino)));
        let _ = self.both(|view| comparable(view.lookup(ino, OsStr::new("."))));
        let _ = self.both(|view| comparable(view.lookup(ino, OsStr::new(".."))));
    }

    /// Opens one of few: what was opened stays for ten seconds.
    fn open(&mut self) {
        let path = Path::new(self.folder()).join("s0.ims");
        let Ok(found) = self.both(|view| comparable(Self::find(view, &path))) else { return };
        let ino = found.ino;
        let opened = [0, 1].map(|at| self.views[at].open(ino).map_err(|error| error.kind()));
        match opened {
            [Ok(whole), Ok(small)] => {
                assert_eq!(small.is_another, whole.is_another);
                // Pages that the kernel drops without need cost time only.
                match whole.paging {
                    Paging::Keep => assert_ne!(small.paging, Paging::Bypass),
                    paging => assert_eq!(small.paging, paging),
                }
                let handles = [whole.handle, small.handle];
                let [whole, small] = self.bytes(handles);
                assert_eq!(small, whole);
                self.handles.push(handles);
            }
            [whole, small] => assert_eq!(small.map(drop), whole.map(drop)),
        }
    }

    /// The bytes of a handle, once from each.
    fn bytes(&self, handles: [u64; 2]) -> [Result<u64, ErrorKind>; 2] {
        [0, 1].map(|at| {
            let bytes = read(&self.views[at], handles[at], 0, 1 << 24);
            bytes.map(|bytes| xxh3_64(&bytes)).map_err(|error| error.kind())
        })
    }

    fn read(&mut self) {
        let number = self.below(self.handles.len().max(1));
        let Some(handles) = self.handles.get(number) else { return };
        match self.bytes(*handles) {
            [Ok(whole), Ok(small)] => assert_eq!(small, whole),
            // The store has changed since, and one of them has the old bytes in memory.
            either => assert!(either.contains(&Err(ErrorKind::Stale)), "{either:?}"),
        }
    }

    fn close(&mut self) {
        let open = self.handles.len();
        if open > 0 {
            let closed = self.below(open);
            let handles = self.handles.swap_remove(closed);
            self.views.iter().zip(handles).for_each(|(view, handle)| view.close(handle));
        }
    }

    /// A store comes, goes, or gets other voxels or other metadata; both see it a moment later.
    fn change(&mut self) {
        let folder = self.folder();
        let place = self.source.path().join(folder);
        let store = place.join(format!("s{}.zarr", self.below(STORES)));
        let voxel = u8::try_from(self.below(250)).expect("small");
        match self.below(4) {
            0 if store.exists() => fs::remove_dir_all(&store).expect("a store"),
            1 if store.exists() => {
                let path = store.join("zarr.json");
                let text = fs::read_to_string(&path).expect("a document");
                fs::write(&path, text.replace("[2,2,2]", "[2,2,2] ")).expect("a document");
            }
            _ if store.exists() => fs::write(store.join("c/0/0/0"), [voxel; 16]).expect("a chunk"),
            _ => write_store(&store),
        }
        let folder = Path::new(folder);
        let list = |view: &FileSystem| {
            let entries = Self::find(view, folder).and_then(|folder| view.entries(folder.ino));
            let entries = entries.expect("a folder");
            let kept =
                entries.into_iter().map(|entry| (entry.name, comparable(Ok(entry.attributes))));
            kept.skip(2).collect::<Vec<_>>()
        };
        let began = Instant::now();
        let mut alone = Scene::view(self.views[0].tree.source().clone(), 1 << 24);
        // Until each of the two has what a new tree finds, but for times that only an opening finds.
        let names = |list: Vec<(_, Result<Attributes, ErrorKind>)>| -> Vec<_> {
            let inode =
                |found: Result<Attributes, ErrorKind>| found.map(|found| (found.ino, found.size));
            list.into_iter().map(|(name, found)| (name, inode(found))).collect()
        };
        loop {
            let now = names(list(&alone));
            if self.views.iter().all(|view| names(list(view)) == now) {
                break;
            }
            assert!(began.elapsed() < SOON, "the change of {} is not seen", store.display());
            thread::yield_now();
            alone = Scene::view(self.views[0].tree.source().clone(), 1 << 24);
        }
    }

    fn step(&mut self) {
        match self.below(100) {
            0..25 => self.look_up(),
            25..50 => self.list(),
            50..70 => self.ask_by_inode(),
            70..80 => self.open(),
            80..88 => self.read(),
            88..96 => self.close(),
            96..98 => self.change(),
            _ => self.views[1].save(Save::IfDue),
        }
        self.with_forgotten += usize::from(self.views[1].tree_figures().forgotten > 0);
        assert_eq!(self.views[0].tree_figures().forgotten, 0);
    }
}

#[test]
fn a_tree_that_forgets_answers_as_one_that_does_not() {
    let seed = std::env::var("ZARRIMS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| xxh3_64(format!("{:?}", Instant::now()).as_bytes()));
    println!("ZARRIMS_SEED={seed}");
    let mut pair = Pair::new(seed);
    for _ in 0..STEPS {
        pair.step();
    }
    println!("something was forgotten after {} of {STEPS} steps", pair.with_forgotten);
    assert!(pair.with_forgotten >= 5, "{} steps", pair.with_forgotten);
}

/// Files that were open when their folder was forgotten, and links that lead nowhere, keep no folder for good.
#[test]
fn what_was_in_use_is_forgotten_after_its_use() {
    let source = folders_of_stores();
    std::os::unix::fs::symlink("nowhere", source.path().join("a/bad.zarr")).expect("a link");
    // Until a change would bear another time: what is found out about younger ones the memo cannot keep.
    let newest = source.path().join(FOLDERS[3]).join(format!("s{}.zarr/c/0/0/0", STORES - 1));
    let modified = fs::metadata(newest).and_then(|newest| newest.modified()).expect("a time");
    while modified.elapsed().is_ok_and(|age| age < Duration::from_millis(200)) {
        std::thread::yield_now();
    }
    let root = Arc::new(SourceRoot::open(source.path(), false).expect("a folder"));
    let view = Scene::view(root, 1 << 12);
    let until = |is_so: &dyn Fn(TreeFigures) -> bool| {
        let began = Instant::now();
        while !is_so(view.tree_figures()) {
            assert!(began.elapsed() < SOON, "{:?}", view.tree_figures());
            view.save(Save::IfDue);
            std::thread::yield_now();
        }
    };
    let open = |folder: &&str| {
        let found = Pair::find(&view, &Path::new(folder).join("s0.ims")).expect("a file");
        view.open(found.ino).expect("a file").handle
    };
    let handles: Vec<u64> = FOLDERS.iter().map(open).collect();
    // The top, the folders, and the files that are open.
    until(&|figures| figures.nodes == 2 * FOLDERS.len());
    for handle in handles {
        view.close(handle);
    }
    until(&|figures| figures.nodes == 1);
}

/// What the kernel holds is not answered with "stale".
#[test]
fn inodes_are_found_again_of_which_not_even_the_path_is_left() {
    let source = folders_of_stores();
    // Paths of some folders, halves of the inodes of others; and not even all halves.
    for memory in [1 << 14, 1 << 12] {
        let root = Arc::new(SourceRoot::open(source.path(), false).expect("a folder"));
        let view = Scene::view(root, memory);
        let began = Instant::now();
        let mut all = HashMap::new();
        while view.tree_figures().forgotten < STORES {
            assert!(began.elapsed() < SOON, "{:?}", view.tree_figures());
            for folder in FOLDERS {
                let found = Pair::find(&view, Path::new(folder)).expect("a folder");
                let entries = view.entries(found.ino).expect("a folder");
                let entries = entries.into_iter().skip(2);
                all.extend(entries.map(|entry| (entry.attributes.ino, entry.attributes)));
            }
            view.save(Save::IfDue);
        }
        assert_eq!(all.len(), (STORES + 1) * FOLDERS.len() - 1);
        for (ino, before) in &all {
            if before.kind == NodeKind::Directory {
                assert!(view.lookup(*ino, OsStr::new("s0.ims")).is_ok(), "{memory}");
                assert!(view.entries(*ino).expect("a folder").len() > STORES, "{memory}");
            } else {
                assert_eq!(view.attributes(*ino).expect("a file").size, before.size, "{memory}");
                let opened = view.open(*ino).expect("a file");
                assert!(!opened.is_another);
                view.close(opened.handle);
            }
            view.save(Save::IfDue);
        }
    }
}
