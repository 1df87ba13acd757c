//! From settings to a [`Config`], by a look at the machine.

use std::fs;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dead_mount;
use crate::fs::TreeConfig;
use crate::image::Conversions;
use crate::image::ImageOptions;
use crate::objects::DEFAULT_CONNECTIONS;
use crate::resources::machine;

use super::cache_dir;
use super::checked::{Config, MountConfig, Names, Resources};
use super::control;
use super::merge::{Merged, MergedMount};
use super::pairs::{Pair, check_apart};
use super::setting::{Mistake, Setting, Settings, plain};
use super::shared_cache;
use super::source::{check as check_source, folder_at};
use super::value::{
    IMAGE_NAMES, INT16, LABELS, LEAST_MEMORY_BYTES, ON_ERROR, ON_OFF, PYRAMID, REVALIDATE,
    STATISTICS, THREADS_LIMIT, UINT32, chunk_shape, parse_choice, parse_connections, parse_memory,
    parse_switch, parse_threads, parse_umask, parse_unit, parse_user,
};

/// Memory where the machine has enough.
const DEFAULT_MEMORY_BYTES: u64 = crate::resources::shares::DEFAULT_BUDGET_BYTES;

/// Part of the memory of the machine, or of the control group, that is the budget where there is little:
/// the daemon takes twice the budget in all, and leaves as much to what the kernel counts with it.
const MEMORY_SHARE: u64 = 4;

/// What a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The mount points must be free.
    Mount,
    /// The mount points do not matter: a daemon may use them now.
    List,
}

/// A mount point that this program serves.
#[derive(Debug, Clone)]
pub struct ServedPoint {
    /// As it was given.
    pub given: PathBuf,
    /// Its canonical path.
    pub canonical: PathBuf,
}

impl ServedPoint {
    fn is_at(&self, path: &Path) -> bool {
        path == self.given || path == self.canonical
    }
}

impl Merged {
    /// Compares the settings with the machine. Nothing is made.
    ///
    /// # Errors
    /// The first mistake, in one line that names the setting.
    pub fn resolve(&self, purpose: Purpose) -> Result<Config, Mistake> {
        self.resolve_beside(purpose, &[])
    }

    /// The same while this program serves mounts, whose mount points are not asked: this program would have to
    /// answer itself.
    ///
    /// # Errors
    /// As for [`Merged::resolve`].
    pub fn resolve_beside(
        &self,
        purpose: Purpose,
        served: &[ServedPoint],
    ) -> Result<Config, Mistake> {
        let mut mounts = Vec::new();
        for mount in &self.mounts {
            mounts.push(mount_of(mount, purpose, served)?);
        }
        if purpose == Purpose::Mount {
            let settings = self.mounts.iter().filter_map(|mount| mount.mountpoint.as_ref());
            let pairs: Vec<_> = mounts.iter().zip(settings.clone()).map(pair_of).collect();
            check_apart(&pairs)?;
            let is_free = |mount: &MountConfig| {
                served.iter().all(|point| point.canonical != mount.mountpoint)
            };
            for (mount, setting) in mounts.iter().zip(settings).filter(|(mount, _)| is_free(mount))
            {
                check_free(mount.source.folder.as_deref(), &mount.mountpoint, setting)?;
            }
        }
        let cache = cache_dir::plan(self, &mounts)?;
        let shared = shared_cache::check(&self.settings)?;
        let resources = resources_of(&self.settings)?;
        let control = control::check(&self.settings)?;
        Ok(Config { cache, shared, resources, control, mounts })
    }

    /// What is needed to read one source without a mount: neither a cache nor a socket.
    ///
    /// # Errors
    /// As for [`Merged::resolve`].
    ///
    /// # Panics
    /// If there is no mount, which [`Given::merge`](super::Given::merge) does not allow.
    pub fn resolve_to_read(&self) -> Result<(MountConfig, Resources), Mistake> {
        let mount = self.mounts.first().expect("at least one");
        Ok((mount_of(mount, Purpose::List, &[])?, resources_of(&self.settings)?))
    }
}

/// Memory, threads and connections.
pub(super) fn resources_of(settings: &Settings) -> Result<Resources, Mistake> {
    let memory = settings.value("memory", parse_memory)?;
    let threads = settings.value("threads", parse_threads)?;
    let connections = settings.value("connections", parse_connections)?;
    Ok(Resources {
        connections: connections.map_or(DEFAULT_CONNECTIONS, usize::from),
        memory_bytes: memory
            .map_or_else(|| default_memory(machine::memory_bytes()), |given| given.as_u64()),
        threads: threads.map_or_else(default_threads, usize::from),
    })
}

fn pair_of<'a>((mount, setting): (&'a MountConfig, &'a Setting)) -> Pair<'a> {
    let source = mount.source.folder.as_deref().map(Into::into);
    Pair { source, mountpoint: mount.mountpoint.as_path().into(), setting }
}

