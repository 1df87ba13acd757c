//! Who may read an image: every user who may read all files that it is made of.
//!
//! The files of one image have owners, groups and modes of their own; the virtual file has one of
//! each. It shows the intersection: a class of users may read it only if each of them may enter
//! every folder on the way and read every file, whichever class they have there. Where that depends
//! on the user, the answer is no.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::fingerprint::Fingerprint;
use super::root::SourceRoot;
use super::series::xml_beside;
use super::storage::{Access, FileKind, Meta, is_not_found};

/// More different owners, groups and modes than this in one image leave it to the owner.
const MOST_KINDS: usize = 256;

/// The access that a reader needs to a part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// To read a file.
    Read,
    /// To go through a folder.
    Enter,
}

impl Need {
    fn bit(self) -> u32 {
        match self {
            Self::Read => 0o4,
            Self::Enter => 0o1,
        }
    }
}

/// A kind of access: what a reader needs, and the mode, owner and group of the file or folder.
type Kind = (Need, u32, u32, u32);

/// The different kinds of access that the parts of an image ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessKinds {
    kinds: BTreeSet<Kind>,
    last: Option<Kind>,
    are_too_many: bool,
}

impl AccessKinds {
    /// Adds a part. One without owner and mode is open to everybody.
    pub(super) fn add(&mut self, need: Need, access: Option<Access>) {
        if let Some(Access { mode, uid, gid }) = access {
            self.add_kind((need, mode, uid, gid));
        }
    }

    fn add_kind(&mut self, kind: Kind) {
        // Neighbours are nearly always alike.
        if self.last == Some(kind) {
            return;
        }
        self.last = Some(kind);
        if self.kinds.len() < MOST_KINDS {
            self.kinds.insert(kind);
        } else {
            self.are_too_many |= !self.kinds.contains(&kind);
        }
    }

    /// Adds all that another one has.
    pub fn absorb(&mut self, other: &Self) {
        self.are_too_many |= other.are_too_many;
        for kind in &other.kinds {
            self.add_kind(*kind);
        }
    }

    /// Owner, group and mode of a file made of all these parts. `top` is the folder of the store: its owner and
    /// group are shown. `daemon` is the user that this program runs as.
    #[must_use]
    pub fn intersection(&self, top: Option<Access>, daemon: u32) -> Permissions {
        let top = top.unwrap_or(Access::everybody(daemon));
        let mut found = Permissions { mode: 0o444, uid: top.uid, gid: top.gid };
        if self.are_too_many {
            found.mode = 0o400;
        }
        for &(need, mode, uid, gid) in &self.kinds {
            let has = |class: u32| mode >> class & need.bit() != 0;
            let (owner, group, other) = (has(6), has(3), has(0));
            let (same_owner, same_group) = (uid == top.uid, gid == top.gid);
            // A user of the other classes may be the owner there, or of the group there.
            let not_owner = same_owner || owner;
            let in_group = if same_group { group } else { group && other };
            if same_owner && !owner {
                found.mode &= !0o400;
            }
            if !(in_group && not_owner) {
                found.mode &= !0o040;
            }
            if !(other && not_owner && (same_group || group)) {
                found.mode &= !0o004;
            }
            if !same_owner {
                // No user owns all of it. The daemon reads it anyway.
                found.uid = daemon;
            }
        }
        found
    }
}

/// The metadata files and folders that an image of a store was made from: those below its folder, and
/// the OME-XML that the folders above it may have.
#[must_use]
pub fn metadata_of<'a>(metadata: &'a Fingerprint, store: &Path, image: &Path) -> Vec<&'a Path> {
    let above = image.ancestors().take_while(|above| above.starts_with(store));
    let xml = above.filter_map(|above| metadata.present(&xml_beside(above)));
    let mut found: Vec<&Path> = metadata.present_below(image).collect();
    found.extend(xml);
    found
}

