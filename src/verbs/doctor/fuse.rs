//! FUSE: the kernel, its device, and the helper of users who may not mount.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::finding::{Finding, plain};
use crate::{mount, process};

/// `openat2(2)` came with it, which reading a source needs.
const OLDEST_KERNEL: (u32, u32) = (5, 6);

const HELPER: &str = "fusermount3";
const HELPER_CONFIG: &str = "/etc/fuse.conf";

/// Bit of the set-user-id mode.
const SETUID: u32 = 0o4000;

/// All of it. `allows_others`: a mount is to let in other users.
pub(super) fn check(allows_others: bool) -> Vec<Finding> {
    let mut findings = vec![kernel(), device(), openat2()];
    let is_direct = mount::mounts_directly();
    findings.push(helper(is_direct));
    findings.extend(allows_others.then(|| others(is_direct)));
    findings
}

fn kernel() -> Finding {
    const CHECK: &str = "kernel";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    let version = numbers.next().zip(numbers.next());
    if version.is_some_and(|version| version < OLDEST_KERNEL) {
        let text = format!("Linux {release} is too old");
        return Finding::fault(CHECK, text, "use Linux 5.6 or newer");
    }
    // Such as "nodev fuse". A module that is loaded at the first use of the device is not there yet.
    let is_fuse = |line: &str| line.split_whitespace().next_back() == Some("fuse");
    match fs::read_to_string("/proc/filesystems") {
        Ok(known) if !known.lines().any(is_fuse) => Finding::warning(
            CHECK,
            format!("Linux {release} does not know FUSE yet"),
            "as root: modprobe fuse; and a file below /etc/modules-load.d with the word fuse",
        ),
        _ => Finding::ok(CHECK, format!("Linux {release} with FUSE")),
    }
}

fn device() -> Finding {
    const CHECK: &str = "device";
    match mount::check_device() {
        Ok(()) => Finding::ok(CHECK, "/dev/fuse can be opened"),
        Err(line) => {
            let (text, fix) = line.split_once("; ").unwrap_or((&line, "look at /dev/fuse"));
            Finding::fault(CHECK, text, fix)
        }
    }
}

fn openat2() -> Finding {
    use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
    const CHECK: &str = "openat2";
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let tried = open("/", flags, Mode::empty())
        .and_then(|root| openat2(&root, ".", flags, Mode::empty(), resolve));
    match tried {
        Ok(_) => Finding::ok(CHECK, "links cannot lead out of SOURCE"),
        Err(errno) => Finding::fault(
            CHECK,
            format!("the system call openat2 is refused ({errno}): no source can be read"),
            "in a container, use a seccomp profile that knows it; in a systemd unit, a SystemCallFilter= that lets \
             it through, and no RestrictSUIDSGID=",
        ),
    }
}

fn helper(is_direct: bool) -> Finding {
    const CHECK: &str = "fusermount3";
    if is_direct {
        return Finding::ok(CHECK, "this user may mount without it");
    }
    let Some(path) = found(HELPER) else {
        return Finding::fault(
            CHECK,
            "is not installed, and this user may not mount without it",
            "as root: apt install fuse3; or mount as root",
        );
    };
    let shown = path.display();
    let is_setuid = fs::metadata(&path)
        .is_ok_and(|file| file.uid() == 0 && file.permissions().mode() & SETUID != 0);
    if !is_setuid {
        let fix = format!("as root: chown root {shown} && chmod u+s {shown}");
        return Finding::fault(CHECK, format!("{shown} is not set-user-id root"), fix);
    }
    if statvfs(&path).is_ok_and(|disk| disk.f_flag.contains(StatVfsMountFlags::NOSUID)) {
        let text = format!("{shown} lies on a file system that is mounted with nosuid");
        return Finding::fault(
            CHECK,
            text,
            "mount as root, or give the right to mount (CAP_SYS_ADMIN)",
        );
    }
    if process::status_mask("NoNewPrivs") == Some(1) {
        return Finding::fault(
            CHECK,
            "this process and its children may gain no rights (no_new_privs)",
            "in a systemd unit: AmbientCapabilities=CAP_SYS_ADMIN, as the unit zarrims@ has it; in a container: \
             --cap-add SYS_ADMIN",
        );
    }
    Finding::ok(CHECK, format!("{shown} is set-user-id root"))
}

/// A program in one of the folders of `PATH`.
pub(super) fn found(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let is_program = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(is_program)
}

fn others(is_direct: bool) -> Finding {
    const CHECK: &str = "user_allow_other";
    if is_direct {
        return Finding::ok(CHECK, "this user may let others in without it");
    }
    let fix = format!("as root: echo user_allow_other >> {HELPER_CONFIG}; or mount as root");
    let is_line = |line: &str| line.trim() == "user_allow_other";
    match fs::read_to_string(Path::new(HELPER_CONFIG)) {
        Ok(text) if text.lines().any(is_line) => {
            Finding::ok(CHECK, format!("{HELPER_CONFIG} has it"))
        }
        Ok(_) => {
            let text = format!("{HELPER_CONFIG} lacks it, and --allow-other needs it");
            Finding::fault(CHECK, text, fix)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("{HELPER_CONFIG} is missing, and --allow-other needs the line");
            Finding::fault(CHECK, text, fix)
        }
        Err(error) => {
            let text = format!("{HELPER_CONFIG} cannot be read by this user: {}", plain(&error));
            Finding::warning(CHECK, text, fix)
        }
    }
}
