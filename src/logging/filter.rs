//! Which lines are written: a filter that can be changed while the program runs.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::{Registry, reload};

/// What moves bytes of other machines says nothing, whatever the filter: its lines hold addresses and headers,
/// and so credentials.
const SILENT: [&str; 7] = [
    "object_store=off",
    "reqwest=off",
    "hyper=off",
    "hyper_util=off",
    "h2=off",
    "rustls=off",
    "tower=off",
];

/// `fuser` warns of every operation that is rightly not there, and reports an error for each answer that came when the
/// one who asked had gone. Who wants to see that names `fuser` in the filter.
const QUIET: [&str; 2] = ["fuser=error", "fuser::reply=off"];

/// The filter in use.
static HANDLE: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

static TEXTS: Mutex<Texts> = Mutex::new(Texts { chosen: String::new(), is_debugging: false });

struct Texts {
    /// What the start, the configuration or the control socket has chosen.
    chosen: String,
    /// A signal has asked for more.
    is_debugging: bool,
}

fn lock() -> MutexGuard<'static, Texts> {
    TEXTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The filter with which the program starts, as the layer that asks it.
pub(super) fn layer(text: &str) -> reload::Layer<EnvFilter, Registry> {
    let (layer, handle) = reload::Layer::new(parse(text).unwrap_or_default());
    text.clone_into(&mut lock().chosen);
    // A program starts its log once.
    let _ = HANDLE.set(handle);
    layer
}

/// # Errors
/// What is wrong with the text.
pub(super) fn parse(text: &str) -> Result<EnvFilter, String> {
    let filter = EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    let quiet = if text.contains("fuser") { &[][..] } else { &QUIET };
    // Each is a valid directive.
    let added = SILENT.iter().chain(quiet).filter_map(|directive| directive.parse().ok());
    Ok(added.fold(filter, EnvFilter::add_directive))
}

/// Takes another filter.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn set(text: &str) -> Result<(), String> {
    apply(text)?;
    *lock() = Texts { chosen: text.to_owned(), is_debugging: false };
    Ok(())
}

/// The filter that was chosen.
pub(crate) fn chosen() -> String {
    lock().chosen.clone()
}

/// Says more, or as much as before; returns whether it is more now.
pub(crate) fn toggle_debug() -> bool {
    let mut texts = lock();
    texts.is_debugging = !texts.is_debugging;
    let text = if texts.is_debugging { "debug" } else { &texts.chosen };
    // Both have been parsed before.
    let _ = apply(text);
    texts.is_debugging
}

fn apply(text: &str) -> Result<(), String> {
    let filter = parse(text)?;
    let handle = HANDLE.get().ok_or("the log has not begun")?;
    handle.reload(filter).map_err(|error| error.to_string())
}
