//! A look at all files below a folder.
//!
//! Files may come, go and change meanwhile. A folder that changes while it is listed is listed again; if
//! another folder takes its place, the survey starts again from the top.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::interface::{
    Budget, FileKind, Links, Meta, OpenFolder, Storage, Unfollowed, is_bad_link, is_not_found,
};
use super::stamp::Stamp;
use crate::source::place::join;

/// How often a folder that changes meanwhile is listed, and the whole survey is begun.
const LOOKS: usize = 4;

/// Deepest folder of an array: chunk keys have a part for each of at most 32 dimensions.
const DEEPEST_FOLDER: usize = 40;

/// Takes what a survey finds. Paths are relative to the folder of the survey.
pub(in crate::source) trait Surveyor {
    /// The survey starts, or starts again: all that came before is void.
    fn begin(&mut self);

    fn file(&mut self, inside: &Path, meta: &Meta);

    /// A folder in its state after it was listed. `may_lack`: files that came no later than this may be
    /// missing.
    fn folder(&mut self, inside: &Path, meta: &Meta, may_lack: Option<UpTo>);
}

/// The files that the listing of a folder may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum UpTo {
    /// Those that have not changed since the folder had this state.
    State(Stamp),
    /// Any.
    Now,
}

/// Why a survey starts again, or fails.
enum Failed {
    /// A name or a folder has gone since it was listed, or the folder is another one.
    Moved,
    No(Unfollowed),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        if is_not_found(&error) { Self::Moved } else { Self::No(Unfollowed::Unreadable) }
    }
}

impl From<Unfollowed> for Failed {
    fn from(reason: Unfollowed) -> Self {
        Self::No(reason)
    }
}

/// Visits all files below a folder but those of the folder itself that have an ignored name.
///
/// # Errors
/// [`Unfollowed`] where some cannot be looked at, or the budget is used up.
pub(in crate::source) fn survey(
    storage: &dyn Storage,
    folder: &Path,
    ignored: &[&str],
    budget: &mut Budget,
    surveyor: &mut dyn Surveyor,
) -> Result<(), Unfollowed> {
    surveyor.begin();
    let is_ignored = |inside: &Path| ignored.iter().any(|name| inside == Path::new(name));
    let flat = storage.survey(folder, budget, &mut |inside, meta| {
        if !is_ignored(inside) {
            surveyor.file(inside, meta);
        }
    });
    if let Some(surveyed) = flat {
        return surveyed;
    }
    let entries = budget.entries();
    for _ in 0..LOOKS {
        budget.restore(entries);
        surveyor.begin();
        let state = || storage.stat(folder, Links::Follow);
        let mut walk = Walk { storage, top: folder, ignored, budget, surveyor };
        let walked = state()
            .map_err(Failed::from)
            .and_then(|before| walk.folder(Path::new(""), before, &state, 0));
        match walked {
            Ok(()) => return Ok(()),
            Err(Failed::Moved) => {}
            Err(Failed::No(reason)) => return Err(reason),
        }
    }
    Err(Unfollowed::Unsteady)
}

/// What was found in one folder.
#[derive(Default)]
struct Found {
    files: Vec<(OsString, Meta)>,
    folders: Vec<(OsString, Meta)>,
    /// Names that have gone since they were listed were left out.
    has_skipped: bool,
}

/// A survey that lists folder by folder.
struct Walk<'a> {
    storage: &'a dyn Storage,
    top: &'a Path,
    ignored: &'a [&'a str],
    budget: &'a mut Budget,
    surveyor: &'a mut dyn Surveyor,
}

impl Walk<'_> {
    /// Visits what is in a folder and below. `before` is the state in which the folder was found, and
    /// `state` looks at what stands at its path now: if that has changed, the folder is listed again; if
    /// it is another folder, the survey starts again.
    fn folder(
        &mut self,
        inside: &Path,
        before: Meta,
        state: &dyn Fn() -> io::Result<Meta>,
        depth: usize,
    ) -> Result<(), Failed> {
        if depth > DEEPEST_FOLDER {
            return Err(Unfollowed::Unreadable.into());
        }
        let folder = join(self.top, inside);
        let entries = self.budget.entries();
        let mut before = before;
        for look in 1..=LOOKS {
            let is_last = look == LOOKS;
            self.budget.restore(entries);
            let mut open = self.storage.open_folder(&folder)?;
            let found = self.names(&folder, &mut *open, is_last);
            let after = state()?;
            if !after.is_same_file(&before) {
                return Err(Failed::Moved);
            }
            match found {
                Ok(found) if is_last || after == before => {
                    let may_lack = match after == before {
                        false => Some(UpTo::State(after.stamp)),
                        // Names went, and the folder says that none did.
                        true if found.has_skipped => Some(UpTo::Now),
                        true => None,
                    };
                    self.surveyor.folder(inside, &after, may_lack);
                    return self.visit(inside, &*open, found, depth);
                }
                Ok(_) | Err(Failed::Moved) => before = after,
                Err(Failed::No(reason)) => return Err(reason.into()),
            }
        }
        Err(Failed::Moved)
    }

    fn visit(
        &mut self,
        inside: &Path,
        open: &dyn OpenFolder,
        found: Found,
        depth: usize,
    ) -> Result<(), Failed> {
        for (name, meta) in found.files {
            self.surveyor.file(&inside.join(name), &meta);
        }
        for (name, meta) in found.folders {
            let state = || open.stat(&name);
            self.folder(&inside.join(&name), meta, &state, depth + 1)?;
        }
        Ok(())
    }

    /// The names in a folder and what they stand for. `skips_gone`: names that have gone since they
    /// were listed are left out.
    fn names(
        &mut self,
        folder: &Path,
        open: &mut dyn OpenFolder,
        skips_gone: bool,
    ) -> Result<Found, Failed> {
        let mut found = Found::default();
        loop {
            let names = open.next_names()?;
            if names.is_empty() {
                return Ok(found);
            }
            for name in names.into_iter().map(|entry| entry.name) {
                if folder == self.top && self.ignored.iter().any(|ignored| name == *ignored) {
                    continue;
                }
                self.budget.take()?;
                let meta = match open.stat(&name) {
                    Ok(meta) => meta,
                    Err(error) if skips_gone && is_not_found(&error) => {
                        found.has_skipped = true;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                match meta.kind {
                    FileKind::Folder => found.folders.push((name, meta)),
                    FileKind::File => found.files.push((name, meta)),
                    FileKind::Link => {
                        let target = self.target(&folder.join(&name), meta)?;
                        found.files.push((name, target));
                    }
                    FileKind::Other => return Err(Unfollowed::Unreadable.into()),
                }
            }
        }
    }

    /// What a link points at counts, and may be anywhere, even nowhere for now.
    fn target(&self, link: &Path, own: Meta) -> Result<Meta, Unfollowed> {
        match self.storage.stat(link, Links::Follow) {
            Ok(target) if target.kind == FileKind::File => Ok(target),
            Err(error) if is_bad_link(&error) => Ok(own),
            Ok(_) | Err(_) => Err(Unfollowed::Unreadable),
        }
    }
}
