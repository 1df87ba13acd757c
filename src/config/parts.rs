//! The parts of a configuration, each compared with the machine by itself: for those who want to be told all that is
//! wrong, and not only what is wrong first.

use std::path::{Path, PathBuf};

use crate::resources::machine;

use super::cache_dir;
use super::checked::{CacheSettings, MountConfig, Resources};
use super::control;
use super::merge::Merged;
use super::pairs::{Pair, check_apart};
use super::resolve::{Purpose, mount_of, resources_of};
use super::setting::Mistake;
use super::shared_cache;

/// The parts of a configuration. Nothing is made, and mount points are not asked: their daemons may hang.
#[derive(Debug)]
pub struct Parts {
    /// In the order of [`Merged::mounts`], each with an empty mount point.
    pub mounts: Vec<Result<MountConfig, Mistake>>,
    /// Whether sources and mount points are apart, as far as they are there.
    pub apart: Result<(), Mistake>,
    /// The disk cache. `None` where its folder would be named after a source that cannot be used.
    pub cache: Option<Result<CacheSettings, Mistake>>,
    /// Memory and threads.
    pub resources: Result<Resources, Mistake>,
    /// How the daemon is asked, and the shared cache.
    pub others: Result<(), Mistake>,
}

/// Memory of the machine in bytes, and what of it the control groups leave to this process. `None` where it is not
/// known.
#[must_use]
pub fn memory_of_machine() -> (Option<u64>, Option<u64>) {
    (machine::installed_bytes(), machine::memory_bytes())
}

impl Merged {
    /// Compares each part with the machine.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let mounts: Vec<_> =
            self.mounts.iter().map(|mount| mount_of(mount, Purpose::List, &[])).collect();
        let usable: Vec<MountConfig> = mounts.iter().flatten().cloned().collect();
        let is_named = self.file.is_some() || self.settings.get("cache-dir").text.is_some();
        let cache = (is_named || !usable.is_empty()).then(|| cache_dir::plan(self, &usable));
        let others = control::check(&self.settings)
            .map(drop)
            .and_then(|()| shared_cache::check(&self.settings).map(drop));
        Parts {
            apart: self.check_apart(&mounts),
            mounts,
            cache,
            resources: resources_of(&self.settings),
            others,
        }
    }

    fn check_apart(&self, mounts: &[Result<MountConfig, Mistake>]) -> Result<(), Mistake> {
        let pairs = self.mounts.iter().zip(mounts).filter_map(|(merged, config)| {
            let setting = merged.mountpoint.as_ref()?;
            let source = config.as_ref().ok().and_then(|config| config.source.folder.as_deref());
            let mountpoint = unasked(setting.as_path())?;
            Some(Pair { source: source.map(Into::into), mountpoint: mountpoint.into(), setting })
        });
        check_apart(&pairs.collect::<Vec<_>>())
    }
}

/// The canonical path of the folder above a mount point, and its name.
fn unasked(mountpoint: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(mountpoint).ok()?;
    let folder = absolute.parent()?.canonicalize().ok()?;
    Some(folder.join(absolute.file_name()?))
}
