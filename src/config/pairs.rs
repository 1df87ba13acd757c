//! Sources and mount points that must be apart.

use std::borrow::Cow;
use std::path::Path;

use super::setting::{Mistake, Setting};

/// A source, if it is a folder of this machine, its mount point, and the setting that errors name.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) source: Option<Cow<'a, Path>>,
    pub(super) mountpoint: Cow<'a, Path>,
    pub(super) setting: &'a Setting,
}

/// Looks whether sources and mount points are apart, by their paths alone.
///
/// # Errors
/// The first mount point that is not.
pub(super) fn check_apart(pairs: &[Pair<'_>]) -> Result<(), Mistake> {
    for (number, pair) in pairs.iter().enumerate() {
        if let Some(reason) = against_sources(pairs, number) {
            return Err(pair.setting.mistake(&reason));
        }
        let before = pairs[..number].iter().find_map(|other| against_mount(pair, other));
        if let Some(reason) = before {
            return Err(pair.setting.mistake(&reason));
        }
    }
    Ok(())
}

fn against_sources(pairs: &[Pair<'_>], number: usize) -> Option<String> {
    let mountpoint = &pairs[number].mountpoint;
    pairs.iter().enumerate().find_map(|(other, Pair { source, .. })| {
        let source = source.as_ref()?;
        let name = if other == number {
            "SOURCE".to_owned()
        } else {
            format!("SOURCE {}", source.display())
        };
        if mountpoint.starts_with(source) {
            Some(format!("lies inside {name}; stores and mount must be apart"))
        } else if source.starts_with(mountpoint) {
            Some(format!("contains {name}, which the mount would hide"))
        } else {
            None
        }
    })
}

fn against_mount(pair: &Pair<'_>, other: &Pair<'_>) -> Option<String> {
    let (here, there) = (&pair.mountpoint, &other.mountpoint);
    let name = other.mountpoint.display();
    if here == there {
        Some("is the mount point of two mounts".to_owned())
    } else if here.starts_with(there) {
        Some(format!("lies inside MOUNTPOINT {name}; mounts must be apart"))
    } else if there.starts_with(here) {
        Some(format!("contains MOUNTPOINT {name}; mounts must be apart"))
    } else {
        None
    }
}
