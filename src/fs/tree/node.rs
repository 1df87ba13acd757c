//! The nodes of a tree: folders, folders made of one store, and files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::fs::view::{Attributes, CHECK_INTERVAL, Ino};
use crate::sync::lock;

use super::file::ListedFile;
use super::forgotten::Kept;
use super::inspected::{Checked, Inspected, Skipped};
use super::looks::Looks;

/// What a listing takes, and more for each name in it, with its node and without the name.
const LISTING_BYTES: u64 = 1500;
const NODE_BYTES: u64 = 450;

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
        names: Box<Mutex<BTreeMap<OsString, Ino>>>,
    },
    /// An image in one state of its metadata.
    File(ListedFile),
}

/// The state of a mirrored folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// By name in the source. Whoever looks has an `Arc`, and is not waited for.
    pub(super) inspected: Arc<HashMap<OsString, Arc<Inspected>>>,
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
    /// A hash of the names that were shown, and their inodes; `None` before all of them were.
    pub(super) shown: Option<u64>,
    /// Only what is in use is here; the rest was forgotten.
    pub(super) is_forgotten: bool,
    /// It was forgotten, and not all that was known is here again.
    pub(super) is_coming_back: bool,
}

/// A name of a mirrored folder.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) ino: Ino,
    /// What it stands for in the source.
    pub(super) inspected: Arc<Inspected>,
}

impl Child {
    /// What is the same for all names of one store.
    pub(super) fn store(&self) -> *const Inspected {
        Arc::as_ptr(&self.inspected)
    }
}

impl Listing {
    /// A hash of names and inodes: whether others are shown than before.
    pub(super) fn hash_of(names: &BTreeMap<OsString, Child>) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (name, child) in names {
            (name, child.ino).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Whether it has something to forget, is complete, and nobody looks into the folder now. What of an image is
    /// complete must not be forgotten: less of it might be shown the next time.
    pub(super) fn may_be_forgotten(&self) -> bool {
        let is_unfinished = |found: &Arc<Inspected>| found.is_unfinished;
        (!self.is_forgotten || !self.names.is_empty())
            && self.checked.is_some()
            && self.held_back.is_empty()
            && self.looks.are_over()
            && !self.inspected.values().any(is_unfinished)
    }

    /// Whether it has more than can be found again.
    pub(super) fn holds_anything(&self) -> bool {
        let is_listed = self.checked.is_some() && !self.is_forgotten;
        is_listed || !self.names.is_empty() || !self.looks.are_over()
    }

    /// Forgets all stores and folders but those given; what was known of the others.
    pub(super) fn forget_all_but(
        &mut self,
        kept: &HashSet<*const Inspected>,
    ) -> Vec<(OsString, Arc<Inspected>)> {
        let all = Arc::unwrap_or_clone(std::mem::take(&mut self.inspected));
        let is_kept = |found: &Arc<Inspected>| kept.contains(&Arc::as_ptr(found));
        let (kept, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, found)| is_kept(found));
        self.inspected = Arc::new(kept.into_iter().collect());
        self.slow = HashSet::new();
        self.looks.forget();
        // The log has them, and another look finds them.
        self.skipped = Vec::new();
        self.is_forgotten = true;
        gone
    }

    /// Memory that it takes, with the nodes of what it shows.
    pub(super) fn bytes(&self) -> u64 {
        let of_names: u64 = self.names.keys().map(|name| 2 * name.len() as u64).sum();
        let of_stores: u64 = self.inspected.values().map(|found| found.bytes()).sum();
        LISTING_BYTES + NODE_BYTES * self.names.len() as u64 + of_names + of_stores
    }
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

    /// What of a folder must outlive its being forgotten.
    pub(super) fn to_keep(&self) -> Option<Kept> {
        let Content::Mirror { listing, .. } = &self.content else { return None };
        let shown = lock(listing).as_ref()?.shown?;
        Some(Kept { modified: self.attributes().modified, shown })
    }

    /// Whether owner and mode were compared with the source just now.
    pub(super) fn has_fresh_access(&self) -> bool {
        lock(&self.shown).access_at.is_some_and(|at| at.elapsed() < CHECK_INTERVAL)
    }
}
