//! Which dimension of an array is t, c, z, y, x.
//!
//! Sources: OME-NGFF 0.1 to 0.5, "axes"; Zarr v3 core specification, `dimension_names`; the
//! `_ARRAY_DIMENSIONS` attribute of xarray.

use serde_json::Value;

use super::error::Unsupported;
use super::json::text;
use super::place::AxesByHand;

/// One axis.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) unit: Option<String>,
}

impl Axis {
    /// An axis of which the name is known only.
    pub(crate) fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// The dimensions of an array, and what each is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axes {
    /// In stored order, one per dimension.
    pub(crate) stored: Vec<Axis>,
    /// Dimension of t, c, z, y, x; `None`: the axis has length one.
    pub(crate) slots: [Option<usize>; 5],
}

impl Axes {
    /// Axes as stated for an array.
    ///
    /// # Errors
    /// [`Unsupported`] where they do not describe an image of this shape.
    pub(crate) fn stated(stored: &[Axis], shape: &[u64]) -> Result<Self, Unsupported> {
        if stored.len() != shape.len() {
            let (axes, dimensions) = (stored.len(), shape.len());
            return Err(Unsupported::AxesMismatch { axes, dimensions });
        }
        Ok(Self { stored: stored.to_vec(), slots: map_axes(stored, shape)? })
    }

    /// Axes by the names that the array itself has, where they are those of an image; else by
    /// position: yx, zyx, czyx, tczyx; of arrays of [samples](is_color) yxc, zyxc, tzyxc.
    ///
    /// # Errors
    /// [`Unsupported::Dimensions`] for an array that can only be an image by its names, and is not.
    pub(crate) fn of_array(
        names: Option<Vec<String>>,
        shape: &[u64],
        is_color: bool,
    ) -> Result<Self, Unsupported> {
        let named = names.and_then(|names| {
            let stored: Vec<Axis> = names.into_iter().map(Axis::named).collect();
            Self::stated(&stored, shape).ok()
        });
        if let Some(named) = named {
            return Ok(named);
        }
        let names = match shape.len() {
            3 if is_color => &["y", "x", "c"][..],
            4 if is_color => &["z", "y", "x", "c"],
            5 if is_color => &["t", "z", "y", "x", "c"],
            2 => &["y", "x"][..],
            3 => &["z", "y", "x"],
            4 => &["c", "z", "y", "x"],
            5 => &["t", "c", "z", "y", "x"],
            other => return Err(Unsupported::Dimensions(other)),
        };
        let stored: Vec<Axis> = names.iter().map(|name| Axis::named(*name)).collect();
        Self::stated(&stored, shape)
    }

    /// Axes as a person says, whatever is stated for the array. A stated unit stays with its dimension, if it is one of the same kind.
    ///
    /// # Errors
    /// [`Unsupported::ByHand`] where they do not fit the shape.
    pub(crate) fn by_hand(
        said: &AxesByHand,
        stated: Option<&[Axis]>,
        shape: &[u64],
    ) -> Result<Self, Unsupported> {
        let AxesByHand { letters, origin } = said;
        let refused =
            |reason: &str| Unsupported::ByHand(format!("{origin}: axes = {letters:?}: {reason}"));
        let is_space = |name: &str| slot_of(name).is_some_and(|slot| slot >= 2);
        let stored = letters.chars().enumerate().map(|(at, letter)| {
            let name = letter.to_string();
            let stated = stated.and_then(|stated| stated.get(at));
            let same_kind = |axis: &&Axis| {
                slot_of(&axis.name) == slot_of(&name)
                    || (is_space(&name)
                        && (is_space(&axis.name) || axis.kind.as_deref() == Some("space")))
            };
            let unit = stated.filter(same_kind).and_then(|axis| axis.unit.clone());
            Axis { name, kind: None, unit }
        });
        let stored: Vec<Axis> = stored.collect();
        let left_out = stored.iter().zip(shape).find(|(axis, n)| axis.name == "_" && **n != 1);
        if let Some((_, length)) = left_out.filter(|_| stored.len() == shape.len()) {
            return Err(refused(&format!("_ stands for a dimension of length {length}, not 1")));
        }
        Self::stated(&stored, shape).map_err(|reason| refused(&reason.to_string()))
    }

    /// The dimension of a name, as far as it has a place in an image.
    pub(crate) fn dimension(&self, name: &str) -> Option<usize> {
        let exact = || self.stored.iter().position(|axis| axis.name.eq_ignore_ascii_case(name));
        slot_of(name).and_then(|slot| self.slots[slot]).or_else(exact)
    }

