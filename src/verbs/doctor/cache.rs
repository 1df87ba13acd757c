//! The disk of the cache.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use rustix::fs::{Access, access, statfs, statvfs};
use rustix::process::geteuid;
use zarrims::cache::{can_punch_holes, folder_name, owner};
use zarrims::config::{CacheSettings, Mistake};

use super::finding::{Finding, plain};
use super::mount_point;

const CHECK: &str = "cache";

/// File systems, by their numbers (`statfs(2)`, `linux/magic.h`), and whether they are of other machines.
const KINDS: [(u64, &str, bool); 19] = [
    (0xef53, "ext4", false),
    (0x5846_5342, "XFS", false),
    (0x9123_683e, "Btrfs", false),
    (0xca45_1a4e, "bcachefs", false),
    (0x2fc1_2fc1, "ZFS", false),
    (0x0102_1994, "tmpfs", false),
    (0x794c_7630, "overlayfs", false),
    (0xf2f5_2010, "F2FS", false),
    (0x4d44, "FAT", false),
    (0x2011_bab0, "exFAT", false),
    (0x7366_746e, "NTFS", false),
    (0x6969, "NFS", true),
    (0xff53_4d42, "CIFS", true),
    (0xfe53_4d42, "SMB", true),
    (0x00c3_6400, "CephFS", true),
    (0x0bd0_0bd0, "Lustre", true),
    (0x4750_4653, "GPFS", true),
    (0x1983_0326, "BeeGFS", true),
    (0x6573_5546, "FUSE", true),
];

pub(super) fn check(
    settings: &Result<CacheSettings, Mistake>,
    mountpoints: &[PathBuf],
) -> Vec<Finding> {
    let settings = match settings {
        Ok(settings) => settings,
        Err(Mistake(line)) => {
            let fix = "name another folder with --cache-dir, or change the size";
            return vec![Finding::fault(CHECK, line.clone(), fix)];
        }
    };
    let dir = &settings.config.dir;
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    let mut findings = vec![folder(dir, there)];
    if findings[0].fix.is_none() {
        findings.push(holes(dir, there));
    }
    findings.push(kind(there));
    findings.extend(space(settings, there));
    findings.extend(in_use(dir, mountpoints));
    findings
}

/// Whether the folder can be used or made.
fn folder(dir: &Path, there: &Path) -> Finding {
    let (shown, user) = (dir.display(), geteuid().as_raw());
    let fix = format!("as root: install -d -m 700 -o {user} {shown}");
    if !there.is_dir() {
        return Finding::fault(CHECK, format!("{} is not a folder", there.display()), fix);
    }
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there == dir => Finding::ok(CHECK, format!("{shown} can be used")),
        Ok(()) => Finding::ok(CHECK, format!("{shown} can be made")),
        Err(rustix::io::Errno::ROFS) => {
            let text = format!("{shown} lies on a disk that is mounted read-only");
            Finding::fault(
                CHECK,
                text,
                "mount it for writing, or name another folder with --cache-dir",
            )
        }
        Err(errno) => {
            let text = format!(
                "user {user} cannot write to {}: {}",
                there.display(),
                plain(&errno.into())
            );
            Finding::fault(CHECK, text, fix)
        }
    }
}

fn holes(dir: &Path, there: &Path) -> Finding {
    const CHECK: &str = "hole punching";
    let shown = there.display();
    let other = "name a folder on ext4, XFS, Btrfs or tmpfs with --cache-dir";
    match can_punch_holes(there) {
        Ok(true) => Finding::ok(CHECK, format!("tried in {shown}")),
        Ok(false) => {
            let text = format!(
                "the file system of {} cannot free parts of files: the daemon would serve without a cache",
                dir.display()
            );
            Finding::fault(CHECK, text, other)
        }
        Err(error) => {
            Finding::fault(CHECK, format!("cannot be tried in {shown}: {}", plain(&error)), other)
        }
    }
}

fn kind(there: &Path) -> Finding {
    const CHECK: &str = "cache disk";
    let shown = there.display();
    let number = statfs(there).map(|found| u64::try_from(found.f_type).unwrap_or_default());
    let number = number.unwrap_or_default() & u64::from(u32::MAX);
    match KINDS.iter().find(|(known, ..)| *known == number) {
        Some((_, name, true)) => Finding::warning(
            CHECK,
            format!("{shown} lies on {name}, perhaps on another machine"),
            "name a folder on a disk of this machine with --cache-dir: a cache is to be faster than the source",
        ),
        Some((_, name, false)) => Finding::ok(CHECK, format!("{shown} lies on {name}")),
        None => Finding::ok(CHECK, format!("{shown} lies on file system {number:#x}")),
    }
}

/// Whether the cache can grow as large as it may.
fn space(settings: &CacheSettings, there: &Path) -> Option<Finding> {
    const CHECK: &str = "cache size";
    let limits = settings.config.limits;
    let disk = statvfs(there).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let (total, free) = (bytes(disk.f_blocks), bytes(disk.f_bavail));
    // Some file systems state no size.
    if total == 0 {
        return None;
    }
    let min_free = limits.min_free.of(total);
    let used = used_bytes(&settings.config.dir.join(folder_name()));
    let most = (free + used).saturating_sub(min_free);
    let [cap, most, min_free, free, used] =
        [limits.cap_bytes, most, min_free, free, used].map(ByteSize);
    if most >= cap {
        let text = format!("{cap}, of which {used} are in use; the disk has {free} free");
        return Some(Finding::ok(CHECK, text));
    }
    let text = format!(
        "is to be {cap}, but only {most} can be used: {free} are free, less {min_free} for others"
    );
    let fix = "free some space, or lower --cache-size or --min-free";
    let is_full = most.0 == 0;
    Some(if is_full {
        Finding::fault(CHECK, text, fix)
    } else {
        Finding::warning(CHECK, text, fix)
    })
}

/// Bytes on disk below a folder; what cannot be read counts as nothing.
fn used_bytes(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut pending = vec![folder.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    bytes
}

/// A cache has one daemon: that of these mounts, or it is in the way.
fn in_use(dir: &Path, mountpoints: &[PathBuf]) -> Option<Finding> {
    let pid = owner(dir)?;
    let shown = dir.display();
    let is_served = mountpoints.iter().any(|path| {
        mount_point::mounted(path).is_some_and(|found| found.kind == mount_point::KIND)
    });
    Some(if is_served {
        Finding::ok(CHECK, format!("{shown} is in use by process {pid}"))
    } else {
        let fix = "name another folder with --cache-dir, or end that process";
        Finding::fault(
            CHECK,
            format!("{shown} is in use by process {pid}, which serves other mounts"),
            fix,
        )
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_is_used_is_counted() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        assert_eq!(used_bytes(&folder.path().join("missing")), 0);
        fs::create_dir(folder.path().join("deep"))?;
        fs::write(folder.path().join("deep/file"), vec![1; 8192])?;
        assert!(used_bytes(folder.path()) >= 8192);
        Ok(())
    }
}
