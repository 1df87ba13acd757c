//! An HDF5 file as a flat list of its properties, and the comparison of two such lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hdf5_metno::filters::Filter;
use hdf5_metno::types::{FixedAscii, FloatSize, IntSize, TypeDescriptor};
use hdf5_metno::{
    Container, Dataset, Datatype, File, Group, H5Type, IndexType, IterationOrder, LinkType,
    Location, LocationType,
};

use crate::common::ims::Result;

/// Something that can be said of an object.
#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    /// In words: a kind, a shape, a list of filters.
    Words(String),
    /// A type with all that HDF5 knows of it: size, byte order, padding, character set.
    Type(Datatype),
    /// One-byte strings.
    Text(Vec<u8>),
    /// Numbers, little-endian, and the bytes of one.
    Numbers(usize, Vec<u8>),
}

impl Value {
    /// The numbers of an array, each as its bytes.
    pub(crate) fn numbers(&self) -> Vec<&[u8]> {
        match self {
            Self::Numbers(width, bytes) => bytes.chunks_exact(*width).collect(),
            _ => Vec::new(),
        }
    }

    /// For people; of many numbers only how many there are.
    fn shown(&self) -> String {
        match self {
            Self::Words(words) => words.clone(),
            Self::Type(datatype) if datatype.is::<FixedAscii<1>>() => {
                "null-padded strings of one byte".to_owned()
            }
            Self::Type(datatype) => format!("{datatype:?}"),
            Self::Text(bytes) => bytes.escape_ascii().to_string(),
            Self::Numbers(width, bytes) if bytes.len() == *width => format!("number {bytes:?}"),
            Self::Numbers(width, bytes) => format!("{} numbers", bytes.len() / width),
        }
    }
}

/// All that is said of a file, by place. A group is called by its path with a `/` behind, a dataset
/// by its path, an attribute `group/@name`. At these places stands the kind, or the value of the
/// attribute; whatever else is said of them stands behind a colon: `path:shape`.
#[derive(Debug)]
pub(crate) struct Tree(BTreeMap<String, Value>);

impl Tree {
    /// Reads a whole file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        hdf5_metno::silence_errors(true);
        let file = File::open(path)?;
        let mut tree = Self(BTreeMap::new());
        // The version follows the signature of eight bytes (HDF5 specification, section II.A).
        let version =
            fs::read(path).ok().and_then(|bytes| bytes.get(8).copied()).unwrap_or(u8::MAX);
        tree.say("/:superblock", Value::Words(format!("version {version}")));
        tree.read_group("/", &file)?;
        Ok(tree)
    }

    /// What is said at a place.
    pub(crate) fn get(&self, place: &str) -> Option<&Value> {
        self.0.get(place)
    }

    /// A text attribute as it is; empty where there is none.
    pub(crate) fn text(&self, place: &str) -> String {
        self.get(place).map(Value::shown).unwrap_or_default()
    }

    fn say(&mut self, place: impl Into<String>, value: Value) {
        self.0.insert(place.into(), value);
    }

    fn read_group(&mut self, path: &str, group: &Group) -> Result<()> {
        self.say(path, Value::Words("group".to_owned()));
        self.read_attributes(path, group)?;
        let mut links = Vec::new();
        group.iter_visit(IndexType::Name, IterationOrder::Increasing, |name, info| {
            links.push((name.to_owned(), info.link_type));
            Ok(())
        })?;
        for (name, link) in links {
            let below = format!("{path}{name}");
            if link != LinkType::Hard {
                self.say(below, Value::Words(format!("link: {link:?}")));
                continue;
            }
            // Newer versions of the library know further kinds.
            let kind = group.loc_type_by_name(&name)?;
            if kind == LocationType::Group {
                self.read_group(&format!("{below}/"), &group.group(&name)?)?;
            } else if kind == LocationType::Dataset {
                self.read_dataset(path, &below, &group.dataset(&name)?)?;
            } else {
                self.say(below, Value::Words(format!("{kind:?}")));
            }
        }
        Ok(())
    }

    fn read_attributes(&mut self, path: &str, object: &Location) -> Result<()> {
        for name in object.attr_names()? {
            let attribute = object.attr(&name)?;
            let place = format!("{path}@{name}");
            self.say(format!("{place}:type"), Value::Type(attribute.dtype()?));
            self.say(format!("{place}:shape"), Value::Words(format!("rank {}", attribute.ndim())));
            self.say(place, value_of(&attribute)?);
        }
        Ok(())
    }

    fn read_dataset(&mut self, group: &str, path: &str, dataset: &Dataset) -> Result<()> {
        let kind = if dataset.is_resizable() { "dataset that can grow" } else { "dataset" };
        self.say(path, Value::Words(kind.to_owned()));
        self.read_attributes(&format!("{path}/"), dataset)?;
        self.say(format!("{path}:type"), Value::Type(dataset.dtype()?));
        let (shape, filters) = (dataset.shape(), dataset.filters());
        let layout = match dataset.chunk() {
            Some(chunk) => format!("{shape:?} in chunks {chunk:?}"),
            None => format!("{shape:?} {:?}", dataset.layout()),
        };
        self.say(format!("{path}:shape"), Value::Words(layout));
        self.say(format!("{path}:filters"), Value::Words(format!("{filters:?}")));
        let value = if filters.iter().any(|filter| matches!(filter, Filter::User(..))) {
            Value::Words("not readable without a plugin".to_owned())
        } else {
            self.without_padding(group, &shape, value_of(dataset)?)
        };
        self.say(format!("{path}:value"), value);
        Ok(())
    }

    /// The voxels of a level, cropped to the size that its group states.
    fn without_padding(&self, group: &str, shape: &[usize], value: Value) -> Value {
        let (Value::Numbers(width, bytes), &[depth, height, length]) = (&value, shape) else {
            return value;
        };
        let size = |axis: &str, most: usize| {
            self.text(&format!("{group}@ImageSize{axis}")).parse().unwrap_or(most).min(most)
        };
        let (nz, ny, nx) = (size("Z", depth), size("Y", height), size("X", length));
        let starts = (0..nz).flat_map(|z| (0..ny).map(move |y| (z * height + y) * length));
        let rows = starts.map(|start| &bytes[start * width..(start + nx) * width]);
        Value::Numbers(*width, rows.collect::<Vec<_>>().concat())
    }
}

