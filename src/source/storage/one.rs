//! One store as a source: a folder with nothing in it but that store, under the name it has.

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
}

/// A path in the storage behind, or the folder that holds the store.
enum Place {
    Top,
    Below(PathBuf),
}

impl One {
    pub(super) fn new(name: &OsStr, inside: &Path, inner: Arc<dyn Storage>) -> Self {
        Self { name: name.to_owned(), inside: inside.to_path_buf(), inner }
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        if path.as_os_str().is_empty() {
            return Ok(Place::Top);
        }
        let below = path.strip_prefix(&self.name).map_err(|_| io::ErrorKind::NotFound)?;
        let is_top = self.inside.as_os_str().is_empty();
        Ok(Place::Below(if is_top { below.to_path_buf() } else { join(&self.inside, below) }))
    }

    /// The store, if it is there.
    fn store(&self) -> io::Result<Option<Meta>> {
        match self.inner.stat(&self.inside, Links::Follow) {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
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
            Place::Below(path) => self.inner.open(&path),
        }
    }

    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta> {
        match self.place(path)? {
            Place::Top => self.store().map(top),
            Place::Below(path) => self.inner.stat(&path, links),
        }
    }

    fn access(&self, path: &Path) -> io::Result<Meta> {
        match self.place(path)? {
            Place::Top => self.inner.access(&self.inside).map(|meta| top(Some(meta))),
            Place::Below(path) => self.inner.access(&path),
        }
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        match self.place(path)? {
            Place::Top => {
                let store = self.store()?.map(|meta| (self.name.clone(), meta));
                Ok(Box::new(Top { store, is_listed: false }))
            }
            Place::Below(path) => self.inner.open_folder(&path),
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
            Place::Below(path) => self.inner.survey(&path, budget, visit),
        }
    }

    fn answers(&self, path: &Path) -> bool {
        matches!(self.place(path), Ok(Place::Below(path)) if self.inner.answers(&path))
    }

    fn holds_zarr(&self, path: &Path) -> io::Result<bool> {
        match self.place(path)? {
            Place::Top => Ok(false),
            Place::Below(path) => self.inner.holds_zarr(&path),
        }
    }

    fn left_out(&self, path: &Path) -> Option<String> {
        match self.place(path).ok()? {
            Place::Top => None,
            Place::Below(path) => self.inner.left_out(&path),
        }
    }

    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
}

/// The folder that holds the store, as it was opened.
#[derive(Debug)]
struct Top {
    store: Option<(OsString, Meta)>,
    is_listed: bool,
}

impl OpenFolder for Top {
    fn meta(&self) -> io::Result<Meta> {
        Ok(top(self.store.as_ref().map(|(_, meta)| *meta)))
    }

    fn next_names(&mut self) -> io::Result<Vec<FolderName>> {
        let names = match &self.store {
            Some((name, meta)) if !self.is_listed => {
                vec![FolderName { name: name.clone(), kind: Some(meta.kind) }]
            }
            _ => Vec::new(),
        };
        self.is_listed = true;
        Ok(names)
    }

    fn stat(&self, name: &OsStr) -> io::Result<Meta> {
        match &self.store {
            Some((own, meta)) if own == name => Ok(*meta),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
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
        files.remove("data/a.zarr/0/x");
        assert_eq!((names(""), stat("").ok()), (vec![], Some(FileKind::Folder)));
    }
}
