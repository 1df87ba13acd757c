//! The FUSE protocol over a [`View`]: a request in, an answer out, nothing decided here.
//!
//! The threads that talk to the kernel never wait for a store. Reads that hit are answered at once;
//! reads that miss take their reply along to the worker that produces the bytes; everything that may
//! look into the source (names, folders, opening) runs on a few threads of its own.

mod asked;
mod errno;
mod folders;
mod space;

use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, Notifier, OpenAccMode, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr,
    Request,
};

use crate::fs::view::{
    Attributes, CHECK_INTERVAL, DirectoryEntry, FsError, Ino, NodeKind, OpenedHandle, Paging,
    Space, View,
};
use crate::resources::workers::Workers;

use asked::Asked;
use folders::Folders;

/// How long the kernel may answer `stat` and lookups by itself.
const TTL: Duration = CHECK_INTERVAL;

/// Threads for everything that looks into the source but reads no voxels.
const NAME_THREADS: usize = 16;

/// Requests the kernel may have under way for its own read-ahead. The default of 16 would cap
/// buffered readers at 16; the cost of a higher number is a little kernel memory.
const MAX_BACKGROUND: u16 = 256;

/// One name per inode and state: inode numbers are never reused for other content.
const GENERATION: Generation = Generation(0);

/// Adapter between the `fuser` crate and a view.
pub struct Adapter {
    view: Arc<dyn View>,
    folders: Arc<Folders>,
    names: Workers,
    /// For what file servers come back to. To find it may take a look into all folders, for which names do not wait.
    handles: Workers,
    notifier: Arc<OnceLock<Notifier>>,
    ended: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Adapter {
    /// An adapter for a view. `ended` is called when the kernel has let go of the mount.
    ///
    /// # Errors
    /// The operating system's reason when threads cannot be started.
    pub fn new(
        view: Arc<dyn View>,
        ended: impl FnOnce() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let names = Workers::new("names", NAME_THREADS);
        let handles = Workers::new("handles", 1);
        let (folders, notifier) = (Arc::default(), Arc::default());
        Ok(Self { view, folders, names, handles, notifier, ended: Some(Box::new(ended)) })
    }

    /// The cell for the notifier of the mount, through which the adapter reports changes to the kernel.
    #[must_use]
    pub fn notifier(&self) -> Arc<OnceLock<Notifier>> {
        self.notifier.clone()
    }

    /// Runs something that may look into the source, away from the kernel's threads.
    fn later(&self, work: impl FnOnce(&dyn View) + Send + 'static) {
        let view = self.view.clone();
        self.names.spawn(move || work(&*view));
    }
}

impl Drop for Adapter {
    /// The kernel has let go of the mount: no request waits for an answer.
    fn drop(&mut self) {
        self.names.leave();
        self.handles.leave();
    }
}

fn file_attr(attributes: &Attributes) -> FileAttr {
    let Attributes { ino, kind, size, modified, mode, uid, gid } = *attributes;
    FileAttr {
        ino: INodeNo(ino.0),
        size,
        blocks: size.div_ceil(512),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(kind),
        perm: mode,
        nlink: if kind == NodeKind::Directory { 2 } else { 1 },
        uid,
        gid,
        rdev: 0,
        // Programs that read by this size then read whole chunks.
        blksize: 1 << 20,
        flags: 0,
    }
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::Directory => FileType::Directory,
        NodeKind::File => FileType::RegularFile,
    }
}

