//! The share through which Samba shows a mount.

mod conf;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::finding::{Finding, plain};
use super::fuse::found;
use super::mount_point::KIND;
use super::wanted::Wanted;
use crate::mount::table;
use conf::{Conf, Share};

const CHECK: &str = "samba";

/// The configuration of smbd where none is named.
const USUAL: &str = "/etc/samba/smb.conf";

/// A setting of a share.
struct Rule {
    key: &'static str,
    /// The values that it may have; the first one is recommended.
    good: &'static [&'static str],
    /// What is the matter with any other value.
    because: &'static str,
}

/// What `doc/SHARES.md` recommends, and why.
const RULES: [Rule; 11] = [
    Rule {
        key: "read only",
        good: &["yes"],
        because: "clients are told too late that nothing can be written",
    },
    Rule { key: "oplocks", good: &["yes"], because: "clients may not keep what they have read" },
    Rule {
        key: "level2 oplocks",
        good: &["yes"],
        because: "clients may not keep what they have read",
    },
    Rule {
        key: "kernel oplocks",
        good: &["no"],
        because: "newer kernels refuse them on a mount of FUSE",
    },
    Rule {
        key: "kernel share modes",
        good: &["no"],
        because: "smbd locks files that nobody else can change",
    },
    Rule {
        key: "posix locking",
        good: &["no"],
        because: "smbd asks the kernel for locks that nobody else takes",
    },
    Rule { key: "strict locking", good: &["no"], because: "each read looks for locks" },
    Rule {
        key: "ea support",
        good: &["no"],
        because: "smbd asks for attributes that the mount does not have",
    },
    Rule {
        key: "store dos attributes",
        good: &["no"],
        because: "smbd asks for attributes that the mount does not have",
    },
    Rule {
        key: "map archive",
        good: &["no"],
        because: "executable files would show as to be archived",
    },
    Rule {
        key: "nt acl support",
        good: &["no"],
        because: "smbd asks for access lists that the mount does not have",
    },
];

/// Modules that read what no client has asked for.
const GREEDY: [&str; 2] = ["readahead", "preopen"];

/// Modules that a share is to have.
const NEEDED: [&str; 2] = ["fileid", "offline"];

