//! What a remote source is: a folder that is listed, one store, or the stores that a text lists.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::discover;
use super::error::SourceError;
use super::fingerprint::Fingerprint;
use super::metadata::read_node;
use super::root::SourceRoot;
use super::storage::{Location, NamedStore, is_archive_name};
use crate::objects::{Address, Fault, Got, ObjectError, Objects, Options};

/// Largest text that names stores: ten thousand addresses.
const MOST_TEXT_BYTES: u64 = 4 << 20;

/// Opens a remote source.
///
/// # Errors
/// Why nothing can be read there, in one line.
pub(super) fn open(location: &Location) -> io::Result<SourceRoot> {
    let Some((address, options)) = location.remote() else {
        return SourceRoot::at(location, false);
    };
    if let Some(root) = zip_file(location, address, options)? {
        return Ok(root);
    }
    if location.is_web() {
        return open_web(location, address, options);
    }
    let root = Arc::new(SourceRoot::at(location, false)?);
    if discover::is_image(&root, Path::new("")) {
        return one_store(location, address);
    }
    SourceRoot::at(location, false)
}

fn one_store(location: &Location, address: &Address) -> io::Result<SourceRoot> {
    let name = address.plain_name().unwrap_or_else(|| address.as_str().replace("://", "-"));
    let store = NamedStore { name, address: address.clone(), is_file: false };
    SourceRoot::at(&location.of_stores(vec![store]), false)
}

/// The zip file with a store at an address, if its name promises one and it is there. Folders may have such names.
fn zip_file(
    location: &Location,
    address: &Address,
    options: &Options,
) -> io::Result<Option<SourceRoot>> {
    let (Some(folder), Some(name)) = (address.parent(), address.plain_name()) else {
        return Ok(None);
    };
    if !is_archive_name(Path::new(&name)) {
        return Ok(None);
    }
    match Objects::connect(&folder, options)?.head(&name) {
        Ok(_) => {}
        Err(error) if is_no_file(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let store = NamedStore { name: name.clone(), address: address.clone(), is_file: true };
    let root = SourceRoot::at(&location.of_stores(vec![store]), false)?;
    match root.storage().holds_zarr(Path::new(&name)) {
        Ok(holds_zarr) => Ok(holds_zarr.then_some(root)),
        Err(error) => {
            let of_service = error.get_ref().and_then(|inner| inner.downcast_ref());
            if of_service.is_some_and(is_no_file) { Ok(None) } else { Err(error) }
        }
    }
}

/// Servers answer for a folder with a page, a refusal, or nothing.
fn is_no_file(error: &ObjectError) -> bool {
    matches!(error.fault, Fault::Absent | Fault::Forbidden | Fault::Disguised)
}

/// A web server has no listing: its address is that of a store, or of a text that names some.
fn open_web(location: &Location, address: &Address, options: &Options) -> io::Result<SourceRoot> {
    if let (Some(folder), Some(name)) = (address.parent(), address.plain_name())
        && let Some(text) = text_at(&folder, &name, options)?
    {
        let stores = stores_in(&text, &folder)?;
        return SourceRoot::at(&location.of_stores(stores), false);
    }
    let root = one_store(location, address)?;
    let names = root.list(Path::new(""), |_| true).map_err(reason)?;
    for name in names {
        if read_node(&root, Path::new(&name.name), &mut Fingerprint::default())
            .map_err(reason)?
            .is_none()
        {
            return Err(io::Error::other(
                "no Zarr metadata there; a web server lists nothing: give the address of a store, or of a \
                 text that names stores, one a line",
            ));
        }
    }
    Ok(root)
}

/// The text at an address, if there is one, and no folder.
fn text_at(folder: &Address, name: &str, options: &Options) -> io::Result<Option<String>> {
    let got = Objects::connect(folder, options)?.get(name, MOST_TEXT_BYTES);
    match got {
        Ok(Got::Whole(object)) if object.bytes.is_empty() => Ok(None),
        Ok(Got::Whole(object)) => {
            let text = String::from_utf8(object.bytes).ok().filter(|text| !text.starts_with('{'));
            text.map(Some)
                .ok_or_else(|| io::Error::other("is a file, and no text that names stores"))
        }
        Ok(Got::Larger(_)) => {
            Err(io::Error::other("is a large file, and no text that names stores"))
        }
        Err(error) if is_no_file(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The stores that a text names, one a line. What follows a `#` at the beginning of a line is a comment.
/// A name such as `x.ozx` is that of a zip file, unless a slash follows.
fn stores_in(text: &str, folder: &Address) -> io::Result<Vec<NamedStore>> {
    let (mut stores, mut names) = (Vec::new(), BTreeSet::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let failed = |reason: &str| io::Error::other(format!("line {}: {reason}", number + 1));
        let address = folder.joined(line).map_err(|reason| failed(&reason))?;
        let name = address.plain_name().ok_or_else(|| failed("names no store"))?;
        let name = free_name(&name.replace('/', "_"), &names);
        names.insert(name.clone());
        let is_file = is_archive_name(Path::new(&name)) && !line.ends_with('/');
        stores.push(NamedStore { name, address, is_file });
    }
    if stores.is_empty() { Err(io::Error::other("names no store")) } else { Ok(stores) }
}

/// A name that is not taken: `x.zarr`, then `x~2.zarr`.
fn free_name(name: &str, taken: &BTreeSet<String>) -> String {
    let (stem, suffix) = name.split_at(name.find('.').filter(|at| *at > 0).unwrap_or(name.len()));
    let further = (2..).map(|number| format!("{stem}~{number}{suffix}"));
    let mut names = std::iter::once(name.to_owned()).chain(further);
    names.find(|name| !taken.contains(name)).unwrap_or_else(|| name.to_owned())
}

fn reason(error: SourceError) -> io::Error {
    match error {
        SourceError::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_stores_one_a_line() {
        let folder = Address::parse("https://host/a").expect("an address").expect("a good one");
        let text = "# stores\r\nx.zarr\n\n  b/x.zarr  \n/y.zarr\nhttps://other/c%20d.zarr/\ns3://b/z\nq.ozx\n";
        let stores = stores_in(text, &folder).expect("stores");
        let stores: Vec<_> = stores
            .iter()
            .map(|store| (&*store.name, store.address.as_str(), store.is_file))
            .collect();
        assert_eq!(
            stores,
            [
                ("x.zarr", "https://host/a/x.zarr", false),
                ("x~2.zarr", "https://host/a/b/x.zarr", false),
                ("y.zarr", "https://host/y.zarr", false),
                ("c d.zarr", "https://other/c%20d.zarr", false),
                ("z", "s3://b/z", false),
                ("q.ozx", "https://host/a/q.ozx", true),
            ]
        );
        for (text, line) in
            [("# none\n", "names no store"), ("x\n../y\n", "line 2: "), ("ftp://x/y", "line 1: ")]
        {
            let error = stores_in(text, &folder).expect_err("none").to_string();
            assert!(error.starts_with(line), "{error}");
        }
    }
}
