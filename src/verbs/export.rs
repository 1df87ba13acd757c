//! `export STORE OUT.ims`: the bytes of the mount without a mount. The work is that of `zarrims::export`; here are
//! the choice of the image, the progress, and the signals.

mod choose;
mod progress;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use bytesize::ByteSize;
use serde_json::json;

use zarrims::by_hand::{Asked, Tables};
use zarrims::cache::{CacheLimits, MinFree};
use zarrims::cli::Cli;
use zarrims::cli::verbs::{Export, Made};
use zarrims::config::{LogFormat, MountConfig, Resources, Setting};
use zarrims::export::{
    self, Copying, ExportError, Original, Output, Packed, Packing, Parts, Start, Target,
};
use zarrims::fs::tree::FileSpec;
use zarrims::image::{CacheConfig, LevelOrigin, PassProgress, VirtualFile};
use zarrims::objects::connect_at_most;

use super::Failure;
use super::session::Session;
use crate::{daemon, logging};
use progress::{Progress, tell};

/// Exit status after a signal, as shells report an interrupt.
const INTERRUPTED: u8 = 130;

/// Room of the folder for computed levels, as a multiple of their bytes, so that all of them are kept.
const KEPT_FACTOR: u64 = 8;
const LEAST_KEPT_BYTES: u64 = 1 << 30;

/// A signal has asked for the end.
static STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// The source, and how it is read.
struct Source {
    mount: MountConfig,
    resources: Resources,
    by_hand: Arc<Tables>,
}

/// One file to be made.
struct Job<'a> {
    wanted: &'a Export,
    source: &'a Source,
    /// Its path in the mount.
    image: PathBuf,
    target: Target,
}

pub(super) fn run(wanted: &Export, cli: &Cli) -> Result<ExitCode, Failure> {
    daemon::signals::watch(|_| {
        if STOPPED.swap(true, Ordering::Relaxed) {
            // A second signal: the journal is as good as after a kill.
            process::exit(INTERRUPTED.into());
        }
        true
    })?;
    let done = match &wanted.made {
        Made::Joined(out) => {
            logging::start(LogFormat::Text, cli.verbose, true);
            join(wanted, out)
        }
        _ => export(wanted, cli)?,
    };
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if is_stopped(&error) => {
            logging::say(&format!("{error:#}"));
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(Failure::Other(error)),
    }
}

fn is_stopped(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ExportError::Stopped))
}

fn is_full(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ExportError::Full(_)))
}

/// # Errors
/// The outer error is a mistake of the command line or the configuration.
fn export(wanted: &Export, cli: &Cli) -> Result<anyhow::Result<()>, Failure> {
    let mut given = cli.given.clone();
    let mut name = wanted.image.as_ref().map(PathBuf::from);
    if let Some(source) = &mut given.source
        && let Some((folder, image)) = choose::split(source)
    {
        if name.is_some() {
            let named = source.named();
            return Ok(Err(anyhow!("{named}: is an image already; leave --image out")));
        }
        *source = Setting::path(source.name, folder.into(), source.origin.clone());
        name = Some(image);
    }
    let merged = given.merge()?;
    logging::start(merged.log_format(), cli.verbose, true);
    let (mount, resources) = merged.resolve_to_read()?;
    connect_at_most(resources.connections);
    let by_hand = mount.by_hand.clone();
    let mut source = Source { mount, resources, by_hand };
    let name = name.as_deref();
    Ok(match &wanted.made {
        Made::All(folder) => export_all(wanted, &source, folder),
        Made::File(out) => export_one(
            wanted,
            &mut source,
            name,
            Target { path: out.clone(), force: wanted.force, part: None },
        ),
        Made::Part(out, part) => {
            let target = Target { path: out.clone(), force: wanted.force, part: Some(*part) };
            export_one(wanted, &mut source, name, target)
        }
        Made::Joined(_) => unreachable!("has no source"),
    })
}

fn export_one(
    wanted: &Export,
    source: &mut Source,
    name: Option<&Path>,
    target: Target,
) -> anyhow::Result<()> {
    target.check()?;
    let session = source.open(None)?;
    let is_plain = wanted.asked == Asked::default();
    let there = name.filter(|name| is_plain && session.open_file(name).is_ok());
    let image = if let Some(there) = there {
        there.to_path_buf()
    } else {
        let named = || source.mount.names.source.clone();
        let contents = session.contents();
        let (path, spec) = choose::choose(&contents, name).with_context(named)?.clone();
        drop(session);
        if is_plain { path } else { source.ask(&wanted.asked, &path, &spec)? }
    };
    Job { wanted, source, image, target }.run()
}

