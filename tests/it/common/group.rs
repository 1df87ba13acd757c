//! A control group with little memory, of the first or second version, which goes away at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::skipped;

/// See the module.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// A group of so many bytes; `None`, with a line, where this machine lets nobody make one.
    pub fn make(bytes: u64) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("zarrims-test-{}-{number}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (top, file) = if v1.join("memory.limit_in_bytes").exists() {
            (v1, "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup"), "memory.max")
        };
        let group = top.join(name);
        let made =
            fs::create_dir(&group).and_then(|()| fs::write(group.join(file), bytes.to_string()));
        let group = Self(group);
        match made {
            Ok(()) => Some(group),
            Err(error) => {
                skipped(&format!("no control group for memory: {error}"));
                None
            }
        }
    }

    /// What a program is started through to be in the group.
    pub fn wrapper(&self) -> [String; 4] {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        ["sh".to_owned(), "-c".to_owned(), enter, "sh".to_owned()]
    }

    /// A program in the group.
    pub fn command(&self, program: &str) -> Command {
        let [shell, args @ ..] = self.wrapper();
        let mut command = Command::new(shell);
        command.args(args).arg(program);
        command
    }

    /// How many processes of the group the kernel has killed for lack of memory.
    pub fn kills(&self) -> u64 {
        let files = ["memory.oom_control", "memory.events"];
        let text = files.iter().find_map(|file| fs::read_to_string(self.0.join(file)).ok());
        let text = text.expect("counters");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|number| number.trim().parse().ok()).expect("a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails while a process is in it.
        let _ = fs::remove_dir(&self.0);
    }
}
