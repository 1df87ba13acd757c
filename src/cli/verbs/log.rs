//! `log [FILTER]`: what a daemon logs.

use clap::{Arg, ArgMatches, Command};

use super::OfDaemon;

pub(super) const NAME: &str = "log";

/// The arguments of `log`.
#[derive(Debug, Clone)]
pub struct Log {
    /// Which daemon; the only one where none is named.
    pub of: OfDaemon,
    /// The filter; none to be told it.
    pub filter: Option<String>,
    /// As JSON.
    pub as_json: bool,
}

pub(super) fn command() -> Command {
    let filter = Arg::new("filter")
        .value_name("FILTER")
        .help("Such as debug, or info,zarrims::source=trace; without it, the filter is printed");
    let about = "Tell or change, while it runs, which lines a daemon logs";
    super::with_socket(super::verb(NAME, about).arg(filter))
}

impl Log {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, String> {
        let filter = matches.get_one::<String>("filter").cloned();
        if let Some(text) = filter.as_ref().filter(|text| !crate::log_filter::is_filter(text)) {
            return Err(format!("FILTER {text}: {}", crate::log_filter::WRONG));
        }
        Ok(Self { of: OfDaemon::read(matches), filter, as_json: matches.get_flag("json") })
    }
}
