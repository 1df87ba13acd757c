//! A source folder on a FUSE file system of this process that can hold up reads of chosen files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, KernelConfig,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, Request,
    Session,
};
use tempfile::TempDir;

use crate::common::mount::{detach, is_mounted};

/// The kernel may keep names for so long; nothing in the folder changes.
const TTL: Duration = Duration::from_secs(1);

/// Requests under way at a time: more than are ever held up.
const MAX_BACKGROUND: u16 = 10_000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds up the reads of some files.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    shut: BTreeSet<PathBuf>,
    /// Files of which a read has been held up.
    held_up: BTreeSet<PathBuf>,
}

impl Gate {
    /// Holds up reads of these files, by their paths below the folder, none of which was held up yet.
    pub(crate) fn shut(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut state = lock(&self.state);
        for path in paths {
            state.held_up.remove(&path);
            state.shut.insert(path);
        }
    }

    /// Lets everything through.
    pub(crate) fn open(&self) {
        lock(&self.state).shut.clear();
        self.changed.notify_all();
    }

    /// Waits until the gate holds up reads of `count` files; returns how many it holds up.
    pub(crate) fn held_up(&self, count: usize, limit: Duration) -> usize {
        let few = |state: &mut State| state.held_up.len() < count;
        let waited = self.changed.wait_timeout_while(lock(&self.state), limit, few);
        waited.unwrap_or_else(PoisonError::into_inner).0.held_up.len()
    }

    fn is_shut(&self, path: &Path) -> bool {
        lock(&self.state).shut.contains(path)
    }

    /// Returns once reads of the file may go through.
    fn pass(&self, path: &Path) {
        let mut state = lock(&self.state);
        state.held_up.insert(path.to_path_buf());
        self.changed.notify_all();
        let waited = self.changed.wait_while(state, |state| state.shut.contains(path));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Opens a gate when dropped, so that waiting readers can end.
pub(crate) struct OpenAtEnd<'a>(pub(crate) &'a Gate);

impl Drop for OpenAtEnd<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A folder as it is seen through a gate.
pub(crate) struct GatedFolder {
    gate: Arc<Gate>,
    mountpoint: TempDir,
}

impl GatedFolder {
    pub(crate) fn over(folder: &Path) -> Self {
        let mountpoint = TempDir::with_prefix("zarrims-gated-").expect("a temporary folder");
        let gate = Arc::new(Gate::default());
        let mut options = fuser::Config::default();
        options.mount_options =
            vec![MountOption::RO, MountOption::FSName("zarrims-gated".to_owned())];
        options.n_threads = Some(2);
        let through = Through {
            gate: gate.clone(),
            folder: folder.to_path_buf(),
            paths: Mutex::new(BTreeMap::from([(INodeNo::ROOT.0, PathBuf::new())])),
        };
        let session = Session::new(through, mountpoint.path(), &options).expect("mounted");
        // Its own tear-down gives up where a mount is busy.
        std::mem::forget(session.spawn().expect("a thread"));
        Self { gate, mountpoint }
    }

    pub(crate) fn path(&self) -> &Path {
        self.mountpoint.path()
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for GatedFolder {
    fn drop(&mut self) {
        self.gate.open();
        let at = self.mountpoint.path();
        if is_mounted(at) {
            detach(at);
        }
    }
}

/// Passes requests on to a folder; inodes are numbered as there.
struct Through {
    gate: Arc<Gate>,
    folder: PathBuf,
    paths: Mutex<BTreeMap<u64, PathBuf>>,
}

impl Through {
    /// Path below the folder.
    fn path(&self, ino: INodeNo) -> PathBuf {
        lock(&self.paths).get(&ino.0).cloned().unwrap_or_default()
    }

    fn attributes(&self, path: &Path) -> io::Result<FileAttr> {
        let metadata = fs::symlink_metadata(self.folder.join(path))?;
        let root = path.as_os_str().is_empty();
        Ok(attributes(&metadata, if root { INodeNo::ROOT.0 } else { metadata.ino() }))
    }
}

fn attributes(metadata: &Metadata, ino: u64) -> FileAttr {
    let time = |seconds: i64, nanos: i64| {
        let whole = Duration::from_secs(seconds.try_into().expect("after 1970"));
        SystemTime::UNIX_EPOCH + whole + Duration::from_nanos(nanos.try_into().expect("nanos"))
    };
    FileAttr {
        ino: INodeNo(ino),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.mtime(), metadata.mtime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::from_std(metadata.file_type()).expect("a file or folder"),
        perm: u16::try_from(metadata.permissions().mode() & 0o7777).expect("16 bits"),
        nlink: 1,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn read(path: &Path, offset: u64, size: u32) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(offset).min(u64::from(size));
    let mut bytes = vec![0; usize::try_from(left).expect("64 bits")];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

impl Filesystem for Through {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Reads that are held up must not be what the kernel waits for before it sends others.
        let most = config.set_max_background(MAX_BACKGROUND);
        most.map(|_| ()).map_err(|most| io::Error::other(format!("at most {most} requests")))
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let path = self.path(parent).join(name);
        match self.attributes(&path) {
            Ok(attributes) => {
                lock(&self.paths).insert(attributes.ino.0, path);
                reply.entry(&TTL, &attributes, Generation(0));
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(&self.path(ino)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let path = self.path(ino);
        let full = self.folder.join(&path);
        let answer = move || match read(&full, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        };
        if self.gate.is_shut(&path) {
            let gate = self.gate.clone();
            thread::spawn(move || {
                gate.pass(&path);
                answer();
            });
        } else {
            answer();
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Ok(entries) = fs::read_dir(self.folder.join(self.path(ino))) else {
            return reply.error(Errno::ENOENT);
        };
        let mut entries: Vec<_> = entries.map(|entry| entry.expect("an own folder")).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, entry) in (1..).zip(&entries).skip(skip) {
            let metadata = entry.metadata().expect("an own file");
            let kind = FileType::from_std(metadata.file_type()).expect("a file or folder");
            if reply.add(INodeNo(metadata.ino()), at, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }
}
