//! What the letters of a path alone show to be wrong.

use std::path::Path;

use crate::objects::{Address, Service};

/// Why a text can be neither an address that is read, nor a path of this machine.
pub(crate) fn mistake_of_source(path: &Path) -> Option<String> {
    match path.to_str().and_then(Address::parse) {
        Some(address) => address.err(),
        None => mistake(path),
    }
}

/// Looks whether a text can be the place of a shared cache.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_shared_cache(text: &str) -> Result<(), String> {
    match Address::parse(text) {
        Some(Ok(address)) if address.service() == Service::Web => {
            Err("is the address of a web server, where nothing can be written".to_owned())
        }
        _ => mistake_of_source(Path::new(text)).map_or(Ok(()), Err),
    }
}

/// Why a path cannot be one of a folder of this machine, as its user meant it.
pub(crate) fn mistake(path: &Path) -> Option<String> {
    let text = path.to_string_lossy();
    if text.starts_with('~') || text.starts_with('$') {
        let name = text.split('/').next().unwrap_or_default();
        return Some(format!("the shell did not expand {name}; write the whole path"));
    }
    if text.starts_with(['\u{2013}', '\u{2014}']) {
        return Some("begins with a long dash; options begin with two short ones".to_owned());
    }
    let (before, after) = text.split_once(':')?;
    if after.starts_with("//") && !before.is_empty() && before.chars().all(is_of_scheme) {
        return Some("is an address, and must be a folder of this machine".to_owned());
    }
    let is_drive = before.len() == 1 && after.starts_with(['\\', '/']);
    if is_drive {
        return Some("is a path of Windows".to_owned());
    }
    let is_host = !before.is_empty() && !before.contains('/') && after.starts_with('/');
    is_host.then(|| "is a folder of another machine; mount it first".to_owned())
}

/// Letters of `scheme` in RFC 3986, section 3.1.
fn is_of_scheme(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "+-.".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_letters_show() {
        for (path, word) in [
            ("~/zarr", "expand ~;"),
            ("~ana/zarr", "expand ~ana;"),
            ("$HOME/zarr", "expand $HOME;"),
            ("s3://bucket/x.zarr", "address"),
            ("gs://bucket", "address"),
            ("https://host/x.zarr", "address"),
            ("file:///data", "address"),
            ("C:\\data", "Windows"),
            ("d:/data", "Windows"),
            ("nas:/export/zarr", "another machine"),
            ("ana@nas:/data", "another machine"),
            ("\u{2013}list", "long dash"),
        ] {
            let mistake = mistake(Path::new(path));
            assert!(
                mistake.as_ref().is_some_and(|line| line.contains(word)),
                "{path}: {mistake:?}"
            );
        }
        for path in ["/data/zarr", "data", "./~", "/data/a:b", "/data/s3://x", "a:b", ":/", ""] {
            assert_eq!(mistake(Path::new(path)), None, "{path}");
            assert_eq!(mistake_of_source(Path::new(path)), None, "{path}");
        }
        for address in ["s3://bucket/x.zarr", "https://host/x.zarr"] {
            assert_eq!(mistake_of_source(Path::new(address)), None, "{address}");
        }
        for bad in ["s3://", "ftp://host/x", "nas:/export/zarr", "~/x"] {
            assert!(mistake_of_source(Path::new(bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_shared_cache_is_in_a_folder_or_in_an_object_store() {
        for text in ["s3://bucket/prefix", "gs://bucket", "az://container/x", "/srv/shared", "x"] {
            assert_eq!(check_shared_cache(text), Ok(()), "{text}");
        }
        for (text, word) in [
            ("https://host/x", "web server"),
            ("s3://", "bucket"),
            ("ftp://host/x", "understood"),
            ("s3://key:geheim@bucket", "environment"),
            ("~/shared", "expand"),
        ] {
            let mistake = check_shared_cache(text).expect_err(text);
            assert!(mistake.contains(word) && !mistake.contains("geheim"), "{mistake}");
        }
    }
}
