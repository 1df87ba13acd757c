//! `[[view]]`: a further file, and what it is made of.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::ims::MAX_TIME_POINTS;

use super::correction::{CHANNEL, ChannelCorrection, Correction, GEOMETRY, channel_list, name};
use super::document::{
    Document, Fields, Line, Mistake, Origin, Said, Value, Wrong, choice, count, list, range, text,
};
use super::pattern::{Pattern, below};
use super::store::Place;

/// Most stores, or patterns for stores, that a list names.
const PARTS_LIMIT: usize = 1000;

/// How deep views may be nested.
const DEPTH_LIMIT: usize = 4;

/// Longest name of a view, so that a number and an ending fit behind it.
const NAME_LIMIT_BYTES: usize = 200;

const JOINS: [(&str, Join); 3] =
    [("channels", Join::Channels), ("time points", Join::TimePoints), ("mosaic", Join::Mosaic)];

/// Keys that say what an image is made of.
const MADE: [&str; 8] = ["of", "as", "x", "y", "z", "t", "time_points", "channels"];

/// A table `[[view]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewTable {
    /// Where it stands.
    pub origin: Origin,
    /// Path of the file, without `.ims`.
    pub name: PathBuf,
    /// What it shows.
    pub made: Made,
    /// What is said of its size, place and times.
    pub correction: Correction,
    /// All this, as it was written.
    pub lines: Vec<Line>,
}

/// An image made of others: all of them are joined, then a part is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Where it stands.
    pub origin: Origin,
    /// In this order. Empty: the store beside the file.
    pub of: Vec<Part>,
    /// What several become.
    pub join: Option<Said<Join>>,
    /// What is taken of it.
    pub pick: Pick,
}

/// A part of an image.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// An image, by the path of its store, or of its group in the store; or a pattern for stores.
    Stored(Said<Pattern>),
    /// An image made of others.
    Made(Made),
}

/// What several images become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// The channels of one.
    Channels,
    /// The time points of one.
    TimePoints,
    /// Tiles, which lie where their translations say; a later one covers an earlier one.
    Mosaic,
}

/// A part of an image; `None`: all of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pick {
    /// Voxels of level 0 along x, y and z.
    pub space: [Option<Said<Range<u64>>>; 3],
    /// Time points, in this order.
    pub times: Option<Said<Times>>,
    /// Channels, in this order, with what is said of them.
    pub channels: Option<Said<Vec<(ChannelName, ChannelCorrection)>>>,
}

/// Chosen time points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Times {
    /// From one to another.
    Range(Range<u64>),
    /// One by one.
    List(Vec<u64>),
}

/// Which channel is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelName {
    /// By its number, from 0 on.
    Number(u64),
    /// By its label.
    Label(String),
}

