//! `doctor`: a machine that is as it must be, and each fault, made for real.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::rig::{Folders, refused};
use crate::common::mount::{Mount, can_mount, unmount};
use crate::common::process::is_root;
use crate::common::{BINARY, command, found, skipped};
use crate::process::daemon::{Daemon, source_of_one};

/// An account that every machine has.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// What the program has found, and its status.
struct Told {
    status: Option<i32>,
    rows: Vec<Value>,
}

impl Told {
    /// Runs it. What is not well must have a fix, and a fault must be in the status.
    #[track_caller]
    fn by(mut command: Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let rows: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(!rows.is_empty() && said.is_empty(), "{text}{said}");
        for row in &rows {
            assert_eq!(row["fix"].is_string(), row["state"] != "ok", "{row}");
        }
        let told = Self { status: output.status.code(), rows };
        assert_eq!(told.status, Some(i32::from(!told.of("fault").is_empty())), "{text}");
        told
    }

    /// As the user of the tests.
    #[track_caller]
    fn plain(args: &[OsString]) -> Self {
        Self::through(&[], args)
    }

    #[track_caller]
    fn through(wrapper: &[&str], args: &[OsString]) -> Self {
        let mut command = command(wrapper);
        command.args(["doctor", "--json"]).args(args);
        Self::by(command)
    }

    fn of(&self, state: &str) -> Vec<&Value> {
        self.rows.iter().filter(|row| row["state"] == state).collect()
    }

    /// Asserts that a check has found something with these words.
    #[track_caller]
    fn assert(&self, state: &str, check: &str, words: &str) {
        let is_it = |row: &&Value| {
            row["check"] == check && row["text"].as_str().is_some_and(|text| text.contains(words))
        };
        let found = self.rows.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("{check}: {words}: {:#?}", self.rows));
        assert_eq!(found["state"], state, "{found}");
    }
}

/// Words with `@` for the folder of the test.
fn words(folders: &Folders, line: &str) -> Vec<OsString> {
    folders.expand(line).split_whitespace().map(OsString::from).collect()
}

/// Whether this user can run the program as another one, who can read it.
fn can_be_nobody() -> bool {
    if !is_root("to be another user") {
        return false;
    }
    let mut command = command(&NOBODY);
    let is_there = command.arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        skipped(&format!("another user cannot run {BINARY}"));
    }
    is_there
}

/// Runs a line of a shell in a mount namespace of its own, which ends by starting the program: `exec "$@"`.
fn apart(line: &str, wrapper: &[&str], args: &[OsString]) -> Command {
    let mut inner = command(wrapper);
    inner.args(["doctor", "--json"]).args(args);
    let mut outer = command(&["unshare", "--mount", "sh", "-c", line]);
    // `command` has put the program behind the line, where a shell takes it for its own name.
    outer.arg(inner.get_program()).args(inner.get_args());
    outer
}

#[test]
fn a_machine_without_faults() {
    if !can_mount() {
        return;
    }
    let folders = Folders::new();
    let told =
        Told::plain(&words(&folders, "@source @mount --cache-dir @cache --cache-size 64MiB"));
    assert_eq!(told.of("fault"), Vec::<&Value>::new());
    for (check, text) in [
        ("device", "/dev/fuse"),
        ("openat2", "links"),
        ("libhdf5", "writes and reads"),
        ("memory", "takes about"),
        ("source", "can be read"),
        ("mount point", "is free"),
        ("cache", "can be used"),
        ("hole punching", "tried in"),
        ("cache size", "64.0 MiB"),
    ] {
        told.assert("ok", check, text);
    }
    // Nothing is made.
    assert!(!folders.mounted());
    assert_eq!(fs::read_dir(folders.folder.path().join("cache")).expect("a folder").count(), 0);
    let told = Told::plain(&words(&folders, "@source @mount --cache-dir @new/deep"));
    told.assert("ok", "cache", "can be made");
    assert!(!folders.folder.path().join("new").exists());

    let output = command(&[]).arg("doctor").output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success() && text.ends_with("s\n"), "{text}");
    assert!(text.contains("ok       kernel: Linux"), "{text}");
}

