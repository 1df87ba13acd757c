//! What ends mounts.

/// What the daemon waits for.
#[derive(Debug)]
pub(super) enum Event {
    Signal(i32),
    /// The kernel has let go of the mount with this number.
    Ended(usize),
}
