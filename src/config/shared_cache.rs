//! The cache that several daemons share: where it lies, and what is kept there.

use std::path::Path;

use crate::objects::{Address, Options, Service};
use crate::shared_cache::SharedCacheConfig;

use super::setting::{Mistake, Settings, plain};
use super::source::folder_at;
use super::value::{SHARED, parse_choice};

/// Reads the settings; no request is sent.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check(settings: &Settings) -> Result<Option<SharedCacheConfig>, Mistake> {
    let keeps = settings.value("shared-cache-keeps", |text| parse_choice(&SHARED, text))?;
    let endpoint = settings.value("shared-cache-endpoint", |text| Ok(text.to_owned()))?;
    let region = settings.value("shared-cache-region", |text| Ok(text.to_owned()))?;
    let setting = settings.get("shared-cache");
    let Some(text) = &setting.text else { return Ok(None) };
    let address = match text.to_str().and_then(Address::parse) {
        Some(address) => address.map_err(|reason| setting.mistake(&reason))?,
        None => match folder_at(Path::new(text)) {
            Ok(Some(folder)) => Address::of_folder(folder),
            Ok(None) => return Err(setting.mistake("is not a folder")),
            Err(error) => return Err(setting.mistake(&plain(&error))),
        },
    };
    let options = Options { endpoint, region, ..Options::default() };
    let keeps = keeps.unwrap_or(crate::shared_cache::Shared::Computed);
    Ok(Some(SharedCacheConfig { address, options, keeps }))
}

/// Looks whether a text can be the place of a shared cache.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_place(text: &str) -> Result<(), String> {
    match Address::parse(text) {
        Some(Ok(address)) if address.service() == Service::Web => {
            Err("is the address of a web server, where nothing can be written".to_owned())
        }
        Some(address) => address.map(drop),
        None => super::path::mistake(Path::new(text)).map_or(Ok(()), Err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_addresses_of_object_stores() {
        for text in ["s3://bucket/prefix", "gs://bucket", "az://container/x", "/srv/shared", "x"] {
            assert_eq!(parse_place(text), Ok(()), "{text}");
        }
        for (text, word) in [
            ("https://host/x", "web server"),
            ("s3://", "bucket"),
            ("ftp://host/x", "understood"),
            ("s3://key:geheim@bucket", "environment"),
            ("~/shared", "expand"),
        ] {
            let mistake = parse_place(text).expect_err(text);
            assert!(mistake.contains(word) && !mistake.contains("geheim"), "{mistake}");
        }
    }
}
