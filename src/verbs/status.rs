//! `status [MOUNT]`: what a daemon does.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;
use zarrims::cli::verbs::Status;

use super::{Failure, of_daemon};
use crate::control::Ask;
use crate::logging::Escaped;

/// Time between two tellings of `--watch`.
const INTERVAL: Duration = Duration::from_secs(2);

/// Errors that are shown; JSON has all.
const MOST_ERRORS: usize = 5;

/// Moves the cursor of a terminal to its top, and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn run(wanted: &Status) -> Result<ExitCode, Failure> {
    loop {
        let mut out = String::new();
        // Writing to a string does not fail.
        for mut daemon in of_daemon::find(&wanted.of)? {
            let status = daemon.ask(&Ask::Status {}, |_| ())?;
            if wanted.as_json {
                let _ = writeln!(out, "{status}");
            } else {
                let _ = Answer(&status).write(&mut out);
            }
        }
        if wanted.watch && !wanted.as_json && io::stdout().is_terminal() {
            out.insert_str(0, CLEAR);
        }
        match io::stdout().write_all(out.as_bytes()).and_then(|()| io::stdout().flush()) {
            // Nobody reads on.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            result => result.map_err(anyhow::Error::from)?,
        }
        if !wanted.watch {
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(INTERVAL);
    }
}

/// What a daemon has answered, for people. What is missing, as with a daemon of another version, is left out or 0.
pub(super) struct Answer<'a>(pub(super) &'a Value);

impl<'a> Answer<'a> {
    fn at(&self, path: &str) -> Answer<'a> {
        Answer(self.0.pointer(path).unwrap_or(&Value::Null))
    }

    pub(super) fn list(&self, path: &str) -> impl Iterator<Item = Answer<'a>> + use<'a> {
        let list = self.0.pointer(path).and_then(Value::as_array);
        list.into_iter().flatten().map(Answer)
    }

    pub(super) fn number(&self, path: &str) -> u64 {
        self.at(path).0.as_u64().unwrap_or_default()
    }

    pub(super) fn real(&self, path: &str) -> f64 {
        self.at(path).0.as_f64().unwrap_or_default()
    }

    pub(super) fn text(&self, path: &str) -> Escaped<'a> {
        Escaped(self.at(path).0.as_str().unwrap_or_default())
    }

    pub(super) fn size(&self, path: &str) -> ByteSize {
        ByteSize(self.number(path))
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let age = self.number("/now_s").saturating_sub(self.number("/since_s"));
        let (version, pid) = (self.text("/version"), self.number("/pid"));
        writeln!(out, "zarrims {version}, process {pid}, for {}", time(age))?;
        for mount in self.list("/mounts") {
            mount.write_mount(out)?;
        }
        self.write_sums(out)
    }

    fn write_mount(&self, out: &mut String) -> fmt::Result {
        let (point, source) = (self.text("/mountpoint"), self.text("/source"));
        let (handles, damaged) = (self.number("/open_handles"), self.number("/damaged"));
        writeln!(out, "{point} shows {source}: {handles} open, {damaged} failed reads of chunks")?;
        for image in self.list("/images") {
            image.write_image(out)?;
        }
        for job in self.list("/jobs") {
            job.write_job(out)?;
        }
        for pass in self.list("/passes") {
            pass.write_pass(out)?;
        }
        let errors: Vec<_> = self.list("/errors").collect();
        for error in errors.iter().rev().take(MOST_ERRORS).rev() {
            let (path, text) = (error.text("/path"), error.text("/error"));
            writeln!(out, "  error, {} times: {path}: {text}", error.number("/count"))?;
        }
        Ok(())
    }

    fn write_image(&self, out: &mut String) -> fmt::Result {
        let (path, size) = (self.text("/path"), self.size("/size_bytes"));
        write!(out, "  {path}: {size}, {:.1} % cached", self.real("/cached_percent"))?;
        for (name, words) in
            [("handles", "open"), ("in_flight", "bricks in production"), ("errors", "errors")]
        {
            let number = self.number(&format!("/{name}"));
            if number > 0 {
                write!(out, ", {number} {words}")?;
            }
        }
        writeln!(out)?;
        for (level, row) in self.list("/levels").enumerate() {
            let size: Vec<_> = row.list("/size").map(|axis| axis.0.to_string()).collect();
            writeln!(
                out,
                "    level {level}, {}, {}: {:.1} % ({} of {} bricks, {})",
                size.join(" x "),
                row.text("/origin"),
                row.real("/cached_percent"),
                row.number("/cached"),
                row.number("/bricks"),
                row.size("/cached_bytes"),
            )?;
        }
        Ok(())
    }

    fn write_job(&self, out: &mut String) -> fmt::Result {
        let left = self.at("/left_s").0.as_u64();
        let left = left.map_or(String::new(), |left| format!(", {} left", time(left)));
        let in_background = self.at("/in_background").0.as_bool().unwrap_or_default();
        writeln!(
            out,
            "  {} {}{}: {:.1} %, {} of {} files, {} failed, {} wrong{left}",
            self.text("/kind"),
            self.text("/place"),
            if in_background { ", in the background" } else { "" },
            self.real("/percent"),
            self.number("/files_done"),
            self.number("/files"),
            self.number("/failed"),
            self.number("/wrong"),
        )
    }

    fn write_pass(&self, out: &mut String) -> fmt::Result {
        let what = match self.at("/kind").0.as_str() {
            Some("compute_levels") => "computing levels",
            Some("read_all") => "reading all voxels",
            Some("warm") => "warming",
            Some("compare") => "comparing with the store",
            _ => "reading some of the voxels",
        };
        let left = self.at("/left_s").0.as_u64();
        let left = left.map_or(String::new(), |left| format!(", {} left", time(left)));
        let (image, percent) = (self.text("/image"), self.real("/percent"));
        writeln!(out, "  {what} of {image}: {percent:.1} %{left}")
    }

    fn write_sums(&self, out: &mut String) -> fmt::Result {
        let engine = self.at("/engine");
        let cache = engine.at("/cache");
        if cache.0.is_null() {
            writeln!(out, "no cache")?;
        } else {
            writeln!(
                out,
                "cache: {} of {}, {} bricks ({} of them of no image above); {} hits, {} misses, {} evicted",
                cache.size("/used_bytes"),
                cache.size("/limit_bytes"),
                cache.number("/bricks"),
                self.number("/other_bricks"),
                cache.number("/hits"),
                cache.number("/misses"),
                cache.number("/evicted"),
            )?;
        }
        writeln!(
            out,
            "decoded: {}, {} bricks to keep and {} to make others; {} in production, {} failed",
            engine.size("/decoded_bytes"),
            engine.number("/filled"),
            engine.number("/passed"),
            engine.number("/in_flight"),
            engine.number("/failed"),
        )?;
        writeln!(
            out,
            "memory: {} decoding and {} held of {}; bricks made lately {}, only in memory {}, buffers {}",
            engine.size("/memory/used_bytes"),
            engine.size("/memory/held_bytes"),
            engine.size("/memory/budget_bytes"),
            engine.size("/recent_bytes"),
            engine.size("/only_in_memory_bytes"),
            engine.size("/buffer_bytes"),
        )?;
        writeln!(out, "log lines lost: {}", self.number("/log_lines_lost"))
    }
}

/// A time for people.
pub(super) fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_no_hindrance() {
        let mut out = String::new();
        Answer(&Value::Null).write(&mut out).expect("a string");
        assert!(out.contains("no cache"), "{out}");
    }
}
