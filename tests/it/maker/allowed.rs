//! What may differ from `ImarisWriter`'s files: the list below, and nothing else.

use Rule::{Becomes, Rounded};

use super::tree::{ABSENT, Difference};

/// How a value may differ.
#[derive(Debug)]
pub(crate) enum Rule {
    /// From what `ImarisWriter`'s file says to what ours says. `*` stands for any text, but not for
    /// something that is absent.
    Becomes(&'static str, &'static str),
    /// The same number to the precision of binary32, in which the maker computes.
    Rounded,
}

/// Files, places in them (`*` for any text), and what may happen there. Each entry must be needed.
pub(crate) const ALLOWED: &[(&str, &str, Rule)] = &[
    // HDF5: the oldest version, which most programs read, and no filter, as every chunk must have a
    // size that is known in advance.
    ("*", "/:superblock", Becomes("version 2", "version 0")),
    ("*", "/DataSet/*/Data:filters", Becomes("[*]", "[]")),
    ("u32_*", "/DataSet/*/Data:value", Becomes("not readable without a plugin", "36465 numbers")),
    ("*", "/DataSetInfo/Image/@ExtM*", Rounded),
    // Histograms of floats and 32-bit integers: the exact range in equal bins, see `range_fault`;
    // ImarisWriter's are approximate.
    ("*32_*", "/DataSet/*/@HistogramM*", Becomes("*.*", "*.*")),
    ("*32_*", "/DataSet/*/Histogram1024:shape", Becomes("[*] Contiguous", "[1024] Contiguous")),
    ("*32_*", "/DataSet/*/Histogram*:value", Becomes("*number*", "*number*")),
    // Who wrote the file, and from what.
    ("*", "/DataSetInfo/ImarisDataSet/@Creator", Becomes("ImarisWriterReference", "zarrims")),
    ("*", "/DataSetInfo/ImarisDataSet/@Version", Becomes("1.0", env!("CARGO_PKG_VERSION"))),
    ("*", "/DataSetInfo/Imaris/@Version", Becomes("1.0", "5.5.0")),
    ("*", "/DataSetInfo/OME-Zarr/*", Becomes(ABSENT, "*")),
    // Never an empty time: readers parse it.
    ("*", "/DataSetInfo/TimeInfo/@TimePoint1", Becomes(r"\x00", "2000-01-01 00:00:00")),
    // OME-NGFF has no tables of colours.
    ("u8_c2_*", "/DataSetInfo/Channel 1/@ColorMode", Becomes("TableColor", "BaseColor")),
    ("u8_c2_*", "/DataSetInfo/Channel 1/@Color", Becomes(ABSENT, "1.000 0.000 0.000")),
    ("u8_c2_*", "/DataSetInfo/Channel 1/@ColorTableLength", Becomes("256", ABSENT)),
    ("u8_c2_*", "/DataSetInfo/Channel 1/ColorTable", Becomes("dataset", ABSENT)),
    ("u8_c2_*", "/Thumbnail/Data:value", Becomes("number * of 175104*", "number * of 175104*")),
    // Thumbnails: always the projection, where the maker takes the slice in the middle if that has
    // more contrast.
    ("u8_c1_*", "/Thumbnail/Data:value", Becomes("number * of 215040*", "number * of 215040*")),
    ("*_lowvalues", "/Thumbnail/Data:value", Becomes("number * of 233472*", "number * of 233472*")),
    ("u32_*", "/Thumbnail/Data:value", Becomes("number * of 197632*", "number * of 197632*")),
];

impl Rule {
    fn covers(&self, maker: &str, ours: &str) -> bool {
        match self {
            Becomes(from, to) => {
                let fits = |pattern: &str, value: &str| {
                    if value == ABSENT { pattern == ABSENT } else { matches(pattern, value) }
                };
                fits(from, maker) && fits(to, ours)
            }
            Rounded => match (maker.parse::<f64>(), ours.parse::<f64>()) {
                (Ok(a), Ok(b)) => (a - b).abs() <= f64::from(f32::EPSILON) * a.abs().max(b.abs()),
                _ => false,
            },
        }
    }
}

/// The number of the entry that allows a difference.
pub(crate) fn entry_for(file: &str, difference: &Difference) -> Option<usize> {
    let Difference { place, maker, ours } = difference;
    ALLOWED.iter().position(|(files, places, rule)| {
        matches(files, file) && matches(places, place) && rule.covers(maker, ours)
    })
}

/// Whether a text fits a pattern, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| matches(rest, text)))
        }),
    }
}
