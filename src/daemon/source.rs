//! Opening source folders.

use std::io;
use std::sync::Arc;

use anyhow::Context;
use rustix::io::Errno;
use zarrims::config::MountConfig;
use zarrims::source::{self, SourceRoot};

/// Opens the source of a mount.
///
/// # Errors
/// What is wrong with it, in one line that names it.
pub(crate) fn open(mount: &MountConfig) -> anyhow::Result<Arc<SourceRoot>> {
    let (location, name) = (&mount.source.location, &mount.names.source);
    let root = source::open(location, mount.follow_links).with_context(|| name.clone())?;
    if root.is_empty().map_err(|error| explain(name, error))? {
        tracing::warn!(source = %location, "SOURCE is empty; stores that come, or a disk in its place, will be served");
    }
    Ok(Arc::new(root))
}

/// Adds what to do about it.
fn explain(name: &str, error: io::Error) -> anyhow::Error {
    let refused = [Errno::NOSYS, Errno::PERM].map(|errno| Some(errno.raw_os_error()));
    if refused.contains(&error.raw_os_error()) {
        return anyhow::anyhow!(
            "{name}: the system call openat2 is refused ({error}), without which links could \
             lead out of SOURCE; allow it: in a systemd unit, no RestrictSUIDSGID= and a \
             SystemCallFilter= that lets it through; in a container, a seccomp profile that knows it; \
             Linux 5.6 or newer"
        );
    }
    anyhow::Error::new(error).context(name.to_owned())
}
