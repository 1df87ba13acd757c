//! Wiring, readiness, signals, unmount: the one place that knows every layer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::io::Errno;
use zarrims::cli::Cli;
use zarrims::config::{self, Config, check_source};
use zarrims::fs::{FileSystem, Tree, TreeConfig};
use zarrims::fuse::Adapter;
use zarrims::image::{Engine, EngineConfig, EngineError, EngineStats, Images, Statistics};
use zarrims::source::{SourceRoot, discover};

use crate::housekeeper::Housekeeper;
use crate::mount::{self, Mount};
use crate::{allocator, list, logging, notify, signals, window};

/// How long open files are served after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// Exit status after a second signal, as shells report an interrupt.
const INTERRUPTED: i32 = 130;

/// What ends the daemon.
enum Event {
    Signal(i32),
    SessionEnded,
}

/// Does what the command line asks for.
///
/// # Errors
/// What went wrong, in one line; nothing is mounted then.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<()> {
    // The first -v of a list asks for more of the list.
    let verbose = if cli.list { cli.verbose.saturating_sub(1) } else { cli.verbose };
    logging::start(cli.log_format, verbose, cli.list);
    if cli.list {
        return run_list(cli);
    }
    let config = Config::resolve(cli)?;
    let engine = Engine::start(&config.engine).map_err(|error| {
        let flag = if matches!(error, EngineError::Cache(_)) { "--cache-dir: " } else { "" };
        anyhow::anyhow!("{flag}{error}")
    })?;
    allocator::give_back_at_rest(&engine);
    let root = open_source(&cli.source, config.follow_links)?;
    let images = Images::new(engine.clone(), config.images);
    let tree = Tree::new(root, images.clone(), config.tree).context("cannot start threads")?;
    let fs = Arc::new(FileSystem::new(tree));
    let housekeeper = Housekeeper::start({
        let fs = fs.clone();
        move |when| fs.save(when)
    })
    .context("cannot start threads")?;

    let (events, received) = mpsc::channel();
    let (ended, session_ended) = mpsc::channel();
    let of_signal = events.clone();
    signals::watch(move |signal| of_signal.send(Event::Signal(signal)).is_ok())?;
    let adapter = Adapter::new(fs, move || {
        // Receivers are gone only when nobody waits any more.
        let _ = ended.send(());
        let _ = events.send(Event::SessionEnded);
    })
    .context("cannot start threads")?;
    let mount = Mount::new(adapter, &config.source, &config.mountpoint, config.allow_other)
        .map_err(|error| explain_mount_error(&error, &config))?;
    // The kernel has shaken hands, and requests are answered. This process never asks its own mount for
    // anything: if it were killed meanwhile, its last thread would wait for an answer for ever.
    notify::service_manager("READY=1")?;
    let cache = config.engine.cache.as_ref();
    tracing::info!(
        source = %config.source.display(),
        mountpoint = %config.mountpoint.display(),
        cache = cache.map(|cache| tracing::field::display(cache.dir.display())),
        cache_bytes = cache.map(|cache| cache.limits.cap_bytes),
        memory_bytes = config.engine.memory_bytes,
        threads = config.engine.threads,
        "mounted"
    );

    match received.recv() {
        Ok(Event::Signal(signal)) => {
            tracing::info!(signal, "unmounting");
            if let Err(error) = notify::service_manager("STOPPING=1") {
                tracing::warn!(%error, "the service manager was not told of the end");
            }
            exit_on_next_signal(received, config.mountpoint);
            mount.unmount(&session_ended, GRACE).context("cannot unmount")?;
        }
        Ok(Event::SessionEnded) | Err(_) => mount.forget(),
    }
    housekeeper.finish();
    engine.stop();
    log_summary(&engine.stats(), images.damaged());
    Ok(())
}

fn run_list(cli: &Cli) -> anyhow::Result<()> {
    check_source(&cli.source)?;
    let engine = Engine::start(&EngineConfig {
        cache: None,
        memory_bytes: config::memory_bytes(cli),
        threads: 1,
    })?;
    let images = Images::new(engine, cli.images());
    let config = TreeConfig { labels: cli.labels, ..TreeConfig::default() };
    let root = open_source(&cli.source, cli.follow_links)?;
    let tree = Tree::new(root, images, config).context("cannot start threads")?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let form = list::Form {
        as_json: cli.json,
        names_all: cli.verbose > 0,
        is_exact: cli.statistics == Statistics::Exact,
    };
    let written = list::list(&tree, form, &mut out).and_then(|()| io::Write::flush(&mut out));
    match written {
        // `zarrims-mount --list | head` is no fault.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write the list"),
    }
}

