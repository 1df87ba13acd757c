//! Calls on objects. They block their thread: never call them on a thread of an asynchronous runtime.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use futures::stream::{self, TryStreamExt};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Attributes, Extensions, GetOptions, GetRange, GetResult, ListResult, ObjectStore, PutOptions,
};

use super::address::{Address, Service};
use super::connect::{Connected, Options, connect};
use super::fault::{Fault, ObjectError};
use super::network::Network;
use super::page::{Page, PageOf};
use super::patience::Patience;
use super::state::ObjectState;
use super::watch::Watch;

/// Parts of an object that lie nearer to each other are read at once: a request costs about as much time as
/// these bytes at 10 MB/s.
const COALESCED_GAP: u64 = 128 << 10;

/// One byte in addition may be read for each this many that are asked for.
const WASTED_SHARE: u64 = 25;

/// Objects below an address.
pub struct Objects {
    address: Address,
    /// Path of the folder in the bucket.
    prefix: String,
    store: Arc<dyn ObjectStore>,
    pages: Option<Arc<dyn PaginatedListStore>>,
    options: Options,
    network: &'static Network,
    /// The last call reached no service until its time was over, and no later call did.
    is_out: AtomicBool,
}

/// Bytes of an object.
#[derive(Debug, Clone)]
pub struct Object {
    /// The bytes that were asked for.
    pub bytes: Vec<u8>,
    /// The state that they are of. The size is that of the whole object.
    pub state: ObjectState,
}

/// What [`Objects::get`] gives.
#[derive(Debug, Clone)]
pub enum Got {
    /// All bytes.
    Whole(Object),
    /// The object is larger than the caller takes.
    Larger(ObjectState),
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.address).finish()
    }
}

impl Objects {
    /// Prepares calls. No request is sent.
    ///
    /// # Errors
    /// What is wrong with the options or the environment.
    pub fn connect(address: &Address, options: &Options) -> Result<Self, ObjectError> {
        let network = Network::shared()
            .map_err(|error| ObjectError::new(Fault::Other, format!("no threads: {error}")))?;
        // Its timers and connections belong to the runtime.
        let _inside = network.runtime.enter();
        let Connected { store, pages } = connect(address, options)?;
        // A web server's prefix is part of its URL.
        let is_web = address.service() == Service::Web;
        let prefix = if is_web { String::new() } else { address.prefix.clone() };
        Ok(Self {
            address: address.clone(),
            prefix,
            store,
            pages,
            options: options.clone(),
            network,
            is_out: AtomicBool::new(false),
        })
    }

    /// Where they lie.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether the service lists objects.
    #[must_use]
    pub fn can_list(&self) -> bool {
        self.pages.is_some() || self.address.service() == Service::Folder
    }

    /// Reads an object with one request, unless it has more than `most` bytes.
    ///
    /// # Errors
    /// [`Fault::Absent`] where there is none of the name; any other fault.
    pub fn get(&self, key: &str, most: u64) -> Result<Got, ObjectError> {
        let path = self.path(key)?;
        self.call(async |watch, patience| self.read(watch, patience, &path, None, most).await)
    }

    /// The same for several objects, in the order given, all at the same time.
    #[must_use]
    pub fn get_each(&self, keys: &[&str], most: u64) -> Vec<Result<Got, ObjectError>> {
        self.network.runtime.block_on(async {
            let reads = keys.iter().map(|key| async {
                let path = self.path(key)?;
                self.tried(async |watch, patience| {
                    self.read(watch, patience, &path, None, most).await
                })
                .await
            });
            stream::iter(reads).buffered(keys.len().max(1)).collect().await
        })
    }

    /// A part of an object, all of it or an error.
    ///
    /// # Errors
    /// [`Fault::Short`] where the object ends before the part does; else as for [`Objects::get`].
    pub fn get_range(&self, key: &str, range: Range<u64>) -> Result<Object, ObjectError> {
        let path = self.path(key)?;
        self.call(async |watch, patience| self.read_range(watch, patience, &path, &range).await)
    }

    /// The last `bytes` of an object, or all of it if it has less.
    ///
    /// # Errors
    /// As for [`Objects::get`].
    pub fn get_tail(&self, key: &str, bytes: u64) -> Result<Object, ObjectError> {
        let path = self.path(key)?;
        self.call(async |watch, patience| {
            let range = Some(GetRange::Suffix(bytes));
            whole(self.read(watch, patience, &path, range, u64::MAX).await?)
        })
    }

