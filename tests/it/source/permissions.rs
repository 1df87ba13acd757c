//! Who may read what: nobody reads through the mount what the source denies them, by whatever part of a
//! store.

use std::fs::{self, File, Permissions};
use std::io::{Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::XattrFlags;
use tempfile::TempDir;

use super::stores::{Version, shows_image};
use crate::common::mount::{Mount, can_mount};
use crate::common::process::is_root;
use crate::common::rest::rest;
use crate::common::{BINARY, eventually, skipped};

const OWNER: u32 = 61_500;
/// `nobody`: `fusermount3` wants a user that the machine knows.
const COLLEAGUE: u32 = 65_534;
const GROUP: u32 = 61_600;
const OTHER: u32 = 61_502;
const STRANGER: u32 = 61_700;

/// Rights are taken away within this time.
const REVOKED: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(15);

/// A reader: the owner of the store, a colleague in its group, or any other user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Owner,
    Colleague,
    Other,
}

impl Who {
    const ALL: [Self; 3] = [Self::Owner, Self::Colleague, Self::Other];

    fn setpriv(self) -> Vec<String> {
        let (uid, groups) = match self {
            Self::Owner => (OWNER, format!("--groups={GROUP}")),
            Self::Colleague => (COLLEAGUE, format!("--groups={GROUP}")),
            Self::Other => (OTHER, "--clear-groups".to_owned()),
        };
        let ids = [format!("--reuid={uid}"), format!("--regid={uid}"), groups];
        ["setpriv".to_owned()].into_iter().chain(ids).collect()
    }

    fn run(self, args: &[&str]) -> bool {
        let words = self.setpriv();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args).stdin(Stdio::null());
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.expect("setpriv starts").success()
    }

    /// Whether all bytes of a file can be read.
    fn reads(self, file: &Path) -> bool {
        self.run(&["cat", "--", file.to_str().expect("UTF-8")])
    }

    /// Whether all files of a store can be read.
    fn reads_all(self, store: &Path) -> bool {
        let store = store.to_str().expect("UTF-8");
        self.run(&["sh", "-c", "test -x \"$1\" && find \"$1\" -type f -exec cat {} +", "sh", store])
    }
}

/// A store in a folder, both with the rights that most have.
struct Scene {
    folder: TempDir,
    version: Version,
}

impl Scene {
    fn new(version: Version) -> Self {
        let folder = TempDir::with_prefix("zarrims-permissions-").expect("a temporary folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
        for name in ["source/lab", "mount", "cache"] {
            fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        let scene = Self { folder, version };
        version.write(&scene.store());
        scene.reset();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("source/lab/a.zarr")
    }

    fn file(&self) -> PathBuf {
        self.path("mount/lab/a.ims")
    }

    /// Everybody may read everything.
    fn reset(&self) {
        let mut pending = vec![self.path("source/lab")];
        while let Some(path) = pending.pop() {
            let mode = if path.is_dir() { 0o755 } else { 0o644 };
            set_acl(&path, &[]);
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
            chown(&path, Some(OWNER), Some(GROUP)).expect("root may");
            if path.is_dir() {
                let entries = fs::read_dir(&path).expect("a folder");
                pending.extend(entries.map(|entry| entry.expect("an entry").path()));
            }
        }
        rest(&self.path("source"));
    }
}

/// Sets the entries (tag, rights, number) of an access control list; none removes it.
fn set_acl(path: &Path, entries: &[(u16, u16, u32)]) {
    const NAME: &str = "system.posix_acl_access";
    if entries.is_empty() {
        // There is none mostly.
        let _ = rustix::fs::removexattr(path, NAME);
        return;
    }
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, number) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(rights.to_le_bytes());
        acl.extend(number.to_le_bytes());
    }
    rustix::fs::setxattr(path, NAME, &acl, XattrFlags::empty()).expect("a disk with ACLs");
}

