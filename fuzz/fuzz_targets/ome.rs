//! What a store says of an image: OME-NGFF attributes and OME-XML, from the files to the metadata of
//! the virtual file.
//!
//! First byte: `2` to `5` for an image with this number of dimensions in Zarr v2, `6` to `9` for the same
//! in v3, the eight bytes from `:` on for the same with the HDF5 metadata written as well. Then the
//! attributes of the group; then, behind a byte 255, OME-XML; then, behind another, the attributes of the
//! group above in v3: a scene, a collection.

#![no_main]

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use zarrims::image::ImageOptions;
use zarrims::image::plan::ImagePlan;
use zarrims::source::SourceRoot;
use zarrims::source::discover::{Folder, inspect, open_image};
use zarrims::source::image::ImageSource;
use zarrims_fuzz::layout::check_metadata;
use zarrims_fuzz::{Numbers, Scratch};

thread_local! {
    static STORES: OnceCell<(Scratch, Arc<SourceRoot>)> = const { OnceCell::new() };
}

/// Text kept of one image, and what every one has.
const TEXT_LIMIT_BYTES: usize = (256 << 10) + (64 << 10);

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let bits = first.wrapping_sub(b'2');
    let dimensions = 2 + usize::from(bits & 3);
    let (is_v3, written) = (bits & 4 != 0, (bits & 8 != 0).then_some(data));
    let end = rest.iter().position(|&byte| byte == 255).unwrap_or(rest.len());
    let (attributes, behind) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let mut behind = behind.splitn(2, |&byte| byte == 255);
    let (xml, above) = (behind.next().unwrap_or_default(), behind.next().unwrap_or(b"{}"));
    STORES.with(|stores| {
        let (scratch, root) = stores.get_or_init(make_stores);
        let store = store_name(is_v3, dimensions);
        let head = br#"{"zarr_format": 3, "node_type": "group", "attributes": "#;
        scratch.write(&format!("{store}/zarr.json"), &[head, above, b"}"].concat());
        if is_v3 {
            scratch.write(&format!("{store}/0/zarr.json"), &[head, attributes, b"}"].concat());
        } else {
            scratch.write(&format!("{store}/0/.zattrs"), attributes);
        }
        scratch.write(&format!("{store}/OME/METADATA.ome.xml"), xml);
        let Ok(Folder::Store(found)) = inspect(root, Path::new(&store), true) else {
            panic!("a folder of that name is a store");
        };
        for image in &found.images {
            check(image, written);
            let again = open_image(root, Path::new(&store), &image.image, image.multiscale);
            let again = again.expect("an image that was found can be opened");
            assert_eq!((&again.name, &again.facts), (&image.name, &image.facts));
        }
    });
});

fn store_name(is_v3: bool, dimensions: usize) -> String {
    format!("v{}-{dimensions}d.zarr", if is_v3 { 3 } else { 2 })
}

/// One store for each way to be an image, with arrays under the names that writers give to levels.
fn make_stores() -> (Scratch, Arc<SourceRoot>) {
    let scratch = Scratch::new("ome");
    for (is_v3, dimensions) in [false, true].into_iter().flat_map(|v| (2..=5).map(move |d| (v, d)))
    {
        for level in 0..3 {
            let shape = &[2, 2, 4 >> level, 32 >> level, 32 >> level][5 - dimensions..];
            let array = json!({"zarr_format": 2, "shape": shape, "chunks": shape, "dtype": "<u2",
                "compressor": null, "fill_value": 0, "order": "C", "filters": null});
            for prefix in ["", "s"] {
                let name = format!("{}/0/{prefix}{level}/.zarray", store_name(is_v3, dimensions));
                scratch.write(&name, array.to_string().as_bytes());
            }
        }
    }
    let root = Arc::new(SourceRoot::open(scratch.path(), false).expect("source folder"));
    (scratch, root)
}

fn check(image: &ImageSource, written: Option<&[u8]>) {
    let is_length = |length: &f64| length.is_finite() && *length > 0.0;
    assert!(image.voxel_um.iter().all(is_length), "{:?}", image.voxel_um);
    assert!(image.origin_um.iter().all(|origin| origin.is_finite()), "{:?}", image.origin_um);
    assert!(image.time_step_s.iter().all(is_length), "{:?}", image.time_step_s);
    for (start, end) in image.channels.iter().filter_map(|channel| channel.window) {
        assert!(start.is_finite() && end.is_finite() && start < end, "{start} {end}");
    }
    let text: usize = image.facts.iter().map(|fact| fact.key.len() + fact.value.len()).sum();
    assert!(text <= TEXT_LIMIT_BYTES, "{text} bytes of text");

    let plan = ImagePlan::new(image, &ImageOptions::default()).expect("these images are small");
    plan.ims.validate().expect("a file that cannot be written is refused when it is planned");
    if let Some(data) = written {
        check_metadata(&plan.ims, &plan.layout, &mut Numbers::new(data));
    }
}
