//! From the command line to values that have been checked: everything that can be wrong with them
//! is found here, before anything is mounted, and told in one line that names the flag.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::{Access, statvfs};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::cache::{CacheLimits, MinFree};
use crate::cli::{Cli, LEAST_CACHE_BYTES, LEAST_MEMORY_BYTES};
use crate::dead_mount;
use crate::fs::TreeConfig;
use crate::image::{CacheConfig, EngineConfig, ImageOptions};
use crate::machine;

/// Cache size where the disk is large enough.
const DEFAULT_CACHE_BYTES: u64 = 50 << 30;

/// Memory where the machine has enough.
const DEFAULT_MEMORY_BYTES: u64 = crate::resources::shares::DEFAULT_BUDGET_BYTES;

/// Part of the memory of the machine, or of the control group, that is the budget where there is little: twice
/// the budget is taken in all, and as much is left to what the kernel counts with it.
const MEMORY_SHARE: u64 = 4;

/// Characters of the name of a source that become part of the name of its cache.
const LONGEST_NAME: usize = 40;

/// A checked configuration of a mount.
#[derive(Debug, Clone)]
pub struct Config {
    /// Canonical path of the source folder.
    pub source: PathBuf,
    /// Canonical path of the mount point.
    pub mountpoint: PathBuf,
    /// Let other users in.
    pub allow_other: bool,
    /// Links may lead out of the source folder.
    pub follow_links: bool,
    /// Owner, group and mode of what is shown.
    pub tree: TreeConfig,
    /// Cache, memory and threads.
    pub engine: EngineConfig,
    /// How images become files.
    pub images: ImageOptions,
}

/// What is wrong with the command line.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The source folder cannot be used.
    #[error("SOURCE {}: {reason}", path.display())]
    Source {
        /// As given.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The mount point cannot be used.
    #[error("MOUNTPOINT {}: {reason}", path.display())]
    Mountpoint {
        /// As given.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The cache folder cannot be used.
    #[error("--cache-dir {}: {reason}", path.display())]
    CacheDir {
        /// As given, or the default.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no default for the cache folder.
    #[error("--cache-dir: neither XDG_CACHE_HOME nor HOME is set; name a folder")]
    NoCacheDir,
    /// All of the disk is to be left free.
    #[error("--min-free {given}: leaves no room for the cache: the disk of {} has {total}", dir.display())]
    NoRoom {
        /// As given.
        given: ByteSize,
        /// The cache folder.
        dir: PathBuf,
        /// Size of its disk.
        total: ByteSize,
    },
}

impl Config {
    /// Checks a command line that asks for a mount.
    ///
    /// # Errors
    /// [`ConfigError`], which names the flag.
    pub fn resolve(cli: &Cli) -> Result<Self, ConfigError> {
        let source = check_source(&cli.source)?;
        let mountpoint = cli.mountpoint.clone().unwrap_or_default();
        let mountpoint = check_mountpoint(&mountpoint, &source)?;
        let cache_dir = match &cli.cache_dir {
            Some(dir) => dir.clone(),
            None => default_cache_dir(&source).ok_or(ConfigError::NoCacheDir)?,
        };
        let cache_dir = check_cache_dir(&cache_dir, &source, &mountpoint)?;
        let cap = cap_of(cli, &cache_dir)?;
        let limits = CacheLimits { cap_bytes: cap, min_free: cli.min_free };
        let cache = CacheConfig { dir: cache_dir, limits };
        Ok(Self {
            source,
            mountpoint,
            allow_other: cli.allow_other,
            tree: TreeConfig {
                uid: cli.uid,
                gid: cli.gid,
                umask: cli.umask,
                is_shared: cli.allow_other,
                labels: cli.labels,
                revalidate: cli.revalidate,
            },
            follow_links: cli.follow_links,
            engine: EngineConfig {
                cache: Some(cache),
                memory_bytes: memory_bytes(cli),
                threads: cli.threads.map_or_else(default_threads, usize::from),
            },
            images: cli.images(),
        })
    }
}

/// Checks the source folder and returns its canonical path.
///
/// # Errors
/// [`ConfigError::Source`].
pub fn check_source(path: &Path) -> Result<PathBuf, ConfigError> {
    let fail = |reason: String| ConfigError::Source { path: path.to_path_buf(), reason };
    let looked_at = folder_at(path).and_then(|found| match found {
        Some(canonical) => fs::read_dir(&canonical).map(|_| Some(canonical)),
        None => Ok(None),
    });
    match looked_at {
        Ok(Some(canonical)) => Ok(canonical),
        Ok(None) => Err(fail("is not a folder".to_owned())),
        Err(error) => Err(fail(plain(&dead_mount::explained(error, path)))),
    }
}

fn check_mountpoint(path: &Path, source: &Path) -> Result<PathBuf, ConfigError> {
    let fail = |reason: &str| ConfigError::Mountpoint {
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    };
    let failed = |error| fail(&plain(&dead_mount::explained(error, path)));
    let canonical = folder_at(path).map_err(failed)?.ok_or_else(|| fail("is not a folder"))?;
    if canonical.starts_with(source) {
        return Err(fail("lies inside SOURCE; stores and mount must be apart"));
    }
    if source.starts_with(&canonical) {
        return Err(fail("contains SOURCE, which the mount would hide"));
    }
    // Before other reasons: the folder of the stores is often the root of a disk.
    if is_empty(source) && !is_empty(&canonical) {
        return Err(fail("is not empty, and SOURCE is: SOURCE comes first; are they swapped?"));
    }
    if is_mount(&canonical) {
        return Err(fail("something is mounted here already"));
    }
    let mut entries = fs::read_dir(&canonical).map_err(|error| fail(&plain(&error)))?;
    if entries.next().is_some() {
        return Err(fail("is not empty"));
    }
    Ok(canonical)
}

/// Whether a folder can be read and has no names in it.
fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut names| names.next().is_none())
}