#[test]
fn the_words_of_the_command_line() {
    let folders = Folders::new();
    for line in ["doctor --no-such", "doctor @source @mount more", "doctor --cache-size x"] {
        assert_eq!(refused(line, &folders).status.code(), Some(2), "{line}");
    }
}

#[test]
fn mount_points_sources_and_configurations_that_cannot_be() {
    let folders = Folders::new();
    for (line, check, text) in [
        ("@source @full", "mount point", "is not empty"),
        ("@source @file", "mount point", "is not a folder"),
        ("@source @none", "mount point", "No such file"),
        ("@source /proc", "mount point", "another file system"),
        ("@source @source/inside", "configuration", "inside SOURCE"),
        ("@none @mount", "source", "no such file"),
        ("@file @mount", "source", "neither a folder nor a zip file"),
        ("@source @mount --cache-dir @source/inside", "cache", "lies inside SOURCE"),
        ("@source @mount --cache-dir @file", "cache", "is not a folder"),
        ("@source @mount --cache-dir @file/x", "cache", "ot a "),
        ("@source @mount --memory 900TiB", "memory", "takes about"),
        ("--config @none", "configuration", "no such file"),
        ("--config @bad.toml", "configuration", "bad.toml:2: sise: no such key"),
    ] {
        fs::write(folders.folder.path().join("bad.toml"), "[cache]\nsise = 1\n").expect("a file");
        Told::plain(&words(&folders, line)).assert("fault", check, text);
    }
}

#[test]
fn each_mount_of_a_file_is_checked() {
    let folders = Folders::new();
    let text = "[cache]\ndir = \"@cache\"\nsize = \"64MiB\"\n\
                [[mount]]\nsource = \"@source\"\nmountpoint = \"@mount\"\n\
                [[mount]]\nsource = \"@none\"\nmountpoint = \"@full\"\n";
    fs::write(folders.folder.path().join("f.toml"), folders.expand(text)).expect("a file");
    let told = Told::plain(&words(&folders, "--config @f.toml"));
    told.assert("ok", "configuration", "2 mounts");
    told.assert("ok", "source", "source can be read");
    told.assert("ok", "mount point", "mount is free");
    told.assert("fault", "source", "f.toml:8: source");
    told.assert("fault", "mount point", "full is not empty");
    told.assert("ok", "cache", "can be used");
}

#[test]
fn a_mount_that_is_served_and_one_that_has_died() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let mut daemon = Daemon::start(source.path(), Stdio::null(), &[], &[]);
    let cache = daemon.path().with_file_name("cache");
    let of = |mountpoint: &Path| {
        let paths = [source.path(), mountpoint, Path::new("--cache-dir"), &cache];
        let args: Vec<OsString> = paths.iter().map(|path| path.as_os_str().to_owned()).collect();
        Told::plain(&args)
    };
    let told = of(&daemon.path());
    told.assert("ok", "mount point", "is served by a daemon");
    told.assert("ok", "cache", &format!("in use by process {}", daemon.id()));
    let elsewhere = tempfile::tempdir().expect("a folder");
    of(elsewhere.path()).assert("fault", "cache", "which serves other mounts");

    daemon.kill();
    let told = of(&daemon.path());
    told.assert("fault", "mount point", "a mount whose program has died");
    let fix = told.of("fault")[0]["fix"].as_str().expect("a fix");
    assert!(fix.contains(&format!("fusermount3 -u -z {}", daemon.path().display())), "{fix}");
    let below = daemon.path().join("below");
    let shown = daemon.path().display().to_string();
    of(&below).assert("fault", "mount point", &format!("in the way at {shown}"));
}

