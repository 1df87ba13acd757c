//! Objects below one address as files and folders.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::interface::{Budget, FileKind, Index, Meta, OpenFile, OpenFolder, Unfollowed};
use super::super::stamp::Stamp;
use super::file::{Parts, Whole};
use super::folder::{Entry, FirstPage, Listing, folder_meta};
use super::newest::Newest;
use super::service::{Answer, Service};
use crate::objects::{Fault, Got, Object, ObjectError, ObjectState, Objects, PageOf};
use crate::sync::lock;

/// How long a listing of a folder answers for what is in it.
const LATELY: Duration = Duration::from_secs(1);

/// How long a refusal to list counts.
const REFUSAL_TIME: Duration = Duration::from_mins(1);

/// Largest object that is read whole when it is opened.
const WHOLE_BYTES: u64 = 64 << 20;

/// Largest object that is fetched ahead.
const SMALL_BYTES: u64 = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Place {
    service: Arc<Service>,
    pages: Newest<Answer<Arc<FirstPage>>>,
    heads: Newest<Answer<ObjectState>>,
    /// Small objects that were fetched ahead; `None` where there is none.
    small: Newest<Option<Arc<Object>>>,
    refusals: Newest<bool>,
    /// An object that could be read lately.
    witness: Mutex<Option<String>>,
    has_told_of_refusals: AtomicBool,
}

impl Place {
    pub(super) fn new(objects: Objects) -> Self {
        Self {
            service: Arc::new(Service::new(objects)),
            pages: Newest::new(),
            heads: Newest::new(),
            small: Newest::new(),
            refusals: Newest::new(),
            witness: Mutex::default(),
            has_told_of_refusals: AtomicBool::new(false),
        }
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
        let got = self.service.objects.get_each(&keys, SMALL_BYTES);
        for (key, got) in keys.into_iter().zip(got) {
            match self.service.noted(got) {
                Ok(Got::Whole(object)) => self.small.put(key, asked_at, Some(Arc::new(object))),
                Err(error) if error.fault == Fault::Absent => self.small.put(key, asked_at, None),
                // The call that opens it gets the reason, or all of it.
                Ok(Got::Larger(_)) | Err(_) => {}
            }
        }
    }

    pub(super) fn open(&self, key: &str) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        let got = match self.small.known(key, lately()) {
            Some(Some(object)) => Ok(Got::Whole(Object::clone(&object))),
            Some(None) => Err(ObjectError { fault: Fault::Absent, detail: String::new() }),
            None => self.service.noted(self.service.objects.get(key, WHOLE_BYTES)),
        };
        match got.map_err(|error| self.missing(key, error))? {
            Got::Whole(Object { bytes, state }) => {
                self.can_read(key);
                let stamp = self.service.stamp_of(&state);
                Ok((Box::new(Whole { bytes, stamp }), stamp))
            }
            Got::Larger(state) => Ok(self.parts(key, state, (0, Vec::new()))),
        }
    }

    pub(super) fn open_parts(
        &self,
        key: &str,
        index: Index,
    ) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        let got = match index {
            Index::AtStart(bytes) => self.service.objects.get_range(key, 0..bytes),
            Index::AtEnd(bytes) => self.service.objects.get_tail(key, bytes),
        };
        match self.service.noted(got) {
            Ok(Object { bytes, state }) => {
                self.can_read(key);
                let start = match index {
                    Index::AtStart(_) => 0,
                    Index::AtEnd(_) => state.size - bytes.len() as u64,
                };
                Ok(self.parts(key, state, (start, bytes)))
            }
            // It is too short to be a shard: the reader says so.
            Err(error) if error.fault == Fault::Short => self.open(key),
            Err(error) => Err(self.missing(key, error)),
        }
    }

    fn parts(
        &self,
        key: &str,
        state: ObjectState,
        known: (u64, Vec<u8>),
    ) -> (Box<dyn OpenFile>, Stamp) {
        let stamp = self.service.stamp_of(&state);
        let (service, key) = (self.service.clone(), key.to_owned());
        let (known, has_changed) = (Mutex::new(known), AtomicBool::new(false));
        (Box::new(Parts { service, key, state, stamp, known, has_changed }), stamp)
    }

    /// What stands at a path now, or did a moment ago.
    pub(super) fn stat(&self, key: &str) -> io::Result<Meta> {
        let since = lately();
        if !self.service.objects.can_list() {
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
                Entry::File(state) => Ok(self.service.meta_of(state)),
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
        let head =
            self.heads.get(key, since, || self.service.noted(self.service.objects.head(key)));
        head.map(|state| self.service.stamp_of(&state)).map_err(|error| self.missing(key, error))
    }

    pub(super) fn open_folder(&self, key: &str) -> io::Result<Box<dyn OpenFolder>> {
        let since = lately();
        let page = self.first_page(key, since).map_err(|error| match error.fault {
            // Where nothing is listed, metadata still says what there is.
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
        Ok(Box::new(Listing::new(&self.service, key, &page)))
    }

    pub(super) fn survey(
        &self,
        key: &str,
        budget: &mut Budget,
        visit: &mut dyn FnMut(&Path, &Meta),
    ) -> Result<(), Unfollowed> {
        let mut next: Option<String> = None;
        loop {
            let page = self.service.page(key, PageOf::Everything, next.as_deref());
            let page = page.map_err(|error| match error.fault {
                Fault::NoListing | Fault::Forbidden => Unfollowed::NoListing,
                _ => Unfollowed::Unreadable,
            })?;
            for (name, state) in &page.objects {
                budget.take()?;
                visit(Path::new(name), &self.service.meta_of(state));
            }
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    fn first_page(&self, folder: &str, since: Instant) -> Answer<Arc<FirstPage>> {
        let ask = || {
            self.service
                .page(folder, PageOf::Folder, None)
                .map(|page| Arc::new(FirstPage::of(page)))
        };
        self.pages.get(folder, since, ask)
    }

    fn can_read(&self, key: &str) {
        *lock(&self.witness) = Some(key.to_owned());
    }

    /// The error of a read. To users that may not list, services say "forbidden" of objects that are not there. Such an
    /// object counts as absent while another one can be read with the same credentials, and the service refuses to
    /// list.
    fn missing(&self, key: &str, error: ObjectError) -> io::Error {
        match error.fault {
            Fault::Absent => {
                // Known only if the folder above was listed just now.
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
                    let source = self.service.objects.address();
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
            let listed = self.service.objects.list("", PageOf::Folder, None, Some(1));
            let fault = listed.err().map(|error| error.fault);
            matches!(fault, Some(Fault::Forbidden | Fault::NoListing))
        })
    }

    /// Whether an object that could be read before still can. If none could, no image is open, and no chunk can be
    /// mistaken for an absent one.
    fn can_still_read(&self) -> bool {
        let Some(witness) = lock(&self.witness).clone() else { return true };
        self.heads.get(&witness, Instant::now(), || self.service.objects.head(&witness)).is_ok()
    }
}

/// The time since which an answer counts.
fn lately() -> Instant {
    Instant::now().checked_sub(LATELY).unwrap_or_else(Instant::now)
}
