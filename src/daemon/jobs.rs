//! Long work that the daemon was asked for, each in a thread of its own: as long as somebody waits for it, or as it
//! may go on in the background. Asked for twice, it is done once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::{Value, json};
use zarrims::image::{Work, WorkProgress};

use super::figures::{percent, seconds, seconds_left};
use super::mount_state::MountState;
use crate::control::protocol::{Place, Progress};

/// Most jobs at a time.
const MOST_JOBS: usize = 8;

/// Time between two lines on the progress.
const TELL_TIME: Duration = Duration::from_millis(200);

/// The jobs under way.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<Vec<Arc<Job>>>);

/// What a job is: two of the same are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The verb.
    pub(super) kind: &'static str,
    pub(super) at: Place,
    /// The other arguments.
    pub(super) how: Value,
}

/// Work under way.
#[derive(Debug)]
pub(super) struct Job {
    asked: Asked,
    pub(super) mount: Arc<MountState>,
    pub(super) work: Arc<Work>,
    began: Instant,
    since: SystemTime,
    state: Mutex<JobState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct JobState {
    /// Clients that wait for the end.
    clients: usize,
    /// It goes on without a client.
    goes_on: bool,
    files: Files,
    warning: Option<String>,
    ended: Option<Result<Value, String>>,
}

/// The files of a job. Sizes are estimates.
#[derive(Debug, Clone, Default)]
struct Files {
    number: usize,
    done: usize,
    current: Option<String>,
    bytes: u64,
    bytes_done: u64,
    bytes_of_current: u64,
}

/// How far a job is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct JobStatus {
    /// The verb that has asked for it.
    pub(crate) kind: &'static str,
    /// The file or folder.
    pub(crate) place: String,
    /// Whether it goes on without a client.
    pub(crate) in_background: bool,
    pub(crate) files: usize,
    pub(crate) files_done: usize,
    /// The file that is worked on, below the mount point.
    pub(crate) file: Option<String>,
    /// Of all files together, an estimate.
    pub(crate) bytes: u64,
    pub(crate) percent: f64,
    /// When it began, in seconds since 1970.
    pub(crate) since_s: u64,
    pub(crate) seconds: u64,
    /// Until its end, if it goes on as so far; nothing while that is not known.
    pub(crate) left_s: Option<u64>,
    pub(crate) warning: Option<String>,
    #[serde(flatten)]
    pub(crate) progress: WorkProgress,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jobs {
    /// Begins a job in a thread of its own, or joins the one that is under way; then follows it to its end, or, with
    /// `goes_on`, lets it go on.
    ///
    /// # Errors
    /// Those of the job; that there are too many.
    pub(super) fn run(
        self: &Arc<Self>,
        asked: Asked,
        mount: Arc<MountState>,
        goes_on: bool,
        progress: Progress<'_>,
        work: impl FnOnce(&Job) -> Result<Value, String> + Send + 'static,
    ) -> Result<Value, String> {
        let job = self.begin(asked, mount, goes_on, work)?;
        if goes_on {
            return serde_json::to_value(job.status()).map_err(|error| error.to_string());
        }
        let ended = job.follow(progress);
        let mut state = lock(&job.state);
        state.clients -= 1;
        if state.clients == 0 && !state.goes_on {
            job.work.stop();
        }
        ended
    }

    fn begin(
        self: &Arc<Self>,
        asked: Asked,
        mount: Arc<MountState>,
        goes_on: bool,
        work: impl FnOnce(&Job) -> Result<Value, String> + Send + 'static,
    ) -> Result<Arc<Job>, String> {
        let mut jobs = lock(&self.0);
        let is_it = |job: &&Arc<Job>| job.asked == asked && job.enter(goes_on);
        if let Some(job) = jobs.iter().find(is_it) {
            return Ok(job.clone());
        }
        if jobs.len() >= MOST_JOBS {
            let line = "pieces of work are under way, and no more are taken on; see status";
            return Err(format!("{MOST_JOBS} {line}"));
        }
        let job = Arc::new(Job {
            asked,
            mount,
            work: Arc::default(),
            began: Instant::now(),
            since: SystemTime::now(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        job.enter(goes_on);
        let (all, own) = (self.clone(), job.clone());
        let task = move || {
            let done = catch_unwind(AssertUnwindSafe(|| work(&own)));
            let done = done.unwrap_or_else(|_| Err("internal fault".to_owned()));
            own.log_end(&done);
            lock(&all.0).retain(|job| !Arc::ptr_eq(job, &own));
            lock(&own.state).ended = Some(done);
            own.changed.notify_all();
        };
        let started = thread::Builder::new().name("job".to_owned()).spawn(task);
        started.map_err(|error| format!("cannot start a thread: {error}"))?;
        jobs.push(job.clone());
        Ok(job)
    }

    /// The jobs of a mount.
    pub(super) fn of(&self, mount: &MountState) -> Vec<JobStatus> {
        let jobs = lock(&self.0);
        let of_mount = |job: &&Arc<Job>| std::ptr::eq(&raw const *job.mount, mount);
        jobs.iter().filter(of_mount).map(|job| job.status()).collect()
    }

    /// Ends the jobs of a mount that has gone, or all.
    pub(super) fn stop(&self, mount: Option<&Arc<MountState>>) {
        let jobs = lock(&self.0);
        let matches = |job: &&Arc<Job>| mount.is_none_or(|mount| Arc::ptr_eq(&job.mount, mount));
        jobs.iter().filter(matches).for_each(|job| job.work.stop());
    }
}

impl Job {
    /// A client comes; false if it is too late.
    fn enter(&self, goes_on: bool) -> bool {
        let mut state = lock(&self.state);
        if state.ended.is_some() || self.work.is_stopped() {
            return false;
        }
        state.clients += usize::from(!goes_on);
        state.goes_on |= goes_on;
        true
    }

    /// Tells of the progress until the end.
    fn follow(&self, progress: Progress<'_>) -> Result<Value, String> {
        loop {
            let state = lock(&self.state);
            let is_under_way = |state: &mut JobState| state.ended.is_none();
            let waited = self.changed.wait_timeout_while(state, TELL_TIME, is_under_way);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if let Some(ended) = &state.ended {
                return ended.clone();
            }
            drop(state);
            if !progress(json!(self.status())) {
                return Err("nobody waits for the end".to_owned());
            }
        }
    }

    /// The files that are to be worked on, with estimates of their bytes.
    pub(super) fn expect(&self, bytes: impl Iterator<Item = u64>) {
        let files = &mut lock(&self.state).files;
        (files.number, files.bytes) =
            bytes.fold((0, 0_u64), |(number, sum), bytes| (number + 1, sum.saturating_add(bytes)));
    }

    /// Begins a file.
    pub(super) fn begin_file(&self, file: &std::path::Path, bytes: u64) {
        self.work.begin(file);
        let files = &mut lock(&self.state).files;
        files.current = Some(file.to_string_lossy().into_owned());
        files.bytes_of_current = bytes;
    }

    /// Ends it.
    pub(super) fn end_file(&self) {
        let files = &mut lock(&self.state).files;
        files.done += 1;
        files.bytes_done += std::mem::take(&mut files.bytes_of_current);
        files.current = None;
    }

    /// Tells whoever follows, in one line.
    pub(super) fn warn(&self, line: String) {
        tracing::warn!("{line}");
        lock(&self.state).warning = Some(line);
    }

    fn log_end(&self, done: &Result<Value, String>) {
        let Asked { kind, at, .. } = &self.asked;
        let WorkProgress { made, there, checked, compared, wrong, failed, .. } =
            self.work.progress();
        let seconds = self.began.elapsed().as_secs();
        let outcome = done.as_ref().map_or_else(String::as_str, |_| "done");
        tracing::info!(
            kind, place = %at, made, there, checked, compared, wrong, failed, seconds, "{outcome}"
        );
    }

    /// How far it is.
    pub(super) fn status(&self) -> JobStatus {
        let progress = self.work.progress();
        let (files, warning, goes_on) = {
            let state = lock(&self.state);
            (state.files.clone(), state.warning.clone(), state.goes_on)
        };
        let share = |bytes: u64| {
            let part = u128::from(bytes) * u128::from(progress.done.min(progress.bricks));
            u64::try_from(part / u128::from(progress.bricks.max(1))).unwrap_or(u64::MAX)
        };
        let done = files.bytes_done.saturating_add(share(files.bytes_of_current));
        let elapsed = self.began.elapsed().as_secs();
        JobStatus {
            kind: self.asked.kind,
            place: self.asked.at.to_string(),
            in_background: goes_on,
            files: files.number,
            files_done: files.done,
            file: files.current,
            bytes: files.bytes,
            percent: percent(done.min(files.bytes), files.bytes),
            since_s: seconds(self.since),
            seconds: elapsed,
            left_s: seconds_left(elapsed, done, files.bytes),
            warning,
            progress,
        }
    }
}