/// The canonical path, if a folder is there. `Path::is_dir` would take every error for a no.
fn folder_at(path: &Path) -> io::Result<Option<PathBuf>> {
    let canonical = fs::canonicalize(path)?;
    let is_folder = fs::metadata(&canonical)?.is_dir();
    Ok(is_folder.then_some(canonical))
}

/// A mount point lies on another device than the folder above it.
fn is_mount(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

fn check_cache_dir(path: &Path, source: &Path, mountpoint: &Path) -> Result<PathBuf, ConfigError> {
    let fail = |reason: &str| ConfigError::CacheDir {
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    };
    // Before it is made: nothing may be written into the source.
    let failed = |error| fail(&plain(&dead_mount::explained(error, path)));
    let planned = canonical_ancestor(path).map_err(failed)?;
    if planned.starts_with(source) {
        return Err(fail("lies inside SOURCE, where nothing is ever written"));
    }
    if planned.starts_with(mountpoint) {
        return Err(fail("lies inside MOUNTPOINT"));
    }
    let made = make_cache_dir(path).and_then(|()| {
        let canonical = fs::canonicalize(path)?;
        rustix::fs::access(&canonical, Access::WRITE_OK | Access::EXEC_OK)?;
        Ok(canonical)
    });
    match made {
        Ok(canonical) => Ok(canonical),
        // The disk may come to its senses; until then the daemon does without.
        Err(error) if is_trouble_of_the_disk(&error) => Ok(planned),
        Err(error) => Err(failed(error)),
    }
}

/// Makes the folder, for its user alone. Those above it, when root makes them, are for others as well:
/// the system's folder for caches has several users.
fn make_cache_dir(path: &Path) -> io::Result<()> {
    let make = |path: &Path, mode| fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    if let Some(parent) = path.parent().filter(|_| rustix::process::geteuid().is_root()) {
        make(parent, 0o755)?;
    }
    make(path, 0o700)
}

/// Whether a folder cannot be used for now, and it is not the command line that is wrong.
fn is_trouble_of_the_disk(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::ROFS | Errno::NOSPC | Errno::DQUOT | Errno::IO))
}

