//! A running daemon with its mount, both of which go away however the test ends.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use super::process::status_kib;
use super::{command, skipped};

/// Until the mount answers.
const START_LIMIT: Duration = Duration::from_mins(1);

/// From the signal to the end; the daemon itself gives open files ten seconds.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// No test needs a daemon for longer: then the daemon is killed, and a hanging read fails its test.
const LIFE_LIMIT: Duration = Duration::from_mins(4);

/// What is known of the child; every change wakes the waiters.
#[derive(Debug, Default)]
struct State {
    stderr: Vec<String>,
    stderr_closed: bool,
    status: Option<ExitStatus>,
    out_of_time: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `cond` holds, at most for `limit`; returns whether it does.
    fn wait(&self, limit: Duration, cond: impl Fn(&State) -> bool) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, limit, |state| !cond(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        cond(&state)
    }
}

impl State {
    fn ended(&self) -> bool {
        self.status.is_some() && self.stderr_closed
    }

    fn mounted(&self) -> bool {
        self.stderr
            .iter()
            .any(|line| line.contains(" mounted ") || line.contains("\"message\":\"mounted\""))
    }
}

/// How a daemon is started.
#[derive(Debug)]
pub struct Starter {
    source: PathBuf,
    mountpoint: Option<PathBuf>,
    cache: Option<PathBuf>,
    args: Vec<OsString>,
    wrapper: Vec<String>,
    life: Duration,
}

/// A daemon that ended before it had mounted.
#[derive(Debug)]
pub struct Refused {
    pub status: ExitStatus,
    pub stderr: Vec<String>,
}

/// A daemon that has mounted, and its mount.
#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    cache: PathBuf,
    pid: u32,
    pidfd: OwnedFd,
    shared: Arc<Shared>,
    _folders: TempDir,
}

impl Starter {
    pub fn new(source: &Path) -> Self {
        Self {
            source: source.to_path_buf(),
            mountpoint: None,
            cache: None,
            args: Vec::new(),
            wrapper: Vec::new(),
            life: LIFE_LIMIT,
        }
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Mounts at this folder instead of a temporary one.
    pub fn at(mut self, mountpoint: &Path) -> Self {
        self.mountpoint = Some(mountpoint.to_path_buf());
        self
    }

    /// Caches in this folder instead of a temporary one.
    pub fn cache(mut self, cache: &Path) -> Self {
        self.cache = Some(cache.to_path_buf());
        self
    }

    /// Sets how long the daemon may run; then it is killed, and its readers get an error.
    pub fn life(mut self, life: Duration) -> Self {
        self.life = life;
        self
    }

    /// Starts the program through another one, which must replace itself by it.
    pub fn wrapper(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts the daemon and returns when its mount answers.
    ///
    /// # Errors
    /// [`Refused`] when it ends instead.
    pub fn try_start(self) -> Result<Mount, Refused> {
        let folders = TempDir::with_prefix("zarrims-test-").expect("a temporary folder");
        let own = |name: &str| {
            let path = folders.path().join(name);
            std::fs::create_dir(&path).expect("a temporary folder takes folders");
            path
        };
        let mountpoint = self.mountpoint.unwrap_or_else(|| own("mount"));
        let cache = self.cache.unwrap_or_else(|| own("cache"));
        let wrapper: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        let mut child = command(&wrapper)
            .arg(&self.source)
            .arg(&mountpoint)
            .arg("--cache-dir")
            .arg(&cache)
            // A disk that others have filled changes no outcome.
            .args(["--cache-size", "1GiB", "--min-free", "0"])
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let pid = child.id();
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).expect("the child is not yet reaped");
        let shared = Arc::new(Shared::default());
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let reader = shared.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                reader.update(|state| state.stderr.push(line));
            }
            reader.update(|state| state.stderr_closed = true);
        });
        let waiter = shared.clone();
        std::thread::spawn(move || {
            let status = child.wait().expect("the child is ours");
            waiter.update(|state| state.status = Some(status));
        });
        let mount = Mount { mountpoint, cache, pid, pidfd, shared, _folders: folders };
        mount.limit_life(self.life);
        let started = mount.shared.wait(START_LIMIT, |state| state.mounted() || state.ended());
        assert!(started, "no word from the daemon: {:#?}", mount.stderr());
        let refused = {
            let state = mount.shared.lock();
            match state.status {
                Some(status) if !state.mounted() => {
                    Some(Refused { status, stderr: state.stderr.clone() })
                }
                _ => None,
            }
        };
        refused.map_or(Ok(mount), Err)
    }

    /// Starts a daemon that must mount.
    #[track_caller]
    pub fn start(self) -> Mount {
        match self.try_start() {
            Ok(mount) => mount,
            Err(refused) => panic!("not mounted: {}: {:#?}", refused.status, refused.stderr),
        }
    }
}

impl Mount {
    /// A daemon for a source folder, with temporary folders for mount and cache.
    pub fn of(source: &Path) -> Starter {
        Starter::new(source)
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// The cache folder.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The lines on standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.shared.lock().stderr.clone()
    }

    /// Waits for a line on standard error.
    #[track_caller]
    pub fn wait_for_line(&self, limit: Duration, wanted: impl Fn(&str) -> bool) {
        let found = self
            .shared
            .wait(limit, |state| state.stderr.iter().any(|line| wanted(line)) || state.ended());
        let stderr = self.stderr();
        assert!(found && stderr.iter().any(|line| wanted(line)), "no such line: {stderr:#?}");
    }

