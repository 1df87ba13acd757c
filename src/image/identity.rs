//! The identity of an image: a hash of all that the bytes of its file depend on, field by field.
//!
//! Bricks are cached by it, so two images with other bytes must have other identities. Each field is written
//! with its name and its length; the structs are taken apart completely, so that a new field of a plan does not
//! compile until it is written here.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::cache::ImageId;
use crate::ims::{ImsChannel, ImsFile, ImsLevel, ImsSection, VoxelType};
use crate::source::image::{ChannelSource, ImageSource};
use crate::source::{ChunkState, Seen, SourceRoot};

use super::plan::pyramid::LevelOrigin;
use super::plan::{ImagePlan, PlannedLevel, Reductions};
use super::reduce::Reduction;

/// Part of every identity. Raise it by one whenever the same store would give other bytes than before: other
/// voxels, another layout, other metadata. Bricks of earlier versions are then never read again, and leave the
/// cache as others need their room. The tests of this file notice such a change.
const FORMAT_VERSION: u64 = 5;

/// Writes fields into a hash.
struct Fields(Xxh3);

impl Fields {
    fn new() -> Self {
        Self(Xxh3::new())
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.bytes(name, value.as_bytes());
    }

    fn path(&mut self, name: &str, value: &Path) {
        self.bytes(name, value.as_os_str().as_bytes());
    }

    fn number(&mut self, name: &str, value: u64) {
        self.bytes(name, &value.to_le_bytes());
    }

    fn numbers(&mut self, name: &str, values: &[u64]) {
        self.list(name, values, |fields, value| fields.number(name, *value));
    }

    /// By its bits: all that is not the same counts as another number.
    fn real(&mut self, name: &str, value: f64) {
        self.number(name, value.to_bits());
    }

    fn reals(&mut self, name: &str, values: &[f64]) {
        self.list(name, values, |fields, value| fields.real(name, *value));
    }

    fn list<T>(&mut self, name: &str, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(name, values.len() as u64);
        for value in values {
            write(self, value);
        }
    }

    fn pairs(&mut self, name: &str, pairs: &[(String, String)]) {
        self.list(name, pairs, |fields, (key, value)| {
            fields.text("key", key);
            fields.text("value", value);
        });
    }

    fn id(&self) -> ImageId {
        ImageId(self.0.digest128())
    }
}

/// The identity of a plan, and of the state of the files it was made from: the same on every machine that sees
/// the same files.
pub(super) fn of_files(root: &SourceRoot, source: &ImageSource, plan: &ImagePlan) -> ImageId {
    let mut fields = Fields::new();
    fields.number("format", FORMAT_VERSION);
    fields.bytes("root", &root.location().shared_bytes());
    fields.path("store", &source.store);
    fields.text("image", &source.image);
    fields.number("multiscale", source.multiscale as u64);
    // Names and colours are part of the plan.
    fields.list("windows", &source.channels, |fields, ChannelSource { window, .. }| {
        fields.reals("window", &window.map_or(Vec::new(), |(low, high)| vec![low, high]));
    });
    // Which voxels of which arrays are where.
    fields.list("sources", &source.levels, |fields, level| {
        fields.bytes("fill", level.fill_value());
        fields.list("parts", level.parts(), |fields, part| {
            fields.path("array", part.array.folder());
            fields.numbers("place", &part.numbers());
        });
    });
    write_plan(&mut fields, plan);
    for (path, seen) in source.fingerprint.entries() {
        fields.path("path", path);
        fields.text("state", &state(seen));
    }
    fields.id()
}

/// The identity of a plan on this machine.
pub(super) fn of_plan(root: &SourceRoot, files: ImageId) -> ImageId {
    let mut fields = Fields::new();
    fields.bytes("root", &root.location().as_bytes());
    fields.bytes("files", &files.0.to_le_bytes());
    fields.id()
}

/// The identity of the bytes of an image that keeps to a state of its chunks.
pub(super) fn of_chunks(plan: ImageId, chunks: &ChunkState) -> ImageId {
    let mut fields = Fields::new();
    fields.bytes("plan", &plan.0.to_le_bytes());
    fields.bytes("chunks", &chunks.identity().to_le_bytes());
    fields.id()
}

fn state(seen: Seen) -> String {
    match seen {
        Seen::Absent => "absent".to_owned(),
        Seen::Unreadable => "unreadable".to_owned(),
        Seen::Present(stamp) => stamp.to_string(),
    }
}

fn write_plan(fields: &mut Fields, plan: &ImagePlan) {
    let ImagePlan { ims, levels, target: _, shift, layout, reductions } = plan;
    write_ims(fields, ims);
    fields.list("levels", levels, |fields, PlannedLevel { origin, size, chunk, brick }| {
        match origin {
            LevelOrigin::Stored(number) => fields.number("stored", *number as u64),
            LevelOrigin::Computed => fields.bytes("computed", &[]),
        }
        fields.numbers("size", size);
        fields.numbers("chunk", chunk);
        fields.numbers("brick", brick);
    });
    fields.real("shift", *shift);
    let Reductions { first, others } = reductions;
    let write = |fields: &mut Fields, reduction: &Reduction| {
        let reduction = match reduction {
            Reduction::Mean => "mean",
            Reduction::MostFrequent => "most frequent",
        };
        fields.text("reduction", reduction);
    };
    fields.list("reductions", first, write);
    write(fields, others);
    fields.number("metadata bytes", layout.metadata_bytes());
    fields.number("file bytes", layout.file_bytes());
}

fn write_ims(fields: &mut Fields, ims: &ImsFile) {
    let ImsFile {
        voxel_type,
        levels,
        time_points,
        channels,
        extent_min_um,
        extent_max_um,
        name,
        description,
        details,
        recording_date,
        time_stamps,
        sections,
        // Virtual files have none.
        packing: _,
    } = ims;
    let voxel_type = match voxel_type {
        VoxelType::U8 => "uint8",
        VoxelType::U16 => "uint16",
        VoxelType::I16 => "int16",
        VoxelType::U32 => "uint32",
        VoxelType::F32 => "float32",
    };
    fields.text("voxel type", voxel_type);
    fields.list("ims levels", levels, |fields, ImsLevel { size, chunk }| {
        fields.numbers("size", size);
        fields.numbers("chunk", chunk);
    });
    fields.number("time points", *time_points);
    // The others follow from their number.
    fields.number("channels", channels.len() as u64);
    fields.list("described", channels.described(), |fields, channel| {
        let ImsChannel { name, description, color, details } = channel;
        fields.text("name", name);
        fields.text("description", description);
        fields.reals("color", &color.map(f64::from));
        fields.pairs("details", details);
    });
    fields.reals("extent min", extent_min_um);
    fields.reals("extent max", extent_max_um);
    fields.text("name", name);
    fields.text("description", description);
    fields.pairs("details", details);
    fields.text("recording date", recording_date);
    let (start_ms, seconds) = time_stamps.parts();
    fields.text("time start", &start_ms.to_string());
    fields.reals("time points", seconds);
    fields.list("sections", sections, |fields, ImsSection { name, entries }| {
        fields.text("name", name);
        fields.pairs("entries", entries);
    });
}

#[cfg(test)]
mod tests;