    /// Parts of an object, in the order given. Those that lie near to each other are read at once, and all at
    /// the same time.
    ///
    /// # Errors
    /// [`Fault::Changed`] where they are of several states; else as for [`Objects::get_range`].
    pub fn get_ranges(
        &self,
        key: &str,
        ranges: &[Range<u64>],
    ) -> Result<(Vec<Vec<u8>>, Option<ObjectState>), ObjectError> {
        let path = self.path(key)?;
        let runs = coalesced(ranges);
        let read = self.network.runtime.block_on(async {
            let reads = runs.iter().map(|run| {
                self.tried(async |watch, patience| {
                    self.read_range(watch, patience, &path, run).await
                })
            });
            stream::iter(reads).buffered(runs.len().max(1)).try_collect::<Vec<Object>>().await
        })?;
        let state = read.first().map(|object| object.state.clone());
        if read.iter().any(|object| Some(&object.state) != state.as_ref()) {
            return Err(ObjectError::new(Fault::Changed, ""));
        }
        let part = |range: &Range<u64>| {
            let at = runs.partition_point(|run| run.start <= range.start).saturating_sub(1);
            let start = usize::try_from(range.start - runs[at].start).unwrap_or(usize::MAX);
            read[at].bytes[start..][..length(range)].to_vec()
        };
        let parts =
            ranges.iter().map(|range| if range.is_empty() { Vec::new() } else { part(range) });
        Ok((parts.collect(), state))
    }

    /// The state of an object.
    ///
    /// # Errors
    /// As for [`Objects::get`].
    pub fn head(&self, key: &str) -> Result<ObjectState, ObjectError> {
        let path = self.path(key)?;
        self.call(async |watch: &Watch, patience: &mut Patience| {
            let options =
                GetOptions { head: true, extensions: watch.extensions(), ..Default::default() };
            let answer = patience.wait(self.store.get_opts(&path, options)).await?;
            Ok(ObjectState::of(&answer.map_err(|error| sorted(&error, watch))?.meta))
        })
    }

    /// A page of a listing of a folder, with at most `most` names: the first one, or the one that begins at
    /// `next` of the last.
    ///
    /// # Errors
    /// [`Fault::NoListing`] for a web server; else as for [`Objects::get`]. A folder without objects is
    /// empty.
    pub fn list(
        &self,
        folder: &str,
        what: PageOf,
        next: Option<&str>,
        most: Option<usize>,
    ) -> Result<Page, ObjectError> {
        let folder = self.joined(folder);
        let Some(pages) = &self.pages else { return self.list_whole(&folder, what) };
        let prefix = if folder.is_empty() { None } else { Some(format!("{folder}/")) };
        self.call(async |watch: &Watch, patience: &mut Patience| {
            let options = PaginatedListOptions {
                delimiter: (what == PageOf::Folder).then(|| "/".into()),
                max_keys: most,
                page_token: next.map(str::to_owned),
                extensions: watch.extensions(),
                ..Default::default()
            };
            let answer = patience.wait(pages.list_paginated(prefix.as_deref(), options)).await?;
            let answer = answer.map_err(|error| match sorted(&error, watch) {
                // Buckets that are not there have no objects.
                absent if absent.fault == Fault::Absent => {
                    ObjectError { fault: Fault::NoBucket, ..absent }
                }
                other => other,
            })?;
            Ok(Page::of(&folder, &answer.result, answer.page_token))
        })
    }

    /// A listing of a service without pages.
    fn list_whole(&self, folder: &str, what: PageOf) -> Result<Page, ObjectError> {
        if !self.can_list() {
            return Err(ObjectError::new(Fault::NoListing, ""));
        }
        let path = Path::parse(folder).map_err(|_| ObjectError::new(Fault::Absent, ""))?;
        self.call(async |watch: &Watch, patience: &mut Patience| {
            let listed = patience.wait(async {
                match what {
                    PageOf::Folder => self.store.list_with_delimiter(Some(&path)).await,
                    PageOf::Everything => {
                        let objects = self.store.list(Some(&path)).try_collect().await?;
                        Ok(ListResult {
                            objects,
                            common_prefixes: Vec::new(),
                            extensions: Extensions::default(),
                        })
                    }
                }
            });
            let listed = listed.await?.map_err(|error| sorted(&error, watch))?;
            Ok(Page::of(folder, &listed, None))
        })
    }

