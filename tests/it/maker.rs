//! The reference files of `ImarisWriter`, Imaris' own writer, made again: for each file that comes from a
//! formula a store with the same voxels and metadata, mounted and compared with it object by object.
//!
//! What may differ is listed in `maker/allowed.rs`.

mod allowed;
mod stores;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::command;
use crate::common::ims::{Ims, Voxel};
use crate::common::mount::{Mount, can_mount};
use crate::common::skipped;
use allowed::{ALLOWED, entry_for};
use flate2::Crc;
use hdf5_metno::File;
use hdf5_metno::types::FixedAscii;
use ndarray::s;
use stores::{IMAGES, Image};
use tempfile::TempDir;
use tree::{Tree, Value, compare};

/// The folder of `ImarisWriter`'s files, if it is on this machine and files can be mounted there.
fn makers_files() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/ims");
    if !folder.is_dir() {
        skipped(&format!("no reference files: {}", folder.display()));
        return None;
    }
    can_mount().then_some(folder)
}

/// Stores of some images, mounted.
fn mounted(images: &[&Image], args: &[&str]) -> (TempDir, Mount) {
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    for image in images {
        image.write(&source.path().join(format!("{}.zarr", image.file)));
    }
    let mount = Mount::of(source.path()).args(args).start();
    (source, mount)
}

/// Everything wrong with our file of an image. `used` notes the allowed differences that occur.
fn faults(image: &Image, maker: &Tree, ours: &Tree, used: &mut [bool]) -> Vec<String> {
    let mut faults = Vec::new();
    for difference in compare(maker, ours) {
        match entry_for(image.file, &difference) {
            Some(entry) => used[entry] = true,
            None => faults.push(format!(
                "{}: the maker has {}, ours {}",
                difference.place, difference.maker, difference.ours
            )),
        }
    }
    for (level, checksum) in image.checksums.iter().enumerate() {
        let mut crc = Crc::new();
        for (t, c) in image.time_points_and_channels() {
            let channel = format!("/{}/", Ims::channel_path(level, t, c));
            let Some(Value::Numbers(_, voxels)) = ours.get(&format!("{channel}Data:value")) else {
                faults.push(format!("{channel}Data: no voxels"));
                continue;
            };
            crc.update(voxels);
            if level == 0 && *voxels != image.voxels(t, c) {
                faults.push(format!("{channel}Data: not the voxels of the formula"));
            }
            if matches!(image.voxel, Voxel::U32 | Voxel::F32) {
                faults.extend(range_fault(image.voxel, voxels, &channel, ours));
            }
        }
        if crc.sum() != *checksum {
            faults.push(format!("level {level}: CRC-32 {:08x} expected {checksum:08x}", crc.sum()));
        }
    }
    let thumbnail = ours.get("/Thumbnail/Data:value").map(Value::numbers).unwrap_or_default();
    if thumbnail.is_empty() || thumbnail.iter().skip(3).step_by(4).any(|alpha| **alpha != [255]) {
        faults.push("/Thumbnail/Data: not opaque".to_owned());
    }
    faults.iter().map(|fault| format!("{} {fault}", image.file)).collect()
}

