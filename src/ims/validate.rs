//! The check that a file can be made of a description.

use std::collections::BTreeSet;

use super::ImsError;
use super::chunk_index::MAX_CHUNKS;
use super::describe::{ImsFile, ImsLevel, MAX_ATTRIBUTE_BYTES};
use super::schema;
use super::text;

/// Longest section name or key, in bytes. An attribute, name and value together, must stay below
/// the 64 KiB of one object header message (HDF5 specification, section IV.A.1.a).
const MAX_NAME_BYTES: usize = 1024;

/// Most attributes on one group: a version 1 object header counts its messages in 16 bits (HDF5
/// specification, section IV.A.1.a), and the library does not notice the overflow. The rest is
/// left for the messages that are not attributes.
const MAX_ATTRIBUTES: u64 = 65_000;

/// Most time points: an object header counts at most 65 535 messages (HDF5 specification, section IV.A.1.a), and that
/// of `TimeInfo` has one for each, one for the symbol table and two for their number.
pub const MAX_TIME_POINTS: u64 = 65_535 - 3;

/// Most channels, levels and datasets: beyond them nothing was tried.
const MAX_CHANNELS: u64 = 100_000;
const MAX_LEVELS: u64 = 64;
const MAX_DATASETS: u64 = 100_000_000;

/// Most bytes of one dataset: addresses are signed in the library's file drivers.
const MAX_DATA_BYTES: u64 = 1 << 62;

impl ImsFile {
    /// Checks what the metadata demand of a description, so that a file can be refused when it is planned and not
    /// when it is first read.
    ///
    /// # Errors
    ///
    /// [`ImsError::Empty`], [`ImsError::TooLarge`], [`ImsError::Extent`] or
    /// [`ImsError::Name`].
    pub fn validate(&self) -> Result<(), ImsError> {
        let empty = |what| Err(ImsError::Empty { what });
        if self.levels.is_empty() {
            return empty("list of resolution levels");
        }
        if self.channels.is_empty() {
            return empty("list of channels");
        }
        if self.time_points == 0 {
            return empty("list of time points");
        }
        let (channels, levels) = (self.channels.len() as u64, self.levels.len() as u64);
        validate_counts(self.time_points, channels, levels)?;
        for level in &self.levels {
            self.validate_level(level)?;
        }
        let bounds = self.extent_min_um.iter().zip(&self.extent_max_um);
        if let Some(axis) = bounds.into_iter().position(|(a, b)| !(a.is_finite() && b.is_finite()))
        {
            return Err(ImsError::Extent { axis });
        }
        let described = self.channels.described().iter();
        for name in described.map(|channel| &channel.name).chain([&self.name]) {
            check_limit(
                "length of a name in bytes",
                name.len() as u64,
                MAX_ATTRIBUTE_BYTES as u64,
            )?;
        }
        self.validate_foreign_names()
    }

    fn validate_level(&self, level: &ImsLevel) -> Result<(), ImsError> {
        if level.size.contains(&0) || level.chunk.contains(&0) {
            return Err(ImsError::Empty { what: "resolution level or its chunk" });
        }
        let product =
            |sides: [u64; 3], unit: u64| sides.into_iter().fold(unit, u64::saturating_mul);
        let bytes = self.voxel_type.bytes() as u64;
        // A chunk's size is a 32-bit field of its B-tree key (HDF5 specification, III.A.1).
        check_limit("chunk size in bytes", product(level.chunk, bytes), u64::from(u32::MAX))?;
        check_limit("number of chunks of a level", product(level.grid(), 1), MAX_CHUNKS)?;
        check_limit("size of a level in bytes", product(level.padded(), bytes), MAX_DATA_BYTES)
    }

    /// Checks the names of the sections, which are foreign text; the rest is of this program.
    ///
    /// # Errors
    ///
    /// [`ImsError::Name`] and [`ImsError::TooLarge`], as for [`ImsFile::validate`].
    pub fn validate_foreign_names(&self) -> Result<(), ImsError> {
        let mut taken = BTreeSet::new();
        for section in &self.sections {
            check_group(&mut taken, self.channels.len(), schema::section_group(section))?;
            check_name(&section.name, &section.name)?;
        }
        Ok(())
    }
}

