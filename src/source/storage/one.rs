//! One store as a source: a folder with nothing in it but that store, under the name it has, and the file in which
//! people say what is wrong with it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::interface::{
    Access, Budget, FileKind, FolderName, Links, Meta, OpenFile, OpenFolder, Space, Storage,
    Unfollowed, is_not_found,
};
use super::stamp::Stamp;
use crate::source::place::join;

/// See the module.
#[derive(Debug)]
pub(super) struct One {
    name: OsString,
    /// Where the store lies in the storage behind.
    inside: PathBuf,
    inner: Arc<dyn Storage>,
    /// A file beside the store that is part of the source, and the storage that has it under this name.
    beside: Option<(OsString, Arc<dyn Storage>)>,
}

/// A path in a storage behind, or the folder that holds the store.
enum Place<'a> {
    Top,
    In(&'a Arc<dyn Storage>, PathBuf),
}

impl One {
    pub(super) fn new(name: &OsStr, inside: &Path, inner: Arc<dyn Storage>) -> Self {
        Self { name: name.to_owned(), inside: inside.to_path_buf(), inner, beside: None }
    }

    /// The same, with a file beside the store.
    pub(super) fn with_beside(self, name: OsString, storage: Arc<dyn Storage>) -> Self {
        Self { beside: Some((name, storage)), ..self }
    }

    fn place(&self, path: &Path) -> io::Result<Place<'_>> {
        if path.as_os_str().is_empty() {
            return Ok(Place::Top);
        }
        if let Some((name, storage)) = self.beside.as_ref().filter(|(name, _)| path == *name) {
            return Ok(Place::In(storage, name.into()));
        }
        let below = path.strip_prefix(&self.name).map_err(|_| io::ErrorKind::NotFound)?;
        let is_top = self.inside.as_os_str().is_empty();
        let inside = if is_top { below.to_path_buf() } else { join(&self.inside, below) };
        Ok(Place::In(&self.inner, inside))
    }

    /// The store, if it is there.
    fn store(&self) -> io::Result<Option<Meta>> {
        match self.inner.stat(&self.inside, Links::Follow) {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names at the top.
    fn names(&self) -> io::Result<(Option<Meta>, Vec<(OsString, Meta)>)> {
        let store = self.store()?;
        let beside = self.beside.iter().filter_map(|(name, storage)| {
            Some((name.clone(), storage.stat(Path::new(name), Links::Follow).ok()?))
        });
        let own = store.map(|meta| (self.name.clone(), meta));
        Ok((store, own.into_iter().chain(beside).collect()))
    }
}

/// The folder that holds the store. Who may read the store may look into it.
fn top(store: Option<Meta>) -> Meta {
    let Some(meta) = store else {
        return Meta::plain(FileKind::Folder, Stamp::of_version(0, 0, SystemTime::UNIX_EPOCH));
    };
    let access = meta.access.map(|access| match meta.kind {
        FileKind::File => Access { mode: access.mode | (access.mode & 0o444) >> 2, ..access },
        _ => access,
    });
    Meta { kind: FileKind::Folder, stamp: meta.stamp.within(0, 0), access, ..meta }
}

impl Storage for One {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        match self.place(path)? {
            Place::Top => Err(io::ErrorKind::IsADirectory.into()),
            Place::In(storage, path) => storage.open(&path),
        }
    }

    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta> {
        match self.place(path)? {
            Place::Top => self.store().map(top),
            Place::In(storage, path) => storage.stat(&path, links),
        }
    }

    fn access(&self, path: &Path) -> io::Result<Meta> {
        match self.place(path)? {
            Place::Top => self.inner.access(&self.inside).map(|meta| top(Some(meta))),
            Place::In(storage, path) => storage.access(&path),
        }
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        match self.place(path)? {
            Place::Top => {
                let (store, names) = self.names()?;
                Ok(Box::new(Top { store, names, is_listed: false }))
            }
            Place::In(storage, path) => storage.open_folder(&path),
        }
    }

    fn survey(
        &self,
        folder: &Path,
        budget: &mut Budget,
        visit: &mut dyn FnMut(&Path, &Meta),
    ) -> Option<Result<(), Unfollowed>> {
        match self.place(folder).ok()? {
            Place::Top => None,
            Place::In(storage, path) => storage.survey(&path, budget, visit),
        }
    }

    fn answers(&self, path: &Path) -> bool {
        matches!(self.place(path), Ok(Place::In(storage, path)) if storage.answers(&path))
    }

    fn holds_zarr(&self, path: &Path) -> io::Result<bool> {
        match self.place(path)? {
            Place::Top => Ok(false),
            Place::In(storage, path) => storage.holds_zarr(&path),
        }
    }

    fn left_out(&self, path: &Path) -> Option<String> {
        match self.place(path).ok()? {
            Place::Top => None,
            Place::In(storage, path) => storage.left_out(&path),
        }
    }

    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
}