fn export_all(wanted: &Export, source: &Source, folder: &Path) -> anyhow::Result<()> {
    let contents = source.open(None)?.contents();
    if contents.files.is_empty() {
        choose::choose(&contents, None).with_context(|| source.mount.names.source.clone())?;
    }
    for row in contents.skipped.iter().filter(|row| row.non_image.is_none()) {
        tell(
            wanted.as_json,
            "skipped",
            &row.path,
            &format!("skipped: {}", row.reason),
            json!({"reason": row.reason}),
        );
    }
    let mut failed = 0;
    for (image, _) in contents.files {
        let path = folder.join(&image);
        if !wanted.force && path.exists() {
            tell(wanted.as_json, "there", &path, "is there already", json!({}));
            continue;
        }
        let above = path.parent().expect("in the folder");
        fs::create_dir_all(above).with_context(|| above.display().to_string())?;
        let target = Target { path: path.clone(), force: wanted.force, part: None };
        match (Job { wanted, source, image, target }).run() {
            Ok(()) => {}
            // These would meet the next file as well.
            Err(error) if is_stopped(&error) || is_full(&error) => return Err(error),
            Err(error) => {
                failed += 1;
                tell(
                    wanted.as_json,
                    "failed",
                    &path,
                    &format!("{error:#}"),
                    json!({"reason": format!("{error:#}")}),
                );
            }
        }
    }
    match failed {
        0 => Ok(()),
        1 => bail!("1 file is not complete"),
        failed => bail!("{failed} files are not complete"),
    }
}

fn join(wanted: &Export, out: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    let target = Target { path: out.to_path_buf(), force: wanted.force, part: None };
    target.check()?;
    let parts = Parts::open(out)?;
    let size = parts.size();
    let (mut output, start) = Output::open(&target, &parts, 0..size)?;
    tell_start(wanted, out, start, size);
    let progress = Progress::new(wanted.as_json, "joined", size, &STOPPED, &no_passes);
    export::copy(&parts, &mut output, size, Copying { at_a_time: 1 }, &progress)?;
    drop(progress);
    verify(wanted, &mut output)?;
    output.finish()?;
    parts.remove();
    tell_end(wanted, out, size, began);
    Ok(())
}

impl Source {
    fn open(&self, cache: Option<CacheConfig>) -> anyhow::Result<Session> {
        Session::open(&self.mount, self.resources, self.by_hand.clone(), cache)
    }

    /// Asks for a part of an image, and returns the path in the mount that shows it.
    fn ask(&mut self, asked: &Asked, path: &Path, spec: &FileSpec) -> anyhow::Result<PathBuf> {
        if spec.view.is_some() || spec.multiscale > 0 {
            let kind =
                if spec.view.is_some() { "a view" } else { "a further entry of multiscales" };
            bail!(
                "{}: is {kind}, of which --crop, --channels and --levels take no part; ask for it in a [[view]]",
                path.display()
            );
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut tables = Tables::clone(&self.by_hand);
        asked
            .add_to(&mut tables, (&spec.store, &spec.image), &name)
            .map_err(|words| anyhow!(words))?;
        let number = tables.views.len().checked_sub(1);
        self.by_hand = Arc::new(tables);
        let contents = self.open(None)?.contents();
        let is_wanted = |found: &FileSpec| match &found.view {
            Some(view) => asked.makes_view() && Some(view.number) == number && view.name == name,
            None => !asked.makes_view() && found.folder() == spec.folder() && found.multiscale == 0,
        };
        if let Some((path, _)) = contents.files.iter().find(|(_, found)| is_wanted(found)) {
            return Ok(path.clone());
        }
        let own = "the command line:1: ";
        let reason = contents
            .skipped
            .iter()
            .find_map(|row| row.reason.split_once(own).map(|(_, words)| words.to_owned()));
        let reason = reason.unwrap_or_else(|| "cannot be shown so".to_owned());
        bail!("{}: {reason}", path.display())
    }
}

impl Job<'_> {
    fn run(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let Self { wanted, source, image, target } = self;
        let session = source.open(None)?;
        let named = || image.display().to_string();
        let file = session.open_file(image).with_context(named)?.file;
        if let Some(packing) = wanted.packing {
            return self.pack(&session, &file, packing, began);
        }
        let range = target.part.map_or(0..file.size(), |part| part.range(&file));
        let (mut output, start) = Output::open(target, &file, range.clone())?;
        let start = match start {
            Start::Resumed(at) => Start::Resumed(at - range.start),
            other => other,
        };
        tell_start(wanted, &target.unfinished(), start, range.end - range.start);
        let how = Copying { at_a_time: source.resources.threads };
        let computed_end = export::computed_end(&file).min(range.end);
        if output.missing().start < computed_end {
            let session = source.open(Some(kept_levels(target, export::computed_bytes(&file))?))?;
            let again = session.open_file(image).with_context(named)?.file;
            if again.content() != file.content() {
                bail!("{}: changes while it is exported", image.display());
            }
            self.copy(&session, &again, &mut output, (computed_end, how))?;
        }
        self.copy(&session, &file, &mut output, (range.end, how))?;
        drop(session);
        verify(wanted, &mut output)?;
        if target.part.is_some() {
            output.keep()?;
        } else {
            output.finish()?;
        }
        let made = if target.part.is_some() { target.unfinished() } else { target.path.clone() };
        tell_end(wanted, &made, range.end - range.start, began);
        Ok(())
    }

