//! The nodes of a tree: folders, folders made of one store, and files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::fs::view::{Attributes, CHECK_INTERVAL, Ino};
use crate::sync::lock;

use super::file::ListedFile;
use super::inspected::{Checked, Inspected, Skipped};
use super::looks::Looks;

#[derive(Debug)]
pub(super) struct Node {
    /// Refreshed by listings of the folder above and by lookups: owners, modes and times of the source
    /// may change.
    pub(super) shown: Mutex<Shown>,
    pub(super) parent: Ino,
    /// Path below the mount point.
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

/// The attributes of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub(super) attributes: Attributes,
    /// When owner and mode were last compared with the source.
    pub(super) access_at: Option<Instant>,
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
    /// An image in one state of its metadata.
    File(ListedFile),
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
    /// Folders that the log has named as slow.
    pub(super) slow: HashSet<OsString>,
}

/// A name of a mirrored folder.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) ino: Ino,
    /// What it stands for in the source.
    pub(super) inspected: Arc<Inspected>,
}

impl Shown {
    /// Attributes that were compared with the source just now.
    pub(super) fn now(attributes: Attributes) -> Self {
        Self { attributes, access_at: Some(Instant::now()) }
    }
}

impl Node {
    pub(super) fn attributes(&self) -> Attributes {
        lock(&self.shown).attributes
    }

    pub(super) fn ino(&self) -> Ino {
        self.attributes().ino
    }

    /// Notes that names have come, gone or changed their meaning: who keeps a listing keeps it by the time of the
    /// folder, which in SOURCE does not change with what is within a store.
    pub(super) fn touch(&self) {
        let modified = &mut lock(&self.shown).attributes.modified;
        *modified = SystemTime::now().max(*modified + Duration::from_nanos(1));
    }

    /// Whether owner and mode were compared with the source just now.
    pub(super) fn has_fresh_access(&self) -> bool {
        lock(&self.shown).access_at.is_some_and(|at| at.elapsed() < CHECK_INTERVAL)
    }
}