    /// Writes an object, or puts another one in its place: all of it or nothing.
    ///
    /// # Errors
    /// Any fault.
    pub fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        let path = self.path(key)?;
        let payload = object_store::PutPayload::from(bytes);
        self.call(async |watch: &Watch, patience: &mut Patience| {
            // The same time as for reading an object of this size.
            patience.extend(payload.content_length());
            let options = PutOptions { extensions: watch.extensions(), ..Default::default() };
            let put = self.store.put_opts(&path, payload.clone(), options);
            patience.whole(put).await?.map_err(|error| sorted(&error, watch))?;
            Ok(())
        })
    }

    /// Runs a call, with tries, and waits for it.
    fn call<T>(
        &self,
        once: impl AsyncFn(&Watch, &mut Patience) -> Result<T, ObjectError>,
    ) -> Result<T, ObjectError> {
        self.network.runtime.block_on(self.tried(once))
    }

    /// Runs a call, with tries. A connection is taken for each try, and none while it waits for the next one.
    async fn tried<T>(
        &self,
        once: impl AsyncFn(&Watch, &mut Patience) -> Result<T, ObjectError>,
    ) -> Result<T, ObjectError> {
        // The semaphore is never closed.
        let mut permit = self.network.permits.acquire().await.ok();
        let was_out = self.is_out.load(Ordering::Relaxed);
        let mut patience = Patience::new(self.options.timeout);
        loop {
            let done = once(&Watch::default(), &mut patience).await;
            drop(permit.take());
            let error = match done {
                Ok(done) => {
                    self.is_out.store(false, Ordering::Relaxed);
                    return Ok(done);
                }
                Err(error) => error,
            };
            let is_down = error.fault == Fault::Unreachable;
            // The last call failed after all its time: readers do not wait for that again.
            let next = if is_down && was_out { Err(error) } else { patience.next_try(error).await };
            // Whatever else a service answers, it is there.
            self.is_out.store(is_down && next.is_err(), Ordering::Relaxed);
            next?;
            permit = self.network.permits.acquire().await.ok();
        }
    }

    async fn read_range(
        &self,
        watch: &Watch,
        patience: &mut Patience,
        path: &Path,
        range: &Range<u64>,
    ) -> Result<Object, ObjectError> {
        let asked = Some(GetRange::Bounded(range.clone()));
        let object = whole(self.read(watch, patience, path, asked, u64::MAX).await?)?;
        if object.bytes.len() != length(range) {
            return Err(ObjectError::new(Fault::Short, ""));
        }
        Ok(object)
    }

    /// One try of a read.
    async fn read(
        &self,
        watch: &Watch,
        patience: &mut Patience,
        path: &Path,
        range: Option<GetRange>,
        most: u64,
    ) -> Result<Got, ObjectError> {
        let options = GetOptions { range, extensions: watch.extensions(), ..Default::default() };
        let answer = patience.wait(self.store.get_opts(path, options)).await?;
        let GetResult { meta, range, payload, .. } = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(sorted(&error, watch)),
        };
        let (state, bytes) = (ObjectState::of(&meta), range.end - range.start);
        if bytes > most {
            return Ok(Got::Larger(state));
        }
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut body = Vec::new();
        let enough = body.try_reserve_exact(length);
        enough.map_err(|_| ObjectError::new(Fault::Other, "no memory"))?;
        let answer = GetResult {
            meta,
            range,
            payload,
            attributes: Attributes::default(),
            extensions: Extensions::default(),
        };
        let mut pieces = answer.into_stream();
        while let Some(piece) = patience.wait(pieces.next()).await? {
            let piece = piece.map_err(|_| ObjectError::new(Fault::Cut, ""))?;
            if body.len() + piece.len() > length {
                return Err(ObjectError::new(Fault::Cut, "it is longer than announced"));
            }
            body.extend_from_slice(&piece);
            patience.extend(piece.len());
        }
        if body.len() != length {
            return Err(ObjectError::new(Fault::Cut, ""));
        }
        Ok(Got::Whole(Object { bytes: body, state }))
    }

    fn joined(&self, key: &str) -> String {
        match (&*self.prefix, key) {
            ("", key) => key.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, key) => format!("{prefix}/{key}"),
        }
    }

    /// The path of a key. A key that no object can have is absent.
    fn path(&self, key: &str) -> Result<Path, ObjectError> {
        let absent = |_| ObjectError::new(Fault::Absent, "");
        Path::parse(self.joined(key)).map_err(absent)
    }
}

fn sorted(error: &object_store::Error, watch: &Watch) -> ObjectError {
    ObjectError::of(error, &watch.seen())
}

fn whole(got: Got) -> Result<Object, ObjectError> {
    match got {
        Got::Whole(object) => Ok(object),
        Got::Larger(_) => Err(ObjectError::new(Fault::Other, "the answer is larger than expected")),
    }
}

fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
}

/// What to read for these ranges: in order, without overlaps. Near ones are joined as long as few bytes are read
/// besides those asked for.
fn coalesced(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<&Range<u64>> = ranges.iter().filter(|range| !range.is_empty()).collect();
    sorted.sort_by_key(|range| (range.start, range.end));
    let wanted: u64 = sorted.iter().map(|range| range.end - range.start).sum();
    let mut spare = wanted / WASTED_SHARE;
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match runs.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            Some(last) if range.start - last.end <= COALESCED_GAP.min(spare) => {
                spare -= range.start - last.end;
                last.end = range.end;
            }
            _ => runs.push(range.clone()),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
