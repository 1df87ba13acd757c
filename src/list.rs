//! `--list`: what would be shown, and what is skipped and why.

use std::io::{self, Write};
use std::path::Path;

use bytesize::ByteSize;
use serde_json::json;

use zarrims::fs::Tree;
use zarrims::fs::tree::{FileSpec, Skipped};
use zarrims::source::image::Role;

/// Writes the whole tree, for people or as one JSON object a line.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn list(tree: &Tree, as_json: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut files: Vec<(String, FileSpec)> = Vec::new();
    let mut skipped: Vec<Skipped> = Vec::new();
    tree.walk(
        &mut |path, spec| files.push((path.display().to_string(), spec.clone())),
        &mut |row| skipped.push(row.clone()),
    );
    if as_json {
        for (path, spec) in &files {
            writeln!(out, "{}", json_row(path, spec))?;
        }
        for Skipped { path, reason } in &skipped {
            writeln!(out, "{}", json!({"skipped": path.to_string_lossy(), "reason": reason}))?;
        }
        return Ok(());
    }
    let width = files.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
    for (path, spec) in &files {
        let [t, c, z, y, x] = spec.shape;
        let size = ByteSize(spec.size).to_string();
        let levels = if spec.levels == 1 { "level" } else { "levels" };
        writeln!(
            out,
            "{path:width$}  {size:>10}  {t} x {c} x {z} x {y} x {x} (t c z y x), {} {levels}",
            spec.levels
        )?;
    }
    for Skipped { path, reason } in &skipped {
        writeln!(out, "skipped {}: {reason}", path.display())?;
    }
    let total: u64 = files.iter().map(|(_, spec)| spec.size).fold(0, u64::saturating_add);
    writeln!(out, "{} files, {}; {} skipped", files.len(), ByteSize(total), skipped.len())
}

fn json_row(path: &str, spec: &FileSpec) -> serde_json::Value {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    json!({
        "file": path,
        "store": text(&spec.store),
        "image": spec.image,
        "multiscale": spec.multiscale,
        "role": match spec.role { Role::Image => "image", Role::Label => "label" },
        "size": spec.size,
        "shape": spec.shape,
        "levels": spec.levels,
    })
}
