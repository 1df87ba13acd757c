//! Reads `.ims` files with libhdf5, as Imaris and its companions do. Every failure is a value, so
//! that a read that must fail can be told from one that must not.

use std::fmt::{self, Display};
use std::ops::Range;
use std::path::Path;

use hdf5_metno::types::{FixedAscii, FloatSize, IntSize, TypeDescriptor};
use hdf5_metno::{Dataset, File, Group, H5Type};
use ndarray::{Ix3, s};

/// What libhdf5 says, with every frame of its error stack: the innermost one holds the errno.
#[derive(Debug)]
pub struct ReadError(String);

impl ReadError {
    /// Whether the operating system reported EIO.
    pub fn is_eio(&self) -> bool {
        self.0.contains("errno = 5,")
    }
}

impl Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

impl From<hdf5_metno::Error> for ReadError {
    fn from(error: hdf5_metno::Error) -> Self {
        let frames = error.stack().map(|stack| {
            stack.iter().map(|frame| frame.description().to_owned()).collect::<Vec<_>>()
        });
        Self(frames.map_or_else(|| error.to_string(), |frames| frames.join(": ")))
    }
}

fn wrong(text: impl Into<String>) -> ReadError {
    ReadError(text.into())
}

/// Result of a read.
pub type Result<T> = std::result::Result<T, ReadError>;

/// Types of voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voxel {
    U8,
    U16,
    U32,
    F32,
}

impl Voxel {
    /// The name that numpy and the corpus give it.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::F32 => "float32",
        }
    }

    /// Size in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 | Self::F32 => 4,
        }
    }
}

/// An open `.ims` file.
#[derive(Debug)]
pub struct Ims {
    file: File,
}

impl Ims {
    /// Opens a file for reading.
    pub fn open(path: &Path) -> Result<Self> {
        hdf5_metno::silence_errors(true);
        Ok(Self { file: File::open(path)? })
    }

    /// A text attribute of a group: an array of one-byte strings. The empty path is the root.
    pub fn text(&self, group: &str, name: &str) -> Result<String> {
        let group = self.group(group)?;
        let parts = group.attr(name)?.read_raw::<FixedAscii<1>>()?;
        let bytes: Vec<u8> = parts.iter().flat_map(FixedAscii::as_bytes).copied().collect();
        String::from_utf8(bytes).map_err(|error| wrong(format!("{name}: {error}")))
    }

    /// A text attribute that holds a number.
    pub fn number(&self, group: &str, name: &str) -> Result<f64> {
        let text = self.text(group, name)?;
        text.parse().map_err(|_| wrong(format!("{group} {name}: {text:?} is not a number")))
    }

    /// A text attribute that holds numbers between spaces.
    pub fn numbers(&self, group: &str, name: &str) -> Result<Vec<f64>> {
        let text = self.text(group, name)?;
        let numbers =
            text.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>();
        numbers.map_err(|_| wrong(format!("{group} {name}: {text:?} are not numbers")))
    }

    /// A text attribute that holds a length in voxels.
    pub fn length(&self, group: &str, name: &str) -> Result<usize> {
        let text = self.text(group, name)?;
        text.parse().map_err(|_| wrong(format!("{group} {name}: {text:?} is not a length")))
    }

    fn group(&self, path: &str) -> Result<Group> {
        Ok(self.file.group(if path.is_empty() { "/" } else { path })?)
    }

    /// How many members of a group are called `<prefix> N`, which must count from 0 without gaps.
    fn count(&self, group: &str, prefix: &str) -> Result<usize> {
        let names = self.group(group)?.member_names()?;
        let own = |name: &&String| name.strip_prefix(prefix).is_some_and(|n| n.starts_with(' '));
        let count = names.iter().filter(own).count();
        match (0..count).find(|n| !names.contains(&format!("{prefix} {n}"))) {
            None => Ok(count),
            Some(n) => Err(wrong(format!("{group}: no {prefix} {n} in {names:?}"))),
        }
    }

    /// Number of resolution levels; the group must hold nothing else.
    pub fn levels(&self) -> Result<usize> {
        let levels = self.count("DataSet", "ResolutionLevel")?;
        let members = self.group("DataSet")?.len();
        if levels as u64 == members {
            Ok(levels)
        } else {
            Err(wrong(format!("DataSet has {members} members, {levels} levels")))
        }
    }

    /// Number of time points of a level.
    pub fn time_points(&self, level: usize) -> Result<usize> {
        self.count(&format!("DataSet/ResolutionLevel {level}"), "TimePoint")
    }

