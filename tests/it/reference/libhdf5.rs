//! The file as libhdf5 sees it.

use std::path::Path;

use hdf5_metno::types::FixedAscii;
use hdf5_metno::{File, Group, H5Type};

use super::eager::{Published, Voxels, data_path, is_same, published, time_points_and_channels};
use crate::common::store::StoreBuilder;

/// Opens the file and compares all that the store determines.
pub(crate) fn check(path: &Path, store: &StoreBuilder) {
    let file = File::open(path).expect("libhdf5 opens the file");
    let levels = published(store);
    match store.dtype.imaris_bytes() {
        1 => voxels(&file, store, &levels, |voxel: &u8| voxel.to_le_bytes()),
        2 => voxels(&file, store, &levels, |voxel: &u16| voxel.to_le_bytes()),
        _ => voxels(&file, store, &levels, |voxel: &f32| voxel.to_le_bytes()),
    }
    let group = |name: &str| file.group(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(group("DataSet").len(), levels.len() as u64, "levels");
    image_group(&group("DataSetInfo/Image"), store, &levels[0]);
    let (time_points, channels) = time_points_and_channels(store);
    let time = group("DataSetInfo/TimeInfo");
    assert_eq!(text(&time, "DatasetTimePoints"), time_points.to_string());
    let stamps: Vec<String> =
        (1..=time_points).map(|t| text(&time, &format!("TimePoint{t}"))).collect();
    assert!(stamps.is_sorted_by(|a, b| a < b), "time stamps {stamps:?}");
    for c in 0..channels {
        let channel = group(&format!("DataSetInfo/Channel {c}"));
        let given = store.omero.get(usize::try_from(c).expect("few channels"));
        if let Some((name, color)) = given {
            assert_eq!(text(&channel, "Name"), *name);
            assert_eq!(text(&channel, "Color"), color_text(color));
        }
    }
    assert_eq!(group("DataSetInfo").len(), channels + 6, "groups of information");
}

/// The value of a text attribute: an array of strings of one byte each.
fn text(group: &Group, name: &str) -> String {
    let attribute = group.attr(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let bytes = attribute.read_raw::<FixedAscii<1>>().expect("an array of one-byte strings");
    bytes.iter().map(FixedAscii::as_str).collect()
}

/// Compares every voxel of every level, time point and channel.
fn voxels<T: H5Type, const N: usize>(
    file: &File,
    store: &StoreBuilder,
    levels: &[Published],
    bytes: impl Fn(&T) -> [u8; N],
) {
    let (time_points, channels) = time_points_and_channels(store);
    for t in 0..time_points {
        for c in 0..channels {
            let expected = Voxels::new(store, t, c);
            for (level, published) in levels.iter().enumerate() {
                let path = data_path(level, t, c);
                let dataset = file.dataset(&path).expect("a data set");
                let group = file.group(path.trim_end_matches("/Data")).expect("its group");
                for (axis, name) in ["Z", "Y", "X"].into_iter().enumerate() {
                    let size = text(&group, &format!("ImageSize{name}"));
                    assert_eq!(size, published.size[axis].to_string(), "{path} ImageSize{name}");
                }
                let [_, height, width] = dataset.shape()[..] else {
                    panic!("{path}: not of rank 3")
                };
                let stored = dataset.read_raw::<T>().expect("readable voxels");
                let [depth_true, height_true, width_true] = published.size;
                for z in 0..depth_true {
                    for y in 0..height_true {
                        for x in 0..width_true {
                            let [row, at_y, at_x] =
                                [z, y, x].map(|at| usize::try_from(at).expect("small"));
                            let found = &stored[(row * height + at_y) * width + at_x];
                            let expected = expected.get(level, [z, y, x]);
                            let same = is_same(expected, &bytes(found));
                            assert!(same, "{path} {:?}", [z, y, x]);
                        }
                    }
                }
            }
        }
    }
}

/// Size, voxel size and position of the image.
fn image_group(image: &Group, store: &StoreBuilder, finest: &Published) {
    let [z, y, x] = finest.size;
    for (axis, (name, length)) in [('x', x), ('y', y), ('z', z)].into_iter().enumerate() {
        assert_eq!(text(image, &name.to_uppercase().to_string()), length.to_string());
        let number =
            |key: &str| -> f64 { text(image, &format!("{key}{axis}")).parse().expect("a number") };
        let (low, high) = (number("ExtMin"), number("ExtMax"));
        let factor = match store.length_unit {
            Some("nanometer") => 0.001,
            Some("millimeter") => 1000.0,
            _ => 1.0,
        };
        let (scale, origin) = match store.axes.find(name) {
            Some(at) => {
                let translation = store.translation.as_ref().map_or(0.0, |list| list[at]);
                (store.scale[at] * factor, translation * factor)
            }
            None => (1.0, 0.0),
        };
        #[expect(clippy::cast_precision_loss, reason = "small images")]
        let expected = origin + scale * length as f64;
        // Nine decimals are written.
        assert!((low - origin).abs() < 2e-9, "ExtMin{axis} {low}, not {origin}");
        assert!((high - expected).abs() < 2e-9, "ExtMax{axis} {high}, not {expected}");
    }
    assert_eq!(text(image, "Unit"), "um");
    assert_eq!(text(image, "Name"), "formula");
}

/// `RRGGBB` as the three fractions of an Imaris colour.
fn color_text(color: &str) -> String {
    let part = |at: usize| {
        let value = u8::from_str_radix(&color[at..at + 2], 16).expect("two digits");
        format!("{:.3}", f64::from(f32::from(value) / 255.0))
    };
    format!("{} {} {}", part(0), part(2), part(4))
}
