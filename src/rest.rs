//! Memory goes back to the system when the daemon is at rest.

use std::fs;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use zarrims::allocator;
use zarrims::image::Engine;

/// How often the daemon looks whether it is at rest.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Looks at rest after which memory is given back: a user who looks at an image may be thinking.
const LOOKS_AT_REST: u32 = 3;

/// Ticks of processor time (100 a second) between two looks that are nothing to speak of.
const TICKS_AT_REST: u64 = 3;

/// Gives memory back to the system whenever the daemon has worked and is at rest again.
pub(crate) fn give_back_at_rest(engine: &Arc<Engine>) {
    let engine = Arc::downgrade(engine);
    let watch = thread::Builder::new().name("rest".to_owned()).spawn(move || watch(&engine));
    if let Err(error) = watch {
        tracing::warn!(%error, "memory is not given back at rest");
    }
}

fn watch(engine: &Weak<Engine>) {
    let (mut last, mut rested, mut has_worked) = (0, 0, true);
    loop {
        thread::sleep(LOOK_INTERVAL);
        let Some(engine) = engine.upgrade() else { return };
        let Some(now) = processor_ticks() else { return };
        let is_at_rest = now.saturating_sub(last) <= TICKS_AT_REST;
        last = now;
        if !is_at_rest {
            (rested, has_worked) = (0, true);
            continue;
        }
        rested += 1;
        if has_worked && rested >= LOOKS_AT_REST {
            engine.give_back();
            allocator::trim();
            has_worked = false;
            // The trim itself is no work.
            last = processor_ticks().unwrap_or(last);
        }
    }
}

/// Processor time of this process, in ticks (`proc_pid_stat(5)`, fields 14 and 15).
fn processor_ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}