/// The folder that holds the store, as it was opened.
#[derive(Debug)]
struct Top {
    store: Option<Meta>,
    names: Vec<(OsString, Meta)>,
    is_listed: bool,
}

impl OpenFolder for Top {
    fn meta(&self) -> io::Result<Meta> {
        Ok(top(self.store))
    }

    fn next_names(&mut self) -> io::Result<Vec<FolderName>> {
        if std::mem::replace(&mut self.is_listed, true) {
            return Ok(Vec::new());
        }
        let name = |(name, meta): &(OsString, Meta)| FolderName {
            name: name.clone(),
            kind: Some(meta.kind),
        };
        Ok(self.names.iter().map(name).collect())
    }

    fn stat(&self, name: &OsStr) -> io::Result<Meta> {
        let found = self.names.iter().find(|(own, _)| own == name);
        found.map(|(_, meta)| *meta).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    #[test]
    fn nothing_but_the_store_is_there() {
        let files = Arc::new(Memory::default());
        files.put("data/a.zarr/0/x", b"1");
        files.put("data/b.zarr/0/x", b"2");
        let one = One::new(OsStr::new("a.zarr"), Path::new("data/a.zarr"), files.clone());
        let names = |path: &str| {
            let mut folder = one.open_folder(Path::new(path)).expect("a folder");
            let names = folder.next_names().expect("names");
            assert!(names.is_empty() || folder.next_names().expect("names").is_empty());
            names.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
        };
        assert_eq!((names(""), names("a.zarr")), (vec!["a.zarr".into()], vec!["0".into()]));
        let stat = |path: &str| one.stat(Path::new(path), Links::Stay).map(|meta| meta.kind);
        assert_eq!(stat("a.zarr/0/x").ok(), Some(FileKind::File));
        for absent in ["b.zarr", "a", "0/x", "a.zarrx", "data/a.zarr"] {
            assert!(is_not_found(&stat(absent).expect_err(absent)), "{absent}");
        }
        assert!(one.answers(Path::new("a.zarr/0/x")));
        files.put("a.zarr.zarrims.toml", b"");
        let one = One::new(OsStr::new("a.zarr"), Path::new("data/a.zarr"), files.clone());
        let one = one.with_beside("a.zarr.zarrims.toml".into(), files.clone());
        let names = |path: &str| {
            let names = one.open_folder(Path::new(path)).expect("a folder").next_names();
            names.expect("names").into_iter().map(|entry| entry.name).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["a.zarr", "a.zarr.zarrims.toml"]);
        assert!(one.open(Path::new("a.zarr.zarrims.toml")).is_ok());
        files.remove("a.zarr.zarrims.toml");
        let stat = |path: &str| one.stat(Path::new(path), Links::Stay).map(|meta| meta.kind);
        files.remove("data/a.zarr/0/x");
        assert_eq!((names(""), stat("").ok()), (vec![], Some(FileKind::Folder)));
    }
}