    /// Waits until standard error has so many lines of a kind; more are a failure. The daemon does not wait for its
    /// log: lines come after the effect that they are about.
    #[track_caller]
    pub fn wait_for_lines(&self, number: usize, wanted: impl Fn(&str) -> bool) {
        let count = |stderr: &[String]| stderr.iter().filter(|line| wanted(line)).count();
        let limit = Duration::from_secs(20);
        self.shared.wait(limit, |state| count(&state.stderr) >= number || state.ended());
        let stderr = self.stderr();
        assert_eq!(count(&stderr), number, "{stderr:#?}");
    }

    /// Whether the daemon is still there.
    pub fn is_running(&self) -> bool {
        self.shared.lock().status.is_none()
    }

    /// Sends a signal to the daemon; one that has ended cannot be hit, nor anything else.
    pub fn signal(&self, signal: Signal) {
        // Fails only when the daemon has ended.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Waits for the end without asking for it.
    #[track_caller]
    pub fn wait(self) -> (ExitStatus, Vec<String>) {
        self.wait_for(STOP_LIMIT)
    }

    /// As [`Mount::wait`], with a limit that is promised to users.
    #[track_caller]
    pub fn wait_for(self, limit: Duration) -> (ExitStatus, Vec<String>) {
        assert!(self.ends_within(limit), "still running: {:#?}", self.stderr());
        let state = self.shared.lock();
        assert!(!state.out_of_time, "killed by the test: {:#?}", state.stderr);
        (state.status.expect("it has ended"), state.stderr.clone())
    }

    /// Sends SIGTERM and waits for the end.
    #[track_caller]
    pub fn stop(self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// The most memory the daemon has had at once, in KiB (`VmHWM`).
    pub fn peak_memory_kib(&self) -> u64 {
        status_kib(self.pid, "VmHWM")
    }

    fn ends_within(&self, limit: Duration) -> bool {
        self.shared.wait(limit, State::ended)
    }

    /// Ends a daemon that has outlived every test, so that a read that hangs gets an error.
    fn limit_life(&self, life: Duration) {
        let shared = self.shared.clone();
        let pidfd = self.pidfd.try_clone().expect("a descriptor");
        std::thread::spawn(move || {
            if !shared.wait(life, |state| state.status.is_some()) {
                shared.update(|state| {
                    state.out_of_time = true;
                    state.stderr.push(format!("test: killed after {life:?}"));
                });
                // Fails only when the daemon has ended by itself just now.
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            }
        });
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !self.shared.lock().ended() {
            self.signal(Signal::TERM);
            if !self.ends_within(STOP_LIMIT) {
                self.signal(Signal::KILL);
                self.ends_within(Duration::from_secs(5));
            }
        }
        if std::thread::panicking() {
            eprintln!("standard error of the daemon: {:#?}", self.stderr());
        }
        // A mount of a dead daemon would keep the temporary folder from going.
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_mounted(&self.mountpoint) && Instant::now() < deadline {
            detach(&self.mountpoint);
        }
    }
}

/// Runs a program that unmounts; returns whether it succeeds.
pub fn unmount(command: &[&str], mountpoint: &Path) -> bool {
    let [program, args @ ..] = command else { return false };
    let output = Command::new(program).args(args).arg(mountpoint).output();
    output.is_ok_and(|output| output.status.success())
}

/// Detaches a mount, in use or not; returns whether a program succeeds.
pub fn detach(mountpoint: &Path) -> bool {
    unmount(&["umount", "-l"], mountpoint) || unmount(&["fusermount3", "-u", "-z"], mountpoint)
}

/// Whether something is mounted there, without touching the mount.
pub fn is_mounted(path: &Path) -> bool {
    // Spaces and the like are octal escapes in this file; temporary folders have none.
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at) == path))
}

/// Whether this machine lets the tests mount. If not, says so, and the test has to return.
pub fn can_mount() -> bool {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let reason = REASON.get_or_init(|| why_not().err());
    if let Some(reason) = reason {
        skipped(&format!("no FUSE mounts on this machine: {reason}"));
    }
    reason.is_none()
}

/// The reasons are those of the machine; any other failure is one of the program.
fn why_not() -> Result<(), String> {
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    device.map_err(|error| format!("/dev/fuse: {error}"))?;
    let source = TempDir::new().expect("a temporary folder");
    match Mount::of(source.path()).try_start() {
        Ok(_) => Ok(()),
        Err(refused) => {
            let text = refused.stderr.join("\n");
            let machine = ["fusermount3 not found", "Operation not permitted", "Permission denied"];
            if machine.iter().any(|known| text.contains(known)) { Err(text) } else { Ok(()) }
        }
    }
}

/// The number of a field such as `filled=3` in the line the daemon ends with.
#[track_caller]
pub fn summary(stderr: &[String], field: &str) -> u64 {
    let line = stderr.iter().rev().find(|line| line.contains(" unmounted "));
    let line = line.unwrap_or_else(|| panic!("no summary: {stderr:#?}"));
    let prefix = format!("{field}=");
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(&prefix));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {field}: {line}"))
}
