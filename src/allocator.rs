//! The allocator's settings. The only code here that is not checked by the compiler is one call of glibc.

/// Heaps among which glibc spreads threads; by default eight for each processor. Each keeps what was
/// freed in it, and bricks are large: with 8 threads that is 80 MiB more at the peak, for nothing, as
/// threads seldom allocate at the same time.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// Lets all threads share few heaps. To be called before there are threads.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "a setting of the C library that has no other way in")]
pub(crate) fn share_heaps() {
    // SAFETY: `mallopt` takes two numbers and touches nothing of ours; there are no other threads yet.
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) };
    if is_set == 0 {
        tracing::debug!("the allocator keeps its own number of heaps");
    }
}

/// Other C libraries have one heap.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn share_heaps() {}