/// The histograms of voxels without one bin per value: 1024 equal bins over their range, and each
/// four of these joined.
fn range_fault(voxel: Voxel, voxels: &[u8], channel: &str, ours: &Tree) -> Option<String> {
    let number = |bytes: &[u8; 4]| match voxel {
        Voxel::F32 => f64::from(f32::from_le_bytes(*bytes)),
        _ => f64::from(u32::from_le_bytes(*bytes)),
    };
    let values: Vec<f64> = voxels.as_chunks::<4>().0.iter().map(number).collect();
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut fine = vec![0_u64; 1024];
    for value in &values {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a fraction of the number of bins"
        )]
        let bin = ((value - min) / (max - min) * 1024.0) as usize;
        fine[bin.min(1023)] += 1;
    }
    let coarse: Vec<u64> = fine.chunks(4).map(|four| four.iter().sum()).collect();
    let stored = |name: &str| {
        let value = ours.get(&format!("{channel}{name}:value"));
        let bins = value.map(Value::numbers).unwrap_or_default();
        bins.iter().map(|bin| u64::from_le_bytes((*bin).try_into().unwrap_or_default())).collect()
    };
    let range = ["HistogramMin", "HistogramMax", "HistogramMin1024", "HistogramMax1024"]
        .map(|name| ours.text(&format!("{channel}@{name}")));
    let right = [min, max, min, max].map(|bound| format!("{bound:.3}"));
    let found: [Vec<u64>; 2] = [stored("Histogram"), stored("Histogram1024")];
    let is_right = range == right && found == [coarse, fine];
    (!is_right).then(|| format!("{channel}Histogram: not equal bins over {right:?}; {range:?}"))
}

