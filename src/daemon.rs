//! Wiring, readiness, signals, unmount: the one place that knows every layer.

mod answer;
mod event;
mod evict;
mod figures;
mod files;
mod jobs;
mod listen;
mod metrics;
mod mount_state;
mod notify;
mod reload;
mod serve;
pub(crate) mod signals;
pub(crate) mod source;
mod state;
mod status;
mod warm;

use std::net::{SocketAddr, TcpListener};
use std::process;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use zarrims::cache::CacheError;
use zarrims::config::{Config, ControlConfig, Given, Merged, Purpose, SocketPlace};
use zarrims::image::{Engine, EngineError};
use zarrims::objects::connect_at_most;

use crate::control::server::{Server, Wanted};
use crate::{background, logging, rest};
use answer::FromState;
use event::Event;
use reload::Serving;
use serve::Served;
use state::State;
pub(crate) use status::Status;

/// Exit status after a second signal, as shells report an interrupt.
const INTERRUPTED: i32 = 130;

/// How long, and how often, a mount in the background waits for a cache that is in use.
const CACHE_TIME: Duration = Duration::from_secs(5);
const CACHE_PAUSE: Duration = Duration::from_millis(50);

/// Mounts, serves until the last mount has gone, and leaves the cache in order.
///
/// # Errors
/// What went wrong, in one line; nothing is mounted then.
pub(crate) fn run(given: &Given, merged: Merged) -> anyhow::Result<()> {
    let config = merged.resolve(Purpose::Mount)?;
    config.cache.make_dir(&merged)?;
    connect_at_most(config.resources.connections);
    let engine = start_engine(&config)?;
    rest::give_back_at_rest(&engine);
    let (events, received) = mpsc::channel();
    let of_signal = events.clone();
    signals::watch(move |signal| of_signal.send(Event::Signal(signal)).is_ok())?;
    let state = State::new(engine.clone(), events);
    let listener = config.control.listen.map(listen_at).transpose()?;
    let (given, shared) = (given.clone(), state.clone());
    let mut serving = Serving { given, merged, state: shared, mounts: Vec::new(), next_number: 0 };
    for mount in &config.mounts {
        // If one fails, those before it are unmounted as they are dropped.
        serving.start(mount)?;
    }
    // The kernel has shaken hands, and requests are answered. This process never asks its own mounts for
    // anything: if it were killed meanwhile, its last thread would wait for an answer for ever.
    if let Some(listener) = listener {
        let state = state.clone();
        let tell = Arc::new(move || Status::now(&state));
        listen::serve(listener, tell).context("--listen")?;
    }
    let control = start_control(&config.control, &state);
    notify::service_manager("READY=1")?;
    if background::is_child() {
        background::detach()?;
    }
    log_mounted(&config);
    serve_on(&mut serving, received)?;
    drop(control);
    serve::save_all(&mut serving.mounts);
    state.jobs.stop(None);
    engine.stop();
    Status::now(&state).log_end();
    Ok(())
}

/// Starts what makes bricks. `umount` does not wait for the daemon whose mount it takes away, and which has the
/// cache a moment longer; so a mount in the background waits.
fn start_engine(config: &Config) -> anyhow::Result<Arc<Engine>> {
    let until = Instant::now() + CACHE_TIME;
    loop {
        match Engine::start(&config.engine()) {
            Err(EngineError::Cache(CacheError::InUse { .. }))
                if background::is_child() && Instant::now() < until =>
            {
                thread::sleep(CACHE_PAUSE);
            }
            Err(error @ EngineError::Cache(_)) => anyhow::bail!("{}: {error}", config.cache.label),
            other => return Ok(other?),
        }
    }
}

/// Takes the address of the metrics.
fn listen_at(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen::bind(address).with_context(|| format!("--listen {address}"))
}

/// Makes the control socket. Mounts are served without one as well.
fn start_control(config: &ControlConfig, state: &Arc<State>) -> Option<Server> {
    let path = match &config.socket {
        SocketPlace::Usual => None,
        SocketPlace::At(path) => Some(path.clone()),
        SocketPlace::Nowhere => return None,
    };
    let wanted = Wanted { path, group: config.group };
    let started = Server::start(&wanted, Arc::new(FromState(state.clone())));
    match &started {
        Ok(server) => tracing::debug!(socket = %server.path().display(), "can be asked"),
        Err(reason) => tracing::warn!(reason, "no control socket: this daemon cannot be asked"),
    }
    started.ok()
}

