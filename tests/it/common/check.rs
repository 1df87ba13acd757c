//! Compares `.ims` files with what the manifest of the corpus says of their stores.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::corpus::{lengths, text};
use super::ims::{Ims, Result as ImsResult};
use super::level::SourceLevel;

/// Everything wrong with the file of an image, one text each. `notes` takes what is only remarkable.
pub fn check_image(
    ims: &Ims,
    root: &Path,
    store: &Value,
    image: &Value,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let checks: [ImsResult<()>; 3] = [
        check_description(ims, store, image, &mut faults),
        check_channels(ims, image, &mut faults),
        check_levels(ims, root, store, image, &mut faults, notes),
    ];
    faults.extend(checks.into_iter().filter_map(|check| Some(check.err()?.to_string())));
    faults
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1e-12)
}

fn size_of(image: &Value, axis: &str) -> usize {
    usize::try_from(image[axis].as_u64().expect("a size")).expect("64 bits")
}

/// Shape, extents, unit.
fn check_description(
    ims: &Ims,
    store: &Value,
    image: &Value,
    faults: &mut Vec<String>,
) -> ImsResult<()> {
    let want = ["Z", "Y", "X"].map(|axis| size_of(image, axis));
    let got = ims.info_size()?;
    if got != want {
        faults.push(format!("Image Z,Y,X {got:?} expected {want:?}"));
    }
    let want = (size_of(image, "T"), size_of(image, "C"));
    let got = (ims.time_points(0)?, ims.channels(0)?);
    if got != want {
        faults.push(format!("T,C {got:?} expected {want:?}"));
    }
    let unit = ims.text("DataSetInfo/Image", "Unit")?;
    if unit != "um" {
        faults.push(format!("Unit {unit:?}"));
    }
    let extents = ims.extents()?;
    for (axis, (low, high)) in extents.into_iter().enumerate() {
        if !low.is_finite() || !high.is_finite() || high <= low {
            faults.push(format!("extent {axis} from {low} to {high}"));
        }
    }
    // The files of this store hold no translation at all; the manifest has the stage positions its
    // writer was given and did not write.
    let origin_is_stored = text(store, "id") != "omewriters_positions";
    if !matches!(image["voxel_source"].as_str(), Some("metadata" | "default")) {
        return Ok(());
    }
    for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
        let Some(want) = image["voxel_um"][name].as_f64() else { continue };
        #[expect(clippy::cast_precision_loss, reason = "small images")]
        let count = size_of(image, &name.to_uppercase()) as f64;
        let (low, high) = extents[axis];
        let got = (high - low) / count;
        if !close(got, want, 1e-5) {
            faults.push(format!("voxel {name} {got} expected {want}"));
        }
        let origin = image["origin_um"][name].as_f64().filter(|_| origin_is_stored);
        if let Some(origin) = origin
            && (low - origin).abs() > 1e-5 * origin.abs().max(want)
        {
            faults.push(format!("origin {name} {low} expected {origin}"));
        }
    }
    Ok(())
}

/// Names, colours and displayed ranges.
fn check_channels(ims: &Ims, image: &Value, faults: &mut Vec<String>) -> ImsResult<()> {
    let integers = !text(image, "dtype").starts_with("float");
    let channels = image["channels"].as_array().map_or(&[][..], Vec::as_slice);
    let is_grey = |hex: &str| hex[..2] == hex[2..4] && hex[2..4] == hex[4..6];
    for (c, channel) in channels.iter().enumerate() {
        let group = format!("DataSetInfo/Channel {c}");
        if let Some(want) = channel["name"].as_str() {
            let got = ims.text(&group, "Name")?;
            if got.trim_end_matches('\0') != want {
                faults.push(format!("channel {c} name {got:?} expected {want:?}"));
            }
        }
        if let Some(want) = channel["color"].as_str() {
            // A grey that is alone is shown white.
            let want = if channels.len() == 1 && is_grey(want) { "ffffff" } else { want };
            let part = |i: usize| f64::from(u8::from_str_radix(&want[i..i + 2], 16).expect("hex"));
            let got = ims.numbers(&group, "Color")?;
            let same = |(got, i): (&f64, usize)| (got - part(i) / 255.0).abs() <= 0.003;
            if got.len() != 3 || !got.iter().zip([0, 2, 4]).all(same) {
                faults.push(format!("channel {c} colour {got:?} expected {want}"));
            }
        }
        let window = [&channel["window"][0], &channel["window"][1]].map(Value::as_f64);
        if let [Some(low), Some(high)] = window
            // A window of 0 to 1 over integers is a writer's default, not a range to display.
            && !(integers && high <= 1.0)
        {
            let got = ims.numbers(&group, "ColorRange")?;
            if got.len() != 2 || !close(got[0], low, 1e-3) || !close(got[1], high, 1e-3) {
                faults.push(format!("channel {c} range {got:?} expected {low} {high}"));
            }
        }
    }
    Ok(())
}