impl ViewTable {
    /// Name of the file, without `.ims`.
    pub(super) fn file_name(&self) -> String {
        self.name.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The folder of the source in which the file lies, where it stands in the configuration.
    pub(super) fn folder(&self) -> &Path {
        self.name.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn parse(
        document: &Document<'_>,
        value: &Value<'_>,
        place: Place,
    ) -> Result<Self, Mistake> {
        let keys = [&["name"][..], &MADE, &GEOMETRY].concat();
        let fields = Fields::new(document, "[[view]]", value, &keys)?;
        let Some(name) = fields.get("name", |value| file_name(value, place))? else {
            let words = "[[view]]: name is missing: the name of the file in the mount";
            return Err(Mistake::at(&fields.origin(), words));
        };
        let made = Made::parse(&fields, place, 0)?;
        let correction = Correction::geometry(&fields)?;
        Ok(Self { origin: fields.origin(), name, made, correction, lines: fields.lines() })
    }
}

impl Made {
    fn parse(fields: &Fields<'_, '_>, place: Place, depth: usize) -> Result<Self, Mistake> {
        let of = parts(fields, place, depth)?;
        let is_beside = depth == 0 && place == Place::Beside;
        if of.is_none() && !is_beside {
            let words = "of is missing: which stores it is made of";
            return Err(Mistake::at(&fields.origin(), words));
        }
        let of = of.unwrap_or_default();
        let join = fields.said("as", |value| choice(value, &JOINS))?;
        let is_pattern =
            |part: &Part| matches!(part, Part::Stored(pattern) if pattern.value.has_wildcards());
        if join.is_none() && (of.len() > 1 || of.iter().any(is_pattern)) {
            let names: Vec<String> = JOINS.iter().map(|(name, _)| format!("{name:?}")).collect();
            let words = format!("as is missing: what several images become: {}", names.join(", "));
            return Err(Mistake::at(&fields.origin(), words));
        }
        Ok(Self { origin: fields.origin(), of, join, pick: Pick::parse(fields)? })
    }
}

fn parts(
    fields: &Fields<'_, '_>,
    place: Place,
    depth: usize,
) -> Result<Option<Vec<Part>>, Mistake> {
    const EXPECTED: &str = "is not a path in quotes, or a list of them";
    let single = |value| Ok(std::slice::from_ref(value));
    let entries = fields.said("of", |value| match value.get_ref().as_array() {
        Some(_) => list(value, EXPECTED),
        None => single(value),
    })?;
    let Some(Said { value: entries, .. }) = entries else { return Ok(None) };
    if entries.is_empty() || entries.len() > PARTS_LIMIT {
        let words = format!("is empty, or has more than {PARTS_LIMIT} entries");
        return Err(fields.mistake("of", &words));
    }
    let mut found = Vec::new();
    for entry in entries {
        found.push(if entry.get_ref().is_table() {
            if depth == DEPTH_LIMIT {
                return Err(fields.mistake("of", "views lie too deep within views"));
            }
            let own = fields.entry("of", entry, &MADE)?;
            Part::Made(Made::parse(&own, place, depth + 1)?)
        } else {
            let value = fields.read("of", entry, |value| {
                let text = text(value).map_err(|_| Wrong::value(value, EXPECTED))?;
                Pattern::new(&text).map_err(|words| Wrong::value(value, words))
            })?;
            Part::Stored(Said { value, origin: fields.origin_of(entry) })
        });
    }
    Ok(Some(found))
}

impl Pick {
    fn parse(fields: &Fields<'_, '_>) -> Result<Self, Mistake> {
        let [x, y, z] = ["x", "y", "z"].map(|axis| fields.said(axis, range));
        let range = fields.said("t", |value| range(value).map(Times::Range))?;
        let times = fields.said("time_points", |value| numbers(value).map(Times::List))?;
        if range.is_some() && times.is_some() {
            return Err(fields.mistake("time_points", "t is given as well; give one of them"));
        }
        Ok(Self { space: [x?, y?, z?], times: range.or(times), channels: channels(fields)? })
    }
}

fn numbers(value: &Value<'_>) -> Result<Vec<u64>, Wrong> {
    let found = list(value, "is not a list of numbers such as [0, 5, 9]")?;
    if found.is_empty() || found.len() as u64 > MAX_TIME_POINTS {
        let words = format!("is empty, or has more than {MAX_TIME_POINTS} entries");
        return Err(Wrong::value(value, words));
    }
    found.iter().map(count).collect()
}

type Channels = Vec<(ChannelName, ChannelCorrection)>;

fn channels(fields: &Fields<'_, '_>) -> Result<Option<Said<Channels>>, Mistake> {
    let Some(Said { value: entries, origin }) = fields.said("channels", channel_list)? else {
        return Ok(None);
    };
    let mut value = Vec::new();
    for entry in entries {
        if !entry.get_ref().is_table() {
            let which = fields.read("channels", entry, channel_name)?;
            value.push((which, ChannelCorrection::default()));
            continue;
        }
        let own = fields.entry("channels", entry, &[&["channel"], &CHANNEL[..]].concat())?;
        let Some(which) = own.get("channel", channel_name)? else {
            let words = "channels: channel is missing: the number or the label of one";
            return Err(Mistake::at(&own.origin(), words));
        };
        value.push((which, ChannelCorrection::parse(&own)?));
    }
    Ok(Some(Said { value, origin }))
}

fn channel_name(value: &Value<'_>) -> Result<ChannelName, Wrong> {
    match value.get_ref().as_str() {
        Some(_) => name(value).map(ChannelName::Label),
        None => count(value).map(ChannelName::Number),
    }
}

/// A path in the mount; beside a store, a name in the folder of the store.
fn file_name(value: &Value<'_>, place: Place) -> Result<PathBuf, Wrong> {
    let wrong = |words: &str| Wrong::value(value, words);
    let text = text(value)?;
    let path = below(&text).map_err(|words| wrong(&words))?;
    let end = path.len().saturating_sub(4);
    let is_ims = path.get(end..).is_some_and(|ending| ending.eq_ignore_ascii_case(".ims"));
    let path = PathBuf::from(if is_ims { &path[..end] } else { path });
    let Some(name) = path.file_name().filter(|_| !text.ends_with('/')) else {
        return Err(wrong("is not the name of a file"));
    };
    if name.len() > NAME_LIMIT_BYTES {
        return Err(wrong("is longer than a name can be"));
    }
    if place == Place::Beside && path.parent().is_some_and(|above| above.as_os_str() != "") {
        return Err(wrong("has a slash; a view of a file beside a store lies in its folder"));
    }
    Ok(path)
}
