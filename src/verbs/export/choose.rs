//! Which image is meant.

use std::path::{Path, PathBuf};

use anyhow::bail;

use zarrims::config::Setting;
use zarrims::fs::tree::FileSpec;

use crate::verbs::session::Contents;

/// Images that a message names.
const NAMED: usize = 8;

/// A path that is no store and no folder: the source in front of it, and the path in the mount behind.
pub(super) fn split(source: &Setting) -> Option<(PathBuf, PathBuf)> {
    let path = source.as_path();
    let ending = path.extension().unwrap_or_default();
    if !ending.eq_ignore_ascii_case("ims") {
        return None;
    }
    if source.as_address().is_some() {
        return Some((path.parent()?.to_path_buf(), path.file_name()?.into()));
    }
    if path.symlink_metadata().is_ok() {
        return None;
    }
    let folder = path.ancestors().skip(1).find(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.exists()
    })?;
    let rest = path.strip_prefix(folder).ok()?.to_path_buf();
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Some((folder.to_path_buf(), rest))
}

/// Finds the file that is meant; without a name, the only one.
///
/// # Errors
/// Where there is none, or more than one.
pub(super) fn choose<'a>(
    contents: &'a Contents,
    name: Option<&Path>,
) -> anyhow::Result<&'a (PathBuf, FileSpec)> {
    let Contents { files, skipped } = contents;
    let Some(name) = name else {
        return match &files[..] {
            [only] => Ok(only),
            [] => match &skipped[..] {
                [] => bail!("no Zarr stores found"),
                [first, ..] => {
                    bail!("nothing to export: {}: {}", first.path.display(), first.reason)
                }
            },
            _ => bail!(
                "{}; choose one with --image NAME, or all with --all DIR",
                listed("it has", files.iter())
            ),
        };
    };
    for rule in RULES {
        let found: Vec<_> = files.iter().filter(|(path, spec)| rule(path, spec, name)).collect();
        match found[..] {
            [] => {}
            [only] => return Ok(only),
            _ => bail!(
                "--image {}: {}; give the path of one in the mount",
                name.display(),
                listed("may be", found.into_iter())
            ),
        }
    }
    let is_named = |path: &Path| path.ends_with(name) || path.with_extension("ims").ends_with(name);
    if let Some(row) = skipped.iter().find(|row| is_named(&row.path)) {
        bail!("--image {}: is not shown: {}", name.display(), row.reason);
    }
    bail!("--image {}: there is no such image; {}", name.display(), listed("it has", files.iter()))
}

type Rule = fn(&Path, &FileSpec, &Path) -> bool;

/// The first that finds something counts.
const RULES: [Rule; 4] = [
    |path, _, name| path == name || without_ending(path) == name,
    |path, _, name| path.ends_with(name) || without_ending(path).ends_with(name),
    |_, spec, name| spec.folder() == name || Path::new(&spec.image) == name,
    |_, spec, name| spec.name.as_deref().is_some_and(|own| Path::new(own) == name),
];

fn without_ending(path: &Path) -> PathBuf {
    path.with_extension("")
}

fn listed<'a>(verb: &str, files: impl ExactSizeIterator<Item = &'a (PathBuf, FileSpec)>) -> String {
    let count = files.len();
    let named: Vec<_> = files.take(NAMED).map(|(path, _)| path.display().to_string()).collect();
    let more = if count > NAMED { ", ..." } else { "" };
    let noun = if count == 1 { "image" } else { "images" };
    format!("{verb} {count} {noun}: {}{more}", named.join(", "))
}
