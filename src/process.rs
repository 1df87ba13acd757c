//! What the kernel says of this process.

/// A set of bits in `/proc/self/status` (`proc_pid_status(5)`), such as `CapEff` or `SigIgn`.
pub(crate) fn status_mask(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}