/// What is done to a part of the store.
enum Change {
    Mode(u32),
    /// Owner, group and mode.
    Own(u32, u32, u32),
    Acl(&'static [(u16, u16, u32)]),
}

impl Change {
    fn make(&self, path: &Path) {
        match *self {
            Self::Mode(mode) => {
                fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
            }
            Self::Own(uid, gid, mode) => {
                chown(path, Some(uid), Some(gid)).expect("root may");
                fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
            }
            Self::Acl(entries) => set_acl(path, entries),
        }
    }
}

const NOBODY: u32 = u32::MAX;

/// `other` may read, one user may not.
const ACL_DENIES: &[(u16, u16, u32)] =
    &[(0x01, 6, NOBODY), (0x02, 0, OTHER), (0x04, 4, NOBODY), (0x10, 4, NOBODY), (0x20, 4, NOBODY)];

/// The group has no rights, though `stat` shows the mask in its place.
const ACL_MASKS: &[(u16, u16, u32)] = &[
    (0x01, 6, NOBODY),
    (0x02, 4, STRANGER),
    (0x04, 0, NOBODY),
    (0x10, 4, NOBODY),
    (0x20, 0, NOBODY),
];

type Row = (&'static str, &'static str, Change, &'static [Who], u32);

/// What is changed, who reads then, and the mode that is shown. `{...}` stands for a part by its role.
const ROWS: &[Row] = {
    use Change::{Acl, Mode, Own};
    use Who::{Colleague, Other, Owner};
    &[
        ("nothing", "{store}", Mode(0o755), &[Owner, Colleague, Other], 0o444),
        ("store for its group", "{store}", Mode(0o750), &[Owner, Colleague], 0o440),
        ("store for its owner", "{store}", Mode(0o700), &[Owner], 0o400),
        ("store for others only", "{store}", Mode(0o705), &[Owner, Other], 0o404),
        ("parent for its owner", "{parent}", Mode(0o700), &[Owner], 0o444),
        ("parent without x", "{parent}", Mode(0o744), &[Owner], 0o444),
        ("group metadata", "{metadata}", Mode(0o600), &[Owner], 0o400),
        ("array metadata", "{array metadata}", Mode(0o640), &[Owner, Colleague], 0o440),
        ("array folder", "{array}", Mode(0o700), &[Owner], 0o400),
        ("array folder without x", "{array}", Mode(0o744), &[Owner], 0o400),
        ("first chunk", "{chunk}", Mode(0o600), &[Owner], 0o400),
        ("first chunk for the group", "{chunk}", Mode(0o640), &[Owner, Colleague], 0o440),
        ("a folder of chunks", "{chunk folder}", Mode(0o700), &[Owner], 0o400),
        ("some chunk", "{other chunk}", Mode(0o600), &[Owner], 0o400),
        ("somebody else's chunk", "{chunk}", Own(STRANGER, GROUP, 0o600), &[], 0o400),
        ("the same, shared", "{chunk}", Own(STRANGER, GROUP, 0o640), &[Owner, Colleague], 0o440),
        (
            "the same, open",
            "{chunk}",
            Own(STRANGER, GROUP, 0o644),
            &[Owner, Colleague, Other],
            0o444,
        ),
        ("another group's chunk", "{chunk}", Own(OWNER, STRANGER, 0o640), &[Owner], 0o400),
        ("ACL that denies a user", "{chunk}", Acl(ACL_DENIES), &[Owner], 0o400),
        ("ACL on metadata", "{metadata}", Acl(ACL_DENIES), &[Owner], 0o400),
        ("ACL whose mask is no right", "{chunk}", Acl(ACL_MASKS), &[Owner], 0o400),
    ]
};

fn part(scene: &Scene, role: &str) -> PathBuf {
    let [metadata, array_metadata] = scene.version.metadata();
    let [chunk, other_chunk] = scene.version.chunks();
    let store = scene.store();
    match role {
        "{store}" => store,
        "{parent}" => scene.path("source/lab"),
        "{metadata}" => store.join(metadata),
        "{array metadata}" => store.join(array_metadata),
        "{array}" => store.join("0"),
        "{chunk}" => store.join(chunk),
        "{other chunk}" => store.join(other_chunk),
        "{chunk folder}" => store.join(scene.version.chunk_folder()),
        other => panic!("no part {other}"),
    }
}

fn can_be_several_users() -> bool {
    is_root("to be several users") && can_mount()
}

/// Root's daemon, which others may enter: in each row, first with the change made before anything is
/// known, then made while everything is known and in the page cache.
#[test]
fn nobody_reads_through_the_mount_what_the_source_denies() {
    if !can_be_several_users() {
        return;
    }
    for version in Version::ALL {
        for (name, role, change, readers, mode) in ROWS {
            let scene = Scene::new(version);
            for round in ["from the start", "later"] {
                let what = format!("{version:?}, {name}, {round}");
                if round == "from the start" {
                    change.make(&part(&scene, role));
                    rest(&scene.path("source"));
                }
                let mount = Mount::of(&scene.path("source"))
                    .at(&scene.path("mount"))
                    .cache(&scene.path("cache"))
                    .args(["--allow-other"])
                    .start();
                if round == "later" {
                    assert!(Who::Other.reads(&scene.file()), "{what}: before");
                    change.make(&part(&scene, role));
                    let shut_out = Who::ALL.into_iter().filter(|who| !readers.contains(who));
                    for who in shut_out {
                        eventually(&what, REVOKED, || !who.reads(&scene.file()));
                    }
                }
                for who in Who::ALL {
                    let reads = who.reads(&scene.file());
                    assert!(!reads || who.reads_all(&scene.store()), "{what}: leaks to {who:?}");
                    assert_eq!(reads, readers.contains(&who), "{what}: {who:?}");
                }
                let shown = fs::metadata(scene.file()).expect("root sees it").mode() & 0o777;
                assert_eq!(shown, *mode, "{what}: mode {shown:o}");
                assert!(shows_image(&scene.file()), "{what}: root reads it");
                drop(mount);
                scene.reset();
            }
        }
    }
}

/// An open handle keeps its rights, as for any file; a new opening is refused.
#[test]
fn an_open_handle_reads_on_after_its_rights_are_taken_away_and_come_back() {
    if !can_be_several_users() {
        return;
    }
    let scene = Scene::new(Version::V3);
    let _mount = Mount::of(&scene.path("source"))
        .at(&scene.path("mount"))
        .cache(&scene.path("cache"))
        .args(["--allow-other"])
        .start();
    let mut open = File::open(scene.file()).expect("a file");
    let mut before = Vec::new();
    open.read_to_end(&mut before).expect("a read");
    assert!(Who::Other.reads(&scene.file()));
    let metadata = part(&scene, "{array}");
    let begun = Instant::now();
    Change::Mode(0o700).make(&metadata);
    eventually("shut out", REVOKED, || !Who::Other.reads(&scene.file()));
    println!("shut out after {:?}", begun.elapsed());
    open.rewind().expect("a file");
    let mut after = Vec::new();
    open.read_to_end(&mut after).expect("a read");
    assert!(before == after, "other bytes");
    Change::Mode(0o755).make(&metadata);
    eventually("let in again", SOON, || Who::Other.reads(&scene.file()));
}

/// Lets a user open `/dev/fuse`, as all may where udev sets its mode.
struct DeviceForUser {
    mode: u32,
}

impl DeviceForUser {
    const PATH: &str = "/dev/fuse";

    fn new(user: u32) -> Self {
        let mode = fs::metadata(Self::PATH).expect("the device").mode() & 0o777;
        let class = |shift: u32| u16::try_from(mode >> shift & 0o7).expect("three bits");
        let entries = [
            (0x01, class(6), NOBODY),
            (0x02, 6, user),
            (0x04, class(3), NOBODY),
            (0x10, 6, NOBODY),
            (0x20, class(0), NOBODY),
        ];
        set_acl(Path::new(Self::PATH), &entries);
        Self { mode }
    }
}

impl Drop for DeviceForUser {
    fn drop(&mut self) {
        set_acl(Path::new(Self::PATH), &[]);
        fs::set_permissions(Self::PATH, Permissions::from_mode(self.mode)).expect("root may");
    }
}

/// A user's own daemon: nobody else may enter, and the user reads what the source lets them read.
#[test]
fn a_users_own_mount_is_for_that_user() {
    if !can_be_several_users() {
        return;
    }
    if !Who::Colleague.run(&[BINARY, "--version"]) {
        skipped("other users cannot run the program where it was built");
        return;
    }
    let _device = DeviceForUser::new(COLLEAGUE);
    for (name, role, change, ..) in ROWS {
        let scene = Scene::new(Version::V2);
        change.make(&part(&scene, role));
        rest(&scene.path("source"));
        for folder in ["mount", "cache"] {
            chown(scene.path(folder), Some(COLLEAGUE), Some(COLLEAGUE)).expect("root may");
        }
        let words = Who::Colleague.setpriv();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mount = Mount::of(&scene.path("source"))
            .at(&scene.path("mount"))
            .cache(&scene.path("cache"))
            .wrapper(&words)
            .start();
        let may = Who::Colleague.reads_all(&scene.store());
        assert_eq!(Who::Colleague.reads(&scene.file()), may, "{name}");
        for who in [Who::Owner, Who::Other] {
            assert!(!who.reads(&scene.file()), "{name}: {who:?} enters");
        }
        drop(mount);
    }
}
