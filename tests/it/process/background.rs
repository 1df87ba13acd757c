//! `--background`, and the helper of `mount(8)`: the program that was started returns when the mount answers.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use super::daemon::{SOON, read_all, source_of_one};
use crate::common::mount::{can_mount, detach, is_mounted};
use crate::common::tiny::Tiny;
use crate::common::{BINARY, command, command_as, eventually, skipped};

/// Folders for a daemon that is no child of the test, which is gone with its mount at the end.
struct Background {
    source: TempDir,
    folders: TempDir,
}

impl Background {
    fn new() -> Self {
        let (source, _) = source_of_one();
        let folders = TempDir::with_prefix("zarrims-background-").expect("a temporary folder");
        fs::create_dir(folders.path().join("mount")).expect("a folder");
        Self { source, folders }
    }

    fn mountpoint(&self) -> PathBuf {
        self.folders.path().join("mount")
    }

    fn cache(&self) -> PathBuf {
        self.folders.path().join("cache")
    }

    /// Runs the program to its end under a name, with words in which `@source`, `@mount` and `@cache` stand for
    /// paths. What it prints goes to files: pipes that the daemon kept open would have no end.
    fn run(&self, name: &str, words: &str, stderr: Stdio) -> Output {
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let words = words.split(' ').map(|word| {
            word.replace("@source", &path(self.source.path()))
                .replace("@mount", &path(&self.mountpoint()))
                .replace("@cache", &path(&self.cache()))
        });
        let child = command_as(name, &[])
            .args(words)
            .current_dir(self.folders.path())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        child.wait_with_output().expect("our child")
    }

    /// The daemon, which has left its number in the cache.
    fn pid(&self) -> Option<Pid> {
        let text =
            fs::read_to_string(self.cache().join(zarrims::cache::folder_name()).join("lock"))
                .ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    #[track_caller]
    fn unmount(&self) {
        let pidfd =
            pidfd_open(self.pid().expect("a daemon"), PidfdFlags::empty()).expect("it runs");
        assert!(detach(&self.mountpoint()), "it can be unmounted");
        eventually("the daemon ends with its mount", SOON, || {
            pidfd_send_signal(&pidfd, Signal::CONT) == Err(rustix::io::Errno::SRCH)
        });
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        while is_mounted(&self.mountpoint()) && detach(&self.mountpoint()) {}
    }
}

/// The line of `/proc/PID/stat` has the session behind the state, the parent and the group (`proc_pid_stat(5)`).
fn session(pid: Pid) -> String {
    let line = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let line = line.expect("it runs");
    let behind_name = line.rsplit(')').next().expect("a name in brackets");
    behind_name.split_whitespace().nth(3).expect("a session").to_owned()
}

#[test]
fn it_returns_when_the_mount_answers_and_lets_go_of_everything() {
    if !can_mount() {
        return;
    }
    let it = Background::new();
    // Reading both pipes to their ends shows that the daemon holds neither.
    let words = "--background --cache-dir cache --cache-size 1GiB --min-free 0 @source mount";
    let output = it.run("zarrims-mount", words, Stdio::piped());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    // The mount answers without any waiting, whatever folder the command was given in.
    read_all(&it.mountpoint().join("a.ims"));
    let pid = it.pid().expect("a daemon");
    let link = |name: &str| {
        let link = fs::read_link(format!("/proc/{}/{name}", pid.as_raw_nonzero()));
        link.expect("it runs").display().to_string()
    };
    assert_eq!(link("cwd"), "/");
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(stream), "/dev/null", "{stream}");
    }
    assert_eq!(session(pid), pid.as_raw_nonzero().to_string(), "a session of its own");
    it.unmount();
}