/// The canonical path that `path` will have once its missing folders are made.
fn canonical_ancestor(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut known = absolute.as_path();
    loop {
        match fs::canonicalize(known) {
            Ok(mut canonical) => {
                canonical.extend(missing.iter().rev());
                return Ok(canonical);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (known.parent(), known.file_name()) else {
                    return Err(error);
                };
                missing.push(name.to_owned());
                known = parent;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A folder for each source, since a cache has one daemon; not `/var/cache/zarrims`, which is the
/// service's.
fn default_cache_dir(source: &Path) -> Option<PathBuf> {
    let from_env =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if let Some(base) = from_env("XDG_CACHE_HOME") {
        base.join("zarrims")
    } else if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/cache/zarrims-root")
    } else {
        from_env("HOME")?.join(".cache/zarrims")
    };
    Some(base.join(name_of(source)))
}

/// A name for a source: the end of its path, for people, and a hash of the whole.
fn name_of(source: &Path) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let end = source.file_name().unwrap_or_default().to_string_lossy();
    let end: String = end.chars().take(LONGEST_NAME).map(plain).collect();
    format!("{end}-{:016x}", xxh3_64(source.as_os_str().as_bytes()))
}

/// Bytes of the disk of the cache.
#[derive(Debug, Clone, Copy)]
struct Disk {
    total: u64,
    available: u64,
}

fn disk_of(dir: &Path) -> Result<Disk, ConfigError> {
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    let found = statvfs(there).map_err(|errno| ConfigError::CacheDir {
        path: dir.to_path_buf(),
        reason: plain(&errno.into()),
    })?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Disk { total: bytes(found.f_blocks), available: bytes(found.f_bavail) })
}

fn cap_of(cli: &Cli, dir: &Path) -> Result<u64, ConfigError> {
    match (disk_of(dir), cli.cache_size) {
        (Ok(disk), size) => {
            check_min_free(cli.min_free, dir, disk)?;
            Ok(size.map_or_else(|| default_cap(disk), |size| fitting(size, disk)))
        }
        // Until the disk comes to its senses the daemon does without.
        (Err(_), Some(size)) => Ok(size.as_u64()),
        (Err(error), None) => Err(error),
    }
}

/// A percentage always leaves room: the whole is refused where it is parsed.
fn check_min_free(min_free: MinFree, dir: &Path, disk: Disk) -> Result<(), ConfigError> {
    match min_free {
        MinFree::Bytes(bytes) if bytes > 0 && bytes >= disk.total => Err(ConfigError::NoRoom {
            given: ByteSize(bytes),
            dir: dir.to_path_buf(),
            total: ByteSize(disk.total),
        }),
        MinFree::Bytes(_) | MinFree::Percent(_) => Ok(()),
    }
}

/// A cap larger than the disk never works; a smaller disk than usual may be there by mistake.
fn fitting(size: ByteSize, disk: Disk) -> u64 {
    if size.as_u64() > disk.total {
        let total = ByteSize(disk.total);
        tracing::warn!("--cache-size {size}: is more than the disk has, which is {total}");
    }
    size.as_u64()
}

fn default_cap(disk: Disk) -> u64 {
    DEFAULT_CACHE_BYTES.min(disk.available / 10).max(LEAST_CACHE_BYTES)
}

/// The memory budget: as given, or what the machine has room for.
#[must_use]
pub fn memory_bytes(cli: &Cli) -> u64 {
    cli.memory.map_or_else(|| default_memory(machine::memory_bytes()), |given| given.as_u64())
}

fn default_memory(available: Option<u64>) -> u64 {
    let share = available.map_or(u64::MAX, |bytes| bytes / MEMORY_SHARE);
    DEFAULT_MEMORY_BYTES.min(share).max(LEAST_MEMORY_BYTES)
}

/// Most of these threads wait for disks; decoding itself is bounded by the memory budget.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(8, |cores| (cores.get() * 4).max(8))
}

/// The message without "(os error N)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    let mut text = text[..end].to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
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
    fn each_source_has_a_cache_folder_of_its_own_name() {
        let names = ["/data/a", "/other/a", "/data/a b", "/data/a_b", "/", "/data/.."];
        let named: Vec<String> = names.iter().map(|name| name_of(Path::new(name))).collect();
        let mut different = named.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), names.len(), "{named:?}");
        assert!(named[0].starts_with("a-") && named[2].starts_with("a_b-"), "{named:?}");
        assert!(named.iter().all(|name| Path::new(name).components().count() == 1), "{named:?}");
    }
}
