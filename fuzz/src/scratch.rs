use std::fs;
use std::path::{Path, PathBuf};

/// A new, empty folder of this process below the system's folder for temporary files.
///
/// A fuzzer ends with an abort, so nothing deletes it: run fuzzers with a `TMPDIR` that is deleted
/// afterwards.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// # Panics
    /// If the folder cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("zarrims-{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).expect("left by an older process of this number");
        }
        fs::create_dir_all(&path).expect("temporary folder");
        Self(path)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and makes the folders above it at the first time.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        if fs::write(&path, bytes).is_err() {
            fs::create_dir_all(path.parent().expect("inside")).expect("folder");
            fs::write(&path, bytes).expect("file");
        }
    }
}
