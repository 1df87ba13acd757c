//! The state of an object.

use std::time::{Duration, SystemTime};

use object_store::ObjectMeta;

/// What tells one state of an object from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectState {
    /// The entity tag, without quotes and without the mark of a weak one: listings and answers of one service
    /// differ in these.
    pub etag: Option<String>,
    /// Time of last modification in whole seconds: answers have no more. The epoch where it is not known.
    pub modified: SystemTime,
    /// In bytes.
    pub size: u64,
}

impl ObjectState {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let plain = |tag: &String| {
            let tag = tag.trim();
            tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').to_owned()
        };
        let etag = meta.e_tag.as_ref().map(plain).filter(|tag| !tag.is_empty());
        let seconds = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Self { etag, modified, size: meta.size }
    }

    /// Whether both are one state, as far as both say. An answer to a request may have no entity tag where a
    /// listing has one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.etag, &other.etag) {
            (Some(one), Some(other_tag)) => one == other_tag && self.size == other.size,
            _ => self.modified == other.modified && self.size == other.size,
        }
    }
}