/// The access that readers of an image need, and the access to the folder of its store. `files` are the
/// files that stand for all that the image is made of: its metadata, and a chunk of each array. Every
/// folder on the way to them counts, too, but those on the way to `below`, which readers pass in any case.
///
/// # Errors
/// The reason of the storage when one of them cannot be looked at. Files that have gone do not count.
pub fn access_of<'a>(
    root: &SourceRoot,
    store: &Path,
    below: &Path,
    files: impl Iterator<Item = &'a Path>,
) -> io::Result<(Option<Access>, AccessKinds)> {
    let mut kinds = AccessKinds::default();
    if root.storage().is_remote() {
        return Ok((None, kinds));
    }
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    let mut add = |path: &Path| -> io::Result<Option<Meta>> {
        if seen.contains(path) {
            return Ok(None);
        }
        seen.insert(path.to_path_buf());
        let meta = match root.storage().access(path) {
            Ok(meta) => meta,
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let need = if meta.kind == FileKind::Folder { Need::Enter } else { Need::Read };
        kinds.add(need, meta.access);
        Ok(Some(meta))
    };
    let top = add(store)?.ok_or(io::ErrorKind::NotFound)?.access;
    for file in files {
        for part in file.ancestors().take_while(|part| !below.starts_with(part)) {
            add(part)?;
        }
    }
    Ok((top, kinds))
}

/// Owner, group and permission bits of a virtual file; nobody may write or execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// Out of `0o444`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Permissions {
    /// Whether some user who may read by `self` may not by `later`.
    #[must_use]
    pub fn is_narrowed_to(self, later: Self) -> bool {
        let bits = self.mode & !later.mode != 0;
        let ids = self.uid != later.uid || self.gid != later.gid;
        // Whoever the users are: another owner or group may exclude one of them.
        bits || (ids && self.mode != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: Access = Access { mode: 0o755, uid: 1, gid: 10 };

    fn of(parts: &[(Need, u32, u32, u32)]) -> (u32, u32, u32) {
        let mut kinds = AccessKinds::default();
        kinds.add(Need::Enter, Some(TOP));
        for &(need, mode, uid, gid) in parts {
            kinds.add(need, Some(Access { mode, uid, gid }));
        }
        let Permissions { mode, uid, gid } = kinds.intersection(Some(TOP), 99);
        (mode, uid, gid)
    }

    #[test]
    fn every_part_must_allow_it() {
        use Need::{Enter, Read};
        for (part, mode) in [
            ((Read, 0o644, 1, 10), 0o444),
            ((Read, 0o640, 1, 10), 0o440),
            ((Read, 0o600, 1, 10), 0o400),
            ((Read, 0o044, 1, 10), 0o044),
            ((Read, 0o604, 1, 10), 0o404),
            ((Read, 0o000, 1, 10), 0),
            ((Enter, 0o700, 1, 10), 0o400),
            ((Enter, 0o711, 1, 10), 0o444),
            ((Enter, 0o744, 1, 10), 0o400),
        ] {
            assert_eq!(of(&[part]), (mode, 1, 10), "{part:?}");
        }
        assert_eq!(of(&[(Read, 0o640, 1, 10), (Enter, 0o705, 1, 10)]).0, 0o400);
    }

    #[test]
    fn another_group_lets_nobody_in_whom_it_would_not() {
        // Of group 10, and perhaps of group 20, which is shut out there, or not, which is let in.
        assert_eq!(of(&[(Need::Read, 0o604, 1, 20)]), (0o400, 1, 10));
        assert_eq!(of(&[(Need::Read, 0o640, 1, 20)]), (0o400, 1, 10));
        assert_eq!(of(&[(Need::Read, 0o644, 1, 20)]), (0o444, 1, 10));
    }

    #[test]
    fn what_has_several_owners_belongs_to_none_of_them() {
        assert_eq!(of(&[(Need::Read, 0o600, 2, 10)]), (0o400, 99, 10));
        assert_eq!(of(&[(Need::Read, 0o640, 2, 10)]), (0o440, 99, 10));
        assert_eq!(of(&[(Need::Read, 0o644, 2, 10)]), (0o444, 99, 10));
        // The owner of a part may be in the group, and is shut out of that part.
        assert_eq!(of(&[(Need::Read, 0o044, 2, 10)]), (0o400, 99, 10));
    }

    #[test]
    fn too_many_kinds_leave_it_to_the_owner() {
        let mut kinds = AccessKinds::default();
        for gid in 0..1000 {
            kinds.add(Need::Read, Some(Access { mode: 0o644, uid: 1, gid }));
        }
        assert_eq!(kinds.intersection(Some(TOP), 0).mode, 0o400);
    }

    #[test]
    fn narrowed_means_that_somebody_is_shut_out() {
        let all = Permissions { mode: 0o444, uid: 1, gid: 10 };
        assert!(!all.is_narrowed_to(all));
        assert!(all.is_narrowed_to(Permissions { mode: 0o440, ..all }));
        assert!(!Permissions { mode: 0o400, ..all }.is_narrowed_to(all));
        assert!(all.is_narrowed_to(Permissions { uid: 2, ..all }));
    }

    #[test]
    fn the_folders_above_a_file_of_another_store_count() {
        let top = tempfile::tempdir().expect("a folder");
        let make = |folder: &str, mode: u32| {
            let path = top.path().join(folder);
            std::fs::create_dir_all(&path).expect("a folder");
            std::fs::write(path.join(".zarray"), "{}").expect("a file");
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
                .expect("a folder of ours");
        };
        make("x/a.zarr", 0o755);
        make("x/b.zarr", 0o755);
        make("y/b.zarr", 0o755);
        make("y", 0o700);
        let root = SourceRoot::open(top.path(), false).expect("a folder");
        let mode = |other: &str| {
            let files = [Path::new("x/a.zarr/.zarray"), Path::new(other)];
            let (top, kinds) =
                access_of(&root, Path::new("x/a.zarr"), Path::new("x"), files.into_iter())
                    .expect("readable");
            kinds.intersection(top, 0).mode
        };
        assert_eq!(mode("x/b.zarr/.zarray"), 0o444);
        assert_eq!(mode("y/b.zarr/.zarray"), 0o400);
    }
}
