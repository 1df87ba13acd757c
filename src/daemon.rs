//! Wiring, readiness, signals, unmount: the one place that knows every layer.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use bytesize::ByteSize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use zarrims::cli::Cli;
use zarrims::config::{self, Config, check_source};
use zarrims::fs::{FileSystem, Tree, TreeConfig};
use zarrims::fuse::Adapter;
use zarrims::image::{Engine, EngineConfig, EngineError, EngineStats};
use zarrims::source::{SourceRoot, discover};

use crate::mount::Mount;
use crate::{allocator, list, logging};

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
    let root = open_source(&config.source, config.follow_links)?;
    let tree = Tree::new(root, engine.clone(), config.tree).context("cannot start threads")?;
    let fs = Arc::new(FileSystem::new(tree));

    let (events, received) = mpsc::channel();
    let (ended, session_ended) = mpsc::channel();
    watch_signals(&events)?;
    let adapter = Adapter::new(fs.clone(), move || {
        // Receivers are gone only when nobody waits any more.
        let _ = ended.send(());
        let _ = events.send(Event::SessionEnded);
    })
    .context("cannot start threads")?;
    let mount = Mount::new(adapter, &config.mountpoint, config.allow_other)
        .map_err(|error| explain_mount_error(&error, &config))?;
    // The kernel has shaken hands, and requests are answered. This process never asks its own mount for
    // anything: if it were killed meanwhile, its last thread would wait for an answer for ever.
    notify_service_manager("READY=1")?;
    let cache = config.engine.cache.as_ref();
    tracing::info!(
        source = %config.source.display(),
        mountpoint = %config.mountpoint.display(),
        cache = cache.map(|cache| tracing::field::display(cache.dir.display())),
        cache_size = cache.map(|cache| tracing::field::display(ByteSize(cache.limits.cap_bytes))),
        memory = %ByteSize(config.engine.memory_bytes),
        threads = config.engine.threads,
        "mounted"
    );

    match received.recv() {
        Ok(Event::Signal(signal)) => {
            tracing::info!(signal, "unmounting");
            notify_service_manager("STOPPING=1")?;
            exit_on_next_signal(received);
            mount.unmount(&session_ended, GRACE).context("cannot unmount")?;
        }
        Ok(Event::SessionEnded) | Err(_) => mount.forget(),
    }
    engine.stop();
    // Until now: what is known of the source is kept at the end.
    drop(fs);
    log_summary(&engine.stats());
    Ok(())
}

fn run_list(cli: &Cli) -> anyhow::Result<()> {
    let source = check_source(&cli.source)?;
    let engine = Engine::start(&EngineConfig {
        cache: None,
        memory_bytes: config::memory_bytes(cli),
        threads: 1,
        images: cli.images(),
    })?;
    let config = TreeConfig { labels: cli.labels, ..TreeConfig::default() };
    let root = open_source(&source, cli.follow_links)?;
    let tree = Tree::new(root, engine, config).context("cannot start threads")?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let form = list::Form { as_json: cli.json, names_all: cli.verbose > 0 };
    let written = list::list(&tree, form, &mut out).and_then(|()| io::Write::flush(&mut out));
    match written {
        // `zarrims-mount --list | head` is no fault.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write the list"),
    }
}

fn open_source(path: &Path, follow_links: bool) -> anyhow::Result<Arc<SourceRoot>> {
    let root = SourceRoot::open(path, follow_links)
        .with_context(|| format!("SOURCE {}", path.display()))?;
    anyhow::ensure!(
        !discover::is_image(&root, Path::new("")),
        "SOURCE {}: is a Zarr store itself; give the folder that holds it",
        path.display()
    );
    Ok(Arc::new(root))
}

fn watch_signals(events: &mpsc::Sender<Event>) -> anyhow::Result<()> {
    let mut wanted = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted).context("cannot handle signals")?;
    let events = events.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if events.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

/// Whether a signal was ignored by whoever started this program, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Who presses Ctrl-C twice does not want to wait.
fn exit_on_next_signal(received: mpsc::Receiver<Event>) {
    let watch = move || {
        while let Ok(event) = received.recv() {
            if let Event::Signal(_) = event {
                std::process::exit(INTERRUPTED);
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("second-signal".to_owned()).spawn(watch) {
        tracing::warn!(%error, "a second signal will not be noticed");
    }
}

/// Tells systemd (protocol: `sd_notify(3)`); does nothing without it.
fn notify_service_manager(state: &str) -> anyhow::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    }
    .with_context(|| format!("NOTIFY_SOCKET {}", path.display()))?;
    let sent =
        UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), &address));
    sent.with_context(|| format!("NOTIFY_SOCKET {}", path.display()))?;
    Ok(())
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
    if !Path::new("/dev/fuse").exists() {
        return anyhow::anyhow!(
            "MOUNTPOINT {mountpoint}: /dev/fuse is missing; load it with \"modprobe fuse\", or give \
             the container the device"
        );
    }
    if error.kind() == io::ErrorKind::NotFound {
        return anyhow::anyhow!(
            "MOUNTPOINT {mountpoint}: fusermount3 not found; install the package fuse3"
        );
    }
    anyhow::anyhow!("MOUNTPOINT {mountpoint}: cannot mount: {text}")
}

fn log_summary(stats: &EngineStats) {
    let cache = stats.cache.unwrap_or_default();
    tracing::info!(
        filled = stats.filled,
        filled_bytes = %ByteSize(stats.filled_bytes),
        passed = stats.passed,
        failed = stats.failed,
        damaged = stats.damaged,
        cache_hits = cache.hits,
        cache_misses = cache.misses,
        cache_used = %ByteSize(cache.used_bytes),
        evicted = cache.evicted,
        decode_memory_peak = %ByteSize(stats.memory_peak_bytes),
        "unmounted"
    );
}