#[test]
fn what_another_user_may_not_do() {
    if !can_be_nobody() {
        return;
    }
    let folders = Folders::new();
    let folder = folders.folder.path();
    let mode = |path: &str, mode| {
        fs::set_permissions(folder.join(path), fs::Permissions::from_mode(mode)).expect("ours");
    };
    mode("", 0o755);
    let line = words(&folders, "@source @mount --cache-dir @cache --allow-other");
    let told = Told::through(&NOBODY, &line);
    told.assert("fault", "mount point", "may not write there");
    told.assert("fault", "cache", "user 65534 cannot write");
    told.assert("ok", "source", "can be read");
    mode("source/a.ome.zarr/zarr.json", 0o600);
    Told::through(&NOBODY, &line).assert("warning", "source", "1 of ");
    mode("source", 0o700);
    Told::through(&NOBODY, &line).assert("fault", "source", "permission denied");
}

#[test]
fn what_mounting_needs_of_the_machine() {
    if !can_be_nobody() {
        return;
    }
    let folders = Folders::new();
    let folder = folders.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("ours");
    let line = words(&folders, "@source @mount --cache-dir @cache --allow-other");

    let told = Told::by(apart("mount -t tmpfs none /dev && exec \"$@\"", &[], &line));
    told.assert("fault", "device", "/dev/fuse is missing");
    for (content, state) in
        [("", "fault"), ("# user_allow_other\n", "fault"), ("user_allow_other\n", "ok")]
    {
        let file = folder.join("fuse.conf");
        fs::write(&file, content).expect("a file");
        let shell = format!("mount --bind {} /etc/fuse.conf && exec \"$@\"", file.display());
        if !Path::new("/etc/fuse.conf").exists() {
            skipped("no /etc/fuse.conf");
            break;
        }
        let told = Told::by(apart(&shell, &NOBODY, &line));
        let words = if state == "ok" { "has it" } else { "lacks it" };
        told.assert(state, "user_allow_other", words);
    }
    // The helper: none, one without its mode, and rights that cannot be gained.
    let helpers = folder.join("helpers");
    fs::create_dir(&helpers).expect("a folder");
    let path = std::env::join_paths([helpers.as_path(), Path::new("/nowhere")]).expect("a list");
    let with_helpers = |wrapper: &[&str]| {
        let setpriv = found("setpriv").display().to_string();
        let wrapper: Vec<&str> = [&[setpriv.as_str()], &wrapper[1..]].concat();
        let mut command = command(&wrapper);
        command.args(["doctor", "--json"]).args(&line).env("PATH", &path);
        Told::by(command)
    };
    with_helpers(&NOBODY).assert("fault", "fusermount3", "is not installed");
    let helper = helpers.join("fusermount3");
    fs::write(&helper, "#!/bin/sh\n").expect("a file");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("ours");
    with_helpers(&NOBODY).assert("fault", "fusermount3", "is not set-user-id root");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o4755)).expect("ours");
    with_helpers(&NOBODY).assert("ok", "fusermount3", "is set-user-id root");
    let without = [&NOBODY[..], &["--no-new-privs"]].concat();
    with_helpers(&without).assert("fault", "fusermount3", "no_new_privs");
    let ambient = [&NOBODY[..], &["--inh-caps=+sys_admin", "--ambient-caps=+sys_admin"]].concat();
    with_helpers(&ambient).assert("ok", "fusermount3", "may mount without it");
    let few = ["prlimit", "--nofile=512:512"];
    Told::through(&few, &line).assert("warning", "open files", "at most 512");
}

/// `ramfs` knows no holes, like vfat and old NFS.
#[test]
fn a_disk_that_cannot_free_parts_of_files() {
    if !is_root("to mount a disk") {
        return;
    }
    let folders = Folders::new();
    let disk = folders.folder.path().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let made = Command::new("mount").args(["-t", "ramfs", "none"]).arg(&disk).status();
    if !made.is_ok_and(|status| status.success()) {
        skipped("no ramfs");
        return;
    }
    let told = Told::plain(&words(&folders, "@source @mount --cache-dir @disk/cache"));
    assert!(unmount(&["umount"], &disk), "a disk of this test");
    told.assert("fault", "hole punching", "cannot free parts of files");
}

