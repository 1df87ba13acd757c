//! What a person says of an image instead of what its store says.

use crate::image::{ChunkShape, Int16, Pyramid, Uint32};
use crate::source::image::NAME_LIMIT_BYTES;
use crate::source::{color, micrometres, seconds};
use crate::words;

use super::document::{
    Fields, Mistake, Said, Value, Wrong, choice, count, list, number, text, xyz,
};

/// Most levels that a list may name: a store has no more.
const LEVELS_LIMIT: usize = 64;

/// Most channels that a list may name.
const CHANNELS_LIMIT: usize = 10_000;

/// Voxel edges that a person may have meant: from a picometre to a kilometre.
const VOXEL_RANGE_UM: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

/// Farthest place of an image, in micrometres: a thousand kilometres.
const FARTHEST_UM: f64 = 1e12;

/// Time steps that a person may have meant, in seconds: from a nanosecond to a century.
const TIME_STEP_RANGE_S: std::ops::RangeInclusive<f64> = 1e-9..=3.2e9;

/// Keys for the size, the place and the times of an image, and for how it becomes a file.
pub(super) const GEOMETRY: [&str; 9] = [
    "voxel_size",
    "origin",
    "unit",
    "time_step",
    "time_unit",
    "pyramid",
    "chunk",
    "int16",
    "uint32",
];

/// Keys for what the dimensions, the levels and the channels of a store are.
pub(super) const CONTENT: [&str; 4] = ["axes", "name", "levels", "channels"];

/// Keys for a channel.
pub(super) const CHANNEL: [&str; 3] = ["name", "color", "range"];

/// Statements that count more than those of the metadata; `None`: nothing is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Correction {
    /// Edges of a voxel of level 0 in micrometres, order (x, y, z).
    pub voxel_um: [Option<f64>; 3],
    /// Place of the corner of level 0 in micrometres, order (x, y, z).
    pub origin_um: [Option<f64>; 3],
    /// The unit, in micrometres, of lengths that the store states without one.
    pub unit_um: Option<f64>,
    /// From one time point to the next, in seconds.
    pub time_step_s: Option<f64>,
    /// A letter out of t, c, z, y, x for each dimension of the array as it is stored; `_` for one of length
    /// one that is not shown.
    pub axes: Option<Said<String>>,
    /// Name of the image.
    pub name: Option<String>,
    /// The levels of the store that are used, finest first; the first is 0.
    pub levels: Option<Said<Vec<u64>>>,
    /// The channels, in their order; fewer than there are leave the others as they are.
    pub channels: Option<Said<Vec<ChannelCorrection>>>,
    /// Where levels come from.
    pub pyramid: Option<Pyramid>,
    /// Shape of the HDF5 chunks.
    pub chunk: Option<ChunkShape>,
    /// What becomes of int16 voxels.
    pub int16: Option<Int16>,
    /// What becomes of uint32 voxels.
    pub uint32: Option<Uint32>,
}

/// What is said of one channel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelCorrection {
    /// Label.
    pub name: Option<String>,
    /// Red, green, blue.
    pub color: Option<[u8; 3]>,
    /// What is shown from black to full, in values of the store; finite and increasing.
    pub window: Option<(f64, f64)>,
}

impl Correction {
    /// Reads the keys of [`GEOMETRY`] and [`CONTENT`] that a table has.
    pub(super) fn parse(fields: &Fields<'_, '_>) -> Result<Self, Mistake> {
        Ok(Self {
            axes: fields.said("axes", axes)?,
            name: fields.get("name", name)?,
            levels: fields.said("levels", levels)?,
            channels: channels(fields)?,
            ..Self::geometry(fields)?
        })
    }

