//! Where control sockets are: a file for each daemon, called by its process id.
//!
//! A daemon puts its socket into the first of these folders that there is: `$RUNTIME_DIRECTORY` of a service,
//! `$XDG_RUNTIME_DIR/zarrims`, `/run/zarrims` for root, `/tmp/zarrims-UID`. Who asks looks into all of them.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// For daemons of root, and above the folders of services.
const SYSTEM: &str = "/run/zarrims";

/// Behind the process id.
const SUFFIX: &str = "sock";

/// A path of the environment.
fn variable(name: &str) -> Option<PathBuf> {
    let text = std::env::var_os(name).filter(|text| !text.is_empty())?;
    // systemd puts several folders side by side.
    let first = text.to_string_lossy().split(':').next().map(PathBuf::from);
    first.filter(|path| path.is_absolute())
}

fn of_user() -> PathBuf {
    format!("/tmp/zarrims-{}", geteuid().as_raw()).into()
}

/// The folder for the socket of this process.
fn own_folder() -> PathBuf {
    let of_session = || variable("XDG_RUNTIME_DIR").map(|path| path.join("zarrims"));
    let of_root = || geteuid().is_root().then(|| PathBuf::from(SYSTEM));
    let found = variable("RUNTIME_DIRECTORY").or_else(of_session).or_else(of_root);
    found.unwrap_or_else(of_user)
}

/// The path for the socket of this process, whose folder there is from now on.
///
/// # Errors
/// Why it cannot be made.
pub(super) fn own_socket() -> io::Result<PathBuf> {
    let folder = own_folder();
    // Below /run/zarrims a group may be let in; the sockets have the last word.
    let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
    match fs::DirBuilder::new().mode(mode).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => check_ours(&folder)?,
    }
    Ok(folder.join(format!("{}.{SUFFIX}", std::process::id())))
}

/// Another user must not be able to put a socket into the folder.
fn check_ours(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    let is_ours = found.uid() == geteuid().as_raw() || found.uid() == 0;
    if found.is_dir() && is_ours && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let reason = format!("{}: other users may write there", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

/// All sockets of daemons that this user may know of, whether the daemons live or not.
pub(super) fn sockets() -> Vec<PathBuf> {
    let session = variable("XDG_RUNTIME_DIR").map(|path| path.join("zarrims"));
    let own = [variable("RUNTIME_DIRECTORY"), session, Some(of_user())];
    let mut folders: Vec<PathBuf> = own.into_iter().flatten().collect();
    folders.push(SYSTEM.into());
    // A service has a folder of its own: /run/zarrims/NAME.
    let names = fs::read_dir(SYSTEM).into_iter().flatten().flatten();
    folders.extend(names.map(|name| name.path()).filter(|path| path.is_dir()));
    folders.sort();
    folders.dedup();
    folders
        .iter()
        .filter(|folder| check_ours(folder).is_ok() || is_of_service(folder))
        .flat_map(|folder| in_folder(folder))
        .collect()
}

/// Only root makes folders in /run: whoever owns this one now, and those below, is a service that root has set up.
fn is_of_service(folder: &Path) -> bool {
    let system = Path::new(SYSTEM);
    let is_closed = |found: fs::Metadata| found.is_dir() && found.mode() & 0o022 == 0;
    (folder == system || folder.parent() == Some(system))
        && fs::symlink_metadata(system).is_ok_and(is_closed)
}

fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = names.map(|name| name.path());
    let is_socket = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == SUFFIX)
            && fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
    };
    let mut sockets: Vec<PathBuf> = paths.filter(is_socket).collect();
    sockets.sort();
    sockets
}

/// Removes what daemons that have died have left beside a socket.
pub(super) fn remove_stale(beside: &Path) {
    for path in beside.parent().map(in_folder).unwrap_or_default() {
        if is_stale(&path) {
            // Another daemon may have done it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether a socket is there that nobody listens at.
pub(super) fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(refused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_sockets_of_dead_daemons_are_removed() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let living = UnixListener::bind(path("1.sock")).expect("a socket");
        drop(UnixListener::bind(path("2.sock")).expect("a socket"));
        fs::write(path("3.sock"), "no socket").expect("a file");
        drop(UnixListener::bind(path("other")).expect("a socket"));
        remove_stale(&path("4.sock"));
        assert_eq!(in_folder(folder.path()), [path("1.sock")]);
        assert!(path("3.sock").exists() && path("other").exists());
        drop(living);
    }
}
