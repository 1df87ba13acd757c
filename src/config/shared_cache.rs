//! The cache that several daemons share: where it lies, and what is kept there.

use std::path::Path;

use crate::objects::{Address, Options};
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
