//! `--list`: what would be shown, and what is skipped and why.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytesize::ByteSize;
use serde_json::json;

use zarrims::by_hand::{Pattern, StoreTable};
use zarrims::config::{Merged, MountConfig, Purpose};
use zarrims::fs::Tree;
use zarrims::fs::tree::{FileSpec, LevelSpec, Skipped, Told};
use zarrims::image::{Engine, EngineConfig, Images, Statistics};
use zarrims::objects::connect_at_most;
use zarrims::source::image::Role;

use crate::daemon::source;

/// How the tree is written.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// One JSON object a line, for programs.
    as_json: bool,
    /// A line for every skipped path, also for those that are rightly no images.
    names_all: bool,
    /// Statistics are taken from all voxels of each image.
    is_exact: bool,
}

/// Lists the source of every mount.
///
/// # Errors
/// What is wrong with the configuration, or with standard output, in one line.
pub(crate) fn run(merged: &Merged, as_json: bool, names_all: bool) -> anyhow::Result<()> {
    let config = merged.resolve(Purpose::List)?;
    connect_at_most(config.resources.connections);
    let memory_bytes = config.resources.memory_bytes;
    let engine =
        Engine::start(&EngineConfig { cache: None, shared: None, memory_bytes, threads: 1 })?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let (mut listed, mut unmatched, mut matched) = (Vec::new(), Vec::new(), Vec::new());
    for mount in &config.mounts {
        let MountConfig { images, tree, by_hand, .. } = mount;
        let root = source::open(mount)?;
        let is_exact = images.statistics == Statistics::Exact;
        let images = Images::new(engine.clone(), *images);
        let tree = Tree::corrected(root, images, *tree, by_hand.clone());
        let tree = tree.context("cannot start threads")?;
        listed.push((Listed::of(&tree), Form { as_json, names_all, is_exact }));
        // A table for all mounts may be about a store of any.
        let own = tree.unmatched();
        let is_unmatched = |table: &&StoreTable| own.iter().any(|own| own.origin == table.origin);
        let (own, found): (Vec<_>, Vec<_>) = by_hand.stores.iter().partition(is_unmatched);
        unmatched.extend(own);
        matched.extend(found);
    }
    unmatched.retain(|table| matched.iter().all(|found| found.origin != table.origin));
    unmatched.sort_by_key(|table| table.origin.line);
    unmatched.dedup_by(|a, b| a.origin == b.origin);
    if let Some((last, _)) = listed.last_mut() {
        last.skipped.extend(unmatched.into_iter().map(about_nothing));
    }
    let is_one_of_several = listed.len() > 1;
    for (listed, form) in listed {
        match listed.write(form, is_one_of_several, &mut out).and_then(|()| out.flush()) {
            // `zarrims-mount --list | head` is no fault.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.context("cannot write the list")?,
        }
    }
    Ok(())
}

/// The row of a table that is about no store: its path is mistyped, or the stores are gone.
fn about_nothing(table: &StoreTable) -> (PathBuf, Vec<Skipped>) {
    let path = PathBuf::from(table.path.as_ref().map_or("", Pattern::text));
    let reason = format!("{}: [[store]] is about no store that is there", table.origin);
    (path.clone(), vec![Skipped { path, reason, non_image: None }])
}

impl Form {
    /// Whether a file is complete only after a pass over all voxels of its image.
    fn needs_pass(self, spec: &FileSpec) -> bool {
        self.is_exact || spec.needs_pass()
    }
}

/// What is found in one source.
struct Listed {
    source: String,
    files: Vec<(String, FileSpec)>,
    /// By store.
    skipped: Vec<(PathBuf, Vec<Skipped>)>,
}

impl Listed {
    fn of(tree: &Tree) -> Self {
        let mut files: Vec<(String, FileSpec)> = Vec::new();
        let mut skipped: Vec<(PathBuf, Vec<Skipped>)> = Vec::new();
        tree.walk(
            &mut |path, spec| files.push((path.display().to_string(), spec.clone())),
            &mut |store, rows| skipped.push((store.to_path_buf(), rows.to_vec())),
        );
        Self { source: tree.source().location().to_string(), files, skipped }
    }

