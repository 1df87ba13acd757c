//! What the machine gives: libhdf5, open files, memory.

use bytesize::ByteSize;
use rustix::process::{Resource, getrlimit};
use zarrims::config::{Parts, Resources, memory_of_machine};
use zarrims::ims::Library;

use super::finding::Finding;

/// Oldest libhdf5 that is supported.
const OLDEST_LIBRARY: (u8, u8, u8) = (1, 10, 0);

/// Open files that are enough for any load; the daemon raises its limit so far.
const ENOUGH_FILES: u64 = 4096;

pub(super) fn check(parts: Option<&Parts>) -> Vec<Finding> {
    let resources = parts.and_then(|parts| parts.resources.as_ref().ok());
    let mut findings = vec![library(), files()];
    findings.extend(resources.map(memory));
    findings
}

fn library() -> Finding {
    const CHECK: &str = "libhdf5";
    let fix = "install libhdf5 1.10 or newer (Debian: libhdf5-dev) and build again, or build with --features static-hdf5";
    match Library::tried() {
        Ok(Library { version, is_inside }) => {
            let (major, minor, patch) = version;
            let place = if is_inside { "inside the program" } else { "of this machine" };
            let text = format!("{major}.{minor}.{patch}, {place}, writes and reads");
            if version < OLDEST_LIBRARY {
                Finding::fault(CHECK, text, fix)
            } else {
                Finding::ok(CHECK, text)
            }
        }
        Err(reason) => Finding::fault(CHECK, reason, fix),
    }
}

/// The program has raised its limit before.
fn files() -> Finding {
    const CHECK: &str = "open files";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < ENOUGH_FILES => Finding::warning(
            CHECK,
            format!("at most {limit}: readers will wait for each other"),
            format!(
                "a higher hard limit (ulimit -Hn; in a systemd unit LimitNOFILE=65536), {ENOUGH_FILES} at least"
            ),
        ),
        Some(limit) => Finding::ok(CHECK, format!("at most {limit}")),
        None => Finding::ok(CHECK, "no limit"),
    }
}

fn memory(resources: &Resources) -> Finding {
    const CHECK: &str = "memory";
    let (budget, needed) = (resources.memory_bytes, resources.total_bytes());
    let (installed, allowed) = memory_of_machine();
    let words = |bytes: Option<u64>| {
        bytes.map_or("an unknown amount".to_owned(), |bytes| ByteSize(bytes).to_string())
    };
    let of = if allowed < installed { "the control group" } else { "the machine" };
    let text = format!(
        "--memory is {}, and the daemon takes about {}; {of} has {}",
        ByteSize(budget),
        ByteSize(needed),
        words(allowed)
    );
    if allowed.is_some_and(|allowed| needed > allowed) {
        Finding::fault(
            CHECK,
            text,
            "lower --memory, or raise the limit of the control group (MemoryMax=)",
        )
    } else {
        Finding::ok(CHECK, text)
    }
}
