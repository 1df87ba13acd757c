//! The allocator's settings. The only code here that is not checked by the compiler is calls of glibc.

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

/// Lets all threads share few heaps, and large blocks go back at once. To be called before there are
/// threads.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "settings of the C library that have no other way in")]
pub fn configure() {
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

/// Gives back to the system what is free within the heaps. It takes some milliseconds for 100 MiB.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "a call of the C library that has no other way in")]
pub fn trim() {
    // SAFETY: `malloc_trim` takes a number, locks what it works on, and leaves what is in use alone.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries have one heap.
#[cfg(not(target_env = "gnu"))]
pub fn configure() {}

#[cfg(not(target_env = "gnu"))]
pub fn trim() {}
