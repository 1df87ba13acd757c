//! The corpus of stores written by third-party programs: unpacked into a temporary folder, with its
//! manifest.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;
use tempfile::TempDir;

/// The unpacked corpus. Goes when dropped.
#[derive(Debug)]
pub struct Corpus {
    pub manifest: Value,
    folder: TempDir,
    /// What has lost its permissions, and must get them back to be deleted.
    locked: Vec<PathBuf>,
}

impl Corpus {
    /// Unpacks the corpus, if there is one on this machine, and damages what can only be damaged
    /// after unpacking.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn unpack() -> Result<Self, String> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
        let from = std::env::var_os("ZARRIMS_CORPUS").map_or(beside, PathBuf::from);
        let manifest = from.join("manifest.json");
        let text = fs::read(&manifest)
            .map_err(|error| format!("no corpus: {}: {error}", manifest.display()))?;
        let folder = TempDir::with_prefix("zarrims-corpus-").expect("a temporary folder");
        let stores = from.join("stores.tar.zst");
        let mut tar = Command::new("tar");
        tar.args(["--zstd", "-xf"]).arg(&stores).arg("-C").arg(folder.path());
        let output = tar.output().expect("tar is installed");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {stderr}", stores.display());
        let manifest: Value = serde_json::from_slice(&text).expect("a manifest is JSON");
        let mut corpus = Self { manifest, folder, locked: Vec::new() };
        corpus.set_up();
        Ok(corpus)
    }

    /// The folder that holds `good` and `bad`.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The good stores.
    pub fn stores(&self) -> &[Value] {
        self.manifest["stores"].as_array().expect("stores").as_slice()
    }

    /// The damaged stores.
    pub fn bad(&self) -> &[Value] {
        self.manifest["bad"].as_array().expect("bad").as_slice()
    }

    /// Where a damaged store lies after all renaming, below the root.
    pub fn path_of_bad(bad: &Value) -> PathBuf {
        let renamed = bad["setup"].as_array().into_iter().flatten().find_map(|step| {
            let hex = step["to_hex"].as_str()?;
            Some(PathBuf::from(OsString::from_vec(from_hex(hex))))
        });
        renamed.unwrap_or_else(|| PathBuf::from(text(bad, "path")))
    }

    fn set_up(&mut self) {
        let root = self.folder.path().to_path_buf();
        for bad in self.manifest["bad"].as_array().into_iter().flatten() {
            for step in bad["setup"].as_array().into_iter().flatten() {
                let path = root.join(step["path"].as_str().unwrap_or_default());
                match text(step, "op") {
                    "none" => {}
                    "mkfifo" => mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("a FIFO"),
                    "chmod" => {
                        let mode = u32::from_str_radix(text(step, "mode"), 8).expect("octal");
                        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                            .expect("chmod");
                        self.locked.push(path);
                    }
                    "rename" => {
                        fs::rename(&path, root.join(Self::path_of_bad(bad))).expect("rename");
                    }
                    other => panic!("unknown setup {other}"),
                }
            }
        }
    }
}

impl Drop for Corpus {
    fn drop(&mut self) {
        for path in &self.locked {
            // What cannot be unlocked stays behind in the temporary folder.
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        }
    }
}

/// A member that must be text.
#[track_caller]
pub fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}"))
}

/// A member, or an element, that must be a list of whole numbers.
#[track_caller]
pub fn lengths(value: &Value) -> Vec<usize> {
    let numbers = value.as_array().unwrap_or_else(|| panic!("not a list: {value}"));
    let length = |n: &Value| usize::try_from(n.as_u64().expect("a length")).expect("64 bits");
    numbers.iter().map(length).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("hex")
    };
    pairs.map(byte).collect()
}