/// Checks how many there are, which a description should not be made of before.
///
/// # Errors
/// [`ImsError::TooLarge`].
pub fn validate_counts(time_points: u64, channels: u64, levels: u64) -> Result<(), ImsError> {
    check_limit("number of time points", time_points, MAX_TIME_POINTS)?;
    check_limit("number of channels", channels, MAX_CHANNELS)?;
    check_limit("number of resolution levels", levels, MAX_LEVELS)?;
    let datasets = [time_points, channels, levels].into_iter().fold(1, u64::saturating_mul);
    let what = "number of datasets (time points x channels x levels)";
    check_limit(what, datasets, MAX_DATASETS)
}

/// Checks the names in a group, and that its own is not taken.
fn check_group(
    taken: &mut BTreeSet<String>,
    channels: usize,
    group: schema::InfoGroup,
) -> Result<(), ImsError> {
    check_limit("attributes of a group", group.entries.len() as u64, MAX_ATTRIBUTES)?;
    let mut keys = BTreeSet::new();
    for entry in &group.entries {
        check_name(&group.name, &entry.key)?;
        if !keys.insert(entry.name()) {
            return Err(name_error(&group.name, &entry.key, "it occurs twice"));
        }
    }
    if taken.contains(&group.name) || schema::is_own_group(&group.name, channels) {
        return Err(name_error(&group.name, &group.name, "it is taken"));
    }
    taken.insert(group.name);
    Ok(())
}

fn check_limit(what: &'static str, value: u64, limit: u64) -> Result<(), ImsError> {
    if value <= limit { Ok(()) } else { Err(ImsError::TooLarge { what, value, limit }) }
}

fn check_name(section: &str, name: &str) -> Result<(), ImsError> {
    let plain = text::without_nul(name.into());
    let reason = match &*plain {
        [] => "it is empty",
        // The library takes "." for the group one stands in.
        b"." => "a single dot names the group itself",
        long if long.len() > MAX_NAME_BYTES => "it is longer than 1024 bytes",
        _ => return Ok(()),
    };
    Err(name_error(section, name, reason))
}

fn name_error(section: &str, name: &str, reason: &'static str) -> ImsError {
    ImsError::Name { section: section.to_owned(), name: name.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use crate::ims::schema::tests::sample;
    use crate::ims::{ImsError, ImsLevel, ImsSection};

    #[test]
    fn a_sound_description_passes() {
        sample().validate().unwrap();
        sample().validate_foreign_names().unwrap();
    }

    #[test]
    fn names_that_hdf5_or_imaris_would_misread_are_refused() {
        for name in ["", ".", "\0", "Image", "Channel 0", "TimeInfo"] {
            let mut file = sample();
            file.sections.push(ImsSection { name: name.into(), entries: vec![] });
            assert!(matches!(file.validate(), Err(ImsError::Name { .. })), "{name:?}");
            let foreign = file.validate_foreign_names();
            assert!(matches!(foreign, Err(ImsError::Name { .. })), "{name:?}");
        }
        let mut file = sample();
        file.sections[0].entries = vec![("a".into(), "1".into()), ("a\0".into(), "2".into())];
        assert!(matches!(file.validate(), Err(ImsError::Name { .. })));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let mut file = sample();
        file.levels[0].chunk = [1 << 20, 1 << 20, 1];
        assert!(matches!(file.validate(), Err(ImsError::TooLarge { .. })));
        let mut file = sample();
        file.levels[0] = ImsLevel { size: [u64::MAX; 3], chunk: [1, 64, 64] };
        assert!(matches!(file.validate(), Err(ImsError::TooLarge { .. })));
        let mut file = sample();
        file.levels[0].size[1] = 0;
        assert!(matches!(file.validate(), Err(ImsError::Empty { .. })));
        for (what, time_points) in [("time points", 70_000), ("datasets", 60_000)] {
            let mut file = sample();
            file.time_points = time_points;
            file.channels = vec![file.channels.get(0).into_owned(); 1000].into();
            let error = file.validate().expect_err("too many");
            assert!(error.to_string().contains(what), "{error}");
        }
        let mut file = sample();
        file.extent_max_um[1] = f64::NAN;
        assert!(matches!(file.validate(), Err(ImsError::Extent { axis: 1 })));
    }
}
