//! Who may enter and read: owners and modes of what is shown, kept up with those of the source.
//!
//! The kernel checks them before it lets anybody in (`default_permissions`), and asks for them again
//! once they are older than [`CHECK_INTERVAL`](super::CHECK_INTERVAL). A file shows the intersection of what all its parts
//! allow, see [`Permissions`].

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::source::storage::{Access, Links, Meta};
use crate::source::{Permissions, SourceRoot, access_of};

use super::node::{Attributes, Content, FileSpec, Ino, Node, NodeKind};
use super::{FsError, Tree, TreeConfig, lock};

/// How long the modes of all chunk files, which a look at them has told, count. After it, samples do,
/// until the next opening looks again: else a file once shut could not be opened to look at it.
const CHUNK_ACCESS_TIME: Duration = Duration::from_secs(10);

pub(super) fn checked_now() -> Mutex<Option<Instant>> {
    Mutex::new(Some(Instant::now()))
}

/// The user this program runs as.
fn daemon() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl Tree {
    /// Attributes of a known inode, with owner and mode as they are in the source now, or were less
    /// than [`CHECK_INTERVAL`](super::CHECK_INTERVAL) ago. What the source does not tell stays as it was.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it is not known.
    pub fn fresh_attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        let node = match self.node(ino) {
            Ok(node) => node,
            Err(error) => return self.former_attributes(ino).ok_or(error),
        };
        if !node.has_fresh_access() {
            match &node.content {
                Content::File(file) => self.renew_permissions(&node, &file.spec),
                Content::Mirror { source, .. } => self.renew_folder(&node, source),
                Content::StoreFolder { store, .. } => self.renew_folder(&node, store),
            }
        }
        Ok(node.attributes())
    }

    /// Attributes of the file that is now at the path of an inode that is not listed any more.
    fn former_attributes(&self, ino: Ino) -> Option<Attributes> {
        let path = lock(&self.former).get(&ino).cloned()?;
        let found = self.find(&path).ok()?;
        (found.kind == NodeKind::File).then_some(Attributes { ino, ..found })
    }

    /// Attributes of a known inode, if the source need not be asked for them.
    #[must_use]
    pub fn attributes_at_hand(&self, ino: Ino) -> Option<Attributes> {
        let node = self.node(ino).ok()?;
        node.has_fresh_access().then(|| node.attributes())
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
            mode: self.mode(access.mode & 0o555),
            uid: self.config.uid.unwrap_or(access.uid),
            gid: self.config.gid.unwrap_or(access.gid),
        }
    }

    fn renew_folder(&self, node: &Node, source: &Path) {
        let begun = Instant::now();
        if let Ok(meta) = self.root.storage().access(source) {
            let access = meta.access.unwrap_or(Access::everybody(daemon()));
            let mut attributes = lock(&node.attributes);
            attributes.mode = self.mode(access.mode & 0o555);
            attributes.uid = self.config.uid.unwrap_or(access.uid);
            attributes.gid = self.config.gid.unwrap_or(access.gid);
        }
        *lock(&node.access_at) = Some(begun);
    }

    /// Attributes of a file as far as they are known, and when owner and mode were.
    pub(super) fn file_attributes(
        &self,
        ino: Ino,
        spec: &FileSpec,
    ) -> (Attributes, Option<Instant>) {
        let state = lock(&spec.state);
        let permissions = state.permissions.unwrap_or_else(|| self.guessed_permissions(spec));
        let Permissions { mode, uid, gid } = permissions;
        let attributes = Attributes {
            ino,
            kind: NodeKind::File,
            size: spec.size,
            modified: state.chunks_modified.map_or(spec.modified, |at| at.max(spec.modified)),
            mode: self.mode(mode),
            uid: self.config.uid.unwrap_or(uid),
            gid: self.config.gid.unwrap_or(gid),
        };
        (attributes, state.permissions_at)
    }

    /// Permissions of a file whose parts were not asked for yet. Where the mount is not shared they only
    /// inform, so that the folder of the store stands for all, until the name is looked up.
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

    /// Asks the source who may read a file. Where it does not answer, all stays as it was.
    pub(super) fn renew_permissions(&self, node: &Node, spec: &FileSpec) {
        self.ask_permissions(spec);
        let (attributes, access_at) = self.file_attributes(node.ino(), spec);
        *lock(&node.attributes) = attributes;
        *lock(&node.access_at) = access_at;
    }

    pub(super) fn ask_permissions(&self, spec: &FileSpec) {
        ask(&self.root, self.config, spec);
    }

    /// Asks who may read a file that is being opened, unless that was done just now, or `anew`.
    ///
    /// # Errors
    /// [`FsError::Restricted`] where somebody is shut out who was not when the name was looked up: the
    /// kernel then looks it up again, and decides with what it knows of the user.
    pub(super) fn check_permissions(
        &self,
        node: &Node,
        spec: &FileSpec,
        anew: bool,
    ) -> Result<(), FsError> {
        if !anew && node.has_fresh_access() {
            return Ok(());
        }
        let shown = node.attributes();
        self.renew_permissions(node, spec);
        check_not_narrowed(shown, node.attributes())
    }

    /// Permission bits without those that the user took away.
    fn mode(&self, mode: u32) -> u16 {
        u16::try_from(mode).unwrap_or(0) & !self.config.umask
    }
}

/// Asks the source who may read a file.
pub(super) fn ask(root: &SourceRoot, config: TreeConfig, spec: &FileSpec) {
    let begun = Instant::now();
    let found = access_of(root, &spec.store, spec.parts());
    let mut state = lock(&spec.state);
    state.permissions_at = Some(begun);
    if let Ok((top, mut kinds)) = found {
        if let Some((chunks, at)) = &state.chunk_access
            && at.elapsed() < CHUNK_ACCESS_TIME
        {
            kinds.absorb(chunks);
        }
        let found = kinds.intersection(top, daemon());
        state.permissions = Some(if config.is_shared { found } else { admit_self(found) });
    }
}

/// # Errors
/// [`FsError::Restricted`] where some user may read by the attributes that were shown and not by those now.
pub(super) fn check_not_narrowed(shown: Attributes, now: Attributes) -> Result<(), FsError> {
    if shown.permissions().is_narrowed_to(now.permissions()) {
        Err(FsError::Restricted)
    } else {
        Ok(())
    }
}

/// Where nobody else may enter the mount, whoever mounted reads what the source lets them read; an access
/// control list may be why.
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
