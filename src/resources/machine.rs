//! The memory that this process may take: of the machine, and of the control groups it is in.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that the machine, or the control group with the least of them, lets this process have. `None` where
/// neither is known.
pub(crate) fn memory_bytes() -> Option<u64> {
    Machine { proc: Path::new("/proc"), root: Path::new("/") }.memory_bytes()
}

/// All memory of the machine. `None` where it is not known.
pub(crate) fn installed_bytes() -> Option<u64> {
    Machine { proc: Path::new("/proc"), root: Path::new("/") }.installed()
}

/// Where a machine states its memory and its control groups.
struct Machine<'a> {
    proc: &'a Path,
    /// Mount points are below it.
    root: &'a Path,
}

impl Machine<'_> {
    fn memory_bytes(&self) -> Option<u64> {
        let groups = fs::read_to_string(self.proc.join("self/cgroup")).unwrap_or_default();
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo")).unwrap_or_default();
        let mounts: Vec<Hierarchy<'_>> = mounts.lines().filter_map(Hierarchy::parse).collect();
        let of_groups = groups.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_v2 = controllers.is_empty();
            let is_memory = controllers.split(',').any(|name| name == "memory");
            let mount = mounts.iter().find(|mount| mount.is_v2 == is_v2);
            (is_v2 || is_memory).then(|| mount?.limit(self.root, path)).flatten()
        });
        of_groups.chain(self.installed()).min()
    }

    /// All memory of the machine (`proc_meminfo(5)`).
    fn installed(&self) -> Option<u64> {
        let text = fs::read_to_string(self.proc.join("meminfo")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    }
}

/// A mounted hierarchy of control groups that limits memory.
struct Hierarchy<'a> {
    is_v2: bool,
    /// The group that is shown at the mount point: in a container perhaps the container's own.
    shown: &'a str,
    mount_point: &'a str,
}

impl<'a> Hierarchy<'a> {
    /// A line of `mountinfo` (`proc_pid_mountinfo(5)`), if it is such a hierarchy.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (shown, mount_point) = (mount.next()?, mount.next()?);
        let mut system = system.split(' ');
        let is_v2 = match system.next()? {
            "cgroup2" => true,
            "cgroup" if system.nth(1)?.split(',').any(|name| name == "memory") => false,
            _ => return None,
        };
        Some(Self { is_v2, shown, mount_point })
    }

    /// The lowest limit of a group and those above it (Linux, "Control Group v2", `memory.max` and
    /// `memory.high`; "Memory Resource Controller", `memory.limit_in_bytes`).
    fn limit(&self, root: &Path, path: &str) -> Option<u64> {
        let top = root.join(self.mount_point.trim_start_matches('/'));
        let inside = Path::new(path).strip_prefix(self.shown).unwrap_or(Path::new(path));
        let inside: PathBuf = inside.strip_prefix("/").unwrap_or(inside).to_path_buf();
        let files: &[&str] =
            if self.is_v2 { &["memory.max", "memory.high"] } else { &["memory.limit_in_bytes"] };
        let limits = inside.ancestors().flat_map(|group| {
            let group = top.join(group);
            files.iter().filter_map(move |file| {
                // `max` is no number, and no limit.
                fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok()
            })
        });
        limits.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       2048 kB\nMemFree: 3 kB\n");

    #[track_caller]
    fn assert_memory(files: &[(&str, &str)], expected: Option<u64>) {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let machine = Machine { proc: &folder.path().join("proc"), root: folder.path() };
        assert_eq!(machine.memory_bytes(), expected);
    }

    #[test]
    fn the_machine_without_groups() {
        assert_memory(&[], None);
        assert_memory(&[MEMINFO], Some(2048 * 1024));
        assert_memory(
            &[MEMINFO, ("proc/self/cgroup", "0::/\n1:memory:/x\nnonsense")],
            Some(2 << 20),
        );
    }

    #[test]
    fn the_second_version_is_walked_upwards() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let unit = [
            MEMINFO,
            ("proc/self/mountinfo", mounts),
            ("proc/self/cgroup", "0::/system.slice/ims.service\n"),
            ("sys/fs/cgroup/system.slice/ims.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "1000000\n"),
        ];
        assert_memory(&unit, Some(1_000_000));
        let high = ("sys/fs/cgroup/system.slice/ims.service/memory.high", "900000\n");
        assert_memory(&[&unit[..], &[high]].concat(), Some(900_000));
        let more = ("sys/fs/cgroup/system.slice/memory.max", "99000000000\n");
        assert_memory(&[&unit[..], &[more]].concat(), Some(2 << 20));
    }

    #[test]
    fn the_first_version_and_containers() {
        let mounts = "1 0 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      2 0 0:2 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let files = [
            MEMINFO,
            ("proc/self/mountinfo", mounts),
            ("proc/self/cgroup", "7:cpu:/y\n4:cpuacct,memory:/docker/x/sub\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "500000\n"),
            ("sys/fs/cgroup/memory/sub/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_memory(&files, Some(500_000));
        // The namespace hides where the group is.
        let hidden = ("proc/self/cgroup", "4:memory:/elsewhere/deep\n");
        assert_memory(&[&files[..], &[hidden]].concat(), Some(500_000));
    }
}
