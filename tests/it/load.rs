//! Many readers, readers that are killed, sources that do not answer.

mod busy;
mod gate;
mod handles;
mod metadata;
mod passes;
mod stalled;
mod stalled_calls;

use std::time::Duration;

/// More than anything in these tests takes on a busy machine.
const SOON: Duration = Duration::from_mins(1);