/// The entries behind an offset, with the offset that follows each.
fn entries_from(
    entries: &[DirectoryEntry],
    offset: u64,
) -> impl Iterator<Item = (u64, &DirectoryEntry)> {
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    entries.iter().enumerate().skip(skip).map(|(at, entry)| (at as u64 + 1, entry))
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel that lacks one of these works, only slower or without NFS export.
        for capability in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_EXPORT_SUPPORT,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
        ] {
            if let Err(missing) = config.add_capabilities(capability) {
                tracing::debug!(?missing, "kernel lacks a FUSE capability");
            }
        }
        if let Err(largest) = config.set_max_background(MAX_BACKGROUND) {
            tracing::debug!(largest, "max_background refused");
        }
        Ok(())
    }

    fn destroy(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended();
        }
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let asked = Asked::new(request, "lookup", parent);
        let (name, view) = (name.to_owned(), self.view.clone());
        let workers = if name == "." { &self.handles } else { &self.names };
        workers.spawn(move || match view.lookup(Ino(parent.0), &name) {
            Ok(attributes) => {
                reply.entry(&TTL, &file_attr(&attributes), GENERATION);
                asked.answered();
            }
            Err(error) => reply.error(asked.refuse(&error)),
        });
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let asked = Asked::new(request, "getattr", ino);
        let answer = move |found: Result<Attributes, FsError>, reply: ReplyAttr| match found {
            Ok(attributes) => {
                reply.attr(&TTL, &file_attr(&attributes));
                asked.answered();
            }
            Err(error) => reply.error(asked.refuse(&error)),
        };
        if let Some(found) = self.view.attributes_at_hand(Ino(ino.0)) {
            return answer(Ok(found), reply);
        }
        self.later(move |view| answer(view.attributes(Ino(ino.0)), reply));
        // For file servers that keep a folder open and ask for nothing but its time.
        let view = self.view.clone();
        self.handles.spawn_if_idle(move || view.compare(Ino(ino.0)));
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let asked = Asked::new(request, "open", ino);
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            reply.error(asked.refuse(&FsError::ReadOnly));
            return;
        }
        let notifier = self.notifier.clone();
        self.later(move |view| match view.open(Ino(ino.0)) {
            Ok(OpenedHandle { handle, paging, is_another }) => {
                if is_another && let Some(notifier) = notifier.get() {
                    // Attributes only. It fails if the kernel knows the inode no more.
                    let _ = notifier.inval_inode(ino, -1, 0);
                }
                let flags = match paging {
                    Paging::Keep => FopenFlags::FOPEN_KEEP_CACHE,
                    Paging::Drop => FopenFlags::empty(),
                    Paging::Bypass => FopenFlags::FOPEN_DIRECT_IO,
                };
                reply.opened(FileHandle(handle), flags);
                asked.answered();
            }
            Err(error) => reply.error(asked.refuse(&error)),
        });
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let asked = Asked::new(request, "read", ino);
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        let done = move |result: Result<&[u8], FsError>| match result {
            Ok(bytes) => {
                reply.data(bytes);
                asked.answered();
            }
            Err(error) => reply.error(asked.refuse(&error)),
        };
        // A panic here would end a thread of the kernel loop for good; the dropped reply is EIO.
        let read = AssertUnwindSafe(|| self.view.read(fh.0, offset, len, Box::new(done)));
        if catch_unwind(read).is_err() {
            tracing::error!(ino = ino.0, offset, size, "read panicked");
        }
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.view.close(fh.0);
        reply.ok();
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let asked = Asked::new(request, "opendir", ino);
        let folders = self.folders.clone();
        self.later(move |view| match view.entries(Ino(ino.0)) {
            Ok(entries) => {
                reply.opened(FileHandle(folders.open(entries)), FopenFlags::empty());
                asked.answered();
            }
            Err(error) => reply.error(asked.refuse(&error)),
        });
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let asked = Asked::new(request, "readdir", ino);
        match self.folders.entries(fh.0) {
            Ok(entries) => {
                for (next, entry) in entries_from(&entries, offset) {
                    let Attributes { ino, kind, .. } = entry.attributes;
                    if reply.add(INodeNo(ino.0), next, file_type(kind), &entry.name) {
                        break;
                    }
                }
                reply.ok();
                asked.answered();
            }
            Err(error) => reply.error(asked.refuse(&error)),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let asked = Asked::new(request, "readdirplus", ino);
        match self.folders.entries(fh.0) {
            Ok(entries) => {
                for (next, entry) in entries_from(&entries, offset) {
                    let attr = file_attr(&entry.attributes);
                    if reply.add(attr.ino, next, &entry.name, &TTL, &attr, GENERATION) {
                        break;
                    }
                }
                reply.ok();
                asked.answered();
            }
            Err(error) => reply.error(asked.refuse(&error)),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.folders.close(fh.0);
        reply.ok();
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let asked = Asked::new(request, "statfs", ino);
        self.later(move |view| match view.statfs() {
            Ok(space) => {
                let Space { block_bytes, blocks, free, available, files, files_free } =
                    space::shown(space);
                let block = u32::try_from(block_bytes).unwrap_or(4096);
                reply.statfs(blocks, free, available, files, files_free, block, 255, block);
                asked.answered();
            }
            Err(error) => reply.error(asked.refuse(&error)),
        });
    }

    /// "Not implemented" makes the kernel stop asking for the life of the mount.
    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }
}