/// The value of a dataset or an attribute.
fn value_of(object: &Container) -> Result<Value> {
    match object.dtype()?.to_descriptor()? {
        TypeDescriptor::FixedAscii(1) => {
            let parts = object.read_raw::<FixedAscii<1>>()?;
            let byte = |part: &FixedAscii<1>| part.as_bytes().first().copied().unwrap_or(0);
            Ok(Value::Text(parts.iter().map(byte).collect()))
        }
        TypeDescriptor::Unsigned(IntSize::U1) => numbers(object, u8::to_le_bytes),
        TypeDescriptor::Unsigned(IntSize::U2) => numbers(object, u16::to_le_bytes),
        TypeDescriptor::Unsigned(IntSize::U4) => numbers(object, u32::to_le_bytes),
        TypeDescriptor::Unsigned(IntSize::U8) => numbers(object, u64::to_le_bytes),
        TypeDescriptor::Float(FloatSize::U4) => numbers(object, f32::to_le_bytes),
        other => Ok(Value::Words(format!("{other}, which this test does not read"))),
    }
}

fn numbers<T: H5Type, const N: usize>(
    object: &Container,
    bytes: impl Fn(T) -> [u8; N],
) -> Result<Value> {
    Ok(Value::Numbers(N, object.read_raw::<T>()?.into_iter().flat_map(bytes).collect()))
}

/// Something that two files say differently, or that only one of them says.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) place: String,
    /// As `ImarisWriter`'s file says it.
    pub(crate) maker: String,
    /// As our file says it.
    pub(crate) ours: String,
}

/// What stands for a thing that is not said at all.
pub(crate) const ABSENT: &str = "(absent)";

/// Everything in which our file differs from `ImarisWriter`'s. An object that only one file has gives
/// one difference.
pub(crate) fn compare(maker: &Tree, ours: &Tree) -> Vec<Difference> {
    let both = |place: &str| [maker, ours].map(|tree| tree.get(place));
    let is_shared = |place: &str| both(place).iter().all(Option::is_some);
    let places: BTreeSet<&String> = maker.0.keys().chain(ours.0.keys()).collect();
    let mut differences = Vec::new();
    for place in places {
        let values = both(place);
        let is_aspect = place.rsplit_once(':').is_some_and(|(object, _)| !is_shared(object));
        if values[0] != values[1] && !is_aspect {
            let [maker, ours] = shown(values);
            differences.push(Difference { place: place.clone(), maker, ours });
        }
    }
    differences
}

/// Two different values; of arrays of equal length the first number that differs, and of bytes by
/// how much they do.
fn shown(values: [Option<&Value>; 2]) -> [String; 2] {
    let arrays = values.map(|value| value.map(Value::numbers).unwrap_or_default());
    let [maker, ours] = &arrays;
    let first = maker.iter().zip(ours).position(|(a, b)| a != b);
    let Some(at) = first.filter(|_| maker.len() == ours.len()) else {
        return values.map(|value| value.map_or_else(|| ABSENT.to_owned(), Value::shown));
    };
    let number = |array: &Vec<&[u8]>| format!("number {at} of {}: {:?}", array.len(), array[at]);
    let is_near =
        |(a, b): (&&[u8], &&[u8])| a.len() == 1 && (a == b || b[0].checked_sub(1) == Some(a[0]));
    let near =
        if maker.iter().zip(ours).all(is_near) { ", nowhere more than 1 higher" } else { "" };
    [number(maker), number(ours) + near]
}
