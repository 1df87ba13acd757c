//! Objects below one address as files and folders.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use xxhash_rust::xxh3::xxh3_128;

use super::super::interface::{Budget, FileKind, Index, Meta, OpenFile, OpenFolder, Unfollowed};
use super::super::stamp::{Stamp, since_epoch_ns};
use super::file::{Parts, Whole};
use super::folder::{Entry, FirstPage, Listing, folder_meta};
use super::newest::Newest;
use super::outage::Outage;
use crate::objects::{Fault, Got, Object, ObjectError, ObjectState, Objects, Page, PageOf};
use crate::sync::lock;

/// How long a listing of a folder answers for what is in it.
const LATELY: Duration = Duration::from_secs(1);

/// How long it counts that a service refuses to list.
const REFUSAL_TIME: Duration = Duration::from_mins(1);

/// Largest object that is read whole when it is opened.
const WHOLE_BYTES: u64 = 64 << 20;

/// Largest object that is fetched ahead.
const SMALL_BYTES: u64 = 64 << 10;

/// Where times are whole seconds, a later change may have the same one for this long; and the clock of the
/// service may differ from that of this machine.
const SETTLED: Duration = Duration::from_secs(5);

/// Whether listings have entity tags.
const NOT_KNOWN: u8 = 0;
const WITH_TAGS: u8 = 1;
const WITHOUT_TAGS: u8 = 2;

type Answer<T> = Result<T, ObjectError>;

/// See the module.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) objects: Objects,
    pages: Newest<Answer<Arc<FirstPage>>>,
    heads: Newest<Answer<ObjectState>>,
    /// Small objects that were fetched ahead; `None` where there is none.
    small: Newest<Option<Arc<Object>>>,
    refusals: Newest<bool>,
    /// [`NOT_KNOWN`], [`WITH_TAGS`] or [`WITHOUT_TAGS`].
    tags: AtomicU8,
    /// An object that could be read lately.
    witness: Mutex<Option<String>>,
    has_told_of_refusals: AtomicBool,
    outage: Outage,
}

impl Place {
    pub(super) fn new(objects: Objects) -> Arc<Self> {
        Arc::new(Self {
            objects,
            pages: Newest::new(),
            heads: Newest::new(),
            small: Newest::new(),
            refusals: Newest::new(),
            tags: AtomicU8::new(NOT_KNOWN),
            witness: Mutex::default(),
            has_told_of_refusals: AtomicBool::new(false),
            outage: Outage::default(),
        })
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.pages.forget();
        self.heads.forget();
        self.small.forget();
    }

    /// Fetches small objects all at once, for [`Place::open`] within a moment.
    pub(super) fn open_soon(&self, keys: &[String]) {
        let since = lately();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let keys: Vec<&str> =
            keys.into_iter().filter(|key| self.small.known(key, since).is_none()).collect();
        let asked_at = Instant::now();
        let got = self.objects.get_each(&keys, SMALL_BYTES);
        for (key, got) in keys.into_iter().zip(got) {
            match self.noted(got) {
                Ok(Got::Whole(object)) => self.small.put(key, asked_at, Some(Arc::new(object))),
                Err(error) if error.fault == Fault::Absent => self.small.put(key, asked_at, None),
                // Whoever opens it gets the reason, or all of it.
                Ok(Got::Larger(_)) | Err(_) => {}
            }
        }
    }

