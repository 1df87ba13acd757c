//! `inspect STORE`: what a store becomes.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use bytesize::ByteSize;
use serde_json::{Value, json};

use zarrims::cli::Cli;
use zarrims::cli::verbs::Inspect;
use zarrims::fs::tree::{FileSpec, Skipped};
use zarrims::image::{LevelOrigin, VirtualFile};
use zarrims::objects::connect_at_most;

use super::Failure;
use super::session::Session;
use crate::logging;

pub(super) fn run(wanted: &Inspect, cli: &Cli) -> Result<ExitCode, Failure> {
    let merged = cli.given.clone().merge()?;
    logging::start(merged.log_format(), cli.verbose, true);
    let (mount, resources) = merged.resolve_to_read()?;
    connect_at_most(resources.connections);
    let session = Session::open(&mount, resources, mount.by_hand.clone(), None)?;
    let contents = session.contents();
    let mut rows = Vec::new();
    for (path, spec) in &contents.files {
        rows.push(match session.open_file(path) {
            Ok(opened) => of_file(path, spec, &opened.file),
            Err(error) => json!({"skipped": text(path), "reason": error.to_string()}),
        });
    }
    rows.extend(contents.skipped.iter().map(of_skipped));
    if rows.is_empty() && !wanted.as_json {
        let source = mount.source.name();
        return say(&format!("no Zarr stores found in {}\n", source.display()));
    }
    let written: String = rows
        .iter()
        .map(|row| if wanted.as_json { format!("{row}\n") } else { in_words(row) })
        .collect();
    say(&written)
}

fn say(text: &str) -> Result<ExitCode, Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Nobody reads on.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output").map_err(Failure::Other)
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn of_skipped(row: &Skipped) -> Value {
    json!({"skipped": text(&row.path), "reason": row.reason})
}

/// All that is known of an image before a voxel is read. Shapes are (z, y, x), or (t, c, z, y, x) where they have
/// five numbers; lengths are in micrometres, order (x, y, z).
fn of_file(path: &Path, spec: &FileSpec, file: &VirtualFile) -> Value {
    let (plan, source) = (file.plan(), file.source());
    let levels: Vec<Value> = plan
        .levels
        .iter()
        .map(|level| {
            let mut row = json!({"size": level.size, "chunk": level.chunk, "brick": level.brick});
            match level.origin {
                LevelOrigin::Computed => row["origin"] = json!("computed"),
                LevelOrigin::Stored(number) => {
                    let part = &source.levels[number].parts()[0];
                    row["origin"] = json!("stored");
                    row["array"] = json!(&*part.path);
                    row["zarr_format"] = json!(part.array.zarr_format());
                    row["zarr_shape"] = json!(part.array.shape());
                    row["zarr_chunk"] = json!(part.array.chunk_shape());
                    row["read_unit"] = json!(part.array.unit_shape());
                }
            }
            row
        })
        .collect();
    let channels = plan.ims.channels.iter().enumerate().map(|(number, channel)| {
        let color: String = channel.color.iter().copied().map(hex).collect();
        let stated = source.channels.get(number);
        json!({
            "name": channel.name,
            "color": format!("#{color}"),
            "range": stated.and_then(|channel| channel.window).map(|(from, to)| [from, to]),
            "name_stated": stated.is_some_and(|channel| channel.name.is_some()),
            "color_stated": stated.is_some_and(|channel| channel.color.is_some()),
        })
    });
    let kept = plan.ims.sections.iter().map(|section| {
        let keys: Vec<&str> = section.entries.iter().map(|(key, _)| key.as_str()).collect();
        json!({"section": section.name, "keys": keys})
    });
    json!({
        "file": text(path),
        "store": text(&spec.folder()),
        "multiscale": spec.multiscale,
        "size": spec.size,
        "name": plan.ims.name,
        "axes": axes(file),
        "shape": spec.shape,
        "type": source.source_type().name(),
        "type_in_file": format!("{:?}", plan.target).to_lowercase(),
        "voxel_um": source.voxel_um,
        "unit_stated": source.lacks_unit.map(|lacks| !lacks),
        "origin_um": source.origin_um,
        "time_step_s": source.time_step_s,
        "recorded": plan.ims.recording_date,
        "levels": levels,
        "channels": channels.collect::<Vec<_>>(),
        "kept_as_text": kept.collect::<Vec<_>>(),
        "notes": source.notes,
    })
}

/// A letter for each dimension of the array of the finest level, as it is stored; `_` for one that is not shown.
fn axes(file: &VirtualFile) -> String {
    let part = &file.source().levels[0].parts()[0];
    let letter = |dimension: usize| {
        let axis = part.axes.iter().position(|at| *at == Some(dimension));
        axis.map_or('_', |axis| ['t', 'c', 'z', 'y', 'x'][axis])
    };
    (0..part.array.shape().len()).map(letter).collect()
}

/// The same for people.
fn in_words(row: &Value) -> String {
    let word = |name: &str| plain(&row[name]);
    if let Some(path) = row["skipped"].as_str() {
        return format!("skipped {path}: {}\n", word("reason"));
    }
    let size = ByteSize(row["size"].as_u64().unwrap_or(0));
    let mut lines = vec![
        format!("{}  {size}, from {}", word("file"), word("store")),
        format!("  name      {}", word("name")),
        format!("  shape     {} (t c z y x), stored as {}", word("shape"), word("axes")),
        format!("  type      {}, in the file {}", word("type"), word("type_in_file")),
        format!("  voxel     {} um (x y z), origin {}", word("voxel_um"), word("origin_um")),
    ];
    if !row["time_step_s"].is_null() {
        lines.push(format!("  time step {} s", word("time_step_s")));
    }
    for (number, level) in row["levels"].as_array().into_iter().flatten().enumerate() {
        let word = |name: &str| plain(&level[name]);
        let from = match level["array"].as_str() {
            Some(array) => format!(
                "stored in {array:?} (Zarr v{}, chunks {}, read units {})",
                word("zarr_format"),
                word("zarr_chunk"),
                word("read_unit")
            ),
            None => "computed".to_owned(),
        };
        lines.push(format!(
            "  level {number}   {} (z y x), {from}; HDF5 chunks {}, bricks {}",
            word("size"),
            word("chunk"),
            word("brick")
        ));
    }
    for (number, channel) in row["channels"].as_array().into_iter().flatten().enumerate() {
        let stated = |name: &str| if channel[name] == json!(true) { "" } else { " (not stated)" };
        let range = match &channel["range"] {
            Value::Null => "range from the voxels".to_owned(),
            range => format!("range {}", plain(range)),
        };
        lines.push(format!(
            "  channel {number} {}{}, {}{}, {range}",
            plain(&channel["name"]),
            stated("name_stated"),
            plain(&channel["color"]),
            stated("color_stated")
        ));
    }
    for section in row["kept_as_text"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  kept as text in {}: {}",
            plain(&section["section"]),
            plain(&section["keys"])
        ));
    }
    for note in row["notes"].as_array().into_iter().flatten() {
        lines.push(format!("  note      {}", plain(note)));
    }
    lines.join("\n") + "\n"
}

/// A value without brackets and quotes; shapes as `3 x 4`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let between = if list.iter().all(Value::is_number) { " x " } else { ", " };
            list.iter().map(plain).collect::<Vec<_>>().join(between)
        }
        other => other.to_string(),
    }
}

/// A part of a colour, from 0 to 1, as two digits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to 255; the cast keeps within what a byte holds"
)]
fn hex(part: f32) -> String {
    format!("{:02X}", (part * 255.0).round() as u8)
}
