//! What is said on a control socket: a line of JSON is a request, and one or more lines are its answer.
//!
//! `{"v":1,"ask":"status"}` is a request; members beside `ask` are its arguments. The answer is any number of lines
//! `{"v":1,"progress":...}`, and at the end one `{"v":1,"answer":...}` or `{"v":1,"error":"..."}`. To add a request,
//! add it to [`Ask`], and answer it in `src/daemon/answer.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zarrims::image::Selection;

/// The version of this protocol. Raise it when a program of the last version would misread an answer.
pub(crate) const VERSION: u32 = 1;

/// Longest request in bytes.
pub(super) const LONGEST_REQUEST: usize = 64 << 10;

/// Longest line of an answer in bytes: some thousand images with ten levels each.
pub(super) const LONGEST_ANSWER: usize = 64 << 20;

/// What a daemon can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// The mounts of the daemon: `[{"mountpoint":...,"source":...}]`.
    Mounts {},
    /// The state of the daemon.
    Status {},
    /// Reads the configuration file again, and opens the log file again.
    Reload {},
    /// Changes the filter of the log, or tells it.
    Log {
        /// Such as `debug`.
        filter: Option<String>,
    },
    /// Puts images into the cache, and tells of its progress.
    Warm {
        /// Which ones.
        at: Place,
        /// What of them.
        selection: Selection,
        /// It is begun, and goes on without who has asked.
        in_background: bool,
    },
    /// Compares what is cached of images with its checksums, and tells of its progress.
    Verify {
        /// Which ones.
        at: Place,
        /// And with the source.
        with_source: bool,
    },
    /// Drops what is cached of images.
    Evict {
        /// Which ones.
        at: Place,
    },
}

/// A file or folder of a mount: the images that it is, or that are below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// The mount point.
    pub(crate) mountpoint: String,
    /// Below it; empty for all of the mount.
    pub(crate) path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.mountpoint),
            path => write!(f, "{}/{path}", self.mountpoint),
        }
    }
}

/// A request with its version.
#[derive(Debug, Serialize)]
struct Request<'a> {
    v: u32,
    #[serde(flatten)]
    ask: &'a Ask,
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// How far long work has come; more lines follow.
    Progress(Value),
    /// The result.
    Answer(Value),
    /// Why there is none, in one line.
    Error(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Versioned {
    v: u32,
    #[serde(flatten)]
    line: Line,
}

/// Tells of the progress of long work; false when nobody listens any more.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(Value) -> bool;

/// Who answers.
pub(crate) trait Answers: Send + Sync {
    /// Answers a request; may take long.
    ///
    /// # Errors
    /// Why there is no answer, in one line.
    fn answer(&self, ask: &Ask, progress: Progress<'_>) -> Result<Value, String>;
}

impl Ask {
    /// The request as a line, with its end.
    pub(super) fn to_line(&self) -> String {
        let text = serde_json::to_string(&Request { v: VERSION, ask: self });
        // Texts and numbers can always be written.
        text.unwrap_or_default() + "\n"
    }

    /// # Errors
    /// What is wrong with the line.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let mut value: Value = serde_json::from_slice(line)
            .map_err(|error| format!("the request is no line of JSON: {error}"))?;
        let version = value.as_object_mut().and_then(|members| members.remove("v"));
        if version != Some(VERSION.into()) {
            return Err(format!(
                "this daemon speaks version {VERSION}: {{\"v\":{VERSION},\"ask\":...}}"
            ));
        }
        serde_json::from_value(value).map_err(|error| format!("no such request: {error}"))
    }
}

impl Line {
    /// As text, with its end.
    pub(super) fn to_line(&self) -> String {
        let text = serde_json::to_string(&Versioned { v: VERSION, line: self.clone() });
        text.unwrap_or_default() + "\n"
    }

    /// # Errors
    /// What is wrong with the line.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let parsed: Result<Versioned, _> = serde_json::from_slice(line);
        match parsed {
            Ok(Versioned { v: VERSION, line }) => Ok(line),
            Ok(Versioned { v, .. }) => Err(format!(
                "the daemon speaks version {v} of the protocol, this program {VERSION}"
            )),
            Err(error) => Err(format!("the answer is not understood: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let line = Ask::Status {}.to_line();
        assert_eq!(line, "{\"v\":1,\"ask\":\"status\"}\n");
        assert_eq!(Ask::parse(line.as_bytes()), Ok(Ask::Status {}));
        for line in [
            Line::Progress(Value::from(3)),
            Line::Answer(serde_json::json!({ "a": [1] })),
            Line::Error("no".to_owned()),
        ] {
            assert_eq!(Line::parse(line.to_line().as_bytes()), Ok(line));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_reason() {
        for (line, reason) in [
            ("", "no line of JSON"),
            ("[]", "speaks version 1"),
            ("{\"ask\":\"status\"}", "speaks version 1"),
            ("{\"v\":2,\"ask\":\"status\"}", "speaks version 1"),
            ("{\"v\":1,\"ask\":\"fly\"}", "no such request"),
            ("{\"v\":1,\"ask\":\"status\",\"x\":1}", "no such request"),
        ] {
            let error = Ask::parse(line.as_bytes()).expect_err(line);
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
