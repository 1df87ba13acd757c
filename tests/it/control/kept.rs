//! What the tests of `warm`, `evict` and `verify` share: a mount with a socket, and verbs that ask it.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::command;
use crate::common::mount::Mount;
use crate::common::store::{Codec, Dtype, StoreBuilder};

use super::asked::status;

/// Three time points of one stored level with eight bricks, and a computed one.
pub(super) fn series(salt: u64) -> StoreBuilder {
    StoreBuilder {
        unit: vec![1, 8, 128, 128],
        codec: Codec::Zstd,
        salt,
        ..StoreBuilder::new(Dtype::U16, "tzyx", &[3, 16, 256, 256])
    }
}

/// A mount, its daemon's socket, and a file of it.
pub(super) struct World {
    pub(super) source: TempDir,
    pub(super) cache: TempDir,
    pub(super) mount: Mount,
    folder: TempDir,
}

impl World {
    /// `write` fills the source.
    pub(super) fn new(write: impl FnOnce(&Path), args: &[&str]) -> Self {
        let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
        write(source.path());
        Self::over(source, args)
    }

    pub(super) fn over(source: TempDir, args: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let cache = TempDir::new().expect("a folder");
        let starter = Mount::of(source.path()).cache(cache.path()).args(args);
        let mount = starter.args(["--socket"]).args([folder.path().join("s")]).start();
        Self { source, cache, mount, folder }
    }

    /// A store `a.zarr`, see [`series`].
    pub(super) fn of_series() -> Self {
        Self::new(|folder| series(0).write(&folder.join("a.zarr")), &[])
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    pub(super) fn status(&self) -> Value {
        status(&self.socket())
    }

    /// A verb, about a path below the mount point.
    pub(super) fn verb(&self, verb: &str, path: &str, args: &[&str]) -> Command {
        let mut asked = command(&[]);
        asked.arg(verb).arg(self.path(path)).arg("--socket").arg(self.socket()).args(args);
        asked
    }

    pub(super) fn run(&self, verb: &str, path: &str, args: &[&str]) -> Output {
        self.verb(verb, path, args).output().expect("the program starts")
    }

    /// The last line of a verb that succeeds, as JSON.
    #[track_caller]
    pub(super) fn told(&self, verb: &str, path: &str, args: &[&str]) -> Value {
        let output = self.run(verb, path, &[args, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        last_line(&output)
    }

    /// Bytes decoded so far.
    pub(super) fn decoded(&self) -> u64 {
        number(&self.status(), "/engine/decoded_bytes")
    }

    /// Percent cached of each level of the image that was opened first.
    pub(super) fn cached(&self) -> Vec<f64> {
        let status = self.status();
        let levels = status["mounts"][0]["images"][0]["levels"].as_array().expect("levels");
        let percent = |level: &Value| level["cached_percent"].as_f64().expect("a number");
        levels.iter().map(percent).collect()
    }

    /// The files in which the cache has bricks of a level.
    pub(super) fn segments(&self, level: usize) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.cache.path().to_path_buf()];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if path.is_dir() {
                    pending.push(path);
                } else if name.starts_with(&format!("{level}-")) && name.ends_with(".bricks") {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

pub(super) fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path}: {value}"))
}

#[track_caller]
pub(super) fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().last().unwrap_or_else(|| panic!("no line: {output:?}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub(super) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(super) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All bytes of a file, past the pages that the kernel has of it.
pub(super) fn read_past_pages(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // The advice drops the pages of this file.
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("an open file");
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes
}

/// A program that runs on, with its output in a pipe.
pub(super) fn spawn(command: &mut Command) -> std::process::Child {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// The bytes of the file without a cache in between.
pub(super) fn right(source: &Path, name: &str) -> Vec<u8> {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("out.ims");
    let at: &OsStr = source.as_os_str();
    let output = command(&[]).arg("export").arg(at).arg(&out).args(["--image", name]).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    fs::read(out).expect("a file")
}