    /// The axes of these dimensions only, in this order; what they are stays as it is.
    pub(crate) fn picked(&self, dimensions: &[usize]) -> Self {
        let stored = dimensions.iter().filter_map(|&at| self.stored.get(at)).cloned().collect();
        let place = |slot: Option<usize>| dimensions.iter().position(|&at| Some(at) == slot);
        Self { stored, slots: self.slots.map(place) }
    }

    /// Axes of which only the number is known.
    pub(crate) fn nameless(dimensions: usize) -> Self {
        Self { stored: vec![Axis::default(); dimensions], slots: [None; 5] }
    }

    /// The dimensions of space, in stored order.
    pub(crate) fn space(&self) -> Vec<usize> {
        let mut space: Vec<usize> = self.slots[2..].iter().copied().flatten().collect();
        space.sort_unstable();
        space
    }

    /// Whether the channels are the samples of each pixel by their name, such as `rgb`.
    pub(crate) fn has_samples(&self) -> bool {
        self.slots[1].is_some_and(|at| is_samples(&self.stored[at].name))
    }
}

/// Strings (0.3), objects (0.4 on), or one string with a letter for each axis; an empty list states nothing.
pub(crate) fn parse_axes(value: Option<&Value>) -> Option<Vec<Axis>> {
    let letters: Vec<Value>;
    let entries = match value? {
        Value::String(names) => {
            letters = names.chars().map(|name| Value::from(name.to_string())).collect();
            &letters
        }
        other => other.as_array()?,
    };
    let axes: Vec<Axis> = entries
        .iter()
        .map(|entry| match entry {
            Value::Object(members) => {
                let member = |name: &str| members.get(name).and_then(text);
                Axis {
                    name: member("name").or_else(|| member("label")).unwrap_or_default(),
                    kind: member("type"),
                    unit: member("unit").or_else(|| member("units")),
                }
            }
            other => Axis::named(text(other).unwrap_or_default()),
        })
        .collect();
    (!axes.is_empty()).then_some(axes)
}

/// Position among t, c, z, y, x.
pub(crate) fn slot_of(name: &str) -> Option<usize> {
    Some(match name.trim().to_lowercase().as_str() {
        "t" | "time" => 0,
        "c" | "ch" | "channel" | "channels" => 1,
        "z" => 2,
        "y" => 3,
        "x" => 4,
        _ => return None,
    })
}

/// Whether an array of bytes without names of axes holds the samples of each pixel side by side: its last
/// dimension has the length 3 or 4, for red, green, blue and alpha.
pub(crate) fn is_color(shape: &[u64]) -> bool {
    (3..=5).contains(&shape.len()) && matches!(shape.last(), Some(3 | 4))
}

/// Names of the axis along which the samples of one pixel lie (`bioio`: `S`).
fn is_samples(name: &str) -> bool {
    const NAMES: [&str; 8] = ["rgb", "rgba", "s", "sample", "samples", "color", "colour", "colors"];
    NAMES.contains(&name.trim().to_lowercase().as_str())
}