    /// Reads the keys of [`GEOMETRY`] that a table has.
    pub(super) fn geometry(fields: &Fields<'_, '_>) -> Result<Self, Mistake> {
        let unit_um =
            fields.get("unit", |value| unit(value, micrometres, "um, mm or nanometer"))?;
        let time_unit = fields.get("time_unit", |value| unit(value, seconds, "s, ms or min"))?;
        if time_unit.is_some() && !fields.has("time_step") {
            return Err(fields.mistake("time_unit", "has no effect without time_step"));
        }
        let (unit, time_unit) = (unit_um.unwrap_or(1.0), time_unit.unwrap_or(1.0));
        let lengths = |key, read| {
            let found = fields.get(key, |value| {
                let found = xyz(value, read)?.map(|length| length.map(|length| length * unit));
                check_lengths(value, key, found)
            });
            Ok(found?.unwrap_or_default())
        };
        Ok(Self {
            voxel_um: lengths("voxel_size", positive)?,
            origin_um: lengths("origin", number)?,
            unit_um,
            time_step_s: fields.get("time_step", |value| {
                let step = positive(value)? * time_unit;
                let is_meant = TIME_STEP_RANGE_S.contains(&step);
                is_meant.then_some(step).ok_or_else(|| {
                    Wrong::value(value, "is no time between a nanosecond and a century")
                })
            })?,
            pyramid: fields.get("pyramid", |value| choice(value, &words::PYRAMID))?,
            chunk: fields.get("chunk", |value| {
                words::chunk_shape(&text(value)?).map_err(|words| Wrong::value(value, words))
            })?,
            int16: fields.get("int16", |value| choice(value, &words::INT16))?,
            uint32: fields.get("uint32", |value| choice(value, &words::UINT32))?,
            ..Self::default()
        })
    }

    /// Takes over each key that another one has.
    pub(super) fn overlay(&mut self, over: &Self) {
        fn take<T: Clone>(own: &mut Option<T>, over: Option<&T>) {
            if let Some(over) = over {
                *own = Some(over.clone());
            }
        }
        let Self {
            voxel_um,
            origin_um,
            unit_um,
            time_step_s,
            axes,
            name,
            levels,
            channels,
            pyramid,
            chunk,
            int16,
            uint32,
        } = self;
        for axis in 0..3 {
            take(&mut voxel_um[axis], over.voxel_um[axis].as_ref());
            take(&mut origin_um[axis], over.origin_um[axis].as_ref());
        }
        take(unit_um, over.unit_um.as_ref());
        take(time_step_s, over.time_step_s.as_ref());
        take(axes, over.axes.as_ref());
        take(name, over.name.as_ref());
        take(levels, over.levels.as_ref());
        take(channels, over.channels.as_ref());
        take(pyramid, over.pyramid.as_ref());
        take(chunk, over.chunk.as_ref());
        take(int16, over.int16.as_ref());
        take(uint32, over.uint32.as_ref());
    }

    /// Without axes, name, levels and channels: a label image has its own.
    pub(super) fn of_labels(self) -> Self {
        Self { axes: None, name: None, levels: None, channels: None, ..self }
    }
}

fn positive(value: &Value<'_>) -> Result<f64, Wrong> {
    let found = number(value).ok().filter(|found| *found > 0.0);
    found.ok_or_else(|| Wrong::value(value, "is not a number above 0"))
}

fn check_lengths(
    value: &Value<'_>,
    key: &str,
    found: [Option<f64>; 3],
) -> Result<[Option<f64>; 3], Wrong> {
    let is_voxel = key == "voxel_size";
    let is_meant = |length: &f64| {
        if is_voxel { VOXEL_RANGE_UM.contains(length) } else { length.abs() <= FARTHEST_UM }
    };
    if found.iter().flatten().all(is_meant) {
        return Ok(found);
    }
    let words = if is_voxel {
        "is no size between a picometre and a kilometre; is the unit right?"
    } else {
        "is farther than a thousand kilometres; is the unit right?"
    };
    Err(Wrong::value(value, words))
}

fn unit(value: &Value<'_>, factor: fn(&str) -> Option<f64>, examples: &str) -> Result<f64, Wrong> {
    factor(&text(value)?)
        .ok_or_else(|| Wrong::value(value, format!("is not a unit such as {examples}")))
}