    /// Writes it; of several, each names its source.
    ///
    /// # Errors
    /// When `out` cannot be written.
    fn write(self, form: Form, is_one_of_several: bool, out: &mut dyn Write) -> io::Result<()> {
        let Self { source, files, skipped } = self;
        if form.as_json {
            let source = is_one_of_several.then_some(source);
            return write_json(source.as_deref(), &files, &skipped, form, out);
        }
        if is_one_of_several {
            writeln!(out, "{source}:")?;
        }
        let rows = skipped.iter().flat_map(|(_, rows)| rows);
        let number = rows.clone().count();
        if files.is_empty() && number == 0 {
            return writeln!(out, "no Zarr stores found in {source}");
        }
        write_files(&files, out)?;
        if form.names_all {
            rows.into_iter().try_for_each(|row| writeln!(out, "{row}"))?;
        } else {
            skipped.iter().try_for_each(|(store, rows)| write_skipped(store, rows, out))?;
        }
        let total: u64 = files.iter().map(|(_, spec)| spec.size).fold(0, u64::saturating_add);
        let count =
            if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
        let passes = match files.iter().filter(|(_, spec)| form.needs_pass(spec)).count() {
            0 => String::new(),
            1 => "; 1 needs a pass over all its voxels".to_owned(),
            passes => format!("; {passes} need a pass over all their voxels"),
        };
        writeln!(out, "{count}, {}{passes}; {number} skipped", ByteSize(total))
    }
}

fn write_json(
    source: Option<&str>,
    files: &[(String, FileSpec)],
    skipped: &[(PathBuf, Vec<Skipped>)],
    form: Form,
    out: &mut dyn Write,
) -> io::Result<()> {
    let files = files.iter().map(|(path, spec)| json_row(path, spec, form));
    let rows = skipped.iter().flat_map(|(_, rows)| rows);
    let skipped = rows.map(
        |Skipped { path, reason, .. }| json!({"skipped": path.to_string_lossy(), "reason": reason}),
    );
    for mut row in files.chain(skipped) {
        if let Some(source) = source {
            row["source"] = json!(source);
        }
        writeln!(out, "{row}")?;
    }
    Ok(())
}

fn write_files(files: &[(String, FileSpec)], out: &mut dyn Write) -> io::Result<()> {
    let width = files.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
    for (path, spec) in files {
        let [t, c, z, y, x] = spec.shape;
        let size = ByteSize(spec.size).to_string();
        let levels = levels(&spec.levels);
        writeln!(
            out,
            "{path:width$}  {size:>10}  {t} x {c} x {z} x {y} x {x} (t c z y x), {levels}; from {}",
            origin(spec)
        )?;
    }
    Ok(())
}

/// Where an image lies in the source, such as `plate.zarr/A/1/0`.
fn origin(spec: &FileSpec) -> String {
    let path = spec.folder();
    // A store that is the source itself.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
    match spec.multiscale {
        0 => path.display().to_string(),
        entry => format!("{}, entry {entry} of its multiscales", path.display()),
    }
}

/// Such as `5 levels: 1 stored, 4 computed`.
fn levels(levels: &[LevelSpec]) -> String {
    let count = levels.len();
    let computed = levels.iter().filter(|level| level.is_computed).count();
    let noun = if count == 1 { "level" } else { "levels" };
    let computed_too = match computed {
        0 => String::new(),
        computed => format!(", {computed} computed"),
    };
    format!("{count} {noun}: {} stored{computed_too}", count - computed)
}

fn write_skipped(store: &Path, rows: &[Skipped], out: &mut dyn Write) -> io::Result<()> {
    match Told::of(store, rows) {
        None => Ok(()),
        Some(Told { path, text, is_sum: true, .. }) => writeln!(out, "{}: {text}", path.display()),
        Some(Told { path, text, .. }) => writeln!(out, "skipped {}: {text}", path.display()),
    }
}

fn json_row(path: &str, spec: &FileSpec, form: Form) -> serde_json::Value {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut row = json!({
        "file": path,
        "store": text(&spec.store),
        "image": spec.image,
        "multiscale": spec.multiscale,
        "role": match spec.role { Role::Image => "image", Role::Label => "label" },
        "size": spec.size,
        "shape": spec.shape,
        "levels": spec.levels.len(),
        "pyramid": spec.levels.iter().map(json_level).collect::<Vec<_>>(),
        "needs_pass": form.needs_pass(spec),
    });
    if let Some(view) = &spec.view {
        row["of"] = view.images.iter().map(|at| text(&at.image)).collect();
    }
    row
}

fn json_level(level: &LevelSpec) -> serde_json::Value {
    json!({
        "size": level.size,
        "origin": if level.is_computed { "computed" } else { "stored" },
    })
}
