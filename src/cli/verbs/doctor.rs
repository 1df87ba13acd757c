//! `doctor [SOURCE] [MOUNT]`: whether this machine can do what is asked.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use crate::config::options::OPTIONS;

pub(super) const NAME: &str = "doctor";

const AFTER: &str = "\
SOURCE, MOUNT and the options are those of the mount that is to be checked; without them, the mounts of the \
configuration file are checked, or the machine alone. Run it as the user who is to mount.

Exit status: 0, no fault, but perhaps warnings; 1, a fault; 2, the command line is wrong.";

/// The arguments of `doctor`.
#[derive(Debug, Clone)]
pub struct Doctor {
    /// The configuration of Samba.
    pub smb_conf: Option<PathBuf>,
    /// As JSON.
    pub as_json: bool,
}

pub(super) fn command() -> Command {
    let about =
        "Check this machine and the configuration of mounts, and tell how to mend what is wrong";
    let is_taken =
        |arg: &Arg| ["source", "mountpoint", "config"].iter().any(|id| arg.get_id() == id);
    let smb_conf = Arg::new("smb-conf")
        .long("smb-conf")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Configuration of Samba whose share shows the mount, such as /etc/samba/smb.conf");
    super::verb(NAME, about)
        .args(crate::cli::arguments().into_iter().filter(is_taken))
        .args(OPTIONS.iter().map(crate::cli::argument))
        .arg(smb_conf)
        .after_help(AFTER)
}

impl Doctor {
    pub(super) fn read(matches: &ArgMatches) -> Self {
        let smb_conf = matches.get_one::<PathBuf>("smb-conf").cloned();
        Self { smb_conf, as_json: matches.get_flag("json") }
    }
}
