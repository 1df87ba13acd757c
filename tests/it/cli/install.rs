//! `make install` and `make uninstall`, into a folder that stands for the root of a machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::pages::made;
use super::rig::tree;
use crate::common::{BINARY, skipped};

/// Runs a target; false where the machine has no `make` or no `strip`.
fn make(target: &str, root: &Path, pages: &Path) -> bool {
    if ["make", "strip", "objcopy"]
        .iter()
        .any(|tool| Command::new(tool).arg("--version").output().is_err())
    {
        skipped("make or binutils are not installed");
        return false;
    }
    let output = Command::new("make")
        .args(["--no-print-directory", target, "PREFIX=/usr"])
        .arg(format!("DESTDIR={}", root.display()))
        .arg(format!("BIN={BINARY}"))
        .arg(format!("PAGES={}", pages.display()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .expect("make starts");
    assert!(output.status.success(), "{target}: {output:?}");
    true
}

fn files(root: &Path) -> BTreeSet<String> {
    let prefix = format!("{}/", root.display());
    let paths = tree(root).into_iter().filter(|path| !Path::new(path).is_dir());
    paths.filter_map(|path| path.strip_prefix(&prefix).map(str::to_owned)).collect()
}

#[test]
fn what_is_installed_works_and_goes_away_again() {
    let folders = TempDir::with_prefix("zarrims-install-").expect("a temporary folder");
    let (root, pages) = (folders.path().join("root"), folders.path().join("pages"));
    let mut wanted: Vec<String> = [
        "usr/bin/zarrims-mount",
        "usr/lib/debug/usr/bin/zarrims-mount.debug",
        "usr/lib/zarrims/zarrims-mounts",
        "usr/lib/systemd/system/zarrims@.service",
        "usr/lib/systemd/system/zarrims-mount@.service",
        "usr/lib/sysusers.d/zarrims.conf",
        "usr/lib/tmpfiles.d/zarrims.conf",
        "usr/share/bash-completion/completions/zarrims-mount",
        "usr/share/zsh/site-functions/_zarrims-mount",
        "usr/share/fish/vendor_completions.d/zarrims-mount.fish",
        "usr/share/doc/zarrims/CONFIGURATION.md",
        "usr/share/doc/zarrims/LICENSE",
        "etc/zarrims/config.toml",
    ]
    .map(str::to_owned)
    .to_vec();
    for (name, text) in made::all().expect("pages") {
        let path = pages.join(&name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        if let (Some(page), Some((_, section))) = (name.strip_prefix("man/"), name.rsplit_once('.'))
        {
            wanted.push(format!("usr/share/man/man{section}/{page}"));
        }
    }
    if !make("install", &root, &pages) {
        return;
    }
    let found = files(&root);
    let missing: Vec<_> = wanted.iter().filter(|path| !found.contains(*path)).collect();
    assert!(missing.is_empty(), "{missing:?} of {found:?}");
    for name in ["mount.zarrims", "mount.fuse.zarrims"] {
        let target = fs::read_link(root.join("usr/sbin").join(name)).expect("a link");
        assert_eq!(target, Path::new("/usr/bin/zarrims-mount"), "{name}");
    }
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/zarrims@.service"));
    let unit = unit.expect("UTF-8");
    assert!(
        unit.contains("ExecStart=/usr/bin/zarrims-mount ") && !unit.contains("/usr/local"),
        "{unit}"
    );
    // It still starts without what was stripped off, and the file that came with it says nothing.
    let config = root.join("etc/zarrims/config.toml");
    let program =
        Command::new(root.join("usr/bin/zarrims-mount")).arg("--config").arg(&config).output();
    let program = program.expect("it starts");
    let line = "zarrims-mount: SOURCE and MOUNTPOINT are missing; see --help\n";
    assert_eq!(String::from_utf8_lossy(&program.stderr), line);
    fs::write(&config, "[cache]\nsize = \"1GiB\"\n").expect("a file");
    assert!(make("install", &root, &pages) && make("uninstall", &root, &pages));
    // What an admin has written stays.
    assert_eq!(files(&root), BTreeSet::from(["etc/zarrims/config.toml".to_owned()]));
    assert!(fs::read_to_string(&config).expect("UTF-8").contains("1GiB"));
    fs::remove_file(&config).expect("a file");
    assert!(make("install", &root, &pages) && make("uninstall", &root, &pages));
    assert_eq!(files(&root), BTreeSet::new());
}