/// Waits until no mount is left, or unmounts all when a signal comes.
fn serve_on(serving: &mut Serving, received: mpsc::Receiver<Event>) -> anyhow::Result<()> {
    loop {
        match received.recv() {
            Ok(Event::Signal(signals::RELOAD)) => drop(reload(serving)),
            Ok(Event::Reload(tell)) => {
                // Who has asked may be gone.
                let _ = tell.send(reload(serving));
            }
            Ok(Event::Signal(signals::LOG_MORE)) => {
                let is_more = logging::filter::toggle_debug();
                tracing::info!(is_more, "SIGUSR1: the log says more, or as much as before");
            }
            Ok(Event::Signal(signal)) => return end(serving, received, signal),
            Ok(Event::Ended(number)) => {
                let mounts = &mut serving.mounts;
                mounts.iter_mut().filter(|mount| mount.number == number).for_each(Served::forget);
                mounts.retain(|mount| mount.number != number);
                let left = mounts.iter().filter(|mount| mount.is_mounted()).count();
                if left > 0 {
                    tracing::info!(left, "a mount has gone; the others are served on");
                }
            }
            Err(_) => serving.mounts.iter_mut().for_each(Served::forget),
        }
        let left = serving.mounts.iter().filter(|mount| mount.is_mounted()).count();
        if left == 0 {
            return Ok(());
        }
    }
}

/// Unmounts all because of a signal.
fn end(serving: &mut Serving, received: mpsc::Receiver<Event>, signal: i32) -> anyhow::Result<()> {
    tracing::info!(signal, "unmounting");
    if let Err(error) = notify::service_manager("STOPPING=1") {
        tracing::warn!(%error, "the service manager was not told of the end");
    }
    let left: Vec<_> = serving.mounts.iter().filter(|mount| mount.is_mounted()).collect();
    let paths = left.iter().map(|mount| mount.mountpoint.clone()).collect();
    exit_on_next_signal(received, paths);
    serve::unmount_all(&mut serving.mounts)
}

/// Reads the configuration again, and logs what has come of it.
fn reload(serving: &mut Serving) -> Result<Value, String> {
    let done = serving.reload();
    match &done {
        Ok(done) => {
            let told = done.get("told").and_then(Value::as_str).unwrap_or_default();
            tracing::info!("configuration read again: {told}");
        }
        Err(reason) => tracing::error!("configuration not taken: {reason}"),
    }
    done
}

fn log_mounted(config: &Config) {
    let cache = &config.cache.config;
    for mount in &config.mounts {
        tracing::info!(
            source = %mount.source.name().display(),
            mountpoint = %mount.mountpoint.display(),
            cache = %cache.dir.display(),
            cache_bytes = cache.limits.cap_bytes,
            memory_bytes = config.resources.memory_bytes,
            threads = config.resources.threads,
            "mounted"
        );
    }
}

/// A user who presses Ctrl-C twice does not want to wait.
fn exit_on_next_signal(received: mpsc::Receiver<Event>, mountpoints: Vec<Arc<std::path::Path>>) {
    let watch = move || {
        while let Ok(event) = received.recv() {
            let Event::Signal(signal) = event else { continue };
            if [signals::RELOAD, signals::LOG_MORE].contains(&signal) {
                continue;
            }
            let mut are_gone = true;
            for mountpoint in mountpoints.iter().filter(|path| serve::is_mounted(path)) {
                are_gone = false;
                let mountpoint = mountpoint.display();
                tracing::warn!(
                    signal,
                    "ended at once by a second signal; remove the mount with fusermount3 -u {mountpoint}"
                );
            }
            if are_gone {
                tracing::warn!(
                    signal,
                    "ended at once by a second signal; whoever has files open gets errors"
                );
            }
            logging::finish();
            process::exit(INTERRUPTED);
        }
    };
    if let Err(error) = thread::Builder::new().name("second-signal".to_owned()).spawn(watch) {
        tracing::warn!(%error, "a second signal will not be noticed");
    }
}
