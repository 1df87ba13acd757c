//! A mount point: free, or served by a daemon that answers.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{Access, StatVfs, access, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::super::of_daemon::spellings;
use super::finding::{Finding, plain};
use crate::mount::{self, table};

const CHECK: &str = "mount point";

/// The type of the mounts of this program.
pub(super) const KIND: &str = "fuse.zarrims";

/// How long a mount may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn check(path: &Path) -> Finding {
    let shown = path.display();
    if let Some(found) = mounted(path) {
        let at = found.path.clone();
        return if found.kind == KIND { served(&at) } else { taken(&at, &found.kind) };
    }
    let folder = match asked(path, fs::metadata) {
        None => return silent(path),
        Some(Err(error)) => return unusable(path, &error),
        Some(Ok(folder)) => folder,
    };
    if !folder.is_dir() {
        return Finding::fault(CHECK, format!("{shown} is not a folder"), made(path));
    }
    match fs::read_dir(path).map(|mut names| names.next().is_some()) {
        Err(error) => return unusable(path, &error),
        Ok(true) => {
            let fix = "name an empty folder; SOURCE comes first, MOUNTPOINT second";
            return Finding::fault(CHECK, format!("{shown} is not empty"), fix);
        }
        Ok(false) => {}
    }
    // fusermount3 refuses folders into which its user may not write (`fusermount.c`, `check_perm`).
    if !mount::mounts_directly() && access(path, Access::WRITE_OK).is_err() {
        let fix = format!("as root: chown {} {shown}", geteuid().as_raw());
        let text =
            format!("{shown} belongs to user {}, and this one may not write there", folder.uid());
        return Finding::fault(CHECK, text, fix);
    }
    Finding::ok(CHECK, format!("{shown} is free"))
}

/// What is mounted at a path, by the kernel's table.
pub(super) fn mounted(path: &Path) -> Option<table::Mounted> {
    let mut paths: Vec<PathBuf> = spellings(path);
    // A link may lead to it. What is at its end may hang, so the name of the link alone is read.
    paths.extend(fs::read_link(path));
    paths.iter().find_map(|path| table::mounted_at(path).ok().flatten())
}

/// Asks a path for something; `None` if there is no answer in time.
fn asked<T: Send + 'static>(
    path: &Path,
    what: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
) -> Option<io::Result<T>> {
    let (tell, told) = mpsc::channel();
    let path = path.to_path_buf();
    let ask = move || {
        // Nobody may be waiting any more.
        let _ = tell.send(what(path));
    };
    thread::Builder::new().name("asks".to_owned()).spawn(ask).ok()?;
    told.recv_timeout(PATIENCE).ok()
}

/// The kernel keeps attributes of a mount whose daemon has died, and asks the daemon each time for its space.
fn space(path: PathBuf) -> io::Result<StatVfs> {
    Ok(statvfs(path)?)
}

fn served(path: &Path) -> Finding {
    let shown = path.display();
    match asked(path, space) {
        None => silent(path),
        Some(Err(error)) if Errno::from_io_error(&error) == Some(Errno::NOTCONN) => dead(path),
        // The mount of another user, who lets nobody in.
        Some(Ok(_) | Err(_)) => Finding::ok(CHECK, format!("{shown} is served by a daemon")),
    }
}

fn taken(path: &Path, kind: &str) -> Finding {
    if let Some(Err(error)) = asked(path, space)
        && Errno::from_io_error(&error) == Some(Errno::NOTCONN)
    {
        return dead(path);
    }
    let shown = path.display();
    let fix = format!("as root: umount {shown}; or name another folder");
    Finding::fault(CHECK, format!("another file system ({kind}) is mounted at {shown}"), fix)
}

/// The mount is at the path or above it.
fn dead(path: &Path) -> Finding {
    let above = table::all().unwrap_or_default().into_iter().map(|mounted| mounted.path);
    let above = above.filter(|at| path.starts_with(at)).max_by_key(|at| at.as_os_str().len());
    let at = above.unwrap_or_else(|| path.to_path_buf());
    let shown = at.display();
    let fix = format!("fusermount3 -u -z {shown}; or, as root: umount -l {shown}");
    Finding::fault(CHECK, format!("a mount whose program has died is in the way at {shown}"), fix)
}

fn silent(path: &Path) -> Finding {
    let shown = path.display();
    let text = format!("{shown} does not answer within {} s", PATIENCE.as_secs());
    let fix = format!(
        "look whether its daemon runs, and what its log says; as root, \"umount -f -l {shown}\" removes the mount"
    );
    Finding::fault(CHECK, text, fix)
}

fn unusable(path: &Path, error: &io::Error) -> Finding {
    let shown = path.display();
    if Errno::from_io_error(error) == Some(Errno::NOTCONN) {
        return dead(path);
    }
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "as root: give user {} the right to enter and to read {shown}",
                geteuid().as_raw()
            )
        }
        _ => made(path),
    };
    Finding::fault(CHECK, format!("{shown}: {}", plain(error)), fix)
}

/// How a mount point is made.
fn made(path: &Path) -> String {
    format!("as root: install -d -o {} {}", geteuid().as_raw(), path.display())
}
