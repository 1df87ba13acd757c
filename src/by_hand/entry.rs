//! Places in a folder that ask for files: a file beside a store, or a table of the configuration.
//!
//! Each is an entry of its folder, as a store is, under a name: that of the file, or one that no file can have.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::source::storage::{FileKind, Links};
use crate::source::{Fingerprint, SourceError, SourceRoot, Unsupported, discover};

use super::beside;
use super::document::Mistake;
use super::tables::Tables;
use super::view::ViewTable;

/// What the names of tables of the configuration begin with.
const CONFIGURED: u8 = 0;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    path: PathBuf,
    asks: Asks,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asks {
    /// The file beside a store of this name.
    Beside(PathBuf),
    /// The view of this number of the configuration.
    Configured(usize),
}

impl Entry {
    /// The entry at a path below the source, if it is one.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        let name = path.file_name()?;
        let asks = match name.as_bytes() {
            [CONFIGURED, rest @ ..] => {
                let number = rest.split(|byte| *byte == CONFIGURED).next()?;
                Asks::Configured(str::from_utf8(number).ok()?.parse().ok()?)
            }
            _ => Asks::Beside(path.with_file_name(beside::store_of(name)?)),
        };
        Some(Self { path: path.to_path_buf(), asks })
    }

    /// The names of the entries of the configuration in a folder of the source. Views without a folder are
    /// entries of the top, which say so.
    #[must_use]
    pub fn configured(root: &SourceRoot, tables: &Tables, folder: &Path) -> Vec<OsString> {
        let is_top = folder.as_os_str().is_empty();
        let views = tables.views.iter().enumerate();
        let own = views.filter(|(_, view)| {
            view.folder() == folder || (is_top && !is_plain(root, view.folder()))
        });
        let name = |(number, view): (usize, &ViewTable)| {
            OsString::from(format!("\0{number}\0{}", view.file_name()))
        };
        own.map(name).collect()
    }

    /// Checks that the file of a view can lie in its folder.
    ///
    /// # Errors
    /// Where it cannot.
    pub(super) fn check_folder(&self, view: &ViewTable) -> Result<(), Mistake> {
        let is_configured = matches!(self.asks, Asks::Configured(_));
        if !is_configured || self.folder() == view.folder() {
            return Ok(());
        }
        let folder = view.folder().display();
        let words = format!("name: {folder} is no folder in SOURCE, or is one in a store");
        Err(Mistake::at(&view.origin, words))
    }

    /// The name in the mount that an entry with this name asks for; `None` where only the file says that.
    #[must_use]
    pub fn asked_name(name: &OsStr) -> Option<&OsStr> {
        let parts: Vec<&[u8]> = name.as_bytes().splitn(3, |byte| *byte == CONFIGURED).collect();
        match parts[..] {
            [[], _, asked] => Some(OsStr::from_bytes(asked)),
            _ => None,
        }
    }

    /// Path below the source.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that the files lie in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The folder that paths in the tables are below.
    pub(super) fn base(&self) -> &Path {
        match self.asks {
            Asks::Beside(_) => self.folder(),
            Asks::Configured(_) => Path::new(""),
        }
    }

    /// The store beside the file.
    pub(super) fn store(&self) -> Option<PathBuf> {
        match &self.asks {
            Asks::Beside(store) => Some(store.clone()),
            Asks::Configured(_) => None,
        }
    }

    /// The views that are asked for, with their numbers, and the state of the file that asks.
    ///
    /// # Errors
    /// Where the file is wrong, and there is no store beside it that says so.
    pub(super) fn tables(
        &self,
        root: &SourceRoot,
        configured: &Tables,
        fingerprint: &mut Fingerprint,
    ) -> Result<Vec<(usize, ViewTable)>, SourceError> {
        let store = match &self.asks {
            Asks::Configured(number) => {
                let view = configured.views.get(*number).cloned();
                return Ok(view.map(|view| (*number, view)).into_iter().collect());
            }
            Asks::Beside(store) => store,
        };
        let is_store = |fingerprint: &mut Fingerprint| {
            fingerprint.record(root, store);
            discover::is_store(root, store)
        };
        let tables = match beside::read(root, &self.path, fingerprint) {
            Ok(tables) => tables.unwrap_or_default(),
            // The store has a line for that.
            Err(_) if is_store(fingerprint) => Tables::default(),
            Err(error) => return Err(error),
        };
        if !tables.stores.is_empty() && !is_store(fingerprint) {
            let name = store.file_name().unwrap_or_default().display();
            let words = format!("corrects nothing: there is no store {name} beside it");
            return Err(SourceError::unsupported(&self.path, Unsupported::ByHand(words)));
        }
        Ok(tables.views.into_iter().enumerate().collect())
    }
}

/// Whether a folder of the source is shown as a folder.
fn is_plain(root: &SourceRoot, folder: &Path) -> bool {
    let meta = root.storage().stat(folder, Links::Follow);
    let is_folder = meta.is_ok_and(|meta| meta.kind == FileKind::Folder);
    let mut ways = folder.ancestors().filter(|way| !way.as_os_str().is_empty());
    is_folder && !ways.any(|way| discover::is_store(root, way))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_configuration_have_names_that_no_file_has() {
        let text = "[[view]]\nname = \"a/v\"\nof = \"x\"\n[[view]]\nname = \"w.ims\"\nof = \"x\"\n";
        let tables = crate::by_hand::tests::configured(text).expect("valid");
        let top = tempfile::TempDir::new().expect("a temporary folder");
        std::fs::create_dir(top.path().join("a")).expect("a folder");
        let root = SourceRoot::open(top.path(), false).expect("a folder");
        let names = |folder: &str| Entry::configured(&root, &tables, Path::new(folder));
        assert_eq!(names("a"), ["\u{0}0\u{0}v"].map(OsString::from));
        assert_eq!(names(""), ["\u{0}1\u{0}w"].map(OsString::from));
        assert!(names("b").is_empty());
        let entry = Entry::at(&Path::new("a").join(&names("a")[0])).expect("an entry");
        assert_eq!((entry.folder(), entry.base()), (Path::new("a"), Path::new("")));
        assert_eq!(Entry::asked_name(&names("a")[0]), Some(OsStr::new("v")));
        let beside = Entry::at(Path::new("a/x.zarr.zarrims.toml")).expect("an entry");
        assert_eq!(beside.store().as_deref(), Some(Path::new("a/x.zarr")));
        assert_eq!(Entry::asked_name(OsStr::new("x.zarr.zarrims.toml")), None);
        assert_eq!(Entry::at(Path::new("a/.zarrims.toml")), None);
        assert_eq!(Entry::at(Path::new("a/x.zarr")), None);
    }
}