/// Finds t, c, z, y, x by name, then by type. An axis of another name is dropped if it has length
/// one, and is the channel axis if there is no other that is longer than one.
fn map_axes(axes: &[Axis], shape: &[u64]) -> Result<[Option<usize>; 5], Unsupported> {
    let mut mapped = [None; 5];
    let mut unnamed = Vec::new();
    for (at, axis) in axes.iter().enumerate() {
        match slot_of(&axis.name) {
            Some(slot) if mapped[slot].is_none() => mapped[slot] = Some(at),
            Some(_) => return Err(Unsupported::DuplicateAxis(axis.name.clone())),
            None => unnamed.push(at),
        }
    }
    // Space axes without usable names fill z, y, x from the back, in their order.
    let is_kind = |at: &usize, kind: &str| axes[*at].kind.as_deref() == Some(kind);
    let spaces: Vec<usize> = unnamed.iter().copied().filter(|at| is_kind(at, "space")).collect();
    let free: Vec<usize> = (2..5).filter(|&slot| mapped[slot].is_none()).collect();
    if spaces.len() <= free.len() {
        for (slot, at) in free.into_iter().rev().zip(spaces.into_iter().rev()) {
            mapped[slot] = Some(at);
        }
    }
    for at in unnamed {
        if mapped.contains(&Some(at)) {
            continue;
        }
        let slot = usize::from(!is_kind(&at, "time"));
        let is_free = match mapped[slot] {
            None => true,
            // The samples of one channel (`tczyxs`).
            Some(other) => slot == 1 && shape[other] == 1 && is_samples(&axes[at].name),
        };
        if shape[at] == 1 {
            // Nothing is lost.
        } else if is_free {
            mapped[slot] = Some(at);
        } else {
            return Err(Unsupported::UnknownAxis(axes[at].name.clone()));
        }
    }
    if mapped[3].is_none() || mapped[4].is_none() {
        return Err(Unsupported::Member("y and x axes"));
    }
    Ok(mapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(names: &[&str]) -> Vec<Axis> {
        names.iter().map(|name| Axis::named(*name)).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_in_any_order_and_case() {
        let found = map_axes(&axes(&["C", "x", "Y", "z"]), &[2, 9, 8, 7]);
        assert_eq!(found, Ok([None, Some(0), Some(3), Some(2), Some(1)]));
        let twice = map_axes(&axes(&["y", "y", "x"]), &[2, 2, 2]);
        assert_eq!(twice, Err(Unsupported::DuplicateAxis("y".into())));
    }

    #[test]
    fn other_axes_are_dropped_or_become_channels() {
        assert_eq!(
            map_axes(&axes(&["s", "y", "x"]), &[1, 8, 9]),
            Ok([None, None, None, Some(1), Some(2)])
        );
        assert_eq!(
            map_axes(&axes(&["angle", "y", "x"]), &[4, 8, 9]),
            Ok([None, Some(0), None, Some(1), Some(2)])
        );
        assert_eq!(
            map_axes(&axes(&["angle", "c", "y", "x"]), &[4, 2, 8, 9]),
            Err(Unsupported::UnknownAxis("angle".into()))
        );
        assert_eq!(
            map_axes(&axes(&["angle", "c", "y", "x"]), &[4, 1, 8, 9]),
            Err(Unsupported::UnknownAxis("angle".into()))
        );
    }

    #[test]
    fn samples_are_the_channels_where_there_is_one() {
        let tczyxs = axes(&["T", "C", "Z", "Y", "X", "S"]);
        let found = Axes::stated(&tczyxs, &[1, 1, 1, 8, 9, 3]).expect("an image");
        assert_eq!(found.slots, [Some(0), Some(5), Some(2), Some(3), Some(4)]);
        assert!(found.has_samples());
        assert!(Axes::stated(&tczyxs, &[1, 2, 1, 8, 9, 3]).is_err());
        assert!(!Axes::stated(&axes(&["c", "y", "x"]), &[3, 8, 9]).expect("one").has_samples());
    }

    #[test]
    fn types_decide_where_names_do_not() {
        let space =
            |name: &str| Axis { name: name.to_owned(), kind: Some("space".to_owned()), unit: None };
        let named = [space("depth"), space("height"), space("width")];
        assert_eq!(map_axes(&named, &[5, 6, 7]), Ok([None, None, Some(0), Some(1), Some(2)]));
    }

    #[test]
    fn names_of_the_array_else_the_position() {
        let slots = |found: Option<Vec<String>>, shape: &[u64]| {
            Axes::of_array(found, shape, false).expect("an image").slots
        };
        let cyx = [None, Some(0), None, Some(1), Some(2)];
        let color = |names, shape: &[u64]| Axes::of_array(names, shape, is_color(shape));
        let zyxc = color(None, &[5, 8, 9, 4]).expect("an image").slots;
        assert_eq!(zyxc, [None, Some(3), Some(0), Some(1), Some(2)]);
        let named = color(Some(names(&["z", "y", "x"])), &[8, 9, 3]).expect("an image").slots;
        assert_eq!(named, [None, None, Some(0), Some(1), Some(2)], "names come first");
        assert!(is_color(&[8, 9, 3]) && !is_color(&[9, 3]) && !is_color(&[3, 8, 9]));
        let zyx = [None, None, Some(0), Some(1), Some(2)];
        assert_eq!(slots(Some(names(&["c", "y", "x"])), &[3, 8, 9]), cyx);
        for useless in [None, Some(names(&["dim_0", "dim_1", "dim_2"])), Some(names(&["y", "x"]))] {
            assert_eq!(slots(useless, &[3, 8, 9]), zyx);
        }
        assert_eq!(Axes::of_array(None, &[1; 6], false), Err(Unsupported::Dimensions(6)));
    }
}
