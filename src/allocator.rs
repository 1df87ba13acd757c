//! The allocator's settings. The only code here that is not checked by the compiler is calls of glibc.

use std::fs;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use zarrims::image::Engine;

/// Heaps among which glibc spreads threads; by default eight for each processor. Each keeps what was
/// freed in it, and bricks are large: with 8 threads that is 80 MiB more at the peak, for nothing, as
/// threads seldom allocate at the same time.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// From this size on, memory goes back to the system when it is freed. By default glibc raises this to
/// 32 MiB with what is freed, and then bricks of 16 MiB lie among small things that outlive them: 64 readers
/// of plane chunks took half as much again.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 6 << 20;

/// What may be free at the end of a heap: less would be asked for again with the next chunk.
#[cfg(target_env = "gnu")]
const TRIMMED_FROM_BYTES: libc::c_int = 12 << 20;

/// How often the daemon looks whether it is at rest.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Looks at rest after which memory is given back: a user who looks at an image may be thinking.
const LOOKS_AT_REST: u32 = 3;

/// Ticks of processor time (100 a second) between two looks that are nothing to speak of.
const TICKS_AT_REST: u64 = 3;

/// Lets all threads share few heaps, and large blocks go back at once. To be called before there are
/// threads.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "settings of the C library that have no other way in")]
pub(crate) fn configure() {
    for (name, value) in [
        (libc::M_ARENA_MAX, HEAPS),
        (libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES),
        (libc::M_TRIM_THRESHOLD, TRIMMED_FROM_BYTES),
    ] {
        // SAFETY: `mallopt` takes two numbers and touches nothing of ours; there are no other threads yet.
        let is_set = unsafe { libc::mallopt(name, value) };
        if is_set == 0 {
            tracing::debug!(name, "the allocator keeps a setting of its own");
        }
    }
}

/// Gives back what is free within the heaps.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "a call of the C library that has no other way in")]
fn trim() {
    // SAFETY: `malloc_trim` takes a number, locks what it works on, and leaves what is in use alone.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries have one heap.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn configure() {}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

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
            trim();
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
