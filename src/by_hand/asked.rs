//! A part of one image, as a command line asks for it: the tables that say so.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::correction::{ChannelCorrection, Correction};
use super::document::{Origin, Said};
use super::pattern::Pattern;
use super::store::StoreTable;
use super::tables::Tables;
use super::view::{ChannelName, Made, Part, Pick, ViewTable};

/// What messages call the place of these tables.
const FILE: &str = "the command line";

/// A part of one image; what is empty or `None` asks for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Voxels of level 0 along x, y and z, half-open.
    pub space: [Option<Range<u64>>; 3],
    /// Channels, in this order.
    pub channels: Vec<AskedChannel>,
    /// Levels of the store that are used, the finest first; missing ones are computed.
    pub levels: Vec<u64>,
}

/// A channel that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedChannel {
    /// By its number, from 0 on.
    Number(u64),
    /// By its label.
    Label(String),
}

impl Asked {
    /// Whether a view is made, rather than the image itself shown otherwise.
    #[must_use]
    pub fn makes_view(&self) -> bool {
        self.space.iter().any(Option::is_some) || !self.channels.is_empty()
    }

    /// Adds what is asked for to the tables of the configuration. `store` is a path below the source, `image` one
    /// within the store. A view is called `name`, and is the last of the tables.
    ///
    /// # Errors
    /// In words, where a path cannot be written as a pattern.
    pub fn add_to(
        &self,
        tables: &mut Tables,
        (store, image): (&Path, &str),
        name: &str,
    ) -> Result<(), String> {
        if !self.levels.is_empty() {
            let levels = said(self.levels.clone());
            tables.stores.push(StoreTable {
                origin: origin(),
                path: Some(literal(store)?),
                image: Some(literal(Path::new(image))?),
                hidden: None,
                correction: Correction { levels: Some(levels), ..Correction::default() },
                lines: Vec::new(),
            });
        }
        if self.makes_view() {
            let of = if image.is_empty() { store.to_path_buf() } else { store.join(image) };
            tables.views.push(ViewTable {
                origin: origin(),
                name: PathBuf::from(name),
                made: Made {
                    origin: origin(),
                    of: vec![Part::Stored(said(literal(&of)?))],
                    join: None,
                    pick: self.pick(),
                },
                correction: Correction::default(),
                lines: Vec::new(),
            });
        }
        Ok(())
    }

    fn pick(&self) -> Pick {
        let channel = |channel: &AskedChannel| {
            let name = match channel {
                AskedChannel::Number(number) => ChannelName::Number(*number),
                AskedChannel::Label(label) => ChannelName::Label(label.clone()),
            };
            (name, ChannelCorrection::default())
        };
        let channels: Vec<_> = self.channels.iter().map(channel).collect();
        Pick {
            space: self.space.clone().map(|range| range.map(said)),
            times: None,
            channels: (!channels.is_empty()).then(|| said(channels)),
        }
    }
}

fn origin() -> Origin {
    Origin { file: FILE.into(), line: 1 }
}

fn said<T>(value: T) -> Said<T> {
    Said { value, origin: origin() }
}

/// A pattern that stands for one path.
fn literal(path: &Path) -> Result<Pattern, String> {
    let text = path.to_str().ok_or_else(|| format!("{}: is not UTF-8", path.display()))?;
    let mut escaped = String::new();
    for letter in text.chars() {
        if "*?[]{}\\".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    Pattern::new(&escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_for_itself_alone() {
        for name in ["run [1].zarr", "a*.zarr", "{a,b}", "plain.zarr", "back\\slash", ""] {
            let pattern = literal(Path::new(name)).expect("a pattern");
            assert!(pattern.is_match(Path::new(name)), "{name}");
        }
        assert!(
            !literal(Path::new("run [1].zarr")).expect("one").is_match(Path::new("run 1.zarr"))
        );
        assert!(!literal(Path::new("a*.zarr")).expect("one").is_match(Path::new("ab.zarr")));
    }
}