/// Opens SOURCE by the path that was given, links in it included: it is looked up again while it is served.
fn open_source(path: &Path, follow_links: bool) -> anyhow::Result<Arc<SourceRoot>> {
    let name = path.display();
    let path = std::path::absolute(path).with_context(|| format!("SOURCE {name}"))?;
    let root = SourceRoot::open(&path, follow_links).with_context(|| format!("SOURCE {name}"))?;
    if root.is_empty().map_err(|error| explain_source_error(&path, error))? {
        tracing::warn!(source = %name, "SOURCE is empty; stores that come, or a disk in its place, will be served");
    }
    anyhow::ensure!(
        !discover::is_image(&root, Path::new("")),
        "SOURCE {name}: is a Zarr store itself; give the folder that holds it"
    );
    Ok(Arc::new(root))
}

/// Adds what to do about it.
fn explain_source_error(path: &Path, error: io::Error) -> anyhow::Error {
    let source = path.display();
    let refused = [Errno::NOSYS, Errno::PERM].map(|errno| Some(errno.raw_os_error()));
    if refused.contains(&error.raw_os_error()) {
        return anyhow::anyhow!(
            "SOURCE {source}: the system call openat2 is refused ({error}), without which links could \
             lead out of SOURCE; allow it: in a systemd unit, no RestrictSUIDSGID= and a \
             SystemCallFilter= that lets it through; in a container, a seccomp profile that knows it; \
             Linux 5.6 or newer"
        );
    }
    anyhow::Error::new(error).context(format!("SOURCE {source}"))
}

/// Who presses Ctrl-C twice does not want to wait.
fn exit_on_next_signal(received: mpsc::Receiver<Event>, mountpoint: PathBuf) {
    let watch = move || {
        while let Ok(event) = received.recv() {
            if let Event::Signal(signal) = event {
                if window::is_mounted(&mountpoint) {
                    let mountpoint = mountpoint.display();
                    tracing::warn!(
                        signal,
                        "ended at once by a second signal; remove the mount with fusermount3 -u \
                         {mountpoint}"
                    );
                } else {
                    tracing::warn!(
                        signal,
                        "ended at once by a second signal; whoever has files open gets errors"
                    );
                }
                logging::finish();
                std::process::exit(INTERRUPTED);
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("second-signal".to_owned()).spawn(watch) {
        tracing::warn!(%error, "a second signal will not be noticed");
    }
}

/// Adds what to do about it.
fn explain_mount_error(error: &io::Error, config: &Config) -> anyhow::Error {
    let text = error.to_string();
    let text = text.trim();
    let mountpoint = config.mountpoint.display();
    if text.contains("user_allow_other") {
        return anyhow::anyhow!(
            "--allow-other: put the line \"user_allow_other\" into /etc/fuse.conf, or mount as root"
        );
    }
    if let Err(reason) = mount::check_device() {
        return anyhow::anyhow!("MOUNTPOINT {mountpoint}: {reason}");
    }
    if error.kind() == io::ErrorKind::NotFound {
        return anyhow::anyhow!(
            "MOUNTPOINT {mountpoint}: fusermount3 not found; install the package fuse3"
        );
    }
    anyhow::anyhow!("MOUNTPOINT {mountpoint}: cannot mount: {text}")
}

fn log_summary(stats: &EngineStats, damaged: u64) {
    let cache = stats.cache.unwrap_or_default();
    tracing::info!(
        filled = stats.filled,
        filled_bytes = stats.filled_bytes,
        passed = stats.passed,
        failed = stats.failed,
        damaged,
        cache_hits = cache.hits,
        cache_misses = cache.misses,
        cache_used_bytes = cache.used_bytes,
        evicted = cache.evicted,
        decode_memory_peak_bytes = stats.memory.peak_bytes,
        log_lines_lost = logging::lost(),
        "unmounted"
    );
}