/// The daemon has left the folder in which its paths begin.
#[test]
fn it_reads_its_configuration_again_by_a_path_from_another_folder() {
    if !can_mount() {
        return;
    }
    let it = Background::new();
    let write = |size: &str| {
        let text = format!("[cache]\nsize = \"{size}\"\nmin-free = 0\n");
        fs::write(it.folders.path().join("f.toml"), text).expect("a file");
    };
    write("1GiB");
    let words =
        "--background --config f.toml --cache-dir cache --socket @cache.socket @source mount";
    let output = it.run("zarrims-mount", words, Stdio::piped());
    assert!(output.status.success(), "{output:?}");
    let reload = || it.run("zarrims-mount", "reload --socket @cache.socket", Stdio::piped());
    let same = reload();
    assert!(String::from_utf8_lossy(&same.stdout).starts_with("nothing has changed"), "{same:?}");
    write("2GiB");
    let output = reload();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("changed: cache-size"), "{output:?}");
    it.unmount();
}

#[test]
fn its_log_goes_on_where_standard_error_is_a_file() {
    if !can_mount() {
        return;
    }
    let it = Background::new();
    let path = it.folders.path().join("log");
    let log = File::create(&path).expect("a file");
    let words = "--background --cache-dir @cache --cache-size 1GiB --min-free 0 @source @mount";
    assert!(it.run("zarrims-mount", words, log.into()).status.success());
    it.unmount();
    let log = fs::read_to_string(path).expect("UTF-8");
    assert!(log.contains(" mounted ") && log.contains(" unmounted "), "{log}");
}

#[test]
fn what_is_wrong_is_said_before_it_returns_and_nothing_is_left() {
    let it = Background::new();
    for (name, words, code, line) in [
        ("zarrims-mount", "--background @source/none @mount", 1, "SOURCE @source/none: "),
        ("zarrims-mount", "--background @source @mount/none", 1, "MOUNTPOINT @mount/none: "),
        ("zarrims-mount", "--background --config @none @source @mount", 2, "--config @none: "),
        ("zarrims-mount", "--background --umask 9 @source @mount", 2, "--umask 9: "),
        (
            "zarrims-mount",
            "--background --list @source",
            2,
            "--background: only for a mount; see --help",
        ),
        // As mount(8) has it: 1 for the words, 32 for the mount.
        ("mount.zarrims", "@source/none @mount -o rw", 32, "SOURCE @source/none: "),
        ("mount.zarrims", "@source @mount -o rw,cache_size=x", 1, "--cache-size x: "),
        (
            "mount.zarrims",
            "@source @mount -o rw,cache_sise=1G",
            1,
            "-o cache_sise: no such option; similar: cache_size; see zarrims-mount --help",
        ),
        ("/sbin/mount.fuse.zarrims", "@source", 1, "a path is missing: "),
    ] {
        let output = it.run(name, words, Stdio::piped());
        assert_eq!(output.status.code(), Some(code), "{words}: {output:?}");
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        let shown = |text: &str| {
            text.replace("@source", it.source.path().to_str().expect("UTF-8"))
                .replace("@mount", it.mountpoint().to_str().expect("UTF-8"))
        };
        assert!(text.starts_with(&shown(&format!("zarrims-mount: {line}"))), "{words}: {text}");
        assert_eq!(text.lines().count(), 1, "{words}: {text}");
        assert!(!is_mounted(&it.mountpoint()), "{words}");
    }
}

