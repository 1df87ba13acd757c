//! Objects of other machines as a source: an object store, or a web server.
//!
//! A slash in the name of an object makes folders, as users expect. Stamps are entity tags, or times where a
//! service has none. A file that is read whole takes one request, parts of a file take one each. For a moment, the
//! listing of a folder answers for all that is in it. All bytes of a read are of one state of the object, or the
//! read fails.
//!
//! Not known here: addresses and retries (`objects`), and what the files mean.

mod file;
mod folder;
mod newest;
mod outage;
mod place;
mod service;

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use crate::objects::{Address, ObjectError, Objects, Options};

use super::NamedStore;
use super::interface::{
    Budget, FileKind, Index, Links, Meta, OpenFile, OpenFolder, Storage, Unfollowed, is_not_found,
};
use super::stamp::Stamp;
use folder::{Named, folder_meta};
use place::Place;

/// See the module.
#[derive(Debug)]
pub(super) struct ObjectStorage {
    top: Top,
}

/// What lies at the top.
#[derive(Debug)]
enum Top {
    /// The folder at an address.
    Folder(Box<Place>),
    /// Stores of any addresses, each by its name.
    Stores(BTreeMap<String, Store>),
}

/// A store: a folder, or a file in a folder.
#[derive(Debug)]
struct Store {
    folder: Place,
    file: Option<String>,
}

impl ObjectStorage {
    /// The folder at an address. No request is sent.
    ///
    /// # Errors
    /// What is wrong with the options or the environment.
    pub(super) fn of_folder(address: &Address, options: &Options) -> io::Result<Self> {
        Ok(Self { top: Top::Folder(Box::new(Place::new(Objects::connect(address, options)?))) })
    }

    /// Stores by their names. No request is sent.
    ///
    /// # Errors
    /// What is wrong with the options or the environment.
    pub(super) fn of_stores(stores: &[NamedStore], options: &Options) -> io::Result<Self> {
        let store = |NamedStore { name, address, is_file }: &NamedStore| {
            let (above, file) = (address.parent(), address.plain_name());
            let (folder, file) = match (is_file, above, file) {
                (true, Some(above), Some(file)) => (above, Some(file)),
                _ => (address.clone(), None),
            };
            let folder = Place::new(Objects::connect(&folder, options)?);
            Ok((name.clone(), Store { folder, file }))
        };
        let stores = stores.iter().map(store).collect::<Result<_, ObjectError>>()?;
        Ok(Self { top: Top::Stores(stores) })
    }

    /// Forgets all answers, as if they were too old.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        match &self.top {
            Top::Folder(place) => place.forget(),
            Top::Stores(stores) => stores.values().for_each(|store| store.folder.forget()),
        }
    }

    /// The place that a path leads to, and the key there; `None` at a top of stores.
    ///
    /// # Errors
    /// `NotFound` for paths that no object can have.
    fn find(&self, path: &Path) -> io::Result<Option<(&Place, String)>> {
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => {
                    parts.push(name.to_str().ok_or(io::ErrorKind::NotFound)?);
                }
                _ => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        match &self.top {
            Top::Folder(place) => Ok(Some((place, parts.join("/")))),
            Top::Stores(stores) => {
                let Some((name, inside)) = parts.split_first() else { return Ok(None) };
                let Store { folder, file } = stores.get(*name).ok_or(io::ErrorKind::NotFound)?;
                let parts: Vec<&str> =
                    file.as_deref().into_iter().chain(inside.iter().copied()).collect();
                Ok(Some((folder, parts.join("/"))))
            }
        }
    }
}

impl Storage for ObjectStorage {
    fn is_remote(&self) -> bool {
        true
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        match self.find(path)? {
            Some((place, key)) => place.open(&key),
            None => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn open_parts(&self, path: &Path, index: Index) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        match self.find(path)? {
            Some((place, key)) => place.open_parts(&key, index),
            None => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn open_soon(&self, paths: &[PathBuf]) {
        let mut of_places: Vec<(&Place, Vec<String>)> = Vec::new();
        for path in paths {
            let Ok(Some((place, key))) = self.find(path) else { continue };
            match of_places.iter_mut().find(|(known, _)| std::ptr::eq(*known, place)) {
                Some((_, keys)) => keys.push(key),
                None => of_places.push((place, vec![key])),
            }
        }
        for (place, keys) in of_places {
            place.open_soon(&keys);
        }
    }

    fn stat(&self, path: &Path, _links: Links) -> io::Result<Meta> {
        match self.find(path)? {
            Some((place, key)) => place.stat(&key),
            None => Ok(folder_meta(0)),
        }
    }

    fn stat_since(&self, path: &Path, since: Instant) -> io::Result<Meta> {
        match self.find(path)? {
            Some((place, key)) => Ok(Meta::plain(FileKind::File, place.file_since(&key, since)?)),
            None => Ok(folder_meta(0)),
        }
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        match (self.find(path)?, &self.top) {
            (Some((place, key)), _) => place.open_folder(&key),
            (None, Top::Stores(stores)) => {
                let mut names = Vec::with_capacity(stores.len());
                for (name, Store { folder, file }) in stores {
                    match file.as_ref().map(|file| folder.stat(file)) {
                        None => names.push((name.clone(), folder_meta(0))),
                        Some(Ok(meta)) => names.push((name.clone(), meta)),
                        Some(Err(error)) if is_not_found(&error) => {}
                        Some(Err(error)) => return Err(error),
                    }
                }
                Ok(Box::new(Named::new(names)))
            }
            (None, Top::Folder(_)) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn survey(
        &self,
        folder: &Path,
        budget: &mut Budget,
        visit: &mut dyn FnMut(&Path, &Meta),
    ) -> Option<Result<(), Unfollowed>> {
        match self.find(folder) {
            Ok(Some((place, key))) => Some(place.survey(&key, budget, visit)),
            Ok(None) | Err(_) => Some(Err(Unfollowed::NoListing)),
        }
    }

    /// A call ends in time.
    fn answers(&self, path: &Path) -> bool {
        self.find(path).is_ok()
    }
}