#[test]
fn files_are_those_of_the_maker() {
    let Some(folder) = makers_files() else { return };
    let mut failures = Vec::new();
    let mut used = vec![false; ALLOWED.len()];
    // 32-bit integers only where they are asked for; all else by default.
    let (kept, others): (Vec<&Image>, Vec<&Image>) =
        IMAGES.iter().partition(|image| image.voxel == Voxel::U32);
    for (images, args) in [(others, &[][..]), (kept, &["--uint32", "keep"])] {
        let (_source, mount) = mounted(&images, args);
        for image in images {
            let name = format!("{}.ims", image.file);
            let maker = Tree::read(&folder.join(&name)).expect("the maker's file");
            match Tree::read(&mount.path().join(&name)) {
                Ok(ours) => failures.extend(faults(image, &maker, &ours, &mut used)),
                Err(error) => failures.push(format!("{name}: {error}")),
            }
        }
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
    }
    let unused = ALLOWED.iter().zip(used).filter(|(_, used)| !used);
    failures.extend(unused.map(|(entry, _)| format!("allowed and does not occur: {entry:?}")));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Issue: "with `--gzip 2` it equals the maker's file in every voxel". Filters are the maker's then, too, and a file
/// is smaller than the voxels of the store where the maker's is.
#[test]
fn exports_with_gzip_are_those_of_the_maker() {
    let Some(folder) = makers_files() else { return };
    let scratch = TempDir::new().expect("a temporary folder");
    let mut failures = Vec::new();
    let mut compared = 0;
    for image in IMAGES.iter().filter(|image| image.file.ends_with("_gzip2")) {
        let [store, out] =
            ["zarr", "ims"].map(|ending| scratch.path().join(format!("{}.{ending}", image.file)));
        image.write(&store);
        let export = command(&[]).arg("export").args([&store, &out]).args(["--gzip", "2"]).output();
        let export = export.expect("the program starts");
        assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
        let makers = folder.join(format!("{}.ims", image.file));
        let [maker, ours] = [&makers, &out].map(|path| Tree::read(path).expect("HDF5"));
        failures.extend(faults(image, &maker, &ours, &mut vec![false; ALLOWED.len()]));
        for difference in compare(&maker, &ours) {
            if difference.place.ends_with(":filters") {
                failures.push(format!("{}: {difference:?}", image.file));
            }
        }
        let [maker, ours] = [&makers, &out].map(|path| fs::metadata(path).expect("there").len());
        let voxels = image.time_points_and_channels().map(|(t, c)| image.voxels(t, c).len());
        let voxels = voxels.sum::<usize>() as u64;
        println!("{}: {voxels} bytes of voxels, maker {maker}, ours {ours}", image.file);
        if maker < voxels && ours >= voxels {
            failures.push(format!("{}: {ours} of {voxels} bytes, maker {maker}", image.file));
        }
        compared += 1;
    }
    assert!(compared >= 4, "{compared}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// A change of a file.
type Change = fn(&File) -> hdf5_metno::Result<()>;

fn change_voxel(file: &File) -> hdf5_metno::Result<()> {
    let channel = file.group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")?;
    channel.dataset("Data")?.write_slice(&[77_u16], s![2, 29, 39..40])
}

/// Changes, and what each must be noticed as.
const CHANGES: [(&str, Change); 11] = [
    ("/@NumberOfDataSets: ", |file| file.attr("NumberOfDataSets")?.write_raw(&[2_u32])),
    ("/DataSetInfo/Image/@Unit: ", |file| {
        let image = file.group("DataSetInfo/Image")?;
        let text = image.attr("X")?.dtype()?;
        image.delete_attr("Unit")?;
        image.new_attr_builder().empty_as(text).shape(2).create("Unit").map(drop)
    }),
    // The same text with another padding, which Imaris reads as nothing.
    ("/DataSetInfo/Image/@Unit:type: ", |file| {
        let image = file.group("DataSetInfo/Image")?;
        let unit = image.attr("Unit")?.read_raw::<FixedAscii<1>>()?;
        image.delete_attr("Unit")?;
        image.new_attr::<FixedAscii<1>>().shape(unit.len()).create("Unit")?.write_raw(&unit)
    }),
    ("/DataSetInfo/Log/@Entries: ", |file| file.group("DataSetInfo/Log")?.delete_attr("Entries")),
    ("/DataSet/ResolutionLevel 1/: ", |file| {
        file.create_group("DataSet/ResolutionLevel 1").map(drop)
    }),
    ("/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Histogram1024: ", |file| {
        file.group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")?.unlink("Histogram1024")
    }),
    ("/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Histogram:value: ", |file| {
        let channel = file.group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")?;
        channel.dataset("Histogram")?.write_slice(&[77_u64], s![255..256])
    }),
    ("/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data:value: ", change_voxel),
    ("/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data: not the voxels", change_voxel),
    ("level 0: CRC-32 ", change_voxel),
    ("/Thumbnail/Data: ", |file| {
        let thumbnail = file.dataset("Thumbnail/Data")?;
        thumbnail.write_slice(&[0_u8], s![255, 911..912])
    }),
];

/// The check itself must notice: whatever is changed in a copy of a virtual file is a failure.
#[test]
fn changes_are_noticed() {
    let Some(folder) = makers_files() else { return };
    let image = IMAGES.iter().find(|image| image.file.ends_with("_lowvalues")).expect("an image");
    let name = format!("{}.ims", image.file);
    let maker = Tree::read(&folder.join(&name)).expect("the maker's file");
    let (_source, mount) = mounted(&[image], &[]);
    let scratch = TempDir::new().expect("a temporary folder");
    let copy = scratch.path().join("copy.ims");
    let status = Command::new("cp").arg(mount.path().join(&name)).arg(&copy).status();
    assert!(status.expect("cp is installed").success(), "cp {name}");
    let check = |path: &Path| {
        let ours = Tree::read(path).expect("still HDF5");
        faults(image, &maker, &ours, &mut vec![false; ALLOWED.len()])
    };
    assert_eq!(check(&copy), Vec::<String>::new());
    for (number, (place, change)) in CHANGES.iter().enumerate() {
        // Files of the mount are read-only, so their copies would be.
        let changing = scratch.path().join(format!("changing{number}.ims"));
        fs::write(&changing, fs::read(&copy).expect("a copy")).expect("a file");
        change(&File::open_rw(&changing).expect("still HDF5")).expect(place);
        // libhdf5 locks the file it writes. A daemon that another test starts at that moment inherits the
        // descriptor, and with it the lock. So the file is read, and the next one written, under another name.
        let changed = scratch.path().join(format!("changed{number}.ims"));
        fs::copy(&changing, &changed).expect("a copy of the changed file");
        let found = check(&changed);
        let wanted = format!("{} {place}", image.file);
        assert!(found.iter().any(|fault| fault.starts_with(&wanted)), "{place} {found:#?}");
    }
}