    /// Number of channels of a level.
    pub fn channels(&self, level: usize) -> Result<usize> {
        self.count(&format!("DataSet/ResolutionLevel {level}/TimePoint 0"), "Channel")
    }

    /// Path of a channel group.
    pub fn channel_path(level: usize, t: usize, c: usize) -> String {
        format!("DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}")
    }

    /// Size of level 0 in `DataSetInfo`, order (z, y, x).
    pub fn info_size(&self) -> Result<[usize; 3]> {
        let length = |name| self.length("DataSetInfo/Image", name);
        Ok([length("Z")?, length("Y")?, length("X")?])
    }

    /// True size of a channel of a level, order (z, y, x).
    pub fn size(&self, level: usize, t: usize, c: usize) -> Result<[usize; 3]> {
        let path = Self::channel_path(level, t, c);
        let length = |name| self.length(&path, name);
        Ok([length("ImageSizeZ")?, length("ImageSizeY")?, length("ImageSizeX")?])
    }

    /// Outer faces of the image, low and high, order (x, y, z).
    pub fn extents(&self) -> Result<[(f64, f64); 3]> {
        let mut extents = [(0.0, 0.0); 3];
        for (axis, extent) in extents.iter_mut().enumerate() {
            let low = self.number("DataSetInfo/Image", &format!("ExtMin{axis}"))?;
            *extent = (low, self.number("DataSetInfo/Image", &format!("ExtMax{axis}"))?);
        }
        Ok(extents)
    }

    fn data(&self, level: usize, t: usize, c: usize) -> Result<Dataset> {
        Ok(self.file.dataset(&format!("{}/Data", Self::channel_path(level, t, c)))?)
    }

    /// Type of the voxels of a level.
    pub fn voxel(&self, level: usize, t: usize, c: usize) -> Result<Voxel> {
        match self.data(level, t, c)?.dtype()?.to_descriptor()? {
            TypeDescriptor::Unsigned(IntSize::U1) => Ok(Voxel::U8),
            TypeDescriptor::Unsigned(IntSize::U2) => Ok(Voxel::U16),
            TypeDescriptor::Unsigned(IntSize::U4) => Ok(Voxel::U32),
            TypeDescriptor::Float(FloatSize::U4) => Ok(Voxel::F32),
            other => Err(wrong(format!("voxels of type {other}"))),
        }
    }

    /// The voxels of a channel, cropped to its true size: C order (z, y, x), little-endian.
    pub fn pixels(&self, level: usize, t: usize, c: usize) -> Result<Vec<u8>> {
        let [z, y, x] = self.size(level, t, c)?;
        self.pixels_in(level, t, c, [0..z, 0..y, 0..x])
    }

    /// The voxels of a box, order (z, y, x).
    pub fn pixels_in(
        &self,
        level: usize,
        t: usize,
        c: usize,
        part: [Range<usize>; 3],
    ) -> Result<Vec<u8>> {
        let data = self.data(level, t, c)?;
        match self.voxel(level, t, c)? {
            Voxel::U8 => read(&data, part, |v: u8| v.to_le_bytes()),
            Voxel::U16 => read(&data, part, |v: u16| v.to_le_bytes()),
            Voxel::U32 => read(&data, part, |v: u32| v.to_le_bytes()),
            Voxel::F32 => read(&data, part, |v: f32| v.to_le_bytes()),
        }
    }

    /// One voxel as a number; every voxel type fits.
    pub fn voxel_at(&self, level: usize, t: usize, c: usize, at: [usize; 3]) -> Result<f64> {
        let data = self.data(level, t, c)?;
        let [z, y, x] = at;
        let array = data.read_slice::<f64, _, Ix3>(s![z..=z, y..=y, x..=x])?;
        array.first().copied().ok_or_else(|| wrong("no voxel"))
    }
}

fn read<T: H5Type + Copy, const N: usize>(
    data: &Dataset,
    part: [Range<usize>; 3],
    bytes: impl Fn(T) -> [u8; N],
) -> Result<Vec<u8>> {
    let shape = data.shape();
    if shape.len() != 3 || (0..3).any(|axis| part[axis].end > shape[axis]) {
        return Err(wrong(format!("{part:?} is outside of {shape:?}")));
    }
    let [z, y, x] = part;
    let array = data.read_slice::<T, _, Ix3>(s![z, y, x])?;
    Ok(array.iter().flat_map(|&value| bytes(value)).collect())
}
