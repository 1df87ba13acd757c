//! `doctor [SOURCE] [MOUNT]`: whether this machine can do what is asked, and how to mend what is wrong.
//!
//! A check is a function that gives [`Finding`]s, in the file of its subject. No check makes anything that stays, and
//! none ends the others.

mod cache;
mod finding;
mod fuse;
mod machine;
mod mount_point;
mod samba;
mod source;
mod units;
mod wanted;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use zarrims::cli::Cli;
use zarrims::cli::verbs::Doctor;
use zarrims::config::{LogFormat, Merged, Mistake, Parts};
use zarrims::objects::connect_at_most;

use super::Failure;
use crate::logging;
use finding::{Finding, State};
use wanted::Wanted;

/// Exit status where there is a fault.
const FAULT: u8 = 1;

pub(super) fn run(wanted: &Doctor, cli: &Cli) -> Result<ExitCode, Failure> {
    let merged = cli.given.clone().merge_if_any();
    let format = merged.as_ref().ok().and_then(Option::as_ref).map(Merged::log_format);
    logging::start(format.unwrap_or(LogFormat::Text), cli.verbose, true);
    let findings = find(wanted, merged);
    let text =
        if wanted.as_json { finding::as_json(&findings) } else { finding::as_text(&findings) };
    match io::stdout().write_all(text.as_bytes()) {
        // Nobody reads on.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot write to standard output")?,
    }
    let has_fault = findings.iter().any(|finding| finding.state == State::Fault);
    Ok(if has_fault { FAULT.into() } else { ExitCode::SUCCESS })
}

fn find(wanted: &Doctor, merged: Result<Option<Merged>, Mistake>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let merged = merged.unwrap_or_else(|Mistake(line)| {
        let fix = "mend the line that it names; doc/CONFIGURATION.md has all keys and options";
        findings.push(Finding::fault("configuration", line, fix));
        None
    });
    let parts = merged.as_ref().map(Merged::parts);
    let mounts: Vec<Wanted<'_>> = match (&merged, &parts) {
        (Some(merged), Some(parts)) => {
            let pairs = merged.mounts.iter().zip(&parts.mounts);
            pairs.map(|(merged, config)| Wanted { merged, config }).collect()
        }
        _ => Vec::new(),
    };
    if let Some(parts) = &parts {
        findings.extend(of_configuration(merged.as_ref(), parts));
        if let Ok(resources) = &parts.resources {
            connect_at_most(resources.connections);
        }
    }
    let allows_others = mounts.iter().any(Wanted::allows_others);
    findings.extend(fuse::check(allows_others));
    findings.extend(machine::check(parts.as_ref()));
    for mount in &mounts {
        findings.push(source::check(mount));
        findings.extend(mount.mountpoint().as_deref().map(mount_point::check));
    }
    if let Some(cache) = parts.as_ref().and_then(|parts| parts.cache.as_ref()) {
        let points: Vec<PathBuf> = mounts.iter().filter_map(Wanted::mountpoint).collect();
        findings.extend(cache::check(cache, &points));
    }
    findings.extend(units::check());
    findings.extend(samba::check(wanted.smb_conf.as_deref(), &mounts));
    findings
}

/// What is wrong with the configuration beside the parts that have checks of their own.
fn of_configuration(merged: Option<&Merged>, parts: &Parts) -> Vec<Finding> {
    const CHECK: &str = "configuration";
    let wrong =
        [parts.apart.as_ref().err(), parts.resources.as_ref().err(), parts.others.as_ref().err()];
    let fix = "change this setting; doc/CONFIGURATION.md says what it takes";
    let mut findings: Vec<Finding> = wrong
        .into_iter()
        .flatten()
        .map(|Mistake(line)| Finding::fault(CHECK, line.clone(), fix))
        .collect();
    if let Some(file) = merged.and_then(|merged| merged.file.as_ref())
        && findings.is_empty()
    {
        let (file, count) = (file.display(), parts.mounts.len());
        let noun = if count == 1 { "mount" } else { "mounts" };
        findings.push(Finding::ok(CHECK, format!("{file} has {count} {noun}")));
    }
    findings
}