/// The sizes that the rule of the format wants of the levels of a store: each axis halved, rounded
/// down, or kept; a stored half that was rounded up loses its surplus.
fn wanted_sizes(levels: &[Value]) -> Vec<[usize; 3]> {
    let mut wanted: Vec<[usize; 3]> = Vec::new();
    for level in levels {
        let own = spatial(level);
        let Some(above) = wanted.last() else {
            wanted.push(own);
            continue;
        };
        let follows = own.iter().zip(above).all(|(&own, &above)| {
            own == above || own == above / 2 || (own == above.div_ceil(2) && above > 1)
        });
        let size: [usize; 3] =
            std::array::from_fn(|i| if own[i] == above[i] { own[i] } else { above[i] / 2 });
        if follows && size != *above && size[1] > 1 && size[2] > 1 {
            wanted.push(size);
        }
    }
    wanted
}

fn spatial(level: &Value) -> [usize; 3] {
    let shape = lengths(&level["tczyx"]);
    [shape[2], shape[3], shape[4]]
}

/// Whether a published size shows a stored level without its surplus: an axis rounded up, or padded
/// to whole chunks.
fn is_crop(level: &Value, axes: &str, size: [usize; 3]) -> bool {
    let chunks = match level["shards"].as_array() {
        Some(_) => lengths(&level["shards"]),
        None => lengths(&level["chunks"]),
    };
    let own = spatial(level);
    ["z", "y", "x"].iter().enumerate().all(|(i, axis)| {
        let chunk = axes.find(axis).map_or(1, |position| chunks[position]);
        let padded = own[i].is_multiple_of(chunk) && own[i] - size[i].min(own[i]) < chunk;
        size[i] <= own[i] && (size[i] + 1 >= own[i] || padded)
    })
}

/// Sizes, types and pixels of all levels.
fn check_levels(
    ims: &Ims,
    root: &Path,
    store: &Value,
    image: &Value,
    faults: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> ImsResult<()> {
    let (time_points, channels) = (size_of(image, "T"), size_of(image, "C"));
    let axes = text(image, "axes").to_lowercase();
    let levels = image["levels"].as_array().expect("levels");
    // A dataset may publish a box of its arrays; then no level has the size of the store's.
    let whole = ["Z", "Y", "X"].map(|axis| size_of(image, axis));
    let is_whole = spatial(&levels[0]) == whole;
    let wanted = if is_whole { wanted_sizes(levels) } else { Vec::new() };
    let mut used = vec![false; levels.len()];
    let mut sizes: Vec<[usize; 3]> = Vec::new();
    for level in 0..ims.levels()? {
        if (ims.time_points(level)?, ims.channels(level)?) != (time_points, channels) {
            faults.push(format!("level {level} has other time points or channels than level 0"));
            continue;
        }
        let size = ims.size(level, 0, 0)?;
        if let Some(above) = sizes.last() {
            let follows =
                size.iter().zip(above).all(|(&own, &above)| own == above || own == above / 2);
            if !follows || size == *above {
                faults.push(format!("level {level} {size:?} does not follow {above:?}"));
            }
        }
        sizes.push(size);
        let free = |i: &usize| !used[*i];
        let exact = (0..levels.len()).filter(free).find(|&i| spatial(&levels[i]) == size);
        let crop = (0..levels.len()).filter(free).find(|&i| is_crop(&levels[i], &axes, size));
        if level == 0 && (exact.or(crop) != Some(0) || size != whole) {
            faults.push(format!("level 0 is {size:?}, the store's {:?}", spatial(&levels[0])));
        }
        let Some(number) = exact.or(crop) else {
            notes.push(format!("level {level} {size:?} is no level of the store"));
            continue;
        };
        used[number] = true;
        let stored = &levels[number];
        let source = if exact.is_some() {
            None
        } else {
            let path = root.join(text(store, "path"));
            match SourceLevel::read(&path, text(stored, "path"), &axes) {
                Ok(source) => Some(source),
                Err(error) => {
                    faults.push(format!("level {level}: zarrs cannot read the store: {error}"));
                    continue;
                }
            }
        };
        for t in 0..time_points {
            for c in 0..channels {
                let place = format!("level {level} ({}) t{t} c{c}", text(stored, "path"));
                let voxel = ims.voxel(level, t, c)?;
                if voxel.name() != text(image, "ims_dtype") {
                    faults.push(format!(
                        "{place}: type {} expected {}",
                        voxel.name(),
                        image["ims_dtype"]
                    ));
                }
                if ims.size(level, t, c)? != size {
                    faults.push(format!("{place}: another size than t0 c0"));
                }
                let got = ims.pixels(level, t, c)?;
                let same = if let Some(source) = &source {
                    got == source.cropped(t, c, size, voxel.name())
                } else {
                    let digests = stored.get("ims_sha256").unwrap_or(&stored["sha256"]);
                    Some(sha256(&got).as_str()) == digests[t][c].as_str()
                };
                if !same {
                    let cropped = if source.is_some() { " (cropped)" } else { "" };
                    faults.push(format!("{place}: pixels differ{cropped}"));
                }
            }
        }
    }
    for size in wanted.iter().filter(|size| !sizes.contains(size)) {
        faults.push(format!("no level of {size:?}, which the store has; published: {sizes:?}"));
    }
    Ok(())
}

/// Hexadecimal digest.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes text");
        text
    })
}

