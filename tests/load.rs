//! Many readers, readers that go without a word, sources that do not answer.

mod common;

#[path = "load/busy.rs"]
mod busy;
#[path = "load/gate.rs"]
mod gate;
#[path = "load/handles.rs"]
mod handles;
#[path = "load/metadata.rs"]
mod metadata;
#[path = "load/passes.rs"]
mod passes;
#[path = "load/stalled.rs"]
mod stalled;
#[path = "load/stalled_calls.rs"]
mod stalled_calls;
#[path = "common/store.rs"]
mod store;

use std::time::Duration;

/// More than anything in these tests takes on a busy machine.
const SOON: Duration = Duration::from_mins(1);
