//! Messages to the service manager.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use anyhow::Context;

/// How long the manager may take to listen.
const SEND_TIME: Duration = Duration::from_secs(2);

/// Sends a state to systemd (protocol: `sd_notify(3)`); does nothing without it.
///
/// # Errors
/// Why it cannot be sent.
pub(crate) fn service_manager(state: &str) -> anyhow::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    }
    .with_context(|| format!("NOTIFY_SOCKET {}", path.display()))?;
    let sent = UnixDatagram::unbound().and_then(|socket| {
        // A manager that does not listen must not delay the daemon.
        socket.set_write_timeout(Some(SEND_TIME))?;
        socket.send_to_addr(state.as_bytes(), &address)
    });
    sent.with_context(|| format!("NOTIFY_SOCKET {}", path.display()))?;
    Ok(())
}
