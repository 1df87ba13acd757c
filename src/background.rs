//! `--background`: the program that was started returns when the mounts answer, and another one serves them.
//!
//! The first one starts the program once more, with the same words, and waits for a byte on a pipe that is the standard
//! output of the second one. Standard error is common to both until then, so that whatever is wrong is said where it
//! was asked for. A process is never forked that has threads.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use rustix::fs::{FileType, fstat};
use rustix::stdio::{dup2_stderr, dup2_stdout};

use crate::logging;

/// In the environment of the program that serves.
const MARK: &str = "ZARRIMS_TELLS_STANDARD_OUTPUT";

/// Device and inode of the journal's stream, where the service manager has made standard error one
/// (`systemd.exec(5)`).
const JOURNAL: &str = "JOURNAL_STREAM";

/// What says that the mounts answer.
const READY: [u8; 1] = [1];

/// Whether this is the program that serves.
pub(crate) fn is_child() -> bool {
    env::var_os(MARK).is_some()
}

/// Starts the program that serves, with the same words, and waits until its mounts answer, or until it ends; the
/// result is then its status.
///
/// # Errors
/// Why it cannot be started, or the signal that has ended it.
pub(crate) fn start(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let program = env::current_exe().context("--background: where is this program?")?;
    let mut command = Command::new(&program);
    if let Some((name, words)) = words.split_first() {
        command.arg0(name).args(words);
    }
    command.env(MARK, "1").stdin(Stdio::null()).stdout(Stdio::piped());
    let started = command.spawn();
    let mut child = started.with_context(|| format!("--background: {}", program.display()))?;
    let mut told = READY.map(|_| 0);
    let is_ready = match child.stdout.take() {
        Some(mut pipe) => pipe.read_exact(&mut told).is_ok() && told == READY,
        None => false,
    };
    if is_ready {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().context("--background")?;
    match (status.code().map(u8::try_from), status.signal()) {
        (Some(Ok(code)), _) if code != 0 => Ok(code.into()),
        (_, Some(signal)) => {
            anyhow::bail!("--background: ended by signal {signal} before it had mounted")
        }
        _ => anyhow::bail!("--background: ended before it had mounted"),
    }
}

/// Lets go of the terminal, the folder and whoever has started this program, which may return now.
///
/// # Errors
/// Nobody waits any more, or the operating system's reason.
pub(crate) fn detach() -> anyhow::Result<()> {
    // All lines so far are for whoever waits.
    logging::finish();
    rustix::process::chdir("/").context("--background: /")?;
    // Refused to the leader of a group, which is none of a terminal's jobs.
    let _ = rustix::process::setsid();
    let pipe = io::stdout().as_fd().try_clone_to_owned();
    let mut pipe = File::from(pipe.context("--background: standard output")?);
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.context("--background: /dev/null")?;
    dup2_stdout(&null).context("--background: /dev/null")?;
    if !is_log(io::stderr()) {
        dup2_stderr(&null).context("--background: /dev/null")?;
    }
    pipe.write_all(&READY).context("--background: nobody waits for the mount any more")
}

/// Whether standard error is meant to be written for long: a file, or the journal. A terminal is somebody else's
/// soon, and whoever reads a pipe waits for its end.
fn is_log(stderr: impl AsFd) -> bool {
    let Ok(stat) = fstat(stderr) else { return false };
    let is_journal =
        env::var(JOURNAL).is_ok_and(|of| of == format!("{}:{}", stat.st_dev, stat.st_ino));
    is_journal || FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}