    pub(super) fn open(self: &Arc<Self>, key: &str) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        let got = match self.small.known(key, lately()) {
            Some(Some(object)) => Ok(Got::Whole(Object::clone(&object))),
            Some(None) => Err(ObjectError { fault: Fault::Absent, detail: String::new() }),
            None => self.noted(self.objects.get(key, WHOLE_BYTES)),
        };
        match got.map_err(|error| self.missing(key, error))? {
            Got::Whole(Object { bytes, state }) => {
                self.can_read(key);
                let stamp = self.stamp_of(&state);
                Ok((Box::new(Whole { bytes, stamp }), stamp))
            }
            Got::Larger(state) => Ok(self.parts(key, state, (0, Vec::new()))),
        }
    }

    pub(super) fn open_parts(
        self: &Arc<Self>,
        key: &str,
        index: Index,
    ) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        let got = match index {
            Index::AtStart(bytes) => self.objects.get_range(key, 0..bytes),
            Index::AtEnd(bytes) => self.objects.get_tail(key, bytes),
        };
        match self.noted(got) {
            Ok(Object { bytes, state }) => {
                self.can_read(key);
                let start = match index {
                    Index::AtStart(_) => 0,
                    Index::AtEnd(_) => state.size - bytes.len() as u64,
                };
                Ok(self.parts(key, state, (start, bytes)))
            }
            // It is too short to be a shard; who reads it says so.
            Err(error) if error.fault == Fault::Short => self.open(key),
            Err(error) => Err(self.missing(key, error)),
        }
    }

    fn parts(
        self: &Arc<Self>,
        key: &str,
        state: ObjectState,
        known: (u64, Vec<u8>),
    ) -> (Box<dyn OpenFile>, Stamp) {
        let stamp = self.stamp_of(&state);
        let (place, key) = (self.clone(), key.to_owned());
        let (known, has_changed) = (Mutex::new(known), AtomicBool::new(false));
        (Box::new(Parts { place, key, state, stamp, known, has_changed }), stamp)
    }

    /// What stands at a path now, or did a moment ago.
    pub(super) fn stat(&self, key: &str) -> io::Result<Meta> {
        let since = lately();
        if !self.objects.can_list() {
            return match key {
                "" => Ok(folder_meta(0)),
                _ => self.file_lately(key, since).map(|stamp| Meta::plain(FileKind::File, stamp)),
            };
        }
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
        if key.is_empty() {
            return match self.first_page("", since) {
                Ok(page) => Ok(page.meta()),
                Err(error) if error.fault == Fault::Forbidden => Ok(folder_meta(0)),
                Err(error) => Err(error.into()),
            };
        }
        match self.first_page(folder, since) {
            Ok(page) => match page.entry(name) {
                Entry::File(state) => Ok(self.meta_of(state)),
                Entry::Folder => Ok(self.first_page(key, since)?.meta()),
                Entry::Absent => Err(io::ErrorKind::NotFound.into()),
                Entry::Unknown => self.stat_alone(key, since),
            },
            Err(error) if error.fault == Fault::Forbidden => {
                self.file_lately(key, since).map(|stamp| Meta::plain(FileKind::File, stamp))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The same, of a name that the listing of its folder does not reach.
    fn stat_alone(&self, key: &str, since: Instant) -> io::Result<Meta> {
        match self.file_lately(key, since) {
            Ok(stamp) => Ok(Meta::plain(FileKind::File, stamp)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let page = self.first_page(key, since)?;
                if page.is_nothing() { Err(error) } else { Ok(page.meta()) }
            }
            Err(error) => Err(error),
        }
    }

    /// The state of an object as of `since` or later.
    pub(super) fn file_since(&self, key: &str, since: Instant) -> io::Result<Stamp> {
        self.file_lately(key, since)
    }

    fn file_lately(&self, key: &str, since: Instant) -> io::Result<Stamp> {
        let head = self.heads.get(key, since, || self.noted(self.objects.head(key)));
        head.map(|state| self.stamp_of(&state)).map_err(|error| self.missing(key, error))
    }

    pub(super) fn open_folder(self: &Arc<Self>, key: &str) -> io::Result<Box<dyn OpenFolder>> {
        let since = lately();
        let page = self.first_page(key, since).map_err(|error| match error.fault {
            // To whom nothing is listed, metadata still says what there is.
            Fault::Forbidden => io::Error::new(io::ErrorKind::Unsupported, error),
            _ => error.into(),
        })?;
        if page.is_nothing() && !key.is_empty() {
            let kind = match self.file_lately(key, since) {
                Ok(_) => io::ErrorKind::NotADirectory,
                Err(error) if error.kind() == io::ErrorKind::NotFound => io::ErrorKind::NotFound,
                Err(error) => return Err(error),
            };
            return Err(kind.into());
        }
        Ok(Box::new(Listing::new(self, key, &page)))
    }

    pub(super) fn survey(
        &self,
        key: &str,
        budget: &mut Budget,
        visit: &mut dyn FnMut(&Path, &Meta),
    ) -> Result<(), Unfollowed> {
        let mut next: Option<String> = None;
        loop {
            let page = self.page(key, PageOf::Everything, next.as_deref());
            let page = page.map_err(|error| match error.fault {
                Fault::NoListing | Fault::Forbidden => Unfollowed::NoListing,
                _ => Unfollowed::Unreadable,
            })?;
            for (name, state) in &page.objects {
                budget.take()?;
                visit(Path::new(name), &self.meta_of(state));
            }
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    fn first_page(&self, folder: &str, since: Instant) -> Answer<Arc<FirstPage>> {
        let ask =
            || self.page(folder, PageOf::Folder, None).map(|page| Arc::new(FirstPage::of(page)));
        self.pages.get(folder, since, ask)
    }

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
    fn stamp_of(&self, ObjectState { etag, modified, size }: &ObjectState) -> Stamp {
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

    /// Takes up the end of a call for the log.
    pub(super) fn noted<T>(&self, answer: Answer<T>) -> Answer<T> {
        self.outage.note(self.objects.address(), answer.as_ref().err());
        answer
    }

    fn can_read(&self, key: &str) {
        *lock(&self.witness) = Some(key.to_owned());
    }

    /// The error of a read. Services say "forbidden" of objects that are not there to users that may not
    /// list. That counts as absent while another object can be read with the same credentials, and the
    /// service refuses to list.
    fn missing(&self, key: &str, error: ObjectError) -> io::Error {
        match error.fault {
            Fault::Absent => {
                // Known only if somebody has listed the folder above just now.
                let since = lately();
                let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
                let above = self.pages.known(folder, since).and_then(Result::ok);
                match above.as_ref().map(|page| page.entry(name)) {
                    Some(Entry::Folder) => io::ErrorKind::IsADirectory.into(),
                    _ => error.into(),
                }
            }
            Fault::Forbidden if self.refuses_to_list() && self.can_still_read() => {
                let has_read = lock(&self.witness).is_some();
                if has_read && !self.has_told_of_refusals.swap(true, Ordering::Relaxed) {
                    let source = self.objects.address();
                    tracing::info!(%source, "the service refuses to list; objects that it denies count as absent");
                }
                io::ErrorKind::NotFound.into()
            }
            _ => error.into(),
        }
    }

    fn refuses_to_list(&self) -> bool {
        let since = Instant::now().checked_sub(REFUSAL_TIME).unwrap_or_else(Instant::now);
        self.refusals.get("", since, || {
            let listed = self.objects.list("", PageOf::Folder, None, Some(1));
            let fault = listed.err().map(|error| error.fault);
            matches!(fault, Some(Fault::Forbidden | Fault::NoListing))
        })
    }

    /// Whether what could be read before still can. If nothing could, there is nothing to be mistaken about:
    /// no image is open.
    fn can_still_read(&self) -> bool {
        let Some(witness) = lock(&self.witness).clone() else { return true };
        self.heads.get(&witness, Instant::now(), || self.objects.head(&witness)).is_ok()
    }
}

/// The time from which on answers count.
fn lately() -> Instant {
    Instant::now().checked_sub(LATELY).unwrap_or_else(Instant::now)
}