/// Checks the shares that show the mounts; without mounts to check, those that show any mount of this program. Where
/// no file is named, nothing is missing in the usual one.
pub(super) fn check(named: Option<&Path>, wanted: &[Wanted<'_>]) -> Vec<Finding> {
    let file = named.unwrap_or(Path::new(USUAL));
    if named.is_none() && !file.exists() {
        return Vec::new();
    }
    let conf = match read(file) {
        Ok(conf) => conf,
        Err(_) if named.is_none() => return Vec::new(),
        Err(reason) => {
            let text = format!("{}: {reason}", file.display());
            let fix =
                "name the configuration of smbd with --smb-conf, and mend what testparm says of it";
            return vec![Finding::fault(CHECK, text, fix)];
        }
    };
    let points = points(wanted);
    if points.is_empty() && named.is_some() {
        let fix = "name SOURCE and MOUNT, or the configuration file that has them";
        return vec![Finding::warning(
            CHECK,
            "there is no mount whose share could be checked",
            fix,
        )];
    }
    points
        .iter()
        .flat_map(|(point, others)| of_mount(&conf, point, *others, named.is_some()))
        .collect()
}

/// Mount points, and whether others than their user are let in.
fn points(wanted: &[Wanted<'_>]) -> Vec<(PathBuf, bool)> {
    let of_wanted =
        wanted.iter().filter_map(|mount| Some((mount.mountpoint()?, mount.allows_others())));
    let points: Vec<_> = of_wanted.collect();
    if !points.is_empty() {
        return points;
    }
    let mounted = table::all().unwrap_or_default().into_iter();
    mounted.filter(|mount| mount.kind == KIND).map(|mount| (mount.path, true)).collect()
}

/// The settings, as Samba itself reads them where it is installed; else from the file alone.
fn read(file: &Path) -> Result<Conf, String> {
    let text = fs::read_to_string(file).map_err(|error| plain(&error))?;
    if found("testparm").is_none() {
        return Ok(Conf::parse(&text));
    }
    // With all defaults; it says on standard error what it does.
    let mut testparm = Command::new("testparm");
    let output = testparm.args(["--suppress-prompt", "--verbose"]).arg(file).output();
    let output = output.map_err(|error| format!("testparm: {}", plain(&error)))?;
    if output.status.success() {
        return Ok(Conf::parse(&String::from_utf8_lossy(&output.stdout)));
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it fails");
    Err(format!("testparm: {last}"))
}

/// `is_asked`: a share must be there.
fn of_mount(conf: &Conf, point: &Path, allows_others: bool, is_asked: bool) -> Vec<Finding> {
    let real = fs::canonicalize(point).unwrap_or_else(|_| point.to_path_buf());
    let covers = |share: &&Share<'_>| {
        let path = fs::canonicalize(share.path()).unwrap_or_else(|_| share.path().to_path_buf());
        real.starts_with(&path) || path.starts_with(&real)
    };
    let shares = conf.shares();
    let found: Vec<_> = shares.iter().filter(covers).collect();
    if found.is_empty() && !is_asked {
        return Vec::new();
    }
    if found.is_empty() {
        let above = real.parent().unwrap_or(&real).display();
        let fix = format!("add a share with \"path = {above}\"; doc/SHARES.md has it in full");
        return vec![Finding::fault(CHECK, format!("no share shows {}", point.display()), fix)];
    }
    let mut findings = Vec::new();
    if !allows_others {
        let text = format!("{} lets nobody in but the user of the daemon", point.display());
        findings.push(Finding::fault(CHECK, text, "mount with --allow-other"));
    }
    for share in found {
        let before = findings.len();
        findings.extend(of_path(share, &real));
        findings.extend(RULES.iter().filter_map(|rule| rule.broken(share)));
        findings.extend(of_modules(share));
        findings.extend(of_server(share));
        if findings.len() == before {
            findings
                .push(Finding::ok(CHECK, format!("[{}] shows {}", share.name, point.display())));
        }
    }
    findings
}

impl Rule {
    fn broken(&self, share: &Share<'_>) -> Option<Finding> {
        let Self { key, good, because } = self;
        let value = share.value(key);
        if good.contains(&&*value) {
            return None;
        }
        let name = share.name;
        let text = format!("[{name}]: {key} = {value}: {because}");
        Some(Finding::warning(CHECK, text, set(name, &format!("{key} = {}", good[0]))))
    }
}

fn set(share: &str, line: &str) -> String {
    format!("put \"{line}\" into [{share}], then: smbcontrol all reload-config")
}

/// smbd keeps a working directory in the share, which ends with the mount if it is inside.
fn of_path(share: &Share<'_>, point: &Path) -> Option<Finding> {
    let (name, path) = (share.name, share.path());
    if share.value("available") == "no" {
        return Some(Finding::fault(
            CHECK,
            format!("[{name}] is not available"),
            set(name, "available = yes"),
        ));
    }
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    real.starts_with(point).then(|| {
        let above = point.parent().unwrap_or(point).display();
        let text = format!(
            "[{name}]: path = {} is the mount itself: after a restart of the daemon, clients see an empty folder, or \
             are refused, until they connect again",
            path.display()
        );
        Finding::warning(CHECK, text, set(name, &format!("path = {above}")))
    })
}

fn of_modules(share: &Share<'_>) -> Vec<Finding> {
    let name = share.name;
    let modules = share.value("vfs objects");
    let modules: Vec<&str> =
        modules.split([' ', ',', '\t']).filter(|word| !word.is_empty()).collect();
    let mut findings = Vec::new();
    let kept = modules.iter().filter(|module| !GREEDY.contains(module) && !NEEDED.contains(module));
    let line =
        [&["vfs objects ="], &NEEDED[..], &kept.copied().collect::<Vec<_>>()].concat().join(" ");
    let fix = || set(name, &line);
    for module in modules.iter().filter(|module| GREEDY.contains(module)) {
        let text = format!("[{name}]: the module {module} reads what no client has asked for");
        findings.push(Finding::warning(CHECK, text, fix()));
    }
    if !modules.contains(&"fileid") {
        let text = format!(
            "[{name}]: without the module fileid, clients that hold a lease are refused after a restart of the daemon"
        );
        findings.push(Finding::warning(CHECK, text, fix()));
    } else if share.value("fileid:algorithm") != "fsname" {
        let text = format!(
            "[{name}]: fileid:algorithm = {}: numbers of files change with a restart of the daemon",
            share.value("fileid:algorithm")
        );
        findings.push(Finding::warning(CHECK, text, set(name, "fileid:algorithm = fsname")));
    }
    if !modules.contains(&"offline") {
        let text = format!(
            "[{name}]: without the module offline, Explorer reads files to show thumbnails of them"
        );
        findings.push(Finding::warning(CHECK, text, fix()));
    }
    findings.extend(missing(&modules).map(|module| {
        let text = format!("[{name}]: the module {module} is not installed: nobody can connect");
        Finding::fault(CHECK, text, "install it (Debian: apt install samba-vfs-modules)")
    }));
    findings
}

/// The first module that is neither a file nor built into smbd, which tells of both.
fn missing(modules: &[&str]) -> Option<String> {
    let output = Command::new("smbd").arg("--build-options").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let folder = text.lines().find_map(|line| line.trim().strip_prefix("MODULESDIR:"))?;
    let folder = Path::new(folder.trim()).join("vfs");
    let mut names = modules.iter().filter_map(|module| module.split(':').next());
    let is_there = |name: &&str| {
        let built_in = format!("vfs_{name}");
        folder.join(format!("{name}.so")).exists()
            || text.split_whitespace().any(|word| word == built_in)
    };
    names.find(|name| !is_there(name)).map(str::to_owned)
}

/// Settings of the whole server.
fn of_server(share: &Share<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if share.value("smb2 leases") == "no" {
        let text = "[global]: smb2 leases = no: clients may not keep what they have read";
        findings.push(Finding::warning(CHECK, text, set("global", "smb2 leases = yes")));
    }
    if share.value("aio read size") == "0" {
        let text = format!(
            "[{}]: aio read size = 0: one slow read holds up all others of a client",
            share.name
        );
        findings.push(Finding::warning(CHECK, text, set(share.name, "aio read size = 1")));
    }
    findings
}
