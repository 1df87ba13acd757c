//! Putting files into the cache, and comparing what is there: the jobs.

use std::path::Path;
use std::sync::Arc;

use bytesize::ByteSize;
use serde_json::{Value, json};
use zarrims::cache::{Health, SteadyCache};
use zarrims::fs::tree::FileSpec;
use zarrims::image::{ImageError, Selection, VirtualFile, Warmed};

use super::files::Files;
use super::jobs::{Asked, Job};
use super::state::State;
use crate::control::protocol::{Place, Progress};

/// Puts files into the cache.
///
/// # Errors
/// Why nothing can be done, in one line.
pub(super) fn warm(
    state: &Arc<State>,
    at: &Place,
    (selection, in_background): (&Selection, bool),
    progress: Progress<'_>,
) -> Result<Value, String> {
    let mount = state.mount_at(&at.mountpoint)?;
    let asked = Asked { kind: "warm", at: at.clone(), how: json!(selection) };
    let (state, at, selection) = (state.clone(), at.clone(), selection.clone());
    let jobs = state.jobs.clone();
    let work = move |job: &Job| {
        let cache = state.engine.cache().ok_or("this daemon has no cache to warm")?;
        let files = files_of(job, &at)?;
        let sizes: Vec<u64> =
            files.found.iter().map(|(_, spec)| selected_bytes(spec, &selection)).collect();
        if sizes.iter().all(|bytes| *bytes == 0) {
            return Err(format!("{at}: no file has any of these levels and time points"));
        }
        job.expect(sizes.iter().copied());
        warn_of_size(job, &at, sizes.iter().sum(), cache);
        let mut warmed = Warmed::default();
        for ((path, _), bytes) in files.found.iter().zip(sizes) {
            if job.work.is_stopped() {
                break;
            }
            if job.work.progress().unkept > 0 {
                check_works(cache)?;
            }
            job.begin_file(path, bytes);
            with_file(job, path, |file| {
                job.mount.fs.note(path, file);
                file.warm(&selection, &mut warmed, &job.work)
            });
        }
        finish(job)
    };
    jobs.run(asked, mount, in_background, progress, work)
}

/// Compares what is cached of files with its checksums, and with the source.
///
/// # Errors
/// Why nothing can be done, in one line.
pub(super) fn verify(
    state: &Arc<State>,
    at: &Place,
    with_source: bool,
    progress: Progress<'_>,
) -> Result<Value, String> {
    let mount = state.mount_at(&at.mountpoint)?;
    let asked = Asked { kind: "verify", at: at.clone(), how: json!(with_source) };
    let (state, at) = (state.clone(), at.clone());
    let jobs = state.jobs.clone();
    let work = move |job: &Job| {
        state.engine.cache().ok_or("this daemon has no cache to verify")?;
        let files = files_of(job, &at)?;
        job.expect(files.found.iter().map(|(_, spec)| spec.size));
        for (path, spec) in &files.found {
            if job.work.is_stopped() {
                break;
            }
            job.begin_file(path, spec.size);
            with_file(job, path, |file| file.verify(with_source, &job.work));
        }
        finish(job)
    };
    jobs.run(asked, mount, false, progress, work)
}

/// The files of a place; folders that cannot be listed are noted.
///
/// # Errors
/// There are none.
fn files_of(job: &Job, at: &Place) -> Result<Files, String> {
    let files = Files::at(&job.mount, Path::new(&at.path));
    if let Some(reason) = files.nothing() {
        return Err(format!("{at}: {reason}"));
    }
    for (path, reason) in &files.unreadable {
        job.work.fail_file(path, reason.clone());
    }
    Ok(files)
}

/// Does the work on a file, and notes why it cannot be done.
fn with_file(
    job: &Job,
    path: &Path,
    work: impl FnOnce(&Arc<VirtualFile>) -> Result<(), ImageError>,
) {
    let done = job.mount.fs.with_file(path, work);
    match done.map(|done| done.map_err(|error| error.to_string())) {
        // The end of the job says so.
        _ if job.work.is_stopped() => {}
        Ok(Ok(())) => {}
        Ok(Err(reason)) => job.work.fail_file(path, reason),
        Err(error) => job.work.fail_file(path, error.to_string()),
    }
    job.end_file();
}

/// What has been done.
///
/// # Errors
/// That the job was stopped, for another reason than a full cache.
fn finish(job: &Job) -> Result<Value, String> {
    let is_full = job.work.progress().is_full;
    if job.work.is_stopped() && !is_full {
        return Err("stopped before the end".to_owned());
    }
    serde_json::to_value(job.status()).map_err(|error| error.to_string())
}

/// About how many bytes of a file are asked for: its size, by the share of its voxels.
fn selected_bytes(spec: &FileSpec, selection: &Selection) -> u64 {
    let time_points = spec.shape[0];
    let Selection { levels, time_points: times } = selection.within(spec.levels.len(), time_points);
    let voxels = |level: &zarrims::fs::tree::LevelSpec| -> u128 {
        level.size.iter().map(|side| u128::from(*side)).product()
    };
    let all: u128 = spec.levels.iter().map(voxels).sum::<u128>() * u128::from(time_points);
    let some: u128 = spec.levels[levels].iter().map(voxels).sum();
    let some = some * u128::from(times.end - times.start);
    let share = u128::from(spec.size) * some / all.max(1);
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// # Errors
/// That the disk of the cache does not take bricks now.
fn check_works(cache: &SteadyCache) -> Result<(), String> {
    match cache.health() {
        Health::Works => Ok(()),
        Health::Failing(outage) | Health::Gone(outage) | Health::Unsuitable(outage) => {
            Err(format!("the cache takes nothing: {}", outage.reason))
        }
    }
}

/// Says once, before the start, that the cache is too small.
fn warn_of_size(job: &Job, at: &Place, bytes: u64, cache: &SteadyCache) {
    let limit = cache.stats().limit_bytes;
    if bytes > limit {
        job.warn(format!(
            "{at}: about {} are asked for, and the cache holds {}: the work stops when it is full",
            ByteSize(bytes),
            ByteSize(limit),
        ));
    }
}
