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

use crate::common::ims::Ims;
use crate::common::mount::{Mount, Starter, can_mount};
use crate::common::store::{Dtype, StoreBuilder};
use crate::common::{command, eventually};

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

/// The blocks of TOML below a heading of the README.
fn examples() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let section = readme.split("\n## By hand\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("a section");
    let blocks = section.split("```toml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().expect("an end").to_owned()).collect()
}

#[test]
fn the_examples_of_the_readme_do_what_they_say() {
    if !can_mount() {
        return;
    }
    let [beside, configuration] = &examples()[..] else { panic!("two examples") };
    let scene = Scene::new();
    scene.store("embryo.ome.zarr", &small("czyx", &[2, 20, 3, 520], 0));
    for name in ["raw/day/1.zarr", "raw/trash/2.zarr"] {
        scene.store(name, &small("tczyx", &[2, 1, 2, 20, 30], 0));
    }
    for name in
        ["stained/dapi.ome.zarr", "stained/gfp.ome.zarr", "run/t2.ome.zarr", "run/t10.ome.zarr"]
    {
        scene.store(name, &small("zyx", &[2, 20, 30], 0));
    }
    for (number, place) in [(0, 0.0), (1, 25.0)] {
        let mut tile = small("zyx", &[2, 20, 30], number);
        tile.translation = Some(vec![0.0, 0.0, place]);
        scene.store(&format!("tiles/{number}.ome.zarr"), &tile);
    }
    scene.beside("embryo.ome.zarr", beside);
    scene.configure(configuration);
    assert_eq!(scene.skipped().len(), 1, "{:?}", scene.skipped());
    assert_eq!(scene.skipped()[0].0, "raw/trash/2.zarr");
    let mount = scene.start().start();
    let ims = |name: &str| open(&mount.path().join(name));
    let head = ims("embryo-head.ims");
    assert_eq!(
        (head.info_size().expect("a size"), head.channels(0).expect("one")),
        ([10, 3, 512], 1)
    );
    assert_eq!(head.text("DataSetInfo/Channel 0", "Name").expect("a name"), "GFP");
    assert_eq!(ims("embryo.ims").text("DataSetInfo/Channel 0", "Name").expect("a name"), "DAPI");
    assert_eq!(ims("stained/both.ims").channels(0).expect("channels"), 2);
    assert_eq!(ims("run.ims").time_points(0).expect("time points"), 2);
    assert_eq!(ims("overview.ims").info_size().expect("a size"), [2, 20, 55]);
}

/// A store that is the whole source has its file beside it, outside of the source.
#[test]
fn one_store_as_source_is_corrected_as_in_the_folder_above() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    scene.store("a.ome.zarr", &small("zyx", &[2, 20, 30], 0));
    scene.beside(
        "a.ome.zarr",
        "[[store]]\nvoxel_size = { x = 5 }\n[[view]]\nname = \"crop\"\nx = [0, 4]\n",
    );
    let mount = Mount::of(&scene.source("a.ome.zarr")).start();
    for (name, length) in [("a.ims", 150.0), ("crop.ims", 20.0)] {
        let [x, ..] = open(&mount.path().join(name)).extents().expect("extents");
        assert!((x.1 - x.0 - length).abs() < 1e-6, "{name}: {x:?}");
    }
    fs::remove_file(scene.source("a.ome.zarr.zarrims.toml")).expect("a file");
    eventually("all is as it was", SOON, || !mount.path().join("crop.ims").exists());
    let [x, ..] = open(&mount.path().join("a.ims")).extents().expect("extents");
    assert!((x.1 - x.0 - 30.0).abs() < 1e-6, "{x:?}");
}