pub(super) fn name(value: &Value<'_>) -> Result<String, Wrong> {
    let name = text(value)?;
    if name.len() > NAME_LIMIT_BYTES || name.contains('\0') {
        let words = format!("is not a name of at most {NAME_LIMIT_BYTES} bytes");
        return Err(Wrong::value(value, words));
    }
    Ok(name)
}

fn axes(value: &Value<'_>) -> Result<String, Wrong> {
    let wrong = |words: &str| Wrong::value(value, words);
    let letters = text(value)?.to_ascii_lowercase();
    let is_once = |letter: char| letters.matches(letter).count() <= 1;
    if letters.is_empty() || letters.len() > 8 || !letters.chars().all(|c| "tczyx_".contains(c)) {
        return Err(wrong(
            "is not one letter out of t, c, z, y, x for each dimension, such as \"tczyx\", or _ for one \
             of length 1",
        ));
    }
    if !"tczyx".chars().all(is_once) {
        return Err(wrong("has a letter twice"));
    }
    if !letters.contains('y') || !letters.contains('x') {
        return Err(wrong("has no y or no x"));
    }
    Ok(letters)
}

fn levels(value: &Value<'_>) -> Result<Vec<u64>, Wrong> {
    const EXPECTED: &str =
        "is not a list of levels such as [0, 2]: the finest is 0, and is the first";
    let found = list(value, EXPECTED)?.iter().map(count).collect::<Result<Vec<u64>, _>>()?;
    let is_sorted = found.is_sorted_by(|a, b| a < b);
    if found.first() != Some(&0) || !is_sorted || found.len() > LEVELS_LIMIT {
        return Err(Wrong::value(value, EXPECTED));
    }
    Ok(found)
}

fn channels(fields: &Fields<'_, '_>) -> Result<Option<Said<Vec<ChannelCorrection>>>, Mistake> {
    let Some(Said { value: entries, origin }) = fields.said("channels", channel_list)? else {
        return Ok(None);
    };
    let mut value = Vec::new();
    for entry in entries {
        let is_label = entry.get_ref().as_str().is_some();
        value.push(if is_label {
            let label = Some(fields.read("channels", entry, name)?);
            ChannelCorrection { name: label, ..ChannelCorrection::default() }
        } else {
            ChannelCorrection::parse(&fields.entry("channels", entry, &CHANNEL)?)?
        });
    }
    Ok(Some(Said { value, origin }))
}

/// The entries of a list of channels.
pub(super) fn channel_list<'a, 't>(value: &'a Value<'t>) -> Result<&'a [Value<'t>], Wrong> {
    let found =
        list(value, "is not a list such as [\"DAPI\", { name = \"GFP\", color = \"lime\" }]")?;
    if found.is_empty() || found.len() > CHANNELS_LIMIT {
        return Err(Wrong::value(value, "is empty, or longer than any image has channels"));
    }
    Ok(found)
}

impl ChannelCorrection {
    /// Reads the keys of [`CHANNEL`] that a table has.
    pub(super) fn parse(own: &Fields<'_, '_>) -> Result<Self, Mistake> {
        Ok(Self {
            name: own.get("name", name)?,
            color: own.get("color", |value| {
                color(&text(value)?).ok_or_else(|| {
                    Wrong::value(value, "is not a colour such as \"#00FF00\" or \"lime\"")
                })
            })?,
            window: own.get("range", window)?,
        })
    }
}

fn window(value: &Value<'_>) -> Result<(f64, f64), Wrong> {
    const EXPECTED: &str = "is not a range of values such as [100, 4000], the lower one first";
    let [low, high] = list(value, EXPECTED)? else { return Err(Wrong::value(value, EXPECTED)) };
    let (low, high) = (number(low)?, number(high)?);
    if low < high { Ok((low, high)) } else { Err(Wrong::value(value, EXPECTED)) }
}