pub(super) fn mount_of(
    merged: &MergedMount,
    purpose: Purpose,
    served: &[ServedPoint],
) -> Result<MountConfig, Mistake> {
    let MergedMount { source, mountpoint, settings, by_hand } = merged;
    let checked_source = check_source(source, settings)?;
    let canonical_mountpoint = match mountpoint {
        Some(setting) if purpose == Purpose::Mount => {
            let known = served.iter().find(|point| point.is_at(setting.as_path()));
            known.map_or_else(|| check_mountpoint(setting), |point| Ok(point.canonical.clone()))?
        }
        _ => PathBuf::new(),
    };
    let switch = |name| settings.value(name, parse_switch).map(Option::unwrap_or_default);
    let allow_other = switch("allow-other")?;
    let revalidate = settings.value("revalidate", |text| parse_choice(&REVALIDATE, text))?;
    let labels = settings.value("labels", |text| parse_choice(&LABELS, text))?;
    let control_folder = settings.value("control-folder", |text| parse_choice(&ON_OFF, text))?;
    let image_names = settings.value("image-names", |text| parse_choice(&IMAGE_NAMES, text))?;
    Ok(MountConfig {
        source: checked_source,
        mountpoint: canonical_mountpoint,
        allow_other,
        follow_links: switch("follow-links")?,
        control_folder: control_folder.unwrap_or(true),
        tree: TreeConfig {
            uid: settings.value("uid", parse_user)?,
            gid: settings.value("gid", parse_user)?,
            umask: settings.value("umask", parse_umask)?.unwrap_or_default(),
            is_shared: allow_other,
            labels: labels.unwrap_or_default(),
            image_names: image_names.unwrap_or_default(),
            revalidate: revalidate.unwrap_or_default(),
            live: switch("live")?,
        },
        images: images_of(settings)?,
        by_hand: Arc::new(by_hand.clone()),
        names: Names {
            source: source.named(),
            mountpoint: mountpoint.as_ref().map(Setting::named).unwrap_or_default(),
            allow_other: settings.get("allow-other").label(),
        },
    })
}

fn images_of(settings: &Settings) -> Result<ImageOptions, Mistake> {
    let default = ImageOptions::default();
    let pyramid = settings.value("pyramid", |text| parse_choice(&PYRAMID, text))?;
    let chunk = settings.value("chunk", chunk_shape)?;
    let statistics = settings.value("statistics", |text| parse_choice(&STATISTICS, text))?;
    let on_error = settings.value("on-error", |text| parse_choice(&ON_ERROR, text))?;
    let int16 = settings.value("int16", |text| parse_choice(&INT16, text))?;
    let uint32 = settings.value("uint32", |text| parse_choice(&UINT32, text))?;
    let unit = settings.value("default-unit", parse_unit)?;
    Ok(ImageOptions {
        pyramid: pyramid.unwrap_or_default(),
        chunk: chunk.unwrap_or_default(),
        statistics: statistics.unwrap_or_default(),
        on_error: on_error.unwrap_or_default(),
        conversions: Conversions {
            int16: int16.unwrap_or_default(),
            uint32: uint32.unwrap_or_default(),
        },
        default_unit_um: unit.unwrap_or(default.default_unit_um),
        ..default
    })
}

/// Checks that a mount point is a folder and returns its canonical path.
fn check_mountpoint(setting: &Setting) -> Result<PathBuf, Mistake> {
    let path = setting.as_path();
    let failed = |error| setting.mistake(&plain(&dead_mount::explained(error, path)));
    folder_at(path).map_err(failed)?.ok_or_else(|| setting.mistake("is not a folder"))
}

/// Checks that nothing is in the way at a mount point.
fn check_free(source: Option<&Path>, mountpoint: &Path, setting: &Setting) -> Result<(), Mistake> {
    // Before other reasons: the folder of the stores is often the root of a disk.
    if source.is_some_and(is_empty) && !is_empty(mountpoint) {
        let reason = "is not empty, and SOURCE is: SOURCE comes first; are they swapped?";
        return Err(setting.mistake(reason));
    }
    if is_mount(mountpoint) {
        return Err(setting.mistake("something is mounted here already"));
    }
    let entries = fs::read_dir(mountpoint);
    let mut entries = entries.map_err(|error| setting.mistake(&plain(&error)))?;
    if entries.next().is_some() {
        return Err(setting.mistake("is not empty"));
    }
    Ok(())
}

/// Whether a folder can be read and has no names in it.
fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut names| names.next().is_none())
}

/// A mount point lies on another device than the folder above it.
fn is_mount(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

fn default_memory(available: Option<u64>) -> u64 {
    let share = available.map_or(u64::MAX, |bytes| bytes / MEMORY_SHARE);
    DEFAULT_MEMORY_BYTES.min(share).max(LEAST_MEMORY_BYTES)
}

/// Most of these threads wait for disks; the memory budget bounds the decoding itself.
fn default_threads() -> usize {
    threads_for(std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// For processors that this process may use: its affinity, control group and quota count.
fn threads_for(processors: usize) -> usize {
    (processors * 4).clamp(8, usize::from(THREADS_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_budget_follows_the_machine() {
        let budget = |mib: u64| default_memory(Some(mib << 20)) >> 20;
        let budgets = [64_000, 512, 256, 128, 10].map(budget);
        assert_eq!(budgets, [128, 128, 64, 32, 16]);
        assert_eq!(default_memory(None), 128 << 20);
    }

    #[test]
    fn the_threads_follow_the_processors() {
        assert_eq!([1, 2, 3, 64, 1000].map(threads_for), [8, 8, 12, 256, 1024]);
    }
}
