//! The answers to what the daemon is asked on its control socket.

use std::sync::{Arc, mpsc};

use serde_json::{Value, json};
use zarrims::log_filter;

use super::event::Event;
use super::evict;
use super::state::State;
use super::status::Status;
use super::warm;
use crate::control::protocol::Progress;
use crate::control::{Answers, Ask};
use crate::logging;

/// Answers from the state of the daemon.
pub(super) struct FromState(pub(super) Arc<State>);

impl Answers for FromState {
    fn answer(&self, ask: &Ask, progress: Progress<'_>) -> Result<Value, String> {
        match ask {
            Ask::Mounts {} => Ok(self.mounts()),
            Ask::Status {} => {
                let status = Status::now(&self.0);
                serde_json::to_value(status).map_err(|error| error.to_string())
            }
            Ask::Warm { at, selection, in_background } => {
                warm::warm(&self.0, at, (selection, *in_background), progress)
            }
            Ask::Verify { at, with_source } => warm::verify(&self.0, at, *with_source, progress),
            Ask::Evict { at } => evict::evict(&self.0, at, progress),
            Ask::Reload {} => {
                let (tell, told) = mpsc::channel();
                let gone = || "the daemon ends".to_owned();
                self.0.events.send(Event::Reload(tell)).map_err(|_| gone())?;
                told.recv().map_err(|_| gone())?
            }
            Ask::Log { filter } => {
                if let Some(text) = filter {
                    if !log_filter::is_filter(text) {
                        return Err(format!("{text}: {}", log_filter::WRONG));
                    }
                    logging::filter::set(text)?;
                    tracing::info!(filter = text, "the filter of the log has changed");
                }
                Ok(json!({ "filter": logging::filter::chosen() }))
            }
        }
    }
}

impl FromState {
    fn mounts(&self) -> Value {
        let mounts = self.0.mounts();
        let row = |mount: &Arc<super::mount_state::MountState>| {
            json!({
                "mountpoint": mount.mountpoint.to_string_lossy(),
                "source": mount.source.to_string_lossy(),
            })
        };
        mounts.iter().map(row).collect()
    }
}
