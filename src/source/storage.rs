//! The one door to the bytes of a source.
//!
//! Everything this program reads of a source goes through a [`Storage`]: opening, reading, `stat`,
//! listing, surveys, free space. [`Location`] says which storage that is. A storage builds a [`Stamp`] for
//! each state of a file, which nothing above it looks into. Tests put another storage in front that
//! fails, stalls or panics at a chosen call.
//!
//! To add a storage, write its file here, add a kind of [`Location`], and run the tests of `suite.rs`
//! with it.

mod archive;
mod interface;
#[cfg(test)]
mod memory;
mod object;
mod one;
mod posix;
mod stamp;
#[cfg(test)]
mod suite;
mod survey;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::objects::{Address, Options, Service};

use super::store_name::BESIDE;

pub(super) use archive::{forget_remembered, is_archive_name, remember_at_most};
pub(crate) use interface::SourceGone;
pub use interface::{
    Access, Budget, FileKind, FolderName, Index, Links, Meta, OpenFile, OpenFolder, Space, Storage,
    Unfollowed,
};
pub(super) use interface::{is_bad_link, is_not_found};
pub use stamp::{Seen, Stamp};
pub(super) use stamp::{now_ns, since_epoch_ns};
pub(super) use survey::{Surveyor, UpTo, survey};

#[cfg(test)]
pub(super) use memory::Memory;

/// What a source is, and where it lies. What is shown of it holds no secrets, so that it may be logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// One store of this machine: a folder, or a zip file.
    Store(PathBuf),
    /// Objects of other machines.
    Objects(Arc<Remote>),
}

/// Objects of other machines, as a source.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Remote {
    address: Address,
    options: Options,
    /// The stores, where not all of the folder at the address is the source.
    stores: Option<Vec<NamedStore>>,
    /// Address and service, without secrets.
    identity: String,
}

/// A store at an address, under the name that it has in the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedStore {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub address: Address,
    /// It is a file, as a zip file with a store is, and no folder.
    pub is_file: bool,
}

impl Location {
    /// The location of a folder.
    #[must_use]
    pub fn parse(text: &OsStr) -> Self {
        Self::Folder(text.into())
    }

    /// Objects below an address.
    #[must_use]
    pub fn objects(address: Address, options: Options) -> Self {
        let identity = match &*options.service_at(address.service()) {
            "" => address.to_string(),
            service => format!("{service} {address}"),
        };
        Self::Objects(Arc::new(Remote { address, options, stores: None, identity }))
    }

    /// A source that has these stores alone; of the same service.
    ///
    /// # Panics
    /// For a folder of this machine.
    #[must_use]
    pub fn of_stores(&self, stores: Vec<NamedStore>) -> Self {
        let Self::Objects(remote) = self else { panic!("addresses lead to other machines") };
        let Remote { address, options, identity, .. } = &**remote;
        let (address, options, identity) = (address.clone(), options.clone(), identity.clone());
        Self::Objects(Arc::new(Remote { address, options, stores: Some(stores), identity }))
    }

    /// The address of a remote source, and how to get there.
    #[must_use]
    pub fn remote(&self) -> Option<(&Address, &Options)> {
        match self {
            Self::Folder(_) | Self::Store(_) => None,
            Self::Objects(remote) => Some((&remote.address, &remote.options)),
        }
    }

    /// Whether nothing lists what is there.
    #[must_use]
    pub fn is_web(&self) -> bool {
        self.remote().is_some_and(|(address, _)| address.service() == Service::Web)
    }

    /// Opens the storage. With `follow_links`, links may lead out of the source; else nothing does.
    ///
    /// # Errors
    /// The reason of the storage when nothing can be read there.
    pub fn open(&self, follow_links: bool) -> io::Result<Arc<dyn Storage>> {
        match self {
            Self::Folder(path) => {
                let folder = Arc::new(posix::Posix::open(path, follow_links)?);
                Ok(Arc::new(archive::Archives::over(folder)))
            }
            Self::Store(path) => open_store(path, follow_links),
            Self::Objects(remote) => {
                let Remote { address, options, stores, .. } = &**remote;
                let storage = match stores {
                    None => object::ObjectStorage::of_folder(address, options)?,
                    Some(stores) => object::ObjectStorage::of_stores(stores, options)?,
                };
                Ok(Arc::new(archive::Archives::over(Arc::new(storage))))
            }
        }
    }

    /// All of the location, to be hashed: other bytes for another location.
    #[must_use]
    pub fn as_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Folder(path) => Cow::Borrowed(path.as_os_str().as_bytes()),
            Self::Store(path) => Cow::Owned([b"store ", path.as_os_str().as_bytes()].concat()),
            Self::Objects(remote) => Cow::Borrowed(remote.identity.as_bytes()),
        }
    }
}

impl Location {
    /// The part of the location that is the same on every machine, to be hashed: nothing for a folder, which each
    /// machine may have at another path, and whose stamps no other file has.
    #[must_use]
    pub fn shared_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Folder(_) | Self::Store(_) => Cow::Borrowed(b""),
            Self::Objects(_) => self.as_bytes(),
        }
    }
}

/// A link that the user names is followed, wherever it leads.
fn open_store(path: &Path, follow_links: bool) -> io::Result<Arc<dyn Storage>> {
    let canonical = fs::canonicalize(path)?;
    let name = path.file_name().or(canonical.file_name()).unwrap_or_default();
    let open = |folder: &Path| -> io::Result<Arc<dyn Storage>> {
        let folder = Arc::new(posix::Posix::open(folder, follow_links)?);
        Ok(Arc::new(archive::Archives::over(folder)))
    };
    let one = match (canonical.parent(), canonical.file_name()) {
        (Some(above), Some(own)) if !fs::metadata(&canonical)?.is_dir() => {
            one::One::new(name, Path::new(own), open(above)?)
        }
        _ => one::One::new(name, Path::new(""), open(path)?),
    };
    // Where the folder above cannot be read, there is no such file for this program.
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    match posix::Posix::open(above.unwrap_or(Path::new(".")), follow_links) {
        Ok(above) => {
            let mut beside = name.to_owned();
            beside.push(BESIDE);
            Ok(Arc::new(one.with_beside(beside, Arc::new(above))))
        }
        Err(_) => Ok(Arc::new(one)),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) | Self::Store(path) => path.display().fmt(f),
            Self::Objects(remote) => remote.address.fmt(f),
        }
    }
}