/// Everything wrong with the file of a damaged store: a box that reads as something else than an
/// error or the truth, a good plane that does not read right.
pub fn check_damage(ims: &Ims, bad: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if let Err(error) = check_good_planes(ims, bad, &mut faults) {
        faults.push(error.to_string());
    }
    if let Some(axes) = bad["axes"].as_str() {
        for part in bad["bad_boxes"].as_array().into_iter().flatten() {
            check_bad_box(ims, bad, &axes.to_lowercase(), part, &mut faults);
        }
    }
    faults
}

fn check_good_planes(ims: &Ims, bad: &Value, faults: &mut Vec<String>) -> ImsResult<()> {
    for good in bad["good"].as_array().into_iter().flatten() {
        for plane in good["sha256"].as_array().into_iter().flatten() {
            let (t, c) = (plane[0].as_u64().expect("t"), plane[1].as_u64().expect("c"));
            let (t, c) = (usize::try_from(t).expect("small"), usize::try_from(c).expect("small"));
            match ims.pixels(0, t, c) {
                Ok(got) if Some(sha256(&got).as_str()) == plane[2].as_str() => {}
                Ok(_) => faults.push(format!("good plane t{t} c{c}: pixels differ")),
                Err(error) => faults.push(format!("good plane t{t} c{c}: {error}")),
            }
        }
    }
    // A damaged description must not become a damaged file.
    for (axis, (low, high)) in ims.extents()?.into_iter().enumerate() {
        if !low.is_finite() || !high.is_finite() || high <= low {
            faults.push(format!("extent {axis} from {low} to {high}"));
        }
    }
    Ok(())
}

fn check_bad_box(ims: &Ims, bad: &Value, axes: &str, part: &Value, faults: &mut Vec<String>) {
    let fill_is_right = text(bad, "outcome") == "list_eio_or_fill";
    let bounds: Vec<Vec<usize>> =
        part["box"].as_array().expect("box").iter().map(lengths).collect();
    let range = |axis: &str| axes.find(axis).map_or(0..1, |i| bounds[i][0]..bounds[i][1]);
    let size: usize = ["z", "y", "x"].map(|axis| range(axis).len()).iter().product();
    for t in range("t") {
        for c in range("c") {
            match ims.pixels_in(0, t, c, [range("z"), range("y"), range("x")]) {
                Err(error) if error.is_eio() => {}
                Err(error) => faults.push(format!("box t{t} c{c}: not EIO: {error}")),
                Ok(got) if fill_is_right => {
                    if got.iter().any(|&byte| byte != 0) || got.len() % size != 0 {
                        faults.push(format!("box t{t} c{c}: neither an error nor the fill value"));
                    }
                }
                Ok(_) => faults.push(format!("box t{t} c{c} reads without an error")),
            }
        }
    }
    for probe in part["probes"].as_array().into_iter().flatten() {
        let at = lengths(&probe["at"]);
        let at = |axis: &str| axes.find(axis).map_or(0, |i| at[i]);
        let truth = probe["true"].as_f64().expect("a number");
        match ims.voxel_at(0, at("t"), at("c"), [at("z"), at("y"), at("x")]) {
            Err(error) if error.is_eio() => {}
            Err(error) => faults.push(format!("probe {}: not EIO: {error}", probe["at"])),
            Ok(got) if close(got, truth, 0.0) || (fill_is_right && got == 0.0) => {}
            Ok(got) => faults.push(format!("probe {} reads {got}, true {truth}", probe["at"])),
        }
    }
}