#[test]
fn the_helper_of_mount_mounts_with_the_options_of_fstab() {
    if !can_mount() {
        return;
    }
    for (name, options) in [
        ("mount.zarrims", "rw,cache_dir=@cache,cache_size=1G,min-free=0"),
        (
            "/sbin/mount.fuse.zarrims",
            "ro,_netdev,nofail,noauto,user,defaults,nodev,nosuid,noexec,relatime,x-systemd.automount,\
             x-systemd.requires-mounts-for=/,cache_dir=@cache,cache_size=1G,min_free=0,labels=files,umask=027",
        ),
    ] {
        let it = Background::new();
        let checked = it.run(name, &format!("@source @mount -fv -o {options}"), Stdio::piped());
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
        assert!(!is_mounted(&it.mountpoint()), "-f only looks");
        let output =
            it.run(name, &format!("@source @mount -n -o {options} -t zarrims"), Stdio::piped());
        assert!(output.status.success(), "{output:?}");
        read_all(&it.mountpoint().join("a.ims"));
        // The next one waits for the cache of the last one, as `umount` does not.
        assert!(detach(&it.mountpoint()), "it can be unmounted");
        let output = it.run(name, &format!("@source @mount -o {options}"), Stdio::piped());
        assert!(output.status.success(), "{output:?}");
        read_all(&it.mountpoint().join("a.ims"));
        it.unmount();
    }
}

/// Whoever waits is ended, as by a time limit of the service manager: no mount may come later.
#[test]
fn nobody_waits_and_nothing_is_mounted() {
    if !can_mount() {
        return;
    }
    let it = Background::new();
    // The pipe that the child would tell has no reader.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut child = command(&[])
        .env("ZARRIMS_TELLS_STANDARD_OUTPUT", "1")
        .args(["--background", "--cache-size", "1GiB", "--min-free", "0", "--cache-dir"])
        .args([it.cache(), it.source.path().to_path_buf(), it.mountpoint()])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut text = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut text).expect("UTF-8");
    assert_eq!(child.wait().expect("our child").code(), Some(1), "{text}");
    assert!(!is_mounted(&it.mountpoint()));
}

/// What a rootless container has: a user without rights on the machine, in a namespace where it may mount.
#[test]
fn an_unprivileged_user_mounts_in_a_namespace() {
    if !can_mount() {
        return;
    }
    let (source, folders) = (open_folder(), open_folder());
    let node = folders.path().join("fuse").display().to_string();
    // Where the device is root's alone, as on servers without udev, it gets the usual mode, for this test only.
    let device = "mknod -m 666 \"$1\" c 10 229 && chmod 666 \"$1\" && mount --bind \"$1\" /dev/fuse; shift; exec \"$@\"";
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    let mut wrapper = Vec::new();
    if rustix::process::geteuid().is_root() {
        wrapper.extend(["unshare", "--mount", "sh", "-c", device, "sh", node.as_str()]);
        wrapper.extend(nobody);
    }
    wrapper.extend(unshare);
    let tried = std::process::Command::new(wrapper[0])
        .args(&wrapper[1..])
        .args(["sh", "-c", ": <>/dev/fuse"])
        .output();
    // The trial is repeated below, and the device made once more.
    let _ = fs::remove_file(&node);
    if !tried.is_ok_and(|output| output.status.success()) {
        skipped("no namespaces of users on this machine, or no device for them");
        return;
    }
    Tiny::default().write(&source.path().join("a.zarr"));
    // Nobody starts the program from where only its owner may enter.
    let program = folders.path().join("zarrims-mount");
    fs::copy(BINARY, &program).expect("a file");
    let script = "\"$1\" --background --cache-dir \"$3/cache\" --cache-size 1GiB --min-free 0 \"$2\" \"$3/mount\" && \
        head -c 4 \"$3/mount/a.ims\" | tail -c 3 && umount \"$3/mount\"";
    fs::create_dir(folders.path().join("mount")).expect("a folder");
    fs::set_permissions(folders.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let output = std::process::Command::new(wrapper[0])
        .args(&wrapper[1..])
        .args(["sh", "-c", script, "sh"])
        .args([program.as_path(), source.path(), folders.path()])
        .env("ZARRIMS_CONFIG", "/dev/null")
        .output()
        .expect("it starts");
    assert!(output.status.success() && output.stdout == b"HDF", "{output:?}");
}

/// A folder that all users may read.
fn open_folder() -> TempDir {
    let folder = TempDir::with_prefix("zarrims-open-").expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    folder
}