/// The shares of README and SHARES, each with its path in a folder.
fn recipes(folder: &Path) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = ["README.md", "doc/SHARES.md"].map(|name| fs::read_to_string(root.join(name)));
    let texts = texts.map(|text| text.expect("a document"));
    let blocks = texts.iter().flat_map(|text| text.split("```").skip(1).step_by(2));
    let shares = blocks.filter(|block| block.contains("[ims]"));
    let path = format!("path = {}", folder.display());
    shares
        .map(|block| {
            let lines = block.lines().skip(1);
            let moved = lines.map(|line| {
                if line.trim_start().starts_with("path =") { path.as_str() } else { line }
            });
            moved.collect::<Vec<_>>().join("\n") + "\n"
        })
        .collect()
}

/// A mount that is to be shared.
const SHARED: &str = "@source @mount --cache-dir @cache --allow-other";

/// A share that has all that can be wrong, and what is said of it.
const BAD: &str = "[global]\nsmb2 leases = no\n[ims]\npath = @mount\nwriteable = yes\n\
                   oplocks = no\nvfs objects = readahead\naio read size = 0\n";
const SAID: [&str; 14] = [
    "is the mount itself",
    "read only = no",
    "oplocks = no",
    "posix locking = yes",
    "strict locking = auto",
    "ea support = yes",
    "store dos attributes = yes",
    "map archive = yes",
    "nt acl support = yes",
    "the module readahead",
    "without the module fileid",
    "without the module offline",
    "smb2 leases = no",
    "aio read size = 0",
];

/// What is found with a configuration of Samba, and programs in these folders.
#[track_caller]
fn with_share(folders: &Folders, text: &str, line: &str, path: Option<&str>) -> Told {
    let conf = folders.folder.path().join("smb.conf");
    fs::write(&conf, folders.expand(text)).expect("a file");
    let mut command = command(&[]);
    command.args(["doctor", "--json", "--smb-conf"]).arg(conf).args(words(folders, line));
    path.map(|path| command.env("PATH", path));
    Told::by(command)
}

/// With `testparm`, where it is installed, and without it.
const PATHS: [Option<&str>; 2] = [None, Some("/nowhere")];

#[test]
fn the_shares_of_the_documents_are_as_they_must_be() {
    let folders = Folders::new();
    let found = recipes(folders.folder.path());
    assert!(found.len() >= 3, "README and SHARES have shares");
    for (recipe, path) in found.iter().flat_map(|recipe| PATHS.map(|path| (recipe, path))) {
        let told = with_share(&folders, recipe, SHARED, path);
        let of_samba = told.rows.iter().filter(|row| row["check"] == "samba");
        let bad: Vec<_> = of_samba.filter(|row| row["state"] != "ok").collect();
        // A module that is not installed here is no matter of the recipe.
        assert!(bad.iter().all(|row| row["text"].to_string().contains("not installed")), "{bad:?}");
    }
}

#[test]
fn shares_of_samba() {
    let folders = Folders::new();
    for path in PATHS {
        let told = with_share(&folders, BAD, "@source @mount --cache-dir @cache", path);
        told.assert("fault", "samba", "lets nobody in");
        for words in SAID {
            told.assert("warning", "samba", words);
        }
        let told = with_share(&folders, "[other]\npath = @full\n", SHARED, path);
        told.assert("fault", "samba", "no share shows");
    }
    if Command::new("testparm").arg("--version").output().is_ok() {
        with_share(&folders, "[ims\n", SHARED, None).assert("fault", "samba", "testparm");
    } else {
        skipped("no testparm: smb.conf is read without it only");
    }
    let told = Told::plain(&words(&folders, &format!("{SHARED} --smb-conf @none")));
    told.assert("fault", "samba", "No such file");
}

/// Without MOUNT, the shares of all mounts of this program are looked for.
#[test]
fn shares_of_mounts_that_are_served() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let mount = Mount::of(source.path()).start();
    let folders = Folders::new();
    let conf = folders.folder.path().join("smb.conf");
    fs::write(&conf, "[other]\npath = /nowhere\n").expect("a file");
    let told = Told::plain(&["--smb-conf".into(), conf.into()]);
    told.assert("fault", "samba", &format!("no share shows {}", mount.path().display()));
}
