//! The service that has the objects of one address: its answers, as stamps and for the log.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_128;

use super::super::interface::{FileKind, Meta};
use super::super::stamp::{Stamp, since_epoch_ns};
use super::outage::Outage;
use crate::objects::{ObjectError, ObjectState, Objects, Page, PageOf};

/// Where times are whole seconds, a later change may have the same one for this long; and the clock of the
/// service may differ from that of this machine.
const SETTLED: Duration = Duration::from_secs(5);

/// Whether listings have entity tags.
const NOT_KNOWN: u8 = 0;
const WITH_TAGS: u8 = 1;
const WITHOUT_TAGS: u8 = 2;

/// What a call gives.
pub(super) type Answer<T> = Result<T, ObjectError>;

/// See the module.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) objects: Objects,
    /// [`NOT_KNOWN`], [`WITH_TAGS`] or [`WITHOUT_TAGS`].
    tags: AtomicU8,
    outage: Outage,
}

impl Service {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects, tags: AtomicU8::new(NOT_KNOWN), outage: Outage::default() }
    }

    /// Notes how a call ended, for the log.
    pub(super) fn noted<T>(&self, answer: Answer<T>) -> Answer<T> {
        self.outage.note(self.objects.address(), answer.as_ref().err());
        answer
    }

    /// A page of a listing.
    pub(super) fn page(&self, folder: &str, what: PageOf, next: Option<&str>) -> Answer<Page> {
        let page = self.noted(self.objects.list(folder, what, next, None))?;
        if let Some((_, state)) = page.objects.first() {
            let tags = if state.etag.is_some() { WITH_TAGS } else { WITHOUT_TAGS };
            self.tags.store(tags, Ordering::Relaxed);
        }
        Ok(page)
    }

    pub(super) fn meta_of(&self, state: &ObjectState) -> Meta {
        Meta::plain(FileKind::File, self.stamp_of(state))
    }

    /// A listing and an answer must give the same stamp: where listings have no tags, times count.
    pub(super) fn stamp_of(&self, ObjectState { etag, modified, size }: &ObjectState) -> Stamp {
        let has_tags = self.tags.load(Ordering::Relaxed) != WITHOUT_TAGS;
        if let Some(tag) = etag.as_ref().filter(|_| has_tags) {
            return Stamp::of_version(xxh3_128(tag.as_bytes()), *size, *modified);
        }
        let seconds = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = i64::try_from(seconds).unwrap_or_default();
        // Without a time, nothing says whether it has changed since: it never settles.
        let changed_ns = if seconds == 0 { i64::MAX / 2 } else { since_epoch_ns(*modified) };
        Stamp::of_clock(0, *size, (seconds, 0), changed_ns, SETTLED)
    }
}
