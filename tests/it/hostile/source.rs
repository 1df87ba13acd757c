//! The source folder of these tests: one good store, and room for hostile ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::common::planes::Planes;

/// The store beside the hostile ones.
pub(crate) const PLANES: Planes = Planes { times: 3 };

/// A source folder that may be deeper than the standard library can delete.
pub(crate) struct Source(TempDir);

impl Source {
    pub(crate) fn new() -> Self {
        let source = Self(TempDir::with_prefix("zarrims-source-").expect("a temporary folder"));
        PLANES.write(&source.at("good.zarr"));
        source
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let entries = fs::read_dir(self.path()).into_iter().flatten().flatten();
        for entry in entries {
            // What is left is for the temporary folder to remove.
            let _ = Command::new("rm").arg("-rf").arg(entry.path()).status();
        }
    }
}
