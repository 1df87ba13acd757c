//! The folder of the disk cache, and how much of its disk the cache may take.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::{Access, statvfs};
use xxhash_rust::xxh3::xxh3_64;

use crate::cache::{CacheLimits, MinFree};
use crate::dead_mount;
use crate::image::CacheConfig;

use super::checked::{CacheSettings, MountConfig};
use super::merge::Merged;
use super::setting::{Mistake, Settings, plain};
use super::value::{LEAST_CACHE_BYTES, parse_cache_size, parse_min_free};

/// Cache size where the disk is large enough.
const DEFAULT_CACHE_BYTES: u64 = 50 << 30;

/// Characters of the name of a source that become part of the name of its cache.
const LONGEST_NAME: usize = 40;

/// Chooses the folder and the limits, and makes nothing.
///
/// # Errors
/// What is wrong with the folder, its size, or the room to leave free.
pub(super) fn plan(merged: &Merged, mounts: &[MountConfig]) -> Result<CacheSettings, Mistake> {
    let setting = merged.settings.get("cache-dir");
    let dir = match &setting.text {
        Some(dir) => PathBuf::from(dir),
        None => default_dir(merged, mounts).ok_or_else(|| {
            Mistake(format!(
                "{}: neither XDG_CACHE_HOME nor HOME is set; name a folder",
                setting.label()
            ))
        })?,
    };
    let fail = |reason: &str| {
        Mistake(format!("{}: {reason}", setting.label_with(&dir.display().to_string())))
    };
    let failed = |error| fail(&plain(&dead_mount::explained(error, &dir)));
    let planned = canonical_ancestor(&dir).map_err(failed)?;
    for MountConfig { source, mountpoint, .. } in mounts {
        if source.holds(&planned) {
            return Err(fail("lies inside SOURCE, where nothing is ever written"));
        }
        if !mountpoint.as_os_str().is_empty() && planned.starts_with(mountpoint) {
            return Err(fail("lies inside MOUNTPOINT"));
        }
    }
    let disk = disk_of(&planned).map_err(failed);
    let min_free = merged.settings.value("min-free", parse_min_free)?;
    let min_free = min_free.unwrap_or(MinFree::Percent(5));
    let size = merged.settings.value("cache-size", parse_cache_size)?;
    let cap_bytes = match (disk, size) {
        (Ok(disk), size) => {
            check_min_free(&merged.settings, min_free, &planned, disk)?;
            size.map_or_else(|| default_cap(disk), |size| fitting(&merged.settings, size, disk))
        }
        // Until the disk works again the daemon does without.
        (Err(_), Some(size)) => size.as_u64(),
        (Err(error), None) => return Err(error),
    };
    let limits = CacheLimits { cap_bytes, min_free };
    let label = setting.label();
    Ok(CacheSettings { config: CacheConfig { dir: planned, limits }, label })
}

impl CacheSettings {
    /// Makes the folder, if it is missing.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn make_dir(&self, merged: &Merged) -> Result<(), Mistake> {
        let path = &self.config.dir;
        let made = make_cache_dir(path)
            .and_then(|()| Ok(rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK)?));
        match made {
            // The disk may work again later; until then the daemon does without.
            Err(error) if !is_trouble_of_the_disk(&error) => {
                let setting = merged.settings.get("cache-dir");
                let given = setting.text.as_ref().map_or(path.as_path(), Path::new);
                let reason = plain(&dead_mount::explained(error, path));
                let named = setting.label_with(&given.display().to_string());
                Err(Mistake(format!("{named}: {reason}")))
            }
            _ => Ok(()),
        }
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

/// Whether a folder cannot be used for now, and the configuration is not to blame.
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

/// A folder for each source, since a cache has one daemon, and for each file with mounts: these may come
/// and go, and the cache stays. Not `/var/cache/zarrims`, which is the service's.
fn default_dir(merged: &Merged, mounts: &[MountConfig]) -> Option<PathBuf> {
    let from_env =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if let Some(base) = from_env("XDG_CACHE_HOME") {
        base.join("zarrims")
    } else if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/cache/zarrims-root")
    } else {
        from_env("HOME")?.join(".cache/zarrims")
    };
    let of_file = merged.file.as_deref();
    let of_file = of_file.map(|file| file.canonicalize().unwrap_or_else(|_| file.to_path_buf()));
    let named_after = of_file.or_else(|| Some(mounts.first()?.source.identity()))?;
    Some(base.join(name_of(&named_after)))
}

/// A name for a source or a file: the end of its path, for people, and a hash of the whole.
fn name_of(path: &Path) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let end = path.file_name().unwrap_or_default().to_string_lossy();
    let end: String = end.chars().take(LONGEST_NAME).map(plain).collect();
    format!("{end}-{:016x}", xxh3_64(path.as_os_str().as_bytes()))
}

/// Bytes of the disk of the cache.
#[derive(Debug, Clone, Copy)]
struct Disk {
    total: u64,
    available: u64,
}

fn disk_of(dir: &Path) -> io::Result<Disk> {
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    let found = statvfs(there)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Disk { total: bytes(found.f_blocks), available: bytes(found.f_bavail) })
}

/// A percentage always leaves room: its parser refuses the whole.
fn check_min_free(
    settings: &Settings,
    min_free: MinFree,
    dir: &Path,
    Disk { total, .. }: Disk,
) -> Result<(), Mistake> {
    let MinFree::Bytes(bytes) = min_free else { return Ok(()) };
    if bytes == 0 || bytes < total {
        return Ok(());
    }
    let named = settings.get("min-free").label_with(&ByteSize(bytes).to_string());
    let (dir, total) = (dir.display(), ByteSize(total));
    let reason = format!("leaves no room for the cache: the disk of {dir} has {total}");
    Err(Mistake(format!("{named}: {reason}")))
}

/// A cap larger than the disk never works; a smaller disk than usual may be there by mistake.
fn fitting(settings: &Settings, size: ByteSize, disk: Disk) -> u64 {
    if size.as_u64() > disk.total {
        let total = ByteSize(disk.total);
        let named = settings.get("cache-size").label_with(&size.to_string());
        tracing::warn!("{named}: is more than the disk has, which is {total}");
    }
    size.as_u64()
}

fn default_cap(disk: Disk) -> u64 {
    DEFAULT_CACHE_BYTES.min(disk.available / 10).max(LEAST_CACHE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

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