    /// The same with compressed chunks.
    fn pack(
        &self,
        session: &Session,
        file: &Arc<VirtualFile>,
        packing: Packing,
        began: Instant,
    ) -> anyhow::Result<()> {
        let Self { wanted, source, image, target } = self;
        let total = Packed::total(file);
        let (mut packed, start) = Packed::open(target, file, packing)?;
        tell_start(wanted, &target.unfinished(), start, total);
        let how = Copying { at_a_time: source.resources.threads };
        let is_computed = |level: usize| file.plan().levels[level].origin == LevelOrigin::Computed;
        if packed.next_level(file).is_some_and(is_computed) {
            let kept = kept_levels(target, export::computed_bytes(file))?;
            let session = source.open(Some(kept))?;
            let again = session.open_file(image).with_context(|| image.display().to_string())?.file;
            if again.content() != file.content() {
                bail!("{}: changes while it is exported", image.display());
            }
            let passes = || session.passes();
            let progress = Progress::new(wanted.as_json, "written", total, &STOPPED, &passes);
            packed.write(&again, is_computed, how, &progress)?;
        }
        let passes = || session.passes();
        let progress = Progress::new(wanted.as_json, "written", total, &STOPPED, &passes);
        packed.write(file, |_| true, how, &progress)?;
        drop(progress);
        if wanted.verify {
            let written = packed.written();
            let progress = Progress::new(wanted.as_json, "compared", written, &STOPPED, &no_passes);
            packed.verify(&progress)?;
        }
        packed.finish(file)?;
        let bytes =
            fs::metadata(&target.path).with_context(|| target.path.display().to_string())?.len();
        tell_end(wanted, &target.path, bytes, began);
        Ok(())
    }

    fn copy(
        &self,
        session: &Session,
        file: &dyn Original,
        output: &mut Output,
        (end, how): (u64, Copying),
    ) -> anyhow::Result<()> {
        let range = output.range();
        let passes = || session.passes();
        let total = range.end - range.start;
        let progress = Progress::new(self.wanted.as_json, "written", total, &STOPPED, &passes);
        Ok(export::copy(file, output, end, how, &progress)?)
    }
}

/// A cache for levels that the store lacks, beside the file: they are computed once, also when the export is cut off.
fn kept_levels(target: &Target, bytes: u64) -> anyhow::Result<CacheConfig> {
    let dir = target.kept();
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let cap_bytes = bytes.saturating_mul(KEPT_FACTOR).saturating_add(LEAST_KEPT_BYTES);
    Ok(CacheConfig { dir, limits: CacheLimits { cap_bytes, min_free: MinFree::Bytes(0) } })
}

fn verify(wanted: &Export, output: &mut Output) -> anyhow::Result<()> {
    if wanted.verify {
        let range = output.range();
        let total = range.end - range.start;
        let progress = Progress::new(wanted.as_json, "compared", total, &STOPPED, &no_passes);
        output.verify(&progress)?;
    }
    Ok(())
}

fn no_passes() -> Vec<PassProgress> {
    Vec::new()
}

fn tell_start(wanted: &Export, out: &Path, start: Start, bytes: u64) {
    let size = ByteSize(bytes);
    let (line, at) = match start {
        Start::New => (format!("{size} to write"), 0),
        Start::Resumed(at) => (format!("goes on; {} of {size} are there", ByteSize(at)), at),
        Start::Again => (
            format!(
                "the image or the options have changed since an earlier export began; {size} to write"
            ),
            0,
        ),
    };
    let more = json!({"bytes": bytes, "there": at, "again": start == Start::Again});
    tell(wanted.as_json, "start", out, &line, more);
}

fn tell_end(wanted: &Export, out: &Path, bytes: u64, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let compared = if wanted.verify { ", compared with the disk" } else { "" };
    let line = format!("complete: {} in {seconds:.1} s{compared}", ByteSize(bytes));
    tell(wanted.as_json, "complete", out, &line, json!({"bytes": bytes, "seconds": seconds}));
}
