//! What the daemon waits for.

use std::sync::mpsc::Sender;

use serde_json::Value;

/// Something that the daemon does at once.
#[derive(Debug)]
pub(super) enum Event {
    Signal(i32),
    /// The kernel has let go of the mount with this number.
    Ended(usize),
    /// The configuration is to be read again, and the result told.
    Reload(Sender<Result<Value, String>>),
}
