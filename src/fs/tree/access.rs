//! Who may enter and read: owners and modes of what is shown, which follow those of the source.
//!
//! The kernel checks them before it lets anybody in (`default_permissions`), and asks for them again
//! once they are older than [`CHECK_INTERVAL`](crate::fs::view::CHECK_INTERVAL). A file shows the
//! intersection of what all its parts allow, see [`Permissions`].

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::fs::view::{Attributes, FsError, Ino, NodeKind};
use crate::source::storage::{Access, FileKind, Links, Meta};
use crate::source::{Permissions, SourceRoot, access_of};
use crate::sync::lock;

use super::file::{FileSpec, ListedFile};
use super::node::{Content, Node, Shown};
use super::options::TreeConfig;

/// The user this program runs as.
fn daemon() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// What the source and the options of the mount let users do.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    pub(super) root: Arc<SourceRoot>,
    pub(super) config: TreeConfig,
}

impl Rights {
    /// Compares owner and mode of a node with the source, unless that was done just now. What the
    /// source does not answer stays as it was.
    pub(super) fn renew(&self, node: &Node) {
        if node.has_fresh_access() {
            return;
        }
        match &node.content {
            Content::File(file) => self.renew_file(node, file),
            Content::Mirror { source, .. } => self.renew_folder(node, source),
            Content::StoreFolder { store, .. } => self.renew_folder(node, store),
        }
    }

    pub(super) fn folder_attributes(&self, ino: Ino, source: &Path) -> Attributes {
        let meta = self.root.storage().access(source).ok();
        let access = match meta {
            Some(meta) => meta.access.unwrap_or(Access::everybody(daemon())),
            None => Access { mode: 0o500, uid: daemon(), gid: 0 },
        };
        Attributes {
            ino,
            kind: NodeKind::Directory,
            size: 0,
            modified: meta.map_or(SystemTime::UNIX_EPOCH, |meta| meta.stamp.modified()),
            mode: self.mode(folder_mode(meta.map(|meta| meta.kind), access)),
            uid: self.config.uid.unwrap_or(access.uid),
            gid: self.config.gid.unwrap_or(access.gid),
        }
    }

    fn renew_folder(&self, node: &Node, source: &Path) {
        let began = Instant::now();
        let found = self.root.storage().access(source);
        let mut shown = lock(&node.shown);
        if let Ok(meta) = found {
            let access = meta.access.unwrap_or(Access::everybody(daemon()));
            let attributes = &mut shown.attributes;
            attributes.mode = self.mode(folder_mode(Some(meta.kind), access));
            attributes.uid = self.config.uid.unwrap_or(access.uid);
            attributes.gid = self.config.gid.unwrap_or(access.gid);
        }
        shown.access_at = Some(began);
    }

    /// Attributes of a file as far as they are known.
    pub(super) fn file_attributes(&self, ino: Ino, file: &ListedFile) -> Shown {
        let spec = &file.spec;
        let (permissions, access_at, chunks_modified) = {
            let state = lock(&file.found.state);
            (state.permissions, state.permissions_at, state.chunks_modified)
        };
        let permissions = permissions.unwrap_or_else(|| self.guessed_permissions(spec));
        let Permissions { mode, uid, gid } = permissions;
        let attributes = Attributes {
            ino,
            kind: NodeKind::File,
            size: spec.size,
            modified: chunks_modified.map_or(spec.modified, |at| at.max(spec.modified)),
            mode: self.mode(mode),
            uid: self.config.uid.unwrap_or(uid),
            gid: self.config.gid.unwrap_or(gid),
        };
        Shown { attributes, access_at }
    }

    /// Permissions of a file before the source was asked about its parts. Where the mount is not shared
    /// they only inform, and the folder of the store stands for all parts until the first lookup.
    fn guessed_permissions(&self, spec: &FileSpec) -> Permissions {
        let store = self.root.storage().stat(&spec.store, Links::Follow);
        match store {
            Ok(Meta { access, .. }) if !self.config.is_shared => {
                let Access { mode, uid, gid } = access.unwrap_or(Access::everybody(daemon()));
                Permissions { mode: mode & 0o444, uid, gid }
            }
            _ => Permissions { mode: 0o400, uid: daemon(), gid: 0 },
        }
    }

    /// Asks the source who may read a file. Without an answer, all stays as it was.
    fn renew_file(&self, node: &Node, file: &ListedFile) {
        ask(&self.root, self.config, file);
        *lock(&node.shown) = self.file_attributes(node.ino(), file);
    }

    /// Asks who may read a file that is being opened, unless that was done just now; with `again`, in
    /// any case.
    ///
    /// # Errors
    /// [`FsError::Restricted`] where a user may no longer read who could when the name was looked up: the
    /// kernel then looks it up again, and decides with what it knows of the user.
    pub(super) fn check(&self, node: &Node, again: bool) -> Result<(), FsError> {
        let Content::File(file) = &node.content else { return Ok(()) };
        if !again && node.has_fresh_access() {
            return Ok(());
        }
        let shown = node.attributes();
        self.renew_file(node, file);
        check_not_narrowed(shown, node.attributes())
    }

    /// Permission bits without those that the user took away.
    fn mode(&self, mode: u32) -> u16 {
        u16::try_from(mode).unwrap_or(0) & !self.config.umask
    }
}

/// Permission bits of a folder of the mount. Who may read an archive may enter the folder it is shown as.
fn folder_mode(kind: Option<FileKind>, access: Access) -> u32 {
    match kind {
        Some(FileKind::File) => access.mode & 0o444 | (access.mode & 0o444) >> 2,
        _ => access.mode & 0o555,
    }
}

/// Asks the source who may read a file.
pub(super) fn ask(root: &SourceRoot, config: TreeConfig, file: &ListedFile) {
    let began = Instant::now();
    let found = access_of(root, &file.spec.store, file.spec.below(), file.spec.parts());
    let mut state = lock(&file.found.state);
    state.permissions_at = Some(began);
    if let Ok((top, mut kinds)) = found {
        if let Some(chunks) = state.opened.as_ref().and_then(|opened| opened.chunk_access()) {
            kinds.absorb(chunks);
        }
        let found = kinds.intersection(top, daemon());
        state.permissions = Some(if config.is_shared { found } else { admit_self(found) });
    }
}

/// # Errors
/// [`FsError::Restricted`] where some user may read by the attributes that were shown and not by those now.
pub(super) fn check_not_narrowed(shown: Attributes, now: Attributes) -> Result<(), FsError> {
    let permissions = |shown: Attributes| {
        let Attributes { mode, uid, gid, .. } = shown;
        Permissions { mode: mode.into(), uid, gid }
    };
    if permissions(shown).is_narrowed_to(permissions(now)) {
        Err(FsError::Restricted)
    } else {
        Ok(())
    }
}

/// Where nobody else may enter the mount, the user that mounted reads what the source lets them read,
/// also where only an access control list does.
fn admit_self(found: Permissions) -> Permissions {
    let groups = rustix::process::getgroups().unwrap_or_default();
    let is_in_group = groups.iter().map(|group| group.as_raw()).any(|gid| gid == found.gid)
        || rustix::process::getegid().as_raw() == found.gid;
    let class = if found.uid == daemon() {
        0o400
    } else if is_in_group {
        0o040
    } else {
        0o004
    };
    if daemon() == 0 || found.mode & class != 0 {
        found
    } else {
        Permissions { mode: found.mode | 0o400, uid: daemon(), ..found }
    }
}
