//! From the command line to values that have been checked: everything that can be wrong with them
//! is found here, before anything is mounted, and told in one line that names the flag.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::{Access, statvfs};
use thiserror::Error;

use crate::cache::CacheLimits;
use crate::cli::Cli;
use crate::fs::TreeConfig;
use crate::image::{CacheConfig, EngineConfig};
use crate::machine;

/// Cache size where the disk is large enough.
const DEFAULT_CACHE_BYTES: u64 = 50 << 30;

/// Smallest cache worth having: a few bricks.
const LEAST_CACHE_BYTES: u64 = 64 << 20;

/// Memory where the machine has enough.
const DEFAULT_MEMORY_BYTES: u64 = 128 << 20;

/// Part of the memory of the machine, or of the control group, that is the budget where there is little: twice
/// the budget is taken in all, and as much is left to what the kernel counts with it.
const MEMORY_SHARE: u64 = 4;

/// Smallest memory that decodes common chunks side by side.
const LEAST_MEMORY_BYTES: u64 = 16 << 20;

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
    /// A size is too small to work with.
    #[error("{flag} {given}: at least {least} is needed")]
    TooSmall {
        /// The flag.
        flag: &'static str,
        /// As given.
        given: ByteSize,
        /// Smallest value.
        least: ByteSize,
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
        if let Some(memory) = cli.memory {
            at_least("--memory", memory, LEAST_MEMORY_BYTES)?;
        }
        if let Some(size) = cli.cache_size {
            at_least("--cache-size", size, LEAST_CACHE_BYTES)?;
        }
        let cache_dir = match &cli.cache_dir {
            Some(dir) => dir.clone(),
            None => default_cache_dir().ok_or(ConfigError::NoCacheDir)?,
        };
        let cache_dir = check_cache_dir(&cache_dir, &source, &mountpoint)?;
        let cap_bytes = match cli.cache_size {
            Some(size) => size.as_u64(),
            None => default_cache_bytes(&cache_dir)?,
        };
        let limits = CacheLimits { cap_bytes, min_free: cli.min_free };
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
                images: cli.images(),
            },
        })
    }
}

/// Checks the source folder and returns its canonical path.
///
/// # Errors
/// [`ConfigError::Source`].
pub fn check_source(path: &Path) -> Result<PathBuf, ConfigError> {
    let fail = |reason: String| ConfigError::Source { path: path.to_path_buf(), reason };
    let canonical = fs::canonicalize(path).map_err(|error| fail(plain(&error)))?;
    if !canonical.is_dir() {
        return Err(fail("is not a folder".to_owned()));
    }
    fs::read_dir(&canonical).map_err(|error| fail(plain(&error)))?;
    Ok(canonical)
}

fn check_mountpoint(path: &Path, source: &Path) -> Result<PathBuf, ConfigError> {
    let fail = |reason: &str| ConfigError::Mountpoint {
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    };
    let canonical = fs::canonicalize(path).map_err(|error| {
        if error.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()) {
            fail("a mount whose program has died is in the way; remove it with fusermount3 -u")
        } else {
            fail(&plain(&error))
        }
    })?;
    if !canonical.is_dir() {
        return Err(fail("is not a folder"));
    }
    if canonical.starts_with(source) {
        return Err(fail("lies inside SOURCE; stores and mount must be apart"));
    }
    if source.starts_with(&canonical) {
        return Err(fail("contains SOURCE, which the mount would hide"));
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
    let planned = canonical_ancestor(path).map_err(|error| fail(&plain(&error)))?;
    if planned.starts_with(source) {
        return Err(fail("lies inside SOURCE, where nothing is ever written"));
    }
    if planned.starts_with(mountpoint) {
        return Err(fail("lies inside MOUNTPOINT"));
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    let made = builder.create(path).and_then(|()| {
        let canonical = fs::canonicalize(path)?;
        rustix::fs::access(&canonical, Access::WRITE_OK | Access::EXEC_OK)?;
        Ok(canonical)
    });
    match made {
        Ok(canonical) => Ok(canonical),
        // The disk may come to its senses; until then the daemon does without.
        Err(error) if is_trouble_of_the_disk(&error) => Ok(planned),
        Err(error) => Err(fail(&plain(&error))),
    }
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

fn default_cache_dir() -> Option<PathBuf> {
    let from_env =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(base) = from_env("XDG_CACHE_HOME") {
        return Some(base.join("zarrims"));
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/cache/zarrims"));
    }
    from_env("HOME").map(|home| home.join(".cache/zarrims"))
}

fn default_cache_bytes(dir: &Path) -> Result<u64, ConfigError> {
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    let disk = statvfs(there).map_err(|errno| ConfigError::CacheDir {
        path: dir.to_path_buf(),
        reason: plain(&errno.into()),
    })?;
    let tenth = disk.f_bavail.saturating_mul(disk.f_frsize) / 10;
    Ok(DEFAULT_CACHE_BYTES.min(tenth).max(LEAST_CACHE_BYTES))
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

fn at_least(flag: &'static str, given: ByteSize, least: u64) -> Result<(), ConfigError> {
    let least = ByteSize(least);
    if given < least { Err(ConfigError::TooSmall { flag, given, least }) } else { Ok(()) }
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
}
