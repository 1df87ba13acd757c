//! What a folder is: a plain folder, or a Zarr store, and which images a store holds.
//!
//! A store is recognised by its metadata files, not by its name. Groups are walked, arrays are not
//! entered, and nodes in a multiscales group beside its levels and labels are reported, not shown.
//! Nothing is lost silently: [`Store::skipped`] has every node that is not an image, and every file that
//! could not be read, with the reason. Unreadable files are looked at again later.

mod found;
mod names;
mod not_image;
mod stated;
mod walk;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::assemble::About;
use super::error::{SourceError, Unsupported};
use super::fingerprint::Fingerprint;
use super::foreign;
use super::image::ImageSource;
use super::metadata::{ZarrNode, read_node};
use super::ome;
use super::place::Place;
use super::root::{SourceRoot, join};
use super::series::SeriesXml;
use found::role_of;
use walk::Walk;

pub use found::Store;
pub use names::{is_notable_file, is_store_name, skipped_file, skipped_link};

/// What a folder is.
#[derive(Debug)]
pub enum Folder {
    /// No Zarr metadata: a folder to mirror. Without images.
    Plain(Box<Store>),
    /// A Zarr hierarchy, or something that promised to be one.
    Store(Box<Store>),
}

/// Looks at a folder. With `labels`, label images are found as well.
///
/// # Errors
/// [`SourceError::Io`] when the folder itself cannot be read. Faults inside a store are in
/// [`Store::skipped`].
pub fn inspect(root: &Arc<SourceRoot>, folder: &Path, labels: bool) -> Result<Folder, SourceError> {
    let (xml, found) = (SeriesXml::default(), Store::default());
    let mut walk =
        Walk { root, store: folder, labels, xml, found, nodes: 0, is_inside_image: false };
    // Before: metadata may come while it is looked for.
    let plain = root.look(folder);
    let node = walk.read_node(folder);
    if matches!(node, Ok(None)) {
        let mut signs = Fingerprint::default();
        let format = foreign::format_of(root, folder, &mut signs);
        if !is_store_name(folder) && !matches!(format, Ok(Some(_))) {
            // Metadata files cannot appear without a change of the folder itself.
            walk.found.fingerprint = Fingerprint::default();
            walk.found.fingerprint.add(folder, plain);
            if let Err(error) = format {
                walk.fail(folder.to_path_buf(), error);
            }
            return Ok(Folder::Plain(Box::new(walk.found)));
        }
        walk.found.fingerprint.add(folder, plain);
        walk.found.fingerprint.absorb(&signs);
        if let Ok(Some(format)) = format {
            walk.skip(folder, format);
            return Ok(Folder::Store(Box::new(walk.found)));
        }
        if let Err(error) = format {
            walk.fail(folder.to_path_buf(), error);
        }
        // Some writers leave out the group metadata at the root.
        root.each_entry(folder, &mut |_| ControlFlow::Break(()))?;
        walk.group(Path::new(""), 0);
        if walk.found.images.is_empty() && walk.found.skipped.is_empty() {
            walk.skip(folder, Unsupported::NoMetadata);
        }
        return Ok(Folder::Store(Box::new(walk.found)));
    }
    walk.node(Path::new(""), node, 0);
    if walk.found.images.is_empty() && walk.found.skipped.is_empty() {
        walk.skip(folder, Unsupported::NoImage);
    }
    Ok(Folder::Store(Box::new(walk.found)))
}

/// Reads one image that [`inspect`] has found before.
///
/// # Errors
/// [`SourceError`] when it cannot be read any more, or is gone.
pub fn open_image(
    root: &Arc<SourceRoot>,
    store: &Path,
    image: &str,
    multiscale: usize,
) -> Result<ImageSource, SourceError> {
    let folder = join(store, Path::new(image));
    let mut fingerprint = Fingerprint::default();
    match read_node(root, &folder, &mut fingerprint)? {
        Some(ZarrNode::Array(node)) => {
            let role = role_of(Path::new(image), &node.attributes);
            let found = ImageSource::from_array(root, store, image, &node, fingerprint)?;
            Ok(ImageSource { role, ..found })
        }
        Some(ZarrNode::Group(attributes)) => {
            let multiscales = ome::multiscales(&attributes);
            let found = multiscales
                .get(multiscale)
                .ok_or_else(|| SourceError::unsupported(&folder, Unsupported::NoImage))?;
            let role = role_of(Path::new(image), &attributes);
            let place = Place { store, image, multiscale, role };
            let xml = SeriesXml::default().of(root, store, image, &mut fingerprint);
            let about = About { attributes: &attributes, xml };
            ImageSource::from_multiscale(root, &place, found, about, &mut fingerprint)
        }
        None => Err(SourceError::unsupported(folder, Unsupported::NoMetadata)),
    }
}

/// Whether a folder is itself an image, and not a folder of stores.
#[must_use]
pub fn is_image(root: &SourceRoot, folder: &Path) -> bool {
    match read_node(root, folder, &mut Fingerprint::default()) {
        Ok(Some(ZarrNode::Array(_))) => true,
        Ok(Some(ZarrNode::Group(attributes))) => !ome::multiscales(&attributes).is_empty(),
        Ok(None) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
