//! Folders: what the names of objects imply.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_128;

use super::super::interface::{FileKind, FolderName, Meta, OpenFolder};
use super::super::stamp::Stamp;
use super::service::Service;
use crate::objects::{ObjectState, Page, PageOf};

/// A folder in the state with this number.
pub(super) fn folder_meta(state: u128) -> Meta {
    Meta::plain(FileKind::Folder, Stamp::of_version(state, 0, SystemTime::UNIX_EPOCH))
}

/// The first page of a listing of a folder: some of the names in it, or all.
#[derive(Debug)]
pub(super) struct FirstPage {
    folders: BTreeSet<String>,
    files: BTreeMap<String, ObjectState>,
    /// Where the next page begins.
    next: Option<String>,
    /// Up to this name nothing is missing; `None`: nothing is missing at all.
    up_to: Option<String>,
    is_marked: bool,
}

/// What a page says of a name.
pub(super) enum Entry<'a> {
    File(&'a ObjectState),
    Folder,
    Absent,
    /// It may be on a later page.
    Unknown,
}

impl FirstPage {
    pub(super) fn of(page: Page) -> Self {
        // Services list in the order of the bytes, a folder with its slash. The last of both kinds is the last.
        let last = |name: &String| format!("{name}/");
        let last_folder = page.folders.iter().map(last).max();
        let last_file = page.objects.iter().map(|(name, _)| name.clone()).max();
        let is_sorted =
            page.objects.is_sorted_by(|(a, _), (b, _)| a <= b) && page.folders.is_sorted();
        // Some kinds of buckets list in no order.
        let last = if is_sorted { last_file.max(last_folder) } else { None };
        let up_to = page.next.as_ref().map(|_| last.unwrap_or_default());
        Self {
            folders: page.folders.into_iter().collect(),
            files: page.objects.into_iter().collect(),
            next: page.next,
            up_to,
            is_marked: page.is_marked,
        }
    }

    pub(super) fn entry(&self, name: &str) -> Entry<'_> {
        if let Some(state) = self.files.get(name) {
            Entry::File(state)
        } else if self.folders.contains(name) {
            Entry::Folder
        } else if self.up_to.as_ref().is_none_or(|last| format!("{name}/") <= *last) {
            Entry::Absent
        } else {
            Entry::Unknown
        }
    }

    /// Whether there is no such folder: nothing is in it, and no object marks it.
    pub(super) fn is_nothing(&self) -> bool {
        self.folders.is_empty() && self.files.is_empty() && !self.is_marked
    }

    /// A folder changes when the names in it do.
    pub(super) fn meta(&self) -> Meta {
        let names = self.folders.iter().map(|name| (name, '/'));
        let names = names.chain(self.files.keys().map(|name| (name, '\0')));
        let mut all = String::new();
        for (name, kind) in names {
            all.push_str(name);
            all.push(kind);
        }
        folder_meta(xxh3_128(all.as_bytes()))
    }
}

/// A listing, page by page.
#[derive(Debug)]
pub(super) struct Listing {
    service: Arc<Service>,
    folder: String,
    meta: Meta,
    /// The names of a page that were not given out yet.
    ready: VecDeque<(OsString, Meta)>,
    next: Option<String>,
    /// The names of the pages so far.
    known: BTreeMap<OsString, Meta>,
}

impl Listing {
    pub(super) fn new(service: &Arc<Service>, folder: &str, first: &FirstPage) -> Self {
        let files = first.files.iter().map(|(name, state)| (name.into(), service.meta_of(state)));
        let folders = first.folders.iter().map(|name| (name.into(), folder_meta(0)));
        Self {
            service: service.clone(),
            folder: folder.to_owned(),
            meta: first.meta(),
            ready: folders.chain(files).collect(),
            next: first.next.clone(),
            known: BTreeMap::new(),
        }
    }

    fn next_page(&mut self) -> io::Result<()> {
        let Some(next) = self.next.take() else { return Ok(()) };
        let page = self.service.page(&self.folder, PageOf::Folder, Some(&next));
        let page = page.inspect_err(|_| self.next = Some(next))?;
        let files =
            page.objects.iter().map(|(name, state)| (name.into(), self.service.meta_of(state)));
        let folders = page.folders.iter().map(|name| (name.into(), folder_meta(0)));
        self.ready = folders.chain(files).collect();
        self.next = page.next;
        Ok(())
    }
}

impl OpenFolder for Listing {
    fn meta(&self) -> io::Result<Meta> {
        Ok(self.meta)
    }

    fn next_names(&mut self) -> io::Result<Vec<FolderName>> {
        // A page may be empty and not the last.
        while self.ready.is_empty() && self.next.is_some() {
            self.next_page()?;
        }
        let mut names = Vec::with_capacity(self.ready.len());
        for (name, meta) in self.ready.drain(..) {
            // A name may be that of an object and of a folder; the folder comes first.
            if let std::collections::btree_map::Entry::Vacant(vacant) =
                self.known.entry(name.clone())
            {
                vacant.insert(meta);
                names.push(FolderName { name, kind: Some(meta.kind) });
            }
        }
        if names.is_empty() && self.next.is_some() { self.next_names() } else { Ok(names) }
    }

    fn stat(&self, name: &OsStr) -> io::Result<Meta> {
        let ready = || self.ready.iter().find(|(known, _)| known == name).map(|(_, meta)| meta);
        let known = self.known.get(name).or_else(ready).copied();
        known.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The names of stores at any addresses.
#[derive(Debug)]
pub(super) struct Named {
    names: Vec<(String, Meta)>,
    is_given: bool,
}

impl Named {
    pub(super) fn new(names: Vec<(String, Meta)>) -> Self {
        Self { names, is_given: false }
    }
}

impl OpenFolder for Named {
    fn meta(&self) -> io::Result<Meta> {
        Ok(folder_meta(0))
    }

    fn next_names(&mut self) -> io::Result<Vec<FolderName>> {
        if std::mem::replace(&mut self.is_given, true) {
            return Ok(Vec::new());
        }
        let named =
            |(name, meta): &(String, Meta)| FolderName { name: name.into(), kind: Some(meta.kind) };
        Ok(self.names.iter().map(named).collect())
    }

    fn stat(&self, name: &OsStr) -> io::Result<Meta> {
        let found = self.names.iter().find(|(known, _)| name == known.as_str());
        found.map(|(_, meta)| *meta).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
