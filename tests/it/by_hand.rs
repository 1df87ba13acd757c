//! What people say by hand: tables `[[store]]` and `[[view]]`, in the configuration and beside stores, through a
//! mount and in lists.

mod changes;
mod corrections;
mod views;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::command;
use crate::common::ims::Ims;
use crate::common::mount::{Mount, Starter};
use crate::common::store::{Dtype, StoreBuilder};

/// Names appear, change and go within this time.
const SOON: Duration = Duration::from_secs(15);

/// A source, a configuration file, and a cache folder that stays.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::with_prefix("zarrims-hand-").expect("a temporary folder");
        for name in ["source", "cache"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let scene = Self { folder };
        scene.configure("");
        scene
    }

    fn source(&self, inside: &str) -> PathBuf {
        self.folder.path().join("source").join(inside)
    }

    fn store(&self, name: &str, store: &StoreBuilder) {
        store.write(&self.source(name));
    }

    /// Writes the configuration file.
    fn configure(&self, text: &str) {
        fs::write(self.folder.path().join("config.toml"), text).expect("a file");
    }

    /// Writes the file beside a store, as a whole.
    fn beside(&self, store: &str, text: &str) {
        let file = self.source(&format!("{store}.zarrims.toml"));
        let part = self.source("part");
        fs::write(&part, text).expect("a file");
        fs::rename(part, file).expect("a file");
    }

    fn start(&self) -> Starter {
        let cache = self.folder.path().join("cache");
        let config = self.folder.path().join("config.toml");
        Mount::of(&self.source("")).cache(&cache).args(["--config"]).args([config])
    }

    /// Rows of `--list --json`.
    fn list(&self, args: &[&str]) -> Vec<Value> {
        let config = self.folder.path().join("config.toml");
        let output = command(&[])
            .args(["--list", "--json", "--config"])
            .arg(config)
            .args(args)
            .arg(self.source(""))
            .output()
            .expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {stderr}", output.status);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What a list skips: path and reason, with `@` for the folder of the configuration.
    fn skipped(&self) -> Vec<(String, String)> {
        let here = format!("{}/", self.folder.path().display());
        let text = |value: &Value| value.as_str().expect("a text").replace(&here, "@");
        let rows = self.list(&[]);
        let rows = rows.iter().filter(|row| row.get("skipped").is_some());
        rows.map(|row| (text(&row["skipped"]), text(&row["reason"]))).collect()
    }
}

/// A small store; `salt` makes its voxels its own.
fn small(axes: &str, shape: &[u64], salt: u64) -> StoreBuilder {
    let mut store = StoreBuilder::new(Dtype::U16, axes, shape);
    store.unit = shape.iter().map(|length| length.div_ceil(2)).collect();
    store.salt = salt * 1000;
    store.length_unit = Some("micrometer");
    store
}

fn open(path: &Path) -> Ims {
    Ims::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All voxels of a level of a store as its file must have them: time point, channel, (z, y, x).
fn pixels(store: &StoreBuilder, t: u64, c: u64) -> Vec<u8> {
    let shape = &store.shape;
    let [z, y, x] = ['z', 'y', 'x'].map(|axis| store.length(shape, axis));
    let mut bytes = Vec::new();
    for z in 0..z {
        for y in 0..y {
            for x in 0..x {
                bytes.extend(store.voxel(0, shape, [t, c, z, y, x]));
            }
        }
    }
    bytes
}
